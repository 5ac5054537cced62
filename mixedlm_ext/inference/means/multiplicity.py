"""Adjustment of p-values and intervals for the number of contrasts in a family."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from statsmodels.stats.multitest import multipletests

from mixedlm_ext.errors import FitError, check_choice
from mixedlm_ext.inference.means.multivariate_t import max_t_isf, max_t_sf
from mixedlm_ext.inference.means.studentized_range import (
    studentized_range_isf,
    studentized_range_sf,
)

Array = NDArray[np.float64]

__all__ = [
    "ADJUSTMENTS",
    "Family",
    "adjusted_half_widths",
    "adjusted_pvalues",
    "adjustment_note",
    "read_adjustment",
]

ADJUSTMENTS = (
    "none", "tukey", "dunnett", "mvt", "scheffe", "bonferroni", "sidak", "holm", "holm-sidak",
    "simes-hochberg", "hommel", "fdr_bh", "fdr_by",
)  # fmt: skip
_ALIASES = {
    "dunnett": "mvt", "dunnettx": "mvt", "hochberg": "simes-hochberg", "BH": "fdr_bh",
    "fdr": "fdr_bh", "BY": "fdr_by",
}  # fmt: skip
_BY_RANK = ("holm", "holm-sidak", "simes-hochberg", "hommel", "fdr_bh", "fdr_by")
"""They adjust by the order of the p-values, which no interval corresponds to."""


@dataclass(frozen=True, eq=False)
class Family:
    """Contrasts that are judged together.

    Attributes
    ----------
    t, df : ndarray (m,)
        Statistics and degrees of freedom; nan where a contrast is not estimable.
    cov : ndarray (m, m)
        Their covariance matrix.
    n_means : int
        Number of the means that they compare.
    """

    t: Array
    df: Array
    cov: Array
    n_means: int

    @property
    def pvalues(self) -> Array:
        """Two-sided p-values of each contrast alone."""
        return np.asarray(2.0 * stats.t.sf(np.abs(self.t), self.df))

    @property
    def count(self) -> int:
        """Number of contrasts that are tested."""
        return int((~np.isnan(self.pvalues)).sum())

    @property
    def rank(self) -> int:
        """Dimension of the space of the contrasts."""
        values = np.linalg.eigvalsh(self.corr)
        return max(int((values > 1e-10 * len(values)).sum()), 1)

    @property
    def corr(self) -> Array:
        """Correlation matrix of the contrasts that are not constant."""
        sd = np.sqrt(np.diag(self.cov))
        sd = np.where(sd > 0, sd, np.inf)
        tested = np.isfinite(sd) & ~np.isnan(self.t)
        out = (self.cov / np.outer(sd, sd))[np.ix_(tested, tested)]
        np.fill_diagonal(out, 1.0)
        return np.asarray(out)


def read_adjustment(adjust: Any) -> str:
    """Return the name of an adjustment, R's names among those that are understood.

    Raises
    ------
    FitError
        If there is no such adjustment.
    """
    if adjust is None:
        return "none"
    check_choice("adjust", adjust, ADJUSTMENTS, FitError, aliases=_ALIASES)
    return _ALIASES.get(adjust, adjust)


def adjusted_pvalues(family: Family, adjust: str) -> Array:
    """Return the p-values adjusted for their number.

    Parameters
    ----------
    family : Family
    adjust : str
        One of `ADJUSTMENTS`.

    Returns
    -------
    ndarray (m,)

    Notes
    -----
    Small p-values keep their digits: tails are computed as such and never as 1 - P.
    """
    p, t, m = family.pvalues, np.abs(family.t), family.count
    if adjust == "none" or m == 0:
        return p
    if adjust == "tukey":
        return studentized_range_sf(np.sqrt(2.0) * t, family.n_means, family.df)
    if adjust == "mvt":
        return max_t_sf(t, family.corr, family.df)
    if adjust == "scheffe":
        return _f_sf(t**2 / family.rank, family.rank, family.df)
    if adjust == "bonferroni":
        return np.minimum(m * p, 1.0)
    if adjust == "sidak":
        return np.asarray(-np.expm1(m * np.log1p(-p)))
    out = np.full(len(p), np.nan)
    known = ~np.isnan(p)
    if adjust == "holm-sidak":
        out[known] = _step_down_sidak(p[known])
    else:
        out[known] = multipletests(p[known], method=adjust)[1]
    return out


def adjusted_half_widths(family: Family, adjust: str, alpha: float) -> Array:
    """Return the multiples of the standard errors that intervals extend to both sides.

    Parameters
    ----------
    family : Family
    adjust : str
    alpha : float

    Returns
    -------
    ndarray (m,)
        The intervals of a family cover together with probability 1 - alpha and agree with its
        p-values. Methods that go by the order of the p-values (holm, fdr_bh, ...) have no intervals
        of their own; Bonferroni's take their place, as in R's emmeans.
    """
    m, df = family.count, family.df
    if m == 0:
        return np.full(len(df), np.nan)
    if adjust == "tukey":
        return studentized_range_isf(alpha, family.n_means, df) / np.sqrt(2.0)
    if adjust == "mvt":
        return max_t_isf(alpha, family.corr, df)
    if adjust == "scheffe":
        return np.sqrt(family.rank * _f_isf(alpha, family.rank, df))
    if adjust == "sidak":
        return np.asarray(stats.t.isf(-np.expm1(np.log1p(-alpha) / m) / 2.0, df))
    share = m if adjust == "bonferroni" or adjust in _BY_RANK else 1
    return np.asarray(stats.t.isf(alpha / (2.0 * share), df))


def adjustment_note(adjust: str) -> str:
    """Say how the intervals of contrasts were adjusted."""
    if adjust == "none":
        return "p-values and intervals are not adjusted"
    if adjust in _BY_RANK:
        return f"p-values adjusted by {adjust}, intervals by bonferroni ({adjust} has none)"
    return f"p-values and intervals adjusted by {adjust}"


def _f_sf(f: Array, r: int, df: Array) -> Array:
    """Return the upper tail of the F distribution, chi-squared for infinite df."""
    limit = stats.chi2.sf(r * f, r)
    return np.where(np.isinf(df), limit, stats.f.sf(f, r, np.where(np.isinf(df), 1.0, df)))


def _f_isf(p: float, r: int, df: Array) -> Array:
    """Return the upper quantile of the F distribution, chi-squared for infinite df."""
    limit = stats.chi2.isf(p, r) / r
    return np.where(np.isinf(df), limit, stats.f.isf(p, r, np.where(np.isinf(df), 1.0, df)))


def _step_down_sidak(p: Array) -> Array:
    """Return Holm's step-down p-values with Sidak's inequality."""
    order = np.argsort(p)
    steps = -np.expm1(np.arange(len(p), 0, -1) * np.log1p(-p[order]))
    out = np.empty(len(p))
    out[order] = np.maximum.accumulate(steps)
    return out
