"""The search for the estimates of a generalized linear mixed model, and the verdict on its end.

First the fast criterion, a function of θ alone, from the fit without random effects; then, from its
minimum, the criterion in θ and the fixed effects together.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from mixedlm_ext.criteria.generalized import GeneralizedProblem
from mixedlm_ext.criteria.laplace import MOST_OMEGA, LaplaceCriterion, LaplaceEvaluation
from mixedlm_ext.criteria.pirls import fixed_start
from mixedlm_ext.errors import FitError
from mixedlm_ext.search.log import Log
from mixedlm_ext.search.newton import newton
from mixedlm_ext.search.trust_region import Step
from mixedlm_ext.search.verdict import Optimization, counted

Array = NDArray[np.float64]

__all__ = ["minimize_generalized"]

_ROUGH = 1e-3
"""Decrease at which the fast search ends where another follows."""
_ZERO = 1e-4
"""Singular values or standard deviations, relative to the largest, that may stand for zero."""
_POISSON = 1e3
"""Size of a negative binomial, in means, from which on it may stand for a Poisson distribution."""
_MOST_SD = 1.0
"""Largest standard deviation of the random effects to start from, on the scale of a link."""
_HIDDEN = 0.1
"""Rounding error of -2 log-likelihood above which neither its maximum nor tests are known."""
_MANY = 200
"""Evaluations at most, by default."""


def minimize_generalized(
    criterion: LaplaceCriterion,
    start: tuple[Array, Array | None] | None = None,
    maxiter: int | None = None,
    tol: float = 1e-8,
    progress: Callable[[int, float], None] | None = None,
    deadline: float = np.inf,
    endless: Callable[[LaplaceEvaluation], str] | None = None,
) -> tuple[LaplaceEvaluation, Optimization]:
    """Find the minimum.

    Parameters
    ----------
    criterion : LaplaceCriterion
    start : (ndarray (m,), ndarray (p,) or None), optional
        θ (standardized) and ζ to start from.
    maxiter : int, optional
        Evaluations at most.
    tol : float
        The search ends with the first Newton step that promises to lower the criterion by less.
    progress : callable, optional
        Called with the number of evaluations and the criterion after each accepted step.
    deadline : float
        No evaluation begins after this time of `time.monotonic`.
    endless : callable, optional
        From the end of the search to why there is no minimum, or "".

    Returns
    -------
    LaplaceEvaluation
    Optimization
    """
    log = Log(maxiter or _MANY, deadline, progress)
    first, rough = _first(criterion, start, log, tol)
    if criterion.fast:
        best, step = first, rough
    else:
        best, step = newton(_entered(criterion, first, start, log), tol, log)
    best = _on_the_boundary(best, log)
    return best, _judge(criterion, best, step, log, tol, endless)


def _first(
    criterion: LaplaceCriterion, start: tuple[Array, Array | None] | None, log: Log, tol: float
) -> tuple[LaplaceEvaluation, Step]:
    """Return the end of the fast search."""
    problem = criterion.problem
    fast = LaplaceCriterion(problem, True, criterion.fixed_omega, rough=not criterion.fast)
    zeta, omega, w = fixed_start(problem)
    if start is None:
        theta = _start_theta(problem, w)
    else:
        theta, zeta = start[0], zeta if start[1] is None else start[1]
    extra = omega if criterion.n_extra else np.zeros(0)
    way = log if criterion.fast else Log(log.limit, log.deadline)
    found = _evaluated(fast, np.concatenate([theta, extra]), zeta, way)
    end = newton(found, tol if criterion.fast else _ROUGH, way)
    log.evaluations = way.evaluations
    return end


def _start_theta(problem: GeneralizedProblem, w: Array) -> Array:
    """Return θ of random effects as large as the noise of a row, or as one unit of the link."""
    weight = float(np.mean(w))
    sd = 1.0 / (np.sqrt(weight) * problem.unit) if weight > 0 else 1.0
    like = problem.likelihood
    free = like.extra == "dispersion" and type(like.family.link).__name__ == "Identity"
    return problem.covariance.scaled(problem.covariance.start(), sd if free else min(sd, _MOST_SD))


def _evaluated(
    criterion: LaplaceCriterion, point: Array, zeta: Array, log: Log
) -> LaplaceEvaluation:
    """Evaluate at a start, or at one with smaller random effects."""
    m = criterion.problem.covariance.n_theta
    for _ in range(8):
        try:
            log.evaluations += 1
            return criterion.at(point, None, zeta)
        except FitError:
            smaller = criterion.problem.covariance.scaled(point[:m], 0.25)
            point = np.concatenate([smaller, point[m:]])
    return criterion.at(point, None, zeta)


def _entered(
    criterion: LaplaceCriterion,
    fast: LaplaceEvaluation,
    start: tuple[Array, Array | None] | None,
    log: Log,
) -> LaplaceEvaluation:
    """Return the criterion at the end of the fast search, or at the user's own start."""
    zeta, u, theta = fast.modes.zeta, fast.modes.u, fast.theta_part
    if start is not None and start[1] is not None:
        theta, zeta = start[0], start[1]
    extra = fast.omega if criterion.n_extra else np.zeros(0)
    log.evaluations += 1
    return criterion.at(np.concatenate([theta, zeta, extra]), u)


def _on_the_boundary(best: LaplaceEvaluation, log: Log) -> LaplaceEvaluation:
    """Put what is next to the boundary of the covariances exactly there, if d allows it."""
    criterion = best.criterion
    covariance, m = criterion.problem.covariance, len(best.theta_part)
    theta = covariance.canonical(covariance.at_zero(best.theta_part, _ZERO))
    point = np.concatenate([theta, best.theta[m:]])
    if _next_to_poisson(best):
        point[-1] = MOST_OMEGA
    if np.array_equal(point, best.theta):
        return best
    moved = log.attempt(lambda: best.at_point(point))
    if moved is None or moved.value > best.value + best.noise:
        return best
    if log.theta:
        log.theta[-1], log.objective[-1] = moved.theta, moved.value
    return moved


def _next_to_poisson(best: LaplaceEvaluation) -> bool:
    """Say whether counts vary no more than Poisson counts, so that no size is the best."""
    criterion = best.criterion
    if not criterion.n_extra or criterion.problem.likelihood.extra != "size":
        return False
    return bool(np.exp(best.omega[0]) > _POISSON * np.mean(best.modes.at.mu))


def _judge(
    criterion: LaplaceCriterion,
    best: LaplaceEvaluation,
    step: Step,
    log: Log,
    tol: float,
    endless: Callable[[LaplaceEvaluation], str] | None,
) -> Optimization:
    """Give the verdict on where the search ended."""
    reached = step.curvature >= 0 and step.decrease <= tol + max(best.noise, log.rounding)
    why = "" if endless is None else endless(best)
    if why:
        verdict, message = "no minimum", why
    elif best.noise > _HIDDEN:
        verdict, message = "rounding", _hidden(best)
    elif reached:
        verdict = "converged"
        message = f"the last Newton step promised to lower the criterion by {step.decrease:.1e}"
    else:
        verdict, message = _failure(step, log)
    covariance, m = criterion.problem.covariance, len(best.theta_part)
    return Optimization(
        method="newton",
        evaluations=log.evaluations,
        objective=np.array(log.objective),
        theta=np.array([covariance.unstandardize(point[:m]) for point in log.theta]),
        converged=verdict == "converged",
        verdict=verdict,
        message=message,
        predicted_decrease=step.decrease,
    )


def _hidden(best: LaplaceEvaluation) -> str:
    """Say that rows tell more than double precision holds."""
    precision = 1.0 / np.sqrt(float(np.mean(best.modes.at.expected)))
    return (
        f"rounding hides the last digits of the log-likelihood (about {0.5 * best.noise:.1g}): "
        f"each row tells its linear predictor to about {precision:.0e}, and the likelihood of all "
        "rows needs more digits than the computer's numbers have. With so little noise a linear "
        "model of the transformed response tells the same: fit MixedLM to it, with a random "
        "effect for each row if rows vary by more than that"
    )


def _failure(step: Step, log: Log) -> tuple[str, str]:
    """Return verdict and message of a search that did not end at a minimum."""
    if log.out_of_time:
        return "time limit", (
            "max_time was over before the search reached a maximum of the likelihood "
            f"(evaluations: {log.evaluations}). Raise max_time."
        )
    if step.curvature < 0:
        return "saddle point", (
            f"the Hessian has a negative eigenvalue ({step.curvature:.3g}): the likelihood can "
            "still rise. Try other start_params."
        )
    verdict = "iteration limit" if log.evaluations >= log.limit else "no progress"
    return verdict, (
        f"stopped after {counted(log.evaluations)} although a Newton step would lower the "
        f"criterion by {step.decrease:.2g}. Raise maxiter, or try other start_params."
    )
