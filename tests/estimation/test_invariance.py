"""The same model in other units, from another origin, in another order: the same fit."""

from __future__ import annotations

from typing import Any

import numpy as np
import oracle
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from simulation import fit

REML = pytest.mark.parametrize("reml", [True, False], ids=["REML", "ML"])
FORMULA = "y ~ x + (x | g) + (1 | h)"


def simulated(seed: int = 0) -> pd.DataFrame:
    """30 groups of 8 years and 7 regions across; y exact in binary when shifted by 1e8."""
    rng = np.random.default_rng(seed)
    n = 240
    g, h = np.arange(n) // 8, rng.permutation(np.arange(n) % 7)
    x = rng.standard_normal(n)
    year = 2000.0 + rng.integers(0, 11, n)
    slope = 1.0 + 0.8 * rng.standard_normal(30)[g]
    y = slope * x + 0.2 * (year - 2005) * rng.standard_normal(30)[g] + rng.standard_normal(n)
    y = y + rng.standard_normal(30)[g] + 0.7 * rng.standard_normal(7)[h]
    names = {"g": [f"g{i:02d}" for i in g], "h": [f"h{i}" for i in h]}
    w = 10.0 ** rng.uniform(-2.5, 2.5, n)
    return pd.DataFrame({"y": np.round(y * 2**20) / 2**20, "x": x, "year": year, "w": w, **names})


def assert_same_fit(one: Any, two: Any, scale: float = 1.0, tolerance: float = 1e-6) -> None:
    """`two` is `one` with a response `scale` times as large."""
    assert one.converged
    assert two.converged
    assert_allclose(two.sigma, one.sigma * scale, rtol=tolerance)
    assert_allclose(two.bse, one.bse * scale, rtol=tolerance)
    assert_allclose(two.resid, one.resid * scale, atol=tolerance * one.sigma * scale)
    ratio = two.varcorr()["std_dev"] / one.varcorr()["std_dev"]
    assert_allclose(ratio, scale, rtol=10 * tolerance)


@REML
@pytest.mark.parametrize("scale", [1e-6, 1e6, -3.0])
def test_scaled_response(scale: float, reml: bool) -> None:
    data = simulated()
    one = fit(FORMULA, data, reml=reml)
    two = fit(FORMULA, data.assign(y=data["y"] * scale), reml=reml)
    degrees = one.df_resid if reml else one.nobs
    assert_allclose(two.objective - one.objective, 2 * degrees * np.log(abs(scale)), rtol=1e-9)
    assert_allclose(two.params, one.params * scale, rtol=1e-6)
    two_resid = two.resid * np.sign(scale)
    assert_allclose(two_resid, one.resid * abs(scale), atol=1e-6 * one.sigma * abs(scale))
    assert_allclose(two.sigma, one.sigma * abs(scale), rtol=1e-8)
    assert_allclose(two.theta, one.theta, rtol=1e-5)


@REML
def test_shifted_response(reml: bool) -> None:
    """A mean of 1e8 and a standard deviation near 1; the shifted numbers are exact."""
    data = simulated()
    shifted = data.assign(y=data["y"] + 1e8)
    assert_allclose(shifted["y"] - 1e8, data["y"], rtol=0)
    one, two = fit(FORMULA, data, reml=reml), fit(FORMULA, shifted, reml=reml)
    assert_allclose(two.sigma, one.sigma, rtol=1e-8)
    assert_allclose(two.objective, one.objective, atol=1e-6)
    assert_allclose(two.theta, one.theta, rtol=1e-6)
    assert_allclose(two.bse, one.bse, rtol=1e-6)
    assert_allclose(two.params["x"], one.params["x"], rtol=1e-6)


@REML
@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_scaled_covariate(scale: float, reml: bool) -> None:
    """In the fixed and in the random part."""
    data = simulated()
    one = fit(FORMULA, data, reml=reml)
    two = fit(FORMULA, data.assign(x=data["x"] * scale), reml=reml)
    assert two.converged
    assert two.optimization.evaluations == one.optimization.evaluations
    shift = 2 * np.log(scale) if reml else 0.0  # log|X'V^-1 X|
    assert_allclose(two.objective - one.objective, shift, atol=1e-7)
    assert_allclose(two.sigma, one.sigma, rtol=1e-7)
    assert_allclose(two.resid, one.resid, atol=1e-6)
    assert_allclose(two.params * [1, scale], one.params, rtol=1e-6)
    assert_allclose(two.bse * [1, scale], one.bse, rtol=1e-6)
    ratio = two.varcorr()["std_dev"] / one.varcorr()["std_dev"]
    assert_allclose(ratio, [1, 1 / scale, 1, 1], rtol=1e-5)


@REML
def test_shifted_slope_covariate(reml: bool) -> None:
    """Calendar years: with a correlation the origin does not matter.

    The search takes another path, and ends anywhere within 1e-8 of the least criterion.
    """
    data = simulated()
    data["t"] = data["year"] - 2005
    one = fit("y ~ t + (t | g)", data, reml=reml)
    two = fit("y ~ year + (year | g)", data, reml=reml)
    assert one.converged
    assert two.converged
    assert_allclose(two.objective, one.objective, atol=3e-8)
    assert two.optimization.evaluations <= one.optimization.evaluations + 2
    assert_allclose(two.sigma, one.sigma, rtol=1e-6)
    assert_allclose(two.resid, one.resid, atol=1e-4)
    assert_allclose(two.params["year"], one.params["t"], rtol=1e-5)
    assert_allclose(two.bse["year"], one.bse["t"], rtol=1e-5)
    sd = one.varcorr()["std_dev"], two.varcorr()["std_dev"]
    assert_allclose(sd[0].iloc[1:], sd[1].iloc[1:], rtol=1e-4)


@REML
def test_weights_of_ratio_1e5(reml: bool) -> None:
    data = simulated()
    assert data["w"].max() / data["w"].min() > 5e4
    result = fit("y ~ x + (1 | g) + (1 | h)", data, weights="w", reml=reml)
    X = np.column_stack([np.ones(len(data)), data["x"]])
    codes = [pd.factorize(data[name], sort=True)[0] for name in ("g", "h")]
    terms = [oracle.Term(X[:, :1], c, int(c.max()) + 1) for c in codes]
    y, w = data["y"].to_numpy(), data["w"].to_numpy()
    _, best = oracle.minimise(y, X, terms, w=w, reml=reml, start=result.theta)
    assert result.converged
    assert_allclose(result.objective, best, rtol=1e-9)
    expected = oracle.estimates(y, X, terms, result.theta, w=w, reml=reml)
    assert_allclose(result.params, expected.beta, rtol=1e-7)
    assert_allclose(result.scale, expected.sigma2, rtol=1e-8)


@REML
@pytest.mark.parametrize("constant", [1e-4, 7.0, 1e6])
def test_weights_times_a_constant(constant: float, reml: bool) -> None:
    """They are not normalised: sigma takes the constant up, the rest stays."""
    data = simulated()
    one = fit(FORMULA, data, weights=np.asarray(data["w"]), reml=reml)
    two = fit(FORMULA, data, weights=np.asarray(data["w"] * constant), reml=reml)
    assert_allclose(two.objective, one.objective, rtol=1e-9)
    assert_allclose(two.sigma, one.sigma * np.sqrt(constant), rtol=1e-7)
    assert_allclose(two.theta, one.theta / np.sqrt(constant), rtol=1e-5)
    assert_allclose(two.params, one.params, rtol=1e-6)
    assert_allclose(two.bse, one.bse, rtol=1e-6)


def test_equal_weights_are_no_weights() -> None:
    data = simulated()
    assert_same_fit(fit(FORMULA, data), fit(FORMULA, data, weights=np.ones(len(data))))


def test_order_of_rows() -> None:
    data = simulated()
    order = np.random.default_rng(1).permutation(len(data))
    one, two = fit(FORMULA, data), fit(FORMULA, data.iloc[order])
    assert two.resid.index.equals(data.index[order])
    assert_allclose(two.resid.loc[data.index], one.resid, atol=1e-7)
    assert_allclose(two.objective, one.objective, rtol=1e-12)
    assert_allclose(two.theta, one.theta, rtol=1e-7)


def test_labels_of_levels() -> None:
    data = simulated()
    relabelled = data.assign(g=[100 - int(g[1:]) for g in data["g"]])
    one, two = fit(FORMULA, data), fit(FORMULA, relabelled)
    assert_same_fit(one, two, tolerance=1e-7)
    b = two.random_effects["g"]
    assert_allclose(b.loc[[100 - i for i in range(30)]], one.random_effects["g"], atol=1e-7)


def test_order_of_terms() -> None:
    data = simulated()
    one, two = fit(FORMULA, data), fit("y ~ (1 | h) + x + (x | g)", data)
    assert_allclose(two.objective, one.objective, rtol=1e-12)
    assert_allclose(two.theta[[1, 2, 3, 0]], one.theta, rtol=1e-7)
    assert list(two.random_effects) == ["h", "g"]
    assert list(two.varcorr()["group"]) == ["h", "g", "g", "Residual"]
