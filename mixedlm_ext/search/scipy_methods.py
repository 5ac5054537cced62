"""SciPy's optimizers on the criterion, as a cross-check of Newton's method."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from mixedlm_ext.criteria.linear import AnyCriterion, AnyEvaluation
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
    criterion: AnyCriterion, start: Array, method: str, log: Log
) -> AnyEvaluation:
    """Search within the limits of the log; return the best point that was visited."""
    name = SCIPY_METHODS[method]
    visited = _Visited(criterion, log)
    how: dict[str, Any] = {"method": name, "options": _options(name, start, log.limit)}
    if name in _GRADIENT_METHODS:
        how["jac"] = visited.gradient
    with suppress(_Spent):
        minimize(visited.value, start, **how)
    if visited.best is None:
        visited.best = criterion.at(start)
        log.accept(visited.best)
    return visited.best


class _Visited:
    """The criterion as SciPy calls it, with memory of the best point and of the last.

    Attributes
    ----------
    best, last : AnyEvaluation or None
    """

    def __init__(self, criterion: AnyCriterion, log: Log) -> None:
        self.best: AnyEvaluation | None = None
        self.last: AnyEvaluation | None = None
        self._criterion, self._log = criterion, log

    def value(self, theta: Array) -> float:
        """Return the criterion, infinite where it has no value."""
        e = self._evaluate(theta)
        return np.inf if e is None else e.value

    def gradient(self, theta: Array) -> Array:
        """Return the gradient, of a point that was just visited if it is that."""
        seen = (e for e in (self.last, self.best) if e is not None)
        e = next((e for e in seen if np.array_equal(theta, e.theta)), None)
        e = self._evaluate(theta) if e is None else e
        return np.full(len(theta), np.nan) if e is None else e.gradient

    def _evaluate(self, theta: Array) -> AnyEvaluation | None:
        """Evaluate within the domain and take note of it, or leave the search."""
        log = self._log
        if log.evaluations and log.spent():
            raise _Spent
        # a copy, since SciPy reuses its arrays
        inside = np.clip(theta, *self._criterion.space.domain)
        e = log.evaluate(self._criterion, inside)
        if e is not None:
            self.last = e
            if self.best is None or e.value < self.best.value:
                self.best = e
                log.accept(e)
        return e


def _options(name: str, start: Array, limit: int) -> dict[str, Any]:
    """Return limits and tolerances of one of SciPy's methods."""
    if name == "Nelder-Mead":
        # the default simplex is tiny along a theta of zero
        simplex = np.vstack([start, start + 0.25 * np.eye(len(start))])
        ends = {"xatol": 1e-7, "fatol": 1e-10}
        return {"maxfev": limit, **ends, "adaptive": True, "initial_simplex": simplex}
    return {
        "COBYQA": {"maxfev": limit, "final_tr_radius": 1e-8},
        "Powell": {"maxfev": limit, "xtol": 1e-8, "ftol": 1e-12},
        "BFGS": {"maxiter": limit, "gtol": 1e-7},
        "L-BFGS-B": {"maxfun": limit, "gtol": 1e-7, "ftol": 1e-15},
    }[name]
