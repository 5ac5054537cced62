"""The pieces of C⁻¹ cut by coefficient and by classes of rows that have the same variance.

Each part becomes one term of the short sum of residual_sums.py. With the columns of LH moved apart,
those of one part behind those of another, one product has the matrices of all parts below one
another.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from mixedlm_ext.linalg.keys import distinct_rows
from mixedlm_ext.residual.pieces import Piece

Array = NDArray[np.float64]
Index = NDArray[np.intp]
Matrix = Any
"""A sparse array of scipy."""

__all__ = ["Parts", "count_parts", "split", "symmetric_part"]

_AT_ONCE = 1_000_000
"""Numbers of several parts that are looked up at once."""


@dataclass(frozen=True, eq=False)
class Parts:
    """The parts of a piece, each with one coefficient and one class on each side.

    Attributes
    ----------
    L, R : csr_array (m, n)
        Of all parts, one after the other: part k is ½(L_k'R_k + R_k'L_k).
    starts : ndarray of intp (parts + 1,)
        Where the rows of each part start.
    which, one, two : ndarray of intp (parts,)
        Coefficient, and classes of both sides.
    """

    L: sparse.csr_array
    R: sparse.csr_array
    starts: Index
    which: Index
    one: Index
    two: Index

    def __len__(self) -> int:
        return len(self.which)

    def numbers(self, H: sparse.csr_array, rows: Index, columns: Index) -> Array:
        """Return entries of ½H'(L_k'R_k + R_k'L_k)H for every part, (parts, entries)."""
        out = np.empty((len(self), len(rows)))
        LH, RH = sparse.csr_array(self.L @ H), sparse.csr_array(self.R @ H)
        step = max(1, _AT_ONCE // max(len(rows), 1))
        for first in range(0, len(self), step):
            some = slice(first, min(first + step, len(self)))
            out[some] = self._numbers(LH, RH, some, rows, columns)
        return out

    def _numbers(self, LH: Matrix, RH: Matrix, parts: slice, rows: Index, columns: Index) -> Array:
        """Return those of some parts."""
        starts = self.starts[parts.start : parts.stop + 1]
        own, N = slice(starts[0], starts[-1]), LH.shape[1]
        LH, RH = LH[own], RH[own]
        count = len(starts) - 1
        part = np.repeat(np.repeat(np.arange(count), np.diff(starts)), np.diff(LH.indptr))
        apart = (LH.data, LH.indices + N * part, LH.indptr)
        below = sparse.csr_array(sparse.csr_array(apart, shape=(LH.shape[0], N * count)).T @ RH)
        at = N * np.arange(count)[:, None]

        def entries(a: Index, b: Index) -> Array:
            found = below[(at + a).ravel(), np.tile(b, count)]
            return np.asarray(found, dtype=float).reshape(count, -1)

        return 0.5 * (entries(rows, columns) + entries(columns, rows))


def _picks(piece: Piece) -> bool:
    """Say whether L and R of a piece pick one row each, rather than add rows up."""
    return bool((np.diff(piece.L.indptr) == 1).all())


def _sides(piece: Piece, classes: Index) -> Index:
    """Return coefficient and classes of both sides of what a piece picks, (m, 3)."""
    left, right = classes[piece.L.indices], classes[piece.R.indices]
    return np.column_stack([piece.which, np.minimum(left, right), np.maximum(left, right)])


def count_parts(piece: Piece, classes: Index) -> int:
    """Return how many parts `split` makes."""
    if _picks(piece):
        return len(distinct_rows(_sides(piece, classes))[0])
    count = int(classes.max(initial=-1)) + 1
    return len(np.unique(piece.which)) * count * (count + 1) // 2


def split(piece: Piece, classes: Index) -> Parts:
    """Cut a piece into parts by coefficient and classes of rows."""
    if not _picks(piece):
        return _split_sums(piece, classes)
    keys, part = distinct_rows(_sides(piece, classes))
    order = np.argsort(part, kind="stable")
    starts = np.concatenate([[0], np.cumsum(np.bincount(part, minlength=len(keys)))])
    L = piece.L[order]
    return Parts(L, L if piece.R is piece.L else piece.R[order], starts, *keys.T)


def _split_sums(piece: Piece, classes: Index) -> Parts:
    """Cut a piece that adds up rows."""
    count = int(classes.max(initial=-1)) + 1
    own = [piece.L @ sparse.diags_array((classes == s).astype(float)) for s in range(count)]
    L, R, keys = [], [], []
    for which in np.unique(piece.which):
        rows = np.flatnonzero(piece.which == which)
        sides = [sparse.csr_array(side)[rows] for side in own]
        for s in range(count):
            for t in range(s, count):
                L.append(sides[s] if s == t else 2.0 * sides[s])
                R.append(sides[t])
                keys.append((which, s, t))
    starts = np.cumsum([0, *(side.shape[0] for side in L)])
    which, one, two = np.array(keys, dtype=np.intp).reshape(-1, 3).T
    whole = [sparse.csr_array(sparse.vstack(sides, format="csr")) for sides in (L, R)]
    return Parts(whole[0], whole[1], starts, which, one, two)


def symmetric_part(L: Matrix, R: Matrix) -> Matrix:
    """Return the symmetric part of L'R."""
    half = L.T @ R
    return half if L is R else 0.5 * (half + half.T)
