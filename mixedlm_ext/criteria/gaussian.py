"""The criterion of the fit as a function of theta: value, gradient, and two Hessians.

With V = W⁻¹ + ZΛΛ'Z', P = V⁻¹ - V⁻¹X(X'V⁻¹X)⁻¹X'V⁻¹, r² = y'Py and df = n (ML) or n - p (REML):

    ML     d(θ) = log|M| - log|W| + n [1 + log(2πr²/n)]                        (BBMW 2015, eq. 35)
    REML   d(θ) = log|M| + log|R_X|² - log|W| + (n-p) [1 + log(2πr²/(n-p))]    (eq. 41)

A residual standard deviation that is fixed replaces df [1 + log(2πr²/df)] by df log(2πσ²) + r²/σ².
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mixedlm_ext.caching import cached_property
from mixedlm_ext.criteria.alignment import AlignedProblem, align
from mixedlm_ext.criteria.differences import hessian_by_differences
from mixedlm_ext.criteria.expected_information import (
    traces_by_differences,
    traces_by_levels,
    traces_of_dense,
)
from mixedlm_ext.criteria.pls import PenalizedLeastSquares, Problem, solve
from mixedlm_ext.criteria.working_vectors import working_vectors
from mixedlm_ext.linalg.blas import eigvalsh, inner, matmul
from mixedlm_ext.linalg.small import large_directions
from mixedlm_ext.linalg.triangular import solve_upper
from mixedlm_ext.structures.covariance import Covariance
from mixedlm_ext.structures.derivatives import chain_rule, curvature, theta_gradient
from mixedlm_ext.structures.steps import TemplateSteps

Array = NDArray[np.float64]

__all__ = ["GaussianCriterion", "GaussianEvaluation"]

_MANY = 20
"""Columns of a block from which on one product costs less than one for each pair."""
_STEP = 1e-4
"""Step of the differences of the gradient, relative to theta where that is large."""


class GaussianCriterion:
    """The criterion of one model.

    Parameters
    ----------
    problem : Problem
    reml : bool
        The restricted likelihood, or the likelihood.
    sigma : float, optional
        A known residual standard deviation.
    """

    def __init__(self, problem: Problem, reml: bool, sigma: float | None = None) -> None:
        self.problem, self.reml, self.sigma = problem, reml, sigma
        cp = problem.cp
        self.df = cp.n - cp.p if reml else cp.n
        self.constant = (cp.layout.logdet_R if reml else 0.0) - cp.logdet_W

    @property
    def space(self) -> Covariance:
        """Where its points are."""
        return self.problem.covariance

    def inside(self, theta: Array) -> Array:
        """Return the point of a standardized theta of the user's scale."""
        return theta

    def at(self, theta: Array) -> GaussianEvaluation:
        """Evaluate at a standardized theta."""
        return GaussianEvaluation(self, solve(self.problem, theta))

    def value_of(
        self, logdet_L: float, logdet_RX: float, pwrss: float
    ) -> tuple[float, float, float]:
        """Return the criterion, the order of its rounding error, and σ² from log|M| and others."""
        df, sigma = self.df, self.sigma
        log_determinants = logdet_L + (logdet_RX if self.reml else 0.0)
        if sigma is None:
            scale = pwrss / df
            rest = df * (1.0 + np.log(2.0 * np.pi * scale))
        else:
            scale = sigma**2
            rest = df * np.log(2.0 * np.pi * scale) + pwrss / scale
        value = float(log_determinants + self.constant + rest)
        # r² is what is left of y'Wy, and log r² counts df times
        lost = float(np.finfo(float).eps) * self.problem.cp.yy / pwrss
        return value, 1e-13 * abs(value) + 10.0 * df * lost, scale

    def hessian(self, theta: Array) -> Array:
        """Return the Hessian: exact, or by differences of the gradient where that is cheaper."""
        e = self.at(theta)
        return e.hessian if e.exact_is_cheap or e.dense_pays else self._differences(theta)

    def _differences(self, theta: Array) -> Array:
        """Return the Hessian by differences of the exact gradient, 2m evaluations."""
        low, high = self.space.domain
        h = _STEP * np.maximum(1.0, np.abs(theta))
        return hessian_by_differences(
            lambda step: self.at(theta + step).gradient, h, low - theta, high - theta
        )


class GaussianEvaluation:
    """The criterion at one theta; derivatives are computed when asked for.

    Attributes
    ----------
    theta : ndarray (m,)
        Standardized.
    pls : PenalizedLeastSquares
    value, noise : float
        The criterion, and the order of its rounding error.
    scale : float
        σ², profiled or fixed.
    has_exact : bool
        Exact second derivatives are there, at some price.
    """

    has_exact = True
    apart = None

    def __init__(self, criterion: GaussianCriterion, pls: PenalizedLeastSquares) -> None:
        self._criterion, self.pls = criterion, pls
        self.theta = pls.theta
        parts = pls.logdet_L, pls.logdet_RX, pls.pwrss
        self.value, self.noise, self.scale = criterion.value_of(*parts)

    @property
    def most_noise(self) -> float:
        """The rounding error if solves with M lose all that its condition number allows."""
        average = self._criterion.problem.cp.A.average
        return self.noise * max(map(_condition, self.pls.factor.templates, average), default=1.0)

    @cached_property
    def v(self) -> Array:
        """v = Z'Py = Z'V⁻¹(y - Xβ)."""
        cp, pls = self._criterion.problem.cp, self.pls
        Zr = cp.Zy - matmul(cp.ZX, pls.beta)
        return self._weighed(Zr[:, None], pls.b[:, None])[:, 0]

    def _weighed(self, ZH: Array, B: Array) -> Array:
        """Return Z'V⁻¹H = Z'W(H - ZB) = Γ⁻¹B from Z'WH and B = ΛM⁻¹Λ'Z'WH, each (q, c)."""
        cp = self._criterion.problem.cp
        told = self.pls.factor.weighed(ZH)
        if told is not None:
            return told
        B = np.ascontiguousarray(B)
        out = np.ascontiguousarray(ZH - cp.A.times(B))
        if not out.size:
            return out
        for i, T in enumerate(self.pls.factor.templates):
            parts = large_directions(T, cp.A.largest[i])
            if parts is not None:
                inverse, rest = parts
                block = cp.block(out, i)
                own, b = block.reshape(len(T), -1), cp.unspread(i, cp.block(B, i))
                block[:] = (rest @ own + inverse @ b.reshape(len(T), -1)).reshape(block.shape)
        return out

    @cached_property
    def U(self) -> Array:
        """Z'V⁻¹X R_X⁻¹, (q, p)."""
        cp, pls = self._criterion.problem.cp, self.pls
        ZVX = self._weighed(cp.ZX, pls.NZX)
        return solve_upper(pls.RX, ZVX.T, transpose=True).T

    @property
    def pwrss_gradient(self) -> Array:
        """The gradient of r² in theta: ∂r²/∂T_i = -2σ²S_iT_i, ∂r²/∂Γ_i = -σ²S_i."""
        T = self.pls.factor.templates
        parts = [-2.0 * self.scale * s @ t for s, t in zip(self._scores, T)]
        return theta_gradient(
            self._criterion.problem.covariance,
            self.pls.theta,
            parts,
            lambda: [-self.scale * s for s in self._scores],
        )

    @cached_property
    def _information(self) -> tuple[list[Array], list[Array]]:
        """K_i and K_iT_i, with Z'PZ for REML and Z'V⁻¹Z for ML."""
        K, KT = self.pls.factor.traces()
        cp = self._criterion.problem.cp
        if self._criterion.reml and cp.p:
            U = np.ascontiguousarray(self.U)
            for i, T in enumerate(self.pls.factor.templates):
                own = cp.block(U, i)
                XX = _level_products(own, cp.spread(i, own))
                K[i] = K[i] - XX
                KT[i] = KT[i] - XX @ T
        return K, KT

    @property
    def information(self) -> list[Array]:
        """K_i = Σ_lm K_lm [Z'PZ]_ml of every block; Z'V⁻¹Z under ML. Often K = I."""
        return self._information[0]

    @cached_property
    def _scores(self) -> list[Array]:
        """S_i = Σ_lm K_lm v_lv_m'/σ²."""
        cp = self._criterion.problem.cp
        blocks = (cp.block(self.v, i) for i in range(len(cp.shapes)))
        return [matmul(v, cp.spread(i, v).T) / self.scale for i, v in enumerate(blocks)]

    @cached_property
    def _template_gradient(self) -> list[Array]:
        """∂d/∂T_i = 2(K_i - S_i)T_i, all k × k entries."""
        _, KT = self._information
        T = self.pls.factor.templates
        return [2.0 * (kt - s @ t) for kt, s, t in zip(KT, self._scores, T)]

    @property
    def gradient(self) -> Array:
        """The gradient in theta."""
        return theta_gradient(
            self._criterion.problem.covariance,
            self.pls.theta,
            self._template_gradient,
            lambda: self._gamma_gradient,
        )

    @cached_property
    def _gamma_gradient(self) -> list[Array]:
        """∂d/∂Γ_i = G_i = K_i - S_i, the off-diagonal entries each on their own."""
        K, _ = self._information
        return [k - s for k, s in zip(K, self._scores)]

    @cached_property
    def _working_information(self) -> tuple[Array, Array]:
        """E'(Z'PZ)E/σ² and ss'/df in the coordinates, E of working vectors [dΓ v], s = E'v/σ².

        The second is zero when σ is fixed.
        """
        criterion = self._criterion
        problem = criterion.problem
        E = working_vectors(problem.covariance, problem.cp, self.pls.theta, self.v)
        information = self._quadratic_form(E) / self.scale
        if criterion.sigma is not None:
            return information, np.zeros_like(information)
        s = matmul(E.T, self.v) / self.scale
        return information, np.outer(s, s) / criterion.df

    @property
    def _gamma_information(self) -> Array:
        """Average information of Γ (Gilmour, Thompson & Cullis 1995), in its coordinates."""
        working, profiled = self._working_information
        return np.asarray(working - profiled)

    @property
    def _gamma_hessian(self) -> Array:
        """The second derivatives of the criterion in Γ, in its coordinates."""
        working, profiled = self._working_information
        return np.asarray(2.0 * working - profiled - self.traces)

    @property
    def exact_is_cheap(self) -> bool:
        """Whether the exact Hessian costs no further factorization and little memory."""
        cp, costs = self._criterion.problem.cp, self._criterion.problem.costs
        return cp.q <= costs.dense or (cp.by_levels and cp.q <= costs.levelwise)

    @property
    def dense_pays(self) -> bool:
        """Whether Z'PZ is formed for the traces rather than evaluations of its diagonal around."""
        problem = self._criterion.problem
        evaluations = 2 * problem.covariance.n_coordinates + 1
        return problem.costs.forms_dense(problem.cp.q, evaluations, problem.solver.root_size)

    @cached_property
    def traces(self) -> Array:
        """tr(P ∂V P ∂V) of all pairs of coordinates of Γ; V⁻¹ for P under ML."""
        criterion, factor = self._criterion, self.pls.factor
        covariance, cp = criterion.problem.covariance, criterion.problem.cp
        U = self.U if criterion.reml and cp.p else np.zeros((cp.q, 0))
        levelwise = factor.level_information()
        if levelwise is not None:
            return traces_by_levels(covariance, self.pls.theta, levelwise, cp.block(U, 0))
        if self.dense_pays:
            A = cp.A.dense
            W = cp.between_roots(self._weighed(A, factor.apply(A)) - matmul(U, U.T))
            return traces_of_dense(covariance, self.pls.theta, W, cp.shapes)
        if not covariance.free:  # entries of Γ do not move alone: the average information stands in
            return self._working_information[0]
        return traces_by_differences(
            covariance, factor.templates, lambda theta: criterion.at(theta).information
        )

    @cached_property
    def hessian_model(self) -> Array:
        """The average information carried to theta, plus the curvature C of Γ = TT'."""
        return self._in_theta(exact=False)

    @property
    def hessian(self) -> Array:
        """The second derivatives in theta."""
        return self._in_theta(exact=True)

    def _in_theta(self, exact: bool) -> Array:
        """Carry second derivatives in Γ to theta."""
        covariance = self._criterion.problem.covariance
        if self._aligned is None:
            e, chain, G = self, chain_rule(covariance, self.pls.theta), self._gamma_gradient
        else:
            aligned, e = self._aligned
            chain, G = aligned.chain_rule(self.pls.theta), aligned.gradient_back(e._gamma_gradient)
        second = e._gamma_hessian if exact else e._gamma_information
        H = chain @ second @ chain.T + curvature(covariance, self.pls.theta, G)
        return covariance.tie(covariance.tie(H), axis=1)

    @cached_property
    def _steps(self) -> TemplateSteps:
        """The directions of a step from here."""
        covariance = self._criterion.problem.covariance
        if self._aligned is None:
            return TemplateSteps(covariance, self.pls.theta)
        aligned, _ = self._aligned
        return TemplateSteps(covariance, aligned.theta, [Q.T @ Q for Q in aligned.bases])

    def derivatives(self, exact: bool = False) -> tuple[Array, Array]:
        """Return gradient and Hessian along the directions of a step (see structures/steps.py).

        Parameters
        ----------
        exact : bool
            The second derivatives, or their average-information model.
        """
        e, steps = self if self._aligned is None else self._aligned[1], self._steps
        second = e._gamma_hessian if exact else e._gamma_information
        gradient, curvature = self._along_steps
        return gradient, curvature + steps.carry_both(second)

    @cached_property
    def _along_steps(self) -> tuple[Array, Array]:
        """The gradient and the curvature of Γ along those directions, in both Hessians the same."""
        e, steps = self if self._aligned is None else self._aligned[1], self._steps
        gradient = steps.gradient(e._template_gradient, e._gamma_gradient)
        return gradient, steps.curvature(e._gamma_gradient)

    @property
    def room(self) -> tuple[Array, Array] | None:
        """How far a step may go along those directions; None if there are no ends."""
        return self._steps.room

    def after(self, step: Array) -> Array:
        """Return theta after a step along those directions."""
        theta = self._steps.apply(step)
        return theta if self._aligned is None else self._aligned[0].back(theta)

    @cached_property
    def _aligned(self) -> tuple[AlignedProblem, GaussianEvaluation] | None:
        """The same point in columns that keep the digits of its derivatives, if it needs them."""
        criterion = self._criterion
        aligned = align(criterion.problem, self.pls.theta)
        if aligned is None:
            return None
        same = GaussianCriterion(aligned.problem, criterion.reml, criterion.sigma)
        return aligned, same.at(aligned.theta)

    def retract(self, step: Array) -> GaussianEvaluation:
        """Evaluate after a step along those directions."""
        return self._criterion.at(self.after(step))

    def again(self) -> GaussianEvaluation:
        """Evaluate here once more, where the factor was released."""
        return self._criterion.at(self.theta)

    def release(self) -> None:
        """Free the factor, which may be as large as all the rest; what is computed stays."""
        _ = self.v
        if self._aligned is not None:
            self._aligned[1].release()
        if not self.exact_is_cheap:
            self.pls.factor.release()

    def _quadratic_form(self, E: Array) -> Array:
        """Return E'(Z'PZ)E."""
        cp, pls = self._criterion.problem.cp, self.pls
        AE = cp.A.times(E)
        out = matmul(E.T, AE) - pls.factor.quadratic(AE)
        if cp.p:
            ZPX = matmul(cp.ZX.T, E) - matmul(pls.NZX.T, AE)
            x = solve_upper(pls.RX, ZPX, transpose=True)
            out -= matmul(x.T, x)
        return np.asarray(0.5 * (out + out.T))


def _level_products(U: Array, KU: Array) -> Array:
    """Return Σ_l U_l(KU)_l' for U (k, levels, c)."""
    if len(U) > _MANY:
        return matmul(U.reshape(len(U), -1), KU.reshape(len(U), -1).T)
    return np.array([[inner(one, two) for two in KU] for one in U])


def _condition(T: Array, D: Array) -> float:
    """Return the condition number of T'DT + I scaled to a diagonal of ones."""
    if len(T) == 1:
        return 1.0
    M = T.T @ D @ T + np.eye(len(T))
    scale = 1.0 / np.sqrt(np.diag(M))
    return 1.0 / max(float(eigvalsh(scale[:, None] * M * scale)[0]), 1e-15)
