"""The columns that a model uses, rows chosen: a frame for those who ask for one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from mixedlm_ext.caching import cached_property

__all__ = ["Columns", "UsedColumns"]


class UsedColumns:
    """Columns by name, all with the same labels.

    A frame of them would be put together for every fit, and taken apart again column by column,
    which takes longer than many a model.

    Parameters
    ----------
    columns : mapping of str to Series (n,)
        Not copied.
    index : Index (n,)
        Labels, whatever those of the columns are.
    frame : DataFrame, optional
        The columns side by side, if there is one.

    Examples
    --------
    >>> used = UsedColumns({"x": pd.Series([1.0, 2.0])}, pd.Index(["a", "b"]))
    >>> used["x"].to_dict(), len(used), list(used)
    ({'a': 1.0, 'b': 2.0}, 2, ['x'])
    """

    def __init__(
        self,
        columns: Mapping[str, pd.Series],
        index: pd.Index,
        frame: pd.DataFrame | None = None,
    ) -> None:
        self.index, self._given = index, frame
        self._columns = {name: _labelled(c, name, index) for name, c in columns.items()}

    @classmethod
    def of(cls, frame: pd.DataFrame) -> UsedColumns:
        """Return the columns of a frame."""
        return cls({name: frame[name] for name in frame.columns}, frame.index, frame)

    @property
    def columns(self) -> tuple[str, ...]:
        """The names."""
        return tuple(self._columns)

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns)

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, name: str) -> pd.Series:
        return self._columns[name]

    @cached_property
    def frame(self) -> pd.DataFrame:
        """The columns side by side."""
        if self._given is not None:
            return self._given
        arrays = {name: column.array for name, column in self._columns.items()}
        return pd.DataFrame(arrays, index=self.index, copy=False)

    def take(self, rows: npt.NDArray[np.bool_] | npt.NDArray[np.intp]) -> UsedColumns:
        """Return some of the rows, by a truth value for each or by their numbers."""
        return UsedColumns.of(self.frame.iloc[rows])

    def __reduce__(self) -> tuple[Any, ...]:
        return UsedColumns.of, (self.frame,)


def _labelled(column: pd.Series, name: str, index: pd.Index) -> pd.Series:
    """Return a column with its name and labels."""
    if not column.index.is_(index):
        column = column.set_axis(index)
    return column if column.name == name else column.rename(name)


Columns = pd.DataFrame | UsedColumns
"""What columns are read off."""
