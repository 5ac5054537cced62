"""The engine's problem in other columns, from its cross-products: no row is touched again.

A fixed effect that is held at a value leaves X and becomes part of the offset. The columns of a
random-effects term are put in another order, so that a standard deviation or a correlation of
interest sits in the corner of the template.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mixedlm_ext.criteria.pls import Problem
from mixedlm_ext.linalg.triangular import lower_root, solve_upper
from mixedlm_ext.products.transform import place_of_columns, with_random_columns
from mixedlm_ext.structures.covariance import Covariance

Array = NDArray[np.float64]

__all__ = ["ColumnRemoved", "TermReordered"]


class ColumnRemoved:
    """The problems of y - x_j v on the other columns of X, for any v.

    With X = QR, the columns of R without the j-th span a space with orthonormal basis B and
    complement w (p,). QB is the orthonormal basis of the other columns of X, and the response,
    QRβ₀ plus its residual on X, leaves as residual on them

        residual + Qw c,   c = w'R_j (β₀_j - v).

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
        self._cp = replace(
            cp,
            layout=cp.layout.with_fixed(self._R, cp.layout.beta0[:-1]),
            ZX=cp.ZX @ self._B,
            XX=np.eye(cp.p - 1),
            Xy=np.zeros(cp.p - 1),
        )

    def at(self, value: float) -> Problem:
        """Return the problem in which the coefficient has the given value."""
        cp, full = self._cp, self._problem.cp.layout
        c = self._residual(value)
        known = full.R @ full.beta0 - full.R[:, self._j] * value
        out = replace(
            cp,
            layout=cp.layout.with_response(solve_upper(self._R, self._B.T @ known)),
            Zy=cp.Zy + self._Zw * c,
            yy=cp.yy + c * c,
        )
        return self._problem.with_products(out)

    def _residual(self, value: float) -> float:
        """c above."""
        return self._rate * float(self._problem.cp.layout.beta0[self._j] - value)

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
        layout = problem.cp.layout
        place, change = place_of_columns(
            layout.places[term], np.eye(own.k)[:, order], own.structure.whitening, own.first
        )
        places = [place if i == term else old for i, old in enumerate(layout.places)]
        terms = list(problem.covariance.terms)
        terms[term] = replace(own, whitening=place.whitening)
        covariance = Covariance(terms, problem.covariance.block_sizes)
        maps: dict[int, Array | None] = dict.fromkeys(range(len(layout.shapes)))
        within = np.eye(layout.shapes[own.block][0])
        within[place.own, place.own] = change
        maps[own.block] = within
        cp = with_random_columns(problem.cp, maps, places)
        turned = Problem(cp, covariance, problem.solver.load(cp.A))
        return cls(turned, term, order, change)

    def theta(self, theta: Array, covariance: Covariance) -> Array:
        """Translate a standardized theta of the original problem, with its `covariance`."""
        own = self.problem.covariance.terms[self.term]
        if (self.order == np.arange(own.k)).all():
            return theta
        T = covariance.term_templates(theta)[self.term]
        out = theta.copy()
        turned = lower_root(np.asarray(np.linalg.solve(self.change, T), dtype=float))
        out[self.problem.covariance.slices[self.term]] = own.structure.theta_of(turned)
        return out

    def random_cov(self, turned: list[Array]) -> list[Array]:
        """Put rows and columns of each term's covariance matrix back into the original order."""
        back = np.argsort(self.order)
        return [m[np.ix_(back, back)] if i == self.term else m for i, m in enumerate(turned)]
