"""The problem of a model without some of its rows, by subtraction: other rows are not touched."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from mixedlm_ext.criteria.assemble import response, sums_of
from mixedlm_ext.criteria.pls import Problem
from mixedlm_ext.design import Design
from mixedlm_ext.design.removed import require_rows
from mixedlm_ext.errors import FitError
from mixedlm_ext.products.noise import noise_of
from mixedlm_ext.products.rows import RowSums
from mixedlm_ext.products.transform import orthonormal

Index = NDArray[np.intp]

__all__ = ["LEFT", "NOT_ESTIMABLE", "NO_ROWS", "Removal"]

LEFT = 1e-9
"""Share of X'WX that must be left for the fixed effects to be estimable."""
NOT_ESTIMABLE = "without these rows the fixed effects cannot all be estimated"
NO_ROWS = "without these rows there are no more rows than fixed effects"


class Removal:
    """A problem and the rows that may leave it.

    Parameters
    ----------
    design : Design
        With its rows.
    problem : Problem
        Assembled from the design.
    """

    def __init__(self, design: Design, problem: Problem) -> None:
        require_rows(design)
        self._design, self._problem = design, problem
        self._rows = RowSums(
            problem.cp.layout, response(design), design.X, design.terms, noise_of(design)
        )

    def without(self, rows: Index) -> Problem:
        """Return the problem of the other rows; theta is standardized as for all.

        Raises
        ------
        FitError
            If the fixed effects cannot be estimated from them.
        """
        if self._problem.residual is not None:
            return self._summed_anew(rows)
        left = self._problem.cp - self._rows.products(rows)
        if left.p and np.linalg.eigvalsh(left.XX)[0] < LEFT:
            raise FitError(NOT_ESTIMABLE)
        return self._problem.with_products(orthonormal(left))

    def _summed_anew(self, rows: Index) -> Problem:
        """Return the problem of the other rows where residuals have a structure.

        Rows that are correlated with others cannot be subtracted.
        """
        kept = np.ones(len(self._design.y), dtype=bool)
        kept[rows] = False
        design, whole = self._design.take(kept), self._problem.residual
        assert whole is not None and design.residual is not None
        sums = sums_of(design, whole.layout)
        z = design.residual.z_of(design.residual.values if design.residual.values is not None else
                                 design.residual.values_of(design.residual.neutral))  # fmt: skip
        left = sums.in_user_scale().at(z).cp
        total = self._problem.cp
        change = np.linalg.solve(whole.layout.R.T, total.R.T).T if left.p else total.R
        share = np.linalg.solve(change.T, np.linalg.solve(change.T, left.XX).T)
        if left.p and np.linalg.eigvalsh(share)[0] < LEFT:
            raise FitError(NOT_ESTIMABLE)
        own = Problem(orthonormal(left), self._problem.covariance)  # fewer pairs of levels meet
        return replace(own, residual=sums)
