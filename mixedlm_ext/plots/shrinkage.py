"""Picture of shrinkage: each group's own least-squares fit against its conditional mode."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mixedlm_ext.errors import did_you_mean
from mixedlm_ext.estimation.fit import Fit
from mixedlm_ext.plots.axes import Names, finish, legend_above
from mixedlm_ext.plots.colors import REFERENCE, blend, line_colors
from mixedlm_ext.plots.figure import PlotError, panels
from mixedlm_ext.plots.naming import name_points
from mixedlm_ext.plots.selection import (
    fit_with_rows,
    level_names,
    one_level_a_row,
    refuse_generalized,
    terms_named,
)
from mixedlm_ext.products.noise import noise_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from mixedlm_ext.results import MixedLMResults

Array = NDArray[np.float64]

__all__ = ["shrinkage", "within_group_fits"]

_MOST_NAMED = 30
"""Groups whose points carry their names."""
_ALONG = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
"""Places on an arrow that a name should not cover."""
_SINGULAR = 1e-10
"""Ratio of eigenvalues of a group's X'WX below which it has no fit of its own."""


def shrinkage(
    result: MixedLMResults,
    term: str | None = None,
    columns: Sequence[str] | None = None,
    ax: Any = None,
) -> Figure:
    """Draw within-group least-squares fits and conditional modes, with arrows between them.

    Parameters
    ----------
    result : MixedLMResults
    term : str, optional
        A random-effects term; the first by default.
    columns : sequence of str, optional
        One or two of its columns; the first two by default. One column is drawn as two rows of
        points.
    ax : Axes, optional

    Returns
    -------
    Figure

    Raises
    ------
    PlotError
        If there is no such term or column, the rows were removed, or the model is a generalized
        one.
    MatplotlibMissingError
        If matplotlib is not installed.

    Notes
    -----
    A group's own fit is least squares, by the weights, of the response less everything else in the
    model (offset, fixed effects of other columns, other random terms) on the columns of the term.
    With one term whose columns are all the fixed effects it is the separate regression of lme4's
    ``lmList``. Both are shown with the fixed effects added. A column without a fixed effect has
    none to add: the axis says so, and zero, where its modes shrink to, is a line if it is near. A
    group whose rows do not determine a fit has its conditional mode only.

    Examples
    --------
    >>> from mixedlm_ext import MixedLM, datasets, plots
    >>> data = datasets.sleepstudy.load_pandas().data
    >>> result = MixedLM.from_formula("Reaction ~ Days + (Days | Subject)", data).fit()
    >>> figure = plots.shrinkage(result)
    >>> figure.axes[0].get_xlabel(), figure.axes[0].get_ylabel()
    ('Intercept', 'Days')
    """
    refuse_generalized(result, "least-squares fits are of linear models", "Draw the caterpillar.")
    fit = fit_with_rows(result)
    i = terms_named(result, term)[0]
    chosen = one_level_a_row(fit.design.terms[i])
    shown = _columns(chosen.columns, columns)
    names = [chosen.columns[j] for j in shown]
    fixed = _fixed_part(fit, i)[shown]
    added = np.nan_to_num(fixed)
    own = within_group_fits(fit, i)[:, shown] + added
    mixed = fit.b[i][:, shown] + added
    labels = level_names(chosen) if len(mixed) <= _MOST_NAMED else []
    figure, (panel,) = panels(1, ax, size=(6.4, 5.4) if len(shown) == 2 else (6.4, 3.2))
    text = Names(f"Shrinkage of {chosen.name}", *map(_axis_name, names, fixed))
    if len(shown) == 1:
        _draw_rows(panel, own[:, 0], mixed[:, 0], float(fixed[0]))
        finish([panel], [text])
        return figure
    _draw_plane(panel, own, mixed, fixed)
    finish([panel], [text])
    legend_above(panel)
    if labels:
        has = ~np.isnan(own[:, :1])
        arrows = np.concatenate([mixed + t * (np.where(has, own, mixed) - mixed) for t in _ALONG])
        at = np.where(has, own, mixed)
        name_points(panel, at[:, 0], at[:, 1], labels, [tuple(arrows.T), tuple(added[:, None])])
    return figure


def within_group_fits(fit: Fit, i: int) -> Array:
    """Return each level's least-squares coefficients less the fixed effects, for term i.

    Returns
    -------
    ndarray (levels, k)
        nan where the rows of a level do not determine them.
    """
    term, b = fit.design.terms[i], fit.b[i]
    levels, k = b.shape
    rest = fit.design.y - fit.fitted() + term.times(b)
    WX = noise_of(fit.design).times(term.X)
    A, c = np.empty((levels, k, k)), np.empty((levels, k))
    for a in range(k):
        c[:, a] = np.bincount(term.codes, WX[:, a] * rest, minlength=levels)
        for d in range(k):
            A[:, a, d] = np.bincount(term.codes, WX[:, a] * term.X[:, d], minlength=levels)
    scale = np.sqrt(np.einsum("lkk->lk", A))
    scale[scale == 0] = 1.0
    values = np.linalg.eigvalsh(A / scale[:, :, None] / scale[:, None, :])
    determined = values[:, 0] > _SINGULAR
    out = np.full((levels, k), np.nan)
    out[determined] = np.linalg.solve(A[determined], c[determined][:, :, None])[:, :, 0]
    return out


def _columns(known: Sequence[str], wanted: Sequence[str] | None) -> list[int]:
    """Return the positions of the columns to show."""
    if wanted is None:
        return list(range(min(2, len(known))))
    wanted = [wanted] if isinstance(wanted, str) else list(wanted)
    for name in wanted:
        if name not in known:
            raise PlotError(
                f"the term has no column {name!r}.{did_you_mean(name, known)} "
                f"Use one or two of {', '.join(repr(k) for k in known)}."
            )
    if not 1 <= len(set(wanted)) == len(wanted) <= 2:
        raise PlotError(f"columns={wanted!r}: pass one column, or two different ones.")
    return [list(known).index(name) for name in wanted]


def _fixed_part(fit: Fit, i: int) -> Array:
    """Return the fixed effects of the term's columns, nan for a column without one."""
    fixed = dict(zip(fit.design.x_names, fit.beta))
    return np.array([fixed.get(name, np.nan) for name in fit.design.coefficient_names[i]])


def _axis_name(column: str, fixed: float) -> str:
    """Name an axis."""
    return f"{column}, random effect alone" if np.isnan(fixed) else column


def _draw_plane(ax: Axes, own: Array, mixed: Array, fixed: Array) -> None:
    """Draw two columns: points of both kinds, and arrows from the one to the other."""
    size = 5.0 if len(mixed) < 100 else 2.5
    has = ~np.isnan(own[:, 0])
    step = mixed[has] - own[has]
    colors = line_colors(2)
    ax.plot(*own.T, "o", color=colors[1], markersize=size, label="within-group least squares")
    ax.plot(*mixed.T, "o", color=colors[0], markersize=size, label="conditional mode")
    ax.quiver(
        *own[has].T,
        *step.T,
        angles="xy",
        scale_units="xy",
        scale=1.0,
        color=blend(ax, 0.4),
        width=0.003 if len(mixed) < 100 else 0.0015,
        headwidth=4,
        headlength=5,
        zorder=0,
    )
    if not np.isnan(fixed).any():
        look: dict[str, Any] = {"markersize": 12, "markeredgewidth": 2, "label": "fixed effects"}
        ax.plot(*fixed, "+", color=blend(ax, 1.0), **look)
    ax.margins(0.1)
    if np.isnan(fixed).any():
        _draw_centers(ax, fixed)


def _draw_centers(ax: Axes, fixed: Array) -> None:
    """Draw where the modes shrink to as lines, where a column has no fixed effect."""
    look: dict[str, Any] = {"color": blend(ax, REFERENCE), "linewidth": 0.8, "linestyle": "--"}
    lines = ((ax.axvline, ax.get_xlim(), fixed[0]), (ax.axhline, ax.get_ylim(), fixed[1]))
    label = "fixed effect, or zero"
    for draw, (low, high), center in lines:
        if low <= np.nan_to_num(center) <= high:
            draw(float(np.nan_to_num(center)), label=label, **look)
            label = "_"


def _draw_rows(ax: Axes, own: Array, mixed: Array, fixed: float) -> None:
    """Draw one column: own fits above, conditional modes below, joined by lines."""
    has = ~np.isnan(own)
    color = blend(ax, 0.4 if len(mixed) < 100 else 0.12)
    ax.plot(
        [own[has], mixed[has]], [[1.0] * has.sum(), [0.0] * has.sum()], color=color, linewidth=1
    )
    low, high = ax.get_xlim()
    if low <= np.nan_to_num(fixed) <= high:
        ax.axvline(float(np.nan_to_num(fixed)), color=blend(ax, 1.0), linewidth=0.8, linestyle="--")
    size = 5.0 if len(mixed) < 100 else 2.0
    colors = line_colors(2)
    ax.plot(own, np.ones(len(own)), "o", color=colors[1], markersize=size)
    ax.plot(mixed, np.zeros(len(mixed)), "o", color=colors[0], markersize=size)
    ax.set_yticks([1, 0], ["within-group\nleast squares", "conditional\nmode"])
    ax.set_ylim(-0.3, 1.3)
