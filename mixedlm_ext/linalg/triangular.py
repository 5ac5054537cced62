"""Triangular solves straight from BLAS: for small systems, checks would cost more."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import blas

Array = NDArray[np.float64]

__all__ = ["lower_root", "solve_triangular", "solve_upper"]


_FEW = 1000
"""Entries of right-hand sides that OpenBLAS solves for in one thread."""
_MUCH = 4e6
"""Operations, half a millisecond of them, from which a second thread is worth waking."""


def solve_upper(R: Array, c: Array, transpose: bool = False) -> Array:
    """Solve Rx = c, or R'x = c, for an upper-triangular R, maybe 0 × 0; c is (p,) or (p, c)."""
    if c.size == 0:
        return c
    if c.ndim == 1:
        return solve_triangular(R, c[:, None], lower=False, transpose=transpose)[:, 0]
    return solve_triangular(R, c, lower=False, transpose=transpose)


def solve_triangular(
    A: Array, B: Array, lower: bool, transpose: bool = False, overwrite: bool = False
) -> Array:
    """Return A⁻¹B, or A⁻ᵀB, for a triangular A and B of shape (n, c).

    A few columns at a time, as long as that is cheap: threads of OpenBLAS that are woken spin, and
    beside a busy process a small system then takes milliseconds. `overwrite` allows the work to be
    done in a column-major `B`.
    """
    step = max(1, _FEW // len(A))
    how = {"lower": int(lower), "trans_a": int(transpose)}
    if B.size <= _FEW or float(len(A)) * B.size > _MUCH:
        return np.asarray(blas.dtrsm(1.0, A, B, **how, overwrite_b=int(overwrite)))
    X = B if overwrite and B.flags.f_contiguous else np.array(B, order="F")
    for first in range(0, X.shape[1], step):
        columns = X[:, first : first + step]
        columns[:] = blas.dtrsm(1.0, A, columns, **how, overwrite_b=1)
    return X


def lower_root(A: Array) -> Array:
    """Return the lower-triangular L, LL' = AA', with a non-negative diagonal; A is (k, m >= k)."""
    if A.shape == (1, 1):
        return np.abs(A)
    L = np.asarray(np.linalg.qr(A.T, mode="r")).T
    return np.asarray(L * np.where(np.diag(L) < 0, -1.0, 1.0))
