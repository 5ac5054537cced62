"""The reference grid: all combinations of the fixed factors' levels, covariates at their means."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mixedlm_ext.design import Design
from mixedlm_ext.design.grouping import level_codes
from mixedlm_ext.design.names import code_names, list_names
from mixedlm_ext.design.times import TIMES, has_time_zone, in_days, time_kind
from mixedlm_ext.errors import FitError, did_you_mean

Array = NDArray[np.float64]

__all__ = ["ReferenceGrid", "reference_grid"]


@dataclass(frozen=True, eq=False)
class ReferenceGrid:
    """Cells at which a model is evaluated.

    Attributes
    ----------
    cells : DataFrame (m, variables)
        The value of every variable of the fixed part.
    X : ndarray (m, all columns)
        Rows of the model matrix, with the columns that were left out as not estimable.
    offset : ndarray (m,)
    """

    cells: pd.DataFrame
    X: Array
    offset: Array


def reference_grid(design: Design, at: Mapping[str, Any]) -> ReferenceGrid:
    """Lay out the grid of a design.

    Parameters
    ----------
    design : Design
        From a formula, with its rows.
    at : mapping of str to value or values
        Values of some variables in place of their levels or their mean.

    Returns
    -------
    ReferenceGrid

    Raises
    ------
    FitError
        If `at` names no variable of the fixed part, or a level that does not occur.
    """
    values = _values(design)
    for name, given in at.items():
        if name not in values:
            raise FitError(
                f"at has {name!r}, which is no variable of the fixed part "
                f"({list_names(values)}).{did_you_mean(name, values)}"
            )
        values[name] = _given(design, name, values[name], given)
    rows = list(product(*values.values()))
    cells = pd.DataFrame(rows, columns=pd.Index(values), index=range(len(rows)))
    for name in values:
        if isinstance(_column(design, name).dtype, pd.CategoricalDtype):
            cells[name] = cells[name].astype(_column(design, name).dtype)
    matrices = design.matrices
    extra = np.full(len(cells), _mean_offset(design))
    new = design.new_data(cells, terms=(), offset=extra)
    if not new.complete.all():
        first = cells[~new.complete].iloc[0].to_dict()
        raise FitError(f"the model is undefined at {first}. Choose other values with at=.")
    X = matrices.build(matrices.new_data(cells, matrices.pieces("fixed")), len(cells), [0])[0]
    return ReferenceGrid(cells, X, new.offset)


def _column(design: Design, name: str) -> pd.Series:
    """Return one used column of the data."""
    assert design.frame is not None
    return design.frame[name]


def _values(design: Design) -> dict[str, list[Any]]:
    """Return the levels of every categorical variable and the mean of every numeric one."""
    assert design.frame is not None
    matrices = design.matrices
    kinds = {f.code: about.type for f, about in matrices.infos[0].factor_infos.items()}
    pieces = [*matrices.pieces("fixed"), *matrices.pieces("offset")]
    used = {
        name: None
        for piece in pieces
        for name in sorted(code_names(piece.code).values & set(design.frame.columns))
    }
    coded = {code_names(code).bare for code, kind in kinds.items() if kind == "categorical"}
    return {
        name: _levels(design, name)
        if name in coded or not _is_number(_column(design, name))
        else [_mean(_column(design, name))]
        for name in used
    }


def _mean(column: pd.Series) -> Any:
    """Return the mean of numbers, dates or durations."""
    kind = time_kind(column)
    if kind is None:
        return float(column.mean())
    days = pd.Timedelta(days=float(in_days(column, kind).mean()))
    if kind == "duration":
        return days
    zone = "UTC" if has_time_zone(column) else None
    return pd.Timestamp("1970-01-01", tz=zone) + days


def _is_number(column: pd.Series) -> bool:
    """Say whether a column holds numbers or times rather than categories or truth values."""
    types = pd.api.types
    number = types.is_numeric_dtype(column.dtype) and not types.is_bool_dtype(column.dtype)
    return number or time_kind(column) in TIMES


def _levels(design: Design, name: str) -> list[Any]:
    """Return the levels of a column that occur, in their order."""
    return list(level_codes(_column(design, name), name)[1])


def _given(design: Design, name: str, known: list[Any], given: Any) -> list[Any]:
    """Return the values that `at` gives a variable."""
    values = [given] if isinstance(given, str) or np.ndim(given) == 0 else list(given)
    if not values:
        raise FitError(f"at has no value of {name!r}. Give one or several.")
    if len(known) == 1 and _is_number(_column(design, name)):
        return values
    for value in values:
        if value not in known:
            raise FitError(
                f"at has {name}={value!r}, which does not occur; the levels are "
                f"{list_names(known)}.{did_you_mean(str(value), map(str, known))}"
            )
    return values


def _mean_offset(design: Design) -> float:
    """Return the mean over the rows of the offset besides ``offset(...)`` of the formula."""
    if design.offset is None:
        return 0.0
    written = design.new_data(design.frame, terms=(), offset=np.zeros(len(design.y))).offset
    return float((design.offset - written).mean())
