"""What yields rows in batches: a `Source` can be read as often as one likes, a batch at a time."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from mixedlm_ext.errors import DataError
from mixedlm_ext.sources.kinds import Kinds

__all__ = ["BATCH_ROWS", "Batch", "Progress", "Source", "require_columns"]

BATCH_ROWS = 1 << 18
"""Rows of a batch where the source leaves the choice."""
_FEW = 1 << 16
"""Smaller batches are put together until there are as many rows: each costs some milliseconds."""

Progress = Callable[[int], None]
"""Called with the number of rows that were read since the last call."""


def require_columns(
    columns: Sequence[str],
    there: Container[str],
    place: str,
    others: str = "the batches before it have",
) -> None:
    """Refuse a place without one of the columns, which others have."""
    for name in columns:
        if name not in there:
            raise DataError(f"{place} has no column {name!r}, which {others}.")


@dataclass(frozen=True, eq=False)
class Batch:
    """Some rows of a source.

    Attributes
    ----------
    frame : DataFrame
        The columns that were asked for; its index counts the rows of the source.
    place : str
        What a message calls it: ``"batch 3 of 'p.parquet'"``.
    """

    frame: pd.DataFrame
    place: str


class Source:
    """Rows that are read a batch at a time; a kind of source is a subclass with `read`.

    Attributes
    ----------
    names : tuple of str
        The columns.
    rows : int or None
        How many rows there are, where that is known without reading them.
    few : int
        Batches of fewer rows are put together.
    words : str
        What it is, for messages.
    """

    names: tuple[Any, ...] = ()
    rows: int | None = None
    few: int = _FEW
    words: str = "a source"

    def read(self, columns: Sequence[str]) -> Iterator[tuple[str, pd.DataFrame]]:
        """Yield the place of each batch and its columns, from the first row on."""
        raise NotImplementedError

    def batches(self, columns: Sequence[str], progress: Progress | None = None) -> Iterator[Batch]:
        """Yield the rows in order; batches that are empty are left out, small ones put together.

        Raises
        ------
        DataError
            If a batch cannot be read, lacks a column, or holds another kind of values than those
            before it.
        """
        start = 0
        for place, frame in _put_together(self._checked(columns), self.few):
            stop = start + len(frame)
            frame.index = pd.RangeIndex(start, stop)
            yield Batch(frame, place)
            if progress is not None:
                progress(stop - start)
            start = stop

    def _checked(self, columns: Sequence[str]) -> Iterator[tuple[str, pd.DataFrame]]:
        """Yield batches with rows, each column of the kind it had before."""
        kinds = Kinds()
        for place, frame in self.read(columns):
            require_columns(columns, frame.columns, place)
            if len(frame):
                kinds.check(frame, place)
                yield place, frame


def _put_together(
    batches: Iterator[tuple[str, pd.DataFrame]], few: int
) -> Iterator[tuple[str, pd.DataFrame]]:
    """Join small batches that follow one another and have the same types."""
    waiting: list[pd.DataFrame] = []
    places: list[str] = []
    count = 0
    for place, frame in batches:
        if waiting and (count >= few or not _same_types(waiting[0], frame)):
            yield _from_to(places), _joined(waiting)
            waiting, places, count = [], [], 0
        if not waiting:
            places = [place]
        places[1:] = [place]
        waiting.append(frame)
        count += len(frame)
    if waiting:
        yield _from_to(places), _joined(waiting)


def _from_to(places: list[str]) -> str:
    """Name the batches from the first place to the last."""
    return places[0] if places[0] == places[-1] else f"{places[0]} to {places[-1]}"


def _same_types(one: pd.DataFrame, two: pd.DataFrame) -> bool:
    """Say whether two batches can be put together without a change of their types."""
    return list(one.dtypes) == list(two.dtypes)


def _joined(frames: list[pd.DataFrame]) -> pd.DataFrame:
    """Return one frame of several."""
    return frames[0].copy(deep=False) if len(frames) == 1 else pd.concat(frames, ignore_index=True)
