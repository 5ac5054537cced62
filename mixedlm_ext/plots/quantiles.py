"""Sorted values against normal quantiles, with the line of the quartiles and a band around it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from mixedlm_ext.plots.colors import REFERENCE, blend, line_colors
from mixedlm_ext.plots.naming import name_points

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Array = NDArray[np.float64]

__all__ = ["draw_quantiles", "order_statistic_band"]


def draw_quantiles(
    ax: Axes, values: Array, labels: Sequence[str], alpha: float, n_labels: int
) -> Callable[[], None]:
    """Draw one normal quantile plot, and return what names the values farthest outside the band.

    The line passes through the quartiles; the band is about it. Names are written at the end, when
    the limits of the axes are final.
    """
    n = len(values)
    order = np.argsort(values, kind="stable")
    x = stats.norm.ppf((np.arange(n) + 0.5) / n)
    y = values[order]
    center, spread = _quartile_line(y)
    lower, upper = (center + spread * z for z in order_statistic_band(n, alpha))
    band = f"{1 - alpha:.0%} band of normal values"
    ax.fill_between(x, lower, upper, color=blend(ax, 0.12), linewidth=0, label=band)
    ax.plot(x, center + spread * x, color=blend(ax, REFERENCE), linewidth=1)
    small = n > 200
    ax.plot(x, y, "o", color=line_colors(1)[0], markersize=2.5 if small else 4.0, rasterized=small)
    ax.margins(0.08)
    beyond = np.maximum(lower - y, y - upper)
    outside = np.flatnonzero(beyond > 1e-9 * max(np.ptp(y), spread))
    worst = outside[np.argsort(-beyond[outside], kind="stable")][:n_labels]
    some = np.unique(np.linspace(0, n - 1, 400).astype(int))
    filled = [(x[some], lower[some] + s * (upper - lower)[some]) for s in np.linspace(0, 1, 15)]
    names = [labels[order[j]] for j in worst]
    drawn = [*filled, (x[some], y[some])]
    return lambda: name_points(ax, x[worst], y[worst], names, drawn)


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
