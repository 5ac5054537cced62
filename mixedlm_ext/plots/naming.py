"""Names beside points, where they cover neither one another nor what is drawn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mixedlm_ext.plots.axes import room
from mixedlm_ext.plots.colors import REFERENCE, blend
from mixedlm_ext.plots.figure import figure_of
from mixedlm_ext.plots.labels import text_width, wrap

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Array = NDArray[np.float64]

__all__ = ["name_points"]

_SIZE = 8
_LETTERS = 22
"""Letters in a line of a name."""
_FAR = 12.0
"""Distance in printer's points from which a line joins a name to its point."""
_CLEAR = 4.5
"""Distance that a name keeps from what is drawn."""
_DISTANCES = (6.0, 9.0, 13.0, 18.0, 25.0, 34.0, 46.0, 62.0)
_ANGLES = np.pi * np.array([0, 1, 0.5, 1.5, 0.25, 0.75, 1.25, 1.75, 0.12, 0.88, 1.12, 1.88])
_COVERS_DRAWN = 1e2
"""How bad it is to cover something, against a distance of one printer's point."""


def name_points(
    ax: Axes, x: Array, y: Array, names: Sequence[str], drawn: Sequence[tuple[Array, Array]] = ()
) -> None:
    """Write each name beside its point, at the place that covers least.

    Names stay within the axes and off one another; one without such a place is left out, the last
    first.

    Parameters
    ----------
    ax : Axes
        With everything else drawn, its limits set and its figure laid out.
    x, y : ndarray (m,)
    names : sequence of str
    drawn : sequence of (ndarray, ndarray)
        Coordinates of what a name should not cover.
    """
    if not len(names):
        return
    unit = figure_of([ax]).dpi / 72  # pixels in a printer's point
    here = ax.transData.transform(np.column_stack([x, y])) / unit
    others = [np.column_stack(np.broadcast_arrays(*pair)) for pair in drawn]
    there = ax.transData.transform(np.concatenate([*others, np.column_stack([x, y])])) / unit
    letters = int(np.clip(0.6 * room(ax) / text_width(1, _SIZE), 8, _LETTERS))
    page = np.asarray(ax.get_window_extent().extents) / unit
    legend = ax.get_legend()
    taken = [] if legend is None else [np.asarray(legend.get_window_extent().extents) / unit]
    for point, name, place in zip(here, names, zip(x, y)):
        text = ax.annotate(
            wrap(name, letters),
            place,
            (0.0, 0.0),
            textcoords="offset points",
            ha="center",
            va="center",
            fontsize=_SIZE,
            arrowprops={"arrowstyle": "-", "color": blend(ax, REFERENCE), "linewidth": 0.6},
        )
        box = text.get_window_extent()
        half = np.array([box.width, box.height]) / unit / 2
        shift = _best_shift(point, half, there, taken, page)
        if shift is None:
            text.remove()
            continue
        text.set_position(tuple(shift))
        text.set_in_layout(False)
        taken.append(_boxes(point + shift[None], half)[0])
        if text.arrow_patch is not None:
            gap = float(np.hypot(*np.maximum(np.abs(shift) - half, 0.0)))
            text.arrow_patch.set_visible(gap >= _FAR)


def _best_shift(
    point: Array, half: Array, drawn: Array, taken: Sequence[Array], page: Array
) -> Array | None:
    """Return from a point to the middle of its name, of half a width and half a height.

    None if every place covers another name or leaves the axes.
    """
    direction = np.column_stack([np.cos(_ANGLES), np.sin(_ANGLES)])
    distance = np.repeat(_DISTANCES, len(_ANGLES))
    way = np.tile(direction, (len(_DISTANCES), 1))
    shift = way * distance[:, None] + np.sign(way.round(9)) * half
    boxes = _boxes(point + shift, half)
    free = (boxes[:, :2] >= page[:2] + 1).all(axis=1) & (boxes[:, 2:] <= page[2:] - 1).all(axis=1)
    for other in taken:
        free &= ~_overlap(boxes, other)
    if not free.any():
        return None
    left, bottom, right, top = (boxes[:, [k]] for k in range(4))
    within = (drawn[:, 0] > left - _CLEAR) & (drawn[:, 0] < right + _CLEAR)
    within &= (drawn[:, 1] > bottom - _CLEAR) & (drawn[:, 1] < top + _CLEAR)
    cost = distance + _COVERS_DRAWN * np.log1p(within.sum(axis=1))
    return np.asarray(shift[np.argmin(np.where(free, cost, np.inf))])


def _boxes(middle: Array, half: Array) -> Array:
    """Return left, bottom, right and top, (m, 4)."""
    return np.hstack([middle - half, middle + half])


def _overlap(boxes: Array, other: Array) -> NDArray[np.bool_]:
    """Say which boxes meet another, or nearly."""
    apart = (boxes[:, 0] > other[2] + 1) | (boxes[:, 2] < other[0] - 1)
    apart |= (boxes[:, 1] > other[3] + 1) | (boxes[:, 3] < other[1] - 1)
    return np.asarray(~apart)
