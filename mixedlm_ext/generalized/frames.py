"""A generalized fit as plain frames, as R's broom.mixed makes them: glance, augment."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from mixedlm_ext.design.frame import read_table
from mixedlm_ext.errors import DesignError
from mixedlm_ext.estimation.fitted import Fitted
from mixedlm_ext.families.curves import mean_of
from mixedlm_ext.generalized.prediction import predict
from mixedlm_ext.generalized.record import generalized
from mixedlm_ext.prediction.means import rows_of_fit
from mixedlm_ext.report.tidy import response_in, training_frame
from mixedlm_ext.tables import Table

__all__ = ["augment", "glance"]

_ADDED = ("fitted", "resid", "fixed")


def glance(fitted: Fitted) -> pd.DataFrame:
    """Return the fit in one row.

    Returns
    -------
    DataFrame
        Columns ``nobs``, ``logLik``, ``AIC``, ``BIC``, ``deviance`` (-2 log-likelihood), ``scale``
        (the dispersion), ``alpha`` of a negative binomial and ``df_residual``.

    Examples
    --------
    >>> import statsmodels.api as sm
    >>> from mixedlm_ext import MixedGLM, datasets
    >>> data = datasets.cbpp.load_pandas().data
    >>> formula = "incidence / size ~ period + (1 | herd)"
    >>> family = sm.families.Binomial()
    >>> result = MixedGLM.from_formula(formula, data, family=family, weights="size").fit()
    >>> result.glance().round(2)
       nobs  logLik     AIC     BIC  deviance  scale  df_residual
    0    56  -92.03  194.05  204.18    184.05    1.0           51
    """
    fit = generalized(fitted)
    row = {
        "nobs": fitted.n,
        "logLik": fitted.llf,
        "AIC": fitted.aic,
        "BIC": fitted.bic,
        "deviance": fit.objective,
        "scale": fit.dispersion,
    }
    if fit.size is not None:
        row["alpha"] = 1.0 / fit.size
    row["df_residual"] = fitted.n - fitted.n_parameters
    return Table([row])


def augment(fitted: Fitted, data: Any = None, offset: Any = None) -> pd.DataFrame:
    """Return the data with fitted means and residuals, as R's broom.mixed does.

    Parameters
    ----------
    data : DataFrame, polars.DataFrame or dict, optional
        Other data, or those of the fit with columns that the model does not use. By default the
        columns and rows that the fit used.
    offset : str or array_like, optional
        Of these data, as for `predict`.

    Returns
    -------
    DataFrame
        The data and columns ``fitted`` (the mean at the conditional modes), ``resid`` (response
        less that, if the data have the response) and ``fixed`` (the mean at random effects of
        zero).

    Raises
    ------
    DesignError
        If the data have one of these columns already.
    """
    fit = generalized(fitted)
    y = None
    if data is None:
        fitted.rows("a frame of its rows")
        if offset is not None:
            raise DesignError("offset= belongs to other data. Pass these as data=, too.")
        frame, y = training_frame(fit), fit.design.y
        rows = rows_of_fit(fit.design)
        values = fit.fitted()
        fixed = mean_of(fit.family, rows.X @ fit.beta + rows.offset)
    elif fit.design.formula is None:
        raise DesignError(
            "augment takes data= for models made from a formula only. Without it, it gives the "
            "rows of the fit; predict(exog, random=...) predicts at others."
        )
    else:
        table = read_table(data)
        columns = {name: table.column(name).array for name in table.names}
        frame = pd.DataFrame(columns, index=table.index)
        values = np.asarray(predict(fitted, data, offset=offset))
        fixed = np.asarray(predict(fitted, data, conditional=False, offset=offset))
        y = response_in(fit.design, frame)
    taken = [name for name in _ADDED if name in frame]
    if taken:
        raise DesignError(
            f"the data have a column {taken[0]!r}, which augment would add. Rename it, as in "
            f"data.rename(columns={{{taken[0]!r}: ...}})."
        )
    frame["fitted"] = values
    if y is not None:
        frame["resid"] = y - values
    frame["fixed"] = fixed
    return Table(frame)
