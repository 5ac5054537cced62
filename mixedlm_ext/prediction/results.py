"""Predictions with standard errors and intervals."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from mixedlm_ext.design import Design, NewData
from mixedlm_ext.display import page
from mixedlm_ext.errors import check_probability
from mixedlm_ext.estimation.fit import Fit
from mixedlm_ext.estimation.fitted import Fitted
from mixedlm_ext.inference.fixed.satterthwaite import Satterthwaite
from mixedlm_ext.prediction.error_variance import PredictionErrors
from mixedlm_ext.prediction.known_residuals import KnownResiduals, known_residuals
from mixedlm_ext.prediction.means import predict_rows
from mixedlm_ext.prediction.residual_rows import (
    new_variances,
    residual_rows_of,
    weights_of_rows,
)
from mixedlm_ext.prediction.terms import Chosen
from mixedlm_ext.products.residual_matrices import count_pairs
from mixedlm_ext.tables import Table

Array = NDArray[np.float64]

__all__ = ["PredictionResults", "prediction_results"]

_MOST_CELLS = 1_000_000_000
"""Rows times columns of Z up to which degrees of freedom of each row's own are reasonable."""
_MOST_PAIRS = 20_000_000
"""Pairs of rows of one group up to which the derivatives of their covariances are reasonable."""
_EXACT = 1e-20
"""A variance whose own variance is smaller than this, relatively, counts as known."""
_ROUNDING = 1e-24
"""Variances, in that of the residuals, that are those of rounding: what they are of is known."""


class PredictionResults:
    """Predictions with standard errors and intervals; made by `MixedLMResults.get_prediction`.

    Attributes
    ----------
    predicted_mean : ndarray (m,)
    var_pred_mean, se_mean : ndarray (m,)
        Variance of the error of the predicted mean, and its square root.
    var_resid : ndarray (m,)
        Residual variance of a new observation, σ²/w.
    se_obs : ndarray (m,)
        Standard error of the prediction of a new observation.
    df, df_obs : ndarray (m,)
        Degrees of freedom of intervals for the means, and for new observations.
    row_labels : Index (m,)
    """

    def __init__(
        self,
        predicted_mean: Array,
        var_pred_mean: Array,
        var_resid: Array,
        df: Array,
        df_obs: Array,
        row_labels: pd.Index,
    ) -> None:
        self.predicted_mean, self.var_pred_mean = predicted_mean, var_pred_mean
        self.var_resid, self.df, self.df_obs = var_resid, df, df_obs
        self.row_labels = row_labels

    def __repr__(self) -> str:
        return f"<PredictionResults: {len(self.predicted_mean)} rows>"

    def _repr_html_(self) -> str:
        return page(f"Predictions, {len(self.predicted_mean)} rows", [self.summary_frame()])

    def aligned(self, design: Design) -> PredictionResults:
        """Return the predictions for the rows of a fit among all rows of its data, if asked for."""
        if design.full_index is None:
            return self
        return PredictionResults(
            design.aligned(self.predicted_mean)[0],
            design.aligned(self.var_pred_mean)[0],
            design.aligned(self.var_resid)[0],
            design.aligned(self.df)[0],
            design.aligned(self.df_obs)[0],
            design.full_index,
        )

    @property
    def se_mean(self) -> Array:
        """Standard errors of the predicted means."""
        return np.sqrt(self.var_pred_mean)

    @property
    def se_obs(self) -> Array:
        """Standard errors of predicted observations."""
        return np.sqrt(self.var_pred_mean + self.var_resid)

    def conf_int(self, obs: bool = False, alpha: float = 0.05) -> Array:
        """Intervals for the predicted means, or for new observations.

        Parameters
        ----------
        obs : bool
            Intervals for a new observation: they add the residual variance.
        alpha : float
            One minus the level.

        Returns
        -------
        ndarray (m, 2)

        Raises
        ------
        FitError
            If alpha is no probability.
        """
        check_probability("alpha", alpha)
        se, df = (self.se_obs, self.df_obs) if obs else (self.se_mean, self.df)
        half = stats.t.ppf(1 - alpha / 2, df) * se
        return np.column_stack([self.predicted_mean - half, self.predicted_mean + half])

    def summary_frame(self, alpha: float = 0.05) -> pd.DataFrame:
        """Means, standard errors and both kinds of intervals.

        Parameters
        ----------
        alpha : float
            One minus the level.

        Returns
        -------
        DataFrame (m, 6)
            Columns ``mean``, ``mean_se``, ``mean_ci_lower``, ``mean_ci_upper``, ``obs_ci_lower``,
            ``obs_ci_upper``.
        """
        mean, obs = self.conf_int(False, alpha), self.conf_int(True, alpha)
        columns = {
            "mean": self.predicted_mean,
            "mean_se": self.se_mean,
            "mean_ci_lower": mean[:, 0],
            "mean_ci_upper": mean[:, 1],
            "obs_ci_lower": obs[:, 0],
            "obs_ci_upper": obs[:, 1],
        }
        return Table(columns, index=self.row_labels)


def prediction_results(
    fitted: Fitted,
    new: NewData,
    chosen: Chosen,
    new_levels: str,
    data: Any = None,
    weights: Any = None,
    random_only: bool = False,
    with_errors: bool = False,
) -> PredictionResults:
    """Predict rows with standard errors (see `MixedLMResults.get_prediction`)."""
    fit, known = fitted.fit, None
    mean = predict_rows(fit, new, chosen, new_levels, random_only)
    if with_errors:
        known = known_residuals(fit, data, new.complete, weights_of_rows(fit, new, data, weights))
        mean = mean + known.mean
    used = np.isfinite(mean)
    rows = new if used.all() else new.take(used)
    fixed = np.zeros_like(rows.X) if random_only else rows.X
    own = None if known is None else known.take(used)
    if own is None:
        errors = PredictionErrors(fit, replace(rows, X=fixed), chosen)
    else:
        errors = PredictionErrors(fit, replace(rows, X=fixed - own.X), chosen, own.Z)
    variance = errors.variance(fitted.method.cov())
    with np.errstate(divide="ignore"):
        relative = _variances(fit, new, data, weights) if known is None else known.variance
        residual = fit.sigma**2 * relative
    rates = _Rates(errors, own, _residual_rates(fit, new, data, weights, residual)[used])
    df, df_obs = _degrees(fitted, rows.X, rates, variance, residual[used], bool(chosen))
    variance, df, df_obs = (_spread(part, used) for part in (variance, df, df_obs))
    return PredictionResults(mean, variance, residual, df, df_obs, new.index)


@dataclass(frozen=True, eq=False)
class _Rates:
    """Error variances of means, with the derivatives of all variances in the parameters.

    Attributes
    ----------
    errors : PredictionErrors
    known : KnownResiduals or None
        What is known of the rows' residuals.
    marginal : ndarray (m, K)
        Derivatives in z of the residuals' variances where nothing is known of them.
    """

    errors: PredictionErrors
    known: KnownResiduals | None
    marginal: Array

    def too_many(self, fit: Fit, m: int) -> bool:
        """Whether they are too many to be computed."""
        cells = m * fit.problem.cp.q
        if self.known is not None:
            own = fit.design.residual_rows
            pairs = count_pairs(None if own is None else own.codes)
            return max(cells, m * len(fit.design.y)) > _MOST_CELLS or pairs > _MOST_PAIRS
        return not self.errors.one_level and cells > _MOST_CELLS

    def in_z(self, scale: float) -> tuple[Array, Array]:
        """Return the derivatives in z of the variances of means and of residuals, (m, K)."""
        if self.known is None:
            return scale * self.errors.residual_gradient(), self.marginal
        return scale * self.known.mean_rates(self.errors), scale * self.known.own_rates


def _spread(values: Array, used: NDArray[np.bool_]) -> Array:
    """Return values of the used rows among all rows, nan elsewhere."""
    out = np.full(len(used), np.nan)
    out[used] = values
    return out


def _variances(fit: Fit, new: NewData, data: Any, weights: Any) -> Array:
    """Return the variances of the residuals over σ²; nan where they are not known."""
    with np.errstate(divide="ignore"):
        out = 1.0 / weights_of_rows(fit, new, data, weights)
    if data is None and weights is None:
        return out
    return np.asarray(out * new_variances(fit.design, data, new.complete))


def _degrees(
    fitted: Fitted,
    X: Array,
    rates: _Rates,
    variance: Array,
    residual: Array,
    conditional: bool,
) -> tuple[Array, Array]:
    """Return the degrees of freedom of predicted means and of predicted observations."""
    method, fit = fitted.method, fitted.fit
    large = conditional and rates.too_many(fit, len(X))
    if not isinstance(method, Satterthwaite) or large:
        df = _of_distinct_rows(method, X)
        return df, df
    gradient = fit.sigma**2 * rates.errors.gradient()
    if fit.z is None:
        of_obs = gradient
    else:
        of_mean, own = rates.in_z(fit.sigma**2)
        gradient, of_obs = (np.column_stack([gradient, z]) for z in (of_mean, of_mean + own))
    return (
        _satterthwaite(fit, method, variance, gradient),
        _satterthwaite(fit, method, variance + residual, of_obs),
    )


def _residual_rates(fit: Fit, new: NewData, data: Any, weights: Any, residual: Array) -> Array:
    """Return the derivatives of the residual variances in z, (m, K); zero for a correlation."""
    structure = fit.design.residual
    if structure is None or fit.z is None:
        return np.zeros((len(residual), 0))
    out = np.zeros((len(residual), len(fit.z)))
    if structure.variances and np.isfinite(residual).any():
        n = structure.n_rho
        if data is None and weights is None:
            own = fit.design.residual_rows
            assert own is not None
            x, present = own.x, np.ones(len(residual), dtype=bool)
        else:
            frame = fit.design.frame if data is None else data
            rows, present = residual_rows_of(fit.design, frame, new.complete, variances_only=True)
            x = rows.x
        out[present, n:] = 2.0 * residual[present, None] * x * structure.slopes_of_eta
    return out


def _of_distinct_rows(method: Any, X: Array) -> Array:
    """Return the degrees of freedom of x'β, computed once for rows that are alike."""
    distinct, which = np.unique(X, axis=0, return_inverse=True)
    return np.asarray(method.t(distinct)[np.ravel(which)])


def _satterthwaite(fit: Fit, method: Satterthwaite, f: Array, in_theta: Array) -> Array:
    """Return 2f²/(g'Ag); every variance is proportional to σ², so ∂f/∂log σ = 2f."""
    in_sigma = [2.0 * f] if fit.fixed_sigma is None else []
    g = np.column_stack([in_theta, *in_sigma])
    spread = np.einsum("mj,jk,mk->m", g, method.A, g)
    known = (spread <= _EXACT * f**2) | np.isinf(f) | (f <= _ROUNDING * fit.sigma**2)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(known, np.inf, 2.0 * f**2 / spread)
