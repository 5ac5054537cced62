"""Read a table from a file or standard input: text in any dialect, Parquet, compressed or not."""

from __future__ import annotations

import argparse
import bz2
import csv
import gzip
import io
import lzma
import sys
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import pandas as pd

from mixedlm_ext.shell.numbers import check_numbers, has_decimal_commas, other_numbers

__all__ = ["UsageError", "could_separate", "read"]


class UsageError(Exception):
    """Something about the file or the arguments that the user can mend."""


_OPENERS: dict[bytes, Callable[[Any], Any]] = {
    b"\x1f\x8b": lambda file: gzip.GzipFile(fileobj=file),
    b"BZh": bz2.BZ2File,
    b"\xfd7zXZ\x00": lzma.LZMAFile,
}
"""What opens a compressed file, by its first bytes."""
_BYTE_ORDER = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
_HEAD = 1 << 16
"""Bytes that are looked at to find out the dialect."""
_SEPARATORS = ",;\t| "
_UNREADABLE = (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError)
"""What a damaged file ends in; pandas' and pyarrow's parse errors are ValueErrors."""


@dataclass(frozen=True)
class _Dialect:
    """How the columns of a text file are written.

    Parameters
    ----------
    sep : str
    skip : int
        Lines before the table.
    trailing : bool
        Whether each line but the first ends with a separator, which begins no column.
    encoding : str
    """

    sep: str
    skip: int
    trailing: bool
    encoding: str


def read(name: str, options: argparse.Namespace) -> tuple[pd.DataFrame, list[str]]:
    """Read a table.

    Parameters
    ----------
    name : str
        A path, or "-" for standard input.
    options : Namespace
        ``sep``, ``decimal``, ``thousands``, ``comment``, ``na`` and ``encoding``; None (no ``na``)
        where nothing was said.

    Returns
    -------
    DataFrame
    list of str
        What was taken for granted and may be wrong.

    Raises
    ------
    UsageError
        If there is no such file, or no table in it.
    """
    shown = "standard input" if name == "-" else repr(name)
    try:
        with _open(name) as file:
            return _read_open(file, shown, options)
    except ImportError as error:
        raise UsageError(f"to read {shown}, install pyarrow: pip install pyarrow") from error
    except _UNREADABLE as error:
        raise UsageError(f"cannot read {shown}: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    """Say in a line why a file cannot be read."""
    if isinstance(error, pd.errors.EmptyDataError):
        return "there is nothing in it."
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    first = reason.splitlines()[0] if reason else type(error).__name__
    return first.removeprefix("Error tokenizing data. C error: ")


def _open(name: str) -> IO[bytes]:
    """Open a file; the content of a pipe is taken into memory, since it is read twice."""
    if name == "-":
        if sys.stdin is None:
            raise UsageError("standard input is closed.")
        return io.BytesIO(sys.stdin.buffer.read())
    path = Path(name)
    if path.is_dir():
        raise UsageError(f"{name!r} is a folder. Name a file in it.")
    if not path.exists():
        raise UsageError(f"there is no file {name!r}")
    return path.open("rb") if path.is_file() else io.BytesIO(path.read_bytes())


def _read_open(
    file: IO[bytes], shown: str, options: argparse.Namespace
) -> tuple[pd.DataFrame, list[str]]:
    """Read what the first bytes say that the file is."""
    start = _peek(file, 6)
    if start.startswith(b"PAR1"):
        return pd.read_parquet(file), []
    for magic, opener in _OPENERS.items():
        if start.startswith(magic):
            file = opener(file)
    return _read_text(file, shown, options)


def _peek(file: IO[bytes], size: int) -> bytes:
    """Return the first bytes of a file and go back to its start."""
    found = file.read(size)
    file.seek(0)
    return found


def _read_text(
    file: IO[bytes], shown: str, options: argparse.Namespace
) -> tuple[pd.DataFrame, list[str]]:
    """Read a text file."""
    head = _peek(file, _HEAD)
    encoding = options.encoding or _BYTE_ORDER.get(head[:2], "utf-8-sig")
    if b"\0" in head and encoding == "utf-8-sig":
        raise UsageError(f"cannot read {shown}: it is no text. Save it as CSV or Parquet.")
    notes = []
    try:
        frame = _parse(file, _dialect(head, encoding, options), options)
    except UnicodeDecodeError as error:
        if options.encoding is not None:
            raise UsageError(f"{shown} is not written in {options.encoding}.") from error
        file.seek(0)
        frame = _parse(file, _dialect(head, "latin-1", options), options)
        notes.append(f"{shown} is not UTF-8 and was read as Latin-1; --encoding says otherwise.")
    if options.decimal is None and options.thousands is None and has_decimal_commas(frame):
        file.seek(0)
        options.decimal = ","
        again, more = _read_text(file, shown, options)
        return again, [*more, f"{shown} was read with decimal commas; --decimal says otherwise."]
    if options.decimal is None and options.thousands is None and frame.shape[1] > 1:
        problem = check_numbers(frame)
        if problem:
            raise UsageError(f"{shown}: {problem}")
    if options.decimal is not None:
        notes += [f"{shown}: {note}" for note in other_numbers(frame, options.decimal)]
    return frame, notes


def _dialect(head: bytes, encoding: str, options: argparse.Namespace) -> _Dialect:
    """Find out where the table begins and what separates its columns."""
    lines = head.decode(encoding, errors="replace").splitlines()
    if len(head) == _HEAD and len(lines) > 1:
        lines.pop()  # it may be cut
    mark = options.comment or "#"
    skip = next((i for i, line in enumerate(lines) if line.strip() and line[0] != mark), 0)
    table = [line for line in lines[skip:] if line.strip() and line[0] != mark]
    sep = options.sep or _sniff(table)
    ends = [line.endswith(sep) for line in table]
    trailing = sep != " " and len(ends) > 1 and all(ends[1:]) and not ends[0]
    return _Dialect(sep, skip, trailing, encoding)


def _sniff(lines: list[str]) -> str:
    """Return what separates columns, by the csv module's sniffer; blanks if columns are aligned.

    Another character if each line has it as often as the first. A comma if nothing does: then there
    is one column.
    """
    lines = lines[:100]
    try:
        sep = csv.Sniffer().sniff("\n".join(lines), delimiters=_SEPARATORS).delimiter
    except csv.Error:
        sep = ""
    if sep and sep in _SEPARATORS and sep in lines[0]:
        return sep
    counts = {len(line.split()) for line in lines}
    if len(counts) == 1 and min(counts) > 1:
        return " "
    for mark in filter(could_separate, lines[0] if lines else ""):
        if len({line.count(mark) for line in lines}) == 1:
            return mark
    return ","


def could_separate(mark: str) -> bool:
    """Say whether a character can stand between columns: it is no part of names and numbers."""
    return not mark.isalnum() and mark not in "\"'._+-()[] "


def _parse(file: IO[bytes], dialect: _Dialect, options: argparse.Namespace) -> pd.DataFrame:
    """Let pandas read the table."""
    file.seek(0)
    one_byte = dialect.sep.isascii()  # or pandas' engine in C does not take it
    engine: dict[str, Any] = {"low_memory": False} if one_byte else {"engine": "python"}
    return pd.read_csv(
        file,
        sep=r"\s+" if dialect.sep == " " else dialect.sep,
        skiprows=dialect.skip,
        encoding=dialect.encoding,
        decimal=options.decimal or ".",
        thousands=options.thousands,
        comment=options.comment,
        na_values=options.na,
        index_col=False if dialect.trailing else None,
        skipinitialspace=True,
        **engine,
    )
