"""What the public calls take: unknown names, senseless values, the caller's variables."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from mixedlm_ext.design.frame import read_table
from mixedlm_ext.errors import FitError, did_you_mean
from mixedlm_ext.formula import MixedFormula, translate_statsmodels
from mixedlm_ext.inference.ddf import check_method
from mixedlm_ext.search import check_maxiter, check_optimizer

__all__ = [
    "ARRAY_ARGUMENTS",
    "FIT_ARGUMENTS",
    "FORMULA_ARGUMENTS",
    "caller_scope",
    "check_fit_arguments",
    "check_sigma",
    "refuse_unknown",
    "translate_groups",
]

FORMULA_ARGUMENTS = (
    "formula", "data", "subset", "drop_cols", "weights", "offset", "missing", "groups",
    "re_formula", "vc_formula", "hasconst", "eval_env", "check",
)  # fmt: skip
ARRAY_ARGUMENTS = ("endog", "exog", "random", "weights", "offset", "missing", "hasconst", "check")
FIT_ARGUMENTS = (
    "reml", "start_params", "method", "maxiter", "tol", "ddf", "sigma", "progress",
    "cov_type", "cov_kwds", "max_time",
)  # fmt: skip


def refuse_unknown(function: str, kwargs: Mapping[str, Any], known: Sequence[str]) -> None:
    """Raise TypeError for keyword arguments that do not exist, naming the nearest that does."""
    for name in kwargs:
        raise TypeError(
            f"{function}() got an unexpected keyword argument {name!r}."
            f"{did_you_mean(name, known)} It takes {', '.join(known)}."
        )


def caller_scope(depth: int) -> dict[str, Any]:
    """Return the variables that the caller of the function that calls this one sees."""
    try:
        frame = sys._getframe(2 + max(depth, 0))
    except ValueError:
        raise FitError(f"eval_env={depth} goes up beyond the first caller. Pass 0.") from None
    return {} if depth < 0 else {**frame.f_globals, **frame.f_locals}


def translate_groups(
    formula: str,
    data: Any,
    groups: Any,
    re_formula: str | None,
    vc_formula: Mapping[str, str] | None,
    scope: Mapping[str, Any],
) -> tuple[MixedFormula, Mapping[str, Any]]:
    """Translate statsmodels' spelling; grouping values that are no column join the scope."""
    if not isinstance(groups, str):
        values = groups if hasattr(groups, "dtype") else np.asarray(groups, dtype=object)
        name = _groups_name(groups, data)
        scope, groups = {**scope, name: values}, name

    columns = read_table(data).names
    return translate_statsmodels(formula, groups, re_formula, vc_formula, columns), scope


def _groups_name(groups: Any, data: Any) -> str:
    """Return the name of the column that the values are, or one that no column has."""
    columns = data if hasattr(data, "__contains__") else ()
    name = getattr(groups, "name", None)
    if isinstance(name, str) and (name not in columns or pd.Series(data[name]).equals(groups)):
        return name
    return next(n for n in ("groups", "groups_", "groups__") if n not in columns)


def check_fit_arguments(
    reml: Any,
    method: Any,
    maxiter: Any,
    tol: Any,
    ddf: Any,
    sigma: Any,
    progress: Any,
    max_time: Any,
) -> None:
    """Refuse values that make no sense before anything is computed."""
    check_method(ddf)
    if not isinstance(reml, (bool, np.bool_)):
        raise FitError(f"reml={reml!r} is neither True nor False. Pass reml=False for ML.")
    check_optimizer(method)
    check_maxiter(maxiter)
    if max_time is not None and not _is_positive(max_time):
        raise FitError(f"max_time={max_time!r} is no time. Pass a positive number of seconds.")
    if not _is_positive(tol):
        raise FitError(f"tol={tol!r} can never be reached. Pass a positive number, such as 1e-8.")
    check_sigma(sigma)
    if not (isinstance(progress, bool) or callable(progress)):
        raise FitError(f"progress={progress!r} is neither True, False nor a function.")


def check_sigma(sigma: Any) -> None:
    """Refuse a residual standard deviation that is none."""
    if sigma is not None and not (_is_positive(sigma) and 1e-140 < sigma < 1e140):
        raise FitError(f"sigma={sigma!r} is no standard deviation. Pass a positive number.")


def _is_positive(value: Any) -> bool:
    """Say whether `value` is a positive, finite number."""
    number = isinstance(value, (int, float, np.number)) and not isinstance(value, bool)
    return number and bool(np.isfinite(value)) and bool(value > 0)
