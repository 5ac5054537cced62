"""Other responses on the same rows: only Z'Wy, y'Wy and X's coefficients change."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from mixedlm_ext.caching import cached_property
from mixedlm_ext.design import Design, TermDesign
from mixedlm_ext.design.removed import require_rows
from mixedlm_ext.linalg.orthogonal import constant_coefficients, project
from mixedlm_ext.products.basis import column_basis
from mixedlm_ext.products.layout import Layout
from mixedlm_ext.products.noise import noise_of
from mixedlm_ext.products.products import CrossProducts
from mixedlm_ext.products.roots import stacked_in_roots

Array = NDArray[np.float64]

__all__ = [
    "Reduced",
    "Reduction",
    "columns_in_layout",
    "columns_of_Z",
    "columns_of_levels",
    "with_response",
]


@dataclass(frozen=True, eq=False)
class Reduced:
    """What the cross-products say about r responses.

    Attributes
    ----------
    Zy : ndarray (q, r)
        Z'W times the residuals of the responses on X.
    yy : ndarray (r,)
        Their weighted sums of squares.
    beta0 : ndarray (p, r)
        Weighted least-squares coefficients on X.
    shift : ndarray (r,)
        What they take out of the responses along a constant.
    """

    Zy: Array
    yy: Array
    beta0: Array
    shift: Array


class Reduction:
    """The rows' side of a problem: what takes a response to its cross-products.

    Parameters
    ----------
    design : Design
        With its rows.
    layout : Layout
        Of the cross-products of the design.
    """

    def __init__(self, design: Design, layout: Layout) -> None:
        require_rows(design)
        self.offset = design.offset
        self.noise = noise_of(design)
        if design.residual is None:
            self.Q, basis, _ = column_basis(design.X, self.noise)
        else:
            basis = layout.basis
            self.Q = self.noise.root_times(basis.coordinates(design.X))
        self.R = basis.R
        self.constant = constant_coefficients(design.X)
        self._terms, self._layout, self._n = design.terms, layout, len(design.y)

    @cached_property
    def Zt(self) -> sparse.csr_array:
        """Z'W^½."""
        Z = columns_of_Z(self._terms, self._layout, self._n)
        return self.noise.root_of_sparse(Z).T.tocsr()

    def __call__(self, Y: Array) -> Reduced:
        """Reduce the columns of Y (n, r), offsets included."""
        Y = Y if self.offset is None else Y - self.offset[:, None]
        a = self.constant
        shift = np.zeros(Y.shape[1]) if a is None else Y.mean(axis=0)
        beta, residual = project(self.Q, self.R, self.noise.root_times(Y - shift))
        beta0 = beta if a is None else beta + np.outer(a, shift)
        by_level = Y.shape[1] == 1 and not self.noise.mixes
        Zy = self._level_sums(residual) if by_level else self.Zt @ residual
        return Reduced(Zy, np.einsum("nr,nr->r", residual, residual), beta0, shift)

    def _level_sums(self, residual: Array) -> Array:
        """Return Z'W^½ times one column (n, 1), without forming Z."""
        shapes, roots = self._layout.level_shapes, self._layout.every_root
        Zy = [np.empty(shape) for shape in shapes]
        for term, place in zip(self._terms, self._layout.places, strict=True):
            X = self.noise.root_times(place.columns(term.X))
            out = Zy[place.block]
            for a in range(place.k):
                out[place.first + a] = np.bincount(
                    term.codes, X[:, a] * residual[:, 0], out.shape[1]
                )
        stacked = np.concatenate([out.ravel() for out in Zy])[:, None]
        return stacked_in_roots(stacked, shapes, roots)


def with_response(cp: CrossProducts, reduced: Reduced, r: int = 0) -> CrossProducts:
    """Return the cross-products with the r-th of some reduced responses as the response.

    Z'WZ and what was computed from it are shared.
    """
    beta0 = np.ascontiguousarray(reduced.beta0[:, r])
    return replace(
        cp,
        layout=cp.layout.with_response(beta0, float(reduced.shift[r])),
        Zy=np.ascontiguousarray(reduced.Zy[:, r]),
        Xy=np.zeros(cp.p),
        yy=float(reduced.yy[r]),
    )


def columns_of_Z(terms: Sequence[TermDesign], layout: Layout, n: int) -> sparse.csr_array:
    """Return Z with the columns and the order of the cross-products, (n, q)."""
    roots, shapes = layout.every_root, layout.level_shapes
    Z = columns_of_levels(terms, layout, n)
    if all(C is None for C in roots):
        return Z
    stacked = [
        sparse.kron(sparse.eye_array(k), sparse.eye_array(levels) if C is None else C)
        for (k, levels), C in zip(shapes, roots)
    ]
    return sparse.csr_array(Z @ sparse.block_diag(stacked, format="csr"))


def columns_of_levels(terms: Sequence[TermDesign], layout: Layout, n: int) -> sparse.csr_array:
    """Return Z of the levels, whether or not their effects are those of a root."""
    shapes = layout.level_shapes
    offsets = np.cumsum([0, *(k * levels for k, levels in shapes)])
    values: list[Array] = [np.zeros(0)]
    columns: list[NDArray[np.intp]] = [np.zeros(0, np.intp)]
    for term, place in zip(terms, layout.places, strict=True):
        X = place.columns(term.X)
        levels = shapes[place.block][1]
        for a in range(place.k):
            values.append(X[:, a])
            columns.append(offsets[place.block] + (place.first + a) * levels + term.codes)
    row = np.tile(np.arange(n), len(values) - 1)
    cells = (np.concatenate(values), (row, np.concatenate(columns)))
    return sparse.csr_array(cells, shape=(n, int(offsets[-1])))


def columns_in_layout(
    terms: Sequence[TermDesign], X: Array, y: Array, layout: Layout, root_w: Array
) -> sparse.csr_array:
    """Return [Z Q y - Xβ₀] of rows in a layout, Z of the levels, times the roots of the weights."""
    Q = layout.basis.coordinates(X)
    residual = layout.residual(y, X, Q)
    Z = columns_of_levels(terms, layout, len(y))
    H = sparse.hstack([Z, sparse.csr_array(np.column_stack([Q, residual]))])
    return sparse.csr_array(sparse.diags_array(root_w) @ H)
