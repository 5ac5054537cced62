"""Likelihood-ratio comparison of fitted models."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
from scipy import stats
from statsmodels.regression.mixed_linear_model import MixedLMResults as StatsmodelsResults

from mixedlm_ext.errors import FitError
from mixedlm_ext.estimation.fitted import Fitted
from mixedlm_ext.inference.compare.glm import as_generalized_model
from mixedlm_ext.inference.compare.nesting import is_nested, same_fixed_columns
from mixedlm_ext.inference.compare.regression import LinearModel, as_linear_model
from mixedlm_ext.inference.compare.response import ResponseModel, response_of
from mixedlm_ext.inference.compare.submodel import Likelihood, maximum
from mixedlm_ext.inference.fixed.anova import anova as anova_of_terms
from mixedlm_ext.tables import Table

__all__ = ["anova", "compare", "compare_lr_test"]

Compared: TypeAlias = Fitted | LinearModel

_COLUMNS = ["npar", "AIC", "BIC", "logLik", "deviance", "chisq", "df", "pvalue"]


def anova(*models: Any, type: int | str = 3) -> pd.DataFrame:
    """Test the terms of one model, or compare several models.

    Parameters
    ----------
    *models : MixedLMResults
        One gives the table of `MixedLMResults.anova`; several give that of
        `MixedLMResults.compare`. statsmodels' results of OLS or WLS, beside generalized models
        those of GLM, may be among several.
    type : {1, 2, 3, "marginal"}
        The hypotheses about the terms of one model.

    Returns
    -------
    DataFrame

    Raises
    ------
    FitError
        If the models are not of the same rows and response.

    Examples
    --------
    >>> import mixedlm_ext
    >>> from mixedlm_ext import MixedLM, datasets
    >>> data = datasets.sleepstudy.load_pandas().data
    >>> small = MixedLM.from_formula("Reaction ~ Days + (1 | Subject)", data).fit(reml=False)
    >>> large = MixedLM.from_formula("Reaction ~ Days + (Days | Subject)", data).fit(reml=False)
    >>> table = mixedlm_ext.anova(small, large)
    >>> table["chisq"].round(3).tolist()
    [nan, 42.139]
    """
    if not models:
        raise FitError("anova() has nothing to test. Pass one fitted model, or several to compare.")
    if len(models) > 1:
        return _table(models)
    only = _compared(models[0])
    if isinstance(only, LinearModel):
        raise FitError(
            "this is a linear regression. Use statsmodels' anova_lm() for its terms."
            if only.response.family is None
            else "this is a model without random effects. Use wald_test_terms() for its terms."
        )
    return anova_of_terms(only, type)


def _compared(model: Any) -> Compared:
    """Return the results behind their wrapper, or a linear regression, or say what it is."""
    fitted = model if isinstance(model, Fitted) else getattr(model, "fitted", None)
    if isinstance(fitted, Fitted):
        return fitted.with_rows_read()
    regression = getattr(model, "_results", model)
    linear = as_linear_model(regression) or as_generalized_model(regression)
    if linear is not None:
        return linear
    if isinstance(regression, StatsmodelsResults):
        raise FitError(
            "this is a fit of statsmodels' own MixedLM, whose likelihood is another function. Fit "
            "its formula by mixedlm_ext.MixedLM.from_formula(..., groups=...), and compare that."
        )
    raise FitError(
        f"{type(model).__name__} is neither the result of a mixed model nor of statsmodels' OLS or "
        "GLM. Pass what MixedLM.fit(), MixedGLM.fit(), OLS.fit() or GLM.fit() return; ranova() "
        "compares with the model without random effects."
    )


def compare(fitted: Fitted, *others: Any) -> pd.DataFrame:
    """Compare this model with others by likelihood ratios and information criteria.

    Parameters
    ----------
    *others : Fitted, or statsmodels' results of OLS, WLS or GLM
        Fits of the same rows and response. Linear regression, and GLM beside generalized
        models, is the model without random effects; the p-value against it is conservative, since
        variances are tested.

    Returns
    -------
    DataFrame
        A row for each model, fewest parameters first; columns ``npar``, ``AIC``, ``BIC``,
        ``logLik``, ``deviance`` and, against the row before, ``chisq``, ``df``,
        ``pvalue``. ``attrs["note"]`` says what had to be done: REML fits with different
        fixed effects are refitted by ML, and models that are not nested in the next, in means,
        random effects or families, are not tested.

    Raises
    ------
    FitError
        If the models are of different rows, responses or weights, or their likelihoods cannot be
        compared.

    See Also
    --------
    mixedlm_ext.anova : the same as a function.

    Examples
    --------
    >>> from mixedlm_ext import MixedLM, datasets
    >>> data = datasets.sleepstudy.load_pandas().data
    >>> large = MixedLM.from_formula("Reaction ~ Days + (Days | Subject)", data).fit()
    >>> small = MixedLM.from_formula("Reaction ~ 1 + (Days | Subject)", data).fit()
    >>> table = large.compare(small)
    >>> table["chisq"].round(3).tolist()
    [nan, 23.537]
    >>> table.attrs["note"]
    'REML fits were refitted by ML, since their fixed effects differ.'
    """
    return _table([fitted, *others])


def _table(models: Sequence[Any]) -> pd.DataFrame:
    """Compare models of whatever kind."""
    results = [_compared(model) for model in models]
    if len(results) < 2:
        raise FitError("compare() needs another model to compare with. Pass one or several.")
    if all(isinstance(result, LinearModel) for result in results):
        raise FitError(
            "none of the models is a mixed model. Use statsmodels' anova_lm(), or "
            "compare_lr_test() of GLM's results."
        )
    for other in results[1:]:
        _check_same_data(results[0], other)
    _check_same_likelihood(results)
    likelihoods, notes = _comparable(results)
    names = _names(results)
    order = sorted(range(len(results)), key=lambda i: likelihoods[i].npar)
    rows: list[list[Any]] = []
    for position, i in enumerate(order):
        test = [np.nan] * 3
        if position:
            before = order[position - 1]
            if _is_nested(results[before], results[i]):
                test = _test(likelihoods[before], likelihoods[i])
            else:
                notes.append(f"{names[before]!r} is not nested in {names[i]!r}: not tested.")
        rows.append([*_criteria(likelihoods[i], results[i].n), *test])
    table = Table(rows, index=[names[i] for i in order], columns=_COLUMNS)
    table["npar"] = table["npar"].astype(int)
    table.attrs["title"] = "Likelihood-ratio tests, each model against the one before"
    table.attrs["note"] = " ".join(notes)
    return table


def _check_same_data(one: Compared, two: Compared) -> None:
    """Raise unless two fits are of the same rows and response."""
    names = _names([one, two])
    if one.n != two.n:
        raise FitError(
            f"the models are of different rows: {names[0]!r} has {one.n}, {names[1]!r} "
            f"{two.n}. Fit both to the rows that are complete in all variables of both."
        )
    for model in (one, two):
        if not isinstance(model, LinearModel):
            model.rows("what comparing models needs")
    y1, y2 = one.design.y, two.design.y
    if not np.array_equal(y1, y2):
        what = [model.design.endog_name for model in (one, two)]
        differ = int((y1 != y2).sum())
        raise FitError(
            f"the models are of different responses: {what[0]!r} and {what[1]!r} differ in "
            f"{differ} of {one.n} rows. Fit both to the same response and rows."
        )


def _check_same_likelihood(results: Sequence[Compared]) -> None:
    """Raise unless the likelihoods of all models are of one kind, of rows that count alike."""
    responses = [_response(result) for result in results]
    for i, two in enumerate(responses):
        for one in responses[:i]:
            if not one.is_comparable(two):
                raise FitError(
                    f"the likelihoods of the models cannot be compared: {one.words} and "
                    f"{two.words}. Fit both with one link, one approximation (nagq=) and families "
                    "of one kind."
                )
    for result, other in zip(results[1:], responses[1:]):
        word = responses[0].different_weights(other, len(result.design.y))
        if word:
            raise FitError(
                f"the models are of different weights: their {word} differ. Fit both to the same "
                "weights; a binomial response of several trials is successes + failures in both."
            )


def _response(result: Compared) -> ResponseModel:
    """Return what a likelihood is of."""
    return result.response if isinstance(result, LinearModel) else response_of(result.fit)


def _comparable(results: Sequence[Compared]) -> tuple[list[Likelihood], list[str]]:
    """Return likelihoods that can be compared, and what had to be done for that.

    Restricted likelihoods are of the same data only if X is the same; otherwise REML fits are
    fitted again by ML. A linear regression has its likelihood by ML.
    """
    fits = [result.fit for result in results if not isinstance(result, LinearModel)]
    by_reml = [fit.reml for fit in fits]
    mixed_only = len(fits) == len(results)
    same_X = all(same_fixed_columns(fits[0].design, fit.design) for fit in fits[1:])
    refit = any(by_reml) and not (mixed_only and all(by_reml) and same_X)
    likelihoods = []
    for result in results:
        if isinstance(result, LinearModel):
            likelihoods.append(result.likelihood)
        elif refit and result.fit.reml:
            fit = result.fit
            likelihoods.append(
                maximum(fit.problem, False, fit.fixed_sigma, restrictions=fit.restrictions)
            )
        else:
            likelihoods.append(Likelihood.of_fit(result.fit))
    if not refit:
        return likelihoods, []
    why = "their fixed effects differ" if all(by_reml) else "other models are ML fits"
    if not mixed_only:
        why = "linear regression is by ML"
    return likelihoods, [f"REML fits were refitted by ML, since {why}."]


def _names(results: Sequence[Compared]) -> list[str]:
    """Return the formulas, numbered unless all differ."""
    names = [
        result.name
        if isinstance(result, LinearModel)
        else getattr(result.design.formula, "written", f"model {i + 1}") + _restricted(result)
        for i, result in enumerate(results)
    ]
    if len(set(names)) == len(names):
        return names
    return [f"{i + 1}: {name}" for i, name in enumerate(names)]


def _restricted(fitted: Fitted) -> str:
    """Say what a model fixes or sets equal."""
    restrictions = fitted.fit.restrictions
    return "" if restrictions is None else f", {', '.join(restrictions.words)}"


def _is_nested(small: Compared, large: Compared) -> bool:
    """Say whether one model is a special case of another; equations of the large one bind both."""
    if not _response(large).contains(_response(small)):
        return False
    if isinstance(large, LinearModel):
        return is_nested(small.design, large.design)
    sigma = large.fit.fixed_sigma if _response(large).family is None else None
    bound = large.fit.restrictions
    own = None if isinstance(small, LinearModel) else small.fit
    if sigma is not None and (own is None or own.fixed_sigma != sigma):
        return False
    if bound is not None:
        if own is None or own.restrictions is None or not own.restrictions.contains(bound):
            return False
        if [t.text for t in small.design.terms] != [t.text for t in large.design.terms]:
            return False
    return is_nested(small.design, large.design)


def _criteria(likelihood: Likelihood, nobs: int) -> list[Any]:
    """Return the first columns of a row."""
    deviance = -2.0 * likelihood.llf
    bic = deviance + np.log(nobs) * likelihood.npar
    return [likelihood.npar, likelihood.aic, bic, likelihood.llf, deviance]


def _test(small: Likelihood, large: Likelihood) -> list[float]:
    """Return statistic, degrees of freedom and p-value; no test between models of one size."""
    df = large.npar - small.npar
    statistic = max(2.0 * (large.llf - small.llf), 0.0)
    return [statistic, df, float(stats.chi2.sf(statistic, df)) if df else np.nan]


def compare_lr_test(fitted: Fitted, restricted: Any) -> tuple[float, float, int]:
    """Test a restricted model against this one by their likelihood ratio.

    Parameters
    ----------
    restricted : MixedLMResults
        A fit of the same rows and response, nested in this one. REML fits are refitted by ML
        where their fixed effects differ.

    Returns
    -------
    lr_stat : float
    p_value : float
        By chi-squared; conservative if variances are tested.
    df_diff : int
        Parameters restricted.

    Raises
    ------
    FitError
        If the models are of different rows or responses, or not nested.

    Examples
    --------
    >>> from mixedlm_ext import MixedLM, datasets
    >>> data = datasets.sleepstudy.load_pandas().data
    >>> large = MixedLM.from_formula("Reaction ~ Days + (Days | Subject)", data).fit()
    >>> small = MixedLM.from_formula("Reaction ~ Days + (1 | Subject)", data).fit()
    >>> lr_stat, p_value, df_diff = large.compare_lr_test(small)
    >>> round(lr_stat, 3), df_diff
    (42.837, 2)
    """
    other = _compared(restricted)
    _check_same_data(other, fitted)
    if not _is_nested(other, fitted):
        small, large = _names([other, fitted])
        raise FitError(
            f"{small!r} is not nested in {large!r}, so their likelihood ratio has no chi-squared "
            "distribution. Compare their AIC instead, with compare()."
        )
    _check_same_likelihood([other, fitted])
    (small_fit, large_fit), _ = _comparable([other, fitted])
    statistic, df, p = _test(small_fit, large_fit)
    return statistic, p, int(df)
