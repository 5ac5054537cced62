"""How much memory the machine has to give.

It is asked before anything large is allocated: an operating system that has run out of memory ends
the process without a word.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np

from mixedlm_ext.products.block_matrix import BlockMatrix
from mixedlm_ext.solvers.costs import Costs

__all__ = ["available_memory", "costs_of", "in_words", "is_small"]

_SMALL = 1000
"""Columns of Z up to which nobody asks how much memory is free, 32 MB are, or how long it takes."""

_USUAL = Costs()
_SHARE = 0.9
"""Share of the memory that is free now that a fit may plan with."""


def available_memory() -> float:
    """Return the bytes that this process may still take; infinite where nothing tells.

    The least of the machine's free memory, the limit of the control groups (containers) that hold
    the process, and what the process may allocate by itself.

    Examples
    --------
    >>> available_memory() > 1e6
    True
    """
    return _SHARE * min(_limits(), default=np.inf)


def costs_of(A: BlockMatrix) -> Costs:
    """Return what operations cost, and the memory that there is for a plan of this matrix."""
    return _USUAL if is_small(A) else Costs(memory=available_memory())


def is_small(A: BlockMatrix) -> bool:
    """Say whether any solver will do for a matrix."""
    return bool(A.offsets[-1] <= _SMALL)


def _limits(system: Path = Path("/")) -> Iterator[float]:
    """Yield what each source of limits below the root of the file system leaves, in bytes."""
    with suppress(OSError, ValueError, AttributeError):  # not every system has all of these names
        yield float(os.sysconf("SC_PHYS_PAGES")) * os.sysconf("SC_PAGE_SIZE")
    with suppress(OSError, ValueError, StopIteration):
        lines = (system / "proc/meminfo").read_text().splitlines()
        yield 1024.0 * int(next(s for s in lines if s.startswith("MemAvailable")).split()[1])
    for limit, usage in _control_groups(system):
        with suppress(OSError, ValueError):  # "max" is no number: no limit
            yield float(int(limit.read_text())) - int(usage.read_text())
    with suppress(ImportError, OSError, ValueError, IndexError):
        import resource

        soft, _ = resource.getrlimit(resource.RLIMIT_AS)
        if soft != resource.RLIM_INFINITY:
            pages = int((system / "proc/self/statm").read_text().split()[0])
            yield float(soft) - pages * os.sysconf("SC_PAGE_SIZE")


def _control_groups(system: Path) -> Iterator[tuple[Path, Path]]:
    """Yield the files with limit and usage of this process's control groups and those above."""
    root = system / "sys/fs/cgroup"
    own: list[str] = []
    with suppress(OSError):
        own = (system / "proc/self/cgroup").read_text().splitlines()
    for line in own:
        _, controllers, path = line.split(":", 2)
        folder = Path(path.lstrip("/"))
        for part in (folder, *folder.parents):
            if not controllers:
                yield root / part / "memory.max", root / part / "memory.current"
            elif "memory" in controllers.split(","):
                here = root / "memory" / part
                yield here / "memory.limit_in_bytes", here / "memory.usage_in_bytes"


def in_words(size: float) -> str:
    """Return bytes as one reads them.

    Examples
    --------
    >>> in_words(27.85e9), in_words(3.1e12), in_words(2.4e8)
    ('28 GB', '3.1 TB', '0.24 GB')
    """
    if size >= 1e12:
        return f"{size / 1e12:.2g} TB"
    return f"{size / 1e9:.0f} GB" if size >= 1e10 else f"{size / 1e9:.2g} GB"
