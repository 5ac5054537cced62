"""What stands above a solver needs no more of it than its protocol says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose
from simulation import Example, example, thetas

from mixedlm_ext.errors import FitError
from mixedlm_ext.objective import Objective
from mixedlm_ext.pls import Problem
from mixedlm_ext.products.products import BlockMatrix
from mixedlm_ext.search import optimize
from mixedlm_ext.solvers.direct import DirectSolver
from mixedlm_ext.solvers.symbolic import Symbolic

Array = np.ndarray

EXAMPLES: dict[str, Example] = {
    "one factor": example("partial", ["1z|g"], weights=True),
    "crossed": example("crossed", ["1x|h", "xz||g"], weights=True, offset=True),
    "merged, apart": example("partial", ["1x|h", "1|g", "zu||h"], weights=True, seed=5),
    "no fixed effects": example("partial", ["1x|g", "1|h"], X=""),
}


class DenseFactor:
    """N by dense algebra: `apply` and what follows from it."""

    def __init__(self, A: BlockMatrix, templates: Sequence[Array]) -> None:
        self.templates, self._A, self._shapes = templates, A.sparse.toarray(), A.shapes
        self._offsets = A.offsets
        Lambda = np.zeros_like(self._A)
        for (_, levels), T, start, stop in zip(A.shapes, templates, A.offsets, A.offsets[1:]):
            Lambda[start:stop, start:stop] = np.kron(T, np.eye(levels))
        M = Lambda.T @ self._A @ Lambda + np.eye(len(Lambda))
        self.logdet = float(np.linalg.slogdet(M)[1])
        self._N = Lambda @ np.linalg.solve(M, Lambda.T)

    def apply(self, H: Array) -> Array:
        return self._N @ H

    def quadratic(self, H: Array) -> Array:
        return H.T @ self.apply(H)

    def solve(self, H: Array) -> tuple[Array, Array]:
        return self.quadratic(H), self.apply(H)

    def quadratic_diagonal(self, H: Array) -> Array:
        return np.diag(self.quadratic(H))

    def _blocks(self, matrix: Array) -> list[Array]:
        out = []
        for (k, levels), start, stop in zip(self._shapes, self._offsets, self._offsets[1:]):
            own = matrix[start:stop, start:stop].reshape(k, levels, k, levels)
            out.append(np.einsum("albl->abl", own))
        return out

    def diagonal_blocks(self) -> list[Array]:
        return self._blocks(self._N)

    def traces(self) -> tuple[list[Array], list[Array]]:
        K = [D.sum(axis=2) for D in self._blocks(self._A - self._A @ self._N @ self._A)]
        return K, [k @ T for k, T in zip(K, self.templates)]

    def level_information(self) -> None:
        return None

    def release(self) -> None:
        pass


class DenseSolver:
    def __init__(self, A: BlockMatrix) -> None:
        self._A = A
        self.root_size = int(A.offsets[-1])

    def load(self, A: BlockMatrix) -> DenseSolver:
        return DenseSolver(A)

    def factor(self, templates: Sequence[Array]) -> DenseFactor:
        return DenseFactor(self._A, templates)


@pytest.mark.parametrize("reml", [True, False])
@pytest.mark.parametrize("kind", ["random", "zero", "first column zero"])
@pytest.mark.parametrize("name", EXAMPLES)
def test_another_solver_gives_the_same_criterion(name: str, kind: str, reml: bool) -> None:
    direct = EXAMPLES[name].model().problem
    dense = replace(direct, solver=DenseSolver(direct.cp.A))
    theta = direct.covariance.standardize(thetas(EXAMPLES[name])[kind])
    one, two = (Objective(problem, reml).at(theta) for problem in (direct, dense))
    assert_allclose(two.value, one.value, rtol=1e-12)
    assert_allclose(two.pls.pwrss, one.pls.pwrss, rtol=1e-11)
    assert_allclose(two.pls.beta, one.pls.beta, atol=1e-10)
    assert_allclose(two.pls.b, one.pls.b, atol=1e-10)
    assert_allclose(two.gradient, one.gradient, atol=1e-8)
    assert_allclose(two.hessian_model, one.hessian_model, atol=1e-8)


def test_another_solver_finds_the_same_optimum() -> None:
    direct = EXAMPLES["crossed"].model().problem
    dense = replace(direct, solver=DenseSolver(direct.cp.A))
    (one, _), (two, log) = (optimize(Objective(p, True)) for p in (direct, dense))
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
    again = Problem.of(problem.cp, problem.covariance)
    theta = problem.covariance.start()
    values = [Objective(p, True).at(theta).value for p in (problem, again)]
    assert_allclose(values[0], values[1], rtol=1e-13)
