"""ICC, total variance and R² beside residual structures, against their definitions.

Estimates are means over the rows of the diagonals of dense matrices; standard errors the delta
method by differences, from the Hessian of the dense criterion.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from oracle_residual import Dense, dense_covariance
from scipy.optimize import minimize
from scipy.stats import chi2
from simulation import quietly

from mixedlm_ext import MixedLM
from mixedlm_ext.errors import FitError

Array = np.ndarray
FORMULA = "y ~ x + (1 + x | g) + (1 | item)"
MODELS: dict[str, dict[str, str]] = {
    "correlated": {"correlation": "ar1(week | g)"},
    "strata": {"variance": "sex"},
    "power": {"variance": "power(size)"},
    "all, weighted": {
        "correlation": "ar1(week | g)",
        "variance": "sex * exp(size)",
        "weights": "w",
    },
}
every = pytest.mark.parametrize("name", MODELS)


@cache
def frame() -> pd.DataFrame:
    rng = np.random.default_rng(11)
    groups, weeks = 14, 7
    data = pd.DataFrame({"g": np.repeat(np.arange(groups), weeks)})
    n = len(data)
    data["week"] = np.tile(np.arange(weeks), groups)
    data["x"], data["size"] = rng.normal(size=n), rng.uniform(1.0, 3.0, n)
    data["item"], data["w"] = rng.integers(0, 5, n), rng.uniform(0.5, 2.0, n)
    data["sex"] = np.where(data["g"] % 2, "f", "m")
    root = np.linalg.cholesky(0.5 ** np.abs(np.subtract.outer(np.arange(weeks), np.arange(weeks))))
    e = (rng.normal(size=(groups, weeks)) @ root.T).ravel()
    e *= data["size"] ** 0.7 * np.where(data["sex"] == "f", 1.5, 1.0)
    b = rng.normal(size=(groups, 2))
    data["y"] = 1.0 + (0.5 + b[data["g"], 1]) * data["x"] + 1.5 * b[data["g"], 0] + e
    data["y"] += rng.normal(size=5)[data["item"]]
    return data.sample(frac=1.0, random_state=0).reset_index(drop=True)


@cache
def fitted(name: str, reml: bool = True) -> Any:
    return quietly(MixedLM.from_formula(FORMULA, frame(), **MODELS[name]), reml=reml)


class Quantities:
    """The shares as functions of (θ, values, log σ), β."""

    def __init__(self, name: str, stratum: str | None) -> None:
        self.own = Dense(fitted(name).model.design)
        self.size = np.ones(len(frame()))
        self.stratum, self.levels = stratum, self.own.design.residual.variances

    def residual(self, values: Array) -> float:
        """Return the mean residual variance over σ², of one stratum if it is named."""
        if self.stratum is None:
            return float(np.diag(dense_covariance(self.own.design, values)).mean())
        return float(values[-1] ** 2) if self.stratum == "m" else 1.0

    def __call__(self, point: Array, beta: Array) -> Array:
        """Return the two ICCs, the total variance, and both R²."""
        theta, values, scale = point[:4], point[4:-1], np.exp(2.0 * point[-1])
        parts = []
        for term, own in zip(self.own.terms, (theta[:3], theta[3:])):
            T = np.zeros((term.X.shape[1],) * 2)
            T[np.tril_indices(len(T))] = own
            parts.append(scale * np.einsum("na,ab,nb->n", term.X, T @ T.T, term.X).mean())
        total = sum(parts) + scale * self.residual(values)
        fixed = np.var(self.own.X @ beta, ddof=1)
        explained = [fixed, fixed + sum(parts)]
        return np.array([p / total for p in parts] + [total]
                        + [e / (fixed + total) for e in explained])  # fmt: skip


def derivatives(f: Callable[[Array], Array], at: Array, h: float = 1e-6) -> Array:
    return np.array([(f(at + s) - f(at - s)) / (2 * h) for s in h * np.eye(len(at))])


def hessian(f: Callable[[Array], float], at: Array, h: float = 2e-4) -> Array:
    E = h * np.eye(len(at))
    return np.array([[f(at + a + b) - f(at + a - b) - f(at - a + b) + f(at - a - b)
                      for a in E] for b in E]) / (4 * h * h)  # fmt: skip


@pytest.mark.parametrize(("name", "stratum"), [*((name, None) for name in MODELS),
                                               ("strata", "f"), ("strata", "m")])  # fmt: skip
def test_shares_by_their_definitions(name: str, stratum: str | None) -> None:
    result, quantities = fitted(name), Quantities(name, stratum)
    values = result.fit_record.design.residual.values
    point = np.concatenate([result.theta, values, [np.log(result.sigma)]])
    beta = np.asarray(result.params)
    tables = [result.icc(stratum=stratum), result.total_variance(stratum=stratum),
              result.r2(stratum=stratum)]  # fmt: skip
    found = pd.concat(tables)
    assert_allclose(found["estimate"], quantities(point, beta), rtol=1e-8)

    def criterion(p: Array) -> float:
        return quantities.own.criterion(p[:4], p[4:-1], True, np.exp(p[-1]))

    g = derivatives(lambda p: quantities(p, beta), point)
    in_beta = derivatives(lambda b: quantities(point, b), beta)
    variance = 2.0 * np.einsum("jq,jq->q", g, np.linalg.solve(hessian(criterion, point), g))
    cov = np.asarray(result.normalized_cov_params * result.scale)
    variance += np.einsum("jq,jk,kq->q", in_beta, cov, in_beta)
    assert_allclose(found["se"], np.sqrt(variance), rtol=2e-3)
    assert (found["ci_lower"] < found["estimate"]).all()
    assert (found["ci_upper"] > found["estimate"]).all()


@pytest.mark.parametrize("quantity", ["icc", "total"])
def test_profiles_where_residuals_are_correlated(quantity: str) -> None:
    """At their ends the likelihood is 3.84 below the largest, by a search of SciPy."""
    formula, name = "y ~ x + (1 | g)", "correlated"
    result = quietly(MixedLM.from_formula(formula, frame(), **MODELS[name]), reml=False)
    call = result.icc if quantity == "icc" else result.total_variance
    row, own = call(method="profile").iloc[0], Dense(result.model.design)
    start = [np.log(result.theta[0]), np.arctanh(result.fit_record.design.residual.values[0])]
    for end in (row["ci_lower"], row["ci_upper"]):

        def at(x: Array, end: float = end) -> float:
            if quantity == "icc":
                return own.criterion(np.sqrt([end / (1 - end)]), np.tanh(x[1:]), False, None)
            theta = np.exp(x[:1])
            sigma = np.sqrt(end / (1.0 + theta[0] ** 2))
            return own.criterion(theta, np.tanh(x[1:]), False, sigma)

        best = minimize(at, start, method="Nelder-Mead", options={"xatol": 1e-6, "fatol": 1e-8})
        rise = best.fun - result.objective
        if end == 0.0:  # where zero is not refuted
            assert rise < chi2.ppf(0.95, 1)
        else:
            assert_allclose(rise, chi2.ppf(0.95, 1), atol=2e-3)


def test_what_there_is_not() -> None:
    for call in (fitted("strata").icc, fitted("power").total_variance):
        with pytest.raises(FitError, match="no profile where the residual variance"):
            call(method="profile")
    with pytest.raises(FitError, match="'x' is no stratum of variance='sex'"):
        fitted("strata").r2(stratum="x")
    with pytest.raises(FitError, match="names a stratum of variance="):
        fitted("correlated").icc(stratum="f")
    with pytest.raises(FitError, match=r"goes with power\(size\)"):
        fitted("power").icc(stratum="f")
