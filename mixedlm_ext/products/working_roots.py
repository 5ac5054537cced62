"""Z by rows where effects stand for the levels of a factor: Z = Z_0(I ⊗ C), K = CC'.

What a row touches is summed by level first. Products with Z_0 are those of `WorkingRows`, and
those of the effects follow from them; neither Z nor K is ever formed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from mixedlm_ext.linalg.semidefinite import Root
from mixedlm_ext.products.block_matrix import BlockMatrix
from mixedlm_ext.products.layout import BlockData
from mixedlm_ext.products.roots import in_roots, stacked_in_roots
from mixedlm_ext.products.working import WorkingRows
from mixedlm_ext.products.working_members import MemberRows

Array = NDArray[np.float64]
Index = NDArray[np.intp]

__all__ = ["RootedRows", "rows_of_blocks"]

_CELLS = 4_000_000
"""Numbers of dense rows of roots that are multiplied at once."""
_MOST = 5e6
"""Products of entries of sparse roots that are kept as one matrix."""


def rows_of_blocks(blocks: Sequence[BlockData]) -> WorkingRows:
    """Return the rows of blocks, of which some may have a root."""
    roots = [block.root for block in blocks if block.root is not None]
    if not roots:
        return WorkingRows(blocks)
    few = not any(isinstance(C, np.ndarray) for C in roots) and _products(blocks) <= _MOST
    return MemberRows(blocks) if few else RootedRows(blocks)


def _products(blocks: Sequence[BlockData]) -> float:
    """Return how many products of entries of sparse roots there are, of levels that meet."""
    counts = [
        np.ones(b.levels) if b.root is None else np.diff(sparse.csr_array(b.root).indptr)
        for b in blocks
    ]
    by_row = [c[b.codes] for b, c in zip(blocks, counts)]  # at least those of the pairs
    across = sum(float(two @ one) for j, two in enumerate(by_row) for one in by_row[:j])
    return across + sum(float(c @ c) for c in counts)


class RootedRows(WorkingRows):
    """The rows of Z in a layout in which some blocks have a root C (levels, r).

    Parameters
    ----------
    blocks : sequence of BlockData
    """

    def __init__(self, blocks: Sequence[BlockData]) -> None:
        super().__init__(blocks)
        self._roots = [block.root for block in blocks]

    def times(self, b: Array) -> Array:
        """Return Zb for b (q,) or (q, c)."""
        parts, start = [np.zeros((0, *b.shape[1:]))], 0
        for block in self.blocks:
            part = b[start : start + block.size]
            start += block.size
            if block.root is not None:
                own = part.reshape(block.k, block.effects, *b.shape[1:])
                part = np.concatenate([np.asarray(block.root @ column) for column in own])
            parts.append(part)
        return super().times(np.concatenate(parts))

    def sums(self, r: Array) -> Array:
        """Return Z'r for r (n,) or (n, c)."""
        by_level = super().sums(r)
        stacked = by_level[:, None] if by_level.ndim == 1 else by_level
        return stacked_in_roots(stacked, self.shapes, self._roots).reshape(-1, *r.shape[1:])

    def some(self, rows: Index | slice) -> sparse.csr_array:
        """Return some rows of Z, sparse."""
        parts: list[Any] = []
        for block in self.blocks:
            C: Any = block.root
            own = sparse.eye_array(block.levels, format="csr") if C is None else sparse.csr_array(C)
            parts += [own] * block.k
        return sparse.csr_array(super().some(rows) @ sparse.block_diag(parts, format="csr"))

    def products(self, w: Array) -> BlockMatrix:
        """Return Z'WZ for weights (n,), which may be of either sign."""
        return in_roots(super().products(w), self._roots)

    def diagonal(self, N: BlockMatrix) -> Array:
        """Return the diagonal of ZNZ', (n,), for N on the pattern of Z'WZ."""
        out = np.zeros(len(self.blocks[0].codes))
        for i, block in enumerate(self.blocks):
            level = np.arange(block.levels)
            values = self._between(N, (i, i), level, level)
            out += self._of_rows(values[:, :, block.codes], i, i)
        for (i, j), (pair, one, two) in self._pairs.items():
            values = self._between(N, (i, j), one, two)
            out += 2.0 * self._of_rows(values[:, :, pair], i, j)
        return out

    def _of_rows(self, values: Array, i: int, j: int) -> Array:
        """Return Σ_ab x_a values_ab y_b of each row, for the columns of two blocks."""
        out = np.zeros(values.shape[2])
        for a, x in enumerate(self.blocks[i].columns):
            for b, y in enumerate(self.blocks[j].columns):
                one = values[a, b] if x is None else x * values[a, b]
                out += one if y is None else y * one
        return out

    def _between(self, N: BlockMatrix, of: tuple[int, int], one: Index, two: Index) -> Array:
        """Return C_iN_ijC_j' at some pairs of levels, (k_i, k_j, pairs)."""
        i, j = of
        C, D = self._roots[i], self._roots[j]
        if C is None and D is None:
            return N.diagonal[i] if i == j else N.couplings[of].values
        k, m = self.blocks[i].k, self.blocks[j].k
        out = np.empty((k, m, len(one)))
        for a in range(k):
            for b in range(m):
                out[a, b] = _quadratic(_whole(N, of, a, b), C, D, one, two)
        return out


def _whole(N: BlockMatrix, of: tuple[int, int], a: int, b: int) -> sparse.csr_array:
    """Return N_ab of two blocks, or of one."""
    i, j = of
    shape = (N.shapes[i][1], N.shapes[j][1])
    c = N.couplings.get(of)
    rows, columns, values = [], [], []
    if i == j:
        at = np.arange(shape[0])
        rows, columns, values = [at], [at], [N.diagonal[i][a, b]]
        if c is not None:
            rows.append(c.columns)
            columns.append(c.rows)
            values.append(c.values[b, a])
    if c is not None:
        rows.append(c.rows)
        columns.append(c.columns)
        values.append(c.values[a, b])
    cells = (np.concatenate(values), (np.concatenate(rows), np.concatenate(columns)))
    return sparse.csr_array(cells, shape=shape)


def _quadratic(
    N: sparse.csr_array, C: Root | None, D: Root | None, one: Index, two: Index
) -> Array:
    """Return c_l'N d_m for rows of C and D, those of I if None, at pairs of levels l and m."""
    if isinstance(C, np.ndarray) or isinstance(D, np.ndarray):
        M: Any = N.toarray()
        width = max(N.shape)
    else:
        M, width = N, 1
    left: Any = M if C is None else C @ M
    out = np.empty(len(one))
    step = max(1, _CELLS // width)
    for start in range(0, len(one), step):
        own = slice(start, start + step)
        part: Any = left[one[own]]
        if D is None:
            out[own] = np.asarray(part[np.arange(part.shape[0]), two[own]]).ravel()
        elif isinstance(D, np.ndarray) and isinstance(part, np.ndarray):
            out[own] = np.einsum("pr,pr->p", part, D[two[own]])
        else:
            right: Any = D[two[own]]
            dense = right if isinstance(right, np.ndarray) else sparse.csr_array(right)
            product: Any = sparse.csr_array(part).multiply(dense)
            out[own] = np.asarray(product.sum(axis=1)).ravel()
    return out
