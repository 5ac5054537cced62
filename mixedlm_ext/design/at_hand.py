"""The data a model was made from: kept in sight, not kept."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping
from typing import Any

from mixedlm_ext.design.frame import Table, read_table

__all__ = ["DataAtHand"]


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
