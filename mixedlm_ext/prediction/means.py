"""Predictions from a fit: Xβ + offset, and Zb where the level of the grouping factor is known."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mixedlm_ext.design import Design, NewData, RandomTerm
from mixedlm_ext.design.messages import quoted
from mixedlm_ext.errors import DesignError, DesignWarning, check_choice, warn_caller
from mixedlm_ext.estimation.fit import Fit
from mixedlm_ext.prediction.new_levels import list_levels
from mixedlm_ext.prediction.terms import Chosen

Array = NDArray[np.float64]

__all__ = [
    "check_random_only",
    "mark_not_estimable",
    "predict_rows",
    "rows_of_fit",
    "rows_to_predict",
]

NEW_LEVELS = ("population", "error", "nan")


def rows_of_fit(design: Design) -> NewData:
    """Return the rows of the fit in the form of new data."""
    n = len(design.y)
    return NewData(
        X=design.X,
        terms={term.name: (term.X, term.codes) for term in design.terms},
        offset=np.zeros(n) if design.offset is None else design.offset,
        index=design.index,
        complete=np.ones(n, dtype=bool),
        estimable=np.ones(n, dtype=bool),
        members={term.name: term.member_rows for term in design.terms if term.has_members},
    )


def rows_to_predict(
    design: Design,
    data: Any,
    chosen: Chosen,
    offset: Any = None,
    random: Sequence[RandomTerm] | None = None,
) -> NewData:
    """Return the matrices of new rows, of the random terms only those that are chosen.

    Parameters
    ----------
    design : Design
    data : DataFrame, dict or array
        As the model was built: the variables of the formula, or the columns of X.
    chosen : Chosen
    offset : array_like, optional
        Known part of the linear predictor, added to the formula's own offset.
    random : sequence of RandomTerm, optional
        The random terms at the new rows, for a model made from arrays.
    """
    if design.formula is not None:
        if random is not None:
            raise DesignError(
                "random= is for models made from arrays; this formula reads the data."
            )
        return design.new_data(data, terms=list(chosen), offset=offset)
    if chosen and random is None:
        raise DesignError(
            "the random terms of the new rows are missing. Pass random=[RandomTerm(groups), ...] "
            "as to the model, or which='population' to predict with random effects of zero."
        )
    return design.new_arrays(data, random if chosen else None, offset=offset)


def check_random_only(random_only: object, chosen: Chosen) -> None:
    """Raise if only random effects are asked for, and none are chosen."""
    if not isinstance(random_only, bool | np.bool_):
        raise DesignError(f"random_only={random_only!r} is not True or False.")
    if random_only and not chosen:
        raise DesignError(
            "random_only=True leaves nothing to predict without random effects. Drop it, or "
            "which='population' and an empty terms=."
        )


def mark_not_estimable(estimable: NDArray[np.bool_], index: pd.Index) -> None:
    """Warn of rows whose Xβ the data do not determine; raise if there is only that one row.

    Parameters
    ----------
    estimable : ndarray of bool (m,)
    index : Index (m,)
        Labels of the rows.
    """
    if estimable.all():
        return
    first, lost = quoted(index[int(np.argmin(estimable))]), int((~estimable).sum())
    reason = (
        "the data of the fit do not determine its fixed part there, so a number would depend on "
        "which of the aliased columns was left out"
    )
    if len(estimable) == 1:
        raise DesignError(
            f"the prediction of row {first} is not estimable: {reason}. Ask for a combination "
            "that the data have, or leave the interaction without data out of the model."
        )
    warn_caller(
        f"predictions are not estimable, and nan, in {lost} of {len(estimable)} rows (the first: "
        f"{first}): {reason.replace('its', 'the')}.",
        DesignWarning,
    )


def predict_rows(
    fit: Fit, new: NewData, chosen: Chosen, new_levels: str, random_only: bool = False
) -> Array:
    """Return Xβ + Zb + offset with the chosen random effects, the others zero.

    Parameters
    ----------
    fit : Fit
    new : NewData (m rows)
    chosen : Chosen
    new_levels : {"population", "error", "nan"}
        What a level that the fit has not seen contributes: zero, an error, or a missing prediction.
    random_only : bool
        Return Zb.

    Returns
    -------
    ndarray (m,)
        nan where a needed value is missing, and where Xβ is not estimable.
    """
    check_choice("new_levels", new_levels, NEW_LEVELS)
    out = np.zeros(len(new.X)) if random_only else new.X @ fit.beta + new.offset
    for term, b in zip(fit.design.terms, fit.b):
        if term.name in chosen:
            out = out + _contribution(new, term.name, b * chosen[term.name], new_levels)
    return np.where(new.complete & new.estimable, out, np.nan)


def _contribution(new: NewData, name: str, b: Array, new_levels: str) -> Array:
    """Return the part of Zb that one term contributes."""
    if name not in new.terms:
        raise DesignError(f"random= has no term {name!r}. Add it, or leave it out of terms=.")
    X, codes = new.terms[name]
    unseen = (codes < 0) & new.complete
    if new_levels == "error" and unseen.any():
        row = quoted(new.index[int(np.flatnonzero(unseen)[0])])
        raise DesignError(
            f"the fit has not seen the level of {name!r} at row {row} (such rows: "
            f"{int(unseen.sum())}). Use new_levels='population' to predict them with a random "
            "effect of zero, or new_levels='nan'. The new levels are "
            f"{list_levels(new.unseen.get(name, ()))}."
        )
    if name in new.members:  # of members not seen, the share is zero
        part = np.einsum("nk,nk->n", X, np.asarray(new.members[name].W @ b))
        return np.where(unseen & (new_levels == "nan"), np.nan, part)
    part = np.einsum("nk,nk->n", X, b[np.maximum(codes, 0)])
    return np.where(codes < 0, np.nan if new_levels == "nan" else 0.0, part)
