"""Families given by their variance function: V(μ) a polynomial, φ a dispersion or one.

With κ = μ'/V, the slope of the canonical parameter, and weight m over the dispersion:

    s = m(y - μ)κ,   expected information mμ'κ,   observed m[μ'κ - (y - μ)κ']
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.polynomial import polynomial
from numpy.typing import NDArray
from scipy.special import digamma, gammaln, xlogy
from statsmodels.genmod.families import links

from mixedlm_ext.caching import cached_property
from mixedlm_ext.families.conditional import Conditional, RowsAt
from mixedlm_ext.families.curves import Curve
from mixedlm_ext.families.prior import PriorWeights

Array = NDArray[np.float64]

__all__ = [
    "GammaRows",
    "GaussianRows",
    "InverseGaussianRows",
    "PoissonRows",
    "VarianceModel",
]

_LEAST_DISPERSION = 1e-6
"""Share of the dispersion around a constant mean below which moments are not believed."""


class VarianceModel(Conditional):
    """A family by its variance function.

    Attributes
    ----------
    coefficients : tuple of float
        Of V(μ), from the constant on.
    canonical_link : type
        The link by which both kinds of information are the same.
    """

    coefficients: tuple[float, ...] = ()
    canonical_link: type = links.Identity

    def __init__(self, y: Array, prior: PriorWeights, family: Any) -> None:
        super().__init__(y, prior, family)
        self.canonical = type(family.link) is self.canonical_link
        self.m = np.asarray(prior.product("trials", "var", "freq"))

    def at(self, eta: Array, omega: Array) -> RowsAt:
        """Return the rows at η and ω."""
        return _VarianceRows(self, eta, omega)

    def variance(self, omega: Array) -> tuple[float, ...]:
        """Return the coefficients of V at ω."""
        return self.coefficients

    def scale(self, omega: Array) -> Any:
        """Return what V is multiplied by."""
        return np.exp(omega[0]) if self.extra == "dispersion" else 1.0

    def loglike(self, mu: Array, eta: Array, omega: Array) -> Array:
        """Return ℓ, (n,)."""
        raise NotImplementedError

    def extra_score(self, mu: Array, omega: Array) -> Array:
        """Return ∂ℓ/∂ω, (n,)."""
        raise NotImplementedError

    def start_omega(self, eta: Array) -> Array:
        """Return the logarithm of the mean of Pearson's residuals squared."""
        if self.extra != "dispersion":
            return np.zeros(0)
        with np.errstate(all="ignore"):
            mu = np.asarray(self.family.link.inverse(eta))
            pearson = (self.y - mu) ** 2 / polynomial.polyval(mu, self.coefficients)
            m = self.prior.product("var")
            phi = np.mean(m * pearson, axis=0)
        unit = np.exp(self.omega_centre)
        believed = (phi > _LEAST_DISPERSION * unit) & (phi < np.inf)
        return np.log([np.where(believed, phi, unit)])

    @property
    def omega_centre(self) -> Any:
        """The logarithm of φ of a constant mean, which is in the units of the response."""
        if self.extra != "dispersion":
            return 0.0
        with np.errstate(all="ignore"):
            mean = np.mean(self.y, axis=0)
            each = (self.y - mean) ** 2 / polynomial.polyval(mean, self.coefficients)
            centre = np.log(np.mean(self.prior.product("var") * each, axis=0))
        return np.where(np.isfinite(centre), centre, 0.0)


class _VarianceRows(RowsAt):
    """The rows at one η and one ω."""

    def __init__(self, model: VarianceModel, eta: Array, omega: Array) -> None:
        self._model, self._eta, self._omega = model, eta, omega
        self._curve = Curve(model.family.link, eta)
        self.mu = self._curve.mu
        self._m = model.m / model.scale(omega)
        self._V = model.variance(omega)

    def _variances(self) -> tuple[Array, Array | float, Array | float]:
        """Return V, V' and V'' at the means: c₀ + c₁μ + c₂μ² + c₃μ³ and its derivatives."""
        c0, c1, c2, c3 = (*self._V, 0.0, 0.0, 0.0)[:4]
        mu, degree = self.mu, len(self._V) - 1
        if degree == 3:
            V = c0 + mu * (c1 + mu * (c2 + mu * c3))
            return V, c1 + mu * (2.0 * c2 + 3.0 * c3 * mu), 2.0 * c2 + 6.0 * c3 * mu
        if degree == 2:
            return c0 + mu * (c1 + mu * c2), c1 + 2.0 * c2 * mu, 2.0 * c2
        return c0 + c1 * mu, c1, 0.0

    @cached_property
    def _inverse(self) -> tuple[Array, Array, Array]:
        """1/V and its first two derivatives in μ."""
        with np.errstate(all="ignore"):
            V, D, D2 = self._variances()
            one = 1.0 / V
            first = -D * one**2
            return one, first, -D2 * one**2 - 2.0 * first * D * one

    @cached_property
    def _kappa(self) -> Array:
        """κ = μ'/V."""
        return self._quiet(lambda: self._curve.d1 * self._inverse[0])

    @cached_property
    def _kappa_slope(self) -> Array:
        """κ' = μ''/V + μ'²(1/V)'."""
        c, (one, first, _) = self._curve, self._inverse
        return self._quiet(lambda: c.d2 * one + c.d1**2 * first)

    @cached_property
    def _kappa_bend(self) -> Array:
        """κ'' = μ'''/V + 3μ''μ'(1/V)' + μ'³(1/V)''."""
        c, (one, first, second) = self._curve, self._inverse
        return self._quiet(lambda: c.d3 * one + 3.0 * c.d2 * c.d1 * first + c.d1**3 * second)

    @cached_property
    def _rest(self) -> Array:
        """y - μ."""
        return np.asarray(self._model.y - self.mu)

    @cached_property
    def loglike(self) -> Array:
        """ℓ."""
        return self._quiet(lambda: self._model.loglike(self.mu, self._eta, self._omega))

    @cached_property
    def score(self) -> Array:
        """m(y - μ)κ."""
        if self._model.canonical:
            return np.asarray(self._m * self._rest * self._slope_of_canonical)
        return self._quiet(lambda: self._m * self._rest * self._kappa)

    @property
    def _slope_of_canonical(self) -> float:
        """κ of the canonical link as statsmodels scales it."""
        return _CANONICAL_SLOPE.get(type(self._model.family.link), 1.0)

    @cached_property
    def expected(self) -> Array:
        """mμ'κ."""
        if self._model.canonical:
            return np.asarray(self._m * self._curve.d1 * self._slope_of_canonical)
        return self._quiet(lambda: self._m * self._curve.d1 * self._kappa)

    @cached_property
    def expected_slope(self) -> Array:
        """m(μ''κ + μ'κ')."""
        if self._model.canonical:
            return np.asarray(self._m * self._curve.d2 * self._slope_of_canonical)
        c = self._curve
        return self._quiet(lambda: self._m * (c.d2 * self._kappa + c.d1 * self._kappa_slope))

    @cached_property
    def observed(self) -> Array:
        """m[μ'κ - (y - μ)κ']."""
        if self._model.canonical:
            return self.expected
        return self._quiet(lambda: self.expected - self._m * self._rest * self._kappa_slope)

    @cached_property
    def observed_slope(self) -> Array:
        """m[μ''κ + 2μ'κ' - (y - μ)κ'']."""
        if self._model.canonical:
            return self.expected_slope
        c = self._curve
        return self._quiet(
            lambda: (
                self._m
                * (
                    c.d2 * self._kappa
                    + 2.0 * c.d1 * self._kappa_slope
                    - self._rest * self._kappa_bend
                )
            )
        )

    # --- in ω: all weights are divided by φ, or V = μ + μ²/size changes ---------------------------

    @cached_property
    def extra_score(self) -> Array:
        """∂ℓ/∂ω."""
        return self._quiet(lambda: self._model.extra_score(self.mu, self._omega))

    @property
    def score_extra(self) -> Array:
        """∂s/∂ω."""
        if self._model.extra == "dispersion":
            return -self.score
        return self._quiet(lambda: self._m * self._rest * self._curve.d1 * self._inverse_extra[0])

    @property
    def expected_extra(self) -> Array:
        """∂/∂ω of the expected information."""
        if self._model.extra == "dispersion":
            return -self.expected
        return self._quiet(lambda: self._m * self._curve.d1**2 * self._inverse_extra[0])

    @property
    def observed_extra(self) -> Array:
        """∂/∂ω of the observed information."""
        if self._model.extra == "dispersion":
            return -self.observed
        c, (D, slope) = self._curve, self._inverse_extra
        return self._quiet(
            lambda: self.expected_extra - self._m * self._rest * (c.d2 * D + c.d1**2 * slope)
        )

    @cached_property
    def _inverse_extra(self) -> tuple[Array, Array]:
        """D = ∂(1/V)/∂ω = μ²/(size V²) and ∂D/∂μ."""
        (one, first, _), mu, share = self._inverse, self.mu, self._V[2]
        with np.errstate(all="ignore"):
            D = share * mu**2 * one**2
            return D, 2.0 * share * mu * one**2 + 2.0 * share * mu**2 * one * first

    @staticmethod
    def _quiet(compute: Any) -> Array:
        """Return the values without numpy's warnings."""
        with np.errstate(all="ignore"):
            return np.asarray(compute(), dtype=float)


_CANONICAL_SLOPE = {links.InversePower: -1.0, links.InverseSquared: -0.5}
"""The canonical parameters of the gamma and the inverse Gaussian are -1/μ and -1/(2μ²)."""


class PoissonRows(VarianceModel):
    """Counts."""

    coefficients = (0.0, 1.0)
    canonical_link = links.Log
    by_response = ("y", "_constant")

    def __init__(self, y: Array, prior: PriorWeights, family: Any) -> None:
        super().__init__(y, prior, family)
        self._constant = gammaln(y + 1.0)
        self._log = type(family.link) is links.Log

    def loglike(self, mu: Array, eta: Array, omega: Array) -> Array:
        """Return y log μ - μ - log y!."""
        if self._log:
            return np.asarray(self.m * (self.y * eta - mu - self._constant))
        safe = np.where(mu >= 0, mu, np.nan)
        return np.asarray(self.m * (xlogy(self.y, safe) - safe - self._constant))


class GaussianRows(VarianceModel):
    """Measurements whose mean is a curve of the linear predictor."""

    extra = "dispersion"
    coefficients = (1.0,)
    canonical_link = links.Identity

    def loglike(self, mu: Array, eta: Array, omega: Array) -> Array:
        """Return -½[w(y - μ)²/φ + log(2πφ/w)]."""
        phi = np.exp(omega[0]) / np.asarray(self.prior.product("var"))
        each = (self.y - mu) ** 2 / phi + np.log(2.0 * np.pi * phi)
        return np.asarray(-0.5 * self.prior.product("freq") * each)

    def extra_score(self, mu: Array, omega: Array) -> Array:
        """Return ½[w(y - μ)²/φ - 1]."""
        phi = np.exp(omega[0]) / np.asarray(self.prior.product("var"))
        return np.asarray(0.5 * self.prior.product("freq") * ((self.y - mu) ** 2 / phi - 1.0))


class GammaRows(VarianceModel):
    """Positive measurements of constant coefficient of variation; shape ν = w/φ."""

    extra = "dispersion"
    coefficients = (0.0, 0.0, 1.0)
    canonical_link = links.InversePower

    def _shape(self, omega: Array) -> Array:
        return np.asarray(self.prior.product("var")) / np.exp(omega[0])

    def loglike(self, mu: Array, eta: Array, omega: Array) -> Array:
        """Return ν log(νy/μ) - νy/μ - log y - log Γ(ν)."""
        nu, ratio = self._shape(omega), self.y / np.where(mu > 0, mu, np.nan)
        each = nu * np.log(nu * ratio) - nu * ratio - np.log(self.y) - gammaln(nu)
        return np.asarray(self.prior.product("freq") * each)

    def extra_score(self, mu: Array, omega: Array) -> Array:
        """Return -ν[log(νy/μ) + 1 - y/μ - ψ(ν)]."""
        nu, ratio = self._shape(omega), self.y / mu
        each = -nu * (np.log(nu * ratio) + 1.0 - ratio - digamma(nu))
        return np.asarray(self.prior.product("freq") * each)


class InverseGaussianRows(VarianceModel):
    """Positive measurements whose variance grows with the cube of the mean."""

    extra = "dispersion"
    coefficients = (0.0, 0.0, 0.0, 1.0)
    canonical_link = links.InverseSquared

    def _deviance(self, mu: Array, omega: Array) -> tuple[Array, Array]:
        """Return w(y - μ)²/(φyμ²) and φ/w."""
        phi = np.exp(omega[0]) / np.asarray(self.prior.product("var"))
        safe = np.where(mu > 0, mu, np.nan)
        return (self.y - safe) ** 2 / (phi * self.y * safe**2), phi

    def loglike(self, mu: Array, eta: Array, omega: Array) -> Array:
        """Return -½[w(y - μ)²/(φyμ²) + log(2πφy³/w)]."""
        deviance, phi = self._deviance(mu, omega)
        each = -0.5 * (deviance + np.log(2.0 * np.pi * phi * self.y**3))
        return np.asarray(self.prior.product("freq") * each)

    def extra_score(self, mu: Array, omega: Array) -> Array:
        """Return ½[w(y - μ)²/(φyμ²) - 1]."""
        deviance, _ = self._deviance(mu, omega)
        return np.asarray(0.5 * self.prior.product("freq") * (deviance - 1.0))
