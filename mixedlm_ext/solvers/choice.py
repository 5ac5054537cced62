"""Which solver a pattern asks for."""

from __future__ import annotations

from collections.abc import Sequence

from mixedlm_ext.linalg.precision import SparsePrecision
from mixedlm_ext.products.products import BlockMatrix
from mixedlm_ext.solvers.base import SolverProtocol
from mixedlm_ext.solvers.direct import DirectSolver
from mixedlm_ext.solvers.prior import PriorSolver

__all__ = ["solver_of"]


def solver_of(A: BlockMatrix, priors: Sequence[SparsePrecision | None] = ()) -> SolverProtocol:
    """Return a solver with a pattern of its own; `priors` has K⁻¹ of each block, if of any."""
    return PriorSolver.of(A, priors) if priors else DirectSolver.of(A)
