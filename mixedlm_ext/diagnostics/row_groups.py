"""Groups of rows by name: a grouping factor, a column of the data, or any labels."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mixedlm_ext.design import Design
from mixedlm_ext.design.column import is_labelled
from mixedlm_ext.design.grouping import level_codes
from mixedlm_ext.design.partition import Partition, levels_with_rows
from mixedlm_ext.design.removed import require_rows
from mixedlm_ext.design.row_values import values_of_rows
from mixedlm_ext.design.values import row_shape
from mixedlm_ext.errors import DesignError, did_you_mean

__all__ = ["group_rows"]


def group_rows(design: Design, groups: Any) -> Partition:
    """Find the rows of each group.

    Parameters
    ----------
    design : Design
    groups : str, array_like or None
        A grouping factor or a column of the formula's data by name; one label for each row; None
        makes every row a group.

    Returns
    -------
    Partition

    Raises
    ------
    DesignError
        If there is no such column, a label is missing, or all rows are in one group.
    """
    require_rows(design)
    if groups is None:
        return Partition("observations", np.arange(len(design.y)), design.index)
    if isinstance(groups, str):
        for term in design.terms:
            if groups in (term.group, term.name):
                found = levels_with_rows(term)
                return _partition(groups, found.codes, found.levels)
        return _labelled(groups, _column(design, groups))
    if len(row_shape(groups, "groups")) != 1 and not is_labelled(groups):
        raise DesignError(
            f"groups has {np.ndim(groups)} dimensions. Pass the name of a factor such as "
            f"{design.terms[0].group!r}, or one label for each row."
        )
    name = str(getattr(groups, "name", None) or "groups")
    return _labelled(name, values_of_rows(design, groups, "groups"))


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


def _labelled(name: str, values: pd.Series) -> Partition:
    """Number the labels."""
    if values.isna().any():
        raise DesignError(
            f"groups {name!r} has {int(values.isna().sum())} missing labels. Every row needs one."
        )
    return _partition(name, *level_codes(values, name))


def _partition(name: str, codes: NDArray[np.intp], levels: pd.Index) -> Partition:
    """Refuse a single group."""
    if len(levels) < 2:
        raise DesignError(f"all rows are in one group of {name!r}: nothing is left without it.")
    return Partition(name, codes, levels)
