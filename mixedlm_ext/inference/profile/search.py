"""Trust-region Newton for restricted fits, in whatever coordinates they have."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from mixedlm_ext.errors import FitError
from mixedlm_ext.search.trust_region import QuadraticModel

Array = NDArray[np.float64]

__all__ = ["Evaluated", "minimize"]

_TOL = 1e-9
"""A Newton step that promises less than this is the last."""
_MOST_EVALUATIONS = 100


class Evaluated(Protocol):
    """A criterion at one point, as `mixedlm_ext.objective.Evaluation` is one."""

    @property
    def theta(self) -> Array:
        """The point."""

    @property
    def value(self) -> float:
        """The criterion."""

    @property
    def gradient(self) -> Array:
        """Its exact gradient."""

    @property
    def hessian_model(self) -> Array:
        """Its Hessian, more or less."""

    def release(self) -> None:
        """Free what only derivatives need."""


E = TypeVar("E", bound=Evaluated)


def minimize(at: Callable[[Array], E], start: Array) -> E:
    """Find the minimum of a criterion.

    Parameters
    ----------
    at : callable
        Evaluates the criterion at an array; raises FitError where it has no value.
    start : ndarray

    Returns
    -------
    Evaluated
        At the minimum.

    Raises
    ------
    FitError
        If the criterion has no value at the start.

    Notes
    -----
    Away from the maximum of the likelihood, where points of a profile are, the average information
    is no good Hessian. What it is off by is learned from the gradients of successive points
    (symmetric rank-one updates of the difference), which makes the convergence superlinear.
    """
    current = at(start)
    error = np.zeros((start.size, start.size))
    radius = max(1.0, float(np.linalg.norm(start)))
    for _ in range(_MOST_EVALUATIONS if start.size else 0):
        H = current.hessian_model + error
        model = QuadraticModel(current.gradient, H)
        current.release()
        newton = model.step(np.inf)
        last = newton.curvature >= 0 and newton.decrease <= _TOL
        if last and newton.decrease <= 1e-15 * abs(current.value):
            break
        step = newton if newton.length <= radius else model.step(radius)
        trial = _try(at, current.theta + step.vector)
        gained = current.value - trial.value if trial is not None else -np.inf
        ratio = step.gain_ratio(gained, 1e-13 * abs(current.value))
        radius = step.next_radius(radius, ratio)
        if trial is not None and ratio > 1e-3:
            if not last:
                change = trial.gradient - current.gradient
                error = error + _rank_one(change - H @ step.vector, step.vector)
            current = trial
        if last or radius < 1e-12:
            break
    return current


def _rank_one(missed: Array, s: Array) -> Array:
    """Return the symmetric matrix of rank one that maps s to `missed`; zero if it is too large."""
    along = float(missed @ s)
    if abs(along) <= 1e-8 * float(np.linalg.norm(missed)) * float(np.linalg.norm(s)):
        return np.zeros((len(s), len(s)))
    return np.outer(missed, missed) / along


def _try(at: Callable[[Array], E], x: Array) -> E | None:
    """Evaluate, or return None where the criterion has no value."""
    try:
        return at(x)
    except FitError:
        return None
