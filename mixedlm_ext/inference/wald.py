"""t and F tests of linear hypotheses about the fixed effects, by the fit's degrees of freedom."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import patsy
from numpy.typing import NDArray
from scipy import stats
from statsmodels.stats.contrast import ContrastResults, WaldTestResults
from statsmodels.tools.sm_exceptions import ValueWarning

from mixedlm_ext.design.rank import independent_columns
from mixedlm_ext.errors import FitError
from mixedlm_ext.inference.basis import basis_of_test

if TYPE_CHECKING:
    from mixedlm_ext.results import MixedLMResults

Array = NDArray[np.float64]

__all__ = ["f_contrast", "t_contrasts", "term_columns", "term_tests"]


def hypothesis(results: MixedLMResults, r_matrix: Any) -> tuple[Array, Array]:
    """Return L (r, p) and the values q (r,) of Lβ = q from an array, a string or a tuple of them.

    Raises
    ------
    FitError
        If a name is not a fixed effect, or the array does not have p columns.
    """
    names = list(results.model.exog_names)
    try:
        constraint = patsy.DesignInfo(names).linear_constraint(r_matrix)
    except (patsy.PatsyError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise FitError(
            f"the hypothesis cannot be read: {reason}. The fixed effects are {', '.join(names)}; "
            "pass an expression such as 'x = 0', or an array with one column for each of them."
        ) from None
    return np.asarray(constraint.coefs, dtype=float), np.ravel(constraint.constants).astype(float)


def t_contrasts(results: MixedLMResults, r_matrix: Any, cov_p: Array | None) -> ContrastResults:
    """Test each row of a hypothesis by t."""
    L, q = hypothesis(results, r_matrix)
    effect = L @ np.asarray(results.params)
    cov = results.ddf_method.cov() if cov_p is None else np.asarray(cov_p)
    sd = np.sqrt(np.einsum("rp,pq,rq->r", L, cov, L))
    with np.errstate(divide="ignore", invalid="ignore"):
        t = (effect - q) / sd
    return ContrastResults(effect=effect, t=t, sd=sd, df_denom=results.ddf_method.t(L))


def f_contrast(
    results: MixedLMResults,
    r_matrix: Any,
    cov_p: Array | None,
    scalar: bool,
    invcov: Array | None = None,
    df_constraints: int | None = None,
    basis: Array | None = None,
) -> ContrastResults:
    """Test all rows of a hypothesis together by F; redundant rows are set aside with a warning.

    `invcov` takes the place of the inverse covariance of Lβ, `df_constraints` that of its rank;
    `basis` (r, p) spans the same hypothesis, in the form from which degrees of freedom come.
    """
    L, q = hypothesis(results, r_matrix)
    cov = results.ddf_method.cov() if cov_p is None else np.asarray(cov_p)
    # in units of the model's standard errors, so that the rank does not depend on the columns'
    sd = np.sqrt(np.einsum("rp,pq,rq->r", L, results.fit_record.unscaled_cov, L))
    sd = np.where(sd > 0, sd, 1.0)
    unit = L / sd[:, None]
    values, vectors = np.linalg.eigh(unit @ cov @ unit.T)
    kept = values > 1e-10 * max(float(values.max()), 0.0)
    rank = int(kept.sum())
    if rank == 0:
        raise FitError("the hypothesis has only zeros; give some fixed effect a coefficient.")
    if rank < len(L):
        whose = "the hypothesis"
        if len(independent_columns(L.T)) > rank:
            whose = f"the hypothesis ({results.ddf}: its covariance is singular)"
        warnings.warn(
            f"{whose} has {len(L)} rows but rank {rank}; {rank} are tested",
            ValueWarning,
            stacklevel=4,
        )
    independent = vectors[:, kept].T @ unit
    away = L @ np.asarray(results.params) - q
    z = vectors[:, kept].T @ (away / sd)
    squared = (z**2 / values[kept]).sum() if invcov is None else away @ np.asarray(invcov) @ away
    if basis is None or rank < len(basis):
        basis = basis_of_test(results.fit_record, independent)
    scale, df = results.ddf_method.f(basis)
    df_num = float(rank if df_constraints is None else df_constraints)
    F = scale * float(squared) / df_num
    statistic = F if scalar else np.array([[F]])
    test = ContrastResults(F=statistic, df_denom=df, df_num=df_num)
    if np.isinf(df):  # SciPy's F distribution has no limit there
        test.pvalue = float(stats.chi2.sf(F * df_num, df_num))
    return test


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
