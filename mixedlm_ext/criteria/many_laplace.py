"""Laplace's criterion of many responses at once, each at its own point, for one grouping factor.

Notation and formulas are those of laplace.py, points and shapes those of many_modes.py.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

from mixedlm_ext.caching import cached_property
from mixedlm_ext.criteria.many_modes import (
    LEAST_ROOT,
    ManyResponses,
    Modes,
    Point,
    along,
    find_modes,
    solved,
    solved_lower,
)

Array = NDArray[np.float64]
Index = NDArray[np.intp]
Mask = NDArray[np.bool_]

__all__ = ["ManyLaplace", "ManyLaplaceEvaluations"]

_STEP = 2e-5
"""Of the differences of the gradient that give second derivatives."""
_SECANT = 1e-8
"""A surprise, relative to its length, from which nothing is learned."""


@dataclass(frozen=True, eq=False)
class ManyLaplaceEvaluations:
    """The criterion of r responses; values are nan where a point is too extreme.

    Attributes
    ----------
    theta : ndarray (d, r)
        The points: θ, ζ and the extra parameter.
    value, noise : ndarray (r,)
    gradient : ndarray (d, r)
    hessian : ndarray (d, d, r)
        Second derivatives as far as they are known.
    u : ndarray (k, levels, r)
        Modes of the random effects.
    answer : ndarray (k, levels, d, r)
        Their derivatives in the point.
    """

    theta: Array
    value: Array
    noise: Array
    gradient: Array
    hessian: Array
    u: Array
    answer: Array

    def put(self, where: Index, other: ManyLaplaceEvaluations) -> None:
        """Overwrite the responses at `where` by those of `other`."""
        for f in fields(self):
            getattr(self, f.name)[..., where] = getattr(other, f.name)

    def take(self, where: Index | Mask) -> ManyLaplaceEvaluations:
        """Return the responses at `where`."""
        return ManyLaplaceEvaluations(*(getattr(self, f.name)[..., where] for f in fields(self)))


@dataclass(frozen=True, eq=False)
class ManyLaplace(ManyResponses):
    """Laplace's criterion of many responses on one problem."""

    def at(self, points: Array, u: Array | None = None) -> ManyLaplaceEvaluations:
        """Evaluate value and gradient at points (d, r), the modes sought from u."""
        with np.errstate(all="ignore"):  # nan is the answer where a point is too extreme
            at = Point(self, points)
            modes = find_modes(at, u)
            return _Evaluator(at, modes).evaluations(modes)

    def after(self, e: ManyLaplaceEvaluations, step: Array) -> ManyLaplaceEvaluations:
        """Evaluate after steps (d, r), with what they teach of the second derivatives."""
        with np.errstate(all="ignore"):
            found = self.at(e.theta + step, e.u + np.einsum("aldr,dr->alr", e.answer, step))
            surprise = found.gradient - e.gradient - np.einsum("ijr,jr->ir", e.hessian, step)
            along = np.einsum("ir,ir->r", surprise, step)
            sizes = np.einsum("ir,ir->r", surprise, surprise) * np.einsum("ir,ir->r", step, step)
            used = np.isfinite(found.value) & (np.abs(along) > _SECANT * np.sqrt(sizes))
            share = np.where(used, surprise / np.sqrt(np.abs(along)), 0.0)
        found.hessian[...] = e.hessian + np.sign(along) * share[:, None] * share[None]
        return found

    def rounding(self, e: ManyLaplaceEvaluations) -> Array:
        """Return the rounding error of the values by that of η: information times η, (r,)."""
        at = Point(self, e.theta)
        eta = at.fixed + self.rows.spread(along(at.T, e.u))
        with np.errstate(all="ignore"):
            size = (np.abs(at.given(eta).expected) * (1.0 + np.abs(eta))).sum(axis=0)
        return np.asarray(4.0 * np.finfo(float).eps * size)

    def with_hessian(self, e: ManyLaplaceEvaluations) -> ManyLaplaceEvaluations:
        """Return the evaluations with second derivatives by central differences.

        The modes follow to first order. What they lack is the same on both sides, so that it is of
        the order of the error of the differences.
        """
        d = len(e.theta)
        out = np.empty((d, *e.theta.shape))
        with np.errstate(all="ignore"):
            for j in range(d):
                step = np.zeros((d, 1))
                step[j] = _STEP
                change = _STEP * e.answer[:, :, j]
                up = _Evaluator(Point(self, e.theta + step), e.u + change).gradient()
                down = _Evaluator(Point(self, e.theta - step), e.u - change).gradient()
                out[j] = (up - down) / (2.0 * _STEP)
        return replace(e, hessian=0.5 * (out + out.transpose(1, 0, 2)))


class _Evaluator:
    """Value and derivatives at points, given modes."""

    def __init__(self, point: Point, modes: Modes | Array) -> None:
        self.point, self.o, self.rows = point, point.o, point.rows
        self.T, self.k = point.T, point.k
        self.u = modes.u if isinstance(modes, Modes) else modes
        self.at = modes.at if isinstance(modes, Modes) else point.rows_at(modes)

    # --- the criterion ----------------------------------------------------------------------------

    @cached_property
    def w(self) -> Array:
        """The weights in the determinant."""
        return self.at.weights(self.o.problem.observed)

    @cached_property
    def D(self) -> Array:
        """Z'WZ."""
        return self.rows.products(self.w)

    @cached_property
    def L(self) -> Array:
        """The roots of M."""
        return self.point.root(self.D)

    @cached_property
    def half(self) -> Array:
        """L⁻¹T', of which N is the square."""
        return solved_lower(self.L, np.broadcast_to(self.point.Tt[:, :, None], self.L.shape))

    @cached_property
    def N(self) -> Array:
        """TM⁻¹T'."""
        return np.einsum("calr,cblr->ablr", self.half, self.half)

    @cached_property
    def observed(self) -> tuple[Array, Array, Array]:
        """W_o, Z'W_oZ and the roots of M_o."""
        problem = self.o.problem
        if problem.observed or problem.likelihood.canonical:
            return self.w, self.D, self.L
        w = self.at.observed
        D = self.rows.products(w)
        return w, D, self.point.root(D)

    @cached_property
    def v(self) -> Array:
        """Z's."""
        return self.rows.project(self.at.score)

    def gradient(self) -> Array:
        """∂d/∂(θ, ζ, extra)."""
        problem, at, point = self.o.problem, self.at, self.point
        h = self.rows.diagonal(self.N)
        pull = at.slope(problem.observed) * h
        w, _, L = self.observed
        answer = along(point.T, solved(L, along(point.Tt, self.rows.project(pull))[:, None])[:, 0])
        answer = self.rows.spread(answer)
        q = pull - w * answer
        shift = self.rows.project(q)
        G = self._levelwise() - np.einsum("alr,blr->abr", self.v, self.v)
        av = 0.5 * np.einsum("alr,blr->abr", shift, self.v)
        G += av + av.transpose(1, 0, 2)
        by_theta = 2.0 * np.einsum("abr,bcr->acr", G, self.T)[point.free]
        parts = [by_theta, problem.Q.T @ (q - 2.0 * at.score)]
        if problem.n_extra:
            by_omega = -2.0 * at.extra_total + np.einsum("nr,nr->r", answer, at.score_extra)
            by_omega += np.einsum("nr,nr->r", h, at.weights_extra(problem.observed))
            parts.append((by_omega * self._extra_slope)[None])
        return np.concatenate(parts)

    def _levelwise(self) -> Array:
        """Σ_l[Z'V⁻¹Z]_ll = Σ_l D - DND."""
        if self.k == 1:
            return np.asarray((self.D / self.L**2).sum(axis=2))
        half = np.einsum("ablr,bclr->aclr", self.half, self.D)
        return np.asarray(self.D.sum(axis=2) - np.einsum("calr,cblr->abr", half, half))

    @cached_property
    def _extra_slope(self) -> Array:
        """∂ω/∂s, or one; s next to zero as if d were a quadratic function of it."""
        s = self.point.points[-1]
        if self.o.likelihood.extra != "size":
            return np.ones_like(s)
        return np.where(np.abs(s) > LEAST_ROOT, -2.0 / s, -2.0 * s / LEAST_ROOT**2)

    def answer(self) -> Array:
        """∂ũ/∂(θ, ζ, extra), (k, levels, d, r): what keeps T'Z's - ũ at zero."""
        problem, rows, u = self.o.problem, self.rows, self.u
        w, D, L = self.observed
        k, levels, r = u.shape
        a, b = self.point.free
        m = len(a)
        out = np.zeros((k, levels, problem.covariance.n_theta + problem.p + problem.n_extra, r))
        for j in range(m):
            pulled = along(self.point.Tt, D[:, a[j]] * u[b[j]])
            out[:, :, j] = -pulled
            out[b[j], :, j] += self.v[a[j]]
        for j, x in enumerate(problem.Q.T):
            out[:, :, m + j] = -along(self.point.Tt, rows.project(x[:, None] * w))
        if problem.n_extra:
            extra = rows.project(self.at.score_extra) * self._extra_slope
            out[:, :, -1] = along(self.point.Tt, extra)
        return solved(L, out.transpose(0, 2, 1, 3)).transpose(0, 2, 1, 3)

    def evaluations(self, modes: Modes) -> ManyLaplaceEvaluations:
        """Collect the results."""
        diagonal = self.L[np.arange(self.k), np.arange(self.k)]
        value = modes.penalized + 2.0 * np.log(diagonal).sum(axis=(0, 1))
        d, r = self.point.points.shape
        return ManyLaplaceEvaluations(
            theta=self.point.points.copy(),
            value=value,
            noise=1e-13 * (np.abs(value) + 4.0 * len(self.rows.codes)),
            gradient=self.gradient(),
            hessian=np.zeros((d, d, r)),
            u=self.u,
            answer=self.answer(),
        )
