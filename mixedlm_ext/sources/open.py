"""Which source data are, if they are one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mixedlm_ext.errors import DataError
from mixedlm_ext.sources.arrow import ArrowDataset, LazyFrame, spooled
from mixedlm_ext.sources.base import Source
from mixedlm_ext.sources.dask import DaskFrame
from mixedlm_ext.sources.files import is_path, open_files
from mixedlm_ext.sources.frames import Frames

__all__ = ["is_dask", "is_source", "open_source"]


def is_source(data: Any) -> bool:
    """Say whether data are read in batches, not held in memory.

    Examples
    --------
    >>> is_source("rows.parquet"), is_source({"x": [1]})
    (True, False)
    """
    module, name = _type(data)
    return (
        isinstance(data, Source | Iterator)
        or is_path(data)
        or (module == "polars" and name == "LazyFrame")
        or is_dask(data)
        or (module == "pyarrow" and ("Dataset" in name or name == "RecordBatchReader"))
        or (callable(data) and not isinstance(data, type) and not hasattr(data, "__len__"))
    )


def is_dask(data: Any) -> bool:
    """Say whether data are a Dask data frame."""
    module, name = _type(data)
    return name == "DataFrame" and module in ("dask", "dask_expr")  # before 2025 its own package


def open_source(data: Any) -> Source:
    """Open what `is_source` says is one.

    Raises
    ------
    DataError
        If it cannot be read twice, or not at all.
    """
    module, name = _type(data)
    if isinstance(data, Source):
        return data
    if is_path(data):
        return open_files(data)
    if is_dask(data):
        return DaskFrame(data)
    if module == "polars":
        return LazyFrame(data)
    if module == "pyarrow":
        return spooled(data) if name == "RecordBatchReader" else ArrowDataset(data)
    if isinstance(data, Iterator):
        raise DataError(
            f"data is a {name}, which can be read once; a fit reads its rows twice. Pass the "
            "function that makes it, such as lambda: pd.read_csv(path, chunksize=100_000)."
        )
    return Frames(data)


def _type(data: Any) -> tuple[str, str]:
    """Return the package and the name of the type of data."""
    kinds = [kind for kind in type(data).__mro__ if kind is not object]
    packages = [kind.__module__.partition(".")[0] for kind in kinds]
    return (packages[0], type(data).__name__) if kinds else ("", "")
