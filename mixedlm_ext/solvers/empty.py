"""The solver of a model without random effects: M is 0 × 0."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mixedlm_ext.products.block_matrix import BlockMatrix
from mixedlm_ext.solvers.costs import Costs

Array = NDArray[np.float64]

__all__ = ["EmptyFactor", "EmptySolver"]


class EmptyFactor:
    """Nothing to solve with, at any theta.

    Attributes
    ----------
    logdet : float
    logdet_by_probe : ndarray (0,)
    templates : tuple
    """

    logdet = 0.0
    logdet_by_probe = np.zeros(0)
    templates: Sequence[Array] = ()

    def apply(self, H: Array) -> Array:
        """Return NH, (0, c)."""
        return np.zeros(H.shape)

    def quadratic(self, H: Array) -> Array:
        """Return H'NH, zeros (c, c)."""
        return np.zeros((H.shape[1], H.shape[1]))

    def solve(self, H: Array) -> tuple[Array, Array]:
        """Return H'NH and NH."""
        return self.quadratic(H), self.apply(H)

    def quadratic_diagonal(self, H: Array) -> Array:
        """Return zeros (c,)."""
        return np.zeros(H.shape[1])

    def traces(self) -> tuple[list[Array], list[Array]]:
        """Return nothing: there are no blocks."""
        return [], []

    def weighed(self, H: Array) -> None:
        """Return None: what `apply` leaves of H is as good."""

    def level_information(self) -> Array | None:
        """Return None: there are no levels."""
        return None

    def diagonal_blocks(self) -> list[Array]:
        """Return nothing."""
        return []

    def inverse(self) -> BlockMatrix:
        """Return a matrix without blocks."""
        return BlockMatrix((), [], {})

    def information_by_probe(self) -> list[Array] | None:
        """Return None: all is exact."""
        return None

    def release(self) -> None:
        """Do nothing."""


class EmptySolver:
    """The solver of a model without random effects."""

    name = "exact"
    costs = Costs()
    root_size = 0
    probes = 0

    def load(self, A: BlockMatrix) -> EmptySolver:
        """Return itself."""
        return self

    def factor(self, templates: Sequence[Array]) -> EmptyFactor:
        """Return the factor of nothing."""
        return EmptyFactor()
