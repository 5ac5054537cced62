"""Figures and panels: what every picture starts from. matplotlib is imported here, when asked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mixedlm_ext.errors import MixedLMError
from mixedlm_ext.plots.labels import cut, shorten

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Array = NDArray[np.float64]

__all__ = [
    "REFERENCE",
    "MatplotlibMissingError",
    "PlotError",
    "figure_of",
    "level_ticks",
    "name_points",
    "panels",
]

REFERENCE = "0.45"
"""Colour of lines to compare with."""
_SMALL_FONT = 8
_MOST_LABELS = 60
"""Levels that are named on one axis."""


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
    plt = _pyplot()
    if ax is not None:
        given = list(np.ravel(np.asarray(ax, dtype=object)))
        if len(given) != count:
            raise PlotError(
                f"the picture has {count} panels, and ax holds {len(given)} axes. "
                f"Pass {count} axes, such as those of plt.subplots(1, {count}), or leave ax out."
            )
        return figure_of(given), given
    columns = min(count, columns)
    rows = -(-count // columns)
    figure, grid = plt.subplots(
        rows,
        columns,
        figsize=(columns * size[0], rows * size[1]),
        squeeze=False,
        sharex=share,
        sharey=share,
        layout="constrained",
    )
    figure.get_layout_engine().set(w_pad=0.08, h_pad=0.08)
    for unused in grid.ravel()[count:]:
        unused.remove()
    if share:
        for j in range(columns):  # the last row may be short: label the lowest of each column
            grid[(count - 1 - j) // columns, j].tick_params(labelbottom=True)
    return figure, list(grid.ravel()[:count])


def figure_of(axes: Sequence[Axes]) -> Figure:
    """Return the figure that holds the axes, be it within a subfigure."""
    figure: Figure = axes[0].figure.figure
    return figure


def level_ticks(ax: Axes, labels: Sequence[str], name: str, labelled: bool = True) -> None:
    """Name the levels 0, 1, ... along the vertical axis, or only count them when there are many."""
    n = len(labels)
    margin = 0.3 + 0.01 * n
    ax.set_ylim(-0.5 - margin, n - 0.5 + margin)
    if n > _MOST_LABELS:
        ax.set_yticks([])
        if labelled:
            ax.set_ylabel(f"{n:,} levels of {cut(name)}, ordered")
        return
    size = _SMALL_FONT if n > 15 else None
    shown = shorten(labels) if labelled else [""] * n
    ax.set_yticks(range(n), shown, fontsize=size)
    if labelled:
        ax.set_ylabel(cut(name))


def name_points(
    ax: Axes, x: Array, y: Array, names: Sequence[str], offset: tuple[Array, Array]
) -> None:
    """Write names beside points, first come first served: one that would cover another is left out.

    Parameters
    ----------
    ax : Axes
        With everything else drawn.
    x, y : ndarray (m,)
    names : sequence of str
    offset : tuple of ndarray (m,)
        In printer's points; the text starts or ends there, on the far side of the point.
    """
    wide, high = np.ptp(ax.get_xlim()), np.ptp(ax.get_ylim())
    placed: list[int] = []
    for i, name in enumerate(names):
        near = [j for j in placed if abs(y[i] - y[j]) < 0.04 * high]
        room = 0.02 * (1 + len(name)) * wide
        if any(abs(x[i] - x[j]) < room for j in near):
            continue
        placed.append(i)
        right, up = float(offset[0][i]), float(offset[1][i])
        ax.annotate(
            name,
            (x[i], y[i]),
            (right, up),
            textcoords="offset points",
            ha="left" if right > 0 else "right",
            va="center" if up == 0 else "bottom" if up > 0 else "top",
            fontsize=_SMALL_FONT,
        )


def _pyplot() -> Any:
    """Return matplotlib.pyplot, or say how to get it."""
    try:
        import matplotlib.pyplot as plt
    except ImportError:
        raise MatplotlibMissingError(
            "pictures need matplotlib, which is not installed. Run "
            'pip install "mixedlm_ext[plots]".'
        ) from None
    return plt
