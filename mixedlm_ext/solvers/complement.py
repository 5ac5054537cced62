"""What remains of Z'WZ when the largest block is eliminated, known by its products.

With A_11 the diagonal blocks of the largest block 1, A_1r its couplings and N_1 = T_1M_1⁻¹T_1':

    B = A_rr - A_r1 N_1 A_1r,      D_l = B_ll,      log|M| = log|M_1| + log|Λ_r'BΛ_r + I|

B is applied, and its k × k diagonal blocks are sums over the pairs of levels that meet. Where a
level of block 1 meets few others, what B joins is few pairs and cheaper to form than to apply in
parts; otherwise no matrix of this size is formed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from mixedlm_ext.caching import cached_property
from mixedlm_ext.linalg import small
from mixedlm_ext.products.block_matrix import BlockMatrix, Coupling

Array = NDArray[np.float64]
Index = NDArray[np.intp]
Blocks = Sequence[Array]

__all__ = ["Complement", "Couplings", "blockwise"]

_FORMED = 30
"""Products of two entries for each entry of A_1r up to which B is formed: at each theta it is
applied to some thousand columns, where A_1r would be applied twice."""
_LOOKED_AT = 256
"""Columns of B whose entries are counted to learn how many it has."""
_PIECE = 1 << 20
"""Pairs of levels, or numbers beside the levels of block 1, that are computed at once."""


def blockwise(matrices: Blocks, X: Array) -> Array:
    """Multiply the rows of X (q, c), block by block, by matrices (r, k, levels) of every level."""
    out, start = [], 0
    for M in matrices:
        r, k, levels = M.shape
        own = X[start : start + k * levels]
        start += k * levels
        if r == k == 1:
            out.append(M[0, 0][:, None] * own)
        else:
            product = np.einsum(
                "abl,blc->alc", M, own.reshape(k, levels, X.shape[1]), optimize=True
            )
            out.append(product.reshape(r * levels, X.shape[1]))
    return np.concatenate(out) if out else X


class Couplings:
    """The numbers of Z'WZ with the largest block and the others apart; theta plays no part.

    Parameters
    ----------
    A : BlockMatrix
        Blocks ordered by size, largest first.
    """

    def __init__(self, A: BlockMatrix) -> None:
        self.A = A
        self.shapes = A.shapes
        self.diagonal = A.diagonal
        self.first = int(A.offsets[1])
        self.size = int(A.offsets[-1]) - self.first
        self.to_first = {j: c for (i, j), c in A.couplings.items() if i == 0}
        self.across = _sparse(
            [_entries(A, 0, j, shift=(0, self.first)) for j in self.to_first],
            (self.first, self.size),
        )
        inside = [key for key in A.couplings if key[0] > 0]
        self.within: sparse.csr_array | None = None
        if inside:
            entries = [_entries(A, i, j, shift=(self.first, self.first)) for i, j in inside]
            self.within = _sparse(entries, (self.size, self.size))

    @cached_property
    def is_formed(self) -> bool:
        """Whether B is formed at each theta: that takes few products, and it has few entries."""
        counts = np.diff(self.across.indptr).astype(float)
        entries = counts.sum()
        if not entries or float(counts @ counts) > _FORMED * entries:
            return False
        own = np.unique(np.linspace(0, self.size - 1, _LOOKED_AT).astype(int))
        share = (self.adjoint[own] @ self.across).nnz / len(own)
        return share * self.size <= 2.0 * entries

    @cached_property
    def adjoint(self) -> sparse.csr_array:
        """A_r1, by its rows."""
        return sparse.csr_array(self.across.T)

    @cached_property
    def _level_of_entry(self) -> Index:
        """The level of block 1 that each entry of A_1r belongs to, those of its first column."""
        levels = self.shapes[0][1]
        counts = np.diff(self.across.indptr[: levels + 1])
        return np.repeat(np.arange(levels, dtype=self.across.indices.dtype), counts)

    @cached_property
    def _node(self) -> Index:
        """Which level of the other blocks each column of theirs belongs to."""
        offsets = np.cumsum([0, *(levels for _, levels in self.shapes[1:])])
        each = [np.tile(start + np.arange(n), k) for (k, n), start in zip(self.shapes[1:], offsets)]
        return np.concatenate(each)

    def taken(self, N: Array) -> sparse.csr_array:
        """Return A_r1 N A_1r without its diagonal blocks, for N (k_1, k_1, levels)."""
        level, k = self._level_of_entry, self.shapes[0][0]
        data = self.across.data.reshape(k, -1)  # the k columns of a level have the same pattern
        NA = np.zeros_like(data)
        for a, b in np.ndindex(k, k):
            NA[a] += N[a, b][level] * data[b]
        seen = sparse.csr_array(
            (NA.ravel(), self.across.indices, self.across.indptr), shape=self.across.shape
        )
        out = self.adjoint @ seen
        rows = np.repeat(self._node, np.diff(out.indptr))
        out.data[rows == self._node[out.indices]] = 0.0
        return out


def _entries(A: BlockMatrix, i: int, j: int, shift: tuple[int, int]) -> tuple[Index, Index, Array]:
    """Return rows, columns and values of a coupling, counted from `shift` on."""
    c = A.couplings[i, j]
    a = np.arange(A.shapes[i][0])[:, None, None] * A.shapes[i][1] + A.offsets[i] - shift[0]
    b = np.arange(A.shapes[j][0])[None, :, None] * A.shapes[j][1] + A.offsets[j] - shift[1]
    rows, columns = np.broadcast_arrays(a + c.rows, b + c.columns)
    return rows.ravel(), columns.ravel(), c.values.ravel()


def _sparse(entries: list[tuple[Index, Index, Array]], shape: tuple[int, int]) -> sparse.csr_array:
    """Return a sparse matrix whose indices take no more memory than they must."""
    if not entries:
        return sparse.csr_array(shape)
    rows, columns, values = (np.concatenate(part) for part in zip(*entries))
    kind = np.int32 if max(shape) < np.iinfo(np.int32).max else np.intp
    return sparse.csr_array((values, (rows.astype(kind), columns.astype(kind))), shape=shape)


class Complement:
    """B and D at one template of the largest block.

    Parameters
    ----------
    couplings : Couplings
    T : ndarray (k, k)
        The template of the largest block.

    Attributes
    ----------
    logdet : float
        log|M_1|.
    N : ndarray (k, k, levels)
        N_1.
    D : list of ndarray (k, k, levels)
        The diagonal blocks of B, for each of the other blocks.
    """

    def __init__(self, couplings: Couplings, T: Array) -> None:
        self._of, self._T = couplings, T
        A, k = couplings.diagonal[0], len(T)
        M = small.congruence(T, A)
        M[np.arange(k), np.arange(k)] += 1.0
        L = small.cholesky(M)
        G = small.solve_lower(L, T.T)
        self.N = small.product(G.transpose(1, 0, 2), G)
        self.logdet = float(2.0 * np.log(L[np.arange(k), np.arange(k)]).sum())
        self._taken = [np.zeros_like(own) for own in couplings.diagonal[1:]]
        for j, c in couplings.to_first.items():
            self._taken[j - 1] = _sums(c, self.N, couplings.shapes[j][1])
        self.D = [own - taken for own, taken in zip(couplings.diagonal[1:], self._taken)]

    def off_diagonal(self, X: Array) -> Array:
        """Return (B - D)X for X (rest, c)."""
        if self._of.is_formed:
            out = -(self._formed @ X)
        else:
            out = blockwise(self._taken, X) - self._of.across.T @ blockwise([self.N], self.seen(X))
        if self._of.within is not None:
            out += self._of.within @ X
            out += self._of.within.T @ X
        return out

    @cached_property
    def _formed(self) -> sparse.csr_array:
        """A_r1N_1A_1r without its diagonal blocks."""
        return self._of.taken(self.N)

    def seen(self, X: Array) -> Array:
        """Return A_1rX, (k_1·levels_1, c)."""
        return np.asarray(self._of.across @ X)

    def reduced(self, H: Array) -> Array:
        """Return H_r - A_r1N_1H_1 for H (q, c)."""
        first = self._of.first
        return np.asarray(H[first:] - self._of.across.T @ blockwise([self.N], H[:first]))

    def completed(self, H: Array, rest: Array) -> Array:
        """Return NH from its rows of the other blocks: N_1(H_1 - A_1r b_r) above b_r."""
        own = H[: self._of.first] - self.seen(rest)
        return np.concatenate([blockwise([self.N], own), rest])

    @cached_property
    def F(self) -> Array:
        """F = I - A_11N_1 of every level."""
        return weakened(self._of.diagonal[0], self.N, self._T)

    @cached_property
    def _shares(self) -> dict[int, Array]:
        """Σ_u (F_uA_ul)'(F_uA_ul)' of every level l of the others, (k, k, k_1, k_1, levels).

        With dN_1 = F'dΓ_1F, their products with ∂/∂D_l are what D contributes to ∂/∂Γ_1.
        """
        out = {}
        for j, c in self._of.to_first.items():
            k, levels = self._of.shapes[j]
            k1 = len(self.F)
            out[j] = np.zeros((k, k, k1, k1, levels))
            for own in _pieces(len(c.rows), _PIECE):
                FA = small.product(self.F[:, :, c.rows[own]], c.values[:, :, own])
                for b, d, a, e in np.ndindex(k, k, k1, k1):
                    products = FA[a, b] * FA[e, d]
                    out[j][b, d, a, e] += np.bincount(c.columns[own], products, levels)
        return out

    def own_information(self) -> Array:
        """Return Σ_u F_uA_uu, which is ∂log|M_1|/∂Γ_1."""
        return np.asarray(small.product(self.F, self._of.diagonal[0]).sum(axis=2))

    def by_diagonal(self, P: Blocks) -> Array:
        """Return Σ_l <P_l, dD_l> as a matrix of dΓ_1, for P (k, k, levels) of the other blocks."""
        out = np.zeros(self._T.shape)
        for j, share in self._shares.items():
            out -= np.einsum("bdl,bdael->ae", P[j - 1], share, optimize=True)
        return out

    def by_product(self, X: Array) -> Array:
        """Return every x_c' dB x_c as a matrix of dΓ_1, (c, k_1, k_1), for X (rest, c)."""
        k, levels = self._of.shapes[0]
        out = np.empty((X.shape[1], k, k))
        for own in _pieces(X.shape[1], max(1, _PIECE // max(1, k * levels))):
            seen = blockwise([self.F], self.seen(X[:, own]))
            seen = seen.reshape(k, levels, own.stop - own.start)
            out[own] = np.einsum("alc,blc->cab", seen, seen, optimize=True)
        return -out


def weakened(D: Array, N: Array, T: Array) -> Array:
    """Return F = I - DN = (I + DΓ)⁻¹ of every level."""
    k = len(T)
    if k == 1:
        return 1.0 / (1.0 + T[0, 0] ** 2 * D)
    F = -small.product(D, N)
    F[np.arange(k), np.arange(k)] += 1.0
    large = small.large_directions(T, np.einsum("aal->al", D).max(axis=1))
    if large is None:
        return F
    inverse, rest = large
    F = rest @ F.reshape(k, -1) + inverse @ N.reshape(k, -1)
    return np.asarray(F.reshape(N.shape), dtype=float)


def _sums(c: Coupling, N: Array, levels: int) -> Array:
    """Return Σ_u A_lu N_u A_ul of every level l, (k, k, levels)."""
    k1, k, _ = c.values.shape
    out = np.zeros((k, k, levels))
    for own in _pieces(len(c.rows), _PIECE):
        values = c.values[:, :, own]
        NA = small.product(N[:, :, c.rows[own]], values)
        for b in range(k):
            for d in range(b + 1):
                products = values[0, b] * NA[0, d]
                for a in range(1, k1):
                    products += values[a, b] * NA[a, d]
                out[b, d] += np.bincount(c.columns[own], products, levels)
    for b in range(k):
        out[:b, b] = out[b, :b]
    return out


def _pieces(n: int, size: int) -> Iterator[slice]:
    """Cut n things into pieces."""
    return (slice(start, min(start + size, n)) for start in range(0, n, size))
