"""Tests of each term of the fixed part that can be left out alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mixedlm_ext.errors import FitError, check_choice, did_you_mean
from mixedlm_ext.estimation.fitted import Fitted
from mixedlm_ext.inference.choices import name_list
from mixedlm_ext.inference.compare.ranova import deletion_table
from mixedlm_ext.inference.compare.submodel import maximum, reduce_fixed
from mixedlm_ext.inference.fixed.anova import f_table
from mixedlm_ext.inference.fixed.fixed_terms import (
    FixedTerm,
    droppable,
    fixed_terms,
    is_coded_alone,
    without_term,
)
from mixedlm_ext.inference.fixed.hypotheses import complement, is_only_effect, type1

Array = NDArray[np.float64]

__all__ = ["columns_without", "drop1", "in_scope"]

_TESTS = ("F", "LRT")


def drop1(
    fitted: Fitted, scope: str | Sequence[str] | None = None, test: str = "F"
) -> pd.DataFrame:
    """Test each term of the fixed part that can be left out alone.

    Parameters
    ----------
    scope : str or sequence of str, optional
        Terms to leave out; by default all that are no part of an interaction.
    test : {"F", "LRT"}
        F test by the method of the fit, or likelihood ratio of ML fits.

    Returns
    -------
    DataFrame
        The columns of `anova`, or those of `ranova`.

    Raises
    ------
    FitError
        If a term of `scope` does not exist or is part of an interaction.

    Examples
    --------
    >>> from mixedlm_ext import MixedLM, datasets
    >>> data = datasets.cake.load_pandas().data
    >>> formula = "angle ~ recipe + temp + (1 | recipe:replicate)"
    >>> result = MixedLM.from_formula(formula, data).fit()
    >>> result.drop1(test="LRT")[["npar", "chisq", "df"]].round(3)
            npar   chisq   df
    <none>     6     NaN  NaN
    recipe     4   0.530  2.0
    temp       5  79.531  1.0
    """
    check_choice("test", test, _TESTS, FitError)
    fit = fitted.fit
    terms = fixed_terms(fit.design)
    scoped = in_scope(terms, scope)
    kept = {term.name: columns_without(fitted, terms, term) for term in scoped}
    if test == "F":
        hypotheses = {name: complement(fit.problem.cp.R, C) for name, C in kept.items()}
        if is_only_effect(terms):  # the only basis that all types and lmerTest share
            every = zip(terms, type1(fit.unweighted_root, terms))
            hypotheses = {term.name: L for term, L in every if term in scoped}
        return f_table(fitted, hypotheses, "Single term deletions")
    table = deletion_table(
        maximum(fit.problem, False, fit.fixed_sigma, restrictions=fit.restrictions),
        {
            name: maximum(
                reduce_fixed(fit, C),
                False,
                fit.fixed_sigma,
                restrictions=fit.restrictions,
            )
            for name, C in kept.items()
        },
    )
    note = ", refitted by ML" if fit.reml else ""
    table.attrs["title"] = f"Single term deletions, likelihood-ratio tests{note}"
    return table


def columns_without(fitted: Fitted, terms: list[FixedTerm], term: FixedTerm) -> Array:
    """Return C: the columns XC are those of the model without one term."""
    fit = fitted.fit
    if not is_coded_alone(terms, term):
        fitted.rows(f"what tells how the factors are coded without {term.name!r}")
    C = without_term(fit.design, fit.problem.cp.R, terms, term)
    if C is None:
        raise FitError(
            f"the model without {term.name!r} is no special case of this one: its formula codes "
            "other factors by columns that are not among these. Test coefficients by wald_test(), "
            "or compare the AIC of both fits."
        )
    return C


def in_scope(terms: list[FixedTerm], scope: str | Sequence[str] | None) -> list[FixedTerm]:
    """Return the terms to leave out, all that can be by default."""
    possible = {term.name: term for term in droppable(terms)}
    if scope is None:
        return list(possible.values())
    names = name_list(scope, "scope", "'x' or ['x', 'z']")
    return [_found(name, terms, possible) for name in names]


def _found(name: str, terms: list[FixedTerm], possible: dict[str, FixedTerm]) -> FixedTerm:
    """Return the term that a user names, its factors in any order."""
    for term in possible.values():
        if name == term.name or sorted(_factors(name)) == sorted(map(_squeezed, term.factors)):
            return term
    listed = ", ".join(map(repr, possible)) or "none"
    raise FitError(
        f"{name!r} {_why_not(name, terms)}; terms that can be left out alone are {listed}."
        f"{did_you_mean(name, possible)}"
    )


def _why_not(name: str, terms: list[FixedTerm]) -> str:
    """Return why a term cannot be left out alone."""
    named = [term for term in terms if term.name == name]
    if not named:
        return "is no term"
    if not named[0].factors:
        return "is the intercept"
    larger = [term.name for term in terms if named[0].factors < term.factors]
    return f"is part of an interaction, {larger[0]!r}" if larger else "has no column"


def _factors(name: str) -> list[str]:
    """Return the expressions of a term as a user may write it, without spaces."""
    return [_squeezed(part) for part in name.split(":")]


def _squeezed(text: str) -> str:
    return "".join(text.split())
