"""Every reference model: log-likelihood, estimates, standard errors, modes, fitted, AIC, BIC."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from glmm_reference import CASES, MODELS, fitted, in_order, model

CHECKED = [
    case
    for case in CASES
    if case["name"] in MODELS and case["reference"] and "minus2logLik" in case["reference"]
]
OTHER_ORDER = {
    "cbpp_obs": [1, 0],
    "grouseticks": [1, 0, 2],
}
"""Where lme4's order of theta is another: places of ours among theirs."""


def label(case: dict[str, Any]) -> str:
    return f"{case['name']}-{case['nAGQ']}"


def test_all_cases_are_there() -> None:
    assert len(CHECKED) == 44
    assert {case["nAGQ"] for case in CHECKED} == {0, 1, 5, 9, 25}


@pytest.mark.parametrize("case", CHECKED, ids=label)
def test_the_optimum(case: dict[str, Any]) -> None:
    result, wanted = fitted(case["name"], case["nAGQ"]), case["reference"]
    assert result.converged
    assert abs(result.objective - wanted["minus2logLik"]) <= 1e-7 * wanted["minus2logLik"]
    theta = result.theta
    if case["name"] in OTHER_ORDER:
        theta = theta[OTHER_ORDER[case["name"]]]
    np.testing.assert_allclose(np.abs(theta), np.abs(wanted["theta"]), rtol=1e-4, atol=2e-5)
    beta = in_order(result, result.params, wanted["fixef"])
    # the reference of verbagg was left where glmer stopped, 1e-4 of a standard error away
    atol = 1e-4 if case["name"] == "verbagg" else 1e-6
    np.testing.assert_allclose(beta, list(wanted["fixef"].values()), rtol=1e-4, atol=atol)


@pytest.mark.parametrize("case", CHECKED, ids=label)
def test_standard_errors(case: dict[str, Any]) -> None:
    wanted = case["reference"]
    errors = wanted["se_rx"] if case["nAGQ"] == 0 else wanted.get("se_hessian")
    if errors is None:  # verbagg: glmmTMB's, by automatic differentiation
        errors = list(case["glmmTMB"]["se"].values())
    result = fitted(case["name"], case["nAGQ"])
    ours = in_order(result, result.bse, wanted["fixef"])
    np.testing.assert_allclose(ours, errors, rtol=2e-4)


@pytest.mark.parametrize("case", [c for c in CHECKED if c["nAGQ"] > 0], ids=label)
def test_criteria_modes_and_fitted_values(case: dict[str, Any]) -> None:
    result, wanted = fitted(case["name"], case["nAGQ"]), case["reference"]
    assert result.aic == pytest.approx(wanted["AIC"], abs=2e-5)
    assert result.bic == pytest.approx(wanted["BIC"], abs=2e-5)
    assert result.nobs == case["n"]
    np.testing.assert_allclose(
        result.fittedvalues.iloc[: len(wanted["fitted_head"])], wanted["fitted_head"], rtol=2e-4
    )
    if case["name"] in OTHER_ORDER or "cells" in case["name"]:
        return
    first = next(iter(result.random_effects))
    columns = slice(1) if case["name"] == "crossed_diag" else slice(None)  # two terms in lme4
    levels = _as_r_orders(result.random_effects[first].index)
    for ours, theirs in (
        (result.random_effects, wanted["modes_head"]),
        (result.random_effects_sd, wanted["condsd_head"]),
    ):
        values = ours[first].loc[levels].to_numpy()[:, columns].ravel()[: len(theirs)]
        np.testing.assert_allclose(values, theirs[: len(values)], rtol=5e-4, atol=3e-5)


def _as_r_orders(levels: Any) -> list[Any]:
    """Levels in R's order: numbers by value."""
    number = all(str(level).isdigit() for level in levels)
    return sorted(levels, key=lambda x: int(x) if number else str(x))


@pytest.mark.parametrize("case", [c for c in CHECKED if c["nAGQ"] in (0, 1)], ids=label)
def test_residuals(case: dict[str, Any]) -> None:
    result = fitted(case["name"], case["nAGQ"])
    for kind, wanted in case["residuals_head"].items():
        ours = result.residuals(kind).to_numpy()[: len(wanted)]
        np.testing.assert_allclose(ours, wanted, rtol=2e-2, atol=1e-3)
    assert result.deviance == pytest.approx(case["deviance_method"], rel=5e-3)


OBSERVED = [c for c in CASES if "laplace_with_observed_information" in (c["extra"] or {})]


@pytest.mark.parametrize("case", OBSERVED, ids=label)
def test_laplace_with_the_observed_information(case: dict[str, Any]) -> None:
    wanted = case["extra"]["laplace_with_observed_information"]
    result = fitted(case["name"], 1, "observed")
    assert result.objective == pytest.approx(wanted["minus2logLik"], abs=1e-6)
    assert result.theta[0] == pytest.approx(wanted["theta"], rel=1e-4)
    np.testing.assert_allclose(result.params, wanted["fixef"], rtol=1e-4)
    np.testing.assert_allclose(result.bse, wanted["se_hessian"], rtol=1e-3)
    if case.get("glmmTMB") and case["glmmTMB"]["minus2logLik"]:
        assert result.objective == pytest.approx(case["glmmTMB"]["minus2logLik"], abs=1e-5)


@pytest.mark.parametrize("name", ["contraception_probit", "contraception_cloglog"])
def test_the_observed_information_is_glmmTMBs(name: str) -> None:
    case = next(c for c in CASES if c["name"] == name and c["nAGQ"] == 1)
    result = fitted(name, 1, "observed")
    assert result.objective == pytest.approx(case["glmmTMB"]["minus2logLik"], abs=1e-5)
    assert result.objective < fitted(name, 1).objective


GAMMA = [c for c in CASES if "reference_laplace_ml" in (c["extra"] or {})]


@pytest.mark.parametrize("case", GAMMA, ids=label)
def test_a_dispersion_or_a_size_is_estimated_with_the_rest(case: dict[str, Any]) -> None:
    wanted = case["extra"]["reference_laplace_ml"]
    result = fitted(case["name"], 1)
    # the reference takes the observed information by differences, worth 2e-6 with the inverse link
    assert result.objective == pytest.approx(wanted["minus2logLik"], rel=1e-8)
    assert result.theta[0] == pytest.approx(wanted["sd"], rel=1e-4)
    order = list(result.params.index)
    if case["name"] == "epil_nbinom2":  # R's order
        trt = "trt[T.progabide]"
        order = ["Intercept", "lbase", trt, "lage", "V4", f"lbase:{trt}"]
    np.testing.assert_allclose(result.params[order], wanted["fixef"], rtol=1e-4)
    np.testing.assert_allclose(result.bse[order], wanted["se_hessian"], rtol=1e-4)
    if "dispersion" in wanted:
        assert result.scale == pytest.approx(wanted["dispersion"], rel=1e-4)
        modes = result.random_effects["g"]["Intercept"].to_numpy()[:8]
        np.testing.assert_allclose(modes, wanted["modes_head"], rtol=1e-3)
    else:
        assert 1.0 / result.family.alpha == pytest.approx(wanted["size"], rel=1e-4)
        assert result.df_modelwc == 8


@pytest.mark.parametrize("name", ["gamma_log", "gamma_inverse"])
def test_quadrature_with_a_dispersion(name: str) -> None:
    case = next(c for c in CASES if c["name"] == name and c["nAGQ"] == 1)
    wanted = case["extra"]["reference_agq25_ml"]
    result = fitted(name, 25)
    assert result.objective == pytest.approx(wanted["minus2logLik"], abs=1e-6)
    assert result.scale == pytest.approx(wanted["dispersion"], rel=1e-4)
    np.testing.assert_allclose(result.bse, wanted["se_hessian"], rtol=1e-3)


def test_predictions_of_glmer() -> None:
    case = next(c for c in CASES if c["name"] == "cbpp" and c["nAGQ"] == 1)
    new = {"period": ["1", "2", "4"], "herd": ["1", "15", "new"]}
    result, wanted = fitted("cbpp", 1), case["extra"]
    np.testing.assert_allclose(result.predict(new), wanted["response"], rtol=1e-5)
    np.testing.assert_allclose(result.predict(new, which="linear"), wanted["link"], rtol=1e-5)
    population = result.predict(new, conditional=False)
    np.testing.assert_allclose(population, wanted["population_response"], rtol=1e-5)


def test_predictions_count_the_exposure() -> None:
    case = next(c for c in CASES if c["name"] == "poisson_offset" and c["nAGQ"] == 1)
    new = {"x": [0.0, 1.0], "exposure": [1.0, 10.0], "g": ["g01", "new"]}
    result, wanted = fitted("poisson_offset", 1), case["extra"]
    np.testing.assert_allclose(result.predict(new), wanted["response"], rtol=1e-4)
    np.testing.assert_allclose(result.predict(new, which="linear"), wanted["link"], rtol=1e-4)


def test_a_random_effect_for_each_row_is_legal() -> None:
    """The check of levels against rows is of linear models, which have a residual beside it."""
    assert len(model("cbpp_obs").random_terms[1].levels) == 56
