"""Where the columns of a term lie, in time or in space, and how far they are apart."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist, pdist

from mixedlm_ext.caching import cached_property

Array = NDArray[np.float64]

__all__ = ["Positions", "range_of_correlation"]

_CLOSE = 0.01
"""Share of the median distance from which on two positions tell the range with all digits."""
_ROUNDING = 8 * np.finfo(float).eps
"""Distance of a correlation from one that is none."""


def range_of_correlation(correlation: Array, distance: float) -> Array:
    """Return the range by which correlations r = exp(-distance/range) fall; 0 for r = 0.

    It is infinite where r is one but for the rounding of what it was computed from.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        found = np.asarray(distance / -np.log(correlation))
    return np.where(correlation > 1.0 - _ROUNDING, np.inf, found)


@dataclass(frozen=True, eq=False)
class Positions:
    """The places of k columns.

    Parameters
    ----------
    coordinates : ndarray (k, d)
        All different.
    unit : float
        A distance to measure ranges in: the median one of the places that a fit was made for.
    """

    coordinates: Array
    unit: float

    @classmethod
    def of(cls, coordinates: Array) -> Positions:
        """Measure in the median distance."""
        apart = pdist(coordinates)
        return cls(coordinates, float(np.median(apart)) if len(apart) else 1.0)

    @classmethod
    def one_apart(cls, k: int) -> Positions:
        """Return places in a row, each one apart from the next."""
        return cls.of(np.arange(k, dtype=float)[:, None])

    @cached_property
    def distances(self) -> Array:
        """How far each two are apart, (k, k)."""
        return cdist(self.coordinates, self.coordinates)

    @cached_property
    def relative(self) -> Array:
        """Distances in the unit."""
        return self.distances / self.unit

    @cached_property
    def nearest(self) -> tuple[int, int]:
        """The nearest two that are not all but one place."""
        apart = self.distances + np.diag(np.full(len(self.coordinates), np.inf))
        apart = np.where(apart < _CLOSE * self.unit, np.inf, apart)
        a, b = np.unravel_index(int(apart.argmin()), apart.shape)
        return int(min(a, b)), int(max(a, b))

    def same_as(self, other: Positions) -> bool:
        """Say whether two sets of places are the same, in the same order."""
        return np.array_equal(self.coordinates, other.coordinates)

    def with_more(self, coordinates: Array) -> Positions:
        """Return these places and more behind them, in the same unit."""
        return Positions(np.vstack([self.coordinates, coordinates]), self.unit)
