"""Frames that a function returns one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import pandas as pd

from mixedlm_ext.design.frame import Table, read_table
from mixedlm_ext.errors import DataError, MixedLMError, shown
from mixedlm_ext.sources.base import Source, require_columns

__all__ = ["Frames"]


class Frames(Source):
    """What a function without arguments returns: an iterator over frames, a new one each time.

    Parameters
    ----------
    make : callable
        Frames are of pandas, polars or pyarrow, or dicts of arrays.

    Examples
    --------
    >>> halves = [{"x": [1, 2]}, {"x": [3]}]
    >>> [len(batch.frame) for batch in Frames(lambda: iter(halves)).batches(["x"])]
    [3]
    """

    words = "what a function returns"

    def __init__(self, make: Callable[[], Iterable[Any]]) -> None:
        self._make = make
        first = next(iter(self._tables()), None)
        if first is None:
            raise DataError("the function given as data returns no frame.")
        self.names = first[1].names

    def read(self, columns: Sequence[str]) -> Iterator[tuple[str, pd.DataFrame]]:
        """Yield the frames."""
        for place, table in self._tables():
            require_columns(columns, table.names, place)
            yield place, pd.DataFrame({n: table.column(n).array for n in columns}, copy=False)

    def _tables(self) -> Iterator[tuple[str, Table]]:
        """Open the frames, counting them from one."""
        try:
            made = self._make()
        except TypeError as error:
            if error.__traceback__ is None or error.__traceback__.tb_next is None:
                raise DataError(
                    f"data is {shown(self._make)}, which cannot be called without arguments "
                    f"({error}). Pass a frame, a path, or a function that returns an iterator of "
                    "frames."
                ) from error
            raise
        if not isinstance(made, Iterable) or hasattr(made, "columns") or isinstance(made, dict):
            raise DataError(
                f"the function given as data returned {shown(made)}; it must return an iterator of "
                "frames, as a generator function does."
            )
        if iter(made) is made and made is getattr(self, "_last", None):
            raise DataError(
                "the function given as data returned the same iterator again, which has been read. "
                "It must return a new one each time it is called, as a generator function does."
            )
        self._last = made
        try:
            for i, frame in enumerate(made, start=1):
                place = f"batch {i} of the data"
                try:
                    table = read_table(frame)
                except MixedLMError as error:
                    what = f"a {type(frame).__name__} ({shown(frame)})"
                    raise DataError(f"{place} is {what}: {error}") from error
                yield place, table
        finally:
            if hasattr(made, "close"):  # a reader of a file, also if it is not read to its end
                made.close()
