"""A generalized linear mixed model as the engine sees it: rows in a layout, and a likelihood.

The fixed part is Qζ with Q'Q = nI, so that an entry of ζ is the effect of one standard deviation of
a column, of the order of the random effects. η = Qζ + Zb + offset, b = Λ(θ)u, u ~ N(0, I). Where
levels have a known covariance K, it is in Z by a root of K, or in u ~ N(0, I ⊗ K) by its inverse.
Where a link keeps the units of the response, Q and Z are multiplied by such a unit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mixedlm_ext.caching import cached_property
from mixedlm_ext.criteria.assemble import lay_out_terms
from mixedlm_ext.criteria.pls import Problem
from mixedlm_ext.design import Design
from mixedlm_ext.families.conditional import Conditional
from mixedlm_ext.linalg.blas import matmul
from mixedlm_ext.linalg.triangular import solve_upper
from mixedlm_ext.products.working import WorkingRows
from mixedlm_ext.products.working_roots import rows_of_blocks
from mixedlm_ext.solvers.direct import DirectSolver, Factor
from mixedlm_ext.solvers.prior import PriorFactor, PriorSolver
from mixedlm_ext.structures.covariance import Covariance

Array = NDArray[np.float64]

__all__ = ["AnyFactor", "GeneralizedProblem", "generalized_problem"]

AnyFactor = Factor | PriorFactor


@dataclass(frozen=True, eq=False)
class GeneralizedProblem:
    """Rows, pattern and likelihood.

    Attributes
    ----------
    linear : Problem
        Of the same design with equal weights: the layout, the pattern, the covariance.
    rows : WorkingRows
    Q : ndarray (n, p)
        Fixed columns in an orthogonal basis.
    offset : ndarray (n,)
    likelihood : Conditional
    observed : bool
        Whether observed information is in the determinant, or expected.
    unit : float
        Of η, in which ζ, θ and u are: one unless the link keeps the units of the response.
    """

    linear: Problem
    rows: WorkingRows
    Q: Array
    offset: Array
    likelihood: Conditional
    observed: bool
    unit: float = 1.0

    @property
    def covariance(self) -> Covariance:
        """θ and its structures."""
        return self.linear.covariance

    @property
    def solver(self) -> DirectSolver | PriorSolver:
        """The pattern of the factor."""
        assert isinstance(self.linear.solver, DirectSolver | PriorSolver)
        return self.linear.solver

    @property
    def n(self) -> int:
        """Rows."""
        return len(self.Q)

    @property
    def p(self) -> int:
        """Fixed effects."""
        return self.Q.shape[1]

    @property
    def n_extra(self) -> int:
        """Parameters beside the means: 0 or 1."""
        return int(bool(self.likelihood.extra))

    def factor(self, w: Array, templates: Sequence[Array]) -> AnyFactor:
        """Return the factor of Λ'Z'WZΛ + I, or + Q where levels have a known precision."""
        solver = self.solver.load(self.rows.products(w))
        with np.errstate(over="ignore", invalid="ignore"):  # nan is found where it ends up
            return solver.factor(templates)

    def scaled_by(self, templates: Sequence[Array], v: Array) -> Array:
        """Return Λ'v for v (q,)."""
        out = [T.T @ self.linear.cp.block(v, i) for i, T in enumerate(templates)]
        return np.concatenate([part.ravel() for part in out])

    def spread(self, templates: Sequence[Array], u: Array) -> Array:
        """Return b = Λu for u (q,)."""
        out = [T @ self.linear.cp.block(u, i) for i, T in enumerate(templates)]
        return np.concatenate([part.ravel() for part in out])

    @property
    def independent(self) -> bool:
        """Whether the effects u are independent of one another."""
        return not self.linear.cp.layout.priors

    def precision_times(self, u: Array) -> Array:
        """Return Qu for u (q,), of variance Q⁻¹ = I ⊗ K by blocks."""
        return u if self.independent else self._by_block(self.linear.cp.unspread, u)

    def covariance_times(self, v: Array) -> Array:
        """Return Q⁻¹v for v (q,)."""
        return v if self.independent else self._by_block(self.linear.cp.spread, v)

    def _by_block(self, function: Callable[[int, Array], Array], v: Array) -> Array:
        """Return what a function makes of each block of v."""
        cp = self.linear.cp
        return np.concatenate([function(i, cp.block(v, i)).ravel() for i in range(len(cp.shapes))])

    # --- between the basis and the user's coefficients --------------------------------------------

    @property
    def _root_n(self) -> float:
        """What Q is more than orthonormal."""
        return float(np.sqrt(self.n)) * self.unit

    @property
    def orthonormal(self) -> Array:
        """The fixed columns in an orthonormal basis, (n, p)."""
        return self.Q / self._root_n

    @cached_property
    def to_beta(self) -> Array:
        """J (p, p) with β = Jζ."""
        R = self.linear.cp.layout.R
        return solve_upper(R, np.eye(self.p)) * self._root_n

    def beta(self, zeta: Array) -> Array:
        """Return the coefficients of the user's columns."""
        return np.asarray(self.to_beta @ zeta)

    def zeta(self, beta: Array) -> Array:
        """Return the coordinates of the user's coefficients."""
        return np.asarray(self.linear.cp.layout.R @ beta / self._root_n)

    def with_likelihood(self, likelihood: Conditional) -> GeneralizedProblem:
        """Return the same rows with another likelihood, or of another response."""
        return replace(self, likelihood=likelihood)


def generalized_problem(
    design: Design, likelihood: Conditional, observed: bool, unit: float | None = None
) -> GeneralizedProblem:
    """Lay out the rows of a design.

    Parameters
    ----------
    design : Design
    likelihood : Conditional
        Of the same rows.
    observed : bool
    unit : float, optional
        Of η; that of the response, as the link has it, by default.

    Returns
    -------
    GeneralizedProblem
    """
    unit = likelihood.unit if unit is None else unit
    linear, blocks = lay_out_terms(design, unit)
    basis = linear.cp.layout.basis
    Q = basis.coordinates(design.X) * (np.sqrt(len(design.X)) * unit)
    offset = np.zeros(len(design.y)) if design.offset is None else design.offset
    if not linear.cp.layout.priors:  # derivatives read the inverse on the pattern: no iterations
        linear = replace(linear, given=DirectSolver.of(linear.cp.A, patient=False))
    return GeneralizedProblem(linear, rows_of_blocks(blocks), Q, offset, likelihood, observed, unit)


def quadratic_form(rows: Array, w: Array) -> Array:
    """Return Q'WQ."""
    return matmul(rows.T, rows * w[:, None])
