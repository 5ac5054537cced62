"""The same generalized model fitted from other starts: do the searches agree?"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from mixedlm_ext.errors import MixedLMError
from mixedlm_ext.estimation.fitted import Fitted
from mixedlm_ext.generalized.fitting import estimate_generalized
from mixedlm_ext.generalized.record import generalized
from mixedlm_ext.generalized.refits import assembled
from mixedlm_ext.tables import Table

__all__ = ["all_fit"]

_STARTS = {"default": None, "small": 0.1, "half": 0.5, "double": 2.0, "large": 5.0}
"""Random effects to start from, in units of the estimates."""
_LEAST = 0.1
"""Diagonal of a covariance root whose estimate is zero, to start from."""


def all_fit(fitted: Fitted) -> pd.DataFrame:
    """Fit the model again from other starts.

    Returns
    -------
    DataFrame
        A row for each start, "default" and random effects a tenth, half, twice and five times as
        large as the estimates; columns ``objective``, ``evaluations``, ``converged``, ``verdict``,
        the fixed effects, and ``theta[0]``, ``theta[1]``, ... A search that fails has missing
        values and its error as verdict.

    Notes
    -----
    Every start ends at the same objective where the maximum of the likelihood is the only one that
    these searches meet.

    Examples
    --------
    >>> import statsmodels.api as sm
    >>> from mixedlm_ext import MixedGLM, datasets
    >>> data = datasets.cbpp.load_pandas().data
    >>> formula = "incidence / size ~ period + (1 | herd)"
    >>> family = sm.families.Binomial()
    >>> result = MixedGLM.from_formula(formula, data, family=family, weights="size").fit()
    >>> result.all_fit()["objective"].round(4).unique().tolist()
    [184.0526]
    """
    fitted.rows("the fits from other starts")
    fit = generalized(fitted)
    theta = [f"theta[{j}]" for j in range(len(fit.theta))]
    columns = ["objective", "evaluations", "converged", "verdict", *fitted.x_names, *theta]
    rows = [_row(fitted, factor) for factor in _STARTS.values()]
    return Table(rows, index=list(_STARTS), columns=columns)


def _row(fitted: Fitted, factor: float | None) -> list[Any]:
    """Fit from random effects `factor` times as large as the estimates."""
    fit, model = generalized(fitted), assembled(fitted)
    covariance = model.problem(fit.observed).covariance
    start = None
    if factor is not None:
        theta = covariance.standardize(fit.theta)
        diagonal = covariance.start() > 0
        theta = np.where(diagonal, np.maximum(theta, _LEAST), theta)
        start = (covariance.scaled(theta, factor), None)
    fixed = None if fit.extra_estimated or not len(fit.omega) else fit.omega
    try:
        found = estimate_generalized(model, fit.nagq, start, fixed, fit.observed)
    except MixedLMError as error:
        return [np.nan, 0, False, str(error), *np.full(len(fit.beta) + len(fit.theta), np.nan)]
    log = found.optimization
    head = [found.objective, log.evaluations, log.converged, log.verdict]
    return [*head, *found.beta, *found.theta]
