"""Files by their paths: Parquet and Arrow by pyarrow, CSV by pandas, one after the other."""

from __future__ import annotations

import glob
import lzma
import os
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import pandas as pd

from mixedlm_ext.errors import DataError
from mixedlm_ext.sources.arrow import ArrowDataset, guarded, read_errors
from mixedlm_ext.sources.base import BATCH_ROWS, Source, require_columns

__all__ = ["Files", "is_path", "open_files"]

_PARQUET = (".parquet", ".pq", ".parq")
_ARROW = (".arrow", ".feather", ".ipc", ".arrows")
_TEXT = (".csv", ".tsv", ".txt")
_COMPRESSED = (".gz", ".bz2", ".zip", ".xz", ".zst")


def is_path(data: Any) -> bool:
    """Say whether data are a path, or a list of paths."""
    if isinstance(data, list | tuple):
        return bool(data) and all(is_path(item) for item in data)
    return isinstance(data, str | os.PathLike)


def open_files(data: Any) -> Source:
    """Open a path, a list of paths, or a pattern such as ``"rows/*.parquet"``.

    Raises
    ------
    DataError
        If there is no such file, or one in a format that is not known.
    """
    given = [os.fspath(item) for item in (data if isinstance(data, list | tuple) else [data])]
    paths = [path for item in given for path in _expanded(item)]
    if len(paths) == 1 and os.path.isdir(paths[0]):
        return ArrowDataset(_directory(paths[0]))
    return Files(paths)


def _expanded(path: str) -> list[str]:
    """Return the files of a pattern, sorted; a path as it is, if there is such a file."""
    if os.path.exists(path):
        return [path]
    found = sorted(glob.glob(path))
    if found:
        return found
    raise DataError(
        f"there is no file {path!r}. Data are a path or pattern of Parquet, Arrow or CSV files, "
        "or a frame."
    )


def _directory(path: str) -> Any:
    """Open a directory of Parquet files, partitioned as Hive does or not."""
    dataset = _pyarrow("dataset")
    try:
        return dataset.dataset(path, partitioning="hive")
    except read_errors() as error:
        raise DataError(f"{path!r} cannot be read as a data set ({error}).") from error


def _pyarrow(module: str) -> Any:
    """Import a module of pyarrow, or say how to get it."""
    try:
        import importlib

        return importlib.import_module(f"pyarrow.{module}")
    except ImportError:
        raise DataError(
            "Parquet and Arrow files are read by pyarrow, which is not installed. "
            "Run pip install 'mixedlm_ext[parquet]'."
        ) from None


class Files(Source):
    """Files that have the same columns; their rows follow one another.

    Parameters
    ----------
    paths : sequence of str
    """

    def __init__(self, paths: Sequence[str]) -> None:
        self._files = [_File.of(path) for path in paths]
        self.names = self._files[0].names()
        many = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
        self.words = f"{paths[0]!r}{many}"
        counts = [file.rows() for file in self._files]
        self.rows = None if None in counts else sum(count or 0 for count in counts)

    def read(self, columns: Sequence[str]) -> Iterator[tuple[str, pd.DataFrame]]:
        """Yield the batches of one file after the other."""
        for file in self._files:
            first = f"{self._files[0].path!r} has"
            require_columns(columns, file.names(), repr(file.path), first)
            yield from file.read(columns)


class _File:
    """One file; a format is a subclass."""

    def __init__(self, path: str) -> None:
        self.path = path

    @staticmethod
    def of(path: str) -> _File:
        """Choose the format by the name's ending."""
        suffixes = [s.lower() for s in Path(path).suffixes]
        plain = [s for s in suffixes if s not in _COMPRESSED]
        last = plain[-1] if plain else ""
        for kind, endings in ((_Parquet, _PARQUET), (_Arrow, _ARROW), (_Text, _TEXT)):
            if last in endings:
                return kind(path)
        known = ", ".join([*_PARQUET[:1], *_ARROW[:2], *_TEXT[:2]])
        raise DataError(
            f"{path!r} has no ending that tells its format ({known}, text also with .gz). Rename "
            "it, or pass a function that returns an iterator of frames."
        )

    def names(self) -> tuple[str, ...]:
        """Return the names of the columns."""
        raise NotImplementedError

    def rows(self) -> int | None:
        """Return the number of rows if the file says it."""
        return None

    def read(self, columns: Sequence[str]) -> Iterator[tuple[str, pd.DataFrame]]:
        """Yield the batches."""
        raise NotImplementedError

    def damaged(self, error: Exception) -> DataError:
        """Return the error of a file that cannot be opened."""
        return DataError(
            f"{self.path!r} cannot be opened ({type(error).__name__}: {error}). It may be cut off "
            "or damaged, or not yet written to its end."
        )


class _Parquet(_File):
    """Parquet."""

    def _open(self) -> Any:
        parquet = _pyarrow("parquet")
        try:
            # what is buffered stays in memory until the end: all of the file
            return parquet.ParquetFile(self.path, pre_buffer=False, page_checksum_verification=True)
        except read_errors() as error:
            raise self.damaged(error) from error

    def names(self) -> tuple[str, ...]:
        with self._open() as file:
            return tuple(file.schema_arrow.names)

    def rows(self) -> int | None:
        with self._open() as file:
            return int(file.metadata.num_rows)

    def read(self, columns: Sequence[str]) -> Iterator[tuple[str, pd.DataFrame]]:
        with self._open() as file:
            yield from guarded(
                lambda: file.iter_batches(BATCH_ROWS, columns=list(columns)), repr(self.path)
            )


class _Arrow(_File):
    """Arrow's own format, with or without an index of batches (Feather 2 is the first)."""

    def _reader(self, columns: Sequence[str] | None = None) -> Any:
        ipc, pyarrow = _pyarrow("ipc"), _pyarrow("lib")
        try:
            opened = pyarrow.memory_map(self.path)
            options = None
            if columns is not None:
                names = self.names()
                options = ipc.IpcReadOptions(
                    included_fields=[names.index(name) for name in columns]
                )
            try:
                return ipc.open_file(opened, options=options)
            except pyarrow.ArrowInvalid:
                opened.seek(0)
                return ipc.open_stream(opened, options=options)
        except read_errors() as error:
            raise self.damaged(error) from error

    def names(self) -> tuple[str, ...]:
        return tuple(self._reader().schema.names)

    def read(self, columns: Sequence[str]) -> Iterator[tuple[str, pd.DataFrame]]:
        reader = self._reader(columns)

        def batches() -> Iterator[Any]:
            if hasattr(reader, "get_batch"):
                for i in range(reader.num_record_batches):
                    yield reader.get_batch(i)
            else:
                yield from reader

        for place, frame in guarded(batches, repr(self.path)):
            yield place, frame[list(columns)]


class _Text(_File):
    """Values separated by commas or tabs, maybe compressed."""

    def _read(self, **how: Any) -> Any:
        separator = "\t" if ".tsv" in self.path.lower() else ","
        try:
            # by pieces a column of a batch would have text beside numbers
            return pd.read_csv(self.path, sep=separator, low_memory=False, **how)
        except _TEXT_ERRORS as error:
            raise self.damaged(error) from error

    def names(self) -> tuple[str, ...]:
        return tuple(map(str, self._read(nrows=0).columns))

    def read(self, columns: Sequence[str]) -> Iterator[tuple[str, pd.DataFrame]]:
        i = 0
        try:
            with self._read(usecols=list(columns), chunksize=_TEXT_ROWS) as reader:
                for i, frame in enumerate(reader, start=1):
                    yield f"batch {i} of {self.path!r}", frame[list(columns)]
        except _TEXT_ERRORS as error:
            if isinstance(error, DataError):
                raise
            raise DataError(
                f"batch {i + 1} of {self.path!r} cannot be read ({type(error).__name__}: {error}). "
                "The file may be cut off or damaged."
            ) from error


_TEXT_ROWS = 1 << 18
_TEXT_ERRORS = (OSError, ValueError, EOFError, BadZipFile, zlib.error, lzma.LZMAError)
"""What pandas and the compressions raise where a file is not what it should be."""
