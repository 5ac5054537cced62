"""Levels of grouping factors that the fit has not seen: naming them, warning of them."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

import pandas as pd

from mixedlm_ext.design import Design, NewData
from mixedlm_ext.design.messages import quoted
from mixedlm_ext.errors import DesignWarning, warn_caller

__all__ = ["list_levels", "warn_of_levels", "warn_of_new_levels"]

_NAMED = 3
"""Levels that a message names."""


def list_levels(levels: Collection[Any]) -> str:
    """Return the first few of some levels for a message.

    Examples
    --------
    >>> list_levels(["a", ("b", 1)]), list_levels(range(9))
    ("'a', ('b', 1)", '0, 1, 2 and 6 others')
    """
    first = [quoted(level) for level, _ in zip(levels, range(_NAMED))]
    more = len(levels) - _NAMED
    return ", ".join(first) + (f" and {more} other{'s' * (more > 1)}" if more > 0 else "")


def warn_of_new_levels(
    design: Design,
    new: NewData,
    terms: Iterable[str],
    instead: str = "count as zero",
) -> None:
    """Warn of new rows whose grouping factor looks like another one than that of the fit.

    Parameters
    ----------
    design : Design
    new : NewData
    terms : iterable of str
        The terms whose random effects are used.
    instead : str
        What their random effects do then.

    Warns
    -----
    DesignWarning
        If none of several levels of a term was in the fit, or intervals cut otherwise.
    """
    named = {term.name: term for term in design.terms}
    for name in terms:
        if name in new.terms and name in new.unseen:
            codes = new.terms[name][1]
            seen, levels = bool((codes >= 0).any()), named[name].levels
            if name in new.members:
                seen = bool(new.members[name].W.nnz)
            warn_of_levels(name, new.unseen[name], seen, levels, instead)


def warn_of_levels(
    name: str,
    unseen: Collection[Any],
    seen: bool,
    levels: pd.Index,
    instead: str = "count as zero",
) -> None:
    """Warn of the new levels of one term; `seen` says whether others were in the fit."""
    if not len(unseen):
        return
    if _cut_otherwise(unseen, levels):
        problem = (
            f"the new data cut {name!r} into other intervals than the fit "
            f"({list_levels(unseen)} is not among {list_levels(levels)})"
        )
        advice = " Cut at fixed edges, as in pd.cut(x, [0, 5, 10])."
    elif len(unseen) > 1 and not seen:
        problem = (
            f"none of the {len(unseen)} levels of {name!r} in the new data "
            f"({list_levels(unseen)}) was in the fit, which has {list_levels(levels)}"
        )
        advice = ""
    else:
        return
    warn_caller(
        f"{problem}. Their random effects {instead}.{advice}",
        DesignWarning,
    )


def _cut_otherwise(unseen: Collection[Any], levels: pd.Index) -> bool:
    """Whether new intervals overlap others of the fit."""
    known = _intervals(levels)
    return bool(known) and any(
        level.overlaps(other)
        for level in _intervals(unseen)
        for other in known
        if level != other and level.closed == other.closed and _same_ends(level, other)
    )


def _intervals(levels: Iterable[Any]) -> list[Any]:
    """Return the intervals among levels and their parts, each once."""
    if isinstance(levels, pd.MultiIndex):
        parts: Iterable[Any] = (value for part in levels.levels for value in part)
    else:
        parts = (part for level in levels for part in (level if type(level) is tuple else [level]))
    return [value for value in dict.fromkeys(parts) if isinstance(value, pd.Interval)]


def _same_ends(a: Any, b: Any) -> bool:
    """Whether two intervals are of numbers both, or of times both."""
    return isinstance(a.left, pd.Timestamp) == isinstance(b.left, pd.Timestamp)
