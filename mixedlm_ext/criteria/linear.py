"""The criterion of a linear model of any kind: what its users ask of it, and which kind it is."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mixedlm_ext.criteria.base import Evaluation
from mixedlm_ext.criteria.gaussian import GaussianCriterion
from mixedlm_ext.criteria.pls import PenalizedLeastSquares, Problem
from mixedlm_ext.criteria.residual import ResidualCriterion
from mixedlm_ext.criteria.restricted import RestrictedCriterion
from mixedlm_ext.criteria.space import JointSpace
from mixedlm_ext.structures.covariance import Covariance
from mixedlm_ext.structures.restrictions import Restrictions

Array = NDArray[np.float64]

__all__ = ["AnyCriterion", "AnyEvaluation", "criterion_of"]


class AnyEvaluation(Evaluation, Protocol):
    """The criterion of a linear model at one point, restricted or not."""

    @property
    def most_noise(self) -> float:
        """The rounding error at the worst."""

    @property
    def scale(self) -> float:
        """σ²."""

    @property
    def gradient(self) -> Array:
        """The derivatives in theta; of a restricted criterion also in what stands beside it."""

    @property
    def pls(self) -> PenalizedLeastSquares:
        """The solution of penalized least squares."""

    @property
    def v(self) -> Array:
        """Z'Py."""

    def after(self, step: Array) -> Array:
        """Return theta after a step."""


class AnyCriterion(Protocol):
    """The criterion of a linear model, restricted or not."""

    @property
    def problem(self) -> Problem:
        """What the engine works on."""

    @property
    def reml(self) -> bool:
        """The restricted likelihood, or the likelihood."""

    @property
    def sigma(self) -> float | None:
        """A known residual standard deviation."""

    @property
    def df(self) -> int:
        """The divisor of r² in σ²."""

    @property
    def space(self) -> Covariance | JointSpace:
        """Where its points are."""

    def inside(self, theta: Array) -> Array:
        """Return the point of a standardized theta of the user's scale."""

    def at(self, theta: Array) -> AnyEvaluation:
        """Evaluate at a standardized theta."""


def criterion_of(
    problem: Problem,
    reml: bool,
    sigma: float | None = None,
    restrictions: Restrictions | None = None,
) -> AnyCriterion:
    """Return the criterion of a model, restricted or not; of z, too, if its residuals have one.

    A known σ is that of the user.
    """
    if restrictions is not None:
        return RestrictedCriterion(problem, reml, sigma, restrictions)
    if problem.residual is None:
        return GaussianCriterion(problem, reml, sigma)
    sums = problem.residual if sigma is None else problem.residual.in_user_scale()
    return ResidualCriterion(problem, sums, reml, sigma)
