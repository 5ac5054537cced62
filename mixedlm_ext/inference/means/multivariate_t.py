"""The largest of several correlated t statistics: exact adjustment for any family of contrasts.

The numerators are T_i = a_i'Z of r independent normals Z, r the rank of their correlation matrix,
over one estimate S of the standard deviation. Z/S has the length R and a direction; max |T_i| is R
times the cosine of the angle θ between the direction and the nearest a_i, and R²/r is F on r and ν
degrees of freedom (Somerville 1997, Computational Statistics & Data Analysis 24(4)):

    P(max |T_i| > t) = E F̄_{r,ν}(t²/(r cos²θ)).                                         (1)

Around each a_i go out along a great circle in the direction v, a unit vector orthogonal to a_i.
a_i is the nearest as long as no other statistic overtakes it, up to the angle

    tan θ_i(v) = min_j (1 ∓ r_ij)/(±d_j'v)_+,    d_j the part of a_j orthogonal to a_i,     (2)

so that θ has the density f(θ) Σ_i P(θ_i(v) > θ), f that of the angle between a random line and a
fixed one. No t or ν is in it: it is computed once a family. Only the mean over v is a sum over
points, of r - 2 dimensions, and none is rare however small the probability of (1).

Correlations b_i b_j, those of comparisons with a control, need no points (`ProductCorrelation`).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, special, stats

from mixedlm_ext.inference.means.product_correlation import ProductCorrelation, product_loadings
from mixedlm_ext.inference.means.studentized_range import quantiles_by_df

Array = NDArray[np.float64]

__all__ = ["max_t_isf", "max_t_sf"]

_POINTS = 16384
_MOST_CELLS = 100_000_000
"""Points times squared number of statistics, at most."""
_INDEPENDENT = 1e-10
"""Conditional variances below this are zero."""
_ANGLES = 4096
"""Cells of θ between 0 and a right angle."""
_INTERPOLATED = 8
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
        nan where t or df is. The relative error is below 1e-6 for correlations b_i b_j and for
        those of rank 3 or less, 3e-4 up to rank 5, 2e-3 up to rank 10, 1e-2 beyond; the same
        arguments give the same number.

    Examples
    --------
    >>> corr = np.array([[1.0, 0.5], [0.5, 1.0]])
    >>> max_t_sf([2.2, 9.0], corr, 20.0)
    array([7.15589754e-02, 3.56112529e-08])
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
    """Statistics with one correlation matrix."""

    def __init__(self, corr: Array) -> None:
        corr = _distinct(corr)
        self.m = len(corr)
        loadings = product_loadings(corr)
        self._law: ProductCorrelation | _Angles = (
            _Angles(corr) if loadings is None else ProductCorrelation(loadings)
        )

    def tail(self, t: float, df: float) -> float:
        """Return the probability of (1), between that of one statistic and Bonferroni's bound."""
        one = 2.0 * float(stats.t.sf(t, df))
        if self.m == 1 or not 0.0 < one < 1.0:
            return one
        return min(max(self._law.tail(t, df), one), self.m * one, 1.0)

    def quantile(self, p: float, df: float) -> float:
        """Return the value that is exceeded with probability p."""
        low, high = (float(stats.t.isf(p / (2.0 * m), df)) for m in (1, self.m))

        def above(t: float) -> float:
            return float(np.log(self.tail(t, df) / p))

        if high - low < 1e-12 * high or above(low) <= 0.0:
            return low
        return high if above(high) >= 0.0 else float(optimize.brentq(above, low, high, xtol=1e-8))


class _Angles:
    """The law of the angle θ of (1), as weights of cells; of two statistics or more."""

    def __init__(self, corr: Array) -> None:
        a = _root(corr)
        self.rank = r = a.shape[1]
        edges, width = np.linspace(0.0, np.pi / 2.0, _ANGLES + 1, retstep=True)
        middle = edges[1:] - width / 2.0
        self.cos2 = np.cos(middle) ** 2
        density = 2.0 * np.sin(middle) ** (r - 2) / special.beta(0.5, (r - 1) / 2.0)
        self.weights = density * width * _nearest(a)

    def tail(self, t: float, df: float) -> float:
        """Return the probability of (1)."""
        r, x = self.rank, t**2 / self.cos2
        beyond = special.chdtrc(r, x) if np.isinf(df) else special.fdtrc(r, df, x / r)
        return float(self.weights @ beyond)


def _nearest(a: Array) -> Array:
    """Return Σ_i P(θ_i(v) > θ) in each cell of θ, by equation (2).

    θ_i lies between two edges, which share it by their distance: sums over θ up to θ_i are then
    interpolated.
    """
    m, r = a.shape
    v = _directions(max(512, min(_POINTS, _MOST_CELLS // m**2)), r - 1)
    count = np.zeros(_ANGLES + 2)
    for i in range(m):
        others = np.delete(a, i, axis=0)
        basis = np.roll(_complement(a[i]), i, axis=1)  # rolled: errors of the i are not the same
        corr, d = others @ a[i], others @ basis
        slopes = np.concatenate([d / (1.0 - corr)[:, None], -d / (1.0 + corr)[:, None]]) @ v.T
        for cot in (slopes.max(axis=0), -slopes.min(axis=0)):  # of v and of -v
            place = np.arctan2(1.0, cot) * (2.0 * _ANGLES / np.pi)
            low = np.minimum(place.astype(int), _ANGLES)
            count += np.bincount(low, low + 1 - place, _ANGLES + 2)
            count += np.bincount(low + 1, place - low, _ANGLES + 2)
    beyond = np.cumsum(count[::-1])[::-1] / (2.0 * len(v))
    return np.asarray(beyond[1 : _ANGLES + 1])


def _distinct(corr: Array) -> Array:
    """Return the correlations without statistics that equal an earlier one but for the sign."""
    kept: list[int] = []
    for j in range(len(corr)):
        if not (1.0 - corr[j, kept] ** 2 < _INDEPENDENT).any():
            kept.append(j)
    return np.asarray(corr[np.ix_(kept, kept)])


def _root(corr: Array) -> Array:
    """Return A (m, r) with AA' the correlations and rows of length one: Cholesky's, row by row.

    Its signs are fixed, unlike those of eigenvectors, so that equal arguments give equal results
    whatever the library of linear algebra does.
    """
    left, columns = corr.copy(), []
    for j in range(len(corr)):
        if left[j, j] > _INDEPENDENT:
            columns.append(left[:, j] / np.sqrt(left[j, j]))
            left = left - np.outer(columns[-1], columns[-1])
    a = np.array(columns).T
    return np.asarray(a / np.linalg.norm(a, axis=1, keepdims=True))


def _complement(a: Array) -> Array:
    """Return an orthonormal basis (r, r - 1) of what is orthogonal to a unit vector."""
    u = a.copy()  # Householder's reflection
    u[0] += 1.0 if a[0] >= 0.0 else -1.0
    return np.asarray((np.eye(len(a)) - np.outer(u, u) * (2.0 / (u @ u)))[:, 1:])


def _directions(n: int, d: int) -> Array:
    """Return unit vectors (n, d), even over the sphere when each is taken with both signs.

    Coordinates are drawn one after the other, (1 + x)/2 of them beta (Fang & Wang 1994,
    Number-theoretic Methods in Statistics, section 1.5), from a lattice; the last two are an angle,
    equally spaced.
    """
    if d == 1:
        return np.ones((1, 1))
    shares, left = _lattice(n, d - 2), np.ones(n)
    out = np.empty((n, d))
    for j in range(d - 2):
        half = (d - j - 1) / 2.0
        x = 2.0 * special.betaincinv(half, half, shares[:, j]) - 1.0
        out[:, j], left = left * x, left * np.sqrt(1.0 - x**2)
    turn = (np.arange(n) + 0.5) * ((np.pi if d == 2 else 2.0 * np.pi) / n)
    out[:, d - 2], out[:, d - 1] = left * np.cos(turn), left * np.sin(turn)
    return out


def _lattice(n: int, dimensions: int) -> Array:
    """Return Richtmyer's lattice (n, dimensions) of multiples of square roots of primes, mod 1."""
    primes: list[int] = []
    candidate = 2
    while len(primes) < dimensions:
        if all(candidate % p for p in primes):
            primes.append(candidate)
        candidate += 1
    return np.clip(np.arange(1, n + 1)[:, None] * np.sqrt(primes) % 1.0, 1e-12, 1.0 - 1e-12)
