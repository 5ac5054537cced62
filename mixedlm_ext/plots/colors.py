"""Colours that go with the style of an axes, light or dark."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap

Array = NDArray[np.float64]
Color = tuple[float, ...]

__all__ = ["GRID", "INTERVAL", "REFERENCE", "blend", "diverging", "line_colors", "sequential"]

GRID, INTERVAL, REFERENCE = 0.09, 0.3, 0.6
"""Shares of the colour of the text, for `blend`: lines behind the data, marks, comparisons."""


def blend(ax: Axes, share: float, color: Any = None) -> Color:
    """Mix a colour, that of the text by default, into the background by its share."""
    from matplotlib.colors import to_rgb

    front = np.array(to_rgb(ax.xaxis.label.get_color() if color is None else color))
    return tuple((share * front + (1 - share) * _background(ax)).tolist())


def line_colors(count: int) -> list[Any]:
    """Return so many different colours: those of the style, or along a colour map if too few."""
    import matplotlib as mpl
    from matplotlib.colors import to_hex

    cycle = mpl.rcParams["axes.prop_cycle"].by_key().get("color", ["C0"])
    distinct = list(dict.fromkeys(to_hex(color) for color in cycle))
    if count <= len(distinct):
        return distinct[:count]
    return [to_hex(c) for c in mpl.colormaps["turbo"](np.linspace(0.05, 0.95, count))]


def sequential(ax: Axes) -> Colormap:
    """Return colours from near the background to far from it."""
    from matplotlib.colors import LinearSegmentedColormap

    (color,) = line_colors(1)
    strong = 0.6 * np.array(blend(ax, 1.0, color)) + 0.4 * np.array(blend(ax, 1.0))
    ends = [blend(ax, 0.3, color), blend(ax, 1.0, color), tuple(strong.tolist())]
    return LinearSegmentedColormap.from_list("away from the background", ends)


def diverging(ax: Axes) -> Colormap:
    """Return colours from blue over one near the background to red."""
    from matplotlib.colors import LinearSegmentedColormap

    ends: list[Any] = ["#3b6fd8", blend(ax, 0.15), "#d8423b"]
    return LinearSegmentedColormap.from_list("about the background", ends)


def _background(ax: Axes) -> Array:
    """Return what lies behind the data."""
    from matplotlib.colors import to_rgba

    out = np.ones(3)
    for layer in (ax.figure.figure.get_facecolor(), ax.get_facecolor()):
        *color, alpha = to_rgba(layer)
        out = alpha * np.array(color) + (1 - alpha) * out
    return out
