"""Triangular solves straight from LAPACK: for small systems, checks would cost more."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import lapack

Array = NDArray[np.float64]

__all__ = ["lower_root", "solve_upper"]


def solve_upper(R: Array, c: Array, transpose: bool = False) -> Array:
    """Solve Rx = c, or R'x = c, for an upper-triangular R, maybe 0 × 0; c is (p,) or (p, c)."""
    if c.size == 0:
        return c
    x, _ = lapack.dtrtrs(R, c, lower=0, trans=int(transpose))
    return np.asarray(x)


def lower_root(A: Array) -> Array:
    """Return the lower-triangular L, LL' = AA', with a non-negative diagonal; A is (k, m >= k)."""
    if A.shape == (1, 1):
        return np.abs(A)
    L = np.asarray(np.linalg.qr(A.T, mode="r")).T
    return np.asarray(L * np.where(np.diag(L) < 0, -1.0, 1.0))
