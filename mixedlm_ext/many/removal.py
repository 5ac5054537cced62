"""The problem of a model without some of its rows, by subtraction: other rows are not touched."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mixedlm_ext.criteria.assemble import response
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
        self._problem = problem
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
        left = self._problem.cp - self._rows.products(rows)
        if left.p and np.linalg.eigvalsh(left.XX)[0] < LEFT:
            raise FitError(NOT_ESTIMABLE)
        return self._problem.with_products(orthonormal(left))
