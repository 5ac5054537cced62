"""What `fit` takes: names that statsmodels knows, and values that make no sense."""

from __future__ import annotations

from typing import Any

import numpy as np

from mixedlm_ext.errors import FitError
from mixedlm_ext.inference.fixed.ddf import check_method
from mixedlm_ext.search import METHODS, check_maxiter, check_optimizer

__all__ = [
    "FIT_ARGUMENTS",
    "UNUSED_BY_FIT",
    "check_fit_arguments",
    "check_sigma",
    "optimizer_name",
    "refuse_statsmodels_only",
]

UNUSED_BY_FIT = (
    "disp", "full_output", "retall", "do_cg", "niter_sa", "skip_hessian", "gtol", "ftol", "pgtol",
    "xtol", "maxfun",
)  # fmt: skip
"""The same for ``fit``: tuning and output of another search for the same optimum."""
_STATSMODELS_ONLY = {
    "free": "holds parameters fixed. Write fix={'g.x': 1.0} for a standard deviation of random "
    "effects, {'g.Intercept.x': 0.0} for a correlation",
    "fe_pen": "penalizes the fixed effects, which is not available here",
    "cov_pen": "penalizes the covariances, which is not available here",
    "callback": "belongs to SciPy's optimizers. Pass progress=function(evaluations, criterion)",
}
_OTHER_OPTIMIZERS = ("cg", "ncg", "basinhopping", "minimize", "newton")
"""statsmodels' names of searches that Newton's method stands for: their optimum is the same."""
FIT_ARGUMENTS = (
    "reml", "start_params", "method", "maxiter", "tol", "ddf", "sigma", "progress",
    "cov_type", "cov_kwds", "max_time", "solver", "fix", "equal",
)  # fmt: skip


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
