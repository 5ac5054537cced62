"""What the search minimizes: a function known by value and derivatives, one point at a time."""

from __future__ import annotations

from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
Self = TypeVar("Self", bound="Evaluation")
E = TypeVar("E", covariant=True)

__all__ = ["Criterion", "Evaluation"]


class Criterion(Protocol[E]):
    """A function to minimize, as `mixedlm_ext.criteria.gaussian.GaussianCriterion` is one."""

    def at(self, theta: Array) -> E:
        """Evaluate at a point; FitError where there is no value."""


class Evaluation(Protocol):
    """A criterion at one point; derivatives are computed when asked for."""

    @property
    def theta(self) -> Array:
        """The point."""

    @property
    def value(self) -> float:
        """The criterion."""

    @property
    def noise(self) -> float:
        """The order of its rounding error."""

    @property
    def has_exact(self) -> bool:
        """Whether there are exact second derivatives."""

    @property
    def exact_is_cheap(self) -> bool:
        """Whether they cost next to nothing."""

    @property
    def room(self) -> tuple[Array, Array] | None:
        """How far a step may go down and up each of its directions; None if there are no ends."""

    @property
    def apart(self) -> Mask | None:
        """Directions of a step along which curvatures may be of another order; None for none."""

    def derivatives(self, exact: bool = False) -> tuple[Array, Array]:
        """Return gradient and Hessian, exact or a model of it, along the directions of a step."""

    def retract(self: Self, step: Array) -> Self:
        """Evaluate after a step along those directions; FitError where there is no value."""

    def again(self: Self) -> Self:
        """Evaluate here once more, after `release`."""

    def release(self) -> None:
        """Free what only derivatives need."""
