"""Expressions whose values depend on all rows together cannot be evaluated batch by batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from mixedlm_ext.design.formula_code import Piece, code_names
from mixedlm_ext.design.matrices import FormulaMatrices
from mixedlm_ext.errors import DesignError, FormulaError, MixedLMError
from mixedlm_ext.language.mixed_formula import MixedFormula

__all__ = ["refuse_functions_of_all_rows", "refuse_of_all_rows", "refuse_positions"]

_SHARE = 0.37
"""Part of the rows that is evaluated apart: drawn, as halves of a series may have equal means."""
_SAME = 1e-9
"""Relative difference of values of one row that counts as none."""


def refuse_positions(formula: MixedFormula) -> None:
    """Refuse terms whose columns are the places of all rows together.

    Parameters
    ----------
    formula : MixedFormula

    Raises
    ------
    FormulaError
        If there is one.
    """
    for spec in formula.random:
        if spec.needs_positions:
            raise FormulaError(
                f"{spec.text} needs the places of all rows, and these are read in batches",
                formula.text,
                spec.span,
                "Read the data into a frame, or leave the term out.",
            )


def refuse_functions_of_all_rows(matrices: FormulaMatrices, sample: pd.DataFrame) -> None:
    """Compare what expressions make of some rows with what they make of parts of them.

    ``x - x.mean()`` would take the mean of each batch from its rows, without a word.

    Parameters
    ----------
    matrices : FormulaMatrices
    sample : DataFrame
        Some of the rows.

    Raises
    ------
    FormulaError
        If an expression gives a row another value beside other rows.
    """
    for piece in matrices.code.pieces:
        if code_names(piece.code).bare is not None:
            continue
        if not _by_row(partial(_values, matrices, piece), sample):
            raise FormulaError(
                f"{piece.text!r} in {piece.place} depends on all rows together, and these are read "
                "in batches",
                matrices.formula.text,
                piece.span,
                "Use center(x), standardize(x), bs(x), which remember all rows, or make it a "
                "column of the data.",
            )


def refuse_of_all_rows(
    codes: Mapping[str, str], evaluate: Callable[[str, pd.DataFrame], Any], sample: pd.DataFrame
) -> None:
    """Refuse the same in expressions of a residual structure.

    Parameters
    ----------
    codes : mapping
        From an expression to its place, in words.
    evaluate : callable
        What makes values of an expression and some rows.
    sample : DataFrame

    Raises
    ------
    DesignError
    """
    for code, place in codes.items():
        if not _by_row(partial(_array, evaluate, code), sample):
            raise DesignError(
                f"{code!r} in {place} depends on all rows together, and these are read in "
                "batches. Make it a column of the data."
            )


def _array(evaluate: Callable[[str, pd.DataFrame], Any], code: str, frame: pd.DataFrame) -> Any:
    """Return the value of an expression as an array."""
    return np.asarray(evaluate(code, frame))


def _by_row(evaluate: Callable[[pd.DataFrame], Any], sample: pd.DataFrame) -> bool:
    """Say whether each row gets the same value beside other rows."""
    one = np.random.default_rng(0).random(len(sample)) < _SHARE
    masks = [mask for mask in (one, ~one) if mask.any()]
    parts = [sample, *(sample[mask] for mask in masks)]
    try:
        with np.errstate(all="ignore"):
            whole, *some = (evaluate(part) for part in parts)
    except MixedLMError:
        raise
    except Exception:  # an expression may fail in any way; the pass says how
        return True
    return all(_same(whole[mask], part) for mask, part in zip(masks, some))


def _values(matrices: FormulaMatrices, piece: Piece, frame: pd.DataFrame) -> Any:
    """Return the value of an expression as an array."""
    data = matrices.new_data(frame, [piece])
    values = matrices.value(piece, data, frame)
    values = values.data if hasattr(values, "contrast") else values
    of_objects = isinstance(getattr(values, "dtype", None), pd.CategoricalDtype)
    return np.asarray(values, dtype=object if of_objects else None)


def _same(one: Any, two: Any) -> bool:
    """Say whether two arrays hold the same values, up to rounding."""
    if one.shape != two.shape:
        return False
    if one.dtype.kind in "iufb" and two.dtype.kind in "iufb":
        a, b = np.asarray(one, dtype=float), np.asarray(two, dtype=float)
        return bool(np.allclose(a, b, rtol=_SAME, atol=0.0, equal_nan=True))
    missing = pd.isna(one) & pd.isna(two)
    return bool(((one == two) | missing).all())
