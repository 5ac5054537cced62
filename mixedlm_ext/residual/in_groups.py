"""Rows whose residuals are correlated within groups: their order, blocks of C."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mixedlm_ext.residual.kinds import CorrelationKind

Array = NDArray[np.float64]
Index = NDArray[np.intp]

__all__ = ["InGroups", "as_column"]


class InGroups:
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


def as_column(values: Array, H: Array) -> Array:
    """Return the values as a column beside those of H."""
    return values if H.ndim == 1 else values.reshape(-1, *[1] * (H.ndim - 1))
