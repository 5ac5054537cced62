"""First-order autoregression: correlations fall with the distance of the columns."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from mixedlm_ext.structures.correlated import CorrelatedStructure, mean_known

Array = NDArray[np.float64]

__all__ = ["Autoregressive"]


class Autoregressive(CorrelatedStructure):
    """C_ab = ρ^|a-b| with -1 <= ρ <= 1, the columns in the order of time."""

    word: ClassVar[str] = "ar1"
    hom_by_default: ClassVar[bool] = True
    stationary: ClassVar[bool] = True
    ordered: ClassVar[bool] = True

    @property
    def one_level(self) -> bool:
        """Whether there is one variance: one level shows it and how correlations fall."""
        return self.one_variance

    @property
    def rho_range(self) -> tuple[Array, Array]:
        """From -1 to 1."""
        return -np.ones(1), np.ones(1)

    def correlation(self, rho: Array) -> Array:
        """Return C."""
        return np.asarray(rho[0] ** self._apart)

    def correlation_derivatives(self, rho: Array) -> Array:
        """Return h ρ^(h-1) at the lags h."""
        h = self._apart
        return np.asarray(h * rho[0] ** np.maximum(h - 1.0, 0.0))[None]

    def correlation_curvature(self, rho: Array, F: Array) -> Array:
        """Return Σ F h(h-1) ρ^(h-2)."""
        h = self._apart
        return np.array([[(F * h * (h - 1.0) * rho[0] ** np.maximum(h - 2.0, 0.0)).sum()]])

    def rho_of(self, C: Array) -> Array:
        """Return the mean correlation of neighbours."""
        return mean_known(np.diag(C, 1))
