"""`MixedLMResults`: what statsmodels' users know by statsmodels' names, lme4's users by lme4's."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd
import statsmodels.base.model as base
import statsmodels.base.wrapper as wrap
from numpy.typing import NDArray
from scipy import stats
from statsmodels.base.data import PandasData
from statsmodels.iolib import summary2
from statsmodels.iolib.summary import Summary
from statsmodels.stats.contrast import ContrastResults, WaldTestResults

from mixedlm_ext import absent
from mixedlm_ext.absent import attribute_again
from mixedlm_ext.compat import cache_readonly, cached_data, cached_value
from mixedlm_ext.errors import FitError
from mixedlm_ext.fit import Fit
from mixedlm_ext.inference.ddf import degrees_of_freedom
from mixedlm_ext.inference.robust import ClusterRobust
from mixedlm_ext.inference.wald import f_contrast, hypothesis, t_contrasts, term_tests
from mixedlm_ext.methods.diagnostics import DiagnosticMethods
from mixedlm_ext.methods.inference import InferenceMethods
from mixedlm_ext.methods.prediction import PredictionMethods
from mixedlm_ext.methods.profile import ProfileMethods
from mixedlm_ext.methods.random_effects import RandomEffectsMethods
from mixedlm_ext.methods.resampling import ResamplingMethods
from mixedlm_ext.search import Optimization
from mixedlm_ext.summary import headline, make_summary, summary_notes

if TYPE_CHECKING:
    from mixedlm_ext.model import MixedLM

Array = NDArray[np.float64]

__all__ = ["MixedLMResults", "MixedLMResultsWrapper"]


class MixedLMResults(
    DiagnosticMethods,
    InferenceMethods,
    PredictionMethods,
    ProfileMethods,
    RandomEffectsMethods,
    ResamplingMethods,
    absent.NotOfResults,
    base.LikelihoodModelResults,
    base.ResultMixin,
):
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

    def __init__(
        self, model: MixedLM, fit: Fit, ddf: str | ClusterRobust = "satterthwaite"
    ) -> None:
        self.ddf_method = ddf if isinstance(ddf, ClusterRobust) else degrees_of_freedom(fit, ddf)
        super().__init__(
            model,
            fit.beta,
            normalized_cov_params=self.ddf_method.cov() / fit.sigma**2,
            scale=fit.sigma**2,
            use_t=self.ddf_method.name != "normal",
        )
        self._cache: dict[str, Any] = {}
        self.fit_record = fit
        model.serve(self)
        self.nobs = fit.problem.cp.n
        self.df_resid = self.nobs - len(fit.beta)
        self.df_model = len(fit.beta) - int(model.k_constant)
        self.cov_type = "cluster" if isinstance(ddf, ClusterRobust) else "nonrobust"

    if not TYPE_CHECKING:  # unknown names stay errors for type checkers

        def __getattr__(self, name: str) -> Any:
            return attribute_again(self, name, absent.RESULTS, absent.R_RESULTS)

    def __dir__(self) -> list[str]:
        return [name for name in super().__dir__() if name not in absent.INHERITED]

    def __repr__(self) -> str:
        criterion = "REML criterion" if self.reml else "-2 log-likelihood"
        line = headline(self.fit_record.design, self.nobs)
        return f"<MixedLMResults: {line}, {criterion} {self.objective:.6g}>"

    def _repr_html_(self) -> str:
        return str(self.summary().as_html())

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
    def optimization(self) -> Optimization:
        """The log of the search."""
        return self.fit_record.optimization

    @property
    def converged(self) -> bool:
        """Whether the search ended at a minimum."""
        return self.optimization.converged

    @property
    def singular(self) -> bool:
        """Whether the estimated covariance of some random-effects term is singular."""
        return any(self.fit_record.singular_terms)

    @property
    def objective(self) -> float:
        """The minimized criterion."""
        return self.fit_record.objective

    @cached_value
    def llf(self) -> float:
        """Log-likelihood; restricted log-likelihood under REML."""
        return -0.5 * self.objective

    @cache_readonly
    def deviance(self) -> float:
        """Minus twice the log-likelihood (not restricted), at the estimated theta."""
        if not self.reml:
            return self.objective
        return self.model.objective(self.theta, reml=False, sigma=self.fit_record.fixed_sigma)

    @cache_readonly
    def df_modelwc(self) -> int:
        """Number of parameters: fixed effects, theta, and sigma unless it was fixed."""
        estimated_sigma = self.fit_record.fixed_sigma is None
        return len(self.fit_record.beta) + len(self.theta) + int(estimated_sigma)

    @property
    def fe_params(self) -> Array:
        """The fixed effects, as statsmodels' MixedLM names them."""
        return self.params

    @property
    def k_fe(self) -> int:
        """Number of fixed effects."""
        return len(self.fit_record.beta)

    @property
    def bse_fe(self) -> Array:
        """Standard errors of the fixed effects."""
        return self.bse

    # statsmodels computes these three with all warnings' filters changed for a while, which threads
    # that compute at the same time may leave changed for good

    @cached_value
    def bse(self) -> Array:
        """Standard errors of the fixed effects."""
        with np.errstate(invalid="ignore"):
            return np.asarray(np.sqrt(np.diag(self.cov_params())))

    @cached_value
    def tvalues(self) -> Array:
        """Fixed effects divided by their standard errors."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(self.params / self.bse)

    @cached_value
    def pvalues(self) -> Array:
        """Two-sided p-values of the t or z tests that each fixed effect is zero."""
        size = np.abs(self.tvalues)
        return 2.0 * (
            stats.t.sf(size, self.df_resid_inference) if self.use_t else stats.norm.sf(size)
        )

    # --- values for the rows ------------------------------------------------------------------

    @cached_data
    def fittedvalues(self) -> Array:
        """Xβ + Zb + offset at the conditional modes."""
        self._need_rows("its fitted values")
        return self.fit_record.fitted()

    @cached_data
    def resid(self) -> Array:
        """Response less fitted values."""
        return np.asarray(self.fit_record.design.y - self.fittedvalues)

    def _label(self, values: Array, index: pd.Index, labelled: bool = False) -> pd.Series | Array:
        """Attach the index, unless only arrays were given; align values for the rows of the fit."""
        design = self.fit_record.design
        if index is design.index:
            values, index = design.aligned(values)
        if not (labelled or isinstance(self.model.data, PandasData)):
            return values
        return pd.Series(values, index=index)

    def _need_rows(self, what: str) -> None:
        """Raise if the data of the fit were removed."""
        if len(self.fit_record.design.y) != self.nobs:
            raise FitError(
                f"the data of the fit were removed by remove_data(), and with them {what}. "
                "Predict at new data, or fit the model again."
            )

    # --- tests and tables ---------------------------------------------------------------------

    @property
    def ddf(self) -> str:
        """The method of the degrees of freedom, as ``fit(ddf=...)`` takes it."""
        return self.ddf_method.name

    @cache_readonly
    def df_resid_inference(self) -> Array:
        """Degrees of freedom of the t test of each fixed effect; infinite for "normal"."""
        return self.ddf_method.t(np.eye(len(self.fit_record.beta)))

    def with_ddf(self, ddf: str | ClusterRobust) -> MixedLMResultsWrapper:
        """Return the same fit with tests by another method of degrees of freedom.

        Parameters
        ----------
        ddf : {"satterthwaite", "kenward-roger", "kenward-roger-full", "residual", "normal"}

        Returns
        -------
        MixedLMResults
            Nothing is refitted, and this object is not changed.

        Notes
        -----
        The methods differ at a variance estimated as zero. "satterthwaite" holds it fixed there;
        "kenward-roger" leaves it out, as if its term were not in the model; "kenward-roger-full"
        counts it like any other, as R's pbkrtest does. In simulations of a crossed design with
        missing cells leaving it out kept tests at 5 % between 3.5 and 6.8 %, counting it between
        0.5 and 5 %. The last lines of `summary` say where this matters.

        Examples
        --------
        >>> import warnings
        >>> from mixedlm_ext import MixedLM, datasets
        >>> data = datasets.sleepstudy.load_pandas().data
        >>> result = MixedLM.from_formula("Reaction ~ Days + (Days | Subject)", data).fit()
        >>> result.df_resid_inference.round(2).tolist()
        [17.0, 17.0]
        >>> result.with_ddf("normal").conf_int().round(3).loc["Days"].tolist()
        [7.438, 13.497]

        >>> data = datasets.dyestuff2.load_pandas().data
        >>> model = MixedLM.from_formula("Yield ~ 1 + (1 | Batch)", data)
        >>> with warnings.catch_warnings():
        ...     warnings.simplefilter("ignore")  # the variance of Batch is zero
        ...     result = model.fit(ddf="kenward-roger")
        >>> result.df_resid_inference.round(2).tolist()
        [29.0]
        >>> result.with_ddf("kenward-roger-full").df_resid_inference.round(2).tolist()
        [5.0]
        """
        return MixedLMResultsWrapper(MixedLMResults(self.model, self.fit_record, ddf))

    def t_test(
        self, r_matrix: Any, cov_p: Any = None, use_t: bool | None = None
    ) -> ContrastResults:
        """Test each of several linear hypotheses Lβ = q.

        Parameters
        ----------
        r_matrix : array_like, str or tuple
            L with one column for each fixed effect; or an expression such as ``"x1 = x2, x3 = 1"``;
            or a tuple (L, q).
        cov_p : array_like, optional
            Another covariance matrix of the fixed effects.
        use_t : bool, optional
            Student's t with the degrees of freedom of the fit, or the normal distribution.

        Returns
        -------
        ContrastResults

        Raises
        ------
        FitError
            If the hypothesis cannot be read, or its only row is not estimable.

        Notes
        -----
        Where X has not full rank, L may have a column for each column of the formula, and an
        expression may name those that were left out. Rows that the data do not determine are nan,
        with a warning.
        """
        return t_contrasts(self, r_matrix, cov_p, bool(self.use_t if use_t is None else use_t))

    def wald_test(
        self,
        r_matrix: Any,
        cov_p: Any = None,
        invcov: Any = None,
        use_f: bool | None = None,
        df_constraints: int | None = None,
        scalar: bool = True,
    ) -> ContrastResults:
        """Test several linear hypotheses Lβ = q together.

        Parameters
        ----------
        r_matrix : array_like, str or tuple
            As for `t_test`.
        cov_p, invcov : array_like, optional
            Another covariance matrix of the fixed effects; the inverse covariance of Lβ.
        use_f : bool, optional
            F with the degrees of freedom of the fit, or chi-squared; follows `use_t` by default.
        df_constraints : int, optional
            Number of hypotheses, their rank by default.
        scalar : bool
            The statistic as a float rather than an array.

        Returns
        -------
        ContrastResults

        Raises
        ------
        FitError
            If the hypothesis cannot be read, or a row of it is not estimable (see `t_test`).
        """
        by_f = self.use_t if use_f is None else use_f
        if not by_f:
            tested = hypothesis(self, r_matrix)
            return super().wald_test(tested, cov_p, invcov, False, df_constraints, scalar)
        return f_contrast(self, r_matrix, cov_p, scalar, invcov, df_constraints)

    def wald_test_terms(
        self,
        skip_single: bool = False,
        extra_constraints: Sequence[tuple[str, Any]] | None = None,
        combine_terms: Sequence[str] | None = None,
        scalar: bool = True,
    ) -> WaldTestResults:
        """Wald tests that all coefficients of a term are zero, for every term.

        Parameters
        ----------
        skip_single : bool
            Leave out terms of one coefficient.
        extra_constraints : list of (name, matrix), optional
            Further hypotheses.
        combine_terms : list of str, optional
            For each string, also test all terms whose names contain it together.
        scalar : bool
            Statistics as floats rather than arrays.

        Returns
        -------
        WaldTestResults
        """
        return term_tests(self, skip_single, extra_constraints or [], combine_terms or [], scalar)

    def summary(
        self,
        yname: str | None = None,
        xname: Sequence[str] | None = None,
        title: str | None = None,
        alpha: float = 0.05,
    ) -> Summary:
        """Summarize the fit.

        Parameters
        ----------
        yname : str, optional
            Another name for the response.
        xname : sequence of str, optional
            Other names for the fixed effects.
        title : str, optional
        alpha : float
            Level of the confidence intervals.

        Returns
        -------
        Summary
            ``tables[0]`` describes the model, ``tables[1]`` the fixed effects, ``tables[2]`` the
            variance components.
        """
        return make_summary(self, yname, xname, title, alpha)

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
        for note in summary_notes(self):
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
        self.fit_record = self.fit_record.with_design(design)
        if hasattr(self.ddf_method, "_fit"):
            self.ddf_method = copy.copy(self.ddf_method)
            self.ddf_method._fit = self.fit_record


class MixedLMResultsWrapper(base.LikelihoodResultsWrapper):
    """Attaches the names of the data to the results."""

    _attrs: ClassVar = {"fe_params": "columns", "bse_fe": "columns"}
    _wrap_attrs = wrap.union_dicts(base.LikelihoodResultsWrapper._wrap_attrs, _attrs)
    _wrap_methods: ClassVar[dict[str, str]] = {}

    def __repr__(self) -> str:
        return repr(self._results)

    def conf_int(
        self, alpha: float = 0.05, method: Any = None, cols: Any = None, **options: Any
    ) -> Any:
        """Confidence intervals; see `MixedLMResults.conf_int`."""
        limits = self._results.conf_int(alpha, method, cols, **options)
        if isinstance(limits, pd.DataFrame) or len(limits) != len(self._results.params):
            return limits
        return self._results.model.data.wrap_output(limits, "columns")

    def cov_params(
        self,
        r_matrix: Any = None,
        column: Any = None,
        scale: float | None = None,
        cov_p: Any = None,
        other: Any = None,
    ) -> Any:
        """Covariance matrix of the fixed effects; an array or number of parts and combinations."""
        cov = self._results.cov_params(r_matrix, column, scale, cov_p, other)
        if r_matrix is not None or column is not None:  # their entries are not the fixed effects
            return cov
        return self._results.model.data.wrap_output(cov, "cov")


wrap.populate_wrapper(MixedLMResultsWrapper, MixedLMResults)
