"""Which columns of a matrix can be estimated: the leftmost independent ones."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mixedlm_ext.linalg.blas import matmul

__all__ = ["independent_columns"]

Floats = npt.NDArray[np.float64]

# Full rank for certain when the correlation-like Gram matrix is this far from singular; its
# rounding error is about n * 1e-16.
_GRAM_SAFE = 1e-7
# Below this share of its length what is left of a column is rounding error. R's 1e-7 would drop
# a cubic in calendar years (1e-8 left), which is estimable; errors of QR stay near 1e-15 * sqrt(p).
_TOLERANCE = 1e-10


def independent_columns(X: Floats, weights: Floats | None = None) -> npt.NDArray[np.intp]:
    """Find the columns that are not combinations of columns to their left.

    Parameters
    ----------
    X : ndarray (n, p)
    weights : ndarray (n,), optional
        Positive weights of the rows.

    Returns
    -------
    ndarray of intp
        Indices of the kept columns, increasing.

    Notes
    -----
    Columns are compared after scaling each to unit length, so their units do not matter. A
    well-conditioned Gram matrix settles most cases in one product; otherwise the columns of the R
    of an unpivoted QR are orthogonalized one after the other against the kept ones, twice, which
    is as accurate as the QR itself.

    Examples
    --------
    >>> independent_columns(np.array([[1.0, 2.0, 3.0], [1.0, 2.0, 4.0], [1.0, 2.0, 9.0]]))
    array([0, 2])
    """
    p = X.shape[1]
    rows = X if weights is None else X * np.sqrt(weights)[:, None]
    if _is_well_conditioned(rows):
        return np.arange(p, dtype=np.intp)
    largest = np.abs(rows).max(axis=0, initial=0.0)
    R = np.linalg.qr(rows / np.where(largest > 0, largest, 1.0), mode="r")
    lengths = np.linalg.norm(R, axis=0)
    R = R / np.where(lengths > 0, lengths, 1.0)
    basis = np.zeros((R.shape[0], 0))
    kept = []
    for j in range(p):
        rest = R[:, j]
        for _ in range(2):
            rest = rest - basis @ (basis.T @ rest)
        size = np.linalg.norm(rest)
        if size > _TOLERANCE:
            kept.append(j)
            basis = np.column_stack([basis, rest / size])
    return np.array(kept, dtype=np.intp)


def _is_well_conditioned(X: Floats) -> bool:
    """Whether the Gram matrix of the unit-length columns is clearly positive definite."""
    if X.shape[1] == 0:
        return True
    with np.errstate(over="ignore", invalid="ignore"):
        gram = matmul(X.T, X)
    squares = np.diag(gram)
    if not (squares.min() > 1e-280 and squares.max() < 1e280):  # digits are lost, or a zero column
        return False
    lengths = np.sqrt(squares)
    return bool(np.linalg.eigvalsh(gram / np.outer(lengths, lengths))[0] > _GRAM_SAFE)
