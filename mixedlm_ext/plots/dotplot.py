"""Picture of the response by group."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from mixedlm_ext.plots.axes import Names, finish, legend_above, level_room, whole_ticks
from mixedlm_ext.plots.colors import GRID, blend, line_colors
from mixedlm_ext.plots.figure import panels
from mixedlm_ext.plots.selection import (
    check_count,
    design_with_rows,
    evenly,
    grouping,
    level_means,
    level_names,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from mixedlm_ext.plots.selection import Results

__all__ = ["dotplot"]

_JITTER = 0.2
"""Half the height over which the points of a group are spread."""


def dotplot(
    result: Results,
    group: str | None = None,
    max_groups: int = 60,
    rng: int | np.random.Generator | None = 0,
    ax: Any = None,
) -> Figure:
    """Draw the response of each group on a line, groups ordered by their means.

    Parameters
    ----------
    result : MixedLMResults or MixedGLMResults
    group : str, optional
        A grouping factor of the model; that of the first term by default.
    max_groups : int
        Of more groups, so many are drawn, evenly spaced in the order of their means.
    rng : int, Generator or None
        Points are jittered up and down by at random; the same each time by default.
    ax : Axes, optional

    Returns
    -------
    Figure

    Raises
    ------
    PlotError
        If there is no such grouping factor, or the rows were removed.
    MatplotlibMissingError
        If matplotlib is not installed.

    Examples
    --------
    >>> from mixedlm_ext import MixedLM, datasets, plots
    >>> data = datasets.dyestuff.load_pandas().data
    >>> result = MixedLM.from_formula("Yield ~ 1 + (1 | Batch)", data).fit()
    >>> figure = plots.dotplot(result)
    >>> [text.get_text() for text in figure.axes[0].get_yticklabels()]
    ['F', 'D', 'A', 'B', 'C', 'E']
    """
    check_count("max_groups", max_groups)
    design = design_with_rows(result)
    term = grouping(design, group)
    levels = len(term.levels)
    means = level_means(design.y, term.codes, levels)
    present = np.argsort(means, kind="stable")[: int(np.isfinite(means).sum())]
    order = evenly(present, max_groups)
    place = np.full(levels, -1)
    place[order] = np.arange(len(order))
    rows = np.flatnonzero(place[term.codes] >= 0)
    height = place[term.codes[rows]]
    jitter = np.random.default_rng(rng).uniform(-_JITTER, _JITTER, len(rows))
    names = [level_names(term)[i] for i in order]
    beside, step = level_room(names)
    size = 6.0 + beside, float(np.clip(1.6 + max(step, 0.2) * len(order), 2.8, 10))
    figure, (panel,) = panels(1, ax, size=size)
    panel.grid(axis="y", color=blend(panel, GRID))
    panel.set_axisbelow(True)
    look: dict[str, Any] = {"markersize": 5.0, "alpha": 0.8, "markeredgewidth": 0}
    if len(rows) > 30 * len(order):
        look |= {"markersize": 2.5, "alpha": 0.5}
    colors = line_colors(2)
    panel.plot(design.y[rows], height + jitter, "o", color=colors[0], **look)
    panel.plot(
        means[order], np.arange(len(order)), "-", color=colors[1], linewidth=1.5, label="mean"
    )
    whole_ticks(panel.xaxis, design.y)
    title = f"{len(order)} of {levels:,} groups, evenly spaced by mean"
    finish(
        [panel],
        [Names("" if len(order) == levels else title, design.endog_name, term.group, names)],
    )
    legend_above(panel)
    return figure
