"""The model of a changed formula or of other data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mixedlm_ext.design import Design
from mixedlm_ext.design.at_hand import with_more_columns
from mixedlm_ext.design.frame import read_table
from mixedlm_ext.design.names import column_names, is_built_in, resolve_names
from mixedlm_ext.design.row_values import require_rows
from mixedlm_ext.errors import DesignError, FormulaError
from mixedlm_ext.formula import MixedFormula
from mixedlm_ext.formula.update import update_formula

if TYPE_CHECKING:
    from mixedlm_ext.model import MixedLM

__all__ = ["updated_model"]


def updated_model(
    model: MixedLM, formula: str, data: Any, changed: Mapping[str, Any], scope: Mapping[str, Any]
) -> MixedLM:
    """Return a model of the changed formula (see `MixedLMResults.update`).

    Parameters
    ----------
    model : MixedLM
        Made from a formula.
    formula : str
    data : DataFrame, polars.DataFrame or dict, optional
    changed : mapping
        Arguments of `MixedLM.from_formula`.
    scope : mapping
        Names that the caller sees; those that the old formula used keep their meaning.
    """
    design = model.design
    if design.formula is None:
        raise DesignError(
            "the model was made from arrays and has no formula to change. Make another MixedLM."
        )
    arguments = dict(_same_rows(design) if data is None else _same_columns(design, changed))
    arguments.update(changed)
    arguments.setdefault("check", design.checks.given)
    scope = arguments.setdefault("eval_env", {**scope, **design.scope.values})
    names = _column_names(design) if data is None else read_table(data).names
    parsed = update_formula(design.formula, formula, names)
    if data is None:
        frame = _with_new_columns(design, parsed, arguments, scope)
    new = type(model).from_formula(
        _as_argument(parsed, arguments), frame if data is None else data, **arguments
    )
    if data is None:
        new.design = _of_the_same_data(new.design, design)
        if _holds_another_response(new.design, design):
            return new.with_response(design.y)
    return new


def _as_argument(formula: MixedFormula, arguments: Mapping[str, Any]) -> Any:
    """Return the text of a formula, or itself where it has components that no text can hold."""
    names = [term.name for term in formula.random if term.name]
    if names and arguments.get("groups") is not None:
        raise FormulaError(
            f"the formula keeps the variance component {names[0]!r} and groups= is given too",
            hint="Make the changed model by MixedLM.from_formula(..., groups=, vc_formula=).",
        )
    return formula if names else formula.text


def _of_the_same_data(new: Design, old: Design) -> Design:
    """Return a design made from the rows of another as one of the user's data."""
    return replace(
        new,
        rows=old.rows[new.rows],
        n_data=old.n_data,
        n_missing=old.n_missing + new.n_missing,
        n_zero_weight=old.n_zero_weight + new.n_zero_weight,
        at_hand=old.at_hand,
    )


def _column_names(design: Design) -> list[Any]:
    """Return the columns that the design keeps, then others of the data while those are there."""
    assert design.frame is not None
    table = None if design.at_hand is None else design.at_hand.table()
    return list(dict.fromkeys([*design.frame.columns, *(() if table is None else table.names)]))


def _with_new_columns(
    design: Design, formula: MixedFormula, arguments: Mapping[str, Any], scope: Mapping[str, Any]
) -> pd.DataFrame:
    """Return the frame of the design, with the columns that a formula and arguments add to it."""
    assert design.frame is not None
    named = [arguments.get(name) for name in ("weights", "offset", "groups")]
    wanted = column_names(formula) | {name for name in named if isinstance(name, str)}
    there = _column_names(design)
    new = sorted(wanted.difference(design.frame.columns).intersection(there))
    if design.at_hand is not None and design.at_hand.table() is not None:
        resolve_names(formula, there, scope, len(design.frame))  # refuses unknown names
    else:
        absent = wanted.difference(there, scope)
        new = sorted(name for name in absent if not is_built_in(name))
    return with_more_columns(design, new) if new else design.frame


def _holds_another_response(new: Design, old: Design) -> bool:
    """Say whether the data still hold the response from before a refit."""
    assert new.formula is not None and old.formula is not None
    same = new.formula.response == old.formula.response and len(new.y) == len(old.y)
    return same and not np.array_equal(new.y, old.y)


def _same_rows(design: Design) -> dict[str, Any]:
    """Return weights and offset of the rows of a design."""
    require_rows(design)
    offset: NDArray[np.float64] | None = design.offset
    if offset is not None:
        zero = np.zeros(len(design.y))
        in_formula = design.new_data(design.frame, terms=(), offset=zero).offset
        offset = offset - in_formula
    return {"weights": design.weights, "offset": offset}


def _same_columns(design: Design, changed: Mapping[str, Any]) -> dict[str, Any]:
    """Return the names of weights and offset, for other data."""
    for name, values, column in (
        ("weights", design.weights, design.weights_name),
        ("offset", design.offset, design.offset_name),
    ):
        lost = values is not None and column is None and name not in changed
        if lost and not (name == "offset" and design.formula and design.formula.offsets):
            raise DesignError(
                f"the {name} of the model were an array. Pass {name}= of the new data."
            )
    return {"weights": design.weights_name, "offset": design.offset_name}
