"""The mean as a function of the linear predictor: μ = g⁻¹(η) and its derivatives.

Links are statsmodels' objects. Their second derivative of the inverse goes by way of the mean for
some, which loses the digits where the mean is next to an end of its range; for those it is formed
from η here. A third derivative they do not have: it is known in closed form for powers and for the
exponential, and otherwise is the difference of second derivatives, correct to about 1e-11.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit
from statsmodels.genmod.families import links

from mixedlm_ext.caching import cached_property

Array = NDArray[np.float64]

__all__ = ["Curve", "is_even", "link_record", "mean_of", "read_link"]

_STEP = 2e-3
"""Of the differences, relative to η where that is large."""


class Curve:
    """A link at some η.

    Parameters
    ----------
    link : statsmodels link
    eta : ndarray (n,)
    """

    def __init__(self, link: Any, eta: Array) -> None:
        self.link, self.eta = link, eta

    @cached_property
    def mu(self) -> Array:
        """μ."""
        if type(self.link) is links.Logit:
            return np.asarray(expit(self.eta))
        if type(self.link) is links.CLogLog:
            return self._quiet(lambda: -np.expm1(-np.exp(self.eta)))
        return self._quiet(lambda: self.link.inverse(self.eta))

    @cached_property
    def complement(self) -> Array:
        """1 - μ, with all its digits where μ is next to one."""
        kind, eta = type(self.link), self.eta
        if kind is links.Logit:
            return np.asarray(expit(-eta))
        if kind in (links.Probit, links.Cauchy):
            return self._quiet(lambda: self.link.inverse(-eta))
        if kind is links.CLogLog:
            return self._quiet(lambda: links.LogLog().inverse(-eta))
        if kind is links.LogLog:
            return self._quiet(lambda: -np.expm1(-np.exp(-eta)))
        if kind is links.LogC:
            return self._quiet(lambda: np.exp(eta))
        return 1.0 - self.mu

    @cached_property
    def d1(self) -> Array:
        """∂μ/∂η."""
        if type(self.link) is links.Logit:
            return self.mu * self.complement
        return self._quiet(lambda: self.link.inverse_deriv(self.eta))

    @cached_property
    def d2(self) -> Array:
        """∂²μ/∂η²."""
        return self._second(self.eta)

    @cached_property
    def d3(self) -> Array:
        """∂³μ/∂η³."""
        link, eta = self.link, self.eta
        if type(link) is links.Log:
            return self.mu
        if isinstance(link, links.Power):
            if link.power == 1:
                return np.zeros_like(eta)
            return self._quiet(lambda: self.d2 * (1.0 / link.power - 2.0) / eta)
        h = _STEP * np.maximum(1.0, np.abs(eta))
        near = self._second(eta + h) - self._second(eta - h)
        far = self._second(eta + 2.0 * h) - self._second(eta - 2.0 * h)
        return np.asarray((8.0 * near - far) / (12.0 * h))

    def _second(self, eta: Array) -> Array:
        """Return ∂²μ/∂η² at some η."""
        kind = type(self.link)
        if kind is links.Logit:
            p, q = expit(eta), expit(-eta)
            return np.asarray(p * q * (q - p))
        if kind is links.Log:
            return self._quiet(lambda: np.exp(eta))
        if kind is links.CLogLog:
            return -self._quiet(lambda: links.LogLog().inverse_deriv2(-eta))
        return self._quiet(lambda: self.link.inverse_deriv2(eta))

    @staticmethod
    def _quiet(compute: Any) -> Array:
        """Return the values without numpy's warnings: what overflows is found out by ℓ."""
        with np.errstate(all="ignore"):
            return np.asarray(compute(), dtype=float)


_LINKS = (
    links.Logit, links.Probit, links.Cauchy, links.CLogLog, links.LogLog, links.Log, links.LogC,
)  # fmt: skip


def link_record(link: Any) -> dict[str, Any]:
    """Return a link by name and numbers, for a file."""
    if isinstance(link, links.Power):
        return {"name": "Power", "power": float(link.power)}
    return {"name": type(link).__name__}


def read_link(record: Any) -> Any:
    """Return the link of a record, None for none; only links that are known are made."""
    if record is None:
        return None
    if record["name"] == "Power":
        return links.Power(float(record["power"]))
    return next(kind for kind in _LINKS if kind.__name__ == record["name"])()


def is_even(link: Any) -> bool:
    """Say whether η and -η have the same mean, as by the square root."""
    return isinstance(link, links.Power) and (1.0 / link.power) % 2.0 == 0.0


def mean_of(family: Any, eta: Array) -> Array:
    """Return the means of a statsmodels family at linear predictors."""
    return Curve(family.link, eta).mu
