"""What each row does to its own fitted value.

With √W on both sides, V = I + ZΛΛ'Z' relative to σ², and P = V⁻¹ - V⁻¹X(X'V⁻¹X)⁻¹X'V⁻¹:

    c_i = L⁻¹Λ'z_i,   d_i = R_X⁻ᵀ(x_i - R_ZX'c_i),   V⁻¹ = I - CC',   P = I - CC' - DD'
    h_i = |c_i|² + |d_i|² = ∂ŷ_i/∂y_i,   Py = y - ŷ = e
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from mixedlm_ext.caching import cached_property
from mixedlm_ext.estimation.fit import Fit
from mixedlm_ext.estimation.fitted import Fitted
from mixedlm_ext.linalg.triangular import solve_upper
from mixedlm_ext.products.block_matrix import BlockMatrix
from mixedlm_ext.products.noise import noise_of
from mixedlm_ext.products.responses import Reduction, columns_of_Z

Array = NDArray[np.float64]
Index = NDArray[np.intp]

__all__ = ["RowGeometry", "leverage", "leverages", "residual_shares"]

_CELLS = 4_000_000
"""Numbers that a dense chunk of columns of C may hold."""


def leverage(fitted: Fitted) -> pd.Series:
    """Leverages h_i = ∂ŷ_i/∂y_i of the conditional fitted values, theta held.

    Returns
    -------
    Series (n,)
        Their sum is the effective number of parameters. An array for a model made from arrays.

    Notes
    -----
    The diagonal of the hat matrix CC' + DD' (lme4's ``hatvalues``): c_i = L⁻¹Λ'z_i√w,
    d_i = R_X⁻ᵀ(x_i√w - R_ZX'c_i).

    Examples
    --------
    >>> from mixedlm_ext import MixedLM, datasets
    >>> data = datasets.sleepstudy.load_pandas().data
    >>> result = MixedLM.from_formula("Reaction ~ Days + (Days | Subject)", data).fit()
    >>> round(float(result.leverage().sum()), 1)
    29.0
    """
    design = fitted.rows("the leverages of its rows")
    return fitted.labelled(leverages(fitted.fit), design.index)


def leverages(fit: Fit) -> Array:
    """Return h_i = ∂ŷ_i/∂y_i, (n,), given theta.

    Parameters
    ----------
    fit : Fit

    Returns
    -------
    ndarray (n,)
    """
    if noise_of(fit.design).mixes:
        return _JoinedRows(fit).leverages
    rows = RowGeometry(fit)
    return np.asarray(rows.random_part + rows.fixed_part)


def residual_shares(fit: Fit) -> Array:
    """Return Var(e_i) of the conditional residuals over that of the errors, (n,): 1 - h_i or so.

    Where residuals are correlated it is no function of the leverage.
    """
    if noise_of(fit.design).mixes:
        return _JoinedRows(fit).shares
    return 1.0 - leverages(fit)


class _JoinedRows:
    """The rows of a fit whose W joins rows, not weighted.

    With K⁻¹ the inverse of the penalized normal equations, ŷ = GWy, G = [Z X]K⁻¹[Z X]', and
    Var(e) = σ²(W⁻¹ - G).

    Parameters
    ----------
    fit : Fit
    """

    def __init__(self, fit: Fit) -> None:
        layout, design = fit.problem.cp.layout, fit.design
        self._noise = noise_of(design)
        self._pls = fit.engine.pls
        self._Z = columns_of_Z(design.terms, layout, len(design.y))
        self._Q = layout.basis.coordinates(design.X)

    @cached_property
    def leverages(self) -> Array:
        """The diagonal of GW, (n,)."""
        n = len(self._Q)
        F = self._noise.root_of_sparse(sparse.csr_array(sparse.eye_array(n)))
        WZ = sparse.csr_array(F.T @ (F @ self._Z))
        return self._between(WZ, self._noise.times(self._Q))

    @cached_property
    def shares(self) -> Array:
        """1 - G_ii/[W⁻¹]_ii, (n,)."""
        return np.asarray(1.0 - self._between(self._Z, self._Q) / self._noise.variances)

    def _between(self, Z: sparse.csr_array, Q: Array) -> Array:
        """Return the sums of products of the rows of [Z X]K⁻¹ with those of other Z and Q."""
        pls = self._pls
        D, E = (
            solve_upper(pls.RX, np.ascontiguousarray((q - z @ pls.NZX).T), transpose=True)
            for q, z in ((self._Q, self._Z), (Q, Z))
        )
        out = np.einsum("pn,pn->n", D, E)
        size = max(1, _CELLS // max(1, self._Z.shape[1]))
        for start in range(0, len(out), size):
            rows = slice(start, start + size)
            N = pls.factor.apply(self._Z[rows].T.toarray(order="C"))
            out[rows] += np.asarray((Z[rows].multiply(N.T)).sum(axis=1)).ravel()
        return np.asarray(out)


class RowGeometry:
    """The rows of a fit, weighted, as its factor sees them.

    Parameters
    ----------
    fit : Fit

    Attributes
    ----------
    Q : ndarray (n, p)
        X in the basis in which X'V⁻¹X = I.
    D : ndarray (n, p)
        V⁻¹Q, row i is d_i.
    e : ndarray (n,)
        Weighted conditional residuals, V⁻¹r = Py.
    r : ndarray (n,)
        Weighted marginal residuals, y - Xβ.
    """

    def __init__(self, fit: Fit) -> None:
        design = fit.design
        self._fit, self._pls = fit, fit.engine.pls
        reduction = Reduction(design, fit.problem.cp.layout)
        self._Zt: Any = reduction.Zt.tocsc()
        B = self._pls.NZX  # R_ZX'c_i = B'z_i
        self.Q = solve_upper(self._pls.RX, reduction.Q.T, transpose=True).T
        remaining = reduction.Q - self._Zt.T @ B
        self.D = solve_upper(self._pls.RX, remaining.T, transpose=True).T
        self.e = reduction.noise.root_times(design.y - fit.fitted())
        known = 0.0 if design.offset is None else design.offset
        self.r = reduction.noise.root_times(design.y - design.X @ fit.beta - known)

    @property
    def fixed_part(self) -> Array:
        """|d_i|², (n,)."""
        return np.asarray(np.einsum("np,np->n", self.D, self.D))

    @cached_property
    def random_part(self) -> Array:
        """|c_i|², (n,)."""
        cp = self._fit.problem.cp
        if len(cp.shapes) == 1 and not cp.A.joined(0):
            return np.asarray((self._N @ self._Zt).multiply(self._Zt).sum(axis=0)).ravel()
        out = np.empty(self._Zt.shape[1])
        for chunk in self._chunks():
            out[chunk] = self._pls.factor.quadratic_diagonal(self._z(chunk))
        return out

    def inverse_V(self, rows: Index) -> Array:
        """Return the block of V⁻¹ = I - CC' of m rows, (m, m)."""
        if self._fit.problem.cp.by_levels:
            Z = self._Zt[:, rows]
            CC = (Z.T @ (self._N @ Z)).toarray()
        else:
            CC = self._pls.factor.quadratic(self._z(rows))
        return np.asarray(np.eye(len(rows)) - CC)

    @cached_property
    def _N(self) -> sparse.csr_array:
        """The diagonal blocks of ΛM⁻¹Λ' of a model with one block."""
        blocks = self._pls.factor.diagonal_blocks()
        return BlockMatrix(self._fit.problem.cp.shapes, blocks, {}).sparse

    def _z(self, rows: Index | slice) -> Array:
        """Return z_i of some rows as dense columns, (q, m)."""
        return np.asarray(self._Zt[:, rows].toarray(order="C"))

    def _chunks(self) -> Iterator[slice]:
        """Cut the rows into chunks of columns of C."""
        q, n = self._Zt.shape
        size = max(1, _CELLS // max(q, 1))
        return (slice(start, min(start + size, n)) for start in range(0, n, size))
