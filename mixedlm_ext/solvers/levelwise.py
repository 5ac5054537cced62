"""The solver of one block whose levels have few of its columns each: level by level.

With D_l = R_lR_l' what Z_l'WZ_l is in the m_l columns that level l has (see products/supports.py),
and Γ_l = P_lTT'P_l' their part of the covariance,

    B_l = R_l'Γ_lR_l,   S_l = B_l + I,   log|M| = Σ_l log|S_l|,   Z_l'V⁻¹Z_l = P_l'R_lS_l⁻¹R_l'P_l

and what Z'W times anything is at a level, h = R_lz with y = S_l⁻¹z, gives

    Z_l'V⁻¹(...) = R_ly,   N h = ΓP_l'R_ly,   h'N h = y'B_ly + |B_ly|²,   B_ly = z - y

for all k columns: the effects of columns that the level has not follow from their correlations with
those that it has. Nothing divides by Γ.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mixedlm_ext.caching import cached_property
from mixedlm_ext.linalg import small
from mixedlm_ext.linalg.blas import matmul
from mixedlm_ext.products.block_matrix import BlockMatrix
from mixedlm_ext.products.supports import LevelSquares
from mixedlm_ext.solvers.costs import Costs
from mixedlm_ext.solvers.direct import DirectSolver

Array = NDArray[np.float64]

__all__ = ["LevelSystem", "LevelwiseFactor", "LevelwiseSolver"]

_ROUNDING = 1e-12
"""Eigenvalues, relative to the largest, and parts of vectors that count as nothing."""


class LevelwiseSolver:
    """The numbers of a Z'WZ of one block, each level in its own columns.

    Parameters
    ----------
    A : BlockMatrix
        Its only block has `squares`.
    """

    name = "exact"
    probes = 0

    def __init__(self, A: BlockMatrix) -> None:
        squares = A.squares(0)
        assert squares is not None
        self.A, self.squares = A, squares
        values, vectors = np.linalg.eigh(squares.values.transpose(2, 0, 1))
        kept = values > _ROUNDING * values[:, -1:]
        root = np.sqrt(np.where(kept, values, 0.0))
        self.R = np.ascontiguousarray((vectors * root[:, None]).transpose(1, 2, 0))
        inverse = np.where(kept, 1.0 / np.where(kept, root, 1.0), 0.0)
        pseudo = (vectors * inverse[:, None]).transpose(2, 1, 0)
        self.R_pseudo = np.ascontiguousarray(pseudo)

    @classmethod
    def if_it_suits(cls, A: BlockMatrix) -> LevelwiseSolver | None:
        """Return a solver of its own, or None where the matrix is another."""
        suits = len(A.shapes) == 1 and A.squares(0) is not None and not A.joined(0)
        return cls(A) if suits else None

    def load(self, A: BlockMatrix) -> LevelwiseSolver | DirectSolver:
        """Return the solver of other numbers on the same pattern, or on that of fewer columns."""
        return self if A is self.A else LevelwiseSolver.if_it_suits(A) or DirectSolver.of(A)

    @property
    def costs(self) -> Costs:
        """Those of any machine."""
        return Costs()

    @property
    def root_size(self) -> int:
        """Columns of the largest dense matrix to factor."""
        return len(self.R)

    def factor(self, templates: Sequence[Array]) -> LevelwiseFactor:
        """Factor M at the given template."""
        return LevelwiseFactor(self, templates)

    def split(self, H: Array) -> tuple[Array, Array | None]:
        """Return z of every level, (m, levels, c), and what of H (q, c) is no Z'WG."""
        support = self.squares.support
        own = H.reshape(support.k, support.levels, -1)
        z = small.times_each(self.R_pseudo, support.take(own))
        rest = own - support.put(small.times_each(self.R, z))
        nothing = np.abs(rest).max(initial=0.0) <= _ROUNDING * np.abs(own).max(initial=0.0)
        return z, None if nothing else rest


class LevelSystem:
    """S_l = R_l'Γ_lR_l + I of every level, factored.

    Parameters
    ----------
    R : ndarray (m, m, levels)
    Gamma : ndarray (m, m, levels)
        Γ_l; where columns are filled up R is zero, and it does not matter.

    Attributes
    ----------
    logdet : float
        Σ_l log|S_l|.
    """

    def __init__(self, R: Array, Gamma: Array) -> None:
        each, turned = np.arange(len(R)), R.transpose(1, 0, 2)
        self._B = small.product(turned, small.product(Gamma, R))
        S = self._B.copy()
        S[each, each] += 1.0
        self._L = small.cholesky(S)
        self.logdet = float(2.0 * np.log(self._L[each, each]).sum())
        self._W = small.solve_lower(self._L, np.ascontiguousarray(turned))  # L⁻¹R'

    @cached_property
    def K(self) -> Array:
        """[Z'V⁻¹Z]_ll in the level's columns, (m, m, levels)."""
        return small.product(self._W.transpose(1, 0, 2), self._W)

    @cached_property
    def _inverse(self) -> Array:
        """S_l⁻¹, (m, m, levels)."""
        half = small.solve_lower(self._L, np.eye(len(self._L)))
        return small.product(half.transpose(1, 0, 2), half)

    def solve(self, z: Array) -> Array:
        """Return y = S⁻¹z of every level, for z (m, levels, c)."""
        return small.times_each(self._inverse, z)

    def inner(self, z: Array, y: Array) -> Array:
        """Return Σ_l y'By + |By|² for y = S⁻¹z, (c, c)."""
        By = self._B_times(z, y).reshape(-1, z.shape[2])
        cross = y.reshape(By.shape).T @ By
        return np.asarray(0.5 * (cross + cross.T) + By.T @ By)

    def _B_times(self, z: Array, y: Array) -> Array:
        """Return By = z - y: the former where B is small, the latter where it is large."""
        large = np.einsum("aal->l", self._B) > 1.0
        return np.where(large[:, None], z - y, small.times_each(self._B, y))

    @property
    def condition(self) -> float:
        """The largest condition number of an S_l scaled to a diagonal of ones."""
        S = (self._B + np.eye(len(self._B))[:, :, None]).transpose(2, 0, 1)
        scale = 1.0 / np.sqrt(np.einsum("laa->la", S))
        least = np.linalg.eigvalsh(scale[:, :, None] * S * scale[:, None])[:, 0].min()
        return 1.0 / max(float(least), 1e-15)


class LevelwiseFactor:
    """M at one theta.

    Attributes
    ----------
    logdet : float
        log|M|.
    templates : sequence of ndarray (k, k)
    Gamma : ndarray (k, k)
    """

    logdet_by_probe: Array = np.zeros(0)

    def __init__(self, solver: LevelwiseSolver, templates: Sequence[Array]) -> None:
        self._solver, self.templates = solver, templates
        (T,) = templates
        self.Gamma = matmul(T, T.T)
        self._system = LevelSystem(solver.R, solver.squares.support.squares(self.Gamma))
        self.logdet = self._system.logdet

    def _split(self, H: Array) -> tuple[Array, Array, Array | None]:
        """Return z and y of every level, (m, levels, c), and what of H (q, c) is no Z'WG."""
        z, rest = self._solver.split(H)
        return z, self._system.solve(z), rest

    def weighed(self, H: Array) -> Array:
        """Return (I + Z'WZΓ)⁻¹H for H (q, c): Z'V⁻¹G if H is Z'WG."""
        _, y, rest = self._split(H)
        return self._weighed(y, rest).reshape(H.shape)

    def _weighed(self, y: Array, rest: Array | None) -> Array:
        """Return the same (k, levels, c) of the parts."""
        support = self._solver.squares.support
        out = support.put(small.times_each(self._solver.R, y))
        if rest is not None:
            left = support.take(self._covered(rest))
            out += rest - support.put(small.times_each(self._system.K, left))
        return out

    def _covered(self, own: Array) -> Array:
        """Return Γh of every level for h (k, levels, c)."""
        return np.asarray(matmul(self.Gamma, own.reshape(len(own), -1)).reshape(own.shape))

    def apply(self, H: Array) -> Array:
        """Return NH for H (q, c)."""
        _, y, rest = self._split(H)
        return self._applied(H, y, rest)

    def _applied(self, H: Array, y: Array, rest: Array | None) -> Array:
        """Return NH of the parts of H."""
        return self._covered(self._weighed(y, rest)).reshape(H.shape)

    def solve(self, H: Array) -> tuple[Array, Array]:
        """Return H'NH and NH for H (q, c)."""
        z, y, rest = self._split(H)
        NH = self._applied(H, y, rest)
        return self._inner(H, z, y, NH if rest is not None else None), NH

    def _inner(self, H: Array, z: Array, y: Array, NH: Array | None) -> Array:
        """Return H'NH."""
        if NH is not None:
            inner = H.T @ NH
            return np.asarray(0.5 * (inner + inner.T))
        return self._system.inner(z, y)

    def quadratic(self, H: Array) -> Array:
        """Return H'NH for H (q, c)."""
        z, y, rest = self._split(H)
        return self._inner(H, z, y, None if rest is None else self._applied(H, y, rest))

    def quadratic_diagonal(self, H: Array) -> Array:
        """Return the diagonal of H'NH, (c,)."""
        return np.asarray((H * self.apply(H)).sum(axis=0))

    def traces(self) -> tuple[list[Array], list[Array]]:
        """Return K = Σ_l [Z'V⁻¹Z]_ll and KT."""
        K = self._solver.squares.support.sum(self._system.K)
        return [K], [matmul(K, self.templates[0])]

    def level_information(self) -> LevelSquares:
        """Return every Z_l'V⁻¹Z_l."""
        return LevelSquares(self._solver.squares.support, self._system.K)

    def diagonal_blocks(self) -> list[Array]:
        """Return the diagonal blocks of N, (k, k, levels)."""
        support = self._solver.squares.support
        each = np.arange(support.levels)
        out = np.empty((support.k, support.k, support.levels))
        for level in each:
            own = support.columns[support.present[:, level], level]
            K = self._system.K[: len(own), : len(own), level]
            out[:, :, level] = self.Gamma - self.Gamma[:, own] @ K @ self.Gamma[own]
        return [out]

    def inverse(self) -> BlockMatrix:
        """Return the entries of N on the pattern of Z'WZ."""
        return BlockMatrix(self._solver.A.shapes, self.diagonal_blocks(), {})

    def information_by_probe(self) -> None:
        """Return None: all is exact."""

    def release(self) -> None:
        """Do nothing: it takes no more memory than the matrix."""
