"""Penalized least squares at one theta (Bates, Mächler, Bolker & Walker 2015, sec. 3.4).

Equation numbers at the margin are those of the paper. X stands for the coordinates of the model
matrix in a basis and y for what a known Xβ₀ leaves of it (see products/layout.py). Whatever solves
with M = LL' = Λ'Z'WZΛ + I may stand below: all that is asked of it is N = ΛM⁻¹Λ', by which
R_ZX'R_ZX = X'WZ N Z'WX and c_u'c_u = y'WZ N Z'Wy.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mixedlm_ext.caching import cached_property
from mixedlm_ext.errors import FitError
from mixedlm_ext.linalg.blas import cholesky, matmul
from mixedlm_ext.linalg.triangular import solve_upper
from mixedlm_ext.products.products import CrossProducts
from mixedlm_ext.products.residual_short import ShortSums
from mixedlm_ext.products.responses import Reduced, with_response
from mixedlm_ext.products.supports import LevelSquares
from mixedlm_ext.solvers.base import FactorProtocol, SolverProtocol
from mixedlm_ext.solvers.choice import solver_of
from mixedlm_ext.solvers.costs import Costs
from mixedlm_ext.structures.correlated import CorrelatedStructure
from mixedlm_ext.structures.covariance import Covariance

Array = NDArray[np.float64]

__all__ = ["PenalizedLeastSquares", "Problem", "degenerate", "fixed_part", "problem_with", "solve"]


@dataclass(frozen=True, eq=False)
class Problem:
    """A model as the engine sees it: its cross-products, its theta, what solves with M.

    Penalized least squares take the products in any basis. Where to start and what can be told
    apart read them in an orthonormal one, XX = I and Xy = 0: see `orthonormal` of
    products/transform.py.
    """

    cp: CrossProducts
    covariance: Covariance
    given: SolverProtocol | None = None
    residual: ShortSums | None = None
    """What gives the cross-products where the residuals have a structure."""

    @cached_property
    def solver(self) -> SolverProtocol:
        """The given solver, or the one that suits the pattern of these products."""
        return self._own_solver("auto") if self.given is None else self.given

    def _own_solver(self, name: str) -> SolverProtocol:
        """Return a solver with a pattern of its own."""
        return solver_of(self.cp.A, self.cp.layout.priors, name)

    @property
    def costs(self) -> Costs:
        """What operations cost."""
        return self.solver.costs

    def solved_by(self, name: str) -> Problem:
        """Return the problem with the solver of that name, "auto" being the one that it has.

        Raises
        ------
        FitError
            If memory does not hold the exact one, or the other is not for such a model.
        """
        if name == "auto" or (name == "exact" and self.solver.name == name):
            return self
        if self.residual is not None:
            raise FitError(
                "the iterative solver is not for residuals with a structure, "
                f"{self.residual.structure.text}. Leave out solver='iterative'."
            )
        if self.given is not None and self.given.name == name:
            return self
        return Problem(self.cp, self.covariance, self._own_solver(name))

    @property
    def pairs(self) -> tuple[LevelSquares, CorrelatedStructure] | None:
        """Z_l'WZ_l, and the structure of the pairs of columns that meet at each level.

        None unless there is one term, its columns have one variance and correlations, and levels
        have few of them.
        """
        squares, terms = self.cp.A.squares(0), self.covariance.terms
        if squares is None or len(terms) != 1:
            return None
        structure = terms[0].structure
        if not isinstance(structure, CorrelatedStructure) or not structure.one_variance:
            return None
        return squares, structure.of_pairs(*squares.support.pairs)

    @property
    def information_at_zero(self) -> list[Array]:
        """Σ_lm K_lm [Z'WZ]_ml of every block, (k, k): often the sum of Z_l'WZ_l over the levels."""
        if not self.cp.layout.priors:
            return [self.cp.A.total(i) for i in range(len(self.cp.shapes))]
        K, _ = self.solver.factor([np.zeros((k, k)) for k in self.covariance.block_sizes]).traces()
        return K

    def without_rows(self) -> Problem:
        """Return the problem without sums that have the rows of a residual structure."""
        if self.residual is None or not self.residual.of_rows:
            return self
        return replace(self, residual=None)

    def with_products(self, cp: CrossProducts) -> Problem:
        """Return the problem of other numbers on the same pattern."""
        return replace(self, cp=cp, given=self.solver.load(cp.A))


def problem_with(problem: Problem, reduced: Reduced, r: int = 0) -> Problem:
    """Return the problem with the r-th of some reduced responses as its response."""
    return problem.with_products(with_response(problem.cp, reduced, r))


@dataclass(frozen=True, eq=False)
class PenalizedLeastSquares:
    """The solution at one theta.

    Attributes
    ----------
    theta : ndarray
        Standardized.
    factor : FactorProtocol
        Of M, equation (18).
    NZX : ndarray (q, p)
        NZ'WX = ΛL⁻ᵀR_ZX.
    RX : ndarray (p, p)
    beta : ndarray (p,)
        Coefficients of the basis, of the residual response.
    b : ndarray (q,)
        Λu, conditional modes of the standardized columns.
    pwrss : float
        Penalized weighted residual sum of squares r².
    logdet_L, logdet_RX : float
        log|L|² and log|R_X|².
    """

    theta: Array
    factor: FactorProtocol
    NZX: Array
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
    L = _factor(problem, theta)  #                         LL' = Λ'Z'WZΛ + I              (18)
    C, N = L.solve(cp.Zyx)  #                              [c_u R_ZX]'[c_u R_ZX]          (48, 49)
    RX, beta, pwrss, logdet_RX = fixed_part(cp, C)
    b = N[:, 0] - matmul(N[:, 1:], beta)  #                b = ΛL⁻ᵀ(c_u - R_ZXβ)          (52)
    return PenalizedLeastSquares(theta, L, N[:, 1:], RX, beta, b, pwrss, L.logdet, logdet_RX)


def fixed_part(cp: CrossProducts, C: Array) -> tuple[Array, Array, float, float]:
    """Return R_X, β, r² and log|R_X|² from C (1 + p, 1 + p), [c_u R_ZX]'[c_u R_ZX].

    Raises
    ------
    FitError
        If nothing of y or of X is left to the residual.
    """
    RX = _cholesky(cp.XX - C[1:, 1:])  #                   R_X'R_X = X'WX - R_ZX'R_ZX     (50)
    Xy = cp.Xy - C[1:, 0]
    cbeta = solve_upper(RX, Xy, transpose=True)  #         R_X'c_β = X'Wy - R_ZX'c_u      (51)
    beta = solve_upper(RX, cbeta)  #                       R_Xβ = c_β                     (51)
    pwrss = cp.yy - C[0, 0] - cbeta @ cbeta  #             r² at the minimum
    if not pwrss > 0:
        raise degenerate()
    return RX, beta, float(pwrss), 2.0 * float(np.log(np.diag(RX)).sum())


def _factor(problem: Problem, theta: Array) -> FactorProtocol:
    """Return the factor of M at `theta`."""
    try:
        return problem.solver.factor(problem.covariance.templates(theta))
    except np.linalg.LinAlgError:
        raise degenerate() from None


def _cholesky(M: Array) -> Array:
    """Return the upper-triangular Cholesky factor."""
    try:
        return cholesky(M).T
    except np.linalg.LinAlgError:
        raise degenerate() from None


def degenerate() -> FitError:
    """Return the error for random effects that leave no residual."""
    return FitError(
        "the random effects reproduce the response (or a fixed effect) to working precision, so no "
        "residual variance is left to estimate. Drop a random-effects term, or pass sigma= if it "
        "is known."
    )
