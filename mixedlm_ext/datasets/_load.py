"""Reading a data file beside its ``data.py`` into a statsmodels `Dataset`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from statsmodels.datasets.utils import process_pandas

if TYPE_CHECKING:

    class Dataset(dict[str, Any]):
        """statsmodels' container, with the types of what is in it."""

        data: pd.DataFrame
        endog: pd.Series
        exog: pd.DataFrame
        names: list[str]
        endog_name: str
        exog_name: list[str]

else:
    from statsmodels.datasets.utils import Dataset

__all__ = ["Dataset", "read_dataset"]


def read_dataset(module: str, filename: str, response: str, factors: Iterable[str]) -> Dataset:
    """Read one of the package's data files.

    Parameters
    ----------
    module : str
        ``__file__`` of the module that lies beside the data.
    filename : str
        Name of the csv file, gzipped when it ends in ``.gz``.
    response : str
        Column that becomes ``endog``; the others become ``exog``.
    factors : iterable of str
        Columns read as unordered categories with string levels in natural order.

    Returns
    -------
    Dataset
        With ``data``, ``endog``, ``exog``, ``names``, ``endog_name`` and ``exog_name``.
    """
    factors = list(factors)
    data = pd.read_csv(Path(module).with_name(filename), dtype=dict.fromkeys(factors, "category"))
    for name in factors:
        labels = data[name].cat.rename_categories(str)  # pandas 3 parses numbers here
        data[name] = labels.cat.reorder_categories(
            sorted(labels.cat.categories, key=_natural_order)
        )
    found: Dataset = process_pandas(data, endog_idx=list(data.columns).index(response))
    return found


def _natural_order(level: str) -> tuple[int, str]:
    """Sort key: whole numbers by value, before other labels by spelling."""
    return (int(level), "") if level.isdecimal() else (10**18, level)
