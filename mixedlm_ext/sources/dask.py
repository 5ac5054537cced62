"""Partitions of a Dask data frame."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd

from mixedlm_ext.errors import DataError
from mixedlm_ext.parallel import workers_in_words
from mixedlm_ext.sources.base import Source

__all__ = ["START_AGAIN", "DaskFrame", "Partition"]

START_AGAIN = (
    "A partition may take more memory than a worker has, or the cluster was closed. Start it again "
    "and repeat the call, with smaller partitions: frame.repartition(npartitions=...)."
)


class DaskFrame(Source):
    """A Dask data frame; `read` brings one partition after the other here.

    Parameters
    ----------
    frame : dask.dataframe.DataFrame
    """

    words = "a Dask data frame"

    def __init__(self, frame: Any) -> None:
        self.frame = frame
        self.names = tuple(frame.columns)

    def partitions(self, columns: Sequence[str]) -> list[Any]:
        """Return what computes each partition, with some columns, where it is asked to."""
        parts: list[Any] = self.frame[list(columns)].to_delayed()
        return parts

    def read(self, columns: Sequence[str]) -> Iterator[tuple[str, pd.DataFrame]]:
        """Yield the partitions."""
        for i, part in enumerate(self.partitions(columns), start=1):
            with workers_in_words(DataError, START_AGAIN):
                frame = part.compute()
            yield f"partition {i}", frame


class Partition(Source):
    """One partition, as a worker has it.

    Parameters
    ----------
    frame : DataFrame
    number : int
        From one.
    """

    def __init__(self, frame: pd.DataFrame, number: int) -> None:
        self._frame, self._number = frame, number
        self.names, self.rows = tuple(frame.columns), len(frame)
        self.words = f"partition {number}"

    def read(self, columns: Sequence[str]) -> Iterator[tuple[str, pd.DataFrame]]:
        """Yield the partition."""
        yield self.words, self._frame[list(columns)]
