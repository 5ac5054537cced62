"""`MixedLM`: a linear mixed model in statsmodels' dress, from a formula or from arrays."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from weakref import WeakSet

import numpy as np
import pandas as pd
import statsmodels.base.model as base
from numpy.typing import NDArray
from scipy import sparse
from statsmodels.base.data import ModelData

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
from mixedlm_ext.caching import cached_property
from mixedlm_ext.design import (
    Design,
    RandomTerm,
    TermDesign,
    design_from_arrays,
    design_from_formula,
)
from mixedlm_ext.design.frame import read_table
from mixedlm_ext.design.named_checks import read_checks
from mixedlm_ext.display import page
from mixedlm_ext.errors import DesignError, FitError, shown
from mixedlm_ext.estimate import estimate
from mixedlm_ext.fit import Fit
from mixedlm_ext.fit_warnings import warn_of_fit
from mixedlm_ext.formula import MixedFormula, parse_formula
from mixedlm_ext.formula.parser import check_is_text
from mixedlm_ext.identification import check_identified
from mixedlm_ext.inference.ddf import check_usable
from mixedlm_ext.inference.robust import check_cov_type
from mixedlm_ext.methods.model_simulation import ModelSimulationMethods
from mixedlm_ext.methods.model_statsmodels import StatsmodelsMethods
from mixedlm_ext.model_copies import ModelFormula, OwnTerms
from mixedlm_ext.model_data import model_data
from mixedlm_ext.objective import Objective
from mixedlm_ext.pls import Problem
from mixedlm_ext.results import MixedLMResults, MixedLMResultsWrapper
from mixedlm_ext.summary import headline
from mixedlm_ext.tables import Table

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
    missing : {"none", "drop", "exclude", "raise"}
        What to do with rows that have missing values. "none" does not look for them in arrays; a
        model that then meets one says so. "exclude" is explained at `from_formula`.
    hasconst : bool, optional
        Whether X holds a constant; found out by default.
    check : mapping of str to {"error", "warn", "ignore"}, optional
        What to do with what single checks find; `MixedLM.from_formula` lists them.
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
        check: Mapping[str, str] | None = None,
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
            checks=read_checks(check),
        )
        as_arrays = not hasattr(endog, "index") and not hasattr(exog, "index")
        self._set_up(design, hasconst, as_arrays)

    def __repr__(self) -> str:
        return f"<MixedLM: {headline(self.design, self.nobs)}>"

    def _repr_html_(self) -> str:
        terms = Table(
            {
                "columns": [", ".join(term.columns) for term in self.design.terms],
                "levels": [len(term.levels) for term in self.design.terms],
            },
            index=[term.name for term in self.design.terms],
        )
        fixed = f"Fixed effects: {', '.join(self.design.x_names) or 'none'}."
        return page(f"Linear mixed model: {headline(self.design, self.nobs)}", [terms], [fixed])

    def _set_up(self, design: Design, hasconst: bool | None, as_arrays: bool) -> None:
        """Initialize statsmodels' side from a design."""
        if not (hasconst is None or isinstance(hasconst, (bool, np.bool_))):
            raise DesignError("hasconst is neither True, False nor None.")
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
        formula: Any,
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
        check: Mapping[str, str] | None = None,
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
        missing : {"drop", "exclude", "raise", "none"}
            Leave out rows with a missing value in anything that the model uses, or refuse them.
            "exclude" leaves them out, too, and aligns what the results have for each row
            (``fittedvalues``, ``resid``, ``residuals()``, ``predict()``, ``get_prediction()``) with
            all rows of `data`, missing where a row was not used: R's ``na.exclude``.
        groups, re_formula, vc_formula : optional
            statsmodels' spelling of the random effects, instead of terms in the formula.
        hasconst : bool, optional
        eval_env : int or mapping
            How many frames further up to look for variables that are not in the data; or the
            variables themselves.
        check : mapping of str to {"error", "warn", "ignore"}, optional
            What to do with what single checks find, ``{"levels": "warn"}``; see the notes.

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
        ``y ~ . + (1 | g)``  all other columns that no random term uses
        ===================  ================================================================

        The checks that `check` takes by name:

        ==============  =======  ==============================================================
        check           default  what it finds
        ==============  =======  ==============================================================
        ``levels``      error    a grouping factor of one level; as many levels, or random
                                 effects of one term, as observations (none of it but one
                                 level if there are weights and ``fit(sigma=...)``)
        ``slopes``      error    a random slope that is constant in the data
        ``repeated``    error    a column in two random terms of the same groups
        ``identified``  error    variances and covariances that the data cannot show, as they
                                 lie within the fixed part, or columns never meet in one level
        ``redundant``   ignore   variances of several terms of which only the sum is seen
        ``reproduced``  error    a response that the fixed part, or the fixed and random parts
                                 together, reproduce exactly
        ``rank``        warn     columns of the fixed part left out, being combinations of others
        ==============  =======  ==============================================================

        Whatever is let through by "warn" or "ignore" is estimated as it stands: numbers for
        parameters that the data do not show are arbitrary, and tests that rest on them wrong.

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
        with_components = groups is None and isinstance(formula, MixedFormula)  # of `update`
        if not with_components:
            check_is_text(formula)
        table = read_table(data)
        if with_components:
            parsed = formula
        else:
            parsed, scope = (
                (parse_formula(formula, columns=table.names), scope)
                if groups is None
                else translate_groups(formula, data, groups, re_formula, vc_formula, scope)
            )
        design = design_from_formula(
            parsed,
            table,
            env=scope,
            weights=weights,
            offset=offset,
            missing=missing,
            subset=subset,
            drop_cols=drop_cols,
            allow_saturated=weights is not None,
            checks=read_checks(check),
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
        problem = assemble(self.design)
        check_identified(self.design, problem)
        return problem

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
        shape = (len(theta),) if isinstance(theta, list | tuple) else getattr(theta, "shape", None)
        if self._are_fixed_effects(theta) or (p != m and shape == (p,)):
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
        max_time: float | None = None,
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
        ddf : {"satterthwaite", "kenward-roger", "kenward-roger-full", "residual", "normal"}
            Degrees of freedom of tests and intervals of the fixed effects. A variance estimated as
            zero is held fixed by Satterthwaite's method and left out by Kenward and Roger's, which
            has tests of the right size; "kenward-roger-full" counts it, as R's pbkrtest does, and
            is conservative. See `MixedLMResults.with_ddf`.
        sigma : float, optional
            The residual standard deviation if it is known, as in a meta-analysis.
        progress : bool or callable
            Print the criterion after each step; or call ``progress(evaluations, criterion)``.
        cov_type : {"nonrobust", "cluster"}
            The covariance of the fixed effects by the model, or robust against a wrong random part.
        cov_kwds : mapping, optional
            For "cluster": ``groups`` and ``kind`` of `MixedLMResults.get_robustcov_results`, which
            then takes the place of `ddf`.
        max_time : float, optional
            Seconds after which the search stops where it is, between two evaluations of the
            criterion. `optimization` then has the verdict "time limit", `converged` is False.

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
        check_fit_arguments(reml, method, maxiter, tol, ddf, sigma, progress, max_time)
        deadline = np.inf if max_time is None else time.monotonic() + max_time
        check_cov_type(cov_type)
        check_usable(self.problem.covariance, ddf)
        objective = Objective(self.problem, bool(reml), sigma)
        start = None if start_params is None else self._standardize(start_params)
        report = _print_progress if progress is True else (progress or None)
        fit = estimate(
            self.design,
            objective,
            start,
            method=method,
            maxiter=maxiter,
            tol=tol,
            progress=report,
            deadline=deadline,
        )
        warn_of_fit(fit)
        return self.results_of(fit, ddf, cov_type, cov_kwds)

    def results_of(
        self,
        fit: Fit,
        ddf: str = "satterthwaite",
        cov_type: str = "nonrobust",
        cov_kwds: Mapping[str, Any] | None = None,
    ) -> MixedLMResultsWrapper:
        """Return the results of a record of this model's fit; unlike `fit` it warns of nothing."""
        results = MixedLMResultsWrapper(MixedLMResults(self, fit, ddf))
        if cov_type == "nonrobust":
            return results
        if not isinstance(cov_kwds, Mapping | None):
            raise FitError(
                f"cov_kwds={shown(cov_kwds)} is no mapping. Write cov_kwds={{'groups': 'g'}}."
            )
        return results.get_robustcov_results(cov_type, **(cov_kwds or {}))

    def predict(self, params: Any, exog: Any = None) -> Array:
        """Return Xβ for given fixed effects, shape (m,); see `MixedLMResults.predict` for more."""
        X = self.exog if exog is None else np.asarray(exog)
        beta = np.asarray(params)
        if X.shape[-1:] != (len(self.design.x_names),) or X.dtype.kind not in "fiub":
            raise FitError(
                f"exog has shape {X.shape}; the model's predict takes numbers with a column for "
                f"each of the {len(self.design.x_names)} fixed effects. For new data, use "
                "predict(data) of the results."
            )
        if beta.shape != (len(self.design.x_names),):
            raise FitError(
                f"params has shape {beta.shape}; the model has {len(self.design.x_names)} fixed "
                "effects. Pass a number for each, or use predict of the results."
            )
        return np.asarray(X @ beta)

    # --- pickling -----------------------------------------------------------------------------

    def serve(self, results: MixedLMResults) -> None:
        """Take note of results that use this model."""
        self.__dict__.setdefault("_served", WeakSet()).add(results)

    def drop_rows(self, results: MixedLMResults) -> Design:
        """Forget everything that has one entry a row, keeping what new predictions need.

        Other results of this model go on with a copy of it that keeps the rows.

        Returns
        -------
        Design
            The one of the model from now on.
        """
        _ = self.problem
        others = [other for other in self.__dict__.get("_served", ()) if other is not results]
        if others:
            twin = copy.copy(self)
            twin.data = copy.copy(self.data)
            for other in others:
                other.model = twin
                twin.serve(other)
        self._served = WeakSet([results])
        self.design = self.design.without_rows()
        self.data.drop_rows(self.design)
        return self.design

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_served"}


def _print_progress(evaluations: int, criterion: float) -> None:
    """Show one step of the search."""
    print(f"evaluation {evaluations:4d}   criterion {criterion:.8f}")
