"""Second derivatives by differences of an exact gradient."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

__all__ = ["hessian_by_differences"]


def hessian_by_differences(
    gradient_after: Callable[[Array], Array], h: Array, low: Array, high: Array
) -> Array:
    """Return the second derivatives (d, d) along d directions, 2d gradients or one more for an end.

    Parameters
    ----------
    gradient_after : callable
        The gradient (d,) after a step (d,).
    h : ndarray (d,)
        The step along each direction.
    low, high : ndarray (d,)
        How far each may go down (at most zero) and up.
    """

    def slope(j: int) -> Array:
        unit = np.eye(len(h))[j]
        return _slope_along(lambda change: gradient_after(change * unit), h[j], low[j], high[j])

    out = np.array([slope(j) for j in range(len(h))])
    return np.asarray(0.5 * (out + out.T))


def _slope_along(gradient: Callable[[float], Array], h: float, low: float, high: float) -> Array:
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
