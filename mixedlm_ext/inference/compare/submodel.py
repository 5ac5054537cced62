"""Models with fewer columns, from the cross-products of the model that has all: no row is read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mixedlm_ext.criteria.assemble import assemble
from mixedlm_ext.criteria.linear import criterion_of
from mixedlm_ext.criteria.pls import Problem
from mixedlm_ext.criteria.residual import ResidualCriterion, ResidualEvaluation
from mixedlm_ext.criteria.restricted import RestrictedCriterion, RestrictedEvaluation
from mixedlm_ext.design.removed import require_rows
from mixedlm_ext.design.rows import Rows
from mixedlm_ext.estimation.fit import Fit
from mixedlm_ext.inference.profile.search import minimize
from mixedlm_ext.products.layout import Place
from mixedlm_ext.products.transform import (
    place_of_columns,
    with_fixed_columns,
    with_random_columns,
)
from mixedlm_ext.search import optimize
from mixedlm_ext.structures.covariance import Covariance, TermCovariance
from mixedlm_ext.structures.restrictions import Restrictions

Array = NDArray[np.float64]

__all__ = ["Likelihood", "maximum", "reduce_fixed", "reduce_random"]


@dataclass(frozen=True)
class Likelihood:
    """How well a model fits.

    Attributes
    ----------
    npar : int
        Fixed effects, covariance parameters, and sigma unless it was given.
    llf : float
        Maximum of the (restricted) log-likelihood.
    converged : bool
    """

    npar: int
    llf: float
    converged: bool = True

    @classmethod
    def of_fit(cls, fit: Fit) -> Likelihood:
        """Return that of a fit as it is."""
        return cls(fit.n_parameters, -0.5 * fit.objective, fit.optimization.converged)

    @property
    def aic(self) -> float:
        """Akaike's criterion."""
        return -2.0 * self.llf + 2.0 * self.npar


def maximum(
    problem: Problem,
    reml: bool,
    sigma: float | None,
    random: bool = True,
    restrictions: Restrictions | None = None,
) -> Likelihood:
    """Maximize the likelihood of a problem.

    Parameters
    ----------
    problem : Problem
    reml : bool
    sigma : float, optional
        A known residual standard deviation.
    random : bool
        Without random effects the likelihood is that of theta = 0.
    restrictions : Restrictions, optional
        Equations that the parameters fulfil.

    Returns
    -------
    Likelihood
    """
    criterion = criterion_of(problem, reml, sigma, restrictions)
    n_theta = problem.covariance.n_theta
    K = criterion.space.n_theta - n_theta  # parameters of the residuals
    if not random:
        if isinstance(criterion, ResidualCriterion):
            value = _without_random_effects(criterion)
        else:
            value = criterion.at(np.zeros(n_theta)).value
        return Likelihood(_count(problem, K, sigma), -0.5 * value)
    best, log = optimize(criterion)
    npar = _count(problem, n_theta + K, sigma)
    if isinstance(criterion, RestrictedCriterion) and isinstance(best, RestrictedEvaluation):
        npar -= criterion.count(best)
    return Likelihood(npar, -0.5 * best.value, log.converged)


def _without_random_effects(criterion: ResidualCriterion) -> float:
    """Minimize over the parameters of the residuals where all variances of effects are zero."""
    theta = np.zeros(criterion.problem.covariance.n_theta)
    structure = criterion.sums.structure

    def at(z: Array) -> _AtZero:
        return _AtZero(criterion.at(criterion.space.join(theta, z)))

    starts = [structure.neutral]
    if structure.kind is not None:
        starts = [structure.neutral for _ in structure.kind.starts]
        for start, r in zip(starts, structure.kind.starts):
            start[0] = structure.kind.z_of(r)
    first = min(starts, key=lambda z: at(z).value)
    return minimize(at, first, structure.z_range).value


class _AtZero:
    """The criterion as a function of z."""

    def __init__(self, e: ResidualEvaluation) -> None:
        self._e, self.theta, self.value = e, e.z, e.value

    @property
    def gradient(self) -> Array:
        """The gradient in z."""
        return self._e.z_gradient

    @property
    def hessian_model(self) -> Array:
        """The average information in z."""
        K = len(self.theta)
        return self._e.hessian_model[-K:, -K:]

    def release(self) -> None:
        """Keep what is there: the problem is small."""


def _count(problem: Problem, n_theta: int, sigma: float | None) -> int:
    """Return the number of parameters."""
    return problem.cp.p + n_theta + int(sigma is None)


def reduce_fixed(fit: Fit, C: Array) -> Problem:
    """Return the problem with XC in place of X, for C (p, r)."""
    if fit.design.residual is None:
        return fit.problem.with_products(with_fixed_columns(fit.problem.cp, C))
    rows = _rows_of(fit)
    return assemble(replace(fit.design, rows=replace(rows, X=rows.X @ C)))


def _rows_of(fit: Fit) -> Rows:
    """Return the rows of a fit, which a model with a residual structure reads again."""
    require_rows(fit.design, "comparisons of models with a residual structure")
    return fit.design.rows


def reduce_random(fit: Fit, C: Sequence[Array]) -> Problem | None:
    """Return the problem with X_iC_i in place of the columns X_i of each random term.

    Parameters
    ----------
    fit : Fit
    C : sequence of ndarray (k, r)
        In the user's units, r = 0 to leave the term out.

    Returns
    -------
    Problem or None
        None if no random term is left.
    """
    problem = fit.problem
    if fit.design.residual is not None:
        return _reduced_anew(fit, C)
    layout = problem.cp.layout
    maps = [np.zeros((k, 0)) for k in problem.covariance.block_sizes]
    terms: list[TermCovariance] = []
    places: list[Place] = []
    for term, old, own in zip(problem.covariance.terms, layout.places, C):
        if not own.shape[1]:
            continue
        whole = maps[old.block]
        structure = term.structure.of_size(own.shape[1])
        place, M = place_of_columns(old, own, structure.whitening, whole.shape[1])
        rows = np.zeros((len(whole), place.k))
        rows[old.own] = M
        maps[old.block] = np.column_stack([whole, rows])
        new = replace(term, structure=structure, first=place.first, whitening=place.whitening)
        terms.append(new)
        places.append(place)
    kept = [i for i, M in enumerate(maps) if M.shape[1]]
    if not kept:
        return None
    terms = [replace(term, block=kept.index(term.block)) for term in terms]
    places = [replace(place, block=kept.index(place.block)) for place in places]
    cp = with_random_columns(problem.cp, {i: maps[i] for i in kept}, places)
    return Problem(cp, Covariance(terms, [k for k, _ in cp.shapes]))


def _reduced_anew(fit: Fit, C: Sequence[Array]) -> Problem | None:
    """Do the work of `reduce_random` from the rows, where residuals have a structure."""
    rows = _rows_of(fit)
    kept = [i for i, own in enumerate(C) if own.shape[1]]
    if not kept:
        return None
    terms, columns = [], []
    for i in kept:
        names = tuple(f"column {j}" for j in range(C[i].shape[1]))
        terms.append(replace(fit.design.spec.terms[i], columns=names))
        X, codes = rows.terms[i]
        columns.append((X @ C[i], codes))
    spec = replace(fit.design.spec, terms=tuple(terms))
    return assemble(replace(fit.design, spec=spec, rows=replace(rows, terms=tuple(columns))))
