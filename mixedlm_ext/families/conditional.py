"""What a likelihood is: the distribution of y given the linear predictor η, row by row.

Rows are independent given η. Many responses of the same rows are the columns of y and η. ω is the
logarithm of a parameter beside the mean, if there is one: the dispersion φ, or the size of the
negative binomial. Below, ℓ is the log-likelihood of a row with all its constants, s = ∂ℓ/∂η, and
weights are information: *observed* -∂²ℓ/∂η², *expected* its mean.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from copy import copy
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from statsmodels.genmod.families import links

from mixedlm_ext.caching import cached_property
from mixedlm_ext.errors import FitError
from mixedlm_ext.families.prior import PriorWeights

Array = NDArray[np.float64]

__all__ = ["Conditional", "RowsAt"]


class RowsAt(ABC):
    """All rows at one η and one ω; each is computed when it is first asked for.

    Attributes
    ----------
    mu : ndarray (n,)
        The means.
    """

    mu: Array

    @property
    @abstractmethod
    def loglike(self) -> Array:
        """ℓ, (n,); -inf or nan where the means are outside the family's range."""

    @property
    @abstractmethod
    def score(self) -> Array:
        """s = ∂ℓ/∂η, (n,)."""

    @property
    @abstractmethod
    def expected(self) -> Array:
        """Expected information, (n,)."""

    @property
    @abstractmethod
    def expected_slope(self) -> Array:
        """Its derivative in η."""

    @property
    @abstractmethod
    def observed(self) -> Array:
        """Observed information, (n,)."""

    @property
    @abstractmethod
    def observed_slope(self) -> Array:
        """Its derivative in η."""

    @property
    def total(self) -> Array:
        """Σℓ; of many responses for each, (r,)."""
        return np.asarray(self.loglike.sum(axis=0))

    # --- derivatives in ω, where there is one -----------------------------------------------------

    @property
    def extra_score(self) -> Array:
        """∂ℓ/∂ω."""
        raise FitError("this family has no parameter beside its mean.")

    @property
    def extra_total(self) -> Array:
        """Σ∂ℓ/∂ω; of many responses for each, (r,)."""
        return np.asarray(self.extra_score.sum(axis=0))

    @property
    def score_extra(self) -> Array:
        """∂s/∂ω."""
        raise FitError("this family has no parameter beside its mean.")

    @property
    def expected_extra(self) -> Array:
        """∂/∂ω of the expected information."""
        raise FitError("this family has no parameter beside its mean.")

    @property
    def observed_extra(self) -> Array:
        """∂/∂ω of the observed information."""
        raise FitError("this family has no parameter beside its mean.")

    def weights(self, observed: bool) -> Array:
        """Return one kind of information."""
        return self.observed if observed else self.expected

    def slope(self, observed: bool) -> Array:
        """Return its derivative in η."""
        return self.observed_slope if observed else self.expected_slope

    def weights_extra(self, observed: bool) -> Array:
        """Return its derivative in ω."""
        return self.observed_extra if observed else self.expected_extra


class Conditional(ABC):
    """The distribution of some rows given η.

    Parameters
    ----------
    y : ndarray (n,)
        The response; a proportion for the binomial.
    prior : PriorWeights
    family : statsmodels family
        With its link.

    Attributes
    ----------
    extra : {"", "dispersion", "size"}
        What ω is the logarithm of; "" if there is none.
    canonical : bool
        Whether observed and expected information are the same.
    """

    extra: str = ""
    canonical: bool = False
    by_response: tuple[str, ...] = ("y",)
    """What has a column for each of many responses."""

    def __init__(self, y: Array, prior: PriorWeights, family: Any) -> None:
        self.y, self.prior, self.family = y, prior, family

    @abstractmethod
    def at(self, eta: Array, omega: Array) -> RowsAt:
        """Return the rows at η (n,) and ω (0 or 1 numbers)."""

    def given(self, omega: Array) -> Callable[[Array], RowsAt]:
        """Return the rows at one ω as a function of η."""
        return partial(self.at, omega=omega)

    def with_response(self, y: Array) -> Conditional:
        """Return the distribution for another response of the same rows."""
        return type(self)(y, self.prior, self.family)

    def of_many(self, Y: Array) -> Conditional:
        """Return the distribution for many responses of the same rows, (n, r); ω is (0 or 1, r)."""
        return type(self)(Y, self.prior.by_row(), self.family)

    def take_responses(self, where: Any) -> Conditional:
        """Return the distribution of some of many responses."""
        out = copy(self)
        for name in self.by_response:
            if name in vars(self):
                setattr(out, name, getattr(self, name)[:, where])
        return out

    def take(self, rows: Any) -> Conditional:
        """Return the distribution of some of the rows."""
        return type(self)(self.y[rows], self.prior.take(rows), self.family)

    @property
    def omega_centre(self) -> Any:
        """Where ω is of the order one, in the units of the response."""
        return 0.0

    def start_eta(self) -> Array:
        """Return η near the response, inside the range of the means, (n,)."""
        with np.errstate(all="ignore"):
            eta = np.asarray(self.family.link(self.family.starting_mu(self.y)), dtype=float)
        return np.where(np.isfinite(eta), eta, 0.0)

    @cached_property
    def unit(self) -> float:
        """The order of η's differences between rows where a link keeps the response's units."""
        if not isinstance(self.family.link, links.Power):
            return 1.0
        eta = self.start_eta()
        spread = float(np.std(eta)) if len(eta) else 0.0
        return float(2.0 ** np.round(np.log2(spread))) if 0.0 < spread < np.inf else 1.0

    def start_omega(self, eta: Array) -> Array:
        """Return ω to start from, given means; empty if there is none."""
        return np.zeros(0)
