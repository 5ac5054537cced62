"""Fits without a set of rows, from A - A_I: the other rows are not touched again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from mixedlm_ext.criteria.linear import AnyCriterion, AnyEvaluation, criterion_of
from mixedlm_ext.criteria.pls import Problem
from mixedlm_ext.criteria.residual import ResidualCriterion
from mixedlm_ext.design.partition import rows_of_groups
from mixedlm_ext.diagnostics.deletion_estimates import Deleted, displacement, lack_of_fit
from mixedlm_ext.errors import FitError
from mixedlm_ext.estimation.estimates import Estimates
from mixedlm_ext.estimation.fit import Fit
from mixedlm_ext.many import start_of, warm_start
from mixedlm_ext.many.removal import NO_ROWS, Removal
from mixedlm_ext.parallel import pieces, run
from mixedlm_ext.search import optimize

Array = NDArray[np.float64]
Index = NDArray[np.intp]

__all__ = ["refit_without"]

_AT_ONCE = 20
"""Sets that one process does in one go."""


def refit_without(
    fit: Fit,
    codes: Index,
    sets: Sequence[int],
    fixed_theta: bool = False,
    n_jobs: int = 1,
    progress: bool = False,
) -> Deleted:
    """Fit the model without each of some sets of rows.

    Parameters
    ----------
    fit : Fit
    codes : ndarray (n,)
        The set of each row.
    sets : sequence of int
        The sets to leave out, one at a time.
    fixed_theta : bool
        Keep theta as estimated.
    n_jobs, progress
        As `mixedlm_ext.parallel.run`.

    Returns
    -------
    Deleted
        In the order of `sets`.
    """
    every = rows_of_groups(codes, int(codes.max()) + 1)
    members = [every[g] for g in sets]
    removal = Removal(fit.design, fit.problem)
    chunks = pieces(len(members), _AT_ONCE)
    task = partial(_refit_sets, fit, removal, fixed_theta)
    done = run(
        task, [members[c] for c in chunks], n_jobs, progress, [c.stop - c.start for c in chunks]
    )
    return Deleted.join(done)


def _refit_sets(fit: Fit, removal: Removal, fixed_theta: bool, members: Sequence[Index]) -> Deleted:
    """Fit without each of a few sets of rows."""
    K = 0 if fit.z is None else len(fit.z)
    out = Deleted.missing(len(members), fit.problem.cp.p, len(fit.theta), K)
    for i, rows in enumerate(members):
        try:
            _refit(fit, removal.without(rows), fixed_theta, out, i)
        except FitError as error:
            out.failures[i] = str(error)
    return out


def _refit(fit: Fit, problem: Problem, fixed_theta: bool, out: Deleted, i: int) -> None:
    """Fit a smaller problem and write it down as number i."""
    if problem.residual is not None:
        if not fixed_theta:
            return _refit_with_residuals(fit, problem, out, i)
        problem, known = replace(problem, residual=None), replace(fit.problem, residual=None)
        # of residuals that are held, too, and σ where it is tied to something
        fit = replace(fit, problem=known, restrictions=None, fixed_sigma=fit.held_sigma)
    criterion = fit.criterion(problem)
    if criterion.df < 1:
        raise FitError(NO_ROWS)
    e, converged = _solve(criterion, fit, fixed_theta)
    out.write(i, problem, e, converged)
    if fit.design.residual is not None:
        out.residual[i] = fit.design.residual.values
    whole = fit.criterion().at(e.theta)
    lack = lack_of_fit(fit.problem, whole.pls, out.beta[i])
    out.displacement[i] = displacement(fit, whole, float(out.sigma[i]), lack)


def _refit_with_residuals(fit: Fit, problem: Problem, out: Deleted, i: int) -> None:
    """Fit a smaller problem with the parameters of its residuals and write it down."""
    criterion = fit.criterion(problem)
    if criterion.df < 1:
        raise FitError(NO_ROWS)
    e, log = optimize(criterion, start_of(criterion, fit))
    found = Fit.from_evaluation(fit.design, criterion, e, log)
    out.put([i], Deleted(**vars(Estimates.of_fit(found)), displacement=np.zeros(1)))
    joint = criterion_of(fit.problem, fit.reml, fit.fixed_sigma)
    assert isinstance(joint, ResidualCriterion) and found.z is not None
    theta = fit.problem.covariance.standardize(found.theta)
    whole = joint.in_user_scale().at(joint.space.join(theta, found.z))
    lack = lack_of_fit(whole.problem, whole.pls, out.beta[i])
    out.displacement[i] = displacement(fit, whole, float(out.sigma[i]), lack)


def _solve(criterion: AnyCriterion, fit: Fit, fixed_theta: bool) -> tuple[AnyEvaluation, bool]:
    """Minimize from the estimate of all rows, or stay there."""
    if fixed_theta:
        return criterion.at(fit.problem.covariance.standardize(fit.theta)), True
    best, log = optimize(criterion, warm_start(criterion.problem, fit.theta))
    return best, log.converged
