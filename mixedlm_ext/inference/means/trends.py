"""Slopes of a covariate, averaged over a reference grid: what R's emmeans calls emtrends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixedlm_ext.design import Design
from mixedlm_ext.design.messages import list_names
from mixedlm_ext.errors import FitError, did_you_mean, shown
from mixedlm_ext.estimation.fitted import Fitted
from mixedlm_ext.inference.means.marginal_means import MarginalMeans
from mixedlm_ext.inference.means.reference_grid import ReferenceGrid, average_cells, evaluate_cells
from mixedlm_ext.inference.means.specs import read_specs, refuse_later
from mixedlm_ext.keywords import refuse_unknown

Array = NDArray[np.float64]

__all__ = ["emtrends"]

_ARGUMENTS = ("specs", "var", "by", "at", "weights")
_STEP = 1e-3
"""Width of the difference quotients, relative to the range of the covariate."""
# Positions and weights of difference quotients that are exact for cubic polynomials.
_CENTRAL = (np.array([-2.0, -1.0, 1.0, 2.0]), np.array([1.0, -8.0, 8.0, -1.0]) / 12.0)
_FORWARD = (np.array([0.0, 1.0, 2.0, 3.0]), np.array([-11.0, 18.0, -9.0, 2.0]) / 6.0)
_BACKWARD = (-_FORWARD[0], -_FORWARD[1])


def emtrends(
    fitted: Fitted,
    /,
    specs: str | Sequence[str] | None,
    var: str,
    by: str | Sequence[str] | None = None,
    at: Mapping[str, Any] | None = None,
    weights: Any = "equal",
    **unknown: Any,
) -> MarginalMeans:
    """Estimate slopes of a covariate by the levels of some factors, averaged over the others.

    Parameters
    ----------
    specs : str or sequence of str, or None
        Variables for each combination of which a slope is wanted; None for one over all.
    var : str
        The covariate. Where it enters by ``I(x ** 2)`` or ``bs(x, 4)`` the slope is that of the
        curve at the mean of x, or at the values of ``at={"x": [...]}`` with x in `specs`.
    by, at, weights
        As for `emmeans`.

    Returns
    -------
    MarginalMeans
        With columns ``trend``, ``trend_se`` and so on; ``contrasts`` compares the slopes.

    Raises
    ------
    FitError
        If a variable or level does not exist, or `var` is no number.

    Notes
    -----
    Derivatives are difference quotients over a thousandth of the range of x, exact for
    polynomials up to the third degree. They are of the response as it stands in the formula.

    Examples
    --------
    >>> from mixedlm_ext import MixedLM, datasets
    >>> data = datasets.cake.load_pandas().data
    >>> formula = "angle ~ recipe * temp + (1 | recipe:replicate)"
    >>> result = MixedLM.from_formula(formula, data).fit()
    >>> trends = result.emtrends("recipe", var="temp")
    >>> trends.summary_frame().round(3)
            trend  trend_se     df  trend_ci_lower  trend_ci_upper
    recipe
    A       0.154     0.028  222.0           0.098           0.209
    B       0.165     0.028  222.0           0.109           0.220
    C       0.156     0.028  222.0           0.100           0.211
    >>> trends.contrasts()["pvalue"].round(2).tolist()
    [0.96, 1.0, 0.97]
    """
    refuse_later("emtrends", unknown)
    refuse_unknown("emtrends", unknown, _ARGUMENTS)
    grid, groups, wanted = read_specs(fitted, specs, by, at, some=False)
    X, offset = _slopes(fitted.design, grid, var)
    levels, A, notes = average_cells(grid, [*groups, *wanted], weights)
    notes = (f"Slopes of {var}.", *notes)
    return MarginalMeans(fitted, levels, tuple(groups), A @ X, A @ offset, "trend", notes)


def _slopes(design: Design, grid: ReferenceGrid, var: Any) -> tuple[Array, Array]:
    """Return the derivatives of the rows of X and of the offset in one covariate.

    Polynomials up to the third degree, and so spline bases between knots, are exact up to rounding;
    at the ends of the data, where bases end, the quotients are one-sided.
    """
    assert design.frame is not None
    covariates = [name for name in map(str, grid.cells) if name not in grid.data]
    if not isinstance(var, str) or var not in covariates:
        factor = isinstance(var, str) and var in grid.cells
        kind = "is a factor" if factor else "is no variable of the fixed part"
        raise FitError(
            f"var={shown(var)} {kind}; slopes are of a numeric one: {list_names(covariates)}."
            f"{did_you_mean(str(var), covariates)}"
        )
    values = design.frame[var].to_numpy(dtype=float)
    low, high = float(values.min()), float(values.max())
    step = _STEP * (high - low)
    if step == 0.0:
        raise FitError(f"{var!r} is constant in the data, so it has no slope.")
    x = grid.cells[var].to_numpy(dtype=float)
    X, offset = np.zeros_like(grid.X), np.zeros_like(grid.offset)
    at_low, at_high = (x >= low) & (x < low + 2 * step), (x <= high) & (x > high - 2 * step)
    for rows, (places, weights) in (
        (~at_low & ~at_high, _CENTRAL),
        (at_low, _FORWARD),
        (at_high & ~at_low, _BACKWARD),
    ):
        for place, weight in zip(places, weights) if rows.any() else ():
            cells = grid.cells[rows].reset_index(drop=True)
            part = evaluate_cells(design, cells.assign(**{var: x[rows] + place * step}))
            X[rows] += weight / step * part[0]
            offset[rows] += weight / step * part[1]
    # what does not depend on the covariate at all has rounding errors for a slope
    size = np.abs(grid.X).max(axis=0, initial=0.0) / step
    return np.where(np.abs(X) < 1e-14 * size, 0.0, X), offset
