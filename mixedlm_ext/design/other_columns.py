"""R's dot: ``y ~ . + (1 | g)`` -> the columns of the data that nothing else uses."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace
from typing import Any

from mixedlm_ext.design.formula_code import column_names
from mixedlm_ext.errors import DesignError, FormulaError
from mixedlm_ext.language.columns import OTHERS, Columns, spelled
from mixedlm_ext.language.mixed_formula import MixedFormula

__all__ = ["expand_dot"]


def expand_dot(
    formula: MixedFormula, columns: Collection[Any], taken: Iterable[Any] = ()
) -> MixedFormula:
    """Put the columns that a dot stands for into the fixed part.

    Parameters
    ----------
    formula : MixedFormula
        Returned as it is if it has no dot.
    columns : collection
        Names of the data's columns, in their order.
    taken : iterable
        Columns with another use: the weights, the offset.

    Returns
    -------
    MixedFormula
        In its fixed part, all columns in place of the dot that are neither in the response, nor
        in a random term or an offset, nor taken. Other fixed terms do not count, as in R.

    Raises
    ------
    FormulaError
        If there is no such column.
    DesignError
        If such a column has a name that is no text.
    """
    if formula.dot is None:
        return formula
    response = formula.fixed.partition("~")[0]
    others = replace(formula, fixed=f"{response} ~ 1", dot=None)
    used = column_names(others).union(taken)
    names = [name for name in dict.fromkeys(columns) if name not in used]
    if not names:
        raise FormulaError(
            "'.' stands for all other columns, and the data have none",
            formula.text,
            formula.dot,
            "Write 1 for a mean only, as in y ~ 1 + (1 | group).",
        )
    odd = next((name for name in names if not isinstance(name, str)), None)
    if odd is not None:
        flat = "flatten them, as in data.columns = ['_'.join(names) for names in data.columns]"
        way = flat if isinstance(odd, tuple) else "pass data.rename(columns=str)"
        raise DesignError(
            f"'.' stands for all other columns, and {odd!r} is a name that is no text; {way}."
        )
    known = Columns(columns)
    return replace(
        formula,
        fixed=formula.fixed.replace(OTHERS, f"({' + '.join(map(spelled, names))})"),
        dot=None,
        bare=formula.bare | {name for name in names if known.finds(name)},
    )
