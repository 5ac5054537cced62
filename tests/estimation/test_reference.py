"""Fits against lme4's: all of data/lme4.json, and published numbers of other programs.

Names, the order of terms and the order within interactions are lme4's in the file; the tests check
that nothing of lme4's is left over when `lme4_reference` has translated ours.
"""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest
from lme4_reference import CASES, Case, as_list, by_name, case_id, r_column, r_group, r_level
from numpy.testing import assert_allclose

from mixedlm_ext import MixedLM, datasets
from mixedlm_ext.criteria.gaussian import GaussianCriterion
from mixedlm_ext.errors import SingularFitWarning


@pytest.fixture(scope="module", params=CASES, ids=case_id)
def case(request: pytest.FixtureRequest) -> Case:
    return Case(request.param)


def test_all_cases_are_there() -> None:
    assert len(CASES) == 44
    assert len({case_id(c) for c in CASES}) == 44


def test_objective(case: Case) -> None:
    assert case.result.converged
    assert_allclose(case.result.objective, case.objective, rtol=1e-6)
    assert case.result.objective <= case.objective + 1e-6


def test_objective_at_lme4s_theta(case: Case) -> None:
    """The same function of theta, not only the same minimum."""
    value = case.model.objective(theta_from_lme4(case), reml=case["reml"])
    assert_allclose(value, case.objective, rtol=1e-10, atol=1e-7)


def test_likelihood_and_information_criteria(case: Case) -> None:
    result = case.result
    assert result.nobs == case["nobs"]
    assert result.df_modelwc == case["npar"]
    assert_allclose(result.llf, case["logLik"], rtol=1e-8)
    assert_allclose(result.aic, case["AIC"], rtol=1e-8)
    assert_allclose(result.bic, case["BIC"], rtol=1e-8)


def test_fixed_effects(case: Case) -> None:
    result = case.result
    names = [r_column(name) for name in result.params.index]
    assert sorted(names) == sorted(by_name(case["fixef"]))
    if not names:
        return
    r_names = list(case["fixef"])
    se = np.array([case["se"][name] for name in names])
    beta = np.array([case["fixef"][name] for name in names])
    order = [r_names.index(name) for name in names]
    vcov = np.array(case["vcov"])[np.ix_(order, order)]
    assert_allclose((result.params - beta) / se, 0, atol=1e-5)
    assert_allclose(result.bse, se, rtol=1e-5)
    assert_allclose((result.cov_params() - vcov) / np.outer(se, se), 0, atol=1e-5)


def test_sigma_and_variance_components(case: Case) -> None:
    sd, corr = {}, {}
    for row in case["varcorr"]:
        group = re.sub(r"\.\d+$", "", row["grp"])
        if "var2" in row:
            corr[group, frozenset([row["var1"], row["var2"]])] = row["sdcor"]
        else:
            sd[group, row.get("var1")] = row["sdcor"]
    assert_allclose(case.result.sigma, case.sigma, rtol=1e-5)
    assert_allclose(case.result.sigma, sd.pop(("Residual", None)), rtol=1e-5)
    table = case.result.varcorr()
    assert table.iloc[-1]["group"] == "Residual"
    assert_allclose(table.iloc[-1]["std_dev"], case.sigma, rtol=1e-5)
    for term in case.model.random_terms:
        group = r_group(term.group, case.reference)
        rows = table[table["group"] == term.name]
        names = [r_column(name) for name in rows["name"]]
        for i, (_, row) in enumerate(rows.iterrows()):
            expected = sd.pop((group, names[i]))
            # The floor: a standard deviation of zero is found to 1e-5 of sigma.
            assert_allclose(row["std_dev"], expected, rtol=1e-4, atol=1e-5 * case.sigma)
            assert_allclose(row["variance"], row["std_dev"] ** 2, rtol=1e-12)
            for j in range(i if term.structure == "us" else 0):
                expected = corr.pop((group, frozenset([names[i], names[j]])))
                assert_allclose(row[f"corr_{j + 1}"], expected, rtol=1e-4, atol=1e-4)
    assert not sd and not corr  # nothing of lme4's is left over


def theta_names(case: Case) -> list[str]:
    """lme4's names of our theta: `group.column` on the diagonal, `group.row.column` below it."""
    names = []
    for term in case.model.random_terms:
        group = r_group(term.group, case.reference)
        columns = [r_column(c) for c in term.columns]
        for j, column in enumerate(columns):
            names.append(f"{group}.{column}")
            if term.structure == "us":
                names += [f"{group}.{row}.{column}" for row in columns[j + 1 :]]
    return names


def theta_from_lme4(case: Case) -> np.ndarray:
    names = theta_names(case)
    assert sorted(names) == sorted(case["theta"])
    return np.array([case["theta"][name] for name in names])


def test_theta(case: Case) -> None:
    assert_allclose(case.result.theta, theta_from_lme4(case), rtol=1e-4, atol=1e-4)


def test_conditional_modes(case: Case) -> None:
    seen = set()
    for group, column, modes in case.effects():
        lme4 = case["ranef"][group]
        values = np.array(lme4["values"])[:, as_list(lme4["columns"]).index(column)]
        expected = pd.Series(values, index=lme4["levels"])
        assert sorted(modes.index) == sorted(expected.index)
        sd = case.result.varcorr()["std_dev"].max()
        assert_allclose(modes, expected[modes.index], rtol=1e-4, atol=1e-5 * sd)
        seen.add((group, column))
    assert seen == {(g, c) for g, lme4 in case["ranef"].items() for c in as_list(lme4["columns"])}


def test_conditional_standard_deviations(case: Case) -> None:
    columns = ("grpvar", "term", "grp", "condsd")
    lme4 = {
        (group, column, level): sd
        for group, column, level, sd in zip(*(case["condsd"][c] for c in columns), strict=True)
    }
    compared = 0
    for term in case.model.random_terms:
        group = r_group(term.group, case.reference)
        for name, column in case.result.random_effects_sd[term.name].items():
            for level, sd in column.items():
                key = group, r_column(name), r_level(level, term.group, group)
                if key in lme4:
                    assert_allclose(sd, lme4[key], rtol=1e-4, atol=1e-5 * case.sigma)
                    compared += 1
    assert compared == len(lme4)  # at most 40: the file is cut there


def test_fitted_values_and_residuals(case: Case) -> None:
    result = case.result
    assert_allclose(result.fittedvalues[:6], case["fitted_head"], rtol=0, atol=1e-4 * case.sigma)
    assert_allclose(result.resid[:6], case["resid_head"], rtol=0, atol=1e-4 * case.sigma)


def test_parts_of_the_criterion(case: Case) -> None:
    """They change with theta even at the optimum, hence 1e-5."""
    fit = case.result.fit_record
    assert_allclose(fit.pwrss, case["pwrss"], rtol=1e-5)
    assert_allclose(fit.logdet_L, case["ldL2"], rtol=1e-5, atol=1e-7)
    expected = 0.0 if case.empty_X_by_reml else case["ldRX2"]
    assert_allclose(fit.logdet_RX, expected, rtol=1e-5, atol=1e-5)


def test_singular(case: Case) -> None:
    assert case.result.singular == case["singular"]
    assert [w.category for w in case.warnings] == [SingularFitWarning] * case["singular"]


# ---------------------------------------------------------------- numbers of other programs


SLEEPSTUDY = "Reaction ~ Days + (Days | Subject)"


def load(name: str) -> pd.DataFrame:
    return getattr(datasets, name).load_pandas().data


@pytest.mark.parametrize(
    ("theta", "reml", "expected"),
    [
        (0.713, False, 327.34216280954615),
        (0.7525806540744477, False, 327.32705988112673),
        (1.0, True, 319.792389042002),
        (0.0, True, 326.023232155879),
    ],
)
def test_dyestuff_objective_at_theta(theta: float, reml: bool, expected: float) -> None:
    model = MixedLM.from_formula("Yield ~ 1 + (1 | Batch)", load("dyestuff"))
    assert_allclose(model.objective([theta], reml=reml), expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("reml", "expected"), [(True, 319.6542768422576), (False, 327.32705988112673)]
)
def test_dyestuff_optimum(reml: bool, expected: float) -> None:
    result = MixedLM.from_formula("Yield ~ 1 + (1 | Batch)", load("dyestuff")).fit(reml=reml)
    assert_allclose(result.objective, expected, rtol=1e-12)
    if not reml:
        assert_allclose(result.theta, 0.7525806540744477, rtol=1e-6)


def test_sleepstudy_ml() -> None:
    model = MixedLM.from_formula(SLEEPSTUDY, load("sleepstudy"))
    published = [0.92922972, 0.01816466, 0.22264601]
    assert_allclose(model.objective(published, reml=False), 1751.9393444636682, rtol=1e-11)
    result = model.fit(reml=False)
    assert_allclose(result.objective, 1751.9393444636682, rtol=1e-11)
    assert_allclose(result.theta, published, rtol=1e-4)
    standardized = model.problem.covariance.standardize(np.array(published))
    parts = GaussianCriterion(model.problem, reml=False).at(standardized).pls
    assert_allclose(parts.logdet_L, 73.9035, atol=5e-5)
    assert_allclose(parts.pwrss, 117889.2738, rtol=1e-7)


def test_sleepstudy_reml() -> None:
    """The surface is flat: theta is published to 6 digits and known to fewer."""
    result = MixedLM.from_formula(SLEEPSTUDY, load("sleepstudy")).fit()
    assert_allclose(result.objective, 1743.6282720, atol=5e-8)
    assert_allclose(result.theta, [0.966733, 0.015169, 0.230910], atol=1e-5)
    principal = np.linalg.svd(result.fit_record.templates[0], compute_uv=False)  # lme4's rePCA
    assert_allclose(principal, [0.9668591, 0.2308795], rtol=1e-5)


def test_hessian_at_optima() -> None:
    """Of MixedModels.jl's tests, which hold sigma at its estimate."""
    model = MixedLM.from_formula("Yield ~ 1 + (1 | Batch)", load("dyestuff2"))
    assert_allclose(model.hessian([0.0], reml=False), [[28.768680]], rtol=1e-6)
    model = MixedLM.from_formula(SLEEPSTUDY, load("sleepstudy"))
    theta = [0.92922972, 0.01816466, 0.22264601]
    sigma = model.fit(reml=False).sigma
    expected = [
        [45.4124, 35.9377, 6.3560],
        [35.9377, 465.740, 203.997],
        [6.3560, 203.997, 963.959],
    ]
    hessian = model.hessian(theta, reml=False, sigma=sigma)
    assert_allclose(hessian, expected, rtol=1e-4, atol=1e-3)


def test_insteval_three_factors() -> None:
    model = MixedLM.from_formula("y ~ service + (1 | s) + (1 | d) + (1 | dept)", load("insteval"))
    result = model.fit(reml=False)
    assert result.converged
    assert result.nobs == 73421
    assert list(result.n_groups.values()) == [2972, 1128, 14]
    assert_allclose(result.objective, 237721.76877450, rtol=1e-11)
    assert_allclose(result.theta, [0.27646398, 0.43735308, 0.06669704], rtol=1e-4, atol=1e-5)
    assert_allclose(result.params, [3.28258118, -0.09258861], rtol=1e-5)
    assert_allclose(result.sigma, 1.17749252, rtol=1e-7)


@pytest.mark.parametrize("reml", [True, False], ids=["REML", "ML"])
@pytest.mark.parametrize(
    ("name", "formula", "most"),
    [
        ("dyestuff", "Yield ~ 1 + (1 | Batch)", 6),
        ("dyestuff2", "Yield ~ 1 + (1 | Batch)", 8),
        ("penicillin", "diameter ~ 1 + (1 | plate) + (1 | sample)", 8),
        ("pastes", "strength ~ 1 + (1 | batch/cask)", 8),
        ("sleepstudy", SLEEPSTUDY, 11),
    ],
)
@pytest.mark.filterwarnings("ignore::mixedlm_ext.errors.SingularFitWarning")
def test_evaluations_to_the_optimum(name: str, formula: str, most: int, reml: bool) -> None:
    result = MixedLM.from_formula(formula, load(name)).fit(reml=reml)
    assert result.converged
    assert result.optimization.evaluations <= most
    if name == "dyestuff2":
        assert_allclose(result.theta, 0.0, atol=1e-6)
        assert result.singular
