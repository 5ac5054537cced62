"""A search ends when its evaluations or its time are used up, and says so."""

from __future__ import annotations

from itertools import count
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose
from simulation import quietly
from statsmodels.tools.sm_exceptions import ConvergenceWarning

from mixedlm_ext import MixedLM, datasets
from mixedlm_ext.criteria.assemble import assemble
from mixedlm_ext.criteria.gaussian import GaussianCriterion, GaussianEvaluation
from mixedlm_ext.errors import FitError
from mixedlm_ext.search import METHODS, optimize

OTHERS = [m for m in METHODS if m not in ("newton", "cobyqa", "nm")]


@pytest.fixture(scope="module")
def model() -> MixedLM:
    data = datasets.sleepstudy.load_pandas().data[7:]  # unbalanced: the moments are no minimum
    return MixedLM.from_formula("Reaction ~ Days + (Days | Subject)", data)


@pytest.fixture(scope="module")
def result(model: MixedLM) -> Any:
    return model.fit()


class Counting(GaussianCriterion):
    """Counts every evaluation, whoever asks for it."""

    times = 0

    def at(self, theta: np.ndarray) -> GaussianEvaluation:
        self.times += 1
        return super().at(theta)


# ---------------------------------------------------------------- evaluations


@pytest.mark.parametrize("method", ["newton", *OTHERS])
@pytest.mark.parametrize("maxiter", [1, 2, 5, 13, 40])
def test_no_more_evaluations_than_allowed(model: MixedLM, method: str, maxiter: int) -> None:
    criterion = Counting(model.problem, True)
    best, log = optimize(criterion, np.array([3.0, 0.1, 0.5]), method=method, maxiter=maxiter)
    assert log.evaluations <= maxiter
    # and what is reported is what was done, but for one more to flip signs at the end
    assert log.evaluations <= criterion.times <= log.evaluations + 1
    assert_allclose(best.value, log.objective.min())
    if not log.converged:
        assert log.verdict in ("iteration limit", "saddle point") and log.evaluations == maxiter


@pytest.mark.parametrize("method", OTHERS)
def test_gradients_are_counted(model: MixedLM, method: str) -> None:
    criterion = Counting(model.problem, False)
    _, log = optimize(criterion, method=method)
    assert log.converged
    assert log.evaluations <= criterion.times <= log.evaluations + 1


def test_all_fit_keeps_to_maxiter(result: Any) -> None:
    table = result.all_fit(maxiter=9)
    assert (table["evaluations"] <= 9).all()
    assert set(table["verdict"]) <= {"converged", "iteration limit", "saddle point"}
    full = result.all_fit("lbfgs")
    assert full.index.tolist() == ["lbfgs"] and full["converged"].all()


@pytest.mark.parametrize("maxiter", [0, -3, 2.5, "9", True])
def test_bad_maxiter(result: Any, maxiter: Any) -> None:
    for call in (result.all_fit, result.model.fit):
        with pytest.raises(FitError, match=f"maxiter={maxiter!r} leaves nothing to do"):
            call(maxiter=maxiter)


@pytest.mark.parametrize("method", OTHERS)
def test_a_start_without_a_criterion(model: MixedLM, method: str) -> None:
    with pytest.raises(FitError):
        optimize(
            GaussianCriterion(model.problem, True), np.full(3, np.nan), method=method, maxiter=20
        )


# ---------------------------------------------------------------- time


@pytest.mark.parametrize("method", ["newton", *OTHERS])
@pytest.mark.parametrize("reml", [True, False])
def test_a_search_without_time_did_not_converge(model: MixedLM, method: str, reml: bool) -> None:
    with pytest.warns(ConvergenceWarning, match=r"max_time was over .* Raise max_time\."):
        found = model.fit(reml=reml, method=method, max_time=1e-9)
    assert found.optimization.verdict == "time limit" and not found.converged
    assert found.optimization.evaluations == 1
    assert np.isfinite(found.params).all()


def test_at_a_saddle_the_time_is_what_stopped_the_search(model: MixedLM) -> None:
    with pytest.warns(ConvergenceWarning, match="max_time was over"):
        found = quietly(model, start_params=[0.0, 0.0, 0.0], max_time=1e-9)
    assert found.optimization.verdict == "time limit"


@pytest.mark.parametrize("method", ["newton", "bobyqa", "lbfgs"])
def test_the_clock_is_read_between_evaluations(
    model: MixedLM, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here it shows one second more each time, so that the fourth evaluation does not begin."""
    seconds = count(1)
    clock = SimpleNamespace(monotonic=lambda: next(seconds))
    monkeypatch.setattr("mixedlm_ext.search.log.time", clock)
    start = np.array([5.0, 0.1, 0.5])
    _, log = optimize(GaussianCriterion(model.problem, True), start, method=method, deadline=3)
    assert (log.evaluations, log.verdict) == (3, "time limit")


@pytest.mark.parametrize("method", ["newton", "lbfgs"])
def test_with_time_enough_nothing_changes(model: MixedLM, result: Any, method: str) -> None:
    found = model.fit(method=method, max_time=600)
    assert found.converged and found.optimization.verdict == "converged"
    assert_allclose(found.objective, result.objective, rtol=1e-8)


def test_a_start_at_the_minimum_needs_no_time(model: MixedLM, result: Any) -> None:
    found = model.fit(start_params=result.theta, max_time=1e-9)
    assert found.converged and found.optimization.evaluations == 1


def test_reading_the_rows_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """The time of a fit begins with the fit, not with its search."""
    data = datasets.dyestuff.load_pandas().data[2:]
    model = MixedLM.from_formula("Yield ~ 1 + (1 | Batch)", data)
    now = [100.0]
    clock = SimpleNamespace(monotonic=lambda: now[0])
    for module in ("fitting", "search.log"):
        monkeypatch.setattr(f"mixedlm_ext.{module}.time", clock)

    def slow(design: Any) -> Any:
        now[0] += 60.0
        return assemble(design)

    monkeypatch.setattr("mixedlm_ext.estimation.assembled.assemble", slow)
    with pytest.warns(ConvergenceWarning, match="max_time"):
        assert quietly(model, max_time=59.0).optimization.verdict == "time limit"
    again = MixedLM.from_formula("Yield ~ 1 + (1 | Batch)", data)
    assert again.fit(max_time=1e6).converged


@pytest.mark.parametrize("max_time", [0, -1.0, np.nan, np.inf, "10", True])
def test_bad_times(model: MixedLM, max_time: Any) -> None:
    with pytest.raises(FitError, match=f"max_time={max_time!r} is no time"):
        model.fit(max_time=max_time)
