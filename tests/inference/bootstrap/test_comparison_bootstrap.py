"""Bootstrap of the likelihood ratio of two nested models, against pbkrtest and by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from scipy import stats
from simulation import quietly

from mixedlm_ext import MixedLM, datasets
from mixedlm_ext.errors import FitError
from mixedlm_ext.estimation.estimates import Estimates


@pytest.fixture(scope="module")
def small(sleepstudy: pd.DataFrame):
    return MixedLM.from_formula("Reaction ~ Days + (1 | Subject)", sleepstudy).fit()


def test_comparison_is_pbkrtests(result, sleepstudy: pd.DataFrame) -> None:
    """pbkrtest 0.5-2, PBmodcomp of ML fits with 1000 and 3000 samples."""
    small = MixedLM.from_formula("Reaction ~ 1 + (Days | Subject)", sleepstudy).fit()
    test = result.compare_bootstrap(small, n=500, rng=1)
    assert_allclose(test.statistic, 23.537, atol=1e-3)
    assert test.df == 1 and test.n_failed == 0
    assert test.pvalue == 1 / 501
    assert_allclose(test.summary_frame().loc["Bartlett", "statistic"], 22.456, rtol=0.1)
    cake = datasets.cake.load_pandas().data
    large = MixedLM.from_formula("angle ~ recipe + temp + (1 | recipe:replicate)", cake).fit()
    test = large.compare_bootstrap(large.update("~ . - recipe"), n=1000, rng=2)
    table = test.summary_frame()
    assert_allclose(test.statistic, 0.5300, atol=1e-4)
    assert_allclose(table.loc["LRT", "pvalue"], 0.7672, atol=1e-4)
    assert_allclose(table.loc["bootstrap", "pvalue"], 0.7934, atol=0.05)
    assert_allclose(table.loc["Bartlett", "pvalue"], 0.7849, atol=0.02)
    assert np.nanmean(test.replicates) == pytest.approx(2.1877, rel=0.1)


def test_order_and_seeds_of_comparisons(result, small) -> None:
    one = result.compare_bootstrap(small, n=40, rng=1)
    two = small.compare_bootstrap(result, n=40, rng=1)
    assert (one.replicates == two.replicates).all()
    assert one.statistic == two.statistic
    assert (one.replicates >= 0).all()


def test_comparisons_of_crossed_factors(penicillin) -> None:
    small = penicillin.update("~ . - (1 | plate)")
    test = penicillin.compare_bootstrap(small, n=20, rng=1)
    assert test.pvalue == 1 / 21


def test_bad_comparisons(result, sleepstudy: pd.DataFrame) -> None:
    other = MixedLM.from_formula("Reaction ~ I(Days**2) + (1 | Subject)", sleepstudy).fit()
    with pytest.raises(FitError, match="not nested"):
        result.compare_bootstrap(other, n=5)
    with pytest.raises(FitError, match="same number of parameters"):
        result.compare_bootstrap(result, n=5)
    with pytest.raises(FitError, match="not the result of a mixed model"):
        result.compare_bootstrap(3.0)
    fewer = MixedLM.from_formula("Reaction ~ Days + (1 | Subject)", sleepstudy[:100]).fit()
    with pytest.raises(FitError, match="different rows"):
        result.compare_bootstrap(fewer, n=5)


def given_replicates(monkeypatch: pytest.MonkeyPatch, T: list[float]) -> None:
    """Let the comparison find these statistics instead of simulating some."""
    monkeypatch.setattr(
        "mixedlm_ext.inference.bootstrap.bootstrap_test._ratios",
        lambda draws, refitters, seeds: np.array(T),
    )


def test_p_value_counts_what_reaches_the_statistic(
    result, small, monkeypatch: pytest.MonkeyPatch
) -> None:
    observed = small.refit_ml().objective - result.refit_ml().objective
    given_replicates(monkeypatch, [observed, observed + 1, observed - 1, 0.0, np.nan])
    test = result.compare_bootstrap(small, n=5, rng=1)
    assert_allclose(test.statistic, observed)
    assert test.pvalue == (1 + 2) / (1 + 4)
    assert test.n_failed == 1 and np.isnan(test.replicates[4])


@pytest.mark.parametrize("rounding", [-3e-9, 0.0, 3e-9])
def test_a_tie_but_for_rounding_is_a_tie(
    result, small, rounding: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two searches for one optimum end within 1e-8 of one another, not at the same bits."""
    observed = small.refit_ml().objective - result.refit_ml().objective
    given_replicates(monkeypatch, [observed + rounding] * 3)
    assert result.compare_bootstrap(small, n=3, rng=1).pvalue == 1.0


def test_a_variance_of_zero_has_the_p_value_one(sleepstudy: pd.DataFrame) -> None:
    """Half of the simulated statistics are zero, too; all of them reach zero."""
    data = sleepstudy.assign(h=np.tile(np.arange(6), 30))
    small = MixedLM.from_formula("Reaction ~ Days + (1 | Subject)", data).fit()
    large = quietly(MixedLM.from_formula("Reaction ~ Days + (1 | Subject) + (1 | h)", data))
    assert large.singular
    test = large.compare_bootstrap(small, n=60, rng=1)
    assert abs(test.statistic) < 1e-8 and test.pvalue == 1.0
    assert (test.replicates >= 0).all()
    assert 15 < (test.replicates < 1e-8).sum() < 60


def test_failed_refits_are_left_out(result, small, monkeypatch: pytest.MonkeyPatch) -> None:
    """A replicate counts only if both of its fits converged."""
    fit_reduced = _refitter().fit_reduced

    def fail(self: Any, reduced: Any) -> Estimates:
        out = fit_reduced(self, reduced)
        out.converged[0 if self.problem.covariance.n_theta == 1 else 1] = False
        return out

    monkeypatch.setattr(_refitter(), "fit_reduced", fail)
    test = result.compare_bootstrap(small, n=10, rng=1)
    assert test.n_failed == 2 and np.isnan(test.replicates[:2]).all()
    assert test.pvalue == 1 / 9


def _refitter() -> Any:
    from mixedlm_ext.many import Refitter

    return Refitter


def test_all_failures_are_an_error(result, small, monkeypatch: pytest.MonkeyPatch) -> None:
    given_replicates(monkeypatch, [np.nan] * 4)
    with pytest.raises(FitError, match="all 4 bootstrap refits failed"):
        result.compare_bootstrap(small, n=4, rng=1)


def test_bartlett_scales_to_the_mean_of_chi_squared(
    result, small, monkeypatch: pytest.MonkeyPatch
) -> None:
    given_replicates(monkeypatch, [3.0, np.nan, 5.0])
    test = result.compare_bootstrap(small, n=3, rng=1)
    table = test.summary_frame()
    assert test.df == 2
    scaled = test.statistic * 2 / 4.0
    assert_allclose(table["statistic"], [test.statistic, scaled, test.statistic])
    assert_allclose(table["pvalue"][:2], stats.chi2.sf([test.statistic, scaled], 2))
    assert table.loc["bootstrap", "pvalue"] == test.pvalue == 1 / 3
