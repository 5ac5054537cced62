"""Tests of each term of the fixed part that can be left out alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mixedlm_ext.errors import FitError, did_you_mean
from mixedlm_ext.inference.anova import f_table
from mixedlm_ext.inference.fixed_terms import FixedTerm, droppable, fixed_terms, without_term
from mixedlm_ext.inference.ranova import deletion_table
from mixedlm_ext.inference.submodel import maximum, reduce_fixed

if TYPE_CHECKING:
    from mixedlm_ext.results import MixedLMResults

Array = NDArray[np.float64]

__all__ = ["drop1_table"]

_TESTS = ("F", "LRT")


def drop1_table(
    results: MixedLMResults, scope: str | Sequence[str] | None, test: str
) -> pd.DataFrame:
    """Return the table of `MixedLMResults.drop1`."""
    if test not in _TESTS:
        near = did_you_mean(str(test), _TESTS)
        raise FitError(f"test={test!r} is not known.{near} Use 'F' or 'LRT'.")
    fit = results.fit_record
    terms = fixed_terms(fit.design)
    if all(term.factors for term in terms):
        results._need_rows("what tells whether a factor implies an intercept")
    kept = {term.name: without_term(fit.design, terms, term) for term in _in_scope(terms, scope)}
    if test == "F":
        hypotheses = {name: _complement(C) for name, C in kept.items()}
        return f_table(results, hypotheses, "Single term deletions")
    table = deletion_table(
        maximum(fit.problem, False, fit.fixed_sigma),
        {
            name: maximum(reduce_fixed(fit.problem, C), False, fit.fixed_sigma)
            for name, C in kept.items()
        },
    )
    note = ", refitted by ML" if fit.reml else ""
    table.attrs["title"] = f"Single term deletions, likelihood-ratio tests{note}"
    return table


def _in_scope(terms: list[FixedTerm], scope: str | Sequence[str] | None) -> list[FixedTerm]:
    """Return the terms to leave out, all that can be by default."""
    possible = {term.name: term for term in droppable(terms)}
    if scope is None:
        return list(possible.values())
    wanted = [scope] if isinstance(scope, str) else list(scope)
    for name in wanted:
        if name not in possible:
            why = "is part of an interaction" if name in [t.name for t in terms] else "is no term"
            raise FitError(
                f"{name!r} {why}; terms that can be left out alone are "
                f"{', '.join(map(repr, possible)) or 'none'}.{did_you_mean(name, possible)}"
            )
    return [possible[name] for name in wanted]


def _complement(C: Array) -> Array:
    """Return L with Lβ = 0 exactly for β = Cγ; rows of the identity where C selects columns."""
    if (C.max(axis=0, initial=0.0) == 1).all() and (np.count_nonzero(C, axis=0) == 1).all():
        return np.eye(len(C))[~C.any(axis=1)]
    U, _, _ = np.linalg.svd(C)
    return np.asarray(U[:, C.shape[1] :].T)
