"""The oracle against published numbers, and its derivatives against numerical ones."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import oracle
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from oracle import Term
from scipy.stats import multivariate_normal

DATASETS = Path(__file__).parents[1] / "mixedlm_ext" / "datasets"
SLEEPSTUDY_ML = np.array([0.92922972, 0.01816466, 0.22264601])


def read(name: str) -> pd.DataFrame:
    return pd.read_csv(DATASETS / name / f"{name}.csv")


def term(X: list[Any], group: Any, structure: str = "us") -> Term:
    codes, levels = pd.factorize(group, sort=True)
    return Term(np.column_stack(X).astype(float), codes, len(levels), structure)


def differences(function: Callable[[np.ndarray], Any], at: np.ndarray, step: float) -> np.ndarray:
    """Derivative of the function along each coordinate, last axis; error O(step^4)."""
    columns = []
    for h in step * np.eye(len(at)):
        near = np.asarray(function(at + h)) - np.asarray(function(at - h))
        far = np.asarray(function(at + 2 * h)) - np.asarray(function(at - 2 * h))
        columns.append((8 * near - far) / (12 * step))
    return np.stack(columns, axis=-1)


# ---------------------------------------------------------------- published numbers


def intercept_model(name: str, response: str, *groups: str) -> dict[str, Any]:
    data = read(name)
    ones = np.ones(len(data))
    terms = [term([ones], data[group]) for group in groups]
    return {"y": data[response].to_numpy(float), "X": ones[:, None], "terms": terms}


def sleepstudy(independent: bool = False) -> dict[str, Any]:
    """`Days + (Days | Subject)`; or `Days + I(Days**2) + (1 | Subject) + (0 + Days | Subject)`."""
    data = read("sleepstudy")
    days = data["Days"].to_numpy(float)
    ones = np.ones_like(days)
    fixed, terms = [ones, days], [term([ones, days], data["Subject"])]
    if independent:
        fixed.append(days**2)
        terms = [term([ones], data["Subject"]), term([days], data["Subject"])]
    return {"y": data["Reaction"].to_numpy(float), "X": np.column_stack(fixed), "terms": terms}


@pytest.mark.parametrize(
    ("theta", "reml", "expected"),
    [
        (0.713, False, 327.34216280954615),
        (0.7525806540744477, False, 327.32705988112673),
        (1.0, True, 319.792389042002),
        (0.0, True, 326.023232155879),
    ],
)
def test_dyestuff_objective(theta: float, reml: bool, expected: float) -> None:
    model = intercept_model("dyestuff", "Yield", "Batch")
    assert_allclose(
        oracle.objective(**model, theta=np.array([theta]), reml=reml), expected, rtol=1e-12
    )


def test_sleepstudy_ml() -> None:
    model = sleepstudy()
    fit = oracle.estimates(**model, theta=SLEEPSTUDY_ML, reml=False)
    value = oracle.objective(**model, theta=SLEEPSTUDY_ML, reml=False)
    assert_allclose(value, 1751.9393444636682, rtol=1e-12)
    assert_allclose(fit.logdet_M, 73.9035, rtol=1e-6)
    assert_allclose(fit.pwrss, 117889.2738, rtol=1e-8)
    assert_allclose(fit.hat_trace, 28.61165331, rtol=1e-8)


def test_sleepstudy_reml_standard_errors_of_predictions() -> None:
    model = sleepstudy()
    theta, value = oracle.minimise(**model, start=SLEEPSTUDY_ML)
    fit = oracle.estimates(**model, theta=theta)
    rows = np.hstack([model["X"], oracle.Z(model["terms"])])[[0, 15]]  # 308 day 0, 309 day 5
    population = np.array([[1.0, 0.0], [1.0, 5.0], [1.0, 12.0]])
    assert_allclose(value, 1743.6282719585, rtol=1e-12)
    assert_allclose(fit.fitted[[0, 15]], [253.66367, 220.24444], rtol=1e-6)
    assert_allclose(standard_errors(rows, fit.joint_cov), [12.25479, 8.01606], rtol=1e-6)
    assert_allclose(
        standard_errors(population, fit.cov_beta), [6.82456, 9.58124, 18.86348], rtol=1e-6
    )


def standard_errors(rows: np.ndarray, C: np.ndarray) -> np.ndarray:
    return np.sqrt(np.diag(rows @ C @ rows.T))


def test_sleepstudy_satterthwaite() -> None:
    model = sleepstudy(independent=True)
    theta, _ = oracle.minimise(**model, start=np.array([1.0, 0.25]))
    df = [oracle.satterthwaite_df(contrast, **model, theta=theta) for contrast in np.eye(3)]
    assert_allclose(df, [26.22989648, 114.99425943, 144.63101284], rtol=1e-6)


def test_sleepstudy_hessian_at_fixed_sigma() -> None:
    """MixedModels.jl's numbers hold with sigma fixed at its estimate, not profiled."""
    options: dict[str, Any] = {**sleepstudy(), "theta": SLEEPSTUDY_ML, "reml": False}
    sigma = np.sqrt(oracle.estimates(**options).sigma2)
    expected = [
        [45.4124, 35.9377, 6.3560],
        [35.9377, 465.740, 203.997],
        [6.3560, 203.997, 963.959],
    ]
    assert_allclose(oracle.hessian(**options, sigma=sigma), expected, rtol=5e-5)


def test_hessian_where_the_variance_is_zero() -> None:
    model = intercept_model("dyestuff2", "Yield", "Batch")
    theta, value = oracle.minimise(**model, reml=False)
    assert_allclose(theta, [0.0], atol=1e-8)
    assert_allclose(value, 162.873036653826, rtol=1e-12)
    assert_allclose(oracle.hessian(**model, theta=theta, reml=False), [[28.768680]], rtol=1e-7)


# ---------------------------------------------------------------- against numerical derivatives

SINGULAR = np.array([0.7, -0.4, 0.0, 0.9, 0.0, 0.5, 0.3, 0.0])
THETAS = {
    "random": np.random.default_rng(5).standard_normal(8),
    "singular": SINGULAR,
    "zero": np.zeros(8),
}


def crossed(fixed: bool = True) -> dict[str, Any]:
    """Crossed us and diag terms, two on a factor, weights, offset, a dependent column in X."""
    rng = np.random.default_rng(11)
    n = 45
    x, ones = rng.standard_normal(n), np.ones(n)
    first, second = np.arange(n) % 7, rng.integers(0, 5, n)
    second[:5] = np.arange(5)
    terms = [
        Term(np.column_stack([ones, x]), first, 7),
        Term(np.column_stack([ones, x, x**2]), second, 5, "diag"),
        Term(x[:, None] + 1, first, 7),
        Term(np.cos(x)[:, None], second, 5, "diag"),
    ]
    X = np.column_stack([ones, x, 2 * ones - 3 * x, np.sin(x)]) if fixed else np.empty((n, 0))
    y = 3 + x + rng.standard_normal(7)[first] + rng.standard_normal(5)[second] * x
    y += rng.standard_normal(n)
    w, offset = rng.uniform(0.5, 2.0, n), rng.standard_normal(n)
    return {"y": y, "X": X, "terms": terms, "w": w, "offset": offset}


@pytest.mark.parametrize("where", THETAS)
@pytest.mark.parametrize("reml", [True, False])
@pytest.mark.parametrize("sigma", [None, 0.8])
def test_derivatives(where: str, reml: bool, sigma: float | None) -> None:
    check_derivatives(THETAS[where], {**crossed(), "reml": reml, "sigma": sigma})


@pytest.mark.parametrize("reml", [True, False])
def test_derivatives_without_fixed_effects(reml: bool) -> None:
    check_derivatives(THETAS["random"], {**crossed(fixed=False), "reml": reml})


def check_derivatives(theta: np.ndarray, options: dict[str, Any]) -> None:
    gradient = oracle.gradient(theta=theta, **options)
    numeric = differences(lambda t: oracle.objective(theta=t, **options), theta, 1e-3)
    assert_allclose(gradient, numeric, rtol=1e-8, atol=1e-8)
    hessian = oracle.hessian(theta=theta, **options)
    numeric = differences(lambda t: oracle.gradient(theta=t, **options), theta, 3e-4)
    assert_allclose(hessian, numeric, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("where", THETAS)
@pytest.mark.parametrize("reml", [True, False])
def test_derivatives_in_theta_and_sigma(where: str, reml: bool) -> None:
    model = {**crossed(), "reml": reml}
    theta, sigma = THETAS[where], np.array([0.9])
    contrast = np.array([0.3, -1.0, 2.0])

    def in_theta(scale: np.ndarray) -> np.ndarray:
        return oracle.gradient(**model, theta=theta, sigma=float(scale[0]))

    def in_sigma(scale: np.ndarray) -> np.ndarray:
        return differences(
            lambda s: oracle.objective(**model, theta=theta, sigma=float(s[0])), scale, 1e-3
        )

    def variance(at: np.ndarray) -> Any:
        fit = oracle.estimates(**model, theta=at[:-1], sigma=float(at[-1]))
        return contrast @ fit.cov_beta @ contrast

    information = oracle.information_in_theta_sigma(**model, theta=theta, sigma=0.9)
    assert_allclose(information, information.T, rtol=1e-12, atol=1e-12)
    in_theta_twice = oracle.hessian(**model, theta=theta, sigma=0.9)
    assert_allclose(information[:-1, :-1], in_theta_twice, rtol=1e-12)
    assert_allclose(information[:-1, -1:], differences(in_theta, sigma, 1e-3), rtol=1e-7, atol=1e-8)
    assert_allclose(information[-1:, -1], differences(in_sigma, sigma, 1e-3)[0], rtol=1e-6)
    gradient = oracle.variance_gradient(contrast, **model, theta=theta, sigma=0.9)
    numeric = differences(variance, np.r_[theta, sigma], 3e-4)
    assert_allclose(gradient, numeric, rtol=1e-7, atol=1e-9)


# ---------------------------------------------------------------- identities of the estimates


def test_layout_of_the_random_effects() -> None:
    us = Term(np.array([[1.0, 2.0], [1.0, 3.0], [1.0, 5.0]]), np.array([1, 0, 1]), 2)
    diag = Term(us.X, us.codes, 2, "diag")
    theta = np.array([1.0, 2.0, 3.0, 4.0, 5.0])
    assert_allclose(oracle.Z([us]), [[0, 0, 1, 2], [1, 3, 0, 0], [0, 0, 1, 5]])
    assert_allclose(oracle.template(us, theta[:3]), [[1, 0], [2, 3]])
    assert_allclose(oracle.template(diag, theta[3:]), [[4, 0], [0, 5]])
    expected = [[1, 0, 0, 0], [2, 3, 0, 0], [0, 0, 4, 0], [0, 0, 0, 5]]
    assert_allclose(oracle.Lambda([us, diag], theta)[2:6, 2:6], expected)


@pytest.mark.parametrize("where", THETAS)
def test_objective_and_modes_from_the_definitions(where: str) -> None:
    """ML is the normal density at beta; b is its conditional mean, b_cov its covariance."""
    model, theta, sigma = crossed(), THETAS[where], 0.8
    fit = oracle.estimates(**model, theta=theta, reml=False, sigma=sigma)
    Z, L = oracle.Z(model["terms"]), oracle.Lambda(model["terms"], theta)
    V = sigma**2 * (np.diag(1 / model["w"]) + Z @ L @ L.T @ Z.T)
    mean = model["X"][:, fit.kept] @ fit.beta + model["offset"]
    density = multivariate_normal(mean, V).logpdf(model["y"])
    value = oracle.objective(**model, theta=theta, reml=False, sigma=sigma)
    assert_allclose(value, -2 * density, rtol=1e-12)
    gamma = sigma**2 * L @ L.T
    modes = gamma @ Z.T @ np.linalg.solve(V, model["y"] - mean)
    assert_allclose(np.concatenate([b.ravel() for b in fit.b]), modes, atol=1e-12)
    assert_allclose(fit.fitted, mean + Z @ modes, rtol=1e-12)
    given_y = gamma - gamma @ Z.T @ np.linalg.solve(V, Z @ gamma)
    assert_allclose(fit.b_cov[0][1], given_y[2:4, 2:4], atol=1e-12)
    assert_allclose(fit.b_cov[3][4, 0, 0], given_y[-1, -1], atol=1e-12)
    assert_allclose(fit.logdet_M, fit.logdet_V + np.log(model["w"]).sum(), atol=1e-10)


@pytest.mark.parametrize("where", THETAS)
def test_prediction_errors_and_leverage(where: str) -> None:
    """The covariance of prediction errors propagates V; leverage is d fitted / d y."""
    model, theta = crossed(), THETAS[where]
    fit = oracle.estimates(**model, theta=theta, sigma=1.0)

    def at(y: np.ndarray) -> oracle.Estimates:
        return oracle.estimates(**{**model, "y": y}, theta=theta, sigma=1.0)

    def effects(y: np.ndarray) -> np.ndarray:
        moved = at(y)
        return np.concatenate([moved.beta, *[b.ravel() for b in moved.b]])

    n, p = len(model["y"]), len(fit.beta)
    base = effects(model["y"])
    slope = np.column_stack([effects(model["y"] + e) - base for e in np.eye(n)])  # linear in y
    Z, L = oracle.Z(model["terms"]), oracle.Lambda(model["terms"], theta)
    error_b = slope @ Z - np.eye(len(base))[:, p:]
    expected = slope @ np.diag(1 / model["w"]) @ slope.T + error_b @ L @ L.T @ error_b.T
    assert_allclose(fit.joint_cov, expected, atol=1e-10)
    assert_allclose(fit.joint_cov[:p, :p], fit.cov_beta, atol=1e-12)
    assert_allclose(fit.joint_cov_b[0][1], expected[p + 2 : p + 4, p + 2 : p + 4], atol=1e-10)
    leverage = [at(model["y"] + e).fitted[i] - fit.fitted[i] for i, e in enumerate(np.eye(n))]
    assert_allclose(fit.leverage, leverage, atol=1e-10)
    assert_allclose(fit.hat_trace, np.sum(leverage), rtol=1e-10)


def test_reml_is_the_likelihood_of_error_contrasts() -> None:
    """-2 log density of K'y, K orthonormal to X, is the criterion up to log|X'X|."""
    model, theta, sigma = crossed(), THETAS["random"], 0.8
    X = model["X"][:, [0, 1, 3]]
    K = np.linalg.qr(X, mode="complete")[0][:, 3:]
    V = sigma**2 * oracle.covariance(model["terms"], theta, model["w"])
    density = multivariate_normal(np.zeros(K.shape[1]), K.T @ V @ K).logpdf(
        K.T @ (model["y"] - model["offset"])
    )
    value = oracle.objective(**model, theta=theta, sigma=sigma)
    assert_allclose(value, -2 * density + np.linalg.slogdet(X.T @ X)[1], rtol=1e-12)


def test_kept_columns_are_the_leftmost_independent_ones() -> None:
    assert list(oracle.independent_columns(crossed()["X"])) == [0, 1, 3]
    assert list(oracle.independent_columns(np.zeros((4, 2)))) == []


def test_profiled_sigma_minimises_the_objective() -> None:
    model = crossed()
    for reml in (True, False):
        options: dict[str, Any] = {**model, "theta": SINGULAR, "reml": reml}
        best = np.sqrt(oracle.estimates(**options).sigma2)
        profiled = oracle.objective(**options)
        assert_allclose(oracle.objective(**options, sigma=best), profiled, rtol=1e-13)
        assert oracle.objective(**options, sigma=1.01 * best) > profiled
        assert oracle.objective(**options, sigma=0.99 * best) > profiled


def test_minimise_reaches_the_same_optimum_from_a_mirrored_start() -> None:
    model = sleepstudy()
    mirrored = np.array([-0.9, -0.02, -0.2])
    theta, value = oracle.minimise(**model, reml=False, start=mirrored)
    assert_allclose(theta, SLEEPSTUDY_ML, atol=2e-5)
    assert_allclose(value, 1751.9393444632, rtol=1e-12)
    assert np.abs(oracle.gradient(**model, theta=theta, reml=False)).max() < 1e-6
