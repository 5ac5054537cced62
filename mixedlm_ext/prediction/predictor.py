"""`Predictor`: predictions without the data of the fit, from one small file."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from types import CodeType
from typing import Any

import numpy as np
import pandas as pd
import patsy.builtins
from numpy.typing import NDArray

from mixedlm_ext.design.checks import number_vector
from mixedlm_ext.design.frame import ColumnType, evaluation_columns_like, one_per_row, read_table
from mixedlm_ext.design.names import FALLBACK_FUNCTIONS, code_names, list_names, quoted
from mixedlm_ext.design.rank import NullSpace
from mixedlm_ext.design.rows import missing_rows
from mixedlm_ext.errors import DesignError, did_you_mean
from mixedlm_ext.prediction.means import NEW_LEVELS, check_choice, mark_not_estimable
from mixedlm_ext.prediction.portable import decode
from mixedlm_ext.prediction.terms import WHICH

Array = NDArray[np.float64]
Record = dict[str, Any]

__all__ = ["FORMAT", "MARK", "Predictor"]

MARK = "mixedlm_ext predictor"
"""The key of the record that says what it is."""
FORMAT = 1
"""Number of the layout of the record, the value of that key."""
_OFFSET = "offset="
"""Under this name the offset argument goes with the columns; no column is called so."""


class Predictor:
    """Predicts from a formula's model without the data of the fit.

    Made by `MixedLMResults.to_predictor`, or read from a file by `Predictor.load`.

    Parameters
    ----------
    record : dict
        Coefficients, conditional modes, and what it takes to build the matrices, all in terms of
        JSON.

    Attributes
    ----------
    formula : str
    columns : list of str
        The columns that the data need.

    Notes
    -----
    The code in the formula is evaluated and the modules that it uses are imported: like a pickle, a
    file from someone you do not trust should not be loaded. Memories of stateful transforms such as
    ``bs`` are those of patsy's own classes.
    """

    def __init__(self, record: Record) -> None:
        self._record = record
        self.formula: str = record["formula"]
        self.columns: list[str] = list(record["columns"])
        self._uses = {n: c["use"] for n, c in record["columns"].items() if "use" in c}
        self._types = {
            name: _column_type(column)
            for name, column in record["columns"].items()
            if "use" in column
        }
        self._code, self._globals = _prepare(record)
        self._categories = {code: _numbers([v]) for code, v in record["factors"].items()}
        self._fixed = _Side(record["fixed"]["sides"])
        self._beta = np.array(record["fixed"]["beta"])
        self._null = _null_space(record["fixed"].get("null"))
        self._terms = [_Term(term) for term in record["terms"]]

    def __repr__(self) -> str:
        return f"<Predictor: {self.formula}>"

    def __reduce__(self) -> tuple[type[Predictor], tuple[Record]]:
        return type(self), (self._record,)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the predictor to a JSON file.

        Parameters
        ----------
        path : str or path-like
        """
        with open(path, "w", encoding="utf-8") as file:
            json.dump(self._record, file)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Predictor:
        """Read a predictor from a file that `save` wrote; only from someone you trust.

        Parameters
        ----------
        path : str or path-like

        Returns
        -------
        Predictor

        Raises
        ------
        DesignError
            If the file holds no predictor, or one of another version.
        """
        try:
            with open(path, encoding="utf-8") as file:
                record = json.load(file)
        except ValueError:
            record = None
        version = record.get(MARK) if isinstance(record, dict) else None
        if version is None:
            raise DesignError(f"{os.fspath(path)!r} holds no predictor. Use predictor.save(path).")
        if version != FORMAT:
            raise DesignError(
                f"{os.fspath(path)!r} has the layout {version} of predictors; this version of "
                f"mixedlm_ext reads layout {FORMAT}. Make it again with result.to_predictor()."
            )
        return cls(record)

    def predict(
        self,
        exog: Any,
        which: str = "conditional",
        new_levels: str = "population",
        offset: Any = None,
    ) -> pd.Series | float:
        """Predict the response, as `MixedLMResults.predict` does.

        Parameters
        ----------
        exog : DataFrame, polars.DataFrame, dict or Series
            The columns of the formula. A dict of single values, or a Series, is one row.
        which : {"conditional", "population"}
            With the conditional modes of the random effects, or with random effects of zero.
        new_levels : {"population", "error", "nan"}
            What to do with levels of a grouping factor that the fit has not seen.
        offset : str or array_like, optional
            Known part of the linear predictor, besides the formula's offset(); the column that the
            fit named by default.

        Returns
        -------
        Series
            With the index of the data; missing where a needed value is missing or, with a warning,
            where the fixed part is not estimable. A float for one row.

        Raises
        ------
        DesignError
            If a column is missing or has another type than in the fit, or there is only one row and
            that is not estimable.

        Examples
        --------
        >>> import tempfile
        >>> from mixedlm_ext import MixedLM, datasets
        >>> from mixedlm_ext.prediction.predictor import Predictor
        >>> data = datasets.penicillin.load_pandas().data
        >>> result = MixedLM.from_formula("diameter ~ 1 + (1 | plate) + (1 | sample)", data).fit()
        >>> with tempfile.NamedTemporaryFile() as file:
        ...     result.to_predictor().save(file.name)
        ...     predictor = Predictor.load(file.name)
        >>> round(predictor.predict({"plate": "a", "sample": "A"}), 2)
        25.96
        >>> predictor.predict({"plate": ["a", "new"], "sample": ["A", "A"]}).round(2).tolist()
        [25.96, 25.16]
        """
        check_choice("which", which, WHICH)
        check_choice("new_levels", new_levels, NEW_LEVELS)
        single = isinstance(exog, pd.Series) or (
            isinstance(exog, Mapping) and all(np.ndim(v) == 0 for v in exog.values())
        )
        if single:
            exog = {name: [value] for name, value in exog.items()}
            offset = [offset] if offset is not None and np.ndim(offset) == 0 else offset
        columns, index = self._read(exog, which, offset)
        lost, _ = missing_rows(columns)
        out = np.full(len(index), np.nan)
        complete = ~lost if len(lost) else np.ones(len(index), dtype=bool)
        if not complete.all():
            columns = {name: column[complete] for name, column in columns.items()}
        if complete.any():
            out[complete] = self._values(columns, index[complete], which, new_levels)
        return float(out[0]) if single else pd.Series(out, index=index)

    def _read(self, data: Any, which: str, offset: Any) -> tuple[dict[str, pd.Series], pd.Index]:
        """Return the columns that are needed; the offset argument under the name ``offset=``."""
        table = read_table(data)
        columns = {}
        for name in self._needed(which):
            if name not in table.names:
                place = self._record["columns"][name]["place"]
                raise DesignError(
                    f"the new data have no column {name!r}, which {place} needs."
                    f"{did_you_mean(name, table.names)}"
                )
            columns[name] = table.column(name).rename(name)
        offset = self._record["offset_name"] if offset is None else offset
        if isinstance(offset, str):
            if offset not in table.names:
                raise DesignError(
                    f"the new data have no column {offset!r}, the offset of the fit."
                    f"{did_you_mean(offset, table.names)} Add it, or pass offset=."
                )
            columns[_OFFSET] = table.column(offset)
        elif offset is not None:
            values = one_per_row(offset, "offset", len(table), table.index)
            columns[_OFFSET] = values.set_axis(table.index)
        return columns, table.index

    def _needed(self, which: str) -> list[str]:
        """Return the names of the columns that a prediction needs."""
        if which == "conditional":
            return self.columns
        return [name for name in self.columns if not self._record["columns"][name]["random_only"]]

    def _estimable(self, X: Array, index: pd.Index) -> NDArray[np.bool_]:
        """Say which rows the data of the fit determine, with a warning or an error for others."""
        if self._null is None:
            return np.ones(len(X), dtype=bool)
        estimable = self._null.estimable(X)
        mark_not_estimable(estimable, index, stacklevel=4)
        return estimable

    def _values(
        self, columns: dict[str, pd.Series], index: pd.Index, which: str, new_levels: str
    ) -> Array:
        """Return predictions for complete rows."""
        n = len(index)
        uses = {name: use for name, use in self._uses.items() if name in columns}
        # categories that stand alone are looked up as they are; patsy's Categoricals are slow
        raw = [
            n for n, use in uses.items() if use != "series" and self._types[n].kind == "category"
        ]
        others = {name: use for name, use in uses.items() if name not in raw}
        data = evaluation_columns_like(columns, others, self._types)  # type: ignore[arg-type]
        data |= {name: columns[name].tolist() for name in raw}
        rows = _Rows(self._code, self._globals, self._categories, data, columns, n)
        with np.errstate(all="ignore"):
            X = rows.matrix(self._fixed)
            out = np.where(self._estimable(X, index), X @ self._beta, np.nan)
            if _OFFSET in columns:
                out = out + number_vector(columns[_OFFSET], "offset", n)
            for code in self._record["offsets"]:
                out = out + number_vector(rows.evaluate(code), f"offset({code})", n)
            for term in self._terms if which == "conditional" else ():
                out = out + term.contribution(rows, new_levels)
        return np.where(np.isfinite(out), out, np.nan)


class _Side:
    """The products that make the columns of one side of the formula."""

    def __init__(self, products: list[Any]) -> None:
        self.products = [
            [(code, None if matrix is None else np.array(matrix)) for code, matrix in product]
            for product in products
        ]


class _Rows:
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
            return self.columns[str(code_names(code).bare)]
        return eval(self._code[code], self._names, self._data)

    def factor(self, code: str) -> Any:
        """Return the columns of a numerical expression (n, k), or codes of a categorical one."""
        if code not in self._known:
            value = self.evaluate(code)
            if code in self._categories:
                self._known[code] = self._coded(code, value)
            else:
                self._known[code] = np.asarray(value, dtype=float).reshape(self.n, -1)
        return self._known[code]

    def _coded(self, code: str, value: Any) -> Any:
        known, values = self._categories[code], plain_list(value)
        found = [known.get(v, -1) for v in values]
        if -1 in found:
            odd = values[found.index(-1)]
            raise DesignError(
                f"{code!r} has the level {quoted(odd)} in the new data, which the fit has not seen "
                f"(it has {list_names(known)})."
            )
        return np.array(found, dtype=np.intp)

    def matrix(self, side: _Side) -> Array:
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


class _Term:
    """One random term: the columns, and the modes of each level."""

    def __init__(self, record: Record) -> None:
        self.name, self.groups = record["name"], record["groups"]
        self.side = _Side(record["side"])
        self.levels = _numbers(record["levels"])
        b = np.array(record["b"]).reshape(len(self.levels), -1)
        self.b = np.vstack([b, np.zeros(b.shape[1])])  # the last row is for levels not seen

    def contribution(self, rows: _Rows, new_levels: str) -> Array:
        """Return the part of Zb that the term contributes."""
        values = [plain_list(rows.evaluate(code)) for code in self.groups]
        keys = values[0] if len(values) == 1 else zip(*values)
        codes = np.array([self.levels.get(key, -1) for key in keys], dtype=np.intp)
        unseen = codes < 0
        if new_levels == "error" and unseen.any():
            first = int(np.flatnonzero(unseen)[0])
            level = ", ".join(quoted(value[first]) for value in values)
            raise DesignError(
                f"the fit has not seen the level {level} of {self.name!r}. Use "
                "new_levels='population' to predict with a random effect of zero, or "
                "new_levels='nan'."
            )
        out = np.einsum("nk,nk->n", rows.matrix(self.side), self.b[codes])
        return np.where(unseen, np.nan, out) if new_levels == "nan" else out


def plain_list(values: Any) -> list[Any]:
    """Return the values of a factor as Python's own types; takes patsy's ``C()`` apart."""
    if hasattr(values, "contrast") and hasattr(values, "data"):
        values = values.data
    if isinstance(values, list):
        return values
    if isinstance(values, np.ndarray) and values.dtype.kind != "M":
        return values.tolist()
    return pd.Series(values).tolist()


def _numbers(parts: list[list[Any]]) -> dict[Any, int]:
    """Number levels: each a value, or a tuple of the values of several factors."""
    values = [[decode(value) for value in part] for part in parts]
    keys = values[0] if len(values) == 1 else zip(*values)
    return {key: i for i, key in enumerate(keys)}


def _column_type(column: Record) -> ColumnType:
    """Return what a column was in the fit."""
    categories = column.get("categories")
    levels = None if categories is None else pd.Index([decode(v) for v in categories])
    return ColumnType(column["kind"], column["dtype"], levels)


def _null_space(record: Record | None) -> NullSpace | None:
    """Return what makes rows not estimable."""
    if record is None:
        return None
    scale = [np.inf if s is None else s for s in record["scale"]]
    return NullSpace(np.array(record["basis"]), np.array(scale))


def _prepare(record: Record) -> tuple[dict[str, CodeType], dict[str, Any]]:
    """Return the compiled expressions, and the names that they see besides the data.

    Each expression has stateful transforms of its own, under names that patsy gives to the first,
    second, ... of an expression: they are told apart by the number of the expression.
    """
    names = {name: getattr(patsy.builtins, name) for name in patsy.builtins.__all__}
    names |= FALLBACK_FUNCTIONS
    names |= {name: decode(value) for name, value in record["scope"].items()}
    code = {}
    for number, (text, expression) in enumerate(record["expressions"].items()):
        source = expression["code"]
        for name, transform in expression["transforms"].items():
            own = f"{name}{number}"
            source = source.replace(name, own)
            names[own] = decode(transform)
        code[text] = compile(source, "<formula>", "eval")
    return code, names
