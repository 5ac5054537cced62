"""The model of a changed formula or of other data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mixedlm_ext.design import Design
from mixedlm_ext.errors import DesignError
from mixedlm_ext.formula.update import update_formula
from mixedlm_ext.refit import require_rows

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
    text = update_formula(design.formula, formula)
    arguments = dict(_same_rows(design) if data is None else _same_columns(design, changed))
    arguments.update(changed)
    arguments.setdefault("check", design.checks.given)
    arguments.setdefault("eval_env", {**scope, **design.scope.values})
    new = type(model).from_formula(text, design.frame if data is None else data, **arguments)
    if data is None and _holds_another_response(new.design, design):
        return new.with_response(design.y)
    return new


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
