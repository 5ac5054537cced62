"""A symmetric matrix of the columns of Z by blocks: what levels have alone, and pairs that meet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from mixedlm_ext.caching import cached_property
from mixedlm_ext.linalg import small
from mixedlm_ext.linalg.blas import is_full, matmul
from mixedlm_ext.linalg.keys import distinct_keys
from mixedlm_ext.products.pieces import BlockProducts
from mixedlm_ext.products.supports import Diagonal, LevelSquares, diagonal_of

Array = NDArray[np.float64]
Index = NDArray[np.intp]

__all__ = ["BlockMatrix", "Coupling"]

_FEW = 60
"""Columns up to which a dense product is less work than the call of a sparse one."""
_MANY = 1_000_000
"""Pairs of levels from which on no sparse matrix of all columns is formed."""


@dataclass(frozen=True, eq=False)
class Coupling:
    """Z_i'WZ_j of two blocks: the pairs of levels that meet in some row.

    Parameters
    ----------
    rows, columns : ndarray (pairs,)
        Levels in blocks i and j, sorted by row, then column.
    values : ndarray (k_i, k_j, pairs)
    """

    rows: Index
    columns: Index
    values: Array

    def scaled(self, factor: float) -> Coupling:
        """Return the coupling times a number."""
        return Coupling(self.rows, self.columns, factor * self.values)

    def between(self, left: Array | None, right: Array | None) -> Coupling:
        """Return M'CN at every pair of levels; None stands for I."""
        values = self.values
        if left is not None:
            values = np.einsum("ar,abp->rbp", left, values)
        if right is not None:
            values = np.einsum("abp,bs->asp", values, right)
        return Coupling(self.rows, self.columns, values)

    def plus(self, other: Coupling, sign: float, levels: int) -> Coupling:
        """Return the sum with another one, times a sign, on the pairs of either; block j's levels.

        The pairs of a larger coupling are kept where the other has no more.
        """
        if self.rows is other.rows and self.columns is other.columns:
            return Coupling(self.rows, self.columns, self.values + sign * other.values)
        mine = self.rows * levels + self.columns
        theirs = other.rows * levels + other.columns
        places = np.searchsorted(mine, theirs)
        if not len(theirs) or (
            len(mine) and (mine[np.minimum(places, len(mine) - 1)] == theirs).all()
        ):
            values = self.values.copy()
            values[:, :, places] += sign * other.values
            return Coupling(self.rows, self.columns, values)
        keys = distinct_keys(np.concatenate([mine, theirs]))
        values = np.zeros((*self.values.shape[:2], len(keys)))
        values[:, :, np.searchsorted(keys, mine)] = self.values
        values[:, :, np.searchsorted(keys, theirs)] += sign * other.values
        rows, columns = np.divmod(keys, levels)
        return Coupling(rows, columns, values)


@dataclass(frozen=True, eq=False)
class BlockMatrix:
    """A symmetric matrix of the columns of Z by blocks, such as Z'WZ.

    Parameters
    ----------
    shapes : tuple of (int, int)
        Columns a level and levels, for each block.
    diagonal : sequence of ndarray (k, k, levels)
        A_ii at the same level twice; a `Diagonal` where levels have few of the columns.
    couplings : dict of (i, j), i <= j, to Coupling
        A_ij; with i = j what joins two levels of one block, each pair once, the larger level first.
    """

    shapes: tuple[tuple[int, int], ...]
    diagonal: Sequence[Array]
    couplings: dict[tuple[int, int], Coupling]

    def __getstate__(self) -> dict[str, Any]:
        """Leave out other forms of the same numbers."""
        return {f.name: getattr(self, f.name) for f in fields(self)}

    def squares(self, i: int) -> LevelSquares | None:
        """Return A_ii of the columns that each level has; None if it is kept whole."""
        if not isinstance(self.diagonal, Diagonal):
            return None
        part = self.diagonal.parts[i]
        return part if isinstance(part, LevelSquares) else None

    def total(self, i: int) -> Array:
        """Return the sum of A_ii over the levels, (k, k)."""
        squares = self.squares(i)
        return self.diagonal[i].sum(axis=2) if squares is None else squares.total

    def squared_lengths(self, i: int) -> Array:
        """Return the diagonal of that sum, (k,)."""
        squares = self.squares(i)
        if squares is None:
            return np.einsum("aal->a", self.diagonal[i])
        return np.diag(squares.total)

    def sizes(self, i: int) -> Array:
        """Return the trace of A_ii at every level, (levels,)."""
        squares = self.squares(i)
        return np.einsum("aal->l", self.diagonal[i] if squares is None else squares.values)

    @cached_property
    def offsets(self) -> Index:
        """Where each block starts among the columns of Z; the last entry is q."""
        return np.cumsum([0, *(k * levels for k, levels in self.shapes)])

    @cached_property
    def own(self) -> list[tuple[slice, tuple[int, int]]]:
        """The part of the columns of Z that is each block's, and its shape."""
        ends = self.offsets.tolist()
        return [(slice(a, b), shape) for a, b, shape in zip(ends, ends[1:], self.shapes)]

    @cached_property
    def largest(self) -> list[Array]:
        """The largest diagonal entries over the levels, (k,) for each block."""
        return [self._largest(i) for i in range(len(self.shapes))]

    def _largest(self, i: int) -> Array:
        """Return the largest diagonal entries of A_ii, (k,)."""
        squares = self.squares(i)
        if squares is not None:
            return squares.largest
        return np.asarray(np.einsum("aal->al", self.diagonal[i]).max(axis=1))

    @cached_property
    def average(self) -> list[Array]:
        """The mean of A_ll over the levels, (k, k) for each block."""
        return [self.total(i) / max(levels, 1) for i, (_, levels) in enumerate(self.shapes)]

    @property
    def pairs(self) -> dict[tuple[int, int], tuple[Index, Index]]:
        """Which levels of blocks i and j meet."""
        return {key: (c.rows, c.columns) for key, c in self.couplings.items()}

    def times(self, M: Array) -> Array:
        """Return the product with a matrix (q, c) or a vector."""
        if self.offsets[-1] <= _FEW or self._is_full:
            return matmul(self.dense, M)
        dense = all(self.squares(i) is None for i in range(len(self.shapes)))
        if dense and sum(len(c.rows) for c in self.couplings.values()) >= _MANY:
            return self._by_blocks.times(M)
        return np.asarray(self.sparse @ M)

    @cached_property
    def _by_blocks(self) -> BlockProducts:
        """What multiplies by the matrix without another one."""
        own = {key: (c.rows, c.columns, c.values) for key, c in self.couplings.items()}
        return BlockProducts(self.shapes, self.diagonal, own)

    @cached_property
    def dense(self) -> Array:
        """The whole matrix, (q, q)."""
        q = self.offsets[-1]
        out = np.zeros((q, q))
        for rows, columns, values in zip(*self._entries()):
            out[rows, columns] = values
        return out

    @property
    def _is_full(self) -> bool:
        """Whether so many entries are there that a dense matrix is multiplied faster."""
        pairs = sum(c.values.size for c in self.couplings.values())
        return is_full(2 * pairs, int(self.offsets[-1]) ** 2)

    @property
    def square(self) -> float:
        """The sum of the squares of all entries."""
        return self.dot(self)

    @cached_property
    def sparse(self) -> sparse.csr_array:
        """The whole matrix, (q, q)."""
        rows, columns, values = self._entries()
        q = self.offsets[-1]
        index = (np.concatenate(rows), np.concatenate(columns))
        return sparse.csr_array((np.concatenate(values), index), shape=(q, q))

    def _entries(self) -> tuple[list[Index], list[Index], list[Array]]:
        """Rows, columns and values of all entries, piece by piece."""
        none = np.zeros(0, np.intp)
        rows, columns, values = [none], [none], [np.zeros(0)]
        for i, (k, levels) in enumerate(self.shapes):
            level = np.arange(levels)
            squares = self.squares(i)
            if squares is not None:
                one, two, at, own = squares.entries()
                rows.append(self.offsets[i] + one * levels + at)
                columns.append(self.offsets[i] + two * levels + at)
                values.append(own)
                continue
            for a in range(k):
                for b in range(k):
                    rows.append(self.offsets[i] + a * levels + level)
                    columns.append(self.offsets[i] + b * levels + level)
                    values.append(self.diagonal[i][a, b])
        for (i, j), c in self.couplings.items():
            for a in range(self.shapes[i][0]):
                for b in range(self.shapes[j][0]):
                    r = self.offsets[i] + a * self.shapes[i][1] + c.rows
                    s = self.offsets[j] + b * self.shapes[j][1] + c.columns
                    rows += [r, s]
                    columns += [s, r]
                    values += [c.values[a, b]] * 2
        return rows, columns, values

    def joined(self, i: int) -> bool:
        """Say whether levels of block i are joined to one another."""
        return (i, i) in self.couplings and len(self.couplings[i, i].rows) > 0

    def dot(self, other: BlockMatrix) -> float:
        """Return the sum of the products of all entries with those of one of the same pattern."""
        out = sum(float(np.vdot(D, E)) for D, E in zip(self.diagonal, other.diagonal))
        for key, c in self.couplings.items():
            out += 2.0 * float(np.vdot(c.values, other.couplings[key].values))
        return out

    def scaled(self, factor: float) -> BlockMatrix:
        """Return the matrix times a number."""
        couplings = {key: c.scaled(factor) for key, c in self.couplings.items()}
        return BlockMatrix(self.shapes, self._scaled_diagonal(factor), couplings)

    def _scaled_diagonal(self, factor: float) -> Sequence[Array]:
        """Return A_ii times a number, of every block."""
        if not isinstance(self.diagonal, Diagonal):
            return [factor * D for D in self.diagonal]
        return Diagonal(
            [
                replace(part, values=factor * part.values)
                if isinstance(part, LevelSquares)
                else factor * part
                for part in self.diagonal.parts
            ]
        )

    def plus(self, other: BlockMatrix, sign: float) -> BlockMatrix:
        """Return the sum with another one, times a sign."""
        diagonal = [D + sign * E for D, E in zip(self.diagonal, other.diagonal)]
        couplings = {
            (i, j): c.plus(other.couplings[i, j], sign, self.shapes[j][1])
            if (i, j) in other.couplings
            else c
            for (i, j), c in self.couplings.items()
        }
        couplings |= {
            key: c.scaled(sign) for key, c in other.couplings.items() if key not in couplings
        }
        return BlockMatrix(self.shapes, diagonal, couplings)

    def congruent(self, maps: Mapping[int, Array | None]) -> BlockMatrix:
        """Return the matrix of the columns Z_iM_i of some blocks, in the order of `maps`.

        M_i (k, r) is the same at every level; None stands for I.
        """
        place = {block: new for new, block in enumerate(maps)}
        shapes = tuple(
            (self.shapes[i][0] if M is None else M.shape[1], self.shapes[i][1])
            for i, M in maps.items()
        )
        couplings = {
            (place[i], place[j]): c.between(maps[i], maps[j])
            for (i, j), c in self.couplings.items()
            if i in place and j in place
        }
        diagonal = [self._between(i, M) for i, M in maps.items()]
        return BlockMatrix(shapes, diagonal_of(diagonal), couplings)

    def _between(self, i: int, M: Array | None) -> Array | LevelSquares:
        """Return M'A_iiM at every level."""
        squares = self.squares(i)
        if squares is not None:
            support = squares.support if M is None else squares.support.selected(M)
            if support is not None:
                return LevelSquares(support, squares.values)
        return self.diagonal[i] if M is None else small.congruence(M, self.diagonal[i])
