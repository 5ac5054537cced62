"""Where an exact evaluation is dear, the search starts at the minimum by the iterative solver."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

from mixedlm_ext import MixedLM
from mixedlm_ext.criteria.gaussian import GaussianCriterion
from mixedlm_ext.errors import FitError
from mixedlm_ext.search import rough
from mixedlm_ext.search.log import Log
from mixedlm_ext.solvers import scaled


@pytest.fixture(scope="module")
def crossed() -> pd.DataFrame:
    rng = np.random.default_rng(1)
    f, g = rng.integers(0, 250, 3000), rng.integers(0, 200, 3000)
    y = rng.standard_normal(250)[f] + 0.5 * rng.standard_normal(200)[g]
    y += 2.0 * rng.standard_normal(3000)
    return pd.DataFrame({"y": y, "f": f, "g": g, "x": rng.standard_normal(3000)})


@pytest.fixture
def dear(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every exact evaluation counts as dear."""
    monkeypatch.setattr(rough, "_DEAR", 0.0)


FORMULA = "y ~ x + (1 | f) + (1 | g)"


@pytest.mark.usefixtures("dear")
@pytest.mark.parametrize("reml", [True, False])
def test_the_start_is_next_to_the_minimum(crossed: pd.DataFrame, reml: bool) -> None:
    problem = MixedLM.from_formula(FORMULA, crossed).problem
    criterion, far = GaussianCriterion(problem, reml), problem.covariance.start()
    e = criterion.at(rough.rough_minimum(criterion, far, Log(100)))
    g, H = e.gradient, e.hessian
    assert g @ np.linalg.solve(H, g) < 1e-3 * (criterion.at(far).value - e.value)


def test_the_minimum_is_the_same_after_fewer_evaluations(
    crossed: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = MixedLM.from_formula(FORMULA, crossed).fit()
    monkeypatch.setattr(rough, "_DEAR", 0.0)
    found = MixedLM.from_formula(FORMULA, crossed).fit()
    assert found.converged
    assert found.fit_record.sampling is None
    assert_allclose(found.objective, plain.objective, atol=1e-8)
    assert_allclose(found.theta, plain.theta, rtol=1e-5)
    assert found.optimization.evaluations <= plain.optimization.evaluations


@pytest.mark.usefixtures("dear")
def test_a_rough_search_that_fails_does_no_harm(
    crossed: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    problem = MixedLM.from_formula(FORMULA, crossed).problem
    start = np.array([0.3, 0.2])

    def fail(*_: object) -> None:
        raise FitError("the iterative solver did not converge")

    monkeypatch.setattr(scaled.ScaledComplement, "logarithms", fail)
    assert rough.rough_minimum(GaussianCriterion(problem, True), start, Log(100)) is start
    assert MixedLM.from_formula(FORMULA, crossed).fit().converged


def test_a_cheap_evaluation_has_none(crossed: pd.DataFrame) -> None:
    problem, start = MixedLM.from_formula(FORMULA, crossed).problem, np.array([0.3, 0.2])
    assert rough.rough_minimum(GaussianCriterion(problem, True), start, Log(100)) is start


@pytest.mark.usefixtures("dear")
def test_an_iterative_fit_has_none(crossed: pd.DataFrame) -> None:
    problem = MixedLM.from_formula(FORMULA, crossed).problem.solved_by("iterative")
    start = np.array([0.3, 0.2])
    assert rough.rough_minimum(GaussianCriterion(problem, True), start, Log(100)) is start
