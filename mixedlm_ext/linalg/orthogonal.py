"""Orthonormal bases of weighted columns: X = QR with Q'Q = I, at the cost of a few products."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mixedlm_ext.linalg.blas import cholesky, eigvalsh, matmul
from mixedlm_ext.linalg.triangular import solve_upper

Array = NDArray[np.float64]
Index = NDArray[np.intp]

__all__ = ["SAFE_SQUARE", "constant_coefficients", "orthonormal_basis", "project", "whiten"]

_WELL_CONDITIONED = 1e-6
"""Smallest eigenvalue of a correlation matrix for which two Cholesky passes reach full accuracy."""
SAFE_SQUARE = 1e-280
"""A sum of squares in which digits are lost, or that of a zero column."""


def orthonormal_basis(X: Array) -> tuple[Array, Array]:
    """Factor a tall matrix of full column rank.

    Parameters
    ----------
    X : ndarray (n, p)
        Linearly independent columns, of any scale.

    Returns
    -------
    Q : ndarray (n, p)
        Orthonormal columns.
    R : ndarray (p, p)
        Upper triangular, X = QR.

    Notes
    -----
    Cholesky QR done twice (Yamamoto, Nakatsukasa, Yanagisawa & Fukaya 2015) on scaled columns;
    Householder QR when the columns are too close to dependent for it.
    """
    p = X.shape[1]
    if p == 0:
        return X, np.zeros((0, 0))
    norms = _norms(X)
    Q = X / norms
    G = matmul(Q.T, Q)
    if eigvalsh(G)[0] < _WELL_CONDITIONED:
        Q, U = np.linalg.qr(Q)
        return Q, U * norms
    once = cholesky(G).T
    Q = matmul(Q, solve_upper(once, np.eye(p)))
    twice = cholesky(matmul(Q.T, Q)).T
    return matmul(Q, solve_upper(twice, np.eye(p))), twice @ once * norms


def constant_coefficients(X: Array) -> Array | None:
    """Return a with Xa exactly a vector of ones: a constant column, or the columns of a factor.

    None where neither is there. What is subtracted from a response along such an a and added to its
    coefficients again is not rounded: a response far from zero keeps the digits of its slopes.
    """
    first = X[:1]
    constant = np.flatnonzero((first == X).all(axis=0) & (first[0] != 0))
    if len(constant):
        a = np.zeros(X.shape[1])
        a[constant[0]] = 1.0 / X[0, constant[0]]
        return a if (matmul(X, a) == 1.0).all() else None
    indicators = ((X == 0) | (X == 1)).all(axis=0)
    a = indicators.astype(float)
    return a if (matmul(X, a) == 1.0).all() else None


def project(Q: Array, R: Array, Y: Array, kept: Index | None = None) -> tuple[Array, Array]:
    """Return least-squares coefficients (p,) or (p, r) of Y on X and its residuals.

    Parameters
    ----------
    Q, R : ndarray (n, p), (p, p)
        X = QR.
    Y : ndarray (n,) or (n, r)
    kept : ndarray of intp, optional
        The columns of Q that are orthonormal, if not all: others follow from them and have no
        part. Their rest is rounding, which least squares on all would divide by.
    """
    if Y.ndim == 1:
        coefficients, residual = project(Q, R, Y[:, None], kept)
        return coefficients[:, 0], residual[:, 0]
    if kept is not None and len(kept) < Q.shape[1]:
        some, residual = project(Q[:, kept], np.eye(len(kept)), Y)
        own = np.zeros((Q.shape[1], Y.shape[1]))
        own[kept] = some
        return solve_upper(R, own), residual
    coefficients = matmul(Q.T, Y)
    residual = Y - matmul(Q, coefficients)
    # a second projection takes out what rounding left
    correction = matmul(Q.T, residual)
    residual -= matmul(Q, correction)
    return solve_upper(R, coefficients + correction), residual


def whiten(X: Array, how: str) -> tuple[Array, Array]:
    """Factor X = WR with orthonormal W and a lower-triangular R.

    Parameters
    ----------
    X : ndarray (n, k)
        For "triangular", n >= k and linearly independent columns.
    how : {"triangular", "columns", "common"}
        R may be any lower-triangular matrix; or only the columns' norms are taken out, or their
        common root mean square. The columns of W are no basis then.

    Returns
    -------
    W : ndarray (n, k)
    R : ndarray (k, k)
        With a positive diagonal.
    """
    if how != "triangular" or X.shape[1] == 1:
        norms = _norms(X)
        if how == "common":
            norms = np.full(len(norms), np.linalg.norm(norms) / np.sqrt(len(norms)))
        return X / norms, np.diag(norms)
    # the factor from the other corner: columns, then rows and columns of R, in reverse order
    Q, R = orthonormal_basis(X[:, ::-1])
    signs = np.where(np.diag(R) < 0, -1.0, 1.0)
    return (Q * signs)[:, ::-1], (R * signs[:, None])[::-1, ::-1]


def _norms(X: Array) -> Array:
    """Return the norms of the columns without overflow; 1 for a column of zeros."""
    squares = np.einsum("ij,ij->j", X, X)
    if ((squares > SAFE_SQUARE) & (squares < 1.0 / SAFE_SQUARE)).all():
        return np.sqrt(squares)
    peaks = np.abs(X).max(axis=0, initial=0.0)
    peaks = np.where(peaks > 0, peaks, 1.0)
    scaled = X / peaks
    norms = peaks * np.sqrt(np.einsum("ij,ij->j", scaled, scaled))
    return np.asarray(np.where(norms > 0, norms, 1.0))
