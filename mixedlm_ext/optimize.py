"""Minimize the criterion over theta: trust-region Newton, or a SciPy method as a cross-check.

theta is not bounded: the criterion is even in the sign of each column of a template, so a variance
of zero is an ordinary stationary point. There the average-information part of the Hessian vanishes
in that column's directions and the curvature C of Γ = TT' takes over, so that steps still converge
quadratically; a negative eigenvalue there means that zero is a saddle and the step leaves it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq, minimize

from mixedlm_ext.errors import FitError, did_you_mean
from mixedlm_ext.objective import Evaluation, Objective

Array = NDArray[np.float64]
Progress = Callable[[int, float], None]

__all__ = ["METHODS", "Optimization", "optimize"]

_SCIPY_METHODS = {
    "bobyqa": "COBYQA",
    "cobyqa": "COBYQA",
    "nelder-mead": "Nelder-Mead",
    "nm": "Nelder-Mead",
    "powell": "Powell",
    "bfgs": "BFGS",
    "lbfgs": "L-BFGS-B",
}
_GRADIENT_METHODS = {"BFGS", "L-BFGS-B"}
METHODS = ("newton", *_SCIPY_METHODS)
"""Names that ``fit(method=...)`` takes."""

_CURVATURE_NOISE = 1e-7
"""Eigenvalues of the Hessian this small, relative to the largest, count as zero."""


@dataclass(frozen=True)
class Optimization:
    """The log of a fit.

    Attributes
    ----------
    method : str
    evaluations : int
        How often the criterion was evaluated.
    objective : ndarray (steps,)
        The criterion at the start and after each accepted step.
    theta : ndarray (steps, m)
        The relative covariance parameters there.
    converged : bool
    verdict : str
        "converged", "iteration limit", "no progress" or "saddle point".
    message : str
        The same in a sentence, with its numbers.
    predicted_decrease : float
        How much lower the criterion would be, by its quadratic model, after one more Newton step.
    """

    method: str
    evaluations: int
    objective: Array
    theta: Array
    converged: bool
    verdict: str
    message: str
    predicted_decrease: float


@dataclass
class _Log:
    """What is recorded while the search goes on."""

    progress: Progress | None
    evaluations: int = 0
    objective: list[float] = field(default_factory=list)
    theta: list[Array] = field(default_factory=list)

    def accept(self, e: Evaluation) -> None:
        self.objective.append(e.value)
        self.theta.append(e.theta)
        if self.progress is not None:
            self.progress(self.evaluations, e.value)


def optimize(
    objective: Objective,
    start: Array,
    method: str = "newton",
    maxiter: int | None = None,
    tol: float = 1e-8,
    progress: Progress | None = None,
) -> tuple[Evaluation, Optimization]:
    """Find the minimum of the criterion.

    Parameters
    ----------
    objective : Objective
    start : ndarray (m,)
        Standardized theta.
    method : str
        One of `METHODS`.
    maxiter : int, optional
        Evaluations at most; 200 for Newton, 1000 m for the others.
    tol : float
        The search ends when one more Newton step would lower the criterion by less than this.
    progress : callable, optional
        Called with the number of evaluations and the criterion after each accepted step.

    Returns
    -------
    Evaluation
        At the minimum, signs made canonical.
    Optimization
        The log, theta in the user's units.
    """
    log = _Log(progress)
    if method == "newton":
        best = _newton(objective, start, maxiter or 200, tol, log)
    elif method in _SCIPY_METHODS:
        best = _scipy(objective, start, _SCIPY_METHODS[method], maxiter or 1000 * len(start), log)
    else:
        near = did_you_mean(method, METHODS)
        raise FitError(f"method {method!r} is not known.{near} Use one of {', '.join(METHODS)}.")
    canonical = objective.problem.covariance.canonical(best.theta)
    if not np.array_equal(canonical, best.theta):
        best = objective.at(canonical)
    return best, _judge(objective, best, method, tol, log)


def _judge(
    objective: Objective, best: Evaluation, method: str, tol: float, log: _Log
) -> Optimization:
    """Give the verdict on where a search ended, whatever the method."""
    step = _Model(best.gradient, best.hessian_model).step(np.inf)
    best.release()
    # A method without derivatives stops at differences of the criterion, which leave more to gain.
    gain = tol if method == "newton" else max(tol, 1e-5)
    noise = 1e-13 * abs(best.value)
    if step.curvature < 0:
        verdict = "saddle point"
        message = (
            f"the Hessian has a negative eigenvalue ({step.curvature:.3g}): the criterion "
            "can still decrease. Try other start_params."
        )
    elif step.decrease <= gain + noise:
        verdict = "converged"
        message = f"a Newton step would lower the criterion by {step.decrease:.1e} more"
    else:
        limit = len(log.objective) and log.evaluations >= 1
        verdict = "iteration limit" if limit else "no progress"
        message = (
            f"stopped after {log.evaluations} evaluations although a Newton step would lower the "
            f"criterion by {step.decrease:.2g}. Raise maxiter, or try other start_params."
        )
    covariance = objective.problem.covariance
    return Optimization(
        method=method,
        evaluations=log.evaluations,
        objective=np.array(log.objective),
        theta=np.array([covariance.unstandardize(t) for t in log.theta]),
        converged=verdict == "converged",
        verdict=verdict,
        message=message,
        predicted_decrease=step.decrease,
    )


def _newton(objective: Objective, start: Array, maxiter: int, tol: float, log: _Log) -> Evaluation:
    """Trust-region Newton: exact gradient, average-information Hessian, exact subproblem."""
    current = objective.at(start)
    log.evaluations = 1
    log.accept(current)
    radius = max(1.0, float(np.linalg.norm(start)))
    while log.evaluations < maxiter:
        step = _Model(current.gradient, current.hessian_model).step(radius)
        current.release()
        last = step.decrease <= tol and step.curvature >= 0
        if step.decrease <= 1e-15 * abs(current.value) or not np.isfinite(step.decrease):
            break
        trial = _try(objective, current.theta + step.vector)
        log.evaluations += 1
        gained = current.value - trial.value if trial is not None else -np.inf
        noise = 1e-13 * abs(current.value)
        ratio = (gained + noise) / (step.decrease + noise)
        radius = _next_radius(radius, step, ratio)
        if trial is not None and ratio > 1e-3:
            current = trial
            log.accept(current)
        if last or radius < 1e-12:
            break
    return current


def _try(objective: Objective, theta: Array) -> Evaluation | None:
    """Evaluate, or return None where theta is too extreme for it."""
    try:
        return objective.at(theta)
    except FitError:
        return None


@dataclass(frozen=True)
class _Step:
    """A step, the decrease it promises, and the most negative curvature (0 if none)."""

    vector: Array
    decrease: float
    curvature: float

    @property
    def length(self) -> float:
        return float(np.linalg.norm(self.vector))


def _next_radius(radius: float, step: _Step, ratio: float) -> float:
    """Shrink the trust region after a bad step; widen it after a good one that it cut short."""
    if not ratio >= 0.25:
        return 0.25 * step.length
    if ratio > 0.75 and step.length > 0.9 * radius:
        return 3.0 * radius
    return radius


class _Model:
    """The quadratic model g's + s'Hs/2 in the eigenbasis of H."""

    def __init__(self, g: Array, H: Array) -> None:
        values, self.vectors = np.linalg.eigh(H)
        floor = _CURVATURE_NOISE * max(float(np.abs(values).max()), 1e-300)
        self.flat = np.abs(values) <= floor
        self.values = np.where(self.flat, 0.0, values)
        self.g = self.vectors.T @ g
        self.scale = floor / _CURVATURE_NOISE

    def step(self, radius: float) -> _Step:
        """Return the minimizer of the model within `radius` (infinite: the Newton step)."""
        lowest = min(0.0, float(self.values.min()))
        s = self._interior() if lowest == 0 else None
        if s is None or np.linalg.norm(s) > radius:
            s = self._on_boundary(lowest, min(radius, 1e8))
        decrease = -float(self.g @ s + 0.5 * (self.values * s) @ s)
        return _Step(self.vectors @ s, decrease, lowest)

    def _interior(self) -> Array:
        """Return the Newton step; a gradient along a flat direction is noise and left alone."""
        s = np.zeros_like(self.g)
        curved = ~self.flat
        s[curved] = -self.g[curved] / self.values[curved]
        return s

    def _on_boundary(self, lowest: float, radius: float) -> Array:
        """Return the solution of length `radius`: (H + μI)s = -g with μ >= -lowest."""

        def excess(mu: float) -> float:
            return float(np.linalg.norm(self.g / (self.values + mu))) - radius

        low = -lowest + 1e-12 * self.scale
        if excess(low) <= 0:  # the hard case: no gradient along the lowest eigenvector
            s = np.where(self.values > lowest, -self.g / (self.values - lowest + 1e-300), 0.0)
            missing = max(radius**2 - float(s @ s), 0.0)
            s[int(np.argmin(self.values))] = np.sqrt(missing) if lowest < 0 else 0.0
            return s
        high = -lowest + float(np.linalg.norm(self.g)) / radius + 1e-12 * self.scale
        mu = brentq(excess, low, high, xtol=1e-300, rtol=1e-10)
        return np.asarray(-self.g / (self.values + mu))


def _scipy(objective: Objective, start: Array, method: str, maxiter: int, log: _Log) -> Evaluation:
    """Search with a SciPy optimizer, keeping the best point it visited."""
    best: list[Evaluation] = []

    def value(theta: Array) -> float:
        log.evaluations += 1
        e = _try(objective, np.asarray(theta, dtype=float))
        if e is None:
            return np.inf
        if not best or e.value < best[0].value:
            best[:] = [e]
            log.accept(e)
        return e.value

    def gradient(theta: Array) -> Array:
        if best and np.array_equal(theta, best[0].theta):
            return best[0].gradient
        return objective.at(np.asarray(theta, dtype=float)).gradient

    options: dict[str, Any] = {
        "COBYQA": {"maxfev": maxiter, "final_tr_radius": 1e-8},
        "Nelder-Mead": {"maxfev": maxiter, "xatol": 1e-7, "fatol": 1e-10, "adaptive": True},
        "Powell": {"maxfev": maxiter, "xtol": 1e-8, "ftol": 1e-12},
        "BFGS": {"maxiter": maxiter, "gtol": 1e-7},
        "L-BFGS-B": {"maxfun": maxiter, "gtol": 1e-7, "ftol": 1e-15},
    }
    jac = gradient if method in _GRADIENT_METHODS else None
    minimize(value, start, method=cast(Any, method), jac=jac, options=options[method])
    return best[0]
