"""Sorted values against normal quantiles, with the line of the quartiles and a band around it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from mixedlm_ext.plots.figure import REFERENCE, name_points
from mixedlm_ext.plots.labels import shorten

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Array = NDArray[np.float64]

__all__ = ["draw_quantiles", "order_statistic_band"]


def draw_quantiles(
    ax: Axes, values: Array, labels: Sequence[str], alpha: float, n_labels: int
) -> None:
    """Draw one normal quantile plot.

    The line passes through the quartiles; the band is about it.
    """
    n = len(values)
    order = np.argsort(values, kind="stable")
    x = stats.norm.ppf((np.arange(n) + 0.5) / n)
    y = values[order]
    center, spread = _quartile_line(y)
    lower, upper = (center + spread * z for z in order_statistic_band(n, alpha))
    ax.fill_between(
        x, lower, upper, color="0.88", linewidth=0, label=f"{1 - alpha:.0%} band of normal values"
    )
    ax.plot(x, center + spread * x, color=REFERENCE, linewidth=1)
    small = n > 200
    ax.plot(x, y, "o", color="C0", markersize=2.5 if small else 4.0, rasterized=small)
    away = np.abs(y - center - spread * x) > 0
    outside = np.flatnonzero(((y < lower) | (y > upper)) & away)
    worst = outside[np.argsort(-np.abs(y[outside] - center), kind="stable")][:n_labels]
    side = np.where(x[worst] < 0, 5.0, -5.0)  # where an increasing curve leaves room
    names = [shorten(labels, 16)[order[j]] for j in worst]
    name_points(ax, x[worst], y[worst], names, (side, -0.6 * side))
    ax.set_xlabel("standard normal quantile")


def order_statistic_band(n: int, alpha: float) -> tuple[Array, Array]:
    """Return the limits of each of n sorted independent standard normal values.

    Each is within its limits with probability 1 - α: the i-th of n uniform values is
    Beta(i, n + 1 - i).
    """
    i = np.arange(1, n + 1)
    shares = np.array([[alpha / 2], [1 - alpha / 2]])
    lower, upper = np.asarray(stats.norm.ppf(stats.beta.ppf(shares, i, n + 1 - i)))
    return lower, upper


def _quartile_line(y: Array) -> tuple[float, float]:
    """Return intercept and slope of the line through the quartiles."""
    low, high = np.quantile(y, [0.25, 0.75])
    spread = (high - low) / (stats.norm.ppf(0.75) - stats.norm.ppf(0.25))
    return float(low + high) / 2, float(spread)
