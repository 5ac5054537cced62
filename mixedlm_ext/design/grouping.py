"""Level codes of grouping factors: integers 0..q-1 and the index of the q levels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from mixedlm_ext.design.column import one_column
from mixedlm_ext.design.keys import match_keys
from mixedlm_ext.design.messages import quoted
from mixedlm_ext.design.values import native
from mixedlm_ext.errors import DesignError

__all__ = ["combine_codes", "level_codes", "match_levels", "same_partition", "unseen_levels"]

Codes = npt.NDArray[np.intp]


def level_codes(values: Any, name: str = "group") -> tuple[Codes, pd.Index]:
    """Code the values of one factor.

    Parameters
    ----------
    values : array-like (n,), Categorical, Series, or the result of patsy's ``C()``
        Missing values get the code -1.
    name : str
        Name of the factor: of the index, and for messages.

    Returns
    -------
    codes : ndarray of intp (n,)
    levels : Index (q,)
        The levels that occur: in the order of the categories, sorted for other types. Values of
        several types that do not compare (1 and "1") stay different levels, sorted by type first.

    Raises
    ------
    DesignError
        If the values are not one-dimensional or cannot be hashed.

    Examples
    --------
    >>> codes, levels = level_codes(["b", "a", "b"])
    >>> codes, list(levels)
    (array([1, 0, 1]), ['a', 'b'])
    """
    values, order = _unbox(values)
    series = one_column(values, f"grouping factor {name!r}")
    if isinstance(series.dtype, pd.CategoricalDtype):
        values = series.array
        codes, levels = _compress(np.asarray(values.codes), values.categories)
    elif isinstance(series.dtype, np.dtype) and series.dtype.kind in "iu" and len(series):
        codes, levels = _integer_codes(series.to_numpy())
    else:
        codes, levels = _other_codes(series, name)
    if order is not None:
        codes, levels = _reorder(codes, levels, order, name)
    return codes, _named(levels, name)


def _named(levels: pd.Index, name: str) -> pd.Index:
    """Return levels by this name."""
    if levels.name == name:
        return levels
    if isinstance(levels, pd.MultiIndex):
        return levels.rename(name)
    named = levels.view()
    named.name = name
    return named


def _unbox(values: Any) -> tuple[Any, pd.Index | None]:
    """Take ``C(values, levels=order)`` apart; other values are returned as they are."""
    if hasattr(values, "contrast") and hasattr(values, "levels") and hasattr(values, "data"):
        order = None if values.levels is None else pd.Index(list(values.levels))
        return values.data, order
    return values, None


def _reorder(codes: Codes, levels: pd.Index, order: pd.Index, name: str) -> tuple[Codes, pd.Index]:
    """Put the levels into the order the user gave to ``C(g, levels=[...])``."""
    place = order.get_indexer(levels)
    if (place < 0).any():
        unknown = levels[place < 0][0]
        raise DesignError(
            f"grouping factor {name!r} has the level {quoted(unknown)}, not in its levels=."
        )
    return _compress(np.where(codes >= 0, place[codes], -1), order)


def _integer_codes(values: npt.NDArray[np.integer[Any]]) -> tuple[Codes, pd.Index]:
    """Codes of integers, by a table of their range where it is not much longer than they are."""
    low, high = int(values.min()), int(values.max())
    if high - low > 4 * len(values) + 1024:
        levels, codes = np.unique(values, return_inverse=True)
        return codes.astype(np.intp, copy=False), pd.Index(levels)
    # short integers would overflow; in 64 bits this difference does not
    wide = values.astype(np.int64) if values.dtype.itemsize < 8 else values
    shifted = (wide - wide.dtype.type(low)).astype(np.intp)
    codes, present = _compress(shifted, pd.RangeIndex(high - low + 1))
    levels = np.asarray(present).astype(wide.dtype) + wide.dtype.type(low)
    return codes, pd.Index(levels.astype(values.dtype))


def _other_codes(series: pd.Series, name: str) -> tuple[Codes, pd.Index]:
    """Codes of values that are neither categorical nor plain integers; only levels are sorted."""
    values = series.to_numpy() if isinstance(series.dtype, np.dtype) else series.array
    try:
        codes, uniques = pd.factorize(values)
    except TypeError:
        raise DesignError(f"grouping factor {name!r} has values that cannot be hashed.") from None
    levels = _plain_index(uniques)
    order = _sort_order(levels)
    rank = np.empty(len(order) + 1, dtype=np.intp)
    rank[order] = np.arange(len(order))
    rank[-1] = -1  # the code of a missing value stays -1
    return rank[codes], levels.take(order)


def _plain_index(uniques: Any) -> pd.Index:
    """Index of the distinct values, nullable types turned into plain ones."""
    if isinstance(getattr(uniques, "dtype", None), pd.StringDtype):
        return pd.Index(uniques.to_numpy(dtype=object).tolist(), tupleize_cols=False)
    if isinstance(getattr(uniques, "dtype", None), pd.ArrowDtype) and uniques.dtype.kind == "f":
        uniques = native(uniques.to_numpy(dtype=uniques.dtype.numpy_dtype))
    index: pd.Index = pd.Index(uniques, tupleize_cols=False)
    numpy_dtype = getattr(index.dtype, "numpy_dtype", None)
    if isinstance(numpy_dtype, np.dtype) and numpy_dtype.kind in "biuf":
        index = pd.Index(native(index.to_numpy(dtype=numpy_dtype)))
    elif isinstance(index.dtype, pd.ArrowDtype) or index.dtype == object:
        index = pd.Index(index.to_numpy(dtype=object).tolist(), tupleize_cols=False)
    return index


def _sort_order(levels: pd.Index) -> Codes:
    """Sorting permutation; values that do not compare go by the name of their type, then value."""
    if levels.dtype != object:
        return np.asarray(levels.argsort(), dtype=np.intp)
    items = levels.tolist()
    places = range(len(items))
    for key in (items.__getitem__, lambda i: (type(items[i]).__name__, items[i])):
        try:
            return np.array(sorted(places, key=key), dtype=np.intp)
        except TypeError:
            continue
    return np.array(
        sorted(places, key=lambda i: (type(items[i]).__name__, repr(items[i]))), np.intp
    )


def _compress(codes: Any, levels: pd.Index) -> tuple[Codes, pd.Index]:
    """Renumber codes so that only levels that occur are left, in the same order; -1 stays."""
    present = np.zeros(len(levels) + 1, dtype=bool)
    present[codes] = True
    present[-1] = False  # where the code -1 has left its mark
    if present[:-1].all():
        return codes.astype(np.intp), levels
    renumber = np.cumsum(present, dtype=np.intp) - 1
    renumber[-1] = -1
    return renumber[codes], levels[present[:-1]]


def combine_codes(
    factors: Sequence[tuple[Codes, pd.Index]], name: str = "group"
) -> tuple[Codes, pd.Index]:
    """Code the observed combinations of several factors.

    Parameters
    ----------
    factors : sequence of (codes, levels)
        As `level_codes` returns them. One factor is returned as it is.
    name : str
        Name of the index when there is one factor.

    Returns
    -------
    codes : ndarray of intp (n,)
    levels : Index or MultiIndex (q,)
        Tuples of levels, in lexicographic order.

    Examples
    --------
    >>> a, b = level_codes([1, 1, 2], "a"), level_codes(["x", "y", "x"], "b")
    >>> codes, levels = combine_codes([a, b])
    >>> codes, list(levels)
    (array([0, 1, 2]), [(1, 'x'), (1, 'y'), (2, 'x')])
    """
    codes, levels = factors[0]
    if len(factors) == 1:
        return codes, _named(levels, name)
    parts = [np.arange(len(levels))]  # for each combination so far, the level of each factor
    for next_codes, next_levels in factors[1:]:
        # both counts are at most n after compression, so the key cannot overflow
        width = len(next_levels)
        key = np.where((codes >= 0) & (next_codes >= 0), codes * width + next_codes, -1)
        codes, keys = _compress_keys(key, len(parts[0]) * width)
        parts = [part[keys // width] for part in parts] + [keys % width]
    combined = pd.MultiIndex(
        levels=[index for _, index in factors],  # type: ignore[misc]  # the stubs want sequences
        codes=parts,  # type: ignore[arg-type]
        names=[index.name for _, index in factors],
        verify_integrity=False,
    )
    return codes, combined


def _compress_keys(key: Codes, size: int) -> tuple[Codes, Codes]:
    """Renumber integer keys in 0..size-1 by rank; return codes and the sorted keys."""
    if size <= 4 * len(key) + 1024:
        codes, present = _compress(key, pd.RangeIndex(size))
        return codes, np.asarray(present, dtype=np.intp)
    keys, codes = np.unique(key, return_inverse=True)
    missing = int(len(keys) > 0 and keys[0] < 0)
    return codes - missing, keys[missing:]


def same_partition(a: Codes, b: Codes, q: int) -> bool:
    """Whether two codings by `q` levels each differ in the names of the levels only.

    Examples
    --------
    >>> same_partition(np.array([0, 0, 1]), np.array([1, 1, 0]), 2)
    True
    """
    partner = np.full(q, -1, dtype=np.intp)
    partner[a] = b
    return bool(np.array_equal(partner[a], b) and len(np.unique(partner)) == q)


def match_levels(factors: Sequence[Any], levels: pd.Index) -> Codes:
    """Code new values of a grouping factor by the levels of the fit.

    Parameters
    ----------
    factors : sequence of array-like (m,)
        Values of each factor of the group.
    levels : Index or MultiIndex
        The levels of the fit.

    Returns
    -------
    ndarray of intp (m,)
        Position in `levels`; -1 for a level (or a combination) not seen, or a missing value.

    Raises
    ------
    DesignError
        If values are of another type than in the fit and cannot be converted to it.

    Examples
    --------
    >>> match_levels([["b", "z", "a"]], pd.Index(["a", "b"]))
    array([ 1, -1,  0])
    """
    known = levels.levels if isinstance(levels, pd.MultiIndex) else [levels]
    names = [str(own.name) for own in known]
    coded = [level_codes(values, name) for values, name in zip(factors, names, strict=True)]
    places = [
        match_keys(_plain_index(found), _plain_index(own), f"the grouping factor {own.name!r}")
        for (_, found), own in zip(coded, known, strict=True)
    ]
    codes, found = combine_codes(coded)
    place = places[0]
    if isinstance(levels, pd.MultiIndex) and isinstance(found, pd.MultiIndex):
        parts = [own[np.asarray(part)] for own, part in zip(places, found.codes, strict=True)]
        own = pd.MultiIndex.from_arrays([np.asarray(part, dtype=np.intp) for part in levels.codes])
        place = own.get_indexer(pd.MultiIndex.from_arrays(parts)).astype(np.intp)
    return np.append(place, -1)[codes].astype(np.intp)


def unseen_levels(factors: Sequence[Any], codes: Codes) -> pd.Index:
    """The distinct levels of the rows whose codes, by `match_levels`, are -1.

    Examples
    --------
    >>> list(unseen_levels([["b", "z", "a", "z"]], np.array([1, -1, 0, -1])))
    ['z']
    """
    own, levels = combine_codes([level_codes(values) for values in factors])
    places = np.unique(own[codes < 0])
    return levels[places[places >= 0]]
