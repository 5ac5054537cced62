"""Tests of the terms of a generalized model: Wald's, and likelihood ratios of refits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats
from scipy.linalg import null_space

from mixedlm_ext.errors import FitError, check_choice
from mixedlm_ext.estimation.fitted import Fitted
from mixedlm_ext.generalized.record import generalized
from mixedlm_ext.generalized.submodels import with_fixed, with_random
from mixedlm_ext.inference.choices import check_flag
from mixedlm_ext.inference.compare.drop1 import columns_without, in_scope
from mixedlm_ext.inference.compare.ranova import (
    BOUNDARIES,
    deletion_table,
    deletions_of,
    mixture_p,
    variances_lost,
)
from mixedlm_ext.inference.compare.submodel import Likelihood
from mixedlm_ext.inference.fixed.anova import hypotheses_of
from mixedlm_ext.inference.fixed.fixed_terms import fixed_terms
from mixedlm_ext.inference.fixed.hypotheses import complement, full_rank_rows
from mixedlm_ext.tables import Table

Array = NDArray[np.float64]

__all__ = ["anova", "drop1", "ranova"]

_TESTS = ("LRT", "Wald")


def anova(fitted: Fitted, type: int | str = 3, test: str = "Wald") -> pd.DataFrame:
    """Test every term of the fixed part.

    Parameters
    ----------
    type : {1, 2, 3, "marginal"}
        As `MixedLMResults.anova`: 1 each term given those before it, 2 given all terms that do not
        contain it, 3 main effects averaged over what they interact with. "marginal" tests the
        term's own coefficients.
    test : {"Wald", "LRT"}
        Wald's chi-squared, or the likelihood ratio of a fit that fulfils the hypothesis, for type 3
        and "marginal".

    Returns
    -------
    DataFrame
        A row for each term; columns ``chisq``, ``df``, ``pvalue``.

    Raises
    ------
    FitError
        If there is no such type, or the test has none.

    See Also
    --------
    drop1 : terms that can be left out alone.

    Examples
    --------
    >>> import statsmodels.api as sm
    >>> from mixedlm_ext import MixedGLM, datasets
    >>> data = datasets.cbpp.load_pandas().data
    >>> formula = "incidence / size ~ period + (1 | herd)"
    >>> family = sm.families.Binomial()
    >>> result = MixedGLM.from_formula(formula, data, family=family, weights="size").fit()
    >>> result.anova().round(3)
             chisq  df  pvalue
    period  24.948   3     0.0
    >>> result.anova(test="LRT").round(3)
            chisq  df  pvalue
    period  25.61   3     0.0
    """
    check_choice("test", test, _TESTS, FitError)
    kind, terms, hypotheses = hypotheses_of(fitted, type)
    tested = {term.name: L for term, L in zip(terms, hypotheses) if term.factors}
    title = f"Type {kind}" if kind != "marginal" else "Marginal"
    if test == "LRT":
        if kind not in ("III", "marginal"):
            raise FitError(
                f"likelihood-ratio tests of type {type} compare fits of several models. Use "
                'type=3 or type="marginal", drop1(), or compare() of the fits.'
            )
        return _ratio_table(fitted, tested, f"{title} tests by likelihood ratios")
    return _wald_table(fitted, tested, f"{title} tests by Wald's chi-squared")


def _ratio_table(fitted: Fitted, hypotheses: Mapping[str, Array], title: str) -> pd.DataFrame:
    """Return one likelihood-ratio test for each named hypothesis Lβ = 0."""
    fit = generalized(fitted)
    fitted.rows("the fits under the hypotheses")
    own = {name: full_rank_rows(L) for name, L in hypotheses.items()}
    free = {name: null_space(L) for name, L in own.items() if len(L)}
    found = deletion_table(
        Likelihood.of_fit(fit), {name: with_fixed(fit, C) for name, C in free.items()}
    )
    rows = [
        [*found.loc[name, ["chisq", "df", "pvalue"]]] if name in free else [np.nan, 0, np.nan]
        for name in own
    ]
    table = Table(rows, index=list(own), columns=["chisq", "df", "pvalue"])
    table["df"] = table["df"].astype(int)
    table.attrs["title"] = title
    return table


def _wald_table(fitted: Fitted, hypotheses: Mapping[str, Array], title: str) -> pd.DataFrame:
    """Return one row of Wald's test for each named hypothesis."""
    rows: list[list[Any]] = []
    for L in map(full_rank_rows, hypotheses.values()):
        if not len(L):
            rows.append([np.nan, 0, np.nan])
            continue
        value = L @ fitted.beta
        cov = L @ fitted.method.cov() @ L.T
        known = np.isfinite(cov).all()
        statistic = float(value @ np.linalg.solve(cov, value)) if known else np.nan
        rows.append([statistic, len(L), float(stats.chi2.sf(statistic, len(L)))])
    table = Table(rows, index=list(hypotheses), columns=["chisq", "df", "pvalue"])
    table["df"] = table["df"].astype(int)
    table.attrs["title"] = title
    return table


def drop1(
    fitted: Fitted, scope: str | Sequence[str] | None = None, test: str = "LRT"
) -> pd.DataFrame:
    """Test each term of the fixed part that can be left out alone.

    Parameters
    ----------
    scope : str or sequence of str, optional
        Terms to leave out; by default all that are no part of an interaction.
    test : {"LRT", "Wald"}
        Likelihood ratio of refits, or Wald's chi-squared.

    Returns
    -------
    DataFrame
        Columns ``npar``, ``logLik``, ``AIC``, ``chisq``, ``df``, ``pvalue``; those of `anova` for
        "Wald".

    Raises
    ------
    FitError
        If a term of `scope` does not exist or is part of an interaction.

    Examples
    --------
    >>> import statsmodels.api as sm
    >>> from mixedlm_ext import MixedGLM, datasets
    >>> data = datasets.cbpp.load_pandas().data
    >>> formula = "incidence / size ~ period + (1 | herd)"
    >>> family = sm.families.Binomial()
    >>> result = MixedGLM.from_formula(formula, data, family=family, weights="size").fit()
    >>> result.drop1()[["npar", "chisq", "df"]].round(3)
            npar  chisq   df
    <none>     5    NaN  NaN
    period     2  25.61  3.0
    """
    check_choice("test", test, _TESTS, FitError)
    fit = generalized(fitted)
    fitted.rows("the fits without single terms")
    terms = fixed_terms(fit.design)
    kept = {term.name: columns_without(fitted, terms, term) for term in in_scope(terms, scope)}
    if test == "Wald":
        hypotheses = {name: complement(fit.problem.cp.R, C) for name, C in kept.items()}
        return _wald_table(fitted, hypotheses, "Single term deletions, Wald's chi-squared")
    table = deletion_table(
        Likelihood.of_fit(fit), {name: with_fixed(fit, C) for name, C in kept.items()}
    )
    table.attrs["title"] = "Single term deletions, likelihood-ratio tests"
    return table


def ranova(fitted: Fitted, reduce_terms: bool = True, boundary: str = "chi2") -> pd.DataFrame:
    """Test each random term by leaving it out or reducing it.

    Parameters
    ----------
    reduce_terms : bool
        Leave out one effect of a term with several, ``(x | g)`` becoming ``(1 | g)``; otherwise
        the whole term.
    boundary : {"chi2", "mixture"}
        As `MixedLMResults.ranova`.

    Returns
    -------
    DataFrame
        Columns ``npar``, ``logLik``, ``AIC``, ``chisq``, ``df``, ``pvalue``; the row
        ``<none>`` is this fit.

    Raises
    ------
    FitError
        If `boundary` is not known.

    Examples
    --------
    >>> import statsmodels.api as sm
    >>> from mixedlm_ext import MixedGLM, datasets
    >>> data = datasets.cbpp.load_pandas().data
    >>> formula = "incidence / size ~ period + (1 | herd)"
    >>> family = sm.families.Binomial()
    >>> result = MixedGLM.from_formula(formula, data, family=family, weights="size").fit()
    >>> result.ranova()[["npar", "chisq", "df"]].round(3)
                npar   chisq   df
    <none>         5     NaN  NaN
    (1 | herd)     4  14.006  1.0
    """
    check_choice("boundary", boundary, BOUNDARIES, FitError)
    reduce_terms = check_flag(reduce_terms, "reduce_terms")
    fit = generalized(fitted)
    fitted.rows("the fits without single random terms")
    found = list(deletions_of(fit.design, reduce_terms))
    table = deletion_table(
        Likelihood.of_fit(fit), {d.name: with_random(fit, d.term, d.C) for d in found}
    )
    if boundary == "mixture":
        p = table["pvalue"].to_numpy(copy=True)
        lrt, df = table["chisq"].to_numpy(), table["df"].to_numpy()
        for i, deletion in enumerate(found, start=1):
            if variances_lost(fit.design.terms[deletion.term], deletion) == 1:
                p[i] = mixture_p(lrt[i], df[i])
        table["pvalue"] = p
    table.attrs["title"] = "Random terms left out or reduced, one at a time"
    return table
