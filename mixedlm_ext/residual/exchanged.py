"""The same correlation between any two rows of a group (cs).

In groups of m rows

    C⁻¹ = 1/(1-r) [I - r/(1+(m-1)r) 11']:

one coefficient for each distinct size.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from mixedlm_ext.caching import cached_property
from mixedlm_ext.residual.counted import Sizes
from mixedlm_ext.residual.in_groups import InGroups, as_column
from mixedlm_ext.residual.kinds import CorrelationKind
from mixedlm_ext.residual.pieces import Piece, identity

Array = NDArray[np.float64]
Index = NDArray[np.intp]

__all__ = ["Exchanged"]


class Exchanged(InGroups):
    """The same correlation between any two rows of a group."""

    def __init__(self, kind: CorrelationKind, codes: Index) -> None:
        super().__init__(kind, codes, None)
        self._groups, self._codes = np.unique(codes, return_inverse=True)
        self._codes = np.asarray(self._codes, dtype=np.intp).ravel()
        size = np.bincount(self._codes)
        self._sizes, which = np.unique(size, return_inverse=True)
        self._which = np.asarray(which, dtype=np.intp).ravel()
        self.counted = Sizes(self._sizes.astype(float), np.bincount(self._which).astype(float))
        starts = np.concatenate([[0], np.cumsum(size)[:-1]])
        sorted_codes = self._codes[self._order]
        self._start = starts[sorted_codes]
        self._before = np.arange(self.n) - self._start  # rows of the group before each

    @cached_property
    def _adding(self) -> sparse.csr_array:
        """What adds up the rows of each group."""
        cells = (np.ones(self.n), (self._codes, np.arange(self.n)))
        return sparse.csr_array(cells, shape=(len(self._groups), self.n))

    @cached_property
    def pieces(self) -> list[Piece]:
        """The identity, then 11' of the groups."""
        return [identity(self.n), Piece(self._adding, self._adding, 1 + self._which)]

    def coefficients(self, r: float) -> tuple[Array, Array]:
        """Return 1/(1-r), then -r/((1-r)(1+(m-1)r)) of each size."""
        return self.counted.coefficients(r)

    def logdet(self, r: float) -> tuple[float, float]:
        """Return Σ (m-1) log(1-r) + log(1+(m-1)r) over the groups."""
        return self.counted.logdet(r)

    def logdets(self, r: float, sets: Index, count: int) -> Array:
        """Return the sums over the sets' groups."""
        owner = np.zeros(len(self._groups), np.intp)
        owner[self._codes] = sets
        values = self.counted.logs(r)[self._which]
        return np.bincount(owner, values, count).astype(float, copy=False)

    def _innovations(self, r: float) -> tuple[Array, Array]:
        """Return the weight of the sum of the rows before, and the sd of what is left, sorted."""
        p = self._before.astype(float)
        below = 1.0 + (p - 1.0) * r
        weight = np.where(p > 0, r / below, 0.0)
        return weight, np.sqrt(np.where(p > 0, (1.0 - r) * (1.0 + p * r) / below, 1.0))

    def _sums_before(self, own: Array) -> Array:
        """Return the sums of the rows of the group before each, sorted rows."""
        total = np.cumsum(own, axis=0)
        before = np.concatenate([np.zeros((1, *own.shape[1:])), total])[: len(own)]
        return np.asarray(before - before[self._start])

    def root_times(self, r: float, H: Array) -> Array:
        """Return what is left of each row after the mean that those before it give it."""
        weight, sd = self._innovations(r)
        own = self._sorted(H)
        out = own - as_column(weight, own) * self._sums_before(own)
        return self._back(out / as_column(sd, own))

    def root_solve(self, r: float, E: Array) -> Array:
        """Go along the rows of each group, all groups at once."""
        weight, sd = self._innovations(r)
        out = as_column(sd, E) * self._sorted(E)
        total = np.zeros((len(self._groups), *E.shape[1:]))
        codes = self._codes[self._order]
        for p in range(int(self._sizes.max())):
            rows = np.flatnonzero(self._before == p)
            out[rows] += as_column(weight[rows], out) * total[codes[rows]]
            total[codes[rows]] += out[rows]
        return self._back(out)

    def root(self, r: float) -> sparse.csr_array:
        """Return F: lower triangular in each group."""
        weight, sd = self._innovations(r)
        rows = np.repeat(np.arange(self.n), self._before)
        within = np.arange(len(rows)) - np.repeat(
            np.cumsum(self._before) - self._before, self._before
        )
        columns = self._start[rows] + within
        o = self._order
        cells = np.concatenate([1.0 / sd, -(weight / sd)[rows]])
        place = (np.concatenate([o, o[rows]]), np.concatenate([o, o[columns]]))
        return sparse.csr_array((cells, place), shape=(self.n, self.n))

    def inverse_times(self, r: float, H: Array) -> Array:
        """Return C⁻¹H."""
        c, _ = self.coefficients(r)
        return np.asarray(sum(piece.times(c, H) for piece in self.pieces))

    def times(self, r: float, H: Array) -> Array:
        """Return (1-r)H + r 11'H."""
        return np.asarray((1.0 - r) * H + r * (self._adding.T @ (self._adding @ H)))
