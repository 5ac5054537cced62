"""The model of a changed formula or of other data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mixedlm_ext.arguments import (
    FORMULA_ARGUMENTS,
    read_formula,
    scope_of_caller,
)
from mixedlm_ext.design import Design
from mixedlm_ext.design.formula_code import code_names, column_names
from mixedlm_ext.design.frame import read_table
from mixedlm_ext.design.known_terms import EarlierMatrices
from mixedlm_ext.design.more_columns import with_more_columns
from mixedlm_ext.design.removed import require_rows
from mixedlm_ext.design.residual_rows import read_residual_text
from mixedlm_ext.design.row_values import check_new_response
from mixedlm_ext.design.scope import is_built_in, resolve_names
from mixedlm_ext.errors import DesignError, FormulaError
from mixedlm_ext.estimation.assembled import Assembled
from mixedlm_ext.estimation.fitted import Fitted
from mixedlm_ext.fit_arguments import FIT_ARGUMENTS
from mixedlm_ext.fitting import fit
from mixedlm_ext.keywords import refuse_unknown
from mixedlm_ext.language import MixedFormula
from mixedlm_ext.language.update import update_formula

__all__ = [
    "known_columns",
    "same_columns",
    "same_rows",
    "update",
    "updated",
    "with_new_columns",
]


def update(fitted: Fitted, /, formula: str = "~ .", data: Any = None, **kwargs: Any) -> Fitted:
    """Fit a changed model.

    Parameters
    ----------
    formula : str
        ``"~ . - x"``, ``"log(y) ~ ."``, ``"~ . - (x | g) + (1 | g)"``: a dot stands for what
        was there; fixed terms, random terms and offset(...) are added and taken away.
    data : DataFrame, polars.DataFrame or dict, optional
        Other data. By default the rows and the columns that this model uses: a variable that
        it does not use needs `data`.
    **kwargs
        Arguments of `MixedLM.from_formula` (weights, offset, subset, ...) to change. Others
        stay, weights and offset among them; with new data they must be columns of it. And of
        `MixedLM.fit` (reml, ddf, sigma, method, ...).

    Returns
    -------
    MixedLMResults
        Fitted by the same criterion, with the same ddf, if they are not given.

    Raises
    ------
    FormulaError
        If the formula cannot be read.
    DesignError
        If the model was made from arrays, or the data do not support the new one.

    Examples
    --------
    >>> from mixedlm_ext import MixedLM, datasets
    >>> data = datasets.sleepstudy.load_pandas().data
    >>> result = MixedLM.from_formula("Reaction ~ Days + (Days | Subject)", data).fit()
    >>> result.update("~ . - (Days | Subject) + (Days || Subject)").model.formula_full
    'Reaction ~ Days + (Days || Subject)'
    """
    known = (*FORMULA_ARGUMENTS, *FIT_ARGUMENTS)
    refuse_unknown("update", {name: None for name in kwargs if name not in known}, known)
    of_model = {name: value for name, value in kwargs.items() if name in FORMULA_ARGUMENTS}
    of_fit = {name: value for name, value in kwargs.items() if name not in of_model}
    return updated(fitted, formula, data, of_model, scope_of_caller(), **of_fit)


def updated(
    fitted: Fitted,
    formula: str,
    data: Any = None,
    changed: Mapping[str, Any] | None = None,
    scope: Mapping[str, Any] | None = None,
    **of_fit: Any,
) -> Fitted:
    """Fit a changed model (see `update`).

    Parameters
    ----------
    fitted : Fitted
        Of a model made from a formula.
    formula : str
    data : DataFrame, polars.DataFrame or dict, optional
    changed : mapping
        Arguments of `MixedLM.from_formula`.
    scope : mapping
        Names that the caller sees; those that the old formula used keep their meaning.
    **of_fit
        Arguments of `MixedLM.fit`; by default the criterion and the tests stay.
    """
    changed = dict(changed or {})
    face = replace(fitted.face, labelled=True, has_constant=changed.pop("hasconst", None))
    design = _updated_design(fitted.design, formula, data, changed, scope or {})
    ddf = "satterthwaite" if fitted.clustered else fitted.method.name
    same: dict[str, Any] = {"reml": fitted.fit.reml, "sigma": fitted.fit.fixed_sigma, "ddf": ddf}
    given = fitted.fit.restrictions
    same |= {} if given is None else {"fix": given.fix, "equal": given.equal}
    return fit(Assembled(design, face), **{**same, **of_fit})


def _updated_design(
    design: Design, formula: str, data: Any, changed: Mapping[str, Any], scope: Mapping[str, Any]
) -> Design:
    """Return the design of the changed formula or of other data."""
    if design.formula is None:
        raise DesignError(
            "the model was made from arrays and has no formula to change. Make another MixedLM."
        )
    arguments = dict(same_rows(design) if data is None else same_columns(design, changed))
    arguments.update(changed)
    arguments.setdefault("check", design.checks.given)
    arguments.setdefault("cov", EarlierMatrices.of(design.formula, design.terms))
    scope = arguments.setdefault("eval_env", {**scope, **design.scope.values})
    names = known_columns(design) if data is None else read_table(data).names
    parsed = update_formula(design.formula, formula, names)
    if data is None:
        frame = with_new_columns(design, parsed, arguments, scope)
    new = read_formula(
        _as_argument(parsed, arguments), frame if data is None else data, **arguments
    )
    if data is None:
        new = replace(new, rows=new.rows.within(design.rows))
        if _holds_another_response(new, design):
            return new.with_response(check_new_response(new, design.y))
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


def known_columns(design: Design) -> list[Any]:
    """Return the columns that the design keeps, then others of the data while those are there."""
    assert design.frame is not None
    table = None if design.rows.at_hand is None else design.rows.at_hand.table()
    return list(dict.fromkeys([*design.frame.columns, *(() if table is None else table.names)]))


def with_new_columns(
    design: Design, formula: MixedFormula, arguments: Mapping[str, Any], scope: Mapping[str, Any]
) -> pd.DataFrame:
    """Return the frame of the design, with the columns that a formula and arguments add to it."""
    assert design.frame is not None
    named = [arguments.get(name) for name in ("weights", "offset", "groups")]
    wanted = column_names(formula) | {name for name in named if isinstance(name, str)}
    text = read_residual_text(arguments.get("correlation"), arguments.get("variance"))
    wanted |= {name for code in text.codes for name in code_names(code).values}
    there = known_columns(design)
    new = sorted(wanted.difference(design.frame.columns).intersection(there))
    if design.rows.at_hand is not None and design.rows.at_hand.table() is not None:
        resolve_names(formula, there, scope, len(design.frame))  # refuses unknown names
    else:
        absent = wanted.difference(there, scope)
        new = sorted(name for name in absent if not is_built_in(name))
    return with_more_columns(design.rows, new) if new else design.frame


def _holds_another_response(new: Design, old: Design) -> bool:
    """Say whether the data still hold the response from before a refit."""
    assert new.formula is not None and old.formula is not None
    same = new.formula.response == old.formula.response and len(new.y) == len(old.y)
    return same and not np.array_equal(new.y, old.y)


def same_rows(design: Design) -> dict[str, Any]:
    """Return weights and offset of the rows of a design."""
    require_rows(design)
    offset: NDArray[np.float64] | None = design.offset
    if offset is not None:
        zero = np.zeros(len(design.y))
        in_formula = design.new_data(design.frame, terms=(), offset=zero).offset
        offset = offset - in_formula
    return {"weights": design.weights, "offset": offset, **_residuals(design)}


def _residuals(design: Design) -> dict[str, str]:
    """Return the arguments of the structure of the residuals."""
    return {} if design.residual is None else design.residual.arguments


def same_columns(design: Design, changed: Mapping[str, Any]) -> dict[str, Any]:
    """Return the names of weights and offset, for other data."""
    for name, values, column in (
        ("weights", design.weights, design.spec.weights.column),
        ("offset", design.offset, design.spec.offset.column),
    ):
        lost = values is not None and column is None and name not in changed
        if lost and not (name == "offset" and design.formula and design.formula.offsets):
            raise DesignError(
                f"the {name} of the model were an array. Pass {name}= of the new data."
            )
    return {"weights": design.spec.weights.column, "offset": design.spec.offset.column}
