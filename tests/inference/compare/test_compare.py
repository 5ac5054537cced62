"""Comparison of models and of optimizers: lme4's numbers, refusals, and what is nested in what."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf
from lme4_reference import REFERENCE, fit, unbalanced
from numpy.testing import assert_allclose
from statsmodels.stats.anova import anova_lm

import mixedlm_ext
from mixedlm_ext import MixedLM, anova, datasets
from mixedlm_ext.errors import FitError
from mixedlm_ext.inference.compare.nesting import is_nested

SLOPES = "Reaction ~ Days + (Days | Subject)"
INTERCEPTS = "Reaction ~ Days + (1 | Subject)"


@pytest.fixture(scope="module")
def sleep() -> pd.DataFrame:
    return unbalanced("sleepstudy")


# ---------------------------------------------------------------- the table


@pytest.mark.parametrize("case", REFERENCE["compare"], ids=lambda c: c["data"])
@pytest.mark.parametrize("reml", [True, False], ids=["REML", "ML"])
def test_compare(case: dict[str, Any], reml: bool) -> None:
    data = unbalanced(case["data"])
    models = [fit(formula, data, reml=reml) for formula in case["formulas"]]
    table = mixedlm_ext.anova(*models[::-1])
    assert list(table.index) == case["formulas"]
    for column in ("npar", "AIC", "BIC", "logLik"):
        assert_allclose(table[column], case[column], rtol=1e-8)
    assert_allclose(table["deviance"], -2 * np.array(case["logLik"]), rtol=1e-8)
    for column, name in (("Chisq", "Chisq"), ("Df", "Df"), ("Pr(>Chisq)", "p")):
        assert np.isnan(table[column].iloc[0])
        assert_allclose(table[column].iloc[1:], case[name][1:], rtol=1e-5)
    assert ("refitted by ML" in table.attrs["note"]) == reml
    assert_allclose(models[-1].compare(*models[:-1]), table)


def test_reml_fits_of_the_same_fixed_effects_stay_reml(sleep: pd.DataFrame) -> None:
    small, large = fit(INTERCEPTS, sleep), fit(SLOPES, sleep)
    table = large.compare(small)
    assert table.attrs["note"] == ""
    assert_allclose(table["logLik"], [small.llf, large.llf])
    assert_allclose(table.loc[SLOPES, "Chisq"], large.ranova()["LRT"].iloc[1], rtol=1e-9)


def test_reml_and_ml_fits_meet_by_ml(sleep: pd.DataFrame) -> None:
    table = fit(SLOPES, sleep).compare(fit(INTERCEPTS, sleep, reml=False))
    assert "ML" in table.attrs["note"]
    assert_allclose(table.loc[SLOPES, "logLik"], fit(SLOPES, sleep, reml=False).llf, rtol=1e-9)


def test_reml_fits_of_other_codings_are_refitted() -> None:
    """The restricted likelihood depends on the coding of X, though its columns span the same."""
    data = unbalanced("cake")
    one = fit("angle ~ recipe + (1 | replicate)", data)
    two = fit("angle ~ C(recipe, Sum) + (1 | replicate)", data)
    table = one.compare(two)
    assert "refitted" in table.attrs["note"]
    assert_allclose(table["logLik"].iloc[0], table["logLik"].iloc[1], rtol=1e-10)


def test_models_of_one_formula_are_numbered(sleep: pd.DataFrame) -> None:
    table = fit(SLOPES, sleep).compare(fit(SLOPES, sleep, sigma=25.0))
    assert list(table.index) == [f"2: {SLOPES}", f"1: {SLOPES}"]
    assert list(table["npar"]) == [5, 6]


def test_anova_of_one_model_is_its_table(sleep: pd.DataFrame) -> None:
    result = fit(SLOPES, sleep)
    pd.testing.assert_frame_equal(mixedlm_ext.anova(result, type=2), result.anova(2))


def test_compare_lr_test(sleep: pd.DataFrame) -> None:
    small = fit(INTERCEPTS, sleep, reml=False)
    large = fit("Reaction ~ Days + I(Days ** 2) + (1 | Subject)", sleep, reml=False)
    stat, p, df = large.compare_lr_test(small)
    table = large.compare(small).iloc[1]
    assert (stat, p, df) == (table["Chisq"], table["Pr(>Chisq)"], 1)
    assert isinstance(df, int)
    statsmodels = [
        smf.mixedlm(f, sleep, groups="Subject").fit(reml=False).llf
        for f in ("Reaction ~ Days", "Reaction ~ Days + I(Days ** 2)")
    ]
    assert_allclose(stat, 2 * (statsmodels[1] - statsmodels[0]), rtol=1e-5)


# ---------------------------------------------------------------- refusals


def test_different_rows(sleep: pd.DataFrame) -> None:
    result = fit(SLOPES, sleep)
    with pytest.raises(FitError, match=r"different rows.*has 166.*160"):
        result.compare(fit(INTERCEPTS, sleep.iloc[:-6]))


def test_different_responses(sleep: pd.DataFrame) -> None:
    result = fit(SLOPES, sleep)
    with pytest.raises(FitError, match=r"'Reaction' and 'np.log\(Reaction\)' differ in 166 of 166"):
        result.compare(fit("np.log(Reaction) ~ Days + (1 | Subject)", sleep))


def test_models_that_are_not_nested_are_named(sleep: pd.DataFrame) -> None:
    one, two = fit(INTERCEPTS, sleep), fit("Reaction ~ Days + (0 + Days | Subject)", sleep)
    table = one.compare(two)
    assert table[["Chisq", "Df", "Pr(>Chisq)"]].isna().all().all()
    assert "is not nested in" in table.attrs["note"]
    with pytest.raises(FitError, match=r"'Reaction ~ Days \+ \(1 \| Subject\)' is not nested in"):
        two.compare_lr_test(one)


def test_what_is_no_mixed_model(sleep: pd.DataFrame) -> None:
    result = fit(SLOPES, sleep)
    robust = smf.rlm("Reaction ~ Days", sleep).fit()
    with pytest.raises(FitError, match=r"RLMResults"):
        result.compare(robust)
    with pytest.raises(FitError, match="needs another model"):
        result.compare()
    with pytest.raises(FitError, match="nothing to test"):
        mixedlm_ext.anova()


def test_after_remove_data(sleep: pd.DataFrame) -> None:
    result = fit(SLOPES, sleep)
    result.remove_data()
    with pytest.raises(FitError, match="remove_data"):
        result.compare(fit(INTERCEPTS, sleep))


# ---------------------------------------------------------------- nesting

MACHINES = "score ~ Machine + "
NESTED = [
    ("(1 | Worker)", "(Machine | Worker)", True),
    ("(1 | Worker) + (1 | Worker:Machine)", "(0 + Machine | Worker)", True),
    ("(0 + Machine | Worker)", "(Machine | Worker)", True),
    ("(Machine || Worker)", "(Machine | Worker)", True),
    ("(Machine | Worker)", "(Machine || Worker)", False),
    ("(1 | Worker)", "(1 | Worker:Machine)", False),
    ("(1 | Worker)", "(1 | Worker/Machine)", True),
    ("(1 | Machine)", "(1 | Worker)", False),
]


@pytest.mark.parametrize(("small", "large", "expected"), NESTED)
def test_nesting_of_random_parts(small: str, large: str, expected: bool) -> None:
    data = datasets.machines.load_pandas().data
    one, two = (MixedLM.from_formula(MACHINES + part, data).design for part in (small, large))
    assert is_nested(one, two) is expected


FIXED = [
    ("recipe", "recipe * temperature", True),
    ("C(recipe, Sum)", "recipe + temp", True),
    ("temp", "temperature", True),
    ("temperature", "temp", False),
    ("recipe", "temp", False),
]


@pytest.mark.parametrize(("small", "large", "expected"), FIXED)
def test_nesting_of_fixed_parts(small: str, large: str, expected: bool) -> None:
    data = unbalanced("cake")
    one, two = (
        MixedLM.from_formula(f"angle ~ {part} + (1 | replicate)", data).design
        for part in (small, large)
    )
    assert is_nested(one, two) is expected


def test_nesting_with_offsets_and_weights(sleep: pd.DataFrame) -> None:
    data = sleep.assign(w=1.0 + np.arange(len(sleep)) % 2)

    def design(formula: str, **arguments: Any) -> Any:
        return MixedLM.from_formula(formula, data, **arguments).design

    shifted = design("Reaction ~ 1 + offset(10 * Days) + (1 | Subject)")
    assert is_nested(shifted, design(INTERCEPTS))
    assert not is_nested(shifted, design("Reaction ~ 1 + (1 | Subject)"))
    assert not is_nested(design(INTERCEPTS), design(SLOPES, weights="w"))
    assert is_nested(design(INTERCEPTS, weights="w"), design(SLOPES, weights="w"))


# ---------------------------------------------------------------- optimizers


def test_all_fit(sleep: pd.DataFrame) -> None:
    result = fit(SLOPES, sleep)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        table = result.all_fit()
    assert list(table.index) == ["newton", "bobyqa", "nelder-mead", "powell", "bfgs", "lbfgs"]
    good = table[table["converged"]]
    assert len(good) >= 5
    assert (good["verdict"] == "converged").all()
    assert_allclose(good["objective"], result.objective, rtol=1e-9)
    assert_allclose(good["Days"], result.params["Days"], rtol=1e-4)
    assert (table["objective"] > result.objective - 1e-7).all()
    assert_allclose(
        table.loc["newton", ["theta[0]", "theta[2]"]].astype(float), result.theta[[0, 2]]
    )
    # fit may look at several starts, all_fit begins at the one that it chose
    assert table.loc["newton", "evaluations"] <= result.optimization.evaluations


def test_all_fit_of_some_methods(sleep: pd.DataFrame) -> None:
    result = fit(SLOPES, sleep)
    table = result.all_fit(["newton", "powell"], maxiter=2)
    assert list(table.index) == ["newton", "powell"]
    assert not table["converged"].any()
    with pytest.raises(FitError, match=r"method='newtn' is not known. Did you mean 'newton'"):
        result.all_fit(["newtn"])


# ---------------------------------------------------------------- linear regression


def test_a_mixed_model_against_linear_regression() -> None:
    """lme4 1.1's anova(m, lm)."""
    data = datasets.sleepstudy.load_pandas().data
    mixed = MixedLM.from_formula("Reaction ~ Days + (Days | Subject)", data).fit()
    line = smf.ols("Reaction ~ Days", data).fit()
    for table in (anova(mixed, line), anova(line, mixed), mixed.compare(line)):
        assert list(table.index) == ["Reaction ~ Days", "Reaction ~ Days + (Days | Subject)"]
        assert table["npar"].tolist() == [3, 6]
        assert_allclose(table["AIC"], [1906.29306, 1763.93934], rtol=1e-8)
        assert_allclose(table["BIC"], [1915.87193, 1783.09709], rtol=1e-8)
        assert_allclose(table["logLik"], [-950.146528, -875.969672], rtol=1e-8)
        assert_allclose(table["Chisq"].iloc[1], 148.35371, rtol=1e-7)
        assert table["Df"].iloc[1] == 3
        assert table.attrs["note"].endswith("refitted by ML, since linear regression is by ML.")
    mean = smf.ols("Reaction ~ 1", data).fit()
    statistic, p, df = mixed.compare_lr_test(mean)
    assert_allclose(statistic, 209.1096072, rtol=1e-7)
    assert df == 4 and p < 1e-40
    three = anova(mixed, mean, line)
    assert three["npar"].tolist() == [2, 3, 6]
    other = smf.ols("Reaction ~ C(Days)", data).fit()
    assert "is not nested in" in anova(mixed, other).attrs["note"]
    with pytest.raises(FitError, match="is not nested in"):
        mixed.compare_lr_test(other)


@pytest.mark.filterwarnings("ignore:The design matrix is rank-deficient")
def test_linear_regression_with_a_repeated_column() -> None:
    """A coefficient that cannot be estimated is no parameter (as in R's anova)."""
    data = datasets.sleepstudy.load_pandas().data
    mixed = MixedLM.from_formula("Reaction ~ Days + (1 | Subject)", data).fit()
    once, twice = (smf.ols(f"Reaction ~ Days{more}", data).fit() for more in ("", " + I(2 * Days)"))
    assert anova(mixed, twice)["npar"].tolist() == anova(mixed, once)["npar"].tolist() == [3, 4]
    assert mixed.compare_lr_test(twice) == mixed.compare_lr_test(once)


def test_linear_regression_with_weights() -> None:
    data = datasets.sleepstudy.load_pandas().data
    data["w"] = 1.0 + np.arange(180) % 3
    mixed = MixedLM.from_formula("Reaction ~ Days + (1 | Subject)", data, weights="w").fit()
    line = smf.wls("Reaction ~ Days", data, weights=data["w"]).fit()
    statistic, _, df = mixed.compare_lr_test(line)
    theta_zero = mixed.model.objective([0.0], reml=False)
    assert_allclose(-2 * line.llf, theta_zero, rtol=1e-10)
    assert_allclose(statistic, theta_zero - mixed.refit_ml().objective, rtol=1e-6)
    assert df == 1
    with pytest.raises(FitError, match="is not nested in"):
        mixed.compare_lr_test(smf.ols("Reaction ~ Days", data).fit())


def test_what_is_no_model_to_compare_with() -> None:
    data = datasets.sleepstudy.load_pandas().data
    mixed = MixedLM.from_formula("Reaction ~ Days + (1 | Subject)", data).fit()
    theirs = smf.mixedlm("Reaction ~ Days", data, groups="Subject").fit()
    line = smf.ols("Reaction ~ Days", data).fit()
    for call in (lambda: mixed.compare_lr_test(theirs), lambda: anova(mixed, theirs)):
        with pytest.raises(FitError, match=r"a fit of statsmodels' own MixedLM.*from_formula"):
            call()
    with pytest.raises(FitError, match="neither the result of a mixed model nor of statsmodels'"):
        anova(mixed, smf.quantreg("Reaction ~ Days", data).fit())
    with pytest.raises(FitError, match="a linear mixed model and Gaussian with the Identity link"):
        anova(mixed, smf.glm("Reaction ~ Days", data).fit())
    with pytest.raises(FitError, match=r"linear regression. Use statsmodels' anova_lm\(\)"):
        anova(line)
    with pytest.raises(FitError, match="none of the models is a mixed model"):
        anova(line, line)
    with pytest.raises(FitError, match="different rows"):
        anova(mixed, smf.ols("Reaction ~ Days", data.iloc[1:]).fit())
    for models, type in (([mixed], 1), ([mixed], 2), ([mixed], 3), ([mixed, mixed], 1)):
        with pytest.raises(FitError, match=r"Use the result's own anova\(type=1, 2, 3\)"):
            anova_lm(*models, typ=type)
    assert not hasattr(mixed, "ssr")
