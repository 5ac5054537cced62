"""Binomial responses as users write them: two columns, true or false, a proportion.

successes + failures becomes the proportion successes / (successes + failures), with its trials
beside it; true and false become 1 and 0.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from statsmodels.genmod import families

from mixedlm_ext.design.frame import Table
from mixedlm_ext.errors import DesignError, FormulaError
from mixedlm_ext.language import MixedFormula

__all__ = ["Response", "has_two_columns", "proportion_of_arrays", "response_of_formula"]


_WHOLE = 1e-6
"""What a number of trials may be off a whole number."""


class Response(NamedTuple):
    """The response of a formula.

    Attributes
    ----------
    text : str
        The formula, its response being numbers of one column.
    name : str or None
        What the user wrote, where that is something else.
    trials : Series or None
        Of all rows of the data, where the response has two columns.
    """

    text: str
    name: str | None = None
    trials: pd.Series | None = None


def response_of_formula(
    formula: MixedFormula, family: Any, table: Table, scope: Mapping[str, Any]
) -> Response:
    """Read the response of a formula; only a binomial model's is more than a column."""
    if type(family) is not families.Binomial:
        return Response(formula.text)
    two = _two_columns(formula.response)
    if two is not None:
        text, trials = _as_proportion(formula.text, two, table, scope)
        return Response(text, formula.shown(formula.response), trials)
    if _is_boolean(formula, table, scope):
        text = f"({formula.response}) * 1.0 ~{formula.text.partition('~')[2]}"
        return Response(text, formula.shown(formula.response))
    return Response(formula.text)


def proportion_of_arrays(endog: Any, family: Any) -> tuple[Any, pd.Series | None]:
    """Return the response and, where a binomial model's has two columns, the trials."""
    shape = np.shape(endog)
    if type(family) is not families.Binomial or len(shape) != 2 or shape[1] != 2:
        return endog, None
    index = getattr(endog, "index", None)
    try:
        both = np.asarray(endog, dtype=float)
    except (TypeError, ValueError):
        raise DesignError(
            "the response of two columns, successes and failures, has text."
        ) from None
    labels = pd.RangeIndex(len(both)) if index is None else index
    for values, code in zip(both.T, ("successes", "failures")):
        _check_counts(pd.Series(values, index=labels), code)
    trials = both.sum(axis=1)
    with np.errstate(all="ignore"):
        share = both[:, 0] / trials
    y = pd.Series(np.where(trials > 0, share, 0.0), index=index, name="y")
    return y, pd.Series(trials, index=index)


def has_two_columns(response: str, family: Any) -> bool:
    """Say whether a response is written as successes + failures of a binomial model."""
    return type(family) is families.Binomial and _two_columns(response) is not None


def _two_columns(response: str) -> tuple[str, str] | None:
    """Return the expressions left and right of the + of a response, if it is a sum of two."""
    try:
        tree = ast.parse(response.strip(), mode="eval").body
    except SyntaxError:
        return None
    if isinstance(tree, ast.Call) and getattr(tree.func, "id", "") == "cbind":
        raise FormulaError(
            "cbind() is R's",
            response,
            (0, 5),
            "Write the two columns with a plus: successes + failures ~ ...",
        )
    if not (isinstance(tree, ast.BinOp) and isinstance(tree.op, ast.Add)):
        return None
    if isinstance(tree.left, ast.BinOp) and isinstance(tree.left.op, ast.Add):
        raise FormulaError(
            "a binomial response has two columns, successes and failures; this has more",
            response,
            (0, len(response)),
            "Write I(a + b) for sums.",
        )
    return ast.unparse(tree.left), ast.unparse(tree.right)


def _as_proportion(
    text: str, two: tuple[str, str], table: Table, scope: Mapping[str, Any]
) -> tuple[str, pd.Series]:
    """Return the formula with successes / trials for its response, and the trials of all rows."""
    success, failure = (_evaluated(code, table, scope) for code in two)
    for code, values in zip(two, (success, failure)):
        _check_counts(values, repr(code))
    left, right = two
    _, _, rest = text.partition("~")
    trials = pd.Series((success + failure).to_numpy(), index=table.index)
    return f"({left}) / (({left}) + ({right})) ~{rest}", trials


def _check_counts(values: pd.Series, what: str) -> None:
    """Refuse successes or failures that are no numbers of trials; missing ones are left out."""
    numbers = values.to_numpy(dtype=float)
    with np.errstate(invalid="ignore"):
        broken = np.abs(numbers - np.round(numbers)) > _WHOLE * np.maximum(1.0, np.abs(numbers))
    for wrong, how in ((numbers < 0, "negative"), (broken, "no whole number")):
        if wrong.any():
            row = values.index[int(np.flatnonzero(wrong)[0])]
            raise DesignError(f"{what} is {how} at row {row!r}. It is a number of trials.")


def _is_boolean(formula: MixedFormula, table: Table, scope: Mapping[str, Any]) -> bool:
    """Say whether a response is true or false; refuse text, of which one value is a success."""
    try:
        values = pd.Series(_value(formula.response, table, scope))
    except Exception:  # said better where the design evaluates it
        return False
    if pd.api.types.is_bool_dtype(values.dtype):
        return True
    kind = isinstance(values.dtype, pd.CategoricalDtype) or values.dtype.kind in "OUST"
    kinds = list(pd.unique(values.dropna())) if kind else []
    if kinds and all(isinstance(v, bool | np.bool_) for v in kinds):
        return True
    if kinds and all(isinstance(v, str) for v in kinds):
        name = formula.shown(formula.response)
        raise DesignError(
            f"response {name!r} is text ({', '.join(map(repr, kinds[:3]))}). Say which value is a "
            f"success: ({formula.response} == {kinds[-1]!r}) ~ ..."
        )
    return False


def _value(code: str, table: Table, scope: Mapping[str, Any]) -> Any:
    """Evaluate an expression of the response in the data."""
    used = {node.id for node in ast.walk(ast.parse(code.strip())) if isinstance(node, ast.Name)}
    columns = {name: table.column(name) for name in used if name in table.names}
    names = {**scope, **columns, "Q": table.column, "I": lambda x: x, "np": np}
    return eval(code.strip(), {"__builtins__": {}}, names)


def _evaluated(code: str, table: Table, scope: Mapping[str, Any]) -> pd.Series:
    """Evaluate one of the two expressions in the data."""
    try:
        values = _value(code, table, scope)
        return pd.Series(np.asarray(values, dtype=float), index=table.index)
    except Exception as error:
        raise DesignError(
            f"{code!r} on the left of ~ cannot be evaluated in the data: {error}. A binomial "
            "response is successes + failures, two columns of numbers."
        ) from None
