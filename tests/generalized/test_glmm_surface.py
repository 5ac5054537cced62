"""R², intraclass correlations, elimination of terms, tests by likelihood ratios, other starts."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from glmm_reference import table
from scipy import stats

from mixedlm_ext import FitError, MixedGLM, datasets

F, L = sm.families, sm.families.links


def quiet(formula: str, data: pd.DataFrame, family: Any, **kwargs: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return MixedGLM.from_formula(formula, data, family=family, **kwargs).fit()


@pytest.fixture(scope="module")
def cbpp() -> Any:
    data = datasets.cbpp.load_pandas().data
    formula = "incidence / size ~ period + (1 | herd)"
    return quiet(formula, data, F.Binomial(), weights="size")


def test_r2_by_hand(cbpp: Any) -> None:
    """Equations 29 and 30 of Nakagawa, Johnson and Schielzeth (2017), the logit's π²/3."""
    fixed = np.var(cbpp.model.exog @ cbpp.params.to_numpy(), ddof=1)
    herd = cbpp.vcomp.iloc[0]
    total = fixed + herd + np.pi**2 / 3.0
    r2 = cbpp.r2()["estimate"]
    assert r2["marginal"] == pytest.approx(fixed / total, rel=1e-12)
    assert r2["conditional"] == pytest.approx((fixed + herd) / total, rel=1e-12)
    assert cbpp.icc().loc["herd", "estimate"] == pytest.approx(
        herd / (herd + np.pi**2 / 3.0), rel=1e-12
    )


@pytest.mark.parametrize(("link", "latent"), [(L.Probit(), 1.0), (L.CLogLog(), np.pi**2 / 6.0)])
def test_latent_variances_of_other_links(link: Any, latent: float) -> None:
    data = datasets.cbpp.load_pandas().data
    formula = "incidence / size ~ period + (1 | herd)"
    result = quiet(formula, data, F.Binomial(link), weights="size")
    herd = result.vcomp.iloc[0]
    assert result.icc().loc["herd", "estimate"] == pytest.approx(herd / (herd + latent))


def test_variances_of_counts() -> None:
    """Slopes count on average over the rows; c = 1/λ + alpha."""
    epil = table("epil")
    formula = "y ~ lbase * trt + lage + V4 + (1 | subject)"
    poisson = quiet(formula, epil, F.Poisson())
    variance = poisson.vcomp.iloc[0]
    eta = poisson.model.exog @ poisson.params.to_numpy()
    mean = np.exp(eta + 0.5 * variance).mean()
    for method, wanted in (
        ("delta", 1.0 / mean),
        ("lognormal", np.log(1.0 + 1.0 / mean)),
        ("trigamma", 1.0 / mean + 0.5 / mean**2 + 1.0 / (6.0 * mean**3)),
    ):
        got = poisson.icc(method).loc["subject", "estimate"]
        assert got == pytest.approx(variance / (variance + wanted), rel=2e-4), method
    negative = quiet(formula, epil, F.NegativeBinomial(alpha=1.0))
    own = negative.vcomp.iloc[0]
    eta = negative.model.exog @ negative.params.to_numpy()
    c = 1.0 / np.exp(eta + 0.5 * own).mean() + negative.family.alpha
    assert negative.icc("delta").iloc[0, 0] == pytest.approx(own / (own + c))


def test_counts_with_the_root_link() -> None:
    """A quarter, times 1 + λ alpha (Nakagawa et al. 2017); the variance of the root of a count."""
    epil = table("epil")
    formula = "y ~ lbase + trt + (1 | subject)"
    poisson = quiet(formula, epil, F.Poisson(L.Sqrt()))
    own = poisson.vcomp.iloc[0]
    assert poisson.icc().iloc[0, 0] == pytest.approx(own / (own + 0.25), rel=1e-12)
    fixed = np.var(poisson.model.exog @ poisson.params.to_numpy(), ddof=1)
    assert poisson.r2().iloc[0, 0] == pytest.approx(fixed / (fixed + own + 0.25), rel=1e-12)
    negative = quiet(formula, epil, F.NegativeBinomial(L.Sqrt(), alpha=1.0))
    own = negative.vcomp.iloc[0]
    eta = negative.model.exog @ negative.params.to_numpy()
    rest = 0.25 * (1.0 + (np.mean(eta**2) + own) * negative.family.alpha)
    assert negative.icc().iloc[0, 0] == pytest.approx(own / (own + rest), rel=1e-12)


def test_an_effect_of_each_row_is_overdispersion() -> None:
    data = datasets.cbpp.load_pandas().data.assign(obs=np.arange(56))
    formula = "incidence / size ~ period + (1 | herd) + (1 | obs)"
    result = quiet(formula, data, F.Binomial(), weights="size")
    variances = result.vcomp
    rest = variances[("obs", "Intercept")] + np.pi**2 / 3.0
    assert list(result.icc().index) == ["herd"]
    herd = variances[("herd", "Intercept")]
    assert result.icc().iloc[0, 0] == pytest.approx(herd / (herd + rest))


def test_what_has_no_share_says_so(cbpp: Any) -> None:
    with pytest.raises(FitError, match="method='exact'"):
        cbpp.r2(method="exact")
    gamma = quiet("y ~ lage + (1 | subject)", table("epil").assign(y=1.0 + table("epil")["y"]),
                  F.Gamma())  # fmt: skip
    with pytest.raises(FitError, match="InversePower link has no distribution-specific variance"):
        gamma.r2()


def test_likelihood_ratio_anova_is_drop1_without_interactions() -> None:
    epil = table("epil")
    result = quiet("y ~ lbase + trt + lage + V4 + (1 | subject)", epil, F.Poisson())
    by_ratio, dropped = result.anova(test="LRT"), result.drop1()
    for name in by_ratio.index:
        assert by_ratio.loc[name, "chisq"] == pytest.approx(dropped.loc[name, "chisq"], abs=1e-6)
        assert by_ratio.loc[name, "df"] == dropped.loc[name, "df"]


def test_likelihood_ratio_of_a_main_effect_below_an_interaction() -> None:
    """Type 3 averages over the other factor: with effect coding the column itself is left out."""
    rng = np.random.default_rng(6)
    data = pd.DataFrame({"g": np.repeat(np.arange(15), 12), "a": np.tile(list("xyzxyz"), 30)})
    data["b"] = np.where(rng.uniform(size=180) < 0.4, "u", "v")
    mean = np.exp(0.5 + 0.3 * (data["a"] == "x") + 0.4 * rng.normal(size=15)[data["g"]])
    data["y"] = rng.poisson(mean)
    result = quiet("y ~ a * b + (1 | g)", data, F.Poisson())
    effects = quiet("y ~ C(a, Sum) * C(b, Sum) + (1 | g)", data, F.Poisson())
    b = np.where(data["b"] == "u", 1.0, -1.0)
    # y ~ a, and products of a and b, without b itself
    a1, a2 = (np.where(data["a"] == s, 1.0, np.where(data["a"] == "z", -1.0, 0.0)) for s in "xy")
    without = data.assign(a1=a1, a2=a2, p1=a1 * b, p2=a2 * b)
    smaller = quiet("y ~ a1 + a2 + p1 + p2 + (1 | g)", without, F.Poisson())
    ratio = 2.0 * (effects.llf - smaller.llf)
    row = result.anova(test="LRT").loc["b"]
    assert row["chisq"] == pytest.approx(ratio, abs=1e-6)
    assert row["pvalue"] == pytest.approx(stats.chi2.sf(ratio, 1), rel=1e-4)
    for kind in (1, 2):
        with pytest.raises(FitError, match="compare fits of several models"):
            result.anova(type=kind, test="LRT")


def test_step_by_likelihood_ratios() -> None:
    epil = table("epil").assign(noise=np.sin(np.arange(236.0)))
    result = quiet("y ~ lbase + trt + noise + V4 + (visit | subject)", epil, F.Poisson())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = result.step(keep="trt")
    assert found.fixed.loc["noise", "Eliminated"] == 1
    assert found.fixed.loc["trt", "Eliminated"] == 0
    assert "noise" not in found.formula
    assert "trt" in found.formula
    assert "visit | subject" in found.formula.replace("1 + ", "")
    direct = quiet(found.formula, epil, F.Poisson())
    assert found.model.llf == pytest.approx(direct.llf, abs=1e-7)
    assert "Backward elimination of random terms" in str(found)


def test_the_last_random_term_stays() -> None:
    rng = np.random.default_rng(1)
    data = pd.DataFrame({"g": np.repeat(np.arange(10), 10), "x": rng.normal(size=100)})
    data["y"] = rng.poisson(np.exp(0.3 + 0.5 * data["x"]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = quiet("y ~ x + (1 | g)", data, F.Poisson()).step()
    assert "fit statsmodels' GLM" in found.note


def test_other_starts_end_at_the_same_maximum(cbpp: Any) -> None:
    found = cbpp.all_fit()
    assert list(found.index) == ["default", "small", "half", "double", "large"]
    assert found["converged"].all()
    np.testing.assert_allclose(found["objective"], cbpp.objective, atol=1e-7)
    np.testing.assert_allclose(found["theta[0]"], cbpp.theta[0], atol=1e-4)
    np.testing.assert_allclose(found[list(cbpp.params.index)], [cbpp.params] * 5, atol=1e-4)
