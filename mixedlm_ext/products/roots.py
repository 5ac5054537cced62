"""Cross-products of effects that stand for the levels of a factor: a = (I ⊗ C)b.

Where the levels of a block have a known covariance K = CC', their effects are a = Cb with b
independent, and Z'WZ of b is C'AC by blocks: what a row touches is summed by level first.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.linalg import blas

from mixedlm_ext.linalg.blas import matmul
from mixedlm_ext.linalg.semidefinite import Root
from mixedlm_ext.products.block_matrix import BlockMatrix, Coupling

Array = NDArray[np.float64]
Index = NDArray[np.intp]

__all__ = ["in_roots", "levels_of_roots", "stacked_in_roots"]

Roots = Sequence[Root | None]


def in_roots(A: BlockMatrix, roots: Roots) -> BlockMatrix:
    """Return the matrix of b from that of a, for the blocks that have a root C (levels, r)."""
    if not any(root is not None for root in roots):
        return A
    shapes = tuple(
        (k, levels if C is None else int(C.shape[1])) for (k, levels), C in zip(A.shapes, roots)
    )
    diagonal, couplings = [], {}
    for i, C in enumerate(roots):
        D, own = (A.diagonal[i], A.couplings.get((i, i))) if C is None else _own(A, i, C)
        diagonal.append(D)
        if own is not None:
            couplings[i, i] = own
    for (i, j), c in A.couplings.items():
        if i != j:
            plain = roots[i] is None and roots[j] is None
            shape = (A.shapes[i][1], A.shapes[j][1])
            couplings[i, j] = c if plain else _between(c, shape, roots[i], roots[j])
    return BlockMatrix(shapes, diagonal, couplings)


def stacked_in_roots(H: Array, shapes: Sequence[tuple[int, int]], roots: Roots) -> Array:
    """Return (I ⊗ C)'H by blocks for H (Σ k·levels, c), stacked as the columns of Z are."""
    if not any(root is not None for root in roots):
        return H
    out, start = [], 0
    for (k, levels), C in zip(shapes, roots):
        part = H[start : start + k * levels]
        start += k * levels
        if C is not None:
            parts = [_transposed_times(C, part[a * levels : (a + 1) * levels]) for a in range(k)]
            part = np.concatenate(parts)
        out.append(part)
    return np.concatenate(out)


def levels_of_roots(b: Array, shapes: Sequence[tuple[int, int]], roots: Roots) -> Array:
    """Return (I ⊗ C)b by blocks for stacked effects b of these shapes."""
    out, start = [np.zeros(0)], 0
    for (k, effects), C in zip(shapes, roots):
        part = b[start : start + k * effects].reshape(k, effects)
        start += k * effects
        out.append((part if C is None else part @ C.T).ravel())
    return np.concatenate(out)


def _transposed_times(C: Root, H: Array) -> Array:
    """Return C'H, dense."""
    return matmul(C.T, H) if isinstance(C, np.ndarray) else np.asarray(C.T @ H)


def _own(A: BlockMatrix, i: int, C: Root) -> tuple[Array, Coupling]:
    """Return the diagonal blocks of one block of C'AC, and what joins its columns."""
    k, levels = A.shapes[i]
    r = int(C.shape[1])
    coupling = A.couplings.get((i, i))
    rows, columns = _joined(_whole(np.ones((k, k, levels)), coupling, 0, 0, ones=True), C)
    D, values = np.empty((k, k, r)), np.empty((k, k, len(rows)))
    for a in range(k):
        for b in range(k):
            d = A.diagonal[i][a, a]
            if (
                coupling is None
                and a == b
                and isinstance(C, np.ndarray)
                and d.min(initial=0.0) >= 0
            ):
                P = _weighted_square(d, C)
            else:
                P = _congruence(C, _whole(A.diagonal[i], coupling, a, b), C)
            D[a, b] = P.diagonal()
            values[a, b] = _entries(P, rows, columns)
    return D, Coupling(rows, columns, values)


def _weighted_square(d: Array, C: Array) -> Array:
    """Return the lower triangle of C'DC for d (levels,)."""
    if (d < 0.0).any():  # observed information may be
        return matmul(C.T, d[:, None] * C)
    return np.asarray(blas.dsyrk(1.0, (np.sqrt(d)[:, None] * C).T, lower=1))


def _whole(
    diagonal: Array, own: Coupling | None, a: int, b: int, ones: bool = False
) -> sparse.csr_array:
    """Return A_ab of one block, (levels, levels), from its diagonal and what joins its levels."""
    levels = diagonal.shape[2]
    at = np.arange(levels)
    rows, columns, values = [at], [at], [diagonal[a, b]]
    if own is not None:
        one, two = (np.ones((2, len(own.rows)))) if ones else (own.values[a, b], own.values[b, a])
        rows += [own.rows, own.columns]
        columns += [own.columns, own.rows]
        values += [one, two]
    cells = (np.concatenate(values), (np.concatenate(rows), np.concatenate(columns)))
    return sparse.csr_array(cells, shape=(levels, levels))


def _joined(S: sparse.csr_array, C: Root) -> tuple[Index, Index]:
    """Return the pairs of columns, below the diagonal, that C'SC joins."""
    if isinstance(C, np.ndarray):
        rows, columns = np.tril_indices(C.shape[1], -1)
        return rows.astype(np.intp), columns.astype(np.intp)
    P = sparse.coo_array(_congruence(_pattern(C), S, _pattern(C)))
    below = P.row > P.col
    return _sorted(P.row[below], P.col[below])


def _sorted(rows: Any, columns: Any) -> tuple[Index, Index]:
    """Return pairs by row, then column."""
    order = np.lexsort((columns, rows))
    return rows[order].astype(np.intp), columns[order].astype(np.intp)


def _pattern(C: Any) -> sparse.csr_array:
    """Return ones where C has entries."""
    return sparse.csr_array((np.ones(len(C.data)), C.indices, C.indptr), shape=C.shape)


def _congruence(left: Any, S: sparse.csr_array, right: Any) -> Any:
    """Return C_i'SC_j; None stands for I."""
    out = S if right is None else S @ right
    if isinstance(left, np.ndarray) and isinstance(out, np.ndarray):
        return matmul(left.T, out)
    return out if left is None else left.T @ out


def _entries(P: Any, rows: Index, columns: Index) -> Array:
    """Return the entries of a product at some pairs."""
    if isinstance(P, np.ndarray):
        return np.asarray(P[rows, columns])
    return np.asarray(P[rows, columns]).ravel()


def _between(
    c: Coupling, shape: tuple[int, int], left: Root | None, right: Root | None
) -> Coupling:
    """Return C_i'A_ijC_j of two blocks, for A_ij of this shape."""

    def products(values: Array) -> sparse.csr_array:
        return sparse.csr_array((values, (c.rows, c.columns)), shape=shape)

    dense = isinstance(left, np.ndarray) or isinstance(right, np.ndarray)
    if dense:
        r = shape[0] if left is None else int(left.shape[1])
        s = shape[1] if right is None else int(right.shape[1])
        rows, columns = (at.ravel().astype(np.intp) for at in np.indices((r, s)))
    else:
        patterns = [None if C is None else _pattern(C) for C in (left, right)]
        ones = sparse.coo_array(
            _congruence(patterns[0], products(np.ones(len(c.rows))), patterns[1])
        )
        rows, columns = _sorted(ones.row, ones.col)
    k, m = c.values.shape[:2]
    values = np.empty((k, m, len(rows)))
    for a in range(k):
        for b in range(m):
            P = _congruence(left, products(c.values[a, b]), right)
            values[a, b] = _entries(P, rows, columns)
    return Coupling(rows, columns, values)
