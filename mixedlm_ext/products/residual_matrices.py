"""R of rows whose residuals have a structure, and its derivatives: sparse matrices by groups.

R_ij = C_ij s_i s_j in units of σ², where s are the standard deviations of the rows. Parameters here
are r, the correlation at the unit of distance, and the η of the variances (see
residual/structure.py): with x_i + x_j the slopes of log s_is_j, all derivatives have the pattern of
R and are products of its entries.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from mixedlm_ext.caching import cached_property
from mixedlm_ext.products.structured_noise import StructuredNoise

Array = NDArray[np.float64]
Index = NDArray[np.intp]

__all__ = ["ResidualMatrices", "count_pairs"]


class ResidualMatrices:
    """R and its first and second derivatives at the parameters of a fit.

    Parameters
    ----------
    noise : StructuredNoise
        Of the rows at those parameters.
    """

    def __init__(self, noise: StructuredNoise) -> None:
        structure, rows = noise.structure, noise.rows
        self._noise, self._structure, self._rows, self._n = noise, structure, rows, len(rows.x)
        self._i, self._j = _pairs(rows.codes if structure.kind is not None else None, self._n)
        root = np.sqrt(self._noise.variances)
        self._sd = root[self._i] * root[self._j]
        self._x = rows.x[self._i] + rows.x[self._j]
        self._r = structure.r_of(noise.z)[0]

    def combined(self, values: Array) -> Any:
        """Return the sparse matrix (n, n) of some values on the pattern of R."""
        return sparse.csr_array((values, (self._i, self._j)), shape=(self._n, self._n))

    @cached_property
    def precision(self) -> Any:
        """R⁻¹, sparse (n, n)."""
        root = self._noise.root_of_sparse(sparse.csr_array(sparse.eye_array(self._n)))
        return sparse.csr_array(root.T @ root)

    @cached_property
    def values(self) -> Array:
        """R on its pattern."""
        return self._correlations[0] * self._sd

    @cached_property
    def _correlations(self) -> tuple[Array, Array, Array]:
        """C, ∂C/∂r and ∂²C/∂r²."""
        apart, kind = self._i != self._j, self._structure.kind
        C, first, second = np.ones(len(apart)), np.zeros(len(apart)), np.zeros(len(apart))
        if kind is None:
            return C, first, second
        at = self._rows.positions
        distance = np.ones(len(apart)) if at is None else np.abs(at[self._i] - at[self._j])
        C[apart] = kind.between(self._r, distance[apart])
        first[apart], second[apart] = kind.slopes_between(self._r, distance[apart])
        return C, first, second

    @cached_property
    def first(self) -> list[Array]:
        """∂R of r, if there is one, and of each η, on the pattern."""
        by_r = [self._correlations[1] * self._sd] * self._structure.n_rho
        return [*by_r, *(self._x * self.values[:, None]).T]

    def second(self, k: int, m: int) -> Array:
        """Return the second derivatives of two parameters, on the pattern."""
        k, m = min(k, m), max(k, m)
        rho = self._structure.n_rho
        if m < rho:
            return np.asarray(self._correlations[2] * self._sd)
        return np.asarray(self.first[k] * self._x[:, m - rho])


def count_pairs(codes: Index | None) -> int:
    """Return how many pairs of rows are of one group; 0 where none are correlated."""
    return 0 if codes is None else int((np.bincount(codes).astype(float) ** 2).sum())


def _pairs(codes: Index | None, n: int) -> tuple[Index, Index]:
    """Return all pairs of rows of one group, each row with itself, too."""
    every = np.arange(n)
    if codes is None:
        return every, every
    order = np.argsort(codes, kind="stable")
    _, group, size = np.unique(codes[order], return_inverse=True, return_counts=True)
    start = np.concatenate([[0], np.cumsum(size)[:-1]])
    count = size[group.ravel()]
    owner = np.repeat(every, count)
    within = np.arange(len(owner)) - np.repeat(np.cumsum(count) - count, count)
    return order[owner], order[np.repeat(start[group.ravel()], count) + within]
