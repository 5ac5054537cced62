"""Minimize the criterion over theta: Newton, from one start or several, or SciPy as a cross-check.

Where the criterion may have several minima (see start.py), every start that is offered is followed
until it promises nothing better than what was found.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from mixedlm_ext.covariance import Covariance
from mixedlm_ext.errors import FitError, did_you_mean
from mixedlm_ext.newton import Log, Progress, newton
from mixedlm_ext.objective import Evaluation, Objective
from mixedlm_ext.pls import degenerate
from mixedlm_ext.start import reflections, several_minima, start_values
from mixedlm_ext.trust_region import Step

Array = NDArray[np.float64]

__all__ = ["METHODS", "Optimization", "check_optimizer", "optimize"]

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
_SHRINK = 10.0
"""By what a start is divided that is too large for the criterion to be evaluated."""
_NEAR = 10.0
"""How much worse than the best end a reflected end may be to be followed."""
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
        "converged", "iteration limit", "no progress", "saddle point" or "rounding".
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


def check_optimizer(method: object) -> None:
    """Raise FitError unless `method` is one of `METHODS`."""
    if not isinstance(method, str) or method not in METHODS:
        near = did_you_mean(str(method), METHODS)
        raise FitError(f"method {method!r} is not known.{near} Use one of {', '.join(METHODS)}.")


def optimize(
    objective: Objective,
    start: Array | None = None,
    method: str = "newton",
    maxiter: int | None = None,
    tol: float = 1e-8,
    progress: Progress | None = None,
) -> tuple[Evaluation, Optimization]:
    """Find the minimum of the criterion.

    Parameters
    ----------
    objective : Objective
    start : ndarray (m,), optional
        Standardized theta; by default the package looks for good ones.
    method : str
        One of `METHODS`.
    maxiter : int, optional
        Evaluations at most; 200 for Newton, 1000 m for the others.
    tol : float
        The search ends with the first Newton step that promises to lower the criterion by less.
    progress : callable, optional
        Called with the number of evaluations and the criterion after each accepted step.

    Returns
    -------
    Evaluation
        At the minimum, signs made canonical.
    Optimization
        The log, theta in the user's units.
    """
    check_optimizer(method)
    m = objective.problem.covariance.n_theta
    log = Log(maxiter or (200 if method == "newton" else 1000 * m), progress)
    if start is None:
        first, others = start_values(objective, log)
    else:
        first, others = _given_start(objective, start, log), []
    if method == "newton":
        if start is None and several_minima(objective.problem):
            best, step, log = _best_of(objective, first, others, tol, log)
        else:
            best, step = newton(objective, first, tol, log)
    else:
        best = _scipy(objective, first.theta, _SCIPY_METHODS[method], log)
        step = best.model(exact=True).step(np.inf)
        # a search without derivatives stops at differences of the criterion: it leaves more to gain
        tol = max(tol, 1e-5)
    canonical = objective.problem.covariance.canonical(best.theta)
    if not np.array_equal(canonical, best.theta):
        best = objective.at(canonical)
    best.release()
    if best.noise > 1.0:
        raise degenerate()
    noise = max(_rounding(objective, best, log), log.rounding)
    return best, _record(objective.problem.covariance, method, tol, noise, log, step)


def _rounding(objective: Objective, e: Evaluation, log: Log) -> float:
    """Return the rounding error of the criterion, measured where it may be large.

    Changes of theta in its tenth digit leave a minimum where it is: what changes is rounding.
    """
    if e.most_noise < _HIDDEN:
        return e.noise
    factors = 1.0 + 1e-10 * np.array([-2.0, -1.0, 1.0, 2.0])
    values = [o.value for f in factors if (o := log.evaluate(objective, f * e.theta)) is not None]
    return max(e.noise, *(abs(value - e.value) for value in values))


def _given_start(objective: Objective, start: Array, log: Log) -> Evaluation:
    """Evaluate at the user's start, or at a smaller one where rounding leaves no criterion."""
    while True:
        e = log.evaluate(objective, start)
        if e is not None and e.noise <= 1.0:
            return e
        if np.abs(start).max() <= 1.0:
            raise degenerate()
        start = start / _SHRINK


def _best_of(
    objective: Objective, first: Evaluation, others: list[Array], tol: float, log: Log
) -> tuple[Evaluation, Step, Log]:
    """Search from every start; return the best end, the step it rests on, and the way there."""
    best, step = newton(objective, first, tol, log)

    def follow(theta: Array, worse: float) -> None:
        """Search from one more start unless it is worse than the best end by more than that."""
        nonlocal best, step, log
        way = Log(log.limit, log.progress, log.evaluations)
        e = way.evaluate(objective, theta)
        if e is not None and e.value < best.value + worse:
            end, last = newton(objective, e, tol, way, rival=best.value)
            if end.value < best.value - tol - best.noise:
                best, step, log = end, last, way
        log.evaluations = way.evaluations

    for theta in others:
        follow(theta, np.inf)
    for theta in reflections(objective.problem.covariance, best.theta):
        follow(theta, _NEAR)
    return best, step, log


def _record(
    covariance: Covariance, method: str, tol: float, noise: float, log: Log, step: Step
) -> Optimization:
    """Give the verdict on where a search ended, whatever the method."""
    if step.curvature < 0:
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
    elif step.decrease <= tol + noise:
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


def _scipy(objective: Objective, start: Array, method: str, log: Log) -> Evaluation:
    """Search with a SciPy optimizer, keeping the best point it visited."""
    best: list[Evaluation] = []

    def value(theta: Array) -> float:
        e = log.evaluate(objective, np.asarray(theta, dtype=float))
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
    minimize(value, start, method=cast(Any, method), jac=jac, options=options[method])
    return best[0]
