"""The cross-products A = [Z X y]'W[Z X y]: the only place where rows of data are touched.

Columns of Z belong to blocks (see covariance.py); within a block the coefficient of column a at
level l has index a·levels + l. X is replaced by an orthonormal basis Q of its weighted columns and
y by its residual on X, so that Q'WQ = I and Q'Wy = 0: the criterion changes by a constant, and
digits are kept when y is far from zero or columns of X are nearly dependent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from mixedlm_ext.caching import cached_property
from mixedlm_ext.linalg.keys import number_keys
from mixedlm_ext.linalg.orthogonal import constant_coefficients, orthonormal_basis, project

Array = NDArray[np.float64]
Index = NDArray[np.intp]

__all__ = ["BlockData", "Coupling", "CrossProducts", "cross_products"]


@dataclass(frozen=True, eq=False)
class BlockData:
    """The rows' view of one block: which level each row belongs to and its columns.

    Parameters
    ----------
    codes : ndarray (n,)
        Level of each row, 0 to levels - 1.
    columns : sequence of k ndarrays (n,), or None
        The block's columns; None stands for a column of ones.
    levels : int
        Number of levels.
    """

    codes: Index
    columns: Sequence[Array | None]
    levels: int

    @property
    def k(self) -> int:
        """Columns a level."""
        return len(self.columns)

    @property
    def size(self) -> int:
        """Columns of Z that the block stands for."""
        return self.k * self.levels


@dataclass(frozen=True, eq=False)
class Coupling:
    """Z_i'WZ_j of two blocks: the pairs of levels that meet in some row.

    Parameters
    ----------
    rows, columns : ndarray (pairs,)
        Levels in blocks i and j, sorted by row, then column.
    values : ndarray (k_i, k_j, pairs)
    """

    rows: Index
    columns: Index
    values: Array


@dataclass(frozen=True, eq=False)
class CrossProducts:
    """The blocks of A, and what it takes to go back to the user's X and y.

    Attributes
    ----------
    n, p : int
        Rows and independent columns of X.
    shapes : tuple of (int, int)
        Columns a level and levels, for each block.
    diagonal : list of ndarray (k, k, levels)
        Z_i'WZ_i.
    couplings : dict of (i, j), i < j, to Coupling
    ZX : ndarray (q, p)
        Z'WQ.
    Zy : ndarray (q,)
        Z'Wy, y the residual on X.
    yy : float
        y'Wy.
    R : ndarray (p, p)
        X = QR.
    beta_ols : ndarray (p,)
        Weighted least-squares coefficients of the response on X.
    logdet_W : float
    """

    n: int
    p: int
    shapes: tuple[tuple[int, int], ...]
    diagonal: list[Array]
    couplings: dict[tuple[int, int], Coupling]
    ZX: Array
    Zy: Array
    yy: float
    R: Array
    beta_ols: Array
    logdet_W: float

    @cached_property
    def offsets(self) -> Index:
        """Where each block starts among the columns of Z; the last entry is q."""
        return np.concatenate([[0], np.cumsum([k * levels for k, levels in self.shapes])])

    @property
    def q(self) -> int:
        """Columns of Z."""
        return int(self.offsets[-1])

    @cached_property
    def largest(self) -> list[Array]:
        """The largest diagonal entries over the levels, (k,) for each block."""
        return [np.einsum("aal->al", D).max(axis=1) for D in self.diagonal]

    @cached_property
    def logdet_R(self) -> float:
        """log|R|², the constant that the orthonormal basis takes out of the REML criterion."""
        return float(2.0 * np.log(np.abs(np.diag(self.R))).sum())

    @cached_property
    def average(self) -> list[Array]:
        """The mean of Z_l'WZ_l over the levels, (k, k) for each block."""
        return [D.mean(axis=2) for D in self.diagonal]

    def block(self, stacked: Array, i: int) -> Array:
        """Return block i of a (q,) or (q, c) array as a (k, levels) or (k, levels, c) view."""
        k, levels = self.shapes[i]
        part = stacked[self.offsets[i] : self.offsets[i + 1]]
        return part.reshape(k, levels, *stacked.shape[1:])

    def only(self, i: int) -> CrossProducts:
        """Return the cross-products of the model that has only block i."""
        own = slice(self.offsets[i], self.offsets[i + 1])
        return replace(
            self,
            shapes=(self.shapes[i],),
            diagonal=[self.diagonal[i]],
            couplings={},
            ZX=self.ZX[own],
            Zy=self.Zy[own],
        )

    @cached_property
    def ZZ(self) -> sparse.csr_array:
        """Z'WZ as one sparse matrix."""
        rows, columns, values = [], [], []
        for i, (k, levels) in enumerate(self.shapes):
            level = np.arange(levels)
            for a in range(k):
                for b in range(k):
                    rows.append(self.offsets[i] + a * levels + level)
                    columns.append(self.offsets[i] + b * levels + level)
                    values.append(self.diagonal[i][a, b])
        for (i, j), c in self.couplings.items():
            for a in range(self.shapes[i][0]):
                for b in range(self.shapes[j][0]):
                    r = self.offsets[i] + a * self.shapes[i][1] + c.rows
                    s = self.offsets[j] + b * self.shapes[j][1] + c.columns
                    rows += [r, s]
                    columns += [s, r]
                    values += [c.values[a, b]] * 2
        index = (np.concatenate(rows), np.concatenate(columns))
        return sparse.csr_array((np.concatenate(values), index), shape=(self.q, self.q))


def cross_products(
    y: Array, X: Array, blocks: Sequence[BlockData], weights: Array | None = None
) -> CrossProducts:
    """Form the cross-products of a model in one pass over its rows.

    Parameters
    ----------
    y : ndarray (n,)
        Response less offset.
    X : ndarray (n, p)
        Fixed-effects columns, linearly independent.
    blocks : sequence of BlockData
    weights : ndarray (n,), optional
        Positive precision weights.

    Returns
    -------
    CrossProducts
    """
    root = None if weights is None else np.sqrt(weights)
    Q, R, residual, beta = _residualize(y, X, root)
    weighted = [_weighted_columns(block, root) for block in blocks]
    responses = [*np.asfortranarray(Q).T, residual]
    Zr = np.concatenate([_level_sums(b, c, responses) for b, c in zip(blocks, weighted)])
    return CrossProducts(
        n=len(y),
        p=X.shape[1],
        shapes=tuple((b.k, b.levels) for b in blocks),
        diagonal=[_diagonal(b, c) for b, c in zip(blocks, weighted)],
        couplings={
            (i, j): _couple(blocks[i], weighted[i], blocks[j], weighted[j])
            for j in range(len(blocks))
            for i in range(j)
        },
        ZX=Zr[:, :-1],
        Zy=Zr[:, -1],
        yy=float(residual @ residual),
        R=R,
        beta_ols=beta,
        logdet_W=0.0 if weights is None else float(np.log(weights).sum()),
    )


def _residualize(y: Array, X: Array, root: Array | None) -> tuple[Array, Array, Array, Array]:
    """Return Q and R of √W X, the residual of √W y on them, and the coefficients."""
    Q, R = orthonormal_basis(X if root is None else X * root[:, None])
    beta, residual = project(Q, R, y[:, None], root, constant_coefficients(X))
    return Q, R, residual[:, 0], beta[:, 0]


def _weighted_columns(block: BlockData, root: Array | None) -> list[Array | None]:
    """Return √W times the block's columns; None still stands for ones."""
    if root is None:
        return list(block.columns)
    return [root if column is None else column * root for column in block.columns]


def _times(a: Array | None, b: Array | None) -> Array | None:
    """Return the elementwise product of two columns, None standing for ones."""
    if a is None:
        return b
    return a if b is None else a * b


def _sums(codes: Index, values: Array | None, size: int) -> Array:
    """Return the sums of `values` (ones if None) over the rows of each code."""
    return np.bincount(codes, values, size).astype(float, copy=False)


def _diagonal(block: BlockData, columns: list[Array | None]) -> Array:
    """Return Z_i'WZ_i as (k, k, levels)."""
    out = np.empty((block.k, block.k, block.levels))
    for a in range(block.k):
        for b in range(a + 1):
            out[a, b] = out[b, a] = _sums(block.codes, _times(columns[a], columns[b]), block.levels)
    return out


def _level_sums(block: BlockData, columns: list[Array | None], responses: Sequence[Array]) -> Array:
    """Return Z_i'W times each of the c `responses` (n,), as (k·levels, c)."""
    out = np.empty((block.k, block.levels, len(responses)))
    for a, column in enumerate(columns):
        for j, response in enumerate(responses):
            out[a, :, j] = _sums(block.codes, _times(column, response), block.levels)
    return out.reshape(block.size, -1)


def _couple(
    one: BlockData, columns1: list[Array | None], two: BlockData, columns2: list[Array | None]
) -> Coupling:
    """Return Z_i'WZ_j of two blocks on the pairs of levels that occur."""
    key = one.codes * two.levels + two.codes
    pair, uniques = number_keys(key, one.levels * two.levels)
    values = np.empty((one.k, two.k, len(uniques)))
    for a in range(one.k):
        for b in range(two.k):
            values[a, b] = _sums(pair, _times(columns1[a], columns2[b]), len(uniques))
    rows, columns = np.divmod(uniques, two.levels)
    return Coupling(rows, columns, values)
