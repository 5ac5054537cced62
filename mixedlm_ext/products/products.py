"""The cross-products A = [Z X y]'W[Z X y]: sums over rows that add up, in one layout.

Columns of Z belong to blocks (see layout.py); within a block the coefficient of column a at level l
has index a·levels + l. X stands for the coordinates Q of a basis and y for its residual y - Xβ₀.
Products of all rows that found their own basis have Q'WQ = I and Q'Wy = 0; others have not, and
nothing here needs it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from mixedlm_ext.caching import cached_property
from mixedlm_ext.errors import FitError
from mixedlm_ext.products.block_matrix import BlockMatrix, Coupling
from mixedlm_ext.products.layout import Layout

Array = NDArray[np.float64]
Index = NDArray[np.intp]

__all__ = ["CrossProducts"]


@dataclass(frozen=True, eq=False)
class CrossProducts:
    """The blocks of A, and the layout that they are of.

    Products in one layout are added, subtracted and multiplied by a positive number, which is as if
    all weights were multiplied by it.

    Attributes
    ----------
    layout : Layout
    n : int
        Rows.
    A : BlockMatrix
        Z'WZ.
    ZX : ndarray (q, p)
        Z'WQ.
    Zy : ndarray (q,)
        Z'Wy.
    XX : ndarray (p, p)
        Q'WQ.
    Xy : ndarray (p,)
        Q'Wy.
    yy : float
        y'Wy.
    logdet_W : float
    """

    layout: Layout
    n: int
    A: BlockMatrix
    ZX: Array
    Zy: Array
    XX: Array
    Xy: Array
    yy: float
    logdet_W: float

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what is put together of these."""
        return {f.name: getattr(self, f.name) for f in fields(self)}

    @property
    def p(self) -> int:
        """Columns of X."""
        return self.layout.p

    @property
    def R(self) -> Array:
        """X = QR (p, p)."""
        return self.layout.R

    @property
    def shapes(self) -> tuple[tuple[int, int], ...]:
        """Columns a level and levels, for each block."""
        return self.A.shapes

    @property
    def diagonal(self) -> Sequence[Array]:
        """Z_i'WZ_i, (k, k, levels) for each block."""
        return self.A.diagonal

    @property
    def couplings(self) -> dict[tuple[int, int], Coupling]:
        """Z_i'WZ_j."""
        return self.A.couplings

    @property
    def offsets(self) -> Index:
        """Where each block starts among the columns of Z; the last entry is q."""
        return self.A.offsets

    @property
    def q(self) -> int:
        """Columns of Z."""
        return int(self.A.offsets[-1])

    @cached_property
    def Zyx(self) -> Array:
        """Z'W[y Q], (q, 1 + p)."""
        return np.column_stack([self.Zy, self.ZX])

    @property
    def ZZ(self) -> sparse.csr_array:
        """Z'WZ as one sparse matrix."""
        return self.A.sparse

    @property
    def by_levels(self) -> bool:
        """Whether Z is one block of levels that have nothing to do with one another."""
        return len(self.shapes) == 1 and not self.is_tied(0)

    def is_tied(self, i: int) -> bool:
        """Say whether levels of block i meet in some row, or are correlated."""
        return self.A.joined(i) or self.layout.prior(i) is not None

    def spread(self, i: int, own: Array) -> Array:
        """Return (I ⊗ K)v for v (k, levels) or (k, levels, c) of block i."""
        prior = self.layout.prior(i)
        if prior is None:
            return own
        return np.stack([prior.solve(part) for part in own])

    def unspread(self, i: int, own: Array) -> Array:
        """Return (I ⊗ K⁻¹)b for b (k, levels, c) of block i."""
        prior = self.layout.prior(i)
        return own if prior is None else np.stack([np.asarray(prior.Q @ part) for part in own])

    def between_roots(self, W: Array) -> Array:
        """Return R'WR (q, q) for W (q, q), I ⊗ K = RR'; W itself where levels are independent."""
        if not self.layout.priors:
            return W
        for i, ((k, levels), start) in enumerate(zip(self.shapes, self.offsets)):
            prior = self.layout.prior(i)
            if prior is not None:
                R = prior.root_times(np.eye(levels))
                for first in range(start, start + k * levels, levels):
                    own = slice(first, first + levels)
                    W[own] = R.T @ W[own]
                    W[:, own] = W[:, own] @ R
        return W

    def block(self, stacked: Array, i: int) -> Array:
        """Return block i of a (q,) or (q, c) array as a (k, levels) or (k, levels, c) view."""
        own, shape = self.A.own[i]
        return stacked[own].reshape(*shape, *stacked.shape[1:])

    def __add__(self, other: CrossProducts) -> CrossProducts:
        """Return the products of the rows of both."""
        return self._plus(other, 1)

    def __sub__(self, other: CrossProducts) -> CrossProducts:
        """Return the products without rows that are in this one; its pairs of levels stay."""
        return self._plus(other, -1)

    def _plus(self, other: CrossProducts, sign: int) -> CrossProducts:
        """Add the other's sums times a sign."""
        if not isinstance(other, CrossProducts):
            return NotImplemented
        if other.layout is not self.layout:
            raise FitError("cross-products add up in one layout only; these have two.")
        return CrossProducts(
            layout=self.layout,
            n=self.n + sign * other.n,
            A=self.A.plus(other.A, sign),
            ZX=self.ZX + sign * other.ZX,
            Zy=self.Zy + sign * other.Zy,
            XX=self.XX + sign * other.XX,
            Xy=self.Xy + sign * other.Xy,
            yy=self.yy + sign * other.yy,
            logdet_W=self.logdet_W + sign * other.logdet_W,
        )

    def __mul__(self, factor: float) -> CrossProducts:
        """Return the products of the same rows, all weights multiplied by a positive number."""
        if not factor > 0:
            raise FitError(f"cross-products are multiplied by positive numbers, not by {factor!r}.")
        return replace(
            self,
            A=self.A.scaled(factor),
            ZX=factor * self.ZX,
            Zy=factor * self.Zy,
            XX=factor * self.XX,
            Xy=factor * self.Xy,
            yy=factor * self.yy,
            logdet_W=self.logdet_W + self.n * float(np.log(factor)),
        )

    __rmul__ = __mul__
