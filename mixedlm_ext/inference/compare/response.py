"""What a likelihood is of: a response given its mean, what rows count for, how it was taken."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from statsmodels.genmod import families

from mixedlm_ext.estimation.fit import Fit
from mixedlm_ext.estimation.generalized import GeneralizedFit
from mixedlm_ext.families.choose import extra_of
from mixedlm_ext.families.prior import PriorWeights

Array = NDArray[np.float64]

__all__ = ["LINEAR", "ResponseModel", "response_of"]

_COUNTS = (families.Poisson, families.NegativeBinomial)


@dataclass(frozen=True, eq=False)
class ResponseModel:
    """The distribution of a response given its linear predictor.

    Attributes
    ----------
    family : statsmodels family or None
        With its link; None for a linear model.
    prior : PriorWeights
    omega : float or None
        The logarithm of a dispersion or size that is known, not estimated.
    nagq : int or None
        How random effects were integrated out; None where that was exact or there are none.
    """

    family: Any = None
    prior: PriorWeights = field(default_factory=PriorWeights)
    omega: float | None = None
    nagq: int | None = None

    @property
    def kind(self) -> str:
        """The kind of response and the link: likelihoods of one kind can be compared."""
        if self.family is None:
            return "a linear mixed model"
        name = "counts" if isinstance(self.family, _COUNTS) else type(self.family).__name__
        return f"{name} with the {type(self.family.link).__name__} link"

    @property
    def words(self) -> str:
        """What a message calls it."""
        return self.kind if self.nagq is None else f"{self.kind} by nagq={self.nagq}"

    def is_comparable(self, other: ResponseModel) -> bool:
        """Say whether likelihoods of both are functions of one kind."""
        nodes = {r.nagq for r in (self, other) if r.nagq is not None}
        return self.kind == other.kind and len(nodes) < 2

    def contains(self, other: ResponseModel) -> bool:
        """Say whether every distribution of `other` is one of these, of one kind of response.

        A Poisson distribution is a negative binomial one with alpha = 0.
        """
        if type(self.family) is not type(other.family):
            free = isinstance(self.family, families.NegativeBinomial) and self.omega is None
            return free and isinstance(other.family, families.Poisson)
        return self.omega is None or self.omega == other.omega

    def different_weights(self, other: ResponseModel, n: int) -> str:
        """Name the kind of weights of the n rows in which they differ; "" if there is none."""
        for name, word in (("trials", "trials"), ("var", "var_weights"), ("freq", "freq_weights")):
            one, two = (
                np.broadcast_to(np.asarray(r.prior.product(name)), n) for r in (self, other)
            )
            if not np.allclose(one, two, rtol=1e-10, atol=0.0):
                return word
        return ""


LINEAR = ResponseModel()


def response_of(fit: Fit) -> ResponseModel:
    """Return the response of a mixed model."""
    if not isinstance(fit, GeneralizedFit):
        return LINEAR
    held = bool(extra_of(fit.family)) and not fit.extra_estimated
    return ResponseModel(fit.family, fit.prior, float(fit.omega[0]) if held else None, fit.nagq)
