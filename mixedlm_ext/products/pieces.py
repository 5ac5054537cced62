"""Products with a large block matrix from its blocks: no matrix of all columns is formed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from mixedlm_ext.linalg import small

Array = NDArray[np.float64]
Index = NDArray[np.intp]

__all__ = ["BlockProducts"]


class BlockProducts:
    """A symmetric matrix of several blocks, ready to be applied; its numbers are shared.

    Parameters
    ----------
    shapes : sequence of (int, int)
        Columns a level and levels, for each block.
    diagonal : sequence of ndarray (k, k, levels)
    couplings : mapping of (i, j) to (rows, columns, values)
        The pairs of levels of blocks i <= j, sorted by row, and (k_i, k_j, pairs) numbers.
    """

    def __init__(
        self,
        shapes: Sequence[tuple[int, int]],
        diagonal: Sequence[Array],
        couplings: Mapping[tuple[int, int], tuple[Index, Index, Array]],
    ) -> None:
        self._shapes, self._diagonal = shapes, diagonal
        self._couplings = {
            (i, j): _matrices(*pairs, levels=(shapes[i][1], shapes[j][1]))
            for (i, j), pairs in couplings.items()
        }

    def times(self, M: Array) -> Array:
        """Return the product with a matrix (q, c) or a vector."""
        cuts = np.cumsum([k * levels for k, levels in self._shapes])[:-1]
        parts = [
            own.reshape(k, levels, -1) for own, (k, levels) in zip(np.split(M, cuts), self._shapes)
        ]
        out = [small.times_each(D, own) for D, own in zip(self._diagonal, parts)]
        for (i, j), matrices in self._couplings.items():
            for a, line in enumerate(matrices):
                for b, A in enumerate(line):
                    out[i][a] += A @ parts[j][b]
                    out[j][b] += A.T @ parts[i][a]
        return np.concatenate([own.reshape(-1, *M.shape[1:]) for own in out])


def _matrices(
    rows: Index, columns: Index, values: Array, levels: tuple[int, int]
) -> list[list[sparse.csr_array]]:
    """Return a sparse matrix for each pair of columns; they share where their entries are."""
    kind = np.int32 if max(*levels, len(rows)) < np.iinfo(np.int32).max else np.intp
    counts = np.bincount(rows, minlength=levels[0])
    starts = np.concatenate([[0], np.cumsum(counts)]).astype(kind)
    columns = columns.astype(kind)
    return [
        [sparse.csr_array((own, columns, starts), shape=levels) for own in line] for line in values
    ]
