"""The solver of blocks whose levels have a known precision: M = Λ'Z'WZΛ + Q, Q_i = I ⊗ K_i⁻¹.

    b = (T ⊗ I)ũ,   ũ ~ N(0, σ² I ⊗ K):     log|I + KΛ'Z'WZΛ| = log|M| + k log|K|

K⁻¹ joins levels that need not meet in any row. M itself is eliminated, by the stages of the
pattern of Z'WZ and of Q together, as the matrix (M - I) + I with templates I. Nothing divides by a
singular template. With the selected inverse of M, the entries where Z'WZ has any,

    ∂log|M|/∂T_i = 2 K_iT_i = 2 Σ_l [Z'WZ Λ M⁻¹]_ll,    K_i = Σ_lm K_lm [Z'V⁻¹Z]_ml

Rotations of u change nothing, as Q commutes with them: T = USV' stands as US, whose columns tell
K_iU_j to all digits however small s_j is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from mixedlm_ext.caching import cached_property
from mixedlm_ext.linalg.precision import SparsePrecision
from mixedlm_ext.products.block_matrix import BlockMatrix, Coupling
from mixedlm_ext.solvers.costs import Costs
from mixedlm_ext.solvers.direct import DirectSolver, Factor
from mixedlm_ext.solvers.memory import costs_of
from mixedlm_ext.solvers.symbolic import Symbolic

Array = NDArray[np.float64]
Index = NDArray[np.intp]
Priors = Sequence[SparsePrecision | None]

__all__ = ["PriorFactor", "PriorSolver"]

_LEAST = 1e-10
"""Singular value that stands for zero: its square is lost beside one."""


class PriorSolver:
    """The numbers of Z'WZ and Q on their pattern.

    Parameters
    ----------
    symbolic : Symbolic
        Of the pattern of both.
    A : BlockMatrix
        Z'WZ.
    priors : sequence of SparsePrecision or None
        K⁻¹ of each block.
    Q_less_I : BlockMatrix
        Q - I on the pattern.
    """

    name = "exact"
    probes = 0

    def __init__(
        self, symbolic: Symbolic, A: BlockMatrix, priors: Priors, Q_less_I: BlockMatrix
    ) -> None:
        self.symbolic, self.priors, self._Q = symbolic, priors, Q_less_I
        self._given, self.A = A, symbolic.on_pattern(A)

    @classmethod
    def of(cls, A: BlockMatrix, priors: Priors, costs: Costs | None = None) -> PriorSolver:
        """Return a solver with a pattern of its own."""
        Q = _precisions(A.shapes, priors)
        costs = costs_of(A) if costs is None else costs
        symbolic = Symbolic(A.plus(Q, 1.0), costs=costs, in_cells=True)
        return cls(symbolic, A, priors, symbolic.on_pattern(Q))

    def load(self, A: BlockMatrix) -> PriorSolver:
        """Return the solver of other numbers on the same pattern."""
        if A is self._given:
            return self
        return PriorSolver(self.symbolic, A, self.priors, self._Q)

    @property
    def costs(self) -> Costs:
        """Those that the plan was made by."""
        return self.symbolic.costs

    @property
    def root_size(self) -> int:
        """Columns of the dense root."""
        return self.symbolic.plan.root_size

    @cached_property
    def level_variances(self) -> list[Array]:
        """K_ll of every block, (levels,): the diagonal of Q⁻¹."""
        units = [np.eye(k) for k, _ in self.A.shapes]
        inner = DirectSolver(self.symbolic, self._Q).factor(units)
        return [np.ascontiguousarray(D[0, 0]) for D in inner.diagonal_blocks()]

    def factor(self, templates: Sequence[Array]) -> PriorFactor:
        """Factor M at the given templates, one for each block."""
        turned = [_Turned.of(T) for T in templates]
        M = self.A.congruent({i: t.scaled for i, t in enumerate(turned)}).plus(self._Q, 1.0)
        units = [np.eye(len(T)) for T in templates]
        inner = DirectSolver(self.symbolic, M).factor(units)
        known = sum(
            len(T) * prior.logdet for T, prior in zip(templates, self.priors) if prior is not None
        )
        return PriorFactor(self.A, inner, templates, turned, inner.logdet - known)


@dataclass(frozen=True, eq=False)
class _Turned:
    """T = USV' without V.

    Attributes
    ----------
    exact : ndarray (k, k)
        US.
    scaled : ndarray (k, k)
        US with nothing of S at zero.
    right : ndarray (k, k)
        What takes Σ_l [Z'WZ Λ M⁻¹]_ll of the scaled template to K_i: S⁻¹U'.
    """

    exact: Array
    scaled: Array
    right: Array

    @classmethod
    def of(cls, T: Array) -> _Turned:
        """Return the parts of one template."""
        U, values, _ = np.linalg.svd(T)
        least = np.maximum(values, _LEAST * max(1.0, float(values[0])))
        return cls(U * values, U * least, (U / least).T)


class PriorFactor:
    """M at one theta; arrays are in the column order of the cross-products.

    Attributes
    ----------
    logdet : float
        log|M| + Σ k_i log|K_i|.
    templates : sequence of ndarray (k, k)
    """

    logdet_by_probe: Array = np.zeros(0)

    def __init__(
        self,
        A: BlockMatrix,
        inner: Factor,
        templates: Sequence[Array],
        turned: Sequence[_Turned],
        logdet: float,
    ) -> None:
        self._A, self._inner, self._turned = A, inner, turned
        self.templates, self.logdet = templates, logdet

    def release(self) -> None:
        """Free the memory; solves are no longer possible."""
        self._inner.release()

    def _Lambda(self, H: Array, transpose: bool) -> Array:
        """Return ΛH or Λ'H by blocks, H (q, c)."""
        out = np.empty(H.shape)
        offsets = self._A.offsets
        for start, stop, t in zip(offsets[:-1], offsets[1:], self._turned):
            T = t.exact.T if transpose else t.exact
            own = H[start:stop].reshape(len(T), -1)
            out[start:stop] = (T @ own).reshape(stop - start, -1)
        return out

    def solve(self, H: Array) -> tuple[Array, Array]:
        """Return H'NH and NH for H (q, c), N = ΛM⁻¹Λ'."""
        CC, N = self._inner.solve(self._Lambda(H, transpose=True))
        return CC, self._Lambda(N, transpose=False)

    def apply(self, H: Array) -> Array:
        """Return NH for H (q, c)."""
        N = self._inner.apply(self._Lambda(H, transpose=True))
        return self._Lambda(N, transpose=False)

    def quadratic(self, H: Array) -> Array:
        """Return H'NH for H (q, c)."""
        return self._inner.quadratic(self._Lambda(H, transpose=True))

    def quadratic_diagonal(self, H: Array) -> Array:
        """Return the diagonal of H'NH, (c,)."""
        return self._inner.quadratic_diagonal(self._Lambda(H, transpose=True))

    def traces(self) -> tuple[list[Array], list[Array]]:
        """Return K_i = Σ_lm K_lm [Z'V⁻¹Z]_ml and K_iT_i for every block i."""
        inverse = self._inner.inverse()
        out = [_zeros(T) for T in self.templates]
        for i, D in enumerate(self._A.diagonal):
            out[i] += _product(D, self._turned[i].scaled, inverse.diagonal[i])
        for (i, j), c in self._A.couplings.items():
            N = inverse.couplings[i, j].values
            out[i] += _product(c.values, self._turned[j].scaled, N.transpose(1, 0, 2))
            out[j] += _product(c.values.transpose(1, 0, 2), self._turned[i].scaled, N)
        K = [KT @ t.right for KT, t in zip(out, self._turned)]
        K = [0.5 * (one + one.T) for one in K]
        return K, [one @ T for one, T in zip(K, self.templates)]

    def inverse(self) -> BlockMatrix:
        """Return the entries of N on the pattern of Z'WZ and of K⁻¹."""
        return self._inner.inverse().congruent(
            {i: turned.exact.T for i, turned in enumerate(self._turned)}
        )

    def information_by_probe(self) -> None:
        """Return None: nothing is estimated by samples."""

    def weighed(self, H: Array) -> None:
        """Return None: what `apply` leaves of H is as good."""

    def level_information(self) -> None:
        """Return nothing: levels are joined."""

    def diagonal_blocks(self) -> list[Array]:
        """Return the diagonal blocks of N, (k, k, levels) for every block."""
        return [
            np.einsum("ab,bcl,dc->adl", t.exact, D, t.exact, optimize=True)
            for t, D in zip(self._turned, self._inner.diagonal_blocks())
        ]


def _zeros(T: Array) -> Array:
    """Return zeros of the shape of a template."""
    return np.zeros(T.shape)


def _product(A: Array, T: Array, N: Array) -> Array:
    """Return Σ A_pTN_p over pairs, A (k, m, pairs), N (m, k, pairs)."""
    # two sums of products over all pairs, (k, m, m, k) in all
    k, m, pairs = A.shape
    both = A.reshape(k * m, pairs) @ N.reshape(m * N.shape[1], pairs).T
    return np.einsum("abcd,bc->ad", both.reshape(k, m, m, N.shape[1]), T)


def _precisions(shapes: tuple[tuple[int, int], ...], priors: Priors) -> BlockMatrix:
    """Return Q - I by blocks."""
    diagonal, couplings = [], {}
    for i, ((k, levels), prior) in enumerate(zip(shapes, priors)):
        D = np.zeros((k, k, levels))
        if prior is not None:
            D[np.arange(k), np.arange(k)] = prior.Q.diagonal() - 1.0
            rows, columns, values = _below(prior.Q)
            own = np.zeros((k, k, len(rows)))
            own[np.arange(k), np.arange(k)] = values
            couplings[i, i] = Coupling(rows, columns, own)
        diagonal.append(D)
    return BlockMatrix(shapes, diagonal, couplings)


def _below(Q: sparse.csc_array) -> tuple[Index, Index, Array]:
    """Return rows, columns and values of the entries below the diagonal, by row, then column."""
    entries = sparse.coo_array(Q)
    below = (entries.row > entries.col) & (entries.data != 0)
    rows, columns, values = entries.row[below], entries.col[below], entries.data[below]
    order = np.lexsort((columns, rows))
    return rows[order].astype(np.intp), columns[order].astype(np.intp), values[order]
