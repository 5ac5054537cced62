"""Images of the matrices of the model: Z, Λ, and the factor L of Λ'Z'WZΛ + I."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from mixedlm_ext.design.records import TermSpec, sparse_random_columns
from mixedlm_ext.errors import did_you_mean
from mixedlm_ext.estimation.fit import Fit
from mixedlm_ext.plots.axes import Names, color_bar, finish, room
from mixedlm_ext.plots.colors import blend, diverging, sequential
from mixedlm_ext.plots.figure import PlotError, panels
from mixedlm_ext.plots.labels import narrowest, text_width, wrap
from mixedlm_ext.plots.selection import design_with_rows, refuse_generalized

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from mixedlm_ext.plots.selection import Results

Array = NDArray[np.float64]

__all__ = ["factor_matrix", "matrix_image", "relative_factor"]

_CELLS = 300
"""Cells of the image along one side."""
_MOST_COLUMNS = 6000
"""Columns of L that fit into memory as a full matrix."""
_ROUNDING = 1e-12
"""Entries that are zero but for rounding, relative to the largest."""
_FONT, _LINE = 9.0, 1.35
_LETTERS = 22
"""Letters in a line of a name across its axis."""
_WHICH = ("Z", "Lambda", "L")


@dataclass(frozen=True, eq=False)
class _Picture:
    """A matrix, the names of the parts of its rows and columns, and how many belong to each."""

    matrix: sparse.coo_array
    names: list[str]
    sizes: list[int]
    square: bool
    title: str


def matrix_image(result: Results, which: str = "L", ax: Any = None) -> Figure:
    """Draw the pattern and the values of a matrix of the model.

    Parameters
    ----------
    result : MixedLMResults or MixedGLMResults
    which : {"Z", "Lambda", "L"}
        The random-effects model matrix; the relative covariance factor; the Cholesky factor of
        Λ'Z'WZΛ + I. Z and Λ have their columns term by term in the order of the formula, level by
        level. L has the grouping factors by size, the largest first, as the fit eliminates them:
        fill-in then stays small.
    ax : Axes, optional

    Returns
    -------
    Figure
        Zeros are left blank. Of a large matrix, each cell of the image shows the entry of largest
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
    edges = np.concatenate([[0], np.cumsum(picture.sizes)])
    _draw(panel, picture, edges)
    _name_parts(panel, picture, edges)
    below = "" if picture.square else "row of the data"
    finish([panel], [Names(f"{picture.title}: {rows:,} × {columns:,}", y=below)])
    _name_parts(panel, picture, edges)  # by the room that is left
    return figure


def relative_factor(fit: Fit) -> sparse.coo_array:
    """Return Λ, sparse (q, q), in the order of the columns of ``model.Z``."""
    parts = [sparse.kron(_levels_root(term), T) for term, T in zip(fit.design.terms, fit.templates)]
    return sparse.coo_array(sparse.block_diag(parts))


def _levels_root(term: TermSpec) -> Any:
    """Return C with K = CC' of the levels of a term, I where they are independent."""
    if term.related is None:
        return sparse.eye_array(len(term.levels))
    return term.related.from_independent(np.eye(term.effects))


def factor_matrix(fit: Fit) -> Array:
    """Return L, LL' = Λ'Z'WZΛ + I, (q, q): blocks by size, level by level within each.

    For levels of a known precision this stands in place of I.
    """
    cp, covariance = fit.problem.cp, fit.problem.covariance
    templates = covariance.templates(covariance.standardize(fit.theta))
    parts = [
        sparse.kron(T, sparse.eye_array(levels)) for T, (_, levels) in zip(templates, cp.shapes)
    ]
    Lambda = sparse.csr_array(sparse.block_diag(parts))
    priors = [cp.layout.prior(i) for i in range(len(cp.shapes))]
    Q = sparse.block_diag(
        [
            sparse.kron(sparse.eye_array(k), sparse.eye_array(n) if prior is None else prior.Q)
            for (k, n), prior in zip(cp.shapes, priors)
        ]
    )
    M = (Lambda.T @ cp.ZZ @ Lambda + Q).toarray()
    by_level = [
        cp.offsets[i] + np.arange(k * levels).reshape(k, levels).T.ravel()
        for i, (k, levels) in enumerate(cp.shapes)
    ]
    order = np.concatenate(by_level)
    return np.asarray(np.linalg.cholesky(M[np.ix_(order, order)]))


def _picture_Z(result: Results) -> _Picture:
    """Show Z."""
    design = design_with_rows(result)
    sizes = [len(t.levels) * len(t.columns) for t in design.terms]
    names = [t.name for t in design.terms]
    Z = sparse.coo_array(sparse_random_columns(design.terms))
    return _Picture(Z, names, sizes, False, "Z")


def _picture_Lambda(result: Results) -> _Picture:
    """Show Λ."""
    terms = result.fit_record.design.terms
    sizes = [len(t.levels) * len(t.columns) for t in terms]
    matrix = relative_factor(result.fit_record)
    return _Picture(matrix, [t.name for t in terms], sizes, True, "Λ")


def _picture_L(result: Results) -> _Picture:
    """Show L."""
    refuse_generalized(
        result, "L of a generalized model changes with its weights", "Draw 'Lambda'."
    )
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


def _cells(matrix: sparse.coo_array, wide: float, high: float) -> Array:
    """Return the image, nan for zero, for a panel of this size in printer's points."""
    rows, columns = matrix.shape
    height, width = min(rows, _CELLS, int(0.9 * high)), min(columns, _CELLS, int(0.9 * wide))
    used = np.abs(matrix.data) > _ROUNDING * np.max(np.abs(matrix.data), initial=0.0)
    value = matrix.data[used]
    place = (matrix.row[used].astype(np.int64) * height // rows) * width
    place += matrix.col[used].astype(np.int64) * width // columns
    out = np.full(height * width, np.nan)
    order = np.argsort(np.abs(value), kind="stable")
    out[place[order]] = value[order]  # of entries for one place, the last and largest stays
    return out.reshape(height, width)


def _draw(ax: Axes, picture: _Picture, edges: Array) -> None:
    """Draw the image, its colours and the boundaries of its parts."""
    from matplotlib.colors import Normalize, SymLogNorm

    image = _cells(picture.matrix, room(ax), room(ax, vertical=True))
    rows, columns = picture.matrix.shape
    norm: Normalize
    largest = float(np.nanmax(np.abs(image), initial=0.0)) or 1.0
    lowest, highest = float(np.nanmin(image, initial=0.0)), float(np.nanmax(image, initial=0.0))
    if lowest < 0:
        linear = 10.0 ** np.ceil(np.log10(0.01 * largest))  # a power of ten has a tick of its own
        colors, norm = diverging(ax), SymLogNorm(linear, 0.7, vmin=-largest, vmax=largest)
    else:
        colors, norm = sequential(ax), Normalize(0, largest)
    shown = ax.imshow(
        image,
        cmap=colors,
        norm=norm,
        extent=(0.0, float(columns), float(rows), 0.0),
        aspect="equal" if picture.square else "auto",
        interpolation="nearest",
    )
    color_bar(ax, shown).set_ylim(lowest, highest or largest)  # only colours that occur
    for edge in edges[1:-1]:
        ax.axvline(edge, color=blend(ax, 0.7), linewidth=0.8)
        if picture.square:
            ax.axhline(edge, color=blend(ax, 0.7), linewidth=0.8)


def _name_parts(ax: Axes, picture: _Picture, edges: Array) -> None:
    """Write the names of the parts below, and beside a square matrix."""
    middle, share = (edges[:-1] + edges[1:]) / 2 / edges[-1], np.diff(edges) / edges[-1]
    width, height = 0.9 * room(ax), 0.9 * room(ax, vertical=True)
    letters = [max(int(width * part / text_width(1, _FONT)), 1) for part in share]
    level = all(narrowest([n], 3, min(3, m), m) for n, m in zip(picture.names, letters))
    names = [wrap(n, m if level else _LETTERS) for n, m in zip(picture.names, letters)]
    lines = np.array([name.count("\n") + 1 for name in names]) * _LINE * _FONT
    along = middle if level else _spread(middle, lines / width)
    ax.set_xticks(along * edges[-1], names, rotation=0 if level else 90, fontsize=_FONT)
    ax.tick_params(length=0)
    if not picture.square:
        return
    along = middle if level else _spread(middle, lines / height)
    ax.set_yticks(
        along * edges[-1], names, rotation=90 if level else 0, va="center", fontsize=_FONT
    )


def _spread(middle: Array, need: Array) -> Array:
    """Return places near the middles of the parts, with room for each, in shares of the axis."""
    places, half = middle.copy(), need / 2
    for i in range(1, len(places)):  # push along ...
        places[i] = max(places[i], places[i - 1] + half[i - 1] + half[i])
    end = 1.0
    for i in reversed(range(len(places))):  # ... and back from the end
        places[i] = min(places[i], end - half[i])
        end = places[i] - half[i]
    return places
