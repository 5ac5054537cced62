"""Second derivatives by differences of an exact gradient."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

__all__ = ["slope_along"]


def slope_along(gradient: Callable[[float], Array], h: float, low: float, high: float) -> Array:
    """Return the derivative of a gradient along one direction.

    Parameters
    ----------
    gradient : callable
        The gradient after a change along the direction.
    h : float
        The change.
    low, high : float
        How far it may go down (at most zero) and up.

    Notes
    -----
    By a central difference, or near an end by a one-sided one, both of the second order.
    """
    if low <= -h and h <= high:
        return np.asarray((gradient(h) - gradient(-h)) / (2.0 * h))
    h = h if 2.0 * h <= high else -h
    return np.asarray((4.0 * gradient(h) - gradient(2.0 * h) - 3.0 * gradient(0.0)) / (2.0 * h))
