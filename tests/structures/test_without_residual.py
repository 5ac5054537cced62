"""Random effects that are all there is: the residual variance goes to zero, and that is said."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from simulation import quietly
from statsmodels.tools.sm_exceptions import ConvergenceWarning

from mixedlm_ext import MixedLM

TERMS = {
    "ar1": ("ar1(0 + C(week) | id)", "ar1(week | id)"),
    "exp": ("exp(0 + position(week) | id)", "car1(week | id)"),
}


def autoregression(seed: int, scale: float = 1.0) -> pd.DataFrame:
    """Return 20 series of six weeks with correlations 0.6 to the distance, and nothing besides."""
    weeks = np.arange(6)
    root = np.linalg.cholesky(0.6 ** np.abs(np.subtract.outer(weeks, weeks)))
    y = scale * np.random.default_rng(seed).normal(size=(20, 6)) @ root.T
    return pd.DataFrame({"id": np.repeat(np.arange(20), 6), "week": np.tile(weeks, 20),
                         "y": y.ravel()})  # fmt: skip


@pytest.mark.parametrize("name", TERMS)
def test_the_limit_is_the_model_of_correlated_residuals(name: str) -> None:
    term, correlation = TERMS[name]
    data = autoregression(0)
    way = correlation.partition("(")[0]
    with pytest.warns(ConvergenceWarning, match=rf"correlation='{way}\(time \| group\)' in place"):
        result = MixedLM.from_formula(f"y ~ week + {term}", data).fit()
    other = quietly(MixedLM.from_formula("y ~ week", data, correlation=correlation))
    assert not result.converged and other.converged
    assert_allclose(result.llf, other.llf, atol=1e-4)
    assert_allclose(result.params, other.params, rtol=1e-3)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
@pytest.mark.parametrize("fix", [{"id.rho": 0.5}, {"id.rho": 0.2}])
def test_with_a_given_correlation_too(fix: dict[str, float], scale: float) -> None:
    model = MixedLM.from_formula(f"y ~ week + {TERMS['ar1'][0]}", autoregression(0, scale))
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        result: Any = model.fit(fix=fix)
    assert not result.converged and result.sigma < 1e-2 * scale
    assert any("correlation='ar1(time | group)'" in str(w.message) for w in told)


def test_where_rounding_ends_the_search() -> None:
    """Far out the criterion has no digits left; what is said is the same."""
    rng, weeks = np.random.default_rng(1), np.arange(8)
    root = np.linalg.cholesky(0.7 ** np.abs(np.subtract.outer(weeks, weeks)))
    y = 10.0 + 3.0 * (rng.normal(size=(30, 8)) @ root.T)
    data = pd.DataFrame({"id": np.repeat(np.arange(30), 8), "week": np.tile(weeks, 30)})
    model = MixedLM.from_formula(f"y ~ week + {TERMS['ar1'][0]}", data.assign(y=y.ravel()))
    told = r"(rounding hides|levels off).*correlation='ar1\(time"
    with pytest.warns(ConvergenceWarning, match=told):
        model.fit(fix={"id.rho": 0.5})
