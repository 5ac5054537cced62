"""`MixedLM`: a linear mixed model in statsmodels' dress, from a formula or from arrays."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import statsmodels.base.model as base
from numpy.typing import NDArray
from scipy import sparse
from statsmodels.base.data import ModelData
from statsmodels.tools.sm_exceptions import ConvergenceWarning

from mixedlm_ext.arguments import (
    ARRAY_ARGUMENTS,
    FIT_ARGUMENTS,
    FORMULA_ARGUMENTS,
    UNUSED_BY_ARRAYS,
    UNUSED_BY_FIT,
    UNUSED_BY_FORMULAS,
    caller_scope,
    check_fit_arguments,
    check_sigma,
    optimizer_name,
    random_terms,
    refuse_statsmodels_only,
    refuse_unknown,
    translate_groups,
)
from mixedlm_ext.assemble import assemble
from mixedlm_ext.design import (
    Design,
    RandomTerm,
    TermDesign,
    design_from_arrays,
    design_from_formula,
)
from mixedlm_ext.design.checks import check_levels
from mixedlm_ext.errors import DesignError, FitError, SingularFitWarning
from mixedlm_ext.fit import Fit
from mixedlm_ext.formula import parse_formula
from mixedlm_ext.inference.robust import check_cov_type
from mixedlm_ext.methods.model_simulation import ModelSimulationMethods
from mixedlm_ext.methods.model_statsmodels import StatsmodelsMethods
from mixedlm_ext.model_copies import ModelFormula, OwnTerms
from mixedlm_ext.model_data import model_data
from mixedlm_ext.objective import Objective
from mixedlm_ext.optimize import optimize
from mixedlm_ext.pls import Problem
from mixedlm_ext.results import MixedLMResults, MixedLMResultsWrapper
from mixedlm_ext.start import start_values

Array = NDArray[np.float64]

__all__ = ["MixedLM"]


class MixedLM(ModelSimulationMethods, StatsmodelsMethods, base.LikelihoodModel):
    """Linear mixed model with any number of nested, crossed or partially crossed random effects.

    y given b is normal with mean Xβ + Zb + offset and variance σ²/w; b is normal with mean zero and
    covariance σ²ΛΛ'.

    Parameters
    ----------
    endog : array_like (n,)
        Response.
    exog : array_like (n, p)
        Columns with fixed effects; no constant is added. None for no fixed effects.
    random : sequence of RandomTerm
        Random-effects terms; or, in statsmodels' place for them, `groups`.
    weights : array_like (n,), optional
        Precision weights: the variance of row i is σ²/w_i. A row with weight zero is left out.
    offset : array_like (n,), optional
        Known part of the linear predictor.
    missing : {"none", "drop", "raise"}
        What to do with rows that have missing values. "none" does not look for them in arrays; a
        model that then meets one says so.
    hasconst : bool, optional
        Whether X holds a constant; found out by default.
    groups, exog_re, exog_vc : optional
        statsmodels' spelling of the random effects, instead of `random`: one grouping factor (n,),
        columns with correlated effects (n, k), variance components (``VCSpec``).

    Raises
    ------
    DesignError
        If the arrays do not fit together or do not support the model.

    See Also
    --------
    MixedLM.from_formula : the usual way in.

    Notes
    -----
    Estimates minimize the profiled REML criterion or deviance of Bates, Mächler, Bolker & Walker
    (2015, Journal of Statistical Software 67(1)), equations 35 and 41, over the relative covariance
    parameters theta.

    Examples
    --------
    >>> import numpy as np
    >>> from mixedlm_ext import MixedLM, RandomTerm, datasets
    >>> data = datasets.sleepstudy.load_pandas().data
    >>> X = np.column_stack([np.ones(len(data)), data["Days"]])
    >>> model = MixedLM(data["Reaction"], X, [RandomTerm(data["Subject"], X)])
    >>> model.fit().params.round(3).tolist()
    [251.405, 10.467]
    """

    def __init__(
        self,
        endog: Any,
        exog: Any = None,
        random: Any = None,
        *more: Any,
        weights: Any = None,
        offset: Any = None,
        missing: str = "none",
        hasconst: bool | None = None,
        groups: Any = None,
        exog_re: Any = None,
        exog_vc: Any = None,
        **kwargs: Any,
    ) -> None:
        refuse_unknown("MixedLM", kwargs, ARRAY_ARGUMENTS, ignored=UNUSED_BY_ARRAYS)
        terms = random_terms(random, more, groups, exog_re, exog_vc)
        if isinstance(random, OwnTerms):
            random.check_rows(endog, exog)
        design = design_from_arrays(
            endog,
            exog,
            terms,
            weights=weights,
            offset=offset,
            missing=missing,
            allow_saturated=weights is not None,
        )
        as_arrays = not hasattr(endog, "index") and not hasattr(exog, "index")
        self._set_up(design, hasconst, as_arrays)

    def _set_up(self, design: Design, hasconst: bool | None, as_arrays: bool) -> None:
        """Initialize statsmodels' side from a design."""
        self.design = design
        self._as_arrays = as_arrays
        index = design.index
        endog = pd.Series(design.y, index=index, name=design.endog_name, copy=False)
        exog = pd.DataFrame(design.X, index=index, columns=list(design.x_names), copy=False)
        super().__init__(endog, exog, hasconst=hasconst)
        self.weights, self.offset = design.weights, design.offset
        self.nobs = len(design.y)
        self.k_vars = len(design.x_names)
        self._data_attr += ["weights", "offset"]
        if design.formula is not None:
            self.formula = design.formula.fixed
            self.formula_full = design.formula.text

    def _handle_data(
        self, endog: Any, exog: Any, missing: str, hasconst: bool | None, **kwargs: Any
    ) -> ModelData:
        """Attach the data in a form that pickles."""
        return model_data(endog, exog, hasconst, self.design, self._as_arrays)

    @classmethod
    def from_formula(
        cls,
        formula: str,
        data: Any,
        subset: Any = None,
        drop_cols: Sequence[str] | None = None,
        *,
        weights: Any = None,
        offset: Any = None,
        missing: str = "drop",
        groups: Any = None,
        re_formula: str | None = None,
        vc_formula: Mapping[str, str] | None = None,
        hasconst: bool | None = None,
        eval_env: int | Mapping[str, Any] = 0,
        **kwargs: Any,
    ) -> MixedLM:
        """Create a model from a formula and data.

        Parameters
        ----------
        formula : str
            A patsy formula with parenthesised random-effects terms: ``"y ~ x + (x | g)"``.
        data : DataFrame, polars.DataFrame or dict
        subset : array_like, optional
            Rows to use: booleans, or labels of the index.
        drop_cols : sequence of str, optional
            Columns of the fixed part to leave out.
        weights, offset : str or array_like, optional
            A column of the data, or an array of the data's length (see `MixedLM`).
        missing : {"drop", "raise", "none"}
            Leave out rows with a missing value in anything that the model uses, or refuse them.
        groups, re_formula, vc_formula : optional
            statsmodels' spelling of the random effects, instead of terms in the formula.
        hasconst : bool, optional
        eval_env : int or mapping
            How many frames further up to look for variables that are not in the data; or the
            variables themselves.

        Returns
        -------
        MixedLM

        Raises
        ------
        FormulaError
            If the formula cannot be read.
        DesignError
            If the data do not support the model.

        Notes
        -----
        ===================  ================================================================
        ``(1 | g)``          an intercept for each level of g
        ``(x | g)``          intercept and slope of x, correlated
        ``(0 + x | g)``      slope only
        ``(x || g)``         intercept and slope, uncorrelated; for a factor all its columns are
                             uncorrelated, unlike lme4's expansion of ``||``
        ``(1 | a/b)``        ``(1 | a) + (1 | a:b)``
        ``(1 | a:b)``        the combinations of a and b that occur
        ``offset(z)``        a known term of the linear predictor
        ===================  ================================================================

        Examples
        --------
        >>> from mixedlm_ext import MixedLM, datasets
        >>> data = datasets.penicillin.load_pandas().data
        >>> model = MixedLM.from_formula("diameter ~ 1 + (1 | plate) + (1 | sample)", data)
        >>> round(model.fit().sigma, 4)
        0.5499
        """
        model = cls.__new__(cls)
        if isinstance(formula, ModelFormula):
            model._set_up(formula.design_of(data), hasconst, as_arrays=False)
            return model
        refuse_unknown("from_formula", kwargs, FORMULA_ARGUMENTS, ignored=UNUSED_BY_FORMULAS)
        scope = caller_scope(eval_env) if isinstance(eval_env, int) else eval_env
        if groups is None and (re_formula is not None or vc_formula is not None):
            raise DesignError(
                "re_formula and vc_formula need groups=. Write the random effects into the "
                "formula, (x | g), or name the grouping column with groups='g'."
            )
        parsed, scope = (
            (parse_formula(formula), scope)
            if groups is None
            else translate_groups(formula, data, groups, re_formula, vc_formula, scope)
        )
        design = design_from_formula(
            parsed,
            data,
            env=scope,
            weights=weights,
            offset=offset,
            missing=missing,
            subset=subset,
            drop_cols=drop_cols,
            allow_saturated=weights is not None,
        )
        model._set_up(design, hasconst, as_arrays=False)
        return model

    # --- the parts of the model ---------------------------------------------------------------

    @property
    def random_terms(self) -> tuple[TermDesign, ...]:
        """The random-effects terms: columns, level codes and levels of each."""
        return self.design.terms

    @property
    def random(self) -> list[RandomTerm]:
        """The terms as the constructor takes them."""
        return [
            RandomTerm(t.levels.take(t.codes), t.X, t.group, t.columns, t.structure)
            for t in self.design.terms
        ]

    @property
    def Z(self) -> sparse.csr_array:
        """Z, sparse (n, q): term by term, level by level, column by column."""
        parts = []
        for term in self.design.terms:
            n, k = term.X.shape
            columns = term.codes[:, None] * k + np.arange(k)
            indptr = np.arange(n + 1) * k
            shape = (n, k * len(term.levels))
            parts.append(sparse.csr_array((term.X.ravel(), columns.ravel(), indptr), shape=shape))
        return sparse.csr_array(sparse.hstack(parts, format="csr"))

    @cached_property
    def problem(self) -> Problem:
        """Cross-products and the pattern of the factor: all that the fit reads."""
        return assemble(self.design)

    # --- the criterion ------------------------------------------------------------------------

    def objective(self, theta: Any, reml: bool = True, sigma: float | None = None) -> float:
        """Return the profiled criterion at given covariance parameters.

        Parameters
        ----------
        theta : array_like (m,)
            Relative covariance parameters, as `MixedLMResults.theta`.
        reml : bool
            The REML criterion, or minus twice the log-likelihood.
        sigma : float, optional
            Residual standard deviation, profiled by default.

        Returns
        -------
        float

        Examples
        --------
        >>> from mixedlm_ext import MixedLM, datasets
        >>> data = datasets.dyestuff.load_pandas().data
        >>> model = MixedLM.from_formula("Yield ~ 1 + (1 | Batch)", data)
        >>> round(model.objective([0.713], reml=False), 6)
        327.342163
        """
        return self._criterion(reml, sigma).at(self._standardize(theta)).value

    def score(self, theta: Any, reml: bool = True, sigma: float | None = None) -> Array:
        """Return the gradient of `objective` in theta, shape (m,)."""
        gradient = self._criterion(reml, sigma).at(self._standardize(theta)).gradient
        return np.asarray(self.problem.covariance.jacobian.T @ gradient)

    def hessian(self, theta: Any, reml: bool = True, sigma: float | None = None) -> Array:
        """Return the Hessian of `objective` in theta, shape (m, m)."""
        J = self.problem.covariance.jacobian
        H = self._criterion(reml, sigma).hessian(self._standardize(theta))
        return np.asarray(J.T @ H @ J)

    def loglike(self, theta: Any, reml: bool = True) -> float:
        """Return the profiled (restricted) log-likelihood at given covariance parameters."""
        return -0.5 * self.objective(theta, reml)

    def _criterion(self, reml: bool, sigma: float | None) -> Objective:
        check_sigma(sigma)
        return Objective(self.problem, bool(reml), sigma)

    def _standardize(self, theta: Any) -> Array:
        covariance = self.problem.covariance
        p, m = self.k_fe, covariance.n_theta
        if self._are_fixed_effects(theta) or (np.shape(theta) == (p,) and p != m):
            raise FitError(
                f"the criterion and its derivatives are functions of the {m} covariance parameters "
                f"theta; these are {p} numbers, as many as fixed effects. If statsmodels' "
                "MLEInfluence asked, use get_influence(), or influence(groups=...)."
            )
        return covariance.standardize(covariance.check(theta))

    # --- fit and predict ----------------------------------------------------------------------

    def fit(
        self,
        reml: bool = True,
        start_params: Any = None,
        method: str | Sequence[str] | None = "newton",
        maxiter: int | None = None,
        tol: float = 1e-8,
        ddf: str = "satterthwaite",
        sigma: float | None = None,
        progress: bool | Callable[[int, float], None] = False,
        cov_type: str = "nonrobust",
        cov_kwds: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> MixedLMResultsWrapper:
        """Estimate the model.

        Parameters
        ----------
        reml : bool
            Maximize the restricted likelihood (REML), or the likelihood (ML).
        start_params : array_like (m,), optional
            Covariance parameters theta to start from. The ``params`` of a fit do not matter: fixed
            effects are profiled.
        method : str
            "newton"; or, as a cross-check, "bobyqa" (SciPy's COBYQA), "nelder-mead", "powell",
            "bfgs", "lbfgs". Of a list, as statsmodels takes it, the first of these.
        maxiter : int, optional
            Evaluations of the criterion at most.
        tol : float
            Newton's method ends when another step would lower the criterion by less than this.
        ddf : {"satterthwaite", "kenward-roger", "residual", "normal"}
            Degrees of freedom of tests and intervals of the fixed effects.
        sigma : float, optional
            The residual standard deviation if it is known, as in a meta-analysis.
        progress : bool or callable
            Print the criterion after each step; or call ``progress(evaluations, criterion)``.
        cov_type : {"nonrobust", "cluster"}
            The covariance of the fixed effects by the model, or robust against a wrong random part.
        cov_kwds : mapping, optional
            For "cluster": ``groups`` and ``kind`` of `MixedLMResults.get_robustcov_results`, which
            then takes the place of `ddf`.

        Returns
        -------
        MixedLMResults

        Raises
        ------
        FitError
            If an argument makes no sense or the criterion cannot be evaluated.

        Warns
        -----
        ConvergenceWarning
            If the search did not end at a minimum.
        SingularFitWarning
            If the estimated covariance of some random effects is singular.
        """
        refuse_statsmodels_only(kwargs)
        refuse_unknown("fit", kwargs, FIT_ARGUMENTS, ignored=UNUSED_BY_FIT)
        method = str(optimizer_name(method))
        if self._are_fixed_effects(start_params):
            start_params = None  # they are profiled
        check_fit_arguments(reml, method, maxiter, tol, ddf, sigma, progress)
        check_cov_type(cov_type)
        if sigma is None and self.weights is not None:  # put off until sigma was seen to be unknown
            for term in self.design.terms:
                check_levels(term)
        objective = Objective(self.problem, bool(reml), sigma)
        start = start_values(objective) if start_params is None else self._standardize(start_params)
        report = _print_progress if progress is True else (progress or None)
        evaluation, log = optimize(objective, start, method, maxiter, tol, report)
        fit = Fit.from_evaluation(self.design, objective, evaluation, log)
        _warn(fit)
        results = MixedLMResultsWrapper(MixedLMResults(self, fit, ddf))
        if cov_type == "nonrobust":
            return results
        return results.get_robustcov_results(cov_type, **(cov_kwds or {}))

    def predict(self, params: Any, exog: Any = None) -> Array:
        """Return Xβ for given fixed effects, shape (m,); see `MixedLMResults.predict` for more."""
        X = self.exog if exog is None else np.asarray(exog)
        beta = np.asarray(params)
        if beta.shape != (len(self.design.x_names),):
            raise FitError(
                f"params has shape {beta.shape}; the model has {len(self.design.x_names)} fixed "
                "effects. Pass a number for each, or use predict of the results."
            )
        return np.asarray(X @ beta)

    # --- pickling -----------------------------------------------------------------------------

    def drop_rows(self) -> None:
        """Forget everything that has one entry a row, keeping what new predictions need."""
        _ = self.problem
        self.design = self.design.without_rows()

    def __getstate__(self) -> dict[str, Any]:
        return dict(self.__dict__)


def _print_progress(evaluations: int, criterion: float) -> None:
    """Show one step of the search."""
    print(f"evaluation {evaluations:4d}   criterion {criterion:.8f}")


def _warn(fit: Fit) -> None:
    """Warn of a search that failed and of a singular estimate, naming the terms."""
    if not fit.optimization.converged:
        warnings.warn(
            f"The fit did not converge: {fit.optimization.message}",
            ConvergenceWarning,
            stacklevel=3,
        )
    names = [t.text for t, flag in zip(fit.design.terms, fit.singular_terms) if flag]
    if names:
        warnings.warn(
            f"The estimated covariance of {', '.join(names)} is singular: a variance is zero or a "
            "correlation is one. The estimates are right; consider a simpler term.",
            SingularFitWarning,
            stacklevel=3,
        )
