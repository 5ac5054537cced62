"""Kenward & Roger's adjusted covariance and degrees of freedom (1997, Biometrics 53, 983-997).

With G_i the derivatives of Σ = σ²V, one G = Z E Z' for each variance, covariance or other parameter
of the random effects, and W⁻¹ for the residual variance; Φ = (X'Σ⁻¹X)⁻¹ and P the projection of the
REML likelihood,

    P_i = -X'Σ⁻¹G_iΣ⁻¹X,   Q_ij = X'Σ⁻¹G_iΣ⁻¹G_jΣ⁻¹X,   [W⁻¹]_ij = tr(PG_iPG_j)/2
    Φ_A = Φ + 2 Φ {Σ_ij W_ij (Q_ij - P_iΦP_j)} Φ

Where Σ is not linear in standard deviations and correlations, its second derivatives R_ij add

    -½ Φ {Σ_ij W_ij X'Σ⁻¹R_ijΣ⁻¹X} Φ + Σ_l b_l ΦP_lΦ,   b_l = -¼ Σ_i W_li Σ_jk W_jk tr(PG_iPR_jk)

(the same, and 2009, Computational Statistics & Data Analysis 53, 2583-2595): b is the bias of the
estimates that the bend of Σ makes, and with it the answer does not depend on the parameters that
one covariance is written in.

Everything with Z comes from q × q cross-products; everything with W⁻¹ from Σ = Σ_i φ_iG_i, so
nothing of size n appears and prior weights are right: φ is the parameter itself where Σ is linear
in it, half of a standard deviation, in which Γ is homogeneous of degree two, and 0 of a
correlation. Where several G are dependent, as in (1 | g) + (0 + f | g), the generalized inverse
takes the place of [W⁻¹]⁻¹: what it gives depends on the space of the G alone, so that one model has
one answer, however it is written.

Variances estimated as zero are left out, or kept as if they were in the interior, as pbkrtest does
(Halekoh & Højsgaard 2014, Journal of Statistical Software 59(9)).
"""

from __future__ import annotations

import copy

import numpy as np
from numpy.typing import NDArray

from mixedlm_ext.caching import cached_property
from mixedlm_ext.criteria.pls import Problem
from mixedlm_ext.errors import FitError
from mixedlm_ext.estimation.fit import Fit
from mixedlm_ext.inference.fixed.boundary import zero_variances
from mixedlm_ext.inference.fixed.directions import Direction, bent, directions

Array = NDArray[np.float64]

__all__ = ["KenwardRoger", "check_residual"]

_MOST_COLUMNS = 6000
"""Columns of Z up to which dense q × q matrices are reasonable."""
_DEPENDENT = 1e-9
"""Eigenvalues this small of an information matrix with a unit diagonal count as zero."""


class KenwardRoger:
    """The method for one REML fit.

    Parameters
    ----------
    fit : Fit
    keep_zeros : bool
        Whether variances estimated as zero count as parameters.

    Raises
    ------
    FitError
        After ML, with a fixed sigma, or when Z has too many columns for a dense q × q matrix.
    """

    def __init__(self, fit: Fit, keep_zeros: bool = False) -> None:
        q = fit.problem.cp.q
        if not fit.reml or fit.fixed_sigma is not None:
            raise FitError(
                "Kenward-Roger needs a REML fit with an estimated sigma. "
                "Refit with reml=True, or use ddf='satterthwaite'."
            )
        if q > _MOST_COLUMNS:
            raise FitError(
                f"Kenward-Roger needs dense {q} × {q} matrices here; at most {_MOST_COLUMNS} "
                "columns of Z are reasonable. Use ddf='satterthwaite'."
            )
        check_residual(fit.problem)
        self._fit, self._keep_zeros = fit, keep_zeros
        self.name = "kenward-roger-full" if keep_zeros else "kenward-roger"

    def cov(self) -> Array:
        """Return the adjusted covariance Φ_A."""
        Phi, P, Q, W = self._terms
        inner = np.einsum("ij,ijpq->pq", W, Q) - np.einsum("ij,ipr,rs,jsq->pq", W, P, Phi, P)
        return np.asarray(Phi + 2.0 * Phi @ inner @ Phi + Phi @ self._bend @ Phi)

    @cached_property
    def _bend(self) -> Array:
        """What the second derivatives of Σ add, between Φ and Φ."""
        fit, (Phi, P, _, W) = self._fit, self._terms
        if not fit.problem.covariance.shaped:
            return np.zeros_like(Phi)
        parameters = self._parameters
        ZVZ, ZVX, _ = (block / fit.sigma**2 for block in _cross_products(fit))
        ZPZ = ZVZ - ZVX @ Phi @ ZVX.T
        R = bent(fit, parameters, W)
        RP = R @ ZPZ
        traces = np.array([np.sum((p.E @ ZPZ) * RP.T) for p in parameters])
        phi = np.array([p.phi for p in parameters])
        last = (np.trace(RP) - phi @ traces) / fit.sigma**2
        bias = -0.25 * W @ np.append(traces, last)
        return np.asarray(np.einsum("l,lpq->pq", bias, P) - 0.5 * ZVX.T @ R @ ZVX)

    @cached_property
    def _parameters(self) -> list[Direction]:
        """The parameters of the random effects that count."""
        return list(directions(self._fit, self._keep_zeros))

    @cached_property
    def _terms(self) -> tuple[Array, Array, Array, Array]:
        """Φ, P_i, Q_ij and W."""
        fit = self._fit
        scale = fit.sigma**2
        Phi = scale * fit.unscaled_cov
        ZVZ, ZVX, XVX = (block / scale for block in _cross_products(fit))
        ZPZ = ZVZ - ZVX @ Phi @ ZVX.T
        E = [p.E for p in self._parameters]
        phi = np.array([p.phi for p in self._parameters])
        # with Z: B_i = E_i Z'Σ⁻¹X, and the traces tr(PG_i), tr(PG_iPG_j)
        B = [e @ ZVX for e in E]
        P = [-ZVX.T @ b for b in B]
        Q = [[bi.T @ ZVZ @ bj for bj in B] for bi in B]
        EP = [e @ ZPZ for e in E]
        single = np.array([np.trace(m) for m in EP])
        double = np.reshape([[np.sum(a * b.T) for b in EP] for a in EP], (len(E), len(E)))
        # the residual, last, from Σ = Σ φ_iG_i:  Σ⁻¹ = Σ φ_i Σ⁻¹G_iΣ⁻¹ and P = Σ φ_i PG_iP
        P.append((-XVX - sum((f * p for f, p in zip(phi, P)), np.zeros_like(XVX))) / scale)
        for i, row in enumerate(Q):
            row.append((-P[i] - sum(f * x for f, x in zip(phi, row))) / scale)
        across = [row[-1].T for row in Q]
        rest = sum((f * x for f, x in zip(phi, across)), np.zeros_like(XVX))
        Q.append([*across, (-P[-1] - rest) / scale])
        n, p = fit.problem.cp.n, fit.problem.cp.p
        mixed = (single - double @ phi) / scale
        last_single = (n - p - phi @ single) / scale
        information = np.block(
            [[double, mixed[:, None]], [mixed[None, :], (last_single - phi @ mixed) / scale]]
        )
        return Phi, np.array(P), np.array(Q), 2.0 * _generalized_inverse(information)

    def t(self, L: Array) -> Array:
        """Return the degrees of freedom of each row of L."""
        return np.array([self.f(row[None, :])[1] if row.any() else np.inf for row in L])

    def f(self, L: Array) -> tuple[float, float]:
        """Return scale λ and degrees of freedom of the joint test (Kenward & Roger, sec. 3)."""
        Phi, P, _, W = self._terms
        r = len(L)
        Theta = L.T @ np.linalg.solve(L @ Phi @ L.T, L)
        products = np.einsum("pr,irs,sq->ipq", Theta @ Phi, P, Phi)  # ΘΦP_iΦ
        traces = np.einsum("ipp->i", products)
        A1 = traces @ W @ traces
        A2 = np.einsum("ij,ipq,jqp->", W, products, products)
        B = (A1 + 6.0 * A2) / (2.0 * r)
        g = ((r + 1) * A1 - (r + 4) * A2) / ((r + 2) * A2)
        c1, c2, c3 = np.array([g, r - g, r + 2 - g]) / (3.0 * r + 2.0 * (1.0 - g))
        V0, V1, V2 = 1.0 + c1 * B, 1.0 - c2 * B, 1.0 - c3 * B
        V0 = 0.0 if abs(V0) < 1e-10 else V0
        shrink = 1.0 - A2 / r
        ratio = 1.0 if abs(shrink) < 1e-10 and abs(V1) < 1e-10 else shrink / V1
        # m = 4 + (r + 2)/(rρ - 1) with rρ = ratio²V₀/V₂, where V₂ may be zero
        excess = ratio**2 * V0 - V2
        df = 4.0 + (r + 2) * V2 / excess if excess else np.inf
        scale = 1.0 if abs(df - 2.0) < 1e-2 else shrink / (1.0 - 2.0 / df)
        return float(scale), float(df)

    def with_fit(self, fit: Fit) -> KenwardRoger:
        """Return the method for the same fit without its rows; what it computed is kept."""
        other = copy.copy(self)
        other._fit = fit
        return other

    def note(self) -> str:
        """Return the remark for the summary."""
        how = "Standard errors and degrees of freedom by Kenward and Roger's method"
        zeros = zero_variances(self._fit)
        if not zeros:
            return f"{how}."
        if self._keep_zeros:
            return f"{how}, which counts variances estimated as zero ({', '.join(zeros)})."
        return (
            f"{how}, without variances estimated as zero ({', '.join(zeros)}); "
            "ddf='kenward-roger-full' keeps them."
        )


def check_residual(problem: Problem) -> None:
    """Refuse residual structures, whose derivatives are not patterns of Z."""
    if problem.residual is not None:
        raise FitError(
            "Kenward and Roger's method is for residuals that are independent, of one variance or "
            f"known weights; these have {problem.residual.structure.text}. Use "
            "ddf='satterthwaite'."
        )


def _cross_products(fit: Fit) -> tuple[Array, Array, Array]:
    """Return Z'V⁻¹Z, Z'V⁻¹X and X'V⁻¹X, X in the user's columns, Z standardized."""
    e, cp = fit.engine, fit.problem.cp
    ZZ = cp.A.dense
    RX = e.pls.RX @ cp.R
    return ZZ - e.pls.factor.quadratic(ZZ), e.U @ RX, RX.T @ RX


def _generalized_inverse(information: Array) -> Array:
    """Return a generalized inverse, made in units in which the diagonal is 1."""
    diagonal = np.diag(information)
    unit = 1.0 / np.sqrt(np.where(diagonal > 0, diagonal, 1.0))
    values, vectors = np.linalg.eigh(unit[:, None] * information * unit)
    kept = values > _DEPENDENT * values.max()
    root = unit[:, None] * vectors[:, kept] / np.sqrt(values[kept])
    return np.asarray(root @ root.T)
