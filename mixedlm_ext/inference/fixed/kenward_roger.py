"""Kenward & Roger's adjusted covariance and degrees of freedom (1997, Biometrics 53, 983-997).

With G_i the derivatives of Σ = σ²V, one G = Z E Z' for each variance, covariance or other parameter
of the random effects, σ²∂R for each of the residuals, and R for their variance; Φ = (X'Σ⁻¹X)⁻¹ and
P the projection of the REML likelihood,

    P_i = -X'Σ⁻¹G_iΣ⁻¹X,   Q_ij = X'Σ⁻¹G_iΣ⁻¹G_jΣ⁻¹X,   [W⁻¹]_ij = tr(PG_iPG_j)/2
    Φ_A = Φ + 2 Φ {Σ_ij W_ij (Q_ij - P_iΦP_j)} Φ

Where Σ is not linear in standard deviations and correlations, its second derivatives R_ij add

    -½ Φ {Σ_ij W_ij X'Σ⁻¹R_ijΣ⁻¹X} Φ + Σ_l b_l ΦP_lΦ,   b_l = -¼ Σ_i W_li Σ_jk W_jk tr(PG_iPR_jk)

(the same, and 2009, Computational Statistics & Data Analysis 53, 2583-2595): b is the bias of the
estimates that the bend of Σ makes, and with it the answer does not depend on the parameters that
one covariance is written in.

Everything with Z comes from q × q cross-products, what parameters of the residuals change from
sparse matrices of the rows (see changes.py). Parameters that are held are left out of W (see
kenward_roger_terms.py). Where several G are dependent, as in (1 | g) + (0 + f | g), the generalized
inverse takes the place of [W⁻¹]⁻¹: what it gives depends on the space of the G alone, so that one
model has one answer, however it is written.

Variances estimated as zero are left out, or kept as if they were in the interior, as pbkrtest does
(Halekoh & Højsgaard 2014, Journal of Statistical Software 59(9)).
"""

from __future__ import annotations

import copy

import numpy as np
from numpy.typing import NDArray

from mixedlm_ext.caching import cached_property
from mixedlm_ext.criteria.pls import Problem
from mixedlm_ext.design.removed import require_rows
from mixedlm_ext.errors import FitError
from mixedlm_ext.estimation.fit import Fit
from mixedlm_ext.inference.fixed.boundary import zero_variances
from mixedlm_ext.inference.fixed.kenward_roger_terms import Terms, estimated_terms, free_terms

Array = NDArray[np.float64]

__all__ = ["KenwardRoger", "check_pairs"]

_MOST_COLUMNS = 6000
"""Columns of Z up to which dense q × q matrices are reasonable."""
_MOST_PAIRS = 20_000_000
"""Pairs of rows of one group up to which their covariances are reasonable."""


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
        After ML, or when Z has too many columns for a dense q × q matrix, or groups of correlated
        residuals too many pairs of rows.
    """

    def __init__(self, fit: Fit, keep_zeros: bool = False) -> None:
        q = fit.problem.cp.q
        if not fit.reml:
            raise FitError(
                "Kenward-Roger needs a REML fit. Refit with reml=True, or use ddf='satterthwaite'."
            )
        if q > _MOST_COLUMNS:
            raise FitError(
                f"Kenward-Roger needs dense {q} × {q} matrices here; at most {_MOST_COLUMNS} "
                "columns of Z are reasonable. Use ddf='satterthwaite'."
            )
        check_pairs(fit.problem)
        if fit.z is not None:
            require_rows(fit.design, "the covariances of their residuals")
        self._held = fit.restrictions is not None or fit.fixed_sigma is not None
        if self._held and keep_zeros:
            raise FitError(
                "'kenward-roger-full' counts variances estimated as zero, which is not told apart "
                "from those that fix=, equal= or sigma= hold. Use ddf='kenward-roger'."
            )
        self._fit, self._keep_zeros = fit, keep_zeros
        self.name = "kenward-roger-full" if keep_zeros else "kenward-roger"

    def cov(self) -> Array:
        """Return the adjusted covariance Φ_A."""
        Phi, P, Q, W = self._terms.Phi, self._terms.P, self._terms.Q, self._terms.W
        inner = np.einsum("ij,ijpq->pq", W, Q) - np.einsum("ij,ipr,rs,jsq->pq", W, P, Phi, P)
        return np.asarray(Phi + 2.0 * Phi @ inner @ Phi + Phi @ self._terms.bend @ Phi)

    @cached_property
    def _terms(self) -> Terms:
        """Φ, P_i, Q_ij and W, and what the bend of Σ adds."""
        return free_terms(self._fit) if self._held else estimated_terms(self._fit, self._keep_zeros)

    def t(self, L: Array) -> Array:
        """Return the degrees of freedom of each row of L."""
        return np.array([self.f(row[None, :])[1] if row.any() else np.inf for row in L])

    def f(self, L: Array) -> tuple[float, float]:
        """Return scale λ and degrees of freedom of the joint test (Kenward & Roger, sec. 3)."""
        Phi, P, W = self._terms.Phi, self._terms.P, self._terms.W
        r = len(L)
        Theta = L.T @ np.linalg.solve(L @ Phi @ L.T, L)
        products = np.einsum("pr,irs,sq->ipq", Theta @ Phi, P, Phi)  # ΘΦP_iΦ
        traces = np.einsum("ipp->i", products)
        A1 = traces @ W @ traces
        A2 = np.einsum("ij,ipq,jqp->", W, products, products)
        if not A2 > 0:  # nothing was estimated that the covariance depends on
            return 1.0, np.inf
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
        if self._fit.z is not None:
            _ = self._terms  # which need the rows
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


def check_pairs(problem: Problem) -> None:
    """Refuse groups of correlated residuals that are too large."""
    pairs = 0 if problem.residual is None else problem.residual.pairs
    if pairs > _MOST_PAIRS:
        raise FitError(
            f"Kenward-Roger needs the covariances of all pairs of rows whose residuals are "
            f"correlated, {pairs:,} here; at most {_MOST_PAIRS:,} are reasonable. Use "
            "ddf='satterthwaite'."
        )
