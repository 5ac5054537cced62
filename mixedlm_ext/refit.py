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
from mixedlm_ext.design.column import is_labelled, one_column
from mixedlm_ext.design.names import quoted
from mixedlm_ext.design.removed import require_rows
from mixedlm_ext.design.values import row_shape
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
    "values_of_rows",
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


def positions(
    design: Design, index: pd.Index | None, m: int, what: str
) -> slice | NDArray[np.intp]:
    """Return where the rows of the fit are among m rows that a user passes.

    Rows with labels are matched by them, as pandas does. Others are in the order of the fit, or of
    the user's data if there is one for each of those.

    Parameters
    ----------
    design : Design
    index : Index (m,) or None
        The labels; None if there are none.
    m : int
    what : str
        Opens the message of an error.

    Raises
    ------
    DesignError
        If a row of the fit is not among them.
    """
    require_rows(design)
    n, total = len(design.y), design.n_data
    if index is not None:
        return _labelled_positions(design, index, what)
    if m == n:
        return slice(None)
    if m == total:
        return design.rows
    whole = f", or {total}, one for each row of the data" if total > n else ""
    raise DesignError(
        f"{what} has {m} rows; the fit used {n} rows. Pass {n} rows in the order of the fit{whole}."
    )


def _labelled_positions(design: Design, index: pd.Index, what: str) -> slice | NDArray[np.intp]:
    """Find the labels of the fit; with repeated ones all must be there, in the same order."""
    if index.equals(design.index):
        return slice(None)
    if len(index) == design.n_data and index.take(design.rows).equals(design.index):
        return design.rows
    found = index.get_indexer(design.index) if index.is_unique else np.array([-1])
    if (found >= 0).all() and design.index.is_unique:
        return found
    if len(index) < len(design.y):
        raise DesignError(
            f"{what} has {len(index)} rows; the fit used {len(design.y)}. Pass a value for each."
        )
    raise DesignError(
        f"the index of {what} does not have the labels of the model's data"
        f"{_absent_label(design, found)}. Pass an array (to_numpy()) with a value for each of the "
        f"{len(design.y)} rows of the fit, in their order."
    )


def _absent_label(design: Design, found: NDArray[np.intp]) -> str:
    """Name the first label that was not found, if there is one."""
    if len(found) != len(design.y) or (found >= 0).all():
        return ", or repeats some"
    return f", such as {quoted(design.index[int(np.flatnonzero(found < 0)[0])])}"


def values_of_rows(design: Design, values: Any, what: str) -> pd.Series:
    """Return for the rows of the fit what a user passes with one value a row (see `positions`)."""
    column = one_column(values, what)
    index = column.index if is_labelled(values) else None
    return pd.Series(column.array[positions(design, index, len(column), what)])


def check_new_response(design: Design, endog: Any) -> Array:
    """Return a new response (n,) for the rows of a design, or say what is wrong with it."""
    if len(row_shape(endog, "the new response")) == 2 and np.shape(endog)[1] != 1:
        raise DesignError(
            f"a new response has one column, not shape {np.shape(endog)}. "
            "Use MixedLM.fit_many for many responses."
        )
    values = values_of_rows(design, endog, "the new response")
    missing = np.flatnonzero(values.isna())
    if len(missing):
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise DesignError(
            f"the new response is missing at row {quoted(design.index[missing[0]])}{more}; a refit "
            f"uses the {len(values)} rows of the fit. To leave rows out, fit the model to other "
            "data: result.update(data=data)."
        )
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
