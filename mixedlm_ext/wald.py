"""Wald tests of the terms of the fixed part."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from statsmodels.stats.contrast import WaldTestResults

if TYPE_CHECKING:
    from mixedlm_ext.results import MixedLMResults

Array = NDArray[np.float64]

__all__ = ["term_columns", "term_tests"]


def term_columns(results: MixedLMResults) -> dict[str, list[int]]:
    """Return for each term of the fixed part the positions of its estimable coefficients."""
    design = results.fit_record.design
    if design.fixed_info is None:
        return {name: [i] for i, name in enumerate(results.model.exog_names)}
    place = {int(column): i for i, column in enumerate(design.column_map)}
    out = {}
    for name, part in design.fixed_info.term_name_slices.items():
        kept = [place[j] for j in range(part.start, part.stop) if j in place]
        if kept:
            out[name] = kept
    return out


def term_tests(
    results: MixedLMResults,
    skip_single: bool,
    extra_constraints: Sequence[tuple[str, Any]],
    combine_terms: Sequence[str],
    scalar: bool,
) -> WaldTestResults:
    """Test for each term that its coefficients are zero (see `MixedLMResults.wald_test_terms`)."""
    identity = np.eye(len(results.fit_record.beta))
    terms = term_columns(results)
    hypotheses: list[tuple[str, Any]] = [
        (name, identity[columns])
        for name, columns in terms.items()
        if not (skip_single and len(columns) == 1)
    ]
    for part in combine_terms:
        columns = [i for name, own in terms.items() if part in name for i in own]
        if columns:
            hypotheses.append((part, identity[columns]))
    hypotheses += list(extra_constraints)
    rows = [_row(results, matrix, scalar) for _, matrix in hypotheses]
    names = ["statistic", "pvalue", "df_constraint", "df_denom"]
    table = pd.DataFrame(
        rows,
        index=[name for name, _ in hypotheses],
        columns=names if results.use_t else names[:3],
    )
    return WaldTestResults(None, "F" if results.use_t else "chi2", None, table=table)


def _row(results: MixedLMResults, matrix: Array, scalar: bool) -> list[Any]:
    """Return statistic, p-value and degrees of freedom of one hypothesis."""
    test = results.wald_test(matrix, scalar=scalar)
    if results.use_t:
        return [test.statistic, test.pvalue, int(test.df_num), test.df_denom]
    return [test.statistic, test.pvalue, int(test.df_denom)]
