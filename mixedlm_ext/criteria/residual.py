"""The criterion as a function of θ and of the parameters z of the residuals.

R = W⁻¹ moves with z. With e = RPy = y - Xβ - Zb, the conditional residuals, and W' = ∂W/∂z,

    ∂r²/∂z = e'W'e                                    (b and β are those of the minimum)
    ∂log|M|/∂z = tr(N Z'W'Z)                         N = ΛM⁻¹Λ' on the pattern of Z'WZ
    ∂log|R_X|²/∂z = tr((R_X'R_X)⁻¹ S'[Z X]'W'[Z X]S)   S = [-NZ'WX; I]

so that the gradient reads ∂A/∂z alone. The working vector of z in the average information is
f = (∂R)R⁻¹(RPy) = -RW'e: with Z'W'e and X'W'e from ∂A, and f'R⁻¹f from the rows (Gilmour, Thompson
& Cullis 1995, where all variance parameters stand on one footing).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mixedlm_ext.caching import cached_property
from mixedlm_ext.criteria.gaussian import GaussianCriterion, GaussianEvaluation
from mixedlm_ext.criteria.pls import PenalizedLeastSquares, Problem, degenerate, solve
from mixedlm_ext.criteria.space import JointSpace
from mixedlm_ext.criteria.working_vectors import working_vectors
from mixedlm_ext.design import Design
from mixedlm_ext.linalg.blas import matmul
from mixedlm_ext.linalg.triangular import solve_upper
from mixedlm_ext.products.noise import structured_noise
from mixedlm_ext.products.residual_short import ResidualProducts, ShortSums
from mixedlm_ext.products.residual_sums import ResidualSums
from mixedlm_ext.residual.structure import ResidualStructure
from mixedlm_ext.structures.derivatives import chain_rule, coordinate_directions
from mixedlm_ext.structures.steps import TemplateSteps

Array = NDArray[np.float64]

__all__ = ["ResidualCriterion", "ResidualEvaluation"]

_STEP = 1e-4
"""Step of the differences in z."""
_ALONG = 1e-8
"""Cosine between a step and what the Hessian missed along it, from which on that is told."""
_NEAR = 1.0
"""Share of a change of the gradient that the model may miss for it to be told."""
_TRUSTED = 0.2
"""Share of the least curvature by the model that must be left with what steps have told."""


class ResidualCriterion(GaussianCriterion):
    """The criterion of one model whose residuals have a structure.

    Parameters
    ----------
    problem : Problem
        At any z.
    sums : ShortSums
        What gives the cross-products at each z.
    reml : bool
    sigma : float, optional
        A known residual standard deviation, in the scale of the sums.
    """

    def __init__(
        self, problem: Problem, sums: ShortSums, reml: bool, sigma: float | None = None
    ) -> None:
        super().__init__(problem, reml, sigma)
        self.sums = sums

    @property
    def space(self) -> JointSpace:  # type: ignore[override]
        """Where its points are."""
        return JointSpace(self.problem.covariance, self.sums.structure)

    def inside(self, point: Array) -> Array:
        """Return the point of one whose θ is relative to σ as users see it."""
        theta, z = self.space.split(point)
        factor = float(np.exp(-self.sums.level(z)))
        return self.space.join(self.problem.covariance.scaled(theta, factor), z)

    def at(self, point: Array) -> ResidualEvaluation:
        """Evaluate at a point (θ, z), θ standardized."""
        theta, z = self.space.split(point)
        products = self.sums.at(z)
        own = GaussianCriterion(self.problem.with_products(products.cp), self.reml, self.sigma)
        return ResidualEvaluation(self, own, solve(own.problem, theta), products, z)

    def hessian(self, point: Array) -> Array:
        """Return the Hessian in (θ, z)."""
        return self._differences(point)

    def in_user_scale(self) -> ResidualCriterion:
        """Return the criterion with σ in the user's scale at every z."""
        return ResidualCriterion(self.problem, self.sums.in_user_scale(), self.reml, self.sigma)


class _Before(NamedTuple):
    """Where a step came from: the point (θ, z), the gradient there, and what was learnt so far."""

    point: Array
    gradient: Array
    secant: Array


class ResidualEvaluation(GaussianEvaluation):
    """The criterion at one (θ, z).

    Attributes
    ----------
    theta : ndarray
        The point (θ, z).
    z : ndarray
    products : ResidualProducts
    """

    exact_is_cheap = False

    def __init__(
        self,
        joint: ResidualCriterion,
        criterion: GaussianCriterion,
        pls: PenalizedLeastSquares,
        products: ResidualProducts,
        z: Array,
    ) -> None:
        super().__init__(criterion, pls)
        self._joint, self.products, self.z = joint, products, z
        self._before: _Before | None = None
        self.theta = np.concatenate([pls.theta, z])
        if not np.isfinite(self.value):
            raise degenerate()

    @property
    def structure(self) -> ResidualStructure:
        """The structure of the residuals."""
        return self.sums.structure

    @property
    def sums(self) -> ShortSums:
        """What gives the cross-products."""
        return self._joint.sums

    def weighed_residuals(self, design: Design) -> Array:
        """Return We = Py of the rows of a design, (n,), in the user's scale."""
        sums = self._joint.sums
        assert isinstance(sums, ResidualSums)  # what asks for them has asked for the rows
        return structured_noise(design, self.z).times(sums.residuals(self._coefficients))

    @property
    def problem(self) -> Problem:
        """The problem with the noise of this z."""
        return self._criterion.problem

    # --- the gradient -----------------------------------------------------------------------------

    @cached_property
    def _images(self) -> tuple[Array, Array, Array]:
        """Z'W'e (q, K), X'W'e (p, K) and e'W'e (K,) of the K parameters."""
        b, beta = self.pls.b, self.pls.beta
        Z, X, square = [], [], []
        for dA in self.products.derivatives:
            Ze = dA.Zy - dA.A.times(b) - matmul(dA.ZX, beta)
            Xe = dA.Xy - matmul(dA.ZX.T, b) - matmul(dA.XX, beta)
            ye = dA.yy - dA.Zy @ b - dA.Xy @ beta
            Z.append(Ze)
            X.append(Xe)
            square.append(ye - b @ Ze - beta @ Xe)
        return np.array(Z).T, np.array(X).T, np.array(square)

    @cached_property
    def z_gradient(self) -> Array:
        """The gradient in z."""
        square = self._images[2]
        return self._log_determinants + square / self.scale

    @cached_property
    def _log_determinants(self) -> Array:
        """∂(log|V| + log|X'V⁻¹X|)/∂z, the second under REML."""
        pls, cp = self.pls, self._criterion.problem.cp
        N = pls.factor.inverse()
        out = []
        for dA in self.products.derivatives:
            value = N.dot(dA.A) - dA.logdet_W
            out.append(value)
        if self._criterion.reml and cp.p:
            out = [v + float(np.trace(self._whitened(K)))
                   for v, K in zip(out, self._precision_changes)]  # fmt: skip
        return np.array(out)

    @property
    def gradient(self) -> Array:
        """The gradient in (θ, z)."""
        return np.concatenate([super().gradient, self.z_gradient])

    @property
    def pwrss_gradient(self) -> Array:
        """The gradient of r² in (θ, z)."""
        return np.concatenate([super().pwrss_gradient, self._images[2]])

    @property
    def cov_derivatives(self) -> list[Array]:
        """∂(X'V⁻¹X)⁻¹/∂z of the user's X, (p, p) for each z."""
        root = self._criterion.problem.cp.layout.root(self.pls.RX)
        return [-root @ self._whitened(K) @ root.T for K in self._precision_changes]

    @cached_property
    def _precision_changes(self) -> list[Array]:
        """∂(X'V⁻¹X)/∂z = S'(∂A)S in the coordinates of X."""
        NZX, out = self.pls.NZX, []
        for dA in self.products.derivatives:
            across = matmul(dA.ZX.T, NZX)
            out.append(dA.XX - across - across.T + matmul(NZX.T, dA.A.times(NZX)))
        return out

    def _whitened(self, K: Array) -> Array:
        """Return R_X⁻ᵀ K R_X⁻¹."""
        half = solve_upper(self.pls.RX, np.ascontiguousarray(K), transpose=True)
        return solve_upper(self.pls.RX, np.ascontiguousarray(half.T), transpose=True)

    # --- second derivatives -----------------------------------------------------------------------

    @cached_property
    def _z_information(self) -> tuple[Array, Array]:
        """The average information of Γ's coordinates with z (coordinates, K), and of z (K, K).

        Where its working vectors need rows that are not here, second derivatives by differences.
        """
        pls, scale = self.pls, self.scale
        f = self._joint.sums.working(self.z, self._coefficients)
        if f is None:
            return self._by_differences
        Ze, Xe, square = self._images
        problem = self._criterion.problem
        cp = problem.cp
        E = working_vectors(problem.covariance, cp, pls.theta, self.v)
        AE = cp.A.times(E)
        XE = matmul(cp.ZX.T, E) - matmul(pls.NZX.T, AE)
        Xf = -(Xe - matmul(pls.NZX.T, Ze))
        NZe = pls.factor.apply(np.ascontiguousarray(Ze))
        mixed = -matmul(E.T, Ze) + matmul(AE.T, NZe)
        own = f - matmul(Ze.T, NZe)
        if cp.p:
            x = solve_upper(pls.RX, np.ascontiguousarray(Xf), transpose=True)
            mixed = mixed - matmul(solve_upper(pls.RX, XE, transpose=True).T, x)
            own = own - matmul(x.T, x)
        if self._criterion.sigma is None:
            s, t = matmul(E.T, self.v), -square
            mixed = mixed - np.outer(s, t) / (scale * self._criterion.df)
            own = own - np.outer(t, t) / (scale * self._criterion.df)
        return mixed / scale, own / scale

    @property
    def _coefficients(self) -> Array:
        """(-b, -β, 1): [Z X y] times them are the conditional residuals."""
        return np.concatenate([-self.pls.b, -self.pls.beta, [1.0]])

    @cached_property
    def hessian_model(self) -> Array:
        """The average information in (θ, z), plus the curvature of Γ = TT'."""
        covariance = self._criterion.problem.covariance
        mixed, own = self._z_information
        across = covariance.tie(chain_rule(covariance, self.pls.theta) @ mixed)
        return np.block([[self._in_theta(exact=False), across], [across.T, own]])

    @property
    def hessian(self) -> Array:
        """The second derivatives in (θ, z), those that z has a part in by differences."""
        covariance = self._criterion.problem.covariance
        mixed, own = self._by_differences
        across = covariance.tie(chain_rule(covariance, self.pls.theta) @ mixed)
        return np.block([[self._in_theta(exact=True), across], [across.T, own]])

    @cached_property
    def _by_differences(self) -> tuple[Array, Array]:
        """The same second derivatives by differences of the gradients in Γ and z."""
        mixed, own = [], []
        low, high = self._joint.sums.structure.z_range
        for k in range(len(self.z)):
            ends = [max(self.z[k] - _STEP, low[k]), min(self.z[k] + _STEP, high[k])]
            found = [self._gradients_at(k, end) for end in ends]
            width = ends[1] - ends[0]
            mixed.append((found[1][0] - found[0][0]) / width)
            own.append((found[1][1] - found[0][1]) / width)
        square = np.array(own)
        return np.array(mixed).T, 0.5 * (square + square.T)

    def _gradients_at(self, k: int, value: float) -> tuple[Array, Array]:
        """Return the gradients in the coordinates of Γ and in z with another z_k."""
        z = self.z.copy()
        z[k] = value
        e = self._joint.at(np.concatenate([self.pls.theta, z]))
        covariance = self._criterion.problem.covariance
        G = e._gamma_gradient
        directions = coordinate_directions(covariance, self.pls.theta)
        return np.array([float((G[i] * D).sum()) for i, D in directions]), e.z_gradient

    # --- steps ------------------------------------------------------------------------------------

    @cached_property
    def _theta_steps(self) -> TemplateSteps:
        """The directions of a step of θ."""
        return TemplateSteps(self._criterion.problem.covariance, self.pls.theta)

    def derivatives(self, exact: bool = False) -> tuple[Array, Array]:
        """Return gradient and Hessian along the directions of a step: those of θ, then z."""
        steps = self._theta_steps
        cheap = GaussianEvaluation.exact_is_cheap.fget(self)  # type: ignore[attr-defined]
        second = self._gamma_hessian if exact and cheap else self._gamma_information
        mixed, own = self._by_differences if exact else self._z_information
        across = steps.carry(mixed)
        H = np.block([[steps.hessian(second, self._gamma_gradient), across], [across.T, own]])
        if not exact:
            H = self._corrected(H)
        g = steps.gradient(self._template_gradient, self._gamma_gradient)
        return np.concatenate([g, self.z_gradient]), H

    @property
    def room(self) -> tuple[Array, Array]:
        """How far a step may go along those directions."""
        low, high = self._joint.sums.structure.z_range
        ends = self._theta_steps.room
        if ends is None:
            free = np.full(self._theta_steps.count, np.inf)
            ends = (-free, free)
        return np.concatenate([ends[0], low - self.z]), np.concatenate([ends[1], high - self.z])

    def after(self, step: Array) -> Array:
        """Return the point after a step along those directions."""
        count = self._theta_steps.count
        z = np.clip(self.z + step[count:], *self._joint.sums.structure.z_range)
        return np.concatenate([self._theta_steps.apply(step[:count]), z])

    def retract(self, step: Array) -> ResidualEvaluation:
        """Evaluate after a step along those directions."""
        new = self._joint.at(self.after(step))
        if "_z_information" in self.__dict__:  # steps by differences learn nothing that lasts
            new._before = _Before(self.theta, self.gradient, self._secant)
        return new

    @cached_property
    def _secant(self) -> Array:
        """What the gradients of the steps so far add to the model of the Hessian, in (θ, z).

        The symmetric correction of rank one: with it, the Hessian explains the last change of the
        gradient. The average information misses as much of the Hessian at one point as at the next.
        """
        before, nothing = self._before, np.zeros((len(self.theta), len(self.theta)))
        if before is None:
            return nothing
        s, change = self.theta - before.point, self.gradient - before.gradient
        by_model = change - self.hessian_model @ s
        if np.linalg.norm(by_model) > _NEAR * np.linalg.norm(change):
            return nothing  # what holds here is not what held there
        missed = by_model - before.secant @ s
        along = float(missed @ s)
        if abs(along) <= _ALONG * np.linalg.norm(missed) * np.linalg.norm(s):
            return before.secant
        return np.asarray(before.secant + np.outer(missed, missed) / along)

    def _corrected(self, H: Array) -> Array:
        """Return the Hessian along the directions of a step with what steps have shown to miss."""
        if self._before is None:
            return H
        count = self._theta_steps.count
        J = np.zeros((len(H), len(self.theta)))
        J[:count, : len(self.pls.theta)] = self._theta_steps.slopes
        J[count:, len(self.pls.theta) :] = np.eye(len(self.z))
        corrected = H + J @ self._secant @ J.T
        least, by_model = (float(np.linalg.eigvalsh(M)[0]) for M in (corrected, H))
        return corrected if least >= _TRUSTED * by_model else H

    def again(self) -> ResidualEvaluation:
        """Evaluate here once more, where the factor was released."""
        return self._joint.at(self.theta)

    def release(self) -> None:
        """Free the factor; what is computed stays."""
        _ = self.v, self._theta_steps
        self.pls.factor.release()
