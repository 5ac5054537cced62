"""Which columns of a matrix can be estimated, and which combinations of coefficients."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mixedlm_ext.linalg.blas import eigvalsh, inner, matmul, triangle

__all__ = ["NullSpace", "independent_columns", "left_out", "null_space"]

Floats = npt.NDArray[np.float64]

# Full rank for certain when the correlation-like Gram matrix is this far from singular; its
# rounding error is about n * 1e-16.
_GRAM_SAFE = 1e-7
_LEAST = 1e-280
"""A sum of squares in which digits are lost, or that of a zero column."""
# Below this share of its length what is left of a column is rounding error. R's 1e-7 would drop
# a cubic in calendar years (1e-8 left), which is estimable; errors of QR stay near 1e-15 * sqrt(p).
_TOLERANCE = 1e-10
# A row this far, relatively, from being orthogonal to the null space is not estimable.
_ESTIMABLE = 1e-8


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
    R = triangle(rows / np.where(largest > 0, largest, 1.0))
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


def left_out(n: int, kept: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
    """Return the numbers below n that are not among those kept."""
    out = np.ones(n, dtype=bool)
    out[kept] = False
    return np.flatnonzero(out)


def _is_well_conditioned(X: Floats) -> bool:
    """Whether the Gram matrix of the unit-length columns is clearly positive definite."""
    if X.shape[1] == 0:
        return True
    if X.shape[1] == 1:
        return _LEAST < inner(X, X) < 1.0 / _LEAST
    gram = matmul(X.T, X)  # by a BLAS that does not speak of overflow
    squares = np.diag(gram)
    if not (squares.min() > _LEAST and squares.max() < 1.0 / _LEAST):
        return False
    units = 1.0 / np.sqrt(squares)
    return bool(eigvalsh(units[:, None] * gram * units)[0] > _GRAM_SAFE)


@dataclass(frozen=True, eq=False)
class NullSpace:
    """The combinations of columns that are zero in every row of a rank-deficient matrix.

    Attributes
    ----------
    basis : ndarray (p, d)
        XNv = 0 for every v, in columns of length √n; the largest entry of each vector is one.
    scale : ndarray (p,)
        Root mean squares of the columns of X; infinite for columns that do not count.
    """

    basis: Floats
    scale: Floats

    def estimable(self, rows: Any) -> npt.NDArray[np.bool_]:
        """Say for each row c of a matrix (m, p) whether the data determine cβ.

        They do if c is a combination of rows of X, that is orthogonal to the null space of X
        (Searle 1971, Linear Models, section 5.4). A missing value counts as estimable: it is
        marked already.

        Examples
        --------
        >>> X = np.array([[1.0, 1.0, 0.0], [1.0, 0.0, 1.0]])
        >>> space = null_space(X, independent_columns(X), np.arange(3))
        >>> space.estimable([[1, 1, 0], [0, 1, -1], [1, 0, 0]])
        array([ True,  True, False])
        """
        counted = np.where(np.isfinite(self.scale), np.asarray(rows, dtype=float), 0.0)
        scaled = counted / self.scale
        away = np.abs(scaled @ self.basis).max(axis=1, initial=0.0)
        return ~(away > _ESTIMABLE * np.abs(scaled).max(axis=1, initial=0.0))

    def combinations(self, kept: npt.NDArray[np.intp], lost: npt.NDArray[np.intp]) -> Floats:
        """Return A (kept, d) with X_lost = X_kept A, for the d columns that were left out."""
        of_lost = -np.diag(self.basis[lost]) / self.scale[lost]
        return np.asarray(self.basis[kept] / self.scale[kept, None] / of_lost)


def null_space(
    X: Floats,
    kept: npt.NDArray[np.intp],
    wanted: npt.NDArray[np.intp],
    n: int | None = None,
) -> NullSpace | None:
    """Return the null space of some columns of a matrix; None if they are independent.

    Parameters
    ----------
    X : ndarray (n, p)
    kept : ndarray of intp
        Its independent columns, as `independent_columns` finds them.
    wanted : ndarray of intp
        Its columns that count, those kept among them.
    n : int, optional
        Number of rows, if X is a triangle with the inner products of their columns.

    Notes
    -----
    A column that is left out is X_kept a; (a, -1) spans the null space together with the others.
    """
    if len(kept) == len(wanted):
        return None
    lost = np.setdiff1d(wanted, kept)
    largest = np.abs(X).max(axis=0, initial=0.0)
    largest = np.where(largest > 0, largest, 1.0)
    R = triangle(X / largest)
    lengths = np.linalg.norm(R, axis=0)
    lengths = np.where(lengths > 0, lengths, 1.0)
    R = R / lengths
    basis = np.zeros((X.shape[1], len(lost)))
    basis[kept] = np.linalg.lstsq(R[:, kept], R[:, lost], rcond=None)[0]
    basis[lost] = -np.eye(len(lost))
    basis = np.where(np.abs(basis) < _TOLERANCE * np.abs(basis).max(axis=0), 0.0, basis)
    scale = np.full(X.shape[1], np.inf)
    scale[wanted] = (largest * lengths / np.sqrt(len(X) if n is None else n))[wanted]
    return NullSpace(basis / np.abs(basis).max(axis=0), scale)
