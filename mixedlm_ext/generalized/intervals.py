"""Confidence intervals of the parameters of a generalized model."""

from __future__ import annotations

from typing import Any

from mixedlm_ext.estimation.fitted import Fitted
from mixedlm_ext.generalized.profile import profile
from mixedlm_ext.generalized.refits import bootstrap
from mixedlm_ext.inference.intervals import limits_by_errors, read_method

__all__ = ["conf_int"]


def conf_int(
    fitted: Fitted, /, alpha: float = 0.05, method: Any = None, cols: Any = None, **options: Any
) -> Any:
    """Confidence intervals.

    Parameters
    ----------
    alpha : float
        One minus the confidence level.
    method : {None, "profile", "bootstrap"}
        None: of the fixed effects, from their standard errors. "profile": of all parameters, from
        the profile likelihood. "bootstrap": of all parameters, from simulated responses.
    cols : sequence of int or str, optional
        Positions or names of the fixed effects wanted, all by default; also taken in the place
        of `method`, as in statsmodels. Limits are an array then.
    **options
        For "profile" what `profile` takes, for "bootstrap" what `bootstrap` takes.

    Returns
    -------
    DataFrame
        Columns 0 and 1, the limits.

    Raises
    ------
    FitError
        If there is no such method, or `cols` stands beside one.
    """
    method, cols = read_method(alpha, method, cols, options, profile=profile, bootstrap=bootstrap)
    if method == "profile":
        return profile(fitted, alpha_max=alpha, **options).conf_int(alpha)
    if method == "bootstrap":
        return bootstrap(fitted, **options).conf_int(alpha)
    return limits_by_errors(fitted, alpha, cols)
