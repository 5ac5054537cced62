"""The studentized range's upper tail, with digits however small it is.

The range of k standard normals, z the smallest of them, exceeds w with probability

    T(w) = k ∫ φ(z) {Φ(-z)^(k-1) - [Φ(-z) - Φ(-z-w)]^(k-1)} dz                          (1)

and the range over an independent estimate s of the standard deviation, νs² ~ χ²_ν, exceeds q with

    P(Q > q) = ∫ f_ν(s) T(qs) ds.                                                       (2)

Both integrands are positive, so nothing cancels. They are analytic and decay fast at both ends (in
log s), where the trapezoidal rule converges geometrically (Trefethen & Weideman 2014, SIAM Review
56(3)).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.polynomial import Chebyshev
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, special, stats

Array = NDArray[np.float64]

__all__ = ["quantiles_by_df", "scaled_tail", "studentized_range_isf", "studentized_range_sf"]

_SPAN = 8.5
"""How far (1) is followed to both sides of -w/2, the middle of two extremes."""
_NEGLIGIBLE = 36.0
"""Integrands smaller than the largest by exp of this do not count."""
_HIGHEST = 12.0
"""log s above this has no probability."""
_INTERPOLATED = 12
"""Quantiles for more degrees of freedom are interpolated between so many: smooth in 1/ν."""


def studentized_range_sf(q: ArrayLike, k: int, df: ArrayLike) -> Array:
    """Return the probability that a studentized range exceeds q.

    Parameters
    ----------
    q : array_like
    k : int
        Number of means, 2 or more.
    df : array_like
        Degrees of freedom of the standard deviation, positive; may be infinite.

    Returns
    -------
    ndarray
        nan where q or df is.

    Notes
    -----
    The relative error is below 1e-10 however small the probability; for two means it is that of the
    two-sided t test of q/√2.

    Examples
    --------
    >>> studentized_range_sf([3.5, 20.0], 3, 12.0)
    array([6.99954853e-02, 2.13757394e-08])
    """
    q, df = np.broadcast_arrays(np.asarray(q, dtype=float), np.asarray(df, dtype=float))
    return np.array([_sf(*pair, k) for pair in zip(q.ravel(), df.ravel())]).reshape(q.shape)


def studentized_range_isf(p: float, k: int, df: ArrayLike) -> Array:
    """Return the values that studentized ranges exceed with probability p.

    Parameters
    ----------
    p : float
    k : int
    df : array_like

    Returns
    -------
    ndarray
    """
    df = np.asarray(df, dtype=float)
    return quantiles_by_df(lambda one: _isf(p, k, one), df, _INTERPOLATED)


def quantiles_by_df(quantile: Callable[[float], float], df: Array, most: int) -> Array:
    """Return quantiles for several degrees of freedom; beyond `most` they are interpolated.

    A quantile is a smooth function of 1/ν; Chebyshev's points keep the error of the polynomial
    small all along.
    """
    distinct, place = np.unique(df.ravel(), return_inverse=True)
    finite = distinct[np.isfinite(distinct)]
    values = np.full(len(distinct), np.nan)
    values[np.isinf(distinct)] = quantile(np.inf) if np.isinf(distinct).any() else np.nan
    if len(finite) <= most:
        values[np.isfinite(distinct)] = [quantile(one) for one in finite]
    else:
        curve = Chebyshev.interpolate(
            lambda x: np.array([quantile(1.0 / one) for one in x]),
            most - 1,
            domain=[1.0 / finite[-1], 1.0 / finite[0]],
        )
        values[np.isfinite(distinct)] = curve(1.0 / finite)
    return values[np.ravel(place)].reshape(df.shape)


def _isf(p: float, k: int, df: float) -> float:
    """Return one upper quantile: between that of one pair and Bonferroni's bound of all."""
    low, high = (np.sqrt(2.0) * stats.t.isf(p / m, df) for m in (2.0, k * (k - 1.0)))
    if k == 2:
        return float(low)
    target = np.log(p)
    return float(
        optimize.brentq(lambda q: np.log(_sf(q, df, k)) - target, low, high * 1.001, xtol=1e-9)
    )


def _sf(q: float, df: float, k: int) -> float:
    """Return one probability, by equation (2)."""
    if np.isnan(q) or np.isnan(df):
        return np.nan
    if q <= 0 or np.isinf(q):
        return 1.0 if q <= 0 else 0.0
    if np.isinf(df):
        return float(np.exp(_log_range_sf(np.array([q]), k))[0])

    return scaled_tail(lambda w: _log_range_sf(w, k), q, df)


def scaled_tail(log_tail: Callable[[Array], Array], q: float, df: float) -> float:
    """Return the integral of equation (2) for the logarithm of any tail T.

    Parameters
    ----------
    log_tail : callable
        Of an array of w, log-concave, falling like exp(-w²/4).
    q, df : float
        Positive and finite.
    """

    def log_integrand(u: ArrayLike) -> Array:
        u = np.atleast_1d(np.asarray(u, dtype=float))
        return _log_density(u, df) + log_tail(q * np.exp(u))

    u = _nodes(log_integrand, q, df)
    return float(min(np.exp(log_integrand(u)).sum() * (u[1] - u[0]), 1.0))


def _log_density(u: Array, df: float) -> Array:
    """Return the logarithm of the density of u = log s, 2(ν/2)^(ν/2)/Γ(ν/2) exp(νu - νe^2u/2)."""
    half = df / 2.0
    constant = half * np.log(half) - half - special.gammaln(half)
    if half > 1e3:  # Stirling's series, where the difference above loses digits
        constant = 0.5 * np.log(half / (2.0 * np.pi)) - 1.0 / (12.0 * half)
    return np.log(2.0) + constant + half * (2.0 * u - np.expm1(2.0 * u))


def _log_range_sf(w: Array, k: int) -> Array:
    """Return log T(w), by equation (1)."""
    nodes, step = np.linspace(-_SPAN, _SPAN, 86 if k <= 50 else 256, retstep=True)
    z = nodes - w[:, None] / 2.0
    above, beyond = special.log_ndtr(-z), special.log_ndtr(-z - w[:, None])
    ratio = np.minimum(beyond - above, 0.0)
    with np.errstate(divide="ignore"):
        some = np.log(-np.expm1((k - 1) * np.log1p(-np.exp(np.maximum(ratio, -30.0)))))
    some = np.where(ratio < -30.0, np.log(k - 1) + ratio, some)
    terms = (k - 1) * above - z**2 / 2.0 + some
    total = special.logsumexp(terms, axis=1) + np.log(k * step / np.sqrt(2.0 * np.pi))
    return np.asarray(np.minimum(total, 0.0))


def _nodes(log_integrand: Callable[[ArrayLike], Array], q: float, df: float) -> Array:
    """Return equidistant nodes over the part of (2) that is not negligible.

    The integrand is log-concave in u; its top lies between those of f alone and of f times the
    tail exp(-w²/4) of two means.
    """
    low, high = -0.5 * np.log1p((q**2 / 2.0 + 2.0) / df) - 1.0, 0.1
    for _ in range(4):
        u, step = np.linspace(low, high, 40, retstep=True)
        top = u[np.argmax(log_integrand(u))]
        low, high = top - step, top + step
    steps = 1.3 ** np.arange(28) / np.sqrt(df)
    least = log_integrand(top)[0] - _NEGLIGIBLE
    left, right = top - steps, np.minimum(top + steps, _HIGHEST)
    low, high = (side[np.argmax(log_integrand(side) < least)] for side in (left, right))
    return np.linspace(low, high, 1 + int(np.ceil((high - low) / min(0.3 / np.sqrt(df), 0.1))))
