"""What to think of the point where a search ended."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mixedlm_ext.criteria.linear import AnyCriterion, AnyEvaluation
from mixedlm_ext.display import page
from mixedlm_ext.search.log import Log
from mixedlm_ext.search.trust_region import QuadraticModel, Step
from mixedlm_ext.tables import Table

Array = NDArray[np.float64]

__all__ = ["Optimization", "counted", "judge"]

_HIDDEN = 1e-4
"""Rounding error of the criterion above which its minimum is not known."""
_LARGE = 1e3
"""Standardized theta from which on a fit may be on its way to infinity, or its start too large."""
_MANIFOLD = 30.0
"""The same where a structure's random effects are as many as the observations."""
_LEVEL = 1e-2
"""By what the criterion has to rise when all random effects become ten times as large."""
_FLAT_STEP = 0.5
"""How far to go along a direction without curvature to see whether the criterion changes."""
_UNCHANGED = 1e-6
"""A change of the criterion, above rounding, that counts as none."""


@dataclass(frozen=True, repr=False)
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
        "converged", "iteration limit", "time limit", "no progress", "saddle point", "rounding"
        or "no minimum".
    message : str
        The same in a sentence, with its numbers.
    predicted_decrease : float
        By how much the last Newton step promised to lower the criterion: the one taken at
        convergence, the one not taken otherwise.
    open_terms : tuple of int
        Terms, in the order of the formula, of whose covariance the criterion leaves something open.
    """

    method: str
    evaluations: int
    objective: Array
    theta: Array
    converged: bool
    verdict: str
    message: str
    predicted_decrease: float
    open_terms: tuple[int, ...] = ()

    def __repr__(self) -> str:
        return (
            f"<Optimization by {self.method}: {self.verdict} after {counted(self.evaluations)}, "
            f"criterion {self.objective[-1]:.6f}; {self.message}>"
        )

    def _repr_html_(self) -> str:
        return page(
            f"{self.method}: {self.verdict} after {counted(self.evaluations)}",
            [self.to_frame()],
            [self.message],
        )

    def to_frame(self) -> pd.DataFrame:
        """Return the criterion and theta at the start and after each accepted step."""
        out = Table({"objective": self.objective})
        names = [f"theta[{j}]" for j in range(self.theta.shape[-1])]
        return out.join(Table(self.theta.reshape(len(out), -1), columns=names)).rename_axis("step")


def judge(
    criterion: AnyCriterion,
    method: str,
    tol: float,
    log: Log,
    best: AnyEvaluation,
    step: Step,
) -> Optimization:
    """Give the verdict on where a search ended, whatever the method.

    Parameters
    ----------
    criterion : AnyCriterion
    method : str
    tol : float
        A minimum is where a Newton step promises to lower the criterion by less.
    log : Log
    best : AnyEvaluation
    step : Step
        The Newton step from there, or the last one taken.
    """
    noise = max(_rounding(criterion, best, log), log.rounding)
    at_minimum = step.curvature >= 0 and noise <= _HIDDEN and step.decrease <= tol + noise
    open_terms: tuple[int, ...] = ()
    if at_minimum:
        verdict, message = "converged", _promise(step)
        endless = _endless(criterion, best, log)
        if endless:
            verdict, message = "no minimum", endless
        elif step.flat:
            open_terms = _open_terms(criterion, best, noise, log)
        if open_terms:
            message += "; it is the same for other covariances of some random effects"
    else:
        verdict, message = _failure(criterion, log, noise, step)
    covariance = criterion.space
    return Optimization(
        method=method,
        evaluations=log.evaluations,
        objective=np.array(log.objective),
        theta=np.array([covariance.unstandardize(t) for t in log.theta]),
        converged=verdict == "converged",
        verdict=verdict,
        message=message,
        predicted_decrease=step.decrease,
        open_terms=open_terms,
    )


_OF_RESIDUALS = {"ar1": "ar1(time | group)", "exp": "car1(time | group)", "cs": "cs(1 | group)"}
"""The correlation of residuals that says what a structure of random effects does."""


def counted(evaluations: int) -> str:
    """Return a number of evaluations in words."""
    return f"{evaluations} evaluation{'' if evaluations == 1 else 's'}"


def _promise(step: Step) -> str:
    """Say what the last step was good for."""
    return f"the last Newton step promised to lower the criterion by {step.decrease:.1e}"


def _failure(criterion: AnyCriterion, log: Log, noise: float, step: Step) -> tuple[str, str]:
    """Return verdict and message for a search that did not end at a minimum."""
    if log.out_of_time:
        return "time limit", (
            "max_time was over before the search reached a minimum (evaluations: "
            f"{log.evaluations}). Raise max_time."
        )
    if step.curvature < 0:
        return "saddle point", (
            f"the Hessian has a negative eigenvalue ({step.curvature:.3g}): the criterion "
            f"can still decrease. {_another_start(log)}"
        )
    cp = criterion.problem.cp
    if noise > _HIDDEN and criterion.problem.covariance.shaped and cp.n <= cp.p + cp.q:
        return "rounding", (
            f"rounding hides the last digits of the criterion (about {noise:.1g}), as the residual "
            f"variance goes to zero: {_takes_over(criterion)}"
        )
    if noise > _HIDDEN:
        return "rounding", (
            f"rounding hides the last digits of the criterion (about {noise:.1g}): the random "
            "effects vary too much more than the residual. Subtract from the response what is "
            "known of the groups."
        )
    verdict = "iteration limit" if log.evaluations >= log.limit else "no progress"
    return verdict, (
        f"stopped after {counted(log.evaluations)} although a Newton step would lower the "
        f"criterion by {step.decrease:.2g}. Raise maxiter. {_another_start(log)}"
    )


def _another_start(log: Log) -> str:
    """Return the advice on start_params; far out, the criterion hardly depends on theta."""
    if log.theta and min(np.abs(theta).max() for theta in (log.theta[0], log.theta[-1])) > _LARGE:
        return (
            "The start is too large: random effects there vary thousands of times more than the "
            "residual. Leave out start_params, or start near 1."
        )
    return "Try other start_params."


def _rounding(criterion: AnyCriterion, e: AnyEvaluation, log: Log) -> float:
    """Return the rounding error of the criterion, measured where it may be large.

    Changes of theta in its tenth digit leave a minimum where it is: what changes is rounding.
    """
    if e.most_noise < _HIDDEN:
        return e.noise
    covariance = criterion.space
    factors = 1.0 + 1e-10 * np.array([-2.0, -1.0, 1.0, 2.0])
    values = [
        o.value
        for f in factors
        if (o := log.evaluate(criterion, covariance.scaled(e.theta, f))) is not None
    ]
    return max([e.noise, *(abs(value - e.value) for value in values)])


def _endless(criterion: AnyCriterion, e: AnyEvaluation, log: Log) -> str:
    """Say so if the criterion falls, or only levels off, as the random effects grow without end.

    With y in the span of X and Z, r² goes to zero as θ grows; log|M| grows no faster than df log r²
    falls where n >= rank Z (ML), just as fast under REML.
    """
    cp, covariance, theta = criterion.problem.cp, criterion.space, e.theta
    if criterion.sigma is not None or not len(theta):
        return ""
    counts = f"{cp.p} fixed and {cp.q} random effects for {cp.n} observations"
    peak = max(1.0, float(np.abs(theta).max()))
    saturated = cp.n <= cp.p + cp.q
    if saturated and criterion.problem.covariance.shaped:
        return _stands_for_residuals(criterion, e, log) if peak > _MANIFOLD else ""
    if saturated:
        near, far = (
            log.evaluate(criterion, covariance.scaled(covariance.start(), scale * peak))
            for scale in (1e2, 1e4)
        )
        if far is None or (near is not None and far.value < near.value - 1.0):
            return (
                f"{counts} reproduce the response exactly, so that the likelihood has no maximum: "
                "it grows without end as the residual variance goes to zero. Drop some of them, or "
                "pass sigma= if the residual standard deviation is known."
            )
    if peak > _LARGE:
        far = log.evaluate(criterion, covariance.scaled(theta, 10.0))
        if far is None or far.value < e.value + _LEVEL:
            return (
                f"the criterion only levels off as the residual variance goes to zero: with "
                f"{counts} the data cannot tell the residual from the random effects. Drop some of "
                "them, or pass sigma= if the residual standard deviation is known."
            )
    return ""


def _stands_for_residuals(criterion: AnyCriterion, e: AnyEvaluation, log: Log) -> str:
    """Say so if the residual variance may go to zero: a structure takes over the residuals."""
    far = log.evaluate(criterion, criterion.space.scaled(e.theta, 10.0))
    if far is not None and far.value >= e.value + _LEVEL:
        return ""
    return (
        "the criterion only levels off as the residual variance goes to zero: "
        f"{_takes_over(criterion)}"
    )


def _takes_over(criterion: AnyCriterion) -> str:
    """Say that random effects are the residuals, and how that model is written."""
    structures = [s.term.structure for s in criterion.problem.covariance.shaped]
    names = ", ".join(dict.fromkeys(repr(s.name) for s in structures))
    ways = dict.fromkeys(_OF_RESIDUALS[s.word] for s in structures if s.word in _OF_RESIDUALS)
    told = (
        f"random effects of structure {names} can stand for the residuals, as where there is one "
        "row for each level and column, and the data show no other residual beside them. "
    )
    if not ways:
        return told + (
            "Take a structure of fewer parameters, or pass sigma= if the residual standard "
            "deviation is known."
        )
    return told + (
        "The model in which they are the residuals, whose likelihood is that of this limit, has "
        f"{' or '.join(f'correlation={way!r}' for way in ways)} in place of the term, of the same "
        "time and group; sigma= is for a residual standard deviation that is known."
    )


def _open_terms(
    criterion: AnyCriterion, e: AnyEvaluation, noise: float, log: Log
) -> tuple[int, ...]:
    """Return the terms whose covariance changes where the criterion does not."""
    covariance = criterion.space
    again = log.evaluate(criterion, e.theta)  # the factor of the first was released
    if again is None:
        return ()
    model = QuadraticModel(*again.derivatives(exact=True), again.room)
    found: set[int] = set()
    for direction in model.vectors.T[model.flat]:
        ends = [again.after(sign * _FLAT_STEP * direction) for sign in (1.0, -1.0)]
        values = [o.value for end in ends if (o := log.evaluate(criterion, end)) is not None]
        if max((abs(v - e.value) for v in values), default=np.inf) > _UNCHANGED + 10.0 * noise:
            continue
        for i, (T, moved) in enumerate(
            zip(covariance.term_templates(e.theta), covariance.term_templates(ends[0]))
        ):
            if np.abs(moved @ moved.T - T @ T.T).max() > 0.1 * _FLAT_STEP:
                found.add(i)
    return tuple(sorted(found))
