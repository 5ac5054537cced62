"""Images of the matrices of the model: Z, Λ, and the factor L of Λ'Z'WZΛ + I."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from mixedlm_ext.errors import did_you_mean
from mixedlm_ext.estimation.fit import Fit
from mixedlm_ext.plots.figure import PlotError, panels
from mixedlm_ext.plots.labels import cut
from mixedlm_ext.plots.selection import design_with_rows

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from mixedlm_ext.results import MixedLMResults

Array = NDArray[np.float64]

__all__ = ["factor_matrix", "matrix_image", "relative_factor"]

_CELLS = 300
"""Cells of the image along one side."""
_MOST_COLUMNS = 6000
"""Columns of L that fit into memory as a full matrix."""
_WHICH = ("Z", "Lambda", "L")


@dataclass(frozen=True, eq=False)
class _Picture:
    """A matrix, the names of the parts of its rows and columns, and how many belong to each."""

    matrix: sparse.coo_array
    names: list[str]
    sizes: list[int]
    square: bool
    title: str


def matrix_image(result: MixedLMResults, which: str = "L", ax: Any = None) -> Figure:
    """Draw the pattern and the values of a matrix of the model.

    Parameters
    ----------
    result : MixedLMResults
    which : {"Z", "Lambda", "L"}
        The random-effects model matrix; the relative covariance factor; the Cholesky factor of
        Λ'Z'WZΛ + I. Z and Λ have their columns term by term in the order of the formula, level by
        level. L has the grouping factors by size, the largest first, as the fit eliminates them:
        fill-in then stays small.
    ax : Axes, optional

    Returns
    -------
    Figure
        Zeros are white. Of a large matrix, each cell of the image shows the entry of largest
        magnitude among those it stands for.

    Raises
    ------
    PlotError
        If there is no such matrix, or L is too large to draw.
    MatplotlibMissingError
        If matplotlib is not installed.

    Examples
    --------
    >>> from mixedlm_ext import MixedLM, datasets, plots
    >>> data = datasets.penicillin.load_pandas().data
    >>> result = MixedLM.from_formula("diameter ~ 1 + (1 | plate) + (1 | sample)", data).fit()
    >>> figure = plots.matrix_image(result, "L")
    >>> figure.axes[0].get_title()
    'L: 30 × 30'
    """
    if which not in _WHICH:
        near = did_you_mean(str(which), _WHICH)
        raise PlotError(f"which={which!r} is no matrix.{near} Use 'Z', 'Lambda' or 'L'.")
    picture = {"Z": _picture_Z, "Lambda": _picture_Lambda, "L": _picture_L}[which](result)
    rows, columns = picture.matrix.shape
    figure, (panel,) = panels(1, ax, size=(6.4, 5.4))
    _draw(panel, picture)
    panel.set_title(f"{picture.title}: {rows:,} × {columns:,}", fontsize=11)
    return figure


def relative_factor(fit: Fit) -> sparse.coo_array:
    """Return Λ, sparse (q, q), in the order of the columns of ``model.Z``."""
    parts = [
        sparse.kron(sparse.eye_array(len(term.levels)), T)
        for term, T in zip(fit.design.terms, fit.templates)
    ]
    return sparse.coo_array(sparse.block_diag(parts))


def factor_matrix(fit: Fit) -> Array:
    """Return L, LL' = Λ'Z'WZΛ + I, (q, q): blocks by size, level by level within each."""
    cp, covariance = fit.problem.cp, fit.problem.covariance
    templates = covariance.templates(covariance.standardize(fit.theta))
    parts = [
        sparse.kron(T, sparse.eye_array(levels)) for T, (_, levels) in zip(templates, cp.shapes)
    ]
    Lambda = sparse.csr_array(sparse.block_diag(parts))
    M = (Lambda.T @ cp.ZZ @ Lambda + sparse.eye_array(cp.q)).toarray()
    by_level = [
        cp.offsets[i] + np.arange(k * levels).reshape(k, levels).T.ravel()
        for i, (k, levels) in enumerate(cp.shapes)
    ]
    order = np.concatenate(by_level)
    return np.asarray(np.linalg.cholesky(M[np.ix_(order, order)]))


def _picture_Z(result: MixedLMResults) -> _Picture:
    """Show Z."""
    design = design_with_rows(result)
    sizes = [len(t.levels) * len(t.columns) for t in design.terms]
    names = [t.name for t in design.terms]
    return _Picture(sparse.coo_array(result.model.Z), names, sizes, False, "Z")


def _picture_Lambda(result: MixedLMResults) -> _Picture:
    """Show Λ."""
    terms = result.fit_record.design.terms
    sizes = [len(t.levels) * len(t.columns) for t in terms]
    matrix = relative_factor(result.fit_record)
    return _Picture(matrix, [t.name for t in terms], sizes, True, "Λ")


def _picture_L(result: MixedLMResults) -> _Picture:
    """Show L."""
    fit = result.fit_record
    cp, covariance = fit.problem.cp, fit.problem.covariance
    if cp.q > _MOST_COLUMNS:
        raise PlotError(
            f"L has {cp.q:,} columns, and is drawn up to {_MOST_COLUMNS:,}. "
            "Draw which='Z' or 'Lambda', or the L of a fit to part of the groups."
        )
    blocks = [t.block for t in covariance.terms]
    names = [fit.design.terms[blocks.index(i)].group for i in range(len(cp.shapes))]
    sizes = [k * levels for k, levels in cp.shapes]
    return _Picture(sparse.coo_array(factor_matrix(fit)), names, sizes, True, "L")


def _cells(matrix: sparse.coo_array) -> Array:
    """Return the image, nan for zero."""
    rows, columns = matrix.shape
    height, width = min(rows, _CELLS), min(columns, _CELLS)
    used = matrix.data != 0
    value = matrix.data[used]
    place = (matrix.row[used].astype(np.int64) * height // rows) * width
    place += matrix.col[used].astype(np.int64) * width // columns
    out = np.full(height * width, np.nan)
    order = np.argsort(np.abs(value), kind="stable")
    out[place[order]] = value[order]  # of entries for one place, the last and largest stays
    return out.reshape(height, width)


def _draw(ax: Axes, picture: _Picture) -> None:
    """Draw the image, its colours and the boundaries of its parts."""
    from matplotlib.colors import LinearSegmentedColormap, Normalize, SymLogNorm

    image = _cells(picture.matrix)
    rows, columns = picture.matrix.shape
    colors: str | LinearSegmentedColormap
    norm: Normalize
    largest = float(np.nanmax(np.abs(image), initial=0.0)) or 1.0
    if np.nanmin(image, initial=0.0) < 0:
        linear = 10.0 ** np.ceil(np.log10(0.01 * largest))  # a power of ten has a tick of its own
        colors, norm = "coolwarm", SymLogNorm(linear, 0.7, vmin=-largest, vmax=largest)
    else:
        shades = ["#c6dbef", "#6baed6", "#2171b5", "#08306b"]
        colors, norm = LinearSegmentedColormap.from_list("blues", shades), Normalize(0, largest)
    shown = ax.imshow(
        image,
        cmap=colors,
        norm=norm,
        extent=(0.0, float(columns), float(rows), 0.0),
        aspect="equal" if picture.square else "auto",
        interpolation="nearest",
    )
    ax.figure.colorbar(shown, ax=ax, shrink=0.8)
    edges = np.concatenate([[0], np.cumsum(picture.sizes)])
    for edge in edges[1:-1]:
        ax.axvline(edge, color="0.3", linewidth=0.8)
        if picture.square:
            ax.axhline(edge, color="0.3", linewidth=0.8)
    _name_parts(ax, picture, edges)


def _name_parts(ax: Axes, picture: _Picture, edges: Array) -> None:
    """Write the names of the parts below, and beside a square matrix."""
    wide = np.array(picture.sizes) > 0.04 * edges[-1]
    middle = ((edges[:-1] + edges[1:]) / 2)[wide]
    names = [cut(name, 18) for name, has_room in zip(picture.names, wide) if has_room]
    turned = sum(map(len, names)) > 45
    ax.set_xticks(middle, names, rotation=30 if turned else 0, ha="right" if turned else "center")
    ax.tick_params(length=0)
    if picture.square:
        ax.set_yticks(middle, names, rotation=90, va="center")
    else:
        ax.set_ylabel("row of the data")
