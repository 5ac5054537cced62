"""The only place where rows of data are touched: a layout is learnt, and products are summed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixedlm_ext.design import TermDesign
from mixedlm_ext.linalg.blas import inner
from mixedlm_ext.linalg.keys import number_keys
from mixedlm_ext.linalg.orthogonal import constant_coefficients, project
from mixedlm_ext.products.basis import column_basis, term_basis
from mixedlm_ext.products.block_matrix import BlockMatrix, Coupling
from mixedlm_ext.products.layout import BlockData, Layout, Place
from mixedlm_ext.products.noise import Noise
from mixedlm_ext.products.products import CrossProducts
from mixedlm_ext.products.roots import in_roots, stacked_in_roots
from mixedlm_ext.products.supports import LevelSquares, cells_of_rows, diagonal_of

Array = NDArray[np.float64]
Index = NDArray[np.intp]

__all__ = [
    "LevelSums",
    "RowSums",
    "cross_products",
    "diagonal_sums",
    "lay_out",
    "learn",
    "level_sums",
    "shared_groups",
    "starts_of",
    "times",
    "weighted_columns",
]


def shared_groups(terms: Sequence[TermDesign]) -> list[list[int]]:
    """Collect the terms that share their grouping, the largest block first.

    Terms whose levels have a known covariance share it with those of the same one only.
    """
    groups: list[list[int]] = []
    for i, term in enumerate(terms):
        for members in groups:
            other = terms[members[0]]
            same = other.related is term.related and other.n_codes == term.n_codes
            if same and np.array_equal(other.codes, term.codes):
                members.append(i)
                break
        else:
            groups.append([i])
    return sorted(groups, key=lambda own: -terms[own[0]].effects * _width(terms, own))


def lay_out(
    terms: Sequence[TermDesign],
    groups: Sequence[Sequence[int]],
    noise: Noise,
    dependent: bool = False,
) -> tuple[list[Place], list[BlockData]]:
    """Merge terms into blocks and whiten their columns.

    Parameters
    ----------
    terms : sequence of TermDesign
    groups : sequence of sequence of int
        The terms of each block (see `shared_groups`).
    noise : Noise
    dependent : bool
        Whether columns of a term may be dependent in these rows.

    Returns
    -------
    list of Place
        In the order of the terms.
    list of BlockData
    """
    places: dict[int, Place] = {}
    blocks = []
    for block, members in enumerate(groups):
        columns: list[Array | None] = []
        for i in members:
            own, basis = term_basis(terms[i].X, noise, terms[i].kind.whitening, dependent)
            roots = terms[i].root, terms[i].root_of_levels
            places[i] = Place(block, len(columns), basis, *roots)
            columns += _columns(own)
        first = terms[members[0]]
        blocks.append(BlockData(first.codes, columns, first.n_codes, first.root, first.precision))
    return [places[i] for i in range(len(terms))], blocks


def _width(terms: Sequence[TermDesign], members: Sequence[int]) -> int:
    """Columns a level of the terms together."""
    return sum(len(terms[i].columns) for i in members)


def _columns(X: Array) -> list[Array | None]:
    """Return the columns one by one, None for a column of ones."""
    ones = X.shape[1] == 1 and bool((np.abs(X - 1.0) < 1e-14).all())
    return [None] if ones else list(X.T.copy())


@dataclass(frozen=True, eq=False)
class _Coordinates:
    """Weighted rows in a layout: W^½Q (n, p) and W^½(y - Xβ₀) (n,)."""

    Q: Array
    y: Array


def cross_products(
    y: Array,
    X: Array,
    blocks: Sequence[BlockData],
    noise: Noise,
    places: Sequence[Place] = (),
) -> CrossProducts:
    """Form the cross-products of all rows of a model, in a basis in which XX = I and Xy = 0.

    Parameters
    ----------
    y : ndarray (n,)
        Response less offset.
    X : ndarray (n, p)
        Fixed-effects columns, linearly independent.
    blocks : sequence of BlockData
    noise : Noise
    places : sequence of Place
        Where the terms are in the blocks.

    Returns
    -------
    CrossProducts
    """
    layout, rows = _learn(y, X, blocks, noise, places)
    XX, Xy = np.eye(X.shape[1]), np.zeros(X.shape[1])
    return _form(layout, blocks, rows, noise, XX, Xy)


def learn(
    y: Array,
    X: Array,
    terms: Sequence[TermDesign],
    groups: Sequence[Sequence[int]],
    noise: Noise,
) -> Layout:
    """Find a layout for rows of which these are some: a good one if they are like the others.

    Parameters
    ----------
    y : ndarray (m,)
        Response less offset.
    X : ndarray (m, p)
        Its columns may be dependent in these rows.
    terms : sequence of TermDesign
        With the levels and codes of all rows.
    groups : sequence of sequence of int
        The terms of each block.
    noise : Noise

    Returns
    -------
    Layout
    """
    places, blocks = lay_out(terms, groups, noise, dependent=True)
    return _learn(y, X, blocks, noise, places, dependent=True)[0]


def _if_any(values: Iterable[Any]) -> tuple[Any, ...]:
    """Return one value a block, nothing if all are None."""
    kept = tuple(values)
    return kept if any(value is not None for value in kept) else ()


class RowSums:
    """Rows in a layout; the products of any of them are one call away.

    Parameters
    ----------
    layout : Layout
    y : ndarray (m,)
        Response less offset.
    X : ndarray (m, p)
    terms : sequence of TermDesign
        In the order of the formula, with the level codes of the layout.
    noise : Noise
    """

    def __init__(
        self,
        layout: Layout,
        y: Array,
        X: Array,
        terms: Sequence[TermDesign],
        noise: Noise,
    ) -> None:
        self.layout = layout
        self._blocks = layout.blocks(terms)
        self._noise = noise
        Q = layout.basis.coordinates(X)
        residual = layout.residual(y, X, Q)
        self._rows = _Coordinates(noise.root_times(Q), noise.root_times(residual))

    def products(self, rows: slice | Index = slice(None)) -> CrossProducts:
        """Return the cross-products of some rows, maybe none; of all by default."""
        Q, y = self._rows.Q[rows], self._rows.y[rows]
        blocks = [block.take(rows) for block in self._blocks]
        noise = self._noise.take(rows)
        return _form(self.layout, blocks, _Coordinates(Q, y), noise, Q.T @ Q, Q.T @ y)


def _learn(
    y: Array,
    X: Array,
    blocks: Sequence[BlockData],
    noise: Noise,
    places: Sequence[Place],
    dependent: bool = False,
) -> tuple[Layout, _Coordinates]:
    """Return a basis of X and y's coefficients on it, and the rows' coordinates."""
    Q, basis, kept = column_basis(X, noise, dependent)
    constant = constant_coefficients(X) if len(X) else None
    shift = 0.0 if constant is None else float(y.mean())
    beta, residual = project(Q, basis.R, noise.root_times(y - shift), kept)
    layout = Layout(
        shapes=tuple((b.k, b.effects) for b in blocks),
        places=tuple(places),
        basis=basis,
        beta0=beta if constant is None else beta + constant * shift,
        constant=constant,
        shift=shift,
        roots=_if_any(b.root for b in blocks),
        priors=_if_any(b.prior for b in blocks),
    )
    return layout, _Coordinates(Q, residual)


def _form(
    layout: Layout,
    blocks: Sequence[BlockData],
    rows: _Coordinates,
    noise: Noise,
    XX: Array,
    Xy: Array,
) -> CrossProducts:
    """Sum over the rows."""
    weighted = [weighted_columns(block, noise) for block in blocks]
    responses = [*np.asfortranarray(rows.Q).T, rows.y]
    own = [_own_sums(b, c, responses) for b, c in zip(blocks, weighted)]
    Zr = np.concatenate([np.zeros((0, len(responses))), *(sums for _, sums in own)])
    roots = [block.root for block in blocks]
    shapes = tuple((b.k, b.levels) for b in blocks)
    couplings = {
        (i, j): _couple(blocks[i], weighted[i], blocks[j], weighted[j])
        for j in range(len(blocks))
        for i in range(j)
    }
    diagonal = diagonal_of([squares for squares, _ in own])
    Zr = stacked_in_roots(Zr, shapes, roots)
    return CrossProducts(
        layout=layout,
        n=len(rows.y),
        A=in_roots(BlockMatrix(shapes, diagonal, couplings), roots),
        ZX=Zr[:, :-1],
        Zy=Zr[:, -1],
        XX=XX,
        Xy=Xy,
        yy=inner(rows.y, rows.y),
        logdet_W=noise.logdet,
    )


def weighted_columns(block: BlockData, noise: Noise) -> list[Array | None]:
    """Return W^½ times the block's columns; None still stands for ones."""
    return [noise.ones if c is None else noise.root_times(c) for c in block.columns]


def times(a: Array | None, b: Array | None) -> Array | None:
    """Return the elementwise product of two columns, None standing for ones."""
    if a is None:
        return b
    return a if b is None else a * b


def starts_of(codes: Index) -> Index:
    """Return where each code of some sorted ones starts.

    Examples
    --------
    >>> starts_of(np.array([2, 2, 5])).tolist()
    [0, 2]
    """
    return np.flatnonzero(np.concatenate([[True], codes[1:] != codes[:-1]])[: len(codes)])


class LevelSums:
    """Sums over the rows of each code; of sorted codes they are several times faster."""

    def __init__(self, codes: Index, size: int) -> None:
        self._codes, self._size = codes, size
        self._starts = starts_of(codes) if (codes[1:] >= codes[:-1]).all() else None

    def __call__(self, values: Array | None) -> Array:
        """Return the sums of `values` (ones if None), (size,)."""
        if values is None or self._starts is None:
            return np.bincount(self._codes, values, self._size).astype(float, copy=False)
        out = np.zeros(self._size)
        out[self._codes[self._starts]] = np.add.reduceat(values, self._starts)
        return out


def _own_sums(
    block: BlockData, columns: list[Array | None], responses: Sequence[Array]
) -> tuple[Array | LevelSquares, Array]:
    """Return Z_i'WZ_i and Z_i'W times the responses.

    In the columns that each level has, where these are few.
    """
    cells = None
    if block.root is None and block.prior is None:
        cells = cells_of_rows(block.codes, columns, block.levels)
    if cells is not None:
        return cells.squares, cells.sums(responses)
    return diagonal_sums(block, columns), level_sums(block, columns, responses)


def diagonal_sums(
    block: BlockData, columns: list[Array | None], sums: LevelSums | None = None
) -> Array:
    """Return Z_i'WZ_i as (k, k, levels); `sums` are those by its codes, if they are there."""
    out = np.empty((block.k, block.k, block.levels))
    sums = sums or LevelSums(block.codes, block.levels)
    for a in range(block.k):
        for b in range(a + 1):
            out[a, b] = out[b, a] = sums(times(columns[a], columns[b]))
    return out


def level_sums(
    block: BlockData,
    columns: list[Array | None],
    responses: Sequence[Array],
    sums: LevelSums | None = None,
) -> Array:
    """Return Z_i'W times each of the c `responses` (n,), as (k·levels, c)."""
    out = np.empty((block.k, block.levels, len(responses)))
    sums = sums or LevelSums(block.codes, block.levels)
    for a, column in enumerate(columns):
        for j, response in enumerate(responses):
            out[a, :, j] = sums(times(column, response))
    return out.reshape(block.k * block.levels, -1)


def _couple(
    one: BlockData, columns1: list[Array | None], two: BlockData, columns2: list[Array | None]
) -> Coupling:
    """Return Z_i'WZ_j of two blocks on the pairs of levels that occur."""
    key = one.codes * two.levels + two.codes
    pair, uniques = number_keys(key, one.levels * two.levels)
    sums = LevelSums(pair, len(uniques))
    values = np.empty((one.k, two.k, len(uniques)))
    for a in range(one.k):
        for b in range(two.k):
            values[a, b] = sums(times(columns1[a], columns2[b]))
    rows, columns = np.divmod(uniques, two.levels)
    return Coupling(rows, columns, values)
