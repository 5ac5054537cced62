"""Whole numbers that overflow within an expression of a formula: they wrap around in silence."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from mixedlm_ext.design.formula_code import Piece, code_names
from mixedlm_ext.errors import FormulaError

__all__ = ["OVERFLOWS", "as_floats", "refuse_overflow", "wrapped"]

OVERFLOWS = (
    "overflows: it has values that whole numbers of 64 bits cannot hold, and these wrap around"
)
_ROUNDING = 1e-6
"""A difference, relative to the largest value, that the rounding of floats does not make."""


def refuse_overflow(
    piece: Piece, data: Mapping[str, Any], value: Callable[[Mapping[str, Any]], Any], formula: str
) -> None:
    """Raise if an expression has another value in floats than in whole numbers of 64 bits.

    Parameters
    ----------
    piece : Piece
    data : mapping of str to array
        The columns as patsy gets them.
    value : callable
        The value of the expression in some columns.
    formula : str
        The text of the formula.

    Raises
    ------
    FormulaError

    Notes
    -----
    Whole numbers are kept as such for what asks for them, such as ``a // 10`` or ``a & 1``; what
    cannot be evaluated in floats, or is no number, is let through. So is what Python's whole
    numbers, which have no end, say as well: floats lose the last digits of large ones.
    """
    names = code_names(piece.code)
    if names.bare is not None and names.plain:
        return
    whole = wrapped(names.values, data, value)
    if whole:
        raise FormulaError(
            f"{piece.text!r} in {piece.place} {OVERFLOWS}",
            formula,
            piece.span,
            f"Pass the numbers as floats: {as_floats(whole)}.",
        )


def wrapped(
    names: Collection[str], data: Mapping[str, Any], value: Callable[[Mapping[str, Any]], Any]
) -> list[str]:
    """Return the columns of whole numbers with which an expression overflows; none if it does not.

    Parameters
    ----------
    names : collection of str
        That the expression uses.
    data : mapping of str to array
    value : callable
        The value of the expression in some columns.
    """
    whole = sorted(name for name in names if _is_whole(data.get(name)))
    if not whole:
        return []
    in_floats = {name: data[name].astype(np.float64) for name in whole}
    try:
        with np.errstate(all="ignore"):
            found, expected = _numbers(value(data)), _numbers(value({**data, **in_floats}))
    except Exception:  # whatever the user's functions raise for floats
        return []
    if found is None or expected is None or found.shape != expected.shape:
        return []
    if not _differ(found, expected):
        return []
    exact = _in_python(whole, data, value)
    is_right = exact is not None and exact.shape == found.shape and not _differ(found, exact)
    return [] if is_right else whole


def as_floats(columns: Sequence[str]) -> str:
    """Return what makes floats of columns."""
    return ", ".join(f"data[{name!r}].astype(float)" for name in columns)


def _in_python(
    whole: Sequence[str], data: Mapping[str, Any], value: Callable[[Mapping[str, Any]], Any]
) -> npt.NDArray[np.float64] | None:
    """Return the value with columns of Python's whole numbers; None if it has none."""
    endless = {name: data[name].astype(object) for name in whole}
    try:
        with np.errstate(all="ignore"):
            return np.asarray(value({**data, **endless})).astype(np.float64)
    except Exception:  # numpy's functions raise for objects
        return None


def _differ(found: npt.NDArray[np.float64], expected: npt.NDArray[np.float64]) -> bool:
    """Say whether values differ by more than the rounding of floats."""
    with np.errstate(all="ignore"):
        finite = np.isfinite(expected)
        size = np.abs(expected[finite]).max(initial=0.0)
        return bool((np.abs(found - expected)[finite] > _ROUNDING * size).any())


def _is_whole(values: Any) -> bool:
    """Whether values are integers, some of them not 0, 1 or -1."""
    kind = getattr(getattr(values, "dtype", None), "kind", "")
    return kind in "iu" and bool((np.abs(np.asarray(values)) > 1).any()) if kind else False


def _numbers(values: Any) -> npt.NDArray[np.float64] | None:
    """Return real numbers as floats; None for anything else."""
    found = np.asarray(values)
    return found.astype(np.float64) if found.dtype.kind in "iuf" else None
