"""What the search minimizes: a function known by value and derivatives, one point at a time."""

from __future__ import annotations

from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Self = TypeVar("Self", bound="Criterion")

__all__ = ["Criterion"]


class Criterion(Protocol):
    """A criterion at one point, as `mixedlm_ext.objective.Evaluation` is one.

    Attributes
    ----------
    theta : ndarray
        The point.
    value, noise : float
        The criterion, and the order of its rounding error.
    has_exact, exact_is_cheap : bool
        Whether there are exact second derivatives, and whether they cost next to nothing.
    room : (ndarray, ndarray) or None
        How far a step may go down and up each of its directions; None if there are no ends.
    """

    @property
    def theta(self) -> Array: ...
    @property
    def value(self) -> float: ...
    @property
    def noise(self) -> float: ...
    @property
    def has_exact(self) -> bool: ...
    @property
    def exact_is_cheap(self) -> bool: ...
    @property
    def room(self) -> tuple[Array, Array] | None: ...

    def derivatives(self, exact: bool = False) -> tuple[Array, Array]:
        """Return gradient and Hessian, exact or a model of it, along the directions of a step."""

    def retract(self: Self, step: Array) -> Self:
        """Evaluate after a step along those directions; FitError where there is no value."""

    def again(self: Self) -> Self:
        """Evaluate here once more, after `release`."""

    def release(self) -> None:
        """Free what only derivatives need."""
