"""From a criterion to the record of its fit: what `MixedLM.fit` and everything that refits calls.

Nothing here warns, prints or knows statsmodels, so that many fits can run in threads and processes
at once; the face (`model.py`) reads the record and warns.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixedlm_ext.criteria.linear import AnyCriterion
from mixedlm_ext.criteria.restricted import RestrictedCriterion
from mixedlm_ext.design import Design
from mixedlm_ext.design.removed import require_rows
from mixedlm_ext.design.term_checks import check_levels
from mixedlm_ext.errors import FitError
from mixedlm_ext.estimation.fit import Fit
from mixedlm_ext.identification import check_not_reproduced, check_told_from_residual
from mixedlm_ext.products.noise import equally_precise
from mixedlm_ext.search import optimize_with_samples

Array = NDArray[np.float64]

__all__ = ["estimate"]

_LITTLE = 1e-6
"""Share of y'Wy below which what is left may be rounding of a response that is reproduced."""


def estimate(
    design: Design,
    criterion: AnyCriterion,
    start: Array | None = None,
    **search: Any,
) -> Fit:
    """Estimate a model.

    Parameters
    ----------
    design : Design
    criterion : AnyCriterion
        Of the problem that was assembled from the design.
    start : ndarray (m,), optional
        Standardized theta to start from; by default the search looks for good ones.
    **search
        ``method``, ``maxiter`` and others as `mixedlm_ext.search.optimize` takes them.

    Returns
    -------
    Fit
        Its `optimization` tells whether the search converged.

    Raises
    ------
    DesignError
        If a random effect cannot be told from the residual, whose variance is unknown.
    FitError
        If the criterion cannot be evaluated.

    Examples
    --------
    >>> from mixedlm_ext import MixedLM, datasets
    >>> from mixedlm_ext.criteria.gaussian import GaussianCriterion
    >>> data = datasets.dyestuff.load_pandas().data
    >>> model = MixedLM.from_formula("Yield ~ 1 + (1 | Batch)", data)
    >>> fit = estimate(model.design, GaussianCriterion(model.problem, reml=True))
    >>> round(fit.objective, 3), fit.optimization.verdict
    (319.654, 'converged')
    """
    if design.residual is not None and criterion.problem.residual is None:
        require_rows(design, "the sums that its residual structure needs")
    if isinstance(criterion, RestrictedCriterion):
        _check_possible(criterion, start, search.get("method", "newton"))
    elif criterion.sigma is None and design.n:  # rows that were removed have been looked at
        if not equally_precise(design):
            # the design let these pass, as the weights might have been known precisions
            for term in design.terms:
                check_levels(term, design.checks)
        check_told_from_residual(design, criterion.problem)
        check_not_reproduced(design, criterion.problem, random=False)
    try:
        criterion, evaluation, log, sampling = optimize_with_samples(criterion, start, **search)
    except FitError:
        if criterion.sigma is None and design.n:
            check_not_reproduced(design, criterion.problem)
        raise
    if (
        criterion.sigma is None
        and design.n
        and evaluation.pls.pwrss < _LITTLE * criterion.problem.cp.yy
    ):
        check_not_reproduced(design, criterion.problem)
    return Fit.from_evaluation(design, criterion, evaluation, log, sampling)


def _check_possible(criterion: RestrictedCriterion, start: Array | None, method: str) -> None:
    """Refuse equations that no covariances fulfil, and searches that know of none."""
    if method != "newton":
        raise FitError(f"method={method!r} knows no fixed and equal parameters. Leave method= out.")
    for theta in (criterion.space.start(), *([] if start is None else [start])):
        try:
            criterion.back(criterion.near(theta))
        except FitError:
            continue
        return
    raise FitError(
        f"no random effects have {', '.join(criterion.restrictions.words)}. Correlations have to "
        "leave a covariance matrix, and what is equal must be able to be."
    )
