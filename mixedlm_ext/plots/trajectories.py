"""Picture of observed and fitted trajectories, a panel for each group."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mixedlm_ext.errors import did_you_mean
from mixedlm_ext.plots.axes import Names, finish, legend_above, room, whole_ticks
from mixedlm_ext.plots.colors import blend, line_colors
from mixedlm_ext.plots.figure import PlotError, panels
from mixedlm_ext.plots.fitted_lines import FittedLine, fitted_lines, is_number
from mixedlm_ext.plots.labels import bare, text_width, wrap
from mixedlm_ext.plots.selection import (
    check_count,
    column_values,
    evenly,
    fit_with_rows,
    grouping,
    level_means,
    level_names,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from mixedlm_ext.design import TermDesign
    from mixedlm_ext.plots.selection import Results

Array = NDArray[np.float64]
Index = NDArray[np.intp]

__all__ = ["trajectories"]

_LEGEND = 2.2
"""Inches for the legend beside the panels."""


def trajectories(
    result: Results,
    x: str,
    group: str | None = None,
    by: str | None = None,
    levels: Sequence[Any] | None = None,
    max_panels: int = 20,
    ax: Any = None,
) -> Figure:
    """Draw observed and fitted values against a variable, one panel a group.

    Parameters
    ----------
    result : MixedLMResults or MixedGLMResults
    x : str
        A variable of the model, numeric or categorical.
    group : str, optional
        A grouping factor; that of the first term by default.
    by : str, optional
        A variable whose values have lines and colours of their own within each panel.
    levels : sequence, optional
        The groups to draw, in this order.
    max_panels : int
        Of more groups, so many are drawn, evenly spaced in the order of their means.
    ax : sequence of Axes, optional
        One for each group drawn.

    Returns
    -------
    Figure
        Panels in the order of the groups' means, from the top left. Points are observations, solid
        lines predictions with the conditional modes, dashed lines those of the fixed effects alone.

    Raises
    ------
    PlotError
        If a variable, grouping factor or group is not known, or the rows were removed.
    MatplotlibMissingError
        If matplotlib is not installed.

    Notes
    -----
    A line shows what x alone does: each of the group's rows is predicted at every x, everything
    else in it (other covariates, levels of other grouping factors) as it is, and the predictions at
    an x are averaged. Predictions are means of the response, of a generalized model as well. For a
    model made from arrays, or with an offset that is an array, the line passes through the mean
    fitted value at each x instead.

    Examples
    --------
    >>> from mixedlm_ext import MixedLM, datasets, plots
    >>> data = datasets.sleepstudy.load_pandas().data
    >>> result = MixedLM.from_formula("Reaction ~ Days + (Days | Subject)", data).fit()
    >>> figure = plots.trajectories(result, "Days")
    >>> len(figure.axes)
    18
    """
    check_count("max_panels", max_panels)
    fit = fit_with_rows(result)
    design = fit.design
    term = grouping(design, group)
    axis = _Horizontal.of(column_values(design, x))
    lines = _Lines.of(None if by is None else column_values(design, by), len(design.y))
    order = _panel_order(term, design.y, levels, max_panels)
    drawn = [
        (p, rows, which)
        for p, level in enumerate(order)
        for rows, which in lines.within(np.flatnonzero(term.codes == level))
    ]
    fits = fitted_lines(fit, x, [rows for _, rows, _ in drawn], axis.values)
    names = [level_names(term)[i] for i in order]
    figure, axes = _panels(names, ax)
    for (p, rows, which), line in zip(drawn, fits):
        solid, dashed = lines.colors(axes[p], which)
        _draw_line(axes[p], axis.places[rows], design.y[rows], axis.placed(line), solid, dashed)
    for panel in axes:
        axis.label(panel)
        whole_ticks(panel.yaxis, design.y)
    handles = lines.legend(axes[0], by)
    if ax is None:
        _label_all(figure, x, design.endog_name)
        note = "" if len(order) == len(term.levels) else f"\n{len(order)} of {len(term.levels):,}"
        title = wrap(f"Panels: {bare(term.group)}", 24) + note
        labels = [wrap(handle.get_label(), 24) for handle in handles]
        look = {"title": title, "fontsize": 9, "title_fontsize": 9}
        figure.legend(handles, labels, loc="outside right upper", **look)
        finish(axes, [Names(name) for name in names])
    else:
        finish(axes, [Names(name, x, design.endog_name) for name in names])
        legend_above(axes[0], handles)
    return figure


@dataclass(frozen=True, eq=False)
class _Horizontal:
    """The horizontal axis: a number for each row, and names of the places if x is categorical."""

    values: pd.Series
    places: Array
    names: list[str]

    @classmethod
    def of(cls, x: pd.Series) -> _Horizontal:
        """Place a variable."""
        if is_number(x):
            return cls(x, x.to_numpy(dtype=float), [])
        codes, values = _codes(x)
        return cls(x, codes.astype(float), [str(v) for v in values])

    def placed(self, line: FittedLine) -> FittedLine:
        """Return a line with its values of x as places."""
        return replace(line, x=self.places[line.x.astype(np.intp)]) if self.names else line

    def label(self, ax: Axes) -> None:
        """Name the places."""
        if not self.names:
            whole_ticks(ax.xaxis, self.places)
            return
        letters = int(room(ax) / text_width(1, 8.0) / len(self.names)) - 1
        longest = max(len(word) for name in self.names for word in name.split())
        turned = letters < min(longest, 12)
        shown = [wrap(name, 20 if turned else letters) for name in self.names]
        ax.set_xticks(range(len(shown)), shown, rotation=90 if turned else 0, fontsize=8)
        ax.set_xlim(-0.5, len(shown) - 0.5)


@dataclass(frozen=True, eq=False)
class _Lines:
    """Which line within a panel each row belongs to."""

    codes: Index
    names: list[str]

    @classmethod
    def of(cls, by: pd.Series | None, n: int) -> _Lines:
        """Split the rows by a variable."""
        if by is None:
            return cls(np.zeros(n, dtype=np.intp), [])
        codes, values = _codes(by)
        return cls(codes, [str(v) for v in values])

    def within(self, rows: Index) -> list[tuple[Index, int]]:
        """Return the rows and the number of each line among these rows."""
        own = self.codes[rows]
        return [(rows[own == code], int(code)) for code in np.unique(own)]

    def colors(self, ax: Axes, which: int) -> tuple[Any, Any]:
        """Return the colours of a line's conditional fit and of its fixed effects alone."""
        if not self.names:
            first, second = line_colors(2)
            return first, second
        color = line_colors(len(self.names))[which]
        return color, blend(ax, 0.55, color)

    def legend(self, ax: Axes, by: str | None) -> list[Any]:
        """Return the handles of a legend."""
        solid, dashed = (blend(ax, 0.7),) * 2 if by else self.colors(ax, 0)
        what = [
            ("o", "", "observed", solid),
            ("", "-", "conditional fit", solid),
            ("", "--", "fixed effects", dashed),
        ]
        handles = [
            ax.plot([], [], marker=m, linestyle=style, markersize=4, color=color, label=label)[0]
            for m, style, label, color in what
        ]
        colors = line_colors(len(self.names))
        handles += [
            ax.plot([], [], color=color, linewidth=3, label=f"{bare(by or '')} {name}")[0]
            for name, color in zip(self.names, colors)
        ]
        return handles


def _panels(names: Sequence[str], ax: Any) -> tuple[Figure, list[Axes]]:
    """Return the panels, with room for their titles and a legend beside them."""
    count, few = len(names), len(names) <= 2
    side = _side_by_side(count)
    wide, high = (3.4, 3.2) if few else (1.7, 1.65)
    lines = max(wrap(name, 40 if few else 19).count("\n") for name in names)
    size = wide + _LEGEND / side, high + 0.16 * lines
    return panels(count, ax, size=size, columns=side, share=True)


def _codes(values: pd.Series) -> tuple[Index, Any]:
    """Return integer codes and the values they stand for, categories in their order."""
    if isinstance(values.dtype, pd.CategoricalDtype):
        used = values.cat.remove_unused_categories()
        return used.cat.codes.to_numpy().astype(np.intp), used.cat.categories
    codes, found = pd.factorize(values, sort=True)
    return codes, found


def _panel_order(
    term: TermDesign, y: Array, levels: Sequence[Any] | None, most: int
) -> NDArray[np.intp]:
    """Return the groups to draw."""
    if levels is None:
        means = level_means(y, term.codes, len(term.levels))
        return evenly(np.argsort(means, kind="stable"), most)
    wanted = [levels] if isinstance(levels, (str, int)) else list(levels)
    if not wanted:
        raise PlotError("levels is empty. Name the groups to draw, or leave it out.")
    known = dict(zip(level_names(term), range(len(term.levels))))
    known_values = dict(zip(term.levels, range(len(term.levels))))
    out = []
    for level in wanted:
        at = known_values.get(level, known.get(str(level)))
        if at is None:
            near = did_you_mean(str(level), known)
            raise PlotError(f"{term.group} has no level {level!r}.{near}")
        out.append(at)
    return np.array(out, dtype=np.intp)


def _draw_line(ax: Axes, x: Array, y: Array, line: FittedLine, solid: Any, dashed: Any) -> None:
    """Draw the rows of one line: observed, fitted, and by the fixed effects alone."""
    ax.plot(x, y, "o", color=solid, markersize=3.5, alpha=0.8, markeredgewidth=0)
    alone = "_" if len(line.x) == 1 else ""
    looks = ((line.conditional, "-", 1.5, solid), (line.fixed, "--", 1.2, dashed))
    for values, style, width, color in looks:
        look: dict[str, Any] = {"linewidth": width, "marker": alone, "markersize": 12 * width}
        ax.plot(line.x, values, style, color=color, **look)


def _side_by_side(count: int) -> int:
    """Return how many panels go side by side: about as many as rows, with few places left empty."""
    if count <= 3:
        return count
    return min((3, 4, 5, 6), key=lambda c: (-count % c, abs(c - 1.2 * np.sqrt(count))))


def _label_all(figure: Figure, x: str, y: str) -> None:
    """Name the axes of a new figure once for all its panels."""
    width, height = (72 * float(length) for length in figure.get_size_inches())
    figure.supxlabel(wrap(x, int(0.7 * width / text_width(1, 10.0))), fontsize=10)
    figure.supylabel(wrap(y, int(0.7 * height / text_width(1, 10.0))), fontsize=10)
