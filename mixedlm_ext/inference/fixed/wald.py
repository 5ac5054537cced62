"""t and F tests of linear hypotheses about the fixed effects, by the fit's degrees of freedom."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import patsy
from numpy.typing import NDArray
from scipy import stats
from statsmodels.stats.contrast import ContrastResults, WaldTestResults
from statsmodels.tools.sm_exceptions import ValueWarning

from mixedlm_ext.design import Design
from mixedlm_ext.design.messages import list_names
from mixedlm_ext.design.rank import independent_columns
from mixedlm_ext.errors import DesignWarning, FitError, warn_caller
from mixedlm_ext.estimation.fitted import Fitted
from mixedlm_ext.inference.fixed.basis import basis_of_test

Array = NDArray[np.float64]

__all__ = [
    "f_contrast",
    "read_hypothesis",
    "t_test",
    "term_columns",
    "wald_test",
    "wald_test_terms",
]


def read_hypothesis(design: Design, names: Sequence[str], r_matrix: Any) -> tuple[Array, Array]:
    """Return L (r, p) and the values q (r,) of Lβ = q from an array, a string or a tuple of them.

    Raises
    ------
    FitError
        If a name is not a fixed effect, the array does not have p columns, or a row that involves
        columns left out of X is not estimable.
    """
    L, q, estimable = _read_rows(design, names, r_matrix)
    if not estimable.all():
        raise FitError(_lost(design, estimable))
    return L, q


def _read_rows(
    design: Design, x_names: Sequence[str], r_matrix: Any
) -> tuple[Array, Array, NDArray[np.bool_]]:
    """Return L, q, and whether each row is estimable.

    A hypothesis about the coefficients of the fit always is. One with a column for each column of
    the formula, or that names columns left out, is about all of them.
    """
    names = list(x_names)
    kept = np.arange(len(names))
    if design.null is not None:
        every = list(design.all_x_names)
        for column, name in zip(design.column_map, names):
            every[column] = name
        if _is_about(r_matrix, every, design.dropped):
            names, kept = every, design.column_map
    C, q = _constraint(names, r_matrix)
    estimable = np.ones(len(C), dtype=bool) if len(names) == len(kept) else design.estimable(C)
    return C[:, kept], q, estimable


def _is_about(r_matrix: Any, every: Sequence[str], dropped: Sequence[str]) -> bool:
    """Say whether a hypothesis is about all columns, those left out of X among them."""
    rows = r_matrix[0] if isinstance(r_matrix, tuple) and len(r_matrix) == 2 else r_matrix
    if isinstance(rows, str):
        return any(name in rows for name in dropped)
    if isinstance(rows, (list, tuple)) and all(isinstance(row, str) for row in rows):
        return any(name in row for name in dropped for row in rows)
    shape = np.shape(rows)
    return len(shape) in (1, 2) and shape[-1] == len(every)


def _lost(design: Design, estimable: NDArray[np.bool_]) -> str:
    """Say that some rows of a hypothesis are not estimable."""
    which = ""
    if len(estimable) > 1:
        which = f" in its rows {', '.join(map(str, np.flatnonzero(~estimable)))} (from 0)"
    return (
        f"the hypothesis is not estimable{which}: the data do not determine it, because "
        f"X has full rank only without {list_names(design.dropped)}. Test a "
        "combination that the data have."
    )


def _constraint(names: Sequence[str], r_matrix: Any) -> tuple[Array, Array]:
    """Let patsy read a hypothesis about the coefficients called `names`."""
    if isinstance(r_matrix, str) and not r_matrix.strip():
        r_matrix = []
    try:
        constraint = patsy.DesignInfo(names).linear_constraint(r_matrix)
    except (patsy.PatsyError, ValueError, TypeError) as error:
        reason = str(error).splitlines()[0]
        raise FitError(
            f"the hypothesis cannot be read: {reason}. The fixed effects are {', '.join(names)}; "
            "pass an expression such as 'x = 0', or an array with one column for each of them."
        ) from None
    C = np.asarray(constraint.coefs, dtype=float)
    q = np.ravel(constraint.constants).astype(float)
    if not (np.isfinite(C).all() and np.isfinite(q).all()):
        raise FitError("the hypothesis has numbers that are not finite. Pass finite ones.")
    return C, q


def t_test(
    fitted: Fitted, r_matrix: Any, cov_p: Any = None, use_t: bool | None = None
) -> ContrastResults:
    """Test each of several linear hypotheses Lβ = q.

    Parameters
    ----------
    r_matrix : array_like, str or tuple
        L with one column for each fixed effect; or an expression such as ``"x1 = x2, x3 = 1"``;
        or a tuple (L, q).
    cov_p : array_like, optional
        Another covariance matrix of the fixed effects.
    use_t : bool, optional
        Student's t with the degrees of freedom of the fit, or the normal distribution.

    Returns
    -------
    ContrastResults

    Raises
    ------
    FitError
        If the hypothesis cannot be read, or its only row is not estimable.

    Notes
    -----
    Where X has not full rank, L may have a column for each column of the formula, and an
    expression may name those that were left out. Rows that the data do not determine are nan,
    with a warning.
    """
    design = fitted.design
    L, q, estimable = _read_rows(design, fitted.x_names, r_matrix)
    if not estimable.all():
        if len(estimable) == 1:
            raise FitError(_lost(design, estimable))
        warn_caller(_lost(design, estimable), DesignWarning)
    effect = L @ fitted.beta
    cov = fitted.method.cov() if cov_p is None else np.asarray(cov_p)
    sd = np.sqrt(np.einsum("rp,pq,rq->r", L, cov, L))
    with np.errstate(divide="ignore", invalid="ignore"):
        t = (effect - q) / sd
    effect, t, sd = (np.where(estimable, values, np.nan) for values in (effect, t, sd))
    if not (fitted.use_t if use_t is None else use_t):
        return ContrastResults(effect=effect, statistic=t, sd=sd, distribution="norm")
    df = np.full(len(L), np.nan)
    df[estimable] = fitted.method.t(L[estimable])
    return ContrastResults(effect=effect, t=t, sd=sd, df_denom=df)


def wald_test(
    fitted: Fitted,
    r_matrix: Any,
    cov_p: Any = None,
    invcov: Any = None,
    use_f: bool | None = None,
    df_constraints: int | None = None,
    scalar: bool = True,
) -> ContrastResults:
    """Test several linear hypotheses Lβ = q together.

    Parameters
    ----------
    r_matrix : array_like, str or tuple
        As for `t_test`.
    cov_p, invcov : array_like, optional
        Another covariance matrix of the fixed effects; the inverse covariance of Lβ.
    use_f : bool, optional
        F with the degrees of freedom of the fit, or chi-squared; follows `use_t` by default.
    df_constraints : int, optional
        Number of hypotheses, their rank by default.
    scalar : bool
        The statistic as a float rather than an array.

    Returns
    -------
    ContrastResults

    Raises
    ------
    FitError
        If the hypothesis cannot be read, or a row of it is not estimable (see `t_test`).
    """
    by_f = fitted.use_t if use_f is None else use_f
    if by_f:
        return f_contrast(fitted, r_matrix, cov_p, scalar, invcov, df_constraints)
    joint = _joint(fitted, r_matrix, cov_p, invcov)
    df = joint.rank if df_constraints is None else df_constraints
    chi2 = joint.squared if scalar else np.array([[joint.squared]])
    return ContrastResults(
        chi2=chi2, df_denom=df, statistic=chi2, distribution="chi2", distargs=(df,)
    )


@dataclass(frozen=True, eq=False)
class _Joint:
    """What a test of all rows of a hypothesis together needs.

    Attributes
    ----------
    independent : ndarray (rank, p)
        Combinations of the rows that are independent of one another.
    rank : int
    squared : float
        (Lβ - q)'[cov(Lβ)]⁻¹(Lβ - q).
    """

    independent: Array
    rank: int
    squared: float


def _joint(fitted: Fitted, r_matrix: Any, cov_p: Array | None, invcov: Array | None) -> _Joint:
    """Read a hypothesis and set aside redundant rows, with a warning."""
    L, q = read_hypothesis(fitted.design, fitted.x_names, r_matrix)
    cov = fitted.method.cov() if cov_p is None else np.asarray(cov_p)
    # in units of the model's standard errors, so that the rank does not depend on the columns'
    sd = np.sqrt(np.einsum("rp,pq,rq->r", L, fitted.fit.unscaled_cov, L))
    sd = np.where(sd > 0, sd, 1.0)
    unit = L / sd[:, None]
    values, vectors = np.linalg.eigh(unit @ cov @ unit.T)
    kept = values > 1e-10 * max(float(values.max()), 0.0)
    rank = int(kept.sum())
    if rank == 0:
        raise FitError("the hypothesis has only zeros; give some fixed effect a coefficient.")
    if rank < len(L):
        if len(independent_columns(np.column_stack([L, q]).T)) > len(independent_columns(L.T)):
            raise FitError(
                "the hypothesis contradicts itself: rows that ask for the same combination give it "
                "different values. Give each combination one value."
            )
        whose = "the hypothesis"
        if len(independent_columns(L.T)) > rank:
            whose = f"the hypothesis ({fitted.method.name}: its covariance is singular)"
        warn_caller(f"{whose} has {len(L)} rows but rank {rank}; {rank} are tested", ValueWarning)
    independent = vectors[:, kept].T @ unit
    away = L @ fitted.beta - q
    z = vectors[:, kept].T @ (away / sd)
    squared = (z**2 / values[kept]).sum() if invcov is None else away @ np.asarray(invcov) @ away
    return _Joint(independent, rank, float(squared))


def f_contrast(
    fitted: Fitted,
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
    joint = _joint(fitted, r_matrix, cov_p, invcov)
    if basis is None or joint.rank < len(basis):
        basis = basis_of_test(fitted.fit, joint.independent)
    scale, df = fitted.method.f(basis)
    df_num = float(joint.rank if df_constraints is None else df_constraints)
    F = scale * joint.squared / df_num
    statistic = F if scalar else np.array([[F]])
    test = ContrastResults(F=statistic, df_denom=df, df_num=df_num)
    if np.isinf(df):  # SciPy's F distribution has no limit there
        test.pvalue = float(stats.chi2.sf(F * df_num, df_num))
    return test


def term_columns(fitted: Fitted) -> dict[str, list[int]]:
    """Return for each term of the fixed part the positions of its estimable coefficients."""
    design = fitted.design
    if design.fixed_info is None:
        return {name: [i] for i, name in enumerate(fitted.x_names)}
    place = {int(column): i for i, column in enumerate(design.column_map)}
    out = {}
    for name, part in design.fixed_info.term_name_slices.items():
        kept = [place[j] for j in range(part.start, part.stop) if j in place]
        if kept:
            out[name] = kept
    return out


def wald_test_terms(
    fitted: Fitted,
    skip_single: bool = False,
    extra_constraints: Sequence[tuple[str, Any]] | None = None,
    combine_terms: Sequence[str] | None = None,
    scalar: bool = True,
) -> WaldTestResults:
    """Wald tests that all coefficients of a term are zero, for every term.

    Parameters
    ----------
    skip_single : bool
        Leave out terms of one coefficient.
    extra_constraints : list of (name, matrix), optional
        Further hypotheses.
    combine_terms : list of str, optional
        For each string, also test all terms whose names contain it together.
    scalar : bool
        Statistics as floats rather than arrays.

    Returns
    -------
    WaldTestResults
    """
    identity = np.eye(len(fitted.fit.beta))
    terms = term_columns(fitted)
    hypotheses: list[tuple[str, Any]] = [
        (name, identity[columns])
        for name, columns in terms.items()
        if not (skip_single and len(columns) == 1)
    ]
    for part in combine_terms or []:
        columns = [i for name, own in terms.items() if part in name for i in own]
        if columns:
            hypotheses.append((part, identity[columns]))
    hypotheses += list(extra_constraints or [])
    rows = [_row(fitted, matrix, scalar) for _, matrix in hypotheses]
    names = ["statistic", "pvalue", "df_constraint", "df_denom"]
    table = pd.DataFrame(
        rows,
        index=[name for name, _ in hypotheses],
        columns=names if fitted.use_t else names[:3],
    )
    return WaldTestResults(None, "F" if fitted.use_t else "chi2", None, table=table)


def _row(fitted: Fitted, matrix: Array, scalar: bool) -> list[Any]:
    """Return statistic, p-value and degrees of freedom of one hypothesis."""
    test = wald_test(fitted, matrix, scalar=scalar)
    if fitted.use_t:
        return [test.statistic, test.pvalue, int(test.df_num), test.df_denom]
    return [test.statistic, test.pvalue, int(test.df_denom)]
