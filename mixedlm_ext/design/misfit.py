"""Which expression of a formula has not one number a row: patsy names the wrong one, or none."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pandas as pd

from mixedlm_ext.design.formula_code import Piece
from mixedlm_ext.design.messages import quoted
from mixedlm_ext.design.values import row_shape
from mixedlm_ext.errors import FormulaError
from mixedlm_ext.language.mixed_formula import MixedFormula

__all__ = ["misfit_error"]


def misfit_error(
    formula: MixedFormula, pieces: Iterable[Piece], evaluate: Callable[[str], Any], n: int
) -> FormulaError | None:
    """Find the first of `pieces` that has not `n` values, or no numbers that a matrix can have.

    Parameters
    ----------
    formula : MixedFormula
    pieces : iterable of Piece
    evaluate : callable
        Returns the value of an expression given its code.
    n : int
        Number of rows.

    Returns
    -------
    FormulaError or None
    """
    for piece in pieces:
        if piece.role not in ("fixed", "left"):
            continue
        try:
            value = evaluate(piece.code)
        except Exception:  # has an error of its own, which is not the one looked for
            continue
        values = getattr(value, "data", value) if hasattr(value, "contrast") else value  # C()
        shape = row_shape(values, f"{piece.text!r} in {piece.place}")
        if shape[:1] != (n,):
            found, hint = _found(values, shape, n)
            problem = f"{piece.text!r} in {piece.place} {found}"
            return FormulaError(problem, formula.text, piece.span, hint)
        kind = getattr(getattr(values, "dtype", None), "kind", "")
        if kind in _NO_NUMBERS:
            found, hint = _NO_NUMBERS[kind]
            problem = f"{piece.text!r} in {piece.place} {found}"
            return FormulaError(problem, formula.text, piece.span, hint)
    return None


_NO_NUMBERS = {
    "c": ("is complex", "Use the real part, the imaginary part or the modulus."),
    "m": ("is a duration", "Divide it by a unit, as in I(x / np.timedelta64(1, 'D'))."),
    "M": ("is a date", "Subtract a date and divide by a unit, to have a number of days."),
}


def _found(values: Any, shape: tuple[int, ...], n: int) -> tuple[str, str]:
    """What the expression has, and what to do about it."""
    if shape:
        hint = "Make it a column of the data: rows that are left out then leave with their values."
        return f"has {shape[0]} values; {n} rows of the data are used", hint
    hint = "Does the function return its result?" if values is None else "Name a column."
    shown = "an object"
    if isinstance(values, (int, float, np.number)) and not isinstance(values, bool):
        hint = "Put arithmetic into I(...), as in I((x - x.mean()) / x.std())."
        shown = f"{values:g}"
    elif pd.api.types.is_scalar(values) and len(quoted(values)) < 60:
        shown = quoted(values)
    return f"is a single value ({shown}); it needs one for each row", hint
