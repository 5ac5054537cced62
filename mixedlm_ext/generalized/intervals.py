"""Confidence intervals of the parameters of a generalized model."""

from __future__ import annotations

from typing import Any

from mixedlm_ext.errors import FitError, check_choice, check_probability
from mixedlm_ext.estimation.fitted import Fitted
from mixedlm_ext.generalized.profile import profile
from mixedlm_ext.inference.intervals import limits_by_errors, refuse_cols

__all__ = ["conf_int"]


def conf_int(
    fitted: Fitted, /, alpha: float = 0.05, method: Any = None, cols: Any = None, **options: Any
) -> Any:
    """Confidence intervals.

    Parameters
    ----------
    alpha : float
        One minus the confidence level.
    method : {None, "profile"}
        None: of the fixed effects, from their standard errors. "profile": of all parameters, from
        the profile likelihood.
    cols : sequence of int or str, optional
        Positions or names of the fixed effects wanted, all by default; also taken in the place
        of `method`, as in statsmodels. Limits are an array then.
    **options
        For "profile" what `profile` takes.

    Returns
    -------
    DataFrame
        Columns 0 and 1, the limits.

    Raises
    ------
    FitError
        If there is no such method, or `cols` stands beside one.
    """
    check_probability("alpha", alpha)
    if method is not None and not isinstance(method, str):
        method, cols = None, method
    if method is None:
        if options:
            raise FitError(f"{', '.join(options)} needs method='profile'.")
        return limits_by_errors(fitted, alpha, cols)
    refuse_cols(cols, method)
    check_choice("method", method, ("profile",), FitError, more="None is by standard errors.")
    return profile(fitted, alpha_max=alpha, **options).conf_int(alpha)
