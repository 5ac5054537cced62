"""The traces tr(P ∂V P ∂V): what the exact Hessian has beside the average information.

With Γ_i = T_iT_i', V = W⁻¹ + Σ_i Z_i(Γ_i ⊗ I)Z_i' and W̄ = Z'PZ (ML: Z'V⁻¹Z, here as well), two
covariances Γ_ac of block i and Γ_bd of block j, each with its mirror image, have

    tr(P ∂V/∂Γ_ac P ∂V/∂Γ_bd) = 2 Σ_lm (W̄_al,bm W̄_cl,dm + W̄_al,dm W̄_cl,bm)        l in i, m in j

The second derivatives of the criterion are twice the average information less these traces
(Gilmour, Thompson & Cullis 1995). Three ways lead to them: level by level where one block is all of
Z, from a dense W̄ where Z is small, and by differences of Σ_l W̄_ll, whose derivatives they are,
where it is neither. Terms with standard deviations and correlations for parameters have symmetric
directions D of Γ of their own in place of pairs of entries:

    tr(P ∂V_D P ∂V_F) = Σ_lm tr(D W̄_lm F W̄_ml)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from mixedlm_ext.linalg.blas import matmul
from mixedlm_ext.linalg.triangular import lower_root
from mixedlm_ext.products.supports import LevelSquares
from mixedlm_ext.structures.covariance import Covariance
from mixedlm_ext.structures.derivatives import coordinate_directions

Array = NDArray[np.float64]
Blocks = Sequence[Array]
Directions = Sequence[tuple[int, Array]]
Shapes = tuple[tuple[int, int], ...]

__all__ = ["traces_along", "traces_by_differences", "traces_by_levels", "traces_of_dense"]

_STEP = 1e-4
"""Step of the differences, relative to one plus the variances that it adds to."""


def traces_by_levels(
    covariance: Covariance, theta: Array, D: Array | LevelSquares, U: Array
) -> Array:
    """Return the traces, in the coordinates of the covariance, for one block.

    Parameters
    ----------
    covariance : Covariance
    theta : ndarray (m,)
        Standardized.
    D : ndarray (k, k, levels) or LevelSquares
        Z_l'V⁻¹Z_l.
    U : ndarray (k, levels, p)
        W̄ = blockdiag(D_l) - UU'; p is 0 under ML.
    """
    if covariance.shaped:
        changes = [change for _, change in coordinate_directions(covariance, theta)]
        if isinstance(D, LevelSquares):
            own = [D.support.squares(change) for change in changes]
            return traces_along(own, D.values, D.support.take(U))
        return traces_along([change[:, :, None] for change in changes], D, U)
    D = D.whole if isinstance(D, LevelSquares) else D
    UU = np.einsum("alp,blp->abl", U, U)
    across = np.einsum("alp,blq->abpq", U, U)
    products = np.einsum("abl,cdl->abcd", D, D)
    products -= np.einsum("abl,cdl->abcd", D, UU) + np.einsum("abl,cdl->abcd", UU, D)
    products += np.einsum("acpq,bdpq->abcd", across, across)
    return _paired(covariance, lambda i, j: products)


def traces_along(directions: Sequence[Array], B: Array, U: Array) -> Array:
    """Return the traces of directions of one block, W̄ = blockdiag(B_l) - UU'.

    Directions are (k, k, levels), or (k, k, 1) where they are the same at all levels.
    """
    levels, u = B.transpose(2, 0, 1), np.ascontiguousarray(U.transpose(1, 0, 2))
    outer = u @ u.transpose(0, 2, 1)
    changes = [np.ascontiguousarray(D.transpose(2, 0, 1)) for D in directions]
    images = [np.tensordot(u, D @ u, axes=([0, 1], [0, 1])) for D in changes]
    out = np.empty((len(changes), len(changes)))
    for h, F in enumerate(changes):
        both = levels @ F
        one = both @ outer
        A = both @ levels - one - one.transpose(0, 2, 1)
        out[:, h] = [(D * A).sum() + (P * images[h]).sum() for D, P in zip(changes, images)]
    return out


def _along_dense(directions: Directions, blocks: Sequence[Sequence[Array]]) -> Array:
    """Return the traces of directions of several blocks."""
    out = np.empty((len(directions), len(directions)))
    for h, (j, F) in enumerate(directions):
        for g, (i, D) in enumerate(directions[: h + 1]):
            W = blocks[i][j]  # (a, l, b, m)
            DW = np.tensordot(D, W, axes=1)
            WF = np.einsum("albm,bd->aldm", W, F)
            out[g, h] = out[h, g] = float(np.vdot(DW, WF))
    return out


def traces_of_dense(covariance: Covariance, theta: Array, W: Array, shapes: Shapes) -> Array:
    """Return the traces, in the coordinates of the covariance, from W̄ itself.

    Parameters
    ----------
    covariance : Covariance
    theta : ndarray (m,)
        Standardized.
    W : ndarray (q, q)
        W̄.
    shapes : tuple of (int, int)
        Columns a level and levels, for each block.
    """
    blocks = _by_blocks(W, shapes)
    if covariance.shaped:
        return _along_dense(coordinate_directions(covariance, theta), blocks)

    def products(i: int, j: int) -> Array:
        ki, kj = covariance.block_sizes[i], covariance.block_sizes[j]
        rows = blocks[i][j].transpose(0, 2, 1, 3).reshape(ki * kj, -1)
        return matmul(rows, rows.T).reshape(ki, kj, ki, kj)

    return _paired(covariance, products)


def _by_blocks(W: Array, shapes: Shapes) -> list[list[Array]]:
    """Cut W (q, q) into its blocks, each (k_i, levels_i, k_j, levels_j)."""
    stops = list(accumulate(k * levels for k, levels in shapes))
    parts = [(slice(stop - k * n, stop), (k, n)) for stop, (k, n) in zip(stops, shapes)]
    return [[W[a, b].reshape(*rows, *columns) for b, columns in parts] for a, rows in parts]


def traces_by_differences(
    covariance: Covariance, templates: Blocks, information: Callable[[Array], Blocks]
) -> Array:
    """Return the traces, in the order of the covariance's entries, from two evaluations for each.

    All structures are linear.

    Parameters
    ----------
    covariance : Covariance
    templates : sequence of ndarray (k, k)
        T_i.
    information : callable
        Returns Σ_l W̄_ll of every block at a theta.

    Notes
    -----
    A step adds a matrix of rank one to a Γ_i, which stays a covariance matrix at the boundary too;
    the differences are one-sided, of the second order.
    """
    m = covariance.n_coordinates
    half = np.where(covariance.rows == covariance.columns, 0.5, 1.0)
    directions, changes = np.empty((m, m)), np.empty((m, m))
    centre = covariance.free_entries(information(_raised(covariance, templates, 0, None)))
    for j, (i, a, c) in enumerate(zip(covariance.blocks, covariance.rows, covariance.columns)):
        x = np.zeros(covariance.block_sizes[i])
        x[[a, c]] = 1.0
        h = _STEP * (1.0 + float(((templates[i].T @ x) ** 2).sum()))
        ahead, further = (
            covariance.free_entries(information(_raised(covariance, templates, i, root * x)))
            for root in (np.sqrt(h), np.sqrt(2.0 * h))
        )
        changes[j] = (4.0 * ahead - further - 3.0 * centre) / (2.0 * h)
        added = [np.zeros_like(T) for T in templates]
        added[i] = np.outer(x, x)
        directions[j] = half * covariance.free_entries(added)
    out = -2.0 * np.linalg.solve(directions, changes)
    return np.asarray(0.5 * (out + out.T))


def _raised(covariance: Covariance, templates: Blocks, i: int, x: Array | None) -> Array:
    """Return the theta of Γ_i + xx'."""
    out = list(templates)
    if x is not None:
        out[i] = lower_root(np.column_stack([templates[i], x]))
    return covariance.theta_of(out)


def _paired(covariance: Covariance, products: Callable[[int, int], Array]) -> Array:
    """Add the two products of each pair of parameters; `products` (a, b, c, d) by blocks."""
    out = np.empty((covariance.n_coordinates, covariance.n_coordinates))
    for i, rows in enumerate(covariance.of_block):
        a, c = covariance.rows[rows][:, None], covariance.columns[rows][:, None]
        for j, columns in enumerate(covariance.of_block):
            b, d = covariance.rows[columns], covariance.columns[columns]
            M = products(i, j)
            if M.size == 1:
                out[rows[0], columns[0]] = 4.0 * M.item()
            else:
                out[rows[:, None], columns] = 2.0 * (M[a, b, c, d] + M[a, d, c, b])
    return out
