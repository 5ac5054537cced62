"""`MixedLM`: a linear mixed model in statsmodels' dress, from a formula or from arrays."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar
from weakref import WeakSet

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from statsmodels.base.data import ModelData

from mixedlm_ext import absent, fit_many, fitting, model_copies
from mixedlm_ext.absent import attribute_again
from mixedlm_ext.arguments import (
    ARRAY_ARGUMENTS,
    UNUSED_BY_ARRAYS,
    caller_scope,
    random_terms,
    read_formula,
)
from mixedlm_ext.bases import LikelihoodModel
from mixedlm_ext.caching import cached_property
from mixedlm_ext.criteria.pls import Problem
from mixedlm_ext.design import Design, RandomTerm, TermDesign, design_from_arrays
from mixedlm_ext.design.named_checks import read_checks
from mixedlm_ext.design.records import sparse_random_columns
from mixedlm_ext.estimation.assembled import Assembled
from mixedlm_ext.estimation.fit import Fit
from mixedlm_ext.estimation.fitted import Face, Fitted
from mixedlm_ext.inference.bootstrap import power
from mixedlm_ext.keywords import refuse_unknown
from mixedlm_ext.method import as_method, described_by
from mixedlm_ext.model_copies import ModelFormula, OwnTerms
from mixedlm_ext.model_data import model_data
from mixedlm_ext.report.model_line import headline, model_page
from mixedlm_ext.results import MixedLMResults
from mixedlm_ext.simulation import simulate
from mixedlm_ext.sites import Summary
from mixedlm_ext.sites.design import design_of_sums

Array = NDArray[np.float64]

P = ParamSpec("P")
R = TypeVar("R")

__all__ = ["MixedLM"]


def fits(
    function: Callable[Concatenate[Assembled, P], Fitted],
) -> Callable[Concatenate[Any, P], MixedLMResults]:
    """Make a method that returns results of a function that fits what models were assembled to."""
    return as_method(function, lambda own: own.assembled, MixedLMResults, MixedLMResults)


def of_model(function: Callable[Concatenate[Assembled, P], R]) -> Callable[Concatenate[Any, P], R]:
    """Make a method of models of a function of what they were assembled to."""
    return as_method(function, lambda own: own.assembled)


class MixedLM(absent.NotOfModels, LikelihoodModel):
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
        return model_page("Linear mixed model", self.design, self.nobs)

    def _set_up(self, design: Design, hasconst: bool | None, as_arrays: bool) -> None:
        """Initialize statsmodels' side from a design."""
        self.design = design
        self._as_arrays = as_arrays
        super().__init__(design.y, design.X, hasconst=hasconst)
        self.weights, self.offset = design.weights, design.offset
        self.nobs = design.n
        self.k_vars = len(design.x_names)
        self._data_attr += ["weights", "offset"]
        if design.formula is not None:
            self.formula = design.formula.fixed
            self.formula_full = design.formula.text

    def _handle_data(
        self, endog: Any, exog: Any, missing: str, hasconst: bool | None, **kwargs: Any
    ) -> ModelData:
        """Attach the data in a form that pickles."""
        return model_data(self.design, hasconst, self._as_arrays)

    @classmethod
    @described_by(read_formula)
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
        correlation: str | None = None,
        variance: str | None = None,
        cov: Mapping[str, Any] | None = None,
        progress: bool = False,
        **kwargs: Any,
    ) -> MixedLM:
        model = cls.__new__(cls)
        if isinstance(formula, ModelFormula):
            model._set_up(formula.design_of(data), hasconst, as_arrays=False)
            return model
        scope = caller_scope(eval_env) if isinstance(eval_env, int) else eval_env
        design = read_formula(
            formula,
            data,
            subset,
            drop_cols,
            weights=weights,
            offset=offset,
            missing=missing,
            groups=groups,
            re_formula=re_formula,
            vc_formula=vc_formula,
            eval_env=scope,
            check=check,
            correlation=correlation,
            variance=variance,
            cov=cov,
            progress=progress,
            **kwargs,
        )
        model._set_up(design, hasconst, as_arrays=False)
        return model

    @classmethod
    def from_summary(
        cls,
        summary: Summary,
        drop_cols: Sequence[str] | None = None,
        *,
        hasconst: bool | None = None,
        eval_env: int | Mapping[str, Any] = 0,
        check: Mapping[str, str] | None = None,
    ) -> MixedLM:
        """Create a model of rows that stayed at their sites.

        Parameters
        ----------
        summary : Summary
            As `summarize` and `combine` make it.
        drop_cols : sequence of str, optional
            Columns of the fixed part to leave out.
        hasconst : bool, optional
        eval_env : int or mapping
            How many frames further up to look for functions that the formula uses.
        check : mapping of str to {"error", "warn", "ignore"}, optional
            As for `from_formula`.

        Returns
        -------
        MixedLM
            Its fit is that of the rows of all sites together; whatever needs rows says that they
            are not here.

        Raises
        ------
        DesignError
            If the rows together do not support the model.
        """
        scope = caller_scope(eval_env) if isinstance(eval_env, int) else eval_env
        model = cls.__new__(cls)
        design = design_of_sums(summary, scope, drop_cols, read_checks(check))
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
            RandomTerm(
                None if t.has_members else t.levels.take(t.codes),
                t.X,
                t.group,
                t.columns,
                t.structure,
                None if t.positions is None else t.positions.coordinates,
                cov=t.related.among if t.has_members and t.related else t.related,
                Z=t.member_rows.W if t.has_members else None,
                names=t.levels if t.has_members else None,
            )
            for t in self.design.terms
        ]

    @property
    def Z(self) -> sparse.csr_array:
        """Z, sparse (n, q): term by term, level by level, column by column."""
        return sparse_random_columns(self.design.terms)

    @property
    def problem(self) -> Problem:
        """Cross-products and the pattern of the factor: all that the fit reads."""
        return self.assembled.problem

    @cached_property
    def assembled(self) -> Assembled:
        """What fits, refits and simulations read of the model."""
        return Assembled(self.design, self.face)

    @property
    def face(self) -> Face:
        """What users see of fits of this model."""
        return Face(
            present=type(self)._present,
            model=type(self).__name__,
            labelled=not self._as_arrays,
            has_constant=bool(self.k_constant),
        )

    @classmethod
    def _present(cls, fitted: Fitted) -> MixedLMResults:
        """Return the results of a fit, with a model of their own."""
        face, fit = fitted.face, fitted.fit
        model = cls._of_design(fit.design, face.has_constant, as_arrays=not face.labelled)
        model.assembled = Assembled(fit.design, model.face, fit.problem)
        return MixedLMResults(model, fitted)

    @classmethod
    def _of_design(cls, design: Design, hasconst: bool | None, as_arrays: bool) -> MixedLM:
        """Return the model of a design."""
        model = cls.__new__(cls)
        model._set_up(design, hasconst, as_arrays)
        return model

    def with_design(self, design: Design) -> MixedLM:
        """Return a model like this one, of another design."""
        return self._of_design(design, bool(self.k_constant), self._as_arrays)

    def with_response(self, endog: Any, name: str | None = None) -> MixedLM:
        """Return a model of another response on the same design.

        Parameters
        ----------
        endog : array_like (n,)
            The response as the model sees it (after any transformation in the formula), for the
            rows of the fit or for all rows of the data.
        name : str, optional
            Of the response; that of this model's by default.

        Returns
        -------
        MixedLM
            It shares all of this model's cross-products that do not depend on the response.
        """
        other = self.assembled.with_response(endog, name)
        model = self.with_design(other.design)
        model.assembled = other
        return model

    # --- the criterion ------------------------------------------------------------------------

    objective = of_model(fitting.objective)
    score = of_model(fitting.score)
    hessian = of_model(fitting.hessian)
    loglike = of_model(fitting.loglike)

    # --- fit and predict ----------------------------------------------------------------------

    fit = fits(fitting.fit)
    predict = of_model(model_copies.predict)

    def results_of(
        self,
        fit: Fit,
        ddf: str = "satterthwaite",
        cov_type: str = "nonrobust",
        cov_kwds: Mapping[str, Any] | None = None,
    ) -> MixedLMResults:
        """Return the results of a record of this model's fit; unlike `fit` it warns of nothing."""
        return MixedLMResults(self, fitting.tested(fit, ddf, cov_type, cov_kwds, self.face))

    # --- other responses ----------------------------------------------------------------------

    simulate = of_model(simulate.simulate)
    power = of_model(power.power)
    fit_many = of_model(fit_many.fit_many)

    # --- what statsmodels' Mediation, MICE and their kind use -----------------------------------

    if not TYPE_CHECKING:  # which refuse what is not there before it is asked for

        def __getattr__(self, name: str) -> Any:
            return attribute_again(self, name, absent.MODEL)

    @property
    def k_fe(self) -> int:
        """Number of fixed effects."""
        return len(self.design.x_names)

    @property
    def k_re(self) -> int:
        """Columns of the random-effects terms that are no variance component of one variance."""
        return sum(len(t.columns) for t in self.design.terms if not t.kind.one_variance)

    get_distribution = of_model(model_copies.get_distribution)

    def _get_init_kwds(self) -> dict[str, Any]:
        """Return what makes a variant of this model, from arrays or from a formula."""
        terms = OwnTerms(self.random, self.design)
        out: dict[str, Any] = {"random": terms, "weights": self.weights, "offset": self.offset}
        if self.design.formula is not None:
            out["formula"] = ModelFormula(self.design)
        return out

    # --- pickling -----------------------------------------------------------------------------

    @cached_property
    def _served(self) -> WeakSet[MixedLMResults]:
        """Results that use this model."""
        return WeakSet()

    def serve(self, results: MixedLMResults) -> None:
        """Take note of results that use this model."""
        self._served.add(results)

    def drop_rows(self, results: MixedLMResults) -> Design:
        """Forget everything that has one entry a row, keeping what new predictions need.

        Other results of this model go on with a copy of it that keeps the rows.

        Returns
        -------
        Design
            The one of the model from now on.
        """
        problem = self.problem
        others = [other for other in self._served if other is not results]
        if others:
            twin = copy.copy(self)
            twin.data = copy.copy(self.data)
            for other in others:
                other.model = twin
                twin.serve(other)
        self._served = WeakSet([results])
        self.design = self.design.without_rows()
        self.assembled = Assembled(self.design, self.face, problem.without_rows())
        self.data.drop_rows(self.design)
        return self.design

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_served"}
