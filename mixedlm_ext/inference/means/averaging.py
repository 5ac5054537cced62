"""How cells of a reference grid are averaged: factors nested in others, and weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mixedlm_ext.design.messages import list_names
from mixedlm_ext.errors import FitError, check_choice

Array = NDArray[np.float64]
Index = NDArray[np.intp]

__all__ = ["WEIGHTS", "cell_weights", "find_nesting", "occurring"]

WEIGHTS = ("equal", "proportional", "outer", "cells", "flat")


def find_nesting(codes: Mapping[str, Index]) -> dict[str, tuple[str, ...]]:
    """Find the factors whose every level occurs with one level of another factor only.

    Parameters
    ----------
    codes : mapping of str to ndarray of intp (n,)
        Level of each factor in each row.

    Returns
    -------
    dict of str to tuple of str
        For each nested factor those that it is nested in. Of two factors that are the same but for
        the names of their levels the later one is nested in the earlier one.

    Examples
    --------
    >>> site, status = np.array([0, 1, 2, 2]), np.array([0, 0, 1, 1])
    >>> find_nesting({"status": status, "site": site})
    {'site': ('status',)}
    """
    names = list(codes)
    counts = {name: len(np.unique(codes[name])) for name in names}
    out = {}
    for i, name in enumerate(names):
        parents = []
        for j, other in enumerate(names):
            if other == name or counts[other] < 2 or (counts[other] == counts[name] and j > i):
                continue
            pairs = np.unique(np.column_stack([codes[name], codes[other]]), axis=0)
            if len(pairs) == counts[name]:
                parents.append(other)
        if parents:
            out[name] = tuple(parents)
    return out


def occurring(
    cells: Mapping[str, Index], codes: Mapping[str, Index], nesting: Mapping[str, Sequence[str]]
) -> NDArray[np.bool_]:
    """Say for each cell whether its levels of nested factors occur with those of their parents."""
    m = len(next(iter(cells.values()))) if cells else 0
    out = np.ones(m, dtype=bool)
    for name, parents in nesting.items():
        for parent in parents:
            of_level = np.full(1 + max(codes[name].max(), cells[name].max()), -1, dtype=np.intp)
            of_level[codes[name]] = codes[parent]
            out &= of_level[cells[name]] == cells[parent]
    return out


def cell_weights(
    kind: Any,
    cells: pd.DataFrame,
    averaged: Sequence[str],
    wanted: Sequence[str],
    data: pd.DataFrame,
    nesting: Mapping[str, Sequence[str]],
) -> Array:
    """Return the weight of each cell of a grid in the mean that it belongs to.

    Parameters
    ----------
    kind : str or array_like
        One of `WEIGHTS`, or a weight for each combination of the averaged factors, in the order of
        the grid.
    cells : DataFrame (m, ...)
        The level of each variable in each cell, as a code.
    averaged, wanted : sequence of str
        Variables that are averaged over, and those whose means are wanted.
    data : DataFrame (n, factors)
        Levels of the factors in the rows of the fit, as codes.
    nesting : mapping of str to sequence of str

    Returns
    -------
    ndarray (m,)
        Not normalized.

    Raises
    ------
    FitError
        If there is no such kind, or the number of weights does not fit.
    """
    factors = [name for name in averaged if name in data]
    if not isinstance(kind, str):
        return _given_weights(kind, cells, averaged)
    check_choice(
        "weights", kind, WEIGHTS, FitError,
        more="Or give a number for each combination that is averaged over.",
    )  # fmt: skip
    if kind == "proportional":
        return _counts(cells, data, factors)
    if kind == "cells":
        return _counts(cells, data, _factors(cells, data))
    out = np.ones(len(cells))
    # where a nested factor is averaged over within its parent, frequencies are those there
    around = {p for name in factors for p in nesting.get(name, ()) if p in wanted}
    for name in factors:
        parents = list(nesting.get(name, ()))
        if kind == "outer":
            fixed = list(dict.fromkeys([*parents, *sorted(around)]))
            own = _counts(cells, data, [name, *fixed])
            within = _counts(cells, data, fixed)
        else:
            own = np.ones(len(cells))
            levels = cells[[name, *parents]].drop_duplicates()
            within = _counts(cells, levels, parents)
        out *= own / np.where(within > 0, within, 1.0)
    if kind == "flat":
        out *= _counts(cells, data, _factors(cells, data)) > 0
    return out


def _factors(cells: pd.DataFrame, data: pd.DataFrame) -> list[str]:
    """Return the variables of a grid that are factors."""
    return [str(name) for name in cells if name in data]


def _counts(cells: pd.DataFrame, data: pd.DataFrame, names: Sequence[str]) -> Array:
    """Return for each cell how many rows have its levels of some factors."""
    if not names:
        return np.full(len(cells), float(len(data)))
    distinct, counts = np.unique(data[list(names)].to_numpy(), axis=0, return_counts=True)
    place = pd.MultiIndex.from_arrays(list(distinct.T)).get_indexer(
        pd.MultiIndex.from_frame(cells[list(names)])
    )
    return np.where(place >= 0, counts[place], 0).astype(float)


def _given_weights(kind: Any, cells: pd.DataFrame, averaged: Sequence[str]) -> Array:
    """Return weights that the user gives, one for each combination that is averaged over."""
    try:
        values = np.asarray(kind, dtype=float)
    except (TypeError, ValueError):
        values = np.array(np.nan)
    if not averaged:
        raise FitError("weights= has numbers, but no factor is averaged over. Leave it out.")
    combinations = cells[list(averaged)].drop_duplicates().reset_index(drop=True)
    if values.shape != (len(combinations),) or not (values >= 0).all() or not values.sum() > 0:
        raise FitError(
            f"weights={kind!r} does not fit: there are {len(combinations)} combinations of "
            f"{list_names(averaged)} to average over. Give that many numbers, none negative, or "
            f"one of {list_names(WEIGHTS)}."
        )
    keys = pd.MultiIndex.from_frame(combinations)
    place = keys.get_indexer(pd.MultiIndex.from_frame(cells[list(averaged)]))
    return np.asarray(values[place])
