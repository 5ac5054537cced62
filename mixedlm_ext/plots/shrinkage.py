"""Picture of shrinkage: each group's own least-squares fit against its conditional mode."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mixedlm_ext.errors import did_you_mean
from mixedlm_ext.estimation.fit import Fit
from mixedlm_ext.plots.figure import PlotError, panels
from mixedlm_ext.plots.labels import cut, shorten
from mixedlm_ext.plots.selection import design_with_rows, level_names, terms_named

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from mixedlm_ext.results import MixedLMResults

Array = NDArray[np.float64]

__all__ = ["shrinkage", "within_group_fits"]

_MOST_NAMED = 30
"""Groups whose points carry their names."""
_SINGULAR = 1e-10
"""Ratio of eigenvalues of a group's X'WX below which it has no fit of its own."""
_OWN, _MIXED = "C1", "C0"


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
        If there is no such term or column, or the rows were removed.
    MatplotlibMissingError
        If matplotlib is not installed.

    Notes
    -----
    A group's own fit is least squares, by the weights, of the response less everything else in the
    model (offset, fixed effects of other columns, other random terms) on the columns of the term.
    With one term whose columns are all the fixed effects it is the separate regression of lme4's
    ``lmList``. Both are shown with the fixed effects added. A group whose rows do not determine a
    fit has its conditional mode only.

    Examples
    --------
    >>> from mixedlm_ext import MixedLM, datasets, plots
    >>> data = datasets.sleepstudy.load_pandas().data
    >>> result = MixedLM.from_formula("Reaction ~ Days + (Days | Subject)", data).fit()
    >>> figure = plots.shrinkage(result)
    >>> figure.axes[0].get_xlabel(), figure.axes[0].get_ylabel()
    ('Intercept', 'Days')
    """
    design = design_with_rows(result)
    i = terms_named(result, term)[0]
    chosen = design.terms[i]
    shown = _columns(chosen.columns, columns)
    names = [chosen.columns[j] for j in shown]
    fixed = _fixed_part(result.fit_record, i)[shown]
    own = within_group_fits(result.fit_record, i)[:, shown] + fixed
    mixed = result.fit_record.b[i][:, shown] + fixed
    labels = shorten(level_names(chosen), 12) if len(mixed) <= _MOST_NAMED else []
    figure, (panel,) = panels(1, ax, size=(6.4, 5.4) if len(shown) == 2 else (6.4, 3.2))
    if len(shown) == 2:
        _draw_plane(panel, own, mixed, fixed, labels)
        panel.set_ylabel(names[1])
    else:
        _draw_rows(panel, own[:, 0], mixed[:, 0], float(fixed[0]))
    panel.set_xlabel(names[0])
    panel.set_title(f"Shrinkage of {cut(chosen.name)}")
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
    rest = fit.design.y - fit.fitted() + np.einsum("nk,nk->n", term.X, b[term.codes])
    w = np.ones(len(rest)) if fit.design.weights is None else fit.design.weights
    A, c = np.empty((levels, k, k)), np.empty((levels, k))
    for a in range(k):
        c[:, a] = np.bincount(term.codes, w * term.X[:, a] * rest, minlength=levels)
        for d in range(k):
            A[:, a, d] = np.bincount(term.codes, w * term.X[:, a] * term.X[:, d], minlength=levels)
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
    """Return the fixed effects of the term's columns, zero for a column without one."""
    fixed = dict(zip(fit.design.x_names, fit.beta))
    return np.array([fixed.get(name, 0.0) for name in fit.design.coefficient_names[i]])


def _draw_plane(ax: Axes, own: Array, mixed: Array, fixed: Array, labels: Sequence[str]) -> None:
    """Draw two columns: points of both kinds, and arrows from the one to the other."""
    size = 5.0 if len(mixed) < 100 else 2.5
    has = ~np.isnan(own[:, 0])
    step = mixed[has] - own[has]
    ax.plot(*own.T, "o", color=_OWN, markersize=size, label="within-group least squares")
    ax.plot(*mixed.T, "o", color=_MIXED, markersize=size, label="conditional mode")
    ax.quiver(
        *own[has].T,
        *step.T,
        angles="xy",
        scale_units="xy",
        scale=1.0,
        color="0.6",
        width=0.003 if len(mixed) < 100 else 0.0015,
        headwidth=4,
        headlength=5,
        zorder=0,
    )
    ax.plot(*fixed, "+", color="k", markersize=12, markeredgewidth=2, label="fixed effects")
    for name, tail, head in zip(labels, own, mixed):
        at = head if np.isnan(tail[0]) else tail
        outward = at - fixed
        ax.annotate(
            name,
            at,
            (5 if outward[0] >= 0 else -5, 0),
            textcoords="offset points",
            ha="left" if outward[0] >= 0 else "right",
            va="bottom" if outward[1] >= 0 else "top",
            fontsize=8,
        )
    ax.margins(0.1)
    ax.legend(loc="best", fontsize=8)


def _draw_rows(ax: Axes, own: Array, mixed: Array, fixed: float) -> None:
    """Draw one column: own fits above, conditional modes below, joined by lines."""
    has = ~np.isnan(own)
    color = "0.7" if len(mixed) < 100 else "0.9"
    ax.plot(
        [own[has], mixed[has]], [[1.0] * has.sum(), [0.0] * has.sum()], color=color, linewidth=1
    )
    ax.axvline(fixed, color="k", linewidth=0.8, linestyle="--")
    size = 5.0 if len(mixed) < 100 else 2.0
    ax.plot(own, np.ones(len(own)), "o", color=_OWN, markersize=size)
    ax.plot(mixed, np.zeros(len(mixed)), "o", color=_MIXED, markersize=size)
    ax.set_yticks([1, 0], ["within-group\nleast squares", "conditional\nmode"])
    ax.set_ylim(-0.3, 1.3)
