"""Solves and logarithms of a symmetric positive definite C that is known by its products only.

Columns are independent problems that go through the same steps at once, so that one product of C
with a matrix serves them all.

With C q_1, ..., q_m the Lanczos basis Q of z and Q'CQ = T, tridiagonal with T = UΛU',

    z'log(C)z      = |z|² e_1'log(T)e_1                       (Golub & Meurant 2010, chapter 6)
    d z'log(C)z    = ∫ x_s' dC x_s ds,   x_s = (C + sI)⁻¹z = |z| Q(T + sI)⁻¹e_1
                   = tr(Q'dCQ G),        G = |z|² U[(U'e_1)(U'e_1)' ∘ Λ']U'

with Λ'_ab = (log λ_a - log λ_b)/(λ_a - λ_b): the integral of 1/((λ_a + s)(λ_b + s)). The
derivative is that of the number itself, not of what it estimates. Where the trace of C - I is
known, z'(C - I)z is left out of z'log(C)z, which takes most of the noise with it where C is next to
I; G loses |z|²e_1e_1'. G has a few eigenvalues that count.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import linalg

Array = NDArray[np.float64]
Apply = Callable[[Array], Array]

__all__ = ["Logarithms", "NotConverged", "conjugate_gradients", "logarithms"]

_BROKEN = 1e-13
"""A step of Lanczos that leaves less than this of a vector has found an invariant subspace."""
_FIRST = 16
"""Vectors that there is room for at first."""
_NEGLIGIBLE = 1e-12
"""Eigenvalues of G, relative to the largest, that count for nothing."""


class NotConverged(Exception):
    """The steps allowed were not enough."""


def conjugate_gradients(apply: Apply, B: Array, tol: float = 1e-10, limit: int = 1000) -> Array:
    """Return C⁻¹B.

    Without rounding n steps are enough. What is not there by then has lost its directions to
    rounding, many small eigenvalues of C next to one another, and would take many times n; n more
    products form C, for its Cholesky factor.

    Parameters
    ----------
    apply : callable
        Returns CX for X (n, c).
    B : ndarray (n, c)
        Columns that are not finite have a solution of NaN.
    tol : float
        Length of a residual, relative to that of its column of B.
    limit : int
        Steps at most, and rows up to which C is formed.

    Returns
    -------
    ndarray (n, c)

    Raises
    ------
    NotConverged
        Also where C is not positive definite along a direction that a step takes.
    """
    size = np.abs(B).max(axis=0, initial=0.0)  # squares of very small numbers are zero
    X = np.where(np.isfinite(size), 0.0, np.full(B.shape, np.nan))
    active = np.flatnonzero((size > 0) & np.isfinite(size))
    R = B[:, active] / size[active]
    P, rr = R.copy(), np.einsum("nc,nc->c", R, R)
    goal = tol**2 * rr
    for _ in range(min(limit, len(B))):
        if not len(active):
            return X * size
        CP = apply(P)
        curvature = np.einsum("nc,nc->c", P, CP)
        if not (curvature > 0).all():
            raise NotConverged
        step = rr / curvature
        X[:, active] += step * P
        R -= step * CP
        before, rr = rr, np.einsum("nc,nc->c", R, R)
        P *= rr / before
        P += R
        going = rr > goal
        if not going.all():
            active, goal = active[going], goal[going]
            R, P, rr = R[:, going], P[:, going], rr[going]
    if len(active):
        if len(B) > limit:
            raise NotConverged
        X[:, active] = _by_forming(apply, B[:, active] / size[active])
    return X * size


def _by_forming(apply: Apply, B: Array) -> Array:
    """Return C⁻¹B by Cholesky's factor of C, formed by as many columns at a time as B has."""
    n, c = B.shape
    unit = np.eye(n)
    C = np.hstack([apply(unit[:, start : start + c]) for start in range(0, n, c)])
    try:
        return np.asarray(linalg.cho_solve(linalg.cho_factor(0.5 * (C + C.T)), B))
    except np.linalg.LinAlgError:
        raise NotConverged from None


@dataclass(frozen=True, eq=False)
class Logarithms:
    """z'(log(C) - C + I)z of some vectors z, and what its derivatives are made of.

    Attributes
    ----------
    values : ndarray (c,)
    steps : int
        Of Lanczos' iteration.
    signs : ndarray (c, r)
    """

    values: Array
    steps: int
    signs: Array
    _Q: Array
    _root: Array

    def directions(self) -> Array:
        """Return Y (n, c, r): the derivative of a value is Σ_r ±y_r' dC y_r, by `signs`."""
        return np.einsum("mnc,cmr->ncr", self._Q, self._root, optimize=True)


def logarithms(apply: Apply, Z: Array, tol: float = 1e-8, limit: int = 300) -> Logarithms:
    """Return z'(log(C) - C + I)z for the columns of Z by Lanczos' iteration, reorthogonalized.

    Parameters
    ----------
    apply : callable
        Returns CX for X (n, c).
    Z : ndarray (n, c)
    tol : float
        Length of the residual of C⁻¹z, relative to z; the error of the logarithm goes with its
        square.
    limit : int
        Steps at most.

    Raises
    ------
    NotConverged
        Also where C is not positive definite, but for rounding.

    Examples
    --------
    >>> C = np.array([[2.0, 0.3], [0.3, 1.0]])
    >>> z = np.array([[1.0], [-1.0]])
    >>> values, vectors = np.linalg.eigh(C)
    >>> log_C = (vectors * np.log(values)) @ vectors.T
    >>> np.allclose(logarithms(lambda x: C @ x, z).values, z.T @ (log_C - C + np.eye(2)) @ z)
    True
    """
    n, c = Z.shape
    length = np.linalg.norm(Z, axis=0)
    room = np.empty((_FIRST, n, c))
    room[0] = Z / np.where(length > 0, length, 1.0)
    alpha, beta = np.empty((0, c)), np.empty((0, c))
    pivot, first = np.ones(c), -np.ones(c)
    for step in range(1, limit + 1):
        Q = room[:step]
        v = apply(Q[-1])
        ended = ~Q[-1].any(axis=0)  # the rest of T is I there and plays no part
        a = np.where(ended, 1.0, np.einsum("nc,nc->c", Q[-1], v))
        for _ in range(2):  # once is not enough where v is nearly in the span
            v -= np.einsum("mnc,mc->nc", Q, np.einsum("mnc,nc->mc", Q, v))
        b = np.linalg.norm(v, axis=0)
        b[b <= _BROKEN] = 0.0
        alpha = np.vstack([alpha, a])
        # T = LDL', a row more at each step; the last of T⁻¹e_1 is that of L⁻¹e_1 by that of D
        share = (beta[-1] if step > 1 else np.ones(c)) / pivot
        first, pivot = -share * first, a - (share * beta[-1] if step > 1 else 0.0)
        if not (pivot > 0).all():
            raise NotConverged
        if (b * np.abs(first / pivot) <= tol).all():
            return _of_tridiagonal(_tridiagonal(alpha, beta), Q, length, step)
        beta = np.vstack([beta, b])
        if step == len(room):
            room = np.concatenate([room, np.empty_like(room)])
        room[step] = v / np.where(b > 0, b, np.inf)
    raise NotConverged


def _tridiagonal(alpha: Array, beta: Array) -> Array:
    """Return T (c, m, m) from its diagonals (m, c) and (m - 1, c)."""
    m, c = alpha.shape
    T = np.zeros((c, m, m))
    i = np.arange(m)
    T[:, i, i] = alpha.T
    T[:, i[1:], i[:-1]] = T[:, i[:-1], i[1:]] = beta.T
    return T


def _of_tridiagonal(T: Array, Q: Array, length: Array, steps: int) -> Logarithms:
    """Return logarithms and the root of G."""
    values, U = np.linalg.eigh(T)
    if not (values > 0).all():
        raise NotConverged
    first = U[:, 0, :] * length[:, None]
    logs = np.einsum("ca,ca->c", first**2, np.log(values) - values + 1.0)
    one, two = values[:, :, None], values[:, None, :]
    change = one - two
    same = np.abs(change) < 1e-8 * (one + two)
    slopes = np.where(same, 2.0 / (one + two), np.log(one / two) / np.where(same, 1.0, change))
    inner = first[:, :, None] * (slopes - 1.0) * first[:, None, :]
    G = np.einsum("cma,cab,cnb->cmn", U, inner, U, optimize=True)
    weights, vectors = np.linalg.eigh(G)
    order = np.argsort(-np.abs(weights), axis=1)
    weights = np.take_along_axis(weights, order, 1)
    vectors = np.take_along_axis(vectors, order[:, None, :], 2)
    kept = np.abs(weights) > _NEGLIGIBLE * np.abs(weights[:, :1])
    rank = int(kept.sum(axis=1).max(initial=1))
    weights = np.where(kept, weights, 0.0)[:, :rank]
    root = vectors[:, :, :rank] * np.sqrt(np.abs(weights))[:, None, :]
    return Logarithms(logs, steps, np.sign(weights), Q, root)
