"""Independent columns: a variance for each, or one variance for all."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from mixedlm_ext.caching import cached_property
from mixedlm_ext.structures.linear import LinearStructure

Array = NDArray[np.float64]
Index = NDArray[np.intp]

__all__ = ["Diagonal", "OneVariance"]


class Diagonal(LinearStructure):
    """T = diag(θ)."""

    word: ClassVar[str] = "diag"
    whitening = "columns"
    correlated: ClassVar[bool] = False

    @cached_property
    def entries(self) -> tuple[Index, Index]:
        """The diagonal."""
        return np.arange(self.k), np.arange(self.k)

    def step_basis(self, theta: Array, metric: Array | None = None) -> Array:
        """Return diag √(1 + θ²)."""
        return np.diag(np.sqrt(1.0 + theta**2))

    def text(self, left: str, group: str) -> str:
        """Return "(left || group)"."""
        return f"({left} || {group})"


class OneVariance(Diagonal):
    """T = θI."""

    whitening = "common"
    one_variance = True
    tied: ClassVar[bool] = True

    @cached_property
    def owners(self) -> Index:
        """All entries are the one θ."""
        return np.zeros(self.k, np.intp)

    def theta_of(self, template: Array) -> Array:
        """Return the root mean square of the diagonal."""
        return np.sqrt((template[self.entries] ** 2).mean(keepdims=True))

    def standardizer(self, R: Array) -> Array:
        """Return J; R is a multiple of I."""
        return R[:1, :1]

    def step_basis(self, theta: Array, metric: Array | None = None) -> Array:
        """Return the one direction: all variances of the term together."""
        return np.full((self.k, 1), np.sqrt(1.0 + theta[0] ** 2))

    def text(self, left: str, group: str) -> str:
        """Return "diag(left | group, hom=True)"."""
        return f"diag({left} | {group}, hom=True)"
