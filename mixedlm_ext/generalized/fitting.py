"""Estimate a generalized model: what `MixedGLM.fit` does."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mixedlm_ext.caching import cached_property
from mixedlm_ext.criteria.generalized import GeneralizedProblem, generalized_problem
from mixedlm_ext.criteria.laplace import LaplaceCriterion
from mixedlm_ext.criteria.quadrature import QuadratureCriterion
from mixedlm_ext.design import Design
from mixedlm_ext.design.removed import require_rows
from mixedlm_ext.errors import FitError, check_choice, shown
from mixedlm_ext.estimation.fit_warnings import warn_of_generalized
from mixedlm_ext.estimation.fitted import PLAIN, Face, Fitted
from mixedlm_ext.estimation.generalized import GeneralizedFit, generalized_fit
from mixedlm_ext.families.choose import extra_of, likelihood_of, observed_by_default
from mixedlm_ext.generalized.endless import Endless
from mixedlm_ext.generalized.reading import GeneralizedDesign
from mixedlm_ext.identification import check_identified
from mixedlm_ext.identification.separation import ends_of_range
from mixedlm_ext.inference.fixed.ddf import degrees_of_freedom
from mixedlm_ext.keywords import refuse_unknown
from mixedlm_ext.search.generalized import minimize_generalized
from mixedlm_ext.search.minimum import check_maxiter
from mixedlm_ext.structures.given_theta import read_theta

Array = NDArray[np.float64]

__all__ = [
    "GLM_FIT_ARGUMENTS",
    "AssembledGeneralized",
    "check_nodes",
    "estimate_generalized",
    "fit",
    "tested",
]

GLM_FIT_ARGUMENTS = (
    "nagq", "start_params", "maxiter", "tol", "dispersion", "information", "progress", "max_time",
)  # fmt: skip
_UNUSED = ("disp", "full_output", "retall", "skip_hessian", "scale")
_MOST_NODES = 200
_OTHER_UNIT = 10.0
"""How many times larger a response is from which on the layout is made anew in its unit."""
_MOST_SD = 1e6
"""A standard deviation to start from, in units of the linear predictor, that is smaller."""
_LEAST_GIVEN = 1e-30
"""A dispersion that is given is larger, and smaller than its inverse."""


@dataclass(frozen=True, eq=False)
class AssembledGeneralized:
    """What fits, refits and simulations read of a generalized model.

    Attributes
    ----------
    data : GeneralizedDesign
    face : Face
        What users see of its fits.
    """

    data: GeneralizedDesign
    face: Face = PLAIN
    _problems: dict[bool, GeneralizedProblem] = field(default_factory=dict, repr=False)

    def __getstate__(self) -> dict[str, Any]:
        return {"data": self.data, "face": self.face, "_problems": {}}

    @property
    def design(self) -> Design:
        """What `data` has beside the family and the weights."""
        return self.data.design

    def problem(self, observed: bool | None = None) -> GeneralizedProblem:
        """Return the rows in the engine's layout; with what information is the family's default."""
        observed = observed_by_default(self.data.family) if observed is None else observed
        if observed not in self._problems:
            data = self.data
            require_rows(data.design)
            likelihood = likelihood_of(data.family, data.design.y, data.prior)
            found = generalized_problem(data.design, likelihood, observed)
            check_identified(data.design, found.linear)
            self._problems[observed] = found
        return self._problems[observed]

    def with_response(self, y: Array, name: str | None = None) -> AssembledGeneralized:
        """Return the same with another response (n,); the layout and the pattern are shared."""
        data = self.data.with_response(y, name)
        likelihood = likelihood_of(data.family, y, data.prior)
        problems = {
            key: p.with_likelihood(likelihood)
            for key, p in self._problems.items()
            if 1.0 / _OTHER_UNIT < likelihood.unit / p.unit < _OTHER_UNIT
        }
        return AssembledGeneralized(data, self.face, problems)

    @cached_property
    def ends(self) -> Array | None:
        """Where rows are at an end of the range of their response (see `ends_of_range`)."""
        return ends_of_range(self.problem().likelihood)


def fit(
    model: AssembledGeneralized,
    /,
    nagq: int = 1,
    start_params: Any = None,
    maxiter: int | None = None,
    tol: float = 1e-8,
    dispersion: float | None = None,
    information: str | None = None,
    progress: bool | Callable[[int, float], None] = False,
    max_time: float | None = None,
    **kwargs: Any,
) -> Fitted:
    """Estimate the model by maximum likelihood.

    Parameters
    ----------
    nagq : int
        How the random effects are integrated out. 1 is Laplace's approximation; more is adaptive
        Gauss-Hermite quadrature with so many nodes, for one random term of one column; 0 is fast
        and rough: fixed effects maximize the penalized likelihood.
    start_params : array_like, optional
        Theta, or theta followed by the fixed effects, to start from.
    maxiter : int, optional
        Evaluations of the likelihood at most, 200 by default.
    tol : float
        The search ends when another step would lower -2 log-likelihood by less than this.
    dispersion : float, optional
        The dispersion φ of the family, or alpha of the negative binomial, if it is known; by
        default it is estimated.
    information : {"expected", "observed"}, optional
        What the determinant of Laplace's approximation has, where the link is not canonical. By
        default the expected information for the binomial and the Poisson, as in lme4, and the
        observed one for the other families, as in glmmTMB.
    progress : bool or callable
        Print -2 log-likelihood after each step; or call ``progress(evaluations, value)``.
    max_time : float, optional
        Seconds after which the search stops; it is then not converged.

    Returns
    -------
    MixedGLMResults

    Raises
    ------
    FitError
        If an argument makes no sense or the likelihood cannot be evaluated.

    Warns
    -----
    ConvergenceWarning
        If the search did not end at a maximum, or there is none: if a fixed effect separates
        successes from failures, say.
    SingularFitWarning
        If the estimated covariance of some random effects is singular.

    Notes
    -----
    -2 log-likelihood by Laplace's approximation is minimized over theta, the fixed effects and the
    dispersion together, by a trust-region search with its exact gradient (Bates 2010, lme4: Mixed-
    effects modeling with R, chapter 6, for the approximation).
    """
    refuse_unknown("fit", kwargs, GLM_FIT_ARGUMENTS, ignored=_UNUSED)
    _check_arguments(nagq, maxiter, tol, max_time)
    if information is not None:
        check_choice("information", information, ("expected", "observed"), FitError)
    found = estimate_generalized(
        model,
        nagq=int(nagq),
        start=_start(model, start_params),
        omega=_fixed_omega(model, dispersion),
        observed=None if information is None else information == "observed",
        maxiter=maxiter,
        tol=tol,
        progress=_print_progress if progress is True else (progress or None),
        deadline=np.inf if max_time is None else time.monotonic() + max_time,
    )
    warn_of_generalized(found)
    return tested(found, model.face)


def tested(found: GeneralizedFit, face: Face = PLAIN) -> Fitted:
    """Return a fit with tests by the normal distribution."""
    return Fitted.by(found, degrees_of_freedom(found, "normal"), face)


def estimate_generalized(
    model: AssembledGeneralized,
    nagq: int = 1,
    start: tuple[Array, Array | None] | None = None,
    omega: Array | None = None,
    observed: bool | None = None,
    **search: Any,
) -> GeneralizedFit:
    """Estimate a model without a word: what every fit and refit calls.

    Parameters
    ----------
    model : AssembledGeneralized
    nagq : int
    start : tuple, optional
        Standardized θ, and ζ or None.
    omega : ndarray (1,), optional
        A known ω.
    observed : bool, optional
    **search
        As `mixedlm_ext.search.generalized.minimize_generalized` takes them.

    Returns
    -------
    GeneralizedFit
    """
    problem = model.problem(observed)
    if nagq > 1:
        criterion: LaplaceCriterion = QuadratureCriterion(problem, nagq, omega)
    else:
        criterion = LaplaceCriterion(problem, nagq == 0, omega)
    found = Endless(model.data.design, model.ends)
    best, optimization = minimize_generalized(criterion, start, endless=found.why, **search)
    return generalized_fit(
        model.data.design, best, optimization, model.data.prior, nagq, found.columns
    )


def check_nodes(nagq: Any) -> None:
    """Raise FitError unless `nagq` is a number of nodes."""
    whole = isinstance(nagq, int | np.integer) and not isinstance(nagq, bool)
    if not whole or not 0 <= nagq <= _MOST_NODES:
        raise FitError(
            f"nagq={shown(nagq)} is no number of nodes. Pass 1 for Laplace's approximation, 0 for "
            f"the fast fit, or 2 to {_MOST_NODES} for quadrature."
        )


def _check_arguments(nagq: Any, maxiter: Any, tol: Any, max_time: Any) -> None:
    """Refuse values that make no sense before anything is computed."""
    check_nodes(nagq)
    check_maxiter(maxiter)
    for name, value in (("tol", tol), ("max_time", max_time)):
        if value is None and name == "max_time":
            continue
        number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
        if not number or not 0 < value < np.inf:
            raise FitError(f"{name}={shown(value)} is not positive. Pass a positive number.")


def _fixed_omega(model: AssembledGeneralized, dispersion: Any) -> Array | None:
    """Return ω of a known dispersion or alpha."""
    if dispersion is None:
        return None
    kind = extra_of(model.data.family)
    if not kind:
        raise FitError(
            f"dispersion= is for families that have one; {type(model.data.family).__name__} has "
            "none. Drop it; overdispersed counts want NegativeBinomial or a random effect of each "
            "row."
        )
    number = isinstance(dispersion, int | float | np.number) and not isinstance(dispersion, bool)
    if not number or not 0 < dispersion < np.inf:
        raise FitError(f"dispersion={shown(dispersion)} is not positive. Pass a positive number.")
    if not _LEAST_GIVEN < dispersion < 1.0 / _LEAST_GIVEN:
        other = "; counts that vary as Poisson counts want that family" if kind == "size" else ""
        raise FitError(
            f"dispersion={shown(dispersion)} is beyond what can be computed with{other}."
        )
    value = float(np.log(dispersion))
    return np.array([value if kind == "dispersion" else -value])


def _start(model: AssembledGeneralized, start_params: Any) -> tuple[Array, Array | None] | None:
    """Return standardized θ, and ζ if fixed effects are given, too."""
    if start_params is None:
        return None
    problem = model.problem()
    covariance, p = problem.covariance, problem.p
    m = covariance.n_theta
    if isinstance(start_params, pd.Series) and list(start_params.index) == list(
        model.data.design.x_names
    ):
        raise FitError(
            f"start_params are the {m} covariance parameters theta, and after them the {p} fixed "
            "effects if you want. These are the fixed effects alone. Pass "
            "np.concatenate([result.theta, result.params])."
        )
    try:
        values = np.asarray(start_params, dtype=float).ravel()
    except (TypeError, ValueError):
        raise FitError(
            f"start_params={shown(start_params)} are no numbers. Pass theta, or theta followed by "
            "the fixed effects."
        ) from None
    if len(values) == m + p and p:
        return _theta(problem, values[:m]), problem.zeta(values[m:])
    return _theta(problem, values), None


def _theta(problem: GeneralizedProblem, values: Array) -> Array:
    """Return θ of a user, standardized."""
    covariance = problem.covariance
    theta = covariance.standardize(read_theta(covariance, values))
    largest = max(float(np.abs(T).max()) for T in covariance.templates(theta))
    if largest > _MOST_SD:
        raise FitError(
            f"start_params have random effects with a standard deviation of {largest:.3g} on the "
            "scale of the link. Pass a theta nearer to one."
        )
    return theta


def _print_progress(evaluations: int, value: float) -> None:
    """Show one step of the search."""
    print(f"evaluation {evaluations:4d}   -2 log-likelihood {value:.8f}")
