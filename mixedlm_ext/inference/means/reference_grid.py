"""The reference grid: all combinations of the fixed factors' levels, covariates at their means."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mixedlm_ext.design import Design
from mixedlm_ext.design.formula_code import code_names
from mixedlm_ext.design.grouping import level_codes
from mixedlm_ext.design.messages import list_names
from mixedlm_ext.design.times import TIMES, has_time_zone, in_days, time_kind
from mixedlm_ext.errors import FitError, did_you_mean
from mixedlm_ext.inference.means.averaging import cell_weights, find_nesting, occurring

Array = NDArray[np.float64]

__all__ = ["ReferenceGrid", "average_cells", "evaluate_cells", "reference_grid"]


@dataclass(frozen=True, eq=False)
class ReferenceGrid:
    """Cells at which a model is evaluated.

    Attributes
    ----------
    cells : DataFrame (m, variables)
        The value of every variable of the fixed part.
    codes : DataFrame (m, variables)
        The same as positions among the values of each variable; of factors, among their levels.
    data : DataFrame (n, factors)
        The factors in the rows of the fit, as positions among their levels.
    X : ndarray (m, all columns)
        Rows of the model matrix, with the columns that were left out as not estimable.
    offset : ndarray (m,)
    nesting : dict of str to tuple of str
        Factors that are nested in others; their cells that do not occur are not in the grid.
    """

    cells: pd.DataFrame
    codes: pd.DataFrame
    data: pd.DataFrame
    X: Array
    offset: Array
    nesting: dict[str, tuple[str, ...]]


def reference_grid(
    design: Design, at: Mapping[str, Any], named: Collection[str] = ()
) -> ReferenceGrid:
    """Lay out the grid of a design.

    Parameters
    ----------
    design : Design
        From a formula, with its rows.
    at : mapping of str to value or values
        Values of some variables in place of their levels or their mean.
    named : collection of str
        Variables whose means are wanted. A numeric one of two values is a factor then, and where
        a factor is nested in it.

    Returns
    -------
    ReferenceGrid

    Raises
    ------
    FitError
        If `at` names no variable of the fixed part, or a level that does not occur.
    """
    at = at.to_dict() if isinstance(at, pd.Series) else at
    if not isinstance(at, Mapping):
        raise FitError(f"at={at!r} is no mapping. Write at={{'variable': value or values}}.")
    levels, values = _levels_and_means(design, set(named) - set(at))
    data = _factor_codes(design, levels)
    chosen = _choose(design, levels, values, at)
    places = pd.DataFrame(
        list(product(*(range(len(own)) for own in chosen.values()))), columns=pd.Index(chosen)
    )
    codes = places.copy()
    for name in levels:
        codes[name] = np.array([levels[name].index(v) for v in chosen[name]])[places[name]]
    factors = {name: data[name].to_numpy() for name in levels}
    nesting = find_nesting(factors)
    occurs = occurring({n: codes[n].to_numpy() for n in _nesting_names(nesting)}, factors, nesting)
    if nesting:
        places, codes = (frame[occurs].reset_index(drop=True) for frame in (places, codes))
    if not len(codes):
        raise FitError("the levels that at= chooses do not occur together. Choose others.")
    cells = pd.DataFrame(
        {name: pd.Series(own)[places[name]].to_numpy() for name, own in chosen.items()}
    )
    X, offset = evaluate_cells(design, cells)
    return ReferenceGrid(cells, codes, data, X, offset, nesting)


def _nesting_names(nesting: Mapping[str, Sequence[str]]) -> list[str]:
    """Return the nested factors and those that they are nested in."""
    return list(dict.fromkeys(n for name, parents in nesting.items() for n in (name, *parents)))


def evaluate_cells(design: Design, cells: pd.DataFrame) -> tuple[Array, Array]:
    """Return X, with all its columns, and the offset of some cells."""
    cells = cells.copy()
    for name in map(str, cells):
        if isinstance(_column(design, name).dtype, pd.CategoricalDtype):
            cells[name] = cells[name].astype(_column(design, name).dtype)
    matrices = design.matrices
    extra = np.full(len(cells), _mean_offset(design))
    new = design.new_data(cells, terms=(), offset=extra)
    if not new.complete.all():
        first = cells[~new.complete].iloc[0].to_dict()
        raise FitError(f"the model is undefined at {first}. Choose other values with at=.")
    X = matrices.build(matrices.new_data(cells, matrices.pieces("fixed")), len(cells), [0])[0]
    return X, new.offset


def _column(design: Design, name: str) -> pd.Series:
    """Return one used column of the data."""
    assert design.frame is not None
    return design.frame[name]


def _levels_and_means(
    design: Design, named: Collection[str]
) -> tuple[dict[str, list[Any]], dict[str, list[Any]]]:
    """Return the levels of every factor, and the values of every variable: levels, or its mean."""
    assert design.frame is not None
    matrices = design.matrices
    kinds = {f.code: about.type for f, about in matrices.infos[0].factor_infos.items()}
    pieces = [*matrices.pieces("fixed"), *matrices.pieces("offset")]
    used = {
        name: None
        for piece in pieces
        for name in sorted(code_names(piece.code).values & set(design.frame.columns))
    }
    coded = {code_names(code).bare for code, kind in kinds.items() if kind == "categorical"}
    levels = {
        name: _levels(design, name)
        for name in used
        if name in coded or not _is_number(_column(design, name))
    }
    for name in used:
        two = name not in levels and _column(design, name).nunique() == 2
        if two and (name in named or _has_nested(design, name, levels)):
            levels[name] = _levels(design, name)
    levels = {name: levels[name] for name in used if name in levels}
    means = {name: levels.get(name) or [_mean(_column(design, name))] for name in used}
    return levels, means


def _has_nested(design: Design, name: str, factors: Collection[str]) -> bool:
    """Say whether a factor is nested in a numeric variable."""
    both = _factor_codes(design, [name, *factors])
    codes = {str(one): both[one].to_numpy() for one in both}
    return any(name in parents for parents in find_nesting(codes).values())


def _factor_codes(design: Design, levels: Collection[str]) -> pd.DataFrame:
    """Return the levels of the factors in the rows of the fit, as codes."""
    return pd.DataFrame(
        {name: level_codes(_column(design, name), name)[0] for name in levels},
        index=range(len(design.y)),
    )


def _choose(
    design: Design,
    levels: Mapping[str, list[Any]],
    values: dict[str, list[Any]],
    at: Mapping[str, Any],
) -> dict[str, list[Any]]:
    """Return the values of every variable, those of `at` in place of others."""
    chosen = dict(values)
    for name, given in at.items():
        if name not in values:
            raise FitError(
                f"at has {name!r}, which is no variable of the fixed part "
                f"({list_names(values)}).{did_you_mean(name, values)}"
            )
        chosen[name] = _given(name, levels.get(name), given)
    return chosen


def _mean(column: pd.Series) -> Any:
    """Return the mean of numbers, dates or durations."""
    kind = time_kind(column)
    if kind is None:
        return float(column.mean())
    days = pd.Timedelta(days=float(in_days(column, kind).mean()))
    if kind == "duration":
        return days
    zone = "UTC" if has_time_zone(column) else None
    return pd.Timestamp("1970-01-01", tz=zone) + days


def _is_number(column: pd.Series) -> bool:
    """Say whether a column holds numbers or times rather than categories or truth values."""
    types = pd.api.types
    number = types.is_numeric_dtype(column.dtype) and not types.is_bool_dtype(column.dtype)
    return number or time_kind(column) in TIMES


def _levels(design: Design, name: str) -> list[Any]:
    """Return the levels of a column that occur, in their order."""
    return list(level_codes(_column(design, name), name)[1])


def _given(name: str, levels: list[Any] | None, given: Any) -> list[Any]:
    """Return the values that `at` gives a variable: levels of a factor, or finite numbers."""
    single = isinstance(given, (str, bytes)) or np.ndim(given) == 0
    values = [given[()] if isinstance(given, np.ndarray) else given] if single else list(given)
    values = [v.item() if isinstance(v, (np.number, np.bool_, np.str_)) else v for v in values]
    if not values:
        raise FitError(f"at has no value of {name!r}. Give one or several.")
    for i, value in enumerate(values):
        if np.ndim(value) or (levels is None and not _is_finite(value)):
            raise FitError(
                f"at has {name}={value!r}, which is no number, and {name!r} is numeric. Give "
                "numbers."
            )
        if levels is not None and value not in levels:
            raise FitError(
                f"at has {name}={value!r}, which does not occur; the levels are "
                f"{list_names(levels)}.{did_you_mean(str(value), map(str, levels))}"
            )
        if value in values[:i]:
            raise FitError(f"at has {name}={value!r} twice. Give it once.")
    return values


def _is_finite(value: Any) -> bool:
    """Say whether a value is a finite number."""
    return isinstance(value, (int, float)) and bool(np.isfinite(value))


def _mean_offset(design: Design) -> float:
    """Return the mean over the rows of the offset besides ``offset(...)`` of the formula."""
    if design.offset is None:
        return 0.0
    written = design.new_data(design.frame, terms=(), offset=np.zeros(len(design.y))).offset
    return float((design.offset - written).mean())


def average_cells(
    grid: ReferenceGrid, wanted: list[str], weights: Any
) -> tuple[pd.Index, Array, tuple[str, ...]]:
    """Return the levels of the means, the weights (means, cells) of the cells, and notes."""
    averaged = [name for name in map(str, grid.codes) if name not in wanted]
    w = cell_weights(weights, grid.codes, averaged, wanted, grid.data, grid.nesting)
    members = _members(grid.codes[wanted]) if wanted else [np.arange(len(w))]
    A = np.zeros((len(members), len(w)))
    for row, cells in zip(A, members):
        total = w[cells].sum()
        row[cells] = w[cells] / total if total > 0 else np.nan
    first = grid.cells.iloc[[cells[0] for cells in members]]
    labels = [first[name].tolist() for name in wanted]
    if len(wanted) > 1:
        levels: pd.Index = pd.MultiIndex.from_arrays(labels, names=wanted)
    elif wanted:
        levels = pd.Index(labels[0], name=wanted[0])
    else:
        levels = pd.Index(["overall"])
    notes = [f"Nested: {name} in {', '.join(parents)}." for name, parents in grid.nesting.items()]
    several = [name for name in averaged if grid.codes[name].nunique() > 1]
    if several:
        how = weights if isinstance(weights, str) else "given"
        notes.append(f"Averaged over {', '.join(several)} ({how} weights).")
    return levels, A, tuple(notes)


def _members(codes: pd.DataFrame) -> list[NDArray[np.intp]]:
    """Return the rows of each combination of levels; the first column varies slowest."""
    columns = np.array([pd.factorize(codes[name])[0] for name in codes])
    distinct, place = np.unique(columns, axis=1, return_inverse=True)
    return [np.flatnonzero(np.ravel(place) == i) for i in range(distinct.shape[1])]
