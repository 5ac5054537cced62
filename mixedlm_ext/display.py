"""How tables and results look: printed within the page, and as HTML in a notebook."""

from __future__ import annotations

import html
import shutil
from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd

__all__ = ["PrintedFrame", "page"]

_MOST_COLUMNS = 60
"""Columns up to which all are printed."""


class PrintedFrame(pd.DataFrame):
    """A DataFrame that prints all its columns, in several blocks where the page is too narrow.

    pandas leaves columns out there. Beyond 60 columns it may, and rows are left out as ever.

    Examples
    --------
    >>> from mixedlm_ext.display import PrintedFrame
    >>> PrintedFrame({f"column number {i}": [i / 7] for i in range(4)}).round(2)
       column number 0  column number 1  column number 2  column number 3
    0              0.0             0.14             0.29             0.43
    >>> print(PrintedFrame({f"column number {i}": [i / 7] for i in range(6)}))
       column number 0  column number 1  column number 2  column number 3  \\
    0              0.0         0.142857         0.285714         0.428571
    <BLANKLINE>
       column number 4  column number 5
    0         0.571429         0.714286
    """

    @property
    def _constructor(self) -> Any:
        return PrintedFrame

    def __repr__(self) -> str:
        if self.shape[1] > _MOST_COLUMNS:
            return super().__repr__()
        return self.to_string(
            max_rows=pd.get_option("display.max_rows"),
            min_rows=pd.get_option("display.min_rows"),
            line_width=pd.get_option("display.width") or shutil.get_terminal_size().columns,
            show_dimensions=pd.get_option("display.show_dimensions"),
        )

    def _repr_html_(self) -> str | None:
        if not pd.get_option("display.notebook_repr_html"):
            return None
        with pd.option_context("display.max_colwidth", None):
            return self.to_html(
                max_rows=pd.get_option("display.max_rows"),
                max_cols=None,
                show_dimensions=pd.get_option("display.show_dimensions"),
                notebook=True,
            )


def page(title: str, tables: Iterable[pd.DataFrame] = (), notes: Sequence[str] = ()) -> str:
    """Return the HTML of a title, tables and notes."""
    parts = [f"<p><b>{html.escape(title)}</b></p>"]
    parts += [str(PrintedFrame(table)._repr_html_()) for table in tables]
    parts += [f"<p>{html.escape(note)}</p>" for note in notes if note]
    return "\n".join(parts)
