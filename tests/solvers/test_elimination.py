"""The factor of Lambda'Z'WZ Lambda + I by every way of elimination, against dense linear algebra.

Models of a size that a test can afford would all be factored as one dense matrix; other costs make
the plan take stages, chains of stages and unjoined subsets too.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from mixedlm_ext.criteria.gaussian import GaussianCriterion
from mixedlm_ext.criteria.pls import Problem
from mixedlm_ext.products.layout import BlockData
from mixedlm_ext.products.noise import EqualVariances, Precisions
from mixedlm_ext.products.products import CrossProducts
from mixedlm_ext.products.rows import cross_products
from mixedlm_ext.solvers import elimination, plan
from mixedlm_ext.solvers.costs import Costs
from mixedlm_ext.solvers.direct import DirectSolver
from mixedlm_ext.solvers.gram import DenseGram, PairGram
from mixedlm_ext.solvers.root import DenseRoot
from mixedlm_ext.solvers.symbolic import Symbolic
from mixedlm_ext.structures import structure_of
from mixedlm_ext.structures.covariance import Covariance, TermCovariance

Array = np.ndarray

ALWAYS_STAGES = Costs(small=0)
ALWAYS_CHAINS = Costs(small=0, small_rest=0, stage=0.0, pair=0.0, dense_flop=1.0)


# ---------------------------------------------------------------- designs


def products(codes: list[Array], k: list[int], seed: int = 0) -> CrossProducts:
    """Cross-products of blocks with k columns a level: one of ones, the rest at random."""
    rng = np.random.default_rng(seed)
    n = len(codes[0])
    blocks = [
        BlockData(c, [None, *rng.standard_normal((width - 1, n))], int(c.max()) + 1)
        for c, width in zip(codes, k, strict=True)
    ]
    blocks.sort(key=lambda block: -block.size)
    X = np.column_stack([np.ones(n), rng.standard_normal(n)])
    return cross_products(rng.standard_normal(n), X, blocks, Precisions(rng.uniform(0.3, 3.0, n)))


def partial(k: list[int], levels: tuple[int, ...] = (40, 15, 6), n: int = 240) -> CrossProducts:
    """Partially crossed factors."""
    rng = np.random.default_rng(2)
    return products([rng.permutation(np.arange(n) % q) for q in levels[: len(k)]], k)


def nested(k: list[int]) -> CrossProducts:
    """180 in 60 in 20 levels."""
    g = np.repeat(np.arange(180), 3)
    return products([g, g // 3, g // 9], k)


def nested_across(k: list[int]) -> CrossProducts:
    """360 in 120 in 60 levels, and a factor of 10 across the 60."""
    g = np.repeat(np.arange(360), 2)
    across = np.where(np.arange(720) % 4, g // 6 % 10, g // 6 % 7)
    return products([g, g // 3, g // 6, across], k)


def mobility(k: list[int], third: str = "of the firm") -> CrossProducts:
    """300 workers with one or two of 120 firms each; 12 sectors of the firm or of the worker."""
    rng = np.random.default_rng(4)
    worker = np.repeat(np.arange(300), 4)
    first, second = rng.permutation(np.arange(300) % 120), rng.integers(0, 120, 300)
    firm = np.where(np.arange(1200) % 4 < 2, first[worker], second[worker])
    sector = (firm if third == "of the firm" else worker) % 12
    return products([worker, firm, sector][: len(k)], k)


@dataclass(frozen=True)
class Way:
    """A design, how its elimination is forced, and what must come of it."""

    design: Callable[[], CrossProducts]
    stages: int
    """At least so many."""
    root: int
    """Exactly so many parts."""
    costs: Costs
    pairs: bool | None = None
    """Forces PairGram or DenseGram."""
    subsets: bool = False
    """Whether some block is taken in several parts."""


WAYS = {
    "root only": Way(lambda: partial([1, 1], (30, 12)), 0, 2, Costs()),
    "root only, k = 2 and 3": Way(lambda: partial([2, 3], (30, 12)), 0, 2, Costs()),
    "root of three": Way(lambda: partial([2, 1, 2], (20, 10, 5)), 0, 3, Costs()),
    "one factor": Way(lambda: partial([1]), 1, 0, Costs()),
    "one factor, k = 3": Way(lambda: partial([3]), 1, 0, Costs()),
    "stage and root, pairs": Way(lambda: partial([1, 1]), 1, 1, ALWAYS_STAGES, pairs=True),
    "stage and root, pairs, k = 2 and 3": Way(
        lambda: partial([2, 3]), 1, 1, ALWAYS_STAGES, pairs=True
    ),
    "stage and root of two, pairs": Way(
        lambda: partial([2, 1, 2]), 1, 2, ALWAYS_STAGES, pairs=True
    ),
    "stage and root, dense": Way(lambda: partial([1, 1]), 1, 1, ALWAYS_STAGES, pairs=False),
    "stage and root, dense, k = 2 and 3": Way(
        lambda: partial([2, 3]), 1, 1, ALWAYS_STAGES, pairs=False
    ),
    "stage and root of two, dense": Way(
        lambda: partial([2, 1, 2]), 1, 2, ALWAYS_STAGES, pairs=False
    ),
    "nested chain": Way(lambda: nested([1, 1, 1]), 3, 0, ALWAYS_CHAINS),
    "nested chain, k = 1, 2 and 3": Way(lambda: nested([1, 2, 3]), 3, 0, ALWAYS_CHAINS),
    "nested chain and root": Way(lambda: nested_across([1, 1, 1, 1]), 3, 1, ALWAYS_CHAINS),
    "nested chain and root, dense": Way(
        lambda: nested_across([2, 1, 2, 2]), 3, 1, ALWAYS_CHAINS, pairs=False
    ),
    "two whole stages and root": Way(
        lambda: mobility([2, 1, 2], "of the worker"), 2, 1, ALWAYS_CHAINS
    ),
    "two whole stages and root, dense": Way(
        lambda: mobility([2, 2, 1], "of the worker"), 2, 1, ALWAYS_CHAINS, pairs=False
    ),
    "subsets": Way(lambda: mobility([1, 1]), 3, 1, ALWAYS_CHAINS, subsets=True),
    "subsets, k = 2": Way(lambda: mobility([2, 2]), 3, 1, ALWAYS_CHAINS, subsets=True),
    "subsets, k = 1 and 2": Way(lambda: mobility([1, 2]), 3, 1, ALWAYS_CHAINS, subsets=True),
    "subsets, three factors": Way(lambda: mobility([2, 2, 1]), 3, 2, ALWAYS_CHAINS, subsets=True),
    "subsets, dense end": Way(
        lambda: mobility([2, 2]), 3, 1, ALWAYS_CHAINS, pairs=False, subsets=True
    ),
}


@cache
def design(name: str) -> CrossProducts:
    return WAYS[name].design()


@pytest.fixture(params=WAYS)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


def with_grams(costs: Costs, pairs: bool | None) -> Costs:
    """Costs that force products by pairs or by dense chunks, several of them."""
    if pairs is None:
        return costs
    return replace(costs, most_pairs=1e300 if pairs else 0.0, gram_start=1e300, chunk=100)


@pytest.fixture
def symbolic(name: str, monkeypatch: pytest.MonkeyPatch) -> Symbolic:
    """The pattern of a way, after a check that it is what its name says."""
    way = WAYS[name]
    if not way.subsets:
        monkeypatch.setattr(plan._Planner, "_unjoined_subset", lambda _, degree: degree[:0])
    out = Symbolic(design(name).A, costs=with_grams(way.costs, way.pairs))
    blocks = [part.block for part in out.plan.parts]
    assert len(out.plan.stages) >= way.stages
    assert way.stages or not out.plan.stages
    assert len(out.plan.root) == way.root
    assert (len(blocks) > len(set(blocks))) == way.subsets
    assert isinstance(out.top, DenseRoot) == (not way.stages)
    if way.stages and way.root and way.pairs is not None:
        last = out.top
        while isinstance(last.rest, elimination.Elimination):
            assert isinstance(last.gram, PairGram)
            last = last.rest
        assert isinstance(last.gram, PairGram if way.pairs else DenseGram)
    return out


# ---------------------------------------------------------------- dense linear algebra


@dataclass(frozen=True)
class Dense:
    """A = Z'WZ, Lambda, and what follows from them."""

    A: Array
    N: Array
    logdet: float
    information: Array

    @classmethod
    def of(cls, cp: CrossProducts, templates: list[Array]) -> Dense:
        A = cp.ZZ.toarray()
        Lambda = np.zeros_like(A)
        for i, T in enumerate(templates):
            own = slice(cp.offsets[i], cp.offsets[i + 1])
            Lambda[own, own] = np.kron(T, np.eye(cp.shapes[i][1]))
        M = Lambda.T @ A @ Lambda + np.eye(len(A))
        N = Lambda @ np.linalg.solve(M, Lambda.T)
        return cls(A, N, float(np.linalg.slogdet(M)[1]), A - A @ N @ A)


def diagonal_blocks(cp: CrossProducts, matrix: Array, i: int) -> Array:
    """The k × k block of every level of block i, (k, k, levels)."""
    k, levels = cp.shapes[i]
    own = slice(cp.offsets[i], cp.offsets[i + 1])
    return np.einsum("albl->abl", matrix[own, own].reshape(k, levels, k, levels))


def templates_of(cp: CrossProducts, kind: str, seed: int = 6) -> list[Array]:
    """Lower-triangular templates, ordinary or of deficient rank."""
    rng = np.random.default_rng(seed)
    out = [np.tril(rng.standard_normal((k, k))) for k, _ in cp.shapes]
    for i, T in enumerate(out):
        if kind == "zero" or (kind == "first zero" and i == 0) or (kind == "last zero" and i):
            T[:] = 0.0
        if kind == "corner zero":
            T[0, 0] = 0.0
        if kind == "column zero":
            T[:, -1] = 0.0
    return out


KINDS = ["ordinary", "zero", "first zero", "last zero", "corner zero", "column zero"]


def assert_relative(actual: Any, expected: Any, tolerance: float = 1e-11) -> None:
    """Agreement to `tolerance` times the largest entry."""
    scale = max(float(np.max(np.abs(expected), initial=0.0)), 1e-6)
    assert_allclose(actual, expected, rtol=0, atol=tolerance * scale)


@pytest.mark.parametrize("kind", KINDS)
def test_factor(name: str, symbolic: Symbolic, kind: str) -> None:
    """Determinant, solves, information and covariance blocks."""
    cp = design(name)
    templates = templates_of(cp, kind)
    factor, dense = DirectSolver(symbolic, cp.A).factor(templates), Dense.of(cp, templates)
    assert_allclose(factor.logdet, dense.logdet, rtol=1e-12, atol=1e-12)
    r = np.random.default_rng(7).standard_normal((cp.q, 3))
    for order in "CF":
        rhs = np.array(r, order=order)
        c = factor.half_solve(rhs)
        assert_allclose(rhs, r, rtol=0)
        assert_relative(c.T @ c, r.T @ dense.N @ r)
        assert_relative(factor.back_solve(c), dense.N @ r)
    quadratic, applied = factor.solve(r)
    assert_relative(quadratic, r.T @ dense.N @ r)
    assert_relative(applied, dense.N @ r)
    assert_relative(factor.apply(r), dense.N @ r)
    assert_relative(factor.quadratic(r), r.T @ dense.N @ r)
    assert_relative(factor.quadratic_diagonal(r), np.diag(r.T @ dense.N @ r))
    K, KT = factor.traces()
    blocks = factor.diagonal_blocks()
    for i, T in enumerate(templates):
        expected = diagonal_blocks(cp, dense.information, i).sum(axis=2)
        assert_relative(K[i], expected, 1e-10)
        assert_relative(KT[i], expected @ T, 1e-10)
        assert_relative(blocks[i], diagonal_blocks(cp, dense.N, i))


def test_order_of_elimination(symbolic: Symbolic) -> None:
    """It takes every column once, and together only levels that are not joined."""
    order = np.arange(symbolic.q) if symbolic.order is None else symbolic.order
    assert_allclose(np.sort(order), np.arange(symbolic.q))
    for stage in symbolic.plan.stages:
        own = plan.node_offsets(symbolic.shapes)[stage.part.block] + stage.part.levels
        assert not np.isin(stage.nodes, own).any()


@pytest.mark.parametrize("reml", [True, False], ids=["REML", "ML"])
def test_criterion_is_the_same_every_way(name: str, symbolic: Symbolic, reml: bool) -> None:
    """Value, gradient and Hessian model, against the plan of one dense root."""
    cp = design(name)
    terms = [
        TermCovariance(structure_of("us", k), i, 0, np.eye(k)) for i, (k, _) in enumerate(cp.shapes)
    ]
    covariance = Covariance(terms, [k for k, _ in cp.shapes])
    whole = Symbolic(cp.A, plan.dense_plan(cp.shapes))
    theta = np.random.default_rng(8).standard_normal(covariance.n_theta)
    one, two = (
        GaussianCriterion(Problem(cp, covariance, DirectSolver(s, cp.A)), reml).at(theta)
        for s in (symbolic, whole)
    )
    assert_allclose(one.value, two.value, rtol=1e-12)
    assert_relative(one.gradient, two.gradient, 1e-10)
    assert_relative(one.hessian_model, two.hessian_model, 1e-10)


# ---------------------------------------------------------------- any design, any plan


@st.composite
def sparse_designs(draw: st.DrawFn) -> CrossProducts:
    """Two to four factors that meet at random, few rows for their levels."""
    n = draw(st.integers(5, 60))
    factors = draw(st.integers(2, 4))
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    codes = []
    for _ in range(factors):
        values = rng.integers(0, draw(st.integers(2, 40)), n)
        codes.append(np.unique(values, return_inverse=True)[1])
    k = [draw(st.integers(1, 3)) for _ in range(factors)]
    return products(codes, k, seed=draw(st.integers(0, 100)))


@settings(deadline=None, max_examples=60)
@given(
    sparse_designs(),
    st.sampled_from([Costs(), ALWAYS_STAGES, ALWAYS_CHAINS]),
    st.sampled_from([True, False, None]),
    st.sampled_from(KINDS),
)
def test_any_design(cp: CrossProducts, costs: Costs, pairs: bool | None, kind: str) -> None:
    symbolic = Symbolic(cp.A, costs=with_grams(costs, pairs))
    templates = templates_of(cp, kind)
    factor, dense = DirectSolver(symbolic, cp.A).factor(templates), Dense.of(cp, templates)
    assert_allclose(factor.logdet, dense.logdet, rtol=1e-10, atol=1e-10)
    r = np.random.default_rng(9).standard_normal((cp.q, 2))
    assert_relative(factor.back_solve(factor.half_solve(r)), dense.N @ r, 1e-9)
    K, KT = factor.traces()
    blocks = factor.diagonal_blocks()
    for i, T in enumerate(templates):
        expected = diagonal_blocks(cp, dense.information, i).sum(axis=2)
        scale = np.abs(diagonal_blocks(cp, dense.A, i)).sum()
        assert_allclose(K[i] / scale, expected / scale, atol=1e-10)
        assert_allclose(KT[i] / scale, expected @ T / scale, atol=1e-10)
        assert_relative(blocks[i], diagonal_blocks(cp, dense.N, i), 1e-9)


# ---------------------------------------------------------------- cross-products


@pytest.mark.parametrize("weighted", [False, True], ids=["unweighted", "weighted"])
def test_cross_products(weighted: bool) -> None:
    rng = np.random.default_rng(10)
    n = 90
    codes = [rng.permutation(np.arange(n) % q) for q in (12, 5)]
    columns = [[np.ones(n), rng.standard_normal(n)], [rng.standard_normal(n)]]
    w = rng.uniform(0.1, 4.0, n) if weighted else np.ones(n)
    blocks = [
        BlockData(codes[0], [None, columns[0][1]], 12),
        BlockData(codes[1], columns[1], 5),
    ]
    y, X = 1e8 + rng.standard_normal(n), rng.standard_normal((n, 3))
    cp = cross_products(y, X, blocks, Precisions(w) if weighted else EqualVariances(n))
    Z = np.hstack(
        [
            column[:, None] * (c[:, None] == np.arange(levels))
            for c, levels, own in zip(codes, (12, 5), columns, strict=True)
            for column in own
        ]
    )
    root = np.sqrt(w)[:, None]
    beta = np.linalg.lstsq(root * X, root[:, 0] * y, rcond=None)[0]
    Q = X @ np.linalg.inv(cp.R)
    assert_allclose(cp.ZZ.toarray(), Z.T @ (w[:, None] * Z), atol=1e-12)
    assert_allclose(Q.T @ (w[:, None] * Q), np.eye(3), atol=1e-12)
    assert_allclose(cp.ZX, Z.T @ (w[:, None] * Q), atol=1e-12)
    assert_allclose(cp.layout.beta0, beta, rtol=1e-10)
    assert_allclose(cp.Zy, Z.T @ (w * (y - X @ beta)), rtol=1e-8)
    assert_allclose(cp.yy, np.sum(w * (y - X @ beta) ** 2), rtol=1e-12)
    assert_allclose(cp.logdet_W, np.log(w).sum(), atol=1e-12)


@pytest.mark.parametrize("kind", ["ordinary", "column zero"])
def test_pickles_hold_the_plan_and_no_pairs(name: str, kind: str, symbolic: Symbolic) -> None:
    """What is made of the plan again is the same to the last digit."""
    cp = design(name)
    templates = templates_of(cp, kind)
    solver = DirectSolver(symbolic, cp.A)
    before = solver.factor(templates)
    again = pickle.loads(pickle.dumps(solver))
    assert not {"top", "_constants", "_take_coupling"} & set(vars(again.symbolic))
    assert not {"_numbers", "_dense"} & set(vars(again))
    after = again.factor(templates)
    assert after.logdet == before.logdet
    for one, other in zip(before.diagonal_blocks(), after.diagonal_blocks(), strict=True):
        np.testing.assert_array_equal(one, other)
    H = np.random.default_rng(3).standard_normal((cp.q, 2))
    np.testing.assert_array_equal(before.apply(H), after.apply(H))
    np.testing.assert_array_equal(before.inverse().dense, after.inverse().dense)
    loaded = again.load(cp.A.scaled(2.0)).factor(templates)
    np.testing.assert_array_equal(
        loaded.apply(H), solver.load(cp.A.scaled(2.0)).factor(templates).apply(H)
    )


def test_pickles_of_products_hold_their_numbers_once() -> None:
    cp = design(next(iter(WAYS)))
    size = len(pickle.dumps(replace(cp)))
    _ = cp.A.dense, cp.A.sparse, cp.Zyx
    assert len(pickle.dumps(cp)) <= size
    again = pickle.loads(pickle.dumps(cp))
    np.testing.assert_array_equal(again.A.dense, cp.A.dense)
    np.testing.assert_array_equal(again.Zyx, cp.Zyx)
