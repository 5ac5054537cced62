"""Pictures of a profile likelihood: ζ, densities, and pairs of parameters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mixedlm_ext.errors import did_you_mean
from mixedlm_ext.inference.profile.profile import Profile, cutoff
from mixedlm_ext.plots.axes import Names, few_ticks, finish
from mixedlm_ext.plots.colors import INTERVAL, REFERENCE, blend, line_colors
from mixedlm_ext.plots.figure import PlotError, panels
from mixedlm_ext.plots.selection import check_alpha

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Array = NDArray[np.float64]

__all__ = ["curve", "profile_density", "profile_zeta", "shown_names"]

_POINTS = 401
"""Values along a curve, besides those between the points of its profile."""
_BETWEEN = 10
"""Values from one point of a profile to the next: where points are close the curve is steep."""
_EDGE = 0.02
"""Share of the range at either end at which a density may have a pole."""
_ALPHAS = (0.5, 0.2, 0.1, 0.05, 0.01)


def profile_zeta(
    profile: Profile,
    names: Sequence[str] | None = None,
    absolute: bool = False,
    alphas: Sequence[float] = _ALPHAS,
    ax: Any = None,
) -> Figure:
    """Draw ζ, the signed root of the change in deviance, against each parameter.

    Parameters
    ----------
    profile : Profile
    names : sequence of str, optional
        Parameters; all that were profiled by default.
    absolute : bool
        Draw ``|ζ|``, so that an interval is a horizontal line.
    alphas : sequence of float
        Intervals of these levels, 1 - α, are marked as far as the profile reaches.
    ax : Axes or sequence of Axes, optional
        One for each parameter.

    Returns
    -------
    Figure
        A straight line means that the normal approximation holds.

    Raises
    ------
    PlotError
        If a parameter was not profiled.
    MatplotlibMissingError
        If matplotlib is not installed.

    Examples
    --------
    >>> from mixedlm_ext import MixedLM, datasets, plots
    >>> data = datasets.dyestuff.load_pandas().data
    >>> result = MixedLM.from_formula("Yield ~ 1 + (1 | Batch)", data).fit()
    >>> figure = plots.profile_zeta(result.profile())
    >>> [ax.get_xlabel() for ax in figure.axes]
    ['sd(Batch, Intercept)', 'sigma', 'Intercept']
    """
    shown = shown_names(profile, names)
    for a in alphas:
        check_alpha(a)
    reached = [a for a in alphas if a >= profile.alpha_max]
    figure, axes = panels(len(shown), ax, size=(3.2, 3.0), columns=3)
    (color,) = line_colors(1)
    for panel, name in zip(axes, shown):
        value, zeta = curve(profile, name)
        points = profile.points(name)
        at = points["zeta"].abs() if absolute else points["zeta"]
        panel.axhline(0.0, color=blend(panel, REFERENCE), linewidth=0.8)
        for a in reached:
            _mark_interval(panel, profile, name, a, absolute)
        panel.plot(value, np.abs(zeta) if absolute else zeta, color=color, linewidth=1.5)
        panel.plot(points["value"], at, ".", color=color, markersize=5)
    finish(axes, [Names(x=name, y="|ζ|" if absolute else "ζ") for name in shown])
    for panel in axes:
        few_ticks(panel.xaxis)
        panel.yaxis.label.set(rotation=0, ha="right")
    return figure


def profile_density(
    profile: Profile,
    names: Sequence[str] | None = None,
    alpha: float = 0.05,
    ax: Any = None,
) -> Figure:
    """Draw the density of each parameter whose quantiles are the limits of its intervals.

    Parameters
    ----------
    profile : Profile
    names : sequence of str, optional
        Parameters; all that were profiled by default.
    alpha : float
        The interval of level 1 - α is shaded, if the profile reaches it.
    ax : Axes or sequence of Axes, optional
        One for each parameter.

    Returns
    -------
    Figure
        At a bound of its range the density of a parameter may grow without end: the curve leaves
        the panel there.

    Raises
    ------
    PlotError
        If a parameter was not profiled.
    MatplotlibMissingError
        If matplotlib is not installed.

    Notes
    -----
    The density is φ(ζ(v)) dζ/dv; it is no posterior density.

    Examples
    --------
    >>> from mixedlm_ext import MixedLM, datasets, plots
    >>> data = datasets.dyestuff.load_pandas().data
    >>> result = MixedLM.from_formula("Yield ~ 1 + (1 | Batch)", data).fit()
    >>> figure = plots.profile_density(result.profile())
    >>> [ax.get_xlabel() for ax in figure.axes]
    ['sd(Batch, Intercept)', 'sigma', 'Intercept']
    """
    check_alpha(alpha)
    shown = shown_names(profile, names)
    figure, axes = panels(len(shown), ax, size=(3.2, 2.8), columns=3)
    (color,) = line_colors(1)
    for panel, name in zip(axes, shown):
        value, _ = curve(profile, name)
        density = np.asarray(profile.density(name, value))
        ok = np.isfinite(density)
        value, density = value[ok], density[ok]
        panel.plot(value, density, color=color, linewidth=1.5)
        if alpha >= profile.alpha_max:
            low, high = profile.conf_int(alpha).loc[name]
            inside = (value >= low) & (value <= high)
            shade = blend(panel, 0.25, color)
            panel.fill_between(value[inside], density[inside], color=shade, linewidth=0, zorder=0)
        estimate = float(profile.params[name])
        panel.axvline(estimate, color=blend(panel, REFERENCE), linewidth=0.8)
        panel.set_ylim(0.0, 1.08 * _highest(value, density))
    finish(axes, [Names(x=name, y="density") for name in shown])
    for panel in axes:
        few_ticks(panel.xaxis)
    return figure


def _highest(value: Array, density: Array) -> float:
    """Return the largest value of a density, but of its poles at the ends only the feet."""
    edge = _EDGE * np.ptp(value) if len(value) else 0.0
    inner = density[(value > value[:1] + edge) & (value < value[-1:] - edge)]
    highest = float(np.max(density, initial=0.0))
    foot = float(np.max(inner, initial=0.0))
    if foot == 0.0 or highest <= 2.0 * foot:
        return highest or 1.0
    return 1.2 * foot


def shown_names(profile: Profile, names: Sequence[str] | None) -> list[str]:
    """Return the parameters to draw."""
    if names is None:
        return profile.names
    wanted = [names] if isinstance(names, str) else list(names)
    for name in wanted:
        if name not in profile.names:
            raise PlotError(
                f"{name!r} was not profiled.{did_you_mean(str(name), profile.names)} "
                f"The profile holds {', '.join(repr(n) for n in profile.names)}."
            )
    if not wanted:
        raise PlotError("names is empty. Name parameters, or leave it out.")
    return wanted


def curve(profile: Profile, name: str) -> tuple[Array, Array]:
    """Return values of a parameter over the range of its profile, and ζ there."""
    points = np.unique(profile.points(name)["value"].to_numpy())
    steep = np.linspace(points[:-1], points[1:], _BETWEEN, endpoint=False)
    value = np.union1d(steep, np.linspace(points[0], points[-1], _POINTS))
    zeta = np.asarray(profile.zeta(name, value))
    known = np.isfinite(zeta)
    return value[known], zeta[known]


def _mark_interval(ax: Axes, profile: Profile, name: str, alpha: float, absolute: bool) -> None:
    """Mark one interval: lines from its ends to the curve, joined by a bar where |ζ| is drawn."""
    look: dict[str, Any] = {"color": blend(ax, INTERVAL), "linewidth": 0.9, "zorder": 0}
    limits = profile.conf_int(alpha).loc[name].to_numpy(dtype=float)
    ends = np.nan_to_num(np.asarray(profile.zeta(name, limits), dtype=float))
    ax.vlines(limits, 0.0, np.abs(ends) if absolute else ends, **look)
    if absolute:
        ax.hlines(cutoff(alpha), *limits, **look)
