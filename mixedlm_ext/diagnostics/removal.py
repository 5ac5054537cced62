"""Fits without a set of rows, from A - A_I: the other rows are not touched again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from mixedlm_ext.diagnostics.left_out import LeftOut, displacement, lack_of_fit
from mixedlm_ext.errors import FitError
from mixedlm_ext.estimation.fit import Fit
from mixedlm_ext.linalg.crossproducts import Coupling, CrossProducts
from mixedlm_ext.linalg.factor import Pattern
from mixedlm_ext.linalg.triangular import solve_upper
from mixedlm_ext.many import warm_start
from mixedlm_ext.objective import Evaluation, Objective
from mixedlm_ext.parallel import pieces, run
from mixedlm_ext.pls import Problem
from mixedlm_ext.refit import Reduction
from mixedlm_ext.search import optimize

Array = NDArray[np.float64]
Index = NDArray[np.intp]

__all__ = ["LEFT", "NOT_ESTIMABLE", "NO_ROWS", "Remainder", "refit_without"]

LEFT = 1e-9
"""Share of X'WX that must be left for the fixed effects to be estimable."""
NOT_ESTIMABLE = "without these rows the fixed effects cannot all be estimated"
NO_ROWS = "without these rows there are no more rows than fixed effects"
_AT_ONCE = 20
"""Sets that one process does in one go."""


def refit_without(
    fit: Fit,
    codes: Index,
    sets: Sequence[int],
    fixed_theta: bool = False,
    n_jobs: int = 1,
    progress: bool = False,
) -> LeftOut:
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
    LeftOut
        In the order of `sets`.
    """
    order = np.argsort(codes, kind="stable")
    counts = np.bincount(codes)
    starts = np.cumsum(counts) - counts
    members = [order[starts[g] : starts[g] + counts[g]] for g in sets]
    remainder = Remainder(fit)
    chunks = pieces(len(members), _AT_ONCE)
    task = partial(_refit_sets, fit, remainder, fixed_theta)
    done = run(
        task, [members[c] for c in chunks], n_jobs, progress, [c.stop - c.start for c in chunks]
    )
    out = LeftOut.missing(len(members), fit.problem.cp.p, len(fit.theta))
    for chunk, part in zip(chunks, done):
        out.put(list(range(chunk.start, chunk.stop)), part)
    return out


def _refit_sets(
    fit: Fit, remainder: Remainder, fixed_theta: bool, members: Sequence[Index]
) -> LeftOut:
    """Fit without each of a few sets of rows."""
    out = LeftOut.missing(len(members), fit.problem.cp.p, len(fit.theta))
    for i, rows in enumerate(members):
        try:
            _refit(fit, remainder.without(rows), fixed_theta, out, i)
        except FitError as error:
            out.failures[i] = str(error)
    return out


def _refit(fit: Fit, problem: Problem, fixed_theta: bool, out: LeftOut, i: int) -> None:
    """Fit a smaller problem and write it down as number i."""
    objective = Objective(problem, fit.reml, fit.fixed_sigma)
    if objective.df < 1:
        raise FitError(NO_ROWS)
    covariance, cp = problem.covariance, problem.cp
    e, converged = _solve(objective, fit, fixed_theta)
    root = solve_upper(cp.R, solve_upper(e.pls.RX, np.eye(cp.p)))
    out.theta[i] = covariance.unstandardize(e.theta)
    out.beta[i] = cp.beta_ols + solve_upper(cp.R, e.pls.beta)
    out.bse[i] = np.sqrt(e.scale * np.einsum("pi,pi->p", root, root))
    out.sigma[i] = np.sqrt(e.scale)
    out.objective[i] = e.value
    out.converged[i] = converged
    whole = Objective(fit.problem, fit.reml, fit.fixed_sigma).at(e.theta)
    lack = lack_of_fit(fit.problem, whole.pls, out.beta[i])
    out.displacement[i] = displacement(fit, whole, float(out.sigma[i]), lack)


def _solve(objective: Objective, fit: Fit, fixed_theta: bool) -> tuple[Evaluation, bool]:
    """Minimize from the estimate of all rows, or stay there."""
    if fixed_theta:
        return objective.at(fit.problem.covariance.standardize(fit.theta)), True
    best, log = optimize(objective, warm_start(objective.problem, fit.theta))
    return best, log.converged


class Remainder:
    """The cross-products of a model less those of some rows.

    Parameters
    ----------
    fit : Fit
    """

    def __init__(self, fit: Fit) -> None:
        design, self.problem = fit.design, fit.problem
        reduction = Reduction(design, fit.problem)
        self.Zt, self.Q = reduction.Zt.tocsc(), reduction.Q
        known = 0.0 if design.offset is None else design.offset
        root = 1.0 if reduction.root is None else reduction.root
        y = root * (design.y - known - design.X @ fit.problem.cp.beta_ols)
        self.y = y - self.Q @ (self.Q.T @ y)  # what rounding left of a large mean
        self.log_w = None if design.weights is None else np.log(design.weights)

    def without(self, rows: Index) -> Problem:
        """Return the problem of the other rows; theta is standardized as for all.

        Raises
        ------
        FitError
            If the fixed effects cannot be estimated from them.
        """
        cp, Z = self.problem.cp, self.Zt[:, rows]
        Q, y = self.Q[rows], self.y[rows]
        S = np.eye(cp.p) - Q.T @ Q  # Q'WQ of the other rows; they leave Q'Wy = -Q_I'W_Iy_I
        if cp.p and np.linalg.eigvalsh(S)[0] < LEFT:
            raise FitError(NOT_ESTIMABLE)
        U = np.asarray(np.linalg.cholesky(S).T, dtype=float)
        delta = np.asarray(-np.linalg.solve(S, Q.T @ y), dtype=float)
        ZX, ZZ = cp.ZX - Z @ Q, Z @ Z.T
        smaller = replace(
            cp,
            n=cp.n - len(rows),
            diagonal=[_less_diagonal(cp, i, ZZ) for i in range(len(cp.shapes))],
            couplings={key: _less_coupling(cp, *key, ZZ) for key in cp.couplings},
            ZX=solve_upper(U, ZX.T, transpose=True).T,
            Zy=cp.Zy - Z @ y - ZX @ delta,
            yy=float(cp.yy - y @ y - delta @ S @ delta),
            R=U @ cp.R,
            beta_ols=cp.beta_ols + solve_upper(cp.R, delta),
            logdet_W=cp.logdet_W - (0.0 if self.log_w is None else float(self.log_w[rows].sum())),
        )
        pattern = Pattern(smaller, self.problem.pattern.plan)
        return Problem(smaller, self.problem.covariance, pattern)


def _part(cp: CrossProducts, i: int, j: int, ZZ: sparse.csc_array) -> tuple[Index, ...]:
    """Return column and level of the entries of block (i, j), on both sides, and their values."""
    own = ZZ[cp.offsets[i] : cp.offsets[i + 1], cp.offsets[j] : cp.offsets[j + 1]].tocoo()
    a, row = np.divmod(own.row, cp.shapes[i][1])
    b, column = np.divmod(own.col, cp.shapes[j][1])
    return a, row, b, column, own.data


def _less_diagonal(cp: CrossProducts, i: int, ZZ: sparse.csc_array) -> Array:
    """Return Z_i'WZ_i less the part of some rows."""
    out = cp.diagonal[i].copy()
    a, level, b, _, values = _part(cp, i, i, ZZ)
    out[a, b, level] -= values
    return out


def _less_coupling(cp: CrossProducts, i: int, j: int, ZZ: sparse.csc_array) -> Coupling:
    """Return Z_i'WZ_j less the part of some rows, on the same pairs of levels."""
    whole, levels = cp.couplings[i, j], cp.shapes[j][1]
    a, row, b, column, values = _part(cp, i, j, ZZ)
    pair = np.searchsorted(whole.rows * levels + whole.columns, row * levels + column)
    out = whole.values.copy()
    out[a, b, pair] -= values
    return Coupling(whole.rows, whole.columns, out)
