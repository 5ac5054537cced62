"""Bias and coverage in data drawn from the model, within the error of the simulation."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm

from mixedlm_ext import MixedGLM

REPEATS, GROUPS, EACH = 300, 60, 12
BETA, SD = np.array([-0.4, 0.6]), 0.8
F = sm.families


def draw(family: Any, rng: np.random.Generator) -> pd.DataFrame:
    """Draw rows of groups with an intercept of their own."""
    g = np.repeat(np.arange(GROUPS), EACH)
    x = rng.normal(size=len(g))
    eta = BETA[0] + BETA[1] * x + SD * rng.normal(size=GROUPS)[g]
    mu = family.link.inverse(eta)
    if isinstance(family, F.Binomial):
        y = rng.binomial(1, mu)
    elif isinstance(family, F.Poisson):
        y = rng.poisson(mu)
    elif isinstance(family, F.NegativeBinomial):
        y = rng.poisson(rng.gamma(2.0, mu / 2.0))
    else:
        y = rng.gamma(2.0, mu / 2.0)
    return pd.DataFrame({"y": y, "x": x, "g": g})


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "nagq"),
    [
        (F.Binomial(), 1),
        (F.Binomial(), 9),
        (F.Poisson(), 1),
        (F.NegativeBinomial(alpha=1.0), 1),
        (F.Gamma(F.links.Log()), 1),
    ],
    ids=["binomial", "binomial, 9 nodes", "poisson", "negative binomial", "gamma"],
)
def test_bias_and_coverage(family: Any, nagq: int) -> None:
    rng = np.random.default_rng(20)
    estimates, covered, sds = np.empty((REPEATS, 2)), np.empty((REPEATS, 2), bool), []
    for i in range(REPEATS):
        model = MixedGLM.from_formula("y ~ x + (1 | g)", draw(family, rng), family=family)
        result = model.fit(nagq=nagq)
        assert result.converged
        interval = np.asarray(result.conf_int())[:2]
        estimates[i] = np.asarray(result.params)[:2]
        covered[i] = (interval[:, 0] < BETA) & (interval[:, 1] > BETA)
        sds.append(float(result.varcorr()["std_dev"].iloc[0]))
    error = estimates.std(axis=0) / np.sqrt(REPEATS)
    # Laplace's approximation with single answers has a bias of its own, toward zero
    allowance = 0.02 if nagq == 1 and isinstance(family, F.Binomial) else 0.005
    assert (np.abs(estimates.mean(axis=0) - BETA) < 3.5 * error + allowance).all()
    assert (np.abs(covered.mean(axis=0) - 0.95) < 0.045).all()
    assert abs(np.mean(sds) - SD) < 0.05
