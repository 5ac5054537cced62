"""Labels short enough for their place: one text, or names that must remain distinct."""

from __future__ import annotations

import re
from collections.abc import Sequence

__all__ = ["cut", "shorten"]


def cut(text: str, length: int = 28) -> str:
    """Shorten a label, keeping its beginning and its end."""
    keep = (length - 1) // 2
    return text if len(text) <= length else f"{text[:keep]}…{text[-keep:]}"


def shorten(names: Sequence[str], length: int = 28) -> list[str]:
    """Shorten names; words that all of them begin or end with go first."""
    if len(set(names)) < 2 or max(map(len, names)) <= length:
        return [cut(name, length) for name in names]
    before = re.sub(r"\w+$", "", _shared_start(names))
    after = re.sub(r"\w+$", "", _shared_start([name[::-1] for name in names]))
    if min(map(len, names)) < len(before) + len(after):
        after = ""
    ends = "…" if before else "", "…" if after else ""
    rest = (name[len(before) : len(name) - len(after)] for name in names)
    return [cut(f"{ends[0]}{middle}{ends[1]}", length) for middle in rest]


def _shared_start(names: Sequence[str]) -> str:
    """Return what all names begin with: what the first and the last in sorted order share."""
    first, last = min(names), max(names)
    same = [a == b for a, b in zip(first, last)]
    return first[: same.index(False) if False in same else len(same)]
