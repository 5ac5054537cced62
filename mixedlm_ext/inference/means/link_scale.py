"""The way back from the linear predictor of a generalized model to the mean of its response."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from statsmodels.genmod.families import links

from mixedlm_ext.estimation.fitted import Fitted
from mixedlm_ext.estimation.generalized import GeneralizedFit
from mixedlm_ext.families.curves import Curve
from mixedlm_ext.inference.means.response_scale import SAME, ResponseScale, response_scale

Array = NDArray[np.float64]

__all__ = ["LinkScale", "scale_of"]

_RATIOS = {links.Log: "ratio", links.Logit: "odds_ratio"}


@dataclass(frozen=True)
class LinkScale(ResponseScale):
    """The mean of the response as a function of the linear predictor.

    Attributes
    ----------
    link : statsmodels link
    """

    link: Any = None

    @property
    def ratio(self) -> str | None:
        """What differences become: "ratio" by the log, "odds_ratio" by the logit, or None."""
        return _RATIOS.get(type(self.link))

    def back(self, eta: Array, variance: float = 0.0, order: int = 0) -> Array:
        """Return μ + variance/2 μ'', or a derivative of it in η."""
        curve = Curve(self.link, np.asarray(eta, dtype=float))
        values = (curve.mu, curve.d1, curve.d2, curve.d3)
        if not variance:
            return values[order]
        return np.asarray(values[order] + 0.5 * variance * values[order + 2])

    def ratios(self, difference: Array) -> Array:
        """Return differences of linear predictors as ratios."""
        return np.exp(difference)

    def ratio_slope(self) -> float:
        """Return the derivative of the logarithm of a ratio in the difference."""
        return 1.0


def scale_of(fitted: Fitted) -> ResponseScale | None:
    """Return the way back to the response: from the link, or from what the formula did to it."""
    if not isinstance(fitted.fit, GeneralizedFit):
        return response_scale(fitted.design)
    link = fitted.fit.family.link
    name = f"the {type(link).__name__.lower()} link"
    return LinkScale(name, (1.0, 0.0), (1.0, 0.0), SAME, link)
