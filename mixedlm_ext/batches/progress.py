"""A bar that counts rows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mixedlm_ext.parallel import import_tqdm
from mixedlm_ext.sources import Progress, Source

__all__ = ["bar_of_rows"]


@contextmanager
def bar_of_rows(progress: bool, source: Source, what: str) -> Iterator[Progress | None]:
    """Show a bar of the rows of a source that were read, if it is asked for.

    Parameters
    ----------
    progress : bool
    source : Source
    what : str
        What the pass does, before the bar.

    Yields
    ------
    callable or None
        To be called with the number of rows read.
    """
    if not progress:
        yield None
        return
    tqdm: Any = import_tqdm()
    with tqdm(total=source.rows, desc=what, unit=" rows", unit_scale=True) as bar:
        yield bar.update
