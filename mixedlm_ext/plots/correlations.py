"""Pictures of covariance structures: correlations by distance, or as the image of a matrix."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mixedlm_ext.errors import did_you_mean
from mixedlm_ext.plots.axes import Names, color_bar, finish, legend_above, room, whole_ticks
from mixedlm_ext.plots.colors import REFERENCE, blend, diverging, line_colors, sequential
from mixedlm_ext.plots.figure import PlotError, panels
from mixedlm_ext.plots.labels import text_width
from mixedlm_ext.plots.selection import fit_with_rows, terms_named
from mixedlm_ext.plots.structured import (
    ByDistance,
    Matrix,
    Source,
    of_columns,
    of_levels,
    of_residuals,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from mixedlm_ext.plots.selection import Results

Array = NDArray[np.float64]

__all__ = ["correlations"]

_KINDS = ("lag", "matrix")
_WRITTEN = 8
"""Columns up to which each cell has its number, and each row its standard deviation."""
_FONT, _LINE = 8.0, 1.35


def correlations(
    result: Results,
    term: str | None = None,
    kind: str | None = None,
    observed: bool = True,
    ax: Any = None,
) -> Figure:
    """Draw the correlations that a covariance structure makes, by distance or as a matrix.

    Parameters
    ----------
    result : MixedLMResults or MixedGLMResults
    term : str, optional
        A random-effects term, or "Residual". By default all that have correlations: terms with
        correlated columns, levels whose covariance is known, as of ``gr(id, cov=A)``, and
        residuals.
    kind : {"lag", "matrix"}, optional
        By distance, or as the image of a matrix. By default distances for ar1, toep, exp and for
        residuals, and matrices for us, cs and known levels.
    observed : bool
        Add what the rows of the data say of the correlation of residuals, at each distance.
    ax : Axes or sequence of Axes, optional
        One for each structure.

    Returns
    -------
    Figure
        A panel for each structure. Distances are steps between columns for ar1, toep, cs and us, in
        the units of the positions for exp, ar1 and car1 of residuals, and rows apart for cs of
        residuals. Titles have the standard deviations, rows of a small matrix their own.

    Raises
    ------
    PlotError
        If nothing is correlated; if there is no such term or kind; if a matrix is too large; if
        the variances are estimated as zero; if rows of residuals were removed.
    MatplotlibMissingError
        If matplotlib is not installed.

    Notes
    -----
    Points of residuals are weighted means of (u_iu_j - z_i'Γz_j)/(sd_i sd_j) over the pairs of rows
    at a distance, u = y - Xβ, after what random effects contribute to the product. Their mean is
    the correlation if the model is right, which products of y - Xβ - Zb would fall short of. Pairs
    of small residuals beside large random effects weigh little, as they tell little. More than
    15 distances that are no whole numbers are put together in bins of as many pairs each; points
    of fewer than 8 pairs are left out. Those of few groups are uncertain, and go up and down
    together.

    Examples
    --------
    >>> from mixedlm_ext import MixedLM, datasets, plots
    >>> data = datasets.sleepstudy.load_pandas().data
    >>> model = MixedLM.from_formula("Reaction ~ Days + ar1(0 + C(Days) | Subject)", data)
    >>> figure = plots.correlations(model.fit())
    >>> figure.axes[0].get_xlabel()
    'steps between columns of C(Days)'
    """
    if kind is not None and kind not in _KINDS:
        near = did_you_mean(str(kind), _KINDS)
        raise PlotError(f"kind={kind!r} is no picture.{near} Use 'lag' or 'matrix'.")
    chosen = _sources(result, term, kind)
    pictures = [source.picture(kind, observed) for source in chosen]
    figure, axes = panels(len(pictures), ax, size=(5.4, 4.2))
    for panel, picture in zip(axes, pictures):
        if isinstance(picture, Matrix):
            _draw_matrix(panel, picture)
        else:
            _draw_by_distance(panel, picture)
    finish(axes, [_names(picture) for picture in pictures])
    for panel, picture in zip(axes, pictures):
        if isinstance(picture, Matrix):
            _name_cells(panel, picture)  # by the room that is left
        elif picture.observed is not None:
            legend_above(panel)
    return figure


def _sources(result: Results, term: str | None, kind: str | None) -> list[Source]:
    """Return what has correlations and can be drawn so, or raise."""
    fit = result.fit_record
    structure = getattr(fit.design, "residual", None)
    if term in (None, "Residual") and structure is not None and structure.kind is not None:
        fit = fit_with_rows(result)
    found = [] if term == "Residual" else _of_terms(fit, terms_named(result, term))
    if term in (None, "Residual"):
        residual = of_residuals(fit)
        found += [] if residual is None else [residual]
    if not found:
        what = "the model" if term is None else f"{term!r}"
        raise PlotError(
            f"{what} has no correlations to draw. Terms of several columns have, as "
            "ar1(0 + f | g), cs(0 + f | g) or (x | g), levels of known covariance, as "
            "(1 | gr(id, cov=A)), and residuals by correlation='ar1(t | g)'."
        )
    usable = [source for source in found if kind != "lag" or source.by_distance is not None]
    if not usable:
        raise PlotError(
            f"what {found[0].name!r} correlates has no order, and so no distances. "
            "Pass kind='matrix'."
        )
    return usable


def _of_terms(fit: Any, chosen: list[int]) -> list[Source]:
    """Return the columns, and the levels, of terms that have correlations."""
    sources = [of(fit, i) for i in chosen for of in (of_columns, of_levels)]
    return [source for source in sources if source is not None]


def _names(picture: ByDistance | Matrix) -> Names:
    """Return what stands around a picture."""
    if isinstance(picture, Matrix):
        return Names(picture.title, picture.of)
    return Names(picture.title, picture.x, "correlation")


def _draw_by_distance(ax: Axes, picture: ByDistance) -> None:
    """Draw the correlations of the model, and beside them those of the rows."""
    color, other = line_colors(2)
    ax.axhline(0.0, color=blend(ax, REFERENCE), linewidth=0.8)
    at, height = picture.distance, picture.correlation
    if picture.curve is None:
        ax.vlines(at, 0.0, height, color=blend(ax, 0.5, color), linewidth=1.2)
        ax.plot(at, height, "o", color=color, markersize=5, label="model")
    else:
        ax.plot(*picture.curve, color=color, linewidth=1.6, label="model")
        ax.plot(at, height, "o", color=color, markersize=4)
    seen = np.zeros(0)
    if picture.observed is not None:
        seen = picture.observed[1]
        look: dict[str, Any] = {"markersize": 5.5, "markerfacecolor": "none"}
        ax.plot(*picture.observed, "D", color=other, label="pairs of rows", **look)
    values = np.concatenate([height, seen])
    low = min(0.0, float(np.min(values, initial=0.0)))
    ax.set_ylim(
        low - (0.06 if low < 0 else 0.02), max(1.0, float(np.max(values, initial=1.0))) + 0.05
    )
    whole_ticks(ax.xaxis, at)


def _draw_matrix(ax: Axes, picture: Matrix) -> None:
    """Draw the image; numbers and names come when its size is known."""
    k = len(picture.values)
    negative = bool(np.nanmin(picture.values) < 0)
    shown = ax.imshow(
        picture.values,
        cmap=diverging(ax) if negative else sequential(ax),
        vmin=-1.0 if negative else 0.0,
        vmax=1.0,
        extent=(-0.5, k - 0.5, k - 0.5, -0.5),
        interpolation="nearest",
    )
    color_bar(ax, shown, label="correlation")
    ax.tick_params(length=0)
    _name_cells(ax, picture)


def _name_cells(ax: Axes, picture: Matrix) -> None:
    """Write the names of the rows and columns that have room, and the numbers of few cells."""
    k, high = len(picture.names), room(ax, vertical=True)
    step = int(np.ceil(k * _LINE * _FONT / max(high, 1.0)))
    at = np.arange(0, k, step)
    names = [picture.names[i] for i in at]
    beside = list(names)
    if picture.sd is not None and k <= _WRITTEN:
        beside = [f"{name}\nsd {sd:.3g}" for name, sd in zip(names, picture.sd)]
    longest = max(map(len, names))
    level = text_width(longest + 1, _FONT) * len(at) <= room(ax)
    ax.set_xticks(at, names, rotation=0 if level else 90, fontsize=_FONT)
    ax.set_yticks(at, beside, fontsize=_FONT)
    for text in list(ax.texts):
        text.remove()
    if k <= _WRITTEN and text_width(5, _FONT) * k <= room(ax):
        _write_numbers(ax, picture.values)


def _write_numbers(ax: Axes, values: Array) -> None:
    """Write each correlation onto its cell, in black or white."""
    (image,) = ax.images
    shades = np.asarray(image.cmap(image.norm(values)))
    for (i, j), value in np.ndenumerate(values):
        if np.isfinite(value):
            red, green, blue, _ = shades[i, j]
            light = 0.3 * red + 0.59 * green + 0.11 * blue
            color = "black" if light > 0.5 else "white"
            look: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": _FONT + 1}
            ax.text(j, i, f"{value:.2f}", color=color, **look)
