"""One reading of what a user passes as a column: anything with one value for each row."""

from __future__ import annotations

from collections.abc import Sized
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse

from mixedlm_ext.design.values import from_polars, native, row_shape
from mixedlm_ext.errors import DesignError

__all__ = ["is_labelled", "is_polars", "one_column", "without_values"]

_READY = frozenset(map(np.dtype, (np.float64, np.int64, np.bool_, object)))
"""Types of which columns are what they should be."""
_NESTED = ("list", "large_list", "fixed_size_list", "struct", "map")


def one_column(values: Any, what: str) -> pd.Series:
    """Read one value for each row from an array, list, column or frame of one column.

    Parameters
    ----------
    values : array-like (n,) or (n, 1)
        A list or tuple, an array of numpy, pandas, polars or pyarrow, a Series, an Index, a frame
        with one column.
    what : str
        Opens the message of an error: ``"weights"``, ``"column 'x'"``.

    Returns
    -------
    Series (n,)
        With the labels of pandas' objects, positions otherwise.

    Raises
    ------
    DesignError
        If `values` are none of these, or have several columns.

    Examples
    --------
    >>> one_column([[1.0], [2.0]], "weights").tolist()
    [1.0, 2.0]
    """
    if type(values) is pd.Series and _is_ready(values.dtype):
        return values
    values = _of_one_column(values, what)
    if isinstance(values, pd.MultiIndex):
        raise DesignError(
            f"{what} is a MultiIndex; it needs one value for each row. Pass one of its levels, "
            "such as index.get_level_values(0)."
        )
    if sparse.issparse(values):
        raise DesignError(
            f"{what} is a sparse matrix; it needs one value for each row. Pass .toarray().ravel()."
        )
    if is_polars(values) and hasattr(values, "to_list"):
        values = from_polars(values)
    elif type(values).__module__.partition(".")[0] == "pyarrow" and hasattr(values, "to_pandas"):
        values = values.to_pandas()
    fields = values.dtype.names if isinstance(values, np.ndarray) else None
    if fields:
        raise DesignError(
            f"{what} is a record array; it needs one value for each row. Pass one of its fields "
            f"({', '.join(map(repr, fields))})."
        )
    shape = row_shape(values, what)
    if len(shape) == 2 and shape[1] == 1:
        values = (values if isinstance(values, np.ma.MaskedArray) else np.asarray(values)).ravel()
    elif len(shape) != 1:
        raise DesignError(f"{what} {_found(values, shape)}; it needs one value for each row.")
    values = native(values)
    # never by way of np.asarray, where [1, "1"] becomes ["1", "1"]
    column = values if isinstance(values, pd.Series) else _series(values, what)
    if isinstance(column.dtype, pd.ArrowDtype):
        kind = str(column.dtype.pyarrow_dtype)
        if kind.startswith(_NESTED):
            raise DesignError(
                f"{what} holds {kind} values; it needs one number, text or other single value for "
                "each row."
            )
    return column


def _is_ready(dtype: Any) -> bool:
    """Tell the types of most columns, in which there is nothing to convert or to refuse."""
    return (
        dtype in _READY if isinstance(dtype, np.dtype) else isinstance(dtype, pd.CategoricalDtype)
    )


def _series(values: Any, what: str) -> pd.Series:
    """Make a column; pandas before 3 makes none of integers that no float can hold."""
    try:
        return pd.Series(values)
    except OverflowError as error:
        raise DesignError(
            f"{what} has integers too large for pandas; write them as text."
        ) from error


def is_labelled(values: Any) -> bool:
    """Tell whether values carry the labels of rows."""
    return isinstance(values, pd.Series | pd.DataFrame)


def is_polars(values: Any) -> bool:
    """Tell polars' objects, without polars."""
    return type(values).__module__.partition(".")[0] == "polars"


def without_values(values: Any) -> str:
    """What `values` is, for messages, if it is neither a single value nor an array; else ""."""
    single = pd.api.types.is_scalar(values) or isinstance(values, np.ndarray | Sized)
    return "" if single and not isinstance(values, dict) else type(values).__name__


def _of_one_column(values: Any, what: str) -> Any:
    """Take the column out of a frame that has one."""
    if isinstance(values, pd.DataFrame):
        columns = [values.iloc[:, j] for j in range(values.shape[1])]
    elif is_polars(values) and hasattr(values, "get_columns"):
        columns = values.get_columns()
    else:
        return values
    if len(columns) != 1:
        raise DesignError(f"{what} has {len(columns)} columns; it needs one.")
    return columns[0]


def _found(values: Any, shape: tuple[int, ...]) -> str:
    """What `values` are in place of a column."""
    if shape:
        return f"has {len(shape)} dimensions ({' x '.join(map(str, shape))})"
    if isinstance(values, np.ndarray | np.generic):
        values = values.item()
    odd = without_values(values)
    if odd or not pd.api.types.is_scalar(values):
        return f"is a {odd or type(values).__name__}"
    shown = repr(values)
    return f"is a single value ({shown if len(shown) < 60 else type(values).__name__})"
