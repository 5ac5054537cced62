"""Algebra on stacks of small matrices, laid out (k, k, levels).

The last axis runs over the levels of a grouping factor and is contiguous: every operation loops
over the small k in Python and is vectorized over levels. Where k is not small, LAPACK and BLAS take
one level after the other.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import lapack

from mixedlm_ext.linalg.blas import matmul

Array = NDArray[np.float64]
Index = NDArray[np.intp]

__all__ = [
    "at_entries",
    "cholesky",
    "congruence",
    "large_directions",
    "product",
    "solve_lower",
    "times_each",
]


_LARGE = 24
"""k from which on loops over k in Python cost more than calls of LAPACK for each level."""
_CANCELLING = 1e4
"""s²D from which on I - DN has lost too many digits: as many as this has zeros."""


def congruence(T: Array, A: Array) -> Array:
    """Return T'A_lT for every level l; `T` is (k, r), `A` (k, k, levels)."""
    if T.shape == (1, 1):
        return A * (T[0, 0] * T[0, 0])
    AT = np.tensordot(A, T, axes=(1, 0))  # (k, levels, k): AT[c, l, b] = Σ_d A[c, d, l] T[d, b]
    return np.ascontiguousarray(np.tensordot(T, AT, axes=(0, 0)).transpose(0, 2, 1))


def cholesky(M: Array) -> Array:
    """Return the lower Cholesky factors of every M_l, (k, k, levels), zeros above the diagonal."""
    k = len(M)
    if k == 1:
        return np.sqrt(M)
    if k >= _LARGE:
        return np.ascontiguousarray(np.linalg.cholesky(M.transpose(2, 0, 1)).transpose(1, 2, 0))
    L = np.zeros_like(M)
    for j in range(k):
        for i in range(j, k):
            s = M[i, j]
            if j:
                s = s - np.einsum("cl,cl->l", L[i, :j], L[j, :j])
            L[i, j] = np.sqrt(s) if i == j else s / L[j, j]
    return L


def solve_lower(L: Array, B: Array) -> Array:
    """Return L_l⁻¹B_l for every level; `B` is (k, c) for all levels alike, or (k, c, levels)."""
    k = len(L)
    if B.ndim == 2:
        B = np.broadcast_to(B[:, :, None], (*B.shape, L.shape[2]))
    if k == 1:
        return B / L
    out = np.empty(B.shape)
    if k >= _LARGE:
        for level in range(L.shape[2]):
            out[:, :, level], _ = lapack.dtrtrs(L[:, :, level], B[:, :, level], lower=1)
        return out
    for i in range(k):
        row = B[i]
        if i:
            row = row - np.einsum("jl,jcl->cl", L[i, :i], out[:i])
        out[i] = row / L[i, i]
    return out


def product(A: Array, B: Array) -> Array:
    """Return A_lB_l for every level; `A` is (a, k, levels), `B` (k, c, levels)."""
    if A.shape[1] == 1:
        return A * B
    if A.shape[1] >= _LARGE:
        out = np.matmul(A.transpose(2, 0, 1), B.transpose(2, 0, 1))
        return np.ascontiguousarray(out.transpose(1, 2, 0))
    return np.einsum("akl,kcl->acl", A, B)


def at_entries(A: Array, C: Array, rows: Index, indptr: Index) -> Array:
    """Return A_lc for every column c of `C` (k, entries), l its level.

    Parameters
    ----------
    A : ndarray (k, k, levels)
    C : ndarray (k, entries)
    rows : ndarray (entries,)
        The level of each column of C, in order.
    indptr : ndarray (levels + 1,)
        Where the columns of each level begin.
    """
    if len(A) == 1:
        return np.asarray(A[0][:, rows] * C)
    if len(A) < _LARGE:
        return product(A[:, :, rows], C[:, None, :])[:, 0]
    by_level = np.ascontiguousarray(A.transpose(2, 0, 1))
    out = np.empty(C.shape)
    for matrix, start, stop in zip(by_level, indptr[:-1], indptr[1:], strict=True):
        if start < stop:
            out[:, start:stop] = matmul(matrix, C[:, start:stop])
    return out


def times_each(A: Array, B: Array) -> Array:
    """Return A_lB_l for every level; `A` is (k, k, levels), `B` and the product (k, levels, c)."""
    if len(A) < _LARGE:
        return np.einsum("abl,blc->alc", A, B)
    return np.matmul(A.transpose(2, 0, 1), B.transpose(1, 0, 2)).transpose(1, 0, 2)


def large_directions(T: Array, largest: Array) -> tuple[Array, Array] | None:
    """Say how to compute what is left where Λ'Z'WZΛ is much larger than I.

    F = I - DN and Z'W(y - Zb) cancel along a singular vector U_j of T whose s_j²D is large; there,
    F = Γ⁻¹N and Γ⁻¹b do not, whatever the other singular values.

    Parameters
    ----------
    T : ndarray (k, k)
    largest : ndarray (k,)
        The largest diagonal entries of D over all levels.

    Returns
    -------
    ndarray (k, k), ndarray (k, k), or None
        Γ⁻¹ on those directions, Σ U_js_j⁻²U_j', and the projection on the others; None if there are
        no such directions.
    """
    if largest.max() * (T * T).sum() <= _CANCELLING:
        return None
    U, values, _ = np.linalg.svd(T)
    large = values**2 * (largest @ (U * U)) > _CANCELLING
    if not large.any():
        return None
    own, rest = U[:, large], U[:, ~large]
    return (own / values[large] ** 2) @ own.T, rest @ rest.T
