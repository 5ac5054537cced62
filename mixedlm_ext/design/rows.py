"""`Rows`: what a design has one entry a row of, and where that stands in the user's data."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import pandas as pd

from mixedlm_ext.design.at_hand import DataAtHand
from mixedlm_ext.design.elsewhere import Elsewhere
from mixedlm_ext.design.used import UsedColumns
from mixedlm_ext.residual.structure import ResidualRows

__all__ = ["Rows"]

Floats = npt.NDArray[np.float64]
Codes = npt.NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class Rows:
    """The rows of a design.

    Attributes
    ----------
    y : ndarray (n,)
        The response as evaluated; the offset is not subtracted.
    X : ndarray (n, p)
        The estimable fixed columns.
    terms : tuple of (ndarray (n, k), ndarray of intp (n,))
        Columns and level codes of each random term.
    weights, offset : ndarray (n,) or None
    index : Index (n,)
        Row labels.
    positions : ndarray of intp (n,)
        Where the rows are in the user's data.
    n_data : int
        Rows of the user's data, those outside a subset among them.
    n_missing, n_zero_weight : int
        Rows left out.
    used : UsedColumns or None
        The used columns of the data; None for arrays.
    full_index : Index or None
        Labels of all rows of the user's data, if values for the rows are to be aligned with them.
    at_hand : DataAtHand or None
        Where the user's data are, while the user keeps them; not pickled.
    residual : ResidualRows or None
        What the rows have to do with the structure of the residuals.
    elsewhere : Elsewhere or None
        What takes the place of rows that are not in memory; there are none here then.
    """

    y: Floats
    X: Floats
    terms: tuple[tuple[Floats, Codes], ...]
    weights: Floats | None
    offset: Floats | None
    index: pd.Index
    positions: Codes
    n_data: int
    n_missing: int
    n_zero_weight: int
    used: UsedColumns | None = None
    full_index: pd.Index | None = None
    at_hand: DataAtHand | None = field(default=None, repr=False)
    residual: ResidualRows | None = None
    elsewhere: Elsewhere | None = field(default=None, repr=False)

    def __len__(self) -> int:
        return len(self.y)

    @property
    def frame(self) -> pd.DataFrame | None:
        """The used columns of the data; None for arrays."""
        return None if self.used is None else self.used.frame

    def __getstate__(self) -> dict[str, object]:
        return {**vars(self), "at_hand": None}

    def take(self, mask: npt.NDArray[np.bool_] | Codes) -> Rows:
        """Return some of the rows, by a truth value for each or by their numbers."""
        return replace(
            self,
            y=self.y[mask],
            X=self.X[mask],
            terms=tuple((X[mask], codes[mask]) for X, codes in self.terms),
            weights=None if self.weights is None else self.weights[mask],
            offset=None if self.offset is None else self.offset[mask],
            index=self.index[mask],
            positions=self.positions[mask],
            used=None if self.used is None else self.used.take(mask),
            residual=None if self.residual is None else self.residual.take(mask),
        )

    def none(self) -> Rows:
        """Return no rows: shapes and types of columns, without labels, categories or data."""
        used, empty = self.used, pd.RangeIndex(0)
        if used is not None:
            used = UsedColumns({name: _empty(used[name]) for name in used}, empty)
        gone = replace(self.take(np.empty(0, dtype=np.intp)), index=empty, used=used)
        return replace(gone, full_index=None, at_hand=None)

    def within(self, whole: Rows) -> Rows:
        """Return the same rows, made from those of `whole`, as rows of the data of that."""
        return replace(
            self,
            positions=whole.positions[self.positions],
            n_data=whole.n_data,
            n_missing=whole.n_missing + self.n_missing,
            n_zero_weight=whole.n_zero_weight + self.n_zero_weight,
            at_hand=whole.at_hand,
        )

    def aligned(self, values: Floats) -> tuple[Floats, pd.Index]:
        """Return values for the rows (n,) and their labels: of all rows of the data if asked for.

        Values of rows that were left out are nan then.
        """
        if self.full_index is None or len(values) != len(self.positions):
            return values, self.index
        out = np.full(len(self.full_index), np.nan)
        out[self.positions] = values
        return out, self.full_index


def _empty(column: pd.Series) -> pd.Series:
    """A column of the same type without rows, and without their categories."""
    categorical = isinstance(column.dtype, pd.CategoricalDtype)
    return pd.Series([], dtype="category" if categorical else column.dtype)
