"""Points of a profile where residuals have a structure: its parameters z are free, too.

The criterion is a function of ψ = (θ, z, log σ). Parameters of the random effects are held in the
same coordinates as elsewhere, with z beside them; a parameter of the residuals is held as it is. A
change of columns, or a fixed effect that is held, is made in the rows, which are summed anew.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from mixedlm_ext.caching import cached_property
from mixedlm_ext.criteria.assemble import assemble
from mixedlm_ext.criteria.linear import criterion_of
from mixedlm_ext.criteria.pls import Problem
from mixedlm_ext.criteria.residual import ResidualCriterion, ResidualEvaluation
from mixedlm_ext.design import Design
from mixedlm_ext.design.removed import require_rows
from mixedlm_ext.inference.parameters import RESIDUAL_KINDS, NaturalParameters, Parameter
from mixedlm_ext.inference.profile.coordinates import (
    Coordinates,
    CorrelationHeld,
    SdHeld,
    ThetaHeld,
)
from mixedlm_ext.inference.profile.scales import SCALES
from mixedlm_ext.inference.profile.search import minimize
from mixedlm_ext.linalg.triangular import lower_root

Array = NDArray[np.float64]
Ends = tuple[Array, Array]

__all__ = [
    "HeldWithResiduals",
    "ResidualModel",
    "coordinates_held",
    "held_with_residuals",
    "residual_estimates",
]


class ResidualModel:
    """The likelihood of a model whose residuals have a structure.

    Parameters
    ----------
    design : Design
        With its rows, or with sums of them: then coefficients are not held.
    fixed_sigma : float or None
    """

    def __init__(self, design: Design, fixed_sigma: float | None) -> None:
        self.design, self.fixed_sigma = design, fixed_sigma
        self.problem = assemble(design)

    def criterion(self, sigma: float | None = None) -> ResidualCriterion:
        """Return the criterion in the user's scale, σ known or not."""
        known = self.fixed_sigma if sigma is None else sigma
        made = criterion_of(self.problem, False, known)
        assert isinstance(made, ResidualCriterion)
        return made.in_user_scale()

    @cached_property
    def ends(self) -> Ends:
        """Ends of (θ, z)."""
        return self.criterion().space.domain

    def require_rows(self) -> None:
        """Say where the rows are if they are not here: coefficients are held by them."""
        require_rows(self.design, "the profile of a coefficient beside a residual structure")

    def holding(self, j: int, value: float) -> ResidualModel:
        """Return the model with a coefficient of X held, as part of the offset."""
        design = self.design
        offset = value * design.X[:, j] + (0.0 if design.offset is None else design.offset)
        rows = replace(design.rows, X=np.delete(design.X, j, axis=1), offset=offset)
        return ResidualModel(replace(design, rows=rows), self.fixed_sigma)


def residual_estimates(e: ResidualEvaluation) -> NaturalParameters:
    """Return the estimates at an evaluation in the user's scale."""
    problem = e.problem
    covariance, structure = problem.covariance, e.structure
    sigma = float(np.sqrt(e.scale))
    templates = covariance.term_templates(covariance.unstandardize(e.pls.theta))
    beta = problem.cp.layout.coefficients(e.pls.beta)
    covs = [sigma**2 * T @ T.T for T in templates]
    return NaturalParameters(covs, sigma, beta, structure.values_of(e.z))


class Found:
    """A restricted fit, as `Refit` of points.py."""

    def __init__(
        self, x: Array, objective: float, slope: float, estimates: NaturalParameters
    ) -> None:
        self.x, self.objective, self.slope, self.estimates = x, objective, slope, estimates


class SigmaHeld:
    """The residual standard deviation; x is (θ, z)."""

    def __init__(self, model: ResidualModel) -> None:
        self._model = model

    def start(self, point: Array, sigma: float) -> Array:
        """Return (θ, z)."""
        return point

    def refit(self, t: float, x: Array) -> Found:
        """Minimize with σ = exp t."""
        e = minimize(self._model.criterion(float(np.exp(t))).at, x, self._model.ends)
        slope = 2.0 * (e.problem.cp.n - e.pls.pwrss / e.scale)
        return Found(e.theta, e.value, slope, residual_estimates(e))


class BetaHeld:
    """A fixed effect, which becomes part of the offset; x is (θ, z)."""

    def __init__(self, model: ResidualModel, j: int) -> None:
        model.require_rows()
        self._model, self._j = model, j

    def start(self, point: Array, sigma: float) -> Array:
        """Return (θ, z)."""
        return point

    def refit(self, t: float, x: Array) -> Found:
        """Minimize at one value of the coefficient; ∂r²/∂t = -2x_j'We."""
        j, model = self._j, self._model.holding(self._j, t)
        e = minimize(model.criterion().at, x, model.ends)
        others = residual_estimates(e)
        column = self._model.design.X[:, j]
        slope = -2.0 * float(column @ e.weighed_residuals(model.design)) / e.scale
        estimates = replace(others, beta=np.insert(others.beta, j, t))
        return Found(e.theta, e.value, slope, estimates)


class ParameterHeld:
    """A parameter of the residuals, held in its working coordinate; x is (θ, z) without it."""

    def __init__(self, model: ResidualModel, k: int, kind: str) -> None:
        self._model, self._scale = model, SCALES[kind]
        self._entry, self._k = model.problem.covariance.n_theta + k, k

    def start(self, point: Array, sigma: float) -> Array:
        """Return the others."""
        return np.delete(point, self._entry)

    def refit(self, t: float, x: Array) -> Found:
        """Minimize over the others."""
        criterion = self._model.criterion()
        structure, entry = criterion.sums.structure, self._entry
        values = structure.values_of(structure.neutral)
        values[self._k] = float(self._scale.backward(t))
        held = float(structure.z_of(values)[self._k])
        low, high = (np.delete(end, entry) for end in self._model.ends)

        def at(x: Array) -> _Without:
            return _Without(criterion.at(np.insert(x, entry, held)), entry)

        best = minimize(at, x, (low, high))
        e = best.evaluation
        rate = float(structure.slopes(e.z)[self._k] * self._scale.rate(t))  # ∂t/∂z
        slope = best.last / rate if rate else np.nan  # where rho = 0 is the end of its range
        return Found(best.theta, best.value, slope, residual_estimates(e))


class _Without:
    """The criterion with one coordinate held."""

    def __init__(self, e: ResidualEvaluation, entry: int) -> None:
        self.evaluation, self._entry = e, entry
        self.theta, self.value = np.delete(e.theta, entry), e.value

    @property
    def gradient(self) -> Array:
        """The gradient in the others."""
        return np.delete(self.evaluation.gradient, self._entry)

    @property
    def last(self) -> float:
        """The derivative in the one that is held."""
        return float(self.evaluation.gradient[self._entry])

    @cached_property
    def hessian_model(self) -> Array:
        """The Hessian in the others."""
        H = self.evaluation.hessian_model
        return np.delete(np.delete(H, self._entry, 0), self._entry, 1)

    def release(self) -> None:
        """Keep the factor: gradients are asked for later."""


class QuantityHeld:
    """A function of (θ, σ) in the coordinates of coordinates.py, with z after them.

    Parameters
    ----------
    model : ResidualModel
        With the columns of the term in the order that the coordinates want.
    coordinates : Coordinates
    turn : _Turn
        From the model's own columns to these.
    """

    def __init__(self, model: ResidualModel, coordinates: Coordinates, turn: _Turn) -> None:
        self._model, self._coordinates, self._turn = model, coordinates, turn
        self._m = model.problem.covariance.n_theta

    def start(self, point: Array, sigma: float) -> Array:
        """Return the free coordinates at (θ, z)."""
        theta = self._turn.theta(point[: self._m])
        return np.concatenate([self._coordinates.start(theta, sigma), point[self._m :]])

    def refit(self, t: float, x: Array) -> Found:
        """Minimize over the free coordinates."""
        K = len(self._model.criterion().sums.structure.parameters)

        def at(x: Array) -> _Point:
            return _Point(self._model, self._coordinates, x, t, K)

        best = minimize(at, x, self._ends(x, K))
        estimates = residual_estimates(best.evaluation)
        own = self._turn.back(estimates.random_cov)
        return Found(best.theta, best.value, best.slope, replace(estimates, random_cov=own))

    def _ends(self, x: Array, K: int) -> Ends:
        """Return the ends of θ's coordinates, of log σ if it is one, and of z."""
        out = []
        for end, sign in zip(self._model.ends, (-1.0, 1.0)):
            own = self._coordinates.of_theta(end[: self._m])
            free = np.full(len(x) - K - len(own), sign * np.inf)
            out.append(np.concatenate([own, free, end[self._m :]]))
        return out[0], out[1]


class _Point:
    """The criterion at one x, (coordinates of θ and maybe log σ; z)."""

    def __init__(
        self, model: ResidualModel, coordinates: Coordinates, x: Array, t: float, K: int
    ) -> None:
        own = len(x) - K
        self._place = coordinates.place(x[:own], t)
        sigma = None
        if self._place.log_sigma is not None:
            sigma = float(np.exp(self._place.log_sigma))
        point = np.concatenate([self._place.theta, x[own:]])
        e = model.criterion(sigma).at(point)
        self.theta, self.value, self.evaluation = x, e.value, e
        self._coordinates, self._t, self._own, self._K = coordinates, t, own, K

    @cached_property
    def _g(self) -> Array:
        """The gradient in (θ, z) and, where it is one, log σ."""
        e = self.evaluation
        if self._place.log_sigma is None:
            return e.gradient
        return np.append(e.gradient, 2.0 * (e.problem.cp.n - e.pls.pwrss / e.scale))

    @cached_property
    def _J(self) -> Array:
        """∂(θ, z, log σ)/∂x."""
        m, K, own = len(self._place.theta), self._K, self._place.J
        out = np.zeros((len(own) + K, own.shape[1] + K))
        out[:m, : own.shape[1]] = own[:m]
        out[m : m + K, own.shape[1] :] = np.eye(K)
        out[m + K :, : own.shape[1]] = own[m:]
        return out

    @cached_property
    def gradient(self) -> Array:
        """J'g."""
        return np.asarray(self._J.T @ self._g)

    @cached_property
    def hessian_model(self) -> Array:
        """J'HJ and the curvature of the coordinates."""
        e, m = self.evaluation, len(self._place.theta)
        H = e.hessian_model
        if self._place.log_sigma is not None:
            across = -2.0 * e.pwrss_gradient[:, None] / e.scale
            H = np.block([[H, across], [across.T, np.array([[4.0 * e.pls.pwrss / e.scale]])]])
        out = self._J.T @ H @ self._J
        own = np.concatenate([self._g[:m], self._g[m + self._K :]])
        bend = self._coordinates.bend(self.theta[: self._own], self._t, own)
        out[: self._own, : self._own] += bend
        return np.asarray(out)

    @property
    def slope(self) -> float:
        """∂d/∂t."""
        m, v = len(self._place.theta), self._place.velocity
        return float(self._g[:m] @ v[:m] + self._g[m + self._K :] @ v[m:])

    def release(self) -> None:
        """Keep the factor: the gradient is asked for later."""


class _Turn:
    """The columns of one term in another order."""

    def __init__(self, old: Problem, new: Problem, term: int, order: NDArray[np.intp]) -> None:
        self._old, self._new, self._term, self._order = old, new, term, order

    def theta(self, theta: Array) -> Array:
        """Translate a standardized θ."""
        k = len(self._order)
        if (self._order == np.arange(k)).all():
            return theta
        raw = self._old.covariance.unstandardize(theta)
        out = raw.copy()
        part, own = (
            self._new.covariance.slices[self._term],
            self._new.covariance.terms[self._term],
        )
        T = self._old.covariance.term_templates(raw)[self._term]
        out[part] = own.structure.theta_of(lower_root(T[self._order]))
        return self._new.covariance.standardize(out)

    def back(self, covs: list[Array]) -> list[Array]:
        """Put covariance matrices into the order of the model."""
        back = np.argsort(self._order)
        return [C[np.ix_(back, back)] if i == self._term else C for i, C in enumerate(covs)]


HeldWithResiduals = SigmaHeld | BetaHeld | ParameterHeld | QuantityHeld


def coordinates_held(coordinates: Coordinates, model: ResidualModel) -> QuantityHeld:
    """Return what holds a function of (θ, σ), in coordinates of the model's own columns."""
    problem = model.problem
    own = np.arange(problem.covariance.terms[0].k)
    return QuantityHeld(model, coordinates, _Turn(problem, problem, 0, own))


def held_with_residuals(parameter: Parameter, model: ResidualModel) -> HeldWithResiduals:
    """Return what holds one parameter of a model whose residuals have a structure."""
    if parameter.kind == "sigma":
        return SigmaHeld(model)
    if parameter.kind == "beta":
        return BetaHeld(model, parameter.columns[0])
    if parameter.kind in RESIDUAL_KINDS:
        return ParameterHeld(model, parameter.columns[0], parameter.kind)
    covariance = model.problem.covariance
    own = covariance.terms[parameter.term]
    place = own.structure.place(parameter.columns)
    first = parameter.columns if place is None else ()
    order = np.array([*first, *(i for i in range(own.k) if i not in first)], dtype=np.intp)
    turned = model
    if first and (order != np.arange(own.k)).any():
        turned = ResidualModel(_reordered(model.design, parameter.term, order), model.fixed_sigma)
    turn = _Turn(model.problem, turned.problem, parameter.term, order)
    term = turned.problem.covariance.terms[parameter.term]
    entry = covariance.slices[parameter.term].start + (place or 0)
    m = covariance.n_theta
    coordinates: Coordinates
    if parameter.kind == "cor":
        coordinates = CorrelationHeld(term, entry, m) if place is None else ThetaHeld(entry)
    else:
        column = 0 if place is None else parameter.columns[0]
        scale = float(term.whitening[column, column])
        coordinates = SdHeld(entry, scale, m, model.fixed_sigma)
    return QuantityHeld(turned, coordinates, turn)


def _reordered(design: Design, term: int, order: NDArray[np.intp]) -> Design:
    """Return the design with the columns of one random term in another order."""
    terms, rows = list(design.spec.terms), list(design.rows.terms)
    columns = tuple(terms[term].columns[i] for i in order)
    terms[term] = replace(terms[term], columns=columns)
    X, codes = rows[term]
    rows[term] = (np.ascontiguousarray(X[:, order]), codes)
    return replace(
        design,
        spec=replace(design.spec, terms=tuple(terms)),
        rows=replace(design.rows, terms=tuple(rows)),
    )
