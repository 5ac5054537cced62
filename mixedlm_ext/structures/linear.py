"""Structures in which each entry of the template is one θ.

Only Γ = TT' matters, and T stands for all its square roots TQ. A step that keeps T lower triangular
is crooked near a singular Γ: where a column vanishes, the columns before it must move by the square
of what it moves, divided by small diagonal entries. A step ΔT in all k² entries is straight there;
T + ΔT is brought back to its lower-triangular square root afterwards. Steps along TΩ, Ω
antisymmetric, only rotate T and are left out: T'ΔT is symmetric. And a step is measured against
what it moves: ΔT = RS with R = (I + TT')^½, so that a variance many times that of the noise moves
by factors and a small one by amounts.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from mixedlm_ext.caching import cached_property
from mixedlm_ext.linalg.blas import cholesky, eigh
from mixedlm_ext.linalg.triangular import lower_root
from mixedlm_ext.structures.base import LEAST_SD, MOST_SD, Structure

Array = NDArray[np.float64]
Index = NDArray[np.intp]

__all__ = ["LinearStructure"]

_EXACT = 1e-14
"""The rounding of singular values that are zero already."""


class LinearStructure(Structure):
    """A pattern of free entries of T; the coordinates are these entries.

    Attributes
    ----------
    tied : bool
        Whether several entries share one θ.
    """

    linear: ClassVar[bool] = True
    tied: ClassVar[bool] = False

    @property
    @abstractmethod
    def entries(self) -> tuple[Index, Index]:
        """Rows and columns of the free entries of T, columns one after the other."""

    @cached_property
    def owners(self) -> Index:
        """Which θ each of the entries is."""
        return np.arange(len(self.entries[0]))

    @cached_property
    def n_theta(self) -> int:
        """Number of covariance parameters."""
        return int(self.owners[-1]) + 1

    @cached_property
    def n_coordinates(self) -> int:
        """Number of free entries."""
        return len(self.entries[0])

    def template(self, theta: Array) -> Array:
        """Return T."""
        if self.k == 1:
            return np.array(theta, dtype=float).reshape(1, 1)
        out = np.zeros((self.k, self.k))
        out[self.entries] = theta[self.owners]
        return out

    def theta_of(self, template: Array) -> Array:
        """Return the free entries of T."""
        return template[self.entries]

    def nearest(self, Gamma: Array) -> Array:
        """Return θ of the matrix with eigenvalues in the range of good starts."""
        if self.k == 1:
            return np.sqrt(np.clip(Gamma[0], LEAST_SD**2, MOST_SD**2))
        values, vectors = eigh(self._projected(Gamma))
        variances = np.clip(values, LEAST_SD**2, MOST_SD**2)
        return self.theta_of(cholesky((vectors * variances) @ vectors.T))

    def _projected(self, Gamma: Array) -> Array:
        """Return the entries of Γ that the structure has."""
        return Gamma if self.correlated else np.diag(np.diag(Gamma))

    def gamma_derivatives(self, theta: Array) -> Array:
        """Return ∂Γ/∂T_ab = e_aT_b' + T_be_a', summed over the entries of each θ."""
        T, (rows, columns) = self.template(theta), self.entries
        half = np.zeros((self.n_theta, self.k, self.k))
        np.add.at(half, (self.owners, rows), T[:, columns].T)
        return half + half.transpose(0, 2, 1)

    def parameter_directions(self) -> Array:
        """Return e_ae_c' + e_ce_a' (e_ae_a' once), summed over the entries of each θ."""
        if self.k == 1:
            return np.ones((1, 1, 1))
        out = np.zeros((self.n_theta, self.k, self.k))
        rows, columns = self.entries
        out[self.owners, rows, columns] = out[self.owners, columns, rows] = 1.0
        return out

    def curvature(self, theta: Array, G: Array) -> Array:
        """Return C_(ab),(cd) = 2 G_ac δ_bd."""
        return _same_column(G, *self.entries, 2.0)

    def standardizer(self, R: Array) -> Array:
        """Return J, from column b of T_std = RT."""
        return _same_column(R, *self.entries)

    @property
    def domain(self) -> tuple[Array, Array]:
        """Everything."""
        ends = np.full(self.n_theta, np.inf)
        return -ends, ends

    def start(self) -> Array:
        """Return θ of T = I."""
        return self.theta_of(np.eye(self.k))

    def scaled(self, theta: Array, factor: float) -> Array:
        """Return θ of factor T."""
        return factor * theta

    def is_singular(self, theta: Array, tol: float) -> bool:
        """Say whether T has deficient rank, relative to its scale."""
        T = self.template(theta)
        if _is_clearly_regular(T, tol):
            return False
        values = np.linalg.svd(T, compute_uv=False)
        return bool(values[-1] <= tol * max(1.0, values[0]))

    def at_zero(self, theta: Array, near: float) -> Array:
        """Make singular values of T that are next to zero exactly zero."""
        T = self.template(theta)
        if _is_clearly_regular(T, near):
            return theta
        U, values, _ = np.linalg.svd(T)
        small = values <= near * max(1.0, values[0])
        if not (small & (values > _EXACT * values[0])).any():
            return theta
        L = lower_root(U * np.where(small, 0.0, values))
        return self.theta_of(np.where(np.abs(L) > _EXACT * values[0], L, 0.0))

    def place(self, columns: tuple[int, ...]) -> int | None:
        """Return where θ holds T_aa, if that is all that row a has."""
        (a,) = columns if len(columns) == 1 else (-1,)
        alone = np.flatnonzero(self.entries[0] == a)
        return int(self.owners[alone[0]]) if len(alone) == 1 else None

    # --- steps on the entries; the unstructured one moves all k² of them --------------------------

    @property
    def _moving(self) -> tuple[Index, Index]:
        """Rows and columns of the entries of T that a step may change."""
        return self.entries

    def step_gradient(self, theta: Array, by_template: Array, by_gamma: Array) -> Array:
        """Return ∂d/∂T at the moving entries."""
        return by_template[self._moving]

    def step_gradient_after(self, theta: Array, changes: Array, by_gamma: Array) -> Array:
        """Return 2GT at the moving entries, T not brought back to the triangle."""
        moved = self.template(theta)
        moved[self._moving] += changes
        return (2.0 * by_gamma @ moved)[self._moving]

    def step_chain(self, theta: Array) -> Array:
        """Return ∂Γ_(ac)/∂T_(ab) = T_cb for the moving entries ab and the pairs ac of the term."""
        return self.chain(theta, *self._moving)

    def chain(self, theta: Array, rows: Index, columns: Index) -> Array:
        """Return ∂Γ_(ac)/∂T_(ab) for given entries ab; pairs off the diagonal count once."""
        if self.k == 1:
            return theta.reshape(1, 1)
        T = self.template(theta)
        out = np.zeros((len(rows), self.n_coordinates))
        others = np.arange(self.k) if self.correlated else rows[:, None]
        pairs = self._pairs[rows[:, None], others]
        out[np.arange(len(rows))[:, None], pairs] = T[others, columns[:, None]]
        return out

    @cached_property
    def _pairs(self) -> Index:
        """The coordinate of each pair of columns, (k, k)."""
        out = np.zeros((self.k, self.k), np.intp)
        out[self.entries] = np.arange(self.n_coordinates)
        return np.maximum(out, out.T)

    def step_curvature(self, theta: Array, G: Array) -> Array:
        """Return 2 G_ac δ_bd of the moving entries."""
        return _same_column(G, *self._moving, 2.0)

    def stepped(self, theta: Array, changes: Array) -> Array:
        """Return θ after the changes: lower triangular, diagonals non-negative."""
        if self.k == 1:
            return np.abs(theta + changes)
        moved = self.template(theta)
        moved[self._moving] += changes
        return self.theta_of(lower_root(moved))

    def correlations(self, columns: Sequence[str]) -> list[tuple[str, tuple[int, int]]]:
        """Return none: columns are independent."""
        return []


def _same_column(M: Array, rows: Index, columns: Index, factor: float = 1.0) -> Array:
    """Return factor · M_ac δ_bd for entries ab and cd."""
    if len(rows) == 1:
        return factor * M[rows, rows][:, None]
    same = columns[:, None] == columns
    return np.asarray(factor * same * M[rows[:, None], rows])


def _is_clearly_regular(T: Array, tol: float) -> bool:
    """Say so of a triangular T whose least singular value is far above tol max(1, the largest).

    It is at least |T| over the Frobenius norm to the power of k - 1.
    """
    size = float(np.sqrt((T * T).sum()))
    return bool(abs(T.diagonal().prod()) > 2.0 * tol * max(1.0, size) * size ** (len(T) - 1))
