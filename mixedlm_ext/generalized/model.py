"""`MixedGLM`: a generalized linear mixed model in statsmodels' dress, from a formula or arrays."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

import numpy as np
from numpy.typing import NDArray
from statsmodels.base.data import ModelData

from mixedlm_ext import absent
from mixedlm_ext.absent import attribute_again
from mixedlm_ext.arguments import caller_scope, random_terms
from mixedlm_ext.bases import LikelihoodModel
from mixedlm_ext.design import Design, TermDesign
from mixedlm_ext.estimation.fitted import Face, Fitted
from mixedlm_ext.generalized import fit_many, fitting, prediction
from mixedlm_ext.generalized.fitting import AssembledGeneralized
from mixedlm_ext.generalized.reading import GeneralizedDesign, read_arrays, read_generalized
from mixedlm_ext.generalized.record import generalized
from mixedlm_ext.generalized.results import MixedGLMResults
from mixedlm_ext.keywords import refuse_unknown
from mixedlm_ext.method import as_method
from mixedlm_ext.model_data import model_data
from mixedlm_ext.report.model_line import headline, model_page

Array = NDArray[np.float64]
P = ParamSpec("P")
R = TypeVar("R")

__all__ = ["MixedGLM"]

_ARRAY_ARGUMENTS = (
    "endog", "exog", "random", "family", "weights", "exposure", "offset", "freq_weights",
    "var_weights", "missing", "hasconst", "check", "groups", "exog_re", "exog_vc",
)  # fmt: skip


def fits(
    function: Callable[Concatenate[AssembledGeneralized, P], Fitted],
) -> Callable[Concatenate[Any, P], MixedGLMResults]:
    """Make a method that returns results of a function that fits what models were assembled to."""
    return as_method(function, lambda own: own.assembled, MixedGLMResults, MixedGLMResults)


def of_model(
    function: Callable[Concatenate[AssembledGeneralized, P], R],
) -> Callable[Concatenate[Any, P], R]:
    """Make a method of models of a function of what they were assembled to."""
    return as_method(function, lambda own: own.assembled)


class MixedGLM(absent.NotOfGeneralizedModels, LikelihoodModel):
    """Generalized linear mixed model: any family and link of statsmodels, any random terms.

    y given b has the mean μ with g(μ) = η = Xβ + Zb + offset; b is normal with mean zero.

    Parameters
    ----------
    endog : array_like (n,) or (n, 2)
        Response; two columns, successes and failures, for a binomial model.
    exog : array_like (n, p)
        Columns with fixed effects; no constant is added. None for no fixed effects.
    random : sequence of RandomTerm
        Random-effects terms.
    family : statsmodels family
        ``sm.families.Binomial()``, ``sm.families.Poisson()``, ...; the alpha of
        ``sm.families.NegativeBinomial`` is estimated, unless ``fit(dispersion=...)`` fixes it.
    weights : array_like (n,), optional
        The trials of a binomial proportion; for other families the same as `var_weights`.
    exposure : array_like (n,), optional
        Its logarithm is added to the offset; log links only.
    offset : array_like (n,), optional
        Known part of the linear predictor.
    freq_weights, var_weights : array_like (n,), optional
        How many equal rows a row stands for; by what the variance of a row is divided.
    missing : {"none", "drop", "exclude", "raise"}
        What to do with rows that have missing values.
    hasconst : bool, optional
        Whether X holds a constant; found out by default.
    check : mapping of str to {"error", "warn", "ignore"}, optional
        As for `MixedLM`.
    groups, exog_re, exog_vc : optional
        statsmodels' spelling of the random effects, instead of `random`.

    Raises
    ------
    DesignError
        If the arrays do not fit together or do not support the model.

    See Also
    --------
    MixedGLM.from_formula : the usual way in.

    Examples
    --------
    >>> import numpy as np
    >>> import statsmodels.api as sm
    >>> from mixedlm_ext import MixedGLM, RandomTerm, datasets
    >>> data = datasets.cbpp.load_pandas().data
    >>> y = np.column_stack([data["incidence"], data["size"] - data["incidence"]])
    >>> X = np.column_stack([np.ones(len(data)), data["period"] != "1"])
    >>> model = MixedGLM(y, X, [RandomTerm(data["herd"])], family=sm.families.Binomial())
    >>> model.fit().params.round(3).tolist()
    [-1.399, -1.174]
    """

    def __init__(
        self,
        endog: Any,
        exog: Any = None,
        random: Any = None,
        *more: Any,
        family: Any = None,
        weights: Any = None,
        exposure: Any = None,
        offset: Any = None,
        freq_weights: Any = None,
        var_weights: Any = None,
        missing: str = "none",
        hasconst: bool | None = None,
        check: Mapping[str, str] | None = None,
        groups: Any = None,
        exog_re: Any = None,
        exog_vc: Any = None,
        **kwargs: Any,
    ) -> None:
        refuse_unknown("MixedGLM", kwargs, _ARRAY_ARGUMENTS, ignored=("formula",))
        data = read_arrays(
            endog,
            exog,
            random_terms(random, more, groups, exog_re, exog_vc),
            family,
            weights=weights,
            exposure=exposure,
            offset=offset,
            freq_weights=freq_weights,
            var_weights=var_weights,
            missing=missing,
            check=check,
        )
        as_arrays = not hasattr(endog, "index") and not hasattr(exog, "index")
        self._set_up(data, hasconst, as_arrays)

    def __repr__(self) -> str:
        kind = type(self.family).__name__
        return f"<MixedGLM: {kind}, {headline(self.design, self.nobs)}>"

    def _repr_html_(self) -> str:
        kind = f"Generalized linear mixed model, {type(self.family).__name__}"
        return model_page(kind, self.design, self.nobs)

    def _set_up(self, data: GeneralizedDesign, hasconst: bool | None, as_arrays: bool) -> None:
        """Initialize statsmodels' side from a design."""
        design = data.design
        self.design, self.family, self.prior = design, data.family, data.prior
        self._as_arrays = as_arrays
        super().__init__(design.y, design.X, hasconst=hasconst)
        self.offset = design.offset
        self.nobs = round(data.prior.count(len(design.y)))
        self.k_vars = len(design.x_names)
        self._data_attr += ["offset"]
        if design.formula is not None:
            self.formula = design.formula.written_fixed
            self.formula_full = design.formula.written
        self.assembled = AssembledGeneralized(data, self.face)

    def _handle_data(
        self, endog: Any, exog: Any, missing: str, hasconst: bool | None, **kwargs: Any
    ) -> ModelData:
        """Attach the data in a form that pickles."""
        return model_data(self.design, hasconst, self._as_arrays)

    @classmethod
    def from_formula(
        cls,
        formula: Any,
        data: Any,
        family: Any = None,
        subset: Any = None,
        drop_cols: Sequence[str] | None = None,
        *,
        weights: Any = None,
        exposure: Any = None,
        offset: Any = None,
        freq_weights: Any = None,
        var_weights: Any = None,
        missing: str = "drop",
        groups: Any = None,
        re_formula: str | None = None,
        vc_formula: Mapping[str, str] | None = None,
        hasconst: bool | None = None,
        eval_env: int | Mapping[str, Any] = 0,
        cov: Mapping[str, Any] | None = None,
        check: Mapping[str, str] | None = None,
        **kwargs: Any,
    ) -> MixedGLM:
        """Create a model from a formula and data.

        Parameters
        ----------
        formula : str
            A patsy formula with parenthesised random-effects terms, as for
            `MixedLM.from_formula`: ``"y ~ x + (x | g)"``. A binomial response is 0 or 1, two
            columns ``successes + failures ~``, or a proportion ``successes / trials ~`` with
            ``weights="trials"``.
        data : DataFrame, polars.DataFrame or dict
        family : statsmodels family
            ``sm.families.Binomial()``, ``sm.families.Poisson()``, ``sm.families.Gamma(link)``, ...
        subset : array_like, optional
            Rows to use: booleans, or labels of the index.
        drop_cols : sequence of str, optional
            Columns of the fixed part to leave out.
        weights, exposure, offset, freq_weights, var_weights : str or array_like, optional
            A column of the data, or an array of the data's length (see `MixedGLM`).
        missing : {"drop", "exclude", "raise", "none"}
            As for `MixedLM.from_formula`.
        groups, re_formula, vc_formula : optional
            statsmodels' spelling of the random effects, instead of terms in the formula.
        hasconst : bool, optional
        eval_env : int or mapping
            How many frames further up to look for variables that are not in the data.
        cov : mapping of str to matrix, optional
            Known covariances of the levels of grouping factors: see `MixedLM.from_formula`.
        check : mapping of str to {"error", "warn", "ignore"}, optional
            As for `MixedLM.from_formula`.

        Returns
        -------
        MixedGLM

        Raises
        ------
        FormulaError
            If the formula cannot be read.
        DesignError
            If the data do not support the model, or the family cannot have the response.

        Examples
        --------
        >>> import statsmodels.api as sm
        >>> from mixedlm_ext import MixedGLM, datasets
        >>> data = datasets.cbpp.load_pandas().data
        >>> model = MixedGLM.from_formula(
        ...     "incidence / size ~ period + (1 | herd)", data,
        ...     family=sm.families.Binomial(), weights="size",
        ... )
        >>> round(model.fit(nagq=9).llf, 4)
        -91.9834
        """
        scope = caller_scope(eval_env) if isinstance(eval_env, int) else eval_env
        read = read_generalized(
            formula,
            data,
            family,
            weights=weights,
            exposure=exposure,
            offset=offset,
            freq_weights=freq_weights,
            var_weights=var_weights,
            groups=groups,
            re_formula=re_formula,
            vc_formula=vc_formula,
            eval_env=scope,
            subset=subset,
            drop_cols=drop_cols,
            missing=missing,
            check=check,
            cov=cov,
            **kwargs,
        )
        model = cls.__new__(cls)
        model._set_up(read, hasconst, as_arrays=False)
        return model

    # --- the parts of the model -------------------------------------------------------------------

    @property
    def random_terms(self) -> tuple[TermDesign, ...]:
        """The random-effects terms: columns, level codes and levels of each."""
        return self.design.terms

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
    def _present(cls, fitted: Fitted) -> MixedGLMResults:
        """Return the results of a fit, with a model of their own."""
        fit, face = generalized(fitted), fitted.face
        model = cls.__new__(cls)
        data = GeneralizedDesign(fit.design, fit.family, fit.prior)
        model._set_up(data, face.has_constant, as_arrays=not face.labelled)
        return MixedGLMResults(model, fitted)

    fit = fits(fitting.fit)
    fit_many = of_model(fit_many.fit_many)
    predict = as_method(prediction.at_params, lambda own: own.assembled.data)

    # --- what statsmodels asks for ----------------------------------------------------------------

    if not TYPE_CHECKING:  # which refuse what is not there before it is asked for

        def __getattr__(self, name: str) -> Any:
            return attribute_again(self, name, absent.MODEL)

    @property
    def k_fe(self) -> int:
        """Number of fixed effects."""
        return len(self.design.x_names)

    def drop_rows(self) -> Design:
        """Forget everything that has one entry a row, keeping what new predictions need."""
        data = self.assembled.data.without_rows()
        self.design, self.prior = data.design, data.prior
        self.assembled = AssembledGeneralized(data, self.face)
        self.data.drop_rows(self.design)
        return self.design
