"""Comparison of generalized models: with GLM, across families, and what cannot be compared.

The numbers are of anova() in glmmTMB 1.1.5 (lme4 1.1-31 stops its binomial model 0.0003 short).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
import statsmodels.formula.api as smf
from glmm_reference import table
from numpy.testing import assert_allclose

from mixedlm_ext import MixedGLM, MixedLM, anova, datasets
from mixedlm_ext.errors import FitError

F = sm.families
LOG = sm.families.links.Log


def mixed(formula: str, data: pd.DataFrame, family: Any, **options: Any) -> Any:
    held = {name: options.pop(name) for name in ("dispersion", "nagq") if name in options}
    return MixedGLM.from_formula(formula, data, family, **options).fit(**held)


def flat(formula: str, data: pd.DataFrame, family: Any, **options: Any) -> Any:
    return smf.glm(formula, data, family=family, **options).fit()


@pytest.fixture(scope="module")
def cbpp() -> pd.DataFrame:
    data: pd.DataFrame = datasets.cbpp.load_pandas().data
    return data.assign(healthy=data["size"] - data["incidence"])


@pytest.fixture(scope="module")
def epil() -> pd.DataFrame:
    return table("epil")


# ---------------------------------------------------------------- without random effects


def test_binomial_against_glm(cbpp: pd.DataFrame) -> None:
    large = mixed("incidence + healthy ~ period + (1 | herd)", cbpp, F.Binomial())
    small = flat("incidence + healthy ~ period", cbpp, F.Binomial())
    for got in (anova(large, small), anova(small, large), large.compare(small)):
        assert got["npar"].tolist() == [4, 5]
        assert_allclose(got["logLik"], [-99.02920, -92.02628], atol=1e-5)
        assert_allclose(got["AIC"], [206.0584, 194.0526], atol=1e-4)
        assert_allclose(got["BIC"], [214.1598, 204.1793], atol=1e-4)
        assert_allclose(got["Chisq"].iloc[1], 14.00584, atol=1e-4)
        assert got["Df"].iloc[1] == 1
        assert_allclose(got["Pr(>Chisq)"].iloc[1], 0.0001823, rtol=1e-3)
    assert large.compare_lr_test(small)[2] == 1


def test_gamma_against_glm() -> None:
    """The dispersion is by maximum likelihood in both; GLM's own llf is at Pearson's."""
    data = datasets.sleepstudy.load_pandas().data
    small = flat("Reaction ~ Days", data, F.Gamma(LOG()))
    got = anova(mixed("Reaction ~ Days + (1 | Subject)", data, F.Gamma(LOG())), small)
    assert got["npar"].tolist() == [3, 4]
    assert_allclose(got["logLik"], [-943.9339281, -883.5783367], atol=1e-6)
    assert_allclose(got["Chisq"].iloc[1], 120.71118, atol=1e-4)
    assert small.llf < got["logLik"].iloc[0]


def test_exposure_against_glm() -> None:
    data = table("poisson_offset")
    large = mixed("count ~ x + (1 | g)", data, F.Poisson(), exposure="exposure")
    offset = flat("count ~ x", data, F.Poisson(), offset=np.log(data["exposure"]))
    for small in (flat("count ~ x", data, F.Poisson(), exposure=data["exposure"]), offset):
        assert_allclose(anova(small, large)["logLik"], [-469.9494945, -338.0717577], atol=1e-6)
        assert_allclose(large.compare_lr_test(small)[0], 263.75547, atol=1e-5)
    without = flat("count ~ x", data, F.Poisson())
    assert "is not nested in" in anova(without, large).attrs["note"]


@pytest.mark.filterwarnings("ignore:Negative binomial dispersion")
def test_negative_binomial_against_glm(epil: pd.DataFrame) -> None:
    """GLM does not estimate alpha: its value is no parameter, and is one of those estimated."""
    large = mixed("y ~ lbase + trt + (1 | subject)", epil, F.NegativeBinomial())
    small = flat("y ~ lbase + trt", epil, F.NegativeBinomial(alpha=0.5))
    got = anova(small, large)
    assert got["npar"].tolist() == [3, 5]
    assert_allclose(got["logLik"], [small.llf, -627.68572], atol=1e-5)
    assert got["Df"].iloc[1] == 2
    held = mixed("y ~ lbase + trt + (1 | subject)", epil, F.NegativeBinomial(), dispersion=0.2)
    assert "is not nested in" in anova(small, held).attrs["note"]
    held = mixed("y ~ lbase + trt + (1 | subject)", epil, F.NegativeBinomial(), dispersion=0.5)
    assert anova(small, held)["Df"].iloc[1] == 1


# ---------------------------------------------------------------- across families


@pytest.mark.filterwarnings("ignore:Negative binomial dispersion")
def test_poisson_is_a_negative_binomial(epil: pd.DataFrame) -> None:
    formula = "y ~ lbase + trt + (1 | subject)"
    got = anova(
        flat("y ~ lbase + trt", epil, F.Poisson()),
        mixed(formula, epil, F.Poisson()),
        mixed(formula, epil, F.NegativeBinomial()),
    )
    assert got["npar"].tolist() == [3, 4, 5]
    assert_allclose(got["logLik"], [-874.11734, -671.71248, -627.68572], atol=1e-5)
    assert_allclose(got["Chisq"].iloc[1:], [404.80973, 88.05350], atol=1e-4)
    assert got.attrs["note"] == ""


@pytest.mark.filterwarnings("ignore:Negative binomial dispersion")
def test_a_negative_binomial_is_no_poisson(epil: pd.DataFrame) -> None:
    small = mixed("y ~ lbase + (1 | subject)", epil, F.NegativeBinomial())
    large = mixed("y ~ lbase * trt + V4 + (1 | subject)", epil, F.Poisson())
    got = anova(small, large)
    assert got["npar"].tolist() == [4, 6]
    assert np.isnan(got["Chisq"]).all()
    assert "is not nested in" in got.attrs["note"]
    with pytest.raises(FitError, match="is not nested in"):
        large.compare_lr_test(small)
    held = mixed("y ~ lbase * trt + V4 + (1 | subject)", epil, F.NegativeBinomial(), dispersion=0.3)
    assert "is not nested in" in anova(small, held).attrs["note"]


# ---------------------------------------------------------------- refusals


def test_other_weights(cbpp: pd.DataFrame) -> None:
    """The proportions are one response; rows that count for others have another likelihood."""
    cbpp = cbpp.assign(w=np.where(cbpp["period"] == "1", 2.0, 1.0))
    large = mixed("incidence / size ~ period + (1 | herd)", cbpp, F.Binomial(), weights="size")
    trials = flat("incidence + healthy ~ period", cbpp, F.Binomial())
    assert np.isfinite(anova(large, trials)["Chisq"].iloc[1])
    formula = "incidence + healthy ~ period + (1 | herd)"
    for other in (
        flat("I(incidence / size) ~ period", cbpp, F.Binomial(), var_weights=cbpp["size"]),
        mixed(formula, cbpp, F.Binomial(), freq_weights="w"),
    ):
        with pytest.raises(FitError, match=r"of different (weights: their \w+ differ|rows)"):
            anova(large, other)


def test_other_links_and_kinds(cbpp: pd.DataFrame) -> None:
    formula = "incidence + healthy ~ period"
    large = mixed(f"{formula} + (1 | herd)", cbpp, F.Binomial())
    probit = flat(formula, cbpp, F.Binomial(F.links.Probit()))
    with pytest.raises(
        FitError, match=r"Binomial with the Logit link by nagq=1 and Binomial with the Probit link"
    ):
        anova(large, probit)
    quadrature = mixed(f"{formula} + (1 | herd)", cbpp, F.Binomial(), nagq=7)
    with pytest.raises(FitError, match="by nagq=7"):
        anova(flat(formula, cbpp, F.Binomial()), large, quadrature)
    line = smf.ols("Q('incidence') ~ period", cbpp).fit()
    with pytest.raises(FitError, match=r"different responses|cannot be compared"):
        anova(large, line)


def test_without_a_mixed_model(cbpp: pd.DataFrame) -> None:
    small = flat("incidence + healthy ~ period", cbpp, F.Binomial())
    with pytest.raises(FitError, match=r"without random effects. Use wald_test_terms\(\)"):
        anova(small)
    with pytest.raises(FitError, match="none of the models is a mixed model"):
        anova(small, small)
    large = mixed("incidence + healthy ~ period + (1 | herd)", cbpp, F.Binomial())
    model = smf.glm("incidence + healthy ~ period", cbpp, family=F.Binomial())
    with pytest.raises(FitError, match=r"restricted, by fit_constrained\(\)"):
        anova(large, model.fit_constrained("Intercept = 0"))
    with pytest.raises(FitError, match="neither the result of a mixed model"):
        anova(large, model.fit_regularized(alpha=0.1))
    with pytest.raises(FitError, match="is not available for mixed models"):
        anova(small, flat("size ~ period", cbpp, F.Tweedie(LOG())))


def test_after_remove_data(cbpp: pd.DataFrame) -> None:
    large = mixed("incidence + healthy ~ period + (1 | herd)", cbpp, F.Binomial())
    small = flat("incidence + healthy ~ period", cbpp, F.Binomial())
    small.remove_data()
    with pytest.raises(FitError, match=r"results of GLM have no data any more, after remove_data"):
        anova(large, small)
    sleep = datasets.sleepstudy.load_pandas().data
    line = smf.ols("Reaction ~ Days", sleep).fit()
    line.remove_data()
    with pytest.raises(FitError, match=r"results of OLS have no data any more"):
        anova(MixedLM.from_formula("Reaction ~ Days + (1 | Subject)", sleep).fit(), line)
