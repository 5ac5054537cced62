"""Weights and offsets: how a fit was given them, and the one rule for those of other rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from mixedlm_ext.design.checks import check_weights, number_vector
from mixedlm_ext.design.frame import Table, one_per_row
from mixedlm_ext.errors import DesignError, did_you_mean

__all__ = ["OFFSET", "WEIGHTS", "RowArgument", "known_values", "new_weights"]

Floats = npt.NDArray[np.float64]

_FORGOTTEN = {
    "weights": "the fit had an array of weights; give those of the new rows: weights=..., an array "
    "or the name of a column; np.ones(len(data)) if they have weight one.",
    "offset": "the fit had an array as offset; give that of the new rows: offset=..., an array or "
    "the name of a column; offset=0 if there is none.",
}


@dataclass(frozen=True)
class RowArgument:
    """An argument with one value a row, as the fit was given it.

    Attributes
    ----------
    name : {"weights", "offset"}
    column : str or None
        The column that it named.
    as_array : bool
        Whether it was an array, which other rows cannot have.
    """

    name: str
    column: str | None = None
    as_array: bool = False

    def given_as(self, column: str | None, values: Any) -> RowArgument:
        """Return the argument of a fit: values (None for none), of a column if that has a name."""
        return RowArgument(self.name, column, values is not None and column is None)

    def of_new_rows(
        self,
        given: Any,
        m: int,
        index: pd.Index | None,
        table: Table | None = None,
        needed: bool = True,
    ) -> pd.Series | None:
        """Return the values of other rows, some of them perhaps missing; None if there are none.

        Parameters
        ----------
        given : str, number, array-like (m,) or None
            A column, a value for all rows, or one for each. None means the column that the fit
            named, and is an error if the fit had an array.
        m : int
        index : Index (m,) or None
            Labels of the rows, which those of a Series must equal; None if they have none.
        table : Table, optional
            The data of the rows; None for arrays.
        needed : bool
            Refuse data without the column that the fit named.

        Raises
        ------
        DesignError
        """
        if given is None and self.as_array:
            raise DesignError(_FORGOTTEN[self.name])
        if given is None and self.column is None:
            return None
        if table is not None and (given is None or isinstance(given, str)):
            name = self.column if given is None else given
            if given is None and not needed and name not in table.names:
                return None
            self._check_column(str(name), table)
            return table.column(str(name))
        if isinstance(given, int | float | np.number):
            given = np.full(m, float(given))
        return one_per_row(given, self.name, m, index)

    def _check_column(self, name: str, table: Table) -> None:
        """Raise unless the data have a column."""
        if name in table.names:
            return
        near = did_you_mean(name, table.names)
        if name == self.column:
            raise DesignError(
                f"the new data have no column {name!r}, the {self.name} of the fit.{near} "
                f"Add it, or pass {self.name}=."
            )
        raise DesignError(f"the new data have no column {name!r} for {self.name}=.{near}")


WEIGHTS, OFFSET = RowArgument("weights"), RowArgument("offset")
"""Those of a fit that had none."""


def known_values(values: pd.Series, name: str) -> Floats:
    """Return values as numbers, nan where they are missing."""
    present = values.notna().to_numpy()
    out = np.full(len(values), np.nan)
    out[present] = number_vector(values[present], name, int(np.count_nonzero(present)))
    return out


def new_weights(
    weights: RowArgument,
    given: Any,
    rows: pd.Index,
    index: pd.Index | None,
    table: Table | None = None,
    needed: bool = True,
) -> Floats:
    """Return the precision weights of other rows: ones if there are none, nan where missing.

    Parameters
    ----------
    weights : RowArgument
        Of the fit.
    given : object
        As for `RowArgument.of_new_rows`, like `index`, `table` and `needed`.
    rows : Index (m,)
        Labels of the rows in messages.
    index, table, needed
        See `given`.

    Raises
    ------
    DesignError
        If a weight is negative or infinite.
    """
    values = weights.of_new_rows(given, len(rows), index, table, needed)
    if values is None:
        return np.ones(len(rows))
    out = known_values(values, weights.name)
    present = ~np.isnan(out)
    check_weights(out[present], weights.name, rows[present])
    return out
