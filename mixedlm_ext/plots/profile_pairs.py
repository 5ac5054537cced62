"""Picture of all pairs of profiled parameters: traces and approximate likelihood contours.

The construction is that of Bates & Watts (1988, Nonlinear Regression Analysis and Its Applications,
sec. 6.1 and appendix 6): on the scales ζ_i, ζ_j a contour of level ζ = L is

    ζ_i = L cos(a + d/2),    ζ_j = L cos(a - d/2),

with the difference of phases d a smooth periodic function of the mean phase a. Where the contour
has a vertical or horizontal tangent it meets a profile trace, which gives four points of d(a).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from scipy.interpolate import CubicSpline, PchipInterpolator

from mixedlm_ext.inference.profile import Profile, cutoff
from mixedlm_ext.plots.axes import room
from mixedlm_ext.plots.colors import REFERENCE, blend, line_colors
from mixedlm_ext.plots.figure import PlotError, given_panels, new_figure
from mixedlm_ext.plots.labels import bare, text_width, wrap
from mixedlm_ext.plots.profiles import curve, shown_names
from mixedlm_ext.plots.selection import check_alpha

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Array = NDArray[np.float64]
Curve = tuple[Array, Array]

__all__ = ["contour", "profile_pairs", "trace"]

_ALPHAS = (0.5, 0.2, 0.1, 0.05)
"""Levels 1 - α of the contours, as joint regions of two parameters."""
_SIZES = (9.0, 8.0, 7.0, 6.0, 5.0, 4.0, 3.0, 2.0)
"""Font sizes of names."""
_ANGLES = np.linspace(-np.pi, np.pi, 201)


def profile_pairs(
    profile: Profile,
    names: Sequence[str] | None = None,
    alphas: Sequence[float] = _ALPHAS,
    ax: Any = None,
) -> Figure:
    """Draw profile traces and approximate likelihood contours of each pair of parameters.

    Parameters
    ----------
    profile : Profile
    names : sequence of str, optional
        Two or more parameters; all that were profiled by default.
    alphas : sequence of float
        Contours bound joint regions of level 1 - α, that is ζ² = χ²₂(1-α), as far as the profile
        reaches: with ``alpha_max=0.01`` up to level 0.96.
    ax : sequence or array of Axes, optional
        One for each ordered pair and each parameter, row by row: 4, 9, 16, ...

    Returns
    -------
    Figure
        Below the diagonal parameters are on their own scales, above it on the scale of ζ, where
        contours of a quadratic log-likelihood are ellipses. Grey lines are profile traces, solid:
        the vertical parameter estimated given the horizontal one, dashed: the other way round.

    Raises
    ------
    PlotError
        If there are fewer than two parameters, or one was not profiled.
    MatplotlibMissingError
        If matplotlib is not installed.

    Notes
    -----
    Contours are interpolated from the profiles (Bates & Watts 1988, appendix 6); where a parameter
    reaches the end of its range before the contour does, the contour is cut there.

    Examples
    --------
    >>> from mixedlm_ext import MixedLM, datasets, plots
    >>> data = datasets.dyestuff.load_pandas().data
    >>> result = MixedLM.from_formula("Yield ~ 1 + (1 | Batch)", data).fit()
    >>> figure = plots.profile_pairs(result.profile())
    >>> len(figure.axes)
    9
    """
    shown = shown_names(profile, names)
    if len(shown) < 2:
        raise PlotError(f"a pair needs two parameters, and there is only {shown[0]!r}.")
    for a in alphas:
        check_alpha(a)
    reach = cutoff(profile.alpha_max)
    levels = [z for a in sorted(alphas) if (z := float(np.sqrt(stats.chi2.ppf(1 - a, 2)))) <= reach]
    p = len(shown)
    figure, axes = _square(p) if ax is None else given_panels(p * p, ax)
    curves = {name: curve(profile, name) for name in shown}
    traces = {(x, y): trace(profile, x, y) for x in shown for y in shown if x != y}
    for k, panel in enumerate(axes):
        i, j = divmod(k, p)
        if i == j:
            _write_name(panel, shown[i])
            continue
        x, y = shown[j], shown[i]
        pair = _Pair(traces[x, y], traces[y, x], curves[x], curves[y], own=i > j)
        pair.draw(panel, levels)
        if i > j:
            estimate = profile.params[x], profile.params[y]
            panel.plot(*estimate, ".", color=blend(panel, 1.0), markersize=4)
        _place_ticks(panel, i, j, p)
    return figure


def trace(profile: Profile, held: str, other: str) -> Curve:
    """Return ζ of the held parameter, increasing, and of the other at its estimate given that."""
    points = profile.points(held)
    zeta = points["zeta"].to_numpy()
    conditional = np.asarray(profile.zeta(other, points[other].to_numpy()), dtype=float)
    known = np.isfinite(conditional)
    zeta, first = np.unique(zeta[known], return_index=True)
    return zeta, conditional[known][first]


def contour(y_given_x: Curve, x_given_y: Curve, level: float) -> Curve | None:
    """Return ζ_x and ζ_y along the contour of a level, or None where it is not known.

    Parameters
    ----------
    y_given_x, x_given_y : tuple of ndarray
        The two traces, as `trace` returns them.
    level : float
    """
    phases = []
    for end, phase in ((level, 0.0), (-level, np.pi)):
        phases.append((phase, _phase(y_given_x, end)))
        phases.append((_phase(x_given_y, end), phase))
    if not np.isfinite(phases).all():
        return None
    px, py = np.array(phases).T
    a, d = (px + py) / 2, px - py
    a, d = np.where(d < 0, -a, a), np.abs(d)  # cos is even: turn both phases round
    order = np.argsort(a)
    a, d = a[order], d[order]
    if np.diff(a).min() < 1e-8:
        return None
    difference = CubicSpline(np.append(a, a[0] + 2 * np.pi), np.append(d, d[0]), bc_type="periodic")
    d = difference(_ANGLES)
    return level * np.cos(_ANGLES + d / 2), level * np.cos(_ANGLES - d / 2)


def _phase(trace: Curve, end: float) -> float:
    """Return arccos(ζ/L) of a trace where the held parameter's ζ is ±L."""
    zeta, conditional = trace
    if len(zeta) < 2:
        return float("nan")
    if zeta[0] <= end <= zeta[-1]:
        at = float(PchipInterpolator(zeta, conditional)(end))
    else:  # the trace ended at a bound: go on straight
        tail = slice(-2, None) if end > 0 else slice(0, 2)
        (z0, z1), (c0, c1) = zeta[tail], conditional[tail]
        at = c0 + (end - z0) * (c1 - c0) / (z1 - z0)
    return float(np.arccos(np.clip(at / abs(end), -1.0, 1.0)))


@dataclass(frozen=True, eq=False)
class _Pair:
    """One panel.

    Parameters
    ----------
    y_given_x, x_given_y : tuple of ndarray
        The traces.
    x, y : tuple of ndarray
        Values of the parameters and ζ there.
    own : bool
        On the parameters' own scales, or on those of ζ.
    """

    y_given_x: Curve
    x_given_y: Curve
    x: Curve
    y: Curve
    own: bool

    def draw(self, ax: Axes, levels: Sequence[float]) -> None:
        """Draw contours and traces."""
        for level in levels:
            path = contour(self.y_given_x, self.x_given_y, level)
            if path is not None:
                self._plot(ax, *path, color=line_colors(1)[0])
        grey = blend(ax, REFERENCE)
        self._plot(ax, *self.y_given_x, color=grey)
        self._plot(ax, *self.x_given_y[::-1], color=grey, linestyle="--")
        if not self.own:
            ax.set_xlim(-3, 3)
            ax.set_ylim(-3, 3)

    def _plot(self, ax: Axes, zeta_x: Array, zeta_y: Array, **look: Any) -> None:
        """Draw a curve that is given by ζ of both."""
        x, y = self._placed(self.x, zeta_x), self._placed(self.y, zeta_y)
        ax.plot(x, y, linewidth=0.9, **look)

    def _placed(self, along: Curve, zeta: Array) -> Array:
        """Return where ζ is on the axis; nan beyond the profile."""
        value, known = along
        rising = np.maximum.accumulate(known)
        at = value if self.own else rising
        return np.interp(zeta, rising, at, left=np.nan, right=np.nan)


def _square(p: int) -> tuple[Figure, list[Axes]]:
    """Return p × p equal panels; long names do not move them."""
    side = 2.4 if p == 2 else 1.75 if p <= 6 else 1.4
    gap, margin = 0.12, 0.5
    length = p * (side + gap) - gap + 2 * margin
    figure = new_figure((length, length))
    edge = margin / length
    grid = figure.subplots(
        p,
        p,
        squeeze=False,
        gridspec_kw={
            "left": edge,
            "right": 1 - edge,
            "bottom": edge,
            "top": 1 - edge,
            "wspace": gap / side,
            "hspace": gap / side,
        },
    )
    return figure, list(grid.ravel())


def _write_name(ax: Axes, name: str) -> None:
    """Make a panel of the diagonal: only the name of its parameter, as large as it fits."""
    width, height = 0.94 * room(ax), 0.94 * room(ax, vertical=True)
    for size, whole in [*((s, True) for s in _SIZES), *((s, False) for s in _SIZES)]:
        text = wrap(name, max(int(width / text_width(1, size)), 1))
        if (text.count("\n") + 1) * 1.25 * size <= height and not (whole and _broken(text, name)):
            break
    written = ax.text(
        0.5, 0.5, text, ha="center", va="center", transform=ax.transAxes, fontsize=size
    )
    written.set_in_layout(False)
    ax.set_xticks([])
    ax.set_yticks([])


def _broken(text: str, name: str) -> bool:
    """Say whether a word of the name was broken in two."""
    words = re.findall(r"\w[^\W_]*_?", bare(name))
    return any(word not in text for word in words)


def _place_ticks(ax: Axes, i: int, j: int, p: int) -> None:
    """Label ticks at the edge of the figure only: ζ at top and right, own scales below and left."""
    small = room(ax) < 60
    ax.tick_params(labelsize=5 if small else 7)
    if i > j:
        ax.tick_params(labelbottom=i == p - 1, labelleft=j == 0)
        ax.locator_params(nbins=1 if small else 4)
        return
    ax.set_xticks([0] if small else [-2, 0, 2])
    ax.set_yticks([0] if small else [-2, 0, 2])
    ax.tick_params(top=True, bottom=False, labelbottom=False, labeltop=i == 0)
    ax.tick_params(right=True, left=False, labelleft=False, labelright=j == p - 1)
