"""Newton steps on whole templates instead of their lower triangles.

Only Γ = TT' matters, and T stands for all its square roots TQ. A step that keeps T lower triangular
is crooked near a singular Γ: where a column vanishes, the columns before it must move by the square
of what it moves, divided by small diagonal entries. A step ΔT in all k² entries is straight there;
T + ΔT is brought back to its lower-triangular square root afterwards. Steps along TΩ, Ω
antisymmetric, only rotate T and are left out: T'ΔT is symmetric. And a step is measured against
what it moves: ΔT = RS with R = (I + TT')^½, so that a variance many times that of the noise moves
by factors and a small one by amounts.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mixedlm_ext.caching import cached_property
from mixedlm_ext.covariance import Covariance, TermCovariance
from mixedlm_ext.linalg.blas import matmul
from mixedlm_ext.linalg.triangular import lower_root

Array = NDArray[np.float64]
Index = NDArray[np.intp]

__all__ = ["TemplateSteps", "chain_rule"]

_ROTATION_NOISE = 1e-10
"""Singular values of the rotations' map this small, relative to the largest, count as zero."""


def _entries(term: TermCovariance) -> tuple[Index, Index]:
    """Return rows and columns of the entries of a term's template that a step may change."""
    if term.structure != "us":
        return term.entries
    rows, columns = np.divmod(np.arange(term.k**2), term.k)
    return rows, columns


def _chain(term: TermCovariance, T: Array, rows: Index, columns: Index) -> Array:
    """Return ∂Γ_(ac)/∂T_(ab) = T_cb for the given entries ab and the pairs ac that the term has."""
    n_entries = len(term.entries[0])
    pair = np.zeros((term.k, term.k), np.intp)
    pair[term.entries] = np.arange(n_entries)
    pair = np.maximum(pair, pair.T)
    out = np.zeros((len(rows), n_entries))
    others = np.arange(term.k) if term.structure == "us" else rows[:, None]
    c = np.broadcast_to(others, (len(rows), np.shape(others)[-1]))
    out[np.arange(len(rows))[:, None], pair[rows[:, None], c]] = T[c, columns[:, None]]
    return out


def chain_rule(covariance: Covariance, theta: Array) -> Array:
    """Return ∂Γ/∂T: both list the same entries, Γ's off the diagonal counted once."""
    out = np.zeros((covariance.n_entries, covariance.n_entries))
    for term, part, T in zip(
        covariance.terms, covariance.entry_slices, covariance.term_templates(theta)
    ):
        out[part, part] = _chain(term, T, *term.entries)
    return out


class TemplateSteps:
    """The directions of a step from one theta.

    Parameters
    ----------
    covariance : Covariance
    theta : ndarray (m,)
        Standardized.
    metrics : list of ndarray (k, k), optional
        Q'Q of each term if the templates are those of columns ZQ (see alignment.py): what does not
        rotate is that of the first columns, T'Q'QΔT symmetric.
    """

    def __init__(
        self, covariance: Covariance, theta: Array, metrics: Sequence[Array] | None = None
    ) -> None:
        self.covariance = covariance
        self.metrics = metrics or [np.eye(term.k) for term in covariance.terms]
        self.T = covariance.term_templates(theta)
        entries = [_entries(term) for term in covariance.terms]
        self.stops = np.cumsum([len(rows) for rows, _ in entries])
        self.slices = [
            slice(int(stop) - len(rows), int(stop)) for stop, (rows, _) in zip(self.stops, entries)
        ]
        self.entries = entries

    @cached_property
    def _basis(self) -> Array:
        """RS for orthonormal S that span the steps which are no rotations."""
        blocks = [
            _directions(term, T, metric)
            for term, T, metric in zip(self.covariance.terms, self.T, self.metrics)
        ]
        out = np.zeros((int(self.stops[-1]), sum(b.shape[1] for b in blocks)))
        column = 0
        for part, block in zip(self.slices, blocks):
            out[part, column : column + block.shape[1]] = block
            column += block.shape[1]
        return out

    def gradient(self, matrices: Sequence[Array]) -> Array:
        """Return the gradient along the basis from one matrix ∂d/∂T_i for each block."""
        picked = []
        for term, (rows, columns) in zip(self.covariance.terms, self.entries):
            picked.append(matrices[term.block][rows + term.first, columns + term.first])
        return np.asarray(self._basis.T @ np.concatenate(picked))

    def hessian(self, information: Array, G: Sequence[Array]) -> Array:
        """Return the Hessian along the basis.

        Parameters
        ----------
        information : ndarray (entries, entries)
            Of Γ, in the order of the covariance's entries.
        G : sequence of ndarray
            ∂d/∂Γ_i of each block; its curvature is C_(ab),(cd) = 2 [G_i]_ac δ_bd.
        """
        chain = np.zeros((int(self.stops[-1]), self.covariance.n_entries))
        H = np.zeros((len(chain), len(chain)))
        for term, own, part, T, (rows, columns) in zip(
            self.covariance.terms, self.slices, self.covariance.entry_slices, self.T, self.entries
        ):
            chain[own, part] = _chain(term, T, rows, columns)
            same = columns[:, None] == columns[None, :]
            H[own, own] = 2.0 * same * G[term.block][np.ix_(rows + term.first, rows + term.first)]
        H += matmul(matmul(chain, information), chain.T)
        return matmul(matmul(self._basis.T, H), self._basis)

    def apply(self, step: Array) -> Array:
        """Return theta after a step along the basis, lower triangular, diagonals non-negative."""
        full = self._basis @ step
        out = []
        for term, part, T, entries in zip(self.covariance.terms, self.slices, self.T, self.entries):
            moved = T.copy()
            moved[entries] += full[part]
            out.append(term.theta_of(lower_root(moved)))
        return np.concatenate(out)


def _directions(term: TermCovariance, T: Array, metric: Array) -> Array:
    """Return RS, entries row by row, for an orthonormal basis S of the steps that do not rotate."""
    k = term.k
    if term.structure == "iid":  # one direction: all variances of the term together
        return np.full((k, 1), np.sqrt(1.0 + T[0, 0] ** 2))
    if term.structure == "diag" or k == 1:
        return np.diag(np.sqrt(1.0 + np.diag(T) ** 2))
    U, values, _ = np.linalg.svd(T)
    R = (U * np.sqrt(1.0 + values**2)) @ U.T
    return np.asarray(np.kron(R, np.eye(k)) @ _horizontal(R @ metric @ T))


def _horizontal(T: Array) -> Array:
    """Return orthonormal columns that span {S : T'S symmetric}, entries row by row."""
    k = len(T)
    a, b = np.triu_indices(k, 1)
    rotations = np.zeros((len(a), k, k))
    which = np.arange(len(a))
    rotations[which, :, b] += T[:, a].T
    rotations[which, :, a] -= T[:, b].T
    _, values, Vt = np.linalg.svd(rotations.reshape(len(a), k * k))
    rank = int((values > _ROTATION_NOISE * max(values[0], 1e-300)).sum())
    return np.asarray(Vt[rank:].T)
