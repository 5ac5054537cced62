"""Searches where log|M| is estimated by samples: how much they blur the optimum, and how many do.

A minimum of the criterion with some samples is off that with all of them by H⁻¹ times what the
gradient is off. From the samples' own gradients g_s in theta, H the Hessian,

    Var(θ̂ | data) = H⁻¹ Cov(g_s) H⁻¹ / samples,      Var(θ̂) = 2H⁻¹

The search is repeated from where it ended, with more samples, until the first is a small share of
the second.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixedlm_ext.criteria.gaussian import GaussianCriterion, GaussianEvaluation
from mixedlm_ext.criteria.levelwise import LevelwiseEvaluation, by_levels
from mixedlm_ext.criteria.linear import AnyCriterion, AnyEvaluation
from mixedlm_ext.search.minimum import optimize
from mixedlm_ext.search.verdict import Optimization
from mixedlm_ext.solvers.iterative import IterativeSolver
from mixedlm_ext.structures.derivatives import theta_gradient

Array = NDArray[np.float64]

__all__ = ["Sampling", "optimize_with_samples", "sampling_of"]

_GOAL = 0.005
"""Standard error by the samples, in statistical standard errors, that is small enough."""
_MOST = 2048
"""Samples beyond which nobody waits."""
_FLAT = 1e-8
"""Eigenvalues of the Hessian, scaled to a diagonal of ones, of directions that are not searched."""


@dataclass(frozen=True, eq=False)
class Sampling:
    """What the samples of an iterative fit leave uncertain.

    Attributes
    ----------
    samples : int
        Random signs of all levels that log|M| was estimated from.
    theta_se : ndarray (m,)
        Standard errors of theta (as the user has it) by the samples alone.
    share : float
        The largest of them, relative to the statistical standard error.
    objective_se : float
        Standard error of the criterion by the samples.
    """

    samples: int
    theta_se: Array
    share: float
    objective_se: float

    @property
    def enough(self) -> bool:
        """Whether more samples would change nothing of interest."""
        return self.share <= _GOAL

    @property
    def next(self) -> int:
        """Samples to go on with: twice as many or what the goal takes, if that is more."""
        wanted = 1.2 * self.samples * (self.share / _GOAL) ** 2
        return min(_MOST, max(2 * self.samples, int(np.ceil(wanted))))


def sampling_of(criterion: GaussianCriterion, e: GaussianEvaluation) -> Sampling | None:
    """Return what samples leave uncertain at a minimum; None where everything is exact."""
    by_probe = e.pls.factor.information_by_probe()
    if by_probe is None:
        return None
    covariance, T = criterion.problem.covariance, e.pls.factor.templates
    n = len(by_probe[0])

    def gradient(K: tuple[Array, ...]) -> Array:
        by_template = [2.0 * k @ t for k, t in zip(K, T)]
        return theta_gradient(covariance, e.theta, by_template, lambda: K)

    gradients = np.array([gradient(K) for K in zip(*by_probe)])
    back = np.linalg.inv(covariance.jacobian)
    inverse = back @ _inverse(e.hessian_model)
    blur = inverse @ np.atleast_2d(np.cov(gradients.T)) @ inverse.T / n
    spread = 2.0 * np.diag(inverse @ back.T)
    se = np.sqrt(np.diag(blur))
    share = np.where(spread > 0, se / np.sqrt(np.where(spread > 0, spread, 1.0)), 0.0)
    values = e.pls.factor.logdet_by_probe
    return Sampling(n, se, float(share.max()), float(values.std(ddof=1) / np.sqrt(n)))


def _inverse(H: Array) -> Array:
    """Return the inverse of a Hessian on the directions in which it is curved."""
    unit = 1.0 / np.sqrt(np.maximum(np.abs(np.diag(H)), 1e-300))
    values, vectors = np.linalg.eigh(unit[:, None] * H * unit)
    curved = values > _FLAT
    root = unit[:, None] * vectors[:, curved] / np.sqrt(values[curved])
    return np.asarray(root @ root.T)


def optimize_with_samples(
    criterion: AnyCriterion, start: Array | None = None, **search: Any
) -> tuple[AnyCriterion, AnyEvaluation, Optimization, Sampling | None]:
    """Find the minimum, with as many samples as it takes.

    Parameters
    ----------
    criterion : AnyCriterion
    start : ndarray (m,), optional
    **search
        As `optimize` takes it.

    Returns
    -------
    AnyCriterion
        With the samples that the search ended with.
    AnyEvaluation
        At the minimum.
    Optimization
        The log of all searches.
    Sampling or None
        None if everything is exact.
    """
    e, log = optimize(by_levels(criterion), start, **search)
    if isinstance(e, LevelwiseEvaluation):
        e = e.plain
    if not criterion.problem.solver.probes:
        return criterion, e, log, None
    assert isinstance(criterion, GaussianCriterion)  # equations are refused with samples
    while True:
        e = criterion.at(e.theta)  # what derivatives need was released
        sampling = sampling_of(criterion, e)
        if sampling is None or sampling.enough or sampling.samples >= _MOST or not log.converged:
            return criterion, e, log, sampling
        criterion = _with_samples(criterion, sampling.next)
        e, more = optimize(criterion, e.theta, **search)
        log = _after(log, more)


def _with_samples(criterion: GaussianCriterion, samples: int) -> GaussianCriterion:
    """Return the criterion by more samples."""
    solver = criterion.problem.solver
    assert isinstance(solver, IterativeSolver)
    problem = replace(criterion.problem, given=solver.with_probes(samples))
    return GaussianCriterion(problem, criterion.reml, criterion.sigma)


def _after(log: Optimization, more: Optimization) -> Optimization:
    """Return the log of a search and the one that went on from its end."""
    return replace(
        more,
        evaluations=log.evaluations + more.evaluations + 1,
        objective=np.concatenate([log.objective, more.objective]),
        theta=np.concatenate([log.theta, more.theta]),
    )
