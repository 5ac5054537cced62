"""What a residual structure needs of the rows together, in memory or counted batch by batch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from mixedlm_ext.design.messages import quoted
from mixedlm_ext.errors import DesignError
from mixedlm_ext.residual.text import CorrelationText, VarianceText

__all__ = [
    "check_neighbours",
    "check_sizes",
    "check_strata",
    "check_told_apart",
    "check_varies",
    "check_whole",
    "same_position",
    "twice_at",
]

Floats = npt.NDArray[np.float64]
Codes = npt.NDArray[np.intp]

_SAME = 1e-9
"""Difference of positions or values, relative to their range, that counts as none."""
_DEPENDENT = 1e-8
"""Share of a covariate of the variances outside the others that counts as none."""


def check_sizes(text: CorrelationText, largest: int) -> None:
    """Refuse groups that have one row each."""
    if largest < 2:
        raise DesignError(
            f"every level of {':'.join(text.group)!r} has one row, so that no two residuals of "
            f"{text.text} could be correlated. Group by a factor with several rows a level."
        )


def same_position(span: float) -> float:
    """Return the distance of positions that counts as none where all are within a span."""
    return _SAME * max(span, 1e-300)


def twice_at(text: CorrelationText, group: object, at: float) -> DesignError:
    """Return what two rows at one position are refused by."""
    return DesignError(
        f"{text.text}: two rows of {':'.join(text.group)} {quoted(group)} stand at the "
        f"position {at:g}. Positions of one group differ: average such rows, or add the factor "
        f"that tells them apart to the groups, as in {text.word}({text.position} | "
        f"{':'.join(text.group)}:other)."
    )


def check_whole(positions: Floats, code: str, group: Sequence[str], index: pd.Index) -> None:
    """Refuse positions of ar1 that are no whole numbers."""
    off = np.flatnonzero(np.abs(positions - np.rint(positions)) > 1e-6)
    if len(off):
        row = int(off[0])
        raise DesignError(
            f"ar1() needs whole numbers for positions, and {code!r} is {positions[row]:g} at row "
            f"{quoted(index[row])}. Write car1({code} | {':'.join(group)}) for any times."
        )


def check_neighbours(text: CorrelationText, gaps: Floats) -> None:
    """Refuse positions whose distances have a common factor."""
    step = int(np.gcd.reduce(np.rint(gaps).astype(np.int64)))
    if step > 1:
        raise DesignError(
            f"the positions of {text.text} are multiples of {step} apart in every group, so that "
            f"no two rows show the correlation of neighbours. Divide {text.position!r} by {step}, "
            f"or write car1({text.position} | {':'.join(text.group)})."
        )


def check_varies(text: VarianceText, scale: float, largest: float) -> None:
    """Refuse a covariate of which all rows have one value."""
    if scale <= _SAME * max(largest, 1e-300):
        raise DesignError(
            f"{text.codes[0]!r} in variance={text.text!r} is constant, so that no variance "
            "follows it. Leave it out."
        )


def check_strata(text: VarianceText, levels: pd.Index, count: Codes) -> None:
    """Refuse one stratum, and strata of one row."""
    if len(levels) < 2:
        raise DesignError(
            f"variance={text.text!r} has one stratum, {quoted(levels[0])}. Leave variance= out for "
            "one variance of all residuals."
        )
    alone = np.flatnonzero(count < 2)
    if len(alone):
        raise DesignError(
            f"the stratum {quoted(levels[int(alone[0])])} of variance={text.text!r} has one row, "
            f"which shows no variance ({len(alone)} of {len(levels)} strata do). Put strata "
            f"together; for a number, write variance='power({text.text})' or 'exp({text.text})'."
        )


def check_told_apart(variances: Sequence[VarianceText], x: Floats, counts: Floats) -> None:
    """Refuse factors of which one follows from the others.

    Parameters
    ----------
    variances : sequence of VarianceText
    x : ndarray (S, M)
        Columns of log D, of rows that may stand for several.
    counts : ndarray (S,)
        How many rows each stands for.
    """
    if x.shape[1] < 2:
        return
    centred = (x - counts @ x / counts.sum()) * np.sqrt(counts)[:, None]
    unit = centred / np.linalg.norm(centred, axis=0)
    if np.linalg.svd(unit, compute_uv=False)[-1] < _DEPENDENT:
        names = " * ".join(part.text for part in variances)
        raise DesignError(
            f"variance={names!r} says the same twice: the rows do not tell its factors apart. "
            "Leave one of them out."
        )
