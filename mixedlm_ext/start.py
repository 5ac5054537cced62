"""Where the search for theta starts."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mixedlm_ext.linalg.factor import Pattern
from mixedlm_ext.objective import Objective
from mixedlm_ext.optimize import optimize
from mixedlm_ext.pls import Problem

Array = NDArray[np.float64]

__all__ = ["start_values"]

_DEAR = 1000
"""Columns of Z from which an evaluation costs more than looking for a good start."""
_LEAST = 0.05
"""Smallest standard deviation to start from: at zero the criterion is stationary."""


def start_values(objective: Objective) -> Array:
    """Return the standardized theta to start from.

    Parameters
    ----------
    objective : Objective

    Returns
    -------
    ndarray (m,)
        T = I. In large models with several grouping factors, the diagonal template whose standard
        deviations are those of the model that has only that factor, whose evaluations need no
        coupling and cost next to nothing.
    """
    problem = objective.problem
    covariance = problem.covariance
    if len(problem.cp.shapes) == 1 or problem.cp.q < _DEAR:
        return covariance.start()
    return covariance.theta_of(
        [_alone(objective, block) for block in range(len(problem.cp.shapes))]
    )


def _alone(objective: Objective, block: int) -> Array:
    """Return the diagonal template of one block, roughly fitted without the others."""
    cp = objective.problem.cp.only(block)
    covariance = objective.problem.covariance.only(block)
    own = Objective(Problem(cp, covariance, Pattern(cp)), objective.reml, objective.sigma)
    best, _ = optimize(own, covariance.start(), tol=0.1)
    T = covariance.templates(best.theta)[0]
    return np.diag(np.maximum(np.sqrt((T * T).sum(axis=1)), _LEAST))
