"""The fixed part: which of its columns are kept."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mixedlm_ext.design.checks import check_fixed_size
from mixedlm_ext.design.names import list_names, quoted
from mixedlm_ext.design.rank import independent_columns
from mixedlm_ext.errors import DesignError, DesignWarning, did_you_mean

__all__ = ["FixedPart", "keep_columns"]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class FixedPart:
    """The kept columns, their names and positions, and the names of those not estimable."""

    X: Floats
    names: tuple[str, ...]
    column_map: npt.NDArray[np.intp]
    dropped: tuple[str, ...]


def keep_columns(
    X: Floats,
    names: Sequence[str],
    weights: Floats | None = None,
    drop_cols: Collection[str] | None = None,
    stacklevel: int = 4,
) -> FixedPart:
    """Leave out the columns the user does not want and, with a warning, those not estimable.

    Parameters
    ----------
    X : ndarray (n, p)
    names : sequence of str
        Names of the p columns.
    weights : ndarray (n,), optional
    drop_cols : collection of str, optional
        Columns the user leaves out.
    stacklevel : int
        Of the warning.

    Raises
    ------
    DesignError
        If a name in `drop_cols` is not that of a column, or as many columns as rows are left.
    """
    if drop_cols is None:
        drop_cols = ()
    if not isinstance(drop_cols, Iterable):
        raise DesignError(
            f"drop_cols={quoted(drop_cols)} is no list of names. Name columns of the fixed part "
            f"({list_names(names)})."
        )
    unwanted = [drop_cols] if isinstance(drop_cols, str) else _listed(drop_cols)
    for name in unwanted:
        if not isinstance(name, str):
            raise DesignError(
                f"drop_cols has {quoted(name)}, no name of a column of the fixed part "
                f"({list_names(names)})."
            )
        if name not in names:
            raise DesignError(
                f"drop_cols has {name!r}, not a column of the fixed part "
                f"({list_names(names)}).{did_you_mean(name, names)}"
            )
    wanted = np.array([j for j, name in enumerate(names) if name not in unwanted], dtype=np.intp)
    X = X if len(wanted) == len(names) else X[:, wanted]
    kept = independent_columns(X, weights)
    dropped = tuple(names[wanted[j]] for j in range(len(wanted)) if j not in set(kept.tolist()))
    if dropped:
        warnings.warn(
            "the fixed part is rank deficient; left out, as combinations of the columns before: "
            f"{list_names(dropped)}.",
            DesignWarning,
            stacklevel=stacklevel,
        )
        X = X[:, kept]
    column_map = wanted[kept]
    check_fixed_size(len(X), [names[j] for j in column_map])
    return FixedPart(X, tuple(names[j] for j in column_map), column_map, dropped)


def _listed(names: Any) -> list[Any]:
    """The elements of a list or array of names."""
    try:
        return list(names)
    except TypeError:  # an array without dimensions has the method that makes it iterable
        return [names]
