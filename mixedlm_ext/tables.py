"""Frames with one vocabulary of columns, which answer to the names of other packages as well.

They print all their columns.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from typing import Any

import pandas as pd

__all__ = ["OTHER_NAMES", "Row", "Table"]

OTHER_NAMES = {
    "PR(>F)": "pvalue", "Pr(>F)": "pvalue", "Pr(>Chisq)": "pvalue", "p_value": "pvalue",
    "p.value": "pvalue", "Chisq": "chisq", "LRT": "chisq", "Df": "df", "std_error": "se",
    "std.error": "se", "bse": "se", "conf_low": "ci_lower", "conf.low": "ci_lower",
    "conf_high": "ci_upper", "conf.high": "ci_upper",
}  # fmt: skip
"""Names in statsmodels' anova, lme4, lmerTest, broom and their like, and what they are here."""


_MOST_COLUMNS = 60
"""Columns up to which all are printed."""


def _known(key: Any, labels: pd.Index) -> Any:
    """Return a label, or each of a list of labels, as the frame has it."""
    if isinstance(key, list):
        return [_known(one, labels) for one in key]
    if isinstance(key, str) and key in OTHER_NAMES and key not in labels:
        name = OTHER_NAMES[key]
        return name if name in labels else key
    return key


class Row(pd.Series):
    """A row of a `Table`."""

    @property
    def _constructor(self) -> Callable[..., Row]:
        return Row

    @property
    def _constructor_expanddim(self) -> Callable[..., Table]:
        return Table

    def __getitem__(self, key: Any) -> Any:
        return super().__getitem__(_known(key, self.index))


class Table(pd.DataFrame):
    """A frame whose columns can also be asked for by their names in other packages.

    ``table["Pr(>Chisq)"]``, ``table.loc[row, "PR(>F)"]`` and ``row["p_value"]`` are the column
    ``pvalue``. The glossary has the vocabulary. All columns are printed, in several blocks where
    the page is too narrow; beyond 60 pandas may leave some out.

    Examples
    --------
    >>> from mixedlm_ext.tables import Table
    >>> table = Table({"F": [4.5], "pvalue": [0.04]}, index=["x"])
    >>> float(table.loc["x", "PR(>F)"])
    0.04
    >>> Table({f"column number {i}": [i / 7] for i in range(4)}).round(2)
       column number 0  column number 1  column number 2  column number 3
    0              0.0             0.14             0.29             0.43
    >>> print(Table({f"column number {i}": [i / 7] for i in range(6)}))
       column number 0  column number 1  column number 2  column number 3  \\
    0              0.0         0.142857         0.285714         0.428571
    <BLANKLINE>
       column number 4  column number 5
    0         0.571429         0.714286
    """

    @property
    def _constructor(self) -> Callable[..., Table]:
        return Table

    @property
    def _constructor_sliced(self) -> Callable[..., Row]:
        return Row

    def __repr__(self) -> str:
        if self.shape[1] > _MOST_COLUMNS:
            return super().__repr__()
        return self.to_string(
            max_rows=pd.get_option("display.max_rows"),
            min_rows=pd.get_option("display.min_rows"),
            line_width=pd.get_option("display.width") or shutil.get_terminal_size().columns,
            show_dimensions=pd.get_option("display.show_dimensions"),
        )

    def _repr_html_(self) -> str | None:
        if not pd.get_option("display.notebook_repr_html"):
            return None
        with pd.option_context("display.max_colwidth", None):
            return self.to_html(
                max_rows=pd.get_option("display.max_rows"),
                max_cols=None,
                show_dimensions=pd.get_option("display.show_dimensions"),
                notebook=True,
            )

    def __getitem__(self, key: Any) -> Any:
        return super().__getitem__(_known(key, self.columns))

    def _ixs(self, i: int, axis: Any = 0) -> Any:
        """Return a row or a column; a column is a plain Series, as other frames have it."""
        found = super()._ixs(i, axis)  # type: ignore[misc]
        return pd.Series(found) if axis == 1 else found

    @property
    def loc(self) -> Any:
        """Access by labels, columns also by their other names."""
        return _Loc(super().loc, self)

    @property
    def at(self) -> Any:
        """Access to one cell by labels, columns also by their other names."""
        return _Loc(super().at, self)


class _Loc:
    """pandas' access by labels, with the second label translated."""

    def __init__(self, indexer: Any, table: Table) -> None:
        self._indexer, self._table = indexer, table

    def _key(self, key: Any) -> Any:
        if isinstance(key, tuple) and len(key) == 2 and self._table.index.nlevels == 1:
            return key[0], _known(key[1], self._table.columns)
        return key

    def __call__(self, *args: Any, **kwargs: Any) -> _Loc:
        return _Loc(self._indexer(*args, **kwargs), self._table)

    def __getitem__(self, key: Any) -> Any:
        return self._indexer[self._key(key)]

    def __setitem__(self, key: Any, value: Any) -> None:
        self._indexer[self._key(key)] = value

    def __getattr__(self, name: str) -> Any:
        return getattr(self._indexer, name)
