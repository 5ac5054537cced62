"""Output that ends in a sentence where it cannot be written: closed pipes, full disks."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = ["CLOSED_PIPE", "WriteError", "say", "write_file", "write_out"]

CLOSED_PIPE = 141
"""The status of a program that a closed pipe ended: 128 and the number of SIGPIPE."""


class WriteError(Exception):
    """What was to be written could not be."""


def write_out(text: str) -> None:
    """Write to standard output and see that it arrived.

    Raises
    ------
    BrokenPipeError
        If the reader has gone, as `head` does.
    WriteError
        If there is no output, or no room.
    """
    if sys.stdout is None:
        raise WriteError("cannot write: standard output is closed")
    _escape_what_cannot_be_shown(sys.stdout)
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except OSError as error:
        _forget(sys.stdout)
        if isinstance(error, BrokenPipeError) or (error.errno == errno.EINVAL and os.name == "nt"):
            raise BrokenPipeError from error  # Windows says EINVAL of a closed pipe
        raise WriteError(f"cannot write: {error.strerror}") from error


def say(message: str) -> None:
    """Write a line to standard error, where there is one."""
    if sys.stderr is None:
        return
    _escape_what_cannot_be_shown(sys.stderr)
    try:
        sys.stderr.write(f"mixedlm: {message}\n")
        sys.stderr.flush()
    except OSError:
        _forget(sys.stderr)


def _escape_what_cannot_be_shown(stream: Any) -> None:
    """Write letters that the stream's encoding lacks as escapes, instead of failing."""
    if hasattr(stream, "reconfigure"):
        stream.reconfigure(errors="backslashreplace")


def _forget(stream: Any) -> None:
    """Send what the stream still holds nowhere, so that the interpreter's end does not fail too."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def write_file(path: str, write: Callable[[str], None]) -> None:
    """Let `write` write a file, under its name once it is complete.

    What stood there before stays until then. A device or a pipe is written to as it is.

    Raises
    ------
    WriteError
        If the file cannot be written.
    """
    target = Path(path)
    try:
        if target.exists() and not target.is_file():
            write(path)
            return
        target = target.resolve()  # a link goes on pointing at the file
        with tempfile.TemporaryDirectory(prefix=".mixedlm", dir=target.parent) as folder:
            draft = Path(folder, target.name)
            write(str(draft))
            draft.replace(target)
    except OSError as error:
        raise WriteError(f"cannot write {path!r}: {error.strerror}") from error
