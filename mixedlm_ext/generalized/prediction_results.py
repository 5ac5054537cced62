"""Predictions of a generalized model with standard errors and intervals, on both scales."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from mixedlm_ext.caching import cached_property
from mixedlm_ext.design import NewData, RandomTerm
from mixedlm_ext.display import page
from mixedlm_ext.errors import DesignError, check_probability
from mixedlm_ext.estimation.fitted import Fitted
from mixedlm_ext.estimation.generalized import GeneralizedFit
from mixedlm_ext.families.curves import Curve, mean_of
from mixedlm_ext.families.prior import PriorWeights
from mixedlm_ext.generalized.prediction import new_rows, read_which
from mixedlm_ext.generalized.record import generalized
from mixedlm_ext.generalized.simulation import draw_means
from mixedlm_ext.prediction.error_variance import PredictionErrors
from mixedlm_ext.prediction.means import predict_rows
from mixedlm_ext.prediction.new_levels import warn_of_new_levels
from mixedlm_ext.prediction.terms import Chosen, choose_terms
from mixedlm_ext.tables import Table

Array = NDArray[np.float64]

__all__ = ["GeneralizedPrediction", "get_prediction"]

_DRAWS = 2000
_SEED = 20_040


class GeneralizedPrediction:
    """Predictions with standard errors; made by `MixedGLMResults.get_prediction`.

    Attributes
    ----------
    linpred, se_linpred : ndarray (m,)
        The linear predictor and its standard error.
    predicted_mean, se_mean : ndarray (m,)
        The mean, and its standard error by the delta method; on the scale of the linear predictor
        if that was asked for.
    row_labels : Index (m,)
    """

    def __init__(
        self, fit: GeneralizedFit, linpred: Array, variance: Array, index: pd.Index, linear: bool
    ) -> None:
        self._fit, self._linear = fit, linear
        self.linpred, self.se_linpred = linpred, np.sqrt(variance)
        self.row_labels = index
        curve = Curve(fit.family.link, linpred)
        self.predicted_mean = linpred if linear else curve.mu
        self.se_mean = self.se_linpred if linear else np.abs(curve.d1) * self.se_linpred

    def __repr__(self) -> str:
        return f"<GeneralizedPrediction: {len(self.linpred)} rows>"

    def _repr_html_(self) -> str:
        return page(f"Predictions, {len(self.linpred)} rows", [self.summary_frame()])

    def conf_int(self, obs: bool = False, alpha: float = 0.05) -> Array:
        """Intervals for the means, or for new observations.

        Parameters
        ----------
        obs : bool
            Intervals for a new observation of one trial or of weight one, by simulation: both the
            error of the linear predictor and the distribution of the response are drawn.
        alpha : float
            One minus the level.

        Returns
        -------
        ndarray (m, 2)
            Limits for the mean are those of the linear predictor, brought to its scale.
        """
        check_probability("alpha", alpha)
        if obs:
            return np.nanquantile(self._draws, [alpha / 2.0, 1.0 - alpha / 2.0], axis=0).T
        half = stats.norm.isf(alpha / 2.0) * self.se_linpred
        ends = [self.linpred - half, self.linpred + half]
        if not self._linear:
            ends = [mean_of(self._fit.family, end) for end in ends]
        return np.column_stack([np.minimum(*ends), np.maximum(*ends)])

    @cached_property
    def _draws(self) -> Array:
        """New observations, (draws, m)."""
        if self._linear:
            raise DesignError(
                "intervals of observations are on the scale of the mean. Leave out which='linear'."
            )
        rng = np.random.default_rng(_SEED)
        known = np.isfinite(self.linpred)
        out = np.full((_DRAWS, len(known)), np.nan)
        fit = replace(self._fit, prior=PriorWeights())
        for row in out:
            noise = rng.standard_normal(len(known)) * self.se_linpred
            eta = np.where(known, self.linpred + noise, 0.0)
            row[known] = draw_means(fit, mean_of(fit.family, eta), rng)[known]
        return out

    def summary_frame(self, alpha: float = 0.05) -> pd.DataFrame:
        """Means, standard errors and intervals.

        Parameters
        ----------
        alpha : float
            One minus the level.

        Returns
        -------
        DataFrame (m, 4)
            Columns ``mean``, ``mean_se``, ``mean_ci_lower``, ``mean_ci_upper``, as statsmodels'
            GLM has them.
        """
        limits = self.conf_int(False, alpha)
        columns = {
            "mean": self.predicted_mean,
            "mean_se": self.se_mean,
            "mean_ci_lower": limits[:, 0],
            "mean_ci_upper": limits[:, 1],
        }
        return Table(columns, index=self.row_labels)


def get_prediction(
    fitted: Fitted,
    exog: Any = None,
    which: str = "mean",
    conditional: bool = True,
    terms: str | Sequence[str] | None = None,
    new_levels: str = "population",
    offset: Any = None,
    random: Sequence[RandomTerm] | None = None,
) -> GeneralizedPrediction:
    """Predict with standard errors and intervals, on the scale of the mean or of the predictor.

    Parameters
    ----------
    exog
        As for `predict`.
    which : {"mean", "linear"}
        The scale.
    conditional, terms, new_levels, offset, random
        As for `predict`. For a level that the fit has not seen, the variance of its random effect
        is part of the standard error.

    Returns
    -------
    GeneralizedPrediction
        ``summary_frame(alpha)``, ``conf_int(obs, alpha)``, ``predicted_mean``, ``se_mean``.

    Raises
    ------
    DesignError
        As `predict`.

    Notes
    -----
    The variance of x'β̂ + z'b̂ - (x'β + z'b) is that of a linear mixed model for the working
    response at the conditional modes, with the covariance of β̂ from all parameters (`cov_params`).
    Intervals for the mean are those of the linear predictor, transformed.

    Examples
    --------
    >>> import statsmodels.api as sm
    >>> from mixedlm_ext import MixedGLM, datasets
    >>> data = datasets.cbpp.load_pandas().data
    >>> formula = "incidence / size ~ period + (1 | herd)"
    >>> family = sm.families.Binomial()
    >>> result = MixedGLM.from_formula(formula, data, family=family, weights="size").fit()
    >>> new = {"period": ["1", "4"], "herd": ["1", "1"]}
    >>> result.get_prediction(new, conditional=False).summary_frame().round(3)
        mean  mean_se  mean_ci_lower  mean_ci_upper
    0  0.198    0.037          0.135          0.280
    1  0.048    0.020          0.021          0.106
    """
    conditional = read_which(which, conditional, ("mean", "linear"))
    fit = generalized(fitted)
    fitted.rows("the standard errors of predictions")
    chosen = choose_terms(fitted.design, "conditional" if conditional else "population", terms)
    new = new_rows(fitted, exog, chosen, offset, random)
    eta = predict_rows(fit, new, chosen, new_levels)
    variance = _variance(fitted, new, chosen, eta)
    if new_levels == "population":
        warn_of_new_levels(fit.design, new, chosen)
    index = new.index
    if exog is None and fitted.design.full_index is not None:
        eta, index = fitted.design.aligned(eta)
        variance = fitted.design.aligned(variance)[0]
    return GeneralizedPrediction(fit, eta, variance, index, which == "linear")


def _variance(fitted: Fitted, new: NewData, chosen: Chosen, eta: Array) -> Array:
    """Return the error variances of the linear predictor, nan where there is none."""
    used = np.isfinite(eta)
    rows = new if used.all() else new.take(used)
    out = np.full(len(eta), np.nan)
    out[used] = PredictionErrors(fitted.fit, rows, chosen).variance(fitted.method.cov())
    return out
