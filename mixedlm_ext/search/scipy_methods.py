"""SciPy's optimizers on the criterion, as a cross-check of Newton's method."""

from __future__ import annotations

from contextlib import suppress
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from mixedlm_ext.criteria.gaussian import GaussianCriterion, GaussianEvaluation
from mixedlm_ext.search.log import Log

Array = NDArray[np.float64]

__all__ = ["SCIPY_METHODS", "minimize_by_scipy"]

SCIPY_METHODS = {
    "bobyqa": "COBYQA",
    "cobyqa": "COBYQA",
    "nelder-mead": "Nelder-Mead",
    "nm": "Nelder-Mead",
    "powell": "Powell",
    "bfgs": "BFGS",
    "lbfgs": "L-BFGS-B",
}
"""SciPy's names of the methods, by ours."""
_GRADIENT_METHODS = {"BFGS", "L-BFGS-B"}


class _Spent(Exception):
    """Leaves a search of SciPy's that would go on."""


def minimize_by_scipy(
    criterion: GaussianCriterion, start: Array, method: str, log: Log
) -> GaussianEvaluation:
    """Search within the limits of the log; return the best point that was visited."""
    domain = criterion.problem.covariance.domain
    best: list[GaussianEvaluation] = []
    last: list[GaussianEvaluation] = []

    def evaluate(theta: Array) -> GaussianEvaluation | None:
        if log.evaluations and log.spent():
            raise _Spent
        inside = np.clip(theta, *domain)  # a copy, too: SciPy reuses its arrays
        e = log.evaluate(criterion, inside)
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
    name = SCIPY_METHODS[method]
    jac = gradient if name in _GRADIENT_METHODS else None
    with suppress(_Spent):
        minimize(value, start, method=cast(Any, name), jac=jac, options=options[name])
    if not best:
        best.append(criterion.at(start))
        log.accept(best[0])
    return best[0]
