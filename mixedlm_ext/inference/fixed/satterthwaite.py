"""Satterthwaite's degrees of freedom (Giesbrecht & Burns 1985; Fai & Cornelius 1996 for F tests).

For a contrast l the variance l'Cl, C = σ²(X'V⁻¹X)⁻¹, is estimated; to first order its own variance
is g'Ag, with g its gradient in (θ, log σ) and A twice the inverse Hessian of the criterion there,
so that

    df = 2 (l'Cl)² / (g'Ag)

Where the residuals have a structure, its parameters z stand between θ and log σ, and

    ∂C/∂z = -σ² C₀ X'V⁻¹ (∂V⁻¹)⁻ V⁻¹X C₀ = -σ² C₀ S'(∂A)S C₀,   S = [-NZ'WX; I]

Parameters at the boundary are held fixed: a column of a template that is zero contributes nothing
to g, and directions in which the criterion has no curvature, and standard deviations and
correlations at the ends of their ranges, are left out of A.
"""

from __future__ import annotations

import copy

import numpy as np
from numpy.typing import NDArray

from mixedlm_ext.caching import cached_property
from mixedlm_ext.criteria.gaussian import GaussianCriterion, GaussianEvaluation
from mixedlm_ext.criteria.residual import ResidualCriterion
from mixedlm_ext.criteria.restricted import RestrictedCriterion
from mixedlm_ext.estimation.fit import Fit
from mixedlm_ext.inference.fixed.boundary import zero_variances
from mixedlm_ext.structures.derivatives import gamma_derivatives
from mixedlm_ext.structures.restrictions import Restrictions

Array = NDArray[np.float64]

__all__ = ["Satterthwaite", "fai_cornelius"]

_AFFORDABLE = 60.0
"""Seconds that the exact Hessian may take; beyond, the average information is used."""
_FLAT = 1e-8
"""Eigenvalues this small of the Hessian with a unit diagonal count as directions held fixed."""
_EXACT = 1e-20
"""A variance whose own variance is smaller than this, relatively, counts as known."""


class Satterthwaite:
    """The method for one fit; the Hessian is computed when first needed.

    Parameters
    ----------
    fit : Fit
    """

    name = "satterthwaite"

    def __init__(self, fit: Fit) -> None:
        self._fit = fit

    def cov(self) -> Array:
        """Return C = σ²(X'V⁻¹X)⁻¹."""
        return self._fit.sigma**2 * self._fit.unscaled_cov

    @property
    def exact(self) -> bool:
        """Whether the exact Hessian is affordable."""
        m = len(self._fit.theta)
        problem = self._fit.problem
        if problem.solver.probes:
            return False
        seconds = problem.costs.evaluation(problem.solver.root_size)
        return 2.0 * m * seconds <= _AFFORDABLE

    @cached_property
    def _gradients(self) -> Array:
        """∂C/∂θ_j for every standardized θ_j, then ∂C/∂log σ unless it is fixed; (m + 1, p, p).

        ∂C/∂θ = σ² C₀X'V⁻¹ dV V⁻¹XC₀ with dV = Z dΓ Z' and C₀ = (X'V⁻¹X)⁻¹.
        """
        fit, e = self._fit, self._fit.engine
        cp, covariance = fit.problem.cp, fit.problem.covariance
        M = cp.layout.root(e.pls.RX).T
        U = np.ascontiguousarray(e.U)
        out = []
        for block, D in gamma_derivatives(covariance, e.theta):
            u = cp.block(U, block)
            Ku = cp.spread(block, u)
            UDU = np.einsum("alp,alq->pq", Ku, np.tensordot(D, u, axes=1))
            out.append(fit.sigma**2 * M.T @ UDU @ M)
        if fit.z is not None:
            out += [fit.sigma**2 * C for C in fit.joint.cov_derivatives]
        gradients = np.array(out)
        if fit.fixed_sigma is not None:
            return gradients
        return np.concatenate([gradients, 2.0 * self.cov()[None]])

    @cached_property
    def A(self) -> Array:
        """Covariance matrix of the estimates of (θ, log σ): twice the inverse Hessian.

        Where they fulfil equations it is 2N(N'HN)⁻¹N', of the directions N that these leave.
        """
        if self._fit.restrictions is not None:
            return self._restricted(self._fit.restrictions)
        H, free = self._hessian(), self._free
        out = np.zeros(H.shape)
        if free.any():
            out[np.ix_(free, free)] = _twice_inverse(H[np.ix_(free, free)])
        return out

    def _restricted(self, restrictions: Restrictions) -> Array:
        """Return A of parameters that fulfil equations."""
        fit = self._fit
        criterion = RestrictedCriterion(
            fit.problem, fit.reml, fit.fixed_sigma, restrictions, explicit=True, in_user_scale=True
        )
        theta = fit.problem.covariance.standardize(fit.theta)
        theta = theta if fit.z is None else np.concatenate([theta, fit.z])
        point = theta if fit.fixed_sigma is not None else np.append(theta, np.log(fit.sigma))
        e = criterion.at_point(point)
        at_end = ~self._free
        N = e.basis
        N = N[:, ~(N[at_end] != 0.0).any(axis=0)]
        if not N.shape[1]:
            return np.zeros((len(N), len(N)))
        H = N.T @ e.second(exact=self.exact) @ N
        return np.asarray(N @ _twice_inverse(H) @ N.T)

    @property
    def _free(self) -> NDArray[np.bool_]:
        """Which of (θ, log σ) are not at the end of their range."""
        fit = self._fit
        theta = fit.engine.theta if fit.z is None else fit.joint.theta
        low, high = fit.criterion().space.domain
        inside = (theta > low) & (theta < high)
        return inside if self._fit.fixed_sigma is not None else np.append(inside, True)

    def _hessian(self) -> Array:
        """Return the Hessian in (θ, log σ), or in θ alone if σ is fixed.

        The profiled Hessian lacks what profiling σ takes away; with d = ... + df log σ² + r²/σ²,
        ∂²d/∂(log σ)² = 4df and ∂²d/∂θ∂log σ = -2/σ² ∂r²/∂θ at the estimate of σ.
        """
        fit = self._fit
        e: GaussianEvaluation = fit.engine if fit.z is None else fit.joint
        criterion = GaussianCriterion(fit.problem, fit.reml, fit.fixed_sigma)
        joint = None if fit.z is None else fit.criterion()
        if isinstance(joint, ResidualCriterion):
            criterion = joint.in_user_scale()
        H = criterion.hessian(e.theta) if self.exact else e.hessian_model
        if fit.fixed_sigma is not None:
            return H
        across = -2.0 * e.pwrss_gradient / e.scale
        corner = 4.0 * criterion.df
        top = H + np.outer(across, across) / corner
        return np.block([[top, across[:, None]], [across[None, :], np.array([[corner]])]])

    def t(self, L: Array) -> Array:
        """Return the degrees of freedom of each row of L."""
        variance = np.einsum("rp,pq,rq->r", L, self.cov(), L)
        g = np.einsum("rp,jpq,rq->rj", L, self._gradients, L)
        spread = np.einsum("rj,jk,rk->r", g, self.A, g)
        with np.errstate(divide="ignore", invalid="ignore"):
            known = spread <= _EXACT * variance**2
            return np.where(known, np.inf, 2.0 * variance**2 / spread)

    def f(self, L: Array) -> tuple[float, float]:
        """Return the degrees of freedom of the joint test, from L's principal directions."""
        _, vectors = np.linalg.eigh(L @ self.cov() @ L.T)
        return 1.0, fai_cornelius(self.t(vectors.T @ L))

    def with_fit(self, fit: Fit) -> Satterthwaite:
        """Return the method for the same fit without its rows; what it computed is kept."""
        if self._fit.z is not None:
            _ = self.A, self._gradients  # which need the rows
        other = copy.copy(self)
        other._fit = fit
        return other

    def note(self) -> str:
        """Return the remark for the summary."""
        how = "" if self.exact else " from the average information (a large model)"
        zeros = zero_variances(self._fit)
        held = f"; variances estimated as zero are held fixed ({', '.join(zeros)})" if zeros else ""
        return f"Degrees of freedom by Satterthwaite's method{how}{held}."


def _twice_inverse(H: Array) -> Array:
    """Return twice the inverse of a Hessian on the directions in which it is curved."""
    unit = 1.0 / np.sqrt(np.maximum(np.diag(H), _FLAT**2 * np.diag(H).max()))
    values, vectors = np.linalg.eigh(unit[:, None] * H * unit)
    curved = values > _FLAT
    root = unit[:, None] * vectors[:, curved] / np.sqrt(values[curved])
    return np.asarray(2.0 * root @ root.T)


def fai_cornelius(df: Array) -> float:
    """Return the degrees of freedom of an F test from those of its independent t tests.

    The mean of the F statistic is matched: E = Σ ν/(ν-2), df = 2E/(E - r).

    Examples
    --------
    >>> fai_cornelius(np.array([17.0, 17.0]))
    17.0
    """
    if len(df) == 1 or np.isinf(df).all() or np.ptp(df) < 1e-8:
        return float(np.mean(df))
    if (df <= 2).any():
        return 2.0
    E = float((1.0 / (1.0 - 2.0 / df)).sum())
    return 2.0 * E / (E - len(df))
