"""No structure: any covariance matrix, with the full lower triangle of T."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from mixedlm_ext.caching import cached_property
from mixedlm_ext.structures.linear import LinearStructure

Array = NDArray[np.float64]
Index = NDArray[np.intp]

__all__ = ["Unstructured"]

_ROTATION_NOISE = 1e-10
"""Singular values of the rotations' map this small, relative to the largest, count as zero."""


class Unstructured(LinearStructure):
    """All entries of the lower triangle; steps move all k² entries but for rotations."""

    word: ClassVar[str] = "us"
    whitening = "triangular"

    @cached_property
    def entries(self) -> tuple[Index, Index]:
        """The lower triangle."""
        columns, rows = np.triu_indices(self.k)
        return rows, columns

    @cached_property
    def _moving(self) -> tuple[Index, Index]:
        rows, columns = np.divmod(np.arange(self.k**2), self.k)
        return rows, columns

    def step_basis(self, theta: Array, metric: Array | None = None) -> Array:
        """Return RS, entries row by row, for orthonormal S that span the steps but rotations."""
        if self.k == 1:
            return np.array([[np.sqrt(1.0 + theta[0] ** 2)]])
        T = self.template(theta)
        U, values, _ = np.linalg.svd(T)
        R = (U * np.sqrt(1.0 + values**2)) @ U.T
        S = _horizontal(R @ T if metric is None else R @ metric @ T)
        return np.asarray((R @ S.reshape(self.k, -1)).reshape(S.shape))

    def reflections(self, theta: Array) -> list[Array]:
        """Return θ with correlations of other signs, DΓD with D = ±1."""
        rows, columns = self.entries
        out = []
        for a in range(self.k if self.k > 2 else 1):
            flipped = (rows == a) != (columns == a)
            if (theta[flipped] != 0).any():
                out.append(np.where(flipped, -theta, theta))
        return out

    def text(self, left: str, group: str) -> str:
        """Return "(left | group)"."""
        return f"({left} | {group})"

    def correlations(self, columns: Sequence[str]) -> list[tuple[str, tuple[int, int]]]:
        """Name the correlation of each pair of columns."""
        return [
            (f"{columns[i]}, {columns[j]}", (i, j))
            for i in range(self.k)
            for j in range(i + 1, self.k)
        ]


@cache
def _pairs(k: int) -> tuple[Index, Index]:
    """Return the pairs of k columns."""
    return np.triu_indices(k, 1)


def _horizontal(T: Array) -> Array:
    """Return orthonormal columns that span {S : T'S symmetric}, entries row by row."""
    k = len(T)
    a, b = _pairs(k)
    rotations = np.zeros((len(a), k, k))
    which = np.arange(len(a))
    rotations[which, :, b] += T[:, a].T
    rotations[which, :, a] -= T[:, b].T
    _, values, Vt = np.linalg.svd(rotations.reshape(len(a), k * k))
    rank = int((values > _ROTATION_NOISE * max(values[0], 1e-300)).sum())
    return np.asarray(Vt[rank:].T)
