"""Entries of N = ΛM⁻¹Λ' one column after the other, where all that is known is how to apply it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from mixedlm_ext.products.block_matrix import BlockMatrix, Coupling

Array = NDArray[np.float64]
Index = NDArray[np.intp]

__all__ = ["entries_by_columns"]

_TOGETHER = 64
"""Columns that are solved for at once."""


def entries_by_columns(apply: Callable[[Array], Array], A: BlockMatrix) -> BlockMatrix:
    """Return the entries of N on the pattern of A, from a solve for each column.

    Parameters
    ----------
    apply : callable
        Returns NH for H (q, c).
    A : BlockMatrix
    """
    diagonal = [np.empty_like(D) for D in A.diagonal]
    couplings = {
        key: Coupling(c.rows, c.columns, np.empty_like(c.values)) for key, c in A.couplings.items()
    }
    for j, b, levels, N in _columns(apply, A):
        for a, rows in enumerate(_rows(N, A, j)):
            diagonal[j][a, b, levels] = rows[levels, np.arange(len(levels))]
        for (i, other), c in couplings.items():
            if other == j:
                here = np.flatnonzero((c.columns >= levels[0]) & (c.columns <= levels[-1]))
                for a, rows in enumerate(_rows(N, A, i)):
                    c.values[a, b, here] = rows[c.rows[here], c.columns[here] - levels[0]]
    return BlockMatrix(A.shapes, diagonal, couplings)


def _columns(
    apply: Callable[[Array], Array], A: BlockMatrix
) -> Iterator[tuple[int, int, Index, Array]]:
    """Yield block, column of the block, some of its levels in a row, and their columns of N."""
    q = int(A.offsets[-1])
    for j, (k, n) in enumerate(A.shapes):
        for b in range(k):
            for start in range(0, n, _TOGETHER):
                levels = np.arange(start, min(start + _TOGETHER, n))
                unit = np.zeros((q, len(levels)))
                unit[A.offsets[j] + b * n + levels, np.arange(len(levels))] = 1.0
                yield j, b, levels, apply(unit)


def _rows(N: Array, A: BlockMatrix, i: int) -> Array:
    """Return the rows of block i, (k, levels, c)."""
    k, levels = A.shapes[i]
    return N[A.offsets[i] : A.offsets[i + 1]].reshape(k, levels, -1)
