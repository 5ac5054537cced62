"""Orthonormal bases of weighted columns: X = QR with Q'Q = I, at the cost of a few products."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mixedlm_ext.linalg.triangular import solve_upper

Array = NDArray[np.float64]

__all__ = ["lower_whitening", "orthonormal_basis"]

_WELL_CONDITIONED = 1e-6
"""Smallest eigenvalue of a correlation matrix for which two Cholesky passes reach full accuracy."""


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
    norms = np.sqrt(np.einsum("ij,ij->j", X, X))
    Q = X / norms
    G = Q.T @ Q
    if np.linalg.eigvalsh(G)[0] < _WELL_CONDITIONED:
        Q, R = np.linalg.qr(Q)
        return Q, R * norms
    R = np.eye(p)
    for _ in range(2):
        U = np.linalg.cholesky(G).T
        Q = Q @ solve_upper(U, np.eye(p))
        R = U @ R
        G = Q.T @ Q
    return Q, R * norms


def lower_whitening(G: Array, structure: str) -> Array:
    """Return the lower-triangular R with R'R = G, or only its scales for a diagonal structure.

    A G that is singular to working precision has no whitening; its scales are then all that is
    used.
    """
    scales = np.sqrt(np.diag(G))
    scales = np.where(scales > 0, scales, 1.0)
    if structure == "diag" or len(G) == 1:
        return np.diag(scales)
    correlation = G / np.outer(scales, scales)
    if np.linalg.eigvalsh(correlation)[0] < 1e-10:
        return np.diag(scales)
    # Cholesky of the matrix with rows and columns reversed gives the factor from the other corner.
    upper = np.linalg.cholesky(correlation[::-1, ::-1])[::-1, ::-1]
    return np.asarray(upper.T * scales)
