"""From a statsmodels family to the likelihood of some rows; what a response must be for it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from statsmodels.genmod import families

from mixedlm_ext.errors import DesignError, FitError, shown
from mixedlm_ext.families.binomial import BinomialRows
from mixedlm_ext.families.conditional import Conditional
from mixedlm_ext.families.negative_binomial import NegativeBinomialRows
from mixedlm_ext.families.prior import PriorWeights
from mixedlm_ext.families.variances import (
    GammaRows,
    GaussianRows,
    InverseGaussianRows,
    PoissonRows,
)

Array = NDArray[np.float64]

__all__ = [
    "check_family",
    "check_response_of",
    "extra_of",
    "likelihood_of",
    "observed_by_default",
    "with_extra",
    "wrong_values",
]

_KINDS: dict[type, type[Conditional]] = {
    families.Binomial: BinomialRows,
    families.Poisson: PoissonRows,
    families.Gaussian: GaussianRows,
    families.Gamma: GammaRows,
    families.InverseGaussian: InverseGaussianRows,
    families.NegativeBinomial: NegativeBinomialRows,
}
_WHOLE = 1e-6
"""How far from a whole number a count may be."""


def check_family(family: Any) -> None:
    """Raise FitError unless this is an object of one of statsmodels' families that are known."""
    if type(family) in _KINDS:
        return
    names = ", ".join(f"sm.families.{kind.__name__}()" for kind in _KINDS)
    if isinstance(family, type) and family in _KINDS:
        raise FitError(
            f"family is the class {family.__name__}. Pass an object: "
            f"family=sm.families.{family.__name__}()."
        )
    if isinstance(family, families.Tweedie):
        raise FitError(
            "the Tweedie family is not available for mixed models: its likelihood has no closed "
            f"form. Use one of {names}."
        )
    raise FitError(f"family={shown(family)} is no family of statsmodels. Pass one of {names}.")


def likelihood_of(family: Any, y: Array, prior: PriorWeights) -> Conditional:
    """Return the likelihood of rows by a statsmodels family."""
    return _KINDS[type(family)](y, prior, family)


def extra_of(family: Any) -> str:
    """Return what a family has beside its mean: "dispersion", "size" or ""."""
    return _KINDS[type(family)].extra


def with_extra(family: Any, omega: Array) -> Any:
    """Return the family with the size that was estimated, as statsmodels' alpha."""
    if extra_of(family) != "size" or not len(omega):
        return family
    return families.NegativeBinomial(link=family.link, alpha=float(np.exp(-omega[0])))


def observed_by_default(family: Any) -> bool:
    """Say whether Laplace's determinant has the observed information.

    Where a dispersion or a size is estimated, as glmmTMB; for the binomial and the Poisson it is
    the expected one, as in lme4.
    """
    return bool(_KINDS[type(family)].extra)


def check_response_of(
    family: Any, y: Array, prior: PriorWeights, name: str, index: pd.Index
) -> None:
    """Refuse a response that the family cannot have.

    Raises
    ------
    DesignError
        With the first such row.
    """
    wrong, advice = wrong_values(family, y, prior)
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        others = int(wrong.sum()) - 1
        more = f" and {others} more" if others else ""
        raise DesignError(f"response {name!r} is {y[row]:g} at row {index[row]!r}{more}. {advice}")


def wrong_values(family: Any, y: Array, prior: PriorWeights) -> tuple[NDArray[np.bool_], str]:
    """Return where a response is what the family cannot have, and what it may be."""
    kind = type(family)
    if kind is families.Binomial:
        wrong = (y < 0) | (y > 1)
        if not wrong.any():
            return _not_whole(y, prior)
        return wrong, (
            "A binomial response lies between 0 and 1. Write successes + failures ~ ..., or "
            "successes / trials ~ ... with weights='trials'."
        )
    if kind in (families.Poisson, families.NegativeBinomial):
        return (y < 0) | (np.abs(y - np.round(y)) > _WHOLE), (
            "Counts are whole numbers, zero or more. For rates, model the count and pass "
            "exposure=; for measurements, use another family, such as Gamma."
        )
    if kind in (families.Gamma, families.InverseGaussian):
        return y <= 0, f"The {kind.__name__} family has positive values only."
    return np.zeros(np.shape(y), dtype=bool), ""


def _not_whole(y: Array, prior: PriorWeights) -> tuple[NDArray[np.bool_], str]:
    """Find rows whose number of successes is not whole."""
    trials = 1.0 if prior.trials is None else prior.trials
    successes = y * trials
    wrong = np.abs(successes - np.round(successes)) > _WHOLE * np.maximum(1.0, np.abs(successes))
    if prior.trials is None:
        advice = (
            "Without weights a binomial response is 0 or 1. For a proportion, pass the number of "
            "trials of each row: weights='trials'."
        )
    else:
        advice = "It times its weight, the number of trials, is no whole number of successes."
    return wrong, advice
