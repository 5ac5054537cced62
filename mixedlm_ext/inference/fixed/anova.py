"""Analysis-of-variance tables of the fixed effects: an F test for every term."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mixedlm_ext.design import Design
from mixedlm_ext.design.messages import list_names
from mixedlm_ext.errors import FitError, did_you_mean, shown
from mixedlm_ext.estimation.fitted import Fitted
from mixedlm_ext.inference.fixed.fixed_terms import FixedTerm, fixed_terms
from mixedlm_ext.inference.fixed.hypotheses import (
    full_rank_rows,
    is_only_effect,
    marginal,
    type1,
    type2,
    type3,
)
from mixedlm_ext.inference.fixed.indicators import missing_cells
from mixedlm_ext.inference.fixed.wald import f_contrast
from mixedlm_ext.tables import Table

Array = NDArray[np.float64]

__all__ = ["anova", "f_table", "hypotheses_of"]

_TYPES = {"1": "I", "I": "I", "2": "II", "II": "II", "3": "III", "III": "III"}
_TYPES["MARGINAL"] = "marginal"
_COLUMNS = ["sum_sq", "mean_sq", "num_df", "den_df", "F", "pvalue"]


def anova(fitted: Fitted, type: int | str = 3) -> pd.DataFrame:
    """Test every term of the fixed part by F.

    Parameters
    ----------
    type : {1, 2, 3, "marginal"}
        1 tests each term given those before it, 2 given all terms that do not contain it, 3 the
        main effects averaged over what they interact with, whatever the coding of the factors
        (SAS's types, as lmerTest has them). "marginal" tests that the term's own coefficients
        are zero, which depends on the coding where there are interactions.

    Returns
    -------
    DataFrame
        A row for each term; columns ``sum_sq``, ``mean_sq``, ``num_df``, ``den_df``, ``F``,
        ``pvalue``. A term without an estimable coefficient has ``num_df`` 0.

    Raises
    ------
    FitError
        If there is no such type.

    Notes
    -----
    Degrees of freedom are by the method of the fit: Fai and Cornelius for Satterthwaite, scaled
    F for Kenward-Roger; see `with_ddf`. The mean square is F σ² (before that scaling), so that
    it compares with the residual variance.

    Terms stand in the order of their degree and then of the formula. Where R codes a factor of
    an interaction by all its levels (``a + a:b``), lmerTest does not see that it contains
    ``a``; here it does, and type 3 of ``a + a:b`` is that of ``a * b``.

    Examples
    --------
    >>> from mixedlm_ext import MixedLM, datasets
    >>> data = datasets.machines.load_pandas().data
    >>> result = MixedLM.from_formula("score ~ Machine + (Machine | Worker)", data).fit()
    >>> result.anova().round(4)
                  sum_sq  mean_sq  num_df  den_df        F  pvalue
    Machine  75.8266  37.9133       2     5.0  41.0038  0.0008
    """
    kind, terms, hypotheses = hypotheses_of(fitted, type)
    tested = {term.name: L for term, L in zip(terms, hypotheses) if term.factors}
    title = f"Type {kind}" if kind != "marginal" else "Marginal"
    table = f_table(fitted, tested, f"{title} analysis of variance")
    if kind == "III" and fitted.design.dropped:
        table.attrs["note"] = _note_of_missing_cells(fitted, terms)
    return table


def _note_of_missing_cells(fitted: Fitted, terms: list[FixedTerm]) -> str:
    """Return what to know of type III where combinations of levels have no data."""
    design = fitted.design
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


def hypotheses_of(fitted: Fitted, type: int | str) -> tuple[str, list[FixedTerm], list[Array]]:
    """Return the kind of the hypotheses that a user asks for, the terms, and one for each.

    Raises
    ------
    FitError
        If there is no such type.
    """
    kind = _check_type(type)
    terms = fixed_terms(fitted.design)
    return kind, terms, _hypotheses(fitted, terms, kind)


def _hypotheses(fitted: Fitted, terms: list[FixedTerm], kind: str) -> list[Array]:
    """Return one hypothesis for each term."""
    design = fitted.design
    if kind == "I" or is_only_effect(terms):
        return type1(fitted.fit.unweighted_root, terms)
    if kind == "III" and not _is_additive(design, terms):
        fitted.rows("type III hypotheses")
        return type3(design, terms)
    if kind == "II":
        return type2(fitted.fit.unweighted_root, terms)
    return marginal(fitted.fit.problem.cp.R, terms)


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


def f_table(fitted: Fitted, hypotheses: Mapping[str, Array], title: str) -> pd.DataFrame:
    """Return one row of F test for each named hypothesis.

    Parameters
    ----------
    fitted : Fitted
    hypotheses : mapping of str to ndarray (r, p)
        A hypothesis without rows gives missing values.
    title : str

    Returns
    -------
    DataFrame
        ``attrs["title"]`` says what it is and by which method.
    """
    rows = [_row(fitted, full_rank_rows(L)) for L in hypotheses.values()]
    table = Table(rows, index=list(hypotheses), columns=_COLUMNS)
    table["num_df"] = table["num_df"].astype(int)
    table.attrs["title"] = f"{title}, degrees of freedom: {fitted.method.name}"
    return table


def _row(fitted: Fitted, L: Array) -> list[Any]:
    """Return sums of squares, degrees of freedom, F and p of one hypothesis.

    The mean square is F σ² before Kenward and Roger's scaling, as in lmerTest.
    """
    if not len(L):
        return [np.nan, np.nan, 0, np.nan, np.nan, np.nan]
    test = f_contrast(fitted, L, None, scalar=True, basis=L)
    scale, _ = fitted.method.f(L)
    mean_square = float(test.fvalue) / scale * fitted.fit.sigma**2
    return [
        mean_square * len(L), mean_square, len(L), test.df_denom, float(test.fvalue),
        float(test.pvalue),
    ]  # fmt: skip
