"""The record of a fit, in the user's units: what results and inference read."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from mixedlm_ext.caching import cached_property, shared_property
from mixedlm_ext.criteria.assemble import response, with_structure
from mixedlm_ext.criteria.gaussian import GaussianCriterion, GaussianEvaluation
from mixedlm_ext.criteria.level_blocks import level_blocks
from mixedlm_ext.criteria.linear import AnyCriterion, AnyEvaluation, criterion_of
from mixedlm_ext.criteria.pls import Problem
from mixedlm_ext.criteria.residual import ResidualCriterion, ResidualEvaluation
from mixedlm_ext.criteria.restricted import RestrictedCriterion, RestrictedEvaluation
from mixedlm_ext.design import Design
from mixedlm_ext.design.removed import require_rows
from mixedlm_ext.linalg.blas import matmul
from mixedlm_ext.products.noise import equally_precise
from mixedlm_ext.products.products import CrossProducts
from mixedlm_ext.products.responses import Reduction
from mixedlm_ext.products.transform import orthonormal
from mixedlm_ext.search import Optimization, Sampling
from mixedlm_ext.structures.parameter_point import ParameterPoint
from mixedlm_ext.structures.restrictions import Restrictions

Array = NDArray[np.float64]

__all__ = ["Fit", "by_term", "modes_by_term"]

_CACHED = ("engine", "joint", "noise_changes", "conditional_cov", "rows_problem")
"""Shared properties of `Fit` that can be computed again without rows."""
_OF_ROWS = ("joint", "noise_changes")
"""Those that hold what the rows of a residual structure were summed to."""


@dataclass(frozen=True, eq=False)
class Fit:
    """Estimates of one model, and the way back to the engine.

    Attributes
    ----------
    design : Design
    problem : Problem
        What the engine worked on.
    reml : bool
    fixed_sigma : float or None
        The residual standard deviation when it was given rather than estimated.
    theta : ndarray (m,)
        Relative covariance parameters, in the order of the formula.
    objective : float
        REML criterion, or minus twice the log-likelihood.
    sigma : float
        Residual standard deviation (of a row with weight one).
    beta : ndarray (p,)
        Fixed effects.
    unscaled_cov : ndarray (p, p)
        (X'V⁻¹X)⁻¹; times σ² it is the covariance of beta.
    b, u : tuple of ndarray (levels, k)
        Conditional modes of each term, and u with b = Tu, spherical where levels are independent.
    pwrss, logdet_L, logdet_RX : float
        Penalized residual sum of squares, log|M|, log|X'V⁻¹X|.
    singular_terms : tuple of bool
        Whether each term's estimated covariance is singular.
    optimization : Optimization
    z : ndarray or None
        Where the parameters of a residual structure are, for the engine; `design.residual.values`
        has them in the user's words. `problem` has their noise, and so has `design`.
    restrictions : Restrictions or None
        Equations that the parameters fulfil.
    sampling : Sampling or None
        What an iterative solver leaves uncertain; None if everything is exact.
    shared : dict
        What the shared properties computed; none of it has rows.
    """

    design: Design
    problem: Problem
    reml: bool
    fixed_sigma: float | None
    theta: Array
    objective: float
    sigma: float
    beta: Array
    unscaled_cov: Array
    b: tuple[Array, ...]
    u: tuple[Array, ...]
    pwrss: float
    logdet_L: float
    logdet_RX: float
    singular_terms: tuple[bool, ...]
    optimization: Optimization
    z: Array | None = None
    restrictions: Restrictions | None = None
    sampling: Sampling | None = None
    shared: dict[str, Any] = field(default_factory=dict, init=False)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.design!r}, objective {self.objective:.6g}>"

    @classmethod
    def from_evaluation(
        cls,
        design: Design,
        criterion: AnyCriterion,
        evaluation: AnyEvaluation,
        optimization: Optimization,
        sampling: Sampling | None = None,
    ) -> Fit:
        """Carry the engine's solution back to the user's units."""
        inner = evaluation.inner if isinstance(evaluation, RestrictedEvaluation) else evaluation
        if isinstance(inner, ResidualEvaluation):
            return cls._with_residuals(design, criterion, inner, optimization)
        problem, pls = criterion.problem, evaluation.pls
        cp, covariance = problem.cp, problem.covariance
        beta, unscaled_cov = _fixed_effects(problem, evaluation)
        u = by_term(
            problem,
            [
                matmul(T.T, cp.spread(i, cp.block(evaluation.v, i)))
                for i, T in enumerate(pls.factor.templates)
            ],
        )
        out = cls(
            design=design,
            problem=problem,
            reml=criterion.reml,
            fixed_sigma=criterion.sigma,
            theta=covariance.unstandardize(pls.theta),
            objective=evaluation.value,
            sigma=float(np.sqrt(evaluation.scale)),
            beta=beta,
            unscaled_cov=unscaled_cov,
            b=modes_by_term(problem, pls.b),
            u=u,
            pwrss=pls.pwrss,
            logdet_L=pls.logdet_L,
            logdet_RX=pls.logdet_RX + cp.layout.logdet_R,
            singular_terms=tuple(covariance.singular_terms(pls.theta)),
            optimization=optimization,
            restrictions=getattr(criterion, "restrictions", None),
            sampling=sampling,
        )
        if sampling is not None:
            out.shared["engine"] = evaluation  # another one would cost as much as a step
        return out

    @classmethod
    def _with_residuals(
        cls,
        design: Design,
        criterion: AnyCriterion,
        e: ResidualEvaluation,
        optimization: Optimization,
    ) -> Fit:
        """Hold the parameters of the residuals where they are: all else is as with known weights.

        Standard deviations are those of the user from here on, relative to the first stratum.
        """
        level = e.sums.level(e.z)
        cp = orthonormal(e.products.cp * float(np.exp(-2.0 * level)))
        problem = criterion.problem.with_products(cp)
        held = criterion.sigma
        if isinstance(criterion, RestrictedCriterion) and criterion.with_sigma:
            held = float(np.sqrt(e.scale) * np.exp(-level))
        plain = GaussianCriterion(problem, criterion.reml, held)
        theta = problem.covariance.scaled(e.pls.theta, float(np.exp(level)))
        known = design.with_residual(e.structure.values_of(e.z))
        return replace(
            cls.from_evaluation(known, plain, plain.at(theta), optimization),
            z=e.z.copy(),
            fixed_sigma=criterion.sigma,
            restrictions=getattr(criterion, "restrictions", None),
        )

    def with_design(self, design: Design) -> Fit:
        """Return the same fit of the same design without its rows, or with them."""
        problem, shared, own = self.problem, self.shared, self.design.residual
        if own is not None and own.values is not None:
            design = design.with_residual(own.values)
        if problem.residual is not None:
            problem = self._with_sums_of(design)
            shared = {name: value for name, value in shared.items() if name not in _OF_ROWS}
        same = replace(self, design=design, problem=problem)
        same.shared.update(shared)
        return same

    def _with_sums_of(self, design: Design) -> Problem:
        """Return the problem with the sums that a design has rows for.

        Sums in memory have the rows, and do not outlive them; those of batches have none, and give
        way to sums of the rows where all of these were read.
        """
        problem, sums = self.problem, self.problem.residual
        assert sums is not None and self.z is not None
        if not len(design.rows):
            return problem.without_rows()
        if len(design.rows) < self.n or sums.of_rows:
            return problem
        own = with_structure(design, sums.layout)
        assert own.residual is not None
        level = own.residual.level(self.z)
        cp = orthonormal(own.residual.at(self.z).cp * float(np.exp(-2.0 * level)))
        return own.with_products(cp)

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what can be computed again."""
        shared = {name: value for name, value in self.shared.items() if name not in _CACHED}
        state = {**vars(self), "shared": shared}
        state.pop("reduction", None)
        return state

    @cached_property
    def reduction(self) -> Reduction:
        """What takes other responses to their cross-products, kept for further refits."""
        return Reduction(self.design, self.problem.cp.layout)

    @shared_property
    def engine(self) -> GaussianEvaluation:
        """The criterion at the estimate, with its factor and derivatives."""
        criterion = GaussianCriterion(self.problem, self.reml, self.held_sigma)
        return criterion.at(self.problem.covariance.standardize(self.theta))

    def criterion(self, problem: Problem | None = None, reml: bool | None = None) -> AnyCriterion:
        """Return the criterion that the fit minimizes; of another problem of the same parameters,
        or the other likelihood."""
        return criterion_of(
            self.problem if problem is None else problem,
            self.reml if reml is None else reml,
            self.fixed_sigma,
            self.restrictions,
        )

    @property
    def held_sigma(self) -> float | None:
        """The residual standard deviation if it is not the one that theta alone would give."""
        tied = self.restrictions is not None and self.restrictions.holds_sigma
        return self.sigma if tied and self.fixed_sigma is None else self.fixed_sigma

    @property
    def n_restricted(self) -> int:
        """The number of parameters that are given, or equal to others."""
        if self.restrictions is None:
            return 0
        covariance = self.problem.covariance
        own = covariance, covariance.standardize(self.theta), float(np.log(self.sigma))
        residual = self.design.residual
        if residual is None or self.z is None:
            return self.restrictions.count(ParameterPoint(*own))
        slopes = residual.slopes_of_all, np.zeros(len(self.z))
        return self.restrictions.count(ParameterPoint(*own, self.z, *slopes))

    @shared_property
    def unweighted_root(self) -> Array:
        """R (p, p), upper triangular, with R'R = X'X; it needs the rows unless W = I."""
        if equally_precise(self.design):
            return self.problem.cp.R
        if self.design.rows.elsewhere is not None:
            return self.design.rows.elsewhere.root
        require_rows(self.design, "hypotheses of types I and II")
        return np.asarray(np.linalg.qr(self.design.X, mode="r"), dtype=float)

    has_residual: ClassVar[bool] = True
    """Whether sigma is the standard deviation of a residual."""

    @property
    def n(self) -> int:
        """The number of observations, also when the rows were removed."""
        return self.problem.cp.n

    @property
    def n_parameters(self) -> int:
        """Fixed effects, covariance parameters less what is given or equal, sigma unless fixed."""
        free = self.n_covariance - self.n_restricted
        return len(self.beta) + free + int(self.fixed_sigma is None)

    @property
    def n_covariance(self) -> int:
        """Number of covariance parameters beside sigma: theta and those of the residuals."""
        return len(self.theta) + (0 if self.z is None else len(self.z))

    @shared_property
    def joint(self) -> ResidualEvaluation:
        """The criterion as a function of the parameters of the residuals, too, at the estimate.

        In the user's scale, where `engine` holds these parameters.
        """
        if self.problem.residual is None:
            require_rows(self.design, "derivatives in the parameters of the residuals")
        criterion = criterion_of(self.problem, self.reml, self.held_sigma)
        assert isinstance(criterion, ResidualCriterion) and self.z is not None
        own = criterion.in_user_scale()
        theta = self.problem.covariance.standardize(self.theta)
        return own.at(own.space.join(theta, self.z))

    @shared_property
    def noise_changes(self) -> list[CrossProducts]:
        """∂A/∂z of the products in each parameter of the residuals, in the user's scale."""
        return self.joint.products.derivatives

    @property
    def templates(self) -> list[Array]:
        """T of each term, in the order of the formula."""
        return self.problem.covariance.term_templates(self.theta)

    @property
    def random_cov(self) -> list[Array]:
        """Covariance matrix σ²TT' of each term's random effects."""
        return [self.sigma**2 * T @ T.T for T in self.templates]

    @shared_property
    def conditional_cov(self) -> list[Array]:
        """Covariance (levels, k, k) of each term's b given y, with beta and theta as known."""
        blocks = level_blocks(self.problem.cp, self.engine.pls.factor)
        return [
            self.sigma**2 * place.covariance(blocks[place.block]).transpose(2, 0, 1)
            for place in self.problem.cp.layout.places
        ]

    def fitted(self) -> Array:
        """Return Xβ + Zb + offset, the conditional fitted values."""
        design = self.design
        out = design.y - response(design) + design.X @ self.beta
        for term, b in zip(design.terms, self.b):
            out += term.times(b)
        return np.asarray(out)


def _fixed_effects(problem: Problem, e: AnyEvaluation) -> tuple[Array, Array]:
    """Return the coefficients of the user's X and their unscaled covariance."""
    layout, pls = problem.cp.layout, e.pls
    root = layout.root(pls.RX)
    return layout.coefficients(pls.beta), np.asarray(root @ root.T)


def modes_by_term(problem: Problem, b: Array) -> tuple[Array, ...]:
    """Return b of each term, (levels, k), in the user's units."""
    cp = problem.cp
    return tuple(
        np.ascontiguousarray(place.modes(cp.block(b, place.block)).T) for place in cp.layout.places
    )


def by_term(problem: Problem, blocks: list[Array]) -> tuple[Array, ...]:
    """Split (k, levels) arrays of the blocks into (levels, k) arrays of the terms."""
    return tuple(
        np.ascontiguousarray(place.reported(blocks[place.block][place.own]).T)
        for place in problem.cp.layout.places
    )
