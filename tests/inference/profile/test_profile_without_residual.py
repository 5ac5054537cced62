"""Profiles of sigma where the likelihood has a limit without a residual."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from scipy.optimize import minimize

from mixedlm_ext import MixedLM, datasets


@pytest.fixture(scope="module")
def data() -> pd.DataFrame:
    return datasets.sleepstudy.load_pandas().data


def smallest_deviance(data: pd.DataFrame, sigma: float) -> float:
    """Minus twice the log-likelihood of ar1(0 + C(Days) | Subject) at sigma, from the dense V."""
    y = data["Reaction"].to_numpy()
    X = np.column_stack([np.ones(len(data)), data["Days"]])
    day, subject = data["Days"].to_numpy(), pd.factorize(data["Subject"])[0]
    distance = np.abs(np.subtract.outer(day, day))
    together = np.equal.outer(subject, subject)

    def deviance(x: np.ndarray) -> float:
        V = np.exp(2 * x[0]) * np.tanh(x[1]) ** distance * together + sigma**2 * np.eye(len(y))
        VX, Vy = np.linalg.solve(V, X), np.linalg.solve(V, y)
        beta = np.linalg.solve(X.T @ VX, VX.T @ y)
        logdet = np.linalg.slogdet(V)[1]
        return float(len(y) * np.log(2 * np.pi) + logdet + y @ Vy - (VX.T @ y) @ beta)

    start = [np.log(45.0), np.arctanh(0.8)]
    return float(minimize(deviance, start, method="Nelder-Mead", options={"fatol": 1e-7}).fun)


def test_sigma_goes_down_to_where_zeta_is_level(data: pd.DataFrame) -> None:
    result = MixedLM.from_formula("Reaction ~ Days + ar1(0 + C(Days) | Subject)", data).fit()
    profile = result.profile(["sigma"])
    points = profile.points("sigma")
    assert np.diff(points["zeta"]).min() > 0
    assert len(points) < 80
    for sigma in (0.5, 5.0):
        rise = smallest_deviance(data, sigma) - profile.objective
        assert_allclose(profile.zeta("sigma", sigma), -np.sqrt(rise), atol=1e-4)
    # 99 % would need ζ = -2.58, and no sigma has it
    limit = smallest_deviance(data, 1e-3) - profile.objective
    assert_allclose(points["zeta"].iloc[0], -np.sqrt(limit), atol=1e-4)
    assert profile.conf_int(0.01).loc["sigma", 0] == 0.0
    assert profile.conf_int(0.05).loc["sigma", 0] > 5.0


def test_variances_end_at_zero_too(data: pd.DataFrame) -> None:
    result = MixedLM.from_formula("Reaction ~ Days + ar1(0 + C(Days) | Subject)", data).fit()
    interval = result.profile(["var(Residual)"], scale="variance").conf_int(0.01)
    assert interval.loc["var(Residual)", 0] == 0.0


def test_units_of_the_response_do_not_matter(data: pd.DataFrame) -> None:
    formula = "Reaction ~ Days + ar1(0 + C(Days) | Subject)"
    scaled = data.assign(Reaction=1e6 * data["Reaction"])
    one, million = (
        MixedLM.from_formula(formula, d).fit().profile(["sigma"]).conf_int() for d in (data, scaled)
    )
    assert_allclose(million, 1e6 * one, rtol=1e-4)
