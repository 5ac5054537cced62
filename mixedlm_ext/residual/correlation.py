"""C⁻¹ of the rows of groups, as a short sum Σ_j c_j(r) of fixed matrices, and its root.

A fixed matrix is a `Piece`: ½(L' c R + R' c L), where L and R pick rows, or add rows up, and c
holds one of the coefficients for each of their rows.

- Rows in the order of time, with correlations that multiply along the way (ar1, car1): with
  ρ_i = r^h_i between a row and the next of its group,
  C⁻¹ = I + Σ_i a_i(e_ie_i' + e_ne_n') - b_i(e_ie_n' + e_ne_i'),  a = ρ²/(1-ρ²),  b = ρ/(1-ρ²):
  two coefficients for each distinct gap h.
- Equal correlations (cs): in groups of m rows
  C⁻¹ = 1/(1-r) [I - r/(1+(m-1)r) 11']: one coefficient for each distinct size.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.linalg import solve_banded

from mixedlm_ext.caching import cached_property
from mixedlm_ext.residual.kinds import CorrelationKind

Array = NDArray[np.float64]
Index = NDArray[np.intp]

__all__ = [
    "CorrelatedRows",
    "Exchanged",
    "Independent",
    "Markov",
    "Piece",
    "correlated_rows",
]


@dataclass(frozen=True, eq=False)
class Piece:
    """½(L' c R + R' c L).

    Parameters
    ----------
    L, R : csr_array (m, n)
        `R` is `L` itself where they are the same.
    which : ndarray of intp (m,)
        Which of the coefficients each row has.
    """

    L: sparse.csr_array
    R: sparse.csr_array
    which: Index

    def times(self, c: Array, H: Array) -> Array:
        """Return the piece times H, with the coefficients c."""
        own = c[self.which]
        own = own if H.ndim == 1 else own[:, None]
        if self.R is self.L:
            return np.asarray(self.L.T @ (own * (self.L @ H)))
        half = self.L.T @ (own * (self.R @ H)) + self.R.T @ (own * (self.L @ H))
        return np.asarray(0.5 * half)


class CorrelatedRows(Protocol):
    """The correlation matrix C(r) of n rows, relative to a standard deviation of one."""

    @property
    def kind(self) -> CorrelationKind | None:
        """The kind of correlation."""

    @property
    def pieces(self) -> list[Piece]:
        """The fixed matrices."""

    def coefficients(self, r: float) -> tuple[Array, Array]:
        """Return c and ∂c/∂r."""

    def logdet(self, r: float) -> tuple[float, float]:
        """Return log|C| and its derivative in r."""

    def logdets(self, r: float, sets: Index, count: int) -> Array:
        """Return log|C| of each of `count` independent sets of rows."""

    def root_times(self, r: float, H: Array) -> Array:
        """Return FH, where F'F = C⁻¹: each row less what the rows before it tell of it."""

    def root_solve(self, r: float, E: Array) -> Array:
        """Return F⁻¹E."""

    def root(self, r: float) -> sparse.csr_array:
        """Return F (n, n)."""

    def inverse_times(self, r: float, H: Array) -> Array:
        """Return C⁻¹H."""

    def times(self, r: float, H: Array) -> Array:
        """Return CH."""

    def covariance(self, r: float, rows: Index) -> Array:
        """Return the block of C of some rows, (..., m, m) for rows (..., m)."""


def correlated_rows(
    kind: CorrelationKind | None, n: int, codes: Index | None, times: Array | None
) -> CorrelatedRows:
    """Return C of n rows: of one kind in groups, at times where that matters."""
    if kind is None or codes is None:
        return Independent(n)
    if kind.by_distance:
        assert times is not None
        return Markov(kind, codes, times)
    return Exchanged(kind, codes)


def _picking(rows: Index, n: int) -> sparse.csr_array:
    """Return the matrix that picks rows of n."""
    m = len(rows)
    return sparse.csr_array((np.ones(m), rows, np.arange(m + 1)), shape=(m, n))


def _identity(n: int) -> Piece:
    """Return I, with the first coefficient."""
    L = _picking(np.arange(n), n)
    return Piece(L, L, np.zeros(n, np.intp))


class Independent:
    """C = I."""

    kind = None

    def __init__(self, n: int) -> None:
        self.n = n

    @cached_property
    def pieces(self) -> list[Piece]:
        """The identity."""
        return [_identity(self.n)]

    def coefficients(self, r: float) -> tuple[Array, Array]:
        """Return one, which does not change."""
        return np.ones(1), np.zeros(1)

    def logdet(self, r: float) -> tuple[float, float]:
        """Return zero."""
        return 0.0, 0.0

    def logdets(self, r: float, sets: Index, count: int) -> Array:
        """Return zeros."""
        return np.zeros(count)

    def root_times(self, r: float, H: Array) -> Array:
        """Return H."""
        return H

    root_solve = inverse_times = times = root_times

    def root(self, r: float) -> sparse.csr_array:
        """Return I."""
        return self.pieces[0].L

    def covariance(self, r: float, rows: Index) -> Array:
        """Return I."""
        return np.broadcast_to(np.eye(rows.shape[-1]), (*rows.shape, rows.shape[-1])).copy()


class _InGroups:
    """What rows with correlations in groups share."""

    def __init__(self, kind: CorrelationKind, codes: Index, times: Array | None) -> None:
        self.kind, self.codes, self.positions = kind, codes, times
        self.n = len(codes)
        at = np.arange(self.n, dtype=float) if times is None else times
        self._order = np.lexsort((at, codes))
        sorted_codes = codes[self._order]
        self._linked = sorted_codes[1:] == sorted_codes[:-1]

    def _sorted(self, H: Array) -> Array:
        """Return the rows group by group, in the order of time."""
        return np.asarray(H[self._order], dtype=float)

    def _back(self, H: Array) -> Array:
        """Return sorted rows in the order of the data."""
        out = np.empty_like(H)
        out[self._order] = H
        return out

    def covariance(self, r: float, rows: Index) -> Array:
        """Return the block of C of some rows."""
        codes = self.codes[rows]
        distance = np.zeros((*codes.shape, codes.shape[-1]))
        if self.positions is not None:
            at = self.positions[rows]
            distance = np.abs(at[..., :, None] - at[..., None, :])
        same = codes[..., :, None] == codes[..., None, :]
        out = np.where(same, self.kind.between(r, distance), 0.0)
        each = np.arange(codes.shape[-1])
        out[..., each, each] = 1.0
        return out


class Markov(_InGroups):
    """Correlations that multiply along the rows of a group in the order of time."""

    def __init__(self, kind: CorrelationKind, codes: Index, times: Array) -> None:
        super().__init__(kind, codes, times)
        links = np.flatnonzero(self._linked)
        self._first, self._next = self._order[links], self._order[links + 1]
        gaps = times[self._next] - times[self._first]
        rounded = np.round(gaps / kind.unit, 9)
        distinct, which = np.unique(rounded, return_inverse=True)
        self._links, self._which = links, np.asarray(which, dtype=np.intp).ravel()
        self._exponents = distinct
        self._counts = np.bincount(self._which, minlength=len(distinct)).astype(float)

    @cached_property
    def pieces(self) -> list[Piece]:
        """The identity, then both ends of the links, then neighbours with one another."""
        g = len(self._exponents)
        both = _picking(np.concatenate([self._first, self._next]), self.n)
        ends = Piece(both, both, 1 + np.tile(self._which, 2))
        L, R = 2.0 * _picking(self._first, self.n), _picking(self._next, self.n)
        return [_identity(self.n), ends, Piece(sparse.csr_array(L), R, 1 + g + self._which)]

    def _along(self, r: float) -> tuple[Array, Array]:
        """Return the correlations at the distinct gaps and their derivatives in r."""
        h = self._exponents
        return np.power(r, h), h * np.power(r, np.maximum(h - 1.0, 0.0))

    def coefficients(self, r: float) -> tuple[Array, Array]:
        """Return 1, then a and -b of each gap."""
        rho, slope = self._along(r)
        left = 1.0 - rho**2
        c = np.concatenate([[1.0], rho**2 / left, -rho / left])
        by_rho = np.concatenate([[0.0], 2.0 * rho / left**2, -(1.0 + rho**2) / left**2])
        return c, by_rho * np.concatenate([[0.0], slope, slope])

    def logdet(self, r: float) -> tuple[float, float]:
        """Return Σ log(1 - ρ²) over the links."""
        rho, slope = self._along(r)
        left = 1.0 - rho**2
        derivative = -2.0 * rho * slope / left
        return float(self._counts @ np.log(left)), float(self._counts @ derivative)

    def logdets(self, r: float, sets: Index, count: int) -> Array:
        """Return the sums of the sets' links."""
        rho, _ = self._along(r)
        values = np.log(1.0 - rho**2)[self._which]
        return np.bincount(sets[self._first], values, count).astype(float, copy=False)

    def _bands(self, r: float) -> tuple[Array, Array]:
        """Return the diagonal of F in sorted order and the entries below it."""
        rho, _ = self._along(r)
        along = np.zeros(max(self.n - 1, 0))
        along[self._links] = rho[self._which]
        diagonal = np.ones(self.n)
        diagonal[1:] = 1.0 / np.sqrt(1.0 - along**2)
        return diagonal, -along * diagonal[1:]

    def root_times(self, r: float, H: Array) -> Array:
        """Return (x_i - ρ_i x_{i-1})/√(1 - ρ_i²)."""
        diagonal, below = self._bands(r)
        own = self._sorted(H)
        out = _column(diagonal, own) * own
        out[1:] += _column(below, own) * own[:-1]
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
        out = _column(diagonal, own) * own
        out[:-1] += _column(below, own) * own[1:]
        return self._back(out)

    def times(self, r: float, H: Array) -> Array:
        """Return F⁻¹F⁻ᵀH."""
        diagonal, below = self._bands(r)
        bands = np.array([np.concatenate([[0.0], below]), diagonal])
        half = np.asarray(solve_banded((0, 1), bands, self._sorted(H)))
        return self.root_solve(r, self._back(half))


class Exchanged(_InGroups):
    """The same correlation between any two rows of a group."""

    def __init__(self, kind: CorrelationKind, codes: Index) -> None:
        super().__init__(kind, codes, None)
        self._groups, self._codes = np.unique(codes, return_inverse=True)
        self._codes = np.asarray(self._codes, dtype=np.intp).ravel()
        size = np.bincount(self._codes)
        self._sizes, which = np.unique(size, return_inverse=True)
        self._which = np.asarray(which, dtype=np.intp).ravel()
        self._counts = np.bincount(self._which).astype(float)
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
        return [_identity(self.n), Piece(self._adding, self._adding, 1 + self._which)]

    def coefficients(self, r: float) -> tuple[Array, Array]:
        """Return 1/(1-r), then -r/((1-r)(1+(m-1)r)) of each size."""
        m = self._sizes.astype(float)
        one, all_of = 1.0 - r, 1.0 + (m - 1.0) * r
        below = one * all_of
        c = np.concatenate([[1.0 / one], -r / below])
        slope = -(1.0 + (m - 1.0) * r**2) / below**2
        return c, np.concatenate([[1.0 / one**2], slope])

    def _logs(self, r: float) -> Array:
        """Return log|C| of a group of each size."""
        m = self._sizes.astype(float)
        return np.asarray((m - 1.0) * np.log1p(-r) + np.log1p((m - 1.0) * r))

    def logdet(self, r: float) -> tuple[float, float]:
        """Return Σ (m-1) log(1-r) + log(1+(m-1)r) over the groups."""
        m = self._sizes.astype(float)
        slope = -(m - 1.0) / (1.0 - r) + (m - 1.0) / (1.0 + (m - 1.0) * r)
        return float(self._counts @ self._logs(r)), float(self._counts @ slope)

    def logdets(self, r: float, sets: Index, count: int) -> Array:
        """Return the sums over the sets' groups."""
        owner = np.zeros(len(self._groups), np.intp)
        owner[self._codes] = sets
        values = self._logs(r)[self._which]
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
        out = own - _column(weight, own) * self._sums_before(own)
        return self._back(out / _column(sd, own))

    def root_solve(self, r: float, E: Array) -> Array:
        """Go along the rows of each group, all groups at once."""
        weight, sd = self._innovations(r)
        out = _column(sd, E) * self._sorted(E)
        total = np.zeros((len(self._groups), *E.shape[1:]))
        codes = self._codes[self._order]
        for p in range(int(self._sizes.max())):
            rows = np.flatnonzero(self._before == p)
            out[rows] += _column(weight[rows], out) * total[codes[rows]]
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


def _column(values: Array, H: Array) -> Array:
    """Return the values as a column beside those of H."""
    return values if H.ndim == 1 else values.reshape(-1, *[1] * (H.ndim - 1))
