"""The same sums in another layout: of some rows for all, of fewer columns, of more levels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from mixedlm_ext.design.rank import left_out
from mixedlm_ext.linalg import small
from mixedlm_ext.linalg.blas import matmul
from mixedlm_ext.linalg.orthogonal import whiten
from mixedlm_ext.linalg.triangular import solve_upper
from mixedlm_ext.products.basis import Basis
from mixedlm_ext.products.block_matrix import BlockMatrix, Coupling
from mixedlm_ext.products.layout import Layout
from mixedlm_ext.products.products import CrossProducts
from mixedlm_ext.products.transform import orthonormal, with_random_columns

Array = NDArray[np.float64]
Index = NDArray[np.intp]

__all__ = ["kept_columns", "moved", "settled", "turn", "with_levels"]


def kept_columns(cp: CrossProducts, columns: Index) -> CrossProducts:
    """Return the products with some of the columns of X, of which others may be combinations.

    With XC = QRC = QPS, and y - Xβ₀ = y - QP d₀ - Q d where QP d₀ is the projection of Xβ₀ on QP:
    (QP)'WQ d = 0. Where the others have no part in these columns, nor in β₀, P chooses columns.
    """
    layout = cp.layout
    if len(columns) == layout.p:
        return cp
    others = left_out(layout.p, columns)
    if not layout.R[np.ix_(others, columns)].any() and not layout.beta0[others].any():
        return replace(
            cp,
            layout=layout.take_fixed(columns),
            ZX=np.ascontiguousarray(cp.ZX[:, columns]),
            XX=cp.XX[np.ix_(columns, columns)],
            Xy=cp.Xy[columns],
        )
    P, S = np.linalg.qr(layout.R[:, columns])
    before = layout.R @ layout.beta0
    gram = P.T @ cp.XX @ P
    d0 = np.linalg.solve(gram, P.T @ (cp.XX @ before)) if len(columns) else np.zeros(0)
    d = before - P @ d0
    return replace(
        cp,
        layout=layout.with_fixed(S, solve_upper(S, d0)),
        ZX=cp.ZX @ P,
        Zy=cp.Zy + cp.ZX @ d,
        XX=gram,
        Xy=P.T @ cp.Xy,
        yy=cp.yy + float(2.0 * d @ cp.Xy + d @ cp.XX @ d),
    )


def moved(
    cp: CrossProducts, layout: Layout, levels: Sequence[Index], order: Sequence[int]
) -> CrossProducts:
    """Return the products in another layout, of more levels and with blocks in another order.

    Parameters
    ----------
    cp : CrossProducts
        X = QR in its layout, with β₀.
    layout : Layout
        X = Q₁R₁ there, so that Q₁ = QM with M = RR₁⁻¹, and y - Xβ₁ = y - Xβ₀ + Qd with
        d = R(β₀ - β₁).
    levels : sequence of ndarray
        Of each block of `cp`, where its levels are in the block of `layout`.
    order : sequence of int
        Of each block of `layout`, the block of `cp`.
    """
    own = cp.layout
    M = solve_upper(layout.R, own.R.T, transpose=True).T
    d = own.R @ (own.beta0 - layout.beta0)
    Zy = cp.Zy + cp.ZX @ d
    Zr = [cp.block(np.column_stack([matmul(cp.ZX, M), Zy]), i) for i in order]
    whole = [np.zeros((k, n, layout.p + 1)) for k, n in layout.shapes]
    diagonal = [np.zeros((k, k, n)) for k, n in layout.shapes]
    turns = [turn(own, layout, i, block) for block, i in enumerate(order)]
    for block, i in enumerate(order):
        whole[block][:, levels[i]] = np.tensordot(turns[block], Zr[block], axes=(0, 0))
        diagonal[block][:, :, levels[i]] = small.congruence(turns[block], cp.diagonal[i])
    couplings = {}
    for b in range(len(order)):
        for a in range(b):
            c = _oriented(cp, order[a], order[b]).between(turns[a], turns[b])
            rows, columns = levels[order[a]][c.rows], levels[order[b]][c.columns]
            at = np.argsort(rows * layout.shapes[b][1] + columns)
            couplings[a, b] = Coupling(rows[at], columns[at], c.values[:, :, at])
    stacked = np.concatenate([part.reshape(-1, layout.p + 1) for part in whole])
    return replace(
        cp,
        layout=layout,
        A=BlockMatrix(layout.shapes, diagonal, couplings),
        ZX=np.ascontiguousarray(stacked[:, :-1]),
        Zy=np.ascontiguousarray(stacked[:, -1]),
        XX=M.T @ cp.XX @ M,
        Xy=M.T @ (cp.Xy + cp.XX @ d),
        yy=cp.yy + float(2.0 * d @ cp.Xy + d @ cp.XX @ d),
    )


def turn(own: Layout, layout: Layout, i: int, block: int) -> Array:
    """Return M of a block with Z₁ = ZM: terms stand where the layouts say."""
    M = np.zeros((own.shapes[i][0], layout.shapes[block][0]))
    for old, new in zip(own.places, layout.places, strict=True):
        if old.block == i:
            M[old.own, new.own] = np.linalg.solve(new.whitening.T, old.whitening.T).T
    return M


def _oriented(cp: CrossProducts, i: int, j: int) -> Coupling:
    """Return Z_i'WZ_j of any two blocks."""
    if i < j:
        return cp.couplings[i, j]
    c = cp.couplings[j, i]
    return Coupling(c.columns, c.rows, c.values.transpose(1, 0, 2))


def with_levels(cp: CrossProducts, kept: Sequence[Index]) -> CrossProducts:
    """Return the products of some of the levels of each block; those left out have no rows."""
    layout = replace(cp.layout, shapes=tuple((k, len(own)) for (k, _), own in zip(cp.shapes, kept)))
    Zr = np.column_stack([cp.ZX, cp.Zy])
    parts = [cp.block(Zr, i)[:, own].reshape(-1, Zr.shape[1]) for i, own in enumerate(kept)]
    places = [np.full(q, -1, np.intp) for _, q in cp.shapes]
    for place, own in zip(places, kept):
        place[own] = np.arange(len(own))
    couplings = {}
    for (i, j), c in cp.couplings.items():
        rows, columns = places[i][c.rows], places[j][c.columns]
        both = (rows >= 0) & (columns >= 0)
        couplings[i, j] = Coupling(rows[both], columns[both], c.values[:, :, both])
    diagonal = [D[:, :, own] for D, own in zip(cp.diagonal, kept)]
    stacked = np.concatenate(parts)
    return replace(
        cp,
        layout=layout,
        A=BlockMatrix(layout.shapes, diagonal, couplings),
        ZX=np.ascontiguousarray(stacked[:, :-1]),
        Zy=np.ascontiguousarray(stacked[:, -1]),
    )


def settled(cp: CrossProducts, how: Sequence[str]) -> CrossProducts:
    """Return the products of all rows in the layout that these rows would have found themselves.

    Parameters
    ----------
    cp : CrossProducts
        Of all rows, in a layout that some of them found.
    how : sequence of str
        The whitening of each term (see `mixedlm_ext.linalg.orthogonal.whiten`).

    Raises
    ------
    LinAlgError
        If columns of X, or of a term that is whitened by a triangle, are dependent.
    """
    cp = orthonormal(cp)
    maps: dict[int, Array | None] = {}
    places = list(cp.layout.places)
    for block, (k, _) in enumerate(cp.shapes):
        M = np.zeros((k, k))
        for i, place in enumerate(places):
            if place.block == block:
                gram = cp.diagonal[block][place.own, place.own].sum(axis=-1) / cp.n
                R = _whitening(gram, place.whitening, how[i])
                M[place.own, place.own] = np.linalg.solve(R.T, place.whitening.T).T
                places[i] = replace(place, basis=Basis(R))
        maps[block] = M
    return with_random_columns(cp, maps, places)


def _whitening(gram: Array, R: Array, how: str) -> Array:
    """Return the whitening of columns XR⁻¹ with inner products `gram`."""
    if how == "triangular":
        return whiten(np.linalg.cholesky(gram).T @ R, how)[1]
    return whiten(np.diag(np.sqrt(np.diag(R.T @ gram @ R))), how)[1]
