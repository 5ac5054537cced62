"""Fits against lme4's: all of data/lme4.json, and published numbers of other programs.

Names, the order of terms and the order within interactions are lme4's in the file; the helpers
below translate from ours to lme4's, and the tests check that nothing of lme4's is left over.
"""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

from mixedlm_ext import MixedLM, datasets
from mixedlm_ext.criteria.gaussian import GaussianCriterion
from mixedlm_ext.errors import SingularFitWarning

DATA = Path(__file__).parent / "data"
CASES = json.loads((DATA / "lme4.json").read_text())["cases"]


# ---------------------------------------------------------------- from our names to lme4's


def our_formula(formula: str) -> str:
    """Write an R formula in patsy's Python."""
    return re.sub(r"\byield\b", "Q('yield')", formula).replace("^", "**")


def r_column(name: str) -> str:
    """`Intercept`, `recipe[T.B]`, `Machine[A]`, `I(Days ** 2)` as R spells them."""
    if name == "Intercept":
        return "(Intercept)"
    return re.sub(r"\[(?:T\.)?([^\]]*)\]", r"\1", name).replace(" ** ", "^")


def r_group(group: str, reference: dict[str, Any]) -> str:
    """lme4's name of our grouping factor: the same factors, maybe in another order."""
    names = {re.sub(r"\.\d+$", "", row["grp"]) for row in reference["varcorr"]}
    (found,) = [n for n in names if sorted(n.split(":")) == sorted(group.split(":"))]
    return found


def r_level(level: Any, group: str, r_name: str) -> str:
    """A level of ours, a tuple for an interaction, as lme4 glues it together."""
    if not isinstance(level, tuple):
        return str(level)
    value = dict(zip(group.split(":"), level, strict=True))
    return ":".join(str(value[factor]) for factor in r_name.split(":"))


def as_list(x: Any) -> list[Any]:
    """Undo R's habit of writing a vector of length one as a scalar."""
    return x if isinstance(x, list) else [x]


def by_name(x: Any) -> dict[str, float]:
    """A named vector; R writes an empty one as a list."""
    return x or {}


# ---------------------------------------------------------------- the fits


class Case:
    """One fit of the file and ours."""

    def __init__(self, reference: dict[str, Any]) -> None:
        self.reference = reference
        name = Path(reference["data"]).stem
        if name == "sleepstudy_weights":
            data = pd.read_csv(DATA / reference["data"], dtype={"Subject": str})
        else:
            data = getattr(datasets, name).load_pandas().data
        formula = our_formula(reference["formula"])
        self.model = MixedLM.from_formula(formula, data, weights=reference["weights"])
        with warnings.catch_warnings(record=True) as self.warnings:
            warnings.simplefilter("always", SingularFitWarning)
            self.result = self.model.fit(reml=reference["reml"])

    def __getitem__(self, key: str) -> Any:
        return self.reference[key]

    @property
    def sigma(self) -> float:
        """Residual standard deviation, the yardstick of what is near zero."""
        return float(self.reference["sigma"])

    @property
    def empty_X_by_reml(self) -> bool:
        """lme4 1.1-31 adds the log-determinant of an empty matrix, an arbitrary number."""
        return self.reference["reml"] and not self.reference["fixef"]

    @property
    def objective(self) -> float:
        """lme4's criterion; where that is an artefact, minus twice lme4's logLik, which is not."""
        return -2 * self["logLik"] if self.empty_X_by_reml else self["objective"]

    def effects(self) -> Iterator[tuple[str, str, pd.Series]]:
        """For each column lme4's group and column, and our modes by lme4's levels."""
        for term in self.model.random_terms:
            group = r_group(term.group, self.reference)
            modes = self.result.random_effects[term.name]
            frame = modes.set_axis([r_level(x, term.group, group) for x in modes.index])
            for column in frame:
                yield group, r_column(column), frame[column]


def case_id(reference: dict[str, Any]) -> str:
    weights = "weighted " if reference["weights"] else ""
    name = Path(reference["data"]).stem.removesuffix("_weights")
    formula = reference["formula"].replace(" ", "")
    return f"{weights}{name} {formula} {'REML' if reference['reml'] else 'ML'}"


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
