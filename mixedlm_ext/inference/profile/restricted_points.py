"""Points of a profile where some parameters are fixed, or equal to others: one equation more.

The quantity is held by an equation like those that the user asked for, so that the multiplier of
that equation is the slope of the profile in its target.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from mixedlm_ext.criteria.pls import Problem
from mixedlm_ext.criteria.residual import ResidualEvaluation
from mixedlm_ext.criteria.restricted import RestrictedCriterion, RestrictedEvaluation
from mixedlm_ext.design.removed import require_rows
from mixedlm_ext.estimation.fit import Fit
from mixedlm_ext.inference.parameters import NaturalParameters, Parameter
from mixedlm_ext.inference.profile.points import (
    Held,
    Maximum,
    Refit,
    estimates_at,
    held,
    maximum,
)
from mixedlm_ext.inference.profile.residual_points import ResidualModel, residual_estimates
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
    start, model, problem = fit.problem.covariance.standardize(fit.theta), None, fit.problem
    if fit.z is not None:
        if fit.problem.residual is None:
            require_rows(fit.design, "the profile of a model with a residual structure")
        start, model = np.concatenate([start, fit.z]), ResidualModel(fit.design, fit.fixed_sigma)
        problem = model.problem
    criterion = _criterion(problem, fit.fixed_sigma, fit.restrictions, explicit=False)
    best = _minimize(criterion.at(start))
    estimates = _estimates(problem, best)
    return Maximum(problem, fit.fixed_sigma, best.theta, best.value, estimates, model)


def _criterion(
    problem: Problem, sigma: float | None, restrictions: Restrictions, explicit: bool = True
) -> RestrictedCriterion:
    """Return minus twice the log-likelihood, in the user's scale."""
    return RestrictedCriterion(problem, False, sigma, restrictions, explicit, in_user_scale=True)


def _estimates(problem: Problem, e: RestrictedEvaluation) -> NaturalParameters:
    """Return the estimates at a point."""
    if isinstance(e.inner, ResidualEvaluation):
        return residual_estimates(e.inner)
    return estimates_at(problem, e)


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
        """Return (θ, log σ) at the maximum, z after θ."""
        return np.append(top.theta, np.log(top.estimates.sigma))

    def refit(self, t: float, x: Array) -> Refit:
        """Minimize with one equation more; ∂d/∂t is its multiplier times what t does to it."""
        top, p = self._top, self._parameter
        covariance = top.problem.covariance
        residual = None if top.model is None else top.model.design.residual
        here, ahead = (
            held_equations(
                p, covariance, float(self._scale.backward(at)), top.fixed_sigma, residual
            )
            for at in (t, t + _STEP)
        )
        restrictions = self._restrictions.with_equations(here)
        criterion = _criterion(top.problem, top.fixed_sigma, restrictions)
        best = _minimize(criterion.at_point(x if criterion.with_sigma else x[:-1]))
        rate = (ahead[-1].target - here[-1].target) / _STEP
        slope = float(best.multipliers[-1]) * rate
        return Refit(_point(best), best.value, slope, _estimates(top.problem, best))


_STEP = 1e-6
"""In t, for the derivative of a target, which is smooth."""


class _BetaHeld:
    """A fixed effect: the restricted criterion for y - x_jt on the other columns of X."""

    def __init__(self, top: Maximum, restrictions: Restrictions, j: int) -> None:
        if top.model is not None:
            top.model.require_rows()
        self._removed = None if top.model is not None else ColumnRemoved(top.problem, j)
        self._top, self._restrictions, self._j = top, restrictions, j

    def start(self, top: Maximum) -> Array:
        """Return (θ, log σ) at the maximum, z after θ."""
        return np.append(top.theta, np.log(top.estimates.sigma))

    def refit(self, t: float, x: Array) -> Refit:
        """Minimize at one value of the coefficient."""
        problem, pwrss_slope = self._held(t)
        criterion = _criterion(problem, self._top.fixed_sigma, self._restrictions)
        best = _minimize(criterion.at_point(x if criterion.with_sigma else x[:-1]))
        others = _estimates(problem, best)
        estimates = replace(others, beta=np.insert(others.beta, self._j, t))
        return Refit(_point(best), best.value, pwrss_slope(best) / best.scale, estimates)

    def _held(self, t: float) -> tuple[Problem, Callable[[RestrictedEvaluation], float]]:
        """Return the problem of the others, and ∂r²/∂t: -2x_j'We from rows of correlated ones."""
        model, removed = self._top.model, self._removed
        if model is None:
            assert removed is not None
            return removed.at(t), lambda e: removed.pwrss_slope(t, e.pls.b)
        column, own = model.design.X[:, self._j], model.holding(self._j, t)

        def slope(e: RestrictedEvaluation) -> float:
            assert isinstance(e.inner, ResidualEvaluation)
            return -2.0 * float(column @ e.inner.weighed_residuals(own.design))

        return own.problem, slope


def _minimize(first: RestrictedEvaluation) -> RestrictedEvaluation:
    """Search from a point."""
    best, _ = newton(first, _TOL, Log(_MOST_EVALUATIONS))
    return best


def _point(e: RestrictedEvaluation) -> Array:
    """Return (θ, log σ) of a point."""
    return np.append(e.theta, 0.5 * np.log(e.scale))
