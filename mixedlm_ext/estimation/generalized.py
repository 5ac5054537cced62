"""The record of a generalized fit: a `Fit` whose engine is Laplace's criterion, or quadrature.

There is no residual standard deviation: θ, b and the covariance of the random effects are on the
scale of the linear predictor, so that σ = 1 wherever a linear model would multiply by it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from mixedlm_ext.caching import shared_property
from mixedlm_ext.criteria.generalized import AnyFactor, GeneralizedProblem, generalized_problem
from mixedlm_ext.criteria.laplace import LaplaceCriterion, LaplaceEvaluation
from mixedlm_ext.criteria.level_blocks import level_blocks
from mixedlm_ext.criteria.quadrature import QuadratureCriterion
from mixedlm_ext.design import Design
from mixedlm_ext.design.removed import require_rows
from mixedlm_ext.estimation.fit import Fit, by_term, modes_by_term
from mixedlm_ext.families.choose import extra_of, likelihood_of
from mixedlm_ext.families.curves import mean_of
from mixedlm_ext.families.prior import PriorWeights
from mixedlm_ext.search.verdict import Optimization

Array = NDArray[np.float64]

__all__ = [
    "GeneralizedFit",
    "WorkingEngine",
    "WorkingSolution",
    "criterion_of",
    "evaluation_of",
    "generalized_fit",
    "point_of",
]

_FLAT = 1e-7
"""Eigenvalues of the information this small, relative to the largest, count as none."""
_UNKNOWN = 1e-11
"""The same of the information about fixed effects, each scaled to one."""
_POISSON = 1e4
"""Size of a negative binomial, in means, from which on it is a Poisson distribution."""
_SHARE = 1e-4
"""A parameter's share of a direction from which on it is lost with it."""


@dataclass(frozen=True, eq=False)
class WorkingSolution:
    """What errors of predictions read of penalized least squares: M and NZ'WX, X orthonormal."""

    factor: AnyFactor
    NZX: Array


@dataclass(frozen=True, eq=False)
class WorkingEngine:
    """The working linear model, and its weights (n,)."""

    pls: WorkingSolution
    w: Array


@dataclass(frozen=True, eq=False, repr=False)
class GeneralizedFit(Fit):
    """Estimates of one generalized model.

    Attributes
    ----------
    family : statsmodels family
        With its link.
    prior : PriorWeights
        Of the rows.
    omega : ndarray (0,) or (1,)
        The logarithm of the dispersion or of the size of the negative binomial.
    extra_estimated : bool
        Whether ω was estimated.
    nagq : int
        0 for the fast criterion, 1 for Laplace's, else nodes of the quadrature.
    observed : bool
        Whether the determinant has the observed information.
    information : ndarray
        Second derivatives of half the criterion in the directions of a step in θ, in ζ and in ω.
    extra_cov : ndarray
        Inverse of that in the user's parameters: β, then ω.
    conditional : list of ndarray (levels, k, k)
        Covariances of each term's b given y.
    count : float
        Observations: rows, each as often as its frequency says.
    at_poisson : bool
        Whether alpha of a negative binomial was estimated as next to zero.
    unit : float
        Of the linear predictor, for the engine.
    """

    family: Any = None
    prior: PriorWeights = field(default_factory=PriorWeights)
    omega: Array = field(default_factory=lambda: np.zeros(0))
    extra_estimated: bool = False
    nagq: int = 1
    observed: bool = False
    information: Array = field(default_factory=lambda: np.zeros((0, 0)))
    extra_cov: Array = field(default_factory=lambda: np.zeros((0, 0)))
    conditional: tuple[Array, ...] = ()
    count: float = 0.0
    at_poisson: bool = False
    unit: float = 1.0

    has_residual: ClassVar[bool] = False

    @property
    def n(self) -> int:
        """The number of observations."""
        return round(self.count)

    @property
    def n_parameters(self) -> int:
        """Fixed effects, theta, and ω if it was estimated."""
        return len(self.beta) + len(self.theta) + int(self.extra_estimated)

    @property
    def dispersion(self) -> float:
        """φ; one for families that have none."""
        return float(np.exp(self.omega[0])) if self._kind == "dispersion" else 1.0

    @property
    def size(self) -> float | None:
        """The size of the negative binomial, 1/alpha; None for other families."""
        return float(np.exp(self.omega[0])) if self._kind == "size" else None

    @property
    def _kind(self) -> str:
        return extra_of(self.family)

    @shared_property
    def conditional_cov(self) -> list[Array]:
        """Covariance (levels, k, k) of each term's b given y, the parameters as known."""
        return list(self.conditional)

    @shared_property
    def engine(self) -> WorkingEngine:  # type: ignore[override]
        """The linear mixed model for the working response at the estimates."""
        e = evaluation_of(self)
        problem = e.criterion.problem
        WQ = problem.orthonormal * e.w[:, None]
        NZX = e.factor.apply(problem.rows.sums(WQ))
        return WorkingEngine(WorkingSolution(e.factor, NZX), e.w)

    @shared_property
    def rows_problem(self) -> GeneralizedProblem:
        """The rows in the engine's layout, with their likelihood."""
        require_rows(self.design, "what is computed from them")
        likelihood = likelihood_of(self.family, self.design.y, self.prior)
        return generalized_problem(self.design, likelihood, self.observed, self.unit)

    def without_rows(self, design: Design) -> GeneralizedFit:
        """Return the same fit without its rows."""
        return replace(self, design=design, prior=self.prior.without_rows())

    def linear_predictor(self) -> Array:
        """Return η = Xβ + Zb + offset at the conditional modes, (n,)."""
        return super().fitted()

    def fitted(self) -> Array:
        """Return the means at the conditional modes, (n,)."""
        return mean_of(self.family, self.linear_predictor())


def generalized_fit(
    design: Design,
    e: LaplaceEvaluation,
    optimization: Optimization,
    prior: PriorWeights,
    nagq: int,
    lost: tuple[int, ...] = (),
) -> GeneralizedFit:
    """Carry the engine's solution back to the user's units.

    Parameters
    ----------
    design : Design
    e : LaplaceEvaluation
        At the minimum.
    optimization : Optimization
    prior : PriorWeights
    nagq : int
    lost : tuple of int
        Fixed effects without a finite estimate.
    """
    criterion = e.criterion
    problem = criterion.problem
    covariance, linear = problem.covariance, problem.linear
    information = 0.5 * (e.exact_hessian if e.nearby is None else e.nearby)
    cov = _parameter_cov(problem, e, information, lost)
    p = problem.p
    blocks = level_blocks(linear.cp, e.factor)
    logdet_RX = float(np.linalg.slogdet(e.fixed_information)[1]) if p else 0.0
    return GeneralizedFit(
        design=design,
        problem=linear,
        reml=False,
        fixed_sigma=1.0,
        theta=covariance.unstandardize(e.theta_part),
        objective=e.value,
        sigma=1.0,
        beta=problem.beta(e.modes.zeta),
        unscaled_cov=cov[:p, :p],
        b=modes_by_term(linear, e.modes.b),
        u=by_term(linear, [linear.cp.block(e.modes.u, i) for i in range(len(linear.cp.shapes))]),
        pwrss=e.modes.penalized,
        logdet_L=e.factor.logdet,
        logdet_RX=logdet_RX,
        singular_terms=tuple(covariance.singular_terms(e.theta_part)),
        optimization=optimization,
        family=problem.likelihood.family,
        prior=prior,
        omega=np.asarray(e.omega, dtype=float),
        extra_estimated=bool(criterion.n_extra),
        nagq=nagq,
        observed=problem.observed,
        information=information,
        extra_cov=cov,
        conditional=tuple(
            place.covariance(blocks[place.block]).transpose(2, 0, 1)
            for place in linear.cp.layout.places
        ),
        count=prior.count(problem.n),
        unit=problem.unit,
        at_poisson=problem.likelihood.extra == "size"
        and bool(criterion.n_extra)
        and float(np.exp(e.omega[0])) > _POISSON * float(np.mean(e.modes.at.mu)),
    )


def _parameter_cov(
    problem: GeneralizedProblem, e: LaplaceEvaluation, information: Array, lost: tuple[int, ...]
) -> Array:
    """Return the covariance of (β, ω): from all parameters, or θ as known for the fast criterion.

    Directions of θ in which the criterion is flat, as next to a singular covariance, are held.
    """
    p, J = problem.p, problem.to_beta
    if e.criterion.fast:
        return _inverse(e.fixed_information, J, lost)
    d = len(information) - p - e.criterion.n_extra
    T, C, B = information[:d, :d], information[:d, d:], information[d:, d:]
    values, vectors = np.linalg.eigh(T)
    kept = values > _FLAT * max(float(np.abs(values).max(initial=0.0)), 1e-300)
    R = vectors[:, kept].T @ C
    S = B - (R.T / values[kept]) @ R
    K = np.eye(len(S))
    K[:p, :p] = J
    return _inverse(0.5 * (S + S.T), K, lost)


def _inverse(S: Array, J: Array, lost: tuple[int, ...]) -> Array:
    """Return JS⁻¹J' with the parameters `lost` held; nan for those and for what is not known."""
    if not lost:
        return _carried(S, J)
    S = np.linalg.solve(J.T, np.linalg.solve(J.T, S).T) if len(S) else S
    kept = np.setdiff1d(np.arange(len(S)), lost)
    out = np.full(S.shape, np.nan)
    if not len(kept):
        return out
    own = S[np.ix_(kept, kept)]
    scale = 1.0 / np.sqrt(np.maximum(np.diag(own), 1e-300))
    values, vectors = np.linalg.eigh(own * np.outer(scale, scale))
    known = values > _UNKNOWN
    inverse = scale[:, None] * ((vectors[:, known] / values[known]) @ vectors[:, known].T) * scale
    unknown = (np.abs(vectors[:, ~known]) > _SHARE).any(axis=1)
    inverse[unknown, :] = inverse[:, unknown] = np.nan
    out[np.ix_(kept, kept)] = inverse
    return out


def _carried(S: Array, J: Array) -> Array:
    """Return JS⁻¹J', nan for parameters with a share of a direction of which nothing is known.

    That is asked in the coordinates of S, whatever the units and the origins of the columns are.
    """
    if not len(S):
        return S
    scale = 1.0 / np.sqrt(np.maximum(np.diag(S), 1e-300))
    values, vectors = np.linalg.eigh(S * np.outer(scale, scale))
    known = values > _UNKNOWN
    carried = (J * scale) @ vectors
    out = np.asarray((carried[:, known] / values[known]) @ carried[:, known].T)
    size = np.linalg.norm(carried, axis=1, keepdims=True)
    unknown = (np.abs(carried[:, ~known]) > _SHARE * size).any(axis=1)
    out[unknown, :] = out[:, unknown] = np.nan
    return out


def criterion_of(fit: GeneralizedFit) -> LaplaceCriterion:
    """Return the criterion that a fit minimized."""
    fixed = None if fit.extra_estimated or not len(fit.omega) else fit.omega
    if fit.nagq > 1:
        return QuadratureCriterion(fit.rows_problem, fit.nagq, fixed)
    return LaplaceCriterion(fit.rows_problem, fit.nagq == 0, fixed)


def point_of(fit: GeneralizedFit) -> Array:
    """Return θ (standardized), ζ unless the fit was fast, and ω if it was estimated."""
    zeta = np.zeros(0) if fit.nagq == 0 else fit.rows_problem.zeta(fit.beta)
    omega = fit.omega if fit.extra_estimated else np.zeros(0)
    return np.concatenate([fit.problem.covariance.standardize(fit.theta), zeta, omega])


def evaluation_of(fit: GeneralizedFit) -> LaplaceEvaluation:
    """Evaluate the criterion at the estimates once more."""
    zeta = fit.rows_problem.zeta(fit.beta)
    return criterion_of(fit).at(point_of(fit), None, zeta)
