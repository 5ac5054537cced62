"""Text for its place: the bare names of columns, broken into lines that fit."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence

__all__ = ["bare", "narrowest", "text_width", "wrap"]

_QUOTED = re.compile(r"""\bQ\((["'])(.+?)\1\)""")
_WIDTH = 0.6
"""Mean width of a letter, in font sizes."""


class _Wrapper(textwrap.TextWrapper):
    """Breaks lines after the punctuation within names, too: ``arm_assigned[T.low]``, ``sd(g, x)``.

    What opens or begins a word stays with it: ``(self reported)``, ``_x``.
    """

    wordsep_re = re.compile(r"(\s+|[_.:,;/|(\[-]*[^\s_.:,;/|(\[-]+[_.:,;/|(\[-]+)")


def bare(name: str) -> str:
    """Write ``Q('yield')`` as yield."""
    return _QUOTED.sub(r"\2", name)


def wrap(name: str, width: int = 30) -> str:
    """Break a name into lines of at most so many letters; nothing is left out.

    Words stay whole where each has room in a line.
    """
    text, width = bare(name), max(1, width)
    if all(len(word) <= width for word in text.split()):
        lines = textwrap.wrap(text, width, break_on_hyphens=False)
    else:
        lines = _Wrapper(width=width).wrap(text)
    return "\n".join(lines) or name


def narrowest(names: Sequence[str], lines: int, least: int = 16, most: int = 64) -> int | None:
    """Return the least width at which no name has more lines than so many, or None."""
    longest = max(map(len, names), default=0)
    for width in range(least, most + 1, 4):
        if longest <= width or all(wrap(name, width).count("\n") < lines for name in names):
            return width
    return None


def text_width(letters: float, size: float) -> float:
    """Estimate the width of so many letters, in the unit of the font size."""
    return _WIDTH * letters * size
