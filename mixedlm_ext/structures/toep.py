"""Toeplitz correlations: one for each distance of the columns in their order.

The correlations by lag r_1, ..., r_(k-1) of a positive semidefinite C fill a region that no ranges
of single correlations describe. Their partial autocorrelations π_1, ..., π_(k-1) fill a cube: π_h
is the correlation of two columns h apart once the columns between them are known. θ holds π. With
the coefficients φ of the best prediction of a column from those before it and v, the share of the
variance that is left (Durbin and Levinson's recursion),

    r_h = Σ_(j<h) φ_j r_(h-j) + π_h v,  φ_j <- φ_j - π_h φ_(h-j),  φ_h = π_h,  v <- (1 - π_h²) v.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from mixedlm_ext.structures.base import Structure
from mixedlm_ext.structures.correlated import CorrelatedStructure, mean_known

Array = NDArray[np.float64]

__all__ = ["Toeplitz"]

_NOTHING_LEFT = 1e-12
"""Share of the variance, relative to one, at which columns are known from those before them."""


class Toeplitz(CorrelatedStructure):
    """C_ab = r_|a-b|, the columns in the order of time."""

    word: ClassVar[str] = "toep"
    hom_by_default: ClassVar[bool] = False
    ordered: ClassVar[bool] = True
    stationary: ClassVar[bool] = True

    def __init__(self, k: int, name: str, one_variance: bool) -> None:
        super().__init__(k, name, one_variance)
        self.n_rho = k - 1

    @property
    def rho_range(self) -> tuple[Array, Array]:
        """From -1 to 1."""
        return -np.ones(self.n_rho), np.ones(self.n_rho)

    @property
    def _lags(self) -> NDArray[np.intp]:
        """|a - b|."""
        return self._apart.astype(np.intp)

    def correlation(self, rho: Array) -> Array:
        """Return C."""
        r, phi, left = np.ones(self.k), np.zeros(0), 1.0
        for h, pi in enumerate(rho, start=1):
            r[h] = phi @ r[h - 1 : 0 : -1] + pi * left
            phi, left = _extended(phi, pi), left * (1.0 - pi * pi)
        return np.asarray(r[self._lags])

    def correlation_derivatives(self, rho: Array) -> Array:
        """Return ∂r_|a-b|/∂π_j."""
        return np.asarray(np.moveaxis(_by_lag(rho).slope[self._lags], -1, 0))

    def correlation_curvature(self, rho: Array, F: Array) -> Array:
        """Return Σ_h (Σ of F at lag h) ∂²r_h/∂π_i∂π_j."""
        totals = np.bincount(self._lags.ravel(), F.ravel(), self.k)
        return np.einsum("h,hij->ij", totals, _by_lag(rho).curvature)

    def rho_of(self, C: Array) -> Array:
        """Return π of the mean correlations by lag; zero for a lag of which none is known."""
        out, phi, left = np.zeros(self.n_rho), np.zeros(0), 1.0
        r = np.ones(self.k)
        for h in range(1, self.k):
            expected = phi @ r[h - 1 : 0 : -1]
            known = ~np.isnan(np.diag(C, h)).all()
            if known and left > _NOTHING_LEFT:
                apart = mean_known(np.diag(C, h))[0] - expected
                out[h - 1] = np.clip(apart / left, -1.0, 1.0)
            pi = out[h - 1]
            r[h] = expected + pi * left
            phi, left = _extended(phi, pi), left * (1.0 - pi * pi)
        return out

    def place(self, columns: tuple[int, ...]) -> int | None:
        """Return where θ holds a deviation, or r_1, which is π_1; none holds the others."""
        if len(columns) == 2 and abs(columns[0] - columns[1]) > 1:
            return None
        return super().place(columns)

    def contains(self, other: Structure) -> bool:
        """Say whether correlations of the other depend on the distance of the columns alone."""
        fewer = other.one_variance or not self.one_variance
        return fewer and (not other.correlated or other.stationary)

    def further_starts(self, theta: Array) -> list[Array]:
        """Return those of every structure, and others where π before the last is at an end.

        There the π after it have no influence, and which way it may be left depends on them: two
        starts with them on either side of zero.
        """
        out = super().further_starts(theta)
        sd, rho = theta[: self.n_sd], theta[self.n_sd :]
        at_end = np.flatnonzero(np.abs(rho[:-1]) >= 1.0)
        if (sd <= 0).any() or not at_end.size:
            return out
        first = at_end[0]
        for after in (0.5, -0.5):
            other = rho.copy()
            other[first] *= 0.9
            other[first + 1 :] = after
            out.append(np.concatenate([sd, other]))
        return out

    def correlations(self, columns: Sequence[str]) -> list[tuple[str, tuple[int, int]]]:
        """Name the correlations by lag, which the first column has with the others."""
        return [(f"rho_{h}", (0, h)) for h in range(1, self.k)]


def _extended(phi: Array, pi: float) -> Array:
    """Return the coefficients of a prediction from one column more."""
    return np.append(phi - pi * phi[::-1], pi)


@dataclass(frozen=True, eq=False)
class _Jet:
    """Numbers (n,) with their first derivatives (n, m) and second ones (n, m, m)."""

    value: Array
    slope: Array
    curvature: Array

    @classmethod
    def of(cls, value: Array, m: int) -> _Jet:
        """Return constants."""
        n = len(value)
        return cls(value, np.zeros((n, m)), np.zeros((n, m, m)))

    def __getitem__(self, which: slice) -> _Jet:
        return _Jet(self.value[which], self.slope[which], self.curvature[which])

    def __add__(self, other: _Jet) -> _Jet:
        return _Jet(
            self.value + other.value, self.slope + other.slope, self.curvature + other.curvature
        )

    def __neg__(self) -> _Jet:
        return _Jet(-self.value, -self.slope, -self.curvature)

    def __mul__(self, other: _Jet) -> _Jet:
        """Return the products of pairs, or of all with one."""
        a, b = self.value[:, None], other.value[:, None]
        across = self.slope[:, :, None] * other.slope[:, None, :]
        return _Jet(
            self.value * other.value,
            a * other.slope + b * self.slope,
            a[..., None] * other.curvature
            + b[..., None] * self.curvature
            + across
            + across.transpose(0, 2, 1),
        )

    def sum(self) -> _Jet:
        """Return the sum, as one number."""
        return _Jet(
            self.value.sum(keepdims=True),
            self.slope.sum(axis=0, keepdims=True),
            self.curvature.sum(axis=0, keepdims=True),
        )

    def joined(self, other: _Jet) -> _Jet:
        """Return the numbers of both."""
        return _Jet(
            np.concatenate([self.value, other.value]),
            np.concatenate([self.slope, other.slope]),
            np.concatenate([self.curvature, other.curvature]),
        )


def _by_lag(rho: Array) -> _Jet:
    """Return r_0, ..., r_(k-1) with their derivatives in π."""
    m = len(rho)
    one = _Jet.of(np.ones(1), m)
    r, phi, left = one, _Jet.of(np.zeros(0), m), one
    for h in range(1, m + 1):
        pi = _Jet(rho[h - 1 : h], np.eye(m)[h - 1 : h], np.zeros((1, m, m)))
        known = (phi * r[h - 1 : 0 : -1]).sum() if h > 1 else _Jet.of(np.zeros(1), m)
        r = r.joined(known + pi * left)
        phi = (phi + -(phi[::-1] * pi)).joined(pi)
        left = left + -(left * pi * pi)
    return r
