"""Pictures of the conditional modes: sorted with intervals, and against normal quantiles."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from mixedlm_ext.errors import did_you_mean
from mixedlm_ext.plots.figure import REFERENCE, PlotError, level_ticks, panels
from mixedlm_ext.plots.labels import cut
from mixedlm_ext.plots.quantiles import draw_quantiles
from mixedlm_ext.plots.selection import check_alpha, estimated, level_names, terms_named

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from mixedlm_ext.results import MixedLMResults

Array = NDArray[np.float64]

__all__ = ["caterpillar", "mode_quantiles"]

_BAND_FROM = 150
"""Levels from which the intervals are drawn as a band."""


def caterpillar(
    result: MixedLMResults,
    term: str | None = None,
    sort_by: str | None = None,
    alpha: float = 0.05,
    ax: Any = None,
) -> Figure:
    """Draw the conditional modes of the random effects with intervals, sorted.

    Parameters
    ----------
    result : MixedLMResults
    term : str, optional
        One random-effects term, by its name in ``result.random_effects``. All by default.
    sort_by : str, optional
        The column whose modes order the levels, in all panels of a term alike. The first column of
        each term by default.
    alpha : float
        One minus the level of the intervals: mode ± normal quantile times conditional standard
        deviation, beta and theta as known.
    ax : Axes or sequence of Axes, optional
        One for each column of the terms.

    Returns
    -------
    Figure
        A panel for each column of each term.

    Raises
    ------
    PlotError
        If there is no such term or column, or ax does not fit.
    MatplotlibMissingError
        If matplotlib is not installed.

    Examples
    --------
    >>> from mixedlm_ext import MixedLM, datasets, plots
    >>> data = datasets.sleepstudy.load_pandas().data
    >>> result = MixedLM.from_formula("Reaction ~ Days + (Days | Subject)", data).fit()
    >>> figure = plots.caterpillar(result)
    >>> [ax.get_title() for ax in figure.axes]
    ['Subject: Intercept', 'Subject: Days']
    """
    check_alpha(alpha)
    chosen = terms_named(result, term)
    terms = [result.fit_record.design.terms[i] for i in chosen]
    columns = [c for t in terms for c in t.columns]
    if sort_by is not None and sort_by not in columns:
        raise PlotError(
            f"there is no random-effects column {sort_by!r}.{did_you_mean(sort_by, columns)} "
            f"Use one of {', '.join(repr(c) for c in dict.fromkeys(columns))}."
        )
    most = max(len(t.levels) for t in terms)
    height = float(np.clip(0.19 * most + 1.1, 2.6, 9.0)) if most <= 60 else 4.8
    figure, axes = panels(len(columns), ax, size=(3.6 if len(columns) > 1 else 5.4, height))
    z = float(stats.norm.ppf(1 - alpha / 2))
    here = iter(axes)
    for i, t in zip(chosen, terms):
        modes, sd = (
            np.asarray(r[t.name]) for r in (result.random_effects, result.random_effects_sd)
        )
        by = t.columns.index(sort_by) if sort_by in t.columns else 0
        order = np.argsort(modes[:, by], kind="stable")
        names = np.array(level_names(t))[order].tolist()
        for j, column in enumerate(t.columns):
            panel = next(here)
            _draw_sorted(panel, modes[order, j], z * sd[order, j])
            if not estimated(result.fit_record, i, j):
                _say_zero(panel, panel.set_xlim)
            level_ticks(panel, names, t.group, labelled=j == 0)
            panel.set_title(_title(t.name, column))
            panel.set_xlabel(f"conditional mode, {1 - alpha:.0%} interval")
    return figure


def mode_quantiles(
    result: MixedLMResults,
    term: str | None = None,
    alpha: float = 0.05,
    n_labels: int = 3,
    ax: Any = None,
) -> Figure:
    """Draw the conditional modes of the random effects against normal quantiles.

    Parameters
    ----------
    result : MixedLMResults
    term : str, optional
        One random-effects term. All by default.
    alpha : float
        One minus the probability of the band, that of independent normal values with the quartiles
        of the modes. Modes are shrunk by different amounts in unbalanced data, so it is a guide.
    n_labels : int
        Levels to name at most, the farthest of those outside the band.
    ax : Axes or sequence of Axes, optional
        One for each column of the terms.

    Returns
    -------
    Figure
        A panel for each column of each term.

    Raises
    ------
    PlotError
        If there is no such term, or ax does not fit.
    MatplotlibMissingError
        If matplotlib is not installed.

    Examples
    --------
    >>> from mixedlm_ext import MixedLM, datasets, plots
    >>> data = datasets.penicillin.load_pandas().data
    >>> result = MixedLM.from_formula("diameter ~ 1 + (1 | plate) + (1 | sample)", data).fit()
    >>> figure = plots.mode_quantiles(result, "plate")
    >>> figure.axes[0].get_title()
    'plate: Intercept'
    """
    check_alpha(alpha)
    terms = result.fit_record.design.terms
    columns = [(i, j) for i in terms_named(result, term) for j in range(len(terms[i].columns))]
    figure, axes = panels(len(columns), ax, size=(3.8 if len(columns) > 1 else 5.4, 3.8))
    for panel, (i, j) in zip(axes, columns):
        t = terms[i]
        modes = np.asarray(result.random_effects[t.name])[:, j]
        draw_quantiles(panel, modes, level_names(t), alpha, n_labels)
        if not estimated(result.fit_record, i, j):
            _say_zero(panel, panel.set_ylim)
        panel.set_title(_title(t.name, t.columns[j]))
        panel.set_ylabel("conditional mode")
    axes[0].legend(loc="upper left", fontsize=8)
    return figure


def _draw_sorted(ax: Axes, modes: Array, half: Array) -> None:
    """Draw the modes bottom up, with intervals of these half widths."""
    height = np.arange(len(modes))
    ax.axvline(0.0, color=REFERENCE, linewidth=0.8)
    if len(modes) < _BAND_FROM:
        ax.grid(axis="y", color="0.93")
        ax.set_axisbelow(True)
        ax.hlines(height, modes - half, modes + half, color="C0", linewidth=1.2)
        ax.plot(modes, height, "o", color="C0", markersize=4 if len(modes) < 60 else 2.5)
        return
    ax.fill_betweenx(height, modes - half, modes + half, color="C0", alpha=0.25, linewidth=0)
    ax.plot(modes, height, ".", color="C0", markersize=1.5, rasterized=True)


def _say_zero(ax: Axes, set_limits: Callable[[float, float], Any]) -> None:
    """Say that there is nothing but rounding errors to see."""
    set_limits(-1.0, 1.0)
    ax.text(0.97, 0.7, "estimated variance: 0", ha="right", transform=ax.transAxes)


def _title(term: str, column: str) -> str:
    """Name a panel."""
    return f"{cut(term, 16)}: {cut(column, 16)}"
