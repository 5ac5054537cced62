"""Compound symmetry: every two columns have the same correlation."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from mixedlm_ext.structures.correlated import CorrelatedStructure, mean_known

Array = NDArray[np.float64]
Index = NDArray[np.intp]

__all__ = ["CompoundSymmetry"]


class CompoundSymmetry(CorrelatedStructure):
    """C = (1 - ρ)I + ρJ with -1/(k-1) <= ρ <= 1."""

    word: ClassVar[str] = "cs"
    hom_by_default: ClassVar[bool] = False
    stationary: ClassVar[bool] = True

    @property
    def rho_range(self) -> tuple[Array, Array]:
        """From -1/(k-1), where the columns add up to a constant, to 1."""
        return np.array([-1.0 / (self.k - 1)]), np.ones(1)

    def correlation(self, rho: Array) -> Array:
        """Return C."""
        return np.where(self._apart == 0, 1.0, rho[0])

    def correlation_derivatives(self, rho: Array) -> Array:
        """Return J - I."""
        return np.where(self._apart == 0, 0.0, 1.0)[None]

    def correlation_curvature(self, rho: Array, F: Array) -> Array:
        """Return zero: C is linear in ρ."""
        return np.zeros((1, 1))

    def _alike(self, pair: tuple[int, int]) -> tuple[Index, Index]:
        """Return all pairs."""
        return np.triu_indices(self.k, 1)

    def rho_of(self, C: Array) -> Array:
        """Return the mean correlation."""
        return mean_known(C[np.triu_indices(self.k, 1)])
