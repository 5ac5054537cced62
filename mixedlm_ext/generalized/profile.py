"""Profile likelihood of the parameters of a generalized model.

With one quantity h held at a value, everything else is estimated again: d(θ, ζ, ω) is minimized
under h = t by sequential quadratic programming in coordinates y, (θ, ζ, ω) = x̂ + L^-T y, in which
the criterion is close to ½|y|². The derivative of the minimum in t is Lagrange's multiplier.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import minimize

from mixedlm_ext.caching import cached_property
from mixedlm_ext.criteria.laplace import LaplaceCriterion, LaplaceEvaluation
from mixedlm_ext.errors import FitError
from mixedlm_ext.estimation.fitted import Fitted
from mixedlm_ext.estimation.generalized import (
    GeneralizedFit,
    criterion_of,
    evaluation_of,
    point_of,
)
from mixedlm_ext.generalized.record import generalized
from mixedlm_ext.inference.parameters import (
    NaturalParameters,
    Parameter,
    model_parameters,
    parameter_values,
)
from mixedlm_ext.inference.profile.path import ProfilePath, trace
from mixedlm_ext.inference.profile.points import Maximum, Refit
from mixedlm_ext.inference.profile.profile import Profile, check_level, cutoff
from mixedlm_ext.inference.profile.profiling import choose_parameters, refuse_unheld
from mixedlm_ext.structures.linear import LinearStructure

Array = NDArray[np.float64]

__all__ = ["glmm_parameters", "natural_parameters", "profile"]

_STEP = 1e-4
"""Of the differences that give second derivatives in (θ, ζ, ω)."""
_TINY = 1e-8


def profile(
    fitted: Fitted, which: str | Sequence[str] | None = None, alpha_max: float = 0.01
) -> Profile:
    """Profile the likelihood of parameters.

    Parameters
    ----------
    which : str or sequence of str, optional
        Names of parameters, such as "sd(herd, Intercept)", "cor(s, Intercept, x)", "sigma" (the
        root of the dispersion), "alpha" of the negative binomial, or a fixed effect; "theta" for
        all standard deviations and correlations, "beta" for all fixed effects. Everything by
        default.
    alpha_max : float
        The profile reaches far enough for intervals of level 1 - alpha_max.

    Returns
    -------
    Profile
        ``conf_int(alpha)``, ``zeta(name, value)``, ``value(name, zeta)``, ``to_frame()``.

    Raises
    ------
    FitError
        If there is no such parameter, or the fit was fast (nagq=0).

    Examples
    --------
    >>> import statsmodels.api as sm
    >>> from mixedlm_ext import MixedGLM, datasets
    >>> data = datasets.cbpp.load_pandas().data
    >>> formula = "incidence / size ~ period + (1 | herd)"
    >>> family = sm.families.Binomial()
    >>> result = MixedGLM.from_formula(formula, data, family=family, weights="size").fit()
    >>> result.profile("theta").conf_int().round(3)
                             0    1
    sd(herd, Intercept)  0.346  1.1
    """
    check_level("alpha_max", alpha_max)
    fit = generalized(fitted)
    fitted.rows("the fits of a profile")
    if fit.nagq == 0:
        raise FitError(
            "the fast fit (nagq=0) has no likelihood to profile. Fit with nagq=1, or more nodes."
        )
    parameters = glmm_parameters(fit)
    chosen = choose_parameters(parameters, which, "sd")
    refuse_unheld(chosen, parameters, fit)
    model = _Model(fit)
    top = Maximum(fit.problem, None, fit.theta, fit.objective, natural_parameters(fit))

    def describe(estimates: NaturalParameters) -> Array:
        return np.asarray(parameter_values(parameters, estimates))

    values = describe(top.estimates)
    paths: dict[str, ProfilePath] = {}
    for p in chosen:
        estimate = float(values[parameters.index(p)])
        held = _Held(model, _Quantity(fit, p))
        path, _ = trace(
            held, p.kind, estimate, top, describe, cutoff(alpha_max), _first_step(fit, p, estimate)
        )
        paths[p.name] = path.with_own(parameters.index(p))
    return Profile(
        params=pd.Series(values, index=[p.name for p in parameters]),
        objective=fit.objective,
        scale="sd",
        alpha_max=alpha_max,
        note="Profile of the likelihood, random effects integrated out as in the fit.",
        better_start=None,
        paths=paths,
    )


def glmm_parameters(fit: GeneralizedFit) -> tuple[Parameter, ...]:
    """List the parameters: those of random effects, then sigma or alpha, then fixed effects."""
    parameters = model_parameters(fit.design, sigma=False)
    if not fit.extra_estimated:
        return parameters
    extra = Parameter("alpha" if fit.size is not None else "sigma", "sigma")
    random = [p for p in parameters if p.kind != "beta"]
    return (*random, extra, *(p for p in parameters if p.kind == "beta"))


def natural_parameters(fit: GeneralizedFit) -> NaturalParameters:
    """Return the estimates; alpha, or the root of the dispersion, stands for sigma."""
    return NaturalParameters(fit.random_cov, _extra_value(fit, fit.omega), fit.beta)


def _extra_value(fit: GeneralizedFit, omega: Array) -> float:
    """Return alpha, or the root of the dispersion; 1 if there is neither."""
    if not len(omega):
        return 1.0
    return float(np.exp(-omega[0]) if fit.size is not None else np.exp(0.5 * omega[0]))


def _first_step(fit: GeneralizedFit, parameter: Parameter, estimate: float) -> float:
    """Guess how far, in the working coordinate, ζ changes by a few tenths."""
    if parameter.kind == "beta":
        j = parameter.columns[0]
        return 0.4 * float(np.sqrt(fit.unscaled_cov[j, j]))
    if parameter.kind == "sd":
        return max(0.15 * estimate, 0.02)
    return 0.2


class _Model:
    """The criterion in coordinates y in which it is close to ½|y|²."""

    def __init__(self, fit: GeneralizedFit) -> None:
        self.fit = fit
        self.criterion: LaplaceCriterion = criterion_of(fit)
        self.centre = point_of(fit)
        self._at = evaluation_of(fit)
        self.m = fit.problem.covariance.n_theta
        self.p = len(fit.beta)

    @cached_property
    def root(self) -> Array:
        """L^-T of the second derivatives LL' in (θ, ζ, ω), made positive."""
        d = len(self.centre)
        H = np.empty((d, d))
        for j in range(d):
            step = _STEP * np.eye(d)[j]
            up, down = (self._at.at_point(self.centre + s).gradient for s in (step, -step))
            H[j] = (up - down) / (2.0 * _STEP)
        values, vectors = np.linalg.eigh(0.5 * (H + H.T))
        floor = 1e-6 * max(float(values.max()), 1.0)
        return np.asarray(vectors / np.sqrt(np.maximum(np.abs(values), floor)))

    def evaluate(self, y: Array) -> LaplaceEvaluation | None:
        """Return the criterion at y, the modes started from the last ones; None if it has none."""
        try:
            e = self._at.at_point(self.centre + self.root @ y)
        except FitError:
            return None
        self._at = e
        return e

    def estimates(self, point: Array) -> NaturalParameters:
        """Return the parameters at a point in the user's units."""
        theta, zeta, omega = self.criterion.split(point)
        covariance, problem = self.fit.problem.covariance, self.criterion.problem
        templates = covariance.term_templates(covariance.unstandardize(theta))
        extra = omega if self.criterion.n_extra else self.fit.omega
        cov = [T @ T.T for T in templates]
        return NaturalParameters(cov, _extra_value(self.fit, extra), problem.beta(zeta))


@dataclass(frozen=True)
class _Quantity:
    """One parameter as a function of a point, in the working coordinate of its kind."""

    fit: GeneralizedFit
    parameter: Parameter

    def value(self, point: Array) -> tuple[float, Array]:
        """Return t and its gradient in the point."""
        p, fit = self.parameter, self.fit
        covariance, problem = fit.problem.covariance, fit.rows_problem
        m = covariance.n_theta
        gradient = np.zeros(len(point))
        if p.kind == "beta":
            own = slice(m, m + problem.p)
            gradient[own] = problem.to_beta[p.columns[0]]
            return float(gradient @ point), gradient
        if p.kind == "sigma":
            gradient[-1] = -1.0 if fit.size is not None else 0.5
            return float(gradient @ point), gradient
        term, part = covariance.terms[p.term], covariance.slices[p.term]
        theta = covariance.unstandardize(point[:m])[part]
        own_gradient = np.zeros(m)
        place = term.structure.place(p.columns)
        if place is not None:
            t, slope = _of_theta(float(theta[place]), p)
            own_gradient[part.start + place] = slope
        else:
            T = term.structure.template(theta)
            t, by_gamma = _of_covariance(T @ T.T, p)
            D = term.structure.gamma_derivatives(theta)
            own_gradient[part] = np.einsum("jab,ab->j", D, by_gamma)
        gradient[:m] = np.linalg.solve(covariance.jacobian.T, own_gradient)
        return t, gradient

    def vanishing(self) -> Array | None:
        """Return rows c (r, point) with c·point = 0 where a standard deviation is zero."""
        p, fit = self.parameter, self.fit
        if p.kind != "sd":
            return None
        covariance = fit.problem.covariance
        structure, part = covariance.terms[p.term].structure, covariance.slices[p.term]
        if isinstance(structure, LinearStructure):
            rows, _ = structure.entries
            own = np.unique(structure.owners[rows == p.columns[0]])
        else:
            place = structure.place(p.columns)
            own = np.array([place if place is not None else 0])
        C = np.zeros((len(own), covariance.n_theta))
        C[np.arange(len(own)), part.start + own] = 1.0
        own_rows = np.asarray(np.linalg.solve(covariance.jacobian.T, C.T).T)
        return np.hstack([own_rows, np.zeros((len(own), self._others))])

    @property
    def _others(self) -> int:
        """Coordinates of a point beside θ."""
        return len(self.fit.beta) + int(self.fit.extra_estimated)


def _of_theta(value: float, p: Parameter) -> tuple[float, float]:
    """Return t of a θ that is a standard deviation or a correlation, and its derivative."""
    if p.kind == "sd":
        return value, 1.0
    rho = float(np.clip(value, -1.0 + 1e-12, 1.0 - 1e-12))
    return float(np.arcsin(rho)), float(1.0 / np.sqrt(1.0 - rho**2))


def _of_covariance(cov: Array, p: Parameter) -> tuple[float, Array]:
    """Return a standard deviation, or the arc sine of a correlation, and its derivative in Γ."""
    out = np.zeros_like(cov)
    a = p.columns[0]
    if p.kind == "sd":
        sd = float(np.sqrt(max(cov[a, a], _TINY**2)))
        out[a, a] = 0.5 / sd
        return sd, out
    b = p.columns[1]
    scale = float(np.sqrt(max(cov[a, a] * cov[b, b], _TINY**2)))
    rho = float(np.clip(cov[a, b] / scale, -1.0 + 1e-12, 1.0 - 1e-12))
    slope = 1.0 / np.sqrt(1.0 - rho**2)
    out[a, b] = out[b, a] = 0.5 * slope / scale
    out[a, a] = -0.5 * slope * rho / max(cov[a, a], _TINY)
    out[b, b] = -0.5 * slope * rho / max(cov[b, b], _TINY)
    return float(np.arcsin(rho)), out


class _Held:
    """One quantity held at a value: what `trace` asks of it."""

    def __init__(self, model: _Model, quantity: _Quantity) -> None:
        self._model, self._quantity = model, quantity

    def start(self, top: Maximum) -> Array:
        """Return y at the maximum."""
        return np.zeros(len(self._model.centre))

    def refit(self, t: float, x: Array) -> Refit:
        """Minimize the criterion with the quantity at t, from y = x."""
        model = self._model
        rows = self._quantity.vanishing() if t <= 0.0 else None
        constraint = self._at(t) if rows is None else self._zero(rows)
        seen: dict[bytes, LaplaceEvaluation | None] = {}

        def at(y: Array) -> LaplaceEvaluation | None:
            key = y.tobytes()
            if key not in seen:
                seen.clear()
                seen[key] = model.evaluate(y)
            return seen[key]

        def value(y: Array) -> float:
            e = at(y)
            return 1e6 if e is None else e.value - model.fit.objective

        def gradient(y: Array) -> Array:
            e = at(y)
            return np.zeros(len(y)) if e is None else model.root.T @ e.gradient

        found: Any = minimize(  # type: ignore[call-overload]
            value,
            self._onto(t, x) if rows is None else x,
            jac=gradient,
            method="SLSQP",
            constraints=[constraint],
            options={"ftol": 1e-7, "maxiter": 200},
        )
        e = at(np.asarray(found.x))
        if e is None or not found.success:
            raise FitError("the model cannot be fitted with this value.")
        point = model.centre + model.root @ found.x
        slope = self._multiplier(point, e)
        return Refit(np.asarray(found.x), e.value, slope, model.estimates(point))

    def _at(self, t: float) -> dict[str, Any]:
        """Return the constraint that the quantity is t."""
        model, quantity = self._model, self._quantity

        def value(y: Array) -> float:
            return quantity.value(model.centre + model.root @ y)[0] - t

        def slope(y: Array) -> Array:
            return model.root.T @ quantity.value(model.centre + model.root @ y)[1]

        return {"type": "eq", "fun": value, "jac": slope}

    def _zero(self, rows: Array) -> dict[str, Any]:
        """Return the constraint that all that makes up a standard deviation is zero."""
        model = self._model
        slope = rows @ model.root
        return {"type": "eq", "fun": lambda y: rows @ model.centre + slope @ y,
                "jac": lambda y: slope}  # fmt: skip

    def _onto(self, t: float, y: Array) -> Array:
        """Return y moved along the gradient of the quantity until that is t, to first order."""
        model = self._model
        value, gradient = self._quantity.value(model.centre + model.root @ y)
        own = model.root.T @ gradient
        size = float(own @ own)
        if size > _TINY:
            return y + (t - value) * own / size
        rows = self._quantity.vanishing()
        if rows is None:
            return y
        # from a standard deviation of zero, of a row of T: its diagonal entry first
        own = model.root.T @ rows[-1]
        return y + (t - float(rows[-1] @ (model.centre + model.root @ y))) * own / (own @ own)

    def _multiplier(self, point: Array, e: LaplaceEvaluation) -> float:
        """Return the derivative of the minimum in t."""
        root = self._model.root
        own = root.T @ self._quantity.value(point)[1]
        size = float(own @ own)
        return float(own @ (root.T @ e.gradient) / size) if size > 0.0 else float("nan")
