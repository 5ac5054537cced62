"""The weights of a generalized model, by kind, of all rows of the data.

A binomial model's `weights` are trials of a proportion; elsewhere they are var_weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from statsmodels.genmod import families

from mixedlm_ext.design.frame import Table, one_per_row
from mixedlm_ext.errors import DesignError
from mixedlm_ext.families.prior import PriorWeights

__all__ = [
    "WeightsByKind",
    "as_numbers",
    "naming_column",
    "number_column",
    "numbers_per_row",
    "weights_by_kind",
]


@dataclass(frozen=True, eq=False)
class WeightsByKind:
    """Weights of all rows of the data, by kind."""

    trials: pd.Series | None = None
    var: pd.Series | None = None
    freq: pd.Series | None = None

    @property
    def given(self) -> list[pd.Series]:
        """Those that are there."""
        return [w for w in (self.trials, self.var, self.freq) if w is not None]

    def product(self) -> pd.Series | None:
        """Return the product of all kinds."""
        out = None
        for w in self.given:
            out = w if out is None else out * w.to_numpy()
        return out

    def of_rows(self, positions: NDArray[np.intp]) -> PriorWeights:
        """Return those of the rows of a design."""
        kinds = (self.trials, self.var, self.freq)
        return PriorWeights(
            *(None if w is None else w.to_numpy(dtype=float)[positions] for w in kinds)
        )


def number_column(table: Table, values: Any, what: str) -> pd.Series | None:
    """Return one kind of weights for all rows of the data."""
    if values is None:
        return None
    if isinstance(values, str):
        column = table.column(values, f"{what} column")
    else:
        column = one_per_row(values, what, len(table), table.index)
    return pd.Series(as_numbers(column, what).to_numpy(), index=table.index)


def numbers_per_row(values: Any, what: str, n: int) -> pd.Series | None:
    """Return one kind of weights for the n rows of arrays."""
    return None if values is None else as_numbers(one_per_row(values, what, n), what)


def as_numbers(column: pd.Series, what: str) -> pd.Series:
    """Return a column as numbers."""
    try:
        return column.astype(float)
    except (TypeError, ValueError):
        raise DesignError(f"{what} is not numeric. Use a column of numbers.") from None


def weights_by_kind(
    family: Any,
    trials: pd.Series | None,
    weights: pd.Series | None,
    freq: pd.Series | None,
    var: pd.Series | None,
) -> WeightsByKind:
    """Return the weights by kind: `weights` are trials in a binomial model, else var_weights."""
    if weights is None:
        return WeightsByKind(trials, var, freq)
    if type(family) is families.Binomial:
        if trials is not None:
            raise DesignError(
                "weights= are the trials of a proportion, and a response of two columns has its "
                "own. Drop weights=; for equal rows that are counted once, pass freq_weights=."
            )
        return WeightsByKind(weights, var, freq)
    if var is not None:
        raise DesignError("weights= and var_weights= are the same here. Pass one of them.")
    return WeightsByKind(None, weights, freq)


def naming_column(weights: Any, kinds: WeightsByKind) -> Any:
    """Return the weights by which rows are left out: the name of a column if it is the only one."""
    if isinstance(weights, str) and len(kinds.given) == 1:
        return weights
    return kinds.product()
