"""Distinct integer keys: millions of them, so how it is done matters."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Index = NDArray[np.intp]

__all__ = ["distinct_keys", "distinct_rows", "number_keys", "sorted_keys"]


def number_keys(keys: Index, possible: int) -> tuple[Index, Index]:
    """Number the distinct keys in increasing order.

    Parameters
    ----------
    keys : ndarray (n,)
        Integers from 0 to possible - 1.
    possible : int

    Returns
    -------
    numbers : ndarray (n,)
        The number of each key.
    distinct : ndarray
        The keys in the order of their numbers.

    Examples
    --------
    >>> numbers, distinct = number_keys(np.array([7, 2, 7]), 10)
    >>> numbers.tolist(), distinct.tolist()
    ([1, 0, 1], [2, 7])
    """
    if possible <= 4 * len(keys) + 1000:  # a table of all keys is cheaper than hashing
        present = np.zeros(possible, bool)
        present[keys] = True
        return (np.cumsum(present) - 1)[keys], np.flatnonzero(present)
    codes, distinct = pd.factorize(keys)
    order = np.argsort(distinct)
    rank = np.empty(len(order), dtype=np.intp)
    rank[order] = np.arange(len(order))
    return rank[codes], distinct[order]


def distinct_rows(table: NDArray[Any]) -> tuple[NDArray[Any], Index]:
    """Return the distinct rows of a table in their order, and which of them each row is.

    As `numpy.unique` along the rows, by hashing one column after the other: many times faster where
    few rows are distinct.

    Parameters
    ----------
    table : ndarray (n, k)

    Examples
    --------
    >>> rows, numbers = distinct_rows(np.array([[1, 5], [0, 7], [1, 5]]))
    >>> rows.tolist(), numbers.tolist()
    ([[0, 7], [1, 5]], [1, 0, 1])
    """
    n = len(table)
    numbers, count = np.zeros(n, dtype=np.intp), min(n, 1)
    for column in table.T:
        own, values = pd.factorize(column, sort=True)
        key = numbers * len(values) + own
        numbers, found = number_keys(key, count * len(values))
        count = len(found)
    row = np.zeros(count, dtype=np.intp)
    row[numbers] = np.arange(n)
    return table[row], numbers


def sorted_keys(keys: Index) -> tuple[Index, Index]:
    """Return the keys in increasing order, and the places that they had; equal ones stay in order.

    Where a key and its place fit into 64 bits they are sorted as one number, twice as fast as
    places are by their keys.

    Parameters
    ----------
    keys : ndarray (n,)
        Not negative.

    Examples
    --------
    >>> keys, places = sorted_keys(np.array([7, 2, 7]))
    >>> keys.tolist(), places.tolist()
    ([2, 7, 7], [1, 0, 2])
    """
    bits = len(keys).bit_length()
    if not len(keys) or int(keys.max()) >= 1 << (63 - bits):
        places = np.argsort(keys, kind="stable")
        return keys[places], places
    both = (keys.astype(np.int64) << bits) | np.arange(len(keys))
    both.sort()
    return (both >> bits).astype(np.intp, copy=False), (both & ((1 << bits) - 1)).astype(np.intp)


def distinct_keys(keys: Index) -> Index:
    """Return the distinct keys in increasing order: a sort, several times faster than hashing here.

    Examples
    --------
    >>> distinct_keys(np.array([7, 2, 7])).tolist()
    [2, 7]
    """
    ordered = np.sort(keys)
    if len(ordered) == 0:
        return ordered
    first = np.concatenate([[True], ordered[1:] != ordered[:-1]])
    return np.asarray(ordered[first])
