"""Pictures of the residuals: against fitted values, their spread, their quantiles."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from statsmodels.nonparametric.smoothers_lowess import lowess

from mixedlm_ext.plots.axes import Names, color_bar, finish, legend_above
from mixedlm_ext.plots.colors import REFERENCE, blend, line_colors, sequential
from mixedlm_ext.plots.figure import panels
from mixedlm_ext.plots.naming import name_points
from mixedlm_ext.plots.quantiles import draw_quantiles
from mixedlm_ext.plots.selection import (
    check_alpha,
    design_with_rows,
    fit_with_rows,
    scaled_residuals,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from mixedlm_ext.plots.selection import Results

Array = NDArray[np.float64]

__all__ = ["residual_quantiles", "residuals", "scale_location"]

_DENSE = 5000
"""Rows from which hexagons show how many rows there are, instead of one point each."""
_FEWEST_DISTINCT = 10
"""Distinct fitted values from which a smooth curve makes sense."""


def residuals(result: Results, smooth: bool = True, n_labels: int = 3, ax: Any = None) -> Figure:
    """Draw scaled residuals against fitted values.

    Parameters
    ----------
    result : MixedLMResults or MixedGLMResults
    smooth : bool
        Add a lowess curve, which is flat if the mean is right.
    n_labels : int
        Rows to name at most, the farthest of those beyond 3; none in large data.
    ax : Axes, optional

    Returns
    -------
    Figure

    Raises
    ------
    PlotError
        If the rows were removed.
    MatplotlibMissingError
        If matplotlib is not installed.

    Notes
    -----
    A scaled residual is √w (y - Xβ - Zb - offset)/σ. Of a generalized model randomized quantile
    residuals are drawn, which are standard normal if the model is right (Dunn & Smyth 1996).

    Examples
    --------
    >>> from mixedlm_ext import MixedLM, datasets, plots
    >>> data = datasets.sleepstudy.load_pandas().data
    >>> result = MixedLM.from_formula("Reaction ~ Days + (Days | Subject)", data).fit()
    >>> figure = plots.residuals(result)
    >>> figure.axes[0].get_ylabel()
    'scaled residual'
    """
    (kind, scaled), fit = scaled_residuals(result), fit_with_rows(result)
    fitted = fit.fitted()
    figure, (panel,) = panels(1, ax)
    panel.axhline(0.0, color=blend(panel, REFERENCE), linewidth=0.8)
    curve = _draw_cloud(panel, fitted, scaled, smooth)
    finish([panel], [Names("Residuals against fitted values", "fitted value", kind)])
    legend_above(panel)
    if len(scaled) < _DENSE:
        far = np.flatnonzero(np.abs(scaled) > 3)
        worst = far[np.argsort(-np.abs(scaled[far]), kind="stable")][:n_labels]
        names = [str(row) for row in fit.design.index[worst]]
        name_points(panel, fitted[worst], scaled[worst], names, [(fitted, scaled), curve])
    return figure


def scale_location(result: Results, smooth: bool = True, ax: Any = None) -> Figure:
    """Draw the root of the absolute scaled residuals against fitted values.

    Parameters
    ----------
    result : MixedLMResults or MixedGLMResults
    smooth : bool
        Add a lowess curve, which is flat if the residual variance is constant.
    ax : Axes, optional

    Returns
    -------
    Figure

    Raises
    ------
    PlotError
        If the rows were removed.
    MatplotlibMissingError
        If matplotlib is not installed.

    Examples
    --------
    >>> from mixedlm_ext import MixedLM, datasets, plots
    >>> data = datasets.sleepstudy.load_pandas().data
    >>> result = MixedLM.from_formula("Reaction ~ Days + (Days | Subject)", data).fit()
    >>> figure = plots.scale_location(result)
    >>> figure.axes[0].get_ylabel()
    '√|scaled residual|'
    """
    (kind, scaled), fit = scaled_residuals(result), fit_with_rows(result)
    fitted = fit.fitted()
    root = np.sqrt(np.abs(scaled))
    figure, (panel,) = panels(1, ax)
    _draw_cloud(panel, fitted, root, smooth)
    panel.set_ylim(bottom=0.0)
    title = "Spread of residuals against fitted values"
    finish([panel], [Names(title, "fitted value", f"√|{kind}|")])
    legend_above(panel)
    return figure


def residual_quantiles(
    result: Results, alpha: float = 0.05, n_labels: int = 3, ax: Any = None
) -> Figure:
    """Draw the scaled residuals against normal quantiles.

    Parameters
    ----------
    result : MixedLMResults or MixedGLMResults
    alpha : float
        One minus the probability of the band, that of independent normal values.
    n_labels : int
        Rows to name at most, the farthest of those outside the band.
    ax : Axes, optional

    Returns
    -------
    Figure

    Raises
    ------
    PlotError
        If the rows were removed.
    MatplotlibMissingError
        If matplotlib is not installed.

    Examples
    --------
    >>> from mixedlm_ext import MixedLM, datasets, plots
    >>> data = datasets.sleepstudy.load_pandas().data
    >>> result = MixedLM.from_formula("Reaction ~ Days + (Days | Subject)", data).fit()
    >>> figure = plots.residual_quantiles(result)
    >>> figure.axes[0].get_xlabel()
    'standard normal quantile'
    """
    check_alpha(alpha)
    kind, scaled = scaled_residuals(result)
    rows = [str(row) for row in design_with_rows(result).index]
    figure, (panel,) = panels(1, ax)
    name_outside = draw_quantiles(panel, scaled, rows, alpha, n_labels)
    title = "Normal quantiles of residuals"
    finish([panel], [Names(title, "standard normal quantile", kind)])
    legend_above(panel)
    name_outside()
    return figure


def _draw_cloud(ax: Axes, x: Array, y: Array, smooth: bool) -> tuple[Array, Array]:
    """Draw points, or hexagons by how many there are, and a smooth curve, which is returned."""
    colors = line_colors(4)
    if len(x) < _DENSE:
        ax.plot(x, y, "o", color=colors[0], markersize=4, alpha=0.7, markeredgewidth=0)
    else:
        cells = ax.hexbin(
            x, y, gridsize=60, bins="log", mincnt=1, cmap=sequential(ax), linewidths=0.1
        )
        color_bar(ax, cells, label="rows", format="{x:.0f}")
    if not smooth or len(np.unique(x)) < _FEWEST_DISTINCT:
        return np.zeros(0), np.zeros(0)
    curve = lowess(y, x, delta=0.01 * np.ptp(x))
    ax.plot(curve[:, 0], curve[:, 1], color=colors[3], linewidth=1.5, label="lowess")
    return curve[:, 0], curve[:, 1]
