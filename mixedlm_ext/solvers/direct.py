"""The direct solver: M = LL' by stages of unjoined levels and a dense root."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixedlm_ext.caching import cached_property
from mixedlm_ext.linalg.blas import matmul
from mixedlm_ext.linalg.threads import one_thread_for
from mixedlm_ext.products.block_matrix import BlockMatrix
from mixedlm_ext.solvers.costs import Costs
from mixedlm_ext.solvers.elimination import Elimination, EliminationFactor
from mixedlm_ext.solvers.memory import costs_of, is_small
from mixedlm_ext.solvers.plan import Plan, make_plan
from mixedlm_ext.solvers.root import DenseFactor, DenseRoot
from mixedlm_ext.solvers.symbolic import Numbers, Symbolic

Array = NDArray[np.float64]

__all__ = ["DirectSolver", "Factor"]


_MOST_EDGES = 5e7
"""Edges that a plan may list before the iterative solver is chosen by itself."""


class DirectSolver:
    """The numbers of Z'WZ on their pattern, ready to be factored at any theta.

    Parameters
    ----------
    symbolic : Symbolic
    A : BlockMatrix
        Z'WZ.
    """

    name = "exact"

    def __init__(self, symbolic: Symbolic, A: BlockMatrix) -> None:
        self.symbolic, self.A = symbolic, A
        self._on_pattern = symbolic.on_pattern(A)

    @classmethod
    def of(cls, A: BlockMatrix, patient: bool = True) -> DirectSolver:
        """Return a solver with a pattern of its own.

        Parameters
        ----------
        A : BlockMatrix
        patient : bool
            Whether to look for the best plan however long that takes.

        Raises
        ------
        FitError
            If the memory that is free does not hold what it would take.
        """
        costs = costs_of(A)
        if patient:
            return cls(Symbolic(A, costs=costs), A)
        return cls(Symbolic(A, _hasty_plan(A, costs), costs), A)

    @classmethod
    def if_it_pays(cls, A: BlockMatrix, iterative: float) -> DirectSolver | None:
        """Return the same, or None where memory or patience do not hold it.

        Parameters
        ----------
        A : BlockMatrix
        iterative : float
            Seconds of an evaluation by the iterative solver.
        """
        if is_small(A):
            return cls.of(A)
        costs = costs_of(A)
        plan = _hasty_plan(A, costs)
        fits = plan.memory(costs) <= costs.memory
        if not (fits and costs.is_waited_for(plan.seconds(costs), iterative)):
            return None
        return cls(Symbolic(A, plan, costs), A)

    @property
    def _whole(self) -> DenseRoot | None:
        """The root, if it is all."""
        top = self.symbolic.top
        return top if isinstance(top, DenseRoot) else None

    @cached_property
    def _numbers(self) -> Numbers:
        """Z'WZ where the first stage and what remains after it want it."""
        return self.symbolic.load(self._on_pattern)

    def __getstate__(self) -> dict[str, Any]:
        """Leave out numbers that are in A."""
        return {k: v for k, v in vars(self).items() if k not in ("_numbers", "_dense")}

    @cached_property
    def _dense(self) -> Array:
        """Z'WZ (q, q) in the order of elimination."""
        order = self.symbolic.order
        dense = self._on_pattern.dense
        return dense if order is None else dense[np.ix_(order, order)]

    def load(self, A: BlockMatrix) -> DirectSolver:
        """Return the solver of other numbers on the same pattern."""
        return self if A is self.A else DirectSolver(self.symbolic, A)

    @property
    def costs(self) -> Costs:
        """Those that the plan was made by."""
        return self.symbolic.costs

    @property
    def root_size(self) -> int:
        """Columns of the dense root."""
        return self.symbolic.plan.root_size

    @property
    def probes(self) -> int:
        """None: everything is exact."""
        return 0

    def factor(self, templates: Sequence[Array]) -> Factor:
        """Factor M at the given templates, one for each block."""
        with one_thread_for(self.root_size):
            return Factor(self.symbolic, self._stages(templates), templates)

    def _stages(self, templates: Sequence[Array]) -> EliminationFactor | DenseFactor:
        """Eliminate."""
        if self._whole is not None:
            return self._whole.of(self._dense, templates)
        top, numbers, places = self.symbolic.top, self._numbers, self.symbolic.places
        assert isinstance(top, Elimination)
        if self.symbolic.in_cells:
            cells = np.zeros(top.n_cells)
            cells[places] = numbers.values
            return top.factor(cells, templates)
        return EliminationFactor(top, numbers.D, numbers.C, places, numbers.values, templates)


def _hasty_plan(A: BlockMatrix, costs: Costs) -> Plan:
    """Return a plan that ends before it lists what takes long itself, and patience to factor."""
    return make_plan(A.shapes, A.pairs, replace(costs, most_edges=_MOST_EDGES))


class Factor:
    """LL' = Λ'Z'WZΛ + I at one theta; arrays are in the column order of the cross-products.

    Attributes
    ----------
    logdet : float
        log|L|², that is log|M|.
    """

    logdet_by_probe: Array = np.zeros(0)

    def __init__(
        self,
        symbolic: Symbolic,
        stages: EliminationFactor | DenseFactor,
        templates: Sequence[Array],
    ) -> None:
        self._symbolic, self._stages = symbolic, stages
        self.templates = templates
        self.logdet = stages.logdet
        self._threads = one_thread_for(symbolic.plan.root_size)

    def release(self) -> None:
        """Free the memory; solves are no longer possible."""
        with suppress(AttributeError):  # released before
            del self._stages

    def solve(self, H: Array) -> tuple[Array, Array]:
        """Return H'NH and NH for H (q, c), N = ΛM⁻¹Λ'."""
        C = self.half_solve(H)
        return matmul(C.T, C), self.back_solve(C)

    def apply(self, H: Array) -> Array:
        """Return NH for H (q, c)."""
        return self.back_solve(self.half_solve(H))

    def quadratic(self, H: Array) -> Array:
        """Return H'NH for H (q, c)."""
        C = self.half_solve(H)
        return matmul(C.T, C)

    def quadratic_diagonal(self, H: Array) -> Array:
        """Return the diagonal of H'NH, (c,)."""
        C = self.half_solve(H)
        return np.asarray(np.einsum("qc,qc->c", C, C))

    def half_solve(self, r: Array) -> Array:
        """Return L⁻¹Λ'r for r (q, c), rows in the order of elimination."""
        order = self._symbolic.order
        with self._threads:
            return self._stages.half_solve(r if order is None else r[order])

    def back_solve(self, c: Array) -> Array:
        """Return ΛL⁻ᵀc for c (q, c) in the order of elimination, as `half_solve` gives it."""
        order = self._symbolic.order
        with self._threads:
            b = self._stages.back_solve(c)
        if order is None:
            return b
        out = np.empty_like(b)
        out[order] = b
        return out

    def traces(self) -> tuple[list[Array], list[Array]]:
        """Return K_i = Σ_l [Z'V⁻¹Z]_ll and K_iT_i for every block i."""
        sizes = [k for k, _ in self._symbolic.shapes]
        K = [np.zeros((k, k)) for k in sizes]
        KT = [np.zeros((k, k)) for k in sizes]
        with self._threads:
            self._stages.add_information(K, KT)
        return K, KT

    def information_by_probe(self) -> None:
        """Return None: nothing is estimated by samples."""

    def weighed(self, H: Array) -> None:
        """Return None: what `apply` leaves of H is as good."""

    def level_information(self) -> Array | None:
        """Return every Z_l'V⁻¹Z_l, (k, k, levels), where one unjoined block is all of Z."""
        stages = self._stages
        if isinstance(stages, DenseFactor) or stages.rest is not None:
            return None
        return stages.level_information()

    def diagonal_blocks(self) -> list[Array]:
        """Return the diagonal blocks of ΛM⁻¹Λ', (k, k, levels) for every block."""
        out = [np.empty((k, k, levels)) for k, levels in self._symbolic.shapes]
        with self._threads:
            self._stages.diagonal_blocks(out)
        return out

    def inverse(self) -> BlockMatrix:
        """Return the entries of ΛM⁻¹Λ' on the pattern of Z'WZ."""
        symbolic, stages = self._symbolic, self._stages
        with self._threads:
            if symbolic.in_cells:
                values = stages.inverse_at(symbolic.places)
                return symbolic.unload(np.zeros((0, 0, 0)), np.zeros((0, 0)), values)
            assert isinstance(stages, EliminationFactor)
            D, C, rest = stages.inverse_entries(symbolic.places)
        return symbolic.unload(D, C, rest)
