"""Dates and durations as covariates: numbers of days with one slope, as in R's ``lm``."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from mixedlm_ext.errors import DesignError

__all__ = ["TIMES", "has_time_zone", "in_days", "time_kind"]

TIMES = {
    "date": "is a date: it is taken as a number, in days since 1970-01-01",
    "duration": "is a duration: it is taken as a number, in days",
}
"""The kinds of columns that become days, and what to say of them."""

_INFERRED = {
    **dict.fromkeys(("datetime64", "datetime", "date", "period"), "date"),
    **dict.fromkeys(("timedelta64", "timedelta"), "duration"),
    "time": "time of day",
}
_DAY = np.timedelta64(1, "D")
_EPOCH = np.datetime64("1970-01-01")


def time_kind(column: pd.Series) -> str | None:
    """Say whether a column without missing values holds times.

    Returns
    -------
    {"date", "duration", "time of day"} or None

    Examples
    --------
    >>> time_kind(pd.Series(pd.date_range("2024-01-01", periods=2))), time_kind(pd.Series([1, 2]))
    ('date', None)
    """
    dtype = column.dtype
    if isinstance(dtype, pd.CategoricalDtype | pd.StringDtype):
        return None
    kind = getattr(dtype, "kind", "O")
    if kind in "biufc":
        return None
    return _INFERRED.get(pd.api.types.infer_dtype(column, skipna=True))


def in_days(column: pd.Series, kind: str) -> npt.NDArray[np.float64]:
    """Return dates as days since 1970-01-01 (the instant, with a time zone), durations as days.

    A period counts from its start.

    Raises
    ------
    DesignError
        If dates with and without a time zone stand in one column.

    Examples
    --------
    >>> in_days(pd.Series(pd.to_datetime(["1970-01-02 12:00", "2024-01-01 00:00"])), "date")
    array([1.5000e+00, 1.9723e+04])
    """
    values: Any = column.array
    if kind == "date":
        return np.asarray((_instants(column, values) - _EPOCH) / _DAY, dtype=np.float64)
    if not (isinstance(column.dtype, np.dtype) and column.dtype.kind == "m"):
        values = pd.to_timedelta(pd.Series(list(values)))
    return np.asarray(np.asarray(values, dtype="m8") / _DAY, dtype=np.float64)


def _instants(column: pd.Series, values: Any) -> npt.NDArray[np.datetime64]:
    """Return dates of any type as numpy's, in UTC where they have a time zone."""
    if isinstance(column.dtype, pd.PeriodDtype):
        values = values.to_timestamp()
    if isinstance(column.dtype, np.dtype) and column.dtype.kind == "M":
        return np.asarray(column.to_numpy(), dtype="M8")
    if column.dtype == object or isinstance(column.dtype, pd.ArrowDtype):
        values = [v.to_timestamp() if isinstance(v, pd.Period) else v for v in values]
    try:
        index = pd.to_datetime(pd.Index(values), utc=has_time_zone(column))
    except (ValueError, TypeError) as error:  # pandas' out of bounds is a ValueError
        raise DesignError(
            f"column {column.name!r} holds dates that cannot be compared: {error}."
        ) from None
    return np.asarray(index.tz_localize(None) if index.tz is not None else index, dtype="M8")


def has_time_zone(column: pd.Series) -> bool:
    """Say whether the dates of a column are instants, not readings of some clock."""
    if isinstance(column.dtype, np.dtype) and column.dtype != object:
        return False
    return len(column) > 0 and getattr(column.iloc[0], "tzinfo", None) is not None
