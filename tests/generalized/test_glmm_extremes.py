"""Where there are no finite estimates, or only just: said in words, or right."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from glmm_reference import negative_binomial, table
from statsmodels.tools.sm_exceptions import ConvergenceWarning

from mixedlm_ext import DesignError, FitError, MixedGLM, SingularFitWarning

F, L = sm.families, sm.families.links


@pytest.fixture
def counts() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    n = 400
    frame = pd.DataFrame(
        {
            "g": rng.integers(0, 20, n),
            "c": rng.choice(list("abc"), n),
            "x": rng.normal(size=n),
            "row": np.arange(n),
        }
    )
    frame["eta"] = 0.3 + 0.2 * frame["x"] + 0.5 * rng.normal(size=20)[frame["g"]]
    frame["y"] = rng.poisson(np.exp(frame["eta"]))
    return frame


def quiet(model: MixedGLM, **how: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return model.fit(**how)


@pytest.mark.parametrize("nagq", [0, 1, 9])
@pytest.mark.parametrize(
    ("formula", "named"),
    [
        ("sep ~ x + (1 | g)", "'x'"),
        ("quasi ~ f + (1 | g)", "'f[T.b]' separates"),
        ("bygroup ~ 1 + (1 | g)", "every level of 'g' has the same response"),
        ("bygroup ~ x + (1 | g)", "every level of 'g' has the same response"),
    ],
)
def test_what_has_no_estimates_is_named(formula: str, named: str, nagq: int) -> None:
    model = MixedGLM.from_formula(formula, table("separated"), family=F.Binomial())
    with pytest.warns(ConvergenceWarning, match="There is no estimate to rely on") as found:
        result = model.fit(nagq=nagq)
    assert len(found) == 1
    assert named in str(found[0].message)
    assert not result.converged
    assert result.optimization.verdict == "no minimum"
    assert "Not converged" in str(result.summary())


@pytest.mark.parametrize("link", [L.Probit(), L.CLogLog(), L.LogLog(), L.Cauchy()])
@pytest.mark.parametrize("formula", ["quasi ~ f + (1 | g)", "1 - quasi ~ f + (1 | g)"])
def test_other_links_see_it_too(formula: str, link: Any) -> None:
    model = MixedGLM.from_formula(formula, table("separated"), F.Binomial(link))
    result = quiet(model)
    assert not result.converged
    assert "f[T.b]" in result.optimization.message


def test_the_other_effects_keep_their_standard_errors() -> None:
    data = table("separated")
    result = quiet(MixedGLM.from_formula("quasi ~ f + (1 | g)", data, family=F.Binomial()))
    assert np.isnan(result.bse["f[T.b]"])
    alone = sm.GLM(data["quasi"][data["f"] == "a"], np.ones(40), F.Binomial()).fit()
    assert result.params["Intercept"] == pytest.approx(alone.params.iloc[0], abs=1e-6)
    assert result.bse["Intercept"] == pytest.approx(alone.bse.iloc[0], rel=1e-4)


@pytest.mark.parametrize("family", [F.Poisson(), negative_binomial()])
def test_a_cell_of_zeros(counts: pd.DataFrame, family: Any) -> None:
    counts.loc[counts["c"] == "c", "y"] = 0
    result = quiet(MixedGLM.from_formula("y ~ x + c + (1 | g)", counts, family=family))
    assert not result.converged
    assert "'c[T.c]' separates the response" in result.optimization.message
    rest = counts[counts["c"] != "c"]
    smaller = quiet(MixedGLM.from_formula("y ~ x + c + (1 | g)", rest, family=family))
    assert smaller.converged
    assert result.params["x"] == pytest.approx(smaller.params["x"], abs=1e-5)
    assert result.bse["x"] == pytest.approx(smaller.bse["x"], rel=1e-4)


def test_groups_of_zeros_are_no_problem(counts: pd.DataFrame) -> None:
    """Random effects of these groups are finite: no false alarm."""
    counts.loc[counts["g"] < 5, "y"] = 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = MixedGLM.from_formula("y ~ x + c + (1 | g)", counts, family=F.Poisson()).fit()
    assert result.converged
    assert (result.random_effects["g"].loc[:4, "Intercept"] < -1.0).all()


def test_a_single_0_or_1_tells_nothing_of_rows(counts: pd.DataFrame) -> None:
    counts["b"] = counts["y"] > 1
    counts["b"] = counts["b"].astype(int)
    with pytest.raises(DesignError, match="each level of 'row' has one row, a single 0 or 1"):
        MixedGLM.from_formula("b ~ x + (1 | row)", counts, family=F.Binomial())
    counts["trials"] = 2
    quiet(
        MixedGLM.from_formula(
            "b / trials ~ x + (1 | row)", counts, family=F.Binomial(), weights="trials"
        )
    )


@pytest.mark.parametrize("family", [F.Gaussian(L.Log()), F.Gamma(L.Log())])
def test_a_dispersion_is_not_told_from_an_effect_of_each_row(
    counts: pd.DataFrame, family: Any
) -> None:
    counts["m"] = counts["y"] + 1.0
    with pytest.raises(DesignError, match="400 levels for 400 observations"):
        MixedGLM.from_formula("m ~ x + (1 | row)", counts, family=family)


def test_counts_in_millions(counts: pd.DataFrame) -> None:
    """Rounding of the log-likelihood, sums of numbers of 10^7, must not stop the search."""
    counts["y"] = np.random.default_rng(1).poisson(1e6 * np.exp(counts["eta"]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = MixedGLM.from_formula("y ~ x + (1 | g)", counts, family=F.Poisson()).fit()
    assert result.converged
    assert result.params["x"] == pytest.approx(0.2, abs=1e-3)


@pytest.mark.parametrize("factor", [1e-6, 1e6])
def test_units_of_a_covariate(counts: pd.DataFrame, factor: float) -> None:
    plain = quiet(MixedGLM.from_formula("y ~ x + (x || g)", counts, family=F.Poisson()))
    counts["x"] *= factor
    scaled = quiet(MixedGLM.from_formula("y ~ x + (x || g)", counts, family=F.Poisson()))
    assert scaled.converged
    assert scaled.llf == pytest.approx(plain.llf, abs=1e-6)
    assert scaled.params["x"] * factor == pytest.approx(plain.params["x"], rel=1e-4)
    assert scaled.bse["x"] * factor == pytest.approx(plain.bse["x"], rel=1e-3)


def test_poisson_counts_by_a_negative_binomial(counts: pd.DataFrame) -> None:
    poisson = quiet(MixedGLM.from_formula("y ~ x + (1 | g)", counts, family=F.Poisson()))
    model = MixedGLM.from_formula("y ~ x + (1 | g)", counts, family=negative_binomial())
    with pytest.warns(SingularFitWarning, match="alpha of the negative binomial is estimated as"):
        result = model.fit()
    assert result.converged
    assert result.llf == pytest.approx(poisson.llf, abs=1e-4)
    assert result.family.alpha < 1e-4
    assert result.params["x"] == pytest.approx(poisson.params["x"], abs=1e-5)
    assert "alpha is estimated as zero" in str(result.summary())


def test_a_singular_fit_is_the_plain_model() -> None:
    data = table("singular")
    model = MixedGLM.from_formula("y ~ x + (1 | g)", data, family=F.Binomial())
    with pytest.warns(SingularFitWarning, match=r"\(1 \| g\) is singular"):
        result = model.fit()
    assert result.singular
    assert result.converged
    assert result.theta.tolist() == [0.0]
    plain = sm.GLM.from_formula("y ~ x", data, family=F.Binomial()).fit()
    np.testing.assert_allclose(result.params, plain.params, rtol=1e-6)
    np.testing.assert_allclose(result.bse, plain.bse, rtol=1e-4)
    assert result.llf == pytest.approx(plain.llf, abs=1e-8)
    assert (result.random_effects["g"]["Intercept"] == 0.0).all()
    assert (result.random_effects_sd["g"]["Intercept"] == 0.0).all()


def test_a_search_that_is_stopped_is_not_called_converged() -> None:
    model = MixedGLM.from_formula(
        "severe ~ treatment * time + (1 | patientID)", table("toenail"), family=F.Binomial()
    )
    with pytest.warns(ConvergenceWarning, match="Raise maxiter"):
        result = model.fit(maxiter=3)
    assert not result.converged
    assert result.optimization.verdict == "iteration limit"
    with pytest.warns(ConvergenceWarning, match="max_time was over"):
        assert not model.fit(max_time=1e-9).converged


def test_an_identity_link_that_leaves_the_range_is_said() -> None:
    rng = np.random.default_rng(2)
    frame = pd.DataFrame({"x": np.linspace(-1, 1, 40), "g": np.arange(40) % 8})
    frame["y"] = rng.gamma(2.0, np.exp(2.0 * frame["x"]))
    model = MixedGLM.from_formula("y ~ x + (1 | g)", frame, family=F.Gamma(L.Identity()))
    try:
        result = quiet(model)
    except FitError as error:
        assert "range" in str(error)
    else:
        assert (result.fittedvalues > 0).all()


def test_starts_far_away(counts: pd.DataFrame) -> None:
    model = MixedGLM.from_formula("y ~ x + (1 | g)", counts, family=F.Poisson())
    plain = model.fit()
    for start in ([1e-3], [50.0], [0.5, -3.0, 3.0]):
        again = model.fit(start_params=start)
        assert again.converged
        assert again.llf == pytest.approx(plain.llf, abs=1e-6)
    with pytest.raises(FitError, match=r"Pass np\.concatenate"):
        model.fit(start_params=plain.params)
