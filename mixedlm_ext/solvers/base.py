"""What the criterion asks of a solver: what offers this can stand below penalized least squares.

M = Λ'Z'WZΛ + I, N = ΛM⁻¹Λ'; arrays are in the column order of the cross-products.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mixedlm_ext.products.block_matrix import BlockMatrix
from mixedlm_ext.products.supports import LevelSquares
from mixedlm_ext.solvers.costs import Costs

Array = NDArray[np.float64]

__all__ = ["FactorProtocol", "SolverProtocol"]


class FactorProtocol(Protocol):
    """M at one theta.

    Attributes
    ----------
    logdet : float
        log|M|.
    logdet_by_probe : ndarray (samples,)
        What each sample says of log|M|; empty where it is exact.
    templates : sequence of ndarray (k, k)
        T of each block.
    """

    logdet: float
    logdet_by_probe: Array
    templates: Sequence[Array]

    def solve(self, H: Array) -> tuple[Array, Array]:
        """Return H'NH and NH for H (q, c)."""

    def apply(self, H: Array) -> Array:
        """Return NH for H (q, c)."""

    def quadratic(self, H: Array) -> Array:
        """Return H'NH for H (q, c)."""

    def quadratic_diagonal(self, H: Array) -> Array:
        """Return the diagonal of H'NH, (c,)."""

    def traces(self) -> tuple[list[Array], list[Array]]:
        """Return K_i = Σ_l [Z'V⁻¹Z]_ll and K_iT_i for every block i."""

    def weighed(self, H: Array) -> Array | None:
        """Return (I + Z'WZΓ)⁻¹H for H (q, c), which is Z'V⁻¹G if H is Z'WG; None: take NH."""

    def level_information(self) -> Array | LevelSquares | None:
        """Return every Z_l'V⁻¹Z_l, (k, k, levels), if one unjoined block is all of Z."""

    def diagonal_blocks(self) -> list[Array]:
        """Return the diagonal blocks of N, (k, k, levels) for every block."""

    def inverse(self) -> BlockMatrix:
        """Return the entries of N on the pattern of Z'WZ."""

    def information_by_probe(self) -> list[Array] | None:
        """Return what each sample adds to K_i, (samples, k, k) for every block i.

        None where log|M| and its derivatives are exact.
        """

    def release(self) -> None:
        """Free the memory; solves are no longer possible."""


class SolverProtocol(Protocol):
    """The numbers of one Z'WZ on a pattern.

    Attributes
    ----------
    name : str
        As ``fit(solver=...)`` has it.
    """

    name: str

    @property
    def costs(self) -> Costs:
        """By what the ways to derivatives and to starts are chosen."""

    @property
    def root_size(self) -> int:
        """Columns of the largest dense matrix to factor: its cube is the cost of a factor."""

    @property
    def probes(self) -> int:
        """Samples that log|M| and its derivatives are estimated from; 0 if they are exact."""

    def load(self, A: BlockMatrix) -> SolverProtocol:
        """Return the solver of other numbers on the same pattern."""

    def factor(self, templates: Sequence[Array]) -> FactorProtocol:
        """Factor M at the given templates, one for each block."""
