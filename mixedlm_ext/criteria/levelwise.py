"""The criterion where levels have few of many columns each, by the pairs of columns that meet.

A factor of hundreds of times, of which each level has a few, has Γ of all pairs of times; the data
see those of the times of one level. With Γ_l, K_l = Z_l'V⁻¹Z_l, v_l and U_l in the columns of the
level (see solvers/levelwise.py), U = Z'V⁻¹X R_X⁻¹ and G_l = K_l - U_lU_l' - v_lv_l'/σ², under ML
without U_lU_l',

    ∂d/∂θ_j = Σ_l <G_l, ∂Γ_l/∂θ_j>,        e_jl = (∂Γ_l/∂θ_j)v_l
    average information = [Σ_l e_jl'K_le_hl - (Σ_l U_l'e_jl)'(Σ_l U_l'e_hl)]/σ² - ss'/df

and nothing is of the size of all columns. What a fit reports is that of the plain criterion, once.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mixedlm_ext.caching import cached_property
from mixedlm_ext.criteria.expected_information import traces_along
from mixedlm_ext.criteria.gaussian import GaussianCriterion, GaussianEvaluation
from mixedlm_ext.criteria.linear import AnyCriterion
from mixedlm_ext.criteria.pls import PenalizedLeastSquares, degenerate, fixed_part
from mixedlm_ext.linalg import small
from mixedlm_ext.linalg.triangular import solve_upper
from mixedlm_ext.solvers.levelwise import LevelSystem, LevelwiseSolver
from mixedlm_ext.structures.correlated import CorrelatedStructure
from mixedlm_ext.structures.covariance import Covariance
from mixedlm_ext.structures.steps import TemplateSteps

Array = NDArray[np.float64]

__all__ = ["LevelwiseCriterion", "LevelwiseEvaluation", "by_levels"]


def by_levels(criterion: AnyCriterion) -> AnyCriterion:
    """Return the same criterion by the pairs of columns that meet; as it is where all may meet.

    Parameters
    ----------
    criterion : AnyCriterion
        It has another form if there is one term, its columns have one variance and correlations,
        and each level has few of them.
    """
    if type(criterion) is not GaussianCriterion:
        return criterion
    solver, pairs = criterion.problem.solver, criterion.problem.pairs
    if pairs is None or not isinstance(solver, LevelwiseSolver):
        return criterion
    z, rest = solver.split(criterion.problem.cp.Zyx)
    return criterion if rest is not None else LevelwiseCriterion(criterion, solver, pairs[1], z)


class LevelwiseCriterion:
    """The criterion of a model of one term with one variance.

    Parameters
    ----------
    plain : GaussianCriterion
    solver : LevelwiseSolver
    structure : CorrelatedStructure
        Of the pairs of columns of every level, (m, m, levels).
    z : ndarray (m, levels, 1 + p)
        Z_l'W[y X] = R_lz_l.
    """

    def __init__(
        self,
        plain: GaussianCriterion,
        solver: LevelwiseSolver,
        structure: CorrelatedStructure,
        z: Array,
    ) -> None:
        self.plain, self.R, self.structure, self.z = plain, solver.R, structure, z
        self.problem, self.df = plain.problem, plain.df
        self.reml, self.sigma = plain.reml, plain.sigma

    @property
    def space(self) -> Covariance:
        """Where its points are."""
        return self.problem.covariance

    def inside(self, theta: Array) -> Array:
        """Return the point of a standardized theta of the user's scale."""
        return theta

    def at(self, theta: Array) -> LevelwiseEvaluation:
        """Evaluate at a standardized theta."""
        return LevelwiseEvaluation(self, theta)


class LevelwiseEvaluation:
    """The criterion at one theta; derivatives are computed when asked for.

    Attributes
    ----------
    theta : ndarray (m,)
        Standardized.
    value, noise : float
        The criterion, and the order of its rounding error.
    scale : float
        σ², profiled or fixed.
    """

    has_exact = True
    exact_is_cheap = True
    apart = None

    def __init__(self, criterion: LevelwiseCriterion, theta: Array) -> None:
        self._criterion, self.theta = criterion, theta
        try:
            self._system = LevelSystem(criterion.R, criterion.structure.gamma(theta))
        except np.linalg.LinAlgError:
            raise degenerate() from None
        y = self._system.solve(criterion.z)
        C = self._system.inner(criterion.z, y)
        RX, beta, pwrss, logdet_RX = fixed_part(criterion.problem.cp, C)
        values = criterion.plain.value_of(self._system.logdet, logdet_RX, pwrss)
        self.value, self.noise, self.scale = values
        ZVyX = small.times_each(criterion.R, y)
        self._v = ZVyX[:, :, 0] - ZVyX[:, :, 1:] @ beta
        m, levels, _ = ZVyX.shape
        U = solve_upper(RX, ZVyX[:, :, 1:].reshape(m * levels, -1).T, transpose=True)
        self._U = U.T.reshape(m, levels, -1)

    @property
    def _U_of_K(self) -> Array:
        """U as far as K_l is less of it: under REML."""
        return self._U if self._criterion.reml else self._U[:, :, :0]

    @property
    def most_noise(self) -> float:
        """The rounding error if solves lose all that their condition number allows."""
        return self.noise * self._system.condition

    @cached_property
    def plain(self) -> GaussianEvaluation:
        """The same point, with all that is reported of it."""
        return self._criterion.plain.at(self.theta)

    @property
    def pls(self) -> PenalizedLeastSquares:
        """The solution of penalized least squares."""
        return self.plain.pls

    @property
    def v(self) -> Array:
        """Z'Py."""
        return self.plain.v

    @cached_property
    def _derivatives(self) -> Array:
        """∂Γ_l/∂θ_j of every level, (n_theta, m, m, levels)."""
        return self._criterion.structure.gamma_derivatives(self.theta)

    @cached_property
    def _G(self) -> Array:
        """∂d/∂Γ_l, (m, m, levels)."""
        U, v = np.ascontiguousarray(self._U_of_K.transpose(0, 2, 1)), self._v
        UU = small.product(U, U.transpose(1, 0, 2)) if U.shape[1] else 0.0
        return np.asarray(self._system.K - UU - v[:, None] * v / self.scale)

    @cached_property
    def gradient(self) -> Array:
        """The gradient in theta."""
        return np.tensordot(self._derivatives, self._G, 3)

    @cached_property
    def _working_information(self) -> tuple[Array, Array]:
        """e'(Z'PZ)e/σ² and ss'/df, as `GaussianEvaluation` has them."""
        E = np.einsum("jabl,bl->jal", self._derivatives, self._v)
        KE = np.einsum("abl,jbl->jal", self._system.K, E)
        UE = np.tensordot(E, self._U, 2)
        information = (np.tensordot(E, KE, axes=([1, 2], [1, 2])) - UE @ UE.T) / self.scale
        if self._criterion.sigma is not None:
            return information, np.zeros_like(information)
        s = np.tensordot(E, self._v, 2) / self.scale
        return information, np.outer(s, s) / self._criterion.df

    @cached_property
    def _traces(self) -> Array:
        """tr(P ∂V P ∂V) of pairs of θ; V⁻¹ for P under ML."""
        return traces_along([*self._derivatives], self._system.K, self._U_of_K)

    def _hessian(self, exact: bool) -> Array:
        """Return the second derivatives in theta, or their average-information model."""
        working, profiled = self._working_information
        second = 2.0 * working - self._traces if exact else working
        return second - profiled + self._criterion.structure.curvature(self.theta, self._G)

    @cached_property
    def _steps(self) -> TemplateSteps:
        """The directions of a step from here."""
        return TemplateSteps(self._criterion.problem.covariance, self.theta)

    def derivatives(self, exact: bool = False) -> tuple[Array, Array]:
        """Return gradient and Hessian along the directions of a step."""
        gradient = self._steps.carry(self.gradient[:, None])[:, 0]
        return gradient, self._steps.carry_both(self._hessian(exact))

    @property
    def room(self) -> tuple[Array, Array] | None:
        """How far a step may go along those directions."""
        return self._steps.room

    def after(self, step: Array) -> Array:
        """Return theta after a step along those directions."""
        return self._steps.apply(step)

    def retract(self, step: Array) -> LevelwiseEvaluation:
        """Evaluate after a step along those directions."""
        return self._criterion.at(self.after(step))

    def again(self) -> LevelwiseEvaluation:
        """Evaluate here once more."""
        return self._criterion.at(self.theta)

    def release(self) -> None:
        """Do nothing: it takes no more memory than the matrix."""
