"""The data a model was made from, for columns that it has not used: kept in sight, not kept."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import pandas as pd

from mixedlm_ext.design.frame import Table, read_table
from mixedlm_ext.design.names import list_names
from mixedlm_ext.errors import DesignError

if TYPE_CHECKING:
    from mixedlm_ext.design.design import Design

__all__ = ["DataAtHand", "with_more_columns"]


class DataAtHand:
    """The user's data as long as the user keeps them; a dict, which cannot be watched, is held.

    Parameters
    ----------
    table : Table
    """

    def __init__(self, table: Table) -> None:
        data = table.whole
        self._find: Callable[[], Any]
        if isinstance(data, Mapping):
            self._find = lambda: data
        else:
            try:
                self._find = weakref.ref(data)
            except TypeError:
                self._find = lambda: None

    def table(self) -> Table | None:
        """Open the data again; None if they are gone."""
        data = self._find()
        return None if data is None else read_table(data)


def with_more_columns(design: Design, names: list[str]) -> pd.DataFrame:
    """Return the rows of a design with more columns of the data it was made from.

    Parameters
    ----------
    design : Design
        Of a formula.
    names : list of str
        Columns that the frame of the design does not have.

    Raises
    ------
    DesignError
        If the data are gone, or they are not any more what they were.
    """
    assert design.frame is not None
    table = None if design.at_hand is None else design.at_hand.table()
    if table is None:
        raise DesignError(
            f"the model keeps the columns that it uses ({list_names(design.frame.columns)}), not "
            f"{list_names(names)}, and the data given at first are gone. Pass them again, with "
            "data=."
        )
    if not _are_the_same(table, design):
        raise DesignError(
            f"the data have changed since the model was made from them, so {list_names(names)} "
            "cannot be added from there. Pass the data to use, with data=."
        )
    frame = design.frame.copy(deep=False)
    for name in names:
        frame[name] = table.column(name).iloc[design.rows].array
    return frame


def _are_the_same(table: Table, design: Design) -> bool:
    """Say whether the rows of the fit are still at their places, with the same values."""
    assert design.frame is not None
    if len(table) != design.n_data or not table.index.take(design.rows).equals(design.index):
        return False
    shared = [str(name) for name in design.frame if name in table.names]
    now = (pd.Series(table.column(name).iloc[design.rows].array) for name in shared)
    return all(
        pd.Series(design.frame[name].array).equals(values)
        for name, values in zip(shared, now, strict=True)
    )
