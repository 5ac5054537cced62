"""Analysis-of-variance tables of the fixed effects: an F test for every term."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mixedlm_ext.design import Design
from mixedlm_ext.design.messages import list_names
from mixedlm_ext.errors import FitError, did_you_mean, shown
from mixedlm_ext.inference.fixed_terms import FixedTerm, fixed_terms
from mixedlm_ext.inference.hypotheses import (
    full_rank_rows,
    is_only_effect,
    marginal,
    type1,
    type2,
    type3,
)
from mixedlm_ext.inference.indicators import missing_cells
from mixedlm_ext.inference.wald import f_contrast
from mixedlm_ext.tables import Table

if TYPE_CHECKING:
    from mixedlm_ext.results import MixedLMResults

Array = NDArray[np.float64]

__all__ = ["anova_table", "f_table"]

_TYPES = {"1": "I", "I": "I", "2": "II", "II": "II", "3": "III", "III": "III"}
_TYPES["MARGINAL"] = "marginal"
_COLUMNS = ["sum_sq", "mean_sq", "num_df", "den_df", "F", "pvalue"]


def anova_table(results: MixedLMResults, type: int | str) -> pd.DataFrame:
    """Return the table of `MixedLMResults.anova`."""
    kind = _check_type(type)
    terms = fixed_terms(results.fit_record.design)
    hypotheses = _hypotheses(results, terms, kind)
    tested = {term.name: L for term, L in zip(terms, hypotheses) if term.factors}
    title = f"Type {kind}" if kind != "marginal" else "Marginal"
    table = f_table(results, tested, f"{title} analysis of variance")
    if kind == "III" and results.fit_record.design.dropped:
        table.attrs["note"] = _note_of_missing_cells(results, terms)
    return table


def _note_of_missing_cells(results: MixedLMResults, terms: list[FixedTerm]) -> str:
    """Return what to know of type III where combinations of levels have no data."""
    design = results.fit_record.design
    if design.formula is None or not len(design.X):
        return ""
    missing = missing_cells(design, terms)
    if not missing:
        return ""
    where = "; ".join(f"{name} ({list_names(cells)})" for name, cells in missing.items())
    return (
        f"There are no data for some combinations of levels: {where}. Type III hypotheses then "
        "depend on which combinations are missing; interpret them with care."
    )


def _check_type(type: int | str) -> str:
    """Return "I", "II", "III" or "marginal"."""
    if hasattr(type, "llf"):
        raise FitError("anova() tests the terms of one fit. For two or more, use compare(other).")
    written = str(type).upper() if isinstance(type, (str, int, np.integer)) else None
    if written in _TYPES:
        return _TYPES[written]
    near = did_you_mean(type, ["1", "2", "3", "marginal"]) if isinstance(type, str) else ""
    raise FitError(f"type={shown(type)} is not known.{near} Use 1, 2, 3 or 'marginal'.")


def _hypotheses(results: MixedLMResults, terms: list[FixedTerm], kind: str) -> list[Array]:
    """Return one hypothesis for each term."""
    design = results.fit_record.design
    if kind == "I" or is_only_effect(terms):
        return type1(results.fit_record.unweighted_root, terms)
    if kind == "III" and not _is_additive(design, terms):
        results._need_rows("type III hypotheses")
        return type3(design, terms)
    if kind == "II":
        return type2(results.fit_record.unweighted_root, terms)
    return marginal(results.fit_record.problem.cp.R, terms)


def _is_additive(design: Design, terms: list[FixedTerm]) -> bool:
    """Say whether type III hypotheses are about the terms' own coefficients, whatever the coding.

    They are if no term contains another and there is an intercept; columns of arrays are no
    factors.
    """
    if design.formula is None or not terms:
        return True
    effects = [term for term in terms if term.factors]
    contained = any(term.is_contained_in(other) for term in effects for other in effects)
    return not contained and any(not term.factors and term.columns for term in terms)


def f_table(results: MixedLMResults, hypotheses: Mapping[str, Array], title: str) -> pd.DataFrame:
    """Return one row of F test for each named hypothesis.

    Parameters
    ----------
    results : MixedLMResults
    hypotheses : mapping of str to ndarray (r, p)
        A hypothesis without rows gives missing values.
    title : str

    Returns
    -------
    DataFrame
        ``attrs["title"]`` says what it is and by which method.
    """
    rows = [_row(results, full_rank_rows(L)) for L in hypotheses.values()]
    table = Table(rows, index=list(hypotheses), columns=_COLUMNS)
    table["num_df"] = table["num_df"].astype(int)
    table.attrs["title"] = f"{title}, degrees of freedom: {results.ddf}"
    return table


def _row(results: MixedLMResults, L: Array) -> list[Any]:
    """Return sums of squares, degrees of freedom, F and p of one hypothesis.

    The mean square is F σ² before Kenward and Roger's scaling, as in lmerTest.
    """
    if not len(L):
        return [np.nan, np.nan, 0, np.nan, np.nan, np.nan]
    test = f_contrast(results, L, None, scalar=True, basis=L)
    scale, _ = results.ddf_method.f(L)
    mean_square = float(test.fvalue) / scale * results.sigma**2
    return [
        mean_square * len(L), mean_square, len(L), test.df_denom, float(test.fvalue),
        float(test.pvalue),
    ]  # fmt: skip
