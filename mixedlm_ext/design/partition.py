"""A partition of the rows into groups, and how partitions lie in one another."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mixedlm_ext.design.records import TermDesign
from mixedlm_ext.errors import DesignError
from mixedlm_ext.linalg.keys import number_keys

Index = NDArray[np.intp]

__all__ = ["Partition", "is_finer", "levels_with_rows", "rows_of_groups"]


@dataclass(frozen=True, eq=False)
class Partition:
    """Groups of rows by name.

    Attributes
    ----------
    name : str
    codes : ndarray of intp (n,)
        Group of each row, 0 to G - 1; every group has a row.
    levels : Index (G,)
    """

    name: str
    codes: Index
    levels: pd.Index

    @property
    def count(self) -> int:
        """Number of groups."""
        return len(self.levels)

    def rows(self) -> list[Index]:
        """Return the rows of each group."""
        return rows_of_groups(self.codes, self.count)


def levels_with_rows(term: TermDesign) -> Partition:
    """Return the groups of a random term: levels of a known covariance may have no rows."""
    if term.has_members:
        raise DesignError(
            f"rows belong to several levels of {term.group!r}, which make no groups of rows. Name "
            "another factor or column."
        )
    if term.related is None:
        return Partition(term.group, term.codes, term.levels)
    codes, present = number_keys(term.codes, len(term.levels))
    return Partition(term.group, codes, term.levels[present])


def rows_of_groups(codes: Index, count: int) -> list[Index]:
    """Return the rows of each of `count` groups, in the order of the data.

    Examples
    --------
    >>> [rows.tolist() for rows in rows_of_groups(np.array([1, 0, 1]), 2)]
    [[1], [0, 2]]
    """
    order = np.argsort(codes, kind="stable")
    return np.split(order, np.cumsum(np.bincount(codes, minlength=count))[:-1])


def is_finer(fine: Index, coarse: Index) -> bool:
    """Say whether all rows of each group of `fine` are in one group of `coarse`.

    Examples
    --------
    >>> one, two = np.array([0, 1, 2, 2]), np.array([0, 0, 1, 1])
    >>> is_finer(one, two), is_finer(two, one)
    (True, False)
    """
    home = np.zeros(int(fine.max(initial=0)) + 1, dtype=np.intp)
    home[fine] = coarse
    return bool((home[fine] == coarse).all())
