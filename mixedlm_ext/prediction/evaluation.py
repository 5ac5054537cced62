"""New rows of a predictor: the values of its expressions, its columns, and its random terms."""

from __future__ import annotations

import ast
import builtins
from collections.abc import Iterable, Mapping, Sequence
from types import CodeType
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from mixedlm_ext.design.formula_code import code_names
from mixedlm_ext.design.grouping import match_levels, unseen_levels
from mixedlm_ext.design.messages import list_names, quoted
from mixedlm_ext.design.overflow import OVERFLOWS, as_floats, wrapped
from mixedlm_ext.errors import DesignError, MixedLMError
from mixedlm_ext.prediction.allowed import BUILTINS, FORMULA
from mixedlm_ext.prediction.new_levels import list_levels, warn_of_levels
from mixedlm_ext.prediction.portable import decode, references
from mixedlm_ext.prediction.vetting import parse_expression

Array = NDArray[np.float64]
Record = dict[str, Any]

__all__ = [
    "PreparedRows",
    "Side",
    "Term",
    "decode_all",
    "level_index",
    "number_levels",
    "prepare",
    "report_unseen",
]

_PYTHON = "builtins."


class Side:
    """The products that make the columns of one side of the formula."""

    def __init__(self, products: list[Any]) -> None:
        self.products = [
            [(code, None if matrix is None else np.array(matrix)) for code, matrix in product]
            for product in products
        ]


class PreparedRows:
    """New rows, and the values of the formula's expressions in them."""

    def __init__(
        self,
        code: Mapping[str, CodeType],
        names: dict[str, Any],
        categories: Mapping[str, dict[Any, int]],
        data: dict[str, Any],
        columns: Mapping[str, pd.Series],
        n: int,
    ) -> None:
        self._code, self._names, self._categories = code, names, categories
        self._data, self.columns, self.n = data, columns, n
        self._known: dict[str, Array] = {}

    def evaluate(self, code: str) -> Any:
        """Return the value of an expression."""
        if code not in self._code:  # a column as it is
            column = str(code_names(code).bare)
            if column not in self.columns:
                raise DesignError(f"the predictor is damaged: it has no expression {code!r}.")
            return self.columns[column]
        try:
            return eval(self._code[code], self._names, self._data)
        except MixedLMError:
            raise
        except Exception as error:
            raise DesignError(f"{code!r} is undefined for the new data: {error}.") from error

    def factor(self, code: str) -> Any:
        """Return the columns of a numerical expression (n, k), or codes of a categorical one."""
        if code not in self._known:
            value = self.evaluate(code)
            if code in self._categories:
                self._known[code] = self._coded(code, value)
            else:
                self._refuse_overflow(code)
                self._known[code] = np.asarray(value, dtype=float).reshape(self.n, -1)
        return self._known[code]

    def _refuse_overflow(self, code: str) -> None:
        """Raise if an expression is beyond what whole numbers hold."""
        if code not in self._code:
            return
        made = self._code[code]
        used = set(made.co_names) & set(self._data)
        whole = wrapped(used, self._data, lambda data: eval(made, self._names, dict(data)))
        if whole:
            raise DesignError(
                f"{code!r} {OVERFLOWS} in the new data. Pass the numbers as floats: "
                f"{as_floats(whole)}."
            )

    def _coded(self, code: str, value: Any) -> Any:
        known, values = self._categories[code], _plain_list(value)
        found = _look_up(known, values)
        if -1 in found or _have_truth(values) != _have_truth(known):
            found = match_levels([values], level_index([list(known)], [code])).tolist()
        if -1 in found:
            odd = values[found.index(-1)]
            raise DesignError(
                f"{code!r} has the level {quoted(odd)} in the new data, which the fit has not seen "
                f"(it has {list_names(known)})."
            )
        return np.array(found, dtype=np.intp)

    def matrix(self, side: Side) -> Array:
        """Return the columns (n, k) of a side; of a product the first factor varies fastest."""
        parts = []
        for product in side.products:
            out = np.ones((self.n, 1))
            for code, contrasts in product:
                values = self.factor(code)
                values = values if contrasts is None else contrasts[values]
                out = (values[:, :, None] * out[:, None, :]).reshape(self.n, -1)
            parts.append(out)
        return np.hstack(parts) if parts else np.zeros((self.n, 0))


class Term:
    """One random term: the columns, and the modes of each level."""

    def __init__(self, record: Record) -> None:
        self.name, self.groups = record["name"], record["groups"]
        self.side = Side(record["side"])
        self.levels = number_levels(record["levels"])
        self.parts = [decode_all(part) for part in record["levels"]]
        self.index = level_index(self.parts, self.groups if len(self.parts) > 1 else [self.name])
        self.places = np.array(record["places"]) if "places" in record else None
        found = record.get("range")
        self.range = np.inf if found is None else float(found)
        b = np.array(record["b"]).reshape(len(self.levels), -1)
        self.b = np.vstack([b, np.zeros(b.shape[1])])  # the last row is for levels not seen

    def contribution(self, rows: PreparedRows, new_levels: str) -> Array:
        """Return the part of Zb that the term contributes."""
        values = [_plain_list(rows.evaluate(code)) for code in self.groups]
        codes = self._codes(values)
        unseen = codes < 0
        if unseen.any():
            self._report(values, codes, new_levels)
        out = np.einsum("nk,nk->n", self._columns(rows), self.b[codes])
        return np.where(unseen, np.nan, out) if new_levels == "nan" else out

    def _columns(self, rows: PreparedRows) -> Array:
        """Return the columns of the term; of places, the correlations with those of the fit."""
        X = rows.matrix(self.side)
        if self.places is None:
            return X
        apart = cdist(X, self.places)
        if self.range == 0:
            return (apart == 0).astype(float)
        return np.asarray(np.exp(-apart / self.range))

    def _codes(self, values: list[list[Any]]) -> NDArray[np.intp]:
        """Return the level of each row, -1 where the fit has not seen it."""
        keys = values[0] if len(values) == 1 else zip(*values)
        codes = np.array(_look_up(self.levels, keys), dtype=np.intp)
        alike = (_have_truth(new) == _have_truth(own) for new, own in zip(values, self.parts))
        if (codes < 0).any() or not all(alike):
            # objects, so that no key is taken for a row of several
            columns = [pd.Series(part, dtype=object).infer_objects() for part in values]
            return match_levels(columns, self.index)
        return codes

    def _report(self, values: list[list[Any]], codes: NDArray[np.intp], new_levels: str) -> None:
        """Raise or warn of levels that the fit has not seen."""
        unseen = unseen_levels(values, codes)
        report_unseen(self.name, unseen, bool((codes >= 0).any()), self.index, new_levels)


def report_unseen(
    name: str, unseen: pd.Index, seen: bool, levels: pd.Index, new_levels: str
) -> None:
    """Raise or warn of levels of a term that the fit has not seen; `seen` says if it has others."""
    if new_levels == "error":
        raise DesignError(
            f"the fit has not seen the level {list_levels(unseen)} of {name!r}. Use "
            "new_levels='population' to predict with a random effect of zero, or "
            "new_levels='nan'."
        )
    if new_levels == "population":
        warn_of_levels(name, unseen, seen, levels)


def _plain_list(values: Any) -> list[Any]:
    """Return the values of a factor as Python's own types; takes patsy's ``C()`` apart."""
    if hasattr(values, "contrast") and hasattr(values, "data"):
        values = values.data
    if isinstance(values, list):
        return values
    if isinstance(values, np.ndarray) and values.dtype.kind != "M":
        return values.tolist()
    return pd.Series(values).tolist()


def decode_all(values: list[Any]) -> list[Any]:
    """Return what was encoded one by one."""
    return [decode(value) for value in values]


def _look_up(known: Mapping[Any, int], keys: Iterable[Any]) -> list[int]:
    """Return the number of each key, -1 for those that are not known."""
    keys = list(keys)
    try:
        return [known.get(key, -1) for key in keys]
    except TypeError:  # keys that cannot be hashed; `match_levels` says so
        return [-1] * len(keys)


def _have_truth(values: Iterable[Any]) -> bool:
    """Whether truth values are among some keys: for Python, True is 1."""
    return bool in set(map(type, values))


def level_index(parts: list[list[Any]], names: list[str]) -> pd.Index:
    """Return levels as an index: of values, or of the values of several factors."""
    columns = [pd.Index(part, name=name, tupleize_cols=False) for part, name in zip(parts, names)]
    return columns[0] if len(columns) == 1 else pd.MultiIndex.from_arrays(columns)


def number_levels(parts: list[list[Any]]) -> dict[Any, int]:
    """Number levels: each a value, or a tuple of the values of several factors."""
    values = [decode_all(part) for part in parts]
    keys = values[0] if len(values) == 1 else zip(*values)
    return {key: i for i, key in enumerate(keys)}


def prepare(
    record: Record, trusted: Sequence[str] | None
) -> tuple[dict[str, CodeType], dict[str, Any]]:
    """Return the compiled expressions, and the names that they see besides the data.

    Each expression has stateful transforms of its own, under names that patsy gives to the first,
    second, ... of an expression: they are told apart by the number of the expression.
    """
    values = [*record["scope"].values()]
    values += [v for e in record["expressions"].values() for v in e["transforms"].values()]
    own = trusted is None  # made in this process, of its own functions
    wanted = [name for v in values for name in references(v)] if own else list(trusted or ())
    names: dict[str, Any] = {"__builtins__": vars(builtins) if own else {}, **BUILTINS, **FORMULA}
    names |= {n.removeprefix(_PYTHON): _python(n) for n in wanted if n.startswith(_PYTHON)}
    used = {name for e in record["expressions"].values() for name in _names(e["code"])}
    scope = {name: value for name, value in record["scope"].items() if name in used}
    names |= {name: decode(value, wanted) for name, value in scope.items()}
    code = {}
    for number, (text, expression) in enumerate(record["expressions"].items()):
        tree = parse_expression(expression["code"])
        apart = {name: f"{name}{number}" for name in expression["transforms"]}
        for node in ast.walk(tree):
            if isinstance(node, ast.Name) and node.id in apart:
                node.id = apart[node.id]
        names |= {apart[n]: decode(value, wanted) for n, value in expression["transforms"].items()}
        code[text] = compile(tree, "<formula>", "eval")
    return code, names


def _names(code: str) -> set[str]:
    """Return the names in an expression."""
    return {node.id for node in ast.walk(parse_expression(code)) if isinstance(node, ast.Name)}


def _python(name: str) -> Any:
    """Return one of Python's own functions."""
    return getattr(builtins, name.removeprefix(_PYTHON))
