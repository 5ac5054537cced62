"""Restricted fits, in whatever coordinates they have, by the package's Newton method.

Away from the maximum of the likelihood, where points of a profile are, the average information is
no good Hessian. What it is off by is learned from the gradients of successive points (symmetric
rank-one updates of the difference), which makes the convergence superlinear.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from mixedlm_ext.caching import cached_property
from mixedlm_ext.search.log import Log
from mixedlm_ext.search.newton import newton

Array = NDArray[np.float64]
Ends = tuple[Array, Array]

__all__ = ["Evaluated", "minimize"]

_TOL = 1e-9
"""A Newton step that promises less than this is the last."""
_MOST_EVALUATIONS = 100


class Evaluated(Protocol):
    """A criterion at one point, as `mixedlm_ext.criteria.gaussian.GaussianEvaluation` is."""

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


def minimize(at: Callable[[Array], E], start: Array, ends: Ends | None = None) -> E:
    """Find the minimum of a criterion.

    Parameters
    ----------
    at : callable
        Evaluates the criterion at an array; raises FitError where it has no value.
    start : ndarray
    ends : (ndarray, ndarray), optional
        Of the ranges of the coordinates.

    Returns
    -------
    Evaluated
        At the minimum.

    Raises
    ------
    FitError
        If the criterion has no value at the start.
    """
    first = at(start)
    if not start.size:
        return first
    unit = np.maximum(np.abs(start), 1.0)
    best, _ = newton(_Learning(at, ends, first, unit), _TOL, Log(_MOST_EVALUATIONS))
    return best.evaluated


class _Learning(Generic[E]):
    """A criterion at one point, with the error of its Hessian as far as earlier steps tell it.

    Steps are in units of their own for each coordinate: where a small sigma is held, thousands of
    units of a relative standard deviation lie beside a correlation.
    """

    has_exact = exact_is_cheap = False
    apart = None

    def __init__(
        self,
        at: Callable[[Array], E],
        ends: Ends | None,
        evaluated: E,
        unit: Array,
        before: _Learning[E] | None = None,
    ) -> None:
        self._at, self._ends, self.evaluated = at, ends, evaluated
        self._unit, self._before = unit, before
        self.theta, self.value = evaluated.theta / unit, evaluated.value
        self.noise = 1e-13 * abs(evaluated.value)

    @property
    def room(self) -> Ends | None:
        """What the ranges leave."""
        if self._ends is None:
            return None
        low, high = self._ends
        return low / self._unit - self.theta, high / self._unit - self.theta

    @cached_property
    def _gradient(self) -> Array:
        """The gradient in these units."""
        return self.evaluated.gradient * self._unit

    @cached_property
    def _hessian(self) -> Array:
        """The Hessian model and its error."""
        return self.evaluated.hessian_model * np.outer(self._unit, self._unit) + self._error

    @cached_property
    def _error(self) -> Array:
        """The error after one more step, which was taken: this is asked of accepted points only."""
        before, self._before = self._before, None
        if before is None:
            return np.zeros((self.theta.size, self.theta.size))
        step = self.theta - before.theta
        change = self._gradient - before._gradient
        return before._error + _rank_one(change - before._hessian @ step, step)

    def derivatives(self, exact: bool = False) -> tuple[Array, Array]:
        """Return gradient and Hessian."""
        return self._gradient, self._hessian

    def retract(self, step: Array) -> _Learning[E]:
        """Evaluate after a step."""
        theta = (self.theta + step) * self._unit
        if self._ends is not None:
            theta = np.clip(theta, *self._ends)
        return _Learning(self._at, self._ends, self._at(theta), self._unit, self)

    def again(self) -> _Learning[E]:
        """Evaluate once more."""
        here = self._at(self.evaluated.theta)
        return _Learning(self._at, self._ends, here, self._unit, self._before)

    def release(self) -> None:
        """Free what only derivatives need."""
        self.evaluated.release()


def _rank_one(missed: Array, s: Array) -> Array:
    """Return the symmetric matrix of rank one that maps s to `missed`; zero if it is too large."""
    along = float(missed @ s)
    if abs(along) <= 1e-8 * float(np.linalg.norm(missed)) * float(np.linalg.norm(s)):
        return np.zeros((len(s), len(s)))
    return np.outer(missed, missed) / along
