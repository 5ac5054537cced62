"""The counts that occur among many responses, and how often each does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Index = NDArray[np.intp]

__all__ = ["DistinctCounts"]


@dataclass(frozen=True, eq=False)
class DistinctCounts:
    """The distinct counts of each of r responses, one after the other.

    Attributes
    ----------
    values : ndarray (d,)
    response : ndarray (d,)
        Whose count it is.
    weight : ndarray (d,)
        How many rows have it, each as often as its weight says.
    number : int
        Responses.
    """

    values: Array
    response: Index
    weight: Array
    number: int

    @classmethod
    def of(cls, y: Array, m: Any) -> DistinctCounts:
        """Find those of y (n, r); rows count m."""
        r = y.shape[1]
        span = float(y.max(initial=0.0)) + 1.0
        keys = (y + span * np.arange(r)).ravel()
        distinct, member = np.unique(keys, return_inverse=True)
        weights = np.broadcast_to(m, y.shape).ravel()
        response = (distinct // span).astype(np.intp)
        weight = np.asarray(np.bincount(member.ravel(), weights, len(distinct)), dtype=float)
        return cls(distinct - span * response, response, weight, r)

    def spread(self, k: Any) -> Any:
        """Return the number of its response at each count, k (r,)."""
        return np.asarray(k)[self.response] if np.ndim(k) else k

    def total(self, each: Array) -> Array:
        """Return the sum over the rows of each response, (r,)."""
        return np.asarray(np.bincount(self.response, each * self.weight, self.number), dtype=float)

    def take(self, where: Any) -> DistinctCounts:
        """Return those of some of the responses, in their order."""
        chosen = np.arange(self.number)[where]
        place = np.full(self.number, -1, dtype=np.intp)
        place[chosen] = np.arange(len(chosen))
        kept = place[self.response] >= 0
        return DistinctCounts(
            self.values[kept], place[self.response[kept]], self.weight[kept], len(chosen)
        )
