"""How often what the coefficients of C⁻¹ belong to occurs: all that log|C| and they need of rows.

Coefficients are functions of r alone, one or two for each distinct gap in time, or size of a group;
log|C| is a sum over their numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

__all__ = ["Counted", "Links", "NoCorrelation", "Sizes"]


class Counted(Protocol):
    """What has coefficients and log|C|."""

    def coefficients(self, r: float) -> tuple[Array, Array]:
        """Return c and ∂c/∂r."""

    def logdet(self, r: float) -> tuple[float, float]:
        """Return log|C| and its derivative in r."""

    def squares(self, r: float) -> Array | None:
        """Return the coefficients of (∂C⁻¹)C(∂C⁻¹), if that is a sum of the same matrices."""


class NoCorrelation:
    """C = I."""

    def coefficients(self, r: float) -> tuple[Array, Array]:
        """Return one, which does not change."""
        return np.ones(1), np.zeros(1)

    def logdet(self, r: float) -> tuple[float, float]:
        """Return zero."""
        return 0.0, 0.0

    def squares(self, r: float) -> Array:
        """Return zero."""
        return np.zeros(1)


@dataclass(frozen=True, eq=False)
class Links:
    """Neighbours in time: how many are at each distance (see markov.py).

    Attributes
    ----------
    exponents : ndarray (g,)
        The distinct distances, in units.
    counts : ndarray (g,)
        Pairs of neighbours at each.
    """

    exponents: Array
    counts: Array

    def along(self, r: float) -> tuple[Array, Array]:
        """Return the correlations at the distinct gaps and their derivatives in r."""
        h = self.exponents
        return np.power(r, h), h * np.power(r, np.maximum(h - 1.0, 0.0))

    def coefficients(self, r: float) -> tuple[Array, Array]:
        """Return 1, then a and -b of each gap."""
        rho, slope = self.along(r)
        left = 1.0 - rho**2
        c = np.concatenate([[1.0], rho**2 / left, -rho / left])
        by_rho = np.concatenate([[0.0], 2.0 * rho / left**2, -(1.0 + rho**2) / left**2])
        return c, by_rho * np.concatenate([[0.0], slope, slope])

    def logdet(self, r: float) -> tuple[float, float]:
        """Return Σ log(1 - ρ²) over the links."""
        rho, slope = self.along(r)
        left = 1.0 - rho**2
        derivative = -2.0 * rho * slope / left
        return float(self.counts @ np.log(left)), float(self.counts @ derivative)

    def squares(self, r: float) -> None:
        """Return None: (∂C⁻¹)C(∂C⁻¹) joins all rows of a group."""


@dataclass(frozen=True, eq=False)
class Sizes:
    """Groups of rows that are all alike: how many there are of each size (see exchanged.py).

    Attributes
    ----------
    sizes : ndarray (g,)
        The distinct numbers of rows.
    counts : ndarray (g,)
        Groups of each.
    """

    sizes: Array
    counts: Array

    def coefficients(self, r: float) -> tuple[Array, Array]:
        """Return 1/(1-r), then -r/((1-r)(1+(m-1)r)) of each size."""
        m = self.sizes
        one, all_of = 1.0 - r, 1.0 + (m - 1.0) * r
        below = one * all_of
        c = np.concatenate([[1.0 / one], -r / below])
        slope = -(1.0 + (m - 1.0) * r**2) / below**2
        return c, np.concatenate([[1.0 / one**2], slope])

    def logs(self, r: float) -> Array:
        """Return log|C| of a group of each size."""
        m = self.sizes
        return np.asarray((m - 1.0) * np.log1p(-r) + np.log1p((m - 1.0) * r))

    def logdet(self, r: float) -> tuple[float, float]:
        """Return Σ (m-1) log(1-r) + log(1+(m-1)r) over the groups."""
        m = self.sizes
        slope = -(m - 1.0) / (1.0 - r) + (m - 1.0) / (1.0 + (m - 1.0) * r)
        return float(self.counts @ self.logs(r)), float(self.counts @ slope)

    def squares(self, r: float) -> Array:
        """Return the coefficients of I and of 11' in (∂C⁻¹)C(∂C⁻¹).

        C has the eigenvalues κ = 1-r, and λ = 1+(m-1)r along 1: the product has κ'²/κ³ and λ'²/λ³.
        """
        m = self.sizes
        apart = 1.0 / (1.0 - r) ** 3
        along = (m - 1.0) ** 2 / (1.0 + (m - 1.0) * r) ** 3
        return np.concatenate([[apart], (along - apart) / m])
