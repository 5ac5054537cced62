"""Products of a stage's coupling with itself, H'H, and of an inverse between two of its rows.

The coupling of a stage has one sparse row per eliminated column; the k rows of a level share their
pattern. Two classes do the same four things: `PairGram` from the list of all pairs of entries in a
row, `DenseGram` by dense blocks of rows. Which is cheaper depends only on the pattern.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.linalg import blas

from mixedlm_ext.linalg.blas import inner, matmul
from mixedlm_ext.linalg.keys import number_keys
from mixedlm_ext.solvers.costs import Costs

Array = NDArray[np.float64]
Index = NDArray[np.intp]

__all__ = ["DenseGram", "Gram", "PairGram", "RestFactor", "prefer_pairs"]

_MANY = 8
"""Columns of a level from which on all their inner products are one product of matrices."""


class RestFactor(Protocol):
    """What a coupling needs of the factor of the remaining columns."""

    def inverse_at(self, cells: Index) -> Array:
        """Return entries of Λ M⁻¹Λ' of the remaining columns."""

    def half_solve(self, r: Array) -> Array:
        """Return L⁻¹Λ'r."""


class Gram(Protocol):
    """Products with the pattern of one coupling; values are (k, entries)."""

    def subtract(self, H: Array, out: Array) -> None:
        """Subtract Σ_a H_a'H_a from the cells `out` of the remaining matrix."""

    def information(self, H: Array, rest: RestFactor) -> Array:
        """Return Σ_l H_l N H_l', (k, k), N the inverse of the rest."""

    def levelwise(self, H: Array, rest: RestFactor) -> Array:
        """Return H_l N H_l' for every level, (k, k, levels)."""

    def times_inverse(self, H: Array, rest: RestFactor) -> Array:
        """Return the entries of HN on the pattern of H, (k, entries)."""


def prefer_pairs(rows: Index, n_columns: int, k: int, costs: Costs) -> bool:
    """Say whether the pair list is cheaper than dense products for this pattern."""
    counts = np.bincount(rows).astype(float)
    n_pairs = (counts * (counts + 1)).sum() / 2
    dense = costs.gram_flop * k * len(counts) * float(n_columns) ** 2 + costs.gram_start
    return bool(n_pairs < costs.most_pairs and n_pairs * costs.gram_pair * k < dense)


class PairGram:
    """Products from a list of the pairs of entries that share a row.

    Parameters
    ----------
    rows : ndarray (entries,)
        Level of each entry, sorted.
    levels : int
    s, t : ndarray (pairs,)
        The pairs, s >= t.
    cells : ndarray (pairs,)
        The cell of the remaining matrix where the product of each pair belongs.
    n_cells : int
        Cells of the remaining matrix.
    """

    def __init__(
        self, rows: Index, levels: int, s: Index, t: Index, cells: Index, n_cells: int
    ) -> None:
        self.rows, self.levels = rows, levels
        self.s, self.t = s, t
        self.cell_of_pair, self.cells = number_keys(cells, n_cells)
        self.double = np.where(
            s == t, 0.5, 1.0
        )  # a pair of distinct entries counts twice, once each way

    def subtract(self, H: Array, out: Array) -> None:
        """Subtract Σ_a H_a'H_a, lower triangle, from the cells `out`."""
        products = H[0, self.s] * H[0, self.t]
        for h in H[1:]:
            products += h[self.s] * h[self.t]
        out[self.cells] -= np.bincount(self.cell_of_pair, products, len(self.cells))

    def _inverse(self, rest: RestFactor) -> Array:
        """Return N at every pair."""
        return rest.inverse_at(self.cells)[self.cell_of_pair]

    def information(self, H: Array, rest: RestFactor) -> Array:
        """Return Σ_l H_l N H_l'."""
        half = matmul(self._inverse(rest) * self.double * H[:, self.s], H[:, self.t].T)
        return np.asarray(half + half.T)

    def levelwise(self, H: Array, rest: RestFactor) -> Array:
        """Return H_l N H_l' for every level."""
        N = self._inverse(rest) * self.double
        level = self.rows[self.s]
        k = len(H)
        out = np.empty((k, k, self.levels))
        for a in range(k):
            for b in range(k):
                out[a, b] = np.bincount(level, N * H[a, self.s] * H[b, self.t], self.levels)
        return out + out.transpose(1, 0, 2)

    def times_inverse(self, H: Array, rest: RestFactor) -> Array:
        """Return the entries of HN on the pattern of H."""
        N = self._inverse(rest) * self.double
        size = len(self.rows)
        return np.array(
            [
                np.bincount(self.s, N * h[self.t], size) + np.bincount(self.t, N * h[self.s], size)
                for h in H
            ]
        )


class DenseGram:
    """Products from dense chunks of rows; the remaining matrix is dense, its cells its entries.

    Parameters
    ----------
    rows, columns : ndarray (entries,)
        Level and column of each entry, sorted by level.
    levels, n_columns : int
    chunk : int
        Entries of one chunk.
    """

    def __init__(
        self, rows: Index, columns: Index, levels: int, n_columns: int, chunk: int
    ) -> None:
        self.rows, self.columns = rows, columns
        self.levels, self.n_columns = levels, n_columns
        self.indptr = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=levels))])
        step = max(1, chunk // max(1, n_columns))
        self.bounds = [*range(0, levels, step), levels]

    def _chunks(self, h: Array) -> Iterator[tuple[slice, Array]]:
        """Yield the entries and the dense rows of successive chunks of one row set."""
        out = sparse.csr_array((h, self.columns, self.indptr), shape=(self.levels, self.n_columns))
        for i, j in zip(self.bounds[:-1], self.bounds[1:]):
            yield slice(self.indptr[i], self.indptr[j]), out[i:j].toarray()

    def subtract(self, H: Array, out: Array) -> None:
        """Subtract Σ_a H_a'H_a, lower triangle, from the dense matrix `out`."""
        C = out.reshape(self.n_columns, self.n_columns).T  # column-major view, its upper triangle
        for h in H:
            for _, D in self._chunks(h):
                blas.dsyrk(-1.0, D.T, beta=1.0, c=C, overwrite_c=1, lower=0)

    def information(self, H: Array, rest: RestFactor) -> Array:
        """Return Σ_l H_l N H_l'."""
        total = np.zeros((len(H), len(H)))
        for rows in zip(*(self._chunks(h) for h in H)):
            Y = [rest.half_solve(D.T) for _, D in rows]
            if len(H) < _MANY:
                total += np.array([[inner(one, two) for two in Y] for one in Y])
            else:
                flat = np.array(Y).reshape(len(H), -1)
                total += matmul(flat, flat.T)
        return total

    def levelwise(self, H: Array, rest: RestFactor) -> Array:
        """Return H_l N H_l' for every level."""
        parts = []
        for rows in zip(*(self._chunks(h) for h in H)):
            Y = np.array([rest.half_solve(D.T) for _, D in rows])
            parts.append(np.einsum("aqm,bqm->abm", Y, Y))
        return np.concatenate(parts, axis=2)

    def times_inverse(self, H: Array, rest: RestFactor) -> Array:
        """Return the entries of HN on the pattern of H."""
        n = self.n_columns
        N = rest.inverse_at(np.arange(n * n)).reshape(n, n)
        out = np.empty_like(H)
        for a, h in enumerate(H):
            for (entries, D), i in zip(self._chunks(h), self.bounds[:-1]):
                out[a, entries] = (D @ N)[self.rows[entries] - i, self.columns[entries]]
        return out
