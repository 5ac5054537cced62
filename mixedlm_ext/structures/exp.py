"""Exponential decay: correlations fall with the distance of two places, in time or in space.

With times for positions these are those of the Ornstein-Uhlenbeck process, of rate 1/range. θ holds
u = range/(range + unit), the unit being the median distance: both ends of u are ordinary points, at
which columns are independent (range 0) and all the same (range ∞). With x the distances in units,

    C_ab = exp(-x_ab (1 - u)/u),   ∂C/∂u = C x/u²,   ∂²C/∂u² = C (x²/u⁴ - 2x/u³).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from mixedlm_ext.structures.base import Structure
from mixedlm_ext.structures.correlated import STRONG, WEAK, CorrelatedStructure
from mixedlm_ext.structures.positions import Positions

Array = NDArray[np.float64]

__all__ = ["Exponential"]

_LEAST = 1e-60
"""For u, so that no power of its inverse overflows; correlations are zero long before."""
_TOLD = 1e-8
"""Correlation from which on a pair of columns tells the range."""
_AT_END = 1e-8
"""1 - u at which the range is endless."""
_FLAT = 1e-8
"""Largest correlation below which the range may as well be zero."""


class Exponential(CorrelatedStructure):
    """C_ab = exp(-distance_ab/range).

    Parameters
    ----------
    k : int
    name : str
    one_variance : bool
    positions : Positions, optional
        Of the k columns; in a row, one apart, by default.
    """

    word: ClassVar[str] = "exp"
    hom_by_default: ClassVar[bool] = True
    placed: ClassVar[bool] = True

    def __init__(
        self, k: int, name: str, one_variance: bool, positions: Positions | None = None
    ) -> None:
        super().__init__(k, name, one_variance)
        self.positions = Positions.one_apart(k) if positions is None else positions
        self.range_unit = self.positions.unit

    def of_size(self, k: int) -> Structure:
        """Return the same structure; of other columns, where the first ones lie."""
        if k == self.k:
            return self
        return type(self)(k, self.name, self.one_variance)

    @property
    def _apart(self) -> Array:
        """Distances in units."""
        return self.positions.relative if self._of_pairs is None else self._of_pairs

    @property
    def one_level(self) -> bool:
        """Whether there is one variance: one level shows it and how correlations fall."""
        return self.one_variance

    @property
    def rho_range(self) -> tuple[Array, Array]:
        """From 0, range zero, to 1, an endless range."""
        return np.zeros(1), np.ones(1)

    @property
    def rho_start(self) -> Array:
        """The range is the median distance."""
        return np.full(1, 0.5)

    @property
    def rho_inside(self) -> tuple[Array, Array]:
        """At u = 0 the criterion is stationary: starts keep away from it."""
        return np.full(1, 0.1), np.full(1, 0.9)

    def correlation(self, rho: Array) -> Array:
        """Return C."""
        if rho[0] <= 0.0:
            return np.where(self._apart == 0, 1.0, 0.0)
        with np.errstate(under="ignore", over="ignore"):
            return np.asarray(np.exp(-self._apart * ((1.0 - rho[0]) / rho[0])))

    def correlation_derivatives(self, rho: Array) -> Array:
        """Return C x/u²."""
        C, rate = self.correlation(rho), self._rate(rho)
        return (C * rate)[None]

    def correlation_curvature(self, rho: Array, F: Array) -> Array:
        """Return Σ F C (x²/u⁴ - 2x/u³)."""
        C, rate = self.correlation(rho), self._rate(rho)
        bend = rate * (rate - 2.0 / max(rho[0], _LEAST))
        return np.array([[float((F * C * bend).sum())]])

    def _rate(self, rho: Array) -> Array:
        """Return x/u², 0 where it is so large that nothing of C is left."""
        return self._apart / max(rho[0], _LEAST) ** 2

    def rho_of(self, C: Array) -> Array:
        """Return u of the range that the correlations together have, Σ distance / Σ -log C."""
        pairs = np.triu_indices(self.k, 1)
        c, x = C[pairs], self.positions.relative[pairs]
        known = ~np.isnan(c)
        told = known & (c > _TOLD)
        if not told.any():
            return np.zeros(1) if known.any() else self.rho_start
        decay = -np.log(np.minimum(c[told], 1.0)).sum()
        return np.array([x[told].sum() / (x[told].sum() + decay)])

    def contains(self, other: Structure) -> bool:
        """Say whether the other has independent columns, or the same places."""
        fewer = other.one_variance or not self.one_variance
        if not isinstance(other, Exponential):
            return fewer and not other.correlated
        return fewer and self.positions.same_as(other.positions)

    def at_zero(self, theta: Array, near: float) -> Array:
        """Put u to zero, too, where even the nearest columns are all but independent."""
        out = super().at_zero(theta, near)
        if self.correlation(out[self.n_sd :])[self.positions.nearest] < _FLAT:
            out[self.n_sd] = 0.0
        return out

    def further_starts(self, theta: Array) -> list[Array]:
        """Return other ranges where the search ended at an end of them, or at no variance.

        Near u = 0 the criterion hardly depends on it, so that a search may have stopped there.
        """
        sd, rho = theta[: self.n_sd], theta[self.n_sd :]
        low, high = self.rho_inside
        rows = np.sqrt(self.k) * sd  # the columns are indicators with a share of the rows each
        if rows.max() < WEAK or rows.min() > STRONG:
            start = np.full(self.n_sd, WEAK / np.sqrt(self.k))
            return [np.concatenate([start, end]) for end in (0.5 * high, 0.9 * high)]
        if (sd > 0).all() and (rho > low).all() and (rho < high).all():
            return []
        again = np.full(self.n_sd, 1.0 / np.sqrt(self.k))
        return [np.concatenate([again, end]) for end in (low, self.rho_start, high)]

    @property
    def range_ends(self) -> tuple[float, float]:
        """Ranges below and above which nothing changes any more."""
        return self.positions.distances[self.positions.nearest] / -np.log(_FLAT), (
            self.positions.unit / _AT_END
        )

    def variances(self, columns: Sequence[str]) -> tuple[str, ...]:
        """Name the variances: one by what stands before the places, ``position(t)``."""
        word = columns[0].partition("[")[0]
        alike = all(name.startswith(f"{word}[") for name in columns)
        return (word,) if self.one_variance and alike else super().variances(columns)

    def told(self, correlations: Array, pair: tuple[int, int]) -> Array:
        """Return the correlation of a pair, where it has none by the range that others tell."""
        own = correlations[..., pair[0], pair[1]]
        if not np.isnan(own).any():
            return np.asarray(own)
        rows, columns = np.triu_indices(self.k, 1)
        distance = self.positions.distances[rows, columns]
        order = np.argsort(distance, kind="stable")
        others = correlations[..., rows[order], columns[order]]
        at = np.isfinite(others).argmax(axis=-1)  # the nearest
        nearest = np.take_along_axis(others, at[..., None], axis=-1)[..., 0]
        power = self.positions.distances[pair] / distance[order][at]
        return np.where(np.isnan(own), nearest**power, own)

    def pair_distance(self, pair: tuple[int, int]) -> float:
        """Return how far two columns are apart."""
        return float(self.positions.distances[pair])

    def correlations(self, columns: Sequence[str]) -> list[tuple[str, tuple[int, int]]]:
        """Name the range, which any two columns tell: the nearest."""
        return [("range", self.positions.nearest)]
