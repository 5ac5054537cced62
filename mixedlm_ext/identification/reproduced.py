"""A response that the model reproduces exactly has no residual variance to estimate."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mixedlm_ext.criteria.pls import Problem
from mixedlm_ext.design import Design
from mixedlm_ext.errors import DesignError
from mixedlm_ext.linalg.blas import inner
from mixedlm_ext.products.noise import noise_of

Array = NDArray[np.float64]
Index = NDArray[np.intp]

__all__ = ["check_not_reproduced", "is_rounding"]

_ROUNDING = 10.0 * float(np.finfo(float).eps)
"""Residuals, relative to the response, that its own arithmetic may leave of an exact sum."""
_FEW_ROWS = 40
"""Rows, beside two for each fixed effect, that show that a response is not reproduced."""
_CHEAP, _DEAR = 1e5, 4e6
"""Size of the dense [X Z] of few rows, and of all, up to which the response is projected on it."""
_DEPENDENT = 1e-11
"""Singular value, relative to the largest, below which columns count as dependent."""


def check_not_reproduced(design: Design, problem: Problem, random: bool = True) -> None:
    """Refuse a response that the fixed part, or the fixed and random parts, reproduce exactly.

    Parameters
    ----------
    design : Design
        Its `checks` say whether to raise, to warn or to say nothing: "reproduced".
    problem : Problem
        Assembled from the design, of its response.
    random : bool
        Whether the random parts count, which takes a projection on all columns.

    Raises
    ------
    DesignError

    Notes
    -----
    The likelihood has no maximum: it grows without bound as sigma goes to zero. Where the random
    effects can reproduce every response there is nothing special in that they reproduce this one.
    """
    if design.checks["reproduced"] == "ignore":
        return
    parts = ""
    if is_rounding(np.sqrt(problem.cp.yy / _weight(design)), _size(design)):
        parts = "the fixed part"
    elif random and _is_reproduced(design):
        terms = " and ".join(term.text for term in design.terms)
        parts = f"the fixed part and {terms} together"
    if parts:
        design.checks.report(
            "reproduced",
            DesignError(
                f"response {design.endog_name!r} is reproduced exactly by {parts}: nothing is "
                "left for a residual variance. Is the response computed from the predictors? "
                "If sigma is known, pass fit(sigma=...)."
            ),
        )


def _weight(design: Design) -> float:
    """Return 1'W1, the sum of the weights."""
    if design.rows.elsewhere is not None:
        return design.rows.elsewhere.weight
    one = np.ones(len(design.y))
    return inner(one, noise_of(design).times(one))


def is_rounding(residual: Array, size: Array) -> NDArray[np.bool_]:
    """Say whether residuals are what rounding leaves of exact sums of numbers of some size."""
    return residual <= _ROUNDING * size


def _size(design: Design) -> Array:
    """Return the largest number that the response less the offset is computed from."""
    if design.rows.elsewhere is not None:
        return np.asarray(design.rows.elsewhere.largest)
    offset = 0.0 if design.offset is None else np.abs(design.offset).max()
    return np.maximum(np.abs(design.y).max(), offset)


def _is_reproduced(design: Design) -> bool:
    """Say whether the response lies in the span of [X Z], which is not everything.

    A few rows show of almost every response that it does not.
    """
    if design.rows.elsewhere is not None:
        design = design.rows.elsewhere.gathered(_DEAR)
        if design is None:
            return False
    few = _few_rows(design)
    every = np.arange(len(design.y))
    return _may_span(design, few, _CHEAP) and _may_span(design, every, _DEAR, sure=True)


def _few_rows(design: Design) -> Index:
    """Return the rows of some whole levels of the coarsest grouping factor, more than columns."""
    coarsest = min(design.terms, key=lambda term: len(term.levels))
    rows = np.cumsum(np.bincount(coarsest.codes, minlength=len(coarsest.levels)))
    last = int(np.searchsorted(rows, _FEW_ROWS + 2 * design.X.shape[1]))
    return np.flatnonzero(coarsest.codes <= last)


def _may_span(design: Design, rows: Index, most_cells: float, sure: bool = False) -> bool:
    """Say whether [X Z] reproduces the response in some rows, or may do so; only the first if sure.

    Nothing is shown by rows that [X Z] reproduces whatever the response, and by too many to try.
    """
    codes = [np.unique(term.codes[rows], return_inverse=True)[1] for term in design.terms]
    q = sum(term.X.shape[1] * (int(c.max()) + 1) for term, c in zip(design.terms, codes))
    if len(rows) * (design.X.shape[1] + q) > most_cells:
        return False
    blocks = [_columns(term.X[rows], c) for term, c in zip(design.terms, codes, strict=True)]
    A = np.column_stack([design.X[rows], *blocks])
    A /= np.maximum(np.linalg.norm(A, axis=0), np.finfo(float).tiny)
    y = design.y[rows] if design.offset is None else design.y[rows] - design.offset[rows]
    coefficients, _, rank, _ = np.linalg.lstsq(A, y, rcond=_DEPENDENT)
    if rank == len(rows):
        return not sure
    residual = np.sqrt(np.mean((y - A @ coefficients) ** 2))
    return bool(is_rounding(residual, _size(design)))


def _columns(X: Array, codes: Index) -> Array:
    """Return the columns of Z of one term, dense (n, k·levels)."""
    levels = np.arange(int(codes.max()) + 1)
    return np.hstack([np.where(codes[:, None] == levels, column[:, None], 0.0) for column in X.T])
