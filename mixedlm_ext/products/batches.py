"""Cross-products of rows that come in batches: one running sum, and batches that add to it.

A batch adds to the levels that it has: where rows are sorted by a grouping factor, its sums are as
long as its own range of levels. Pairs of levels of two blocks are kept as sorted runs that are
merged when two are of like length, so that each pair is moved a logarithmic number of times; pairs
that come in order are not moved until the end.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mixedlm_ext.design import TermDesign
from mixedlm_ext.linalg.blas import inner, matmul, narrow_gram
from mixedlm_ext.linalg.keys import distinct_keys, sorted_keys
from mixedlm_ext.products.block_matrix import BlockMatrix, Coupling
from mixedlm_ext.products.layout import BlockData, Layout
from mixedlm_ext.products.noise import Noise
from mixedlm_ext.products.products import CrossProducts
from mixedlm_ext.products.rows import (
    LevelSums,
    diagonal_sums,
    level_sums,
    starts_of,
    times,
    weighted_columns,
)

Array = NDArray[np.float64]
Index = NDArray[np.intp]
Columns = Sequence[Array | None]
Piece = tuple[Index, Array]
Run = list[Piece]
"""Keys in increasing order and their sums, in pieces that follow one another."""
Range = tuple[BlockData, slice]
"""Rows of a block that count their levels from the first they have, and which levels these are."""
Sums = Callable[[Array | None], Array]

__all__ = ["Counts", "RunningSum"]

_TABLE = 4
"""Pairs of levels within reach of a batch, for each of its rows, up to which all are counted."""


class RunningSum:
    """The sum of the cross-products of the batches so far, in one layout.

    Parameters
    ----------
    layout : Layout
    counted : bool
        Count the rows of each level and of each pair of levels, too.
    """

    def __init__(self, layout: Layout, counted: bool = False) -> None:
        p, shapes = layout.p, layout.shapes
        self.layout = layout
        self._levels = [np.zeros(levels, np.intp) for _, levels in shapes] if counted else None
        self._n, self._yy, self._logdet_W = 0, 0.0, 0.0
        self._diagonal = [np.zeros((k, k, levels)) for k, levels in shapes]
        self._Zr = [np.zeros((k, levels, p + 1)) for k, levels in shapes]
        self._XX, self._Xy = np.zeros((p, p)), np.zeros(p)
        self._pairs = {
            (i, j): _Pairs(shapes[i][0], shapes[j], counted)
            for j in range(len(shapes))
            for i in range(j)
        }

    def add(
        self, y: Array, X: Array, terms: Sequence[TermDesign], noise: Noise
    ) -> tuple[Array, list[Columns]]:
        """Add the rows of a batch.

        Parameters
        ----------
        y : ndarray (m,)
            Response less offset.
        X : ndarray (m, p)
        terms : sequence of TermDesign
            In the order of the formula, with the level codes of the layout.
        noise : Noise

        Returns
        -------
        ndarray (m, p)
            The coordinates Q of the rows, not weighted.
        list of sequence of ndarray (m,)
            Those of the columns of each block, one by one; None stands for ones.
        """
        Q = self.layout.basis.coordinates(X)
        y = noise.root_times(self.layout.residual(y, X, Q))
        WQ = noise.root_times(Q)
        self._n += len(y)
        self._XX += narrow_gram(WQ)
        self._Xy += matmul(WQ.T, y)
        with np.errstate(over="ignore"):  # what is too large is refused with its name
            self._yy += inner(y, y)
        self._logdet_W += noise.logdet
        blocks = [_without_ones(block) for block in self.layout.blocks(terms)]
        columns = [weighted_columns(block, noise) for block in blocks]
        responses = [*np.asfortranarray(WQ).T, y]
        ranges = [_own_range(block) for block in blocks]
        for i, ((local, part), own) in enumerate(zip(ranges, columns)):
            by_level = LevelSums(local.codes, local.levels)
            self._diagonal[i][:, :, part] += diagonal_sums(local, own, by_level)
            sums = level_sums(local, own, responses, by_level)
            self._Zr[i][:, part] += sums.reshape(local.k, local.levels, -1)
            if self._levels is not None:
                self._levels[i][part] += np.bincount(local.codes, minlength=local.levels)
        for (i, j), pairs in self._pairs.items():
            pairs.add(ranges[i], columns[i], ranges[j], columns[j])
        return Q, [block.columns for block in blocks]

    def counts(self) -> Counts | None:
        """Return the rows of each level and pair, if they were counted; call `products` first."""
        if self._levels is None:
            return None
        return Counts(self._levels, {key: pairs.counts for key, pairs in self._pairs.items()})

    def products(self) -> CrossProducts:
        """Return the sum."""
        p = self.layout.p
        Zr = np.concatenate([np.zeros((0, p + 1)), *(Z.reshape(-1, p + 1) for Z in self._Zr)])
        couplings = {key: pairs.coupling() for key, pairs in self._pairs.items()}
        return CrossProducts(
            layout=self.layout,
            n=self._n,
            A=BlockMatrix(self.layout.shapes, self._diagonal, couplings),
            ZX=np.ascontiguousarray(Zr[:, :-1]),
            Zy=np.ascontiguousarray(Zr[:, -1]),
            XX=self._XX,
            Xy=self._Xy,
            yy=self._yy,
            logdet_W=self._logdet_W,
        )


def _without_ones(block: BlockData) -> BlockData:
    """Write None for a column of ones."""
    columns = [
        None if column is not None and len(column) and column[0] == 1.0 and (column == 1.0).all()
        else column
        for column in block.columns
    ]  # fmt: skip
    return BlockData(block.codes, columns, block.levels)


def _own_range(block: BlockData) -> Range:
    """Return the rows of a block with codes that start at the first level they have."""
    low, high = int(block.codes.min()), int(block.codes.max()) + 1
    if high - low > block.levels // 2:
        return block, slice(0, block.levels)
    return BlockData(block.codes - low, block.columns, high - low), slice(low, high)


@dataclass(frozen=True, eq=False)
class Counts:
    """Rows of each level, and of each pair of levels that meet.

    Attributes
    ----------
    levels : list of ndarray of intp (levels,)
        Of each block.
    pairs : dict of (i, j) to ndarray of intp (pairs,)
        In the order of the couplings.
    """

    levels: list[Index]
    pairs: dict[tuple[int, int], Index]


class _Pairs:
    """Z_i'WZ_j as sorted runs of keys, each with its sums, from longer to shorter.

    Where rows are counted, the counts are another column beside the sums.
    """

    def __init__(self, k: int, other: tuple[int, int], counted: bool) -> None:
        self._shape = (k, other[0])
        self._levels, self._counted = other[1], counted
        self.counts = np.zeros(0, np.intp)
        self._runs: list[Run] = []

    def add(
        self,
        one: Range,
        columns: Sequence[Array | None],
        two: Range,
        other_columns: Sequence[Array | None],
    ) -> None:
        """Add the rows of a batch."""
        (left, own), (right, others) = one, two
        key = left.codes * right.levels + right.codes
        possible = left.levels * right.levels
        if possible <= _TABLE * len(key):
            found, sums = _by_table(key, possible)
        else:
            found, sums = _by_order(key)
        k, r = self._shape
        count = sums(None)
        values = np.empty((k + self._counted, r, len(found)))
        values[k:] = count
        for a, x in enumerate(columns):
            for b, y in enumerate(other_columns):
                product = times(x, y)
                values[a, b] = count if product is None else sums(product)
        rows, columns_found = np.divmod(found, right.levels)
        keys = (rows + own.start) * self._levels + (columns_found + others.start)
        self._push([(keys, values)])

    def _push(self, run: Run) -> None:
        """Keep a run; merge it with the last one while that is not much longer."""
        while self._runs and _length(self._runs[-1]) < 2 * _length(run):
            run = _merged(self._runs.pop(), run)
        self._runs.append(run)

    def coupling(self) -> Coupling:
        """Return the sums of all batches; nothing can be added after that."""
        while len(self._runs) > 1:
            last = self._runs.pop()
            self._runs.append(_merged(self._runs.pop(), last))
        if not self._runs:
            none = np.zeros(0, np.intp)
            return Coupling(none, none, np.zeros((*self._shape, 0)))
        keys, values = _whole(self._runs[0])
        rows, columns = np.divmod(keys, self._levels)
        if self._counted:
            self.counts = np.rint(values[-1, 0]).astype(np.intp)
            values = np.ascontiguousarray(values[:-1])
        return Coupling(rows, columns, values)


def _by_table(key: Index, possible: int) -> tuple[Index, Sums]:
    """Return the distinct keys in order, and what sums by them: a table of all that could be."""
    table = np.bincount(key, minlength=possible)
    found = np.flatnonzero(table)

    def sums(values: Array | None) -> Array:
        whole = table if values is None else np.bincount(key, values, possible)
        return whole[found].astype(float, copy=False)

    return found, sums


def _by_order(key: Index) -> tuple[Index, Sums]:
    """Return the same by sorting, unless the keys are sorted."""
    order: Index | None = None
    if (key[1:] < key[:-1]).any():
        key, order = sorted_keys(key)
    starts = starts_of(key)

    def sums(values: Array | None) -> Array:
        if values is None:
            return np.diff(np.append(starts, len(key))).astype(float)
        return np.add.reduceat(values if order is None else values[order], starts)

    return key[starts], sums


def _merged(one: Run, two: Run) -> Run:
    """Return one run of two: only where they overlap are keys compared."""
    low = max(one[0][0][0], two[0][0][0])
    high = min(one[-1][0][-1], two[-1][0][-1])
    if low > high:
        return one + two if one[0][0][0] < low else two + one
    before, common, after = zip(_cut(one, low, high), _cut(two, low, high))
    within = [_whole(part) for part in common if part]
    woven = within[0] if len(within) == 1 else _woven(*within)
    return [*before[0], *before[1], woven, *after[0], *after[1]]


def _cut(run: Run, low: int, high: int) -> tuple[Run, Run, Run]:
    """Return what a run has below `low`, from there to `high`, and above."""
    parts: tuple[Run, Run, Run] = ([], [], [])
    for keys, values in run:
        first = int(np.searchsorted(keys, low))
        last = int(np.searchsorted(keys, high, side="right"))
        for part, own in zip(parts, (slice(first), slice(first, last), slice(last, None))):
            if len(keys[own]):
                part.append((keys[own], values[:, :, own]))
    return parts


def _length(run: Run) -> int:
    """Return how many keys a run has."""
    return sum(len(keys) for keys, _ in run)


def _whole(run: Run) -> Piece:
    """Return a run as one piece."""
    if len(run) == 1:
        return run[0]
    keys, values = zip(*run)
    return np.concatenate(keys), np.concatenate(values, axis=2)


def _woven(one: Piece, two: Piece) -> Piece:
    """Return one piece of two that overlap."""
    keys = distinct_keys(np.concatenate([one[0], two[0]]))
    values = np.zeros((*one[1].shape[:2], len(keys)))
    for own, sums in (one, two):
        values[:, :, np.searchsorted(keys, own)] += sums
    return keys, values
