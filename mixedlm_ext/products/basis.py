"""A basis of some columns: X = QR with coordinates Q, of all rows or of a few.

Where a column of X lies far from zero for its spread, as a calendar year does, XR⁻¹ would lose in
each row the digits by which the rows differ. If X spans a constant, Xa = 1, such columns are
centred first: with a'm = 0,

    X - Xam' = X(I - am') = QR_c,    R = R_c(I + am')

so that a row's coordinates keep all digits of x - m. This holds for other rows whatever their Xa.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mixedlm_ext.caching import cached_property
from mixedlm_ext.design.rank import independent_columns
from mixedlm_ext.linalg.blas import matmul, narrow_product
from mixedlm_ext.linalg.orthogonal import constant_coefficients, orthonormal_basis, whiten
from mixedlm_ext.linalg.triangular import solve_upper
from mixedlm_ext.products.noise import Noise

Array = NDArray[np.float64]
Index = NDArray[np.intp]

__all__ = ["Basis", "column_basis", "term_basis"]

_NEARLY_DEPENDENT = 1e-3
"""Share of a column's length outside the columns before it from which on centring is worth it."""


@dataclass(frozen=True, eq=False)
class Basis:
    """Coordinates of the rows of X in a basis.

    Parameters
    ----------
    R : ndarray (p, p)
        Triangular, X = QR.
    centring : tuple of ndarray, optional
        a (p,) and m (p,) above, and the inverse (p, p) of R_c, turned as Q is.
    """

    R: Array
    centring: tuple[Array, Array, Array] | None = None

    @cached_property
    def inverse(self) -> Array:
        """What takes X, or X(I - am'), to Q."""
        return self.centring[2] if self.centring else np.asarray(np.linalg.inv(self.R), dtype=float)

    def take(self, columns: Index) -> Basis:
        """Return the basis of some columns of which the others are no part: R is zero there."""
        both = np.ix_(columns, columns)
        if self.centring is None:
            return Basis(self.R[both])
        a, m, inverse = self.centring
        return Basis(self.R[both], (a[columns], m[columns], inverse[both]))

    def times(self, U: Array) -> Basis:
        """Return the basis with UR in place of R, U upper triangular."""
        if self.centring is None:
            return Basis(U @ self.R)
        a, m, inverse = self.centring
        return Basis(U @ self.R, (a, m, matmul(inverse, solve_upper(U, np.eye(len(U))))))

    def in_units(self, unit: float) -> Basis:
        """Return the basis in which coordinates are as many times larger."""
        if self.centring is None:
            return Basis(self.R / unit)
        a, m, inverse = self.centring
        return Basis(self.R / unit, (a, m, inverse * unit))

    def coordinates(self, X: Array) -> Array:
        """Return Q of some rows, (m, p)."""
        if self.centring is not None:
            a, m, _ = self.centring
            X = X - np.outer(X @ a, m)
        return narrow_product(X, self.inverse)


def column_basis(X: Array, noise: Noise, dependent: bool = False) -> tuple[Array, Basis, Index]:
    """Find a basis in which the columns of W^½X are orthonormal.

    Parameters
    ----------
    X : ndarray (n, p)
    noise : Noise
    dependent : bool
        Whether the columns may be dependent in these rows.

    Returns
    -------
    ndarray (n, p)
        W^½Q.
    Basis
        R upper triangular.
    ndarray of intp
        Which of its columns are orthonormal: all, unless columns are dependent. Those that follow
        from others in these rows are only brought to unit length.
    """
    p = X.shape[1]
    kept = independent_columns(noise.root_times(X)) if dependent else np.arange(p, dtype=np.intp)
    if len(kept) == p:
        return *_orthonormal(X, noise), kept
    _, basis = _orthonormal(X[:, kept], noise)
    basis = _completed(basis, kept, np.linalg.norm(noise.root_times(X), axis=0))
    return noise.root_times(basis.coordinates(X)), basis, kept


def _orthonormal(X: Array, noise: Noise) -> tuple[Array, Basis]:
    """Return W^½Q and the basis of independent columns, centred where digits depend on it."""
    Q, R = orthonormal_basis(noise.root_times(X))
    if _nearly_dependent(R):
        centred = _centred(X, noise)
        if centred is not None:
            return centred
    return Q, Basis(R)


def _nearly_dependent(R: Array) -> bool:
    """Say whether a column is next to a combination of those before it."""
    lengths = np.linalg.norm(R, axis=0)
    return bool((np.abs(np.diag(R)) < _NEARLY_DEPENDENT * lengths).any())


def _centred(X: Array, noise: Noise) -> tuple[Array, Basis] | None:
    """Return coordinates and basis by way of centred columns; None if X spans no constant."""
    a = constant_coefficients(X)
    if a is None:
        return None
    m = np.where(a == 0, X.mean(axis=0), 0.0)
    Q, Rc = orthonormal_basis(noise.root_times(X - m))
    R, inverse = Rc + np.outer(Rc @ a, m), solve_upper(Rc, np.eye(len(m)))
    if np.tril(R, -1).any():
        turn, R = np.linalg.qr(R)
        Q, inverse = matmul(Q, turn), matmul(inverse, turn)
    return Q, Basis(R, (a, m, inverse))


def _completed(basis: Basis, kept: Index, lengths: Array) -> Basis:
    """Return a basis of all columns from that of those kept: others are brought to unit length."""
    whole, both = np.where(lengths > 0, lengths, 1.0), np.ix_(kept, kept)
    R = np.diag(whole)
    R[both] = basis.R
    if basis.centring is None:
        return Basis(R)
    a, m, inverse = np.zeros(len(R)), np.zeros(len(R)), np.diag(1.0 / whole)
    a[kept], m[kept], inverse[both] = basis.centring
    return Basis(R, (a, m, inverse))


def term_basis(X: Array, noise: Noise, how: str, dependent: bool = False) -> tuple[Array, Basis]:
    """Whiten the columns of a random term: R'R = X'WX/n.

    Parameters
    ----------
    X : ndarray (n, k)
    noise : Noise
    how : str
        See `mixedlm_ext.linalg.orthogonal.whiten`.
    dependent : bool
        Whether the columns may be dependent in these rows.

    Returns
    -------
    ndarray (n, k)
        XR⁻¹, not weighted.
    Basis
        R lower triangular.
    """
    weighted = noise.root_times(X)
    scale = np.sqrt(max(len(X), 1))
    if dependent and how == "triangular":
        kept = independent_columns(weighted[:, ::-1])
        if len(kept) < X.shape[1]:
            own = Basis(orthonormal_basis(weighted[:, ::-1][:, kept])[1])
            reverse = _completed(own, kept, np.linalg.norm(weighted[:, ::-1], axis=0))
            basis = Basis(reverse.R[::-1, ::-1] / scale)
            return basis.coordinates(X), basis
    W, R = whiten(weighted, how)
    return noise.root_solve(W * scale), Basis(R / scale)
