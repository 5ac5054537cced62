"""One stage of the blocked factor: a part of Z whose levels are not joined to one another.

With D_l the k × k diagonal blocks of the part and C its coupling to the rest, both cross-products
under V⁻¹ of the stages before, and T the template:

    M_l = T'D_lT + I = L_lL_l',    N_l = T M_l⁻¹T',    F_l = I - D_lN_l
    what remains:                  A_rest - C'NC = A_rest - H'H,   H_l = L_l⁻¹T'C_l
    [Z'V⁻¹Z]_ll = F_lD_l - F_lC_l N_rest C_l'F_l'

Nothing divides by T: the formulas hold for a singular template.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from mixedlm_ext.caching import cached_property
from mixedlm_ext.linalg import small
from mixedlm_ext.linalg.blas import is_full, matmul
from mixedlm_ext.solvers.costs import Costs
from mixedlm_ext.solvers.gram import DenseGram, Gram, PairGram, prefer_pairs
from mixedlm_ext.solvers.plan import Part, pairs_in_rows
from mixedlm_ext.solvers.root import DenseFactor, DenseRoot

Array = NDArray[np.float64]
Index = NDArray[np.intp]

__all__ = ["Elimination", "EliminationFactor", "Storage"]


class Storage:
    """The cells of a sparse remaining matrix, and which of them the next stage takes.

    Parameters
    ----------
    keys : ndarray (cells,)
        Sorted keys row·size + column of the lower triangle's entries.
    size : int
        Columns of Z in all.
    """

    def __init__(self, keys: Index, size: int) -> None:
        self.keys, self.size = keys, size
        self.n_cells = len(keys)

    def cells(self, rows: Index, columns: Index) -> Index:
        """Return the cells of these entries, which must be among the keys."""
        key = np.maximum(rows, columns) * self.size + np.minimum(rows, columns)
        return np.searchsorted(self.keys, key)


class Elimination:
    """The pattern of one stage.

    Parameters
    ----------
    part : Part
    rows, columns : ndarray (entries,)
        The coupling: level (position within the part) and column of Z in the order of elimination,
        by row.
    rest : Elimination, DenseRoot or None
        What remains.
    costs : Costs
    storage : Storage, optional
        Where this stage finds its cells; None for the first stage, which reads the cross-products.
    """

    def __init__(
        self,
        part: Part,
        rows: Index,
        columns: Index,
        rest: Elimination | DenseRoot | None,
        costs: Costs,
        storage: Storage | None = None,
    ) -> None:
        self.part, self.rest, self.storage = part, rest, storage
        self.rows = rows
        self.columns = columns - part.stop  # counted within the rest
        self.indptr = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=part.n))])
        if storage is not None:
            self._locate(storage)
        if rest is not None:
            self.n_rest = _size(rest)
            self.gram = self._choose_gram(costs)

    @property
    def n_cells(self) -> int:
        """Cells of the storage."""
        assert self.storage is not None
        return self.storage.n_cells

    def cells(self, rows: Index, columns: Index) -> Index:
        """Return the cells of the storage for entries of the columns from this part on."""
        assert self.storage is not None
        return self.storage.cells(rows + self.part.start, columns + self.part.start)

    def _locate(self, storage: Storage) -> None:
        """Find the diagonal, the coupling and the rest among the cells."""
        part = self.part
        own = part.start + np.arange(part.k)[:, None] * part.n + np.arange(part.n)
        a, b = np.broadcast_arrays(own[:, None, :], own[None, :, :])
        self.diagonal_cells = storage.cells(a, b)
        self.coupling_cells = storage.cells(own[:, self.rows], self.columns + part.stop)
        row, column = np.divmod(storage.keys, storage.size)
        self.rest_cells = np.flatnonzero(column >= part.stop)
        self.rest_places = self.rest_cells  # nothing, when nothing remains
        if self.rest is not None:
            r, c = row[self.rest_cells] - part.stop, column[self.rest_cells] - part.stop
            self.rest_places = self.rest.cells(r, c)

    def _choose_gram(self, costs: Costs) -> Gram:
        """Choose how to form H'H, by cost."""
        assert self.rest is not None
        dense = isinstance(self.rest, DenseRoot)
        if not dense or prefer_pairs(self.rows, self.n_rest, self.part.k, costs):
            s, t = pairs_in_rows(self.rows)
            cells = self.rest.cells(self.columns[s], self.columns[t])
            return PairGram(self.rows, self.part.n, s, t, cells, self.rest.n_cells)
        return DenseGram(self.rows, self.columns, self.part.n, self.n_rest, costs.chunk)

    def factor(self, cells: Array, templates: Sequence[Array]) -> EliminationFactor:
        """Factor this stage and the rest from the values of the storage's cells."""
        D, C = cells[self.diagonal_cells], cells[self.coupling_cells]
        return EliminationFactor(self, D, C, self.rest_places, cells[self.rest_cells], templates)


def _times(M: sparse.csr_array | sparse.csc_array | Array, B: Array) -> Array:
    """Return MB."""
    return matmul(M, B) if isinstance(M, np.ndarray) else np.asarray(M @ B)


def _size(rest: Elimination | DenseRoot) -> int:
    """Columns of Z from here on."""
    if isinstance(rest, DenseRoot):
        return rest.size
    own = rest.part.k * rest.part.n
    return own + (0 if rest.rest is None else _size(rest.rest))


class EliminationFactor:
    """The stage at one theta.

    Parameters
    ----------
    stage : Elimination
    D : ndarray (k, k, levels)
    C : ndarray (k, entries)
    places, values : ndarray
        Cells of the rest before this stage, and where they go.
    templates : sequence of ndarray
        Of every block.
    """

    rest: EliminationFactor | DenseFactor | None

    def __init__(
        self,
        stage: Elimination,
        D: Array,
        C: Array,
        places: Index,
        values: Array,
        templates: Sequence[Array],
    ) -> None:
        self.stage, self.D, self.C = stage, D, C
        self.T = templates[stage.part.block]
        k = len(self.T)
        M = small.congruence(self.T, D)
        M[np.arange(k), np.arange(k)] += 1.0
        self.L = small.cholesky(M)
        self.logdet = float(2.0 * np.log(self.L[np.arange(k), np.arange(k)]).sum())
        self.G = small.solve_lower(self.L, self.T.T)  # L⁻¹T'
        self.rest = None
        if stage.rest is not None:
            self.H = self._expand(self.G)
            remaining = np.zeros(stage.rest.n_cells)
            remaining[places] = values
            stage.gram.subtract(self.H, remaining)
            self.rest = stage.rest.factor(remaining, templates)
            self.logdet += self.rest.logdet

    def _expand(self, small_matrices: Array) -> Array:
        """Return the product of (k, k, levels) matrices with the coupling, (k, entries)."""
        return small.at_entries(small_matrices, self.C, self.stage.rows, self.stage.indptr)

    @cached_property
    def _H_matrix(self) -> sparse.csr_array | Array:
        """H as one matrix, (k·levels, rest); dense if much of it is there."""
        stage, k = self.stage, len(self.T)
        entries = len(stage.rows)
        if is_full(entries, stage.part.n * stage.n_rest):
            out = np.zeros((k, stage.part.n, stage.n_rest))
            out[:, stage.rows, stage.columns] = self.H
            return out.reshape(-1, stage.n_rest)
        indptr = np.concatenate(
            [stage.indptr[:-1] + a * entries for a in range(k)] + [[k * entries]]
        )
        return sparse.csr_array(
            (self.H.ravel(), np.tile(stage.columns, k), indptr),
            shape=(k * stage.part.n, stage.n_rest),
        )

    def half_solve(self, r: Array) -> Array:
        """Return c = L⁻¹Λ'r for r (size, c)."""
        own = self.stage.part.k * self.stage.part.n
        c1 = self._apply(self.G, r[:own])
        if self.rest is None:
            return c1
        c2 = self.rest.half_solve(r[own:] - _times(self._H_matrix.T, c1))
        return np.concatenate([c1, c2])

    def back_solve(self, c: Array) -> Array:
        """Return b = ΛL⁻ᵀc for c (size, c)."""
        own = self.stage.part.k * self.stage.part.n
        c1 = c[:own]
        if self.rest is None:
            return self._apply(self.G.transpose(1, 0, 2), c1)
        b2 = self.rest.back_solve(c[own:])
        b1 = self._apply(self.G.transpose(1, 0, 2), c1 - _times(self._H_matrix, b2))
        return np.concatenate([b1, b2])

    def _apply(self, small_matrices: Array, r: Array) -> Array:
        """Multiply the part's rows of r (k·levels, c) by (k, k, levels) matrices."""
        k = len(self.T)
        if k == 1:
            return small_matrices[0, 0][:, None] * r
        stacked = r.reshape(k, self.stage.part.n, -1)
        return small.times_each(small_matrices, stacked).reshape(r.shape)

    @cached_property
    def _N(self) -> Array:
        """N = TM⁻¹T' = G'G."""
        return small.product(self.G.transpose(1, 0, 2), self.G)

    @cached_property
    def _large(self) -> tuple[Array, Array] | None:
        """See `small.large_directions`."""
        return small.large_directions(self.T, np.einsum("aal->al", self.D).max(axis=1))

    @cached_property
    def _F(self) -> Array:
        """F = I - DN = (I + DΓ)⁻¹ = Γ⁻¹N."""
        k = len(self.T)
        if k == 1:
            return 1.0 / self.L**2
        F = -small.product(self.D, self._N)
        F[np.arange(k), np.arange(k)] += 1.0
        if self._large is None:
            return F
        inverse, rest = self._large
        F = rest @ F.reshape(k, -1) + inverse @ self._N.reshape(k, -1)
        return np.asarray(F.reshape(self._N.shape), dtype=float)

    def level_information(self) -> Array:
        """Return F_lD_l, which is Z_l'V⁻¹Z_l where nothing remains."""
        FD = small.product(self._F, self.D)
        if len(self.T) == 1 or self._large is None:
            return FD
        # rows along the large directions have their digits; the others take theirs by symmetry
        _, rest = self._large
        large = np.eye(len(rest)) - rest
        mixed = np.tensordot(FD, large, axes=(0, 0)) + np.tensordot(FD, rest, axes=(1, 0))
        out = np.tensordot(large, FD, axes=1)
        out += np.tensordot(rest, mixed, axes=1).transpose(0, 2, 1)  # (a, level, d) before
        return out

    def add_information(self, K: list[Array], KT: list[Array]) -> None:
        """Add Σ_l [Z'V⁻¹Z]_ll to K and its product with T to KT, here and in the rest."""
        own = self.level_information().sum(axis=2)
        if self.rest is not None:
            own = own - self.stage.gram.information(self._expand(self._F), self.rest)
            self.rest.add_information(K, KT)
        own = 0.5 * (own + own.T)
        K[self.stage.part.block] += own
        KT[self.stage.part.block] += own @ self.T

    @cached_property
    def _Psi(self) -> Array:
        """NC, the coupling seen from the inverse."""
        return self._expand(self._N)

    @cached_property
    def _own_inverse(self) -> Array:
        """The k × k diagonal blocks N_l + N_lC_l N_rest C_l'N_l of the whole inverse."""
        if self.rest is None:
            return self._N
        return self._N + self.stage.gram.levelwise(self._Psi, self.rest)

    def diagonal_blocks(self, out: list[Array]) -> None:
        """Write the k × k diagonal blocks of ΛM⁻¹Λ' into `out`, (k, k, levels) for each block."""
        part = self.stage.part
        out[part.block][:, :, part.levels] = self._own_inverse
        if self.rest is not None:
            self.rest.diagonal_blocks(out)

    def inverse_entries(self, places: Index) -> tuple[Array, Array, Array]:
        """Return ΛM⁻¹Λ' on the diagonal, on the coupling, and on the cells `places` of the rest."""
        if self.rest is None:
            return self._own_inverse, np.zeros_like(self.C), np.zeros(0)
        coupling = -self.stage.gram.times_inverse(self._Psi, self.rest)
        return self._own_inverse, coupling, self.rest.inverse_at(places)

    @cached_property
    def _inverse_cells(self) -> Array:
        """The inverse ΛM⁻¹Λ' on every cell of the storage."""
        stage = self.stage
        out = np.empty(stage.n_cells)
        out[stage.diagonal_cells] = self._own_inverse
        if self.rest is not None:
            out[stage.coupling_cells] = -stage.gram.times_inverse(self._Psi, self.rest)
            out[stage.rest_cells] = self.rest.inverse_at(stage.rest_places)
        return out

    def inverse_at(self, cells: Index) -> Array:
        """Return entries of ΛM⁻¹Λ' at `cells` of the storage."""
        return np.asarray(self._inverse_cells[cells])
