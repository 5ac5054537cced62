"""`Profile`: the profile likelihood of parameters, and intervals from it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import chi2, norm

from mixedlm_ext.display import page
from mixedlm_ext.errors import FitError, did_you_mean
from mixedlm_ext.inference.profile.path import ProfilePath
from mixedlm_ext.tables import Table

Array = NDArray[np.float64]

__all__ = ["Profile", "check_level", "cutoff"]


@dataclass(frozen=True, eq=False)
class Profile:
    """Profile likelihood of the parameters of a model.

    Attributes
    ----------
    names : list of str
        The profiled parameters: "sd(Subject, Days)", "cor(Subject, Intercept, Days)", "sigma",
        fixed effects by their names. On the scale of variances "var(Subject, Days)" and
        "var(Residual)".
    params : Series
        The maximum likelihood estimates of all parameters of the model.
    objective : float
        Minus twice the log-likelihood there.
    scale : {"sd", "variance"}
    alpha_max : float
        Intervals are available for any alpha from here on.
    note : str
        What was profiled.
    better_start : ndarray (m,) or None
        Covariance parameters theta of a better fit than the one profiled, if one was met.

    Notes
    -----
    ζ is the signed square root of the change in deviance when a parameter is held at a value and
    everything else is estimated again by maximum likelihood,

        ζ(v) = sign(v - v̂) √(d(v) - d(v̂)),

    approximately standard normal at the true value: the interval of level 1 - α is where
    abs(ζ) ≤ √χ²₁(1-α) (Bates, Mächler, Bolker & Walker 2015, sec. 5.1).
    """

    params: pd.Series
    objective: float
    scale: str
    alpha_max: float
    note: str
    better_start: Array | None
    paths: dict[str, ProfilePath] = field(repr=False)

    @property
    def names(self) -> list[str]:
        """The profiled parameters."""
        return list(self.paths)

    def conf_int(self, alpha: float = 0.05) -> pd.DataFrame:
        """Return profile likelihood intervals.

        Parameters
        ----------
        alpha : float
            One minus the confidence level; at least `alpha_max`.

        Returns
        -------
        DataFrame
            A row for each profiled parameter; columns 0 and 1, the limits. Where a profile does not
            reach the level the limit is the end of the parameter's range, such as 0 for a standard
            deviation.

        Raises
        ------
        FitError
            If the profile does not reach that far.
        """
        check_level("alpha", alpha)
        if alpha < self.alpha_max:
            raise FitError(
                f"the profile holds intervals of level {1 - self.alpha_max:g} and less, not "
                f"{1 - alpha:g}. Profile with alpha_max={alpha:g}."
            )
        z = cutoff(alpha)
        rows = [[path.value_at(-z), path.value_at(z)] for path in self.paths.values()]
        return Table(rows, index=self.names, columns=[0, 1], dtype=float)

    def zeta(self, name: str, value: Any) -> Any:
        """Return ζ at one or several values of a parameter; nan beyond the profile."""
        path = self._path(name)
        return path.spline(_working(path, value))[()]

    def value(self, name: str, zeta: Any) -> Any:
        """Return the parameter's value at one or several ζ; the end of its range beyond."""
        return np.vectorize(self._path(name).value_at, otypes=[float])(zeta)[()]

    def density(self, name: str, value: Any) -> Any:
        """Return φ(ζ) dζ/dv: the density whose quantiles are the limits of the intervals."""
        path = self._path(name)
        t = _working(path, value)
        with np.errstate(divide="ignore", invalid="ignore"):
            rate = path.spline(t, 1) * path.scale.rate(t)
        return (norm.pdf(path.spline(t)) * rate)[()]

    def to_frame(self) -> pd.DataFrame:
        """Return the points of all profiles.

        Returns
        -------
        DataFrame
            Columns ``parameter``, ``zeta``, ``value``, and one for each parameter of the model: its
            estimate when ``parameter`` is held at ``value``.
        """
        return pd.concat([self.points(name) for name in self.paths], ignore_index=True)

    def points(self, name: str) -> pd.DataFrame:
        """Return the points of one parameter's profile, in the columns of `to_frame`."""
        path = self._path(name)
        head = Table({"parameter": name, "zeta": path.zeta, "value": path.values})
        others = pd.DataFrame(path.others, columns=self.params.index)
        return pd.concat([head, others], axis=1)

    def __repr__(self) -> str:
        points = sum(len(path.t) for path in self.paths.values())
        return f"<Profile of {', '.join(self.paths)}: {points} points>"

    def _repr_html_(self) -> str:
        alpha = max(self.alpha_max, 0.05)
        limits = self.conf_int(alpha).set_axis([f"[{alpha / 2:g}", f"{1 - alpha / 2:g}]"], axis=1)
        limits.insert(0, "estimate", self.params[self.names])
        return page(f"Profile likelihood, {self.scale} scale", [limits], [self.note])

    def _path(self, name: str) -> ProfilePath:
        """Return a parameter's path, or say which there are."""
        if name not in self.paths:
            raise FitError(
                f"{name!r} was not profiled.{did_you_mean(name, self.paths)} "
                f"The profile holds {', '.join(self.paths)}."
            )
        return self.paths[name]


def cutoff(alpha: float) -> float:
    """Return √χ²₁(1-α)."""
    return float(np.sqrt(chi2.ppf(1.0 - alpha, 1)))


def check_level(argument: str, alpha: object) -> None:
    """Raise unless `alpha` is between 0 and 1."""
    if not (isinstance(alpha, (int, float, np.number)) and 0 < alpha < 1):
        raise FitError(
            f"{argument}={alpha!r} is no significance level. Pass a number between 0 and 1, such "
            "as 0.05."
        )


def _working(path: ProfilePath, value: Any) -> Array:
    """Return the working coordinate of values; nan outside the range of the quantity.

    The values at the ends of the path may come back beyond them, by rounding.
    """
    values = np.asarray(value, dtype=float)
    with np.errstate(invalid="ignore", divide="ignore"):
        t = np.asarray(path.scale.forward(values))
    inside = np.clip(t, path.t[0], path.t[-1])
    at_end = np.isclose(values, path.scale.backward(inside), rtol=1e-14, atol=0.0)
    return np.where(at_end, inside, t)
