"""Pictures of the response by group: dot plot, and observed and fitted trajectories."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mixedlm_ext.errors import did_you_mean
from mixedlm_ext.plots.figure import PlotError, level_ticks, panels
from mixedlm_ext.plots.labels import cut, shorten
from mixedlm_ext.plots.selection import (
    column_values,
    design_with_rows,
    evenly,
    grouping,
    level_means,
    level_names,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from mixedlm_ext.design import TermDesign
    from mixedlm_ext.results import MixedLMResults

Array = NDArray[np.float64]
Index = NDArray[np.intp]

__all__ = ["dotplot", "trajectories"]

_JITTER = 0.2
"""Half the height over which the points of a group are spread."""


def dotplot(
    result: MixedLMResults,
    group: str | None = None,
    max_groups: int = 60,
    rng: int | np.random.Generator | None = 0,
    ax: Any = None,
) -> Figure:
    """Draw the response of each group on a line, groups ordered by their means.

    Parameters
    ----------
    result : MixedLMResults
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
    _check_count("max_groups", max_groups)
    design = design_with_rows(result)
    term = grouping(design, group)
    levels = len(term.levels)
    means = level_means(design.y, term.codes, levels)
    order = evenly(np.argsort(means, kind="stable"), max_groups)
    place = np.full(levels, -1)
    place[order] = np.arange(len(order))
    rows = np.flatnonzero(place[term.codes] >= 0)
    height = place[term.codes[rows]]
    jitter = np.random.default_rng(rng).uniform(-_JITTER, _JITTER, len(rows))
    figure, (panel,) = panels(1, ax, size=(6.4, float(np.clip(1.4 + 0.22 * len(order), 2.8, 10))))
    panel.grid(axis="y", color="0.9")
    panel.set_axisbelow(True)
    crowd = len(rows) / len(order)
    look: dict[str, Any]
    look = {"markersize": 5.0, "alpha": 0.8} if crowd < 30 else {"markersize": 2.5, "alpha": 0.5}
    panel.plot(design.y[rows], height + jitter, "o", color="C0", markeredgewidth=0, **look)
    panel.plot(means[order], np.arange(len(order)), "-", color="C1", linewidth=1.5, label="mean")
    names = level_names(term)
    level_ticks(panel, [names[i] for i in order], term.group)
    panel.set_xlabel(design.endog_name)
    panel.legend(loc="best")
    if len(order) < levels:
        panel.set_title(f"{len(order)} of {levels:,} groups, evenly spaced by mean", fontsize=10)
    return figure


def trajectories(
    result: MixedLMResults,
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
    result : MixedLMResults
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
        lines the fitted values with the conditional modes, dashed lines those of the fixed effects
        alone. Where rows share a value of x the lines pass through the mean of their fitted values.

    Raises
    ------
    PlotError
        If a variable, grouping factor or group is not known, or the rows were removed.
    MatplotlibMissingError
        If matplotlib is not installed.

    Examples
    --------
    >>> from mixedlm_ext import MixedLM, datasets, plots
    >>> data = datasets.sleepstudy.load_pandas().data
    >>> result = MixedLM.from_formula("Reaction ~ Days + (Days | Subject)", data).fit()
    >>> figure = plots.trajectories(result, "Days")
    >>> len(figure.axes)
    18
    """
    _check_count("max_panels", max_panels)
    design = design_with_rows(result)
    term = grouping(design, group)
    axis = _Horizontal.of(column_values(design, x))
    lines = _Lines.of(None if by is None else column_values(design, by), len(design.y))
    order = _panel_order(term, design.y, levels, max_panels)
    fixed = design.X @ result.fit_record.beta + (0.0 if design.offset is None else design.offset)
    values = np.column_stack([design.y, result.fit_record.fitted(), fixed])
    size = (1.7, 1.65) if len(order) > 2 else (3.4, 3.2)
    figure, axes = panels(len(order), ax, size=size, columns=_side_by_side(len(order)), share=True)
    names = shorten(level_names(term), 14 if len(order) > 2 else 28)
    for panel, level in zip(axes, order):
        rows = np.flatnonzero(term.codes == level)
        for line, color in lines.within(rows):
            _draw_line(panel, axis.places[line], values[line], color)
        panel.set_title(names[level], fontsize=9)
        axis.label(panel)
    _label_all(figure, axes, ax is None, x, design.endog_name)
    handles = lines.legend(axes[0], by)
    if ax is None:
        note = "" if len(order) == len(names) else f"\n{len(order)} of {len(names):,}"
        title = f"Panels: {cut(term.group, 18)}{note}"
        figure.set_figwidth(figure.get_figwidth() + 1.5)
        figure.legend(handles=handles, loc="outside right upper", title=title, fontsize=9)
    else:
        axes[0].legend(handles=handles, fontsize=8)
    return figure


@dataclass(frozen=True, eq=False)
class _Horizontal:
    """The horizontal axis: a number for each row, and names of the places if x is categorical."""

    places: Array
    names: list[str]

    @classmethod
    def of(cls, x: pd.Series) -> _Horizontal:
        """Place a variable."""
        if pd.api.types.is_numeric_dtype(x) and not pd.api.types.is_bool_dtype(x):
            return cls(x.to_numpy(dtype=float), [])
        codes, values = _codes(x)
        return cls(codes.astype(float), [str(v) for v in values])

    def label(self, ax: Axes) -> None:
        """Name the places."""
        if self.names:
            short = shorten(self.names, 10)
            turn = 90 if sum(map(len, short)) + len(short) > 16 else 0
            ax.set_xticks(range(len(short)), short, rotation=turn)
            ax.set_xlim(-0.5, len(short) - 0.5)


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

    def within(self, rows: Index) -> list[tuple[Index, str]]:
        """Return the rows and the colour of each line among these rows."""
        own = self.codes[rows]
        return [(rows[own == code], f"C{code % 10}") for code in np.unique(own)]

    def legend(self, ax: Axes, by: str | None) -> list[Any]:
        """Return the handles of a legend."""
        color = "0.3" if by else "C0"
        what = [("o", "", "observed"), ("", "-", "conditional fit"), ("", "--", "fixed effects")]
        handles = [
            ax.plot([], [], marker=m, linestyle=style, markersize=4, color=color, label=label)[0]
            for m, style, label in what
        ]
        handles += [
            ax.plot([], [], color=f"C{i % 10}", linewidth=3, label=f"{by} {name}")[0]
            for i, name in enumerate(self.names)
        ]
        return handles


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


def _draw_line(ax: Axes, x: Array, values: Array, color: str) -> None:
    """Draw the rows of one line: observed, fitted, and by the fixed effects alone."""
    y, conditional, fixed = values.T
    places, which = np.unique(x, return_inverse=True)
    ax.plot(x, y, "o", color=color, markersize=3.5, alpha=0.8, markeredgewidth=0)
    alone = "_" if len(places) == 1 else ""
    for fit, style, width in ((conditional, "-", 1.5), (fixed, "--", 1.0)):
        mean = level_means(fit, which, len(places))
        look: dict[str, Any]
        look = {"color": color, "linewidth": width, "marker": alone, "markersize": 12 * width}
        ax.plot(places, mean, style, **look)


def _side_by_side(count: int) -> int:
    """Return how many panels go side by side: about as many as rows, with few places left empty."""
    if count <= 3:
        return count
    return min((3, 4, 5, 6), key=lambda c: (-count % c, abs(c - 1.2 * np.sqrt(count))))


def _label_all(figure: Figure, axes: Sequence[Axes], new: bool, x: str, y: str) -> None:
    """Name the axes: once for a new figure, on each panel of the caller's."""
    if new:
        figure.supxlabel(x, fontsize=10)
        figure.supylabel(y, fontsize=10)
        return
    for ax in axes:
        ax.set_xlabel(x)
        ax.set_ylabel(y)


def _check_count(argument: str, value: Any) -> None:
    """Raise unless `value` is a positive whole number."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
        raise PlotError(f"{argument}={value!r} is no number of groups. Pass 1, 2, ...")
