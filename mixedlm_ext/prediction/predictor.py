"""`Predictor`: predictions without the data of the fit, from one small file."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mixedlm_ext.design.checks import number_vector
from mixedlm_ext.design.frame import ColumnType, evaluation_columns_like, read_table
from mixedlm_ext.design.rank import NullSpace
from mixedlm_ext.design.row_arguments import RowArgument
from mixedlm_ext.design.row_choice import missing_rows
from mixedlm_ext.errors import DesignError, check_choice, did_you_mean
from mixedlm_ext.families.curves import Curve, read_link
from mixedlm_ext.prediction.evaluation import PreparedRows, Side, Term, number_levels, prepare
from mixedlm_ext.prediction.means import NEW_LEVELS, mark_not_estimable
from mixedlm_ext.prediction.member_term import MemberTerm
from mixedlm_ext.prediction.portable import decode
from mixedlm_ext.prediction.terms import WHICH
from mixedlm_ext.prediction.vetting import names_to_trust

Array = NDArray[np.float64]
Record = dict[str, Any]

__all__ = ["FORMAT", "MARK", "Predictor"]

MARK = "mixedlm_ext predictor"
"""The key of the record that says what it is."""
FORMAT = 1
"""Number of the layout of the record, the value of that key."""
_DAMAGE = (
    ArithmeticError, AttributeError, ImportError, LookupError, MemoryError, RecursionError,
    SyntaxError, TypeError, ValueError,
)  # fmt: skip
"""What reading a file can end in that nobody wrote by `Predictor.save`."""
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
    trusted : sequence of str, or None
        As for `load`; None trusts everything.

    Attributes
    ----------
    formula : str
    columns : list of str
        The columns that the data need.

    Notes
    -----
    A file is data. `load` reads the code in it before anything is evaluated or imported, and
    accepts the formula language's functions (``C``, ``Q``, ``I``, ``center``, ``bs``, ``cr``, ...),
    arithmetic and comparisons, and pure functions and methods of numpy and pandas. It names
    whatever else a file wants (a function of yours, say), and takes it if it is in ``trusted=``.
    What leads to the interpreter itself is never taken.
    """

    def __init__(self, record: Record, trusted: Sequence[str] | None = ()) -> None:
        self._record = record
        if trusted is not None:
            _check_trust(record, trusted)
        self.formula: str = record["formula"]
        self.columns: list[str] = list(record["columns"])
        self._places = {n: (c["place"], c["random_only"]) for n, c in record["columns"].items()}
        self._offsets: list[str] = [str(code) for code in record["offsets"]]
        self._offset = RowArgument(
            "offset", record["offset_name"], bool(record.get("array_offset"))
        )
        self._uses = {n: c["use"] for n, c in record["columns"].items() if "use" in c}
        self._types = {
            name: _column_type(column)
            for name, column in record["columns"].items()
            if "use" in column
        }
        self._code, self._globals = prepare(record, trusted)
        self._categories = {code: number_levels([v]) for code, v in record["factors"].items()}
        self._keys = frozenset(n for n, c in record["columns"].items() if c.get("key"))
        self._may_miss = frozenset(n for n, c in record["columns"].items() if c.get("may_miss"))
        self._fixed = Side(record["fixed"]["sides"])
        self._beta = np.array(record["fixed"]["beta"])
        self._null = _null_space(record["fixed"].get("null"))
        self._terms = [
            MemberTerm(term) if "members" in term else Term(term) for term in record["terms"]
        ]
        self._link = read_link(record.get("link"))

    def __repr__(self) -> str:
        return f"<Predictor: {self.formula}>"

    def __reduce__(self) -> tuple[type[Predictor], tuple[Record, None]]:
        return type(self), (self._record, None)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the predictor to a JSON file.

        Parameters
        ----------
        path : str or path-like

        Raises
        ------
        DesignError
            If the formula has code that `load` would never evaluate.
        """
        names_to_trust(self._record)
        with open(path, "w", encoding="utf-8") as file:
            json.dump(self._record, file)

    @classmethod
    def load(cls, path: str | os.PathLike[str], trusted: Sequence[str] = ()) -> Predictor:
        """Read a predictor from a file that `save` wrote.

        Parameters
        ----------
        path : str or path-like
        trusted : sequence of str
            Names of functions, classes and methods that the file may use besides those that are
            harmless: ``"package.module.function"``, ``".method"``. The error that misses one lists
            all; look at them before you trust them.

        Returns
        -------
        Predictor

        Raises
        ------
        DesignError
            If the file holds no predictor, one of another version, or one that wants more than is
            trusted.
        """
        name = os.fspath(path)
        try:
            with open(path, encoding="utf-8") as file:
                record = json.load(file)
        except (ValueError, RecursionError):
            record = None
        version = record.get(MARK) if isinstance(record, dict) else None
        if version is None:
            raise DesignError(
                f"{name!r} holds no predictor. Write one with result.to_predictor().save(path), "
                "or by `mixedlm ... --save FILE`."
            )
        if version != FORMAT:
            raise DesignError(
                f"{name!r} has the layout {version} of predictors; this version of "
                f"mixedlm_ext reads layout {FORMAT}. Make it again with result.to_predictor()."
            )
        try:
            return cls(record, trusted)
        except DesignError:
            raise
        except _DAMAGE as error:
            raise DesignError(
                f"{name!r} holds a damaged predictor ({type(error).__name__}: {error}). "
                "Make it again with result.to_predictor()."
            ) from error

    def predict(
        self,
        exog: Any,
        which: str = "conditional",
        new_levels: str = "population",
        offset: Any = None,
        linear: bool = False,
    ) -> pd.Series | float:
        """Predict the response, as `MixedLMResults.predict` does; the mean of a generalized model.

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
        linear : bool
            The linear predictor of a generalized model, rather than its mean.

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
        >>> from mixedlm_ext import MixedLM, Predictor, datasets
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
            isinstance(exog, Mapping) and all(map(pd.api.types.is_scalar, exog.values()))
        )
        if single:
            exog = {name: [value] for name, value in exog.items()}
            offset = [offset] if offset is not None and np.ndim(offset) == 0 else offset
        columns, index = self._read(exog, which, offset)
        lost, _ = missing_rows({n: c for n, c in columns.items() if n not in self._may_miss})
        out = np.full(len(index), np.nan)
        complete = ~lost if len(lost) else np.ones(len(index), dtype=bool)
        if not complete.all():
            columns = {name: column[complete] for name, column in columns.items()}
        if complete.any():
            out[complete] = self._values(columns, index[complete], which, new_levels)
        if self._link is not None and not linear:
            out = Curve(self._link, out).mu
        return float(out[0]) if single else pd.Series(out, index=index)

    def _read(self, data: Any, which: str, offset: Any) -> tuple[dict[str, pd.Series], pd.Index]:
        """Return the columns that are needed; the offset argument under the name ``offset=``."""
        table = read_table(data)
        columns = {}
        for name in self._needed(which):
            if name not in table.names:
                place = self._places[name][0]
                raise DesignError(
                    f"the new data have no column {name!r}, which {place} needs."
                    f"{did_you_mean(name, table.names)}"
                )
            columns[name] = table.column(name).rename(name)
        given = self._offset.of_new_rows(offset, len(table), table.index, table)
        if given is not None:
            columns[_OFFSET] = given
        return columns, table.index

    def _needed(self, which: str) -> list[str]:
        """Return the names of the columns that a prediction needs."""
        if which == "conditional":
            return self.columns
        return [name for name in self.columns if not self._places[name][1]]

    def _estimable(self, X: Array, index: pd.Index) -> NDArray[np.bool_]:
        """Say which rows the data of the fit determine, with a warning or an error for others."""
        if self._null is None:
            return np.ones(len(X), dtype=bool)
        estimable = self._null.estimable(X)
        mark_not_estimable(estimable, index)
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
        data = evaluation_columns_like(columns, others, self._types, self._keys)  # type: ignore[arg-type]
        data |= {name: columns[name].tolist() for name in raw}
        rows = PreparedRows(self._code, self._globals, self._categories, data, columns, n)
        with np.errstate(all="ignore"):
            X = rows.matrix(self._fixed)
            out = np.where(self._estimable(X, index), X @ self._beta, np.nan)
            if _OFFSET in columns:
                out = out + number_vector(columns[_OFFSET], "offset", n)
            for code in self._offsets:
                out = out + number_vector(rows.evaluate(code), f"offset({code})", n)
            for term in self._terms if which == "conditional" else ():
                out = out + term.contribution(rows, new_levels)
        return np.where(np.isfinite(out), out, np.nan)


def _column_type(column: Record) -> ColumnType:
    """Return what a column was in the fit."""
    categories = column.get("categories")
    levels = None if categories is None else pd.Index([decode(v) for v in categories])
    return ColumnType(column["kind"], column["dtype"], levels)


def _check_trust(record: Record, trusted: Sequence[str]) -> None:
    """Raise if a record wants more than is trusted."""
    known = {trusted} if isinstance(trusted, str) else set(trusted)
    wanted = [name for name in names_to_trust(record) if name not in known]
    if wanted:
        raise DesignError(
            "the predictor wants what it may not use by itself: "
            f"{', '.join(map(repr, wanted))}. Nothing was evaluated. If you know what these do and "
            f"trust who made the file, load it with trusted={sorted(known | set(wanted))}."
        )


def _null_space(record: Record | None) -> NullSpace | None:
    """Return what makes rows not estimable."""
    if record is None:
        return None
    scale = [np.inf if s is None else s for s in record["scale"]]
    return NullSpace(np.array(record["basis"]), np.array(scale))
