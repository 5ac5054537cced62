"""The same model fitted by every optimizer: do they agree?"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from mixedlm_ext.errors import MixedLMError
from mixedlm_ext.estimation.estimate import estimate
from mixedlm_ext.estimation.fit import Fit
from mixedlm_ext.inference.choices import name_list
from mixedlm_ext.parallel import run
from mixedlm_ext.search import METHODS, check_maxiter, check_optimizer
from mixedlm_ext.tables import Table

__all__ = ["all_fit"]

_SYNONYMS = ("cobyqa", "nm")


def all_fit(
    fit: Fit,
    methods: str | Sequence[str] | None = None,
    maxiter: int | None = None,
    n_jobs: int = 1,
) -> pd.DataFrame:
    """Fit the model again by the other optimizers, from the same start.

    Parameters
    ----------
    methods : sequence of str, optional
        Names that ``fit(method=...)`` takes; all by default.
    maxiter : int, optional
        Evaluations of the criterion at most, for each.
    n_jobs : int
        Processes (joblib), -1 for one on each core; ``joblib.parallel_config`` chooses a backend.

    Returns
    -------
    DataFrame
        A row for each method; columns ``objective``, ``evaluations``, ``converged``,
        ``verdict``, ``sigma``, the fixed effects, and ``theta[0]``, ``theta[1]``, ... An
        optimizer that fails has missing values and its error as verdict.

    Raises
    ------
    FitError
        If there is no such method.

    Examples
    --------
    >>> from mixedlm_ext import MixedLM, datasets
    >>> data = datasets.dyestuff.load_pandas().data
    >>> result = MixedLM.from_formula("Yield ~ 1 + (1 | Batch)", data).fit()
    >>> result.all_fit()["objective"].round(4).unique().tolist()
    [319.6543]
    """
    check_maxiter(maxiter)
    every = [m for m in METHODS if m not in _SYNONYMS]
    wanted = every if methods is None else name_list(methods, "methods", "['newton', 'bobyqa']")
    for method in wanted:
        check_optimizer(method)
    rows = run(partial(_row, fit, maxiter), wanted, n_jobs)
    return Table.from_dict(dict(zip(wanted, rows)), orient="index", columns=_columns(fit))


def _columns(fit: Fit) -> list[str]:
    """Name the columns of the table."""
    theta = [f"theta[{j}]" for j in range(len(fit.theta))]
    head = ["objective", "evaluations", "converged", "verdict", "sigma"]
    structure = fit.design.residual
    residual = [] if structure is None else [p.name for p in structure.parameters]
    return [*head, *fit.design.x_names, *theta, *residual]


def _row(fit: Fit, maxiter: int | None, method: str) -> list[Any]:
    """Fit by one method from where the fit began."""
    criterion = fit.criterion()
    start = criterion.space.standardize(fit.optimization.theta[0])
    try:
        found = estimate(fit.design, criterion, start, method=method, maxiter=maxiter)
    except MixedLMError as error:
        nothing = [np.nan] * (1 + len(fit.beta) + fit.n_covariance)
        return [np.nan, 0, False, str(error), *nothing]
    log = found.optimization
    head = [found.objective, log.evaluations, log.converged, log.verdict, found.sigma]
    structure = found.design.residual
    none = structure is None or structure.values is None
    residual: Any = [] if none or structure is None else structure.values
    return [*head, *found.beta, *found.theta, *residual]
