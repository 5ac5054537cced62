"""Trust-region Newton for the criterion: one search, from one start.

theta is not bounded: the criterion is even in the sign of each column of a template, so a variance
of zero is an ordinary stationary point. There the average-information part of the Hessian vanishes
in that column's directions and the curvature C of Γ = TT' takes over, so that steps still converge
quadratically; a negative eigenvalue there means that zero is a saddle and the step leaves it.
"""

from __future__ import annotations

from functools import partial
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from mixedlm_ext.criteria.base import Evaluation
from mixedlm_ext.search.log import Log
from mixedlm_ext.search.trust_region import ACCEPTED, SHORTEST, QuadraticModel, Step

Array = NDArray[np.float64]
E = TypeVar("E", bound=Evaluation)

__all__ = ["newton"]

_SURPRISES = 2
"""Steps in a row that gain far from what they promised, after which the Hessian is not believed."""
_BLURRED = 1e-4
"""A decrease that an exact Hessian promises and that does not come is hidden by rounding."""
_FAILURES = 4
"""Steps in a row, each shorter than the last, that have to fail before rounding is blamed."""
_PATIENCE = 50
"""Evaluations in all after which a search that is behind another's end is given up."""
_HOPE = 10.0
"""How many times the decrease that a step promises the whole rest of a search may bring."""


def newton(current: E, tol: float, log: Log, rival: float = np.inf) -> tuple[E, Step]:
    """Trust-region Newton: exact gradient, exact subproblem.

    Parameters
    ----------
    current : Evaluation
        At the start.
    tol : float
        The search ends with the first Newton step that promises to lower the criterion by less.
    log : Log
    rival : float
        The search is given up once it is not going to end below this.

    Returns
    -------
    Evaluation
        At the best point.
    Step
        The Newton step on which the verdict rests. At convergence that is the last one taken, whose
        end needs no derivatives any more.

    Notes
    -----
    The Hessian is the average information as long as the steps gain what it promises, and then the
    exact one: where data contradict the means of the model, the two can differ a thousandfold. A
    search that has a rival is given up on the word of the exact one only, where that is cheap.
    """
    log.accept(current)
    radius = max(1.0, float(np.linalg.norm(current.theta)))
    exact, surprises, failures = rival < np.inf and current.exact_is_cheap, 0, 0
    while True:
        full = _full_step(current, exact)
        converged = full.curvature >= 0 and full.decrease <= tol + current.noise
        improvable = current.has_exact and not exact
        if converged and improvable and (surprises or current.exact_is_cheap):
            exact = True
            if not current.exact_is_cheap:  # what it needs was released
                current = _once_more(current, log)
            continue
        spent = log.spent() or radius < SHORTEST
        exhausted = converged and full.decrease <= 1e-15 * abs(current.value)
        promised = _HOPE * full.decrease if full.curvature >= 0 and not surprises else np.inf
        if spent or exhausted or _behind(rival, current.value, promised, tol, log):
            return current, full
        step = _within_reach(current, full, exact, radius)
        trial = log.attempt(partial(current.retract, step.vector))
        ratio = _gain_ratio(current, trial, step)
        radius = step.next_radius(radius, ratio)
        if trial is not None and ratio > ACCEPTED:
            current, failures = trial, 0
            log.accept(current)
        else:
            failures += 1
        if failures >= _FAILURES and exact and full.decrease < _BLURRED:
            log.rounding = full.decrease
            return current, full
        if converged:
            return current, full
        if 0.5 < ratio < 1.5:
            surprises = 0
        elif current.exact_is_cheap or ratio > ACCEPTED:  # a step too long is no fault of the model
            surprises += 1
        if surprises >= _SURPRISES and improvable:
            exact = True
            if current is not trial:  # its factor was released
                current = _once_more(current, log)


def _behind(rival: float, value: float, promised: float, tol: float, log: Log) -> bool:
    """Say whether a search is not going to end below another, or has tried for long enough."""
    return value - promised > rival - tol or (value > rival and log.evaluations >= _PATIENCE)


def _within_reach(e: Evaluation, full: Step, exact: bool, radius: float) -> Step:
    """Return the Newton step if it stays within the radius, else the best step that does."""
    # with negative curvature the ends of the domain may have cut the endless step to nothing
    fits = full.curvature >= 0 and full.length <= radius
    return full if fits else _model(e, exact).step(radius)


def _gain_ratio(current: Evaluation, trial: Evaluation | None, step: Step) -> float:
    """Return what a step gained over what it promised; -inf if it led to no criterion."""
    gained = current.value - trial.value if trial is not None else -np.inf
    return step.gain_ratio(gained, current.noise)


def _once_more(e: E, log: Log) -> E:
    """Evaluate again where the factor was released."""
    again = log.attempt(e.again)
    return e if again is None else again


def _full_step(e: Evaluation, exact: bool) -> Step:
    """Return the unconstrained step from an evaluation, whose factor is then no longer needed."""
    step = _model(e, exact).step(np.inf)
    e.release()
    return step


def _model(e: Evaluation, exact: bool) -> QuadraticModel:
    """Return the quadratic model of the criterion around an evaluation."""
    return QuadraticModel(*e.derivatives(exact), e.room, e.apart)
