"""Which columns are found dependent: far from zero, by their rounding and not by their size."""

import warnings

import numpy as np
import pandas as pd
import patsy
import pytest
import statsmodels.api as sm
from numpy.testing import assert_allclose

from mixedlm_ext import MixedGLM, MixedLM
from mixedlm_ext.design.rank import independent_columns, null_space
from mixedlm_ext.errors import DesignWarning

FAR = [0, 50, 500, 5000, 50_000, 500_000]
# dimension of what the columns span in exact arithmetic
SPANS = {
    "x + I(x**2) + bs(x, df=4)": 5,  # cubic splines of one inner knot
    "bs(x, df=4) + x + I(x**2)": 5,
    "x + cr(x, df=4)": 4,
    "x + I((x - {c})**2) + I(x**2)": 3,
    "x + I(x**2) + I((x - {c})**2)": 3,
    "standardize(x) + I(x**2) + I(standardize(x)**2)": 3,
    "x*z + I((x + z)**2) + I(x**2) + I(z**2)": 6,
    "te(cr(x, df=3), cr(z, df=3)) + x + z + x:z": 9,
    "f*(x + I(x**2)) + f:bs(x, df=4)": 15,
    "f + f:x + x": 6,
}


def rows(c: float, n: int = 400) -> pd.DataFrame:
    """Rows of x and z about c."""
    rng = np.random.default_rng(1)
    x = np.round(rng.uniform(-5, 5, n), 3)
    g = rng.integers(0, 20, n)
    mean = 1 + 0.3 * x - 0.05 * x**2 + 0.01 * x**3 + rng.normal(size=20)[g]
    return pd.DataFrame(
        {
            "x": x + c,
            "z": rng.normal(size=n) + c,
            "f": rng.choice(list("abc"), n),
            "g": g,
            "w": rng.uniform(0.5, 2.0, n),
            "y": mean + rng.normal(size=n),
            "count": rng.poisson(np.exp(0.2 * mean)),
        }
    )


@pytest.mark.parametrize("c", FAR)
@pytest.mark.parametrize("fixed", SPANS)
def test_dependent_columns_are_found_however_far_from_zero(fixed: str, c: int) -> None:
    if c == 500_000 and "z**2" in fixed:
        c = 100_000  # beyond that 1e-10 of the length of z² is left
    data = rows(c)
    X = np.asarray(patsy.dmatrix(fixed.format(c=c), data))
    for weights in (None, data["w"].to_numpy()):
        assert len(independent_columns(X, weights)) == SPANS[fixed]


def test_knots_are_told_from_a_cubic_that_goes_before() -> None:
    for c in (0, 500, 5000):
        fixed = "x + I(x**2) + I(x**3) + bs(x, df=5)"
        assert len(independent_columns(np.asarray(patsy.dmatrix(fixed, rows(c))))) == 6


@pytest.mark.parametrize(
    ("fixed", "c"),
    [
        ("x + I(x**2) + I(x**3)", 5000),  # where R's lm leaves out the cubic
        ("x + I(x**2)", 50_000),
        ("x", 1e9),
        ("x + z", 1e8),
        ("x*z", 50_000),
    ],
)
def test_columns_with_digits_of_their_own_stay(fixed: str, c: float) -> None:
    X = np.asarray(patsy.dmatrix(fixed, rows(c)))
    assert len(independent_columns(X)) == X.shape[1]


def test_four_powers_of_a_calendar_year_stay_in_any_unit() -> None:
    year = np.repeat(np.arange(1990.0, 2021.0), 7)
    X = year[:, None] ** np.arange(5)
    assert len(independent_columns(X)) == 5
    assert len(independent_columns(X * [1, 1e-3, 1e9, 1e-12, 1e20])) == 5


@pytest.mark.parametrize("c", [0, 500, 5000, 50_000])
def test_a_coefficient_of_a_spline_beside_its_polynomial_is_not_estimable(c: int) -> None:
    X = np.asarray(patsy.dmatrix("x + I(x**2) + bs(x, df=4)", rows(c)))
    kept = independent_columns(X)
    space = null_space(X, kept, np.arange(7))
    assert space is not None
    assert not space.estimable(np.eye(7)[1:]).any()
    assert space.estimable(X).all()
    assert space.estimable(X.mean(axis=0)[None]).all()
    assert space.estimable(X[:40] - X[40:80]).all()
    if c <= 5000:
        assert not space.estimable(X[:5] + 0.5 * np.eye(7)[5]).any()


@pytest.mark.parametrize("weights", [None, "w"])
@pytest.mark.parametrize("c", [500, 5000, 50_000])
@pytest.mark.parametrize(
    "fixed",
    ["x + I(x**2) + bs(x, df=4)", "x + I(x**2) + I((x - {c})**2)", "f*x + f:cr(x, df=4)"],
)
def test_fits_do_not_depend_on_where_x_is(fixed: str, c: int, weights: str | None) -> None:
    def fit(c: int) -> tuple[MixedLM, np.ndarray]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DesignWarning)
            text = f"y ~ {fixed.format(c=c)} + (1 | g)"
            result = MixedLM.from_formula(text, rows(c), weights=weights).fit(reml=False)
        return result, np.asarray(result.predict(rows(c)))

    (here, near), (there, far) = fit(0), fit(c)
    assert len(here.params) == len(there.params)
    assert abs(here.llf - there.llf) < 1e-6  # squares near 2.5e9 are rounded to 3e-7
    assert_allclose(far, near, rtol=0, atol=1e-6)


def test_a_generalized_fit_does_not_depend_on_where_x_is() -> None:
    found = []
    for c in (0, 5000):
        with pytest.warns(DesignWarning, match="bs"):
            model = MixedGLM.from_formula(
                "count ~ x + I(x**2) + bs(x, df=4) + (1 | g)", rows(c), family=sm.families.Poisson()
            )
        found.append(model.fit())
    assert abs(found[0].llf - found[1].llf) < 1e-8
    assert_allclose(found[0].predict(rows(0)), found[1].predict(rows(5000)), rtol=1e-7)
