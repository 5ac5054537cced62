"""The record of a generalized fit, out of what all results are made of."""

from __future__ import annotations

from mixedlm_ext.errors import FitError
from mixedlm_ext.estimation.fitted import Fitted
from mixedlm_ext.estimation.generalized import GeneralizedFit

__all__ = ["generalized"]


def generalized(fitted: Fitted) -> GeneralizedFit:
    """Return the record of a generalized fit.

    Raises
    ------
    FitError
        If it is the record of a linear one.
    """
    if not isinstance(fitted.fit, GeneralizedFit):
        raise FitError("this is the fit of a linear mixed model.")
    return fitted.fit
