"""How results look in a notebook: a title, tables and notes as HTML."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence

import pandas as pd

from mixedlm_ext.tables import Table

__all__ = ["page"]


def page(title: str, tables: Iterable[pd.DataFrame] = (), notes: Sequence[str] = ()) -> str:
    """Return the HTML of a title, tables and notes."""
    parts = [f"<p><b>{html.escape(title)}</b></p>"]
    parts += [str(Table(table)._repr_html_()) for table in tables]
    parts += [f"<p>{html.escape(note)}</p>" for note in notes if note]
    return "\n".join(parts)
