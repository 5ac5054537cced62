"""Cross-products as sums over the elements of R⁻¹: for variances that all differ.

R⁻¹ has an element c/(D_iD_j) for each pair of rows that a `Piece` joins, itself among them. What
an element adds to the numbers of the cross-products, h_ih_j' made symmetric, does not depend on the
parameters: it is one row of a sparse matrix K, and all numbers are K'w.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from mixedlm_ext.residual.pieces import Piece

Array = NDArray[np.float64]
Index = NDArray[np.intp]

__all__ = ["Elements", "elements_of"]

_MOST_ENTRIES = 20_000_000
"""Entries of K at most."""
_AT_ONCE = 200_000
"""Entries that are made at once."""


@dataclass(frozen=True, eq=False)
class Elements:
    """The elements of R⁻¹ and what they add.

    Attributes
    ----------
    i, j : ndarray of intp (elements,)
        Rows that an element joins.
    which : ndarray of intp (elements,)
        Its coefficient.
    K : csr_array (numbers, elements)
    """

    i: Index
    j: Index
    which: Index
    K: sparse.csr_array

    def numbers(self, W: Array) -> Array:
        """Return the sums for elements of the values W (elements, c): (numbers, c)."""
        return np.asarray(self.K @ W)


def elements_of(
    pieces: Sequence[Piece], H: sparse.csr_array, rows: Index, columns: Index
) -> Elements | None:
    """Return the elements of some pieces; None if there are too many.

    Parameters
    ----------
    pieces : sequence of Piece
    H : csr_array (n, N)
    rows, columns : ndarray of intp (numbers,)
        Which entries of H'R⁻¹H are wanted.
    """
    parts = [_pairs(piece) for piece in pieces]
    i, j, which, factor = (np.concatenate([part[k] for part in parts]) for k in range(4))
    i, j, which = i.astype(np.intp), j.astype(np.intp), which.astype(np.intp)
    index, values = _padded(H)
    width = index.shape[1]
    if len(i) * 2 * width * width > _MOST_ENTRIES:
        return None
    N = H.shape[1]
    keys = rows * N + columns
    order = np.argsort(keys)
    places = _Places(keys[order], order, N)
    step = max(1, _AT_ONCE // (width * width))
    chunks = [
        _entries(index, values, i[s : s + step], j[s : s + step], factor[s : s + step], places, s)
        for s in range(0, len(i), step)
    ]
    cell, element, value = (np.concatenate([chunk[k] for chunk in chunks]) for k in range(3))
    K = sparse.csr_array((value, (cell, element)), shape=(len(rows), len(i)))
    K.sum_duplicates()
    return Elements(i, j, which, K)


@dataclass(frozen=True, eq=False)
class _Places:
    """Sorted keys row·N + column of the wanted entries, and which of them each is."""

    keys: Index
    order: Index
    N: int

    def find(self, row: Index, column: Index) -> tuple[Index, NDArray[np.bool_]]:
        """Return the place of entries, and whether they are wanted."""
        key = row * self.N + column
        at = np.minimum(np.searchsorted(self.keys, key), len(self.keys) - 1)
        return self.order[at], (self.keys[at] == key) & (row >= 0) & (column >= 0)


def _pairs(piece: Piece) -> tuple[Index, Index, Index, Array]:
    """Return rows, coefficient and factor of the elements of ½(L'cR + R'cL)."""
    L, R = sparse.csr_array(piece.L), sparse.csr_array(piece.R)
    left, right = np.diff(L.indptr), np.diff(R.indptr)
    count = left * right
    owner = np.repeat(np.arange(len(count)), count)
    within = np.arange(len(owner)) - np.repeat(np.cumsum(count) - count, count)
    one = L.indptr[owner] + within // right[owner]
    two = R.indptr[owner] + within % right[owner]
    return L.indices[one], R.indices[two], piece.which[owner], L.data[one] * R.data[two]


def _padded(H: sparse.csr_array) -> tuple[Index, Array]:
    """Return the columns and values of each row, -1 and 0 where it has fewer than others."""
    H = sparse.csr_array(H)
    H.sum_duplicates()
    counts = np.diff(H.indptr)
    width = int(counts.max(initial=1))
    index = np.full((H.shape[0], width), -1, dtype=np.intp)
    values = np.zeros((H.shape[0], width))
    row = np.repeat(np.arange(H.shape[0]), counts)
    at = np.arange(len(row)) - np.repeat(H.indptr[:-1], counts)
    index[row, at], values[row, at] = H.indices, H.data
    return index, values


def _entries(
    index: Index, values: Array, i: Index, j: Index, factor: Array, places: _Places, start: int
) -> tuple[Index, Index, Array]:
    """Return wanted entries of some elements: place, element and value."""
    e, s = len(i), index.shape[1]
    a = np.broadcast_to(index[i][:, :, None], (e, s, s)).ravel()
    b = np.broadcast_to(index[j][:, None, :], (e, s, s)).ravel()
    product = 0.5 * factor[:, None, None] * values[i][:, :, None] * values[j][:, None, :]
    element = np.repeat(np.arange(start, start + e), s * s)
    out = []
    for row, column in ((a, b), (b, a)):
        at, wanted = places.find(row, column)
        out.append((at[wanted], element[wanted], product.ravel()[wanted]))
    cell, owner, value = (np.concatenate(part) for part in zip(*out, strict=True))
    return cell, owner, value
