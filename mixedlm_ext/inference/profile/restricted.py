"""The engine's problem in other columns, from its cross-products: no row is touched again.

A fixed effect that is held at a value leaves X and becomes part of the offset. The columns of a
random-effects term are put in another order, so that a standard deviation or a correlation of
interest sits in the corner of the template.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mixedlm_ext.covariance import Covariance
from mixedlm_ext.linalg.crossproducts import Coupling, CrossProducts
from mixedlm_ext.linalg.factor import Pattern
from mixedlm_ext.linalg.orthogonal import whiten
from mixedlm_ext.linalg.triangular import solve_upper
from mixedlm_ext.pls import Problem

Array = NDArray[np.float64]

__all__ = ["ColumnRemoved", "TermReordered", "lower_template"]


class ColumnRemoved:
    """The problems of y - x_j v on the other columns of X, for any v.

    With X = QR, the columns of R without the j-th span a space with orthonormal basis B and
    complement w (p,). QB is the orthonormal basis of the other columns of X, and the response,
    QR beta_ols plus its residual on X, leaves as residual on them

        residual + Qw c,   c = w'R_j (beta_ols_j - v).

    Parameters
    ----------
    problem : Problem
    j : int
        Column of X.
    """

    def __init__(self, problem: Problem, j: int) -> None:
        cp = problem.cp
        self._problem, self._j = problem, j
        others = np.delete(cp.R, j, axis=1)
        basis, R = np.linalg.qr(others, mode="complete")
        self._B, w = basis[:, :-1], basis[:, -1]
        self._R = R[:-1]
        self._Zw = cp.ZX @ w
        self._rate = float(w @ cp.R[:, j])
        self._cp = replace(cp, p=cp.p - 1, ZX=cp.ZX @ self._B, R=self._R)

    def at(self, value: float) -> Problem:
        """Return the problem in which the coefficient has the given value."""
        cp, full = self._cp, self._problem.cp
        c = self._residual(value)
        known = full.R @ full.beta_ols - full.R[:, self._j] * value
        out = replace(
            cp,
            Zy=cp.Zy + self._Zw * c,
            yy=cp.yy + c * c,
            beta_ols=solve_upper(self._R, self._B.T @ known),
        )
        out.__dict__["ZZ"] = full.ZZ  # Z is the same
        return Problem(out, self._problem.covariance, self._problem.pattern)

    def _residual(self, value: float) -> float:
        """c above."""
        return self._rate * float(self._problem.cp.beta_ols[self._j] - value)

    def pwrss_slope(self, value: float, b: Array) -> float:
        """Return ∂r²/∂v = -2 (y - Xβ - Zb)'Wx_j at the solution b of the problem at v."""
        return -2.0 * self._rate * (self._residual(value) - float(self._Zw @ b))


@dataclass(frozen=True, eq=False)
class TermReordered:
    """The problem with the columns of one term in another order.

    Attributes
    ----------
    problem : Problem
    term : int
    order : ndarray of int (k,)
        Which of the term's columns is now first, second, ...
    change : ndarray (k, k)
        The new standardized columns are the old ones times this.
    """

    problem: Problem
    term: int
    order: NDArray[np.intp]
    change: Array

    @classmethod
    def of(cls, problem: Problem, term: int, first: tuple[int, ...]) -> TermReordered:
        """Put the columns `first` of a term first."""
        own = problem.covariance.terms[term]
        rest = [i for i in range(own.k) if i not in first]
        order = np.array([*first, *rest], dtype=np.intp)
        if (order == np.arange(own.k)).all():
            return cls(problem, term, order, np.eye(own.k))
        R = own.whitening[:, order]
        _, whitening = whiten(R, own.structure)
        change = np.asarray(np.linalg.solve(whitening.T, R.T).T, dtype=float)
        terms = list(problem.covariance.terms)
        terms[term] = replace(own, whitening=whitening)
        covariance = Covariance(terms, problem.covariance.block_sizes)
        within = np.eye(problem.covariance.block_sizes[own.block])
        place = slice(own.first, own.first + own.k)
        within[place, place] = change
        cp = _change_block(problem.cp, own.block, within)
        return cls(Problem(cp, covariance, Pattern(cp, problem.pattern.plan)), term, order, change)

    def theta(self, theta: Array, covariance: Covariance) -> Array:
        """Translate a standardized theta of the original problem, with its `covariance`."""
        T = covariance.term_templates(theta)[self.term]
        own = self.problem.covariance.terms[self.term]
        out = theta.copy()
        turned = lower_template(np.asarray(np.linalg.solve(self.change, T), dtype=float))
        out[self.problem.covariance.slices[self.term]] = own.theta_of(turned)
        return out

    def random_cov(self, turned: list[Array]) -> list[Array]:
        """Put rows and columns of each term's covariance matrix back into the original order."""
        back = np.argsort(self.order)
        return [m[np.ix_(back, back)] if i == self.term else m for i, m in enumerate(turned)]


def lower_template(T: Array) -> Array:
    """Return the lower-triangular L with LL' = TT' and a non-negative diagonal."""
    L = np.asarray(np.linalg.qr(T.T, mode="r")).T
    return np.asarray(L * np.where(np.diag(L) < 0, -1.0, 1.0))


def _change_block(cp: CrossProducts, i: int, B: Array) -> CrossProducts:
    """Return the cross-products with the columns of block i, of every level, times B."""
    diagonal = list(cp.diagonal)
    diagonal[i] = np.einsum("ca,cdl,db->abl", B, diagonal[i], B)
    couplings = {}
    for (one, two), c in cp.couplings.items():
        values = c.values
        if one == i:
            values = np.einsum("ca,cbn->abn", B, values)
        if two == i:
            values = np.einsum("acn,cb->abn", values, B)
        couplings[one, two] = Coupling(c.rows, c.columns, values)
    own = slice(cp.offsets[i], cp.offsets[i + 1])
    ZX, Zy = cp.ZX.copy(), cp.Zy.copy()
    ZX[own] = np.tensordot(B, cp.block(cp.ZX, i), axes=(0, 0)).reshape(ZX[own].shape)
    Zy[own] = (B.T @ cp.block(cp.Zy, i)).ravel()
    return replace(cp, diagonal=diagonal, couplings=couplings, ZX=ZX, Zy=Zy)
