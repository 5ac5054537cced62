"""Likelihood-ratio tests of the random terms, each left out or reduced by a column."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats
from statsmodels.tools.sm_exceptions import ConvergenceWarning

from mixedlm_ext.design import Design, TermDesign
from mixedlm_ext.errors import FitError, check_choice, warn_caller
from mixedlm_ext.estimation.fit import Fit
from mixedlm_ext.estimation.fitted import Fitted
from mixedlm_ext.inference.choices import check_flag
from mixedlm_ext.inference.compare.submodel import Likelihood, maximum, reduce_random
from mixedlm_ext.inference.fixed.fixed_terms import INTERCEPT, constant_coefficients
from mixedlm_ext.language.mixed_formula import RandomTermSpec
from mixedlm_ext.tables import Table

Array = NDArray[np.float64]

__all__ = [
    "BOUNDARIES",
    "Deletion",
    "deletion_table",
    "deletion_terms",
    "deletions_of",
    "mixture_p",
    "ranova",
    "variances_lost",
]

BOUNDARIES = ("chi2", "mixture")


@dataclass(frozen=True)
class Deletion:
    """One way to make the random part smaller.

    Attributes
    ----------
    name : str
        As lmerTest names the rows.
    term : int
    C : ndarray (k, r)
        What is left of the term's columns X is XC.
    effect : str or None
        What is left out of the term; None for all of it.
    """

    name: str
    term: int
    C: Array
    effect: str | None = None


def ranova(fitted: Fitted, reduce_terms: bool = True, boundary: str = "chi2") -> pd.DataFrame:
    """Test each random term by leaving it out or reducing it.

    Parameters
    ----------
    reduce_terms : bool
        Leave out one effect of a term with several, ``(x | g)`` becoming ``(1 | g)``; otherwise
        the whole term.
    boundary : {"chi2", "mixture"}
        Distribution of the statistic. A variance of zero is on the boundary, and chi-squared is
        conservative; "mixture" is the 50:50 mixture of chi-squared with one degree of freedom
        less and with all, where one variance (and its covariances) is tested.

    Returns
    -------
    DataFrame
        Columns ``npar``, ``logLik``, ``AIC``, ``chisq``, ``df``, ``pvalue``; the row
        ``<none>`` is this fit. REML fits are compared by REML.

    Raises
    ------
    FitError
        If `boundary` is not known.

    Notes
    -----
    A term ``(0 + f | g)`` of a factor is reduced to ``(1 | g)``, as in lmerTest. A covariate
    alone, ``(0 + x | g)``, is left out; lmerTest puts ``(1 | g)`` in its place, which is not
    nested in it.

    The refits read no rows: they use the cross-products of this fit.

    References
    ----------
    Stram & Lee (1994). Variance components testing in the longitudinal mixed effects model.
    Biometrics 50, 1171-1177.

    Examples
    --------
    >>> from mixedlm_ext import MixedLM, datasets
    >>> data = datasets.sleepstudy.load_pandas().data
    >>> result = MixedLM.from_formula("Reaction ~ Days + (Days | Subject)", data).fit()
    >>> result.ranova()[["npar", "chisq", "df"]].round(3)
                              npar   chisq   df
    <none>                       6     NaN  NaN
    Days in (Days | Subject)     4  42.837  2.0
    """
    check_choice("boundary", boundary, BOUNDARIES, FitError)
    reduce_terms = check_flag(reduce_terms, "reduce_terms")
    fit = fitted.fit
    if fit.restrictions is not None:
        raise FitError(
            "ranova() knows no fixed and equal parameters of the terms it leaves out. Fit the "
            "smaller models, and compare them by anova()."
        )
    if reduce_terms and any(set(term.columns).isdisjoint(INTERCEPT) for term in fit.design.terms):
        fitted.rows("what tells whether a factor implies an intercept")
    deletions = list(deletions_of(fit.design, reduce_terms))
    table = deletion_table(
        Likelihood.of_fit(fit),
        {deletion.name: _likelihood(fit, deletion) for deletion in deletions},
    )
    if boundary == "mixture":
        p = table["pvalue"].to_numpy(copy=True)
        lrt, df = table["chisq"].to_numpy(), table["df"].to_numpy()
        for i, deletion in enumerate(deletions, start=1):
            if variances_lost(fit.design.terms[deletion.term], deletion) == 1:
                p[i] = mixture_p(lrt[i], df[i])
        table["pvalue"] = p
    method = "REML" if fit.reml else "ML"
    table.attrs["title"] = f"Random terms left out or reduced, one at a time ({method})"
    return table


def deletions_of(design: Design, reduce_terms: bool) -> Iterator[Deletion]:
    """Yield every deletion, in the order of the formula."""
    for i, term in enumerate(design.terms):
        parts = _parts(design, i) if reduce_terms else {}
        if not parts:
            yield Deletion(term.text, i, np.zeros((len(term.columns), 0)))
        for name, columns in parts.items():
            C = _without(design, i, columns)
            yield Deletion(f"{name} in {term.text}", i, C, name if C.shape[1] else None)


def deletion_terms(design: Design) -> dict[str, tuple[RandomTermSpec, str | None]]:
    """Return for each row of the table the term, and the effect left out of it (None: all)."""
    assert design.formula is not None
    return {d.name: (design.formula.random[d.term], d.effect) for d in deletions_of(design, True)}


def _parts(design: Design, i: int) -> dict[str, list[int]]:
    """Return the columns of each effect of a random term that can be left out alone.

    Those are the effects that are no part of an interaction; the intercept only where it is
    independent of the others.
    """
    term = design.terms[i]
    if term.kind.one_variance or not term.kind.linear:
        return {}
    if design.formula is None:
        parts = {name: [j] for j, name in enumerate(term.columns) if name not in INTERCEPT}
        intercept = [j for j, name in enumerate(term.columns) if name in INTERCEPT]
    else:
        info = design.matrices.infos[i + 1]
        own = {t: list(range(s.start, s.stop)) for t, s in info.term_slices.items()}
        parts = {
            t.name(): columns
            for t, columns in own.items()
            if t.factors and not any(set(t.factors) < set(other.factors) for other in own)
        }
        intercept = [j for t, columns in own.items() if not t.factors for j in columns]
    if parts and intercept and not term.kind.correlated:
        return {"Intercept": intercept, **parts}
    return parts


def _without(design: Design, i: int, columns: list[int]) -> Array:
    """Return C for a term without some of its columns.

    A factor without an intercept, (0 + f | g), is reduced to (1 | g), which is nested in it, unless
    another term has that.
    """
    term = design.terms[i]
    k = len(term.columns)
    kept = np.delete(np.eye(k), columns, axis=1)
    taken = any(t.group == term.group and set(t.columns) & set(INTERCEPT) for t in design.terms)
    if kept.shape[1] == 0 and term.kind.correlated and k > 1 and not taken:
        constant = constant_coefficients(term.X)
        if constant is not None:
            return constant[:, None]
    return kept


def _likelihood(fit: Fit, deletion: Deletion) -> Likelihood:
    """Fit the model with one deletion."""
    C = [np.eye(term.k) for term in fit.problem.covariance.terms]
    C[deletion.term] = deletion.C
    reduced = reduce_random(fit, C)
    if reduced is None:
        return maximum(fit.problem, fit.reml, fit.fixed_sigma, random=False)
    return maximum(reduced, fit.reml, fit.fixed_sigma)


def deletion_table(full: Likelihood, reduced: dict[str, Likelihood]) -> pd.DataFrame:
    """Return the table of likelihood-ratio tests of reduced models against the full one.

    Parameters
    ----------
    full : Likelihood
    reduced : dict of str to Likelihood

    Returns
    -------
    DataFrame
        Columns ``npar``, ``logLik``, ``AIC``, ``chisq``, ``df``, ``pvalue``; the full model is
        the row ``<none>``.
    """
    rows = [[full.npar, full.llf, full.aic, np.nan, np.nan, np.nan]]
    for name, model in reduced.items():
        if not model.converged:
            warn_caller(
                f"the fit without {name} did not converge; its test is not to be trusted.",
                ConvergenceWarning,
            )
        lrt, df = max(2.0 * (full.llf - model.llf), 0.0), full.npar - model.npar
        p = float(stats.chi2.sf(lrt, df)) if df else np.nan
        rows.append([model.npar, model.llf, model.aic, lrt, df, p])
    columns = ["npar", "logLik", "AIC", "chisq", "df", "pvalue"]
    table = Table(rows, index=["<none>", *reduced], columns=columns)
    table["npar"] = table["npar"].astype(int)
    return table


def variances_lost(term: TermDesign, deletion: Deletion) -> int:
    """Return how many variances a deletion sets to zero; 0 if it does something else as well."""
    columns = {tuple(row) for row in np.eye(len(term.columns)).tolist()}
    only_dropped = all(tuple(c) in columns for c in deletion.C.T.tolist())
    return len(term.columns) - deletion.C.shape[1] if only_dropped else 0


def mixture_p(lrt: float, df: float) -> float:
    """Return the p-value of the 50:50 mixture of chi-squared with df - 1 and with df.

    One variance, at its boundary, and its df - 1 covariances are tested (Self & Liang 1987; Stram
    & Lee 1994, Biometrics 50, case 3).
    """
    if lrt <= 0:
        return 1.0
    return float(0.5 * stats.chi2.sf(lrt, df) + (0.5 * stats.chi2.sf(lrt, df - 1) if df > 1 else 0))
