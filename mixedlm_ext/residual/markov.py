"""Correlations that multiply along the rows of a group in the order of time (ar1, car1).

With ρ_i = r^h_i between a row and the next of its group,

    C⁻¹ = I + Σ_i a_i(e_ie_i' + e_ne_n') - b_i(e_ie_n' + e_ne_i'),  a = ρ²/(1-ρ²),  b = ρ/(1-ρ²):

two coefficients for each distinct gap h.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.linalg import solve_banded

from mixedlm_ext.caching import cached_property
from mixedlm_ext.residual.counted import Links
from mixedlm_ext.residual.in_groups import InGroups, as_column
from mixedlm_ext.residual.kinds import CorrelationKind
from mixedlm_ext.residual.pieces import Piece, identity, picking

Array = NDArray[np.float64]
Index = NDArray[np.intp]

__all__ = ["Markov"]


class Markov(InGroups):
    """Correlations that multiply along the rows of a group in the order of time."""

    def __init__(self, kind: CorrelationKind, codes: Index, times: Array) -> None:
        super().__init__(kind, codes, times)
        links = np.flatnonzero(self._linked)
        self._first, self._next = self._order[links], self._order[links + 1]
        gaps = times[self._next] - times[self._first]
        rounded = np.round(gaps / kind.unit, 9)
        distinct, which = np.unique(rounded, return_inverse=True)
        self._links, self._which = links, np.asarray(which, dtype=np.intp).ravel()
        counts = np.bincount(self._which, minlength=len(distinct)).astype(float)
        self.counted = Links(distinct, counts)

    @cached_property
    def pieces(self) -> list[Piece]:
        """The identity, then both ends of the links, then neighbours with one another."""
        g = len(self.counted.exponents)
        both = picking(np.concatenate([self._first, self._next]), self.n)
        ends = Piece(both, both, 1 + np.tile(self._which, 2))
        L, R = 2.0 * picking(self._first, self.n), picking(self._next, self.n)
        return [identity(self.n), ends, Piece(sparse.csr_array(L), R, 1 + g + self._which)]

    def coefficients(self, r: float) -> tuple[Array, Array]:
        """Return 1, then a and -b of each gap."""
        return self.counted.coefficients(r)

    def logdet(self, r: float) -> tuple[float, float]:
        """Return Σ log(1 - ρ²) over the links."""
        return self.counted.logdet(r)

    def logdets(self, r: float, sets: Index, count: int) -> Array:
        """Return the sums of the sets' links."""
        rho, _ = self.counted.along(r)
        values = np.log(1.0 - rho**2)[self._which]
        return np.bincount(sets[self._first], values, count).astype(float, copy=False)

    def _bands(self, r: float) -> tuple[Array, Array]:
        """Return the diagonal of F in sorted order and the entries below it."""
        rho, _ = self.counted.along(r)
        along = np.zeros(max(self.n - 1, 0))
        along[self._links] = rho[self._which]
        diagonal = np.ones(self.n)
        diagonal[1:] = 1.0 / np.sqrt(1.0 - along**2)
        return diagonal, -along * diagonal[1:]

    def root_times(self, r: float, H: Array) -> Array:
        """Return (x_i - ρ_i x_{i-1})/√(1 - ρ_i²)."""
        diagonal, below = self._bands(r)
        own = self._sorted(H)
        out = as_column(diagonal, own) * own
        out[1:] += as_column(below, own) * own[:-1]
        return self._back(out)

    def root_solve(self, r: float, E: Array) -> Array:
        """Go along the rows of each group."""
        diagonal, below = self._bands(r)
        bands = np.array([diagonal, np.append(below, 0.0)])
        return self._back(np.asarray(solve_banded((1, 0), bands, self._sorted(E))))

    def root(self, r: float) -> sparse.csr_array:
        """Return F."""
        diagonal, below = self._bands(r)
        o = self._order
        rows, columns = np.concatenate([o, o[1:]]), np.concatenate([o, o[:-1]])
        cells = (np.concatenate([diagonal, below]), (rows, columns))
        return sparse.csr_array(cells, shape=(self.n, self.n))

    def inverse_times(self, r: float, H: Array) -> Array:
        """Return F'FH."""
        diagonal, below = self._bands(r)
        own = self._sorted(self.root_times(r, H))
        out = as_column(diagonal, own) * own
        out[:-1] += as_column(below, own) * own[1:]
        return self._back(out)

    def times(self, r: float, H: Array) -> Array:
        """Return F⁻¹F⁻ᵀH."""
        diagonal, below = self._bands(r)
        bands = np.array([np.concatenate([[0.0], below]), diagonal])
        half = np.asarray(solve_banded((0, 1), bands, self._sorted(H)))
        return self.root_solve(r, self._back(half))
