"""Places that a fit has not seen, beside residuals with a structure."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

from mixedlm_ext import MixedLM
from mixedlm_ext.errors import DesignError, FitError

FORMULA = "y ~ 1 + exp(0 + position(t) | g)"


def data(groups: int = 12, times: int = 8) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    t = np.arange(float(times))
    root = np.linalg.cholesky(np.exp(-np.abs(np.subtract.outer(t, t)) / 4.0))
    y = 2.0 * rng.normal(size=(groups, times)) @ root.T + rng.normal(size=(groups, times))
    return pd.DataFrame(
        {
            "y": y.ravel(),
            "g": np.repeat(np.arange(groups), times),
            "t": np.tile(t, groups),
            "o": np.tile(np.arange(times), groups),
            "f": np.tile([f"f{i % 3}" for i in range(times)], groups),
            "two": np.tile([f"k{i % 2}" for i in range(times)], groups),
        }
    )


NEW = pd.DataFrame({"g": [0, 1, 1, 5], "t": [2.5, 9.0, 3.0, 0.0], "o": [0, 0, 1, 2]})


@pytest.mark.parametrize("correlation", ["ar1(o | g)", "cs(1 | g)"])
def test_places_of_the_fit_are_predicted_as_without_others(correlation: str) -> None:
    model = MixedLM.from_formula(FORMULA, data(), correlation=correlation)
    result = model.fit(ddf="normal")
    both, seen = (result.get_prediction(rows) for rows in (NEW, NEW.iloc[2:]))
    assert_allclose(both.predicted_mean[2:], seen.predicted_mean, rtol=1e-10)
    assert_allclose(both.se_mean[2:], seen.se_mean, rtol=1e-10)
    assert (both.se_mean[:2] > seen.se_mean.min()).all()
    assert_allclose(result.predict(NEW), both.predicted_mean, rtol=1e-12)
    with pytest.raises(FitError, match="Fit with ddf='normal'"):
        model.fit().get_prediction(NEW)


@pytest.mark.parametrize("term", ["(t | g)", "us(0 + f | g)", "cs(0 + f | g, hom=True)",
                                  "toep(0 + f | g, hom=True)", "ar1(0 + two | g)"])  # fmt: skip
def test_terms_that_hold_an_intercept_are_refused_beside_equal_correlations(term: str) -> None:
    model = MixedLM.from_formula(f"y ~ 1 + {term}", data(), correlation="cs(1 | g)")
    with pytest.raises(DesignError, match="both say that rows of one g are alike"):
        model.fit()


@pytest.mark.filterwarnings("ignore::mixedlm_ext.errors.SingularFitWarning")
@pytest.mark.parametrize("term", ["exp(0 + position(t) | g)", "ar1(0 + f | g)", "diag(0 + f | g)"])
def test_terms_that_hold_none_are_fitted_beside_them(term: str) -> None:
    model = MixedLM.from_formula(f"y ~ 1 + {term}", data(), correlation="cs(1 | g)")
    assert np.isfinite(model.fit().llf)
