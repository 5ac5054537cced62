"""Which solver a model gets: the exact one as long as memory and patience hold it."""

from __future__ import annotations

from collections.abc import Sequence

from mixedlm_ext.errors import FitError, check_choice
from mixedlm_ext.linalg.precision import SparsePrecision
from mixedlm_ext.products.block_matrix import BlockMatrix
from mixedlm_ext.solvers.base import SolverProtocol
from mixedlm_ext.solvers.direct import DirectSolver
from mixedlm_ext.solvers.empty import EmptySolver
from mixedlm_ext.solvers.iterative import IterativeSolver
from mixedlm_ext.solvers.levelwise import LevelwiseSolver
from mixedlm_ext.solvers.prior import PriorSolver

__all__ = ["SOLVERS", "check_solver", "solver_of"]

SOLVERS = ("auto", "exact", "iterative")
"""Names that ``fit(solver=...)`` takes."""


def check_solver(name: object) -> None:
    """Raise FitError unless `name` is one of `SOLVERS`."""
    check_choice("solver", name, SOLVERS, FitError)


def solver_of(
    A: BlockMatrix, priors: Sequence[SparsePrecision | None] = (), name: str = "auto"
) -> SolverProtocol:
    """Return a solver with a pattern of its own.

    Parameters
    ----------
    A : BlockMatrix
        Z'WZ.
    priors : sequence of SparsePrecision or None
        K⁻¹ of each block, if of any.
    name : {"auto", "exact", "iterative"}
        "auto" is the exact one unless its factor does not fit into the memory that is free, or one
        evaluation takes longer than anybody waits: seconds where the other takes a part of them,
        half a minute in any case.

    Raises
    ------
    FitError
        If the exact solver is asked for and does not fit, or the other is not for this model.
    """
    if not A.shapes:
        return EmptySolver()
    if priors:
        if name == "iterative":
            raise FitError(
                "the iterative solver is not for random effects whose levels have a known "
                "covariance. Leave out solver='iterative'."
            )
        return PriorSolver.of(A, priors)
    if name == "iterative":
        return IterativeSolver(A)
    levelwise = LevelwiseSolver.if_it_suits(A)
    if levelwise is not None:
        return levelwise
    if name == "exact":
        return DirectSolver.of(A)
    return DirectSolver.if_it_pays(A, IterativeSolver.seconds(A)) or IterativeSolver(A)
