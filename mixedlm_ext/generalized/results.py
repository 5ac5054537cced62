"""`MixedGLMResults`: a generalized fit by statsmodels' names of GLM results and this package's.

Each method is a line that names the function that computes it; its docstring stands there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from statsmodels.genmod.families.family import Family

from mixedlm_ext import absent
from mixedlm_ext.absent import attribute_again
from mixedlm_ext.compat import cache_readonly, cached_data
from mixedlm_ext.diagnostics import vif
from mixedlm_ext.estimation import random_effects, varcorr
from mixedlm_ext.estimation.fitted import Fitted
from mixedlm_ext.estimation.generalized import GeneralizedFit
from mixedlm_ext.families.choose import with_extra
from mixedlm_ext.generalized import (
    all_fit,
    check,
    frames,
    intervals,
    prediction,
    prediction_results,
    profile,
    refits,
    report,
    residuals,
    robust,
    shares,
    simulation,
    step,
    tests,
    update,
)
from mixedlm_ext.generalized.record import generalized
from mixedlm_ext.inference.compare import compare
from mixedlm_ext.inference.fixed import wald
from mixedlm_ext.inference.fixed.coefficients import Coefficients
from mixedlm_ext.inference.intervals import Limits
from mixedlm_ext.inference.means import marginal_means, trends
from mixedlm_ext.method import as_method, of_fit, of_fitted
from mixedlm_ext.mixed_results import MixedResults
from mixedlm_ext.report import tidy
from mixedlm_ext.report.model_line import headline

if TYPE_CHECKING:
    from mixedlm_ext.generalized.model import MixedGLM

Array = NDArray[np.float64]
P = ParamSpec("P")

__all__ = ["MixedGLMResults"]


def another(
    function: Callable[Concatenate[Fitted, P], Fitted],
) -> Callable[Concatenate[Any, P], MixedGLMResults]:
    """Make a method that returns other results of a function from `Fitted` to `Fitted`."""
    return as_method(function, lambda own: own.fitted, lambda own, fitted: own.like(fitted))


class MixedGLMResults(absent.NotOfResults, MixedResults):
    """Results of a fitted generalized linear mixed model.

    Created by `MixedGLM.fit`. ``params`` are the fixed effects, on the scale of the linear
    predictor.

    Attributes
    ----------
    params, bse, tvalues, pvalues : Series (p,)
        Fixed effects with their standard errors, from the second derivatives of the likelihood in
        all parameters, and tests of being zero by the normal distribution.
    theta : ndarray (m,)
        Covariance parameters: for each random-effects term, in the order of the formula, the lower
        triangle of the root of its covariance, column by column.
    llf : float
        Log-likelihood with all its constants, by the approximation that was chosen.
    objective : float
        Minus twice that.
    nagq : int
        0, 1 (Laplace) or the nodes of the quadrature.
    family : statsmodels family
        With its link; the negative binomial with alpha as it was estimated.
    scale : float
        The dispersion φ; one for the binomial, the Poisson and the negative binomial.
    converged : bool
        The verdict of `optimization`.
    singular : bool
        Whether the estimated covariance of some random effects is singular.
    optimization : Optimization
        The log of the search.
    nobs : int
    df_resid, df_model : int

    Examples
    --------
    >>> import statsmodels.api as sm
    >>> from mixedlm_ext import MixedGLM, datasets
    >>> data = datasets.cbpp.load_pandas().data
    >>> formula = "incidence / size ~ period + (1 | herd)"
    >>> family = sm.families.Binomial()
    >>> result = MixedGLM.from_formula(formula, data, family=family, weights="size").fit()
    >>> round(result.llf, 4), result.params.round(3).tolist()
    (-92.0263, [-1.399, -0.992, -1.129, -1.58])
    >>> result.varcorr().round(3)
      group       name  variance  std_dev
    0  herd  Intercept     0.412    0.642
    """

    model: MixedGLM
    """The model that was fitted."""

    def __init__(self, model: MixedGLM, fitted: Fitted) -> None:
        super().__init__(model, fitted, scale=1.0, use_t=False)
        self.scale = generalized(fitted).dispersion

    if not TYPE_CHECKING:  # which refuse what is not there before it is asked for

        def __getattr__(self, name: str) -> Any:
            return attribute_again(self, name, absent.GLM_RESULTS, absent.R_RESULTS)

    def like(self, fitted: Fitted) -> MixedGLMResults:
        """Return the results of another fit; of this model, if it has the same design."""
        if fitted.design is self.fitted.design:
            return type(self)(self.model, fitted)
        found: MixedGLMResults = fitted.result()
        return found

    def __repr__(self) -> str:
        line = headline(self.fit_record.design, self.nobs)
        kind = type(self.family).__name__
        return f"<MixedGLMResults: {kind}, {line}, log-likelihood {self.llf:.6g}>"

    # --- the fit ----------------------------------------------------------------------------------

    @property
    def fit_record(self) -> GeneralizedFit:
        """The record of the fit."""
        return generalized(self._fitted)

    @property
    def _results(self) -> MixedGLMResults:
        """These results, which statsmodels keeps in a wrapper."""
        return self

    @property
    def family(self) -> Family:
        """The family with its link, and with alpha as estimated."""
        return with_extra(self.fit_record.family, self.fit_record.omega)

    @property
    def theta(self) -> Array:
        """Covariance parameters."""
        return self.fit_record.theta

    @property
    def nagq(self) -> int:
        """0, 1 for Laplace's approximation, or the nodes of the quadrature."""
        return self.fit_record.nagq

    @property
    def converged(self) -> bool:
        """Whether the search ended at a maximum of the likelihood."""
        return self.optimization.converged

    @property
    def objective(self) -> float:
        """Minus twice the log-likelihood."""
        return self.fit_record.objective

    @property
    def llf(self) -> float:
        """Log-likelihood."""
        return self._fitted.llf

    @property
    def df_modelwc(self) -> int:
        """Number of parameters: fixed effects, theta, and the dispersion or size if estimated."""
        return self._fitted.n_parameters

    @cached_data
    def deviance(self) -> float:
        """Sum of squared deviance residuals at the conditional modes; not -2 log-likelihood."""
        self._fitted.rows("the deviance of its rows")
        return float((residuals.row_residuals(self.fit_record, "deviance") ** 2).sum())

    @cached_data
    def pearson_chi2(self) -> float:
        """Sum of squared Pearson residuals at the conditional modes."""
        self._fitted.rows("the residuals of its rows")
        return residuals.pearson_statistic(self.fit_record)

    # --- fixed effects ----------------------------------------------------------------------------

    conf_int: Limits = as_method(intervals.conf_int, lambda own: own.fitted)
    t_test = of_fitted(wald.t_test)
    wald_test = of_fitted(wald.wald_test)
    wald_test_terms = of_fitted(wald.wald_test_terms)
    robust_cov = of_fitted(robust.robust_cov)
    get_robustcov_results = another(robust.get_robustcov_results)

    # --- terms, means, comparisons ----------------------------------------------------------------

    anova = of_fitted(tests.anova)
    drop1 = of_fitted(tests.drop1)
    ranova = of_fitted(tests.ranova)
    step = of_fitted(step.step)
    compare_lr_test = of_fitted(compare.compare_lr_test)
    compare = of_fitted(compare.compare)
    emmeans = of_fitted(marginal_means.emmeans)
    emtrends = of_fitted(trends.emtrends)
    vif = of_fitted(vif.vif)

    # --- variances and random effects -------------------------------------------------------------

    varcorr = of_fit(varcorr.varcorr)
    icc = of_fitted(shares.icc)
    r2 = of_fitted(shares.r2)
    profile = of_fitted(profile.profile)
    group_coefs = of_fit(random_effects.group_coefs)

    @cache_readonly
    def vcomp(self) -> pd.Series:
        """Variances of all random-effects columns, indexed by term and column."""
        frame = self.varcorr().dropna(subset="variance")
        return frame.set_index(["group", "name"])["variance"]

    # --- rows -------------------------------------------------------------------------------------

    @cached_data
    def fittedvalues(self) -> pd.Series:
        """The means at the conditional modes; probabilities of a binomial model."""
        self._fitted.rows("its fitted values")
        return self.model.data.wrap_output(self.fit_record.fitted(), "rows")

    mu = fittedvalues

    def _residual(self, kind: str) -> pd.Series:
        self._fitted.rows("its residuals")
        values = residuals.row_residuals(self.fit_record, kind)
        return self.model.data.wrap_output(values, "rows")

    @cached_data
    def resid(self) -> pd.Series:
        """Response less fitted values."""
        return self._residual("response")

    @cached_data
    def resid_response(self) -> pd.Series:
        """Response less fitted values."""
        return self._residual("response")

    @cached_data
    def resid_pearson(self) -> pd.Series:
        """Pearson residuals."""
        return self._residual("pearson")

    @cached_data
    def resid_deviance(self) -> pd.Series:
        """Deviance residuals."""
        return self._residual("deviance")

    @cached_data
    def resid_working(self) -> pd.Series:
        """Working residuals."""
        return self._residual("working")

    residuals = of_fitted(residuals.residuals)
    predict = of_fitted(prediction.predict)
    to_predictor = of_fitted(prediction.to_predictor)
    get_prediction = of_fitted(prediction_results.get_prediction)
    simulate = of_fitted(simulation.simulate)
    bootstrap = of_fitted(refits.bootstrap)
    refit = another(refits.refit)
    update = another(update.update)

    # --- reports ----------------------------------------------------------------------------------

    check = of_fitted(check.check)
    all_fit = of_fitted(all_fit.all_fit)
    influence = of_fitted(refits.influence)
    summary = of_fitted(report.summary)
    glance = of_fitted(frames.glance)
    augment = of_fitted(frames.augment)
    tidy = of_fitted(tidy.tidy)

    def remove_data(self) -> None:
        """Remove everything that has one entry a row, from the results and from the model.

        Tables, tests, random effects and prediction at new data go on working.
        """
        design = self.model.drop_rows()
        super().remove_data()
        self._cache = {}
        self._fitted = replace(self._fitted, fit=self.fit_record.without_rows(design))
        self._coefficients = Coefficients(self._fitted)
