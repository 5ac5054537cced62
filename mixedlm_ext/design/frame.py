"""The user's data as columns: which rows are used, and each column in a type patsy understands."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sized
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse

from mixedlm_ext.design.column import is_labelled, is_polars, one_column
from mixedlm_ext.design.grouping import level_codes
from mixedlm_ext.design.keys import convert_key, key_kinds, match_keys
from mixedlm_ext.design.messages import list_names, odd_one, quoted
from mixedlm_ext.design.times import TIMES, has_time_zone, in_days, time_kind
from mixedlm_ext.design.used import Columns
from mixedlm_ext.design.values import plain_values, wide
from mixedlm_ext.errors import DesignError, did_you_mean

__all__ = [
    "ColumnType",
    "Table",
    "evaluation_columns",
    "evaluation_columns_like",
    "one_per_row",
    "read_table",
]


@dataclass(frozen=True, eq=False)
class Table:
    """The user's data, columns by name; nothing is copied before a column is asked for."""

    source: Any
    names: tuple[Any, ...]
    index: pd.Index
    whole: Any  # what the user passed

    def __len__(self) -> int:
        return len(self.index)

    def column(self, name: str, what: str = "column") -> pd.Series:
        """One column with the index of the data.

        Raises
        ------
        DesignError
            If there is no such column, it occurs twice, or it is not one value a row.
        """
        if name not in self.names:
            near = did_you_mean(name, self.names)
            raise DesignError(f"{what} {name!r} is not in the data.{near}")
        values = self.source[name]
        if isinstance(values, pd.DataFrame) and isinstance(self.source, pd.DataFrame):
            raise DesignError(f"the data have several columns named {name!r}. Rename them.")
        if isinstance(self.source, Mapping) and pd.api.types.is_scalar(values):
            return pd.Series(values, index=self.index)  # as in pd.DataFrame({"x": [1, 2], "g": 3})
        labelled = is_labelled(values)
        values = one_column(values, f"column {name!r}")
        if len(values) != len(self):
            raise DesignError(
                f"column {name!r} has {len(values)} values; the data have {len(self)} rows."
            )
        if not labelled:
            return values.set_axis(self.index)
        if not values.index.equals(self.index):
            raise DesignError(f"column {name!r} has another index than the rest of the data.")
        return values


def read_table(data: Any) -> Table:
    """Open a pandas or polars frame, a mapping of arrays, or a structured array.

    Parameters
    ----------
    data : DataFrame, polars.DataFrame, mapping of str to array-like, or structured array
        A Table is returned as it is.

    Returns
    -------
    Table

    Raises
    ------
    DesignError
        If `data` is none of these.

    Examples
    --------
    >>> read_table({"x": [1, 2, 3]}).column("x").tolist()
    [1, 2, 3]
    """
    if isinstance(data, Table):
        return data
    if isinstance(data, Mapping) and not data:
        raise DesignError("the data have no columns.")
    if isinstance(data, pd.DataFrame):
        return Table(data, tuple(data.columns.tolist()), data.index, data)
    if is_polars(data) and hasattr(data, "get_column"):
        return Table(data, tuple(data.columns), pd.RangeIndex(len(data)), data)
    if isinstance(data, np.ndarray) and data.dtype.names:
        return Table(data, data.dtype.names, pd.RangeIndex(len(data)), data)
    if isinstance(data, Mapping):
        lengths = [len(values) for values in data.values() if _has_rows(values)]
        if not lengths:
            raise DesignError("the data are single values. Write lists, such as {'x': [1]}.")
        n = lengths[0]
        indexes = [v.index for v in data.values() if isinstance(v, pd.Series) and len(v) == n]
        return Table(data, tuple(data), indexes[0] if indexes else pd.RangeIndex(n), data)
    if hasattr(data, "to_pandas") and not is_polars(data):
        whole, data = data, data.to_pandas()
        if isinstance(data, pd.DataFrame):
            return replace(read_table(data), whole=whole)
    hint = " Call .collect() first." if type(data).__name__ == "LazyFrame" else ""
    raise DesignError(
        f"data is a {type(data).__name__}; pass a pandas or polars DataFrame, "
        f"or a dict of arrays.{hint}"
    )


def _has_rows(values: Any) -> bool:
    """Whether a value of a mapping is a column, maybe one of lists."""
    if sparse.issparse(values):
        return False
    if isinstance(getattr(values, "ndim", None), int):
        return bool(values.ndim)
    return isinstance(values, Sized) and not isinstance(values, str | bytes | Mapping)


def one_per_row(values: Any, name: str, n: int, index: pd.Index | None = None) -> pd.Series:
    """Weights, offset or another array with one entry a row of the data, as a Series.

    Raises
    ------
    DesignError
        If the length is not `n`, or `values` is a Series with another index than the data.
    """
    column = one_column(values, name)
    if len(column) != n:
        raise DesignError(f"{name} has {len(column)} values; the data have {n} rows.")
    if index is not None and is_labelled(values) and not column.index.equals(index):
        raise DesignError(
            f"{name} has another index than the data. Pass {name}.to_numpy() to go by position."
        )
    return column


@dataclass(frozen=True, eq=False)
class ColumnType:
    """What a column was in the data of the fit; new data must agree."""

    kind: str  # "number", "boolean", "category", "date", "duration" or "other"
    dtype: str
    categories: pd.Index | None = None


def evaluation_columns(
    frame: Mapping[str, pd.Series] | pd.DataFrame,
    uses: Mapping[str, str],
    whole: Collection[str] = (),
) -> tuple[dict[str, Any], dict[str, ColumnType]]:
    """Prepare columns without missing values for patsy, and remember their types.

    Parameters
    ----------
    frame : DataFrame, or mapping of str to Series
    uses : mapping of str to {"array", "factor", "series"}
        The columns to prepare, and how the formula uses them. One that stands within an expression
        becomes a Series (with positions for an index), so that its methods work there. Others
        become arrays, or Categoricals if they hold text or stand in ``C()``: patsy loops in Python
        over the values of other factors. Dates and durations that stand alone become days.
    whole : collection of str
        Columns of which categories without rows are kept.
    """
    columns, types = {}, {}
    for name, use in uses.items():
        column = frame[name]
        time = time_kind(column) if use == "array" else None
        if time in TIMES:
            zone = " with a time zone" if has_time_zone(column) else ""
            columns[name] = in_days(column, str(time))
            types[name] = ColumnType(str(time), f"{column.dtype}{zone}")
            continue
        values = _prepared(column, use, name in whole)
        types[name] = _type_of(values, str(column.dtype))
        columns[name] = _as_used(values, use)
    return columns, types


def _prepared(column: pd.Series, use: str, whole: bool) -> Any:
    """An array in wide types, or a Categorical where that is what the column is used as."""
    if use != "series" and isinstance(column.dtype, pd.StringDtype):
        return pd.Categorical.from_codes(*level_codes(column))  # nothing there but text
    keeps = whole and isinstance(column.dtype, pd.CategoricalDtype)
    values = column.array if keeps else plain_values(column)
    as_factor = "OM" if use == "array" else "OMiuf" if use == "factor" else ""
    if not isinstance(values, pd.Categorical) and values.dtype.kind in as_factor:
        values = pd.Categorical.from_codes(*level_codes(values))
    return wide(values)


def _as_used(values: Any, use: str) -> Any:
    return pd.Series(values, dtype=values.dtype) if use == "series" else values


def _type_of(values: Any, dtype: str) -> ColumnType:
    if isinstance(values, pd.Categorical):
        return ColumnType("category", dtype, values.categories)
    kinds = {"i": "number", "u": "number", "f": "number", "b": "boolean"}
    return ColumnType(kinds.get(values.dtype.kind, "other"), dtype)


def evaluation_columns_like(
    frame: Columns,
    uses: Mapping[str, str],
    types: Mapping[str, ColumnType],
    keys: Collection[str] = (),
) -> dict[str, Any]:
    """Prepare columns of new data as those of the fit were, whose `types` are given.

    Columns in `keys` serve grouping factors only: they are converted to the type of the fit where
    that is exact, and may hold what the fit has not seen.

    Raises
    ------
    DesignError
        If a numeric column is not numeric any more, or a factor has a level not seen in the fit.
    """
    columns = {}
    for name, use in uses.items():
        fitted = types[name]
        if fitted.kind in TIMES:
            columns[name] = _same_time(frame[name], name, fitted)
            continue
        values = plain_values(frame[name])
        if name in keys:
            values = _same_keys(values, fitted)
        if fitted.kind == "number":
            values = _same_number(values, name, fitted)
        elif fitted.kind == "boolean":
            values = _same_boolean(values, name, fitted)
        elif fitted.categories is not None:
            values = _same_categories(
                values, frame[name], fitted.categories, strict=use != "series" and name not in keys
            )
        columns[name] = _as_used(values, use)
    return columns


def _same_keys(values: Any, fitted: ColumnType) -> Any:
    """Grouping keys in the type of the fit; as they are if one of them cannot be converted."""
    codes, found = level_codes(values)
    kind = _key_kind(fitted)
    if kind is None or not len(found):
        return values
    keys = found.tolist()
    if key_kinds(found) != {kind}:
        keys = [convert_key(key, kind) for key in keys]
    if "int" in fitted.dtype.lower() and all(isinstance(k, float) and k.is_integer() for k in keys):
        keys = [int(key) for key in keys]
    elif keys == found.tolist() or None in keys:
        return values
    converted = np.empty(len(keys), dtype=object)
    converted[:] = keys
    return plain_values(pd.Series(converted[codes], dtype=object))


def _key_kind(fitted: ColumnType) -> str | None:
    """The kind of the keys of a column of the fit; None for several or unknown kinds."""
    if fitted.categories is not None:
        kinds = key_kinds(fitted.categories)
        return kinds.pop() if len(kinds) == 1 else None
    text = "text" if fitted.dtype.startswith(("object", "str")) else None
    return {"number": "numbers", "boolean": "truth values"}.get(fitted.kind, text)


def _same_number(values: Any, name: str, fitted: ColumnType) -> Any:
    """Refuse text where the fit had numbers."""
    if not isinstance(values, pd.Categorical) and values.dtype.kind in "biuf":
        return values.astype(np.int64) if values.dtype.kind == "b" else wide(values)
    raise DesignError(
        f"column {name!r} is not numeric in the new data (it holds {quoted(odd_one(values))}); "
        f"it was {fitted.dtype} in the fit."
    )


def _same_time(column: pd.Series, name: str, fitted: ColumnType) -> Any:
    """Days, where the fit had dates or durations."""
    if time_kind(column) != fitted.kind:
        to = "pd.to_datetime" if fitted.kind == "date" else "pd.to_timedelta"
        raise DesignError(
            f"column {name!r} is no {fitted.kind} in the new data (it holds "
            f"{quoted(column.iloc[0])}); it was {fitted.dtype} in the fit. Convert it with {to}."
        )
    if fitted.kind == "date" and has_time_zone(column) != ("time zone" in fitted.dtype):
        have, had = ("a", "none") if has_time_zone(column) else ("no", "one")
        raise DesignError(
            f"column {name!r} has {have} time zone in the new data; it had {had} in the fit "
            f"({fitted.dtype}). Use .dt.tz_localize or .dt.tz_convert."
        )
    return in_days(column, fitted.kind)


def _same_boolean(values: Any, name: str, fitted: ColumnType) -> Any:
    """True and False, or 0 and 1, where the fit had booleans."""
    numeric = not isinstance(values, pd.Categorical) and values.dtype.kind in "biuf"
    other = ~np.isin(values, (0, 1)) if numeric else np.ones(len(values), dtype=bool)
    if not other.any():
        return values.astype(bool)
    raise DesignError(
        f"column {name!r} is not True or False in the new data "
        f"(it holds {quoted(values[np.flatnonzero(other)[0]])}); it was {fitted.dtype} in the fit."
    )


def _same_categories(values: Any, column: pd.Series, levels: pd.Index, *, strict: bool) -> Any:
    """Values by the categories of the fit; with `strict`, an unknown one is an error."""
    codes, found = level_codes(values)
    odd = ""
    try:
        place = match_keys(found, levels, f"column {column.name!r}")
    except DesignError as error:
        if not strict:
            raise
        place, odd = np.full(len(found), -1), f" The {error}"
    unseen = place < 0
    if not unseen.any():
        return pd.Categorical.from_codes(place[codes] if len(found) else codes, levels)
    if not strict:
        return values
    first = int(np.flatnonzero(unseen[codes])[0])
    raise DesignError(
        f"column {column.name!r} has the level {quoted(found[unseen][0])} in the new data "
        f"(row {quoted(column.index[first])}), which the fit has not seen "
        f"(it has {list_names(levels)}).{odd}"
    )
