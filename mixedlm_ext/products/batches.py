"""Cross-products of rows that come in batches: one running sum, and batches that add to it.

A batch adds to the levels that it has: where rows are sorted by a grouping factor, its sums are as
long as its own range of levels. Pairs of levels of two blocks are kept as sorted runs that are
merged when two are of like length, so that each pair is moved a logarithmic number of times.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from mixedlm_ext.design import TermDesign
from mixedlm_ext.linalg.blas import matmul
from mixedlm_ext.linalg.keys import distinct_keys
from mixedlm_ext.products.layout import BlockData, Layout
from mixedlm_ext.products.noise import Noise
from mixedlm_ext.products.products import BlockMatrix, Coupling, CrossProducts
from mixedlm_ext.products.rows import diagonal_sums, level_sums, times, weighted_columns

Array = NDArray[np.float64]
Index = NDArray[np.intp]
Columns = Sequence[Array | None]
Run = tuple[Index, Array]
Number = TypeVar("Number", bound=np.generic)

__all__ = ["Counts", "RunningSum"]


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
        self._XX += matmul(WQ.T, WQ)
        self._Xy += WQ.T @ y
        self._yy += float(y @ y)
        self._logdet_W += noise.logdet
        blocks = [_without_ones(block) for block in self.layout.blocks(terms)]
        columns = [weighted_columns(block, noise) for block in blocks]
        responses = [*np.asfortranarray(WQ).T, y]
        for i, (block, own) in enumerate(zip(blocks, columns)):
            local, part = _own_range(block)
            self._diagonal[i][:, :, part] += diagonal_sums(local, own)
            sums = level_sums(local, own, responses)
            self._Zr[i][:, part] += sums.reshape(local.k, local.levels, -1)
            if self._levels is not None:
                self._levels[i][part] += np.bincount(local.codes, minlength=local.levels)
        for (i, j), pairs in self._pairs.items():
            pairs.add(blocks[i].codes, columns[i], blocks[j].codes, columns[j])
        return Q, [block.columns for block in blocks]

    def counts(self) -> Counts | None:
        """Return the rows of each level and pair, if they were counted; call `products` first."""
        if self._levels is None:
            return None
        return Counts(self._levels, {key: pairs.counts for key, pairs in self._pairs.items()})

    def products(self) -> CrossProducts:
        """Return the sum."""
        p = self.layout.p
        Zr = np.concatenate([part.reshape(-1, p + 1) for part in self._Zr])
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


def _own_range(block: BlockData) -> tuple[BlockData, slice]:
    """Return the rows of a block with codes that start at the first level they have."""
    low, high = int(block.codes.min()), int(block.codes.max()) + 1
    if high - low > block.levels // 2:
        return block, slice(None)
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
        codes: Index,
        columns: Sequence[Array | None],
        other_codes: Index,
        other_columns: Sequence[Array | None],
    ) -> None:
        """Add the rows of a batch."""
        order, key, starts = _runs_of(codes * self._levels + other_codes)
        count = np.diff(np.append(starts, len(key))).astype(float)
        k, r = self._shape
        values = np.empty((k + self._counted, r, len(starts)))
        values[k:] = count
        for a, left in enumerate(columns):
            for b, right in enumerate(other_columns):
                product = times(left, right)
                values[a, b] = (
                    count if product is None else np.add.reduceat(_sorted(product, order), starts)
                )
        self._push((key[starts], values))

    def _push(self, run: Run) -> None:
        """Keep a run; merge it with the last one while that is not much longer."""
        while self._runs and len(self._runs[-1][0]) < 2 * len(run[0]):
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
        keys, values = self._runs[0]
        rows, columns = np.divmod(keys, self._levels)
        if self._counted:
            self.counts = np.rint(values[-1, 0]).astype(np.intp)
            values = np.ascontiguousarray(values[:-1])
        return Coupling(rows, columns, values)


def _runs_of(key: Index) -> tuple[Index | None, Index, Index]:
    """Return what sorts keys, None if they are, the keys in order, and where each one starts."""
    order = None
    if (key[1:] < key[:-1]).any():
        order, key = _in_order(key)
    return order, key, np.flatnonzero(np.concatenate([[True], key[1:] != key[:-1]]))


def _in_order(key: Index) -> tuple[Index, Index]:
    """Return what sorts keys, and the sorted keys.

    A key and its place together are one number where both fit: numbers are sorted several times
    faster than places.
    """
    low = int(key.min())
    bits = len(key).bit_length()
    if (int(key.max()) - low).bit_length() + bits > 62:
        order = np.argsort(key)
        return order, key[order]
    packed = (key - low) << bits
    packed |= np.arange(len(key))
    packed.sort()
    order = packed & ((1 << bits) - 1)
    packed >>= bits
    packed += low
    return order, packed


def _sorted(values: NDArray[Number], order: Index | None) -> NDArray[Number]:
    """Return values in an order."""
    return values if order is None else values[order]


def _merged(one: Run, two: Run) -> Run:
    """Return one sorted run of two: only where they overlap are keys compared."""
    if two[0][0] < one[0][0]:
        one, two = two, one
    first = int(np.searchsorted(one[0], two[0][0]))
    last = int(np.searchsorted(two[0], one[0][-1], side="right"))
    parts = [_part(one, 0, first), _part(two, last, None)]
    if first < len(one[0]):
        parts.insert(1, _woven(_part(one, first, None), _part(two, 0, last)))
    keys, values = zip(*parts)
    return np.concatenate(keys), np.concatenate(values, axis=2)


def _part(run: Run, start: int, stop: int | None) -> Run:
    """Return a part of a run."""
    return run[0][start:stop], run[1][:, :, start:stop]


def _woven(one: Run, two: Run) -> Run:
    """Return one sorted run of two that overlap."""
    keys = distinct_keys(np.concatenate([one[0], two[0]]))
    values = np.zeros((*one[1].shape[:2], len(keys)))
    for run in (one, two):
        values[:, :, np.searchsorted(keys, run[0])] += run[1]
    return keys, values
