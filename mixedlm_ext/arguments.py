"""What the public calls take: unknown names, senseless values, the caller's variables."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from mixedlm_ext.design import RandomTerm
from mixedlm_ext.design.column import one_column
from mixedlm_ext.design.frame import read_table
from mixedlm_ext.design.statsmodels_arrays import is_groups, terms_of_groups
from mixedlm_ext.errors import DesignError, FitError, did_you_mean
from mixedlm_ext.formula import MixedFormula, translate_statsmodels
from mixedlm_ext.inference.ddf import check_method
from mixedlm_ext.search import METHODS, check_maxiter, check_optimizer

__all__ = [
    "ARRAY_ARGUMENTS",
    "FIT_ARGUMENTS",
    "FORMULA_ARGUMENTS",
    "UNUSED_BY_ARRAYS",
    "UNUSED_BY_FIT",
    "UNUSED_BY_FORMULAS",
    "caller_scope",
    "check_fit_arguments",
    "check_sigma",
    "optimizer_name",
    "random_terms",
    "refuse_statsmodels_only",
    "refuse_unknown",
    "translate_groups",
]

FORMULA_ARGUMENTS = (
    "formula", "data", "subset", "drop_cols", "weights", "offset", "missing", "groups",
    "re_formula", "vc_formula", "hasconst", "eval_env", "check",
)  # fmt: skip
ARRAY_ARGUMENTS = (
    "endog", "exog", "random", "weights", "offset", "missing", "hasconst", "groups", "exog_re",
    "exog_vc", "check",
)  # fmt: skip
UNUSED_BY_FORMULAS = ("use_sparse", "use_sqrt")
UNUSED_BY_ARRAYS = ("formula", "use_sqrt")
"""What statsmodels passes that changes no estimate: accepted and not used."""
UNUSED_BY_FIT = (
    "disp", "full_output", "retall", "do_cg", "niter_sa", "skip_hessian", "gtol", "ftol", "pgtol",
    "xtol", "maxfun",
)  # fmt: skip
"""The same for ``fit``: tuning and output of another search for the same optimum."""
_STATSMODELS_ONLY = {
    "free": "holds parameters fixed. Leave terms out, or write (x || g) for zero correlations",
    "fe_pen": "penalizes the fixed effects, which is not available here",
    "cov_pen": "penalizes the covariances, which is not available here",
    "callback": "belongs to SciPy's optimizers. Pass progress=function(evaluations, criterion)",
}
_OTHER_OPTIMIZERS = ("cg", "ncg", "basinhopping", "minimize", "newton")
"""statsmodels' names of searches that Newton's method stands for: their optimum is the same."""
FIT_ARGUMENTS = (
    "reml", "start_params", "method", "maxiter", "tol", "ddf", "sigma", "progress",
    "cov_type", "cov_kwds", "max_time",
)  # fmt: skip


def refuse_unknown(
    function: str, kwargs: Mapping[str, Any], known: Sequence[str], ignored: Sequence[str] = ()
) -> None:
    """Raise TypeError for keyword arguments that do not exist, naming the nearest that does."""
    for name in kwargs:
        if name in ignored:
            continue
        raise TypeError(
            f"{function}() got an unexpected keyword argument {name!r}."
            f"{did_you_mean(name, known)} It takes {', '.join(known)}."
        )


def refuse_statsmodels_only(kwargs: dict[str, Any]) -> None:
    """Raise FitError for arguments of statsmodels' ``fit`` that would change the estimates."""
    for name, why in _STATSMODELS_ONLY.items():
        if kwargs.pop(name, None) is not None:
            raise FitError(f"{name}= of statsmodels' fit {why}.")


def optimizer_name(method: Any) -> Any:
    """Return the method that a name or a list of names, as statsmodels takes them, stands for."""
    if method is None or (isinstance(method, str) and method in _OTHER_OPTIMIZERS):
        return "newton"
    if isinstance(method, str) or not isinstance(method, list | tuple):
        return method
    for name in method:
        if name not in _OTHER_OPTIMIZERS:
            check_optimizer(name)
    return optimizer_name(next((name for name in method if name in METHODS), None))


def random_terms(
    random: Any, more: Sequence[Any], groups: Any, exog_re: Any, exog_vc: Any
) -> list[RandomTerm]:
    """Return the random terms of the array constructor, given in either spelling.

    `more` holds positional arguments after `random`: statsmodels' exog_re and exog_vc.
    """
    if groups is None and is_groups(random):
        random, groups = None, random
        if len(more) > 2 or (len(more) > (exog_re is None) + (exog_vc is None)):
            raise TypeError("MixedLM() takes endog, exog, groups, exog_re and exog_vc by position.")
        exog_re, exog_vc = [*more, *(exog_re, exog_vc)[len(more) :]]
    elif more:
        raise TypeError("MixedLM() takes weights and all that follows by keyword: weights=...")
    if groups is not None:
        if random is not None:
            raise DesignError("random= and groups= are both given. Pass one of them.")
        return terms_of_groups(groups, exog_re, exog_vc)
    if exog_re is not None or exog_vc is not None:
        raise DesignError("exog_re and exog_vc need groups=, a value for each row.")
    if random is None:
        raise DesignError(
            "random is missing: a mixed model needs random-effects terms. Pass "
            "random=[RandomTerm(groups)] or groups=, or write a formula with MixedLM.from_formula."
        )
    terms = [random] if isinstance(random, RandomTerm) else random
    try:
        return list(terms)
    except TypeError:
        raise DesignError(
            f"random is {type(random).__name__}; it needs RandomTerm objects. "
            "Pass random=[RandomTerm(groups)]."
        ) from None


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
    groups = _one_factor(groups, data)
    if not isinstance(groups, str):
        values = groups if hasattr(groups, "dtype") else np.asarray(groups, dtype=object)
        name = _groups_name(groups, data)
        scope, groups = {**scope, name: values}, name

    columns = read_table(data).names
    return translate_statsmodels(formula, groups, re_formula, vc_formula, columns), scope


def _one_factor(groups: Any, data: Any) -> Any:
    """Return the one grouping factor that statsmodels' argument is; refuse several."""
    named = isinstance(groups, list | tuple) and all(isinstance(g, str) for g in groups)
    columns = data if hasattr(data, "__contains__") else ()
    if named and all(g in columns for g in groups):
        names = list(groups)
    elif isinstance(groups, pd.DataFrame):
        names = list(groups.columns)
    elif isinstance(groups, np.ndarray) and groups.ndim == 2:
        named, names = False, ["a", "b"][: groups.shape[1]]
    else:
        return groups
    if len(names) == 1:
        return groups[0] if named else one_column(groups, "groups")
    if len(names) > 1 and np.size(groups) > 1:
        a, b, *_ = names
        raise DesignError(
            f"groups= is one factor, not {len(names)} columns. Write random terms into the "
            f"formula: (1 | {a}) + (1 | {b}) for crossed factors, (1 | {a}/{b}) for {b} within "
            f"{a}, (1 | {a}:{b}) for their combinations."
        )
    return groups


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
