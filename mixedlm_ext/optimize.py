"""Minimize the criterion over theta: trust-region Newton, or a SciPy method as a cross-check.

theta is not bounded: the criterion is even in the sign of each column of a template, so a variance
of zero is an ordinary stationary point. There the average-information part of the Hessian vanishes
in that column's directions and the curvature C of Γ = TT' takes over, so that steps still converge
quadratically; a negative eigenvalue there means that zero is a saddle and the step leaves it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from mixedlm_ext.covariance import Covariance
from mixedlm_ext.errors import FitError, did_you_mean
from mixedlm_ext.objective import Evaluation, Objective
from mixedlm_ext.pls import degenerate
from mixedlm_ext.trust_region import Step

Array = NDArray[np.float64]
Progress = Callable[[int, float], None]

__all__ = ["METHODS", "Optimization", "check_maxiter", "check_optimizer", "optimize"]

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
_HIDDEN = 1e-4
"""Rounding error of the criterion above which its minimum is not known."""
METHODS = ("newton", *_SCIPY_METHODS)
"""Names that ``fit(method=...)`` takes."""


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
        "converged", "iteration limit", "time limit", "no progress", "saddle point" or "rounding".
    message : str
        The same in a sentence, with its numbers.
    predicted_decrease : float
        By how much the last Newton step promised to lower the criterion: the one taken at
        convergence, the one not taken otherwise.
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
    limit: int
    deadline: float = np.inf
    out_of_time: bool = False
    evaluations: int = 0
    objective: list[float] = field(default_factory=list)
    theta: list[Array] = field(default_factory=list)

    def accept(self, e: Evaluation) -> None:
        self.objective.append(e.value)
        self.theta.append(e.theta)
        if self.progress is not None:
            self.progress(self.evaluations, e.value)

    def spent(self) -> bool:
        """Say whether no further evaluation is allowed, and note it if that is for want of time."""
        self.out_of_time = time.monotonic() >= self.deadline
        return self.out_of_time or self.evaluations >= self.limit


class _Spent(Exception):
    """Leaves a search of SciPy's that would go on."""


def check_maxiter(maxiter: object) -> None:
    """Raise FitError unless `maxiter` is None or a number of evaluations."""
    whole = isinstance(maxiter, int | np.integer) and not isinstance(maxiter, bool)
    if maxiter is not None and not (whole and cast(int, maxiter) >= 1):
        raise FitError(
            f"maxiter={maxiter!r} leaves nothing to do. Pass a whole number of 1 or more."
        )


def check_optimizer(method: object) -> None:
    """Raise FitError unless `method` is one of `METHODS`."""
    if not isinstance(method, str) or method not in METHODS:
        near = did_you_mean(str(method), METHODS)
        raise FitError(f"method {method!r} is not known.{near} Use one of {', '.join(METHODS)}.")


def optimize(
    objective: Objective,
    start: Array,
    method: str = "newton",
    maxiter: int | None = None,
    tol: float = 1e-8,
    progress: Progress | None = None,
    deadline: float = np.inf,
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
        The search ends with the first Newton step that promises to lower the criterion by less.
    progress : callable, optional
        Called with the number of evaluations and the criterion after each accepted step.
    deadline : float
        No evaluation but the first begins after this time of `time.monotonic`.

    Returns
    -------
    Evaluation
        At the minimum, signs made canonical.
    Optimization
        The log, theta in the user's units.
    """
    check_optimizer(method)
    limit = maxiter or (200 if method == "newton" else 1000 * len(start))
    log = _Log(progress, limit, deadline)
    if method == "newton":
        best, step = _newton(objective, start, tol, log)
    else:
        best = _scipy(objective, start, _SCIPY_METHODS[method], log)
        step = _newton_step(best)
        # a search without derivatives stops at differences of the criterion: it leaves more to gain
        tol = max(tol, 1e-5)
    canonical = objective.problem.covariance.canonical(best.theta)
    if not np.array_equal(canonical, best.theta):
        best = objective.at(canonical)
    best.release()
    if best.noise > 1.0:
        raise degenerate()
    return best, _record(objective.problem.covariance, method, tol, best.noise, log, step)


def _newton(objective: Objective, start: Array, tol: float, log: _Log) -> tuple[Evaluation, Step]:
    """Trust-region Newton: exact gradient, average-information Hessian, exact subproblem.

    Returns the best evaluation, and the Newton step on which the verdict rests. At convergence that
    is the last one taken, whose end needs no derivatives any more.
    """
    current = objective.at(start)
    log.evaluations = 1
    log.accept(current)
    radius = max(1.0, float(np.linalg.norm(start)))
    while True:
        newton = _newton_step(current)
        converged = newton.curvature >= 0 and newton.decrease <= tol + current.noise
        spent = log.spent() or radius < 1e-12
        if spent or (converged and newton.decrease <= 1e-15 * abs(current.value)):
            return current, newton
        step = newton if newton.length <= radius else current.model.step(radius)
        trial = _try(objective, current.after(step.vector))
        log.evaluations += 1
        gained = current.value - trial.value if trial is not None else -np.inf
        ratio = step.gain_ratio(gained, current.noise)
        radius = step.next_radius(radius, ratio)
        if trial is not None and ratio > 1e-3:
            current = trial
            log.accept(current)
        if converged:
            return current, newton


def _newton_step(e: Evaluation) -> Step:
    """Return the unconstrained step from an evaluation, whose factor is then no longer needed."""
    step = e.model.step(np.inf)
    e.release()
    return step


def _record(
    covariance: Covariance, method: str, tol: float, noise: float, log: _Log, step: Step
) -> Optimization:
    """Give the verdict on where a search ended, whatever the method."""
    at_minimum = step.curvature >= 0 and noise <= _HIDDEN and step.decrease <= tol + noise
    if log.out_of_time and not at_minimum:
        verdict = "time limit"
        message = (
            "max_time was over before the search reached a minimum (evaluations: "
            f"{log.evaluations}). Raise max_time."
        )
    elif step.curvature < 0:
        verdict = "saddle point"
        message = (
            f"the Hessian has a negative eigenvalue ({step.curvature:.3g}): the criterion "
            "can still decrease. Try other start_params."
        )
    elif noise > _HIDDEN:
        verdict = "rounding"
        message = (
            f"rounding hides the last digits of the criterion (about {noise:.1g}): the random "
            "effects vary too much more than the residual. Subtract from the response what is "
            "known of the groups."
        )
    elif at_minimum:
        verdict = "converged"
        message = f"the last Newton step promised to lower the criterion by {step.decrease:.1e}"
    else:
        verdict = "iteration limit" if log.evaluations >= log.limit else "no progress"
        message = (
            f"stopped after {log.evaluations} evaluations although a Newton step would lower the "
            f"criterion by {step.decrease:.2g}. Raise maxiter, or try other start_params."
        )
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


def _try(objective: Objective, theta: Array) -> Evaluation | None:
    """Evaluate, or return None where theta is too extreme for it."""
    try:
        return objective.at(theta)
    except FitError:
        return None


def _scipy(objective: Objective, start: Array, method: str, log: _Log) -> Evaluation:
    """Search with a SciPy optimizer, within the limits, keeping the best point it visited."""
    best: list[Evaluation] = []
    last: list[Evaluation] = []

    def evaluate(theta: Array) -> Evaluation | None:
        if log.evaluations and log.spent():
            raise _Spent
        log.evaluations += 1
        e = _try(objective, np.array(theta, dtype=float))  # a copy: SciPy reuses its arrays
        if e is not None:
            last[:] = [e]
            if not best or e.value < best[0].value:
                best[:] = [e]
                log.accept(e)
        return e

    def value(theta: Array) -> float:
        e = evaluate(theta)
        return np.inf if e is None else e.value

    def gradient(theta: Array) -> Array:
        seen = next((e for e in (*last, *best) if np.array_equal(theta, e.theta)), None)
        e = evaluate(theta) if seen is None else seen
        return np.full(len(theta), np.nan) if e is None else e.gradient

    # the default simplex is tiny along a theta of zero
    simplex = np.vstack([start, start + 0.25 * np.eye(len(start))])
    options: dict[str, Any] = {
        "COBYQA": {"maxfev": log.limit, "final_tr_radius": 1e-8},
        "Nelder-Mead": {
            "maxfev": log.limit,
            "xatol": 1e-7,
            "fatol": 1e-10,
            "adaptive": True,
            "initial_simplex": simplex,
        },
        "Powell": {"maxfev": log.limit, "xtol": 1e-8, "ftol": 1e-12},
        "BFGS": {"maxiter": log.limit, "gtol": 1e-7},
        "L-BFGS-B": {"maxfun": log.limit, "gtol": 1e-7, "ftol": 1e-15},
    }
    jac = gradient if method in _GRADIENT_METHODS else None
    with suppress(_Spent):
        minimize(value, start, method=cast(Any, method), jac=jac, options=options[method])
    return best[0] if best else objective.at(start)
