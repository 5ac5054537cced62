"""One point of a profile: the fit by maximum likelihood with one quantity held at a value.

Everything is in the working coordinate t of the quantity (see scales.py).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mixedlm_ext.caching import cached_property
from mixedlm_ext.criteria.gaussian import GaussianCriterion, GaussianEvaluation
from mixedlm_ext.criteria.pls import Problem
from mixedlm_ext.criteria.restricted import RestrictedEvaluation
from mixedlm_ext.design.removed import require_rows
from mixedlm_ext.estimation.fit import Fit
from mixedlm_ext.inference.parameters import NaturalParameters, Parameter
from mixedlm_ext.inference.profile.coordinates import (
    Coordinates,
    CorrelationHeld,
    Place,
    SdHeld,
    ThetaHeld,
)
from mixedlm_ext.inference.profile.residual_points import (
    HeldWithResiduals,
    ResidualModel,
    coordinates_held,
    held_with_residuals,
    residual_estimates,
)
from mixedlm_ext.inference.profile.restricted import ColumnRemoved, TermReordered
from mixedlm_ext.inference.profile.search import minimize

Array = NDArray[np.float64]

__all__ = [
    "Held",
    "Maximum",
    "QuantityHeld",
    "Refit",
    "estimates_at",
    "held",
    "maximum",
    "quantity_held",
]


@dataclass(frozen=True, eq=False)
class Maximum:
    """The maximum of the likelihood, where every profile starts.

    Attributes
    ----------
    problem : Problem
    fixed_sigma : float or None
    theta : ndarray (m,)
        Standardized.
    objective : float
        Minus twice the log-likelihood.
    estimates : NaturalParameters of the maximum
    model : ResidualModel or None
        Where residuals have a structure; `theta` is then (θ, z).
    """

    problem: Problem
    fixed_sigma: float | None
    theta: Array
    objective: float
    estimates: NaturalParameters
    model: ResidualModel | None = None


def maximum(fit: Fit) -> Maximum:
    """Maximize the likelihood, from the estimate of a fit by either criterion."""
    problem = fit.problem
    if fit.z is not None:
        return _maximum_with_residuals(fit)
    criterion = GaussianCriterion(problem, False, fit.fixed_sigma)
    best = minimize(
        criterion.at, problem.covariance.standardize(fit.theta), problem.covariance.ends
    )
    estimates = estimates_at(problem, best)
    return Maximum(problem, fit.fixed_sigma, best.theta, best.value, estimates)


def _maximum_with_residuals(fit: Fit) -> Maximum:
    """Maximize the likelihood over the parameters of the residuals, too."""
    if fit.problem.residual is None:
        require_rows(fit.design, "the profile of a model with a residual structure")
    model = ResidualModel(fit.design, fit.fixed_sigma)
    criterion = model.criterion()
    assert fit.z is not None
    start = criterion.space.join(model.problem.covariance.standardize(fit.theta), fit.z)
    best = minimize(criterion.at, start, model.ends)
    estimates = residual_estimates(best)
    return Maximum(model.problem, fit.fixed_sigma, best.theta, best.value, estimates, model)


class _WithResiduals:
    """What is held in a model whose residuals have a structure."""

    def __init__(self, held: HeldWithResiduals) -> None:
        self._held = held

    def start(self, top: Maximum) -> Array:
        """Return the free coordinates at the maximum."""
        return self._held.start(top.theta, top.estimates.sigma)

    def refit(self, t: float, x: Array) -> Refit:
        """Minimize the criterion at t, searching from x."""
        found = self._held.refit(t, x)
        return Refit(found.x, found.objective, found.slope, found.estimates)


@dataclass(frozen=True, eq=False)
class Refit:
    """A restricted fit.

    Attributes
    ----------
    x : ndarray
        Free coordinates.
    objective : float
        Minus twice the log-likelihood.
    slope : float
        Its derivative in t.
    estimates : NaturalParameters
    """

    x: Array
    objective: float
    slope: float
    estimates: NaturalParameters


class Held(Protocol):
    """One quantity, to be held at any value of its working coordinate."""

    def start(self, top: Maximum) -> Array:
        """Return the free coordinates at the maximum."""

    def refit(self, t: float, x: Array) -> Refit:
        """Minimize the criterion at t, searching from x."""


def held(parameter: Parameter, top: Maximum) -> Held:
    """Return what holds one of the model's parameters."""
    problem, fixed_sigma = top.problem, top.fixed_sigma
    if top.model is not None:
        return _WithResiduals(held_with_residuals(parameter, top.model))
    if parameter.kind == "sigma":
        return _SigmaHeld(problem)
    if parameter.kind == "beta":
        return _BetaHeld(problem, parameter.columns[0], fixed_sigma)
    term = problem.covariance.terms[parameter.term]
    place = term.structure.place(parameter.columns)
    # where no θ is the quantity, its columns are put first: in the corner of T it is simple
    first = parameter.columns if place is None else ()
    turned = TermReordered.of(problem, parameter.term, first)
    own = turned.problem.covariance.terms[parameter.term]
    entry = problem.covariance.slices[parameter.term].start + (place or 0)
    m = problem.covariance.n_theta
    if parameter.kind == "range":
        return QuantityHeld(turned, ThetaHeld(entry, own.structure.range_unit), fixed_sigma)
    if parameter.kind == "cor":
        apart = CorrelationHeld(own, entry, m) if place is None else ThetaHeld(entry)
        return QuantityHeld(turned, apart, fixed_sigma)
    column = 0 if place is None else parameter.columns[0]
    scale = float(own.whitening[column, column])
    return QuantityHeld(turned, SdHeld(entry, scale, m, fixed_sigma), fixed_sigma)


def quantity_held(coordinates: Coordinates, top: Maximum) -> Held:
    """Return what holds a function of (θ, σ), in coordinates of the model's own columns."""
    if top.model is not None:
        return _WithResiduals(coordinates_held(coordinates, top.model))
    return QuantityHeld(TermReordered.of(top.problem, 0, ()), coordinates, top.fixed_sigma)


class _SigmaHeld:
    """The residual standard deviation: the engine's criterion with a known sigma."""

    def __init__(self, problem: Problem) -> None:
        self._problem = problem

    def start(self, top: Maximum) -> Array:
        """Return the standardized theta."""
        return top.theta

    def refit(self, t: float, x: Array) -> Refit:
        """Minimize with σ = exp t; ∂d/∂log σ = 2(n - r²/σ²)."""
        criterion = GaussianCriterion(self._problem, False, float(np.exp(t)))
        e = minimize(criterion.at, x, self._problem.covariance.ends)
        slope = 2.0 * (self._problem.cp.n - e.pls.pwrss / e.scale)
        return Refit(e.theta, e.value, slope, estimates_at(self._problem, e))


class _BetaHeld:
    """A fixed effect: the engine's criterion for y - x_jt on the other columns of X."""

    def __init__(self, problem: Problem, j: int, fixed_sigma: float | None) -> None:
        self._removed, self._j = ColumnRemoved(problem, j), j
        self._fixed_sigma = fixed_sigma

    def start(self, top: Maximum) -> Array:
        """Return the standardized theta."""
        return top.theta

    def refit(self, t: float, x: Array) -> Refit:
        """Minimize at one value of the coefficient."""
        problem = self._removed.at(t)
        e = minimize(
            GaussianCriterion(problem, False, self._fixed_sigma).at, x, problem.covariance.ends
        )
        slope = self._removed.pwrss_slope(t, e.pls.b) / e.scale
        others = estimates_at(problem, e)
        estimates = replace(others, beta=np.insert(others.beta, self._j, t))
        return Refit(e.theta, e.value, slope, estimates)


class QuantityHeld:
    """A function of (θ, σ), in coordinates in which it is one coordinate.

    Parameters
    ----------
    turned : TermReordered
    coordinates : Coordinates
    fixed_sigma : float or None
    """

    def __init__(
        self, turned: TermReordered, coordinates: Coordinates, fixed_sigma: float | None
    ) -> None:
        self._turned, self._coordinates = turned, coordinates
        self._fixed_sigma = fixed_sigma

    def start(self, top: Maximum) -> Array:
        """Return the free coordinates at the maximum."""
        theta = self._turned.theta(top.theta, top.problem.covariance)
        return self._coordinates.start(theta, top.estimates.sigma)

    def refit(self, t: float, x: Array) -> Refit:
        """Minimize over the free coordinates."""
        problem = self._turned.problem

        def at(x: Array) -> _Point:
            place = self._coordinates.place(x, t)
            sigma = self._fixed_sigma
            if place.log_sigma is not None:
                sigma = float(np.exp(place.log_sigma))
            e = GaussianCriterion(problem, False, sigma).at(place.theta)
            return _Point(x, t, e, place, self._coordinates, problem.cp.n)

        best = minimize(at, x, self._ends(x))
        estimates = estimates_at(problem, best.evaluation)
        own = self._turned.random_cov(estimates.random_cov)
        return Refit(best.theta, best.value, best.slope, replace(estimates, random_cov=own))

    def _ends(self, x: Array) -> tuple[Array, Array] | None:
        """Return the ends of the ranges of x, if there are any; log σ has none."""
        ends = self._turned.problem.covariance.ends
        if ends is None:
            return None
        low, high = (self._coordinates.of_theta(end) for end in ends)
        free = np.full(len(x) - len(low), np.inf)
        return np.append(low, -free), np.append(high, free)


class _Point:
    """The criterion at one x; attributes as those of a `GaussianEvaluation`, in x instead of θ."""

    def __init__(
        self,
        x: Array,
        t: float,
        e: GaussianEvaluation,
        place: Place,
        coordinates: Coordinates,
        n: int,
    ) -> None:
        self.theta, self.value, self.evaluation = x, e.value, e
        self._t, self._place, self._coordinates, self._n = t, place, coordinates, n

    @cached_property
    def _g(self) -> Array:
        """The gradient in ψ; ∂d/∂log σ = 2(n - r²/σ²)."""
        e = self.evaluation
        if self._place.log_sigma is None:
            return e.gradient
        return np.append(e.gradient, 2.0 * (self._n - e.pls.pwrss / e.scale))

    @cached_property
    def _H(self) -> Array:
        """The Hessian in ψ: ∂²d/∂(log σ)² = 4r²/σ², ∂²d/∂θ∂log σ = -2/σ² ∂r²/∂θ."""
        e = self.evaluation
        if self._place.log_sigma is None:
            return e.hessian_model
        across = -2.0 * e.pwrss_gradient[:, None] / e.scale
        corner = np.array([[4.0 * e.pls.pwrss / e.scale]])
        return np.block([[e.hessian_model, across], [across.T, corner]])

    @cached_property
    def gradient(self) -> Array:
        """J'g."""
        return np.asarray(self._place.J.T @ self._g)

    @cached_property
    def hessian_model(self) -> Array:
        """J'HJ and the curvature of the coordinates."""
        J = self._place.J
        bend = self._coordinates.bend(self.theta, self._t, self._g)
        return np.asarray(J.T @ self._H @ J + bend)

    @property
    def slope(self) -> float:
        """∂d/∂t = g'∂ψ/∂t."""
        return float(self._g @ self._place.velocity)

    def release(self) -> None:
        """Free the factor."""
        _ = self._g
        self.evaluation.release()


def estimates_at(
    problem: Problem, e: GaussianEvaluation | RestrictedEvaluation
) -> NaturalParameters:
    """Return the estimates at an evaluation, in the columns of its problem."""
    covariance = problem.covariance
    sigma = float(np.sqrt(e.scale))
    templates = covariance.term_templates(covariance.unstandardize(e.theta))
    beta = problem.cp.layout.coefficients(e.pls.beta)
    return NaturalParameters([sigma**2 * T @ T.T for T in templates], sigma, beta)
