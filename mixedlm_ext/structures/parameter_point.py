"""Where the parameters of a model stand, and numbers with their derivatives there.

Users think of θ relative to σ, of η (see residual/structure.py; the position of a correlation of
residuals stands beside them) and of log σ. A criterion moves standardized θ, z and a log σ of its
own: where standard deviations of residuals are relative to what they are on average, its σ is e^L
times the user's and its θ e^-L times, L = l'z.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from mixedlm_ext.caching import cached_property
from mixedlm_ext.structures.covariance import Covariance

Array = NDArray[np.float64]

__all__ = ["Jet", "ParameterPoint"]


@dataclass(frozen=True, eq=False)
class Jet:
    """A number with its first and second derivatives."""

    value: float
    gradient: Array
    hessian: Array

    @classmethod
    def zero(cls, size: int) -> Jet:
        """Return the constant zero as a function of `size` numbers."""
        return cls(0.0, np.zeros(size), np.zeros((size, size)))

    def plus(self, other: Jet, factor: float) -> Jet:
        """Return the sum with a multiple of another."""
        return Jet(
            self.value + factor * other.value,
            self.gradient + factor * other.gradient,
            self.hessian + factor * other.hessian,
        )

    def without_last(self) -> Jet:
        """Return the function with its last argument held."""
        return Jet(self.value, self.gradient[:-1], self.hessian[:-1, :-1])


def _none() -> Array:
    """Return no numbers."""
    return np.zeros(0)


@dataclass(frozen=True, eq=False)
class ParameterPoint:
    """Parameters as a criterion has them, (θ, z, log σ), and as users do.

    Attributes
    ----------
    covariance : Covariance
    standardized : ndarray (m,)
        The criterion's θ.
    log_sigma : float
        That of the criterion.
    z : ndarray (K,)
        Of a residual structure.
    eta_slopes : ndarray (K,)
        ∂η/∂z.
    level_slopes : ndarray (K,)
        l above; zeros in the user's scale.
    """

    covariance: Covariance
    standardized: Array
    log_sigma: float
    z: Array = field(default_factory=_none)
    eta_slopes: Array = field(default_factory=_none)
    level_slopes: Array = field(default_factory=_none)

    @property
    def m(self) -> int:
        """Number of θ."""
        return len(self.standardized)

    @property
    def size(self) -> int:
        """Numbers that a quantity is a function of."""
        return self.m + len(self.z) + 1

    @property
    def zero(self) -> Jet:
        """The constant zero."""
        return Jet.zero(self.size)

    @property
    def level(self) -> float:
        """L."""
        return float(self.level_slopes @ self.z)

    @cached_property
    def _user_from_standard(self) -> Array:
        """B with θ = B times standardized θ of the user's σ."""
        return np.asarray(np.linalg.inv(self.covariance.jacobian), dtype=float)

    @cached_property
    def _scaling(self) -> Array:
        """1 for each θ that is relative to σ, 0 for a correlation."""
        if not self.level_slopes.any():
            return np.zeros(self.m)
        probe = np.full(self.m, 0.5)
        return np.asarray(np.log(self.covariance.scaled(probe, np.e) / probe))

    @cached_property
    def _scaled(self) -> Array:
        """Standardized θ of the user's σ."""
        return np.asarray(np.exp(self._scaling * self.level) * self.standardized)

    @cached_property
    def theta(self) -> Array:
        """θ in the user's units."""
        return np.asarray(self._user_from_standard @ self._scaled)

    @property
    def eta(self) -> Array:
        """η, (K,)."""
        return np.asarray(self.eta_slopes * self.z)

    @property
    def user_log_sigma(self) -> float:
        """The user's log σ."""
        return self.log_sigma - self.level

    def carry(self, jet: Jet) -> Jet:
        """Return the function of (θ, z, log σ) of one of the user's (θ, η, log σ)."""
        m, K, B = self.m, len(self.z), self._user_from_standard
        grown, moving = np.exp(self._scaling * self.level), self._scaling * self._scaled
        M = np.zeros((self.size, self.size))
        M[:m, :m] = B * grown
        M[:m, m:-1] = np.outer(B @ moving, self.level_slopes)
        M[m:-1, m:-1] = np.diag(self.eta_slopes)
        M[-1, m:-1], M[-1, -1] = -self.level_slopes, 1.0
        H = M.T @ jet.hessian @ M
        if K:
            a = B.T @ jet.gradient[:m]
            across = np.outer(a * grown * self._scaling, self.level_slopes)
            H[:m, m:-1] += across
            H[m:-1, :m] += across.T
            bent = float(a @ (self._scaling * moving))
            H[m:-1, m:-1] += bent * np.outer(self.level_slopes, self.level_slopes)
        return replace(jet, gradient=M.T @ jet.gradient, hessian=H)
