"""What the face warns of once a model is fitted."""

from __future__ import annotations

from statsmodels.tools.sm_exceptions import ConvergenceWarning

from mixedlm_ext.criteria.pls import Problem
from mixedlm_ext.design import Design
from mixedlm_ext.errors import DesignWarning, SingularFitWarning, warn_caller
from mixedlm_ext.estimation.fit import Fit
from mixedlm_ext.estimation.generalized import GeneralizedFit
from mixedlm_ext.linalg.precision import FactoredPrecision
from mixedlm_ext.solvers.prior import PriorSolver

__all__ = ["warn_of_fit", "warn_of_generalized", "warn_of_time"]

_EVALUATIONS = 12
"""Evaluations of a criterion that a fit takes, with the degrees of freedom, about."""
_LONG = 120.0
"""Seconds of a fit that are told before it starts."""


def warn_of_time(design: Design, problem: Problem) -> None:
    """Say before a fit how long it will take, where levels have a known precision.

    Other models have the iterative solver for that.
    """
    solver = problem.solver
    if not isinstance(solver, PriorSolver):
        return
    seconds = _EVALUATIONS * solver.symbolic.plan.seconds(solver.costs)
    if seconds < _LONG:
        return
    known = [term for term in design.terms if term.precision is not None]
    names = ", ".join(term.text for term in known)
    way_out = (
        "Leave animals out of the pedigree that have neither records nor descendants with records, "
        "or model the effects of sires in place of animals."
        if any(isinstance(term.precision, FactoredPrecision) for term in known)
        else "A precision that joins fewer levels, or coarser levels, take less."
    )
    warn_caller(
        f"Levels of {names} and the other random effects hang together so much that "
        f"{solver.root_size:,} of them are one dense matrix: the fit will take about "
        f"{_in_words(seconds)}. {way_out} "
        "progress=True shows each step, max_time= ends the search.",
        DesignWarning,
    )


def _in_words(seconds: float) -> str:
    """Return a time as one says it."""
    for unit, length in (("day", 86_400.0), ("hour", 3600.0)):
        if seconds >= 1.5 * length:
            return f"{seconds / length:.0f} {unit}s"
    return f"{max(seconds / 60.0, 1.0):.0f} minute{'s' * (seconds >= 90.0)}"


def warn_of_fit(fit: Fit) -> None:
    """Warn of a search that failed and of a singular estimate, naming the terms."""
    if not fit.optimization.converged:
        message = f"The fit did not converge: {fit.optimization.message}{_of_solver(fit)}"
        warn_caller(message, ConvergenceWarning)
    names = [t.text for t, flag in zip(fit.design.terms, fit.singular_terms) if flag]
    if names:
        warn_caller(
            f"The estimated covariance of {', '.join(names)} is singular: a variance is zero or a "
            "correlation is one. The estimates are right; consider a simpler term.",
            SingularFitWarning,
        )


def _of_solver(fit: Fit) -> str:
    """Say that the iterative solver may be what a search was stopped by."""
    if fit.problem.solver.name != "iterative" or fit.optimization.verdict == "time limit":
        return ""
    return (
        " The iterative solver has no criterion where levels of some factors can hardly be told "
        "apart, or where next to no residual is left: fit with solver='exact' if memory holds it."
    )


def warn_of_generalized(fit: GeneralizedFit) -> None:
    """Warn of a search that failed or of estimates at a boundary; of one thing if there is none."""
    if fit.optimization.verdict == "no minimum":
        message = f"There is no estimate to rely on: {fit.optimization.message}."
        warn_caller(message.replace("..", "."), ConvergenceWarning)
        return
    warn_of_fit(fit)
    if fit.at_poisson:
        warn_caller(
            "alpha of the negative binomial is estimated as zero: given the random effects, the "
            "counts vary no more than Poisson counts. The estimates are right; the Poisson family "
            "has one parameter less.",
            SingularFitWarning,
        )
