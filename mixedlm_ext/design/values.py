"""The values of one column as numpy knows them: plain types, native, wide enough for sums."""

from __future__ import annotations

from collections.abc import Sized
from typing import Any

import numpy as np
import pandas as pd

from mixedlm_ext.errors import DesignError

__all__ = ["from_polars", "native", "plain_values", "row_shape", "wide", "without_values"]


def row_shape(values: Any, what: str) -> tuple[int, ...]:
    """Shape of an array-like; () for anything that is none.

    Raises
    ------
    DesignError
        If `values` is a list of lists that differ in length.
    """
    try:
        shape = np.shape(values)
    except ValueError:
        raise DesignError(
            f"{what} holds lists of different lengths; it needs one value for each row."
        ) from None
    return shape if isinstance(shape, tuple) else ()  # numpy asks modules and classes, too


def without_values(values: Any) -> str:
    """What `values` is, for messages, if it is neither a single value nor an array; else ""."""
    single = pd.api.types.is_scalar(values) or isinstance(values, np.ndarray | Sized)
    return "" if single and not isinstance(values, dict) else type(values).__name__


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
        return column.array.remove_unused_categories()
    if isinstance(dtype, np.dtype) and dtype.kind in "biufcmM":
        return column.to_numpy()
    if getattr(dtype, "kind", "O") in "biuf" and not isinstance(dtype, np.dtype):
        return native(column.to_numpy(dtype=getattr(dtype, "numpy_dtype", None)))
    values = column.to_numpy(dtype=object)
    inferred = pd.api.types.infer_dtype(values, skipna=False)
    for number in _NUMBERS_AS_OBJECTS.get(inferred, ()):  # from None beside numbers, or a database
        try:
            return values.astype(number)
        except OverflowError:
            continue
    return values


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
