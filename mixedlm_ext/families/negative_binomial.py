"""The negative binomial: counts with variance μ + μ²/k, k = e^ω; statsmodels' alpha is 1/k.

With x = μ/k, p = 1/(1 + x) and q = 1 - p, by the log link everything is a product of these:

    ℓ = log[Γ(y + k)/(Γ(k) y! k^y)] + yη - (y + k) log(1 + x),     s = (y - μ)p
    expected information μp,   observed (y + k)pq
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import digamma, gammaln, xlogy
from statsmodels.genmod.families import links

from mixedlm_ext.caching import cached_property
from mixedlm_ext.families.conditional import Conditional, RowsAt
from mixedlm_ext.families.distinct import DistinctCounts
from mixedlm_ext.families.prior import PriorWeights
from mixedlm_ext.families.variances import VarianceModel

Array = NDArray[np.float64]

__all__ = ["NegativeBinomialRows"]


class NegativeBinomialRows(VarianceModel):
    """Counts with variance μ + μ²/size."""

    extra = "size"
    coefficients = (0.0, 1.0, 1.0)
    canonical_link = links.NegativeBinomial
    by_response = ("y", "constant")

    def __init__(self, y: Array, prior: PriorWeights, family: Any) -> None:
        super().__init__(y, prior, family)
        self.canonical = False
        self._log = type(family.link) is links.Log

    @cached_property
    def constant(self) -> Array:
        """log y!."""
        return np.asarray(gammaln(self.y + 1.0))

    @cached_property
    def distinct(self) -> DistinctCounts:
        """The counts that occur, of each response."""
        return DistinctCounts.of(self.y, self.m)

    def take_responses(self, where: Any) -> Conditional:
        """Return the distribution of some of many responses."""
        out = super().take_responses(where)
        if "distinct" in vars(self):
            setattr(out, "distinct", self.distinct.take(where))  # noqa: B010
        return out

    def at(self, eta: Array, omega: Array) -> RowsAt:
        """Return the rows at η and ω."""
        return self.given(omega)(eta) if self._log else super().at(eta, omega)

    def given(self, omega: Array) -> Any:
        """Return the rows at one ω as a function of η."""
        return _LogLinkGiven(self, omega) if self._log else super().given(omega)

    def variance(self, omega: Array) -> tuple[Any, ...]:
        """Return (0, 1, 1/size)."""
        return (0.0, 1.0, np.exp(-omega[0]))

    def loglike(self, mu: Array, eta: Array, omega: Array) -> Array:
        """Return log[Γ(y + k)/(Γ(k) y! k^y)] - (y + k) log(1 + μ/k) + y log μ."""
        k = np.exp(omega[0])
        safe = np.where(mu >= 0, mu, np.nan)
        each = rising(self.y, k) - self.constant - (self.y + k) * np.log1p(safe / k)
        return np.asarray(self.m * (each + xlogy(self.y, safe)))

    def extra_score(self, mu: Array, omega: Array) -> Array:
        """Return k[ψ(y + k) - ψ(k) - log(1 + y/k) + log(1 + x) - x], x = (y - μ)/(k + μ)."""
        k = np.exp(omega[0])
        x = (self.y - mu) / (k + mu)
        each = rising_slope(self.y, k) + k * (np.log1p(x) - x)
        return np.asarray(self.m * each)

    def start_omega(self, eta: Array) -> Array:
        """Return the logarithm of a size by moments."""
        with np.errstate(all="ignore"):
            mu = np.asarray(self.family.link.inverse(eta))
            excess = np.mean((self.y - mu) ** 2 - mu, axis=0)
            size = np.where(excess > 0, np.mean(mu**2, axis=0) / excess, 100.0)
        return np.log([np.clip(size, 0.05, 100.0)])


class _LogLinkGiven:
    """The distribution at one size, the log link: what does not depend on η is computed once."""

    def __init__(self, model: NegativeBinomialRows, omega: Array) -> None:
        self.model, self.y, self.m = model, model.y, model.m
        self.log_k, self.k = omega[0], np.exp(omega[0])

    def __call__(self, eta: Array) -> RowsAt:
        """Return the rows at η."""
        return _LogLinkRows(self, eta)

    @cached_property
    def constant(self) -> Array:
        """log[Γ(y + k)/(Γ(k) y! k^y)], by row."""
        return rising(self.y, self.k) - self.model.constant

    @cached_property
    def constant_total(self) -> Array:
        """Its sum for each of many responses, (r,)."""
        counts = self.model.distinct
        values, k = counts.values, counts.spread(self.k)
        return counts.total(rising(values, k) - gammaln(values + 1.0))

    @cached_property
    def slope(self) -> Array:
        """k[ψ(y + k) - ψ(k) - log(1 + y/k)], by row."""
        return rising_slope(self.y, self.k)

    @cached_property
    def slope_total(self) -> Array:
        """Its sum for each of many responses, (r,)."""
        counts = self.model.distinct
        return counts.total(rising_slope(counts.values, counts.spread(self.k)))


class _LogLinkRows(RowsAt):
    """The rows at one η."""

    def __init__(self, given: _LogLinkGiven, eta: Array) -> None:
        self._given, self._eta = given, eta
        self._y, self._k = given.y, given.k
        with np.errstate(all="ignore"):
            self._x = np.exp(eta - given.log_k)
            self._p = 1.0 / (1.0 + self._x)
            self._q = self._x * self._p

    def _weighted(self, each: Array) -> Array:
        """Return rows times their weights."""
        m = self._given.m
        return np.asarray(each if m.ndim == 0 and m == 1.0 else m * each)

    @cached_property
    def mu(self) -> Array:  # type: ignore[override]
        """e^η."""
        with np.errstate(all="ignore"):
            return np.asarray(self._k * self._x)

    @cached_property
    def _kernel(self) -> Array:
        """yη - (y + k) log(1 + x)."""
        with np.errstate(all="ignore"):
            return np.asarray(self._y * self._eta - (self._y + self._k) * np.log1p(self._x))

    @cached_property
    def loglike(self) -> Array:
        """ℓ."""
        return self._weighted(self._kernel + self._given.constant)

    @property
    def total(self) -> Array:
        """Σℓ."""
        return np.asarray(self._weighted(self._kernel).sum(axis=0) + self._given.constant_total)

    @cached_property
    def score(self) -> Array:
        """m(yp - kq)."""
        with np.errstate(all="ignore"):
            return self._weighted(self._y * self._p - self._k * self._q)

    @cached_property
    def expected(self) -> Array:
        """mkq."""
        return self._weighted(self._k * self._q)

    @cached_property
    def expected_slope(self) -> Array:
        """mkpq."""
        return np.asarray(self.expected * self._p)

    @cached_property
    def _unit(self) -> Array:
        """mpq."""
        return self._weighted(self._p * self._q)

    @cached_property
    def observed(self) -> Array:
        """m(y + k)pq."""
        return np.asarray((self._y + self._k) * self._unit)

    @cached_property
    def observed_slope(self) -> Array:
        """m(y + k)pq(p - q)."""
        return np.asarray(self.observed * (self._p - self._q))

    @cached_property
    def _bent(self) -> Array:
        """k[log(1 + z) - z], z = (y - μ)/(k + μ) = s/k."""
        z = (self._y * self._p - self._k * self._q) / self._k
        return np.asarray(self._k * (np.log1p(z) - z))

    @cached_property
    def extra_score(self) -> Array:
        """∂ℓ/∂ω."""
        return self._weighted(self._given.slope + self._bent)

    @property
    def extra_total(self) -> Array:
        """Σ∂ℓ/∂ω."""
        return np.asarray(self._weighted(self._bent).sum(axis=0) + self._given.slope_total)

    @property
    def score_extra(self) -> Array:
        """qs."""
        return np.asarray(self._q * self.score)

    @property
    def expected_extra(self) -> Array:
        """mkq²."""
        return np.asarray(self.expected * self._q)

    @property
    def observed_extra(self) -> Array:
        """mpq[k + (y + k)(q - p)]."""
        return np.asarray(self._k * self._unit + self.observed * (self._q - self._p))


_LARGE_SIZE = 1e3
"""Size from which on differences of gamma functions are taken by Stirling's series."""


def rising(y: Array, k: Any) -> Array:
    """Return log Γ(y + k) - log Γ(k) - y log k, with its digits for large k."""
    return _by_size(y, k, _rising_plain, _rising_series)


def rising_slope(y: Array, k: Any) -> Array:
    """Return k[ψ(y + k) - ψ(k) - log(1 + y/k)], with its digits for large k."""
    return _by_size(y, k, _slope_plain, _slope_series)


def _by_size(y: Array, k: Any, plain: Any, series: Any) -> Array:
    """Use one formula for sizes that are not large and another for those that are."""
    large = np.asarray(k >= _LARGE_SIZE)
    if not large.any():
        return np.asarray(plain(y, k))
    if large.all():
        return np.asarray(series(y, k))
    return np.where(
        large, series(y, np.where(large, k, _LARGE_SIZE)), plain(y, np.where(large, 1.0, k))
    )


def _rising_plain(y: Array, k: Any) -> Any:
    return gammaln(y + k) - gammaln(k) - y * np.log(k)


def _rising_series(y: Array, k: Any) -> Any:
    series = (1.0 / (y + k) - 1.0 / k) / 12.0 - (1.0 / (y + k) ** 3 - 1.0 / k**3) / 360.0
    return (y + k - 0.5) * np.log1p(y / k) - y + series


def _slope_plain(y: Array, k: Any) -> Any:
    return k * (digamma(y + k) - digamma(k) - np.log1p(y / k))


def _slope_series(y: Array, k: Any) -> Any:
    inverse = 1.0 / (y + k)
    return (
        0.5 * y * inverse
        + y * (2.0 * k + y) * inverse**2 / (12.0 * k)
        - k * (inverse**4 - k**-4.0) / 120.0
    )
