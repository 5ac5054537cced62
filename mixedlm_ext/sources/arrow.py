"""pyarrow's data sets, streams and files, and polars' lazy frames."""

from __future__ import annotations

import os
import tempfile
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pandas as pd

from mixedlm_ext.errors import DataError
from mixedlm_ext.sources.base import BATCH_ROWS, Source

__all__ = ["ArrowDataset", "LazyFrame", "as_frame", "read_errors", "spooled"]

_WITH_MISSING = {"int64": pd.Int64Dtype(), "uint64": pd.UInt64Dtype()}
_LARGEST = 1 << 53
"""Whole numbers up to which each has a float of its own."""
_AHEAD = 2
"""Batches that pyarrow reads before they are asked for."""


def as_frame(batch: Any) -> pd.DataFrame:
    """Return a RecordBatch or Table of pyarrow as a frame: dictionaries become categories."""
    types = _exact(batch)
    how = {"types_mapper": types.get} if types else {}
    frame: pd.DataFrame = batch.to_pandas(ignore_metadata=True, split_blocks=True, **how)
    return frame


def _exact(batch: Any) -> dict[Any, Any]:
    """Return types of pandas for whole numbers, some missing, that are too large for floats."""
    import pyarrow.compute

    out = {}
    for column in batch.columns:
        exact = _WITH_MISSING.get(str(column.type))
        if exact is not None and 0 < column.null_count < len(column):
            ends = pyarrow.compute.min_max(column).as_py()
            if max(-ends["min"], ends["max"]) > _LARGEST:
                out[column.type] = exact
    return out


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
        declared: set[str] | None = None
        for i, fragment in enumerate(self._dataset.get_fragments(), start=1):
            path = getattr(fragment, "path", "")
            name = f"'{path}'" if path else f"fragment {i} of the data set"
            own = _own_schema(fragment, name)
            self._check_columns(columns, fragment, own, name)
            if declared is None:
                declared = self._declared(own)
            types = self._types(own, declared)

            def batches(fragment: Any = fragment, schema: Any = types) -> Iterator[Any]:
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

    def _declared(self, first: Any) -> set[str]:
        """Return the columns that the data set gives another type than its first file has.

        They are cast. The types of the others may be just those of the first file, into which
        those of another one, text for numbers, would be cast without a word.
        """
        return {
            column.name
            for column in self._dataset.schema
            if column.name not in first.names or first.field(column.name).type != column.type
        }

    def _types(self, own: Any, declared: set[str]) -> Any:
        """Return the schema to read a file by: its own types, but for those that are declared."""
        import pyarrow

        if isinstance(getattr(self._dataset, "format", None), _text_formats()):
            return self._dataset.schema  # text has no types of its own
        return pyarrow.schema(
            [
                column if column.name in declared or column.name not in own.names
                else column.with_type(own.field(column.name).type)
                for column in self._dataset.schema
            ]
        )  # fmt: skip

    def _check_columns(self, columns: Sequence[str], fragment: Any, own: Any, name: str) -> None:
        """Refuse a file without a column, whose values would all be missing."""
        from pyarrow import dataset

        by_place = dataset.get_partition_keys(fragment.partition_expression)
        for column in columns:
            if column not in own.names and column not in by_place:
                raise DataError(f"{name} has no column {column!r}, which the data set has.")


def _own_schema(fragment: Any, name: str) -> Any:
    """Return the types that a file has, whatever the data set says."""
    try:
        return fragment.physical_schema
    except read_errors() as error:
        raise DataError(
            f"{name} cannot be opened ({type(error).__name__}: {error}). It may be cut off or "
            "damaged, or not yet written to its end."
        ) from error


def _text_formats() -> tuple[type, ...]:
    """Return the formats whose values are read as what the data set says."""
    from pyarrow import dataset

    return (dataset.CsvFileFormat, dataset.JsonFileFormat)


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
        with _polars_errors("the lazy frame"):
            self.names = tuple(frame.collect_schema().names())

    def read(self, columns: Sequence[str]) -> Iterator[tuple[str, pd.DataFrame]]:
        """Yield the batches of the query."""
        from mixedlm_ext.design.frame import read_table

        for i, batch in enumerate(self._collected(columns), start=1):
            table = read_table(batch)
            frame = pd.DataFrame({n: table.column(n).array for n in columns}, copy=False)
            yield f"batch {i} of the lazy frame", frame

    def _collected(self, columns: Sequence[str]) -> Iterator[Any]:
        """Yield the batches as polars has them, or say which of them it cannot make."""
        i = 1
        try:
            query = self._frame.select(list(columns))
            if hasattr(query, "collect_batches"):
                made = query.collect_batches(chunk_size=BATCH_ROWS, maintain_order=True)
            else:
                made = query.collect().iter_slices(BATCH_ROWS)
            for batch in made:
                yield batch
                i += 1
        except _polars_error() as error:
            raise _lazy_error(f"batch {i} of the lazy frame", error) from error


@contextmanager
def _polars_errors(what: str) -> Iterator[None]:
    """Say that polars cannot evaluate a lazy frame."""
    try:
        yield
    except _polars_error() as error:
        raise _lazy_error(what, error) from error


def _polars_error() -> type[Exception]:
    """Return what polars raises."""
    import polars

    kind: type[Exception] = polars.exceptions.PolarsError
    return kind


def _lazy_error(what: str, error: Exception) -> DataError:
    """Return the error of a lazy frame that polars cannot evaluate."""
    return DataError(
        f"polars cannot make {what} ({type(error).__name__}: {str(error).splitlines()[0]}). Look "
        "at it by .collect(); files need the same columns of the same types, or a cast to them."
    )


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
            i = 1
            for batch in reader:
                file.write_batch(batch)
                i += 1
    except read_errors() as error:
        os.remove(path)
        raise DataError(
            f"batch {i} of the stream cannot be read ({type(error).__name__}: {error})."
        ) from error
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
