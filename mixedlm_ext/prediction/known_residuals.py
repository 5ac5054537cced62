"""What the residuals of a fit tell of those of new rows that are correlated with them.

With c = Cov(e, e_new)/σ², W⁻¹ = Var(e)/σ² and d = Var(e_new)/σ², the best prediction of e_new is
c'W(y - Xβ̂ - Zb̂): with e = W⁻¹Py this is c'V⁻¹(y - Xβ̂), the best linear one (Goldberger 1962,
Journal of the American Statistical Association 57, 369-375). A new observation then has the error

    y_new - ŷ_new = (x - X'Wc)'(β - β̂) + (z - Z'Wc)'(b - b̂) + ε,   Var(ε) = σ²(d - c'Wc)     (1)

where ε is independent of y, so that its variance is that of other rows x, z by equation (1) of
error_variance.py, and that of ε. Of both, relative to σ², the derivatives in a parameter of the
residuals are, with u = Xγ + Zt for (γ, t) = H⁻¹(x - X'Wc, z - Z'Wc),

    (Wu)'∂W⁻¹(Wu) + 2(Wu)'∂W⁻¹(Wc) - 2(Wu)'∂c                                              (2)
    ∂d - 2∂c'Wc + (Wc)'∂W⁻¹(Wc)                                                            (3)
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from mixedlm_ext.caching import cached_property
from mixedlm_ext.errors import DesignError
from mixedlm_ext.estimation.fit import Fit
from mixedlm_ext.prediction.error_variance import PredictionErrors
from mixedlm_ext.prediction.residual_rows import residual_rows_of
from mixedlm_ext.products.noise import noise_of, structured_noise
from mixedlm_ext.products.residual_matrices import ResidualMatrices
from mixedlm_ext.products.responses import columns_of_Z
from mixedlm_ext.residual.structure import ResidualRows

Array = NDArray[np.float64]
Index = NDArray[np.intp]
Mask = NDArray[np.bool_]

__all__ = ["KnownResiduals", "known_residuals"]

_ZERO = 1e-12
"""A variance of ε below this share of d is one of an observation that the fit has."""


@dataclass(frozen=True, eq=False)
class KnownResiduals:
    """Residuals of m new rows, given those of the n rows of a fit.

    Attributes
    ----------
    fit : Fit
    c : csr_array (m, n)
        Cov(e_new, e)/σ².
    c_slopes : list of csr_array
        Its derivatives in each z of the residuals.
    d : ndarray (m,)
        Var(e_new)/σ²; nan where it is not known.
    d_slopes : ndarray (m, K)
    """

    fit: Fit
    c: Any
    c_slopes: list[Any]
    d: Array
    d_slopes: Array

    def take(self, rows: Mask) -> KnownResiduals:
        """Return some of the new rows."""
        own = np.flatnonzero(rows)
        slopes = [slope[own] for slope in self.c_slopes]
        return replace(
            self, c=self.c[own], c_slopes=slopes, d=self.d[own], d_slopes=self.d_slopes[own]
        )

    @cached_property
    def mean(self) -> Array:
        """The best predictions, (m,); zero in groups that the fit has not seen."""
        design = self.fit.design
        predicted = self.c @ noise_of(design).times(design.y - self.fit.fitted())
        return np.where(np.isnan(self.d), np.nan, predicted)

    @cached_property
    def _roots(self) -> tuple[Any, Any]:
        """F with F'F = W, and Fc of each row, (n, m)."""
        F = noise_of(self.fit.design).root_of_sparse(sparse.csr_array(sparse.eye_array(self._n)))
        return F, sparse.csr_array(F @ self.c.T)

    @property
    def _n(self) -> int:
        return len(self.fit.design.y)

    @cached_property
    def _Wc(self) -> Any:
        """Wc of each row, (n, m)."""
        F, Fc = self._roots
        return sparse.csr_array(F.T @ Fc)

    @cached_property
    def variance(self) -> Array:
        """Var(ε)/σ², (m,)."""
        out = self.d - np.asarray(self._roots[1].power(2).sum(axis=0)).ravel()
        return np.where(out <= _ZERO * self.d, 0.0, out)

    @cached_property
    def X(self) -> Array:
        """X'Wc of each row, (m, p)."""
        return np.asarray(self._Wc.T @ self.fit.design.X)

    @cached_property
    def Z(self) -> Any:
        """Z'Wc of each row in the engine's columns, (m, q)."""
        return sparse.csr_array(self._Wc.T @ self._columns)

    @cached_property
    def _columns(self) -> Any:
        design = self.fit.design
        return columns_of_Z(design.terms, self.fit.problem.cp.layout, self._n)

    @cached_property
    def _changes(self) -> list[Any]:
        """∂W⁻¹ in each z, (n, n)."""
        design, structure, z = self.fit.design, self.fit.design.residual, self.fit.z
        assert structure is not None and z is not None
        matrices = ResidualMatrices(structured_noise(design, z))
        rates = structure.slopes_of_all.copy()
        rates[: structure.n_rho] = structure.r_of(z)[1]
        return [matrices.combined(rate * own) for rate, own in zip(rates, matrices.first)]

    def mean_rates(self, errors: PredictionErrors) -> Array:
        """Return the derivatives (2), (m, K), for the errors of rows x - X'Wc, z - Z'Wc."""
        noise, X = noise_of(self.fit.design), self.fit.design.X
        out = np.empty(self.d_slopes.shape)
        for rows, gamma, t in errors.solutions(self._n):
            Wu = noise.times(X @ gamma + self._columns @ t)
            both = Wu + 2.0 * self._Wc[:, rows].toarray()
            for k, (change, slope) in enumerate(zip(self._changes, self.c_slopes)):
                across = np.asarray(slope[rows].multiply(Wu.T).sum(axis=1)).ravel()
                out[rows, k] = np.einsum("nm,nm->m", Wu, change @ both) - 2.0 * across
        return out

    @property
    def own_rates(self) -> Array:
        """The derivatives (3), (m, K)."""
        out, Wc = self.d_slopes.copy(), self._Wc
        for k, (change, slope) in enumerate(zip(self._changes, self.c_slopes)):
            out[:, k] -= 2.0 * np.asarray(slope.multiply(Wc.T).sum(axis=1)).ravel()
            out[:, k] += np.asarray(Wc.multiply(change @ Wc).sum(axis=0)).ravel()
        return out


def known_residuals(fit: Fit, data: Any, complete: Mask, weights: Array) -> KnownResiduals:
    """Return what the rows of a fit tell of the residuals of other rows.

    Parameters
    ----------
    fit : Fit
        With correlated residuals.
    data : object
        As for `predict`.
    complete : ndarray of bool (m,)
    weights : ndarray (m,)
        Precision weights of the new rows.

    Raises
    ------
    DesignError
        If a weight is zero, or a column is missing.
    """
    if (weights <= 0).any():
        raise DesignError(
            "errors=True predicts residuals of new rows, which have none of finite variance where "
            "their weights are zero. Leave these rows out."
        )
    design, structure = fit.design, fit.design.residual
    assert structure is not None and structure.values is not None and structure.kind is not None
    new, present = residual_rows_of(design, data, complete)
    old = design.residual_rows
    assert old is not None
    z, own = structure.z_of(structure.values), np.flatnonzero(present)
    r, in_r = structure.r_of(z)
    sd = np.exp(new.x @ structure.eta_of(z)) / np.sqrt(weights[own])
    i, j = _pairs_between(new, old)
    distance = np.ones(len(i))
    if new.positions is not None and old.positions is not None:
        distance = np.abs(new.positions[i] - old.positions[j])
    root = sd[i] * np.sqrt(noise_of(design).variances)[j]
    c = structure.kind.between(r, distance) * root
    by_r = [in_r * structure.kind.slopes_between(r, distance)[0] * root]
    rates = structure.slopes_of_eta
    by_eta = list(((new.x[i] + old.x[j]) * rates * c[:, None]).T)

    def spread(values: Array) -> Any:
        return sparse.csr_array((values, (own[i], j)), shape=(len(present), len(old.x)))

    d, d_slopes = np.full(len(present), np.nan), np.zeros((len(present), len(z)))
    d[own] = sd**2
    d_slopes[own, structure.n_rho :] = 2.0 * (sd**2)[:, None] * new.x * rates
    return KnownResiduals(fit, spread(c), [spread(v) for v in by_r + by_eta], d, d_slopes)


def _pairs_between(new: ResidualRows, old: ResidualRows) -> tuple[Index, Index]:
    """Return which rows are of one group, a new one and one of the fit."""
    assert new.codes is not None and old.codes is not None
    order = np.argsort(old.codes, kind="stable")
    ranked = old.codes[order]
    first = np.searchsorted(ranked, new.codes, "left")
    count = np.searchsorted(ranked, new.codes, "right") - first
    i = np.repeat(np.arange(len(count)), count)
    within = np.arange(len(i)) - np.repeat(np.cumsum(count) - count, count)
    return i, order[first[i] + within]
