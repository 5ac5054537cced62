"""Roots C of positive semidefinite matrices K = CC', with as many columns as K has rank."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.linalg import lapack
from scipy.sparse import csgraph

from mixedlm_ext.linalg.blas import matmul

Array = NDArray[np.float64]
Root = Array | sparse.csr_array
"""Dense, or sparse where K falls apart into many matrices."""

__all__ = ["Root", "root", "sparse_root"]

_NOTHING = 1e-10
"""Share of the largest diagonal entry below which what is left of K is rounding."""


def root(K: Array) -> Array:
    """Return C (n, r) with K = CC' by Cholesky's method with pivots.

    Raises
    ------
    LinAlgError
        If K has a negative eigenvalue beyond rounding.

    Notes
    -----
    Where K has full rank no digit is lost to a test of rank, and where it has not, what is left
    after r pivots is zero to rounding (Higham 2002, Accuracy and Stability of Numerical
    Algorithms, sec. 10.3).

    Examples
    --------
    >>> C = root(np.array([[1.0, 1.0], [1.0, 1.0]]))
    >>> C.shape, (C @ C.T).round(12).tolist()
    ((2, 1), [[1.0, 1.0], [1.0, 1.0]])
    """
    n = len(K)
    scale = float(np.abs(np.diag(K)).max(initial=0.0))
    if scale == 0.0:
        if K.any():
            raise np.linalg.LinAlgError("not positive semidefinite")
        return np.zeros((n, 0))
    L, pivots, rank, _ = lapack.dpstrf(K, tol=n * np.finfo(float).eps * scale, lower=1)
    C = np.zeros((n, rank))
    C[pivots - 1] = np.tril(L)[:, :rank]
    if rank < n:
        left = K - matmul(C, C.T)
        if np.abs(left).max() > _NOTHING * scale:
            raise np.linalg.LinAlgError("not positive semidefinite")
    return C


def sparse_root(K: sparse.csr_array) -> Root:
    """Return C with K = CC', by the parts of K that are not joined to one another.

    Raises
    ------
    LinAlgError
        If K has a negative eigenvalue beyond rounding.
    """
    n = K.shape[0]
    count, part = csgraph.connected_components(K, directed=False)
    if count == 1:
        return root(K.toarray())
    order = np.argsort(part, kind="stable")
    ends = np.cumsum(np.bincount(part, minlength=count))
    rows, columns, values, width = [], [], [], 0
    for own in np.split(order, ends[:-1]):
        C = root(K[own][:, own].toarray())
        r, c = np.nonzero(C)
        rows.append(own[r])
        columns.append(width + c)
        values.append(C[r, c])
        width += C.shape[1]
    index = (np.concatenate(rows), np.concatenate(columns))
    return sparse.csr_array((np.concatenate(values), index), shape=(n, width))
