"""The dense root of the factor: S = Λ'BΛ + I for the columns that no stage eliminates."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import lapack

from mixedlm_ext.caching import cached_property
from mixedlm_ext.linalg.blas import matmul
from mixedlm_ext.linalg.triangular import solve_triangular
from mixedlm_ext.solvers.plan import Part

Array = NDArray[np.float64]
Index = NDArray[np.intp]

__all__ = ["DenseFactor", "DenseRoot"]

_WELL_CONDITIONED = 1e-3
"""Ratio of singular values of a template above which K = (KT)T⁻¹ keeps its digits."""
_SMALL = 150
"""Columns below which dpotri would wake threads of OpenBLAS for work that is not worth it."""


class DenseRoot:
    """The pattern of the root: its parts and where the given cells of B go.

    Parameters
    ----------
    parts : sequence of Part
    """

    def __init__(self, parts: Sequence[Part]) -> None:
        start = parts[0].start
        self.blocks = [part.block for part in parts]
        self.k = [part.k for part in parts]
        self.levels = [part.levels for part in parts]
        self.slices = [slice(part.start - start, part.stop - start) for part in parts]
        self.size = parts[-1].stop - start
        self.n_cells = self.size**2

    def cells(self, rows: Index, columns: Index) -> Index:
        """Return the cells of the lower triangle for these entries of the root."""
        return np.maximum(rows, columns) * self.size + np.minimum(rows, columns)

    def factor(self, lower: Array, templates: Sequence[Array]) -> DenseFactor:
        """Factor the root whose lower triangle is in the cells `lower`, which is overwritten."""
        B = lower.reshape(self.size, self.size)
        _mirror(B)
        return self.of(B, templates)

    def of(self, B: Array, templates: Sequence[Array]) -> DenseFactor:
        """Factor the root with all of B (size, size), which is kept and not written to."""
        return DenseFactor(self, B, [templates[i] for i in self.blocks])


class DenseFactor:
    """S = Λ'BΛ + I = LL' at one theta."""

    def __init__(self, root: DenseRoot, B: Array, templates: list[Array]) -> None:
        self.root, self.B, self.T = root, B, templates
        S = self._right(self._left(B, transpose=True))
        S.ravel()[:: root.size + 1] += 1.0
        # S is symmetric and C-ordered, so its transpose is the column-major LAPACK matrix.
        self.L, info = lapack.dpotrf(S.T, lower=1, clean=1, overwrite_a=1)
        if info != 0:
            raise np.linalg.LinAlgError("Λ'Z'WZΛ + I is not positive definite")
        self.logdet = float(2.0 * np.log(np.diag(self.L)).sum())

    def _left(self, M: Array, transpose: bool = False) -> Array:
        """Return ΛM, or Λ'M, for an (size, c) array."""
        out = np.empty_like(M)
        for part, k, T in zip(self.root.slices, self.root.k, self.T):
            if k == 1:
                np.multiply(M[part], T[0, 0], out=out[part])
            else:
                op = T.T if transpose else T
                out[part] = matmul(op, M[part].reshape(k, -1)).reshape(-1, M.shape[1])
        return out

    def _right(self, M: Array, transpose: bool = False) -> Array:
        """Return MΛ, or MΛ', in place, for an (m, size) array."""
        for part, k, T in zip(self.root.slices, self.root.k, self.T):
            if k == 1:
                M[:, part] *= T[0, 0]
            else:
                op = T if transpose else T.T
                block = M[:, part].reshape(len(M), k, -1)
                M[:, part] = np.matmul(op, block).reshape(len(M), -1)
        return M

    def half_solve(self, r: Array) -> Array:
        """Return L⁻¹Λ'r for r of shape (size, c)."""
        return solve_triangular(self.L, self._left(r, transpose=True), lower=True, overwrite=True)

    def back_solve(self, c: Array) -> Array:
        """Return b = ΛL⁻ᵀc."""
        return self._left(solve_triangular(self.L, c, lower=True, transpose=True))

    @cached_property
    def _S_inverse(self) -> Array:
        """S⁻¹, C-ordered."""
        if self.root.size < _SMALL:
            return matmul(self._L_inverse.T, self._L_inverse)
        inverse, _ = lapack.dpotri(self.L, lower=1)
        _mirror(inverse)
        return np.asarray(inverse.T)

    def inverse(self) -> Array:
        """Return N = ΛS⁻¹Λ'."""
        return self._left(self._right(self._S_inverse.copy(), transpose=True))

    def inverse_at(self, cells: Index) -> Array:
        """Return the entries of N at `cells`."""
        if any(k > 1 for k in self.root.k):
            return np.asarray(self.inverse().ravel()[cells])
        # scalar templates: scale the few entries rather than all
        widths = [part.stop - part.start for part in self.root.slices]
        scale = np.repeat([T[0, 0] for T in self.T], widths)
        rows, columns = np.divmod(cells, self.root.size)
        return np.asarray(self._S_inverse.ravel()[cells] * scale[rows] * scale[columns])

    def add_information(self, K: list[Array], KT: list[Array]) -> None:
        """Add Σ_l [Z'V⁻¹Z]_ll to K and its product with T to KT, for each block of the root."""
        for i, part, k, T in zip(self.root.blocks, self.root.slices, self.root.k, self.T):
            values = np.abs(T[0]) if k == 1 else np.linalg.svd(T, compute_uv=False)
            if values[-1] > _WELL_CONDITIONED * max(1.0, values[0]):
                levels = (part.stop - part.start) // k
                TKT = levels * np.eye(k) - self._S_inverse_of(part, k)  # Λ'Z'V⁻¹ZΛ = I - S⁻¹
                own_T = TKT / T if k == 1 else np.linalg.solve(T.T, TKT)
                own = own_T / T if k == 1 else np.linalg.solve(T.T, own_T.T).T
            else:
                own = self._information_of(part, k)
                own_T = own @ T
            K[i] += own
            KT[i] += own_T

    def _S_inverse_of(self, part: slice, k: int) -> Array:
        """Return Σ_l [S⁻¹]_ll of one part, from S⁻¹ if it is there, else from L⁻¹."""
        if "_S_inverse" in self.__dict__:
            n = (part.stop - part.start) // k
            return np.einsum("albl->ab", self._S_inverse[part, part].reshape(k, n, k, n))
        return _gram(self._L_inverse[:, part], k)

    @cached_property
    def _L_inverse(self) -> Array:
        """L⁻¹, half the work of S⁻¹."""
        inverse, _ = lapack.dtrtri(self.L, lower=1)
        return np.asarray(inverse)

    def _information_of(self, part: slice, k: int) -> Array:
        """Return Σ_l [B - BΛS⁻¹Λ'B]_ll of one part, exact for a singular template too."""
        n = (part.stop - part.start) // k
        own = np.einsum("albl->ab", self.B[part, part].reshape(k, n, k, n))
        return own - _gram(self.half_solve(self.B[part].T), k)

    def diagonal_blocks(self, out: list[Array]) -> None:
        """Write the diagonal blocks of N into `out`, (k, k, levels) for each block of the model."""
        N = self.inverse()
        for i, part, k, levels in zip(
            self.root.blocks, self.root.slices, self.root.k, self.root.levels
        ):
            n = len(levels)
            block = N[part, part].reshape(k, n, k, n)
            out[i][:, :, levels] = np.einsum("albl->abl", block)


def _gram(Y: Array, k: int) -> Array:
    """Return Σ_l Y_l'Y_l for column-major Y (q, k·levels)."""
    rows = np.ascontiguousarray(Y.T).reshape(k, -1)
    return matmul(rows, rows.T)


def _mirror(M: Array) -> None:
    """Copy the lower triangle of a square matrix onto the upper one, by blocks of the cache."""
    n, step = len(M), 64
    for start in range(0, n, step):
        stop = min(start + step, n)
        M[start:stop, stop:] = M[stop:, start:stop].T
        lower = np.tril(M[start:stop, start:stop])
        M[start:stop, start:stop] = lower + np.tril(lower, -1).T
