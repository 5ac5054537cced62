"""Groups of rows by name: a grouping factor, a column of the data, or any labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mixedlm_ext.design import Design
from mixedlm_ext.errors import DesignError, did_you_mean
from mixedlm_ext.refit import positions, require_rows

__all__ = ["RowGroups", "group_rows"]


@dataclass(frozen=True, eq=False)
class RowGroups:
    """A partition of the rows.

    Attributes
    ----------
    name : str
    codes : ndarray of intp (n,)
        Group of each row, 0 to G - 1; every group has a row.
    levels : Index (G,)
    """

    name: str
    codes: NDArray[np.intp]
    levels: pd.Index


def group_rows(design: Design, groups: Any) -> RowGroups:
    """Find the rows of each group.

    Parameters
    ----------
    design : Design
    groups : str, array_like or None
        A grouping factor or a column of the formula's data by name; one label for each row; None
        makes every row a group.

    Returns
    -------
    RowGroups

    Raises
    ------
    DesignError
        If there is no such column, a label is missing, or all rows are in one group.
    """
    require_rows(design)
    if groups is None:
        return RowGroups("observations", np.arange(len(design.y)), design.index)
    if isinstance(groups, str):
        for term in design.terms:
            if groups in (term.group, term.name):
                return _partition(groups, term.codes, term.levels)
        return _labelled(groups, _column(design, groups))
    index = groups.index if isinstance(groups, pd.Series) else None
    name = str(getattr(groups, "name", None) or "groups")
    if np.ndim(groups) != 1:
        raise DesignError(
            f"groups has {np.ndim(groups)} dimensions. Pass the name of a factor such as "
            f"{design.terms[0].group!r}, or one label for each row."
        )
    values = pd.Series(groups).array[positions(design, index, len(groups), "groups")]
    return _labelled(name, pd.Series(values))


def _column(design: Design, name: str) -> pd.Series:
    """Return a column of the data that the formula uses."""
    if design.frame is not None and name in design.frame:
        return design.frame[name]
    known = [term.group for term in design.terms]
    known += [] if design.frame is None else [str(c) for c in design.frame if str(c) not in known]
    raise DesignError(
        f"{name!r} is no grouping factor and no variable of the model."
        f"{did_you_mean(name, known)} The model has {', '.join(known)}; for another column, pass "
        f"its values: groups=data[{name!r}]."
    )


def _labelled(name: str, values: pd.Series) -> RowGroups:
    """Number the labels."""
    if values.isna().any():
        raise DesignError(
            f"groups {name!r} has {int(values.isna().sum())} missing labels. Every row needs one."
        )
    try:
        codes, levels = pd.factorize(values, sort=True)
    except TypeError:  # labels of several types have no order
        codes, levels = pd.factorize(values)
    return _partition(name, codes.astype(np.intp), pd.Index(levels))


def _partition(name: str, codes: NDArray[np.intp], levels: pd.Index) -> RowGroups:
    """Refuse a single group."""
    if len(levels) < 2:
        raise DesignError(f"all rows are in one group of {name!r}: nothing is left without it.")
    return RowGroups(name, codes, levels)
