"""The record of many fits of one model: of other responses, or of other rows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from mixedlm_ext.criteria.linear import AnyEvaluation
from mixedlm_ext.criteria.pls import Problem
from mixedlm_ext.estimation.fit import Fit

Array = NDArray[np.float64]
Index = NDArray[np.intp]
Self = TypeVar("Self", bound="Estimates")

__all__ = ["Estimates"]


@dataclass(frozen=True, eq=False)
class Estimates:
    """Estimates by r fits, in the user's units; nan where there is no such fit.

    Attributes
    ----------
    theta : ndarray (r, m)
    beta, bse : ndarray (r, p)
    sigma, objective : ndarray (r,)
    converged : ndarray of bool (r,)
    residual : ndarray (r, K)
        Parameters of a residual structure, as users see them.
    failures : dict of int to str
        Why there is no fit.
    """

    theta: Array
    beta: Array
    bse: Array
    sigma: Array
    objective: Array
    converged: NDArray[np.bool_]
    residual: Array
    failures: dict[int, str] = field(default_factory=dict)

    @classmethod
    def missing(cls: type[Self], r: int, p: int, m: int, K: int = 0) -> Self:
        """Return room for r fits."""
        shapes = {"theta": (r, m), "beta": (r, p), "bse": (r, p), "residual": (r, K)}
        arrays: Any = {name: np.full(shapes.get(name, (r,)), np.nan) for name in cls._arrays()}
        return cls(**{**arrays, "converged": np.zeros(r, dtype=bool)})

    @classmethod
    def of_fit(cls, fit: Fit) -> Estimates:
        """Return those of one fit."""
        return cls(
            theta=fit.theta[None],
            beta=fit.beta[None],
            bse=fit.sigma * np.sqrt(np.diag(fit.unscaled_cov))[None],
            sigma=np.array([fit.sigma]),
            objective=np.array([fit.objective]),
            converged=np.array([fit.optimization.converged]),
            residual=_residual_values(fit)[None],
        )

    @classmethod
    def join(cls: type[Self], parts: Sequence[Self]) -> Self:
        """Put the estimates of several chunks together."""
        joined: Any = {
            name: np.concatenate([getattr(part, name) for part in parts]) for name in cls._arrays()
        }
        starts = np.cumsum([0, *(len(part.sigma) for part in parts)])
        failures = {
            int(start) + r: why
            for start, part in zip(starts, parts)
            for r, why in part.failures.items()
        }
        return cls(**joined, failures=failures)

    @classmethod
    def _arrays(cls) -> list[str]:
        """Name what has a number for each fit."""
        return [f.name for f in fields(cls) if f.name != "failures"]

    def write(self, r: int, problem: Problem, e: AnyEvaluation, converged: bool) -> None:
        """Write down where the r-th search, on a problem of its own, ended."""
        layout = problem.cp.layout
        root = layout.root(e.pls.RX)
        self.theta[r] = problem.covariance.unstandardize(e.theta)
        self.beta[r] = layout.coefficients(e.pls.beta)
        self.bse[r] = np.sqrt(e.scale * np.einsum("pi,pi->p", root, root))
        self.sigma[r] = np.sqrt(e.scale)
        self.objective[r] = e.value
        self.converged[r] = converged

    def put(self: Self, at: Sequence[int], part: Self) -> None:
        """Write down what another record says about some of the fits."""
        for name in self._arrays():
            getattr(self, name)[at] = getattr(part, name)
        self.failures.update({at[r]: why for r, why in part.failures.items()})

    def strike(self, at: Iterable[int], why: str) -> None:
        """Take some of the fits out, which failed after all."""
        for r in at:
            for name in self._arrays():
                getattr(self, name)[r] = False if name == "converged" else np.nan
            self.failures[r] = why


def _residual_values(fit: Fit) -> Array:
    """Return the parameters of the residuals."""
    structure = fit.design.residual
    return np.zeros(0) if structure is None or structure.values is None else structure.values
