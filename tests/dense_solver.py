"""A solver by dense algebra: what the package's solvers are compared with, and another of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mixedlm_ext.products.block_matrix import BlockMatrix, Coupling
from mixedlm_ext.solvers.costs import Costs

Array = np.ndarray


def on_pattern(matrix: Array, A: BlockMatrix) -> dict[tuple[int, int], Coupling]:
    """The entries of a dense matrix where the couplings of A are."""
    out = {}
    for (i, j), c in A.couplings.items():
        (k, n), (m, levels) = A.shapes[i], A.shapes[j]
        a, b = np.arange(k)[:, None, None], np.arange(m)[None, :, None]
        rows = A.offsets[i] + a * n + c.rows
        columns = A.offsets[j] + b * levels + c.columns
        out[i, j] = Coupling(c.rows, c.columns, matrix[rows, columns])
    return out


class DenseFactor:
    """N by dense algebra: `apply` and what follows from it."""

    logdet_by_probe = np.zeros(0)

    def __init__(self, A: BlockMatrix, templates: Sequence[Array]) -> None:
        self.templates, self._A, self._shapes = templates, A.sparse.toarray(), A.shapes
        self._offsets, self._pattern = A.offsets, A
        Lambda = np.zeros_like(self._A)
        for (_, levels), T, start, stop in zip(A.shapes, templates, A.offsets, A.offsets[1:]):
            Lambda[start:stop, start:stop] = np.kron(T, np.eye(levels))
        M = Lambda.T @ self._A @ Lambda + np.eye(len(Lambda))
        self.logdet = float(np.linalg.slogdet(M)[1])
        self.condition = float(np.linalg.cond(M))
        self._N = Lambda @ np.linalg.solve(M, Lambda.T)

    def apply(self, H: Array) -> Array:
        return self._N @ H

    def quadratic(self, H: Array) -> Array:
        return H.T @ self.apply(H)

    def solve(self, H: Array) -> tuple[Array, Array]:
        return self.quadratic(H), self.apply(H)

    def quadratic_diagonal(self, H: Array) -> Array:
        return np.diag(self.quadratic(H))

    def _blocks(self, matrix: Array) -> list[Array]:
        out = []
        for (k, levels), start, stop in zip(self._shapes, self._offsets, self._offsets[1:]):
            own = matrix[start:stop, start:stop].reshape(k, levels, k, levels)
            out.append(np.einsum("albl->abl", own))
        return out

    def diagonal_blocks(self) -> list[Array]:
        return self._blocks(self._N)

    def inverse(self, pattern: BlockMatrix | None = None) -> BlockMatrix:
        """N on the pattern of A, or of another matrix."""
        out = on_pattern(self._N, self._pattern if pattern is None else pattern)
        return BlockMatrix(self._shapes, self.diagonal_blocks(), out)

    def information_blocks(self) -> list[Array]:
        """Every Z_l'V⁻¹Z_l."""
        return self._blocks(self._A - self._A @ self._N @ self._A)

    def traces(self) -> tuple[list[Array], list[Array]]:
        K = [D.sum(axis=2) for D in self.information_blocks()]
        return K, [k @ T for k, T in zip(K, self.templates)]

    def weighed(self, H: Array) -> None:
        return None

    def level_information(self) -> None:
        return None

    def information_by_probe(self) -> None:
        return None

    def release(self) -> None:
        self.__dict__.pop("_N", None)


class DenseSolver:
    """Another solver than the package's: what stands above one may ask for no more than this."""

    name = "dense"

    def __init__(self, A: BlockMatrix) -> None:
        self._A = A
        self.root_size, self.costs, self.probes = int(A.offsets[-1]), Costs(), 0

    def load(self, A: BlockMatrix) -> DenseSolver:
        return DenseSolver(A)

    def factor(self, templates: Sequence[Array]) -> DenseFactor:
        return DenseFactor(self._A, templates)
