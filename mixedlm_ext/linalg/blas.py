"""Products and eigenvalues by SciPy's BLAS, where the hot path would otherwise use NumPy's.

The wheels of NumPy and SciPy each bring a BLAS with threads of its own, which spin for a while
after each call. Alternating between the two makes the threads of one wait for those of the other,
and on few cores that costs more than the work.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import blas, lapack

from mixedlm_ext.linalg.threads import ANY_THREADS, ONE_THREAD, one_thread_for

Array = NDArray[np.float64]

__all__ = [
    "cholesky",
    "eigh",
    "eigvalsh",
    "inner",
    "is_full",
    "matmul",
    "narrow_gram",
    "narrow_product",
    "singular_values",
    "solve",
    "triangle",
]

_FULL = 4
"""A matrix with one of so many entries is multiplied faster as a dense one."""
_NARROW, _TALL = 3, 256
"""Columns, and rows for each of them, of matrices that are multiplied column by column."""
_ALONE, _WORTH = 64**3, 400**3
"""Products of numbers that OpenBLAS computes in one thread, and from which on another is worth
waking."""
_SHORT = 10_000
"""Numbers of vectors whose product OpenBLAS computes in one thread."""


def matmul(A: Array, B: Array) -> Array:
    """Return AB for matrices A and B, or a vector B, without copying either, whatever its order."""
    if B.ndim == 1:
        return matmul(A, B[:, None])[:, 0]
    if A.size == 0 or B.size == 0:
        return A @ B
    by_rows_a, by_rows_b = A.flags.c_contiguous, B.flags.c_contiguous
    one, two = A.T if by_rows_a else A, B.T if by_rows_b else B
    how = {"trans_a": int(by_rows_a), "trans_b": int(by_rows_b)}
    if _ALONE < A.size * B.shape[1] < _WORTH:
        with ONE_THREAD:
            return np.asarray(blas.dgemm(1.0, one, two, **how))
    return np.asarray(blas.dgemm(1.0, one, two, **how))


def narrow_product(X: Array, C: Array) -> Array:
    """Return XC for X of many rows; in columns where both matrices have few, faster than BLAS.

    Examples
    --------
    >>> narrow_product(np.array([[1.0, 2.0]]), np.array([[1.0, 3.0], [0.0, 4.0]]))
    array([[ 1., 11.]])
    """
    if not (X.size and _is_narrow(X)) or C.shape[1] > _NARROW:
        return matmul(X, C)
    out = np.empty((len(X), C.shape[1]), order="F")
    for j in range(C.shape[1]):
        first, *others = np.flatnonzero(C[:, j]) if C[:, j].any() else (0,)
        np.multiply(X[:, first], C[first, j], out=out[:, j])
        for i in others:
            out[:, j] += X[:, i] * C[i, j]
    return out


def narrow_gram(X: Array) -> Array:
    """Return X'X for X of many rows, in the same way.

    Examples
    --------
    >>> narrow_gram(np.array([[1.0, 2.0], [0.0, 1.0]]))
    array([[1., 2.],
           [2., 5.]])
    """
    if not _is_narrow(X):
        return matmul(X.T, X)
    return np.array([[inner(one, two) for two in X.T] for one in X.T]).reshape(2 * X.shape[1:])


def _is_narrow(X: Array) -> bool:
    """Say whether a matrix has few columns, each in one piece, and enough rows to matter."""
    n, k = X.shape
    return k <= _NARROW and k * _TALL <= n and (k == 1 or X.flags.f_contiguous)


def inner(x: Array, y: Array) -> float:
    """Return the sum of products of two arrays of the same shape and order."""
    if not x.size:
        return 0.0
    x, y = x.ravel(order="K"), y.ravel(order="K")
    if x.size <= _SHORT:
        return float(blas.ddot(x, y))
    with ONE_THREAD:  # memory is what a long one waits for
        return float(blas.ddot(x, y))


def is_full(entries: int, cells: int) -> bool:
    """Say whether a matrix with so many entries is multiplied faster as a dense one."""
    return _FULL * entries >= cells


def cholesky(S: Array) -> Array:
    """Return the lower-triangular L of a symmetric positive definite S = LL'."""
    if not len(S):
        return np.zeros((0, 0))
    with one_thread_for(len(S)):
        L, info = lapack.dpotrf(S, lower=1)
    if info != 0:
        raise np.linalg.LinAlgError("the matrix is not positive definite")
    return np.asarray(L)


def solve(A: Array, b: Array) -> Array:
    """Return A⁻¹b for a vector b."""
    if len(A) < 2:
        return np.asarray(b / A[0, 0]) if len(A) else b
    _, _, x, info = lapack.dgesv(A, b)
    if info != 0:
        raise np.linalg.LinAlgError("the matrix is singular")
    return np.asarray(x).reshape(b.shape)


def triangle(A: Array) -> Array:
    """Return an upper-triangular matrix with the inner products of the columns of A (n, k)."""
    if not len(A):
        return np.zeros((0, A.shape[1]))
    with ANY_THREADS if A.size * A.shape[1] >= _WORTH else ONE_THREAD:
        packed, _, _, _ = lapack.dgeqrf(A)
    return np.triu(packed[: A.shape[1]])


def singular_values(A: Array) -> Array:
    """Return the singular values of a matrix, decreasing."""
    if A.shape == (1, 1):
        return np.abs(A[0])
    if not A.size:
        return np.zeros(0)
    _, values, _, info = lapack.dgesdd(A, compute_uv=0)
    if info != 0:
        raise np.linalg.LinAlgError("the singular values did not converge")
    return np.asarray(values)


def eigvalsh(S: Array) -> Array:
    """Return the eigenvalues, increasing, of a symmetric matrix."""
    if len(S) < 2:
        return np.array(S).reshape(-1)
    values, _, info = lapack.dsyevd(S, compute_v=0, lower=1)
    if info != 0:
        raise np.linalg.LinAlgError("the eigenvalues did not converge")
    return np.asarray(values)


def eigh(S: Array) -> tuple[Array, Array]:
    """Return the eigenvalues, increasing, and eigenvectors of a symmetric matrix."""
    if len(S) < 2:
        return np.array(S).reshape(-1), np.ones(S.shape)
    with one_thread_for(len(S)):
        values, vectors, info = lapack.dsyevd(S, lower=1)
    if info != 0:
        raise np.linalg.LinAlgError("the eigenvalues did not converge")
    return np.asarray(values), np.asarray(vectors)
