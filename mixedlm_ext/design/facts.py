"""What the checks of a design ask of its rows: a few numbers a column, of rows at hand or summed.

Rows that are not in memory are looked at once, batch by batch; what was found then answers here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from mixedlm_ext.caching import cached_property
from mixedlm_ext.design.grouping import same_partition

__all__ = [
    "FactsOfPair",
    "FactsOfTerm",
    "KnownPair",
    "KnownTerm",
    "RowsOfPair",
    "RowsOfTerm",
    "equal_columns",
    "in_one_level",
]

Floats = npt.NDArray[np.float64]
Codes = npt.NDArray[np.intp]
Truths = npt.NDArray[np.bool_]


class FactsOfTerm(Protocol):
    """What is asked of the rows of one random term."""

    @property
    def n(self) -> int:
        """Number of rows."""

    @property
    def low(self) -> Floats:
        """Smallest values of the columns (k,)."""

    @property
    def high(self) -> Floats:
        """Largest values of the columns (k,)."""

    @property
    def root(self) -> Floats:
        """A matrix (r, k) with the inner products of the columns: the columns, or a triangle."""

    @property
    def indicators(self) -> bool:
        """Whether every row has one column of one, the others of zero."""

    @property
    def in_one_level(self) -> Truths:
        """Whether each column differs from zero in rows of one level only, (k,)."""


class FactsOfPair(Protocol):
    """What is asked of the rows of two random terms."""

    @property
    def same_groups(self) -> bool:
        """Whether both divide the rows in the same way, whatever the names of their levels."""

    @property
    def equal(self) -> Truths:
        """Which columns are equal in every row, (k of the one, k of the other)."""


def in_one_level(X: Floats, codes: Codes) -> Truths:
    """Say which columns (n, k) differ from zero in some rows, all of one level."""
    rows = [codes[X[:, j] != 0] for j in range(X.shape[1])]
    return np.array([len(own) > 0 and np.ptp(own) == 0 for own in rows], dtype=bool)


class RowsOfTerm:
    """The facts of a term whose rows are at hand, found when they are asked for."""

    def __init__(self, X: Floats, codes: Codes) -> None:
        self._codes = codes
        self.n, self.root = len(X), X

    @cached_property
    def low(self) -> Floats:
        """Smallest values of the columns."""
        return np.asarray(self.root.min(axis=0))

    @cached_property
    def high(self) -> Floats:
        """Largest values of the columns."""
        return np.asarray(self.root.max(axis=0))

    @property
    def indicators(self) -> bool:
        """Whether every row has one column of one, the others of zero."""
        X = self.root
        return bool(((X == 0) | (X == 1)).all() and (X.sum(axis=1) == 1).all())

    @property
    def in_one_level(self) -> Truths:
        """Whether each column differs from zero in rows of one level only."""
        return in_one_level(self.root, self._codes)


class RowsOfPair:
    """The facts of two terms whose rows are at hand: each its columns, codes and levels' number."""

    def __init__(self, one: tuple[Floats, Codes, int], two: tuple[Floats, Codes, int]) -> None:
        self._one, self._two = one, two

    @property
    def same_groups(self) -> bool:
        """Whether both divide the rows in the same way."""
        (_, a, q), (_, b, r) = self._one, self._two
        return q == r and same_partition(a, b, q)

    @property
    def equal(self) -> Truths:
        """Which columns are equal in every row."""
        return equal_columns(self._one[0], self._two[0])


def equal_columns(A: Floats, B: Floats) -> Truths:
    """Say which columns of A (n, k) and B (n, m) are equal in every row, (k, m)."""
    out = np.array(B[:1] == A[:1].T, dtype=bool) if len(A) else np.ones((A.shape[1], B.shape[1]))
    for i, j in zip(*np.nonzero(out)):
        out[i, j] = np.array_equal(A[:, i], B[:, j])
    return np.asarray(out, dtype=bool)


@dataclass(frozen=True, eq=False)
class KnownTerm:
    """The facts of a term whose rows were looked at before."""

    n: int
    low: Floats
    high: Floats
    root: Floats
    indicators: bool
    in_one_level: Truths


@dataclass(frozen=True, eq=False)
class KnownPair:
    """The facts of two terms whose rows were looked at before."""

    same_groups: bool
    equal: Truths
