"""Columns that are seen batch by batch: a small frame that stands for all of their rows.

The *stand-in* has each column in the type of all rows and, of columns that are factors, every
level; what else the matrices of a formula remember of the data they learn from the batches.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import pandas as pd

from mixedlm_ext.batches.levels import FactorLevels, values_of_levels

__all__ = ["ColumnsSeen", "stacked"]

_SAMPLE = 1 << 13
"""Rows of the sample, at least half of them if there are as many."""


class ColumnsSeen:
    """What is kept of the columns: a sample of rows, and the levels of factors.

    The rows of the sample are every 2^k-th of those used, whatever the batches.

    Parameters
    ----------
    factors : mapping of str to FactorLevels
        Of the columns whose levels matter also if they are numbers.
    only_groups : collection of str
        Those of them that only group rows: the stand-in needs none of their levels.
    whole : collection of str
        Columns of categories that count also without rows.
    known : mapping of str to Index, optional
        Levels of columns in all rows, of which these are some.
    """

    def __init__(
        self,
        factors: Mapping[str, FactorLevels],
        only_groups: Collection[str] = (),
        whole: Collection[str] = (),
        known: Mapping[str, pd.Index] | None = None,
    ) -> None:
        self.factors, self._only_groups = dict(factors), frozenset(only_groups)
        self._whole, self._known = frozenset(whole), dict(known or {})
        self._levels: dict[str, FactorLevels] = {}
        self._sample: list[pd.DataFrame] = []
        self._stride, self._count, self._kept = 1, 0, 0

    def see(self, frame: pd.DataFrame) -> dict[str, Any]:
        """Take note of the rows of a batch; return the numbers of the levels of the factors."""
        self._keep(frame)
        numbers = {name: factor.see(frame[name]) for name, factor in self.factors.items()}
        for name in frame.columns:
            if name not in self.factors and _is_factor(frame[name]):
                own = self._levels.setdefault(name, FactorLevels(name))
                own.see(frame[name])
        return numbers

    def _keep(self, frame: pd.DataFrame) -> None:
        """Add to the sample; thin it when it has grown."""
        first = -self._count % self._stride
        part = frame.iloc[first :: self._stride]
        self._count += len(frame)
        if len(part):
            self._sample.append(part.copy())
            self._kept += len(part)
        while self._kept > _SAMPLE:
            whole = stacked(self._sample).iloc[::2]
            self._sample, self._kept, self._stride = [whole], len(whole), self._stride * 2

    def sample(self) -> pd.DataFrame:
        """Return the sample, in the types of all rows."""
        return self._typed(stacked(self._sample))

    def stand_in(self) -> pd.DataFrame:
        """Return a frame with every level of the factors in it, and few more rows."""
        sample = self.sample()
        levels = {
            name: own.levels
            for name, own in {**self._levels, **self.factors}.items()
            if _is_factor(sample[name]) or name in self.factors
        }
        own_rows = {
            name: self._all(name) if name in self._whole else self._known.get(name, index)
            for name, index in levels.items()
            if name not in self._only_groups
        }
        m = max([min(len(sample), 64), *(len(index) for index in own_rows.values())])
        at = np.arange(m)
        columns = {}
        for name in sample.columns:
            column = sample[name]
            if name in own_rows:
                index = own_rows[name]
                values = index.take(at % len(index))
                columns[name] = _like(values, column, self._known.get(name))
            else:
                columns[name] = column.iloc[at % len(column)].array
        return pd.DataFrame(columns)

    def values_of_factors(self) -> dict[str, Any]:
        """Return the levels of factors of the matrices, with the order that they may have."""
        every = {**self._levels, **self.factors}
        return {
            name: values_of_levels(own.levels, [own.categories])[0]
            for name, own in every.items()
            if name not in self._only_groups
        }

    def _all(self, name: str) -> Any:
        """Return every category of a column, also those without rows."""
        return (self._levels.get(name) or self.factors[name]).categories

    def _typed(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Give categories those of all batches."""
        columns = {}
        for name in frame.columns:
            column = frame[name]
            seen = self._levels.get(name) or self.factors.get(name)
            if seen is not None and seen.categories is not None:
                ordered = getattr(column.dtype, "ordered", False)
                columns[name] = pd.Categorical(column, seen.categories, ordered=ordered)
            else:
                columns[name] = column.array
        return pd.DataFrame(columns, index=frame.index, copy=False)


def _is_factor(column: pd.Series) -> bool:
    """Whether the values are categories, text or the like."""
    dtype = column.dtype
    if isinstance(dtype, np.dtype) and dtype.kind != "O":
        return False
    if isinstance(dtype, pd.CategoricalDtype | pd.StringDtype):
        return True
    return getattr(dtype, "kind", "O") == "O"


def _like(values: pd.Index, column: pd.Series, known: pd.Index | None) -> Any:
    """Return levels in the type of a column, of which all levels may be known."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        if known is not None:
            return pd.Categorical(values, categories=known)
        return pd.Categorical(values, dtype=column.dtype)
    if isinstance(column.dtype, np.dtype) and column.dtype.kind != "O":
        return values.to_numpy()
    return pd.Series(values.tolist(), dtype=column.dtype).array


def stacked(frames: list[pd.DataFrame]) -> pd.DataFrame:
    """Put frames below one another; categories of any of them stay categories."""
    if len(frames) == 1:
        return frames[0]
    columns = {}
    for name in frames[0].columns:
        parts = [frame[name] for frame in frames]
        if all(isinstance(part.dtype, pd.CategoricalDtype) for part in parts):
            columns[name] = pd.api.types.union_categoricals(parts, ignore_order=True)
        else:
            columns[name] = pd.concat(parts).array
    index = frames[0].index.append([frame.index for frame in frames[1:]])
    return pd.DataFrame(columns, index=index, copy=False)
