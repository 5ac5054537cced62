"""What stands above a solver needs no more of it than its protocol says."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from dense_solver import DenseFactor, DenseSolver
from numpy.testing import assert_allclose
from simulation import Example, example, thetas

from mixedlm_ext.criteria.gaussian import GaussianCriterion
from mixedlm_ext.criteria.pls import Problem
from mixedlm_ext.errors import FitError
from mixedlm_ext.products.block_matrix import BlockMatrix
from mixedlm_ext.search import optimize
from mixedlm_ext.solvers.costs import Costs
from mixedlm_ext.solvers.direct import DirectSolver
from mixedlm_ext.solvers.symbolic import Symbolic

Array = np.ndarray

EXAMPLES: dict[str, Example] = {
    "one factor": example("partial", ["1z|g"], weights=True),
    "crossed": example("crossed", ["1x|h", "xz||g"], weights=True, offset=True),
    "merged, apart": example("partial", ["1x|h", "1|g", "zu||h"], weights=True, seed=5),
    "no fixed effects": example("partial", ["1x|g", "1|h"], X=""),
}


@pytest.mark.parametrize("reml", [True, False])
@pytest.mark.parametrize("kind", ["random", "zero", "first column zero"])
@pytest.mark.parametrize("name", EXAMPLES)
def test_another_solver_gives_the_same_criterion(name: str, kind: str, reml: bool) -> None:
    direct = EXAMPLES[name].model().problem
    dense = replace(direct, given=DenseSolver(direct.cp.A))
    theta = direct.covariance.standardize(thetas(EXAMPLES[name])[kind])
    one, two = (GaussianCriterion(problem, reml).at(theta) for problem in (direct, dense))
    assert_allclose(two.value, one.value, rtol=1e-12)
    assert_allclose(two.pls.pwrss, one.pls.pwrss, rtol=1e-11)
    assert_allclose(two.pls.beta, one.pls.beta, atol=1e-10)
    assert_allclose(two.pls.b, one.pls.b, atol=1e-10)
    assert_allclose(two.gradient, one.gradient, atol=1e-8)
    assert_allclose(two.hessian_model, one.hessian_model, atol=1e-8)


def test_another_solver_finds_the_same_optimum() -> None:
    direct = EXAMPLES["crossed"].model().problem
    dense = replace(direct, given=DenseSolver(direct.cp.A))
    (one, _), (two, log) = (optimize(GaussianCriterion(p, True)) for p in (direct, dense))
    assert log.converged
    assert_allclose(two.value, one.value, rtol=1e-10)


# ---------------------------------------------------------------- a pattern and its numbers


def changed(A: BlockMatrix, seed: int) -> BlockMatrix:
    """Other numbers on the same pattern, positive definite: what other weights might give."""
    factor = 1.0 + float(np.random.default_rng(seed).uniform())
    return A.plus(A.scaled(factor), 1.0)


@pytest.mark.parametrize("name", EXAMPLES)
def test_numbers_loaded_onto_a_pattern(name: str) -> None:
    problem = EXAMPLES[name].model().problem
    A = changed(problem.cp.A, 1)
    symbolic = Symbolic(problem.cp.A)
    templates = problem.covariance.templates(thetas(EXAMPLES[name])["random"])
    loaded, expected = DirectSolver(symbolic, A).factor(templates), DenseFactor(A, templates)
    assert_allclose(loaded.logdet, expected.logdet, rtol=1e-12)
    r = np.random.default_rng(2).standard_normal((symbolic.q, 2))
    assert_allclose(loaded.apply(r), expected.apply(r), atol=1e-11)


def test_loading_its_own_numbers_does_nothing() -> None:
    problem = EXAMPLES["crossed"].model().problem
    assert problem.solver.load(problem.cp.A) is problem.solver
    assert problem.with_products(2.0 * problem.cp).solver is not problem.solver


def part_of(A: BlockMatrix, keep: int) -> BlockMatrix:
    """The matrix with only the first pairs of each coupling."""
    couplings = {
        key: type(c)(c.rows[:keep], c.columns[:keep], c.values[:, :, :keep])
        for key, c in A.couplings.items()
    }
    return BlockMatrix(A.shapes, A.diagonal, couplings)


def test_a_pattern_takes_matrices_with_fewer_pairs_only() -> None:
    A: Any = EXAMPLES["crossed"].model().problem.cp.A
    part = part_of(A, 7)
    templates = [np.eye(k) for k, _ in A.shapes]
    loaded = DirectSolver(Symbolic(A), part).factor(templates)
    assert_allclose(loaded.logdet, DenseFactor(part, templates).logdet, rtol=1e-12)
    with pytest.raises(FitError, match="join levels that the pattern of the factor does not"):
        DirectSolver(Symbolic(part), A)


def test_a_problem_of_its_own_pattern() -> None:
    problem = EXAMPLES["merged, apart"].model().problem
    again = Problem(problem.cp, problem.covariance)
    theta = problem.covariance.start()
    values = [GaussianCriterion(p, True).at(theta).value for p in (problem, again)]
    assert_allclose(values[0], values[1], rtol=1e-13)


@pytest.mark.parametrize("densest", [0, 3000])
@pytest.mark.parametrize("name", ["one factor", "crossed"])
def test_costs_choose_the_way_to_derivatives_and_not_their_value(name: str, densest: int) -> None:
    problem = EXAMPLES[name].model().problem
    small = Costs(dense=0, densest=densest, levelwise=0)
    dear = replace(problem, given=DirectSolver(Symbolic(problem.cp.A, costs=small), problem.cp.A))
    theta = np.random.default_rng(3).uniform(0.3, 1.0, problem.covariance.n_theta)
    one, two = (GaussianCriterion(p, True).at(theta) for p in (problem, dear))
    assert one.exact_is_cheap and not two.exact_is_cheap
    assert dear.costs is small
    assert two.dense_pays == (densest > 0)
    assert_allclose(two.hessian, one.hessian, rtol=1e-5, atol=1e-5)


def test_a_dense_matrix_is_formed_where_it_costs_less_than_evaluations() -> None:
    costs = Costs()
    assert costs.forms_dense(600, 3, 0)
    assert costs.forms_dense(704, 145, 256)  # two templates of 8 × 8
    assert not costs.forms_dense(951, 5, 150)  # two variances
    assert not costs.forms_dense(3001, 10_000, 2000)
