"""The binomial: successes among trials, by any link.

With r₁ = μ'/μ and r₀ = μ'/(1 - μ), which keep their digits at either end of the range,

    ℓ = log C(m, my) + m[y log μ + (1 - y) log(1 - μ)],     s = m[y r₁ - (1 - y) r₀]
    expected information m r₁ r₀
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln, xlogy
from statsmodels.genmod.families import links

from mixedlm_ext.caching import cached_property
from mixedlm_ext.families.conditional import Conditional, RowsAt
from mixedlm_ext.families.curves import Curve
from mixedlm_ext.families.prior import PriorWeights

Array = NDArray[np.float64]

__all__ = ["BinomialRows"]


class BinomialRows(Conditional):
    """Proportions y of m trials; every row counts its precision times its frequency."""

    by_response = ("y", "constant")

    def __init__(self, y: Array, prior: PriorWeights, family: Any) -> None:
        super().__init__(y, prior, family)
        self.canonical = type(family.link) is links.Logit
        self.m = np.asarray(prior.product("trials", "var", "freq"))
        trials = 1.0 if prior.trials is None else prior.trials
        successes = np.round(trials * y) if prior.trials is not None else trials * y
        choose = gammaln(trials + 1.0) - gammaln(successes + 1.0)
        choose = choose - gammaln(trials - successes + 1.0)
        known = np.asarray(prior.product("var", "freq"))
        self.constant = known * choose if prior.trials is not None else np.zeros(np.shape(y))

    def at(self, eta: Array, omega: Array) -> RowsAt:
        """Return the rows at η."""
        return (_LogitRows if self.canonical else _AnyLink)(self, eta)

    def start_eta(self) -> Array:
        """Return the link of (my + 1/2)/(m + 1)."""
        m = np.asarray(self.prior.product("trials"))
        mu = (m * self.y + 0.5) / (m + 1.0)
        with np.errstate(all="ignore"):
            return np.asarray(self.family.link(mu), dtype=float)


class _LogitRows(RowsAt):
    """Rows with the logit link, everything from e^-|η|."""

    def __init__(self, model: BinomialRows, eta: Array) -> None:
        self._m, self._y, self._constant = model.m, model.y, model.constant
        self._eta = eta
        self._small = np.exp(-np.abs(eta))
        self._share = 1.0 / (1.0 + self._small)

    @cached_property
    def mu(self) -> Array:  # type: ignore[override]
        """1/(1 + e^-η)."""
        return np.where(self._eta >= 0, self._share, self._small * self._share)

    @cached_property
    def loglike(self) -> Array:
        """m[yη - log(1 + e^η)]."""
        above = np.maximum(self._eta, 0.0) + np.log1p(self._small)
        return np.asarray(self._m * (self._y * self._eta - above) + self._constant)

    @cached_property
    def score(self) -> Array:
        """m(y - μ)."""
        return np.asarray(self._m * (self._y - self.mu))

    @cached_property
    def expected(self) -> Array:
        """mμ(1 - μ)."""
        return np.asarray(self._m * self._small * self._share**2)

    @cached_property
    def expected_slope(self) -> Array:
        """mμ(1 - μ)(1 - 2μ)."""
        return np.asarray(self.expected * (1.0 - 2.0 * self.mu))

    @property
    def observed(self) -> Array:
        """The expected one."""
        return self.expected

    @property
    def observed_slope(self) -> Array:
        """That of the expected one."""
        return self.expected_slope


def _ratio(a: Array, b: Array) -> Array:
    """Return a/b, zero where b has no digits left."""
    out = np.zeros(np.broadcast_shapes(a.shape, b.shape))
    with np.errstate(all="ignore"):
        np.divide(a, b, out=out, where=(b != 0) & np.isfinite(a))
    return out


class _AnyLink(RowsAt):
    """Rows with any link."""

    def __init__(self, model: BinomialRows, eta: Array) -> None:
        self._m, self._y, self._constant = model.m, model.y, model.constant
        self._curve = Curve(model.family.link, eta)
        self.mu = self._curve.mu

    @cached_property
    def loglike(self) -> Array:
        """ℓ; nan where μ is no probability."""
        with np.errstate(all="ignore"):
            each = xlogy(self._y, self.mu) + xlogy(1.0 - self._y, self._curve.complement)
            outside = (self.mu < 0.0) | (self._curve.complement < 0.0)
        return np.where(outside, np.nan, self._m * each + self._constant)

    @cached_property
    def _r1(self) -> Array:
        return _ratio(self._curve.d1, self.mu)

    @cached_property
    def _r0(self) -> Array:
        return _ratio(self._curve.d1, self._curve.complement)

    @cached_property
    def _bend(self) -> Array:
        """c = μ''/μ'."""
        return _ratio(self._curve.d2, self._curve.d1)

    @cached_property
    def _bend_slope(self) -> Array:
        """c' = μ'''/μ' - c²."""
        return _ratio(self._curve.d3, self._curve.d1) - self._bend**2

    @cached_property
    def _r1_slope(self) -> Array:
        return self._bend * self._r1 - self._r1**2

    @cached_property
    def _r0_slope(self) -> Array:
        return self._bend * self._r0 + self._r0**2

    @cached_property
    def score(self) -> Array:
        """m[y r₁ - (1 - y) r₀]."""
        return np.asarray(self._m * (self._y * self._r1 - (1.0 - self._y) * self._r0))

    @cached_property
    def expected(self) -> Array:
        """m r₁ r₀."""
        return np.asarray(self._m * self._r1 * self._r0)

    @cached_property
    def expected_slope(self) -> Array:
        """m(r₁' r₀ + r₁ r₀')."""
        return np.asarray(self._m * (self._r1_slope * self._r0 + self._r1 * self._r0_slope))

    @cached_property
    def observed(self) -> Array:
        """-m[y r₁' - (1 - y) r₀']."""
        return np.asarray(-self._m * (self._y * self._r1_slope - (1.0 - self._y) * self._r0_slope))

    @cached_property
    def observed_slope(self) -> Array:
        """-m[y r₁'' - (1 - y) r₀'']."""
        c, dc = self._bend, self._bend_slope
        r1, r0, d1, d0 = self._r1, self._r0, self._r1_slope, self._r0_slope
        second1 = dc * r1 + c * d1 - 2.0 * r1 * d1
        second0 = dc * r0 + c * d0 + 2.0 * r0 * d0
        return np.asarray(-self._m * (self._y * second1 - (1.0 - self._y) * second0))
