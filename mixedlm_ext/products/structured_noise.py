"""The noise of residuals with a structure, at given parameters: W = √w D⁻¹ C⁻¹ D⁻¹ √w."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from mixedlm_ext.residual.structure import ResidualRows, ResidualStructure

Array = NDArray[np.float64]
Index = NDArray[np.intp]

__all__ = ["StructuredNoise"]


class StructuredNoise:
    """W of rows with correlations, or with variances that depend on something.

    Parameters
    ----------
    structure : ResidualStructure
    rows : ResidualRows
    z : ndarray
        Where the parameters are.
    weights : ndarray (n,), optional
    """

    equal = False

    def __init__(
        self,
        structure: ResidualStructure,
        rows: ResidualRows,
        z: Array,
        weights: Array | None = None,
    ) -> None:
        self.structure, self.rows, self.z, self._weights = structure, rows, z, weights
        self._r = structure.r_of(z)[0]
        self._log_sd = rows.x @ structure.eta_of(z)
        self._precision = np.exp(-self._log_sd)  # √w / D
        if weights is not None:
            self._precision = self._precision * np.sqrt(weights)
        self._correlated = structure.correlated(rows)

    @property
    def mixes(self) -> bool:
        """Whether W joins rows."""
        return self._correlated.kind is not None

    @property
    def ones(self) -> Array:
        """W^½ times a column of ones, (n,)."""
        return self.root_times(np.ones(len(self._log_sd)))

    @property
    def logdet(self) -> float:
        """log|W|."""
        return float(2.0 * np.log(self._precision).sum() - self._correlated.logdet(self._r)[0])

    @property
    def variances(self) -> Array:
        """D²/w, (n,)."""
        return np.asarray(1.0 / self._precision**2)

    def root_times(self, H: Array) -> Array:
        """Return F D⁻¹√w H, with F'F = C⁻¹."""
        return self._correlated.root_times(self._r, _along(self._precision, H) * H)

    def root_solve(self, E: Array) -> Array:
        """Return D F⁻¹E/√w."""
        return np.asarray(self._correlated.root_solve(self._r, E) / _along(self._precision, E))

    def times(self, H: Array) -> Array:
        """Return WH."""
        own = _along(self._precision, H)
        return np.asarray(own * self._correlated.inverse_times(self._r, own * H))

    def solve(self, H: Array) -> Array:
        """Return W⁻¹H."""
        own = _along(self._precision, H)
        return np.asarray(self._correlated.times(self._r, H / own) / own)

    def root_of_sparse(self, Z: sparse.csr_array) -> sparse.csr_array:
        """Return W^½Z of a sparse Z."""
        scaled = sparse.diags_array(self._precision) @ Z
        return sparse.csr_array(self._correlated.root(self._r) @ scaled)

    def take(self, rows: slice | Index) -> StructuredNoise:
        """Return the noise of some rows by themselves, whatever the others are."""
        weights = None if self._weights is None else self._weights[rows]
        return StructuredNoise(self.structure, self.rows.take(rows), self.z, weights)

    def covariance(self, rows: Index) -> Array:
        """Return the blocks of W⁻¹ of rows (..., m): (..., m, m)."""
        sd = 1.0 / self._precision[rows]
        return self._correlated.covariance(self._r, rows) * sd[..., :, None] * sd[..., None, :]

    def logdets(self, codes: Index, count: int) -> Array:
        """Return log|W| of each of `count` independent sets of rows."""
        own = np.bincount(codes, 2.0 * np.log(self._precision), count)
        return np.asarray(own - self._correlated.logdets(self._r, codes, count))

    @property
    def groups(self) -> Index | None:
        """Groups of rows that W joins, (n,); None if it joins none."""
        return self.rows.codes if self.mixes else None


def _along(values: Array, H: Array) -> Array:
    """Return the values as a column beside those of H."""
    return values if H.ndim == 1 else values[:, None]
