"""Correlations of residuals by one parameter: what it may be, and how a search moves it.

The engine works with r, the correlation at the distance `unit`; users see rho, that at distance
one. A search moves z, in which the ends of the range are far away: it runs over all numbers where
rho = 0 is inside the range, and from z = 0 where that is its end.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

__all__ = ["KINDS", "Autoregressive", "ContinuousAutoregressive", "CorrelationKind", "Exchangeable"]

_FAR = 8.0
"""Where z ends: correlations there differ from the ends of their range by less than 1e-6."""


@dataclass(frozen=True)
class CorrelationKind(ABC):
    """One kind of correlation between the rows of a group.

    Parameters
    ----------
    unit : float
        The distance at which r is the correlation.
    size : int
        Rows of the largest group.
    """

    unit: float = 1.0
    size: int = 2

    word: ClassVar[str]
    by_distance: ClassVar[bool] = True
    """Whether it depends on how far rows are apart."""

    @property
    @abstractmethod
    def rho_range(self) -> tuple[float, float]:
        """Ends of rho."""

    @property
    @abstractmethod
    def z_range(self) -> tuple[float, float]:
        """Ends of z."""

    @abstractmethod
    def r_of(self, z: float) -> tuple[float, float]:
        """Return r and ∂r/∂z."""

    @abstractmethod
    def z_of(self, r: float) -> float:
        """Return z of an r inside the range."""

    def rho_of(self, r: float) -> float:
        """Return rho."""
        return r

    def rho_slope(self, r: float) -> float:
        """Return ∂rho/∂r."""
        return 1.0

    def r_of_rho(self, rho: float) -> float:
        """Return r."""
        return rho

    @property
    def starts(self) -> tuple[float, ...]:
        """Values of r to look for a start at."""
        return (0.0, 0.5)

    @abstractmethod
    def between(self, r: float, distance: Array) -> Array:
        """Return the correlations of different rows of one group at given distances."""

    def slopes_between(self, r: float, distance: Array) -> tuple[Array, Array]:
        """Return the first and second derivatives of these in r: of r^h at h units of distance."""
        h = self.units(distance)
        first = h * np.power(r, np.maximum(h - 1.0, 0.0))
        exponent = h - 2.0 if r > 0 else np.maximum(h - 2.0, 0.0)
        return first, h * (h - 1.0) * np.power(r, exponent)

    def units(self, distance: Array) -> Array:
        """Return distances in units."""
        return distance / self.unit


class Autoregressive(CorrelationKind):
    """rho^|t - t'| at whole numbers t, -1 < rho < 1."""

    word = "ar1"

    @property
    def rho_range(self) -> tuple[float, float]:
        """From -1 to 1."""
        return -1.0, 1.0

    @property
    def z_range(self) -> tuple[float, float]:
        """Both ends are far."""
        return -_FAR, _FAR

    def r_of(self, z: float) -> tuple[float, float]:
        """Return tanh z."""
        r = float(np.tanh(z))
        return r, 1.0 - r * r

    def z_of(self, r: float) -> float:
        """Return artanh r."""
        return float(np.clip(np.arctanh(np.clip(r, -1.0 + 1e-15, 1.0 - 1e-15)), *self.z_range))

    @property
    def starts(self) -> tuple[float, ...]:
        """Positive correlations are the usual ones."""
        return (0.0, 0.4, 0.8, -0.4)

    def between(self, r: float, distance: Array) -> Array:
        """Return r^distance."""
        return np.asarray(np.power(r, self.units(distance)))

    def units(self, distance: Array) -> Array:
        """Return whole numbers."""
        return np.asarray(np.rint(distance))


class ContinuousAutoregressive(CorrelationKind):
    """rho^|t - t'| at any numbers t, 0 <= rho < 1: the Ornstein-Uhlenbeck process."""

    word = "car1"

    @property
    def rho_range(self) -> tuple[float, float]:
        """From 0 to 1."""
        return 0.0, 1.0

    @property
    def z_range(self) -> tuple[float, float]:
        """No correlation is the lower end."""
        return 0.0, 2.0 * _FAR

    def r_of(self, z: float) -> tuple[float, float]:
        """Return 1 - exp(-z)."""
        return -float(np.expm1(-z)), float(np.exp(-z))

    def z_of(self, r: float) -> float:
        """Return -log(1 - r)."""
        return float(np.clip(-np.log1p(-min(r, 1.0 - 1e-15)), *self.z_range))

    def rho_of(self, r: float) -> float:
        """Return r^(1/unit)."""
        return float(r ** (1.0 / self.unit))

    def rho_slope(self, r: float) -> float:
        """Return ∂rho/∂r; none where r is zero."""
        return 0.0 if r <= 0 else self.rho_of(r) / (r * self.unit)

    def r_of_rho(self, rho: float) -> float:
        """Return rho^unit."""
        return float(rho**self.unit)

    @property
    def starts(self) -> tuple[float, ...]:
        """From neighbours hardly alike to very alike."""
        return (0.05, 0.4, 0.8, 0.97)

    def between(self, r: float, distance: Array) -> Array:
        """Return r^(distance/unit)."""
        return np.asarray(np.power(r, distance / self.unit))


class Exchangeable(CorrelationKind):
    """rho between any two rows, -1/(m - 1) < rho < 1 in groups of m rows at most."""

    word = "cs"
    by_distance = False

    @property
    def rho_range(self) -> tuple[float, float]:
        """From -1/(m - 1) to 1."""
        return -1.0 / (self.size - 1), 1.0

    @property
    def z_range(self) -> tuple[float, float]:
        """Both ends are far."""
        return -2.0 * _FAR, 2.0 * _FAR

    def r_of(self, z: float) -> tuple[float, float]:
        """Return r with z = log (1 + (m-1)r)/(1 - r)."""
        e = float(np.exp(-abs(z)))
        if z >= 0:
            below = 1.0 + (self.size - 1) * e
            return (1.0 - e) / below, self.size * e / below**2
        below = e + self.size - 1
        return (e - 1.0) / below, self.size * e / below**2

    def z_of(self, r: float) -> float:
        """Return log (1 + (m-1)r)/(1 - r)."""
        low, high = self.rho_range
        r = float(np.clip(r, low + 1e-12, high - 1e-12))
        return float(np.clip(np.log1p((self.size - 1) * r) - np.log1p(-r), *self.z_range))

    def between(self, r: float, distance: Array) -> Array:
        """Return r."""
        return np.full(np.shape(distance), r)

    def slopes_between(self, r: float, distance: Array) -> tuple[Array, Array]:
        """Return ones and zeros."""
        return np.ones(np.shape(distance)), np.zeros(np.shape(distance))


KINDS: dict[str, type[CorrelationKind]] = {
    kind.word: kind for kind in (Autoregressive, ContinuousAutoregressive, Exchangeable)
}
"""By the word that users write."""
