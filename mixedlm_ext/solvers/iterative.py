"""The iterative solver: conjugate gradients and random probes in place of a large dense root.

The largest block is eliminated exactly (see complement.py); what remains is scaled by its own
diagonal blocks to C with a unit diagonal (see scaled.py):

    log|M| = log|M_1| + Σ_l log|T'D_lT + I| + log|C|

N = ΛM⁻¹Λ' by conjugate gradients on C; tr log(C) = tr(log(C) - C + I) from random signs z, as the
mean of z'(log(C) - C + I)z: stochastic Lanczos quadrature (Ubaru, Chen & Saad 2017; for mixed
models with crossed effects Kündig & Sigrist 2024). The signs are the same at every theta, so that
log|M| is a smooth function of the Γ_i = T_iT_i', and `traces` are exactly its derivatives.
Everything else, r², beta, b and their derivatives, has no noise.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress

import numpy as np
from numpy.typing import NDArray

from mixedlm_ext.caching import cached_property
from mixedlm_ext.errors import FitError
from mixedlm_ext.linalg import small
from mixedlm_ext.linalg.blas import matmul
from mixedlm_ext.linalg.krylov import Logarithms
from mixedlm_ext.products.block_matrix import BlockMatrix
from mixedlm_ext.solvers.complement import Complement, Couplings
from mixedlm_ext.solvers.costs import Costs
from mixedlm_ext.solvers.entries import entries_by_columns
from mixedlm_ext.solvers.probes import Probes
from mixedlm_ext.solvers.scaled import ScaledComplement

Array = NDArray[np.float64]

__all__ = ["FIRST_PROBES", "IterativeFactor", "IterativeSolver"]

FIRST_PROBES = 16
"""Samples of a first search; more are drawn where they leave too much noise."""
_SEED = 20150
_TOGETHER = 4e7
"""Numbers of the Lanczos vectors that are in memory at once (320 MB)."""
_STEPS = 30
"""Of Lanczos' iteration, as room for them is planned."""
_LISTED = 20_000
"""Columns of Z up to which each is solved for."""


class IterativeSolver:
    """The numbers of Z'WZ, ready for solves at any theta.

    Parameters
    ----------
    A : BlockMatrix
        Z'WZ.
    probes : int
        Samples of random signs; all levels of the largest block that is not eliminated, if there
        are no more.
    seed : int
        Of the samples.
    couplings : Couplings, optional
        Those of `A`, if they are there.
    """

    name = "iterative"
    root_size = 0
    costs = Costs()

    def __init__(
        self,
        A: BlockMatrix,
        probes: int = FIRST_PROBES,
        seed: int = _SEED,
        couplings: Couplings | None = None,
    ) -> None:
        self.A, self.seed = A, seed
        # where the largest block has levels that are joined to one another, none is eliminated
        self.padding = int((0, 0) in A.couplings)
        if couplings is None:
            couplings = Couplings(_with_empty_block(A) if self.padding else A)
        self.couplings = couplings
        self.sampling = Probes.of(self.couplings.A, probes, seed)

    @classmethod
    def seconds(cls, A: BlockMatrix) -> float:
        """Return the seconds of an evaluation with its derivatives, roughly and at most."""
        entries = sum(coupling.values.size for coupling in A.couplings.values())
        columns = (FIRST_PROBES + 1) * sum(k for k, _ in A.shapes[1:])
        return cls.costs.entry * 2.0 * _STEPS * columns * float(entries)

    @property
    def probes(self) -> int:
        """Samples that log|M| is estimated by; 0 if it is exact."""
        return 0 if self.sampling.complete else self.sampling.count

    def load(self, A: BlockMatrix) -> IterativeSolver:
        """Return the solver of other numbers."""
        return self if A is self.A else IterativeSolver(A, self.sampling.wanted, self.seed)

    def with_probes(self, probes: int) -> IterativeSolver:
        """Return the solver of the same numbers with other samples, the first ones in common."""
        return IterativeSolver(self.A, probes, self.seed, self.couplings)

    def factor(self, templates: Sequence[Array]) -> IterativeFactor:
        """Evaluate log|M| and prepare solves at the given templates, one for each block."""
        return IterativeFactor(self, templates)


class IterativeFactor:
    """M at one theta; arrays are in the column order of the cross-products.

    Attributes
    ----------
    logdet : float
        The estimate of log|M|.
    logdet_by_probe : ndarray (samples,)
        What each sample says of log|C|.
    templates : sequence of ndarray (k, k)
    """

    def __init__(self, solver: IterativeSolver, templates: Sequence[Array]) -> None:
        self.templates = templates
        self._A, self._sampling = solver.A, solver.sampling
        self._padding, self._alone = solver.padding, not solver.sampling.shapes
        padded = [np.eye(1)] * self._padding + list(templates)
        self._complement = Complement(solver.couplings, padded[0])
        self._scaled = ScaledComplement(self._complement, padded[1:])
        exact, self.logdet_by_probe = self._scaled.logdet, np.zeros(1)
        self._kept: list[tuple[int, Logarithms]] = []
        if not self._alone:
            known, *sampled = (
                logs.values.reshape(n, -1).sum(1) for n, logs in self._logs(keep=True)
            )
            exact += float(known[0])
            self.logdet_by_probe = np.concatenate(sampled)
        self.logdet = float(exact + self.logdet_by_probe.mean())

    def release(self) -> None:
        """Free the memory; solves are no longer possible."""
        for name in ("_complement", "_scaled", "_kept"):
            with suppress(AttributeError):  # released before
                delattr(self, name)

    # --- solves -----------------------------------------------------------------------------------

    def solve(self, H: Array) -> tuple[Array, Array]:
        """Return H'NH and NH for H (q, c), N = ΛM⁻¹Λ'."""
        NH = self.apply(H)
        HNH = matmul(H.T, NH)
        return 0.5 * (HNH + HNH.T), NH

    def apply(self, H: Array) -> Array:
        """Return NH for H (q, c)."""
        return self._scaled.apply(H)

    def quadratic(self, H: Array) -> Array:
        """Return H'NH for H (q, c)."""
        return self.solve(H)[0]

    def quadratic_diagonal(self, H: Array) -> Array:
        """Return the diagonal of H'NH, (c,)."""
        return np.asarray(np.einsum("qc,qc->c", H, self.apply(H)))

    # --- log|M| and its derivatives ---------------------------------------------------------------

    def _logs(
        self, scaled: ScaledComplement | None = None, keep: bool = False
    ) -> Iterator[tuple[int, Logarithms]]:
        """Yield the logarithms of the columns that are no sample, then those of samples, n at once.

        They are kept for the derivatives if they come in one piece.
        """
        scaled = scaled or self._scaled
        pieces = self._pieces()
        for own in [None, *pieces]:
            Z = self._sampling.known() if own is None else self._sampling.columns(own)
            found = (1 if own is None else len(own), scaled.logarithms(Z))
            if keep and len(pieces) == 1:
                self._kept.append(found)
            yield found

    def _pieces(self) -> list[range]:
        """Cut the samples into pieces that memory holds."""
        shapes, count = self._sampling.shapes, self._sampling.count
        one = float(sum(k * levels for k, levels in shapes)) * self._sampling.width * _STEPS
        step = max(1, int(_TOGETHER / one))
        return [range(start, min(start + step, count)) for start in range(0, count, step)]

    def traces(self) -> tuple[list[Array], list[Array]]:
        """Return K_i = Σ_l [Z'V⁻¹Z]_ll and K_iT_i for every block i.

        They are the derivatives of `logdet` in Γ_i, and half those in T_i.
        """
        exact = self._scaled.information()[self._padding :]
        known, sampled = self._sampled_information
        K = [one + two + three.mean(axis=0) for one, two, three in zip(exact, known, sampled)]
        K = [0.5 * (one + one.T) for one in K]
        return K, [one @ T for one, T in zip(K, self.templates)]

    def information_by_probe(self) -> list[Array] | None:
        """Return each sample's derivative of log|C| in Γ_i, (samples, k, k) for every block i.

        None where all levels are sampled.
        """
        return None if self._sampling.complete else self._sampled_information[1]

    @cached_property
    def _sampled_information(self) -> tuple[list[Array], list[Array]]:
        """The derivatives in Γ_i of what is no sample and of every sample, (samples, k, k)."""
        if self._alone:
            none = [np.zeros((k, k)) for k, _ in self._A.shapes]
            return none, [zero[None] for zero in none]
        regular = self._scaled.regular()
        kept = self._kept if regular is self._scaled else []
        parts = [regular.derivatives(n, logs) for n, logs in kept or self._logs(regular)]
        self._kept = []
        known, *sampled = (part[self._padding :] for part in parts)
        return [one[0] for one in known], [np.concatenate(blocks) for blocks in zip(*sampled)]

    # --- level by level ---------------------------------------------------------------------------

    def weighed(self, H: Array) -> None:
        """Return None: what `apply` leaves of H is as good."""

    def level_information(self) -> Array | None:
        """Return every Z_l'V⁻¹Z_l, (k, k, levels), where one block is all of Z."""
        if not self._alone:
            return None
        return small.product(self._complement.F, self._A.diagonal[0])

    def diagonal_blocks(self) -> list[Array]:
        """Return the diagonal blocks of N, (k, k, levels) for every block, by a solve for each.

        Raises
        ------
        FitError
            If there are too many of them.
        """
        A = self._A
        return list(self._entries(BlockMatrix(A.shapes, A.diagonal, {}), "variances").diagonal)

    def inverse(self) -> BlockMatrix:
        """Return the entries of N on the pattern of Z'WZ, by a solve for each column.

        Raises
        ------
        FitError
            If there are too many of them.
        """
        return self._entries(self._A, "covariances")

    def _entries(self, pattern: BlockMatrix, what: str) -> BlockMatrix:
        """Solve for every column, if they are not too many."""
        q = int(pattern.offsets[-1])
        if q > _LISTED:
            raise FitError(
                f"conditional {what} of {q:,} random effects take a solve for each of them with "
                f"the iterative solver, which is done for at most {_LISTED:,}. Fit with "
                "solver='exact' if memory holds its factor; the conditional modes are there."
            )
        return entries_by_columns(self.apply, pattern)


def _with_empty_block(A: BlockMatrix) -> BlockMatrix:
    """Return the same matrix after a block without levels."""
    couplings = {(i + 1, j + 1): c for (i, j), c in A.couplings.items()}
    return BlockMatrix(((1, 0), *A.shapes), [np.zeros((1, 1, 0)), *A.diagonal], couplings)
