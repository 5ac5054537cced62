"""Confidence intervals from bootstrap replicates (Davison & Hinkley 1997, chapter 5)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from mixedlm_ext.errors import FitError

Array = NDArray[np.float64]

__all__ = ["INTERVALS", "interval"]

INTERVALS = ("percentile", "basic", "normal", "bca", "shortest")

_TIE = 1e-6
"""Share of their standard deviation by which replicates may differ and still be the same."""


def interval(
    kind: str, name: object, replicates: Array, estimate: float, alpha: float, acceleration: float
) -> tuple[float, float]:
    """Return the limits for one parameter.

    Parameters
    ----------
    kind : {"percentile", "basic", "normal", "bca", "shortest"}
    name : object
        The parameter's, for messages.
    replicates : ndarray (n,)
        nan where there is none.
    estimate : float
    alpha : float
    acceleration : float
        Of "bca".

    Returns
    -------
    tuple of float
        nan for a parameter without estimate.
    """
    t = replicates[np.isfinite(replicates)]
    if not np.isfinite(estimate):
        return np.nan, np.nan
    if len(t) < 2:
        raise FitError(
            f"{name!s} has {len(t)} bootstrap replicates; an interval needs more. Raise n."
        )
    tails = np.array([alpha / 2.0, 1.0 - alpha / 2.0])
    if kind == "normal":
        center, spread = 2.0 * estimate - t.mean(), t.std(ddof=1)
        low, high = center + stats.norm.ppf(tails) * spread
    elif kind == "basic":
        low, high = 2.0 * estimate - _quantiles(t, tails[::-1])
    elif kind == "percentile":
        low, high = _quantiles(t, tails)
    elif kind == "shortest":
        low, high = _shortest(t, 1.0 - alpha)
    else:
        low, high = _quantiles(t, _bca_tails(name, t, estimate, tails, acceleration))
    return float(low), float(high)


def _quantiles(t: Array, p: Array) -> Array:
    """Return quantiles by the rank (n + 1)p."""
    return np.asarray(np.quantile(t, p, method="weibull"))


def _shortest(t: Array, level: float) -> Array:
    """Return the closest two order statistics with a share `level` of the replicates in between.

    Of several as close, the lowest.
    """
    ordered = np.sort(t)
    n = len(ordered)
    apart = int(np.clip(round(n * level), 1, n - 1))
    width = ordered[apart:] - ordered[:-apart]
    first = int(np.argmin(width))
    return ordered[[first, first + apart]]


def _bca_tails(name: object, t: Array, estimate: float, tails: Array, acceleration: float) -> Array:
    """Return the probabilities Φ(w + (w + z)/(1 - a(w + z))) (eq. 5.21).

    w measures the median's bias; replicates equal to the estimate but for rounding, as happens at
    a variance of zero, count half.
    """
    tie = _TIE * t.std()
    below = float(0.5 * (np.mean(t < estimate - tie) + np.mean(t <= estimate + tie)))
    if not 0.0 < below < 1.0:
        raise FitError(
            f"all {len(t)} bootstrap replicates of {name!s} lie on one side of its estimate, so "
            "its bias cannot be corrected. Use kind='percentile', or raise n."
        )
    w = stats.norm.ppf(below)
    z = w + stats.norm.ppf(tails)
    return np.asarray(stats.norm.cdf(w + z / (1.0 - acceleration * z)))
