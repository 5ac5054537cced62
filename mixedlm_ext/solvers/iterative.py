"""The iterative solver: conjugate gradients and random probes in place of a large dense root.

The largest block is eliminated exactly (see complement.py). What remains is scaled by its own
diagonal blocks, which is the preconditioner and the part of log|M| that has no noise:

    log|M| = log|M_1| + Σ_l log|T'D_lT + I| + log|C|,      C = I + W'(B - D)W,   W_l = T(T'D_lT + I)^-½
    N_r = (Λ_r⁻ᵀ..Λ_r)⁻¹ = W C⁻¹ W'

N by conjugate gradients; log|C| as the mean of z'log(C)z over probes z, stochastic Lanczos
quadrature (Ubaru, Chen & Saad 2017; for mixed models Kündig & Sigrist 2024). C has a unit diagonal,
so that random signs carry only the noise of what couples levels of one size. The probes are the
same at every theta: log|M| is a smooth function of the Γ_i = T_iT_i', and `traces` returns exactly
its derivatives.
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
from mixedlm_ext.linalg.krylov import Logarithms, NotConverged, conjugate_gradients, logarithms
from mixedlm_ext.products.products import BlockMatrix
from mixedlm_ext.solvers.complement import Complement, Couplings, blockwise, weakened
from mixedlm_ext.solvers.costs import Costs
from mixedlm_ext.solvers.level_roots import LevelRoots
from mixedlm_ext.solvers.probes import Probes

Array = NDArray[np.float64]

__all__ = ["IterativeFactor", "IterativeSolver"]

FIRST_PROBES = 16
"""Samples of a first search; more are drawn where they leave too much noise."""
_SEED = 20150
_REGULAR = 1e-5
"""Smallest singular value of a template, relative, by which traces are divided."""
_TOGETHER = 4e7
"""Numbers of the Lanczos vectors that are in memory at once (320 MB)."""
_USUAL_STEPS = 30
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
    """

    root_size = 0
    costs = Costs()

    def __init__(self, A: BlockMatrix, probes: int = FIRST_PROBES, seed: int = _SEED) -> None:
        self.A, self.seed = A, seed
        self.couplings = Couplings(A)
        self.sampling = Probes(A.shapes[1:], probes, seed)

    @property
    def probes(self) -> int:
        """Samples that log|M| is estimated by; 0 if it is exact."""
        return 0 if self.sampling.complete else self.sampling.count

    def load(self, A: BlockMatrix) -> IterativeSolver:
        """Return the solver of other numbers."""
        return self if A is self.A else IterativeSolver(A, self.sampling.wanted, self.seed)

    def with_probes(self, probes: int) -> IterativeSolver:
        """Return the solver of the same numbers with other samples, the first ones in common."""
        other = object.__new__(IterativeSolver)
        other.A, other.seed, other.couplings = self.A, self.seed, self.couplings
        other.sampling = Probes(self.A.shapes[1:], probes, self.seed)
        return other

    def factor(self, templates: Sequence[Array]) -> IterativeFactor:
        """Evaluate log|M| and prepare solves at the given templates, one for each block."""
        return IterativeFactor(self, templates)


class IterativeFactor:
    """M at one theta; arrays are in the column order of the cross-products.

    Attributes
    ----------
    logdet : float
        The estimate of log|M|.
    templates : sequence of ndarray (k, k)
    """

    def __init__(self, solver: IterativeSolver, templates: Sequence[Array]) -> None:
        self.templates = templates
        self._sampling = solver.sampling
        self._shapes, self._diagonal = solver.A.shapes, solver.A.diagonal
        self._complement = Complement(solver.couplings, templates[0])
        rest = list(zip(templates[1:], self._complement.D))
        self._roots = [LevelRoots(T, D) for T, D in rest]
        regular = [_regular(T) for T in templates[1:]]
        self._regular_roots = [
            root if T is root.T else LevelRoots(T, root.D) for T, root in zip(regular, self._roots)
        ]
        self._logs = {samples: self._logarithms(samples) for samples in self._chunks()}
        self.logdet_by_probe = np.concatenate(
            [logs.values.reshape(len(own), -1).sum(axis=1) for own, logs in self._logs.items()]
            or [np.zeros(1)]
        )
        exact = self._complement.logdet + sum(root.logdet for root in self._roots)
        self.logdet = float(exact + self.logdet_by_probe.mean())

    def release(self) -> None:
        """Free the memory; solves are no longer possible."""
        for name in ("_complement", "_logs", "_roots", "_regular_roots"):
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
        reduced = self._complement.reduced(H)
        rest = blockwise(self._W, self._inverse(blockwise(self._W_transposed, reduced)))
        return self._complement.completed(H, rest)

    def quadratic(self, H: Array) -> Array:
        """Return H'NH for H (q, c)."""
        return self.solve(H)[0]

    def quadratic_diagonal(self, H: Array) -> Array:
        """Return the diagonal of H'NH, (c,)."""
        return np.asarray(np.einsum("qc,qc->c", H, self.apply(H)))

    @property
    def _W(self) -> list[Array]:
        return [root.W for root in self._roots]

    @property
    def _W_transposed(self) -> list[Array]:
        return [root.W.transpose(1, 0, 2) for root in self._roots]

    def _inverse(self, X: Array) -> Array:
        """Return C⁻¹X."""
        if not X.size:
            return X
        try:
            return conjugate_gradients(lambda x: self._scaled(self._roots, x), X, tol=1e-12)
        except NotConverged:
            raise _unable() from None

    def _scaled(self, roots: Sequence[LevelRoots], X: Array) -> Array:
        """Return CX."""
        WX = blockwise([root.W for root in roots], X)
        back = self._complement.off_diagonal(WX)
        return X + blockwise([root.W.transpose(1, 0, 2) for root in roots], back)

    # --- log|M| and its derivatives ---------------------------------------------------------------

    def _chunks(self) -> Iterator[range]:
        """Cut the samples into pieces that memory holds."""
        size = sum(k * levels for k, levels in self._shapes[1:])
        if not size:
            return
        one = float(size) * self._sampling.width * _USUAL_STEPS
        step = max(1, int(_TOGETHER / one))
        for start in range(0, self._sampling.count, step):
            yield range(start, min(start + step, self._sampling.count))

    def _logarithms(self, samples: range) -> Logarithms:
        """Return z'log(C)z of the columns of some samples."""
        Z = self._sampling.columns(samples)
        try:
            return logarithms(lambda x: self._scaled(self._regular_roots, x), Z)
        except NotConverged:
            raise _unable() from None

    def traces(self) -> tuple[list[Array], list[Array]]:
        """Return K_i = Σ_l [Z'V⁻¹Z]_ll and K_iT_i for every block i.

        They are the derivatives of `logdet` in Γ_i, and half those in T_i.
        """
        noisy = [K.mean(axis=0) for K in self.information_by_probe]
        K = [own + more for own, more in zip(self._exact_information(), noisy)]
        K = [0.5 * (one + one.T) for one in K]
        return K, [one @ T for one, T in zip(K, self.templates)]

    def _exact_information(self) -> list[Array]:
        """Return the derivatives of log|M_1| and Σ_l log|T'D_lT + I| in Γ_i."""
        complement = self._complement
        out = [complement.own_information()]
        if self._roots:
            out[0] = out[0] + complement.by_diagonal([root.N for root in self._roots])
        for root in self._roots:
            F = weakened(root.D, root.N, root.T)
            out.append(small.product(F, root.D).sum(axis=2))
        return out

    @cached_property
    def information_by_probe(self) -> list[Array]:
        """The derivative of the sample's log|C| in Γ_i, (samples, k, k) for every block i."""
        parts = [
            self._sample_information(samples, logs) for samples, logs in self._logs.items()
        ]
        if not parts:
            return [np.zeros((1, k, k)) for k, _ in self._shapes]
        return [np.concatenate(blocks) for blocks in zip(*parts)]

    def _sample_information(self, samples: range, logs: Logarithms) -> list[Array]:
        """Return those of some samples."""
        Y = logs.directions()
        Y = Y.reshape(len(Y), -1)
        X = blockwise([root.W for root in self._regular_roots], Y)
        BX = self._complement.off_diagonal(X)
        n = len(samples)
        first = self._complement.by_product(X)
        first = first.reshape(n, -1, *first.shape[1:]).sum(axis=1)
        out = [first, *(np.empty((n, k, k)) for k, _ in self._shapes[1:])]
        for s, columns in enumerate(np.split(np.arange(Y.shape[1]), n)):
            P = []
            for i, root, y, x, bx in self._by_block(Y[:, columns], X[:, columns], BX[:, columns]):
                by_T, by_D = root.adjoint(np.einsum("alc,blc->abl", bx, y, optimize=True))
                P.append(by_D - np.einsum("alc,blc->abl", x, x, optimize=True))
                out[i][s] = 0.5 * np.linalg.solve(root.T.T, by_T.T).T
            first[s] += self._complement.by_diagonal(P)
        return out

    def _by_block(self, *stacked: Array) -> Iterator[tuple[int, LevelRoots, Array, Array, Array]]:
        """Yield each block with its roots and its rows of some arrays, (k, levels, c)."""
        start = 0
        for i, ((k, levels), root) in enumerate(zip(self._shapes[1:], self._regular_roots), 1):
            own = slice(start, start + k * levels)
            start = own.stop
            one, two, three = (part[own].reshape(k, levels, -1) for part in stacked)
            yield i, root, one, two, three

    # --- level by level ---------------------------------------------------------------------------

    def level_information(self) -> Array | None:
        """Return every Z_l'V⁻¹Z_l, (k, k, levels), where one block is all of Z."""
        if self._roots:
            return None
        return small.product(self._complement.F, self._diagonal[0])

    def diagonal_blocks(self) -> list[Array]:
        """Return the diagonal blocks of N, (k, k, levels) for every block, by a solve for each.

        Raises
        ------
        FitError
            If there are too many of them.
        """
        q = sum(k * levels for k, levels in self._shapes)
        if q > _LISTED:
            raise FitError(
                f"the conditional variances of {q:,} random effects would take a solve each with "
                "the iterative solver. The conditional modes are there; for their variances fit "
                f"with solver='exact', where memory holds it, or a model of at most {_LISTED:,} "
                "random effects."
            )
        out, start = [], 0
        for k, levels in self._shapes:
            own = np.empty((k, k, levels))
            for first in range(0, levels, 64):
                some = np.arange(first, min(first + 64, levels))
                for b in range(k):
                    unit = np.zeros((q, len(some)))
                    unit[start + b * levels + some, np.arange(len(some))] = 1.0
                    N = self.apply(unit)
                    for a in range(k):
                        own[a, b, some] = N[start + a * levels + some, np.arange(len(some))]
            out.append(own)
            start += k * levels
        return out


def _regular(T: Array) -> Array:
    """Return T, or the template next to it that can be divided by."""
    U, values, V = np.linalg.svd(T)
    least = _REGULAR * max(1.0, values[0])
    return T if values[-1] >= least else np.asarray((U * np.maximum(values, least)) @ V)


def _unable() -> FitError:
    """Return the error for a matrix of too large a condition number."""
    return FitError(
        "the iterative solver did not converge: some levels can hardly be told apart. Fit with "
        "solver='exact'."
    )
