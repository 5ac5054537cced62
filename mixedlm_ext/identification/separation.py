"""Whether a generalized model has finite estimates: directions in which its likelihood only rises.

Rows whose response is at an end of its range (no success, all successes, a count of zero) have a
likelihood that rises monotonically with ∓η. If the fixed effects can move so that every such row
moves towards its end, or not at all, and no other row moves, the likelihood rises without end,
whatever the random effects are: a direction of recession (Albert & Anderson 1984, Biometrika 71,
1-10; Konis 2007). A linear program finds one if there is any.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linprog
from statsmodels.genmod import families
from statsmodels.genmod.families import links

from mixedlm_ext.design import Design
from mixedlm_ext.families.conditional import Conditional

Array = NDArray[np.float64]

__all__ = ["constant_terms", "ends_of_range", "separated_columns"]

_MOVES = 1e-7
"""A movement of a row, relative to the largest, that is more than rounding."""
_RISING = (links.Logit, links.Probit, links.Cauchy, links.CLogLog, links.LogLog)
_BOUNDED_BY_ZERO = (families.Poisson, families.NegativeBinomial)


def ends_of_range(likelihood: Conditional) -> Array | None:
    """Return for each row -1 or 1 where the likelihood rises with ∓η without end, else 0, (n,).

    None for families and links that have no such ends.
    """
    family, y = likelihood.family, likelihood.y
    if isinstance(family, families.Binomial) and isinstance(family.link, _RISING):
        return (y >= 1.0).astype(float) - (y <= 0.0)
    if isinstance(family, _BOUNDED_BY_ZERO) and isinstance(family.link, links.Log):
        return -(y <= 0.0).astype(float)
    return None


def separated_columns(design: Design, ends: Array) -> tuple[int, ...]:
    """Return the positions of the fixed effects that grow without end; none if they do not.

    Parameters
    ----------
    design : Design
    ends : ndarray (n,)
        See `ends_of_range`.
    """
    X = design.X
    p = X.shape[1]
    if not p or not (ends != 0).any():
        return ()
    scale = np.abs(X).max(axis=0)
    scaled = X / np.where(scale > 0, scale, 1.0)
    moved = np.unique(scaled[ends != 0] * ends[ends != 0, None], axis=0)
    still = scaled[ends == 0]
    size = _movement(still, moved, np.arange(p))
    if size is None:
        return ()
    found = np.flatnonzero(size > _MOVES * size.max())
    for j in found[np.argsort(size[found])]:  # others that may move along are not to be blamed
        fewer = found[found != j]
        if len(fewer) and _movement(still, moved, fewer) is not None:
            found = fewer
    return tuple(int(j) for j in found)


def _movement(still: Array, moved: Array, columns: NDArray[np.intp]) -> Array | None:
    """Return how far some columns go along a direction of recession; None if there is none."""
    free = _null_space(still[:, columns])
    if not free.shape[1]:
        return None
    direction = _recession(moved[:, columns] @ free)
    return None if direction is None else np.abs(free @ direction)


def _null_space(rows: Array) -> Array:
    """Return the directions in which none of some rows moves, (p, r)."""
    p = rows.shape[1]
    if not len(rows):
        return np.eye(p)
    gram = rows.T @ rows
    values, vectors = np.linalg.eigh(gram)
    return np.asarray(vectors[:, values <= 1e-12 * max(values.max(), 1e-300) * p])


def _recession(moved: Array) -> Array | None:
    """Return d with moved @ d >= 0, not all zero, of entries at most one; None if there is none."""
    total = moved.sum(axis=0)
    found: Any = linprog(
        -total, A_ub=-moved, b_ub=np.zeros(len(moved)), bounds=[(-1.0, 1.0)] * moved.shape[1]
    )
    if not found.success or -found.fun <= _MOVES * np.abs(moved).max():
        return None
    return np.asarray(found.x)


def constant_terms(design: Design, ends: Array) -> list[str]:
    """Return the grouping factors all of whose levels have a response at one end only.

    Random intercepts of such a factor explain the response fully, the better the larger their
    variance is.
    """
    out: list[str] = []
    for term in design.terms:
        if term.related is not None and not term.related.is_identity:
            continue  # relatives, and members that are shared, pull levels away from their own end
        count = len(term.levels)
        rows = np.bincount(term.codes, minlength=count)
        sums = np.bincount(term.codes, ends, count)
        both = (ends > 0).any() and (ends < 0).any()
        if both and (np.abs(sums) == rows).all() and term.group not in out:
            out.append(term.group)
    return out
