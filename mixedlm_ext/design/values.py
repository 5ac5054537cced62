"""The values of one column as numpy knows them: plain types, native, wide enough for sums."""

from __future__ import annotations

from decimal import Decimal
from numbers import Real
from typing import Any

import numpy as np
import pandas as pd

from mixedlm_ext.errors import DesignError

__all__ = ["from_polars", "native", "plain_values", "row_shape", "wide"]


def row_shape(values: Any, what: str) -> tuple[int, ...]:
    """Shape of an array-like; () for anything that is none.

    Raises
    ------
    DesignError
        If `values` is a list of lists that differ in length.
    """
    if isinstance(values, pd.Series | pd.Index | pd.api.extensions.ExtensionArray):
        return values.shape
    try:
        shape = np.shape(values)
    except (ValueError, TypeError):
        raise DesignError(
            f"{what} holds lists of different lengths; it needs one value for each row."
        ) from None
    return shape if isinstance(shape, tuple) else ()  # numpy asks modules and classes, too


def from_polars(values: Any) -> Any:
    """A polars Series as an array, without pyarrow."""
    if str(values.dtype).startswith("Enum"):
        return pd.Categorical(values.to_list(), values.dtype.categories.to_list())
    dtype = values.dtype
    number = dtype.is_numeric() and not dtype.is_decimal()
    if (number and not str(dtype).endswith("128")) or dtype.is_temporal():
        return values.to_numpy()
    array = np.empty(len(values), dtype=object)
    array[:] = values.to_list()
    return array


def native(values: Any) -> Any:
    """Numbers in a format that pandas can index: no big-endian, half or extended precision."""
    dtype = getattr(values, "dtype", None)
    if not isinstance(dtype, np.dtype):
        return values
    if dtype.kind == "f" and dtype.itemsize not in (4, 8):
        return values.astype(np.float64)
    return values if dtype.isnative else values.astype(dtype.newbyteorder("="))


def plain_values(column: pd.Series) -> Any:
    """Values as a plain numpy array, or a Categorical without unused categories."""
    dtype = column.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        return _used_categories(column.array)
    if isinstance(dtype, np.dtype) and dtype.kind in "biufcmM":
        return column.to_numpy()
    if getattr(dtype, "kind", "O") in "biuf" and not isinstance(dtype, np.dtype):
        if not column.isna().any():
            return native(column.to_numpy(dtype=getattr(dtype, "numpy_dtype", None)))
        if dtype.kind != "b":
            return column.to_numpy(dtype=np.float64, na_value=np.nan)
    values = column.to_numpy(dtype=object)
    inferred = pd.api.types.infer_dtype(values, skipna=False)
    for number in _NUMBERS_AS_OBJECTS.get(inferred, ()):  # from None beside numbers, or a database
        try:
            return values.astype(number)
        except OverflowError:
            continue
    if inferred == "integer" or (inferred.startswith("mixed") and all(map(_is_real, values))):
        return np.array([_as_float(value) for value in values])
    return values


def _used_categories(values: Any) -> Any:
    """A Categorical without unused categories: the same one if there are none."""
    present = np.zeros(len(values.categories) + 1, dtype=bool)
    present[values.codes] = True  # of missing values the last
    return values if present[:-1].all() else values.remove_unused_categories()


def _is_real(value: Any) -> bool:
    """Whether a value is a number of any library: a fraction, a decimal."""
    return isinstance(value, Real | Decimal) and not isinstance(value, bool | np.bool_)


def _as_float(value: Any) -> float:
    """A number in floating point; infinite if it is too large."""
    try:
        return float(value)
    except OverflowError:
        return np.inf if value > 0 else -np.inf


_NUMBERS_AS_OBJECTS: dict[str, tuple[Any, ...]] = {
    "integer": (np.int64, np.uint64, np.float64),
    "floating": (np.float64,),
    "mixed-integer-float": (np.float64,),
    "decimal": (np.float64,),
    "boolean": (np.bool_,),
    "complex": (np.complex128,),
}


def wide(values: Any) -> Any:
    """Numbers in 64 bits and with a sign: ``x * x`` of short integers overflows in silence."""
    if isinstance(values, pd.Categorical) or values.dtype.kind not in "iuf":
        return values
    if values.dtype.kind == "f":
        return values.astype(np.float64, copy=False)
    if values.dtype == np.uint64 and len(values) and values.max() > np.iinfo(np.int64).max:
        return values.astype(np.float64)
    return values.astype(np.int64, copy=False)
