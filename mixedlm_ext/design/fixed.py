"""The fixed part: which of its columns are kept."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mixedlm_ext.design.checks import check_fixed_size
from mixedlm_ext.design.messages import list_names, quoted
from mixedlm_ext.design.named_checks import Checks
from mixedlm_ext.design.rank import NullSpace, independent_columns, left_out, null_space
from mixedlm_ext.errors import DesignError, did_you_mean

__all__ = ["FixedPart", "keep_columns"]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class FixedPart:
    """The kept columns, their names and positions, and what is known of those not estimable.

    Attributes
    ----------
    X : ndarray (n, p)
    names, all_names : tuple of str
        Of the kept columns, and of all.
    column_map : ndarray of intp (p,)
        Positions among all columns.
    dropped : tuple of str
        Names of the columns that are combinations of those before them.
    null : NullSpace or None
        The null space of the columns that the user wants, None for full rank.
    """

    X: Floats
    names: tuple[str, ...]
    all_names: tuple[str, ...]
    column_map: npt.NDArray[np.intp]
    dropped: tuple[str, ...]
    null: NullSpace | None

    def told(self) -> dict[str, Any]:
        """What a `Spec` tells of the fixed part."""
        return {
            "x_names": self.names,
            "dropped": self.dropped,
            "all_x_names": self.all_names,
            "column_map": self.column_map,
            "null": self.null,
        }


def keep_columns(
    X: Floats,
    names: Sequence[str],
    weights: Floats | None = None,
    drop_cols: Collection[str] | None = None,
    checks: Checks | None = None,
    n: int | None = None,
) -> FixedPart:
    """Leave out the columns the user does not want and, with a warning, those not estimable.

    Parameters
    ----------
    X : ndarray (n, p)
        Or a triangle with the inner products of the columns, if `n` is given.
    names : sequence of str
        Names of the p columns.
    weights : ndarray (n,), optional
    drop_cols : collection of str, optional
        Columns the user leaves out.
    checks : Checks, optional
        What to do if columns are not estimable: check "rank".
    n : int, optional
        Number of rows.

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
    every, X = X, X if len(wanted) == len(names) else X[:, wanted]
    kept = independent_columns(X, weights)
    dropped = tuple(names[wanted[j]] for j in left_out(len(wanted), kept))
    if dropped:
        what = "the fixed part is rank deficient; left out, as combinations of the columns before: "
        (checks or Checks()).report("rank", DesignError(f"{what}{list_names(dropped)}."))
        X = X[:, kept]
    column_map = wanted[kept]
    n = len(X) if n is None else n
    null = null_space(every, column_map, wanted, n)
    check_fixed_size(n, [names[j] for j in column_map])
    names_kept = tuple(names[j] for j in column_map)
    return FixedPart(X, names_kept, tuple(names), column_map, dropped, null)


def _listed(names: Any) -> list[Any]:
    """The elements of a list or array of names."""
    try:
        return list(names)
    except TypeError:  # an array without dimensions has the method that makes it iterable
        return [names]
