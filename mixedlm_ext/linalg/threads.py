"""One thread of SciPy's BLAS for work that is not worth waking another.

OpenBLAS wakes all of its threads for systems of some tens of columns. They spin while they wait for
work and for one another: beside a busy process what takes one thread a millisecond takes several
ten times as long, on all cores.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import scipy
import scipy.linalg.blas  # loads the library that is looked for

__all__ = ["ANY_THREADS", "ONE_THREAD", "one_thread_for"]

_LEAST, _MOST = 64, 1024
"""Columns of a square matrix whose factor OpenBLAS computes in one thread anyhow, and from which on
several are sooner done with it although they have to be woken."""


class _Library(NamedTuple):
    """What asks for the number of threads, and what sets it."""

    get: Callable[[], int]
    set: Callable[[int], Any]


class _OneThread:
    """A context in which the BLAS has one thread; within others, and in several threads at once."""

    def __init__(self) -> None:
        self._forget()
        if hasattr(os, "register_at_fork"):  # the child has no thread that would leave
            os.register_at_fork(after_in_child=self._restore)

    def __reduce__(self) -> str:
        return "ONE_THREAD"

    def _forget(self) -> None:
        self._lock, self._inside, self._before = threading.Lock(), 0, 1

    def _restore(self) -> None:
        """Give the number of threads back, whoever is inside."""
        before = self._before if self._inside else 1
        self._forget()
        library = _library() if before > 1 else None
        if library is not None:
            library.set(before)

    def __enter__(self) -> None:
        library = _library()
        if library is None:
            return
        with self._lock:
            if not self._inside:
                self._before = library.get()
                if self._before > 1:
                    library.set(1)
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        library = _library()
        if library is None:
            return
        with self._lock:
            self._inside -= 1
            if not self._inside and self._before > 1:
                library.set(self._before)


class _AnyThreads:
    """A context in which nothing changes."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, *_: object) -> None:
        return None


@cache
def _library() -> _Library | None:
    """Return the OpenBLAS that SciPy's wheels bring; None where SciPy has another BLAS."""
    for path in _paths():
        try:
            found = ctypes.CDLL(str(path))
        except OSError:
            continue
        for name in ("scipy_openblas_{}_num_threads", "openblas_{}_num_threads"):
            if hasattr(found, name.format("get")):
                return _Library(*(getattr(found, name.format(how)) for how in ("get", "set")))
    return None


def _paths() -> Iterator[Path]:
    """Yield files that may be the library."""
    package = Path(scipy.__file__).parent
    for folder in (package.parent / "scipy.libs", package / ".dylibs"):
        yield from folder.glob("*openblas*")


ONE_THREAD = _OneThread()
ANY_THREADS = _AnyThreads()


def one_thread_for(columns: int) -> _OneThread | _AnyThreads:
    """Return a context for work with a square matrix of so many columns.

    Examples
    --------
    >>> with one_thread_for(100):
    ...     pass
    """
    return ONE_THREAD if _LEAST <= columns < _MOST else ANY_THREADS
