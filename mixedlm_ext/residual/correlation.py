"""C⁻¹ of the rows of groups, as a short sum Σ_j c_j(r) of fixed matrices, and its root.

What each kind of correlation offers; see `Piece` for the fixed matrices, markov.py for correlations
that multiply along the rows of a group, exchanged.py for equal ones.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from mixedlm_ext.caching import cached_property
from mixedlm_ext.residual.counted import Counted, NoCorrelation
from mixedlm_ext.residual.exchanged import Exchanged
from mixedlm_ext.residual.kinds import CorrelationKind
from mixedlm_ext.residual.markov import Markov
from mixedlm_ext.residual.pieces import Piece, identity

Array = NDArray[np.float64]
Index = NDArray[np.intp]

__all__ = ["CorrelatedRows", "Independent", "correlated_rows"]


class CorrelatedRows(Protocol):
    """The correlation matrix C(r) of n rows, relative to a standard deviation of one."""

    @property
    def kind(self) -> CorrelationKind | None:
        """The kind of correlation."""

    @property
    def counted(self) -> Counted:
        """What coefficients and log|C| need of the rows."""

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


class Independent:
    """C = I."""

    kind = None
    counted = NoCorrelation()

    def __init__(self, n: int) -> None:
        self.n = n

    @cached_property
    def pieces(self) -> list[Piece]:
        """The identity."""
        return [identity(self.n)]

    def coefficients(self, r: float) -> tuple[Array, Array]:
        """Return one, which does not change."""
        return self.counted.coefficients(r)

    def logdet(self, r: float) -> tuple[float, float]:
        """Return zero."""
        return self.counted.logdet(r)

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
