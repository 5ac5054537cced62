"""`MixedLMResults`: what statsmodels' users know by statsmodels' names, lme4's users by lme4's.

Each method is a line that names the function that computes it; its docstring stands there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from statsmodels.iolib import summary2

from mixedlm_ext import absent
from mixedlm_ext.absent import attribute_again
from mixedlm_ext.compat import cache_readonly, cached_data
from mixedlm_ext.criteria.gaussian import GaussianCriterion
from mixedlm_ext.diagnostics import check, influence, re_pca, vif
from mixedlm_ext.estimation import breeding_values, random_effects, varcorr
from mixedlm_ext.estimation.assembled import Assembled
from mixedlm_ext.estimation.fit import Fit
from mixedlm_ext.estimation.fitted import DegreesOfFreedom, Fitted
from mixedlm_ext.geometry import leverage, residuals
from mixedlm_ext.inference import again, all_fit, intervals, update
from mixedlm_ext.inference.bootstrap import bootstrap, bootstrap_test
from mixedlm_ext.inference.compare import compare, drop1, ranova, step
from mixedlm_ext.inference.fixed import anova, robust, wald
from mixedlm_ext.inference.fixed import ddf as ddf_methods
from mixedlm_ext.inference.fixed.coefficients import Coefficients
from mixedlm_ext.inference.means import marginal_means, trends
from mixedlm_ext.inference.profile import derived, profiling
from mixedlm_ext.method import as_method, of_fit, of_fitted
from mixedlm_ext.mixed_results import MixedResults
from mixedlm_ext.prediction import predict
from mixedlm_ext.prediction.predict import Predict
from mixedlm_ext.report import summary, tidy
from mixedlm_ext.report.model_line import headline
from mixedlm_ext.report.summary import summary_notes
from mixedlm_ext.simulation import new_rows

if TYPE_CHECKING:
    from mixedlm_ext.model import MixedLM

Array = NDArray[np.float64]
P = ParamSpec("P")

__all__ = ["MixedLMResults"]


def another(
    function: Callable[Concatenate[Fitted, P], Fitted],
) -> Callable[Concatenate[Any, P], MixedLMResults]:
    """Make a method that returns other results of a function from `Fitted` to `Fitted`."""
    return as_method(function, lambda own: own.fitted, lambda own, fitted: own.like(fitted))


class MixedLMResults(absent.NotOfResults, MixedResults):
    """Results of a fitted linear mixed model.

    Created by `MixedLM.fit`. ``params`` are the fixed effects; attributes and methods that
    statsmodels' results have keep their meaning.

    Attributes
    ----------
    params, bse, tvalues, pvalues : Series (p,)
        Fixed effects with their standard errors and tests of being zero.
    scale : float
        Residual variance σ² (of a row with weight one).
    sigma : float
        Residual standard deviation.
    theta : ndarray (m,)
        Relative covariance parameters: for each random-effects term, in the order of the formula,
        the lower triangle of its relative covariance factor, column by column.
    objective : float
        The REML criterion, or minus twice the log-likelihood.
    reml : bool
    method : str
        "REML" or "ML".
    converged : bool
        The verdict of `optimization`.
    singular : bool
        Whether the estimated covariance of some random effects is singular.
    optimization : Optimization
        The log of the search: evaluations, criterion and theta at each step, verdict, message.
    nobs : int
    df_resid, df_model : int
        Observations less fixed effects; fixed effects less the constant.
    ddf : str
        Method of the degrees of freedom in tests and intervals of the fixed effects.
    df_resid_inference : ndarray (p,)
        Those degrees of freedom, for each fixed effect.

    Examples
    --------
    >>> from mixedlm_ext import MixedLM, datasets
    >>> data = datasets.dyestuff.load_pandas().data
    >>> result = MixedLM.from_formula("Yield ~ 1 + (1 | Batch)", data).fit()
    >>> round(result.objective, 3)
    319.654
    >>> result.varcorr().round(2)
          group       name  variance  std_dev
    0     Batch  Intercept   1764.05    42.00
    1  Residual              2451.25    49.51
    """

    model: MixedLM
    """The model that was fitted."""

    def __init__(self, model: MixedLM, fitted: Fitted) -> None:
        super().__init__(model, fitted, scale=fitted.fit.sigma**2, use_t=fitted.use_t)
        model.serve(self)

    if not TYPE_CHECKING:  # which refuse what is not there before it is asked for

        def __getattr__(self, name: str) -> Any:
            return attribute_again(self, name, absent.RESULTS, absent.R_RESULTS)

    # --- what the methods read ----------------------------------------------------------------

    @property
    def fit_record(self) -> Fit:
        """The record of the fit."""
        return self._fitted.fit

    @property
    def ddf_method(self) -> DegreesOfFreedom:
        """The method of the degrees of freedom of tests and intervals."""
        return self._fitted.method

    @property
    def _results(self) -> MixedLMResults:
        """These results, which statsmodels keeps in a wrapper."""
        return self

    def like(self, fitted: Fitted) -> MixedLMResults:
        """Return the results of another fit; of this model, if it has the same design."""
        if fitted.design is self.fitted.design:
            return type(self)(self.model, fitted)
        return fitted.result()

    def __repr__(self) -> str:
        criterion = "REML criterion" if self.reml else "-2 log-likelihood"
        line = headline(self.fit_record.design, self.nobs)
        return f"<MixedLMResults: {line}, {criterion} {self.objective:.6g}>"

    # --- the fit ------------------------------------------------------------------------------

    @property
    def theta(self) -> Array:
        """Relative covariance parameters."""
        return self.fit_record.theta

    @property
    def sigma(self) -> float:
        """Residual standard deviation."""
        return self.fit_record.sigma

    @property
    def reml(self) -> bool:
        """Whether the restricted likelihood was maximized."""
        return self.fit_record.reml

    @property
    def method(self) -> str:
        """ "REML" or "ML"."""
        return "REML" if self.reml else "ML"

    @property
    def converged(self) -> bool:
        """Whether the search ended at a minimum."""
        return self.optimization.converged

    @property
    def objective(self) -> float:
        """The minimized criterion."""
        return self.fit_record.objective

    @property
    def llf(self) -> float:
        """Log-likelihood; restricted log-likelihood under REML."""
        return self._fitted.llf

    @cache_readonly
    def deviance(self) -> float:
        """Minus twice the log-likelihood (not restricted), at the estimated theta."""
        if not self.reml:
            return self.objective
        fit = self.fit_record
        theta = fit.problem.covariance.standardize(fit.theta)
        return GaussianCriterion(fit.problem, False, fit.held_sigma).at(theta).value

    @property
    def df_modelwc(self) -> int:
        """Number of parameters: of means and covariances, and sigma unless it was fixed."""
        return self._fitted.n_parameters

    @property
    def ddf(self) -> str:
        """The method of the degrees of freedom, as ``fit(ddf=...)`` takes it."""
        return self.ddf_method.name

    # --- fixed effects ------------------------------------------------------------------------

    conf_int: intervals.Limits = as_method(intervals.conf_int, lambda own: own.fitted)
    t_test = of_fitted(wald.t_test)
    wald_test = of_fitted(wald.wald_test)
    wald_test_terms = of_fitted(wald.wald_test_terms)
    with_ddf = another(ddf_methods.with_ddf)
    robust_cov = of_fitted(robust.robust_cov)
    get_robustcov_results = another(robust.get_robustcov_results)

    # --- terms, means, comparisons ------------------------------------------------------------

    anova = of_fitted(anova.anova)
    drop1 = of_fitted(drop1.drop1)
    ranova = of_fitted(ranova.ranova)
    step = of_fitted(step.step)
    compare_lr_test = of_fitted(compare.compare_lr_test)
    compare = of_fitted(compare.compare)
    compare_bootstrap = of_fitted(bootstrap_test.compare_bootstrap)
    emmeans = of_fitted(marginal_means.emmeans)
    emtrends = of_fitted(trends.emtrends)
    vif = of_fitted(vif.vif)

    # --- variances and random effects ---------------------------------------------------------

    varcorr = of_fit(varcorr.varcorr)
    profile = of_fit(profiling.profile)
    icc = of_fit(derived.icc)
    heritability = of_fit(derived.heritability)
    r2 = of_fit(derived.r2)
    total_variance = of_fit(derived.total_variance)
    group_coefs = of_fit(random_effects.group_coefs)
    breeding_values = of_fit(breeding_values.breeding_values)
    re_pca = of_fit(re_pca.re_pca)

    @cache_readonly
    def vcomp(self) -> pd.Series:
        """Variances of all random-effects columns, indexed by term and column."""
        frame = self.varcorr().iloc[:-1].dropna(subset="variance")  # correlations have none
        return frame.set_index(["group", "name"])["variance"]

    # --- rows ---------------------------------------------------------------------------------

    @cached_data
    def fittedvalues(self) -> pd.Series:
        """Xβ + Zb + offset at the conditional modes."""
        out: pd.Series = self._fitted.by_rows("its fitted values", lambda fit: fit.fitted())
        return out

    @cached_data
    def resid(self) -> pd.Series:
        """Response less fitted values."""
        out: pd.Series = self._fitted.by_rows(
            "its fitted values", lambda fit: fit.design.y - fit.fitted()
        )
        return out

    residuals: residuals.Residuals = as_method(residuals.residuals, lambda own: own.fitted)
    leverage = of_fitted(leverage.leverage)
    get_influence = of_fitted(influence.get_influence)
    influence = of_fitted(influence.influence)
    check = of_fitted(check.check)
    get_prediction = of_fitted(predict.get_prediction)
    to_predictor = of_fit(predict.to_predictor)
    predict: Predict = as_method(predict.predict, lambda own: own.fitted)

    # --- other responses, other models --------------------------------------------------------

    simulate = of_fit(new_rows.simulate)
    bootstrap = of_fitted(bootstrap.bootstrap)
    refit = another(again.refit)
    refit_ml = another(again.refit_ml)
    update = another(update.update)
    all_fit = of_fit(all_fit.all_fit)

    def fit_again(
        self, model: Any, reml: bool | None = None, robust: bool = True
    ) -> MixedLMResults:
        """Fit a model of the same parameters; unlike `fit`, it never warns.

        Parameters
        ----------
        model : MixedLM
            Of another response, or of other rows.
        reml : bool, optional
            The criterion; that of this fit by default.
        robust : bool
            Keep the robust covariance if this fit has one; its clusters are those of this fit's
            rows.

        Returns
        -------
        MixedLMResults
        """
        assembled: Assembled = model.assembled
        return type(self)(model, again.fit_again(self.fitted, assembled, reml, robust))

    # --- reports ------------------------------------------------------------------------------

    summary = of_fitted(summary.summary)
    glance = of_fitted(tidy.glance)
    augment = of_fitted(tidy.augment)
    tidy = of_fitted(tidy.tidy)

    def summary2(
        self,
        yname: str | None = None,
        xname: Sequence[str] | None = None,
        title: str | None = None,
        alpha: float = 0.05,
        float_format: str = "%.4f",
    ) -> summary2.Summary:
        """Summarize the fit in statsmodels' second format.

        Parameters are those of `summary`; `float_format` formats the numbers.
        """
        out = summary2.Summary()
        heading = title or "Results: Linear Mixed Model"
        names = None if xname is None else list(xname)
        out.add_base(self, alpha, float_format, xname=names, yname=yname, title=heading)
        components = self.varcorr().set_index("group").astype(object)
        components = components.where(components.notna(), "")
        out.add_df(components, float_format=float_format)
        for note in summary_notes(self.fitted):
            out.add_text(note)
        return out

    def remove_data(self) -> None:
        """Remove everything that has one entry a row, from the results and from the model.

        Tables, tests, random effects and prediction at new data go on working. Other results of the
        same model, such as those of `with_ddf`, keep the rows in a model of their own.

        Notes
        -----
        What is left are the cross-products of the columns, the levels of the factors, and knots,
        means and the like of the formula's functions (the smallest and the largest value among
        them, for splines). Where a level, or a combination of levels of crossed factors, has one
        row only, its cross-products are values of that row.
        """
        _ = self.fit_record.unweighted_root  # kept, since some hypotheses depend on it
        design = self.model.drop_rows(self)
        super().remove_data()
        self._cache = {}
        self._fitted = self._fitted.with_design(design)
        self._coefficients = Coefficients(self._fitted)
