"""What is written around the data: names of levels, whole-number ticks, a free legend."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mixedlm_ext.plots.figure import figure_of, make_room
from mixedlm_ext.plots.labels import bare, narrowest, text_width, wrap

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.cm import ScalarMappable

Array = NDArray[np.float64]

__all__ = [
    "Names",
    "color_bar",
    "few_ticks",
    "finish",
    "legend_above",
    "level_room",
    "room",
    "whole_ticks",
]

_MOST_LABELS = 60
"""Levels that are named on one axis."""
_SIZES = (10.0, 8.0, 7.0, 6.0)
_LINE = 1.25
"""Height of a line of text, in font sizes."""
_LETTERS = 46
"""Letters in a line beside a new picture."""
_LEGEND = 8.0
"""Font size of a legend."""
_LEGEND_LETTERS = 34
_MOST_LEGEND = 0.5
"""Share of a panel that a legend may take."""
_SMALL = 110.0
"""Width or height of a small panel, in printer's points."""
_TINY = 50.0
"""Height of a panel that has room for small numbers only."""
_WHOLE = 8
"""Distinct whole numbers of which each has a tick."""


def level_room(names: Sequence[str]) -> tuple[float, float]:
    """Return how many inches names need beside a new panel, and from one level to the next."""
    if len(names) > _MOST_LABELS:
        return 0.0, 0.0
    width = 28 if len(names) <= 20 else _LETTERS
    lines = [wrap(name, width).split("\n") for name in names]
    longest = max(len(line) for name in lines for line in name)
    size = 8.0
    return (
        text_width(longest, size) / 72,
        max(0.19, 0.03 + max(map(len, lines)) * _LINE * size / 72),
    )


def level_ticks(ax: Axes, labels: Sequence[str], name: str) -> str:
    """Name the levels 0, 1, ... along the vertical axis if names fit, and return its own name.

    Where `name` is empty the levels are marked only.
    """
    n = len(labels)
    margin = 0.3 + 0.01 * n
    ax.set_ylim(-0.5 - margin, n - 0.5 + margin)
    if not name:
        ax.set_yticks(range(n) if n <= _MOST_LABELS else [], [""] * n if n <= _MOST_LABELS else [])
        return ""
    height = room(ax, vertical=True)
    fitted = _fitted(labels, height / (n + 2 * margin), 0.45 * figure_of([ax]).get_figwidth() * 72)
    if n > _MOST_LABELS or fitted is None:
        ax.set_yticks([])
        return f"{n:,} levels of {bare(name)}, ordered"
    size, width = fitted
    ax.set_yticks(range(n), [wrap(label, width) for label in labels], fontsize=size)
    return name


def _fitted(labels: Sequence[str], step: float, most: float) -> tuple[float, int] | None:
    """Return font size and letters a line so that labels fit a step and a width, in points."""
    for size in _SIZES[1:] if len(labels) > 15 else _SIZES:
        lines = int(step / (_LINE * size))
        width = narrowest(labels, lines) if lines else None
        if width is not None and text_width(min(width, max(map(len, labels))), size) <= most:
            return size, width
    return None


def room(ax: Axes, vertical: bool = False) -> float:
    """Return the width, or the height, of a panel in printer's points."""
    box = ax.get_window_extent()
    return float(box.height if vertical else box.width) * 72 / figure_of([ax]).dpi


def whole_ticks(axis: Axis, values: Array) -> None:
    """Have ticks at whole numbers only, where the values are whole numbers."""
    from matplotlib.ticker import FixedLocator, MaxNLocator

    if not len(values) or not np.all(values == np.round(values)):
        return
    distinct = np.unique(values)
    if np.ptp(distinct) < _WHOLE:
        axis.set_major_locator(FixedLocator(np.arange(distinct[0], distinct[-1] + 1).tolist()))
    else:
        axis.set_major_locator(MaxNLocator(nbins="auto", integer=True, steps=[1, 2, 5, 10]))


def few_ticks(axis: Axis) -> None:
    """Have at most five intervals between ticks, and fewer where the axis is short."""
    locator: Any = axis.get_major_locator()
    locator.set_params(nbins=max(1, min(5, axis.get_tick_space() - 1)))


def color_bar(ax: Axes, shown: ScalarMappable, **look: Any) -> Axes:
    """Draw a colour bar beside a panel, within any layout or none, and return its axes."""
    beside = ax.inset_axes((1.03, 0.1, 0.04, 0.8))
    figure_of([ax]).colorbar(shown, cax=beside, **look)
    return beside


def legend_above(ax: Axes, handles: Sequence[Any] | None = None) -> None:
    """Draw the legend in a strip of its own above everything drawn, within the axes.

    Where that would take more than half of the panel the legend goes above all panels. Afterwards
    the figure is laid out.
    """
    shown = list(ax.get_legend_handles_labels()[0] if handles is None else handles)
    figure = figure_of([ax])
    figure.draw_without_rendering()
    if not shown:
        return
    _place_legend(ax, shown)
    figure.draw_without_rendering()


def _place_legend(ax: Axes, shown: Sequence[Any]) -> None:
    """Draw a legend within the axes, or above all panels."""
    figure = figure_of([ax])
    letters = int(np.clip(room(ax) / text_width(1, _LEGEND) - 6, 10, _LEGEND_LETTERS))
    names, columns = _entries(shown, letters, room(ax))
    look: dict[str, Any] = {"fontsize": _LEGEND, "edgecolor": "none", "borderaxespad": 0.2}
    look |= {"frameon": True, "framealpha": 1.0, "fancybox": False}  # lines end at it
    legend = ax.legend(shown, names, loc="upper center", ncols=columns, **look)
    box, panel = legend.get_window_extent(), ax.get_window_extent()
    share = box.height / panel.height + 0.03
    if share <= _MOST_LEGEND and box.width <= panel.width:
        low, top = ax.get_ylim()
        ax.set_ylim(low, top + (top - low) * share / (1 - share))
        return
    legend.remove()
    if figure.get_layout_engine() is None:
        figure.set_layout_engine("constrained")
    names, columns = _entries(shown, _LEGEND_LETTERS, 72 * figure.get_figwidth())
    figure.legend(shown, names, loc="outside upper center", ncols=columns, **look)


def _entries(shown: Sequence[Any], letters: int, width: float) -> tuple[list[str], int]:
    """Return the texts of a legend, and how many of them go side by side."""
    names = [wrap(str(handle.get_label()), letters) for handle in shown]
    widest = max(len(line) for name in names for line in name.split("\n"))
    entry = text_width(widest, _LEGEND) + 4.5 * _LEGEND
    return names, int(np.clip(width // entry, 1, len(names)))


@dataclass(frozen=True)
class Names:
    """What stands above, below and left of a panel: there a name, or names of levels, and of what.

    Levels are at the heights 0, 1, ... and set the limits of the axis.
    """

    title: str = ""
    x: str = ""
    y: str = ""
    levels: Sequence[str] = ()

    def write(self, ax: Axes) -> None:
        """Write them, in lines as long as the panel."""
        wide, high = 1.1 * room(ax), 1.1 * room(ax, vertical=True)
        if high < _TINY:
            ax.tick_params(labelsize=6)
        size = 12.0 if wide > 250 else 10.0 if wide > _SMALL else 8.0 if wide > 80 else 6.0
        if self.title:
            ax.set_title(_lines(self.title, wide, size), fontsize=size)
        y = level_ticks(ax, self.levels, self.y) if self.levels else self.y
        for name, length, write in ((self.x, wide, ax.set_xlabel), (y, high, ax.set_ylabel)):
            size = 10.0 if length > _SMALL else 8.0
            if name and text_width(7, size) <= length:
                write(_lines(name, length, size), fontsize=size)


def _said_once(axes: Sequence[Axes], names: Sequence[Names]) -> list[Names]:
    """Leave out, in a grid of small panels, a name that the panel below, or the left one, has."""
    out = list(names)
    places = [ax.get_subplotspec() for ax in axes]
    for i, here in enumerate(places):
        for j, there in enumerate(places):
            if here is None or there is None or here.get_gridspec() is not there.get_gridspec():
                continue
            below = here.colspan == there.colspan and here.rowspan.stop <= there.rowspan.start
            left = here.rowspan == there.rowspan and there.colspan.stop <= here.colspan.start
            if below and names[i].x == names[j].x and room(axes[i], vertical=True) < _SMALL:
                out[i] = replace(out[i], x="")
            if left and names[i].y == names[j].y and room(axes[i]) < _SMALL and not names[i].levels:
                out[i] = replace(out[i], y="")
    return out


def finish(axes: Sequence[Axes], names: Sequence[Names]) -> None:
    """Name the panels, and lay them out: names are in lines as long as panels are then."""
    shown = _said_once(axes, names)
    for _ in range(2):
        for ax, name in zip(axes, shown):
            name.write(ax)
        make_room(axes)
        figure_of(axes).draw_without_rendering()
    for ax in axes:
        _ticks_apart(ax)


def _ticks_apart(ax: Axes) -> None:
    """Have fewer ticks where long numbers would touch: matplotlib counts on short ones."""
    from matplotlib.ticker import MaxNLocator

    locator = ax.xaxis.get_major_locator()
    if not isinstance(locator, MaxNLocator):
        return
    lower, upper = sorted(ax.get_xlim())
    for most in (4, 3, 2, 1):
        ticks = [t for t in ax.xaxis.get_major_ticks() if lower <= t.get_loc() <= upper]
        boxes = [t.label1.get_window_extent() for t in ticks if t.label1.get_visible()]
        gap = 0.3 * max((box.height for box in boxes), default=0.0)
        if all(left.x1 + gap <= right.x0 for left, right in pairwise(boxes)):
            return
        locator.set_params(nbins=most)
        figure_of([ax]).draw_without_rendering()


def _lines(name: str, length: float, size: float) -> str:
    """Wrap a name to a length in printer's points: where it has a new line first, if anywhere."""
    width = max(int(length / text_width(1, size)), 1)
    whole = " ".join(name.split("\n"))
    if len(whole) <= width:
        return wrap(whole, width)
    return "\n".join(wrap(part, width) for part in name.split("\n"))
