"""Exposures: known factors of the mean, whose logarithms are added to the linear predictor."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from statsmodels.genmod.families import links

from mixedlm_ext.design.frame import Table, one_per_row
from mixedlm_ext.errors import DesignError
from mixedlm_ext.generalized.weights import as_numbers, number_column

__all__ = ["offset_with_exposure", "with_exposure"]


def _check_log(family: Any) -> None:
    """Refuse an exposure without the log link, as statsmodels does."""
    if not isinstance(family.link, links.Log):
        raise DesignError(
            "exposure= multiplies the mean, which needs the log link; this family has the link "
            f"{type(family.link).__name__}. Use offset=."
        )


def _log_exposure(values: pd.Series) -> pd.Series:
    """Return the logarithms of an exposure."""
    numbers = as_numbers(values, "exposure")
    if (numbers <= 0).any():
        row = numbers.index[int(np.flatnonzero((numbers <= 0).to_numpy())[0])]
        raise DesignError(
            f"exposure is {numbers.loc[row]:g} at row {row!r}; it has positive values. Leave such "
            "rows out with subset=."
        )
    return pd.Series(np.log(numbers.to_numpy()), index=values.index)


def with_exposure(
    family: Any, text: str, table: Table, exposure: Any, offset: Any
) -> tuple[str, Any]:
    """Return formula and offset with an exposure in one of them.

    A column goes into the formula, so that predictions find it in new data.
    """
    _check_log(family)
    if isinstance(exposure, str):
        _log_exposure(table.column(exposure, "exposure column"))
        name = exposure if exposure.isidentifier() else f"Q({exposure!r})"
        return f"{text} + offset(log({name}))", offset
    logs = _log_exposure(one_per_row(exposure, "exposure", len(table), table.index))
    own = number_column(table, offset, "offset")
    return text, logs if own is None else own + logs.to_numpy()


def offset_with_exposure(family: Any, exposure: Any, offset: Any, n: int) -> Any:
    """Return the offset of the n rows of arrays with the logarithms of an exposure in it."""
    _check_log(family)
    logs = _log_exposure(one_per_row(exposure, "exposure", n))
    return logs if offset is None else one_per_row(offset, "offset", n) + logs.to_numpy()
