"""Points of a profile where some parameters are fixed, or equal to others: one equation more.

The quantity is held by an equation like those that the user asked for, so that the multiplier of
that equation is the slope of the profile in its target.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from mixedlm_ext.criteria.restricted import RestrictedCriterion, RestrictedEvaluation
from mixedlm_ext.estimation.fit import Fit
from mixedlm_ext.inference.parameters import Parameter
from mixedlm_ext.inference.profile.points import (
    Held,
    Maximum,
    Refit,
    estimates_at,
    held,
    maximum,
)
from mixedlm_ext.inference.profile.restricted import ColumnRemoved
from mixedlm_ext.inference.profile.scales import SCALES
from mixedlm_ext.inference.restrictions import held_equations
from mixedlm_ext.search.log import Log
from mixedlm_ext.search.newton import newton
from mixedlm_ext.structures.restrictions import Restrictions

Array = NDArray[np.float64]

__all__ = ["held_beside", "maximum_of"]

_TOL = 1e-9
"""A Newton step that promises less than this is the last."""
_MOST_EVALUATIONS = 100


def maximum_of(fit: Fit) -> Maximum:
    """Maximize the likelihood of a model, restricted or not."""
    if fit.restrictions is None:
        return maximum(fit)
    criterion = fit.criterion(reml=False)
    assert isinstance(criterion, RestrictedCriterion)
    start = fit.problem.covariance.standardize(fit.theta)
    best = _minimize(criterion.at(start))
    estimates = estimates_at(fit.problem, best)
    return Maximum(fit.problem, fit.fixed_sigma, best.theta, best.value, estimates)


def held_beside(parameter: Parameter, top: Maximum, restrictions: Restrictions | None) -> Held:
    """Return what holds one of the model's parameters beside what is fixed and equal."""
    if restrictions is None:
        return held(parameter, top)
    if parameter.kind == "beta":
        return _BetaHeld(top, restrictions, parameter.columns[0])
    return _ParameterHeld(top, restrictions, parameter)


class _ParameterHeld:
    """A standard deviation, correlation, range or sigma, held by an equation."""

    def __init__(self, top: Maximum, restrictions: Restrictions, parameter: Parameter) -> None:
        self._top, self._restrictions, self._parameter = top, restrictions, parameter
        self._scale = SCALES[parameter.kind]

    def start(self, top: Maximum) -> Array:
        """Return (θ, log σ) at the maximum."""
        return np.append(top.theta, np.log(top.estimates.sigma))

    def refit(self, t: float, x: Array) -> Refit:
        """Minimize with one equation more; ∂d/∂t is its multiplier times what t does to it."""
        top, p = self._top, self._parameter
        covariance = top.problem.covariance
        here, ahead = (
            held_equations(p, covariance, float(self._scale.backward(at)), top.fixed_sigma)
            for at in (t, t + _STEP)
        )
        criterion = RestrictedCriterion(
            top.problem, False, top.fixed_sigma, self._restrictions.with_equations(here), True
        )
        best = _minimize(criterion.at_point(x if criterion.with_sigma else x[:-1]))
        rate = (ahead[-1].target - here[-1].target) / _STEP
        slope = float(best.multipliers[-1]) * rate
        return Refit(_point(best), best.value, slope, estimates_at(top.problem, best))


_STEP = 1e-6
"""In t, for the derivative of a target, which is smooth."""


class _BetaHeld:
    """A fixed effect: the restricted criterion for y - x_jt on the other columns of X."""

    def __init__(self, top: Maximum, restrictions: Restrictions, j: int) -> None:
        self._removed, self._j = ColumnRemoved(top.problem, j), j
        self._top, self._restrictions = top, restrictions

    def start(self, top: Maximum) -> Array:
        """Return (θ, log σ) at the maximum."""
        return np.append(top.theta, np.log(top.estimates.sigma))

    def refit(self, t: float, x: Array) -> Refit:
        """Minimize at one value of the coefficient."""
        problem = self._removed.at(t)
        criterion = RestrictedCriterion(
            problem, False, self._top.fixed_sigma, self._restrictions, True
        )
        best = _minimize(criterion.at_point(x if criterion.with_sigma else x[:-1]))
        slope = self._removed.pwrss_slope(t, best.pls.b) / best.scale
        others = estimates_at(problem, best)
        estimates = replace(others, beta=np.insert(others.beta, self._j, t))
        return Refit(_point(best), best.value, slope, estimates)


def _minimize(first: RestrictedEvaluation) -> RestrictedEvaluation:
    """Search from a point."""
    best, _ = newton(first, _TOL, Log(_MOST_EVALUATIONS))
    return best


def _point(e: RestrictedEvaluation) -> Array:
    """Return (θ, log σ) of a point."""
    return np.append(e.theta, 0.5 * np.log(e.scale))
