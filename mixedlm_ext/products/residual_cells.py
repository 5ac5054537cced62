"""Where the numbers of cross-products stand, of rows that correlations join."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from mixedlm_ext.products.layout import Layout
from mixedlm_ext.products.products import BlockMatrix, Coupling, CrossProducts
from mixedlm_ext.residual.pieces import Piece

Array = NDArray[np.float64]
Index = NDArray[np.intp]
Matrix = Any
"""A sparse array of scipy."""

__all__ = ["Cells", "joined_levels"]


class Cells:
    """Where the numbers of cross-products stand in [Z X y]'W[Z X y], and back."""

    def __init__(self, layout: Layout, pairs: dict[tuple[int, int], tuple[Index, Index]]) -> None:
        self.layout, self.pairs = layout, pairs
        self.offsets = np.cumsum([0, *(k * m for k, m in layout.shapes)])
        q, p = int(self.offsets[-1]), layout.p
        rows, columns = [], []
        for i, (k, levels) in enumerate(layout.shapes):
            a, b, at = np.ix_(np.arange(k), np.arange(k), np.arange(levels))
            rows.append((self.offsets[i] + a * levels + at + 0 * b).ravel())
            columns.append((self.offsets[i] + b * levels + at + 0 * a).ravel())
        for (i, j), (u, v) in pairs.items():
            (k, n), (m, levels) = layout.shapes[i], layout.shapes[j]
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

    def products(self, numbers: Array, n: int, logdet_W: float) -> CrossProducts:
        """Return the cross-products that have these numbers."""
        layout, at = self.layout, 0

        def next_part(*shape: int) -> Array:
            nonlocal at
            size = math.prod(shape)
            at += size
            return numbers[at - size : at].reshape(shape)

        diagonal = [next_part(k, k, levels) for k, levels in layout.shapes]
        couplings = {
            (i, j): Coupling(u, v, next_part(layout.shapes[i][0], layout.shapes[j][0], len(u)))
            for (i, j), (u, v) in self.pairs.items()
        }
        p = layout.p
        ZH = next_part(int(self.offsets[-1]), p + 1)
        HH = next_part(p + 1, p + 1)
        return CrossProducts(
            layout=layout,
            n=n,
            A=BlockMatrix(layout.shapes, diagonal, couplings),
            ZX=np.ascontiguousarray(ZH[:, :p]),
            Zy=np.ascontiguousarray(ZH[:, p]),
            XX=HH[:p, :p].copy(),
            Xy=HH[:p, p].copy(),
            yy=float(HH[p, p]),
            logdet_W=logdet_W,
        )


def joined_levels(
    layout: Layout, nodes: sparse.csr_array, pieces: Sequence[Piece]
) -> dict[tuple[int, int], tuple[Index, Index]]:
    """Return the levels of blocks i <= j that rows join, themselves or through correlations."""
    total = nodes.shape[1]
    met = sparse.csr_array((total, total))
    for piece in pieces:
        left, right = abs(piece.L) @ nodes, abs(piece.R) @ nodes
        half = left.T @ right
        met = met + half + half.T
    found = sparse.coo_array(met)
    starts = np.cumsum([0, *(levels for _, levels in layout.shapes)])
    row, column = found.row.astype(np.intp), found.col.astype(np.intp)
    block_r = np.searchsorted(starts, row, side="right") - 1
    block_c = np.searchsorted(starts, column, side="right") - 1
    out = {}
    for j in range(len(layout.shapes)):
        for i in range(j + 1):
            here = (block_r == i) & (block_c == j)
            if i == j:
                here &= row > column
            u, v = row[here] - starts[i], column[here] - starts[j]
            if i < j or len(u):
                order = np.lexsort((v, u))
                out[i, j] = (u[order], v[order])
    return out
