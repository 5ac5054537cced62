"""Marginal means of factors and their contrasts (Searle, Speed & Milliken 1980, Am. Stat. 34)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats
from statsmodels.stats.multitest import multipletests

from mixedlm_ext.design import Design
from mixedlm_ext.design.names import list_names
from mixedlm_ext.errors import FitError, did_you_mean
from mixedlm_ext.inference.reference_grid import reference_grid
from mixedlm_ext.inference.wald import t_contrasts

if TYPE_CHECKING:
    from mixedlm_ext.results import MixedLMResults

Array = NDArray[np.float64]

__all__ = ["MarginalMeans", "marginal_means"]

_KINDS = ("pairwise", "reference")
_ADJUSTMENTS = (
    "none", "tukey", "bonferroni", "sidak", "holm", "holm-sidak", "simes-hochberg", "hommel",
    "fdr_bh", "fdr_by",
)  # fmt: skip


@dataclass(frozen=True, eq=False, repr=False)
class MarginalMeans:
    """Means of the response over a reference grid, by the levels of some factors.

    Made by `MixedLMResults.emmeans`.

    Attributes
    ----------
    results : MixedLMResults
    levels : Index or MultiIndex (m,)
        What each mean is of: levels of `by`, then those of the factors.
    by : tuple of str
    L : ndarray (m, p)
        The means are Lβ + offset.
    offset : ndarray (m,)
    """

    results: MixedLMResults
    levels: pd.Index
    by: tuple[str, ...]
    L: Array
    offset: Array

    def __repr__(self) -> str:
        return f"Marginal means, degrees of freedom: {self.results.ddf}\n{self.summary_frame()}"

    def summary_frame(self, alpha: float = 0.05) -> pd.DataFrame:
        """Return the means with their standard errors and confidence intervals.

        Parameters
        ----------
        alpha : float
            The intervals have level 1 - alpha; they are not adjusted for their number.

        Returns
        -------
        DataFrame
            Columns ``mean``, ``mean_se``, ``df``, ``mean_ci_lower``, ``mean_ci_upper``.
        """
        test = t_contrasts(self.results, self.L, None)
        frame = _frame(test.effect + self.offset, test, alpha, self.levels)
        return frame.drop(columns=["t", "pvalue"]).rename(
            columns={
                "estimate": "mean",
                "se": "mean_se",
                "ci_lower": "mean_ci_lower",
                "ci_upper": "mean_ci_upper",
            }
        )

    def contrasts(
        self,
        kind: str = "pairwise",
        reference: Any = None,
        adjust: str = "holm",
        alpha: float = 0.05,
    ) -> pd.DataFrame:
        """Return differences of means, tested.

        Parameters
        ----------
        kind : {"pairwise", "reference"}
            All differences, or those from one level.
        reference : level, optional
            That level (a tuple of them for several factors); the first by default.
        adjust : str
            How p-values are adjusted for the number of contrasts within each level of `by`:
            "none", "tukey" (for all pairs), or a method of
            `statsmodels.stats.multitest.multipletests`, such as "holm" or "fdr_bh".
        alpha : float
            The intervals have level 1 - alpha; they are not adjusted.

        Returns
        -------
        DataFrame
            Columns ``estimate``, ``se``, ``df``, ``t``, ``pvalue``, ``ci_lower``, ``ci_upper``.

        Raises
        ------
        FitError
            If an argument is not known, or there is no second mean to compare with.

        Examples
        --------
        >>> from mixedlm_ext import MixedLM, datasets
        >>> data = datasets.machines.load_pandas().data
        >>> result = MixedLM.from_formula("score ~ Machine + (1 | Worker)", data).fit()
        >>> result.emmeans("Machine").contrasts("reference")["estimate"].round(3)
        B - A     7.967
        C - A    13.917
        Name: estimate, dtype: float64
        """
        _check("kind", kind, _KINDS)
        _check("adjust", adjust, _ADJUSTMENTS)
        if adjust == "tukey" and kind != "pairwise":
            raise FitError("adjust='tukey' is for all pairs. Use adjust='holm' for a reference.")
        frames = []
        for group, members in self._groups().items():
            pairs = _pairs(self.levels[members], len(self.by), kind, reference)
            first, second = (members[list(side)] for side in zip(*pairs))
            test = t_contrasts(self.results, self.L[first] - self.L[second], None)
            names = self._contrast_names(group, first, second)
            difference = test.effect + self.offset[first] - self.offset[second]
            frame = _frame(difference, test, alpha, names)
            frame["pvalue"] = _adjusted(frame, adjust, len(members))
            frames.append(frame)
        return pd.concat(frames)

    def _groups(self) -> dict[tuple[Any, ...], NDArray[np.intp]]:
        """Return the positions of the means of each level of `by`."""
        keys = [_as_tuple(level)[: len(self.by)] for level in self.levels]
        return {
            key: np.array([i for i, other in enumerate(keys) if other == key])
            for key in dict.fromkeys(keys)
        }

    def _contrast_names(
        self, group: tuple[Any, ...], first: NDArray[np.intp], second: NDArray[np.intp]
    ) -> pd.Index:
        """Return "A - B" for each contrast, below the level of `by`."""
        labels = [
            ", ".join(str(part) for part in _as_tuple(level)[len(self.by) :])
            for level in self.levels
        ]
        names = [f"{labels[i]} - {labels[j]}" for i, j in zip(first, second)]
        if not self.by:
            return pd.Index(names)
        return pd.MultiIndex.from_tuples(
            [(*group, name) for name in names], names=[*self.by, "contrast"]
        )


def marginal_means(
    results: MixedLMResults,
    specs: str | Sequence[str],
    by: str | Sequence[str] | None,
    at: Mapping[str, Any] | None,
) -> MarginalMeans:
    """Return what `MixedLMResults.emmeans` returns."""
    design = results.fit_record.design
    if design.formula is None:
        raise FitError(
            "marginal means need a formula, to know which columns of X belong to a factor. "
            "Use t_test() with a row for each mean, or MixedLM.from_formula."
        )
    results._need_rows("the means of its covariates")
    factors = [[names] if isinstance(names, str) else list(names or ()) for names in (by, specs)]
    grid = reference_grid(design, at or {})
    wanted = [*factors[0], *factors[1]]
    _check_factors(wanted, grid.cells)
    members = _members(grid.cells[wanted])
    cells = grid.cells.iloc[[rows[0] for rows in members]][wanted]
    labels = [cells[name].tolist() for name in wanted]
    levels = pd.MultiIndex.from_arrays(labels) if len(wanted) > 1 else pd.Index(labels[0])
    X = np.array([grid.X[rows].mean(axis=0) for rows in members])
    _check_estimable(design, X, levels)
    offset = np.array([grid.offset[rows].mean() for rows in members])
    names = tuple(factors[0])
    return MarginalMeans(results, levels.set_names(wanted), names, X[:, design.column_map], offset)


def _members(cells: pd.DataFrame) -> list[NDArray[np.intp]]:
    """Return the rows of each combination of levels; the first column varies slowest."""
    codes = np.array([pd.factorize(cells[name])[0] for name in cells])
    distinct, place = np.unique(codes, axis=1, return_inverse=True)
    return [np.flatnonzero(np.ravel(place) == i) for i in range(distinct.shape[1])]


def _check_factors(wanted: Sequence[str], cells: pd.DataFrame) -> None:
    """Refuse names that are no variables of the fixed part, and repeated ones."""
    if not wanted:
        raise FitError(f"no factor is named. Choose among {list_names(cells)}.")
    for name in wanted:
        if name not in cells:
            raise FitError(
                f"{name!r} is no variable of the fixed part ({list_names(cells)})."
                f"{did_you_mean(name, map(str, cells))}"
            )
        if wanted.count(name) > 1:
            raise FitError(f"{name!r} is named twice. Put it either first or into by=.")


def _check_estimable(design: Design, X: Array, levels: pd.Index) -> None:
    """Refuse means that depend on coefficients the data say nothing about.

    A column that was left out is a combination X_kept A of the others; a row x is estimable if its
    own entries satisfy the same.
    """
    if not design.dropped:
        return
    matrices = design.matrices
    assert design.frame is not None
    data = matrices.new_data(design.frame, matrices.pieces("fixed"))
    full = matrices.build(data, len(design.y), [0])[0]
    left_out = [design.all_x_names.index(name) for name in design.dropped]
    A = np.linalg.lstsq(design.X, full[:, left_out])[0]
    away = np.abs(X[:, left_out] - X[:, design.column_map] @ A).max(axis=1)
    wrong = levels[away > 1e-8 * np.abs(X).max(initial=1.0)]
    if len(wrong):
        raise FitError(
            f"the marginal means of {list_names(wrong)} are not estimable: they average over "
            f"combinations that do not occur in the data ({list_names(design.dropped)} were left "
            "out). Restrict the levels with at=, or leave the interaction out of the model."
        )


def _pairs(levels: pd.Index, n_by: int, kind: str, reference: Any) -> list[tuple[int, int]]:
    """Return the positions of minuend and subtrahend of every contrast."""
    if len(levels) < 2:
        raise FitError(
            f"there is only one mean, {list_names(levels)}, and none to compare it with."
        )
    if kind == "pairwise":
        return list(combinations(range(len(levels)), 2))
    own = [_as_tuple(level)[n_by:] for level in levels]
    base = own[0] if reference is None else _as_tuple(reference)
    if base not in own:
        known = [level[0] if len(level) == 1 else level for level in own]
        raise FitError(f"reference={reference!r} is no level; there are {list_names(known)}.")
    return [(i, own.index(base)) for i in range(len(own)) if own[i] != base]


def _as_tuple(level: Any) -> tuple[Any, ...]:
    """Return a level of one or several factors as a tuple."""
    return level if isinstance(level, tuple) else (level,)


def _frame(estimate: Array, test: Any, alpha: float, index: pd.Index) -> pd.DataFrame:
    """Return estimates with standard errors, tests of zero and intervals."""
    t, df = np.ravel(test.tvalue), np.ravel(test.df_denom)
    half = stats.t.isf(alpha / 2.0, df) * np.ravel(test.sd)
    return pd.DataFrame(
        {
            "estimate": estimate,
            "se": np.ravel(test.sd),
            "df": df,
            "t": t,
            "pvalue": 2.0 * stats.t.sf(np.abs(t), df),
            "ci_lower": estimate - half,
            "ci_upper": estimate + half,
        },
        index=index,
    )


def _adjusted(frame: pd.DataFrame, adjust: str, n_means: int) -> Array:
    """Return the p-values adjusted for their number."""
    p = frame["pvalue"].to_numpy()
    if adjust == "none":
        return p
    if adjust == "tukey":
        q = np.sqrt(2.0) * np.abs(frame["t"].to_numpy())
        return np.asarray(stats.studentized_range.sf(q, n_means, frame["df"].to_numpy()))
    return np.asarray(multipletests(p, method=adjust)[1])


def _check(argument: str, value: str, allowed: Sequence[str]) -> None:
    """Raise unless `value` is one of `allowed`."""
    if value not in allowed:
        near = did_you_mean(str(value), allowed)
        raise FitError(
            f"{argument}={value!r} is not known.{near} Use one of {list_names(allowed)}."
        )
