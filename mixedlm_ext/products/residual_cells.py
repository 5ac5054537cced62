"""Where the numbers of cross-products stand, of rows that correlations join."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from mixedlm_ext.products.block_matrix import BlockMatrix, Coupling
from mixedlm_ext.products.layout import Layout
from mixedlm_ext.products.products import CrossProducts
from mixedlm_ext.products.roots import in_roots, stacked_in_roots
from mixedlm_ext.residual.pieces import Piece

Array = NDArray[np.float64]
Index = NDArray[np.intp]
Matrix = Any
"""A sparse array of scipy."""

__all__ = ["Cells", "CellsOfRoots", "by_blocks", "joined_levels"]

Shapes = Sequence[tuple[int, int]]
Pairs = Mapping[tuple[int, int], tuple[Index, Index]]


class Cells:
    """Where the numbers of cross-products stand in [Z X y]'W[Z X y], and back.

    Parameters
    ----------
    shapes : sequence of (int, int)
        Columns a level and levels of each block.
    p : int
        Columns of X.
    pairs : dict of (i, j), i <= j, to two ndarrays of intp
        Levels of blocks i and j that meet.
    """

    def __init__(self, shapes: Shapes, p: int, pairs: Pairs) -> None:
        self.shapes, self.p, self.pairs = tuple(shapes), p, pairs
        self.offsets = np.cumsum([0, *(k * m for k, m in shapes)])
        q = int(self.offsets[-1])
        rows, columns = [], []
        for i, (k, levels) in enumerate(shapes):
            a, b, at = np.ix_(np.arange(k), np.arange(k), np.arange(levels))
            rows.append((self.offsets[i] + a * levels + at + 0 * b).ravel())
            columns.append((self.offsets[i] + b * levels + at + 0 * a).ravel())
        for (i, j), (u, v) in pairs.items():
            (k, n), (m, levels) = shapes[i], shapes[j]
            a, b, at = np.ix_(np.arange(k), np.arange(m), np.arange(len(u)))
            rows.append((self.offsets[i] + a * n + u[at] + 0 * b).ravel())
            columns.append((self.offsets[j] + b * levels + v[at] + 0 * a).ravel())
        r, c = np.indices((q, p + 1))
        rows.append(r.ravel())
        columns.append(q + c.ravel())
        r, c = np.indices((p + 1, p + 1))
        rows.append(q + r.ravel())
        columns.append(q + c.ravel())
        self.rows, self.columns = np.concatenate(rows), np.concatenate(columns)

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, A: Matrix) -> Array:
        """Return the numbers of a symmetric matrix of all columns."""
        return np.asarray(sparse.csr_array(A)[self.rows, self.columns], dtype=float).ravel()

    def parts(self, numbers: Array) -> tuple[BlockMatrix, Array, Array]:
        """Return Z'WZ, Z'W[X y] and [X y]'W[X y] that have these numbers."""
        at = 0

        def next_part(*shape: int) -> Array:
            nonlocal at
            size = math.prod(shape)
            at += size
            return numbers[at - size : at].reshape(shape)

        diagonal = [next_part(k, k, levels) for k, levels in self.shapes]
        couplings = {
            (i, j): Coupling(u, v, next_part(self.shapes[i][0], self.shapes[j][0], len(u)))
            for (i, j), (u, v) in self.pairs.items()
        }
        ZH = next_part(int(self.offsets[-1]), self.p + 1)
        HH = next_part(self.p + 1, self.p + 1)
        return BlockMatrix(self.shapes, diagonal, couplings), ZH, HH

    def numbers(self, A: BlockMatrix, ZH: Array, HH: Array) -> Array:
        """Return the numbers of those parts."""
        couplings = [A.couplings[key].values for key in self.pairs]
        return np.concatenate([part.ravel() for part in (*A.diagonal, *couplings, ZH, HH)])

    def products_of(self, c: Array) -> Array:
        """Return what numbers are to be multiplied by to give c'[Z X y]'W[Z X y]c."""
        inner = [k * k * levels for k, levels in self.shapes]
        counts = [*inner, len(self.rows) - sum(inner) - (self.p + 1) ** 2, (self.p + 1) ** 2]
        once = np.repeat([1.0] * len(inner) + [2.0, 1.0], counts)
        return np.asarray(once * c[self.rows] * c[self.columns])

    def products(self, layout: Layout, numbers: Array, n: int, logdet_W: float) -> CrossProducts:
        """Return the cross-products that have these numbers."""
        A, ZH, HH = self.parts(numbers)
        p = self.p
        return CrossProducts(
            layout=layout,
            n=n,
            A=A,
            ZX=np.ascontiguousarray(ZH[:, :p]),
            Zy=np.ascontiguousarray(ZH[:, p]),
            XX=HH[:p, :p].copy(),
            Xy=HH[:p, p].copy(),
            yy=float(HH[p, p]),
            logdet_W=logdet_W,
        )


class CellsOfRoots:
    """From the numbers of levels to those of the independent effects that make up theirs.

    Parameters
    ----------
    levels : Cells
    layout : Layout
        It has C of each block whose levels have the effects Cb (see products/roots.py).
    """

    def __init__(self, levels: Cells, layout: Layout) -> None:
        self._levels, self._roots = levels, layout.every_root
        self.same = all(root is None for root in self._roots)
        pattern = in_roots(levels.parts(np.ones(len(levels)))[0], self._roots)
        self._joined = _of_members(layout, pattern.shapes)
        pattern = pattern.plus(self._joined, 1.0)
        self.cells = levels if self.same else Cells(pattern.shapes, levels.p, pattern.pairs)

    def numbers(self, own: Array) -> Array:
        """Return the numbers of effects from those of levels: they are linear in them."""
        if self.same:
            return own
        A, ZH, HH = self._levels.parts(own)
        stacked = stacked_in_roots(ZH, self._levels.shapes, self._roots)
        return self.cells.numbers(in_roots(A, self._roots).plus(self._joined, 1.0), stacked, HH)


def joined_levels(
    layout: Layout, nodes: sparse.csr_array, pieces: Sequence[Piece]
) -> dict[tuple[int, int], tuple[Index, Index]]:
    """Return the levels of blocks i <= j that rows join, themselves or through correlations.

    So do the precisions K⁻¹ of levels: numbers, then, have the pattern of both.
    """
    met = _of_priors(layout)
    for piece in pieces:
        left, right = abs(piece.L) @ nodes, abs(piece.R) @ nodes
        half = left.T @ right
        met = met + half + half.T
    return by_blocks(met, layout)


def by_blocks(met: Matrix, layout: Layout) -> dict[tuple[int, int], tuple[Index, Index]]:
    """Return the pairs of levels of blocks i <= j that a symmetric matrix of all levels has."""
    shapes = layout.level_shapes
    found = sparse.coo_array(met)
    starts = np.cumsum([0, *(levels for _, levels in shapes)])
    row, column = found.row.astype(np.intp), found.col.astype(np.intp)
    block_r = np.searchsorted(starts, row, side="right") - 1
    block_c = np.searchsorted(starts, column, side="right") - 1
    out = {}
    for j in range(len(shapes)):
        for i in range(j + 1):
            here = (block_r == i) & (block_c == j)
            if i == j:
                here &= row > column
            u, v = row[here] - starts[i], column[here] - starts[j]
            if i < j or len(u):
                order = np.lexsort((v, u))
                out[i, j] = (u[order], v[order])
    return out


def _of_priors(layout: Layout) -> sparse.csr_array:
    """Return the pattern of the precisions K⁻¹ of all blocks among their levels."""
    total = sum(levels for _, levels in layout.level_shapes)
    if not layout.priors:
        return sparse.csr_array((total, total))
    empty = [sparse.csr_array((levels, levels)) for _, levels in layout.level_shapes]
    own = [
        none if K is None or C is not None else abs(K.Q)
        for K, C, none in zip(layout.priors, layout.every_root, empty)
    ]
    return sparse.csr_array(sparse.block_diag(own))


def _of_members(layout: Layout, shapes: Shapes) -> BlockMatrix:
    """Return zeros on the pattern of the precisions of members, whose rows come by a root."""
    couplings = {}
    for i, (k, _) in enumerate(shapes):
        prior = layout.prior(i)
        if prior is not None and layout.root_of(i) is not None:
            found = sparse.coo_array(sparse.tril(prior.Q, -1))
            order = np.lexsort((found.col, found.row))
            rows, columns = (at[order].astype(np.intp) for at in (found.row, found.col))
            couplings[i, i] = Coupling(rows, columns, np.zeros((k, k, len(rows))))
    diagonal = [np.zeros((k, k, levels)) for k, levels in shapes]
    return BlockMatrix(tuple(shapes), diagonal, couplings)
