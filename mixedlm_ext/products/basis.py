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


def column_basis(X: Array, noise: Noise, dependent: bool = False) -> tuple[Array, Basis, bool]:
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
    bool
        Whether it is orthonormal. In dependent columns it is not: those that follow from others in
        these rows are only brought to unit length.
    """
    weighted = noise.root_times(X)
    if dependent:
        kept = independent_columns(weighted)
        if len(kept) < X.shape[1]:
            return *_completed(weighted, kept), False
    Q, R = orthonormal_basis(weighted)
    if _nearly_dependent(R):
        centred = _centred(X, noise)
        if centred is not None:
            return *centred, True
    return Q, Basis(R), True


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


def _completed(weighted: Array, kept: NDArray[np.intp]) -> tuple[Array, Basis]:
    """Return coordinates and a basis for dependent columns, of which those kept are not."""
    norms = np.linalg.norm(weighted, axis=0)
    R = np.diag(np.where(norms > 0, norms, 1.0))
    R[np.ix_(kept, kept)] = orthonormal_basis(weighted[:, kept])[1]
    basis = Basis(R)
    return basis.coordinates(weighted), basis


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
            _, reverse = _completed(weighted[:, ::-1], kept)
            basis = Basis(reverse.R[::-1, ::-1] / scale)
            return basis.coordinates(X), basis
    W, R = whiten(weighted, how)
    return noise.root_solve(W * scale), Basis(R / scale)
