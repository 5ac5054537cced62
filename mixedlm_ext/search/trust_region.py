"""The trust-region subproblem, solved exactly by an eigendecomposition: theta is short.

Some directions may have ends. The model is then minimized over a growing set of coordinates held at
their ends, those first at which the search stands already and against which it is pushed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq

from mixedlm_ext.linalg.blas import eigh

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

__all__ = [
    "ACCEPTED",
    "BAD",
    "CURVATURE_NOISE",
    "CUT_SHORT",
    "FARTHEST",
    "GOOD",
    "SHORTER",
    "SHORTEST",
    "WIDER",
    "QuadraticModel",
    "Step",
    "units_of",
]

CURVATURE_NOISE = 1e-7
"""Eigenvalues of the Hessian this small, relative to the largest, count as zero."""
ACCEPTED = 1e-3
"""A step is taken if it gains more than this share of what it promised."""
BAD, GOOD = 0.25, 0.75
"""Shares of what was promised below which a step was bad, and above which it was good."""
SHORTER, WIDER = 0.25, 3.0
"""What a bad step does to its own length, and a good one that was cut short to the radius."""
CUT_SHORT = 0.9
"""A step of this share of the radius counts as cut short."""
FARTHEST = 1e8
"""Where the model has no minimum, a step without a radius goes this far."""
_NO_WAY = 1e-9
"""Decrease below which a way of negative curvature, whose length has no bound, leads nowhere."""
SHORTEST = 1e-12
"""A radius below which no step is worth trying."""


@dataclass(frozen=True)
class Step:
    """A step, the decrease it promises, and the curvature of the model that it is taken in.

    Attributes
    ----------
    vector : ndarray
    decrease : float
    curvature : float
        The most negative one, 0 if there is none.
    flat : bool
        Whether there is a direction without curvature.
    """

    vector: Array
    decrease: float
    curvature: float
    flat: bool = False

    @property
    def length(self) -> float:
        """Euclidean norm."""
        return float(np.linalg.norm(self.vector))

    def gain_ratio(self, gained: float, noise: float) -> float:
        """Return the decrease over what was promised, both blurred by the criterion's rounding."""
        return (gained + noise) / (self.decrease + noise)

    def next_radius(self, radius: float, ratio: float) -> float:
        """Shrink the trust region after a bad step; widen it after a good one it cut short."""
        if not ratio >= BAD:
            return SHORTER * self.length
        if ratio > GOOD and self.length > CUT_SHORT * radius:
            return WIDER * radius
        return radius


Room = tuple[Array, Array]
"""How far a step may go down and up each direction."""


class _Eigenbasis(NamedTuple):
    """A quadratic model in the eigenbasis of H, or of UHU in units U; flat ones have no values."""

    values: Array
    vectors: Array
    flat: Mask
    g: Array
    scale: float

    @classmethod
    def of(cls, g: Array, H: Array, units: Array | None = None) -> _Eigenbasis:
        if units is not None:
            g, H = units * g, units[:, None] * H * units
        values, vectors = eigh(H)
        scale = max(float(np.abs(values).max(initial=0.0)), 1e-300)
        flat = np.abs(values) <= CURVATURE_NOISE * scale
        return cls(np.where(flat, 0.0, values), vectors, flat, vectors.T @ g, scale)


class QuadraticModel:
    """The quadratic model g's + s'Hs/2 in the eigenbasis of H.

    Parameters
    ----------
    g : ndarray (d,)
    H : ndarray (d, d)
    room : (ndarray, ndarray), optional
        Lower and upper ends of a step, at most and at least zero. Directions without room for a
        decrease are left out of the eigenbasis, where `vectors` are zero.
    apart : ndarray of bool (d,), optional
        Directions whose curvature may be of another order than that of the others: coefficients
        are known far better than variances where residuals are small. Whether a direction is flat
        is then asked in units in which both have curvatures of the same order.
    """

    def __init__(
        self, g: Array, H: Array, room: Room | None = None, apart: Mask | None = None
    ) -> None:
        self._ends = None
        if room is not None:
            low, high = room
            blocked = ((low >= 0) & (g > 0)) | ((high <= 0) & (g < 0))
            if (np.isfinite(low) | np.isfinite(high)).any():
                self._ends = (g, H, low, high, blocked)
            H = np.where(blocked[:, None] | blocked, 0.0, H)
            g = np.where(blocked, 0.0, g)
        self._g, self._H, self._apart = g, H, apart
        self._units = None if apart is None else units_of(H[None], apart)[0]
        self._basis = _Eigenbasis.of(g, H, self._units)

    @property
    def vectors(self) -> Array:
        """The eigenvectors of H in its units, in columns."""
        return self._basis.vectors

    @property
    def flat(self) -> Mask:
        """Which of them have no curvature."""
        return self._basis.flat

    def step(self, radius: float) -> Step:
        """Return the minimizer of the model within `radius` (infinite: the Newton step)."""
        whole = self._unbounded(radius)
        if self._ends is None:
            return whole
        g, H, low, high, _ = self._ends
        if ((whole.vector >= low) & (whole.vector <= high)).all():
            return whole
        ways = [whole.vector]
        if whole.curvature < 0:
            length = float(np.linalg.norm(whole.vector))
            ways += [-whole.vector, *_into_the_corner(H, low, high, length)]
        steps = [self._within(way, radius) for way in ways]
        decreases = [-float(g @ s + 0.5 * s @ H @ s) for s in steps]
        best = int(np.argmax(decreases))
        # negative curvature that no way with room meets is none
        curvature = whole.curvature if decreases[best] > _NO_WAY else 0.0
        return Step(steps[best], decreases[best], curvature, whole.flat)

    def _unbounded(self, radius: float) -> Step:
        """Return the minimizer as if no direction had ends."""
        basis = self._basis
        lowest, flat = float(basis.values.min(initial=0.0)), bool(basis.flat.any())
        if lowest == 0:
            s = self._interior()
            vector = basis.vectors @ s
            vector = vector if self._units is None else self._units * vector
            if np.linalg.norm(vector) <= radius:
                decrease = -float(basis.g @ s + 0.5 * (basis.values * s) @ s)
                return Step(vector, decrease, lowest, flat)
        own = basis if self._units is None else _Eigenbasis.of(self._g, self._H)
        s = _on_boundary(own, min(radius, FARTHEST))
        decrease = -float(own.g @ s + 0.5 * (own.values * s) @ s)
        return Step(own.vectors @ s, decrease, lowest, flat)

    def _interior(self) -> Array:
        """Return the Newton step; a gradient along a flat direction is noise and left alone."""
        s = np.zeros_like(self._basis.g)
        curved = ~self._basis.flat
        s[curved] = -self._basis.g[curved] / self._basis.values[curved]
        return s

    def _within(self, step: Array, radius: float) -> Array:
        """Return a step that keeps to its ends, from one that does not.

        One after the other, the coordinate that would meet its end first is held there, and the
        model is minimized over the others, until none overshoots.
        """
        assert self._ends is not None
        g, H, low, high, blocked = self._ends
        held, out = blocked.copy(), np.where(blocked, 0.0, step)
        while True:
            share = np.ones(len(out))
            moving = ~held & (out != 0)
            share[moving] = np.where(out < 0, low, high)[moving] / out[moving]
            first = int(np.argmin(share))
            if share[first] >= 1.0:
                return np.clip(out, low, high)
            out[first] *= share[first]
            held[first] = True
            free = ~held
            if not free.any():
                return np.clip(out, low, high)
            rest = np.sqrt(max(radius**2 - float(out[held] @ out[held]), 1e-300))
            pull = g[free] + H[np.ix_(free, held)] @ out[held]
            apart = None if self._apart is None else self._apart[free]
            part = QuadraticModel(pull, H[np.ix_(free, free)], apart=apart)
            out[free] = part.step(rest).vector


def units_of(H: Array, apart: Mask) -> Array:
    """Return units (r, d) of steps by which some directions have curvatures like the others'.

    Parameters
    ----------
    H : ndarray (r, d, d)
        Of r criteria.
    apart : ndarray of bool (d,)
    """
    own = np.abs(H[:, apart][:, :, apart]).max(axis=(1, 2), initial=0.0)
    others = np.abs(H[:, ~apart][:, :, ~apart]).max(axis=(1, 2), initial=0.0)
    known = (own > 0) & (others > 0)
    share = np.sqrt(np.where(known, others, 1.0) / np.where(known, own, 1.0))
    return np.where(apart, share[:, None], 1.0)


def _on_boundary(basis: _Eigenbasis, radius: float) -> Array:
    """Return the solution of length `radius`: (H + μI)s = -g with μ >= -lowest."""
    values, g = basis.values, basis.g
    lowest = float(values.min(initial=0.0))

    def excess(mu: float) -> float:
        return float(np.linalg.norm(g / (values + mu))) - radius

    low = -lowest + 1e-12 * basis.scale
    if excess(low) <= 0:  # the hard case: no gradient along the lowest eigenvector
        s = np.where(values > lowest, -g / (values - lowest + 1e-300), 0.0)
        missing = max(radius**2 - float(s @ s), 0.0)
        s[int(np.argmin(values))] = np.sqrt(missing) if lowest < 0 else 0.0
        return s
    high = low + 1.001 * float(np.linalg.norm(g)) / radius
    mu = brentq(excess, low, high, xtol=1e-300, rtol=1e-10) if excess(high) < 0 else high
    return np.asarray(-g / (values + mu))


def _into_the_corner(H: Array, low: Array, high: Array, length: float) -> list[Array]:
    """Return the way of most negative curvature along one or two coordinates that have room.

    From a corner of the domain the eigenvectors of H may all lead out of it, while another way of
    negative curvature leads in.
    """
    signs = [(1.0, high > 0), (-1.0, low < 0)]
    best, way = 0.0, []
    for one, has in signs:
        for two, also in signs:
            pairs = 0.5 * (np.diag(H)[:, None] + np.diag(H)) + one * two * H
            same = np.eye(len(H), dtype=np.bool_)
            pairs = np.where(same, np.diag(H)[:, None] if one == two else np.inf, pairs)
            pairs = np.where(np.outer(has, also), pairs, np.inf)
            i, j = np.unravel_index(int(pairs.argmin()), pairs.shape)
            if pairs[i, j] < best:
                out = np.zeros(len(H))
                out[i] += one
                out[j] += two if i != j else 0.0
                best, way = float(pairs[i, j]), [out * (length / np.linalg.norm(out))]
    return way
