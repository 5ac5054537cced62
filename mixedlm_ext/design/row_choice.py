"""Which rows of the data are used: subset, missing values, zero weights."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from mixedlm_ext.design.checks import weight_vector
from mixedlm_ext.design.column import is_labelled, is_polars, one_column
from mixedlm_ext.design.frame import Table
from mixedlm_ext.design.messages import quoted
from mixedlm_ext.design.rows import Rows
from mixedlm_ext.design.values import row_shape
from mixedlm_ext.errors import DesignError, DesignWarning, check_choice, warn_caller

__all__ = ["RowChoice", "choose_rows", "missing_rows", "report_missing", "subset_rows"]

Positions = npt.NDArray[np.intp]
Mask = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class RowChoice:
    """The rows of the fit: positions in the user's data, or None for all of them."""

    rows: Positions | None
    index: pd.Index
    weights: Floats | None
    n_missing: int
    n_zero_weight: int

    def take(self, values: pd.Series) -> pd.Series:
        """The used rows of a column, without a copy when all are used."""
        return values if self.rows is None else values.iloc[self.rows]

    def positions(self, n: int) -> Positions:
        """The used rows as positions among the `n` of the data."""
        return np.arange(n, dtype=np.intp) if self.rows is None else self.rows

    def rows_of(
        self,
        y: Floats,
        X: Floats,
        terms: Iterable[tuple[Floats, Positions]],
        offset: Floats | None,
        index: pd.Index,
        missing: str,
    ) -> Rows:
        """Return the rows of a design, of data with the labels `index`.

        Parameters
        ----------
        y : ndarray (n,)
        X : ndarray (n, p)
        terms : iterable of (ndarray (n, k), ndarray of intp (n,))
            Columns and level codes of each random term.
        offset : ndarray (n,) or None
        index : Index
            Of all rows of the data.
        missing : str
            "exclude" if the labels of rows that were left out are kept.
        """
        return Rows(
            y=y,
            X=X,
            terms=tuple(terms),
            weights=self.weights,
            offset=offset,
            index=self.index,
            positions=self.positions(len(index)),
            n_data=len(index),
            n_missing=self.n_missing,
            n_zero_weight=self.n_zero_weight,
            full_index=index if missing == "exclude" else None,
        )


def choose_rows(
    columns: Mapping[str, pd.Series],
    index: pd.Index,
    *,
    subset: Positions | None,
    weights: pd.Series | None,
    weights_name: str,
    missing: str,
) -> RowChoice:
    """Leave out rows outside the subset, with missing values, or with zero weight.

    Parameters
    ----------
    columns : mapping of str to Series (n,)
        Everything the model uses, the weights among them, by the names for messages. The response
        comes first.
    index : Index (n,)
    subset : ndarray of intp or None
    weights : Series (n,) or None
    weights_name : str
        For messages.
    missing : {"drop", "exclude", "raise", "none"}

    Raises
    ------
    DesignError
        If values are missing and `missing` is neither "drop" nor "exclude", a weight is negative
        or not finite, or no row is left.
    """
    check_choice("missing", missing, ("drop", "exclude", "raise", "none"))
    rows = subset
    n = len(index) if rows is None else len(rows)
    if n == 0:
        raise DesignError("the data have no rows." if not len(index) else "subset takes no rows.")
    lost, counts = missing_rows(columns, rows)
    n_missing = int(np.count_nonzero(lost))
    if n_missing:
        report_missing(counts, n_missing, n, next(iter(columns)), missing)
        rows = _without(lost, rows)
    n_zero = 0
    used = None
    if weights is not None:
        kept = weights if rows is None else weights.iloc[rows]
        used = weight_vector(kept, weights_name, index if rows is None else index[rows])
        zero = used == 0.0
        n_zero = int(np.count_nonzero(zero))
        if n_zero:
            rows, used = _without(zero, rows), used[~zero]
            warn_caller(
                f"{n_zero} of {len(zero)} rows have zero weight and are left out of the fit.",
                DesignWarning,
            )
    return RowChoice(rows, index if rows is None else index[rows], used, n_missing, n_zero)


def _without(mask: Mask, rows: Positions | None) -> Positions:
    """Positions of the rows that are not in `mask`."""
    kept = np.flatnonzero(~mask)
    return kept if rows is None else rows[kept]


def report_missing(
    counts: Mapping[str, int], n_missing: int, n: int, response: str, missing: str
) -> None:
    """Refuse missing values, or a loss of all rows."""
    found = ", ".join(f"{name!r}: {count}" for name, count in counts.items())
    if missing not in ("drop", "exclude"):
        raise DesignError(
            f"{n_missing} of {n} rows have missing values ({found}). "
            "Use missing='drop' to leave these rows out."
        )
    if counts.get(response) == n:
        raise DesignError(f"response {response!r} has only missing values.")
    if n_missing == n:
        raise DesignError(f"no row is left: all {n} have missing values ({found}).")


def missing_rows(
    columns: Mapping[str, pd.Series], rows: Positions | None = None
) -> tuple[Mask, dict[str, int]]:
    """Rows with NaN, None, NaT or NA in any column, and how many there are in each column."""
    total: Mask | None = None
    counts = {}
    n = 0
    for name, column in columns.items():
        n = len(column) if rows is None else len(rows)
        if isinstance(column.dtype, np.dtype) and column.dtype.kind in "iub":
            continue
        missing = _missing(column)
        missing = missing if rows is None else missing[rows]
        count = int(np.count_nonzero(missing))
        if count:
            counts[name] = count
            total = missing if total is None else total | missing
    return (np.zeros(n, dtype=bool) if total is None else total), counts


def _missing(column: pd.Series) -> Mask:
    """Which values of a column are missing; pandas is slow on what most columns are."""
    if isinstance(column.dtype, np.dtype) and column.dtype.kind == "f":
        return np.isnan(column.to_numpy())
    if isinstance(column.dtype, pd.CategoricalDtype):
        return np.asarray(column.array.codes < 0)
    return column.isna().to_numpy()


def subset_rows(table: Table, subset: Any) -> Positions | None:
    """Positions of the rows that ``data.loc[subset]`` would take.

    Parameters
    ----------
    table : Table
    subset : array-like of bool (n,), or of labels of the index, or slice of labels, or None

    Returns
    -------
    ndarray of intp, or None for all rows

    Raises
    ------
    DesignError
        If `subset` has another length, missing values, or labels the data do not have.
    """
    if subset is None:
        return None
    if isinstance(subset, slice):
        return _slice_rows(table, subset)
    labels = _one_dimension(subset)
    if pd.api.types.infer_dtype(labels, skipna=True) == "boolean":
        if is_labelled(subset) and isinstance(labels, pd.Series):
            labels = _aligned_mask(labels, table.index)
        if len(labels) != len(table):
            raise DesignError(f"subset has {len(labels)} values; the data have {len(table)} rows.")
        if pd.isna(labels).any():
            raise DesignError("subset has missing values. Use .fillna(False).")
        return np.flatnonzero(np.asarray(labels, dtype=bool))
    if len(labels) and not isinstance(labels, pd.MultiIndex) and pd.isna(labels).all():
        raise DesignError("subset has only missing values. Pass a boolean for each row.")
    numbers = labels.dtype.kind in "iu" and len(labels) == len(table) > 2
    if numbers and np.isin(np.asarray(labels), (0, 1)).all():
        raise DesignError(
            "subset has a 0 or 1 for each row, which would be labels of the index. "
            "Use .astype(bool) to choose rows by it."
        )
    return _positions(labels, table.index)


def _slice_rows(table: Table, labels: slice) -> Positions:
    """Positions of a slice of labels."""
    try:
        taken = table.index.slice_indexer(labels.start, labels.stop, labels.step)
    except (KeyError, TypeError, ValueError) as error:
        raise DesignError(
            f"subset={labels!r} does not fit the data's index: a label is absent, or the index is "
            "not sorted. Pass a boolean for each row instead."
        ) from error
    return np.arange(len(table), dtype=np.intp)[taken]


def _one_dimension(subset: Any) -> pd.Series | pd.Index:
    """The subset as something pandas can index with."""
    if isinstance(subset, pd.MultiIndex):
        return subset
    if isinstance(subset, list) and subset and all(isinstance(label, tuple) for label in subset):
        return pd.Index(subset)  # labels of a MultiIndex
    if not is_polars(subset) and row_shape(subset, "subset") == ():
        text = isinstance(subset, str)
        found = f"the text {subset!r}" if text else f"of type {type(subset).__name__}"
        advice = f", or data.eval({subset!r})" if text else ""
        raise DesignError(
            f"subset is {found}. Pass a boolean for each row, such as data['x'] > 0{advice}; "
            "or labels of the index."
        )
    return one_column(subset, "subset")


def _positions(labels: pd.Series | pd.Index, index: pd.Index) -> Positions:
    """Positions of labels in the index of the data."""
    try:
        positions, absent = index.get_indexer_non_unique(pd.Index(labels))
    except (TypeError, ValueError, NotImplementedError) as error:
        raise DesignError(
            f"subset holds {quoted(labels.tolist()[0])}, which cannot be a label of the data's "
            "index. Pass a boolean for each row."
        ) from error
    if len(absent):
        raise DesignError(
            f"subset has the label {quoted(labels.tolist()[absent[0]])}, not in the data's index."
        )
    return np.asarray(positions, dtype=np.intp)


def _aligned_mask(mask: pd.Series, index: pd.Index) -> pd.Series:
    """A boolean Series in the order of the data, as .loc aligns it."""
    if mask.index.equals(index):
        return mask
    if not (mask.index.is_unique and index.isin(mask.index).all()):
        raise DesignError("subset is a Series whose index is not that of the data.")
    return mask.reindex(index)
