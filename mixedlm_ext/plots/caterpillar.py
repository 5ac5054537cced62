"""Pictures of the conditional modes: sorted with intervals, and against normal quantiles."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from mixedlm_ext.errors import did_you_mean
from mixedlm_ext.plots.axes import Names, finish, legend_above, level_room
from mixedlm_ext.plots.colors import GRID, REFERENCE, blend, line_colors
from mixedlm_ext.plots.figure import PlotError, begins_row, panels
from mixedlm_ext.plots.labels import bare
from mixedlm_ext.plots.quantiles import draw_quantiles
from mixedlm_ext.plots.selection import check_alpha, estimated, level_names, terms_named

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from mixedlm_ext.plots.selection import Results

Array = NDArray[np.float64]

__all__ = ["caterpillar", "mode_quantiles"]

_BAND_FROM = 150
"""Levels from which the intervals are drawn as a band."""


def caterpillar(
    result: Results,
    term: str | None = None,
    sort_by: str | None = None,
    alpha: float = 0.05,
    ax: Any = None,
) -> Figure:
    """Draw the conditional modes of the random effects with intervals, sorted.

    Parameters
    ----------
    result : MixedLMResults or MixedGLMResults
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
    size = _caterpillar_size([level_names(t) for t in terms], len(columns))
    figure, axes = panels(len(columns), ax, size=size)
    z = float(stats.norm.ppf(1 - alpha / 2))
    here = iter(axes)
    texts = []
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
            mode = f"conditional mode, {1 - alpha:.0%} interval"
            beside = t.group if j == 0 or begins_row(panel) else ""
            texts.append(Names(f"{bare(t.name)}: {bare(column)}", mode, beside, names))
    finish(axes, texts)
    return figure


def _caterpillar_size(names: list[list[str]], count: int) -> tuple[float, float]:
    """Return the size of a panel that has room for the names of the levels."""
    named = [n for n in names if level_room(n)[1]]
    beside = max((level_room(n)[0] for n in named), default=0.0)
    high = max((len(n) * level_room(n)[1] for n in named), default=0.0)
    height = float(np.clip(high + 1.3, 2.6, 9.0))
    if len(named) < len(names):
        height = max(height, 4.8)
    width = 4.8 if count == 1 else 3.4 if count == 2 else 2.8
    return width + beside * len(named) / count, height


def mode_quantiles(
    result: Results,
    term: str | None = None,
    alpha: float = 0.05,
    n_labels: int = 3,
    ax: Any = None,
) -> Figure:
    """Draw the conditional modes of the random effects against normal quantiles.

    Parameters
    ----------
    result : MixedLMResults or MixedGLMResults
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
    figure, axes = panels(len(columns), ax, size=(3.8 if len(columns) > 1 else 5.4, 4.0))
    names, texts = [], []
    for panel, (i, j) in zip(axes, columns):
        t = terms[i]
        modes = np.asarray(result.random_effects[t.name])[:, j]
        names.append(draw_quantiles(panel, modes, level_names(t), alpha, n_labels))
        if not estimated(result.fit_record, i, j):
            _say_zero(panel, panel.set_ylim)
            names.pop()
        title = f"{bare(t.name)}: {bare(t.columns[j])}"
        texts.append(Names(title, "standard normal quantile", "conditional mode"))
    finish(axes, texts)
    legend_above(axes[0])
    for write in names:
        write()
    return figure


def _draw_sorted(ax: Axes, modes: Array, half: Array) -> None:
    """Draw the modes bottom up, with intervals of these half widths."""
    height = np.arange(len(modes))
    (color,) = line_colors(1)
    ax.axvline(0.0, color=blend(ax, REFERENCE), linewidth=0.8)
    if len(modes) < _BAND_FROM:
        ax.grid(axis="y", color=blend(ax, GRID))
        ax.set_axisbelow(True)
        ax.hlines(height, modes - half, modes + half, color=color, linewidth=1.2)
        ax.plot(modes, height, "o", color=color, markersize=4 if len(modes) < 60 else 2.5)
        return
    band = blend(ax, 0.25, color)
    ax.fill_betweenx(height, modes - half, modes + half, color=band, linewidth=0, zorder=0)
    ax.plot(modes, height, ".", color=color, markersize=1.5, rasterized=True)


def _say_zero(ax: Axes, set_limits: Callable[[float, float], Any]) -> None:
    """Say that there is nothing but rounding errors to see."""
    set_limits(-1.0, 1.0)
    ax.text(0.97, 0.7, "estimated variance: 0", ha="right", transform=ax.transAxes)
