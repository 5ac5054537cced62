"""pyarrow's data sets, streams and files, and polars' lazy frames."""

from __future__ import annotations

import os
import tempfile
import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pandas as pd

from mixedlm_ext.errors import DataError
from mixedlm_ext.sources.base import BATCH_ROWS, Source

__all__ = ["ArrowDataset", "LazyFrame", "as_frame", "read_errors", "spooled"]

_AHEAD = 2
"""Batches that pyarrow reads before they are asked for."""


def as_frame(batch: Any) -> pd.DataFrame:
    """Return a RecordBatch or Table of pyarrow as a frame: dictionaries become categories."""
    frame: pd.DataFrame = batch.to_pandas(ignore_metadata=True, split_blocks=True)
    return frame


def read_errors() -> tuple[type[Exception], ...]:
    """Return what pyarrow raises where a file is not what it should be."""
    import pyarrow

    return (pyarrow.ArrowException, OSError, ValueError)


def guarded(batches: Callable[[], Iterator[Any]], name: str) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield batches of a file or stream as frames, or say which of them cannot be read."""
    i = 1
    try:
        for i, batch in enumerate(batches(), start=1):
            yield f"batch {i} of {name}", as_frame(batch)
            i += 1
    except read_errors() as error:
        if isinstance(error, DataError):
            raise
        raise DataError(
            f"batch {i} of {name} cannot be read ({type(error).__name__}: {error}). "
            "The file may be cut off or damaged, or not yet written to its end."
        ) from error


class ArrowDataset(Source):
    """A data set of pyarrow: files in one format, maybe partitioned.

    Parameters
    ----------
    dataset : pyarrow.dataset.Dataset
    """

    words = "a data set of pyarrow"

    def __init__(self, dataset: Any) -> None:
        self._dataset = dataset
        self.names = tuple(dataset.schema.names)

    def read(self, columns: Sequence[str]) -> Iterator[tuple[str, pd.DataFrame]]:
        """Yield the batches of one fragment after the other."""
        schema = self._dataset.schema
        for i, fragment in enumerate(self._dataset.get_fragments(), start=1):
            path = getattr(fragment, "path", "")
            name = f"'{path}'" if path else f"fragment {i} of the data set"

            def batches(fragment: Any = fragment) -> Iterator[Any]:
                read: Iterator[Any] = fragment.to_batches(
                    schema=schema,
                    columns=list(columns),
                    batch_size=BATCH_ROWS,
                    batch_readahead=_AHEAD,
                    fragment_readahead=1,
                    **_unbuffered(fragment),
                )
                return read

            yield from guarded(batches, name)


def _unbuffered(fragment: Any) -> dict[str, Any]:
    """Return how to read a fragment: Parquet as it comes, or all of it is held until the end."""
    from pyarrow import dataset

    if not isinstance(fragment, dataset.ParquetFileFragment):
        return {}
    options = fragment.format.default_fragment_scan_options
    own = dataset.ParquetFragmentScanOptions(
        pre_buffer=False,
        use_buffered_stream=options.use_buffered_stream,
        buffer_size=options.buffer_size,
        thrift_string_size_limit=options.thrift_string_size_limit,
        thrift_container_size_limit=options.thrift_container_size_limit,
    )
    return {"fragment_scan_options": own}


class LazyFrame(Source):
    """A lazy frame of polars, evaluated in its streaming engine.

    Parameters
    ----------
    frame : polars.LazyFrame
    """

    words = "a lazy frame of polars"

    def __init__(self, frame: Any) -> None:
        self._frame = frame
        self.names = tuple(frame.collect_schema().names())

    def read(self, columns: Sequence[str]) -> Iterator[tuple[str, pd.DataFrame]]:
        """Yield the batches of the query."""
        from mixedlm_ext.design.frame import read_table

        query = self._frame.select(list(columns))
        if hasattr(query, "collect_batches"):
            made = query.collect_batches(chunk_size=BATCH_ROWS, maintain_order=True)
        else:
            made = query.collect().iter_slices(BATCH_ROWS)
        for i, batch in enumerate(made, start=1):
            table = read_table(batch)
            frame = pd.DataFrame({n: table.column(n).array for n in columns}, copy=False)
            yield f"batch {i} of the lazy frame", frame


def spooled(reader: Any) -> ArrowDataset:
    """Write a stream, which can be read once, to a temporary file that can be read again.

    Parameters
    ----------
    reader : pyarrow.RecordBatchReader
        Read to its end. The file is removed with the source.
    """
    import pyarrow.dataset
    import pyarrow.ipc

    handle, path = tempfile.mkstemp(suffix=".arrow")
    os.close(handle)
    try:
        with pyarrow.ipc.new_file(path, reader.schema) as file:
            for batch in reader:
                file.write_batch(batch)
    except BaseException:
        os.remove(path)
        raise
    source = ArrowDataset(pyarrow.dataset.dataset(path, format="ipc"))
    weakref.finalize(source, _remove, path)
    return source


def _remove(path: str) -> None:
    """Remove a file that may be gone already."""
    if os.path.exists(path):
        os.remove(path)
