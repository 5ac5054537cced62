"""Levels of factors that are seen batch by batch: in the end those of the rows in memory.

Values are coded within a batch as in memory (`level_codes`), and the levels of a batch get the next
numbers when they are new. When all batches were seen, the levels are put in the order that they
have in memory: of the categories, or sorted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from mixedlm_ext.caching import cached_property
from mixedlm_ext.design.grouping import level_codes, match_levels

__all__ = [
    "Coder",
    "FactorLevels",
    "GroupCoder",
    "GroupLevels",
    "coder_of",
    "values_of_levels",
]

Codes = npt.NDArray[np.intp]

_TABLE = 1 << 22
"""Span of whole numbers up to which a table is kept whatever the number of levels."""
_BASE = 1 << 40
"""Where the numbers of levels start that are no whole numbers themselves."""
_MISSING = int(np.iinfo(np.intp).min)


class FactorLevels:
    """The levels of one factor in the batches so far, each with a number that it keeps.

    Parameters
    ----------
    name : str
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._whole = _WholeNumbers()
        self._others = _OtherLevels()

    def see(self, values: Any) -> Codes:
        """Take note of the values of a batch; return the number of each row's level."""
        array = values.to_numpy() if _is_plain(values) else None
        if array is not None and self._whole.takes(array):
            return self._whole.see(array)
        codes = self._others.see(values, self.name)
        return np.where(codes >= 0, codes + _BASE, _MISSING)

    @cached_property
    def levels(self) -> pd.Index:
        """The levels in their order, as in memory; nothing is seen after that."""
        whole, others = self._whole.values(), self._others.values()
        if others is None:
            index = pd.Index([]) if whole is None else pd.Index(whole)
        elif whole is None:
            index = level_codes(others, self.name)[1]
        else:
            index = level_codes(pd.Index(others).append(pd.Index(whole)), self.name)[1]
        return index.rename(self.name)

    @property
    def categories(self) -> pd.Index | None:
        """The categories of the batches, in their order, also those without rows."""
        return self._others.categories

    def places(self, numbers: Codes) -> Codes:
        """Return where the levels of some numbers are in `levels`."""
        out = np.empty(len(numbers), np.intp)
        whole = numbers < _BASE
        if whole.any():
            out[whole] = Coder(self.levels)(numbers[whole])
        if not whole.all():
            own = self.levels.get_indexer(pd.Index(self._others.values()))
            out[~whole] = own[numbers[~whole] - _BASE]
        return out


def _is_plain(values: Any) -> bool:
    """Whether values are a column of numpy's numbers."""
    dtype = getattr(values, "dtype", None)
    return isinstance(values, pd.Series) and isinstance(dtype, np.dtype) and dtype.kind in "iuf"


class _WholeNumbers:
    """Whole numbers within a span: a table of those that occur, each its own number."""

    def __init__(self) -> None:
        self._low = 0
        self._present = np.zeros(0, bool)
        self._dtype: Any = None

    def takes(self, array: npt.NDArray[Any]) -> bool:
        """Say whether the table can hold these numbers."""
        if not len(array):
            return False
        low, high = array.min(), array.max()
        if not (low > -_BASE and high < _BASE):  # nor if one is missing
            return False
        if array.dtype.kind == "f" and (array != np.floor(array)).any():
            return False
        start = min(int(low), self._low) if len(self._present) else int(low)
        stop = max(int(high), self._low + len(self._present))
        return stop - start <= max(_TABLE, 16 * len(array))

    def see(self, array: npt.NDArray[Any]) -> Codes:
        """Mark the numbers."""
        self._dtype = array.dtype if self._dtype is None else np.result_type(self._dtype, array)
        numbers = array.astype(np.intp, copy=False)
        self._widen(int(numbers.min()), int(numbers.max()))
        self._present[numbers - self._low] = True
        return numbers

    def _widen(self, low: int, high: int) -> None:
        """Let the table reach from the smallest to the largest number."""
        if not len(self._present):
            self._low, self._present = low, np.zeros(high - low + 1, bool)
            return
        before = max(self._low - low, 0)
        after = max(high - self._low - len(self._present) + 1, 0)
        if before or after:
            self._present = np.pad(self._present, (before, after))
            self._low -= before

    def values(self) -> npt.NDArray[Any] | None:
        """Return the numbers in increasing order, in the type of the column; None for none."""
        if not len(self._present):
            return None
        found: npt.NDArray[Any] = (np.flatnonzero(self._present) + self._low).astype(self._dtype)
        return found


class _OtherLevels:
    """Levels of any type, in the order in which they came."""

    def __init__(self) -> None:
        self._index: pd.Index | None = None
        self.categories: pd.Index | None = None

    def see(self, values: Any, name: str) -> Codes:
        """Number the levels of a batch."""
        codes, found = level_codes(values, name)
        categories = _categories(values)
        if categories is not None:
            seen = self.categories
            more = categories if seen is None else categories.difference(seen, sort=False)
            self.categories = more if seen is None else seen.append(more)
        if self._index is None:
            self._index = found
            return codes
        place = self._index.get_indexer(found)
        new = place < 0
        if new.any():
            place[new] = len(self._index) + np.arange(np.count_nonzero(new))
            self._index = self._index.append(found[new])
        return np.append(place, -1)[codes].astype(np.intp)

    def values(self) -> Any:
        """Return the levels as they came, with the order of their categories; None for none."""
        if self._index is None or self.categories is None:
            return self._index
        return pd.Categorical(self._index, categories=self.categories)


def _categories(values: Any) -> pd.Index | None:
    """Return the order that values have: of categories, or of ``C(g, levels=[...])``."""
    if hasattr(values, "contrast") and hasattr(values, "levels"):  # patsy's C()
        if values.levels is not None:
            return pd.Index(list(values.levels))
        values = values.data
    dtype = getattr(values, "dtype", None)
    return dtype.categories if isinstance(dtype, pd.CategoricalDtype) else None


@dataclass(frozen=True, eq=False)
class Coder:
    """What codes the values of one factor by its levels.

    Attributes
    ----------
    levels : Index (q,)
    """

    levels: pd.Index

    def __call__(self, values: Any) -> Codes:
        """Return the place of each value among the levels, -1 where it is none of them."""
        table = self._table
        array = values.to_numpy() if isinstance(values, pd.Series) else values
        if table is not None and isinstance(array, np.ndarray) and array.dtype.kind in "iu":
            low, places = table
            if len(array) and low <= array.min() and array.max() < low + len(places):
                shifted = array if low == 0 else array - low
                if len(places) == len(self.levels):  # every number is a level: its own place
                    return shifted.astype(np.intp, copy=False)
                return places[shifted]
        return match_levels([values], self.levels)

    @cached_property
    def _table(self) -> tuple[int, Codes] | None:
        """The places of whole numbers within their span; none of categories in another order."""
        levels = self.levels
        if isinstance(levels, pd.MultiIndex) or levels.dtype.kind not in "iu" or not len(levels):
            return None
        if not levels.is_monotonic_increasing:
            return None
        low, high = int(levels[0]), int(levels[-1])
        if high - low > max(_TABLE, 8 * len(levels)) or high > np.iinfo(np.int64).max:
            return None
        places = np.full(high - low + 1, -1, np.intp)
        places[levels.to_numpy().astype(np.int64) - low] = np.arange(len(levels))
        return low, places


class GroupLevels:
    """The combinations of levels of one or several factors that occur.

    Parameters
    ----------
    factors : sequence of FactorLevels
    name : str
        Of the grouping, for an only factor.
    """

    def __init__(self, factors: Sequence[FactorLevels], name: str) -> None:
        self._factors, self._name = factors, name
        self._known: pd.MultiIndex | None = None

    def see(self, numbers: Sequence[Codes]) -> None:
        """Take note of the combinations of a batch; rows with a missing level have none."""
        if len(self._factors) == 1:
            return
        whole = np.column_stack(numbers)
        whole = whole[(whole != _MISSING).all(axis=1)]
        found = pd.MultiIndex.from_arrays(list(whole.T)).unique()
        self._known = found if self._known is None else self._known.append(found).unique()

    def coder(self) -> GroupCoder:
        """Return what codes rows by the combinations, in their order."""
        coders = [Coder(factor.levels) for factor in self._factors]
        categories = [factor.categories for factor in self._factors]
        if len(coders) == 1:
            return GroupCoder(coders, coders[0].levels.rename(self._name), [], categories)
        known = self._known if self._known is not None else pd.MultiIndex.from_arrays(
            [[]] * len(coders)
        )  # fmt: skip
        parts = [
            factor.places(np.asarray(known.get_level_values(i), dtype=np.intp))
            for i, factor in enumerate(self._factors)
        ]
        order = np.lexsort(parts[::-1])
        parts = [part[order] for part in parts]
        levels = pd.MultiIndex(
            levels=[coder.levels for coder in coders],  # type: ignore[misc]
            codes=parts,  # type: ignore[arg-type]
            names=[coder.levels.name for coder in coders],
            verify_integrity=False,
        )
        return GroupCoder(
            coders, levels, _steps(parts, [len(c.levels) for c in coders]), categories
        )


def _steps(parts: Sequence[Codes], widths: Sequence[int]) -> list[Codes]:
    """Return the sorted keys of the combinations of the first two factors, three, ...

    The key of a combination is that of all but its last factor, numbered, times the width of the
    last, and its code.
    """
    steps, codes = [], parts[0]
    for part, width in zip(parts[1:], widths[1:]):
        keys, codes = np.unique(codes * width + part, return_inverse=True)
        steps.append(keys)
    return steps


@dataclass(frozen=True, eq=False)
class GroupCoder:
    """What codes rows by the levels of a grouping.

    Attributes
    ----------
    coders : list of Coder
        Of its factors.
    levels : Index or MultiIndex (q,)
    steps : list of ndarray
        Sorted keys of combinations (see `_steps`).
    categories : list of (Index or None)
        The order that the values of each factor have by themselves.
    """

    coders: list[Coder]
    levels: pd.Index
    steps: list[Codes]
    categories: list[pd.Index | None]

    def __call__(self, values: Sequence[Any]) -> Codes:
        """Return the code of each row from the values of its factors, -1 for no level."""
        each = [coder(own) for coder, own in zip(self.coders, values, strict=True)]
        codes = each[0]
        for keys, own, coder in zip(self.steps, each[1:], self.coders[1:], strict=True):
            key = np.where((codes >= 0) & (own >= 0), codes * len(coder.levels) + own, -1)
            at = np.minimum(np.searchsorted(keys, key), len(keys) - 1)
            codes = np.where(keys[at] == key, at, -1)
        return codes.astype(np.intp, copy=False)


def values_of_levels(levels: pd.Index, categories: Sequence[pd.Index | None]) -> list[Any]:
    """Return the level of each factor at each level of a grouping, as columns of data have them.

    Parameters
    ----------
    levels : Index or MultiIndex (q,)
    categories : sequence of (Index or None)
        The order that the values of each factor have by themselves.
    """
    out: list[Any] = []
    for i, own in enumerate(categories):
        values = levels.get_level_values(i) if isinstance(levels, pd.MultiIndex) else levels
        out.append(pd.Series(values) if own is None else pd.Categorical(values, categories=own))
    return out


def coder_of(like: pd.Index, values: Sequence[Sequence[Any]]) -> GroupCoder:
    """Return what codes rows by levels that are known from several places.

    Parameters
    ----------
    like : Index or MultiIndex
        Levels with the names of the factors.
    values : sequence of sequences
        From each place the columns that `values_of_levels` returns.
    """
    factors = [FactorLevels(str(name)) for name in like.names]
    group = GroupLevels(factors, str(like.names[0]))
    for own in values:
        group.see([factor.see(column) for factor, column in zip(factors, own, strict=True)])
    return group.coder()
