"""Variance inflation of the fixed effects."""

from __future__ import annotations

import numpy as np
import pandas as pd

from mixedlm_ext.errors import FitError
from mixedlm_ext.estimation.fitted import Fitted
from mixedlm_ext.inference.fixed.wald import term_columns
from mixedlm_ext.tables import Table

__all__ = ["vif"]


def vif(fitted: Fitted) -> pd.DataFrame:
    """Variance inflation of the terms of the fixed part.

    Returns
    -------
    DataFrame
        A row for each term but the intercept: ``gvif`` (the variance inflation factor of a
        term with one column), ``df``, and ``gvif_scaled``, gvif^(1/(2 df)), by how much
        standard errors are larger.

    Raises
    ------
    FitError
        If the model has no term but the intercept.

    Notes
    -----
    Generalized factors (Fox & Monette 1992, JASA 87) from the covariance matrix of the fixed
    effects, as car's ``vif``.

    Examples
    --------
    >>> from mixedlm_ext import MixedLM, datasets
    >>> data = datasets.cake.load_pandas().data
    >>> model = MixedLM.from_formula("angle ~ recipe + temp + (1 | recipe:replicate)", data)
    >>> model.fit().vif().round(3)
            gvif  df  gvif_scaled
    recipe   1.0   2          1.0
    temp     1.0   1          1.0
    """
    terms = term_columns(fitted)
    terms = {name: own for name, own in terms.items() if own != [fitted.constant]}
    if not terms:
        raise FitError(
            "the model has no fixed effects besides the intercept, so nothing can inflate their "
            "variances. vif() is for models with covariates."
        )
    every = [j for own in terms.values() for j in own]
    cov = fitted.fit.unscaled_cov
    sd = np.sqrt(np.diag(cov))
    R = cov / np.outer(sd, sd)
    rows = []
    for own in terms.values():
        others = [j for j in every if j not in own]
        log_gvif = _logdet(R, own) + _logdet(R, others) - _logdet(R, every)
        rows.append([np.exp(log_gvif), len(own), np.exp(log_gvif / (2 * len(own)))])
    table = Table(rows, index=list(terms), columns=["gvif", "df", "gvif_scaled"])
    return table.astype({"df": int})


def _logdet(R: np.ndarray, own: list[int]) -> float:
    """Return log|R| of some rows and columns."""
    return float(np.linalg.slogdet(R[np.ix_(own, own)])[1])
