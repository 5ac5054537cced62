"""Changes G of Σ = σ²V, and what Kenward and Roger's method asks of them: traces and products.

A change is ZEZ' with E (q, q), Z standardized, or a sparse matrix Ω of the rows. With W = R⁻¹,
N = ΛM⁻¹Λ' and V⁻¹ = W - WZNZ'W, what is asked of an Ω follows from A = [Z X]'WΩW[Z X] and, of
two, from B = [Z X]'WΩ₁WΩ₂W[Z X]: with T = [I - NZ'WZ, -NZ'WX; 0, I],

    [Z X]'V⁻¹ΩV⁻¹[Z X] = T'AT,   [Z X]'V⁻¹Ω₁V⁻¹Ω₂V⁻¹[Z X] = T'(B - A₁NA₂)T
    tr(V⁻¹Ω) = tr(WΩ) - tr(NA),  tr(V⁻¹Ω₁V⁻¹Ω₂) = tr(WΩ₁WΩ₂) - 2 tr(NB) + tr(NA₁NA₂)

(N has the rows and columns of Z alone), so that nothing of size n is dense.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from mixedlm_ext.caching import cached_property
from mixedlm_ext.estimation.fit import Fit
from mixedlm_ext.linalg.blas import matmul
from mixedlm_ext.products.responses import columns_of_Z

Array = NDArray[np.float64]
Matrix = Any
"""A sparse array of scipy."""

__all__ = ["Changes", "cross_products"]


@dataclass(frozen=True, eq=False)
class _OfRows:
    """What a change of the rows' covariances gives: Ω, ΩW[Z X], A, and T'AT by blocks."""

    Omega: Matrix
    U: Matrix
    A: Array
    ZZ: Array
    ZX: Array
    XX: Array


class Changes:
    """Changes of Σ of one fit: patterns ZEZ' first, then sparse matrices of rows.

    Parameters
    ----------
    fit : Fit
    patterns : sequence of ndarray (q, q)
    rows : sequence of sparse array (n, n)
    precision : sparse array (n, n), optional
        R⁻¹; it is asked for by changes of rows.

    Attributes
    ----------
    Phi : ndarray (p, p)
        (X'Σ⁻¹X)⁻¹.
    ZVZ, ZVX, XVX : ndarray
        Of Σ⁻¹.
    ZPZ : ndarray (q, q)
    """

    def __init__(
        self,
        fit: Fit,
        patterns: Sequence[Array],
        rows: Sequence[Matrix] = (),
        precision: Matrix | None = None,
    ) -> None:
        self._fit, self._E, self._W = fit, list(patterns), precision
        self.scale = fit.sigma**2
        self.Phi = self.scale * fit.unscaled_cov
        self.ZVZ, self.ZVX, self.XVX = (part / self.scale for part in cross_products(fit))
        self.ZPZ = self.ZVZ - matmul(self.ZVX @ self.Phi, self.ZVX.T)
        self._B = [matmul(E, self.ZVX) for E in self._E]  #     E Z'Σ⁻¹X
        self._EP = [matmul(E, self.ZPZ) for E in self._E]  #    E Z'PZ
        self._rows = [self._of_rows(Omega) for Omega in rows]

    # --- the rows ---------------------------------------------------------------------------------

    @cached_property
    def _H(self) -> Matrix:
        """[Z X], sparse (n, q + p)."""
        design, cp = self._fit.design, self._fit.problem.cp
        Z = columns_of_Z(design.terms, cp.layout, len(design.y))
        return sparse.csr_array(sparse.hstack([Z, sparse.csr_array(design.X)]))

    @cached_property
    def _weighed(self) -> Matrix:
        """W[Z X], sparse (n, q + p)."""
        return sparse.csr_array(self._W @ self._H)

    @cached_property
    def _N(self) -> Array:
        """ΛM⁻¹Λ', dense."""
        q = self._fit.problem.cp.q
        return self._fit.engine.pls.factor.apply(np.eye(q)) if q else np.zeros((0, 0))

    @cached_property
    def _T(self) -> Array:
        """T (q + p, q + p)."""
        weighed, q = self._weighed, self._fit.problem.cp.q
        out = np.eye(weighed.shape[1])
        out[:q] -= self._N @ _dense(self._H[:, :q].T @ weighed)
        return out

    def _of_rows(self, Omega: Matrix) -> _OfRows:
        """Return what a change of rows gives."""
        U = sparse.csr_array(Omega @ self._weighed)
        A = _dense(self._weighed.T @ U)
        q, S = self._fit.problem.cp.q, self._T.T @ A @ self._T / self.scale**2
        return _OfRows(Omega, U, A, S[:q, :q], S[:q, q:], S[q:, q:])

    def _product(self, one: _OfRows, two: _OfRows) -> tuple[Array, float]:
        """Return X'Σ⁻¹Ω₁Σ⁻¹Ω₂Σ⁻¹X and tr(PΩ₁PΩ₂)."""
        q, N, T, Phi = self._fit.problem.cp.q, self._N, self._T, self.Phi
        B = _dense(one.U.T @ sparse.csr_array(self._W @ two.U))
        inner = B - one.A[:, :q] @ N @ two.A[:q]
        Q = (T.T @ inner @ T)[q:, q:] / self.scale**3
        own = float((self._W @ one.Omega).multiply((self._W @ two.Omega).T).sum())
        trace = own - 2.0 * float((N * B[:q, :q]).sum())
        trace += _trace_of_both(N @ one.A[:q, :q], N @ two.A[:q, :q])
        within = _trace_of_both(Phi @ one.XX, Phi @ two.XX)
        return Q, trace / self.scale**2 - 2.0 * float((Phi * Q).sum()) + within

    def _trace(self, change: _OfRows) -> float:
        """Return tr(PΩ)."""
        q = self._fit.problem.cp.q
        own = float((change.Omega.multiply(self._W)).sum())
        own -= float((self._N * change.A[:q, :q]).sum())
        return own / self.scale - float((self.Phi * change.XX).sum())

    def _within_P(self, change: _OfRows) -> Array:
        """Return Z'PΩPZ."""
        across = change.ZX @ self.Phi @ self.ZVX.T
        middle = self.ZVX @ self.Phi @ change.XX @ self.Phi @ self.ZVX.T
        return np.asarray(change.ZZ - across - across.T + middle)

    # --- all of them ------------------------------------------------------------------------------

    @cached_property
    def P(self) -> list[Array]:
        """-X'Σ⁻¹GΣ⁻¹X of each change."""
        return [*(-self.ZVX.T @ B for B in self._B), *(-row.XX for row in self._rows)]

    @cached_property
    def single(self) -> Array:
        """tr(PG) of each change."""
        patterns = [float(np.trace(EP)) for EP in self._EP]
        return np.array([*patterns, *map(self._trace, self._rows)])

    @cached_property
    def _products(self) -> dict[tuple[int, int], tuple[Array, float]]:
        """Of each pair of changes of rows, i <= j."""
        every = range(len(self._rows))
        return {(i, j): self._product(self._rows[i], self._rows[j])
                for i in every for j in every if i <= j}  # fmt: skip

    @cached_property
    def Q(self) -> list[list[Array]]:
        """X'Σ⁻¹G_iΣ⁻¹G_jΣ⁻¹X of each pair."""
        e, count = len(self._E), len(self._E) + len(self._rows)
        out = [[np.zeros_like(self.XVX)] * count for _ in range(count)]
        for i, B in enumerate(self._B):
            for j, other in enumerate(self._B):
                out[i][j] = B.T @ self.ZVZ @ other
            for k, row in enumerate(self._rows):
                out[i][e + k] = B.T @ row.ZX
                out[e + k][i] = out[i][e + k].T
        for (k, m), (own, _) in self._products.items():
            out[e + k][e + m] = own
            out[e + m][e + k] = own.T
        return out

    @cached_property
    def double(self) -> Array:
        """tr(PG_iPG_j) of each pair."""
        e, count = len(self._E), len(self._E) + len(self._rows)
        out = np.zeros((count, count))
        for i, EP in enumerate(self._EP):
            out[i, :e] = [np.sum(EP * other.T) for other in self._EP]
        for k, row in enumerate(self._rows):
            within = self._within_P(row)
            out[e + k, :e] = out[:e, e + k] = [np.sum(E * within) for E in self._E]
        for (k, m), (_, trace) in self._products.items():
            out[e + k, e + m] = out[e + m, e + k] = trace
        return out

    # --- one more change --------------------------------------------------------------------------

    def beside(self, E: Array, Omega: Matrix | None = None) -> tuple[Array, float, Array]:
        """Return X'Σ⁻¹GΣ⁻¹X, tr(PG) and all tr(PG_iPG) of one more change G = ZEZ' + Ω."""
        square, EP = self.ZVX.T @ E @ self.ZVX, E @ self.ZPZ
        trace = float(np.trace(EP))
        traces = [_trace_of_both(own, EP) for own in self._EP]
        traces += [float(np.sum(E * self._within_P(row))) for row in self._rows]
        if Omega is None:
            return square, trace, np.array(traces)
        more = self._of_rows(Omega)
        within = self._within_P(more)
        of_rows = [float(np.sum(own * within)) for own in self._E]
        of_rows += [self._product(own, more)[1] for own in self._rows]
        whole = np.array(traces) + np.array(of_rows)
        return square + more.XX, trace + self._trace(more), whole


def _trace_of_both(one: Array, two: Array) -> float:
    """Return tr(AB)."""
    return float((one * two.T).sum())


def _dense(A: Any) -> Array:
    """Return a sparse matrix as an array."""
    return np.asarray(A.toarray())


def cross_products(fit: Fit) -> tuple[Array, Array, Array]:
    """Return Z'V⁻¹Z, Z'V⁻¹X and X'V⁻¹X, X in the user's columns, Z standardized."""
    e, cp = fit.engine, fit.problem.cp
    ZZ = cp.A.dense
    RX = e.pls.RX @ cp.R
    return ZZ - e.pls.factor.quadratic(ZZ), e.U @ RX, RX.T @ RX
