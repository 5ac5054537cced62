"""Residuals of other rows: how variable they are, and how correlated with those of the fit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mixedlm_ext.design import Design, NewData
from mixedlm_ext.design.formula_code import code_names
from mixedlm_ext.design.frame import read_table
from mixedlm_ext.design.removed import require_rows
from mixedlm_ext.design.residual_rows import new_residual_rows
from mixedlm_ext.design.row_arguments import new_weights
from mixedlm_ext.errors import DesignError, did_you_mean
from mixedlm_ext.estimation.fit import Fit
from mixedlm_ext.prediction.terms import Chosen
from mixedlm_ext.products.noise import noise_of
from mixedlm_ext.products.structured_noise import StructuredNoise
from mixedlm_ext.residual.structure import ResidualRows, ResidualStructure

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

__all__ = ["check_errors", "new_noise", "new_variances", "residual_rows_of", "weights_of_rows"]


def residual_rows_of(
    design: Design, data: Any, complete: Mask, variances_only: bool = False
) -> tuple[ResidualRows, Mask]:
    """Return what complete rows of other data have to do with the structure of the residuals.

    Parameters
    ----------
    design : Design
        Of a fit.
    data : object
        As for `predict`; None for the data of the fit with other weights.
    complete : ndarray of bool (m,)
        Rows that have all else.
    variances_only : bool
        Leave correlations out, whose columns need not be there.

    Returns
    -------
    ResidualRows
        Of the rows that have what the structure needs.
    ndarray of bool (m,)
        Which rows these are.

    Raises
    ------
    DesignError
        If a column is missing, or a stratum is none of the fit.
    """
    structure = _structure(design)
    if variances_only:
        structure = ResidualStructure(None, structure.variances, structure.values)
    table = read_table(data)
    names = _columns(structure, design)
    for name in names:
        if name not in table.names:
            raise DesignError(
                f"the new data have no column {name!r}, which {structure.text} of the residuals "
                f"needs.{did_you_mean(name, table.names)}"
            )
    frame = pd.DataFrame({name: table.column(name).array for name in names}, index=table.index)
    present = complete & frame.notna().all(axis=1).to_numpy()
    return new_residual_rows(structure, frame[present], design.scope), present


def _structure(design: Design) -> ResidualStructure:
    assert design.residual is not None and design.residual.values is not None
    return design.residual


def _columns(structure: ResidualStructure, design: Design) -> list[str]:
    """Return the columns of data that a structure reads."""
    codes: list[str] = [code for part in structure.variances for code in part.codes]
    if structure.correlation is not None:
        codes += [*structure.correlation.group]
        codes += [] if structure.correlation.position is None else [structure.correlation.position]
    known = set(design.spec.columns)
    return sorted({name for code in codes for name in code_names(code).values & known})


def new_variances(design: Design, data: Any, complete: Mask) -> Array:
    """Return the variances of residuals of other rows over σ², weights apart.

    nan where what they depend on is missing, also where a whole column is not in the data.
    """
    out = np.ones(len(complete))
    if design.residual is None or not design.residual.variances:
        return out
    table = read_table(data)
    structure = _structure(design)
    alone = ResidualStructure(None, structure.variances)
    if not set(_columns(alone, design)) <= set(table.names):
        return np.full(len(complete), np.nan)
    rows, present = residual_rows_of(design, data, complete, variances_only=True)
    eta = structure.eta_of(structure.z_of(_structure(design).values))  # type: ignore[arg-type]
    out[:] = np.nan
    out[present] = np.exp(2.0 * rows.x @ eta)
    return out


def new_noise(design: Design, data: Any, w: Array) -> StructuredNoise:
    """Return the noise of other rows, of which all must have what the structure needs.

    Parameters
    ----------
    design : Design
    data : object
    w : ndarray (m,)
        Weights.
    """
    rows, present = residual_rows_of(design, data, np.ones(len(w), dtype=bool))
    if not present.all():
        raise DesignError(
            f"{int((~present).sum())} of {len(present)} new rows miss a value that "
            f"{_structure(design).text} of the residuals needs. Leave these rows out."
        )
    structure = _structure(design)
    assert structure.values is not None
    return StructuredNoise(structure, rows, structure.z_of(structure.values), w)


def weights_of_rows(fit: Fit, new: NewData, data: Any, weights: Any) -> Array:
    """Return the precision weights of rows; nan where one is missing.

    Parameters
    ----------
    fit : Fit
    new : NewData (m rows)
    data : object
        As for `predict`; None for the rows of the fit.
    weights : str, array-like or None
        As for `get_prediction`.
    """
    design = fit.design
    if data is None and weights is None:
        return 1.0 / noise_of(design).variances
    data = design.frame if data is None else data
    table = None if design.formula is None else read_table(data)
    labelled = table is not None or isinstance(data, pd.DataFrame | pd.Series)
    return new_weights(
        design.spec.weights, weights, new.index, new.index if labelled else None, table, False
    )


def check_errors(
    fit: Fit, errors: object, data: Any, chosen: Chosen, newparams: object = None
) -> bool:
    """Return whether residuals are to be predicted, or say why they cannot be."""
    if not isinstance(errors, bool | np.bool_):
        raise DesignError(f"errors={errors!r} is neither True nor False.")
    if not errors:
        return False
    structure = fit.design.residual
    if structure is None or structure.correlation is None:
        raise DesignError(
            "the residuals of this model are independent: nothing is known of those of new rows. "
            "Leave out errors=True, or fit with correlation='ar1(week | subject)'."
        )
    if data is None:
        raise DesignError(
            "errors=True predicts residuals of new rows; those of the fit are resid. Pass exog=."
        )
    if newparams is not None or set(chosen) != {term.name for term in fit.design.terms}:
        raise DesignError(
            "errors=True is for predictions with all random effects at the estimates. Leave out "
            "which=, terms= and newparams=."
        )
    require_rows(fit.design, "the residuals of its rows")
    return True
