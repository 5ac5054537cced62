"""Products and eigenvalues by SciPy's BLAS, where the hot path would otherwise use NumPy's.

The wheels of NumPy and SciPy each bring a BLAS with threads of its own, which spin for a while
after each call. Alternating between the two makes the threads of one wait for those of the other,
and on few cores that costs more than the work.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import blas, lapack

Array = NDArray[np.float64]

__all__ = ["eigh", "inner", "matmul"]


def matmul(A: Array, B: Array) -> Array:
    """Return AB for matrices A and B, or a vector B, without copying either, whatever its order."""
    if B.ndim == 1:
        return matmul(A, B[:, None])[:, 0]
    if A.size == 0 or B.size == 0:
        return A @ B
    by_rows_a, by_rows_b = A.flags.c_contiguous, B.flags.c_contiguous
    product = blas.dgemm(
        1.0,
        A.T if by_rows_a else A,
        B.T if by_rows_b else B,
        trans_a=int(by_rows_a),
        trans_b=int(by_rows_b),
    )
    return np.asarray(product)


def inner(x: Array, y: Array) -> float:
    """Return the sum of products of two arrays of the same shape and order."""
    return float(blas.ddot(x.ravel(order="K"), y.ravel(order="K"))) if x.size else 0.0


def eigh(S: Array) -> tuple[Array, Array]:
    """Return the eigenvalues, increasing, and eigenvectors of a symmetric matrix."""
    values, vectors, info = lapack.dsyevd(S, lower=1)
    if info != 0:
        raise np.linalg.LinAlgError("the eigenvalues did not converge")
    return np.asarray(values), np.asarray(vectors)
