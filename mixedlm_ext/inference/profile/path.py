"""One quantity's profile: points to both sides of its estimate, and the spline through them.

The signed root ζ(t) = sign(t - t̂) √(d(t) - d_min) (Bates, Mächler, Bolker & Walker 2015, sec. 5.1)
is close to linear. Its derivative is known at every point, ζ' = d'/(2ζ), so that a cubic Hermite
spline through few points is accurate; where it is not, as at the kink where some variance becomes
zero, points are added.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicHermiteSpline
from scipy.optimize import brentq

from mixedlm_ext.caching import cached_property
from mixedlm_ext.errors import FitError
from mixedlm_ext.inference.parameters import NaturalParameters
from mixedlm_ext.inference.profile.points import Held, Maximum, Refit
from mixedlm_ext.inference.profile.scales import SCALES, Scale

Array = NDArray[np.float64]

__all__ = ["Point", "ProfilePath", "trace"]

_STEP = 0.7
"""Distance of points in ζ, before those between them are added."""
_LONGEST = 2.0 * _STEP
"""A step that went further than this is tried again with a shorter one."""
_ACCURACY = 2e-4
"""Where a new point is further than this from the spline, more are added. The error left is that of
intervals half as long, a sixteenth."""
_MOST_ROUNDS = 6
"""How often intervals are halved at most."""
_LEVEL = 2e-4
"""Slope of ζ in log σ from which on it changes by less than `_ACCURACY`: it is quadratic in σ."""
_JUMP = 2.0
"""Times its slope that |ζ| must rise from one of the final points to the next to be a jump."""
_FALL = 1e-5
"""By how much |ζ| must fall outwards to be more than rounding."""
_SHORTEST = 0.05
"""A point this close to the estimate only tells how far to go: its ζ has few digits."""
_MOST_POINTS = 60
"""Points to one side, tried ones included."""
_AT_BOUND = 1e-4
"""An estimate this near a boundary, relative to the first step, is on it."""


@dataclass(frozen=True, eq=False)
class ProfilePath:
    """The profile of one quantity.

    Attributes
    ----------
    kind : str
        Which of `SCALES` the working coordinate is.
    t : ndarray (points,)
        The working coordinate, increasing.
    zeta, slope : ndarray (points,)
        ζ and ∂ζ/∂t.
    origin : int
        Which point is the estimate.
    others : ndarray (points, parameters)
        The model's parameters at each point.
    ends : (float, float) or None
        The range of t where it is not that of the scale.
    """

    kind: str
    t: Array
    zeta: Array
    slope: Array
    origin: int
    others: Array
    ends: tuple[float, float] | None = None

    @property
    def scale(self) -> Scale:
        """From the quantity to t and back."""
        return SCALES[self.kind]

    @property
    def values(self) -> Array:
        """The quantity itself at the points."""
        return np.asarray(self.scale.backward(self.t))

    @cached_property
    def spline(self) -> CubicHermiteSpline:
        """ζ(t), missing beyond the points."""
        return CubicHermiteSpline(self.t, self.zeta, self.slope, extrapolate=False)

    def with_own(self, column: int) -> ProfilePath:
        """Write the values into a column of `others`: computed from variances, they lose digits."""
        others = self.others.copy()
        away = np.arange(len(self.t)) != self.origin
        others[away, column] = self.values[away]
        return replace(self, others=others)

    def value_at(self, zeta: float) -> float:
        """Return the value nearest to the estimate at which ζ is reached.

        The end of the quantity's range if it is not reached.
        """
        scale = self.scale
        step = 1 if zeta >= 0 else -1
        i = self.origin
        while 0 <= i + step < len(self.t) and (self.zeta[i + step] - zeta) * step < 0:
            i += step
        if not 0 <= i + step < len(self.t):
            tried = None if scale.endless else self.ends
            lowest, highest = tried or (scale.lower, scale.upper)
            return float(scale.backward(highest if step > 0 else lowest))
        lower, upper = sorted((self.t[i], self.t[i + step]))
        t = brentq(lambda t: float(self.spline(t)) - zeta, lower, upper, rtol=1e-13)
        return float(scale.backward(t))


@dataclass(frozen=True, eq=False)
class Point:
    """One point: t, ζ, ∂ζ/∂t (nan where unknown), and the fit there."""

    t: float
    zeta: float
    slope: float
    refit: Refit


def trace(
    held: Held,
    kind: str,
    estimate: float,
    top: Maximum,
    describe: Callable[[NaturalParameters], Array],
    cutoff: float,
    first_step: float,
    ends: tuple[float, float] | None = None,
) -> tuple[ProfilePath, Refit | None]:
    """Profile one quantity both ways, from its estimate until |ζ| passes the cutoff.

    Parameters
    ----------
    held : Held
    kind : str
        Which of `SCALES`.
    estimate : float
        The quantity at the maximum of the likelihood; nan if it is not defined there.
    top : Maximum
    describe : callable
        Returns the model's parameters.
    cutoff : float
    first_step : float
        A guess, in the working coordinate.
    ends : (float, float), optional
        The range of the working coordinate if it is not that of the scale.

    Returns
    -------
    ProfilePath
    Refit or None
        The best point, if it is better than the maximum.

    Raises
    ------
    FitError
        If no value but the estimate allows a fit.
    """
    scale = SCALES[kind]
    lower, upper = ends or (scale.lower, scale.upper)
    with np.errstate(divide="ignore"):  # a range of zero
        t = 0.0 if np.isnan(estimate) else float(np.clip(scale.forward(estimate), lower, upper))
    for bound in (lower, upper):
        t = bound if abs(t - bound) < _AT_BOUND * first_step else t
    origin = Point(t, 0.0, np.nan, Refit(held.start(top), top.objective, 0.0, top.estimates))
    below = _walk(held, origin, cutoff, lower, first_step, scale.level)
    above = _walk(held, origin, cutoff, upper, first_step)
    if not below and not above:
        raise FitError("the model cannot be fitted with another value than the estimate.")
    points = _settle(held, [*below[::-1], origin, *above], origin)
    points = _lower_jumps(held, _refine(held, points, origin), origin)
    path = _path(kind, points, origin, np.array([describe(p.refit.estimates) for p in points]))
    path = replace(path, ends=ends)
    best = min((p.refit for p in points), key=lambda refit: refit.objective)
    better = best.objective < top.objective - 1e-6 - 1e-12 * abs(top.objective)
    return path, best if better else None


def _path(kind: str, points: list[Point], origin: Point, others: Array) -> ProfilePath:
    """Collect the points, and fill in unknown slopes, at the estimate first."""
    t, zeta, slope = (np.array([getattr(p, n) for p in points]) for n in ("t", "zeta", "slope"))
    first = points.index(origin)
    for i in [first, *range(len(t))]:
        if np.isnan(slope[i]):
            slope[i] = _interpolated_slope(t, zeta, slope, i)
    return ProfilePath(kind, t, zeta, slope, first, others)


def _walk(
    held: Held, origin: Point, cutoff: float, bound: float, step: float, level: bool = False
) -> list[Point]:
    """Return the points from the estimate towards a bound, or to where ζ is level, if it may be."""
    out: list[Point] = []
    last, sign = origin, np.sign(bound - origin.t)
    for _ in range(_MOST_POINTS):
        if abs(last.zeta) >= cutoff or last.t == bound:
            break
        ahead = min(last.t + step, bound) if sign > 0 else max(last.t - step, bound)
        point = _point(held, ahead, last.refit.x, origin, at_bound=ahead == bound)
        gone = np.inf if point is None else abs(point.zeta - last.zeta)
        if point is None or gone > _LONGEST:
            step *= min(max(_STEP / gone, 0.1), 0.5)
            continue
        step = min(_STEP / point.slope, 3.0 * step) if point.slope > 0 else 3.0 * step
        if abs(point.zeta) >= _SHORTEST or ahead == bound:
            out.append(point)
            last = point
            if level and abs(point.slope) < _LEVEL:
                break
    return out


def _point(held: Held, t: float, x: Array, origin: Point, at_bound: bool = False) -> Point | None:
    """Refit at t, searching from x; None where the model cannot be fitted.

    At a bound the derivative depends on coordinates that are not identified there.
    """
    try:
        refit = held.refit(t, x)
    except FitError:
        return None
    rise = max(refit.objective - origin.refit.objective, 0.0)
    zeta = float(np.copysign(np.sqrt(rise), t - origin.t))
    unknown = at_bound or zeta == 0
    return Point(t, zeta, np.nan if unknown else refit.slope / (2.0 * zeta), refit)


def _settle(held: Held, points: list[Point], origin: Point) -> list[Point]:
    """Where |ζ| falls outwards, another branch of minima is the lower one: follow it inwards."""
    out = list(points)
    first = out.index(origin)
    for side, inwards in ((1, range(len(out) - 2, first, -1)), (-1, range(1, first))):
        lowered = False
        for i in inwards:
            outer = out[i + side]
            if lowered or abs(outer.zeta) < abs(out[i].zeta) - _FALL:
                other = _point(held, out[i].t, outer.refit.x, origin)
                lowered = other is not None and abs(other.zeta) < abs(out[i].zeta) - _FALL
                if other is not None and lowered:
                    out[i] = other
    return out


def _lower_jumps(held: Held, points: list[Point], origin: Point) -> list[Point]:
    """Where |ζ| jumps up outwards, the search was caught in another minimum: start from inside."""
    out = list(points)
    first = out.index(origin)
    for side, outwards in ((1, range(first + 2, len(out))), (-1, range(first - 2, -1, -1))):
        for i in outwards:
            inner, point = out[i - side], out[i]
            chord = (point.zeta - inner.zeta) / (point.t - inner.t)
            if np.isnan(inner.slope) or chord <= _JUMP * max(inner.slope, 0.0) + _ACCURACY:
                continue
            other = _point(
                held, point.t, inner.refit.x, origin, at_bound=bool(np.isnan(point.slope))
            )
            if other is not None and abs(other.zeta) < abs(point.zeta) - _FALL:
                out[i] = other
    return out


def _refine(held: Held, points: list[Point], origin: Point) -> list[Point]:
    """Halve all intervals, and again those in which the spline was wrong."""
    halve = {p.t for p in points[1:]}  # each interval by its right end
    for _ in range(_MOST_ROUNDS):
        spline = _path("beta", points, origin, np.zeros((len(points), 0))).spline
        out, again = [points[0]], set()
        for left, right in pairwise(points):
            if right.t in halve:
                t = 0.5 * (left.t + right.t)
                x = 0.5 * (left.refit.x + right.refit.x)
                middle = _point(held, t, x, origin)
                if middle is not None:
                    out.append(middle)
                    if abs(middle.zeta - spline(t)) > _ACCURACY:
                        again |= {t, right.t}
            out.append(right)
        points, halve = _settle(held, out, origin), again
        if not halve:
            break
    return points


def _interpolated_slope(t: Array, zeta: Array, slope: Array, i: int) -> float:
    """Return the derivative at point i of the polynomial through it and its two neighbours."""
    near = np.arange(max(0, min(i - 1, len(t) - 3)), min(len(t), max(i + 2, 3)))
    if len(near) == 1:
        return 0.0
    h = (t[near] - t[i]) / np.ptp(t[near])
    known = np.flatnonzero(~np.isnan(slope[near]))
    powers = np.arange(len(near) + len(known))
    values = h[:, None] ** powers
    slopes = powers * h[known, None] ** np.maximum(powers - 1, 0)
    right = np.concatenate([zeta[near], slope[near][known] * np.ptp(t[near])])
    coefficients = np.linalg.solve(np.vstack([values, slopes]), right)
    return float(coefficients[1] / np.ptp(t[near]))
