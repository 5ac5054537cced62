"""Predictions for rows that are read in batches: one Series after the other, or a file of them."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pandas as pd

from mixedlm_ext.design import Design
from mixedlm_ext.errors import DataError, DesignError
from mixedlm_ext.sources import Batch, Source
from mixedlm_ext.sources.open import is_dask

__all__ = ["batches_of", "is_partitioned", "over_partitions", "write_predictions"]


def batches_of(source: Source, design: Design) -> Iterator[Batch]:
    """Return what yields the columns that predictions may need, a batch at a time.

    Raises
    ------
    DesignError
        If the model was made from arrays.
    """
    if design.formula is None:
        raise DesignError(
            "rows in batches are for models made from a formula; this one was made from arrays."
        )
    return source.batches([name for name in source.names if name in design.spec.columns])


def is_partitioned(data: Any) -> bool:
    """Say whether data are a Dask frame, whose workers can predict."""
    return is_dask(data)


def over_partitions(data: Any, function: Callable[[pd.DataFrame], pd.Series]) -> Any:
    """Return a Dask series of what a function makes of each partition, where that is."""
    return data.map_partitions(_Named(function), meta=pd.Series([], dtype=float))


class _Named:
    """A function that Dask need not look into to tell it from others."""

    def __init__(self, function: Callable[[pd.DataFrame], pd.Series]) -> None:
        self._function, self._name = function, uuid.uuid4().hex

    def __call__(self, frame: pd.DataFrame) -> pd.Series:
        return self._function(frame)

    def __dask_tokenize__(self) -> str:
        return self._name


def write_predictions(parts: Iterator[pd.Series], out: Any) -> None:
    """Write predictions to a Parquet file that appears when it is complete.

    Parameters
    ----------
    parts : iterator of Series
    out : str or path-like
        Its only column is ``prediction``; its rows are those of the source, in their order.

    Raises
    ------
    DataError
        If pyarrow is not installed, or the file cannot be made.
    """
    path = os.fspath(out)
    if not path.lower().endswith((".parquet", ".pq")):
        raise DataError(
            f"out={path!r} would be a Parquet file. Give it that ending, "
            f"{os.path.splitext(path)[0] + '.parquet'!r}."
        )
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise DataError(
            "out= writes Parquet by pyarrow, which is not installed. "
            "Run pip install 'mixedlm_ext[parquet]'."
        ) from None
    folder = os.path.dirname(path) or "."
    if not os.path.isdir(folder):
        raise DataError(f"out={path!r} is in a folder that does not exist. Make it first.")
    partial = f"{path}.{uuid.uuid4().hex}.part"
    schema = pyarrow.schema([("prediction", pyarrow.float64())])
    try:
        with pyarrow.parquet.ParquetWriter(partial, schema) as file:
            for part in parts:
                file.write_table(pyarrow.table({"prediction": part.to_numpy()}, schema=schema))
        os.replace(partial, path)
    finally:
        if os.path.exists(partial):
            os.remove(partial)
