"""Columns that a model has not used, from the data it was made from."""

from __future__ import annotations

import pandas as pd

from mixedlm_ext.design.frame import Table
from mixedlm_ext.design.messages import list_names
from mixedlm_ext.design.rows import Rows
from mixedlm_ext.errors import DesignError

__all__ = ["with_more_columns"]


def with_more_columns(rows: Rows, names: list[str]) -> pd.DataFrame:
    """Return the frame of some rows with more columns of the data that they are from.

    Parameters
    ----------
    rows : Rows
        Of a formula's design.
    names : list of str
        Columns that their frame does not have.

    Raises
    ------
    DesignError
        If the data are gone, or they are not any more what they were.
    """
    assert rows.frame is not None
    table = None if rows.at_hand is None else rows.at_hand.table()
    if table is None:
        raise DesignError(
            f"the model keeps the columns that it uses ({list_names(rows.frame.columns)}), not "
            f"{list_names(names)}, and the data given at first are gone. Pass them again, with "
            "data=."
        )
    if not _are_the_same(table, rows):
        raise DesignError(
            f"the data have changed since the model was made from them, so {list_names(names)} "
            "cannot be added from there. Pass the data to use, with data=."
        )
    frame = rows.frame.copy(deep=False)
    for name in names:
        frame[name] = table.column(name).iloc[rows.positions].array
    return frame


def _are_the_same(table: Table, rows: Rows) -> bool:
    """Say whether the rows of the fit are still at their places, with the same values."""
    assert rows.frame is not None
    if len(table) != rows.n_data or not table.index.take(rows.positions).equals(rows.index):
        return False
    shared = [str(name) for name in rows.frame if name in table.names]
    now = (pd.Series(table.column(name).iloc[rows.positions].array) for name in shared)
    return all(
        pd.Series(rows.frame[name].array).equals(values)
        for name, values in zip(shared, now, strict=True)
    )
