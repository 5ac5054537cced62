"""Terms of a short sum that were added up batch by batch, taken to the layout of all rows.

Each is a symmetric matrix S of all columns [Z X y] in a layout that some of the rows found. With
the columns of another layout [Z X y]T they are T'ST: the same T for all terms, whichever rows they
are sums of.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from mixedlm_ext.linalg.triangular import solve_upper
from mixedlm_ext.products.layout import Layout
from mixedlm_ext.products.moves import turn
from mixedlm_ext.products.products import CrossProducts
from mixedlm_ext.products.residual_cells import Cells, by_blocks

Array = NDArray[np.float64]
Index = NDArray[np.intp]
Matrix = Any
"""A sparse array of scipy."""

__all__ = ["SparseSum", "cells_of", "change_of_layout", "matrix_of"]


class SparseSum:
    """A sum of sparse matrices: each number is moved a logarithmic number of times."""

    def __init__(self) -> None:
        self._runs: list[Matrix] = []

    def add(self, S: Matrix) -> None:
        """Add a matrix."""
        while self._runs and self._runs[-1].nnz < 2 * S.nnz:
            S = self._runs.pop() + S
        self._runs.append(S)

    def total(self) -> Matrix:
        """Return the sum of all that were added."""
        while len(self._runs) > 1:
            last = self._runs.pop()
            self._runs.append(self._runs.pop() + last)
        return self._runs[0]


def matrix_of(cp: CrossProducts) -> Matrix:
    """Return the symmetric matrix [Z X y]'W[Z X y] of some cross-products."""
    pairs = {key: (c.rows, c.columns) for key, c in cp.couplings.items()}
    cells = Cells(cp.shapes, cp.p, pairs)
    HH = np.block([[cp.XX, cp.Xy[:, None]], [cp.Xy[None], np.array([[cp.yy]])]])
    numbers = cells.numbers(cp.A, np.column_stack([cp.ZX, cp.Zy]), HH)
    q, N = cp.q, cp.q + cp.p + 1
    S = sparse.csr_array((numbers, (cells.rows, cells.columns)), shape=(N, N))
    once = np.zeros(len(cells), dtype=bool)  # entries that stand on one side of the diagonal
    inner = sum(k * k * levels for k, levels in cp.shapes)
    once[inner : len(cells) - (cp.p + 1) ** 2] = True
    assert not once.any() or cells.rows[once].max() < q
    other = (cells.columns[once], cells.rows[once])
    return S + sparse.csr_array((numbers[once], other), shape=(N, N))


def change_of_layout(own: Layout, layout: Layout, kept: Index) -> Matrix:
    """Return T, with which columns in one layout times T are those in another.

    Parameters
    ----------
    own, layout : Layout
    kept : ndarray of intp
        The columns of X that `layout` has.

    Notes
    -----
    X[kept] = QR[kept] = Q₁R₁, so that Q₁ = QP with P = R[kept]R₁⁻¹, and
    y - X[kept]β₁ = y - Xβ₀ + Qd with d = Rβ₀ - PR₁β₁.
    """
    P = solve_upper(layout.R, own.R[:, kept].T, transpose=True).T
    d = own.R @ own.beta0 - P @ (layout.R @ layout.beta0)
    fixed = np.block(
        [[P, d[:, None]], [np.zeros((1, P.shape[1])), np.ones((1, 1))]],
    )
    blocks = [
        sparse.kron(turn(own, layout, i, i), sparse.eye_array(levels))
        for i, (_, levels) in enumerate(own.shapes)
    ]
    return sparse.csr_array(sparse.block_diag([*blocks, fixed]))


def cells_of(matrices: Sequence[Matrix], layout: Layout) -> Cells:
    """Return where the numbers of some symmetric matrices of all columns stand."""
    node = np.concatenate(
        [np.zeros(0, np.intp)]
        + [np.tile(start + np.arange(levels), k) for start, (k, levels) in _starts(layout)]
    )
    total = sum(levels for _, levels in layout.shapes)
    met = sparse.csr_array((total, total))
    for S in matrices:
        found = sparse.coo_array(S[: len(node), : len(node)])
        pattern = (np.ones(len(found.row)), (node[found.row], node[found.col]))
        met = met + sparse.csr_array(pattern, shape=(total, total))
    return Cells(layout.shapes, layout.p, by_blocks(met, layout))


def _starts(layout: Layout) -> list[tuple[int, tuple[int, int]]]:
    """Return the number of the first level of each block, and the block's shape."""
    starts = np.cumsum([0, *(levels for _, levels in layout.shapes)])
    return list(zip(starts.tolist(), layout.shapes))
