"""Trust-region Newton for many criteria at once: search/newton.py, vectorized, by its rules.

Each response has its own theta, radius and verdict; those that have ended drop out of the
evaluations that follow.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from mixedlm_ext.search import trust_region as rules

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

__all__ = ["Criteria", "Evaluations", "Steps", "minimize_many", "newton_steps"]


class Evaluations(Protocol):
    """A criterion of r responses at their points, with derivatives; nan where it has no value."""

    @property
    def theta(self) -> Array:
        """The points, (d, r)."""

    @property
    def value(self) -> Array:
        """The criterion, (r,)."""

    @property
    def gradient(self) -> Array:
        """Its gradient, (d, r)."""

    @property
    def hessian(self) -> Array:
        """Its second derivatives, (d, d, r)."""

    @property
    def noise(self) -> Array:
        """Rounding error of the values, (r,)."""

    def put(self, where: Any, other: Any) -> None:
        """Overwrite the responses at `where` by those of `other`."""

    def take(self, where: Any) -> Any:
        """Return the responses at `where`."""


E = TypeVar("E", bound=Evaluations)


class Criteria(Protocol[E]):
    """The criteria of r responses."""

    def take(self, where: Any) -> Any:
        """Return those of the responses at `where`."""

    def after(self, e: E, step: Array) -> E:
        """Evaluate after steps (d, r) from evaluations."""


_MOST_STEPS = 60
"""Steps after which a response is left to the single search."""
_BISECTIONS = 60


def minimize_many(
    criteria: Criteria[E],
    start: E,
    tol: float = 1e-8,
    radius: Array | None = None,
    apart: Mask | None = None,
) -> tuple[E, Mask]:
    """Minimize the criteria of many responses.

    Parameters
    ----------
    criteria : Criteria
    start : Evaluations
        Where each search starts; overwritten.
    tol : float
        A search ends when one more Newton step would lower its criterion by less than this.
    radius : ndarray (r,), optional
        How far the first steps may go; as far as the start is from zero by default.
    apart : ndarray of bool (d,), optional
        Parameters whose curvature may be of another order (see `rules.QuadraticModel`).

    Returns
    -------
    Evaluations
        At the minima.
    ndarray of bool (r,)
        Whether each search converged, by the same verdict as a single fit's.
    """
    best = start
    if radius is None:
        radius = np.maximum(1.0, np.linalg.norm(start.theta, axis=0))
    active = np.flatnonzero(np.isfinite(best.value))
    for _ in range(_MOST_STEPS):
        if not len(active):
            break
        current = best.take(active)
        steps = _trust_region_steps(current, radius[active], apart)
        trial = criteria.take(active).after(current, steps.vector)
        noise = current.noise
        ratio = (current.value - trial.value + noise) / (steps.decrease + noise)
        ratio = np.where(np.isfinite(ratio), ratio, -np.inf)
        better = ratio > rules.ACCEPTED
        best.put(active[better], trial.take(better))
        radius[active] = _next_radius(radius[active], steps, ratio)
        last = (steps.decrease <= tol) & (steps.curvature >= 0)
        active = active[~last & (radius[active] >= rules.SHORTEST)]
    return best, newton_steps(best, apart).decrease <= tol + best.noise


class Steps(NamedTuple):
    """Steps (m, r), the decreases they promise, the most negative curvatures (0 if none)."""

    vector: Array
    decrease: Array
    curvature: Array


def newton_steps(e: Evaluations, apart: Mask | None = None) -> Steps:
    """Return Newton's steps; they promise inf where there is no minimum to go to."""
    finite = np.isfinite(e.value) & np.isfinite(e.hessian).all(axis=(0, 1))
    d, r = e.theta.shape
    out = Steps(np.zeros((d, r)), np.full(r, np.inf), np.zeros(r))
    found = e.take(finite)
    steps = _trust_region_steps(found, np.full(found.theta.shape[1], np.inf), apart)
    out.vector[:, finite], out.curvature[finite] = steps.vector, steps.curvature
    out.decrease[finite] = np.where(steps.curvature >= 0, steps.decrease, np.inf)
    return out


def _next_radius(radius: Array, steps: Steps, ratio: Array) -> Array:
    """Shrink a trust region after a bad step; widen it after a good one that it cut short."""
    length = np.linalg.norm(steps.vector, axis=0)
    cut_short = length > rules.CUT_SHORT * radius
    wider = np.where(cut_short & (ratio > rules.GOOD), rules.WIDER * radius, radius)
    return np.where(ratio >= rules.BAD, wider, rules.SHORTER * length)


def _trust_region_steps(e: Evaluations, radius: Array, apart: Mask | None) -> Steps:
    """Minimize each quadratic model within its radius; infinite radii give Newton steps."""
    H, g = e.hessian.transpose(2, 0, 1), e.gradient.T
    units = np.ones_like(g) if apart is None else rules.units_of(H, apart)
    basis = _Eigenbases.of(units * g, units[:, :, None] * H * units[:, None])
    lowest = np.minimum(basis.values.min(axis=1, initial=0.0), 0.0)
    flat = basis.values == 0
    # a gradient along a flat direction is noise and left alone
    s = np.where(flat, 0.0, -basis.g / np.where(flat, 1.0, basis.values))
    decrease = -np.einsum("rj,rj->r", s, basis.g + 0.5 * basis.values * s)
    vector = units * np.einsum("rij,rj->ri", basis.vectors, s)
    cut = (lowest < 0) | (np.linalg.norm(vector, axis=1) > radius)
    if cut.any():
        own = _Eigenbases.of(g[cut], H[cut])
        least = np.minimum(own.values.min(axis=1, initial=0.0), 0.0)
        within = np.minimum(radius[cut], rules.FARTHEST)
        s = _on_boundary(own.g, own.values, least, own.scale, within)
        decrease[cut] = -np.einsum("rj,rj->r", s, own.g + 0.5 * own.values * s)
        vector[cut] = np.einsum("rij,rj->ri", own.vectors, s)
    return Steps(np.ascontiguousarray(vector.T), decrease, lowest)


class _Eigenbases(NamedTuple):
    """Quadratic models (r, ...) in the eigenbases of their H; flat directions have no values."""

    values: Array
    vectors: Array
    g: Array
    scale: Array

    @classmethod
    def of(cls, g: Array, H: Array) -> _Eigenbases:
        values, vectors = np.linalg.eigh(H)
        scale = np.maximum(np.abs(values).max(axis=1, initial=0.0), 1e-300)
        flat = np.abs(values) <= rules.CURVATURE_NOISE * scale[:, None]
        values = np.where(flat, 0.0, values)
        return cls(values, vectors, np.einsum("rij,ri->rj", vectors, g), scale)


def _on_boundary(g: Array, values: Array, lowest: Array, scale: Array, radius: Array) -> Array:
    """Return steps of length `radius`: (H + μI)s = -g with μ >= -lowest, μ by bisection."""
    shifted = values - lowest[:, None]  # H - lowest I, so that μ' = μ + lowest >= 0
    low = 1e-12 * scale
    high = np.linalg.norm(g, axis=1) / radius + low
    hard = np.linalg.norm(g / (shifted + low[:, None]), axis=1) <= radius
    for _ in range(_BISECTIONS):
        middle = np.sqrt(low * high)
        longer = np.linalg.norm(g / (shifted + middle[:, None]), axis=1) > radius
        low, high = np.where(longer, middle, low), np.where(longer, high, middle)
    s = -g / (shifted + high[:, None])
    if hard.any():
        s[hard] = _hard_case(g[hard], shifted[hard], lowest[hard], radius[hard])
    return s


def _hard_case(g: Array, shifted: Array, lowest: Array, radius: Array) -> Array:
    """Return the steps when there is no gradient along the lowest eigenvector: go along it."""
    s = np.where(shifted > 0, -g / np.where(shifted > 0, shifted, 1.0), 0.0)
    missing = np.sqrt(np.maximum(radius**2 - np.einsum("rj,rj->r", s, s), 0.0))
    row = np.arange(len(s))
    s[row, np.argmin(shifted, axis=1)] = np.where(lowest < 0, missing, 0.0)
    return s
