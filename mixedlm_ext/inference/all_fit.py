"""The same model fitted by every optimizer: do they agree?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mixedlm_ext.errors import MixedLMError
from mixedlm_ext.estimate import estimate
from mixedlm_ext.fit import Fit
from mixedlm_ext.inference.choices import name_list
from mixedlm_ext.objective import Objective
from mixedlm_ext.search import METHODS, check_maxiter, check_optimizer
from mixedlm_ext.tables import Table

if TYPE_CHECKING:
    from mixedlm_ext.results import MixedLMResults

__all__ = ["all_fit_table"]

_SYNONYMS = ("cobyqa", "nm")


def all_fit_table(
    results: MixedLMResults, methods: str | Sequence[str] | None, maxiter: int | None
) -> pd.DataFrame:
    """Return the table of `MixedLMResults.all_fit`."""
    check_maxiter(maxiter)
    every = [m for m in METHODS if m not in _SYNONYMS]
    wanted = every if methods is None else name_list(methods, "methods", "['newton', 'bobyqa']")
    for method in wanted:
        check_optimizer(method)
    rows = {method: _row(results.fit_record, method, maxiter) for method in wanted}
    return Table.from_dict(rows, orient="index", columns=_columns(results.fit_record))


def _columns(fit: Fit) -> list[str]:
    """Name the columns of the table."""
    theta = [f"theta[{j}]" for j in range(len(fit.theta))]
    head = ["objective", "evaluations", "converged", "verdict", "sigma"]
    return [*head, *fit.design.x_names, *theta]


def _row(fit: Fit, method: str, maxiter: int | None) -> list[Any]:
    """Fit by one method from where the fit began."""
    objective = Objective(fit.problem, fit.reml, fit.fixed_sigma)
    start = fit.problem.covariance.standardize(fit.optimization.theta[0])
    try:
        found = estimate(fit.design, objective, start, method=method, maxiter=maxiter)
    except MixedLMError as error:
        nothing = [np.nan] * (1 + len(fit.beta) + len(fit.theta))
        return [np.nan, 0, False, str(error), *nothing]
    log = found.optimization
    head = [found.objective, log.evaluations, log.converged, log.verdict, found.sigma]
    return [*head, *found.beta, *found.theta]
