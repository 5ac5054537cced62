"""Blocks whose levels have few of the columns each: Z_l'WZ_l of the columns that level l has.

A factor of many columns, such as one for each distinct time of the data, has rows of a few of them
at each level. Z_l'WZ_l is zero elsewhere, whatever W is, and so is V⁻¹ seen from the level:

    Z_l = Z_lP_l'P_l,   Z_l'WZ_l = P_l'D_lP_l,   Z_l'V⁻¹Z_l = P_l'(...)P_l

with P_l the selection of the m_l columns that level l has. Arrays of levels are (m, ..., levels), m
the largest m_l: levels that have fewer columns are filled up with zeros.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from mixedlm_ext.linalg.keys import distinct_keys

Array = NDArray[np.float64]
Index = NDArray[np.intp]

__all__ = ["Diagonal", "LevelCells", "LevelSquares", "Support", "cells_of_rows", "diagonal_of"]

_MANY = 16
"""Columns of a block from which on it may pay to look at those of each level alone."""
_SHARE = 0.5
"""Share of the columns that a level may have at most for that."""


@dataclass(frozen=True, eq=False)
class Support:
    """Which columns each level of a block has.

    Parameters
    ----------
    k : int
        Columns of the block.
    columns : ndarray (m, levels)
        Each once; what is filled up is 0.
    present : ndarray of bool (m, levels)
        Whether that is a column, and nothing filled up.
    """

    k: int
    columns: Index
    present: NDArray[np.bool_]

    @property
    def levels(self) -> int:
        """Number of levels."""
        return int(self.columns.shape[1])

    @property
    def pairs(self) -> tuple[Index, Index]:
        """The columns of every pair that a level has, each (m, m, levels)."""
        one, two = np.broadcast_arrays(self.columns[:, None], self.columns[None])
        return one, two

    def take(self, own: Array) -> Array:
        """Return Ph (m, levels, ...) of h (k, levels, ...)."""
        out = own[self.columns, np.arange(self.levels)]
        return np.where(self.present.reshape(*self.present.shape, *[1] * (own.ndim - 2)), out, 0.0)

    def put(self, own: Array) -> Array:
        """Return P'h (k, levels, ...) of h (m, levels, ...)."""
        out = np.zeros((self.k, *own.shape[1:]))
        place, level = np.nonzero(self.present)
        out[self.columns[place, level], level] = own[place, level]
        return out

    def squares(self, matrix: Array) -> Array:
        """Return PMP' of every level, (m, m, levels), of one matrix M (k, k)."""
        both = self.present[:, None] & self.present[None]
        return np.where(both, matrix[self.columns[:, None], self.columns[None]], 0.0)

    def sum(self, own: Array) -> Array:
        """Return Σ_l P_l'M_lP_l (k, k) of matrices (m, m, levels)."""
        key = self.columns[:, None] * self.k + self.columns[None]
        both = self.present[:, None] & self.present[None]
        total = np.bincount(key[both], own[both], self.k**2)
        return np.asarray(total.reshape(self.k, self.k), dtype=float)

    def whole(self, own: Array) -> Array:
        """Return P'MP of every level, (k, k, levels), of matrices (m, m, levels)."""
        out = np.zeros((self.k, self.k, self.levels))
        a, b, level = np.nonzero(self.present[:, None] & self.present[None])
        out[self.columns[a, level], self.columns[b, level], level] = own[a, b, level]
        return out

    def selected(self, M: Array) -> Support | None:
        """Return which columns of ZM each level has; None if M (k, r) does more than to choose."""
        chosen = (M != 0).sum(axis=0)
        if (chosen > 1).any() or ((M != 0).sum(axis=1) != 1).any() or not (M[M != 0] == 1).all():
            return None
        place = np.argmax(M != 0, axis=1)
        return Support(M.shape[1], np.where(self.present, place[self.columns], 0), self.present)


@dataclass(frozen=True, eq=False)
class LevelSquares:
    """A symmetric matrix at every level, of the columns that it has.

    Parameters
    ----------
    support : Support
    values : ndarray (m, m, levels)
    """

    support: Support
    values: Array

    @property
    def total(self) -> Array:
        """The sum over the levels, (k, k)."""
        return self.support.sum(self.values)

    @property
    def whole(self) -> Array:
        """The matrices of all columns, (k, k, levels)."""
        return self.support.whole(self.values)

    @property
    def largest(self) -> Array:
        """The largest diagonal entries over the levels, (k,)."""
        out = np.zeros(self.support.k)
        own = np.einsum("aal->al", self.values)
        np.maximum.at(out, self.support.columns, np.where(self.support.present, own, 0.0))
        return out

    def entries(self) -> tuple[Index, Index, Index, Array]:
        """Return two columns, the level and the value of every entry."""
        support = self.support
        a, b, level = np.nonzero(support.present[:, None] & support.present[None])
        columns = support.columns
        return columns[a, level], columns[b, level], level, self.values[a, b, level]


class Diagonal(Sequence[Array]):
    """Matrices (k, k, levels) of blocks, made of those of the columns that levels have when read.

    Parameters
    ----------
    parts : sequence of ndarray or LevelSquares
    """

    def __init__(self, parts: Sequence[Array | LevelSquares]) -> None:
        self.parts = list(parts)

    def __len__(self) -> int:
        """Return the number of blocks."""
        return len(self.parts)

    @overload
    def __getitem__(self, i: int) -> Array: ...
    @overload
    def __getitem__(self, i: slice) -> list[Array]: ...
    def __getitem__(self, i: int | slice) -> Array | list[Array]:
        """Return the matrices of a block."""
        if isinstance(i, slice):
            return [self[j] for j in range(len(self))[i]]
        part = self.parts[i]
        return part.whole if isinstance(part, LevelSquares) else part

    def __iter__(self) -> Iterator[Array]:
        """Go through the blocks."""
        return (self[i] for i in range(len(self)))


def diagonal_of(parts: Sequence[Array | LevelSquares]) -> Sequence[Array]:
    """Return the matrices of blocks: as they are, if all are whole."""
    whole = [part for part in parts if not isinstance(part, LevelSquares)]
    return whole if len(whole) == len(parts) else Diagonal(parts)


@dataclass(frozen=True, eq=False)
class LevelCells:
    """The rows of a block, in the columns that each level has.

    Parameters
    ----------
    support : Support
    place, level : ndarray (cells,)
        Of each column that a level has.
    Z : csr_array (n, cells)
    """

    support: Support
    place: Index
    level: Index
    Z: sparse.csr_array

    @property
    def squares(self) -> LevelSquares:
        """Z_l'Z_l."""
        m = len(self.support.columns)
        gram = sparse.coo_array(self.Z.T @ self.Z)
        a, b = gram.coords
        out = np.zeros((m, m, self.support.levels))
        out[self.place[a], self.place[b], self.level[a]] = gram.data
        return LevelSquares(self.support, out)

    def sums(self, responses: Sequence[Array]) -> Array:
        """Return Z_l'r of some responses (n,), (k·levels, c)."""
        out = np.zeros((self.support.k, self.support.levels, len(responses)))
        columns = self.support.columns[self.place, self.level]
        out[columns, self.level] = self.Z.T @ np.column_stack(responses)
        return out.reshape(-1, len(responses))


def cells_of_rows(codes: Index, columns: Sequence[Array | None], levels: int) -> LevelCells | None:
    """Return the rows in the columns that each level has; None if they are too many for it to pay.

    Parameters
    ----------
    codes : ndarray (n,)
        Level of each row.
    columns : sequence of k ndarrays (n,), or None
        None stands for ones.
    levels : int
    """
    k, n = len(columns), len(codes)
    if k < _MANY:
        return None
    ones = np.ones(n)
    parts = [ones if column is None else column for column in columns]
    rows = [np.flatnonzero(part) for part in parts]
    row = np.concatenate(rows)
    column = np.repeat(np.arange(k), [len(own) for own in rows])
    cells = distinct_keys(codes[row] * k + column)
    level = cells // k
    counts = np.bincount(level, minlength=levels)
    m = int(counts.max(initial=0))
    if m > _SHARE * k:
        return None
    place = np.arange(len(cells)) - np.repeat(np.cumsum(counts) - counts, counts)
    support = Support(k, np.zeros((m, levels), np.intp), np.zeros((m, levels), np.bool_))
    support.columns[place, level], support.present[place, level] = cells % k, True
    values = np.concatenate([part[own] for part, own in zip(parts, rows)])
    index = (row, np.searchsorted(cells, codes[row] * k + column))
    Z = sparse.csr_array((values, index), shape=(n, len(cells)))
    return LevelCells(support, place, level, Z)
