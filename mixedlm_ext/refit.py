"""Another response on the design of a model: only Z'Wy, y'Wy and X's coefficients change."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from mixedlm_ext.design import Design
from mixedlm_ext.design.checks import check_response, number_vector
from mixedlm_ext.errors import DesignError
from mixedlm_ext.linalg.orthogonal import constant_coefficients, orthonormal_basis, project
from mixedlm_ext.pls import Problem

Array = NDArray[np.float64]

__all__ = [
    "Reduced",
    "Reduction",
    "check_new_response",
    "positions",
    "problem_with",
    "require_rows",
]


@dataclass(frozen=True, eq=False)
class Reduced:
    """What the cross-products say about r responses.

    Attributes
    ----------
    Zy : ndarray (q, r)
        Z'W times the residuals of the responses on X.
    yy : ndarray (r,)
        Their weighted sums of squares.
    beta_ols : ndarray (p, r)
        Weighted least-squares coefficients on X.
    """

    Zy: Array
    yy: Array
    beta_ols: Array


class Reduction:
    """The rows' side of a problem: what takes a response to its cross-products.

    Parameters
    ----------
    design : Design
    problem : Problem
        Assembled from the design.
    """

    def __init__(self, design: Design, problem: Problem) -> None:
        require_rows(design)
        self.offset = design.offset
        self.root = None if design.weights is None else np.sqrt(design.weights)
        X = design.X if self.root is None else design.X * self.root[:, None]
        self.Q, self.R = orthonormal_basis(X)
        self.constant = constant_coefficients(design.X)
        self.Zt = _weighted_Z(design, problem, self.root).T.tocsr()

    def __call__(self, Y: Array) -> Reduced:
        """Reduce the columns of Y (n, r), offsets included."""
        Y = Y if self.offset is None else Y - self.offset[:, None]
        beta_ols, residual = project(self.Q, self.R, Y, self.root, self.constant)
        return Reduced(self.Zt @ residual, np.einsum("nr,nr->r", residual, residual), beta_ols)


def problem_with(problem: Problem, reduced: Reduced, r: int = 0) -> Problem:
    """Return the problem with the r-th of some reduced responses as its response.

    Z'WZ and the pattern of the factor, which do not depend on the response, are shared.
    """
    cp = copy.copy(problem.cp)  # keeps what was cached: none of it depends on y
    own = {
        "Zy": np.ascontiguousarray(reduced.Zy[:, r]),
        "yy": float(reduced.yy[r]),
        "beta_ols": np.ascontiguousarray(reduced.beta_ols[:, r]),
    }
    for name, value in own.items():
        object.__setattr__(cp, name, value)
    return Problem(cp, problem.covariance, problem.pattern)


def require_rows(design: Design) -> None:
    """Raise if the rows were removed."""
    if len(design.y) == 0:
        raise DesignError(
            "the data were removed from this model (remove_data). Build the model again with "
            "MixedLM.from_formula to work with its rows."
        )


def positions(
    design: Design, index: pd.Index | None, m: int, what: str
) -> slice | NDArray[np.intp]:
    """Return where the rows of the fit are among the m rows of new responses.

    The new responses have one row for each row of the fit, or for each row of the user's data.

    Raises
    ------
    DesignError
        If they have neither, or labels in another order.
    """
    require_rows(design)
    n = len(design.y)
    total = n + design.n_missing + design.n_zero_weight
    if m not in (n, total):
        whole = f", or {total}, one for each row of the data" if total > n else ""
        raise DesignError(
            f"{what} has {m} rows; the fit used {n} rows. Pass {n} rows in the order of the "
            f"fit{whole}."
        )
    chosen: slice | NDArray[np.intp] = slice(None) if m == n else design.rows
    if index is not None and not index[chosen].equals(design.index):
        raise DesignError(
            f"the index of {what} is not that of the model's data. Reindex it, or pass an array "
            "(to_numpy()) whose rows are in the order of the data."
        )
    return chosen


def check_new_response(design: Design, endog: Any) -> Array:
    """Return a new response (n,) for the rows of a design, or say what is wrong with it."""
    index = endog.index if isinstance(endog, pd.Series | pd.DataFrame) else None
    if isinstance(endog, pd.DataFrame):
        endog = endog.squeeze(axis=1)
    if np.ndim(endog) != 1:
        raise DesignError(
            f"a new response has one column, not shape {np.shape(endog)}. "
            "Use MixedLM.fit_many for many responses."
        )
    values = pd.Series(endog).array[positions(design, index, len(endog), "the new response")]
    y = number_vector(values, "the new response", len(design.y))
    check_response(y, design.endog_name, design.offset, design.index)
    return y


def _weighted_Z(design: Design, problem: Problem, root: Array | None) -> sparse.csr_array:
    """Return √W Z with the columns and the order of the cross-products, (n, q)."""
    cp = problem.cp
    n = len(design.y)
    values: list[Array] = []
    columns: list[NDArray[np.intp]] = []
    pairs: Sequence[Any] = list(zip(design.terms, problem.covariance.terms))
    for term, position in pairs:
        X = np.linalg.solve(position.whitening.T, term.X.T).T
        X = X if root is None else X * root[:, None]
        levels = cp.shapes[position.block][1]
        for a in range(position.k):
            values.append(X[:, a])
            columns.append(cp.offsets[position.block] + (position.first + a) * levels + term.codes)
    row = np.tile(np.arange(n), len(values))
    cells = (np.concatenate(values), (row, np.concatenate(columns)))
    return sparse.csr_array(cells, shape=(n, cp.q))
