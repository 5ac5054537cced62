"""Figures and panels: what every picture starts from. matplotlib is imported here, when asked."""

from __future__ import annotations

import io
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from mixedlm_ext.errors import MixedLMError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "MatplotlibMissingError",
    "PlotError",
    "begins_row",
    "figure_of",
    "make_room",
    "new_figure",
    "panels",
]


class PlotError(MixedLMError):
    """The picture cannot be drawn as asked."""


class MatplotlibMissingError(MixedLMError, ImportError):
    """matplotlib is needed and not installed."""


def panels(
    count: int,
    ax: Any = None,
    *,
    size: tuple[float, float] = (6.4, 4.8),
    columns: int = 4,
    share: bool = False,
) -> tuple[Figure, list[Axes]]:
    """Return a figure and its panels: new ones, or those that the caller gave.

    Parameters
    ----------
    count : int
    ax : Axes, or sequence or array of Axes, optional
    size : tuple of float
        Width and height of a new panel in inches.
    columns : int
        Panels side by side at most.
    share : bool
        Whether new panels share both axes.

    Raises
    ------
    PlotError
        If the caller gave another number of panels.
    MatplotlibMissingError
        If matplotlib is not installed.
    """
    if ax is not None:
        return given_panels(count, ax)
    columns = min(count, columns)
    rows = -(-count // columns)
    figure = new_figure((columns * size[0], rows * size[1]), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False, sharex=share, sharey=share)
    engine: Any = figure.get_layout_engine()
    engine.set(w_pad=0.08, h_pad=0.08)
    for unused in grid.ravel()[count:]:
        unused.remove()
    if share:
        for j in range(columns):  # the last row may be short: label the lowest of each column
            grid[(count - 1 - j) // columns, j].tick_params(labelbottom=True)
    return figure, list(grid.ravel()[:count])


def given_panels(count: int, ax: Any) -> tuple[Figure, list[Axes]]:
    """Return the caller's axes and their figure."""
    given = list(np.ravel(np.asarray(ax, dtype=object)))
    if len(given) != count:
        raise PlotError(
            f"the picture has {count} panels, and ax holds {len(given)} axes. "
            f"Pass {count} axes, such as those of plt.subplots(1, {count}), or leave ax out."
        )
    return figure_of(given), given


def new_figure(size: tuple[float, float], layout: Any = None) -> Any:
    """Return a figure that pyplot does not know: nothing shows it a second time, or keeps it."""
    try:
        from matplotlib import figure as figures
        from matplotlib.backends.backend_agg import FigureCanvasAgg
    except ImportError:
        raise MatplotlibMissingError(
            "pictures need matplotlib, which is not installed. Run "
            'pip install "mixedlm_ext[plots]".'
        ) from None
    figure: Any = figures.Figure(figsize=size, layout=layout)
    FigureCanvasAgg(figure)
    figure._repr_png_ = partial(_png, figure)  # notebooks look here without pyplot
    return figure


def _png(figure: Figure) -> bytes:
    """Return the picture as a notebook shows it."""
    out = io.BytesIO()
    figure.savefig(out, format="png", bbox_inches="tight")
    return out.getvalue()


def figure_of(axes: Sequence[Axes]) -> Figure:
    """Return the figure that holds the axes, be it within a subfigure."""
    figure: Figure = axes[0].figure.figure
    return figure


def begins_row(ax: Axes) -> bool:
    """Say whether a panel is the first in its row of a grid."""
    place = ax.get_subplotspec()
    return place is not None and place.is_first_col()


def make_room(axes: Sequence[Axes]) -> None:
    """Let matplotlib lay the caller's figure out if labels leave it or cover a neighbour.

    A figure that has a layout engine, or colour bars that were made without one, is left alone.
    """
    figure = figure_of(axes)
    bars = [ax for ax in figure.axes if ax.get_label() == "<colorbar>"]
    if figure.get_layout_engine() is not None or bars:
        return
    figure.draw_without_rendering()
    page = figure.bbox
    boxes = {ax: box for ax in figure.axes if (box := ax.get_tightbbox()) is not None}
    for ax in axes:
        box = boxes.pop(ax)
        inside = page.x0 <= box.x0 and page.y0 <= box.y0 and box.x1 <= page.x1 and box.y1 <= page.y1
        if not inside or any(box.overlaps(other) for other in boxes.values()):
            figure.set_layout_engine("constrained")
            return
