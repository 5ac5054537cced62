"""Modes of the random effects of many responses at once, for one grouping factor.

Equations are those of pirls.py without its fixed effects. A level's modes depend on its own rows
only, so that M is a stack of small matrices. Arrays have the responses as their last axis: rows are
(n, r), levels (k, levels, r), and a point is (θ, ζ, extra), (d, r).

The extra parameter is ω itself, or for the size of a negative binomial s = e^(-ω/2), the root of
alpha: criteria are even in s as they are in θ, and a response that varies no more than a Poisson
variable has its minimum at s = 0, where ω has none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from statsmodels.genmod.families import links

from mixedlm_ext.criteria.generalized import GeneralizedProblem
from mixedlm_ext.criteria.laplace import MOST_OMEGA
from mixedlm_ext.families.conditional import Conditional, RowsAt
from mixedlm_ext.families.curves import is_even
from mixedlm_ext.linalg import small

Array = NDArray[np.float64]
Index = NDArray[np.intp]
Mask = NDArray[np.bool_]
Self = TypeVar("Self", bound="ManyResponses")

__all__ = [
    "LEAST_ROOT", "LevelRows", "ManyResponses", "Modes", "Point", "along", "find_modes",
    "fits_at_once", "solved", "solved_lower",
]  # fmt: skip

_DECREMENT = 1e-13
"""Twice the rise of the log-likelihood that Newton's last step to the modes promises."""
_ROUNDING = 1e-15
"""The same, relative to the log-likelihood, that is rounding error."""
_SLOW_DECREMENT = 1e-20
"""The same where a step is not Newton's."""
_STEPS = 60
_HALVINGS = 30
_LEAST_WEIGHT = 1e-300
LEAST_ROOT = float(np.exp(-0.5 * MOST_OMEGA))
"""s that stands for zero."""


def fits_at_once(problem: GeneralizedProblem) -> bool:
    """Say whether many responses of a problem have their criteria computed together."""
    link, cp = problem.likelihood.family.link, problem.linear.cp
    several = is_even(link)  # modes
    own_units = isinstance(link, links.Power)  # of each response
    alone = cp.by_levels and not cp.layout.roots
    return bool(alone and problem.covariance.free and not several and not own_units)


class LevelRows:
    """Rows of one grouping factor, for arrays whose columns are responses.

    Parameters
    ----------
    codes : ndarray (n,)
    columns : sequence of ndarray (n,) or None
        Of Z, None for ones.
    levels : int
    """

    def __init__(self, codes: Index, columns: Sequence[Array | None], levels: int) -> None:
        self.codes, self.levels, self.k = codes, levels, len(columns)
        n = len(codes)
        self._columns = [None if x is None else x[:, None] for x in columns]
        self._sum: Any = sparse.csr_array((np.ones(n), (codes, np.arange(n))), shape=(levels, n))

    def project(self, R: Array) -> Array:
        """Return Z'R, (k, levels, r)."""
        return np.array([self._sum @ (R if x is None else x * R) for x in self._columns])

    def spread(self, b: Array) -> Array:
        """Return Zb for b (k, levels, r), (n, r)."""
        parts = [
            each[self.codes] if x is None else x * each[self.codes]
            for x, each in zip(self._columns, b)
        ]
        return np.asarray(sum(parts[1:], parts[0]))

    def products(self, W: Array) -> Array:
        """Return Z'WZ, (k, k, levels, r)."""
        k = self.k
        out = np.empty((k, k, self.levels, W.shape[1]))
        for a, x in enumerate(self._columns):
            left = W if x is None else x * W
            for b, y in enumerate(self._columns[: a + 1]):
                out[a, b] = out[b, a] = self._sum @ (left if y is None else left * y)
        return out

    def diagonal(self, N: Array) -> Array:
        """Return the diagonal of ZNZ', (n, r)."""
        out: Any = 0.0
        for a, x in enumerate(self._columns):
            for b, y in enumerate(self._columns[: a + 1]):
                each = N[a, b][self.codes]
                each = each if x is None else x * each
                each = each if y is None else y * each
                out = out + (each if a == b else 2.0 * each)
        return np.asarray(out)


@dataclass(frozen=True, eq=False)
class ManyResponses:
    """Many responses on one problem.

    Parameters
    ----------
    problem : GeneralizedProblem
        With one block and a free covariance; its own response plays no part.
    rows : LevelRows
    likelihood : Conditional
        Of all responses.
    """

    problem: GeneralizedProblem
    rows: LevelRows
    likelihood: Conditional

    @classmethod
    def of(cls: type[Self], problem: GeneralizedProblem, Y: Array) -> Self:
        """Take the columns of Y (n, r) as responses."""
        block = problem.rows.blocks[0]
        rows = LevelRows(block.codes, block.columns, block.levels)
        return cls(problem, rows, problem.likelihood.of_many(Y))

    @property
    def n_responses(self) -> int:
        """Their number."""
        return int(self.likelihood.y.shape[1])

    @property
    def size(self) -> int:
        """Parameters of a point."""
        return self.problem.covariance.n_theta + self.problem.p + self.problem.n_extra

    def take(self: Self, where: Index | Mask) -> Self:
        """Return the responses at `where`."""
        return replace(self, likelihood=self.likelihood.take_responses(where))

    def split(self, points: Array) -> tuple[Array, Array, Array]:
        """Return θ, ζ and ω of points (d, r)."""
        m, p = self.problem.covariance.n_theta, self.problem.p
        extra = points[m + p :]
        if self.likelihood.extra == "size":
            extra = -2.0 * np.log(np.maximum(np.abs(extra), LEAST_ROOT))
        return points[:m], points[m : m + p], extra


class Point:
    """What an evaluation at some points has before the modes are known."""

    def __init__(self, criteria: ManyResponses, points: Array) -> None:
        self.o, self.points, self.rows = criteria, points, criteria.rows
        problem = criteria.problem
        theta, zeta, omega = criteria.split(points)
        self.free = (problem.covariance.rows, problem.covariance.columns)
        self.k, self.r = self.rows.k, points.shape[1]
        self.T = np.zeros((self.k, self.k, self.r))
        self.T[self.free] = theta
        self.Tt = self.T.transpose(1, 0, 2)
        self.fixed = problem.Q @ zeta + problem.offset[:, None]
        self.given = criteria.likelihood.given(omega)

    def take(self, where: Index) -> Point:
        """Return the points of some of the responses."""
        return Point(self.o.take(where), self.points[:, where])

    def rows_at(self, u: Array) -> RowsAt:
        """Return the rows at spherical random effects u."""
        return self.given(self.fixed + self.rows.spread(along(self.T, u)))

    def root(self, D: Array) -> Array:
        """Return the roots of T'DT + I, (k, k, levels, r)."""
        M = _congruence(self.T, D)
        M[np.arange(self.k), np.arange(self.k)] += 1.0
        return small.cholesky(M.reshape(self.k, self.k, -1)).reshape(D.shape)


class Modes(NamedTuple):
    """Modes of the random effects, the rows there, -2Σℓ + |u|²; nan where none were found."""

    u: Array
    at: RowsAt
    penalized: Array


def find_modes(point: Point, u: Array | None) -> Modes:
    """Find the modes: Newton's steps, each halved until it is no loss.

    Responses that take longer than half of the others go on without them.
    """
    now = _start(point, u)
    ended = ~np.isfinite(now.penalized)
    for _ in range(_STEPS):
        du, decrement, least = _direction(point, now)
        last = ended | (decrement <= least)
        du[..., ended] = 0.0
        if last.all():
            return _modes_at(point, now.u + du)
        now, failed = _moved(point, now, du, ended)
        ended = last | failed
        rest = np.flatnonzero(~ended)
        if 0 < 2 * len(rest) <= point.r:
            found = find_modes(point.take(rest), now.u[..., rest])
            now.u[..., rest] = found.u
            whole = _modes_at(point, now.u)
            whole.penalized[rest] = found.penalized
            return whole
    return now._replace(penalized=np.where(ended, now.penalized, np.nan))


def _modes_at(point: Point, u: Array) -> Modes:
    at = point.rows_at(u)
    return Modes(u, at, np.asarray(np.einsum("alr,alr->r", u, u) - 2.0 * at.total))


def _start(point: Point, u: Array | None) -> Modes:
    """Return the first modes: u where the likelihood has a value, and zero elsewhere."""
    nothing = np.zeros((point.k, point.rows.levels, point.r))
    u = nothing if u is None else u
    now = _modes_at(point, u)
    if not np.isfinite(now.penalized).all():
        now = _modes_at(point, np.where(np.isfinite(now.penalized), u, nothing))
    return now


def _direction(point: Point, now: Modes) -> tuple[Array, Array, Array]:
    """Return the step, twice the rise it promises, and how little is the last.

    Newton's, by the observed information; where M is not positive definite with it, rows of
    negative weight have the expected one, as in pirls.py.
    """
    at, w = now.at, now.at.observed
    slope = along(point.Tt, point.rows.project(at.score)) - now.u
    du, decrement = _step(point, w, slope)
    newton = np.asarray((w > 0.0).all(axis=0) | (decrement >= 0.0))
    if not newton.all():
        w = np.where((w > 0.0) | newton, w, np.maximum(at.expected, _LEAST_WEIGHT))
        du, decrement = _step(point, w, slope)
    size = 1.0 + np.abs(now.penalized)
    least = np.where(newton, np.maximum(_DECREMENT, _ROUNDING * size), _SLOW_DECREMENT * size)
    return du, decrement, least


def _step(point: Point, w: Array, slope: Array) -> tuple[Array, Array]:
    """Return the step by given weights and twice the rise it promises; nan where there is none."""
    try:
        du = solved(point.root(point.rows.products(w)), slope[:, None])[:, 0]
    except np.linalg.LinAlgError:  # many columns have LAPACK look at them
        du = np.full_like(slope, np.nan)
    return du, np.asarray(np.einsum("alr,alr->r", slope, du))


def _moved(point: Point, now: Modes, du: Array, ended: Mask) -> tuple[Modes, Mask]:
    """Return the modes after the longest steps that are no loss, and where no step is."""
    limit = now.penalized + 1e-12 * (np.abs(now.penalized) + len(point.rows.codes))
    moved = _modes_at(point, now.u + du)
    failed = ~(moved.penalized <= limit) & ~ended
    if not failed.any():
        return moved, failed
    worse = np.flatnonzero(failed)
    part, step = point.take(worse), du[..., worse]
    length = np.full(len(worse), 0.5)
    for _ in range(_HALVINGS):
        again = _modes_at(part, now.u[..., worse] + length * step)
        failed[worse] = ~(again.penalized <= limit[worse])
        if not failed.any():
            break
        length = np.where(failed[worse], 0.5 * length, length)
    du[..., worse] = np.where(failed[worse], 0.0, length) * step
    return _modes_at(point, now.u + du), failed


def along(T: Array, x: Array) -> Array:
    """Return Tx_l for every level, T (k, k, r), x (k, levels, r)."""
    return T[0] * x if len(T) == 1 else np.einsum("abr,blr->alr", T, x)


def _congruence(T: Array, D: Array) -> Array:
    """Return T'D_lT for every level."""
    if len(T) == 1:
        return np.asarray(T[:, :, None] ** 2 * D)
    return np.einsum("car,cdlr,dbr->ablr", T, D, T, optimize=True)


def solved_lower(L: Array, B: Array) -> Array:
    """Return L⁻¹B for stacks (k, c, levels, r)."""
    k = len(L)
    flat = small.solve_lower(L.reshape(k, k, -1), B.reshape(k, B.shape[1], -1))
    return flat.reshape(B.shape)


def solved(L: Array, B: Array) -> Array:
    """Return (LL')⁻¹B for stacks (k, c, levels, r)."""
    if len(L) == 1:
        return B / L**2
    turned = np.ascontiguousarray(L[::-1, ::-1].transpose(1, 0, 2, 3))
    return solved_lower(turned, solved_lower(L, B)[::-1])[::-1]
