"""A generalized fit as plain frames, as R's broom.mixed makes them: glance, augment."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from mixedlm_ext.estimation.fitted import Fitted
from mixedlm_ext.families.curves import mean_of
from mixedlm_ext.generalized.prediction import predict
from mixedlm_ext.generalized.record import generalized
from mixedlm_ext.prediction.means import rows_of_fit
from mixedlm_ext.report.tidy import augmented, frame_to_augment
from mixedlm_ext.tables import Table

__all__ = ["augment", "glance"]


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
    frame, y = frame_to_augment(fitted, data, offset)
    if data is None:
        rows = rows_of_fit(fit.design)
        values = fit.fitted()
        fixed = mean_of(fit.family, rows.X @ fit.beta + rows.offset)
    else:
        values = np.asarray(predict(fitted, data, offset=offset))
        fixed = np.asarray(predict(fitted, data, conditional=False, offset=offset))
    return augmented(frame, y, values, fixed)
