"""The pieces of C⁻¹ cut by coefficient and by classes of rows that have the same variance.

Each part becomes one term of the short sum of residual_sums.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from mixedlm_ext.residual.pieces import Piece

Index = NDArray[np.intp]
Matrix = Any
"""A sparse array of scipy."""

__all__ = ["Part", "count_parts", "split", "symmetric_part"]


@dataclass(frozen=True, eq=False)
class Part:
    """The part of a piece with one coefficient and one class on each side."""

    L: sparse.csr_array
    R: sparse.csr_array
    which: int
    one: int
    two: int


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
        return len(np.unique(_sides(piece, classes), axis=0))
    count = int(classes.max(initial=-1)) + 1
    return len(np.unique(piece.which)) * count * (count + 1) // 2


def split(piece: Piece, classes: Index) -> list[Part]:
    """Cut a piece into parts by coefficient and classes of rows."""
    out = []
    if _picks(piece):
        keys, group = np.unique(_sides(piece, classes), axis=0, return_inverse=True)
        order = np.argsort(group.ravel(), kind="stable")
        stops = np.cumsum(np.bincount(group.ravel(), minlength=len(keys)))
        for (which, one, two), rows in zip(keys, np.split(order, stops[:-1])):
            L = piece.L[rows]
            R = L if piece.R is piece.L else piece.R[rows]
            out.append(Part(L, R, int(which), int(one), int(two)))
        return out
    count = int(classes.max(initial=-1)) + 1
    own = [piece.L @ sparse.diags_array((classes == s).astype(float)) for s in range(count)]
    for which in np.unique(piece.which):
        rows = np.flatnonzero(piece.which == which)
        sides = [sparse.csr_array(side)[rows] for side in own]
        for s in range(count):
            for t in range(s, count):
                L = sides[s] if s == t else 2.0 * sides[s]
                out.append(Part(sparse.csr_array(L), sides[t], int(which), s, t))
    return out


def symmetric_part(L: Matrix, R: Matrix) -> Matrix:
    """Return the symmetric part of L'R."""
    half = L.T @ R
    return half if L is R else 0.5 * (half + half.T)
