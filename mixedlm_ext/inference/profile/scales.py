"""Working coordinates t of profiled quantities v: in them the criterion is smooth up to bounds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["SCALES", "Scale"]


@dataclass(frozen=True)
class Scale:
    """A working coordinate.

    Attributes
    ----------
    forward, backward : callable
        t of v, and v of t.
    rate : callable
        dt/dv, as a function of t.
    lower, upper : float
        The range of t.
    endless : bool
        Whether what is beyond the t that are tried is all alike, up to these.
    level : bool
        Whether ζ may become level on the way down: some models do without a residual.
    """

    forward: Callable[[Any], Any]
    backward: Callable[[Any], Any]
    rate: Callable[[Any], Any]
    lower: float = -np.inf
    upper: float = np.inf
    endless: bool = False
    level: bool = False


SCALES = {
    "beta": Scale(lambda v: v, lambda t: t, np.ones_like),
    "sd": Scale(lambda v: v, lambda t: t, np.ones_like, lower=0.0),
    "var": Scale(np.sqrt, np.square, lambda t: 0.5 / t, lower=0.0),
    "sigma": Scale(np.log, np.exp, lambda t: np.exp(-t), level=True),
    "sigma2": Scale(lambda v: 0.5 * np.log(v), lambda t: np.exp(2.0 * t),
                    lambda t: 0.5 * np.exp(-2.0 * t), level=True),
    "total": Scale(np.log, np.exp, lambda t: np.exp(-t)),
    "cor": Scale(np.arcsin, np.sin, lambda t: 1.0 / np.cos(t), -np.pi / 2, np.pi / 2),
    "rho": Scale(np.arcsin, np.sin, lambda t: 1.0 / np.cos(t), -np.pi / 2, np.pi / 2),
    "ratio": Scale(np.log, np.exp, lambda t: np.exp(-t)),
    "power": Scale(lambda v: v, lambda t: t, np.ones_like),
    "rate": Scale(lambda v: v, lambda t: t, np.ones_like),
    "range": Scale(np.log, np.exp, lambda t: np.exp(-t), endless=True),
    "share": Scale(lambda v: np.arcsin(np.sqrt(v)), lambda t: np.sin(t) ** 2,
                   lambda t: 1.0 / np.sin(2.0 * t), 0.0, np.pi / 2),
}  # fmt: skip
"""By kind of quantity: fixed effects; standard deviations, variances and correlations of random
effects; residual standard deviation and variance; a sum of variances; correlation, ratio of
standard deviations, power and rate of a residual structure; the range of correlations; a share of a
sum."""
