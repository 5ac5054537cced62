"""Structured and known covariances of random effects in generalized models: glmmTMB's numbers."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from places import DATA

from mixedlm_ext import MixedGLM

FOLDER = DATA / "glmm_structures"
NUMBERS: dict[str, Any] = json.loads((FOLDER / "numbers.json").read_text())
F = sm.families

MODELS: dict[str, tuple[str, Any]] = {
    "ar1 poisson": ("y ~ x + ar1(0 + C(time) | group)", F.Poisson()),
    "cs poisson": ("y ~ x + cs(0 + C(time) | group)", F.Poisson()),
    "toep poisson": ("y ~ x + toep(0 + C(time) | group, hom=False)", F.Poisson()),
    "ou poisson": ("y ~ x + exp(0 + position(time) | group)", F.Poisson()),
    "ar1 negative binomial": (
        "z ~ x + ar1(0 + C(time) | group)", F.NegativeBinomial(alpha=1.0),
    ),
    "known binomial": ("y ~ x + (1 | gr(line, cov=K))", F.Binomial()),
    "known poisson": ("n ~ x + (1 | gr(line, cov=K))", F.Poisson()),
}  # fmt: skip


def built(name: str) -> MixedGLM:
    formula, family = MODELS[name]
    data = pd.read_csv(FOLDER / ("lines.csv" if "known" in name else "times.csv"))
    scope = {}
    if "known" in name:
        labels = sorted(data["line"].unique())
        K = pd.read_csv(FOLDER / "lines_K.csv").to_numpy()
        scope["K"] = pd.DataFrame(K, labels, labels)
    return MixedGLM.from_formula(formula, data, family=family, eval_env=scope)


def test_all_models_are_there() -> None:
    assert MODELS.keys() == NUMBERS.keys()


@pytest.mark.parametrize("name", MODELS)
def test_the_optimum_is_glmmTMBs(name: str) -> None:
    result, wanted = built(name).fit(), NUMBERS[name]
    assert result.converged
    assert result.llf == pytest.approx(wanted["logLik"], abs=1e-6)
    np.testing.assert_allclose(result.params, wanted["beta"], atol=1e-5)
    np.testing.assert_allclose(result.bse, wanted["se"], rtol=1e-4)
    theta = np.atleast_1d(wanted["theta"])
    sds = np.exp(theta[: 6 if name.startswith(("cs", "toep")) else 1])
    np.testing.assert_allclose(result.theta[: len(sds)], sds, rtol=1e-4)
    if name.startswith("ar1"):
        assert result.theta[1] == pytest.approx(theta[1] / np.hypot(1.0, theta[1]), abs=1e-4)
    if "negative" in name:
        assert float(result.family.alpha) == pytest.approx(np.exp(-wanted["betad"]), rel=1e-4)


@pytest.mark.parametrize("name", ["ar1 poisson", "toep poisson", "ar1 negative binomial"])
def test_other_starts_end_no_higher(name: str) -> None:
    model = built(name)
    best = model.fit().llf
    for seed in range(3):
        rng = np.random.default_rng(seed)
        n = len(model.assembled.problem().covariance.start())
        theta = rng.uniform(0.1, 0.6, n)
        assert model.fit(start_params=theta).llf <= best + 1e-6
