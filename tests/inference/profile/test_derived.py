"""ICC, total variance and R² against their definitions on dense matrices, and intervals against
constrained searches by SciPy."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from places import DATA
from scipy.optimize import brentq, minimize
from scipy.special import expit, logit
from scipy.stats import chi2, norm

from mixedlm_ext import MixedLM, datasets
from mixedlm_ext.errors import DesignError, FitError, SingularFitWarning

SLEEPSTUDY = datasets.sleepstudy.load_pandas().data
LEVEL = chi2.ppf(0.95, 1)


def fit(formula: str, data: pd.DataFrame, **kwargs: Any) -> Any:
    """Fit, singular or not."""
    weights = data.get("w")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SingularFitWarning)
        return MixedLM.from_formula(formula, data, weights=weights).fit(**kwargs)


MODELS = {
    "one factor": ("Yield ~ 1 + (1 | Batch)", datasets.dyestuff.load_pandas().data),
    "slopes": ("Reaction ~ Days + (Days | Subject)", SLEEPSTUDY),
    "two terms": ("Reaction ~ Days + (1 | Subject) + (0 + Days | Subject)", SLEEPSTUDY),
    "weighted": (
        "Reaction ~ Days + (Days | Subject)",
        pd.read_csv(DATA / "sleepstudy_weights.csv", dtype={"Subject": str}),
    ),
    "crossed": (
        "diameter ~ 1 + (1 | plate) + (1 | sample)",
        datasets.penicillin.load_pandas().data,
    ),
    "nested": ("strength ~ 1 + (1 | batch/cask)", datasets.pastes.load_pandas().data),
    "factor": (
        "score ~ Machine + (Machine | Worker)",
        datasets.machines.load_pandas().data,
    ),
}


@pytest.fixture(scope="module", params=MODELS)
def result(request: pytest.FixtureRequest) -> Any:
    return fit(*MODELS[request.param])


def mean_variances(result: Any) -> tuple[dict[str, float], float]:
    """Mean diagonals of the parts of Var(y), by grouping factor and for the residual."""
    parts: dict[str, float] = {}
    for term, cov in zip(result.model.random_terms, result.fit_record.random_cov):
        own = np.mean([x @ cov @ x for x in term.X])
        parts[term.group] = parts.get(term.group, 0.0) + own
    w = np.ones(result.nobs) if result.model.weights is None else np.asarray(result.model.weights)
    return parts, result.scale * np.mean(1 / w)


def test_estimates(result: Any) -> None:
    parts, residual = mean_variances(result)
    total = sum(parts.values()) + residual
    icc = result.icc()
    assert list(icc.index) == list(parts)
    assert_allclose(icc["estimate"], [part / total for part in parts.values()], rtol=1e-10)
    assert_allclose(result.total_variance()["estimate"], total, rtol=1e-10)
    fixed = np.var(np.asarray(result.model.exog) @ np.asarray(result.params), ddof=1)
    r2 = result.r2()
    assert_allclose(r2.loc["marginal", "estimate"], fixed / (fixed + total), rtol=1e-9, atol=1e-12)
    conditional = (fixed + total - residual) / (fixed + total)
    assert_allclose(r2.loc["conditional", "estimate"], conditional, rtol=1e-10)


def numeric_se(result: Any, transformed: Any) -> float:
    """Delta method with numeric derivatives in (θ, log σ, β), all of the user's units."""
    model, theta, m = result.model, result.theta, len(result.theta)
    at = np.concatenate([theta, [np.log(result.sigma)], np.asarray(result.params)])

    def deviance(x: np.ndarray) -> float:
        return model.objective(x[:m], reml=result.reml, sigma=float(np.exp(x[m])))

    h = 1e-3
    H = np.empty((m + 1, m + 1))
    eye = h * np.eye(len(at))
    for i in range(m + 1):
        for j in range(m + 1):
            H[i, j] = (
                deviance(at + eye[i] + eye[j])
                - deviance(at + eye[i] - eye[j])
                - deviance(at - eye[i] + eye[j])
                + deviance(at - eye[i] - eye[j])
            ) / (4 * h * h)
    cov = np.zeros((len(at), len(at)))
    cov[: m + 1, : m + 1] = 2 * np.linalg.inv(H)
    cov[m + 1 :, m + 1 :] = result.cov_params()
    small = 1e-6 * np.eye(len(at))
    g = np.array([(transformed(at + s) - transformed(at - s)) / 2e-6 for s in small])
    return float(np.sqrt(g @ cov @ g))


def quantities(result: Any, x: np.ndarray) -> dict[str, float]:
    """Every derived quantity as a function of (θ, log σ, β)."""
    m = len(result.theta)
    sigma = np.exp(x[m])
    covariance = result.model.problem.covariance
    parts: dict[str, float] = {}
    for term, T in zip(result.model.random_terms, covariance.term_templates(x[:m])):
        own = sigma**2 * np.einsum("na,ab,nb->n", term.X, T @ T.T, term.X).mean()
        parts[term.group] = parts.get(term.group, 0.0) + own
    w = np.ones(result.nobs) if result.model.weights is None else np.asarray(result.model.weights)
    residual = sigma**2 * np.mean(1 / w)
    random = sum(parts.values())
    fixed = np.var(np.asarray(result.model.exog) @ x[m + 1 :], ddof=1)
    out = {group: part / (random + residual) for group, part in parts.items()}
    out["total"] = random + residual
    out["marginal"] = fixed / (fixed + random + residual)
    out["conditional"] = (fixed + random) / (fixed + random + residual)
    return out


@pytest.mark.parametrize("name", ["one factor", "slopes", "weighted", "crossed"])
def test_delta_method(name: str) -> None:
    result = fit(*MODELS[name])
    frame = pd.concat([result.icc(), result.total_variance(), result.r2()])
    for quantity, row in frame.iterrows():
        if row["estimate"] < 1e-10:
            assert row[["se", "ci_lower", "ci_upper"]].isna().all()
            continue
        scale, back = (np.log, np.exp) if quantity == "total" else (logit, expit)
        se = numeric_se(result, lambda x, q=quantity, s=scale: s(quantities(result, x)[q]))
        ends = back(scale(row["estimate"]) + norm.ppf([0.025, 0.975]) * se)
        assert_allclose(row[["ci_lower", "ci_upper"]], ends, rtol=2e-3, err_msg=quantity)


def test_published_r2() -> None:
    """MuMIn's r.squaredGLMM and performance's r2 of sleepstudy."""
    r2 = fit("Reaction ~ Days + (Days | Subject)", SLEEPSTUDY).r2()["estimate"]
    assert_allclose(r2, [0.2786511, 0.7992199], rtol=2e-5)


# ---------------------------------------------------------------- profile intervals


def test_icc_of_one_factor_is_a_function_of_theta() -> None:
    result = fit("Yield ~ 1 + (1 | Batch)", datasets.dyestuff.load_pandas().data, reml=False)
    frame = result.icc(method="profile")

    def excess(theta: float) -> float:
        return result.model.objective([theta], reml=False) - result.objective - LEVEL

    theta = result.theta[0]
    lower, upper = brentq(excess, 0, theta), brentq(excess, theta, 50)
    ends = np.array([lower**2 / (1 + lower**2), upper**2 / (1 + upper**2)])
    assert_allclose(frame.loc["Batch", ["ci_lower", "ci_upper"]], ends, rtol=1e-4)
    assert frame["se"].isna().all()


@pytest.mark.parametrize("name", ["slopes", "two terms", "weighted", "crossed", "nested"])
def test_profile_limits_solve_the_constrained_problem(name: str) -> None:
    """At each limit the least deviance, by SLSQP, is that of the level."""
    result = fit(*MODELS[name], reml=False)
    m = len(result.theta)
    beta = np.zeros(len(result.params))
    frame = pd.concat([result.icc(method="profile"), result.total_variance(method="profile")])
    x0 = np.append(result.theta, np.log(result.sigma))
    for quantity, row in frame.iterrows():
        scale = np.log if quantity == "total" else logit
        for limit in row[["ci_lower", "ci_upper"]]:
            if limit in (0.0, 1.0):
                continue
            best = minimize(
                lambda x: result.model.objective(x[:m], reml=False, sigma=float(np.exp(x[m]))),
                x0,
                method="SLSQP",
                constraints={
                    "type": "eq",
                    "fun": lambda x, q=quantity, s=scale, v=limit: (
                        s(quantities(result, np.append(x, beta))[q]) - s(v)
                    ),
                },
                options={"maxiter": 500, "ftol": 1e-12},
            )
            assert_allclose(best.fun - result.objective, LEVEL, atol=5e-3, err_msg=quantity)


def test_icc_of_zero() -> None:
    result = fit("Yield ~ 1 + (1 | Batch)", datasets.dyestuff2.load_pandas().data)
    delta, profile = result.icc(), result.icc(method="profile")
    assert delta.loc["Batch", "estimate"] == 0
    assert delta.loc["Batch", ["se", "ci_lower", "ci_upper"]].isna().all()
    assert profile.loc["Batch", "ci_lower"] == 0
    assert 0 < profile.loc["Batch", "ci_upper"] < 0.5


def test_interval_that_reaches_zero() -> None:
    result = fit(*MODELS["nested"])
    assert result.icc(method="profile").loc["batch", "ci_lower"] == 0


def test_reml_is_named() -> None:
    result = fit("Reaction ~ Days + (Days | Subject)", SLEEPSTUDY)
    assert "REML" in result.icc(method="profile").attrs["note"]
    assert "note" not in result.icc().attrs


def test_level() -> None:
    result = fit("Reaction ~ Days + (Days | Subject)", SLEEPSTUDY)
    for method in ("delta", "profile"):
        wide, narrow = (result.icc(alpha, method).iloc[0] for alpha in (0.01, 0.1))
        assert wide["ci_lower"] < narrow["ci_lower"] < narrow["ci_upper"] < wide["ci_upper"]


def test_fixed_sigma() -> None:
    result = fit("Reaction ~ Days + (Days | Subject)", SLEEPSTUDY, sigma=25.0)
    assert result.icc(method="profile").notna()["ci_upper"].all()
    assert result.total_variance().notna().all(axis=None)
    assert result.r2().notna().all(axis=None)
    with pytest.raises(FitError, match=r"sigma is fixed.*method='delta'"):
        result.total_variance(method="profile")


def test_bad_arguments() -> None:
    result = fit("Reaction ~ Days + (1 | Subject)", SLEEPSTUDY)
    with pytest.raises(FitError, match=r"method='profiles' is not known. Did you mean 'profile'\?"):
        result.icc(method="profiles")
    with pytest.raises(FitError, match="alpha=0 is no significance level"):
        result.r2(alpha=0)
    result.remove_data()
    with pytest.raises(DesignError, match="removed"):
        result.icc()
