"""Predictions from a fit: Xβ + offset, and Zb where the level of the grouping factor is known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mixedlm_ext.design import NewData
from mixedlm_ext.errors import DesignError, did_you_mean
from mixedlm_ext.fit import Fit

Array = NDArray[np.float64]

__all__ = ["check_choice", "predict_new"]

WHICH = ("conditional", "population")
NEW_LEVELS = ("population", "error", "nan")


def check_choice(argument: str, value: object, allowed: tuple[str, ...]) -> None:
    """Raise unless `value` is one of `allowed`."""
    if value not in allowed:
        near = did_you_mean(str(value), allowed)
        choices = ", ".join(repr(a) for a in allowed)
        raise DesignError(f"{argument}={value!r} is not known.{near} Use one of {choices}.")


def predict_new(
    fit: Fit, data: Any, which: str, new_levels: str, offset: Any = None
) -> tuple[Array, pd.Index]:
    """Predict at new data.

    Parameters
    ----------
    fit : Fit
    data : DataFrame, dict or array
        As the model was built: the variables of the formula, or the columns of X.
    which : {"conditional", "population"}
        With the conditional modes of the random effects, or with zeros.
    new_levels : {"population", "error", "nan"}
        What a level that the fit has not seen contributes: zero, an error, or a missing prediction.
    offset : array_like, optional
        Known part of the linear predictor, added to the formula's own offset.

    Returns
    -------
    ndarray (m,)
        nan where a needed value is missing.
    Index (m,)
    """
    check_choice("which", which, WHICH)
    check_choice("new_levels", new_levels, NEW_LEVELS)
    names = [t.name for t in fit.design.terms] if which == "conditional" else []
    new = fit.design.new_data(data, terms=names, offset=offset)
    out = new.X @ fit.beta + new.offset
    for term, b in zip(fit.design.terms, fit.b):
        if term.name in new.terms:
            out = out + _contribution(new, term.name, b, new_levels)
    return np.where(new.complete, out, np.nan), new.index


def _contribution(new: NewData, name: str, b: Array, new_levels: str) -> Array:
    """Return the part of Zb that one term contributes."""
    X, codes = new.terms[name]
    unseen = (codes < 0) & new.complete
    if new_levels == "error" and unseen.any():
        row = new.index[int(np.flatnonzero(unseen)[0])]
        raise DesignError(
            f"{int(unseen.sum())} rows have levels of {name!r} that the fit has not seen (first at "
            f"row {row!r}). Use new_levels='population' to predict them with a random effect of "
            "zero, or new_levels='nan'."
        )
    part = np.einsum("nk,nk->n", X, b[np.maximum(codes, 0)])
    return np.where(codes < 0, np.nan if new_levels == "nan" else 0.0, part)
