"""The solver with known precisions of levels, against dense algebra with K."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import sparse
from test_solver_contract import Pattern, templates_of

from mixedlm_ext.errors import FitError
from mixedlm_ext.linalg.precision import SparsePrecision
from mixedlm_ext.products.block_matrix import BlockMatrix
from mixedlm_ext.solvers.costs import Costs
from mixedlm_ext.solvers.prior import PriorFactor, PriorSolver

Array = np.ndarray
PLANS = {
    "default": None,
    "a stage": Costs(small=0),
    "chains": Costs(small=0, small_rest=0, stage=0.0, pair=0.0, edge=0.0, dense_flop=1.0),
}
plans = pytest.mark.parametrize("plan", PLANS)
kinds = pytest.mark.parametrize("kind", ["ordinary", "large", "zero", "first zero", "corner zero"])


def precision(levels: int, seed: int) -> SparsePrecision:
    """(I - P)'D⁻¹(I - P) with two random parents for most levels, as for relatives."""
    rng = np.random.default_rng(seed)
    P = np.zeros((levels, levels))
    for i in range(2, levels):
        P[i, rng.choice(i, 2, replace=False)] = 0.5
    order = rng.permutation(levels)
    W = (np.eye(levels) - P)[np.ix_(order, order)]
    Q = W.T @ np.diag(rng.uniform(0.5, 3.0, levels)) @ W
    return SparsePrecision(sparse.csc_array(Q))


def case(shape: str) -> tuple[BlockMatrix, list[SparsePrecision | None]]:
    """Z'WZ of one to three factors; levels of some of them are related."""
    rng = np.random.default_rng(3)
    n = 90
    a, b, c = rng.integers(0, 30, n), rng.integers(0, 9, n), rng.integers(0, 17, n)
    codes = {"one": (a,), "two": (a, b), "three": (a, c, b)}[shape]
    codes = tuple(np.unique(x, return_inverse=True)[1] for x in codes)
    A = Pattern(codes, {"one": (2,), "two": (2, 1), "three": (1, 2, 1)}[shape]).numbers(1)
    related = {"one": (0,), "two": (0,), "three": (0, 1)}[shape]
    priors = [precision(n, i) if i in related else None for i, (_, n) in enumerate(A.shapes)]
    return A, priors


def covariance(A: BlockMatrix, priors: Sequence[SparsePrecision | None]) -> list[Array]:
    return [
        np.eye(n) if prior is None else np.linalg.inv(prior.Q.toarray())
        for (_, n), prior in zip(A.shapes, priors)
    ]


def dense(A: BlockMatrix, K: Sequence[Array], templates: Sequence[Array]) -> tuple[Array, ...]:
    """log|I + ...|, N and Z'V⁻¹Z, by the covariance G = ΓK of the effects: N = (G⁻¹ + A)⁻¹."""
    ZZ = A.sparse.toarray()
    q = len(ZZ)
    G = np.zeros((q, q))
    for start, stop, T, own in zip(A.offsets[:-1], A.offsets[1:], templates, K):
        G[start:stop, start:stop] = np.kron(T @ T.T, own)
    _, logdet = np.linalg.slogdet(np.eye(q) + ZZ @ G)
    N = G @ np.linalg.inv(np.eye(q) + ZZ @ G)
    return np.array(logdet), N, ZZ - ZZ @ N @ ZZ


@plans
@kinds
@pytest.mark.parametrize("shape", ["one", "two", "three"])
def test_it_agrees_with_dense_algebra(shape: str, kind: str, plan: str) -> None:
    A, priors = case(shape)
    K, templates = covariance(A, priors), templates_of(A, kind)
    logdet, N, information = dense(A, K, templates)
    factor = PriorSolver.of(A, priors, PLANS[plan]).factor(templates)
    assert_allclose(factor.logdet, logdet, rtol=1e-9, atol=1e-9)
    H = np.random.default_rng(0).standard_normal((len(N), 3))
    size = max(np.abs(N).max(), 1e-6)
    for found, expected in (
        (factor.apply(H), N @ H),
        (factor.solve(H)[1], N @ H),
        (factor.solve(H)[0], H.T @ N @ H),
        (factor.quadratic(H), H.T @ N @ H),
        (factor.quadratic_diagonal(H), np.diag(H.T @ N @ H)),
    ):
        assert_allclose(found, expected, atol=1e-8 * size * len(N))
    check_blocks(A, factor, N, size)
    check_traces(A, K, factor, information, templates)


def check_blocks(A: BlockMatrix, factor: PriorFactor, N: Array, size: float) -> None:
    for (k, n), start, own in zip(A.shapes, A.offsets, factor.diagonal_blocks()):
        block = N[start : start + k * n, start : start + k * n].reshape(k, n, k, n)
        assert_allclose(own, np.einsum("albl->abl", block), atol=1e-8 * size)


def check_traces(
    A: BlockMatrix, K: list[Array], factor: PriorFactor, W: Array, templates: list[Array]
) -> None:
    """K_i = Σ_lm K_lm W_ml, to digits of its own however small the template is."""
    found, with_template = factor.traces()
    for i, ((k, n), start) in enumerate(zip(A.shapes, A.offsets)):
        block = W[start : start + k * n, start : start + k * n].reshape(k, n, k, n)
        expected = np.einsum("albm,lm->ab", block, K[i])
        lost = 1e-8 * np.abs(A.diagonal[i]).max() * n * np.abs(K[i]).max()
        assert_allclose(found[i], expected, atol=lost)
        assert_allclose(with_template[i], found[i] @ templates[i], atol=1e-12 * lost)


def test_variances_of_levels_are_those_of_the_inverse() -> None:
    A, priors = case("three")
    solver = PriorSolver.of(A, priors)
    for own, K in zip(solver.level_variances, covariance(A, priors)):
        assert_allclose(own, np.diag(K), rtol=1e-10)


def test_other_numbers_on_the_same_pattern() -> None:
    A, priors = case("two")
    solver = PriorSolver.of(A, priors)
    templates = templates_of(A, "ordinary")
    twice = solver.load(A.scaled(2.0))
    assert solver.load(A) is solver
    expected, _, _ = dense(A.scaled(2.0), covariance(A, priors), templates)
    assert_allclose(twice.factor(templates).logdet, expected, rtol=1e-10)
    assert twice.symbolic is solver.symbolic and twice.root_size == solver.root_size
    factor = twice.factor(templates)
    factor.release()
    assert factor.level_information() is None
    with pytest.raises(AttributeError):
        factor.apply(np.zeros((int(A.offsets[-1]), 1)))


def test_a_new_pair_of_levels_is_refused() -> None:
    A, priors = case("one")
    solver = PriorSolver.of(A, priors)
    other = PriorSolver.of(A, [precision(A.shapes[0][1], 99)])._Q
    with pytest.raises(FitError, match="join levels that the pattern"):
        solver.load(A.plus(other, 1.0))


def test_precisions_that_are_none() -> None:
    with pytest.raises(np.linalg.LinAlgError):
        SparsePrecision(sparse.csc_array([[1.0, 2.0], [2.0, 1.0]]))
    with pytest.raises(np.linalg.LinAlgError):
        SparsePrecision(sparse.csc_array([[1.0, -1.0], [-1.0, 1.0]]))


def test_what_a_precision_gives_of_its_covariance() -> None:
    prior = precision(40, 5)
    K = np.linalg.inv(prior.Q.toarray())
    assert_allclose(prior.logdet, -np.linalg.slogdet(K)[1], rtol=1e-10)
    assert_allclose(prior.solve(np.eye(40)), K, atol=1e-10)
    R = prior.root_times(np.eye(40))
    assert_allclose(R @ R.T, K, atol=1e-10)


@pytest.mark.parametrize("k", [1, 2])
def test_many_relatives_are_eliminated_in_stages(k: int) -> None:
    """Hundreds of levels, where fill joins levels that are joined already."""
    n = 900
    prior = precision(n, 7)
    A = BlockMatrix(
        ((k, n),), [np.random.default_rng(1).uniform(0.5, 2.0, n) * np.eye(k)[..., None]], {}
    )
    solver = PriorSolver.of(A, [prior])
    assert len(solver.symbolic.plan.stages) > 1
    templates = templates_of(A, "ordinary")
    factor = solver.factor(templates)
    logdet, N, information = dense(A, covariance(A, [prior]), templates)
    assert_allclose(factor.logdet, logdet, rtol=1e-10)
    assert_allclose(factor.apply(np.eye(k * n)[:, :5]), N[:, :5], atol=1e-9)
    check_traces(A, covariance(A, [prior]), factor, information, templates)
