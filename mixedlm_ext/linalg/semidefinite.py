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

__all__ = ["Root", "largest_part", "root", "sparse_root"]

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

    Examples
    --------
    >>> K = sparse.csr_array([[4.0, 0.0, 2.0], [0.0, 9.0, 0.0], [2.0, 0.0, 1.0]])
    >>> sparse_root(K).toarray().tolist()
    [[0.0, 2.0], [3.0, 0.0], [0.0, 1.0]]
    """
    n = K.shape[0]
    parts = _parts(K)
    if len(parts) == 1 and parts[0].shape == (1, n):
        return root(K.toarray())
    rows, columns, values, width = [], [], [], 0
    for own in parts:  # (g, m): g parts of m levels
        for levels, C in zip(own, _roots(_blocks(K, own))):
            r, c = np.nonzero(C)
            rows.append(levels[r])
            columns.append(width + c)
            values.append(C[r, c])
            width += C.shape[1]
    index = (np.concatenate(rows), np.concatenate(columns))
    return sparse.csr_array((np.concatenate(values), index), shape=(n, width))


def largest_part(K: sparse.csr_array) -> int:
    """Return how many levels the largest of the parts has."""
    _, part = csgraph.connected_components(K, directed=False)
    return int(np.bincount(part).max())


def _parts(K: sparse.csr_array) -> list[NDArray[np.intp]]:
    """Return the levels of the parts that have equally many, (g, m) for each size m."""
    _, part = csgraph.connected_components(K, directed=False)
    counts = np.bincount(part)
    order = np.argsort(part, kind="stable")
    starts = np.cumsum(counts) - counts
    return [
        order[starts[counts == m][:, None] + np.arange(m)].astype(np.intp)
        for m in np.unique(counts)
    ]


def _blocks(K: sparse.csr_array, parts: NDArray[np.intp]) -> Array:
    """Return K of some parts of one size, (g, m, m)."""
    g, m = parts.shape
    place = np.full(K.shape[0], -1)
    place[parts.ravel()] = np.arange(g * m)
    entries = K[parts.ravel()].tocoo()
    out = np.zeros((g * m, m))
    out[entries.row, place[entries.col] % m] = entries.data
    return out.reshape(g, m, m)


def _roots(blocks: Array) -> list[Array]:
    """Return the root of each of some matrices, (g, m, m)."""
    try:
        return list(np.linalg.cholesky(blocks))
    except np.linalg.LinAlgError:
        return [root(block) for block in blocks]
