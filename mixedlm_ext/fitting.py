"""Estimate a model, or evaluate its criterion: what `MixedLM.fit` and its neighbours do."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mixedlm_ext.criteria.gaussian import GaussianCriterion
from mixedlm_ext.criteria.linear import criterion_of
from mixedlm_ext.criteria.residual import ResidualCriterion
from mixedlm_ext.criteria.space import read_point
from mixedlm_ext.errors import FitError, shown
from mixedlm_ext.estimation.assembled import Assembled
from mixedlm_ext.estimation.estimate import estimate
from mixedlm_ext.estimation.fit import Fit
from mixedlm_ext.estimation.fit_warnings import warn_of_fit, warn_of_time
from mixedlm_ext.estimation.fitted import PLAIN, Face, Fitted
from mixedlm_ext.fit_arguments import (
    FIT_ARGUMENTS,
    UNUSED_BY_FIT,
    check_fit_arguments,
    check_sigma,
    optimizer_name,
    refuse_statsmodels_only,
)
from mixedlm_ext.inference.fixed.ddf import (
    check_unrestricted,
    check_usable,
    degrees_of_freedom,
)
from mixedlm_ext.inference.fixed.robust import check_cov_type, get_robustcov_results
from mixedlm_ext.inference.restrictions import read_restrictions
from mixedlm_ext.keywords import refuse_unknown
from mixedlm_ext.solvers.choice import check_solver
from mixedlm_ext.structures.given_theta import read_theta

Array = NDArray[np.float64]

_STEP = 1e-5
"""Step of differences of the score, relative to parameters that are large."""

__all__ = ["fit", "hessian", "loglike", "objective", "score", "tested"]


def fit(
    model: Assembled,
    /,
    reml: bool = True,
    start_params: Any = None,
    method: str | Sequence[str] | None = "newton",
    maxiter: int | None = None,
    tol: float = 1e-8,
    ddf: str = "satterthwaite",
    sigma: float | None = None,
    progress: bool | Callable[[int, float], None] = False,
    cov_type: str = "nonrobust",
    cov_kwds: Mapping[str, Any] | None = None,
    max_time: float | None = None,
    solver: str = "auto",
    fix: Mapping[str, float] | None = None,
    equal: Sequence[Sequence[str]] | None = None,
    **kwargs: Any,
) -> Fitted:
    """Estimate the model.

    Parameters
    ----------
    reml : bool
        Maximize the restricted likelihood (REML), or the likelihood (ML).
    start_params : array_like (m,), optional
        Covariance parameters theta to start from. The ``params`` of a fit do not matter: fixed
        effects are profiled.
    method : str
        "newton"; or, as a cross-check, "bobyqa" (SciPy's COBYQA), "nelder-mead", "powell",
        "bfgs", "lbfgs". Of a list, as statsmodels takes it, the first of these.
    maxiter : int, optional
        Evaluations of the criterion at most.
    tol : float
        Newton's method ends when another step would lower the criterion by less than this.
    ddf : {"satterthwaite", "kenward-roger", "kenward-roger-full", "residual", "normal"}
        Degrees of freedom of tests and intervals of the fixed effects. A variance estimated as
        zero is held fixed by Satterthwaite's method and left out by Kenward and Roger's, which
        has tests of the right size; "kenward-roger-full" counts it, as R's pbkrtest does, and
        is conservative. See `MixedLMResults.with_ddf`.
    sigma : float, optional
        The residual standard deviation if it is known, as in a meta-analysis.
    progress : bool or callable
        Print the criterion after each step; or call ``progress(evaluations, criterion)``.
    cov_type : {"nonrobust", "cluster"}
        The covariance of the fixed effects by the model, or robust against a wrong random part.
    cov_kwds : mapping, optional
        For "cluster": ``groups`` and ``kind`` of `MixedLMResults.get_robustcov_results`, which
        then takes the place of `ddf`.
    max_time : float, optional
        Seconds after which the search stops where it is, between two evaluations of the
        criterion. `optimization` then has the verdict "time limit", `converged` is False.
    solver : {"auto", "exact", "iterative"}
        What solves for the random effects. "exact" factors a matrix, a dense one of the smaller
        factor's levels where large factors are crossed. "iterative" needs no more memory than the
        data: all is exact but the log-determinant, which is estimated by random samples, as many
        as it takes for their noise in theta to be half a percent of its standard error. "auto" is
        "exact" unless memory does not hold that or it would take too long. The summary tells.
    fix : mapping of str to float, optional
        Values of standard deviations, correlations, ranges and parameters of residuals that are not
        estimated, by the names that tables and profiles give them: ``{"Subject.Intercept": 25.0,
        "Subject.Intercept.Days": 0.0}``, or ``{"sd(Subject, Intercept)": 25.0}``. "sigma" is the
        residual standard deviation; parameters of a residual structure are "Residual.rho",
        "Residual.Male" (a standard deviation), "ratio(Residual, Male)", "power(x)", "exp(x)".
    equal : sequence of sequence of str, optional
        Sets of parameters that are equal, such as ``[("Subject.Intercept", "Item.Intercept")]``.

    Returns
    -------
    MixedLMResults

    Raises
    ------
    FitError
        If an argument makes no sense, the criterion cannot be evaluated, or memory does not hold
        the exact solver.

    Warns
    -----
    ConvergenceWarning
        If the search did not end at a minimum.
    SingularFitWarning
        If the estimated covariance of some random effects is singular.
    DesignWarning
        If the fit of a model with a pedigree, or another sparse precision, will take minutes.
    """
    refuse_statsmodels_only(kwargs)
    refuse_unknown("fit", kwargs, FIT_ARGUMENTS, ignored=UNUSED_BY_FIT)
    method = str(optimizer_name(method))
    if _are_fixed_effects(model, start_params):
        start_params = None  # they are profiled
    check_fit_arguments(reml, method, maxiter, tol, ddf, sigma, progress, max_time)
    deadline = np.inf if max_time is None else time.monotonic() + max_time
    check_cov_type(cov_type)
    check_solver(solver)
    problem = model.problem.solved_by(solver)
    check_usable(problem, ddf)
    restrictions, sigma = read_restrictions(model.design, problem.covariance, fix, equal, sigma)
    check_unrestricted(restrictions, problem, ddf)
    warn_of_time(model.design, problem)
    criterion = criterion_of(problem, bool(reml), sigma, restrictions)
    found = estimate(
        model.design,
        criterion,
        None if start_params is None else criterion.inside(_standardize(model, start_params)),
        method=method,
        maxiter=maxiter,
        tol=tol,
        progress=_print_progress if progress is True else (progress or None),
        deadline=deadline,
    )
    warn_of_fit(found)
    return tested(found, ddf, cov_type, cov_kwds, model.face)


def tested(
    found: Fit,
    ddf: str = "satterthwaite",
    cov_type: str = "nonrobust",
    cov_kwds: Mapping[str, Any] | None = None,
    face: Face = PLAIN,
) -> Fitted:
    """Return a fit with the tests that `fit` was asked for."""
    fitted = Fitted.by(found, degrees_of_freedom(found, ddf), face)
    if cov_type == "nonrobust":
        return fitted
    if not isinstance(cov_kwds, Mapping | None):
        raise FitError(
            f"cov_kwds={shown(cov_kwds)} is no mapping. Write cov_kwds={{'groups': 'g'}}."
        )
    return get_robustcov_results(fitted, cov_type, **(cov_kwds or {}))


def _print_progress(evaluations: int, criterion: float) -> None:
    """Show one step of the search."""
    print(f"evaluation {evaluations:4d}   criterion {criterion:.8f}")


def objective(model: Assembled, theta: Any, reml: bool = True, sigma: float | None = None) -> float:
    """Return the profiled criterion at given covariance parameters.

    Parameters
    ----------
    theta : array_like (m,)
        Relative covariance parameters, as `MixedLMResults.theta`.
    reml : bool
        The REML criterion, or minus twice the log-likelihood.
    sigma : float, optional
        Residual standard deviation, profiled by default.

    Returns
    -------
    float

    Examples
    --------
    >>> from mixedlm_ext import MixedLM, datasets
    >>> data = datasets.dyestuff.load_pandas().data
    >>> model = MixedLM.from_formula("Yield ~ 1 + (1 | Batch)", data)
    >>> round(model.objective([0.713], reml=False), 6)
    327.342163
    """
    return _criterion(model, reml, sigma).at(_standardize(model, theta)).value


def score(model: Assembled, theta: Any, reml: bool = True, sigma: float | None = None) -> Array:
    """Return the gradient of `objective` in theta, shape (m,)."""
    criterion, point = _criterion(model, reml, sigma), _standardize(model, theta)
    J = criterion.space.jacobian_at(point)
    return np.asarray(J.T @ criterion.at(point).gradient)


def hessian(model: Assembled, theta: Any, reml: bool = True, sigma: float | None = None) -> Array:
    """Return the Hessian of `objective` in theta, shape (m, m)."""
    criterion, point = _criterion(model, reml, sigma), _standardize(model, theta)
    if isinstance(criterion, ResidualCriterion):  # its parameters are no linear functions of z
        return _differences_of_score(model, np.asarray(theta, dtype=float), reml, sigma)
    J = criterion.space.jacobian_at(point)
    return np.asarray(J.T @ criterion.hessian(point) @ J)


def _differences_of_score(model: Assembled, theta: Array, reml: bool, sigma: float | None) -> Array:
    """Return the Hessian by central differences of the exact gradient."""
    out = []
    for j, value in enumerate(theta):
        h = _STEP * max(1.0, abs(value))
        ends = [theta.copy(), theta.copy()]
        ends[0][j], ends[1][j] = value - h, value + h
        one, two = (score(model, end, reml, sigma) for end in ends)
        out.append((two - one) / (2.0 * h))
    return np.asarray(0.5 * (np.array(out) + np.array(out).T))


def loglike(model: Assembled, theta: Any, reml: bool = True) -> float:
    """Return the profiled (restricted) log-likelihood at given covariance parameters."""
    return -0.5 * objective(model, theta, reml)


def _criterion(model: Assembled, reml: bool, sigma: float | None) -> GaussianCriterion:
    check_sigma(sigma)
    criterion = criterion_of(model.problem, bool(reml), sigma)
    assert isinstance(criterion, GaussianCriterion)
    return criterion.in_user_scale() if isinstance(criterion, ResidualCriterion) else criterion


def _standardize(model: Assembled, theta: Any) -> Array:
    """Return theta as the engine has it, or say what is wrong with it."""
    covariance = model.problem.covariance
    structure = model.design.residual
    if structure is not None:
        return read_point(covariance, structure, theta)
    p, m = len(model.design.x_names), covariance.n_theta
    shape = (len(theta),) if isinstance(theta, list | tuple) else getattr(theta, "shape", None)
    if _are_fixed_effects(model, theta) or (p != m and shape == (p,)):
        raise FitError(
            f"the criterion and its derivatives are functions of the {m} covariance parameters "
            f"theta; these are {p} numbers, as many as fixed effects. If statsmodels' "
            "MLEInfluence asked: Use get_influence() for rows and influence(groups=...) for groups."
        )
    return covariance.standardize(read_theta(covariance, theta))


def _are_fixed_effects(model: Assembled, values: Any) -> bool:
    """Say whether these are the ``params`` of a fit: a Series with the names of X."""
    return isinstance(values, pd.Series) and list(values.index) == list(model.design.x_names)
