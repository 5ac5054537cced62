"""Penalized least squares at one theta (Bates, Mächler, Bolker & Walker 2015, sec. 3.4).

Equation numbers at the margin are those of the paper. X stands for the orthonormal basis of the
model matrix and y for its residual on X (see linalg/crossproducts.py), so X'WX = I and X'Wy = 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mixedlm_ext.covariance import Covariance
from mixedlm_ext.errors import FitError
from mixedlm_ext.linalg.blas import matmul
from mixedlm_ext.linalg.crossproducts import CrossProducts
from mixedlm_ext.linalg.factor import Factor, Pattern
from mixedlm_ext.linalg.triangular import solve_upper

Array = NDArray[np.float64]

__all__ = ["PenalizedLeastSquares", "Problem", "degenerate", "solve"]


@dataclass(frozen=True, eq=False)
class Problem:
    """A model as the engine sees it: its cross-products, its theta, the pattern of its factor."""

    cp: CrossProducts
    covariance: Covariance
    pattern: Pattern


@dataclass(frozen=True, eq=False)
class PenalizedLeastSquares:
    """The solution at one theta.

    Attributes
    ----------
    theta : ndarray
        Standardized.
    factor : Factor
        L of equation (18).
    RZX : ndarray (q, p)
    RX : ndarray (p, p)
    beta : ndarray (p,)
        Coefficients of the orthonormal basis, of the residual response.
    b : ndarray (q,)
        Λu, conditional modes of the standardized columns.
    pwrss : float
        Penalized weighted residual sum of squares r².
    logdet_L, logdet_RX : float
        log|L|² and log|R_X|².
    """

    theta: Array
    factor: Factor
    RZX: Array
    RX: Array
    beta: Array
    b: Array
    pwrss: float
    logdet_L: float
    logdet_RX: float


def solve(problem: Problem, theta: Array) -> PenalizedLeastSquares:
    """Solve the penalized least-squares problem at a standardized `theta`.

    Raises
    ------
    FitError
        If theta is so large that nothing of y or of X is left to the residual.
    """
    cp = problem.cp
    L = _factor(problem, theta)  #                           LL' = Λ'Z'WZΛ + I             (18)
    half = L.half_solve(np.column_stack([cp.Zy, cp.ZX]))
    cu, RZX = half[:, 0], half[:, 1:]  #                     Lc_u = Λ'Z'Wy, LR_ZX = Λ'Z'WX (48, 49)
    RX = _cholesky(np.eye(cp.p) - matmul(RZX.T, RZX))  #     R_X'R_X = X'WX - R_ZX'R_ZX    (50)
    cbeta = solve_upper(RX, -matmul(RZX.T, cu), transpose=True)  # R_X'c_β = X'Wy - R_ZX'c_u (51)
    beta = solve_upper(RX, cbeta)  #                         R_Xβ = c_β                    (51)
    Lu = (cu - matmul(RZX, beta))[:, None]  #                L'u = c_u - R_ZXβ             (52)
    b = L.back_solve(Lu)[:, 0]  #                            b = Λu
    pwrss = cp.yy - cu @ cu - cbeta @ cbeta  #               r² at the minimum
    if not pwrss > 0:
        raise degenerate()
    logdet_RX = 2.0 * float(np.log(np.diag(RX)).sum())
    return PenalizedLeastSquares(theta, L, RZX, RX, beta, b, float(pwrss), L.logdet, logdet_RX)


def _factor(problem: Problem, theta: Array) -> Factor:
    """Return the factor of M at `theta`."""
    try:
        return problem.pattern.factor(problem.covariance.templates(theta))
    except np.linalg.LinAlgError:
        raise degenerate() from None


def _cholesky(M: Array) -> Array:
    """Return the upper-triangular Cholesky factor."""
    try:
        return np.asarray(np.linalg.cholesky(M).T, dtype=float)
    except np.linalg.LinAlgError:
        raise degenerate() from None


def degenerate() -> FitError:
    """Return the error for random effects that leave no residual."""
    return FitError(
        "the random effects reproduce the response (or a fixed effect) to working precision, so no "
        "residual variance is left to estimate. Drop a random-effects term, or pass sigma= if it "
        "is known."
    )
