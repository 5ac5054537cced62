"""What rows count for: trials of a binomial row, precisions, and numbers of equal rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

__all__ = ["PriorWeights"]


@dataclass(frozen=True, eq=False)
class PriorWeights:
    """The three kinds of weights of statsmodels' GLM, each None if all are one.

    Attributes
    ----------
    trials : ndarray (n,) or None
        Of each row's proportion, in a binomial model.
    var : ndarray (n,) or None
        The variance of row i is divided by them.
    freq : ndarray (n,) or None
        How many equal rows row i stands for.
    """

    trials: Array | None = None
    var: Array | None = None
    freq: Array | None = None

    def take(self, rows: Any) -> PriorWeights:
        """Return those of some of the rows."""
        return PriorWeights(
            *(None if w is None else w[rows] for w in (self.trials, self.var, self.freq))
        )

    def by_row(self) -> PriorWeights:
        """Return them as columns, for responses that are columns."""
        return PriorWeights(
            *(None if w is None else w[:, None] for w in (self.trials, self.var, self.freq))
        )

    def without_rows(self) -> PriorWeights:
        """Return those of no rows."""
        return self.take(slice(0, 0))

    def product(self, *names: str) -> Array | float:
        """Return the product of some of the kinds, 1 if none is there."""
        out: Array | float = 1.0
        for name in names:
            values = getattr(self, name)
            out = out if values is None else out * values
        return out

    def count(self, n: int) -> float:
        """Return how many observations n rows are."""
        return float(n) if self.freq is None else float(self.freq.sum())
