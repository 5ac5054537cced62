"""Error variances of predictions, from the joint covariance of (β̂ - β, b̂ - b).

With LL' = M and R_X of penalized least squares (criteria/pls.py), Henderson's mixed-model
equations give

    Cov(β̂ - β, b̂ - b) = σ² G'G,   G = [ 0       L⁻¹Λ'            ]
                                       [ R_X⁻ᵀ   -R_X⁻ᵀR_ZX'L⁻¹Λ' ]

(b̂ given β, and β̂; Henderson 1975, Biometrics 31, 423-447; McLean, Sanders & Stroup 1991, The
American Statistician 45, 54-64). The prediction x'β̂ + z'b̂ therefore has the error variance

    σ²|L⁻¹Λ'z|² + a'Ca,   a = x - R_ZX'L⁻¹Λ'z,   C = σ²(X'V⁻¹X)⁻¹ = Cov(β̂)            (1)

and another covariance matrix of β̂, such as Kenward and Roger's, takes the place of C. A level that
the fit has not seen adds σ²z'Γz, Γ = TT'. Of (1) over σ², the derivative in Γ is

    s'dΓs,   s = z - Z'WZ ΛL⁻ᵀL⁻¹Λ'z - Z'V⁻¹X(X'V⁻¹X)⁻¹a                              (2)

from dH⁻¹ = -H⁻¹dH H⁻¹ for the coefficient matrix H of the equations, and defined for a singular Γ.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixedlm_ext.caching import cached_property
from mixedlm_ext.criteria.level_blocks import level_blocks
from mixedlm_ext.design import NewData
from mixedlm_ext.design.records import effects_of_rows
from mixedlm_ext.estimation.fit import Fit
from mixedlm_ext.linalg.semidefinite import Root
from mixedlm_ext.linalg.triangular import solve_upper
from mixedlm_ext.prediction.terms import Chosen
from mixedlm_ext.products.layout import Place
from mixedlm_ext.structures.derivatives import gamma_derivatives

Array = NDArray[np.float64]
Index = NDArray[np.intp]

__all__ = ["PredictionErrors"]

_CELLS = 4_000_000
"""Numbers in the right-hand sides that are solved for at once."""


@dataclass(frozen=True, eq=False)
class _Part:
    """One term in the engine's columns: Z (m, k), codes (m,), and whether the level was seen."""

    place: Place
    Z: Array
    codes: Index
    seen: NDArray[np.bool_]
    beyond: Array | None = None

    @property
    def block(self) -> int:
        """The term's block."""
        return self.place.block

    @property
    def columns(self) -> slice:
        """Its columns there."""
        return self.place.own

    @property
    def known(self) -> Array:
        """Z of the levels of the fit, zero in other rows."""
        return np.where(self.seen[:, None], self.Z, 0.0)

    @property
    def fresh(self) -> Array:
        """Z of levels that the fit has not seen, zero in other rows."""
        if self.beyond is not None:
            return self.Z * np.sqrt(self.beyond)[:, None]
        return np.where(self.seen[:, None], 0.0, self.Z)


class PredictionErrors:
    """Error variances of x'β̂ + z'b̂ for given rows, relative to σ², and their derivatives.

    Parameters
    ----------
    fit : Fit
    new : NewData (m rows)
        Only complete rows.
    chosen : Chosen
        The random effects of the prediction; the others do not enter.
    less : csr_array (m, q), optional
        What is taken from each z, in the engine's columns.
    """

    def __init__(self, fit: Fit, new: NewData, chosen: Chosen, less: Any = None) -> None:
        self._fit, self._cp, self._pls = fit, fit.problem.cp, fit.engine.pls
        self._less = less
        self._X = new.X
        self._parts = list(_parts(fit, new, chosen))

    def variance(self, cov: Array) -> Array:
        """Return the error variances by equation (1), (m,); `cov` (p, p) is C."""
        a = self._a
        relative = self._given_beta + self._unseen
        return np.asarray(np.einsum("mp,mp->m", a @ cov, a) + self._fit.sigma**2 * relative)

    @cached_property
    def one_level(self) -> bool:
        """Whether Z is one block of independent levels, and each z belongs to one of them."""
        return self._cp.by_levels and self._same_level

    @cached_property
    def _same_level(self) -> bool:
        """Whether all of each z belongs to one level of one block.

        Factors that grouped the rows of the fit in the same way may differ in others.
        """
        first = self._parts[0] if self._parts else None
        if self._less is not None or any(part.beyond is not None for part in self._parts):
            return False  # rows of several members, or of several levels by what is taken from them
        return first is not None and all(
            part.block == first.block
            and np.array_equal(part.codes, first.codes)
            and np.array_equal(part.seen, first.seen)
            for part in self._parts
        )

    @cached_property
    def _a(self) -> Array:
        """x - R_ZX'L⁻¹Λ'z, in the user's columns of X."""
        if not self._parts or not self._cp.p:
            return self._X
        B = self._pls.NZX @ self._cp.R  # ΛL⁻ᵀR_ZX
        a = self._X.copy()
        for part in self._parts:
            block = part.place.levels(self._cp.block(B, part.block)[part.columns])
            for z, b in zip(part.known.T, block):
                a -= z[:, None] * effects_of_rows(part.codes, b)
        return a if self._less is None else a + self._less @ B

    @cached_property
    def _given_beta(self) -> Array:
        """|L⁻¹Λ'z|² = z'ΛM⁻¹Λ'z."""
        m = len(self._X)
        if self.one_level or (self._same_level and m > self._cp.q):
            z, (codes, N) = self._own_z, self._own_blocks
            return np.einsum("ma,abm,mb->m", z, N[:, :, codes], z)
        out = np.zeros(m)
        for rows in self._chunks() if self._parts else ():
            out[rows] = self._pls.factor.quadratic_diagonal(self._z(rows))
        return out

    @property
    def _own_z(self) -> Array:
        """z in its level, (m, k), when there is only one."""
        z = np.zeros((len(self._X), self._cp.shapes[self._parts[0].block][0]))
        for part in self._parts:
            z[:, part.columns] = part.known
        return z

    @cached_property
    def _own_blocks(self) -> tuple[Index, Array]:
        """That level, (m,), and all diagonal blocks of ΛM⁻¹Λ', (k, k, levels)."""
        first = self._parts[0]
        return first.codes, level_blocks(self._cp, self._pls.factor)[first.block]

    @property
    def _unseen(self) -> Array:
        """z'Γz of the levels that the fit has not seen."""
        out = np.zeros(len(self._X))
        for part in self._parts:
            u = part.fresh @ self._template(part)
            out += np.einsum("mk,mk->m", u, u)
        return out

    @cached_property
    def _directions(self) -> list[tuple[int, Array]]:
        """∂Γ/∂θ_j of one level, each with its block."""
        return gamma_derivatives(self._fit.problem.covariance, self._pls.theta)

    def _template(self, part: _Part) -> Array:
        return self._pls.factor.templates[part.block][part.columns, part.columns]

    def _chunks(self, length: int = 1) -> Iterator[slice]:
        """Return runs of rows whose right-hand sides, and others of a length, fit into memory."""
        step = max(1, _CELLS // max(length, self._cp.q))
        return (slice(i, i + step) for i in range(0, len(self._X), step))

    def _z(self, rows: slice) -> Array:
        """Return z of some rows as dense columns, (q, rows)."""
        at = np.arange(len(self._X[rows]))
        z = np.zeros((self._cp.q, len(at)))
        for part in self._parts:
            block = self._cp.block(z, part.block)[part.columns]
            for column, values in zip(block, part.known[rows].T):
                if part.place.root is None:
                    column[part.codes[rows], at] = values
                else:
                    column += _rows_of(part.place.root, part.codes[rows]).T * values
        return z if self._less is None else z - self._less[rows].T.toarray()

    def gradient(self) -> Array:
        """Return the derivatives of the relative variances in theta_std, (m, n_theta), by (2).

        dΓ is the same at every level.
        """
        w = solve_upper(self._cp.R, self._a.T, transpose=True)
        w = solve_upper(self._pls.RX, w, transpose=True)  # R_X⁻ᵀR⁻ᵀa
        if self._less is None and not any(part.seen.any() for part in self._parts):
            out = self._fixed_gradient(w)
        elif self.one_level:
            out = self._fixed_gradient(w) + self._own_gradient(w)
        else:
            out = np.empty((len(self._X), self._fit.problem.covariance.n_theta))
            for rows in self._chunks():
                z = self._z(rows)
                s = z - self._cp.A.times(self._pls.factor.apply(z))
                if self._cp.p:
                    s -= self._fit.engine.U @ w[:, rows]
                out[rows] = self._along_theta(s)
        return out + self._unseen_gradient()

    def residual_gradient(self) -> Array:
        """Return the derivatives of the relative variances in z of a residual structure, (m, K).

        They are -t'(∂A)t for t = H⁻¹(x, z).
        """
        changes = self._fit.noise_changes
        out = np.empty((len(self._X), len(changes)))
        for rows, gamma, t in self.solutions():
            for k, dA in enumerate(changes):
                h = dA.R @ gamma  # in the basis of X of the derivatives
                own = np.einsum("qm,qm->m", t, dA.ZZ @ t)
                across = np.einsum("qm,qm->m", t, dA.ZX @ h)
                out[rows, k] = -own - 2.0 * across - np.einsum("pm,pm->m", h, dA.XX @ h)
        return out

    def solutions(self, length: int = 1) -> Iterator[tuple[slice, Array, Array]]:
        """Return (γ, t) = H⁻¹(x, z) of runs of rows, γ (p, rows) in the user's columns of X.

        Runs are so short that columns of a given length fit into memory, too.
        """
        R = self._cp.R
        w = solve_upper(self._pls.RX, solve_upper(R, self._a.T, transpose=True), transpose=True)
        gamma = solve_upper(self._pls.RX, w)  # in the basis of X
        for rows in self._chunks(length):
            t = self._pls.factor.apply(self._z(rows)) - self._pls.NZX @ gamma[:, rows]
            yield rows, solve_upper(R, gamma[:, rows]), t

    def _along_theta(self, s: Array) -> Array:
        """Return s'dΓs for each theta, s (q, m)."""
        columns = []
        for i, D in self._directions:
            own = self._cp.block(s, i)
            other = self._cp.spread(i, np.tensordot(D, own, axes=1))
            columns.append(np.einsum("alm,alm->m", own, other))
        return np.column_stack(columns)

    def _fixed_gradient(self, w: Array) -> Array:
        """Return s'dΓs for each theta where s = -Z'V⁻¹X(X'V⁻¹X)⁻¹a, w (p, m)."""
        if not self._cp.p or not self._directions:
            return np.zeros((w.shape[1], len(self._directions)))
        U = np.ascontiguousarray(self._fit.engine.U)
        columns = []
        for i, D in self._directions:
            u = self._cp.block(U, i)
            Ku = self._cp.spread(i, u)
            UDU = np.einsum("alp,alq->pq", Ku, np.tensordot(D, u, axes=1))
            columns.append(np.einsum("pm,pm->m", UDU @ w, w))
        return np.column_stack(columns)

    def _own_gradient(self, w: Array) -> Array:
        """Return what the own level adds to the gradient of the fixed part.

        With s = t - u summed over all levels, only the own one has a t = z - Z'WZ ΛM⁻¹Λ'z.
        """
        z, (codes, N) = self._own_z, self._own_blocks
        Nz = np.einsum("abm,mb->ma", N[:, :, codes], z)
        t = z - np.einsum("abm,mb->ma", self._cp.diagonal[0][:, :, codes], Nz)
        u = np.zeros_like(t)
        if self._cp.p:
            u = np.einsum("kmp,pm->mk", self._cp.block(self._fit.engine.U, 0)[:, codes], w)
        columns = [
            np.einsum("ma,ma->m", t @ D, t - 2.0 * u)  # (t - u)'D(t - u) - u'Du
            for _, D in self._directions
        ]
        return np.column_stack(columns)

    def _unseen_gradient(self) -> Array:
        """Return z'dΓz for each theta, of the levels that the fit has not seen."""
        out = np.zeros((len(self._X), len(self._directions)))
        for part in self._parts:
            for j, (block, D) in enumerate(self._directions):
                if block == part.block:
                    own = D[part.columns, part.columns]
                    out[:, j] += np.einsum("ma,ma->m", part.fresh @ own, part.fresh)
        return out


def _rows_of(C: Root, codes: Index) -> Array:
    """Return some rows of a root, dense."""
    return np.asarray(C[codes] if isinstance(C, np.ndarray) else C[codes].toarray())


def _parts(fit: Fit, new: NewData, chosen: Chosen) -> Iterator[_Part]:
    """Return the standardized columns of the chosen terms."""
    for term, place in zip(fit.design.terms, fit.problem.cp.layout.places):
        if term.name in chosen:
            Z, codes = new.terms[term.name]
            Z = place.columns(Z * chosen[term.name])
            if term.name in new.members:
                rows = new.members[term.name]
                among = None if term.related is None else term.related.among
                root = rows.W if among is None else among.root_of_rows(rows.W)
                own, every = replace(place, root=root), np.ones(len(Z), dtype=bool)
                yield _Part(own, Z, np.arange(len(Z)), every, rows.squares)
                continue
            yield _Part(place, Z, np.maximum(codes, 0), codes >= 0)
