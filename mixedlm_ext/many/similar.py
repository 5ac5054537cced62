"""A fit of a problem that is like one already fitted: other responses, other rows."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mixedlm_ext.criteria.linear import AnyCriterion
from mixedlm_ext.criteria.pls import Problem
from mixedlm_ext.criteria.space import JointSpace
from mixedlm_ext.design import Design
from mixedlm_ext.estimation.estimate import estimate
from mixedlm_ext.estimation.fit import Fit
from mixedlm_ext.search.start import is_dear, several_minima

Array = NDArray[np.float64]

__all__ = ["fit_similar", "start_of", "warm_start"]

_LEAST = 0.05
"""Smallest diagonal of a template to start from: at zero the criterion is stationary."""
_INSIDE = 0.02
"""How far from the ends of their ranges parameters of the residuals start."""


def fit_similar(fit: Fit, design: Design, problem: Problem, reml: bool | None = None) -> Fit:
    """Fit a problem of the same parameters.

    The search starts from the estimates of the fit where an evaluation is dear; otherwise the new
    problem's own moments are closer to its minimum.

    Parameters
    ----------
    fit : Fit
    design : Design
        Of the problem.
    problem : Problem
    reml : bool, optional
        The criterion; that of the fit by default.

    Returns
    -------
    Fit
    """
    criterion = fit.criterion(problem, reml)
    several = several_minima(problem)  # the new problem may have its best elsewhere
    start = start_of(criterion, fit) if is_dear(problem) and not several else None
    return estimate(design, criterion, start, several=several)


def start_of(criterion: AnyCriterion, fit: Fit) -> Array:
    """Return the point to start from after a fit of a similar problem."""
    space = criterion.space
    if not isinstance(space, JointSpace) or fit.z is None:
        return warm_start(criterion.problem, fit.theta)
    low, high = space.structure.z_range
    z = np.clip(fit.z, low + _INSIDE, high - _INSIDE)
    theta = warm_start(criterion.problem, fit.theta)
    return criterion.inside(space.join(theta, z))


def warm_start(problem: Problem, theta: Array) -> Array:
    """Return the standardized theta to start from after a fit of a similar problem.

    Diagonals of the templates are kept off zero, where the criterion is stationary.
    """
    covariance = problem.covariance
    start = covariance.standardize(theta)
    diagonal = covariance.start() > 0
    return np.where(diagonal, np.maximum(start, _LEAST), start)
