"""The covariance of the residuals: Var(e) = σ²W⁻¹, by what multiplies rows and by log|W|.

This is the only reader of `weights` below the design; everything else asks the `Noise` of its rows.
Noises that are diagonal stand here. Where residuals have a structure (see structured_noise.py), W
may join rows: `mixes` says so, and products of random effects are then no sums over the rows of a
level any more (see residual_sums.py).
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from mixedlm_ext.caching import cached_property
from mixedlm_ext.products.structured_noise import StructuredNoise
from mixedlm_ext.residual.structure import ResidualRows, ResidualStructure

Array = NDArray[np.float64]
Index = NDArray[np.intp]

__all__ = [
    "EqualVariances",
    "Noise",
    "Precisions",
    "Weighted",
    "equally_precise",
    "noise_of",
    "noise_of_weights",
    "structured_noise",
]


class Noise(Protocol):
    """W of n rows. Columns that it multiplies are of shape (n,) or (n, c)."""

    @property
    def equal(self) -> bool:
        """Whether it is known that W = I."""

    @property
    def mixes(self) -> bool:
        """Whether W joins rows."""

    @property
    def groups(self) -> Index | None:
        """Groups of rows that W joins, (n,); None if it joins none."""

    @property
    def ones(self) -> Array | None:
        """W^½ times a column of ones, (n,); None if that is ones."""

    @property
    def logdet(self) -> float:
        """log|W|."""

    @property
    def variances(self) -> Array:
        """The diagonal of W⁻¹, (n,): variances of the residuals over σ²."""

    def root_times(self, H: Array) -> Array:
        """Return W^½H, whose rows have independent residuals of the same variance."""

    def root_of_sparse(self, Z: sparse.csr_array) -> sparse.csr_array:
        """Return W^½Z of a sparse Z (n, q)."""

    def root_solve(self, E: Array) -> Array:
        """Return W^{-½}E: from independent residuals to those of the rows."""

    def times(self, H: Array) -> Array:
        """Return WH."""

    def solve(self, H: Array) -> Array:
        """Return W⁻¹H."""

    def take(self, rows: slice | Index) -> Noise:
        """Return the noise of some rows, which are independent of the others."""

    def covariance(self, rows: Index) -> Array:
        """Return the blocks of W⁻¹ of rows (..., m), (..., m, m)."""

    def logdets(self, codes: Index, count: int) -> Array:
        """Return log|W| of each of `count` independent sets of rows, (count,)."""


class Weighted(Protocol):
    """What has rows with weights, and maybe a residual structure, as `Design` has."""

    @property
    def y(self) -> Array:
        """The response, (n,)."""

    @property
    def weights(self) -> Array | None:
        """Precision weights (n,), or None."""

    @property
    def residual(self) -> ResidualStructure | None:
        """The structure of the residuals, or None."""

    @property
    def residual_rows(self) -> ResidualRows | None:
        """What the rows have to do with it."""


def noise_of(design: Weighted) -> Noise:
    """Return the noise of the rows of a design.

    Of residuals with a structure that is not fitted yet: the one with independent residuals of one
    variance.
    """
    if design.residual is not None and design.residual.values is not None:
        return structured_noise(design, design.residual.z_of(design.residual.values))
    return noise_of_weights(design)


def equally_precise(design: Weighted) -> bool:
    """Say whether residuals are independent with one variance; rows are not needed to know."""
    if design.residual is not None and design.residual.values is not None:
        return False
    return noise_of_weights(design).equal


def structured_noise(design: Weighted, z: Array) -> StructuredNoise:
    """Return the noise of residuals with a structure, at a z."""
    assert design.residual is not None and design.residual_rows is not None
    return StructuredNoise(design.residual, design.residual_rows, z, design.weights)


def noise_of_weights(design: Weighted) -> EqualVariances | Precisions:
    """Return the noise of the rows as if their residuals had no further structure."""
    if design.weights is None:
        return EqualVariances(len(design.y))
    return Precisions(design.weights)


class EqualVariances:
    """W = I: every residual has the variance σ².

    Parameters
    ----------
    n : int
        Number of rows.
    """

    equal = True
    mixes = False
    groups = None
    ones = None
    logdet = 0.0

    def __init__(self, n: int) -> None:
        self._n = n

    @property
    def variances(self) -> Array:
        """Ones, (n,)."""
        return np.ones(self._n)

    def root_times(self, H: Array) -> Array:
        """Return H itself."""
        return H

    root_solve = times = solve = root_times

    def root_of_sparse(self, Z: sparse.csr_array) -> sparse.csr_array:
        """Return Z itself."""
        return Z

    def take(self, rows: slice | Index) -> EqualVariances:
        """Return the noise of some rows."""
        taken = range(self._n)[rows] if isinstance(rows, slice) else rows
        return EqualVariances(len(taken))

    def covariance(self, rows: Index) -> Array:
        """Return the identity of m rows."""
        m = rows.shape[-1]
        return np.zeros((*rows.shape, m)) + np.eye(m)

    def logdets(self, codes: Index, count: int) -> Array:
        """Return zeros."""
        return np.zeros(count)


class Precisions:
    """W is diagonal and known: the residual of row i has the variance σ²/w_i.

    Parameters
    ----------
    w : ndarray (n,)
        Positive.

    Examples
    --------
    >>> noise = Precisions(np.array([4.0, 1.0]))
    >>> noise.root_times(np.array([3.0, 3.0]))
    array([6., 3.])
    >>> noise.variances
    array([0.25, 1.  ])
    """

    equal = False
    mixes = False
    groups = None

    def __init__(self, w: Array) -> None:
        self._w = w

    @cached_property
    def ones(self) -> Array:
        """√w, (n,)."""
        return np.asarray(np.sqrt(self._w))

    @property
    def logdet(self) -> float:
        """Σ log w."""
        return float(np.log(self._w).sum())

    @property
    def variances(self) -> Array:
        """1/w, (n,)."""
        return 1.0 / self._w

    def root_times(self, H: Array) -> Array:
        """Return √w times the rows of H."""
        return H * _along(self.ones, H)

    def root_of_sparse(self, Z: sparse.csr_array) -> sparse.csr_array:
        """Return √w times the rows of Z."""
        return sparse.csr_array(sparse.diags_array(self.ones) @ Z)

    def root_solve(self, E: Array) -> Array:
        """Return the rows of E over √w."""
        return E / _along(self.ones, E)

    def times(self, H: Array) -> Array:
        """Return w times the rows of H."""
        return H * _along(self._w, H)

    def solve(self, H: Array) -> Array:
        """Return the rows of H over w."""
        return H / _along(self._w, H)

    def take(self, rows: slice | Index) -> Precisions:
        """Return the noise of some rows."""
        return Precisions(self._w[rows])

    def covariance(self, rows: Index) -> Array:
        """Return the diagonal matrices of 1/w."""
        return np.eye(rows.shape[-1]) / self._w[rows][..., None]

    def logdets(self, codes: Index, count: int) -> Array:
        """Return the sums of log w over the sets."""
        return np.bincount(codes, np.log(self._w), count).astype(float, copy=False)


def _along(values: Array, H: Array) -> Array:
    """Return the values as a column beside those of H."""
    return values if H.ndim == 1 else values[:, None]
