"""Confidence intervals of the fixed effects, or of all parameters by profile or bootstrap."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, overload

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mixedlm_ext.errors import FitError, check_choice, did_you_mean
from mixedlm_ext.estimation.fitted import Fitted
from mixedlm_ext.inference.bootstrap.bootstrap import bootstrap
from mixedlm_ext.inference.fixed.coefficients import Coefficients
from mixedlm_ext.inference.profile.profile import check_level
from mixedlm_ext.inference.profile.profiling import profile
from mixedlm_ext.keywords import check_keywords, refuse_unknown

Array = NDArray[np.float64]

__all__ = ["Limits", "conf_int", "limits_by_errors", "read_method"]


class Limits(Protocol):
    """``conf_int`` of results, for type checkers: a frame, an array of a choice of columns."""

    @overload
    def __call__(
        self, alpha: float = ..., method: str | None = ..., cols: None = ..., **options: Any
    ) -> pd.DataFrame: ...
    @overload
    def __call__(
        self, alpha: float, method: list[int] | list[str] | tuple[int | str, ...] | NDArray[Any]
    ) -> Array: ...
    @overload
    def __call__(
        self, alpha: float = ..., method: None = ..., *, cols: int | str | Sequence[int | str]
    ) -> Array: ...


def conf_int(
    fitted: Fitted, /, alpha: float = 0.05, method: Any = None, cols: Any = None, **options: Any
) -> Any:
    """Confidence intervals.

    Parameters
    ----------
    alpha : float
        One minus the confidence level.
    method : {None, "profile", "bootstrap"}
        None: of the fixed effects, from their standard errors and degrees of freedom.
        "profile": of all parameters, from the profile likelihood. "bootstrap": of all
        parameters, from simulated responses.
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
        If there is no such method.

    Examples
    --------
    >>> from mixedlm_ext import MixedLM, datasets
    >>> data = datasets.sleepstudy.load_pandas().data
    >>> result = MixedLM.from_formula("Reaction ~ Days + (Days | Subject)", data).fit()
    >>> result.conf_int().round(2)
                    0       1
    Intercept  237.01  265.80
    Days         7.21   13.73
    >>> result.conf_int(method="profile", which="theta").round(2)
                                       0      1
    sd(Subject, Intercept)         14.38  37.72
    sd(Subject, Days)               3.80   8.75
    cor(Subject, Intercept, Days)  -0.48   0.69
    sigma                          22.90  28.86
    """
    method, cols = read_method(alpha, method, cols, options, profile=profile, bootstrap=bootstrap)
    if method == "profile":
        return profile(fitted.fit, alpha_max=alpha, **options).conf_int(alpha)
    if method == "bootstrap":
        return bootstrap(fitted, **options).conf_int(alpha)
    return limits_by_errors(fitted, alpha, cols)


def read_method(
    alpha: Any, method: Any, cols: Any, options: Mapping[str, Any], **others: Callable[..., Any]
) -> tuple[str | None, Any]:
    """Return the method and the fixed effects wanted, once they make sense with the options.

    `others` are the functions of methods other than by standard errors, which take the options.
    """
    check_level("alpha", alpha)
    if method is not None and not isinstance(method, str):
        method, cols = None, method
    if method is None:
        _refuse_options(options, others)
        return None, cols
    more = "None gives intervals of the fixed effects by their standard errors."
    check_choice("method", method, others, FitError, more=more)
    if cols is not None:
        raise FitError(f"cols chooses fixed effects; write which={cols!r} with {method!r}.")
    check_keywords(method, others[method], options)
    return method, None


def _refuse_options(options: Mapping[str, Any], others: Mapping[str, Callable[..., Any]]) -> None:
    """Refuse options where no method takes them: which are another's, and which nobody's."""
    for option in options:
        takers = [name for name, f in others.items() if option in inspect.signature(f).parameters]
        if takers:
            raise FitError(f"{option} needs method={' or '.join(map(repr, takers))}.")
    refuse_unknown("conf_int", options, ("alpha", "method", "cols"))


def limits_by_errors(fitted: Fitted, alpha: float, cols: Any) -> Any:
    """Return the limits of the fixed effects, or of some, by their standard errors."""
    limits = Coefficients(fitted).limits(alpha)
    if cols is not None:
        return limits[_positions(cols, list(fitted.x_names))]
    return pd.DataFrame(limits, index=fitted.x_names) if fitted.face.labelled else limits


def _positions(cols: Any, names: list[str]) -> list[int]:
    """Return the positions of fixed effects given by position or name."""
    out = []
    single = isinstance(cols, str | int | np.integer) or not np.iterable(cols)
    for column in [cols] if single else list(cols):
        at = names.index(column) if isinstance(column, str) and column in names else column
        number = isinstance(at, int | np.integer) and not isinstance(at, bool)
        if not number or not -len(names) <= at < len(names):
            near = did_you_mean(str(column), names)
            raise FitError(
                f"cols has {column!r}, which is no fixed effect.{near} They are "
                f"{', '.join(names)}, by position 0 to {len(names) - 1}."
            )
        out.append(int(at))
    return out
