"""Fitted values of parts of the data along one variable, everything else held."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mixedlm_ext.errors import MixedLMError
from mixedlm_ext.estimation.fit import Fit
from mixedlm_ext.plots.selection import evenly, level_means, mean_at
from mixedlm_ext.prediction.means import predict_rows, rows_to_predict
from mixedlm_ext.prediction.places import with_chosen_places, with_places
from mixedlm_ext.prediction.terms import choose_terms

Array = NDArray[np.float64]
Index = NDArray[np.intp]

__all__ = ["FittedLine", "fitted_lines", "is_number"]

_MOST_ROWS = 200
"""Rows of a line over which predictions are averaged."""
_BETWEEN = 25
"""Values of a numeric variable along a line, besides those observed."""


@dataclass(frozen=True, eq=False)
class FittedLine:
    """One line.

    Parameters
    ----------
    x : ndarray (g,)
        Increasing; where x is not numeric, rows of the data that have these values.
    conditional, fixed : ndarray (g,)
        With the conditional modes of the random effects, and without.
    """

    x: Array
    conditional: Array
    fixed: Array


def fitted_lines(fit: Fit, name: str, lines: Sequence[Index], x: pd.Series) -> list[FittedLine]:
    """Return the fitted line of each set of rows along a variable.

    Parameters
    ----------
    fit : Fit
        With its rows.
    name : str
        The variable.
    lines : sequence of ndarray
        The rows of each line.
    x : Series (n,)
        The variable's values in these rows.
    """
    design = fit.design
    observed = [_first_rows(x, rows) for rows in lines]
    frame = design.frame
    if (
        design.formula is None
        or design.spec.offset.as_array
        or frame is None
        or name not in frame.columns
    ):
        return [_through_means(fit, x, rows, at) for rows, at in zip(lines, observed)]
    own = frame[name].reset_index(drop=True)
    if is_number(x) and not any(name in _words(term.group) for term in design.terms):
        try:
            return _along(fit, name, lines, [_between(own.iloc[at]) for at in observed])
        except MixedLMError:  # the formula takes it for a factor
            pass
    found = _along(fit, name, lines, [own.iloc[at] for at in observed])
    if is_number(x):
        return found
    return [
        FittedLine(at.astype(float), line.conditional, line.fixed)
        for at, line in zip(observed, found)
    ]


def is_number(x: pd.Series) -> bool:
    """Say whether a variable has an axis of numbers."""
    return pd.api.types.is_numeric_dtype(x) and not pd.api.types.is_bool_dtype(x)


def _along(
    fit: Fit, name: str, lines: Sequence[Index], grids: Sequence[pd.Series]
) -> list[FittedLine]:
    """Predict the rows of each line at each value of its grid, and average over the rows."""
    assert fit.design.frame is not None
    kept = [evenly(rows, _MOST_ROWS) for rows in lines]
    which = np.concatenate([np.repeat(rows, len(grid)) for rows, grid in zip(kept, grids)])
    parts = [pd.concat([grid] * len(rows)) for rows, grid in zip(kept, grids)]
    data = fit.design.frame.iloc[which].reset_index(drop=True)
    data[name] = pd.concat(parts).reset_index(drop=True)
    everything = choose_terms(fit.design, "conditional", None)
    new = rows_to_predict(fit.design, data, everything)
    fit, everything = with_places(fit, new), with_chosen_places(everything, new)
    fits = [mean_at(fit, predict_rows(fit, new, c, "population")) for c in (everything, {})]
    ends = np.cumsum([len(rows) * len(grid) for rows, grid in zip(kept, grids)])[:-1]
    out = []
    for grid, *both in zip(grids, *(np.split(values, ends) for values in fits)):
        conditional, fixed = (values.reshape(-1, len(grid)).mean(axis=0) for values in both)
        places = grid.to_numpy(dtype=float) if is_number(grid) else np.arange(float(len(grid)))
        out.append(FittedLine(places, conditional, fixed))
    return out


def _through_means(fit: Fit, x: pd.Series, rows: Index, at: Index) -> FittedLine:
    """Join the mean fitted values at each observed value."""
    design = fit.design
    fixed = design.X[rows] @ fit.beta
    if design.offset is not None:
        fixed = fixed + design.offset[rows]
    fixed = mean_at(fit, fixed)
    codes = pd.Index(x.iloc[at]).get_indexer(pd.Index(x.iloc[rows]))
    means = [level_means(values, codes, len(at)) for values in (fit.fitted()[rows], fixed)]
    places = x.iloc[at].to_numpy(dtype=float) if is_number(x) else at.astype(float)
    return FittedLine(places, *means)


def _first_rows(x: pd.Series, rows: Index) -> Index:
    """Return a row for each value of the variable among some rows, values increasing."""
    values = x.iloc[rows]
    first = ~values.duplicated().to_numpy()
    order = np.argsort(_ranks(values[first]), kind="stable")
    return rows[first][order]


def _ranks(values: pd.Series) -> Any:
    """Return what to sort values by."""
    if isinstance(values.dtype, pd.CategoricalDtype):
        return values.cat.codes.to_numpy()
    return values.rank(method="dense").to_numpy()


def _between(observed: pd.Series) -> pd.Series:
    """Return values from the least to the largest observed, these and others."""
    values = observed.to_numpy(dtype=float)
    return pd.Series(np.union1d(values, np.linspace(values[0], values[-1], _BETWEEN)))


def _words(factor: str) -> list[str]:
    """Return the names in a grouping factor."""
    return re.split(r"[^\w.]+", factor)
