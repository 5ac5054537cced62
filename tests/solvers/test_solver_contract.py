"""What every solver keeps to: its protocol, on any pattern, against dense algebra.

A new solver is one line of `SOLVERS`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from dense_solver import DenseFactor, DenseSolver, on_pattern
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from mixedlm_ext.errors import FitError
from mixedlm_ext.products.block_matrix import BlockMatrix, Coupling
from mixedlm_ext.products.layout import BlockData
from mixedlm_ext.products.noise import Precisions
from mixedlm_ext.products.rows import cross_products
from mixedlm_ext.solvers.base import FactorProtocol, SolverProtocol
from mixedlm_ext.solvers.costs import Costs
from mixedlm_ext.solvers.direct import DirectSolver
from mixedlm_ext.solvers.iterative import IterativeFactor, IterativeSolver
from mixedlm_ext.solvers.symbolic import Symbolic

Array = np.ndarray


def direct(costs: Costs) -> Callable[[BlockMatrix], SolverProtocol]:
    """The direct solver whose order of elimination these costs choose."""
    return lambda A: DirectSolver(Symbolic(A, costs=costs), A)


SOLVERS: dict[str, Callable[[BlockMatrix], SolverProtocol]] = {
    "direct": DirectSolver.of,
    "direct, a stage": direct(Costs(small=0)),
    "direct, chains": direct(Costs(small=0, small_rest=0, stage=0.0, pair=0.0, dense_flop=1.0)),
    "dense": DenseSolver,
    "iterative, all levels sampled": lambda A: IterativeSolver(A, probes=10_000),
}
of_patterns = [name for name in SOLVERS if name.startswith("direct")]  # the others have none
solvers = pytest.mark.parametrize("name", SOLVERS)
quickly = settings(deadline=None, max_examples=25)


@dataclass(frozen=True)
class Pattern:
    """Which levels meet in which row; the numbers are drawn when asked for."""

    codes: tuple[Array, ...]
    k: tuple[int, ...]

    def numbers(self, seed: int, rows: slice = slice(None)) -> BlockMatrix:
        """Z'WZ of some rows, with random weights and columns."""
        rng = np.random.default_rng(seed)
        n = len(self.codes[0])
        columns = [rng.standard_normal((k - 1, n)) for k in self.k]
        w = rng.uniform(0.3, 3.0, n)
        blocks = [
            BlockData(c[rows], [None, *x[:, rows]], int(c.max()) + 1)
            for c, x in zip(self.codes, columns, strict=True)
        ]
        blocks.sort(key=lambda block: -block.size)
        y = rng.standard_normal(n)
        return cross_products(y[rows], np.ones((n, 1))[rows], blocks, Precisions(w[rows])).A

    def joined(self, seed: int) -> BlockMatrix:
        """Z'WZ where W joins rows with the next one, so that levels of one block are joined."""
        rng = np.random.default_rng(seed)
        n = len(self.codes[0])
        order = sorted(range(len(self.k)), key=lambda i: -self.k[i] * (self.codes[i].max() + 1))
        shapes = tuple((self.k[i], int(self.codes[i].max()) + 1) for i in order)
        Z = np.zeros((n, sum(k * levels for k, levels in shapes)))
        node = np.zeros((n, len(order)), dtype=int)
        offsets, starts = np.cumsum([0, *(k * m for k, m in shapes)]), 0
        for place, (i, (k, levels)) in enumerate(zip(order, shapes, strict=True)):
            for a in range(k):
                columns = offsets[place] + a * levels + self.codes[i]
                Z[np.arange(n), columns] = rng.standard_normal(n)
            node[:, place] = starts + self.codes[i]
            starts += levels
        links = rng.random(n - 1) < 0.7
        W = np.diag(rng.uniform(1.0, 2.0, n))
        W += np.diag(0.4 * links, 1) + np.diag(0.4 * links, -1)
        meet = np.zeros((starts, starts), dtype=bool)
        for one, two in [(node, node), (node[:-1][links], node[1:][links])]:
            for c in range(len(order)):
                for d in range(len(order)):
                    meet[one[:, c], two[:, d]] = meet[two[:, d], one[:, c]] = True
        return cut(Z.T @ W @ Z, shapes, meet)


def cut(A: Array, shapes: tuple[tuple[int, int], ...], meet: Array) -> BlockMatrix:
    """A dense matrix by blocks, on the pairs of levels that meet."""
    offsets = np.cumsum([0, *(k * m for k, m in shapes)])
    nodes = np.cumsum([0, *(m for _, m in shapes)])
    diagonal, empty = [], {}
    for i, (k, n) in enumerate(shapes):
        own = A[offsets[i] : offsets[i + 1], offsets[i] : offsets[i + 1]].reshape(k, n, k, n)
        diagonal.append(np.einsum("albl->abl", own).copy())
        for j in range(i, len(shapes)):
            pairs = meet[nodes[i] : nodes[i + 1], nodes[j] : nodes[j + 1]]
            rows, columns = np.nonzero(np.tril(pairs, -1) if i == j else pairs)
            if i != j or len(rows):
                empty[i, j] = Coupling(rows, columns, np.zeros((k, shapes[j][0], len(rows))))
    out = BlockMatrix(shapes, diagonal, empty)
    return BlockMatrix(shapes, diagonal, on_pattern(A, out))


@st.composite
def patterns(draw: st.DrawFn) -> Pattern:
    """One to four factors, crossed or nested at random, few rows for their levels."""
    n = draw(st.integers(5, 60))
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    codes: list[Array] = []
    for _ in range(draw(st.integers(1, 4))):
        if codes and draw(st.booleans()):
            values = codes[-1] // draw(st.integers(2, 4))
        else:
            values = rng.integers(0, draw(st.integers(2, 30)), n)
        codes.append(np.unique(values, return_inverse=True)[1])
    return Pattern(tuple(codes), tuple(draw(st.integers(1, 3)) for _ in codes))


def at_random(n: int, levels: tuple[int, ...], k: tuple[int, ...], seed: int) -> Pattern:
    """Crossed factors of up to so many levels."""
    rng = np.random.default_rng(seed)
    codes = [np.unique(rng.integers(0, m, n), return_inverse=True)[1] for m in levels]
    return Pattern(tuple(codes), k)


def templates_of(A: BlockMatrix, kind: str) -> list[Array]:
    """Lower-triangular templates: ordinary, large, or of deficient rank."""
    rng = np.random.default_rng(6)
    out = [np.tril(rng.standard_normal((k, k))) for k, _ in A.shapes]
    if kind == "large":
        return [100.0 * T for T in out]
    for i, T in enumerate(out):
        if kind == "zero" or (kind == "first zero" and i == 0):
            T[:] = 0.0
        if kind == "corner zero":
            T[0, 0] = 0.0
    return out


kinds = st.sampled_from(["ordinary", "large", "zero", "first zero", "corner zero"])


def close(found: Any, expected: Any, scale: float | None = None, share: float = 1e-8) -> None:
    """Agreement relative to the largest entry, or to what was subtracted to get there."""
    size = float(np.max(np.abs(expected), initial=0.0)) if scale is None else scale
    assert np.shape(found) == np.shape(expected)
    assert_allclose(found, expected, rtol=0, atol=share * max(size, 1e-6))


def room_of(factor: FactorProtocol, templates: list[Array]) -> float:
    """By how much a factor may miss the tolerance.

    The iterative one applies what is left of A by differences, which cancel where templates are
    large, and divides by templates next to singular ones.
    """
    values = [np.linalg.svd(T, compute_uv=False) for T in templates]
    ordinary = all(v[-1] > 1e-3 and v[0] < 30.0 for v in values)
    return 100.0 if isinstance(factor, IterativeFactor) and not ordinary else 1.0


def check(factor: FactorProtocol, A: BlockMatrix, templates: list[Array]) -> None:
    """Every method of the protocol, but `release`."""
    dense = DenseFactor(A, templates)
    room = room_of(factor, templates)

    # two times the digits that the condition costs: the complement is a difference, and is scaled
    lost = 0.2 * np.finfo(float).eps * dense.condition**2 if room > 1.0 else 0.0

    def near(found: Any, expected: Any, scale: float | None = None) -> None:
        close(found, expected, scale, room * 1e-8 + lost)

    assert_allclose(factor.logdet, dense.logdet, rtol=room * 1e-10, atol=1e-9 + lost)
    assert [np.shape(T) for T in factor.templates] == [(k, k) for k, _ in A.shapes]
    assert all((one == two).all() for one, two in zip(factor.templates, templates))
    q = int(A.offsets[-1])
    for columns in (1, 3):
        H = np.random.default_rng(columns).standard_normal((q, columns))
        kept = H.copy()
        both = factor.solve(H)
        near(both[0], dense.quadratic(kept))
        near(both[1], dense.apply(kept))
        near(factor.apply(H), dense.apply(kept))
        near(factor.quadratic(H), dense.quadratic(kept))
        near(factor.quadratic_diagonal(H), dense.quadratic_diagonal(kept))
        assert (kept == H).all()
    for found, expected in zip(factor.diagonal_blocks(), dense.diagonal_blocks(), strict=True):
        near(found, expected)
    selected = factor.inverse()
    whole = dense.inverse(selected)  # the solver's pattern may have more pairs than these numbers
    assert selected.couplings.keys() == whole.couplings.keys()
    for found, expected in zip(selected.diagonal, whole.diagonal, strict=True):
        near(found, expected)
    for key, coupling in whole.couplings.items():
        assert (selected.couplings[key].rows == coupling.rows).all()
        size = max(float(np.abs(D).max(initial=0.0)) for D in whole.diagonal)
        near(selected.couplings[key].values, coupling.values, size)
    products = dense.apply(np.eye(q)) * A.sparse.toarray()
    if pairs(selected) == pairs(A):
        near(selected.dot(A), float(products.sum()), float(np.abs(products).sum()))
    largest = [float(np.abs(D).sum()) for D in A.diagonal]  # Z'V⁻¹Z is what is left of Z'WZ
    for found, expected in zip(factor.traces(), dense.traces(), strict=True):
        for one, two, T, scale in zip(found, expected, templates, largest, strict=True):
            near(one, two, scale * max(1.0, float(np.abs(T).max())))
    by_level = factor.level_information()
    if by_level is not None:
        (expected,) = dense.information_blocks()
        near(by_level, expected, largest[0])


@solvers
@quickly
@given(patterns(), kinds, st.integers(0, 100))
def test_every_method(name: str, pattern: Pattern, kind: str, seed: int) -> None:
    A = pattern.numbers(seed)
    solver, templates = SOLVERS[name](A), templates_of(A, kind)
    assert 0 <= solver.root_size <= A.offsets[-1]
    check(solver.factor(templates), A, templates)


# forty eigenvalues of C next to 1e-5: conjugate gradients take ten times as many steps as columns
slow = at_random(42, (24, 10, 26, 6), (2, 3, 2, 1), 0)


@solvers
@quickly
@example(slow, "large", 50)
@given(patterns(), kinds, st.integers(0, 100))
def test_every_method_where_levels_of_one_block_are_joined(
    name: str, pattern: Pattern, kind: str, seed: int
) -> None:
    A = pattern.joined(seed)
    templates = templates_of(A, kind)
    check(SOLVERS[name](A).factor(templates), A, templates)
    assert A.dot(A) == pytest.approx(float((A.sparse.toarray() ** 2).sum()))


@pytest.mark.parametrize("name", of_patterns)
@pytest.mark.parametrize("kind", ["ordinary", "corner zero"])
@pytest.mark.parametrize("k", [(30, 2), (9, 25, 1)])
def test_levels_of_many_columns(name: str, kind: str, k: tuple[int, ...]) -> None:
    """Each level is then a call of LAPACK and BLAS, and so are the products of its columns."""
    A = at_random(60, (7, 5, 4)[: len(k)], k, 3).numbers(4)
    templates = [T / len(T) for T in templates_of(A, kind)]
    check(SOLVERS[name](A).factor(templates), A, templates)


@solvers
@quickly
@given(patterns(), kinds)
def test_numbers_of_the_same_pattern(name: str, pattern: Pattern, kind: str) -> None:
    """Those loaded count, and the solver that loaded them keeps its own."""
    first, second = pattern.numbers(1), pattern.numbers(2)
    solver, templates = SOLVERS[name](first), templates_of(first, kind)
    before = solver.factor(templates)
    loaded = solver.load(second)
    assert loaded.root_size == solver.root_size
    check(loaded.factor(templates), second, templates)
    check(loaded.load(first).factor(templates), first, templates)
    check(solver.factor(templates), first, templates)
    check(before, first, templates)


@solvers
@quickly
@given(patterns())
def test_numbers_of_fewer_rows(name: str, pattern: Pattern) -> None:
    """Pairs of levels that no row joins any more are zeros of the pattern."""
    whole, part = pattern.numbers(1), pattern.numbers(1, slice(None, None, 2))
    templates = templates_of(whole, "ordinary")
    check(SOLVERS[name](whole).load(part).factor(templates), part, templates)


def pairs(A: BlockMatrix) -> int:
    return sum(len(c.rows) for c in A.couplings.values())


@pytest.mark.parametrize("name", of_patterns)
@quickly
@given(patterns())
def test_numbers_of_another_pattern_are_refused(name: str, pattern: Pattern) -> None:
    whole, part = pattern.numbers(1), pattern.numbers(1, slice(None, None, 2))
    assume(pairs(whole) > pairs(part))
    solver = SOLVERS[name](part)
    with pytest.raises(FitError, match="join levels that the pattern of the factor does not"):
        solver.load(whole)


@solvers
def test_factors_of_one_solver_do_not_share_numbers(name: str) -> None:
    A = Pattern((np.arange(40) % 10, np.arange(40) // 10), (2, 1)).numbers(3)
    solver = SOLVERS[name](A)
    every = {kind: templates_of(A, kind) for kind in ("ordinary", "large", "corner zero")}
    factors = {kind: solver.factor(templates) for kind, templates in every.items()}
    for kind, templates in every.items():
        check(factors[kind], A, templates)


@solvers
def test_a_released_factor_solves_no_more(name: str) -> None:
    """Its determinant stays, and other factors of the solver do not mind."""
    A = Pattern((np.arange(40) % 10, np.arange(40) // 10), (2, 1)).numbers(4)
    solver, templates = SOLVERS[name](A), templates_of(A, "ordinary")
    one, other = solver.factor(templates), solver.factor(templates)
    one.release()
    one.release()
    assert one.logdet == other.logdet
    with pytest.raises(AttributeError):
        one.apply(np.ones((int(A.offsets[-1]), 1)))
    check(other, A, templates)
