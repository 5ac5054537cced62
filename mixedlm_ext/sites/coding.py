"""How a site wrote its rows as numbers: what must be the same at all of them, in plain values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from mixedlm_ext.batches.learning import Learnt
from mixedlm_ext.batches.reading import Reader
from mixedlm_ext.design.matrices import FormulaMatrices
from mixedlm_ext.design.memory import SideMemory
from mixedlm_ext.design.messages import list_names
from mixedlm_ext.design.records import TermSpec
from mixedlm_ext.design.scope import Scope, resolve_names
from mixedlm_ext.errors import DataError, FormulaError
from mixedlm_ext.language import MixedFormula, parse_formula
from mixedlm_ext.prediction.portable import decode, encode_keys

__all__ = ["Coding", "coding_of", "differences", "parsed", "rebuilt", "refuse_memories"]

Coding = dict[str, Any]
"""In terms of JSON: the formula, its arguments, its columns and how factors are coded."""


def coding_of(
    learnt: Learnt, specs: Sequence[TermSpec], reader: Reader, names: Sequence[str]
) -> Coding:
    """Return the coding of a site.

    Parameters
    ----------
    learnt : Learnt
    specs : sequence of TermSpec
    reader : Reader
    names : sequence of str
        The columns of the site's data, by which the formula is read.
    """
    matrices = learnt.matrices
    return {
        "formula": learnt.formula.text,
        "names": [str(name) for name in names],
        "columns": {name: _column(name, learnt, matrices) for name in reader.columns},
        "weights": _argument(reader.weights),
        "offset": _argument(reader.offset),
        "x_names": list(matrices.names(0)),
        "terms": [
            {"text": s.text, "group": s.group, "columns": list(s.columns), "structure": s.structure}
            for s in specs
        ],
        "contrasts": dict(_contrasts(matrices)),
    }


def _argument(values: Any) -> str | None:
    """How weights or an offset were given: ``"column w"``, ``"array"`` or not at all."""
    return None if values is None else f"column {values}" if isinstance(values, str) else "array"


def _column(name: str, learnt: Learnt, matrices: FormulaMatrices) -> dict[str, Any]:
    """Return the kind of a column and, of one that is a factor, its categories."""
    column = learnt.sample[name]
    kind = matrices.column_types.get(name)
    categorical = isinstance(column.dtype, pd.CategoricalDtype)
    values = None
    if kind is not None and kind.categories is not None:
        values = encode_keys(kind.categories.tolist(), f"a category of {name!r}")
    return {
        "dtype": "category" if categorical else str(column.dtype),
        "kind": "group" if kind is None else kind.kind,
        "values": values,
    }


def _contrasts(matrices: FormulaMatrices) -> Iterator[tuple[str, list[Any]]]:
    """Yield each factor of a matrix with the numbers that code it."""
    for i, info in enumerate(matrices.infos):
        side = SideMemory.of(info)
        for _, products in side.terms:
            for product in products:
                for f, (matrix, _) in product.contrasts.items():
                    yield f"{i}: {side.factors[f].expression.code}", np.asarray(matrix).tolist()


def refuse_memories(matrices: FormulaMatrices) -> None:
    """Refuse functions that remember the rows they saw, which every site would remember otherwise.

    Raises
    ------
    FormulaError
    """
    for info in matrices.infos:
        for factor in SideMemory.of(info).factors:
            if factor.expression.transforms:
                formula = matrices.formula
                raise FormulaError(
                    f"{factor.expression.code!r} depends on the rows of each site",
                    formula.text,
                    (0, len(formula.text)),
                    "Agree on a number and write it, such as I(x - 40) in the place of center(x).",
                )


def differences(one: Coding, two: Coding) -> str:
    """Say what is coded in another way in the second of two sites, "" if nothing is."""
    for name in ("formula", "weights", "offset"):
        if one[name] != two[name]:
            return f"the {name} {_or_none(two[name])}, where the first has {_or_none(one[name])}"
    for name, column in one["columns"].items():
        other = two["columns"].get(name)
        if other is None:
            return f"no column {name!r}"
        if column["values"] != other["values"]:
            return (
                f"the categories {_listed(other['values'])} of {name!r}, where the first has "
                f"{_listed(column['values'])}. Pass levels={{{name!r}: [...]}} with all of them to "
                "summarize, at each site"
            )
        if column["kind"] != other["kind"]:
            return (
                f"a column {name!r} of kind {other['kind']}, where the first has {column['kind']}"
            )
    for name in ("x_names", "terms", "contrasts"):
        if one[name] != two[name]:
            what = {"x_names": "columns of the fixed part", "terms": "random terms"}
            return f"other {what.get(name, name)} than the first"
    return ""


def _or_none(value: Any) -> str:
    return "none" if value is None else repr(value)


def _listed(values: Any) -> str:
    """List categories."""
    return "none" if values is None else list_names([decode(v) for v in values])


def parsed(coding: Coding) -> MixedFormula:
    """Return the formula; in this process it may be there already, read in another spelling."""
    known: MixedFormula | None = coding.get("parsed")
    if known is not None:
        return known
    return parse_formula(coding["formula"], columns=tuple(coding["names"]))


def rebuilt(coding: Coding, env: Mapping[str, Any]) -> tuple[FormulaMatrices, Scope, pd.DataFrame]:
    """Return the matrices of a formula from its coding, its scope, and rows that stand for all.

    Raises
    ------
    DataError
        If this version builds other columns than the one that wrote them.
    """
    formula = parsed(coding)
    _, _, scope = resolve_names(formula, coding["names"], env, -1)
    frame = _stand_in(coding["columns"])
    matrices = FormulaMatrices(formula, frame, scope)
    matrices.training_data()
    if list(matrices.names(0)) != coding["x_names"]:
        raise DataError(
            f"the formula makes the columns {list_names(matrices.names(0))} here; the summary has "
            f"{list_names(coding['x_names'])}. Functions of the formula may be others here, or "
            "versions of packages."
        )
    return matrices, scope, frame


def _stand_in(columns: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame:
    """Return a frame with every category of the columns."""
    values = {name: _values(column) for name, column in columns.items()}
    m = max(len(own) for own in values.values())
    return pd.DataFrame({n: own.take(np.arange(m) % len(own)) for n, own in values.items()})


def _values(column: Mapping[str, Any]) -> Any:
    """Return an array with each value that a column needs."""
    dtype = column["dtype"]
    if column["values"] is not None:
        known = [decode(value) for value in column["values"]]
        if dtype == "category":
            return pd.Categorical(known, categories=known)
        return pd.Series(known, dtype=dtype).array
    if column["kind"] == "boolean":
        return pd.Series([False, True], dtype=dtype).array
    if column["kind"] == "date":
        return pd.Series(pd.to_datetime(["2001-01-01", "2001-01-02"])).array
    return pd.Series([1.0, 2.0]).array
