"""Maxima of the likelihood of models with fewer fixed columns or random effects than a fit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from mixedlm_ext.criteria.generalized import GeneralizedProblem, generalized_problem
from mixedlm_ext.criteria.laplace import LaplaceCriterion
from mixedlm_ext.criteria.quadrature import QuadratureCriterion
from mixedlm_ext.design import Design
from mixedlm_ext.estimation.generalized import GeneralizedFit
from mixedlm_ext.inference.compare.submodel import Likelihood
from mixedlm_ext.search.generalized import minimize_generalized

Array = NDArray[np.float64]

__all__ = ["plain_objective", "with_fixed", "with_random"]

_MOST = 8.0
"""How far from the estimate ω is looked for where there are no random effects."""


def with_fixed(fit: GeneralizedFit, C: Array) -> Likelihood:
    """Maximize the likelihood of the model with XC in the place of X, C (p, r)."""
    design = fit.design
    names = tuple(f"x{j}" for j in range(C.shape[1]))
    spec = replace(design.spec, x_names=names)
    return _maximum(fit, Design(spec, replace(design.rows, X=design.X @ C)))


def with_random(fit: GeneralizedFit, term: int, C: Array) -> Likelihood:
    """Maximize the likelihood of the model with X_tC in the place of the columns of one term.

    Parameters
    ----------
    fit : GeneralizedFit
    term : int
    C : ndarray (k, r)
        r = 0 leaves the term out.
    """
    design = fit.design
    specs, rows = list(design.spec.terms), list(design.rows.terms)
    if C.shape[1]:
        X, codes = rows[term]
        rows[term] = (X @ C, codes)
        columns = tuple(f"z{j}" for j in range(C.shape[1]))
        specs[term] = replace(specs[term], columns=columns)
    else:
        del specs[term], rows[term]
    if not specs:
        objective = plain_objective(fit.rows_problem, fit)
        npar = len(fit.beta) + int(fit.extra_estimated)
        return Likelihood(npar, -0.5 * objective)
    reduced = Design(
        replace(design.spec, terms=tuple(specs)), replace(design.rows, terms=tuple(rows))
    )
    return _maximum(fit, reduced)


def _maximum(fit: GeneralizedFit, design: Design) -> Likelihood:
    """Maximize the likelihood of a design by the method of the fit."""
    problem = generalized_problem(design, fit.rows_problem.likelihood, fit.observed)
    fixed = None if fit.extra_estimated or not len(fit.omega) else fit.omega
    if fit.nagq > 1:
        criterion: LaplaceCriterion = QuadratureCriterion(problem, fit.nagq, fixed)
    else:
        criterion = LaplaceCriterion(problem, fit.nagq == 0, fixed)
    best, log = minimize_generalized(criterion)
    npar = problem.covariance.n_theta + problem.p + int(fit.extra_estimated)
    return Likelihood(npar, -0.5 * best.value, log.converged)


def plain_objective(problem: GeneralizedProblem, fit: GeneralizedFit) -> float:
    """Return -2 log-likelihood at its maximum without random effects."""
    zero = np.zeros(problem.covariance.n_theta)
    criterion = LaplaceCriterion(problem, True, None if fit.extra_estimated else fit.omega)
    if not criterion.n_extra:
        return criterion.at(zero).value

    def value(omega: float) -> float:
        return criterion.at(np.append(zero, omega)).value

    centre = float(fit.omega[0])
    found = minimize_scalar(value, bracket=(centre, centre + 0.5), options={"xtol": 1e-10})
    return float(found.fun)
