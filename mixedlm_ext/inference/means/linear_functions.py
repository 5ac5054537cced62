"""Linear functions of the fixed effects: estimates, standard errors, tests, intervals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixedlm_ext.design.messages import list_names
from mixedlm_ext.errors import DesignWarning, FitError, warn_caller
from mixedlm_ext.estimation.fitted import Fitted

Array = NDArray[np.float64]

__all__ = ["LinearFunctions", "estimate", "lost_note", "mark_lost"]


@dataclass(frozen=True, eq=False)
class LinearFunctions:
    """Estimates of cβ + offset; nan where the data do not determine cβ.

    Attributes
    ----------
    estimate, se, df, t : ndarray (m,)
        t tests that the whole, with the offset, is zero.
    cov : ndarray (m, m)
    estimable : ndarray of bool (m,)
    """

    estimate: Array
    se: Array
    df: Array
    t: Array
    cov: Array
    estimable: NDArray[np.bool_]


def estimate(fitted: Fitted, rows: Array, offset: Array) -> LinearFunctions:
    """Estimate linear functions of the fixed effects.

    Parameters
    ----------
    fitted : Fitted
    rows : ndarray (m, all columns)
        c, with the columns that were left out of X as not estimable.
    offset : ndarray (m,)
    """
    design = fitted.design
    estimable = design.estimable(rows) & ~np.isnan(rows).any(axis=1)
    L = np.where(estimable[:, None], rows, 0.0)[:, design.column_map]
    cov = L @ fitted.method.cov() @ L.T
    se = np.where(estimable, np.sqrt(np.maximum(np.diag(cov), 0.0)), np.nan)
    value = np.where(estimable, L @ fitted.fit.beta + offset, np.nan)
    df = np.full(len(rows), np.nan)
    if estimable.any():
        df[estimable] = fitted.method.t(L[estimable])
    with np.errstate(divide="ignore", invalid="ignore"):
        t = value / se
    return LinearFunctions(value, se, df, t, cov, estimable)


def mark_lost(
    fitted: Fitted,
    estimable: NDArray[np.bool_],
    names: Any,
    what: str,
) -> None:
    """Warn of functions that are not estimable; raise if there is no other.

    Parameters
    ----------
    fitted : Fitted
    estimable : ndarray of bool (m,)
    names : Index (m,)
        Their names.
    what : str
        What they are: "means of", "contrasts".
    """
    if estimable.all():
        return
    lost = [name for name, known in zip(names, estimable) if not known]
    text = lost_note(fitted, lost, what)
    if len(estimable) == 1:
        raise FitError(f"{text} Choose other levels with at=, or leave the interaction out.")
    warn_caller(f"{text} They are nan.", DesignWarning)


def lost_note(fitted: Fitted, lost: Any, what: str) -> str:
    """Say which functions are not estimable, and why."""
    dropped = fitted.design.dropped
    reason = "their cells have no rows"
    if dropped:
        reason = (
            f"the data do not determine them (X has full rank only without {list_names(dropped)})"
        )
    return f"the {what} {list_names(lost)} are not estimable: {reason}."
