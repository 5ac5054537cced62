"""The largest of several correlated t statistics: exact adjustment for any family of contrasts.

P(max |T_j| > t) is written with the conditional distributions given one statistic beyond t,

    Σ_i P(|T_i| > t) E[1/N | |T_i| > t],   N = #{j: |T_j| > t},                          (1)

which counts each outcome once (Naiman & Wynn's union identity; Adler, Blanchet & Liu 2012, Annals
of Applied Probability 22(3)). 1/N lies between 1/m and 1, so that the relative error stays small
however small the probability. Given T_i, the other statistics are t on ν + 1 degrees of freedom
about r_ij T_i. The expectation is an average over a fixed lattice with the baker's transformation
(Genz & Bretz 2009, Computation of Multivariate Normal and t Probabilities, section 4.2).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, special, stats

from mixedlm_ext.inference.means.studentized_range import quantiles_by_df

Array = NDArray[np.float64]

__all__ = ["max_t_isf", "max_t_sf"]

_POINTS = 32768
_MOST_CELLS = 20_000_000
"""Points times squared number of statistics, at most."""
_INDEPENDENT = 1e-10
"""Eigenvalues of a correlation matrix below this are zero."""
_INTERPOLATED = 4
"""Quantiles for more degrees of freedom are interpolated between so many: smooth in 1/ν."""


def max_t_sf(t: ArrayLike, corr: Array, df: ArrayLike) -> Array:
    """Return the probability that the largest |T| exceeds t.

    Parameters
    ----------
    t : array_like
    corr : ndarray (m, m)
        Correlation matrix of the numerators; it may be singular.
    df : array_like
        Degrees of freedom of the common denominator; may be infinite.

    Returns
    -------
    ndarray
        With a relative error of about 1e-3; always the same for the same arguments.

    Examples
    --------
    >>> corr = np.array([[1.0, 0.5], [0.5, 1.0]])
    >>> max_t_sf([2.2, 9.0], corr, 20.0).round(3)
    array([0.072, 0.   ])
    """
    t, df = np.broadcast_arrays(np.abs(np.asarray(t, dtype=float)), np.asarray(df, dtype=float))
    family = _Family(corr)
    return np.array([family.tail(*pair) for pair in zip(t.ravel(), df.ravel())]).reshape(t.shape)


def max_t_isf(p: float, corr: Array, df: ArrayLike) -> Array:
    """Return the values that the largest |T| exceeds with probability p, as `max_t_sf` has it."""
    df = np.asarray(df, dtype=float)
    family = _Family(corr)
    return quantiles_by_df(lambda one: family.quantile(p, one), df, _INTERPOLATED)


class _Family:
    """Statistics with one correlation matrix, and the lattice to average over."""

    def __init__(self, corr: Array) -> None:
        self.corr, self.m = corr, len(corr)
        self.roots = [_conditional_root(corr, i) for i in range(self.m)]
        n = max(512, min(_POINTS, _MOST_CELLS // self.m**2))
        points = _lattice(n, 2 + max(root.shape[1] for root in self.roots))
        self.share, self.radius = points[:, 0], points[:, 1]
        self.normal = special.ndtri(points[:, 2:])
        self._spreads: dict[float, Array] = {}

    def _spread(self, df: float) -> Array:
        """Return draws of the common factor of the others given one statistic, √((ν + 1)/χ²)."""
        if np.isinf(df):
            return np.ones(len(self.radius))
        if df not in self._spreads:
            chi2 = 2.0 * special.gammaincinv((df + 1.0) / 2.0, self.radius)
            self._spreads[df] = np.sqrt((df + 1.0) / chi2)
        return self._spreads[df]

    def tail(self, t: float, df: float) -> float:
        """Return the probability of (1)."""
        one = 2.0 * float(stats.t.sf(t, df))
        if self.m == 1 or not 0.0 < one < 1.0:
            return one
        beyond = stats.t.isf(self.share * one / 2.0, df)  # T_i given T_i > t; |.| is symmetric
        scale = self._spread(df)
        if np.isfinite(df):
            scale = scale * np.sqrt((df + beyond**2) / (df + 1.0))
        total = 0.0
        for i, root in enumerate(self.roots):
            noise = self.normal[:, : root.shape[1]] @ root.T
            for sign in (1.0, -1.0):  # both: the signs of a root's columns are arbitrary
                others = self.corr[i] * beyond[:, None] + sign * noise * scale[:, None]
                others[:, i] = np.inf
                total += 0.5 * one * float((1.0 / (np.abs(others) > t).sum(axis=1)).mean())
        return min(total, 1.0)

    def quantile(self, p: float, df: float) -> float:
        """Return the value that is exceeded with probability p."""
        low, high = (float(stats.t.isf(p / (2.0 * m), df)) for m in (1, self.m))

        def above(t: float) -> float:
            return float(np.log(self.tail(t, df) / p))

        if high - low < 1e-12 * high or above(low) <= 0.0:
            return low
        return high if above(high) >= 0.0 else float(optimize.brentq(above, low, high, xtol=1e-6))


def _conditional_root(corr: Array, i: int) -> Array:
    """Return B (m, r) with BB' the covariance of the statistics given the one at i."""
    left = corr - np.outer(corr[:, i], corr[:, i])
    values, vectors = np.linalg.eigh(left)
    kept = values > _INDEPENDENT
    return np.asarray((vectors[:, kept] * np.sqrt(values[kept]))[:, ::-1])


def _lattice(n: int, dimensions: int) -> Array:
    """Return Richtmyer's lattice (n, dimensions) of square roots of primes, folded at 1/2."""
    primes: list[int] = []
    candidate = 2
    while len(primes) < dimensions:
        if all(candidate % p for p in primes):
            primes.append(candidate)
        candidate += 1
    shifted = np.arange(1, n + 1)[:, None] * np.sqrt(primes) % 1.0
    folded = 1.0 - np.abs(2.0 * shifted - 1.0)
    return np.clip(folded, 1e-12, 1.0 - 1e-12)
