"""Kenward and Roger's method where Σ is not linear in its parameters."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from simulation import quietly

from mixedlm_ext import MixedLM, MixedLMResults, datasets
from mixedlm_ext.errors import FitError

Array = np.ndarray


def sleep() -> pd.DataFrame:
    return datasets.sleepstudy.load_pandas().data


def machines() -> pd.DataFrame:
    return datasets.machines.load_pandas().data


def rescaled(data: pd.DataFrame) -> pd.DataFrame:
    """Unequal numbers of rows, so that the adjustment is not zero."""
    return data.drop(data.index[[3, 4, 17, 30, 31, 32, 50]])


def kr(formula: str, data: pd.DataFrame) -> MixedLMResults:
    return quietly(MixedLM.from_formula(formula, data), ddf="kenward-roger")


@pytest.mark.parametrize(
    ("one", "two", "data"),
    [
        # the covariances are the same sets, whatever their parameters
        ("Reaction ~ Days + cs(Days | Subject)", "Reaction ~ Days + (Days | Subject)", sleep),
        (
            "score ~ Machine + cs(0 + Machine | Worker, hom=True)",
            "score ~ Machine + (1 | Worker/Machine)",
            machines,
        ),
        (
            "Reaction ~ Days + exp(0 + position(Days) | Subject)",
            "Reaction ~ Days + ar1(0 + C(Days) | Subject)",
            sleep,
        ),
        (
            "score ~ Machine + toep(0 + m | Worker, hom=True)",
            "score ~ Machine + cs(0 + m | Worker, hom=True)",
            lambda: machines().assign(m=lambda d: d["Machine"].map({"A": 0, "B": 0, "C": 1}))
            .astype({"m": "category"}),
        ),
    ],
)  # fmt: skip
def test_one_model_has_one_answer(one: str, two: str, data) -> None:
    frame = rescaled(data())
    first, second = kr(one, frame), kr(two, frame)
    assert_allclose(first.objective, second.objective, atol=1e-7)
    assert_allclose(first.cov_params(), second.cov_params(), rtol=1e-5)
    assert_allclose(first.df_resid_inference, second.df_resid_inference, rtol=1e-4)
    plain = first.with_ddf("satterthwaite")
    assert np.abs(first.bse / plain.bse - 1).max() > 1e-5  # there is something to adjust


def dense_kr(result: MixedLMResults, to_sigma, psi: Array) -> tuple[Array, Array]:
    """Φ_A and the degrees of freedom of each coefficient, all derivatives of Σ by differences."""
    X = result.model.design.X
    m, h = len(psi), 1e-4 * np.maximum(np.abs(psi), 0.1)
    steps = np.diag(h)
    S = to_sigma(psi)
    W = np.linalg.inv(S)
    Phi = np.linalg.inv(X.T @ W @ X)
    P = W - W @ X @ Phi @ X.T @ W
    G = [(to_sigma(psi + s) - to_sigma(psi - s)) / (2 * k) for s, k in zip(steps, h)]
    R = [
        [
            sum(a * b * to_sigma(psi + a * s + b * t) for a in (1, -1) for b in (1, -1))
            / (4 * h[i] * h[j])
            for j, t in enumerate(steps)
        ]
        for i, s in enumerate(steps)
    ]
    information = np.array([[0.5 * np.trace(P @ g @ P @ k) for k in G] for g in G])
    V = np.linalg.inv(information)
    Pi = [-X.T @ W @ g @ W @ X for g in G]
    inner = np.zeros_like(Phi)
    for i in range(m):
        for j in range(m):
            Q = X.T @ W @ G[i] @ W @ G[j] @ W @ X
            inner += V[i, j] * (Q - Pi[i] @ Phi @ Pi[j] - 0.25 * X.T @ W @ R[i][j] @ W @ X)
    whole = sum(V[i, j] * R[i][j] for i in range(m) for j in range(m))
    bias = -0.25 * V @ np.array([np.trace(P @ g @ P @ whole) for g in G])
    adjusted = Phi + 2 * Phi @ inner @ Phi + sum(b * Phi @ p @ Phi for b, p in zip(bias, Pi))
    df = []
    for unit in np.eye(len(Phi)):
        g = np.array([-unit @ Phi @ p @ Phi @ unit for p in Pi])
        df.append(2 * (unit @ Phi @ unit) ** 2 / (g @ V @ g))
    return adjusted, np.array(df)


@pytest.mark.parametrize("variances", [True, False], ids=["variance", "deviation"])
def test_ar1_against_dense_algebra(variances: bool) -> None:
    """Whether in variances or in logarithms of standard deviations: one answer."""
    data = rescaled(sleep())
    data = data[data["Days"] < 5]
    result = kr("Reaction ~ Days + ar1(0 + C(Days) | Subject)", data)
    term = result.model.design.terms[0]
    lag = np.abs(np.subtract.outer(term.X.argmax(1), term.X.argmax(1)))
    same = term.codes[:, None] == term.codes

    def sigma(psi: Array) -> Array:
        s, rho, residual = psi
        s = s if variances else np.exp(2 * s)
        r = rho if variances else np.tanh(rho)
        return s * same * r**lag + residual * np.eye(len(lag))

    frame = result.varcorr()
    s, rho, residual = frame["variance"][0], frame["corr_1"][1], result.scale
    psi = np.array([s, rho, residual] if variances else [np.log(s) / 2, np.arctanh(rho), residual])
    adjusted, df = dense_kr(result, sigma, psi)
    assert_allclose(result.cov_params(), adjusted, rtol=2e-5)
    assert_allclose(result.df_resid_inference, df, rtol=2e-5)


def test_boundary() -> None:
    """A standard deviation of zero and a correlation at its end are left out."""
    rng = np.random.default_rng(1)
    b = np.repeat(rng.standard_normal((12, 1)), 4, axis=1)
    G, F = np.repeat(np.arange(12), 8), np.tile(np.repeat(np.arange(4), 2), 12)
    y = 3 * b[G, F] + rng.standard_normal(96)
    data = pd.DataFrame({"g": G, "f": [f"l{i}" for i in F], "y": y})
    model = MixedLM.from_formula("y ~ f + cs(0 + f | g, hom=True)", data)
    result = quietly(model, ddf="kenward-roger")
    plain = MixedLM.from_formula("y ~ f + (1 | g)", data).fit(ddf="kenward-roger")
    if result.theta[1] == 1.0:
        assert_allclose(result.df_resid_inference, plain.df_resid_inference, rtol=1e-6)
        assert_allclose(result.bse, plain.bse, rtol=1e-6)
    assert np.isfinite(result.df_resid_inference).all()


def test_still_refused() -> None:
    model = MixedLM.from_formula("Reaction ~ Days + cs(Days | Subject)", sleep())
    with pytest.raises(FitError, match="REML fit"):
        model.fit(reml=False, ddf="kenward-roger")
