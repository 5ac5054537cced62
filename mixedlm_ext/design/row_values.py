"""What a user passes with one value a row, taken for the rows of the fit; a new response."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mixedlm_ext.design.checks import check_response, number_vector
from mixedlm_ext.design.column import is_labelled, one_column
from mixedlm_ext.design.design import Design
from mixedlm_ext.design.messages import quoted
from mixedlm_ext.design.removed import require_rows
from mixedlm_ext.design.values import row_shape
from mixedlm_ext.errors import DesignError

Array = NDArray[np.float64]

__all__ = ["check_new_response", "positions", "values_of_rows"]


def positions(
    design: Design, index: pd.Index | None, m: int, what: str
) -> slice | NDArray[np.intp]:
    """Return where the rows of the fit are among m rows that a user passes.

    Rows with labels are matched by them, as pandas does. Others are in the order of the fit, or of
    the user's data if there is one for each of those.

    Parameters
    ----------
    design : Design
    index : Index (m,) or None
        The labels; None if there are none.
    m : int
    what : str
        Opens the message of an error.

    Raises
    ------
    DesignError
        If a row of the fit is not among them.
    """
    require_rows(design)
    n, total = len(design.y), design.n_data
    if index is not None:
        return _labelled_positions(design, index, what)
    if m == n:
        return slice(None)
    if m == total:
        return design.rows.positions
    whole = f", or {total}, one for each row of the data" if total > n else ""
    raise DesignError(
        f"{what} has {m} rows; the fit used {n} rows. Pass {n} rows in the order of the fit{whole}."
    )


def _labelled_positions(design: Design, index: pd.Index, what: str) -> slice | NDArray[np.intp]:
    """Find the labels of the fit; with repeated ones all must be there, in the same order."""
    if index.equals(design.index):
        return slice(None)
    if len(index) == design.n_data and index.take(design.rows.positions).equals(design.index):
        return design.rows.positions
    found = index.get_indexer(design.index) if index.is_unique else np.array([-1])
    if (found >= 0).all() and design.index.is_unique:
        return found
    if len(index) < len(design.y):
        raise DesignError(
            f"{what} has {len(index)} rows; the fit used {len(design.y)}. Pass a value for each."
        )
    raise DesignError(
        f"the index of {what} does not have the labels of the model's data"
        f"{_absent_label(design, found)}. Pass an array (to_numpy()) with a value for each of the "
        f"{len(design.y)} rows of the fit, in their order."
    )


def _absent_label(design: Design, found: NDArray[np.intp]) -> str:
    """Name the first label that was not found, if there is one."""
    if len(found) != len(design.y) or (found >= 0).all():
        return ", or repeats some"
    return f", such as {quoted(design.index[int(np.flatnonzero(found < 0)[0])])}"


def values_of_rows(design: Design, values: Any, what: str) -> pd.Series:
    """Return for the rows of the fit what a user passes with one value a row (see `positions`)."""
    column = one_column(values, what)
    index = column.index if is_labelled(values) else None
    where = positions(design, index, len(column), what)
    return column if isinstance(where, slice) else pd.Series(column.array[where])


def check_new_response(design: Design, endog: Any) -> Array:
    """Return a new response (n,) for the rows of a design, or say what is wrong with it."""
    if len(row_shape(endog, "the new response")) == 2 and np.shape(endog)[1] != 1:
        raise DesignError(
            f"a new response has one column, not shape {np.shape(endog)}. "
            "Use MixedLM.fit_many for many responses."
        )
    values = values_of_rows(design, endog, "the new response")
    missing = np.flatnonzero(values.isna())
    if len(missing):
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise DesignError(
            f"the new response is missing at row {quoted(design.index[missing[0]])}{more}; a refit "
            f"uses the {len(values)} rows of the fit. To leave rows out, fit the model to other "
            "data: result.update(data=data)."
        )
    y = number_vector(values, "the new response", len(design.y))
    check_response(y, design.endog_name, design.offset, design.index)
    return y
