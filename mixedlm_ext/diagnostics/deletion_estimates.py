"""Estimates of one model without each of several sets of rows."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from mixedlm_ext.criteria.linear import AnyEvaluation
from mixedlm_ext.criteria.pls import PenalizedLeastSquares, Problem
from mixedlm_ext.estimation.estimates import Estimates
from mixedlm_ext.estimation.fit import Fit

Array = NDArray[np.float64]

__all__ = ["Deleted", "displacement", "lack_of_fit"]


@dataclass(frozen=True, eq=False)
class Deleted(Estimates):
    """The estimates without each of G sets of rows; the criterion is that of the rows left.

    Attributes
    ----------
    displacement : ndarray (G,)
        By how much the criterion of all rows is larger there than at its minimum.
    """

    displacement: Array = field(kw_only=True)


def displacement(
    fit: Fit, e: AnyEvaluation, sigma: float | Array, lack: float | Array
) -> float | Array:
    """Return by how much the criterion of all rows at other estimates exceeds its minimum.

    Parameters
    ----------
    fit : Fit
    e : AnyEvaluation
        Of all rows, at the other theta.
    sigma, lack : float or ndarray
        The other σ, and |R_X(β - β̂)|² of the other β (see `lack_of_fit`); under REML, whose
        criterion does not depend on β, it is not used.

    Notes
    -----
    The likelihood displacement of Cook (1986), JRSS B 48, and its restricted form (Christensen,
    Pearson & Johnson 1992, Technometrics 34).
    """
    df = fit.problem.cp.n - (fit.problem.cp.p if fit.reml else 0)
    pwrss = e.pls.pwrss + (0.0 if fit.reml else lack)
    change = df * np.log(sigma**2 / e.scale) + pwrss / sigma**2 - e.pls.pwrss / e.scale
    return e.value - fit.objective + change


def lack_of_fit(problem: Problem, pls: PenalizedLeastSquares, beta: Array) -> float:
    """Return |R_X(β - β̂)|² of other coefficients of the user's X."""
    away = pls.RX @ (problem.cp.layout.in_basis(beta) - pls.beta)
    return float(away @ away)
