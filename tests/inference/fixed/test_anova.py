"""Analysis of variance and deletions against lmerTest's, and what they must not depend on."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf
from lme4_reference import (
    CASES,
    REFERENCE,
    SPLIT_PLOT,
    Case,
    as_list,
    case_id,
    fit,
    r_column,
    unbalanced,
)
from numpy.testing import assert_allclose
from scipy import stats

from mixedlm_ext import MixedLM, RandomTerm, datasets
from mixedlm_ext.errors import FitError
from mixedlm_ext.inference.fixed.hypotheses import echelon

WITH_ANOVA = [c for c in CASES if c.get("anova")]
WITH_RANOVA = [c for c in CASES if c.get("ranova")]


def same_effect(ours: str, theirs: str) -> bool:
    """Whether two names mean the same effect: C(f, Sum) is f, and the order is free."""
    plain = re.sub(r"C\((\w+), \w+\)", r"\1", r_column(ours))
    return sorted(plain.split(":")) == sorted(theirs.split(":"))


def check_f_table(table: pd.DataFrame, expected: dict[str, Any], rtol: float = 1e-6) -> None:
    """All columns of a table, rows by their names."""
    names = as_list(expected["names"])
    assert len(table) == len(names)
    for row, name in zip(table.index, names):
        assert same_effect(row, name)
    for column in ("sum_sq", "mean_sq", "num_df", "den_df", "F"):
        if column in expected:
            assert_allclose(table[column], as_list(expected[column]), rtol=rtol)
    p = stats.f.sf(table["F"], table["num_df"], table["den_df"])
    assert_allclose(table["pvalue"], p, rtol=1e-8)


# ---------------------------------------------------------------- anova


@pytest.mark.parametrize("reference", WITH_ANOVA, ids=case_id)
def test_anova_of_the_reference(reference: dict[str, Any]) -> None:
    case = Case(reference)
    for name, expected in reference["anova"].items():
        type, ddf = name.split(" ")
        table = case.result.with_ddf(ddf.lower()).anova(type)
        table.index = [r_column(row) for row in table.index]
        rows = [list(table.index).index(row) for row in as_list(expected["names"])]
        table = table.iloc[rows]
        assert_allclose(table["num_df"], as_list(expected["numdf"]))
        assert_allclose(table["den_df"], as_list(expected["dendf"]), rtol=1e-4)
        assert_allclose(table["F"], as_list(expected["F"]), rtol=1e-5)
        assert_allclose(table["pvalue"], as_list(expected["p"]), rtol=1e-3)


def coded(formula: str) -> str:
    """The contrasts of the reference: sums for recipe, polynomials for temperature."""
    return formula.replace("recipe * temperature", "C(recipe, Sum) * C(temperature, Poly)")


@pytest.mark.parametrize("case", REFERENCE["anova"], ids=lambda c: f"{c['data']} {c['formula']}")
def test_anova_of_unbalanced_data(case: dict[str, Any]) -> None:
    formula = coded(case["formula"]) if case["coded"] else case["formula"]
    result = fit(formula, unbalanced(case["data"]))
    for name, expected in case["tables"].items():
        type, ddf = name.split(" ")
        check_f_table(result.with_ddf(ddf.lower()).anova(type), expected, rtol=2e-5)


def test_type_3_does_not_depend_on_the_coding() -> None:
    data = unbalanced("cake")
    plain = fit(SPLIT_PLOT, data).anova(3)
    for contrast in ("Sum", "Helmert", "Treatment"):
        sides = f"C(recipe, {contrast}) * C(temperature, {contrast})"
        other = fit(f"angle ~ {sides} + (1 | recipe:replicate)", data).anova(3)
        assert_allclose(other["F"], plain["F"], rtol=1e-6)


def test_type_3_is_marginal_with_sum_contrasts() -> None:
    result = fit(coded(SPLIT_PLOT), unbalanced("cake"))
    assert_allclose(result.anova(3)["F"], result.anova("marginal")["F"], rtol=1e-8)


def test_marginal_tests_the_coefficients() -> None:
    result = fit(SPLIT_PLOT, unbalanced("cake"))
    by_term = result.wald_test_terms().table.loc[["recipe", "temperature", "recipe:temperature"]]
    assert_allclose(result.anova("marginal")["F"], by_term["statistic"].astype(float), rtol=1e-10)


def test_type_1_takes_the_terms_as_they_are_written() -> None:
    """patsy puts columns of factors first; the order of the tests is the formula's."""
    data = unbalanced("cake")
    one = fit("angle ~ temp + recipe + (1 | replicate)", data).anova(1)
    two = fit("angle ~ recipe + temp + (1 | replicate)", data).anova(1)
    assert list(one.index) == ["temp", "recipe"] and list(two.index) == ["recipe", "temp"]
    assert not np.isclose(one.loc["temp", "F"], two.loc["temp", "F"], rtol=1e-4)


def test_an_interaction_without_a_main_effect_contains_the_other() -> None:
    """SAS's containment; lmerTest misses it in R's coding of a + a:b."""
    data = unbalanced("cake")
    nested = fit("angle ~ recipe + recipe:temperature + (1 | recipe:replicate)", data)
    full = fit(SPLIT_PLOT, data)
    for type in (2, 3):
        assert_allclose(
            nested.anova(type).loc["recipe", "F"],
            full.anova(3 if type == 3 else 1).loc["recipe", "F"],
            rtol=1e-6,
        )


def test_types_agree_without_factors() -> None:
    data = unbalanced("sleepstudy")
    X = np.column_stack([np.ones(len(data)), data["Days"], data["Days"] ** 2])
    arrays = MixedLM(data["Reaction"].to_numpy(), X, [RandomTerm(data["Subject"])]).fit()
    assert list(arrays.anova().index) == ["x1", "x2"]
    written = fit("Reaction ~ Days + I(Days^2) + (1 | Subject)", data)
    for type in (1, 2, 3, "marginal"):
        assert_allclose(arrays.anova(type), written.anova(type), rtol=1e-8)
    assert_allclose(written.anova(2), written.anova(3), rtol=1e-8)
    assert not np.allclose(written.anova(1)["F"], written.anova(3)["F"])


def test_anova_by_the_normal_distribution_and_residual_degrees() -> None:
    result = fit(SPLIT_PLOT, unbalanced("cake"))
    normal, residual = (result.with_ddf(d).anova() for d in ("normal", "residual"))
    assert np.isinf(normal["den_df"]).all()
    assert_allclose(normal["F"], residual["F"])
    p = stats.chi2.sf(normal["F"] * normal["num_df"], normal["num_df"])
    assert_allclose(normal["pvalue"], p)
    assert (residual["den_df"] == result.df_resid).all()


def test_anova_without_fixed_effects_or_estimable_terms() -> None:
    data = unbalanced("sleepstudy")
    assert fit("Reaction ~ 0 + (1 | Subject)", data).anova().empty
    assert fit("Reaction ~ 1 + (1 | Subject)", data).anova().empty
    table = fit("Reaction ~ Days + I(2 * Days) + (1 | Subject)", data).anova()
    assert table.loc["I(2 * Days)", "num_df"] == 0
    assert np.isnan(table.loc["I(2 * Days)", "F"])


def test_anova_after_remove_data() -> None:
    result = fit("angle ~ recipe + temp + (1 | replicate)", unbalanced("cake"))
    before = [result.anova(type) for type in (1, 2, 3)]
    result.remove_data()
    for type, table in zip((1, 2, 3), before):
        assert_allclose(result.anova(type), table)
    crossed = fit(SPLIT_PLOT, unbalanced("cake"))
    crossed.remove_data()
    with pytest.raises(FitError, match=r"remove_data.*type III"):
        crossed.anova()


def test_anova_does_not_touch_the_result() -> None:
    result = fit(SPLIT_PLOT, unbalanced("cake"))
    before = result.params.copy(), result.fit_record.objective
    result.anova(), result.drop1(), result.ranova()
    assert result.params.equals(before[0]) and result.fit_record.objective == before[1]


def test_unknown_type() -> None:
    result = fit("Reaction ~ Days + (1 | Subject)", unbalanced("sleepstudy"))
    with pytest.raises(FitError, match=r"type='marginl' is not known. Did you mean 'marginal'"):
        result.anova("marginl")


# ---------------------------------------------------------------- random terms


def reference_name(name: str, case: Case) -> str:
    """Our row by lmerTest's name, the order within interactions and `||` translated."""
    found = re.fullmatch(r"(?:(.*) in )?\((.*) \|\|? (.*)\)", name)
    assert found
    effect, left, group = found.groups()
    if "||" in name:
        group_name = next(t.group for t in case.model.random_terms)
        return (
            f"(1 | {group_name})"
            if effect == "Intercept"
            else f"{effect} in (0 + Days | {group_name})"
        )
    names = [n for n in as_list(case["ranova"]["names"]) if n != "<none>"]
    for candidate in names:
        theirs = re.fullmatch(r"(?:(.*) in )?\((.*) \| (.*)\)", candidate)
        assert theirs
        same_group = sorted(theirs[3].split(":")) == sorted(group.split(":"))
        if same_group and theirs[1] == effect and theirs[2] == left:
            return candidate
    raise AssertionError(f"{name} is not among {names}")


@pytest.mark.parametrize("reference", WITH_RANOVA, ids=case_id)
def test_ranova_of_the_reference(reference: dict[str, Any]) -> None:
    case = Case(reference)
    table = case.result.ranova()
    expected = reference["ranova"]
    assert_allclose(
        table.iloc[0][["npar", "logLik", "AIC"]].astype(float),
        [
            expected["npar"][0],
            expected["logLik"][0],
            expected["AIC"][0],
        ],
        rtol=1e-8,
    )
    for name, row in table.iloc[1:].iterrows():
        i = expected["names"].index(reference_name(str(name), case))
        if expected["df"][i] == 0:  # lmerTest compares with a model that is not nested
            assert row["npar"] == expected["npar"][i] - 1
            continue
        assert row["npar"] == expected["npar"][i]
        assert row["Df"] == expected["df"][i]
        assert_allclose(row["logLik"], expected["logLik"][i], rtol=1e-8)
        assert_allclose(row["AIC"], expected["AIC"][i], rtol=1e-8)
        assert_allclose(row["LRT"], expected["LRT"][i], rtol=1e-5, atol=1e-7)
        if row["LRT"] > 1e-7:
            assert_allclose(row["pvalue"], expected["p"][i], rtol=1e-4)
    assert len(table) == len(expected["names"])


REDUCTIONS = [
    ("Reaction ~ Days + (Days + I(Days^2) || Subject)", "Days in ",
     "Reaction ~ Days + (I(Days^2) || Subject)"),
    ("Reaction ~ Days + (1 + Days + I(Days^2) | Subject)", "Days in ",
     "Reaction ~ Days + (I(Days^2) | Subject)"),
    ("Reaction ~ Days + (0 + Days | Subject) + (1 | Subject)", "Days in ",
     "Reaction ~ Days + (1 | Subject)"),
]  # fmt: skip


@pytest.mark.parametrize("reml", [True, False], ids=["REML", "ML"])
@pytest.mark.parametrize(("full", "row", "reduced"), REDUCTIONS)
def test_ranova_is_a_fit_of_the_smaller_model(
    full: str, row: str, reduced: str, reml: bool
) -> None:
    data = unbalanced("sleepstudy")
    table = fit(full, data, reml=reml).ranova()
    (name,) = [n for n in table.index if n.startswith(row)]
    smaller = fit(reduced, data, reml=reml)
    assert_allclose(table.loc[name, "logLik"], smaller.llf, rtol=1e-8)
    assert table.loc[name, "npar"] == smaller.df_modelwc


def test_ranova_with_weights_offset_and_known_sigma() -> None:
    data = unbalanced("pastes").assign(w=lambda d: 1.0 + np.arange(len(d)) % 3, z=1.0)
    data["z"] = np.linspace(0, 2, len(data))

    def weighted(formula: str) -> Any:
        return MixedLM.from_formula(formula, data, weights="w", offset="z").fit(sigma=1.0)

    table = weighted("strength ~ 1 + (1 | batch/cask)").ranova()
    smaller = weighted("strength ~ 1 + (1 | batch:cask)")
    assert_allclose(table.loc["(1 | batch)", "logLik"], smaller.llf, rtol=1e-9)
    assert table.loc["(1 | batch)", "npar"] == smaller.df_modelwc == 2


def test_a_factor_is_reduced_to_an_intercept_unless_there_is_one() -> None:
    data = datasets.machines.load_pandas().data
    alone = fit("score ~ Machine + (0 + Machine | Worker)", data).ranova()
    both = fit("score ~ Machine + (1 | Worker) + (0 + Machine | Worker)", data).ranova()
    simple = fit("score ~ Machine + (1 | Worker)", data)
    for table in (alone, both):
        assert_allclose(table.iloc[-1]["logLik"], simple.llf, rtol=1e-8)
        assert table.iloc[-1]["npar"] == simple.df_modelwc


def test_ranova_of_whole_terms() -> None:
    data = unbalanced("sleepstudy")
    table = fit("Reaction ~ Days + (Days | Subject)", data, reml=False).ranova(reduce_terms=False)
    ols = smf.ols("Reaction ~ Days", data).fit()
    assert_allclose(table.loc["(Days | Subject)", "logLik"], ols.llf, rtol=1e-10)
    assert table.loc["(Days | Subject)", "Df"] == 3


def test_mixture_at_the_boundary() -> None:
    data = unbalanced("sleepstudy")
    result = fit("Reaction ~ Days + (Days | Subject)", data)
    row = result.ranova(boundary="mixture").iloc[1]
    p = 0.5 * stats.chi2.sf(row["LRT"], 1) + 0.5 * stats.chi2.sf(row["LRT"], 2)
    assert_allclose(row["pvalue"], p, rtol=1e-10)
    single = fit("Reaction ~ Days + (1 | Subject)", data)
    plain, mixture = (single.ranova(boundary=b).iloc[1]["pvalue"] for b in ("chi2", "mixture"))
    assert_allclose(mixture, plain / 2, rtol=1e-10)
    whole = [result.ranova(False, boundary=b).iloc[1]["pvalue"] for b in ("chi2", "mixture")]
    assert whole[0] == whole[1]
    zero = fit("Yield ~ 1 + (1 | Batch)", datasets.dyestuff2.load_pandas().data)
    assert zero.ranova(boundary="mixture").iloc[1]["pvalue"] == 1.0
    with pytest.raises(FitError, match="boundary='mix' is not known"):
        result.ranova(boundary="mix")


# ---------------------------------------------------------------- single terms


@pytest.mark.parametrize("case", REFERENCE["drop1"], ids=lambda c: c["formula"])
def test_drop1(case: dict[str, Any]) -> None:
    result = fit(case["formula"], unbalanced(case["data"]))
    check_f_table(result.drop1(), case["F"], rtol=2e-5)
    table, expected = result.drop1(test="LRT"), case["LRT"]
    assert len(table) == len(expected["names"])
    assert_allclose(table["AIC"], expected["AIC"], rtol=1e-8)
    assert_allclose(table["LRT"].iloc[1:], expected["LRT"][1:], rtol=1e-6)
    assert_allclose(table["Df"].iloc[1:], expected["npar"][1:])
    assert_allclose(table["pvalue"].iloc[1:], expected["p"][1:], rtol=1e-5)


def test_drop1_is_a_fit_of_the_smaller_model() -> None:
    """Without an intercept the first factor codes the constant, which the second one keeps."""
    data = unbalanced("cake")
    table = fit("angle ~ 0 + recipe + temperature + (1 | replicate)", data).drop1(test="LRT")
    for term, other in (("recipe", "temperature"), ("temperature", "recipe")):
        smaller = fit(f"angle ~ 0 + {other} + (1 | replicate)", data, reml=False)
        assert_allclose(table.loc[term, "logLik"], smaller.llf, rtol=1e-9)
        assert table.loc[term, "npar"] == smaller.df_modelwc
    f = fit("angle ~ 0 + recipe + temperature + (1 | replicate)", data).drop1()
    with_intercept = fit("angle ~ recipe + temperature + (1 | replicate)", data).drop1()
    assert_allclose(f["num_df"], with_intercept["num_df"])
    assert_allclose(f["F"], with_intercept["F"], rtol=1e-6)


def test_drop1_scope() -> None:
    result = fit(SPLIT_PLOT, unbalanced("cake"))
    assert list(result.drop1("recipe:temperature").index) == ["recipe:temperature"]
    with pytest.raises(FitError, match=r"'recipe' is part of an interaction.*'recipe:temperature'"):
        result.drop1("recipe")
    with pytest.raises(FitError, match=r"'recip' is no term"):
        result.drop1(["recip"])
    with pytest.raises(FitError, match=r"test='G' is not known"):
        result.drop1(test="G")


def test_the_echelon_form_is_in_the_users_units() -> None:
    """Columns of any length: the pivots are one, whatever rows span the hypothesis."""
    L = np.array([[0.0, 1.0, 0.0, 3.0], [0.0, 0.0, 1.0, -2.0]])
    mixed = np.array([[2.0, 1.0], [-1e3, 4.0]]) @ L
    assert_allclose(echelon(mixed, np.array([1.0, 20.0, 0.1, 7.0])), L, rtol=1e-12)
    tiny = L * [1.0, 1e-7, 1e7, 1.0]
    lengths = np.array([1.0, 1e-7, 1e7, 1.0])
    assert_allclose(
        echelon(np.array([[1.0, 1.0], [1.0, -1.0]]) @ tiny, lengths),
        [[0.0, 1.0, 0.0, 3e7], [0.0, 0.0, 1.0, -2e-7]],
        rtol=1e-9,
    )


def test_a_part_of_the_only_effect_has_a_basis_of_its_own() -> None:
    """lmerTest 3.1's contestMD and anova."""
    data = datasets.sleepstudy.load_pandas().data
    data = data.drop(index=data.index[::7])
    data["f"] = [f"l{7 * int(days) % 4}" for days in data["Days"]]
    result = fit("Reaction ~ f + (Days | Subject)", data)
    rows = np.eye(4)
    for L, df in ((rows[[1, 2]], 116.102753), (rows[[2, 3]], 116.7581364), (rows[1:], 116.3699774)):
        assert_allclose(result.f_test(L).df_denom, df, rtol=1e-7)
        assert_allclose(result.f_test(np.triu(np.ones((len(L),) * 2)) @ L).df_denom, df, rtol=1e-7)


def test_several_models_are_compared_elsewhere() -> None:
    result = fit(SPLIT_PLOT, unbalanced("cake"))
    with pytest.raises(FitError, match=r"For two or more, use compare\(other\)"):
        result.anova(result)
