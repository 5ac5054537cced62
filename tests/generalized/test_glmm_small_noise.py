"""Rows that tell far more than random effects leave open: a small dispersion, counts of billions.

There a generalized model is a linear one of the transformed response, which says what is right.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm

from mixedlm_ext import MixedGLM, MixedLM
from mixedlm_ext.criteria.laplace import LaplaceCriterion
from mixedlm_ext.criteria.many_laplace import ManyLaplace
from mixedlm_ext.search.trust_region import QuadraticModel

F = sm.families
LOG = F.links.Log()


def rows(noise: float, seed: int = 3) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    d = pd.DataFrame({"g": np.repeat(np.arange(10), 12), "x": rng.normal(size=120)})
    eta = 0.3 + 0.5 * d["x"] + 0.4 * rng.normal(size=10)[d["g"]]
    d["y"] = np.exp(eta + noise * rng.normal(size=120))
    return d.assign(log=np.log(d["y"]))


@pytest.mark.parametrize("noise", [1e-3, 1e-4, 1e-5])
@pytest.mark.parametrize("family", [F.Gamma(LOG), F.InverseGaussian(LOG), F.Gaussian(LOG)])
def test_a_small_dispersion_is_estimated(family: Any, noise: float) -> None:
    d = rows(noise)
    model = MixedGLM.from_formula("y ~ x + (1 | g)", d, family)
    one, many = model.fit(), model.fit_many(d[["y"]])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        linear = MixedLM.from_formula("log ~ x + (1 | g)", d).fit(reml=False)
    assert one.converged and many.converged["y"]
    power = {"Gamma": 0, "InverseGaussian": 1, "Gaussian": -2}[type(family).__name__]
    assert one.bse.iloc[0] == pytest.approx(linear.bse.iloc[0], rel=3e-4)
    if not power:
        assert one.scale == pytest.approx(linear.scale, rel=3e-4)
        assert one.bse.iloc[1] == pytest.approx(linear.bse.iloc[1], rel=3e-4)
    assert many.llf["y"] == pytest.approx(one.llf, abs=1e-6)
    assert many.scale["y"] == pytest.approx(one.scale, rel=1e-5)
    np.testing.assert_allclose(many.bse.loc["y"], one.bse, rtol=1e-5)


@pytest.mark.parametrize("count", [1e6, 1e8, 1e10])
def test_large_counts_have_standard_errors(count: float) -> None:
    rng = np.random.default_rng(3)
    d = rows(0.0)
    mean = count * d["y"]
    d["y"] = np.round(mean + np.sqrt(mean) * rng.normal(size=120))
    model = MixedGLM.from_formula("y ~ x + (1 | g)", d, F.Poisson())
    one, many = model.fit(), model.fit_many(d[["y"]])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        linear = MixedLM.from_formula("np.log(y) ~ x + (1 | g)", d, weights="y").fit(
            reml=False, sigma=1.0
        )
    assert one.converged and many.converged["y"]
    np.testing.assert_allclose(one.bse, linear.bse, rtol=1e-3)
    np.testing.assert_allclose(many.bse.loc["y"], linear.bse, rtol=1e-3)


def test_counts_beyond_the_digits_of_a_number_are_said() -> None:
    d = rows(0.1)
    d["y"] = np.round(1e15 * d["y"])
    with pytest.warns(match="rounding hides the last digits of the log-likelihood"):
        result = MixedGLM.from_formula("y ~ x + (1 | g)", d, F.Poisson()).fit()
    assert not result.converged


def test_rows_of_negative_information_leave_the_steps_newtons() -> None:
    """Of a normal response with a logarithmic link, where it is twice its mean or more."""
    d = rows(1.2, seed=5)
    problem = MixedGLM.from_formula("y ~ x + (x | g)", d, F.Gaussian(LOG)).assembled.problem()
    many = ManyLaplace.of(problem, d[["y"]].to_numpy())
    for shift in (-0.5, 0.0, 0.5):
        point = np.array([0.4, 0.1, 0.3, 0.2 + shift, 0.3, 0.5])
        one, e = LaplaceCriterion(problem).at(point), many.at(point[:, None])
        assert (one.modes.at.observed < 0).any()
        assert e.value[0] == pytest.approx(one.value, rel=1e-12)
        np.testing.assert_allclose(e.gradient[:, 0], one.gradient, rtol=1e-8, atol=1e-8)


def test_a_direction_is_flat_among_its_own() -> None:
    """Curvatures of a variance are no noise beside those of a coefficient, a billion times."""
    H = np.diag([3e2, 1e14, 60.0])
    H[0, 1] = H[1, 0] = 2e6
    g = np.array([1.0, 1e3, -30.0])
    apart = np.array([False, True, False])
    step = QuadraticModel(g, H, apart=apart).step(np.inf)
    np.testing.assert_allclose(step.vector, -np.linalg.solve(H, g), rtol=1e-9)
    assert not step.flat
    ends = (np.array([-np.inf, -np.inf, -0.1]), np.array([np.inf, np.inf, 0.1]))
    held = QuadraticModel(g, H, ends, apart).step(np.inf)
    assert held.vector[2] == pytest.approx(0.1)
    H[2, 2] = 1e-6
    assert QuadraticModel(g, H, apart=apart).step(np.inf).flat
