"""The pattern of M = Λ'Z'WZΛ + I, made once: how it is eliminated. `load` puts numbers on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixedlm_ext.caching import cached_property
from mixedlm_ext.errors import FitError
from mixedlm_ext.linalg.keys import distinct_keys
from mixedlm_ext.products.block_matrix import BlockMatrix, Coupling
from mixedlm_ext.solvers.costs import Costs
from mixedlm_ext.solvers.elimination import Elimination, Storage
from mixedlm_ext.solvers.memory import in_words
from mixedlm_ext.solvers.plan import Plan, Stage, make_plan, node_offsets
from mixedlm_ext.solvers.root import DenseRoot

Array = NDArray[np.float64]
Index = NDArray[np.intp]

__all__ = ["Numbers", "Symbolic"]


@dataclass(frozen=True, eq=False)
class Numbers:
    """The values of Z'WZ where the factor wants them.

    Attributes
    ----------
    D : ndarray (k, k, levels)
        Diagonal blocks of the first stage's part; empty without stages.
    C : ndarray (k, entries)
        The first stage's coupling.
    values : ndarray
        Everything else, for the cells `Symbolic.places` of what remains.
    """

    D: Array
    C: Array
    values: Array


class Symbolic:
    """Everything about the factor that depends neither on theta nor on the numbers in Z'WZ.

    Parameters
    ----------
    A : BlockMatrix
        A matrix with the pattern, blocks ordered by size, largest first. Only its pattern is kept.
    plan : Plan, optional
        Another order of elimination than the one that `make_plan` chooses.
    costs : Costs, optional
    in_cells : bool
        Put all numbers into cells, those of the first stage, too: as it is where levels of a block
        are joined.

    Attributes
    ----------
    order : ndarray (q,) or None
        For each column in the order of elimination, its index in the order of `A`; None when the
        two orders are the same.
    """

    def __init__(
        self,
        A: BlockMatrix,
        plan: Plan | None = None,
        costs: Costs | None = None,
        in_cells: bool = False,
    ) -> None:
        self.shapes, self.q = A.shapes, int(A.offsets[-1])
        self.pairs = A.pairs
        self.costs = Costs() if costs is None else costs
        self.plan = make_plan(self.shapes, self.pairs, self.costs) if plan is None else plan
        _check_memory(self.plan, self.costs, known=in_cells)
        order = np.concatenate(
            [
                A.offsets[p.block]
                + (np.arange(p.k)[:, None] * self.shapes[p.block][1] + p.levels).ravel()
                for p in self.plan.parts
            ]
        )
        self.order = None if np.array_equal(order, np.arange(self.q)) else order
        self._all_in_cells = in_cells or self.plan.joined

    @cached_property
    def top(self) -> Elimination | DenseRoot:
        """The first stage, or the root if it is all."""
        return self._build()

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what the plan says: the pairs of neighbours take ten times its memory."""
        made = ("top", "_node_columns", "_constants", "_take_coupling")
        return {name: value for name, value in vars(self).items() if name not in made}

    @cached_property
    def _node_columns(self) -> tuple[Index, Index, Index]:
        """Of every node its first column, their stride, and their number."""
        return self.plan.node_columns()

    @property
    def _first(self) -> Index:
        return self._node_columns[0]

    @property
    def _stride(self) -> Index:
        return self._node_columns[1]

    @property
    def _count(self) -> Index:
        return self._node_columns[2]

    @cached_property
    def _constants(self) -> tuple[Index, _Take]:
        """The cells of A in what remains after the first stage, and what takes their values."""
        if self.in_cells:
            return self._constant_cells(self.top, 0)
        assert isinstance(self.top, Elimination)
        if self.top.rest is None:
            return np.zeros(0, np.intp), _Take([np.zeros(0, np.intp)] * len(self.shapes), {})
        return self._constant_cells(self.top.rest, self.top.part.stop)

    @property
    def places(self) -> Index:
        """Cells of what remains after the first stage."""
        return self._constants[0]

    @property
    def _taken(self) -> _Take:
        """What takes the values of these cells from a matrix, and puts them there."""
        return self._constants[1]

    @cached_property
    def _take_coupling(self) -> dict[tuple[int, int], list[Index]]:
        """Where the entries of each coupling with the first stage's block go."""
        assert isinstance(self.top, Elimination)
        return self._first_coupling(self.top)

    @property
    def in_cells(self) -> bool:
        """Whether all numbers go to cells, none to a first stage that reads them as they are."""
        return isinstance(self.top, DenseRoot) or self.top.storage is not None

    def _build(self) -> Elimination | DenseRoot:
        """Build the structures from the root up."""
        plan = self.plan
        rest: Elimination | DenseRoot | None = DenseRoot(plan.root) if plan.root else None
        for number in range(len(plan.stages) - 1, -1, -1):
            stage = plan.stages[number]
            storage = self._storage(number) if number or self._all_in_cells else None
            rows, columns = self._coupling(stage)
            rest = Elimination(stage.part, rows, columns, rest, self.costs, storage)
        assert rest is not None
        return rest

    def _expand(self, u: Index, v: Index) -> tuple[Index, Index, Index]:
        """Return the entries of the joined nodes u, v: rows, columns, and the pair each is of."""
        ku, kv = self._count[u], self._count[v]
        rows, columns, source = [], [], []
        for a in range(int(self._count.max())):
            for b in range(int(self._count.max())):
                which = np.flatnonzero((ku > a) & (kv > b))
                rows.append(self._first[u[which]] + a * self._stride[u[which]])
                columns.append(self._first[v[which]] + b * self._stride[v[which]])
                source.append(which)
        return np.concatenate(rows), np.concatenate(columns), np.concatenate(source)

    def _coupling(self, stage: Stage) -> tuple[Index, Index]:
        """Return level and column of the coupling's entries, sorted by level."""
        kv = self._count[stage.nodes]
        entry = np.repeat(np.arange(len(kv)), kv)
        b = np.arange(len(entry)) - np.repeat(np.cumsum(kv) - kv, kv)
        nodes = stage.nodes[entry]
        return stage.rows[entry], self._first[nodes] + b * self._stride[nodes]

    def _storage(self, number: int) -> Storage:
        """Return the cells of what remains before stage `number`: edges and diagonal blocks."""
        u, v = self.plan.edges[number - 1] if number else self._pairs_of_nodes()
        offsets = node_offsets(self.plan.shapes)
        left = [offsets[p.block] + p.levels for p in self.plan.parts[number:]]
        own = np.concatenate(left)
        r1, c1, _ = self._expand(u, v)
        r2, c2, _ = self._expand(own, own)
        rows, columns = np.concatenate([r1, r2]), np.concatenate([c1, c2])
        keys = distinct_keys(np.maximum(rows, columns) * self.q + np.minimum(rows, columns))
        return Storage(keys, self.q)

    def _pairs_of_nodes(self) -> tuple[Index, Index]:
        """Return the nodes that the pattern joins."""
        offsets = node_offsets(self.shapes)
        u, v = [np.zeros(0, np.intp)], [np.zeros(0, np.intp)]
        for (i, j), (rows, columns) in self.pairs.items():
            u.append(offsets[i] + rows)
            v.append(offsets[j] + columns)
        return np.concatenate(u), np.concatenate(v)

    def _first_coupling(self, top: Elimination) -> dict[tuple[int, int], list[Index]]:
        """Return where the entries of each coupling with the first stage's block go.

        For every column of the other block, the places of its pairs among the stage's entries.
        """
        i = top.part.block
        key = top.rows * self.q + top.columns + top.part.stop
        order = np.argsort(key)
        offsets = node_offsets(self.shapes)
        out = {}
        for (one, two), (rows, columns) in self.pairs.items():
            if i not in (one, two):
                continue
            mine, other, j = (rows, columns, two) if one == i else (columns, rows, one)
            node = offsets[j] + other
            wanted = mine * self.q + self._first[node]
            out[one, two] = [
                order[np.searchsorted(key, wanted + b * self._stride[node], sorter=order)]
                for b in range(self.shapes[j][0])
            ]
        return out

    def _constant_cells(self, rest: Elimination | DenseRoot, start: int) -> tuple[Index, _Take]:
        """Return the cells of A among the columns from `start` on, and what takes their values."""
        offsets = node_offsets(self.shapes)
        places: list[Index] = []
        levels_of: list[Index] = []
        for i, (k, levels) in enumerate(self.shapes):
            node = offsets[i] + np.arange(levels)
            node = node[self._first[node] >= start]
            levels_of.append(node - offsets[i])
            for a in range(k):
                for b in range(a + 1):
                    rows = self._first[node] + a * self._stride[node] - start
                    columns = self._first[node] + b * self._stride[node] - start
                    places.append(rest.cells(rows, columns))
        kept: dict[tuple[int, int], Index] = {}
        for (i, j), (first, second) in self.pairs.items():
            u, v = offsets[i] + first, offsets[j] + second
            keep = np.flatnonzero((self._first[u] >= start) & (self._first[v] >= start))
            u, v = u[keep], v[keep]
            kept[i, j] = keep
            for a in range(self.shapes[i][0]):
                for b in range(self.shapes[j][0]):
                    rows = self._first[u] + a * self._stride[u] - start
                    columns = self._first[v] + b * self._stride[v] - start
                    places.append(rest.cells(rows, columns))
        return np.concatenate(places), _Take(levels_of, kept)

    def load(self, A: BlockMatrix) -> Numbers:
        """Put the numbers of a matrix of this pattern, or of a part of it, in their places.

        Raises
        ------
        FitError
            If the matrix joins levels that the pattern does not.
        """
        A = self.on_pattern(A)
        if self.in_cells:
            return Numbers(np.zeros((0, 0, 0)), np.zeros((0, 0)), self._taken(A))
        assert isinstance(self.top, Elimination)
        i = self.top.part.block
        C = np.zeros((self.shapes[i][0], len(self.top.rows)))
        for (one, two), places in self._take_coupling.items():
            values = A.couplings[one, two].values
            values = values if one == i else values.transpose(1, 0, 2)
            for b, where in enumerate(places):
                C[:, where] = values[:, b]
        return Numbers(A.diagonal[i], C, self._taken(A))

    def unload(self, D: Array, C: Array, values: Array) -> BlockMatrix:
        """Return the matrix of this pattern whose numbers `load` would put in these places."""
        diagonal = [np.zeros((k, k, levels)) for k, levels in self.shapes]
        couplings = {
            (i, j): Coupling(r, c, np.zeros((self.shapes[i][0], self.shapes[j][0], len(r))))
            for (i, j), (r, c) in self.pairs.items()
        }
        out = BlockMatrix(self.shapes, diagonal, couplings)
        if not self.in_cells:
            assert isinstance(self.top, Elimination)
            i = self.top.part.block
            diagonal[i][:] = D
            for (one, two), places in self._take_coupling.items():
                own = couplings[one, two].values
                own = own if one == i else own.transpose(1, 0, 2)
                for b, where in enumerate(places):
                    own[:, b] = C[:, where]
        if len(values):
            self._taken.put(values, out)
        return out

    def on_pattern(self, A: BlockMatrix) -> BlockMatrix:
        """Return the matrix with the pairs of levels of this pattern, zeros where it has none.

        Raises
        ------
        FitError
            If the matrix joins levels that the pattern does not.
        """
        couplings = {}
        for (i, j), (rows, columns) in self.pairs.items():
            c = A.couplings.get((i, j))
            if c is None or not _same(c, rows, columns):
                empty = np.zeros((self.shapes[i][0], self.shapes[j][0], len(rows)))
                whole = Coupling(rows, columns, empty)
                c = whole if c is None else whole.plus(c, 1.0, self.shapes[j][1])
                if len(c.rows) != len(rows):
                    raise _new_pairs()
            couplings[i, j] = c
        if any(len(c.rows) for key, c in A.couplings.items() if key not in couplings):
            raise _new_pairs()
        if all(c is A.couplings.get(key) for key, c in couplings.items()):
            return A
        return BlockMatrix(A.shapes, A.diagonal, couplings)


def _new_pairs() -> FitError:
    """Return the error for numbers off the pattern."""
    return FitError(
        "the cross-products join levels that the pattern of the factor does not. "
        "Make a new Symbolic for them."
    )


def _check_memory(plan: Plan, costs: Costs, known: bool) -> None:
    """Refuse a plan that memory does not hold, before anything is allocated for it.

    Levels with a known precision have no other solver.
    """
    if costs.memory == np.inf:
        return
    needed, size = plan.memory(costs), plan.root_size
    if needed <= costs.memory:
        return
    # levels that are eliminated one by one cost little; whose effects meet in the root cost much
    shapes = plan.shapes
    numbers = ", ".join(f"{k * levels:,}" for k, levels in shapes)
    dense = f", {size:,} of them in one dense matrix" if size else ""
    way_out = "Join levels with few rows."
    if not known:
        way_out = "Fit a linear model with solver='iterative', or join levels with few rows."
    raise FitError(
        f"the exact solver needs about {in_words(needed)} of memory for this model and "
        f"{in_words(costs.memory)} are free: its factors have {numbers} random effects, which meet "
        f"in too many combinations to be solved one after the other{dense}. {way_out}"
    )


def _same(c: Coupling, rows: Index, columns: Index) -> bool:
    """Say whether a coupling has these pairs."""
    if c.rows is rows and c.columns is columns:
        return True
    return np.array_equal(c.rows, rows) and np.array_equal(c.columns, columns)


class _Take:
    """Takes the values of some levels' diagonal blocks and of some pairs, in a fixed order."""

    def __init__(self, levels: list[Index], pairs: Mapping[tuple[int, int], Index]) -> None:
        self.levels, self.pairs = levels, pairs

    def __call__(self, A: BlockMatrix) -> Array:
        """Return the values."""
        out = []
        for (k, _), D, own in zip(A.shapes, A.diagonal, self.levels):
            out += [D[a, b][own] for a in range(k) for b in range(a + 1)]
        for key, keep in self.pairs.items():
            values = A.couplings[key].values
            out += [values[a, b][keep] for a in range(len(values)) for b in range(values.shape[1])]
        return np.concatenate(out)

    def put(self, values: Array, A: BlockMatrix) -> None:
        """Write values in that order into a matrix."""
        at = 0
        for (k, _), D, own in zip(A.shapes, A.diagonal, self.levels):
            for a in range(k):
                for b in range(a + 1):
                    D[a, b][own] = D[b, a][own] = values[at : at + len(own)]
                    at += len(own)
        for key, keep in self.pairs.items():
            C = A.couplings[key].values
            for a in range(len(C)):
                for b in range(C.shape[1]):
                    C[a, b][keep] = values[at : at + len(keep)]
                    at += len(keep)
