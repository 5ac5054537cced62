"""Fit responses on one design: all at once for one grouping factor, one by one otherwise."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mixedlm_ext.criteria.assemble import assemble
from mixedlm_ext.criteria.linear import criterion_of
from mixedlm_ext.criteria.many import LevelClasses, ManyCriteria
from mixedlm_ext.criteria.pls import Problem, problem_with
from mixedlm_ext.design import Design
from mixedlm_ext.errors import FitError
from mixedlm_ext.estimation.estimates import Estimates
from mixedlm_ext.estimation.fit import Fit
from mixedlm_ext.linalg.triangular import solve_upper
from mixedlm_ext.many.newton import minimize_many
from mixedlm_ext.products.responses import Reduced, Reduction
from mixedlm_ext.search import optimize
from mixedlm_ext.search.start import several_minima
from mixedlm_ext.structures.covariance import Covariance
from mixedlm_ext.structures.restrictions import Restrictions

Array = NDArray[np.float64]

__all__ = ["Refitter"]

_CELLS = 400_000
"""Numbers that an array of one chunk may hold: about what stays in the cache."""
_AT_ONCE = 1000
"""Responses of a chunk at most when all are fitted at once."""
_ONE_BY_ONE = 20
"""Responses of a chunk when each has its own search."""


class Refitter:
    """Fits other responses on the design of a model; rows are touched once a response.

    Parameters
    ----------
    design : Design
    problem : Problem
    reml : bool
    sigma : float, optional
        A known residual standard deviation.
    start : ndarray (m,), optional
        Standardized theta to start from, and z of a residual structure; the start of a single fit
        by default.
    restrictions : Restrictions, optional
        Equations that the parameters fulfil.
    """

    def __init__(
        self,
        design: Design,
        problem: Problem,
        reml: bool,
        sigma: float | None = None,
        start: Array | None = None,
        restrictions: Restrictions | None = None,
    ) -> None:
        self.restrictions = restrictions
        self.problem, self.reml, self.sigma, self.start = problem, reml, sigma, start
        self._design = design
        self.reduce = Reduction(design, problem.cp.layout)
        self.several = several_minima(problem)
        # where there may be several minima, each response needs its own search from several starts
        at_once = (
            problem.cp.by_levels
            and problem.covariance.free
            and problem.residual is None
            and restrictions is None
            and (start is not None or not self.several)
        )
        self.classes = LevelClasses(problem.cp) if at_once else None

    @property
    def chunk(self) -> int:
        """How many responses to fit in one call: it depends on the model only."""
        cp = self.problem.cp
        if self.classes is None:
            return _ONE_BY_ONE
        k = cp.shapes[0][0]
        cells = max(len(self.classes.count) * k * k * (cp.p + 1), cp.n)
        return int(np.clip(_CELLS // cells, 1, _AT_ONCE))

    def fit(self, Y: Array) -> Estimates:
        """Fit the columns of Y (n, r)."""
        if self.problem.residual is not None:
            return self._fit_with_residuals(Y)
        return self.fit_reduced(self.reduce(Y))

    def _fit_with_residuals(self, Y: Array) -> Estimates:
        """Fit responses whose residuals have a structure, each by its own search.

        What is known of a response that was reduced is of one noise, and that is estimated.
        """
        structure = self._design.residual
        K = 0 if structure is None else len(structure.parameters)
        p, m = self.problem.cp.p, self.problem.covariance.n_theta
        out = Estimates.missing(Y.shape[1], p, m, K)
        for r, y in enumerate(Y.T):
            design = self._design.with_response(np.ascontiguousarray(y))
            try:
                criterion = criterion_of(assemble(design), self.reml, self.sigma, self.restrictions)
                e, log = optimize(criterion, self.start, several=self.several)
                fit = Fit.from_evaluation(design, criterion, e, log)
            except FitError as error:
                out.strike([r], str(error))
                continue
            out.put([r], Estimates.of_fit(fit))
        return out

    def fit_reduced(self, reduced: Reduced) -> Estimates:
        """Fit responses that were reduced already."""
        cp = self.problem.cp
        out = Estimates.missing(len(reduced.yy), cp.p, self.problem.covariance.n_theta)
        if self.classes is not None:
            self._fit_at_once(self.classes, reduced, out)
        for r in np.flatnonzero(~out.converged):
            self._fit_one(reduced, int(r), out)
        return out

    def _fit_at_once(self, classes: LevelClasses, reduced: Reduced, out: Estimates) -> None:
        """Fit all responses together and write down those that converged."""
        problem = self.problem
        covariance, cp = problem.covariance, problem.cp
        criteria = ManyCriteria.of(problem, classes, reduced, self.reml, self.sigma)
        start = covariance.start() if self.start is None else self.start
        best, converged = minimize_many(
            criteria, criteria.at(np.repeat(start[:, None], len(out.sigma), 1))
        )
        out.theta[:] = covariance.unstandardize(_canonical(covariance, best.theta)).T
        out.beta[:] = (reduced.beta0 + solve_upper(cp.R, best.beta)).T
        inverse = solve_upper(cp.R, np.eye(cp.p))
        variance = np.einsum("pi,ijr,pj->rp", inverse, best.cov, inverse) * best.scale[:, None]
        out.bse[:] = np.sqrt(variance)
        out.sigma[:] = np.sqrt(best.scale)
        out.objective[:] = best.value
        out.converged[:] = converged

    def _fit_one(self, reduced: Reduced, r: int, out: Estimates) -> None:
        """Fit the r-th response by its own search, as `MixedLM.fit` does."""
        try:
            problem = problem_with(self.problem, reduced, r)
            criterion = criterion_of(problem, self.reml, self.sigma, self.restrictions)
            e, log = optimize(criterion, self.start, several=self.several)
        except FitError as error:
            out.strike([r], str(error))
            return
        out.write(r, criterion.problem, e, log.converged)


def _canonical(covariance: Covariance, theta: Array) -> Array:
    """Flip signs of template columns as `Covariance.canonical`, for theta (m, r) of one block."""
    diagonal = covariance.rows == covariance.columns
    sign = np.ones((covariance.block_sizes[0], theta.shape[1]))
    sign[covariance.columns[diagonal]] = np.where(theta[diagonal] < 0, -1.0, 1.0)
    return theta * sign[covariance.columns] + 0.0
