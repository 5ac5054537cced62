"""Pictures of residual variances: standard deviations by stratum, or along a covariate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mixedlm_ext.geometry.leverage import residual_shares
from mixedlm_ext.plots.axes import Names, finish, legend_above
from mixedlm_ext.plots.colors import line_colors
from mixedlm_ext.plots.figure import PlotError, panels
from mixedlm_ext.plots.labels import bare
from mixedlm_ext.plots.selection import fit_with_rows
from mixedlm_ext.products.noise import noise_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from mixedlm_ext.plots.selection import Results

Array = NDArray[np.float64]

__all__ = ["residual_spread"]

_BINS = 10
"""Sets of rows along a covariate that have a point each."""
_FEWEST = 5
"""Rows, less what the fit has taken of them, that make a point."""
_MOST_NAMES = 12
"""Strata with their names level."""


@dataclass(frozen=True, eq=False)
class _Factor:
    """One factor of the standard deviation, the others at their reference.

    Attributes
    ----------
    x : ndarray
        Where it has points: numbers of strata, or values of the covariate.
    sd : ndarray
        Of the model there, σ times the factor.
    names : list of str
        Of the strata; empty for a covariate.
    observed : tuple of ndarray
        Where rows tell a standard deviation, and which.
    """

    label: str
    x: Array
    sd: Array
    names: list[str]
    observed: tuple[Array, Array]


def residual_spread(result: Results, observed: bool = True, ax: Any = None) -> Figure:
    """Draw the standard deviations of the residuals that ``variance=`` makes.

    Parameters
    ----------
    result : MixedLMResults
    observed : bool
        Add what the rows of each stratum, or of ten stretches of a covariate, say of it.
    ax : Axes or sequence of Axes, optional
        One for each factor of ``variance=``.

    Returns
    -------
    Figure
        A panel for each factor: points for strata, a curve along a covariate. Other factors are at
        their first stratum, powers and rates of others at a factor of one.

    Raises
    ------
    PlotError
        If the residuals have one variance, or rows were removed.
    MatplotlibMissingError
        If matplotlib is not installed.

    Notes
    -----
    Rows i say √(Σe_i²/d_i² / Σs_i) times the factor, e = y - Xβ - Zb, d_i their standard deviation
    relative to σ by the model and s_iσ²d_i² the variance that the fit leaves e_i. Sets of rows that
    it leaves less than 5 of are left out.

    Examples
    --------
    >>> from mixedlm_ext import MixedLM, datasets, plots
    >>> data = datasets.sleepstudy.load_pandas().data
    >>> model = MixedLM.from_formula(
    ...     "Reaction ~ Days + (Days | Subject)", data, variance="exp(Days)"
    ... )
    >>> figure = plots.residual_spread(model.fit())
    >>> figure.axes[0].get_xlabel(), figure.axes[0].get_ylabel()
    ('Days', 'standard deviation')
    """
    structure = getattr(result.fit_record.design, "residual", None)
    if structure is None or not structure.variances:
        raise PlotError(
            "the residuals have one variance. Fit with variance='s' for a standard deviation in "
            "each stratum s, or variance='power(x)' to draw how they differ."
        )
    factors = _factors(fit_with_rows(result))
    figure, axes = panels(len(factors), ax, size=(5.4, 4.0))
    for panel, factor in zip(axes, factors):
        _draw(panel, factor, observed)
    title = "Residual standard deviation"
    finish(axes, [Names(title, factor.label, "standard deviation") for factor in factors])
    for panel, factor in zip(axes, factors):
        if observed and len(factor.observed[0]):
            legend_above(panel)
    return figure


def _factors(fit: Any) -> list[_Factor]:
    """Return what is drawn of each factor."""
    design = fit.design
    structure, rows = design.residual, design.residual_rows
    eta = structure.eta_of(structure.z_of(structure.values))
    e = design.y - fit.fitted()
    squares, shares = e**2 / noise_of(design).variances, residual_shares(fit)
    out, start = [], 0
    for part in structure.variances:
        own = slice(start, start + len(part.parameters))
        start = own.stop
        x, coefficients = rows.x[:, own], eta[own]
        if part.levels is None:
            out.append(_along(fit, part, x[:, 0], float(coefficients[0]), squares, shares))
        else:
            out.append(_by_stratum(fit, part, x, coefficients, squares, shares))
    return out


def _by_stratum(
    fit: Any, part: Any, x: Array, eta: Array, squares: Array, shares: Array
) -> _Factor:
    """Return a factor that has a standard deviation for each stratum."""
    sd = fit.sigma * np.exp(np.concatenate([[0.0], eta]))
    codes = (x @ np.arange(1, len(sd))).astype(np.intp)
    kept, seen = _told(codes, len(sd), squares, shares)
    at = np.arange(len(sd), dtype=float)
    label = bare(":".join(part.codes))
    return _Factor(label, at, sd, part.strata, (at[kept], sd[kept] * seen / fit.sigma))


def _along(fit: Any, part: Any, x: Array, eta: float, squares: Array, shares: Array) -> _Factor:
    """Return a factor that follows a covariate."""
    edges = np.unique(np.quantile(x, np.linspace(0.0, 1.0, _BINS + 1)))
    codes = np.clip(np.searchsorted(edges, x, side="right") - 1, 0, len(edges) - 2)
    count = np.maximum(np.bincount(codes, minlength=len(edges) - 1), 1)
    means = np.bincount(codes, x, len(edges) - 1) / count
    kept, seen = _told(codes, len(means), squares, shares)
    at = np.linspace(x.min(), x.max(), 201)
    points = (means[kept], np.exp(eta * means[kept]) * seen)
    label = bare(part.codes[0])
    if part.word == "exp":
        return _Factor(label, at, fit.sigma * np.exp(eta * at), [], points)
    label = f"|{label}|" if part.word == "power" else label
    at = np.linspace(np.exp(x.min()), np.exp(x.max()), 201)
    return _Factor(label, at, fit.sigma * at**eta, [], (np.exp(points[0]), points[1]))


def _told(codes: Any, sets: int, squares: Array, shares: Array) -> tuple[Any, Array]:
    """Return which sets of rows tell a standard deviation, and √(Σe²/d² / Σs) of those."""
    left = np.bincount(codes, shares, sets)
    kept = np.flatnonzero(left >= _FEWEST)
    return kept, np.sqrt(np.bincount(codes, squares, sets)[kept] / left[kept])


def _draw(ax: Axes, factor: _Factor, observed: bool) -> None:
    """Draw one factor."""
    color, other = line_colors(2)
    if factor.names:
        ax.plot(factor.x, factor.sd, "o", color=color, markersize=6, label="model")
        ax.set_xlim(-0.5, len(factor.x) - 0.5)
        rotation = 0 if len(factor.names) <= _MOST_NAMES else 90
        ax.set_xticks(factor.x, factor.names, rotation=rotation)
    else:
        ax.plot(factor.x, factor.sd, color=color, linewidth=1.6, label="model")
    tallest = float(factor.sd.max())
    if observed and len(factor.observed[0]):
        look: dict[str, Any] = {"markersize": 6.5, "markerfacecolor": "none"}
        ax.plot(*factor.observed, "D", color=other, label="rows", **look)
        tallest = max(tallest, float(factor.observed[1].max()))
    ax.set_ylim(0.0, 1.12 * tallest)
