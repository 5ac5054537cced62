"""Minimize the criterion over theta: Newton, from one start or several, or SciPy as a cross-check.

Where the criterion may have several minima (see start.py), every start that is offered is followed
until it promises nothing better than what was found.
"""

from __future__ import annotations

from typing import cast

import numpy as np
from numpy.typing import NDArray

from mixedlm_ext.criteria.linear import AnyCriterion, AnyEvaluation
from mixedlm_ext.criteria.pls import degenerate
from mixedlm_ext.errors import FitError, check_choice
from mixedlm_ext.search.log import Log, Progress
from mixedlm_ext.search.newton import newton
from mixedlm_ext.search.residual_start import residual_starts
from mixedlm_ext.search.scipy_methods import SCIPY_METHODS, minimize_by_scipy
from mixedlm_ext.search.start import several_minima, start_values
from mixedlm_ext.search.trust_region import QuadraticModel, Step
from mixedlm_ext.search.verdict import Optimization, judge

Array = NDArray[np.float64]

__all__ = ["METHODS", "check_maxiter", "check_optimizer", "optimize"]

METHODS = ("newton", *SCIPY_METHODS)
"""Names that ``fit(method=...)`` takes."""
_SHRINK = 10.0
"""By what a start is divided that is too large for the criterion to be evaluated."""
_ZERO = 1e-4
"""Singular values or standard deviations, relative to the largest, that may stand for zero."""
_SHARPER = 0.1
"""Share of the rounding error of one of two ends, as low as each other, that speaks for it."""
_NEAR = 10.0
"""How much worse than the best end a reflected end may be to be followed."""


def check_maxiter(maxiter: object) -> None:
    """Raise FitError unless `maxiter` is None or a number of evaluations."""
    whole = isinstance(maxiter, int | np.integer) and not isinstance(maxiter, bool)
    if maxiter is not None and not (whole and cast(int, maxiter) >= 1):
        raise FitError(
            f"maxiter={maxiter!r} leaves nothing to do. Pass a whole number of 1 or more."
        )


def check_optimizer(method: object) -> None:
    """Raise FitError unless `method` is one of `METHODS`."""
    check_choice("method", method, METHODS, FitError, quote=False)


def optimize(
    criterion: AnyCriterion,
    start: Array | None = None,
    method: str = "newton",
    maxiter: int | None = None,
    tol: float = 1e-8,
    progress: Progress | None = None,
    deadline: float = np.inf,
    several: bool | None = None,
) -> tuple[AnyEvaluation, Optimization]:
    """Find the minimum of the criterion.

    Parameters
    ----------
    criterion : AnyCriterion
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
    deadline : float
        No evaluation but the first begins after this time of `time.monotonic`.
    several : bool, optional
        Whether there may be several minima, if that is known: it does not depend on the response.

    Returns
    -------
    GaussianEvaluation
        At the minimum, signs made canonical.
    Optimization
        The log, theta in the user's units.
    """
    check_optimizer(method)
    first: AnyEvaluation
    m = criterion.space.n_theta
    log = Log(maxiter or (200 if method == "newton" else 1000 * m), deadline, progress)
    if start is None:
        several = several_minima(criterion.problem) if several is None else several
        if criterion.problem.residual is not None:
            first, others = residual_starts(criterion, log, several)
        else:
            first, others = start_values(criterion, log, several)
    else:
        first, others, several = _given_start(criterion, start, log), [], False
    if method != "newton":
        best = minimize_by_scipy(criterion, first.theta, method, log)
        step = QuadraticModel(*best.derivatives(exact=True), best.room).step(np.inf)
        # a search without derivatives stops at differences of the criterion: it leaves more to gain
        tol = max(tol, 1e-5)
    else:
        best, step = newton(first, tol, log)
        if several:
            best, step, log = _best_of(criterion, best, step, others, tol, log)
        others = criterion.space.further_starts(best.theta) if start is None else []
        if others:
            best, step, log = _best_of(criterion, best, step, others, tol, log)
    best = _on_the_boundary(criterion, best, log)
    canonical = criterion.space.canonical(best.theta)
    if not np.array_equal(canonical, best.theta):
        best = criterion.at(canonical)
    best.release()
    if best.noise > 1.0:
        raise degenerate()
    return best, judge(criterion, method, tol, log, best, step)


def _on_the_boundary(criterion: AnyCriterion, e: AnyEvaluation, log: Log) -> AnyEvaluation:
    """Put what is next to the boundary of the covariances exactly there, if d allows it."""
    theta = criterion.space.at_zero(e.theta, _ZERO)
    if np.array_equal(theta, e.theta):
        return e
    at_zero = log.evaluate(criterion, theta)
    if at_zero is None or at_zero.value > e.value + e.noise:
        return e
    if log.theta:
        log.theta[-1], log.objective[-1] = at_zero.theta, at_zero.value
    return at_zero


def _given_start(criterion: AnyCriterion, start: Array, log: Log) -> AnyEvaluation:
    """Evaluate at the user's start, or at a smaller one where rounding leaves no criterion."""
    while True:
        e = log.evaluate(criterion, start)
        if e is not None and e.noise <= 1.0:
            return e
        if not 1.0 < np.abs(start).max() < np.inf:  # nan fails either comparison
            raise degenerate()
        start = criterion.space.scaled(start, 1.0 / _SHRINK)


def _is_better(end: AnyEvaluation, best: AnyEvaluation, tol: float) -> bool:
    """Say whether an end is lower than the best one, or as low and known to more digits."""
    blur = max(end.noise, best.noise)
    gain = best.value - end.value
    if blur > tol and abs(gain) <= blur:
        return end.noise < _SHARPER * best.noise
    return gain > tol + blur


def _best_of(
    criterion: AnyCriterion,
    best: AnyEvaluation,
    step: Step,
    others: list[Array],
    tol: float,
    log: Log,
) -> tuple[AnyEvaluation, Step, Log]:
    """Search from other starts, too; return the best end, the step it rests on, and the way there.

    Parameters
    ----------
    criterion : AnyCriterion
    best, step, log : AnyEvaluation, Step, Log
        The end of a first search.
    others : list of ndarray
        Starts.
    tol : float
    """

    def follow(theta: Array, worse: float) -> None:
        """Search from one more start unless it is worse than the best end by more than that."""
        nonlocal best, step, log
        way = log.another_way()
        e = way.evaluate(criterion, theta)
        if e is not None and e.value < best.value + worse:
            end, last = newton(e, tol, way, rival=best.value + best.noise)
            if _is_better(end, best, tol):
                best, step, log = end, last, way
        log.evaluations = way.evaluations

    for theta in others:
        follow(theta, np.inf)
    for theta in criterion.space.reflections(best.theta):
        follow(theta, _NEAR)
    return best, step, log
