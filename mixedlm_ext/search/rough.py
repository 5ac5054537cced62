"""A start next to the minimum where an exact evaluation is dear: that by the iterative solver.

Its evaluations take a small part of the time of a large dense root, and its minimum is off by a
small part of a standard error, so that the exact search begins where it would end.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mixedlm_ext.criteria.gaussian import GaussianCriterion
from mixedlm_ext.criteria.linear import AnyCriterion
from mixedlm_ext.criteria.pls import Problem
from mixedlm_ext.errors import FitError
from mixedlm_ext.search.log import Log
from mixedlm_ext.search.newton import newton
from mixedlm_ext.solvers.iterative import IterativeSolver

Array = NDArray[np.float64]

__all__ = ["rough_minimum"]

_DEAR = 0.5
"""Seconds of an exact evaluation from which on a rough minimum is worth its time."""
_TOL = 1e-5
"""Decrease of the criterion that the rough search leaves."""
_LIMIT = 30
"""Evaluations after which it gives up."""


def rough_minimum(criterion: AnyCriterion, theta: Array, log: Log) -> Array:
    """Return the minimum by the iterative solver, or `theta` itself where it is not worth it.

    Parameters
    ----------
    criterion : AnyCriterion
        One with equations keeps its start.
    theta : ndarray (m,)
        Standardized theta to start from.
    log : Log
        Of the exact search: its deadline counts, evaluations are another solver's.
    """
    if not isinstance(criterion, GaussianCriterion):
        return theta
    problem = criterion.problem
    seconds = problem.costs.evaluation(problem.solver.root_size)
    if problem.solver.name != "exact" or seconds < _DEAR or problem.cp.layout.priors:
        return theta
    quick = Problem(problem.cp, problem.covariance, IterativeSolver(problem.cp.A))
    own = Log(_LIMIT, log.deadline)
    try:
        start = GaussianCriterion(quick, criterion.reml, criterion.sigma).at(theta)
        return newton(start, _TOL, own)[0].theta
    except FitError:
        return theta
