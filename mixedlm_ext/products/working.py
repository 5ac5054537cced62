"""Z by rows, with weights that change: Z'WZ is refilled on a pattern that is found once.

The columns of Z are those of a layout: merged into blocks, whitened. What a weighted fit needs of
the rows are Z'WZ, Z'r, Zb and, for N on the pattern of Z'WZ, the diagonal of ZNZ'.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from mixedlm_ext.caching import cached_property
from mixedlm_ext.linalg.keys import number_keys
from mixedlm_ext.products.block_matrix import BlockMatrix, Coupling
from mixedlm_ext.products.layout import BlockData

Array = NDArray[np.float64]
Index = NDArray[np.intp]

__all__ = ["WorkingRows"]


class WorkingRows:
    """The rows of Z in a layout.

    Parameters
    ----------
    blocks : sequence of BlockData

    Attributes
    ----------
    shapes : tuple of (int, int)
        Columns a level and levels, for each block.
    """

    def __init__(self, blocks: Sequence[BlockData]) -> None:
        self.blocks = list(blocks)
        self.shapes = tuple((b.k, b.levels) for b in blocks)
        self._pairs: dict[tuple[int, int], tuple[Index, Index, Index]] = {}
        for j, two in enumerate(blocks):
            for i, one in enumerate(blocks[:j]):
                key = one.codes * two.levels + two.codes
                pair, distinct = number_keys(key, one.levels * two.levels)
                self._pairs[i, j] = (pair, *np.divmod(distinct, two.levels))

    def times(self, b: Array) -> Array:
        """Return Zb for b (q,) or (q, c)."""
        return np.asarray(self._Z @ b)

    def sums(self, r: Array) -> Array:
        """Return Z'r for r (n,) or (n, c)."""
        return np.asarray(self._Zt @ r)

    def some(self, rows: Index | slice) -> sparse.csr_array:
        """Return some rows of Z, sparse."""
        return sparse.csr_array(self._Z[rows])

    @cached_property
    def _Z(self) -> sparse.csr_array:
        """Z, sparse (n, q)."""
        columns, values, start = [], [], 0
        for block in self.blocks:
            for a, column in enumerate(block.columns):
                columns.append(start + a * block.levels + block.codes)
                values.append(np.ones(len(block.codes)) if column is None else column)
            start += block.k * block.levels
        n = len(self.blocks[0].codes)
        indptr = np.arange(n + 1) * len(columns)
        entries = (np.column_stack(values).ravel(), np.column_stack(columns).ravel(), indptr)
        return sparse.csr_array(entries, shape=(n, start))

    @cached_property
    def _Zt(self) -> sparse.csr_array:
        """Z', sparse (q, n)."""
        return sparse.csr_array(self._Z.T)

    def products(self, w: Array) -> BlockMatrix:
        """Return Z'WZ for weights (n,), which may be of either sign."""
        diagonal = []
        for block in self.blocks:
            D = np.empty((block.k, block.k, block.levels))
            for a, x in enumerate(block.columns):
                left = w if x is None else w * x
                for b, y in enumerate(block.columns[: a + 1]):
                    values = left if y is None else left * y
                    D[a, b] = D[b, a] = np.bincount(block.codes, values, block.levels)
            diagonal.append(D)
        couplings = {}
        for (i, j), (pair, rows, columns) in self._pairs.items():
            one, two = self.blocks[i], self.blocks[j]
            out = np.empty((one.k, two.k, len(rows)))
            for a, x in enumerate(one.columns):
                left = w if x is None else w * x
                for b, y in enumerate(two.columns):
                    values = left if y is None else left * y
                    out[a, b] = np.bincount(pair, values, len(rows))
            couplings[i, j] = Coupling(rows, columns, out)
        return BlockMatrix(self.shapes, diagonal, couplings)

    def diagonal(self, N: BlockMatrix) -> Array:
        """Return the diagonal of ZNZ', (n,), for N on the pattern of Z'WZ."""
        out = np.zeros(len(self.blocks[0].codes))
        for block, D in zip(self.blocks, N.diagonal):
            for a, one in enumerate(block.columns):
                for b, two in enumerate(block.columns[: a + 1]):
                    out += _times(D[a, b][block.codes], one, two, 1.0 if a == b else 2.0)
        for (i, j), (pair, _, _) in self._pairs.items():
            values = N.couplings[i, j].values
            for a, x in enumerate(self.blocks[i].columns):
                for b, y in enumerate(self.blocks[j].columns):
                    out += _times(values[a, b][pair], x, y, 2.0)
        return out


def _times(values: Array, one: Array | None, two: Array | None, factor: float) -> Array:
    """Multiply values by two columns, None standing for ones, and a number."""
    if one is not None:
        values = values * one
    if two is not None:
        values = values * two
    return values if factor == 1.0 else factor * values
