"""Z by rows where each level stands for few effects: Z = Z_0(I ⊗ C), C sparse, as of members.

With A = Z_0'WZ_0 by levels, an entry of Z'WZ is a sum of entries of A times products of two
entries of C. These sums are one sparse matrix, found once,

    [C_i'A_ijC_j]_pq = Σ_lm C_lp A_lm C_mq,

and its transpose takes N on the pattern of Z'WZ to c_l'Nc_m at the levels that meet.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from mixedlm_ext.caching import cached_property
from mixedlm_ext.products.block_matrix import BlockMatrix, Coupling
from mixedlm_ext.products.layout import BlockData
from mixedlm_ext.products.working import WorkingRows

Array = NDArray[np.float64]
Index = NDArray[np.intp]

__all__ = ["MemberRows"]


class MemberRows(WorkingRows):
    """The rows of Z in a layout in which blocks may have a sparse root C (levels, r).

    Parameters
    ----------
    blocks : sequence of BlockData
    """

    def __init__(self, blocks: Sequence[BlockData]) -> None:
        super().__init__(blocks)
        self._of_blocks = tuple((block.k, block.effects) for block in blocks)
        roots: list[Any] = [
            sparse.eye_array(b.levels, format="csr") if b.root is None else sparse.csr_array(b.root)
            for b in blocks
        ]
        self._roots = [sparse.csr_array(C) for C in roots]
        at = [np.arange(block.levels) for block in blocks]
        self._own = [_Sums.of(C, C, levels, levels) for C, levels in zip(self._roots, at)]
        self._across = {
            (i, j): _Sums.of(self._roots[i], self._roots[j], one, two)
            for (i, j), (_, one, two) in self._pairs.items()
        }

    @cached_property
    def _Z(self) -> sparse.csr_array:
        """Z, sparse (n, q)."""
        parts = [C for C, (k, _) in zip(self._roots, self._of_blocks) for _ in range(k)]
        by_level = WorkingRows(self.blocks)
        return sparse.csr_array(by_level.some(slice(None)) @ sparse.block_diag(parts, format="csr"))

    def products(self, w: Array) -> BlockMatrix:
        """Return Z'WZ for weights (n,), which may be of either sign."""
        A = super().products(w)
        diagonal, couplings = [], {}
        for i, (sums, D, block) in enumerate(zip(self._own, A.diagonal, self.blocks)):
            own = sums.forth(D)
            places, lower = sums.diagonal, sums.lower
            out = np.zeros((block.k, block.k, block.effects))
            out[:, :, sums.rows[places]] = own[:, :, places]
            diagonal.append(out)
            if block.root is not None:
                couplings[i, i] = Coupling(sums.rows[lower], sums.columns[lower], own[:, :, lower])
        for key, across in self._across.items():
            values = across.forth(A.couplings[key].values)
            couplings[key] = Coupling(across.rows, across.columns, values)
        return BlockMatrix(self._of_blocks, diagonal, couplings)

    def diagonal(self, N: BlockMatrix) -> Array:
        """Return the diagonal of ZNZ', (n,), for N on the pattern of Z'WZ."""
        diagonal, couplings = [], {}
        for i, (sums, D) in enumerate(zip(self._own, N.diagonal)):
            values = np.zeros((*D.shape[:2], len(sums.rows)))
            values[:, :, sums.diagonal] = D[:, :, sums.rows[sums.diagonal]]
            if (i, i) in N.couplings and sums.lower.any():
                below = sums.below(N.couplings[i, i])
                values[:, :, sums.lower] = below
                values[:, :, sums.mirrored] = below.transpose(1, 0, 2)
            diagonal.append(sums.back(values))
        for key, (_, one, two) in self._pairs.items():
            values = self._across[key].back(N.couplings[key].values)
            couplings[key] = Coupling(one, two, values)
        return super().diagonal(BlockMatrix(self.shapes, diagonal, couplings))


@dataclass(frozen=True, eq=False)
class _Sums:
    """What takes entries at pairs of levels to entries at pairs of effects.

    Attributes
    ----------
    rows, columns : ndarray (entries,)
        Pairs of effects, by row, then column.
    matrix : sparse array (entries, pairs)
    """

    rows: Index
    columns: Index
    matrix: sparse.csr_array

    @classmethod
    def of(cls, C: sparse.csr_array, D: sparse.csr_array, one: Index, two: Index) -> _Sums:
        """Return the sums for levels `one` of C and `two` of D that meet."""
        pair, p, q, value = _products(C, D, one, two)
        width = int(D.shape[1])
        keys, place = np.unique(p * width + q, return_inverse=True)
        cells = (value, (place.ravel(), pair))
        matrix = sparse.csr_array(cells, shape=(len(keys), len(one)))
        rows, columns = np.divmod(keys, width)
        return cls(rows.astype(np.intp), columns.astype(np.intp), matrix)

    def forth(self, values: Array) -> Array:
        """Return (k, m, entries) for (k, m, pairs)."""
        k, m, pairs = values.shape
        return np.asarray(self.matrix @ values.reshape(k * m, pairs).T).T.reshape(k, m, -1)

    def back(self, values: Array) -> Array:
        """Return (k, m, pairs) for (k, m, entries): the transpose."""
        k, m, entries = values.shape
        return np.asarray(self.matrix.T @ values.reshape(k * m, entries).T).T.reshape(k, m, -1)

    @cached_property
    def diagonal(self) -> NDArray[np.bool_]:
        """Which entries are of one effect twice."""
        return np.asarray(self.rows == self.columns)

    @cached_property
    def lower(self) -> NDArray[np.bool_]:
        """Which entries are below the diagonal."""
        return np.asarray(self.rows > self.columns)

    def below(self, N: Coupling) -> Array:
        """Return the entries of N below the diagonal; K⁻¹ of members may have more of them."""
        rows, columns = self.rows[self.lower], self.columns[self.lower]
        if len(N.rows) == len(rows):
            return N.values
        width = int(N.rows.max()) + 1  # rows are beyond columns
        return N.values[:, :, np.searchsorted(N.rows * width + N.columns, rows * width + columns)]

    @cached_property
    def mirrored(self) -> Index:
        """The places above the diagonal of the entries below it."""
        width = int(max(self.rows.max(initial=0), self.columns.max(initial=0))) + 1
        keys = self.rows * width + self.columns
        return np.searchsorted(keys, self.columns[self.lower] * width + self.rows[self.lower])


def _products(
    C: sparse.csr_array, D: sparse.csr_array, one: Index, two: Index
) -> tuple[Index, Index, Index, Array]:
    """Return the pair, the columns p and q, and C_lp D_mq of all products at pairs of levels."""
    many, other = np.diff(C.indptr)[one], np.diff(D.indptr)[two]
    counts = many * other
    pair = np.repeat(np.arange(len(one)), counts)
    within = np.arange(len(pair)) - np.repeat(np.cumsum(counts) - counts, counts)
    a = C.indptr[one][pair] + within // np.maximum(other, 1)[pair]
    b = D.indptr[two][pair] + within % np.maximum(other, 1)[pair]
    p, q = C.indices[a].astype(np.intp), D.indices[b].astype(np.intp)
    return pair.astype(np.intp), p, q, np.asarray(C.data[a] * D.data[b])
