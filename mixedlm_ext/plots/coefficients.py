"""Picture of the fixed effects with intervals, of one or several fits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mixedlm_ext.plots.axes import Names, finish, legend_above, level_room
from mixedlm_ext.plots.colors import GRID, REFERENCE, blend, line_colors
from mixedlm_ext.plots.figure import PlotError, panels
from mixedlm_ext.plots.labels import wrap
from mixedlm_ext.plots.selection import check_alpha

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from mixedlm_ext.plots.selection import Results

Array = NDArray[np.float64]

__all__ = ["coefficients"]

_INTERCEPTS = {"Intercept", "const"}
"""Names of the constant by patsy and by statsmodels."""
_LETTERS = 30
"""Letters in a line of a coefficient's name."""


def coefficients(
    results: Results | Sequence[Results] | Mapping[str, Results],
    names: Sequence[str] | None = None,
    alpha: float = 0.05,
    intercept: bool | None = None,
    ax: Any = None,
) -> Figure:
    """Draw the fixed effects with confidence intervals.

    Parameters
    ----------
    results : MixedLMResults or MixedGLMResults, or sequence or mapping of them
        Other statsmodels results will do, too, as an OLS fit to compare with.
    names : sequence of str, optional
        Names of several models; the keys of a mapping, or "Model 1", ..., by default.
    alpha : float
        One minus the level of the intervals, as of ``conf_int``.
    intercept : bool, optional
        Show the intercept, which often has another scale than the rest. Only if there is nothing
        else by default.
    ax : Axes, optional

    Returns
    -------
    Figure

    Raises
    ------
    PlotError
        If there are no coefficients, or not as many names as models.
    MatplotlibMissingError
        If matplotlib is not installed.

    Examples
    --------
    >>> from mixedlm_ext import MixedLM, datasets, plots
    >>> data = datasets.cake.load_pandas().data
    >>> formula = "angle ~ recipe + temp + (1 | replicate)"
    >>> one = MixedLM.from_formula(formula, data).fit()
    >>> two = MixedLM.from_formula(formula + " + (1 | recipe:replicate)", data).fit()
    >>> figure = plots.coefficients({"replicate": one, "and recipe": two})
    >>> [text.get_text() for text in figure.axes[0].get_yticklabels()]
    ['recipe[T.B]', 'recipe[T.C]', 'temp']
    """
    check_alpha(alpha)
    fits, titles = _named(results, names)
    tables = [_table(fit, alpha) for fit in fits]
    rows = _shown(list(dict.fromkeys(name for table in tables for name in table)), intercept)
    labels = [wrap(name, _LETTERS) for name in rows]
    beside, step = level_room(rows)
    step = max(step, 0.24 + 0.1 * len(fits))
    size = 4.6 + min(beside, 2.8), min(1.3 + len(rows) * step, 12.0)
    figure, (panel,) = panels(1, ax, size=(size[0], max(size[1], 1.8)))
    colors = line_colors(len(fits))
    for m, (table, title) in enumerate(zip(tables, titles)):
        own = [name for name in rows if name in table]
        place = np.array([rows.index(name) + _shift(tables, m, name) for name in own])
        estimate, low, high = np.array([table[name] for name in own]).reshape(-1, 3).T
        panel.hlines(place, low, high, color=colors[m], linewidth=1.5)
        panel.plot(estimate, place, "o", color=colors[m], markersize=5, label=title)
    if not _INTERCEPTS.issuperset(rows):
        panel.axvline(0.0, color=blend(panel, REFERENCE), linewidth=0.8, zorder=0)
    panel.set_yticks(range(len(rows)), labels, fontsize=8 if max(map(len, rows)) > 20 else None)
    panel.set_ylim(len(rows) - 0.4, -0.6)
    panel.grid(axis="y", color=blend(panel, GRID))
    panel.set_axisbelow(True)
    finish([panel], [Names(x=f"coefficient, {1 - alpha:.0%} interval")])
    if len(fits) > 1:
        legend_above(panel)
    return figure


def _named(results: Any, names: Sequence[str] | None) -> tuple[list[Any], list[str]]:
    """Return the fits and their names."""
    if isinstance(results, Mapping):
        fits, titles = list(results.values()), [str(key) for key in results]
    else:
        fits = list(results) if isinstance(results, (list, tuple)) else [results]
        titles = [f"Model {i + 1}" for i in range(len(fits))]
    if names is not None:
        titles = [names] if isinstance(names, str) else [str(name) for name in names]
    if not fits:
        raise PlotError("there is no model to draw. Pass one or several results.")
    if len(titles) != len(fits):
        raise PlotError(
            f"names has {len(titles)} entries for {len(fits)} models. Pass one for each."
        )
    return fits, titles


def _table(fit: Any, alpha: float) -> dict[str, tuple[float, float, float]]:
    """Return estimate and limits of each fixed effect."""
    estimates = np.asarray(fit.params, dtype=float)
    limits = np.asarray(fit.conf_int(alpha=alpha), dtype=float)
    record = getattr(fit, "fit_record", None)  # still there when the data were removed
    names = fit.model.exog_names if record is None else record.design.x_names
    return {
        str(name): (float(e), float(low), float(high))
        for name, e, (low, high) in zip(names, estimates, limits)
    }


def _shift(tables: Sequence[dict[str, Any]], m: int, name: str) -> float:
    """Return how far below its row the coefficient of model m is, among the models that have it."""
    having = [i for i, table in enumerate(tables) if name in table]
    step = min(0.22, 0.7 / len(having))
    return step * (having.index(m) - (len(having) - 1) / 2)


def _shown(names: list[str], intercept: bool | None) -> list[str]:
    """Return the coefficients to show."""
    others = [name for name in names if name not in _INTERCEPTS]
    shown = names if intercept or (intercept is None and not others) else others
    if not shown:
        raise PlotError("the model has no fixed effects to draw. Draw caterpillar(result) instead.")
    return shown
