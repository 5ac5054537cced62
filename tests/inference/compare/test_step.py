"""Backward elimination against lmerTest's step."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose

from mixedlm_ext import MixedLM, RandomTerm, datasets
from mixedlm_ext.errors import FitError


def fit(formula: str, data: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return MixedLM.from_formula(formula, data).fit()


def step(result: Any, **arguments: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # singular fits on the way
        return result.step(**arguments)


def test_fixed_terms() -> None:
    """lmerTest 3.1."""
    data = datasets.cake.load_pandas().data
    i = np.arange(1, len(data) + 1)
    data["x1"], data["x2"] = np.sin(2 * i), np.cos(5 * i)
    random = "(1 | recipe:replicate) + (1 | replicate)"
    found = step(fit(f"angle ~ recipe * temp + x1 + x2 + {random}", data))
    assert found.formula == f"angle ~ temp + {random}"
    assert found.model.model.formula_full == found.formula
    assert list(found.random.index) == ["<none>", "(1 | recipe:replicate)", "(1 | replicate)"]
    assert found.random["Eliminated"].tolist() == [0, 0, 0]
    assert_allclose(found.random["LRT"].iloc[1:], [7.797, 37.788], atol=6e-4)
    assert list(found.fixed.index) == ["recipe:temp", "x2", "recipe", "x1", "temp"]
    assert found.fixed["Eliminated"].tolist() == [1, 2, 3, 4, 0]
    assert found.fixed["num_df"].tolist() == [2, 1, 2, 1, 1]
    assert_allclose(found.fixed["F"], [0.0427, 0.0873, 1.5794, 2.6370, 94.9759], atol=6e-5)
    assert_allclose(found.fixed["den_df"], [220.0, 227.57, 28.0, 223.16, 224.0], atol=6e-3)
    text = str(found)
    assert (
        "Backward elimination of random terms" in text and f"Model found: {found.formula}" in text
    )


def test_random_terms() -> None:
    """lmerTest 3.1."""
    data = datasets.sleepstudy.load_pandas().data
    data["k"] = np.tile(np.arange(6), 30)
    parts = "(1 | Subject) + (0 + Days | Subject)"
    found = step(fit(f"Reaction ~ Days + {parts} + (1 | k)", data))
    assert found.formula == f"Reaction ~ Days + {parts}"
    assert found.random["Eliminated"].tolist() == [0, 1, 0, 0]
    assert list(found.random.index[:2]) == ["<none>", "(1 | k)"]
    assert_allclose(found.random["npar"], [6, 5, 4, 4])
    assert_allclose(found.random["LRT"].iloc[1:], [0.0, 22.856, 42.796], atol=6e-4)


def test_a_term_is_reduced() -> None:
    """Slopes that do not vary leave random intercepts."""
    rng = np.random.default_rng(4)
    g, x = np.repeat(np.arange(12), 8), rng.standard_normal(96)
    data = {"y": 2 * rng.standard_normal(12)[g] + rng.standard_normal(96), "x": x, "g": g,
            "f": np.tile(["a", "b"], 48)}  # fmt: skip
    for left in ("x", "f", "0 + f", "x + I(x**2)"):
        found = step(fit(f"y ~ 1 + ({left} | g)", data))
        assert found.formula == "y ~ 1 + (1 | g)", left
        assert_allclose(found.model.llf, fit("y ~ 1 + (1 | g)", data).llf, rtol=1e-9)
        assert found.random["Eliminated"].max() == (2 if "I" in left else 1)
    diagonal = step(fit("y ~ 1 + (x || g)", data))
    assert diagonal.formula == "y ~ 1 + (1 || g)"
    kept = step(fit("y ~ x + (x | g)", data), keep=["x in (x | g)", "x"])
    assert kept.formula == "y ~ x + (x | g)"
    tested = step(fit("y ~ x + (x | g)", data), reduce_random=False, reduce_fixed=False)
    assert tested.formula == "y ~ x + (x | g)" and not tested.fixed["Eliminated"].any()


def test_columns_without_an_intercept_stay_without_it() -> None:
    rng = np.random.default_rng(6)
    g, x, z = np.repeat(np.arange(12), 8), rng.standard_normal(96), rng.standard_normal(96)
    y = 2 * rng.standard_normal(12)[g] * z + rng.standard_normal(96)
    found = step(fit("y ~ 1 + (0 + x + z | g)", {"y": y, "x": x, "z": z, "g": g}))
    assert found.formula == "y ~ 1 + (0 + z | g)"
    assert found.random["Df"].iloc[1:].tolist() == [2, 1]


def test_a_level_of_one_takes_nothing_out() -> None:
    data = datasets.cake.load_pandas().data
    result = fit("angle ~ temp + C(temp) + (1 | recipe:replicate)", data)
    found = step(result, alpha_random=1, alpha_fixed=1.0)
    assert found.formula == result.model.formula_full
    assert not found.fixed["Eliminated"].any() and not found.random["Eliminated"].any()


def test_the_last_random_term_stays() -> None:
    rng = np.random.default_rng(5)
    data = {"y": rng.standard_normal(60), "x": rng.standard_normal(60), "g": np.arange(60) % 6}
    found = step(fit("y ~ x + (1 | g)", data))
    assert found.formula == "y ~ 1 + (1 | g)"
    assert "(1 | g) is not needed (p = " in found.note and "statsmodels' OLS" in str(found)


def test_aliased_terms_go_first() -> None:
    data = datasets.cake.load_pandas().data
    found = step(fit("angle ~ temp + C(temp) + (1 | recipe:replicate)", data))
    assert found.fixed.index[0] == "temp" and found.fixed["num_df"].tolist() == [0, 5]
    assert found.formula == "angle ~ C(temp) + (1 | recipe:replicate)"


def test_refusals() -> None:
    data = datasets.sleepstudy.load_pandas().data
    result = fit("Reaction ~ Days + (1 | Subject)", data)
    for bad in (2, -0.1, "x", None, np.zeros(2)):
        with pytest.raises(FitError, match=r"alpha_fixed=.* is no level"):
            result.step(alpha_fixed=bad)
    with pytest.raises(FitError, match=r"keep=3 is neither a name"):
        result.step(keep=3)
    arrays = MixedLM(data["Reaction"], np.ones(180), [RandomTerm(data["Subject"])]).fit()
    with pytest.raises(FitError, match=r"was made from arrays"):
        arrays.step()


@pytest.mark.parametrize("keep", ["(x | g)", "(x|g)", ["x in (x|g)"]])
def test_a_random_term_is_kept_however_it_is_spaced(keep: Any) -> None:
    rng = np.random.default_rng(3)
    g = np.repeat(np.arange(12), 8)
    data = {"g": g, "x": rng.normal(size=96)}
    data["y"] = data["x"] + rng.normal(size=12)[g] + rng.normal(size=96)
    result = fit("y ~ x + (x | g)", data)
    assert step(result).formula == "y ~ x + (1 | g)"
    assert step(result, keep=keep).formula == "y ~ x + (x | g)"
    assert step(result, keep="(1 | g)").formula == "y ~ x + (1 | g)"
    with pytest.raises(
        FitError, match=r"keep has 'z', which is no term of the fixed part \('Intercept', 'x'\)"
    ):
        result.step(keep="z")
