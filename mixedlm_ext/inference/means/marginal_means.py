"""Marginal means of factors and their contrasts (Searle, Speed & Milliken 1980, Am. Stat. 34)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from mixedlm_ext.caching import cached_property
from mixedlm_ext.display import page
from mixedlm_ext.errors import FitError, check_choice, check_probability
from mixedlm_ext.estimation.fitted import Fitted
from mixedlm_ext.inference.means.contrast_tables import contrast_table, interaction_table
from mixedlm_ext.inference.means.linear_functions import estimate, lost_note, mark_lost
from mixedlm_ext.inference.means.link_scale import scale_of
from mixedlm_ext.inference.means.reference_grid import average_cells
from mixedlm_ext.inference.means.response_scale import ResponseScale
from mixedlm_ext.inference.means.specs import read_specs, refuse_later
from mixedlm_ext.keywords import refuse_unknown
from mixedlm_ext.products.noise import noise_of
from mixedlm_ext.tables import Table

Array = NDArray[np.float64]

__all__ = ["MarginalMeans", "emmeans"]

TYPES = ("link", "response")
_MEANS_ARGUMENTS = ("specs", "by", "at", "weights", "type", "bias_adjust")


@dataclass(frozen=True, eq=False, repr=False)
class MarginalMeans:
    """Means of the response over a reference grid, by the levels of some factors.

    Made by `MixedLMResults.emmeans`; `MixedLMResults.emtrends` makes the same of slopes.

    Attributes
    ----------
    fitted : Fitted
    levels : Index or MultiIndex (m,)
        What each mean is of: levels of `by`, then those of the factors.
    by : tuple of str
    rows : ndarray (m, all columns)
        The means are rows times coefficients + offset; the columns that were left out of X as not
        estimable are among them.
    offset : ndarray (m,)
    what : str
        "mean" or "trend": the columns of the frames are called so.
    notes : tuple of str
        How it was averaged.
    scale : ResponseScale or None
        The transformation of the response to undo, for ``type="response"``.
    bias : float
        Variance of the correction for the bias of transforming back; zero for none.
    """

    fitted: Fitted
    levels: pd.Index
    by: tuple[str, ...]
    rows: Array
    offset: Array
    what: str = "mean"
    notes: tuple[str, ...] = ()
    scale: ResponseScale | None = None
    bias: float = 0.0

    @cached_property
    def results(self) -> Any:
        """The result whose means these are."""
        return self.fitted.result()

    @property
    def L(self) -> Array:
        """The means of the estimable coefficients: they are Lβ + offset, (m, p)."""
        return self.rows[:, self.fitted.design.column_map]

    def __repr__(self) -> str:
        return "\n".join([self._heading(), repr(self._frame(0.05)), *self._remarks()])

    def _repr_html_(self) -> str:
        return page(self._heading(), [self._frame(0.05)], self._remarks())

    def _heading(self) -> str:
        kind = "Marginal means" if self.what == "mean" else "Marginal trends"
        return f"{kind}, degrees of freedom: {self.fitted.method.name}"

    def _remarks(self) -> list[str]:
        """Say how it was averaged, and what the data do not determine."""
        lost = self.levels[~estimate(self.fitted, self.rows, self.offset).estimable]
        if not len(lost):
            return list(self.notes)
        return [*self.notes, f"Note: {lost_note(self.fitted, lost, f'{self.what}s of')}"]

    def summary_frame(self, alpha: float = 0.05) -> pd.DataFrame:
        """Return the means with their standard errors and confidence intervals.

        Parameters
        ----------
        alpha : float
            The intervals have level 1 - alpha; they are not adjusted for their number.

        Returns
        -------
        DataFrame
            Columns ``mean``, ``mean_se``, ``df``, ``mean_ci_lower``, ``mean_ci_upper`` (``trend``
            and so on for trends). Means that the data do not determine are nan, with a warning.

        Raises
        ------
        FitError
            If alpha is no probability, or the only mean is not estimable.

        Notes
        -----
        With ``type="response"`` the standard errors are by the delta method, and the intervals are
        those of the model's scale transformed back.
        """
        check_probability("alpha", alpha)
        found = estimate(self.fitted, self.rows, self.offset)
        mark_lost(self.fitted, found.estimable, self.levels, f"{self.what}s of")
        return self._frame(alpha)

    def _frame(self, alpha: float) -> pd.DataFrame:
        """Return the table of the means."""
        found = estimate(self.fitted, self.rows, self.offset)
        half = stats.t.isf(alpha / 2.0, found.df) * found.se
        mean, se = found.estimate, found.se
        lower, upper = mean - half, mean + half
        if self.scale is not None:
            slope = np.abs(self.scale.back(mean, self.bias, order=1))
            ends = [self.scale.back(end, self.bias) for end in (lower, upper)]
            lower, upper = np.minimum(*ends), np.maximum(*ends)
            mean, se = self.scale.back(mean, self.bias), slope * se
        columns = {"": mean, "_se": se, "df": found.df, "_ci_lower": lower, "_ci_upper": upper}
        names = [name if name == "df" else self.what + name for name in columns]
        return Table(dict(zip(names, columns.values())), index=self.levels)

    def contrasts(
        self,
        kind: Any = "pairwise",
        reference: Any = None,
        adjust: str | None = None,
        alpha: float = 0.05,
        interaction: Any = None,
        **unknown: Any,
    ) -> pd.DataFrame:
        """Return contrasts of the means, tested.

        Parameters
        ----------
        kind : str, mapping, DataFrame or array_like
            ``"pairwise"`` (all differences; ``"revpairwise"`` the other way round),
            ``"reference"`` (differences from one level, R's "trt.vs.ctrl"), ``"consecutive"``
            (each less the one before), ``"poly"`` (orthogonal polynomials of equidistant levels),
            ``"eff"`` (each less the mean of all), ``"del.eff"`` (less the mean of the others),
            ``"identity"``. Or coefficients, within each level of `by`: ``{"a vs b": [1, -1, 0]}``,
            ``{"a vs b": {"a": 1, "b": -1}}``, one list, a matrix with a row for each contrast, a
            DataFrame whose index names them.
        reference : level, optional
            That level (a tuple of them for several factors); the first by default.
        adjust : str, optional
            How p-values and intervals are adjusted for the number of contrasts within each level of
            `by`: "none", "tukey" (for all pairs), "dunnett" or "mvt" (exact, multivariate t),
            "scheffe", "bonferroni", "sidak", or a method of
            `statsmodels.stats.multitest.multipletests` that goes by the order of the p-values, such
            as "holm" or "fdr_bh", whose intervals are Bonferroni's. By default as R's emmeans:
            "tukey" for pairs, "dunnett" for differences from a reference and consecutive ones,
            "fdr_bh" for effects, "none" for the others.
        alpha : float
            The intervals have level 1 - alpha, adjusted together with the p-values.
        interaction : str, sequence of str or mapping, optional
            Contrasts of contrasts: a kind for every factor, or one for each.

        Returns
        -------
        DataFrame
            Columns ``estimate``, ``se``, ``df``, ``t``, ``pvalue``, ``ci_lower``, ``ci_upper``.
            Contrasts that the data do not determine are nan, with a warning. ``attrs["note"]`` says
            how it was adjusted. With ``type="response"`` differences of logarithms become the
            column ``ratio`` (of logits ``odds_ratio``); other contrasts stay on the scale of the
            model.

        Raises
        ------
        FitError
            If an argument is not known, there is no second mean to compare with, or the only
            contrast is not estimable.

        Examples
        --------
        >>> from mixedlm_ext import MixedLM, datasets
        >>> data = datasets.machines.load_pandas().data
        >>> result = MixedLM.from_formula("score ~ Machine + (1 | Worker)", data).fit()
        >>> means = result.emmeans("Machine")
        >>> means.contrasts("reference")["estimate"].round(3)
        B - A     7.967
        C - A    13.917
        Name: estimate, dtype: float64
        >>> means.contrasts({"C vs others": [-0.5, -0.5, 1]})[["estimate", "se"]].round(3)
                     estimate     se
        C vs others     9.933  0.913
        """
        known = ("kind", "reference", "adjust", "alpha", "interaction")
        refuse_unknown("contrasts", unknown, known)
        check_probability("alpha", alpha)
        if interaction is not None:
            return interaction_table(self, interaction, reference, adjust, alpha)
        return contrast_table(self, kind, reference, adjust, alpha)


def emmeans(
    fitted: Fitted,
    /,
    specs: str | Sequence[str],
    by: str | Sequence[str] | None = None,
    at: Mapping[str, Any] | None = None,
    weights: Any = "equal",
    type: str = "link",
    bias_adjust: bool | float = False,
    **unknown: Any,
) -> MarginalMeans:
    """Estimate marginal means: of the levels of some factors, averaged over the others.

    Parameters
    ----------
    specs : str or sequence of str
        Variables of the fixed part, for each combination of which a mean is wanted.
    by : str or sequence of str, optional
        More of them; contrasts are made within their levels.
    at : mapping of str to value or values, optional
        Values of covariates in place of their mean over the rows, or a choice of levels.
    weights : {"equal", "proportional", "outer", "cells", "flat"} or array_like
        Of the cells that are averaged over: the same for all; how often the combination of the
        averaged factors occurs; the product of how often their levels do; how often the cell
        itself does; the same for all cells that occur. Or numbers, one for each combination of
        the averaged factors. Rows count alike, whatever their prior weights, as in R.
    type : {"link", "response"}
        Whether to undo the transformation of the response in the formula, as in
        ``log(y) ~ ...``. Differences of logarithms become ratios.
    bias_adjust : bool or float
        Whether to correct means on the scale of the response for the bias of transforming back,
        by half the second derivative times the variance of the response about its mean: that of
        the model, random effects included, or the square of the standard deviation given.

    Returns
    -------
    MarginalMeans
        With methods ``summary_frame(alpha)`` and ``contrasts(kind, reference, adjust)``.

    Raises
    ------
    FitError
        If a variable or level does not exist, the way back from the response is not known, or
        the model has no formula.

    See Also
    --------
    emtrends : slopes of a covariate by the levels of factors.

    Notes
    -----
    Random effects are zero; tests are by the method of the fit. An offset counts with its mean,
    one of the formula with its value in the cell.

    A factor each of whose levels occurs with one level of another factor is nested in it, as
    ``site`` is in ``status/site``: its cells that do not occur are not averaged over, and its
    means are given together with what it is nested in. Means that depend on other combinations
    without data are nan, and the rest is answered. So does R's emmeans; unlike there, numeric
    variables with two values count with their mean unless they are named or have a factor
    nested in them.

    Examples
    --------
    >>> from mixedlm_ext import MixedLM, datasets
    >>> data = datasets.cake.load_pandas().data
    >>> formula = "angle ~ recipe * temperature + (1 | recipe:replicate)"
    >>> result = MixedLM.from_formula(formula, data).fit()
    >>> means = result.emmeans("recipe")
    >>> means.summary_frame().round(2)
             mean  mean_se    df  mean_ci_lower  mean_ci_upper
    recipe
    A       33.12     1.74  42.0          29.62          36.63
    B       31.64     1.74  42.0          28.14          35.15
    C       31.60     1.74  42.0          28.09          35.11
    >>> means.contrasts("pairwise", adjust="tukey")[["estimate", "pvalue"]].round(3)
           estimate  pvalue
    A - B     1.478    0.82
    A - C     1.522    0.81
    B - C     0.044    1.00
    """
    refuse_later("emmeans", unknown)
    refuse_unknown("emmeans", unknown, _MEANS_ARGUMENTS)
    grid, groups, wanted = read_specs(fitted, specs, by, at)
    check_choice("type", type, TYPES, FitError)
    if bias_adjust is not False and type != "response":
        raise FitError("bias_adjust= belongs to type='response'. Add that, or leave it out.")
    bias = _bias_variance(fitted, bias_adjust)
    scale = scale_of(fitted) if type == "response" else None
    levels, A, notes = average_cells(grid, [*groups, *wanted], weights)
    if scale is not None:
        notes += (f"Transformed back from {scale.name}, intervals too.",)
    return MarginalMeans(
        fitted, levels, tuple(groups), A @ grid.X, A @ grid.offset, "mean", notes, scale, bias
    )


def _bias_variance(fitted: Fitted, given: bool | float) -> float:
    """Return the variance of the response about its mean: σ², and the random effects' average."""
    if given is False:
        return 0.0
    if given is not True:
        if not isinstance(given, (int, float, np.number)) or not 0 <= given < np.inf:
            raise FitError(
                f"bias_adjust={given!r} is no standard deviation. Give True for that of the model, "
                "or a number."
            )
        return float(given) ** 2
    fit = fitted.fit
    design = fit.design
    total = 0.0
    if fit.has_residual:
        total = float((fit.sigma**2 * noise_of(design).variances).mean())
    for term, cov in zip(design.terms, fit.random_cov):
        total += float(np.einsum("nk,kl,nl->n", term.X, cov, term.X).mean())
    return total
