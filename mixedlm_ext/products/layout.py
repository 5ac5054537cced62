"""Where each column lives: the terms within the blocks of Z, and the bases that columns are in.

A *block* collects the random-effects terms that share a grouping factor; a column of the block
stands for one column of Z for each level. The products are those of XR⁻¹, of y - Xβ₀ and of each
term's XR_t⁻¹. Any good R, β₀ and R_t serve; `learn` finds them from the rows, and the sums of other
rows in the same layout add up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mixedlm_ext.caching import cached_property
from mixedlm_ext.design import TermDesign
from mixedlm_ext.linalg.blas import matmul
from mixedlm_ext.linalg.precision import SparsePrecision
from mixedlm_ext.linalg.semidefinite import Root
from mixedlm_ext.linalg.triangular import solve_triangular, solve_upper
from mixedlm_ext.products.basis import Basis

Array = NDArray[np.float64]
Index = NDArray[np.intp]

__all__ = ["BlockData", "Layout", "Place"]


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
    root : Root, optional
        C (levels, r) with K = CC', where the effects of the levels have a known covariance K.
    prior : SparsePrecision, optional
        K⁻¹, where that is what is known of it.
    """

    codes: Index
    columns: Sequence[Array | None]
    levels: int
    root: Root | None = None
    prior: SparsePrecision | None = None

    def take(self, rows: slice | Index) -> BlockData:
        """Return the block of some of the rows."""
        columns = [None if column is None else column[rows] for column in self.columns]
        return replace(self, codes=self.codes[rows], columns=columns)

    @property
    def k(self) -> int:
        """Columns a level."""
        return len(self.columns)

    @property
    def effects(self) -> int:
        """Independent effects that the levels have: as many as levels, but for a root."""
        return self.levels if self.root is None else int(self.root.shape[1])

    @property
    def size(self) -> int:
        """Columns of Z that the block stands for."""
        return self.k * self.effects


@dataclass(frozen=True, eq=False)
class Place:
    """Where one random term is, and the basis of its columns.

    Parameters
    ----------
    block : int
    first : int
        Its first column within the block.
    basis : Basis
        Its R is lower triangular: the whitening factor R_t.
    root : Root, optional
        C (levels, r) of effects Cb, where the block holds b.
    shown : Root, optional
        What takes b to the effects that are reported: C, but of rows with several members what
        takes it to those of the members.
    """

    block: int
    first: int
    basis: Basis
    root: Root | None = None
    shown: Root | None = None

    @property
    def k(self) -> int:
        """Columns of the term."""
        return len(self.basis.R)

    @property
    def whitening(self) -> Array:
        """R_t (k, k): standardized columns times it are the user's."""
        return self.basis.R

    @property
    def lengths(self) -> Array:
        """Root mean squares of the user's columns, (k,)."""
        return np.asarray(np.linalg.norm(self.whitening, axis=0))

    @property
    def own(self) -> slice:
        """The term's columns within its block."""
        return slice(self.first, self.first + self.k)

    def columns(self, X: Array) -> Array:
        """Return the standardized columns of some rows, XR_t⁻¹."""
        if self.k == 1 and self.basis.centring is None:
            return X if self.basis.R[0, 0] == 1.0 else X / self.basis.R[0, 0]
        return self.basis.coordinates(X)

    def modes(self, block: Array) -> Array:
        """Return R_t⁻¹b, in the user's units, from the block's b (k_block, ...)."""
        own = block[self.own]
        if self.k == 1:
            effects = own / self.whitening[0, 0]
        else:
            flat = solve_triangular(self.whitening, own.reshape(self.k, -1), lower=True)
            effects = flat.reshape(own.shape)
        return self.reported(effects)

    def reported(self, own: Array) -> Array:
        """Return the effects that users see, of levels or of members, from b (k, r, ...)."""
        return _times(self.shown, own)

    def levels(self, own: Array) -> Array:
        """Return (I ⊗ C)b, the effects of levels or patterns, from b (k, r, ...)."""
        return _times(self.root, own)

    def covariance(self, blocks: Array) -> Array:
        """Return R_t⁻¹NR_t⁻ᵀ of each level from the block's N (k_block, k_block, ...)."""
        own, inverse = blocks[self.own, self.own], np.linalg.inv(self.whitening)
        return np.einsum("ab,bc...,dc->ad...", inverse, own, inverse, optimize=True)


def _times(C: Root | None, own: Array) -> Array:
    """Return (I ⊗ C)b from b (k, r, ...); None stands for I."""
    return own if C is None else np.stack([np.asarray(C @ part) for part in own])


@dataclass(frozen=True, eq=False)
class Layout:
    """The columns of [Z X y] as the products see them.

    Parameters
    ----------
    shapes : tuple of (int, int)
        Columns a level and levels, for each block. Where the levels have a root, its columns stand
        for the levels.
    places : tuple of Place
        Of the terms, in the order of the formula.
    basis : Basis
        Of the columns of X; its R is upper triangular.
    beta0 : ndarray (p,)
        y counts as y - Xβ₀.
    constant : ndarray (p,), optional
        a with Xa exactly a vector of ones.
    shift : float
        What β₀ takes out of y along a. It is subtracted first, so that a response far from zero
        keeps its digits.
    roots : tuple of Root or None
        Of each block; empty if no block has one.
    priors : tuple of SparsePrecision or None
        K⁻¹ of each block; empty if no block has one.
    """

    shapes: tuple[tuple[int, int], ...]
    places: tuple[Place, ...]
    basis: Basis
    beta0: Array
    constant: Array | None = None
    shift: float = 0.0
    roots: tuple[Root | None, ...] = ()
    priors: tuple[SparsePrecision | None, ...] = ()

    def prior(self, i: int) -> SparsePrecision | None:
        """Return K⁻¹ of the levels of block i; None where they are independent."""
        return self.priors[i] if self.priors else None

    def root_of(self, i: int) -> Root | None:
        """Return C of the levels of block i; None where its effects are those of its levels."""
        return self.roots[i] if self.roots else None

    @property
    def every_root(self) -> list[Root | None]:
        """C of the levels of each block."""
        return [self.root_of(i) for i in range(len(self.shapes))]

    @property
    def level_shapes(self) -> list[tuple[int, int]]:
        """Columns a level and levels of each block, before its levels are those of a root."""
        pairs = zip(self.shapes, self.every_root)
        return [(k, n if C is None else int(C.shape[0])) for (k, n), C in pairs]

    @property
    def R(self) -> Array:
        """X = QR (p, p)."""
        return self.basis.R

    @property
    def p(self) -> int:
        """Columns of X."""
        return len(self.basis.R)

    @cached_property
    def logdet_R(self) -> float:
        """log|R|², the constant that the basis takes out of the REML criterion."""
        return float(2.0 * np.log(np.abs(np.diag(self.R))).sum())

    # --- from the basis to the user's coefficients ------------------------------------------------

    def coefficients(self, gamma: Array) -> Array:
        """Return β₀ + R⁻¹γ for coefficients γ (p,) of Q."""
        return np.asarray(self.beta0 + solve_upper(self.R, gamma))

    def in_basis(self, beta: Array) -> Array:
        """Return γ = R(β - β₀)."""
        return np.asarray(self.R @ (beta - self.beta0))

    def root(self, RX: Array) -> Array:
        """Return R⁻¹R_X⁻¹ (p, p): times its transpose it is (X'V⁻¹X)⁻¹ of the user's X."""
        return solve_upper(self.R, solve_upper(RX, np.eye(self.p)))

    # --- from rows to coordinates -----------------------------------------------------------------

    def residual(self, y: Array, X: Array, Q: Array) -> Array:
        """Return y - Xβ₀ (n,) for rows with coordinates Q, none of them weighted."""
        known = 0.0 if self.constant is None else self.constant * self.shift
        first = y if self.constant is None else y - matmul(X, self.constant) * self.shift
        return np.asarray(first - matmul(Q, self.R @ (self.beta0 - known)))

    def blocks(self, terms: Sequence[TermDesign]) -> list[BlockData]:
        """Return the blocks of some rows, from the terms in the order of the formula."""
        columns: list[list[Array | None]] = [[None] * k for k, _ in self.shapes]
        codes: list[Index] = [np.zeros(0, np.intp)] * len(self.shapes)
        for term, place in zip(terms, self.places, strict=True):
            columns[place.block][place.own] = list(np.ascontiguousarray(place.columns(term.X).T))
            codes[place.block] = term.codes
        out = []
        for i, (c, own, (_, effects)) in enumerate(zip(codes, columns, self.shapes)):
            C = self.root_of(i)
            out.append(BlockData(c, own, effects if C is None else int(C.shape[0]), C))
        return out

    # --- other layouts ----------------------------------------------------------------------------

    def with_response(self, beta0: Array, shift: float = 0.0) -> Layout:
        """Return the layout of another response."""
        return replace(self, beta0=beta0, shift=shift)

    def with_fixed(self, R: Array, beta0: Array) -> Layout:
        """Return the layout of other columns X with X = QR."""
        return replace(self, basis=Basis(R), beta0=beta0, constant=None, shift=0.0)

    def take_fixed(self, columns: Index) -> Layout:
        """Return the layout of some columns of X, of which the others are no part."""
        constant = None if self.constant is None else self.constant[columns]
        return replace(
            self, basis=self.basis.take(columns), beta0=self.beta0[columns], constant=constant
        )
