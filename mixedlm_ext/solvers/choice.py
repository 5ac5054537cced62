"""Which solver a model gets: the exact one as long as memory and patience hold it."""

from __future__ import annotations

from mixedlm_ext.errors import FitError, check_choice
from mixedlm_ext.products.products import BlockMatrix
from mixedlm_ext.solvers.base import SolverProtocol
from mixedlm_ext.solvers.direct import DirectSolver
from mixedlm_ext.solvers.iterative import IterativeSolver

__all__ = ["SOLVERS", "check_solver", "choose_solver"]

SOLVERS = ("auto", "exact", "iterative")
"""Names that ``fit(solver=...)`` takes."""


def check_solver(name: object) -> None:
    """Raise FitError unless `name` is one of `SOLVERS`."""
    check_choice("solver", name, SOLVERS, FitError)


def choose_solver(A: BlockMatrix, name: str = "auto") -> SolverProtocol:
    """Return the solver called `name` for a matrix Z'WZ.

    Parameters
    ----------
    A : BlockMatrix
    name : {"auto", "exact", "iterative"}
        "auto" is the exact one unless its factor does not fit into the memory that is free, or one
        evaluation takes longer than anybody waits.

    Raises
    ------
    FitError
        If the exact solver is asked for and does not fit.
    """
    if name == "iterative":
        return IterativeSolver(A)
    if name == "exact":
        return DirectSolver.of(A)
    return DirectSolver.if_it_pays(A) or IterativeSolver(A)
