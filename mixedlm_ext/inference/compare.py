"""Likelihood-ratio comparison of fitted models."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pandas as pd
from scipy import stats

from mixedlm_ext.errors import FitError
from mixedlm_ext.inference.anova import anova_table
from mixedlm_ext.inference.nesting import is_nested, same_fixed_columns
from mixedlm_ext.inference.submodel import Likelihood, maximum

if TYPE_CHECKING:
    from mixedlm_ext.results import MixedLMResults

__all__ = ["anova", "compare_table", "lr_test"]

_COLUMNS = ["npar", "AIC", "BIC", "logLik", "deviance", "Chisq", "Df", "Pr(>Chisq)"]


def anova(*models: Any, type: int | str = 3) -> pd.DataFrame:
    """Test the terms of one model, or compare several models.

    Parameters
    ----------
    *models : MixedLMResults
        One gives the table of `MixedLMResults.anova`; several give that of
        `MixedLMResults.compare`.
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
    >>> table["Chisq"].round(3).tolist()
    [nan, 42.139]
    """
    results = [_mixed_results(model) for model in models]
    if not results:
        raise FitError("anova() has nothing to test. Pass one fitted model, or several to compare.")
    return anova_table(results[0], type) if len(results) == 1 else compare_table(results)


def _mixed_results(model: Any) -> MixedLMResults:
    """Return the results behind their wrapper, or say that there are none."""
    results = getattr(model, "_results", model)
    if not hasattr(results, "fit_record"):
        raise FitError(
            f"{type(model).__name__} is not the result of a mixed model. Pass what MixedLM.fit() "
            "returns; ranova() compares with the model without random effects."
        )
    return cast("MixedLMResults", results)


def compare_table(models: Sequence[Any]) -> pd.DataFrame:
    """Return the table of `MixedLMResults.compare`."""
    results = [_mixed_results(model) for model in models]
    if len(results) < 2:
        raise FitError("compare() needs another model to compare with. Pass one or several.")
    for other in results[1:]:
        _check_same_data(results[0], other)
    likelihoods, notes = _comparable(results)
    names = _names(results)
    order = sorted(range(len(results)), key=lambda i: likelihoods[i].npar)
    rows: list[list[Any]] = []
    for position, i in enumerate(order):
        test = [np.nan] * 3
        if position:
            before = order[position - 1]
            if is_nested(*(results[j].fit_record.design for j in (before, i))):
                test = _test(likelihoods[before], likelihoods[i])
            else:
                notes.append(f"{names[before]!r} is not nested in {names[i]!r}: not tested.")
        rows.append([*_criteria(likelihoods[i], results[i].nobs), *test])
    table = pd.DataFrame(rows, index=[names[i] for i in order], columns=_COLUMNS)
    table["npar"] = table["npar"].astype(int)
    table.attrs["title"] = "Likelihood-ratio tests, each model against the one before"
    table.attrs["note"] = " ".join(notes)
    return table


def _check_same_data(one: MixedLMResults, two: MixedLMResults) -> None:
    """Raise unless two fits are of the same rows and response."""
    names = _names([one, two])
    if one.nobs != two.nobs:
        raise FitError(
            f"the models are of different rows: {names[0]!r} has {one.nobs}, {names[1]!r} "
            f"{two.nobs}. Fit both to the rows that are complete in all variables of both."
        )
    for results in (one, two):
        results._need_rows("what comparing models needs")
    y1, y2 = one.fit_record.design.y, two.fit_record.design.y
    if not np.array_equal(y1, y2):
        what = [results.fit_record.design.endog_name for results in (one, two)]
        differ = int((y1 != y2).sum())
        raise FitError(
            f"the models are of different responses: {what[0]!r} and {what[1]!r} differ in "
            f"{differ} of {one.nobs} rows. Fit both to the same response and rows."
        )


def _comparable(results: Sequence[MixedLMResults]) -> tuple[list[Likelihood], list[str]]:
    """Return likelihoods that can be compared, and what had to be done for that.

    Restricted likelihoods are of the same data only if X is the same; otherwise REML fits are
    fitted again by ML.
    """
    fits = [result.fit_record for result in results]
    by_reml = [fit.reml for fit in fits]
    same_X = all(same_fixed_columns(fits[0].design, fit.design) for fit in fits[1:])
    if not any(by_reml) or (all(by_reml) and same_X):
        return [Likelihood.of_fit(fit) for fit in fits], []
    likelihoods = [
        maximum(fit.problem, False, fit.fixed_sigma) if fit.reml else Likelihood.of_fit(fit)
        for fit in fits
    ]
    why = "their fixed effects differ" if all(by_reml) else "other models are ML fits"
    return likelihoods, [f"REML fits were refitted by ML, since {why}."]


def _names(results: Sequence[MixedLMResults]) -> list[str]:
    """Return the formulas, numbered unless all differ."""
    names = [
        getattr(result.model, "formula_full", f"model {i + 1}") for i, result in enumerate(results)
    ]
    if len(set(names)) == len(names):
        return names
    return [f"{i + 1}: {name}" for i, name in enumerate(names)]


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


def lr_test(results: MixedLMResults, restricted: Any) -> tuple[float, float, int]:
    """Return what `MixedLMResults.compare_lr_test` returns."""
    other = _mixed_results(restricted)
    _check_same_data(other, results)
    if not is_nested(other.fit_record.design, results.fit_record.design):
        small, large = _names([other, results])
        raise FitError(
            f"{small!r} is not nested in {large!r}, so their likelihood ratio has no chi-squared "
            "distribution. Compare their AIC instead, with compare()."
        )
    (small_fit, large_fit), _ = _comparable([other, results])
    statistic, df, p = _test(small_fit, large_fit)
    return statistic, p, int(df)
