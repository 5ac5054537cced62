"""Which columns of a matrix can be estimated, and which combinations of coefficients."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mixedlm_ext.linalg.blas import eigvalsh, inner, matmul, triangle
from mixedlm_ext.linalg.orthogonal import SAFE_SQUARE
from mixedlm_ext.linalg.triangular import solve_upper

__all__ = ["NullSpace", "independent_columns", "left_out", "null_space"]

Floats = npt.NDArray[np.float64]

# Full rank for certain when the correlation-like Gram matrix is this far from singular; its
# rounding error is about n * 1e-16.
_GRAM_SAFE = 1e-7
_TOLERANCE = 1e-10
"""Share of its length that a column must have beside those before it. R's 1e-7 would drop a cubic
in calendar years (7e-8 left), which is estimable."""
_ROUNDED = 1e-12
"""The same, of the terms that cancel in what is left: rounding of the columns and of QR is 1e-14 or
less, and two digits of the rest have to be its own."""
_ZERO = 1e-14
"""Relative change of columns by which a coefficient that comes of rounding could be zero."""
_ESTIMABLE = 1e-8
"""A row this far, relatively, from being orthogonal to the null space is not estimable."""


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
    is as accurate as the QR itself. With r_j = x_j - Σ_k a_k x_k the rest of a column beside the
    kept ones, it is left out if

        |r_j| ≤ 1e-10 |x_j|    or    |r_j|² ≤ 1e-24 (|x_j|² + Σ_k a_k² |x_k|²)

    The second is about rounding of the columns themselves. A number is stored to a relative
    1e-16, and so r_j has an error of 1e-16 times the terms that cancel in it, however small x_j
    is beside them: a spline of a calendar time is small beside the multiples of 1, x and x² that
    add up to it. In other words: a column is left out if changes of a relative 1e-12 in all
    columns could make it a combination of the others.

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
    T = np.zeros((p, p))  # kept columns of R in the basis
    kept: list[int] = []
    for j in range(p):
        m, rest, part = len(kept), R[:, j], np.zeros(len(kept))
        for _ in range(2):
            more = basis.T @ rest
            rest, part = rest - basis @ more, part + more
        size = np.linalg.norm(rest)
        if size <= _TOLERANCE:
            continue
        cancelling = np.linalg.norm(solve_upper(T[:m, :m], part))
        if size > _ROUNDED * np.hypot(1.0, cancelling):
            T[:m, m], T[m, m] = part, size
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
        return SAFE_SQUARE < inner(X, X) < 1.0 / SAFE_SQUARE
    gram = matmul(X.T, X)  # by a BLAS that does not speak of overflow
    squares = np.diag(gram)
    if not (squares.min() > SAFE_SQUARE and squares.max() < 1.0 / SAFE_SQUARE):
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
        size = np.abs(scaled)
        away = np.abs(scaled @ self.basis)
        # vectors may be small where a row is not: terms of the sum say what is relative
        far = away > _ESTIMABLE * (size @ np.abs(self.basis))
        far &= away > _ROUNDED * size.max(axis=1, initial=0.0)[:, None]
        return np.asarray(~far.any(axis=1))

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
    basis[kept] = _coefficients(R[:, kept], R[:, lost])
    basis[lost] = -np.eye(len(lost))
    scale = np.full(X.shape[1], np.inf)
    scale[wanted] = (largest * lengths / np.sqrt(len(X) if n is None else n))[wanted]
    return NullSpace(basis / np.abs(basis).max(axis=0), scale)


def _coefficients(kept: Floats, lost: Floats) -> Floats:
    """Return a with lost = kept a, columns of unit length; zero where rounding is all there is.

    Relative changes δ of the columns change lost - kept a by δ(1 + |a|²)^½, and so a_k by that
    times the length of row k of the inverse of T, where kept = QT.
    """
    Q, T = np.linalg.qr(kept)
    inverse = solve_upper(T, np.eye(len(T)))
    a = inverse @ (Q.T @ lost)
    error = np.linalg.norm(inverse, axis=1)[:, None] * np.hypot(1.0, np.linalg.norm(a, axis=0))
    return np.where(np.abs(a) > _ZERO * error, a, 0.0)
