"""What looks wrong with a generalized fit, in plain words."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from statsmodels.genmod import families

from mixedlm_ext.criteria.quadrature import QuadratureCriterion
from mixedlm_ext.diagnostics.check import Check, Finding
from mixedlm_ext.diagnostics.check_model import (
    few_levels,
    scales,
    single_rows,
    singular_text,
)
from mixedlm_ext.errors import FitError
from mixedlm_ext.estimation.fitted import Fitted
from mixedlm_ext.estimation.generalized import GeneralizedFit, evaluation_of, point_of
from mixedlm_ext.generalized.record import generalized
from mixedlm_ext.generalized.residuals import cumulative, row_residuals

Array = NDArray[np.float64]

__all__ = ["check"]

_RARE = 0.01
"""Probability under the model below which a departure is spoken of."""
_DISPERSED = 1.2
"""Pearson's statistic over its degrees of freedom from which on counts are overdispersed."""
_FAR_OFF = 0.5
"""Difference of -2 log-likelihood by Laplace and by quadrature that is spoken of."""
_NODES = 25
_HUGE = 10.0
"""A standard error of an effect, for columns of spread one, that suggests near-separation."""


def check(fitted: Fitted) -> Check:
    """Look for what is wrong with the fit, and say it in plain words.

    Returns
    -------
    Check
        Prints as text; ``findings`` lists what was found, none if nothing stands out.

    Notes
    -----
    Looked at: convergence and separation; overdispersion, by Pearson's statistic over the rows less
    the effective number of parameters; more zeros than the counts' distribution has; Laplace's
    approximation against quadrature, where there is one scalar term; random effects without
    variance; grouping factors with few levels or levels of one row; columns of very different size.

    Examples
    --------
    >>> import statsmodels.api as sm
    >>> from mixedlm_ext import MixedGLM, datasets
    >>> data = datasets.cbpp.load_pandas().data
    >>> formula = "incidence / size ~ period + (1 | herd)"
    >>> family = sm.families.Binomial()
    >>> result = MixedGLM.from_formula(formula, data, family=family, weights="size").fit()
    >>> [finding.topic for finding in result.check().findings]
    ['single rows']
    """
    fitted.rows("the checks of its rows")
    fit = generalized(fitted)
    return Check([finding for look in _LOOKS for finding in look(fit)])


def _convergence(fit: GeneralizedFit) -> Iterator[Finding]:
    """Whether the search ended at a maximum."""
    if fit.optimization.verdict == "no minimum":
        text = f"There is no estimate to rely on: {fit.optimization.message.rstrip('.')}."
        yield Finding("convergence", text)
    elif not fit.optimization.converged:
        yield Finding(
            "convergence",
            f"The fit did not converge: {fit.optimization.message} Do not use the estimates yet.",
        )


def _near_separation(fit: GeneralizedFit) -> Iterator[Finding]:
    """Effects so uncertain that hardly a row speaks against infinity."""
    if fit.optimization.verdict == "no minimum":
        return
    spread = np.maximum(fit.design.X.std(axis=0), 1e-300)
    se = np.sqrt(np.diag(fit.unscaled_cov)) * np.where(spread > 1e-12, spread, 1.0)
    for name, value in zip(fit.design.x_names, se):
        if value > _HUGE:
            yield Finding(
                "separation",
                f"The effect of {name} is hardly known on one side (standard error {value:.3g} for "
                "one standard deviation): few rows keep it from separating the response. Read its "
                "profile interval, conf_int(method='profile'), in place of the standard error.",
            )


def _dispersion(fit: GeneralizedFit) -> Iterator[Finding]:
    """Counts that vary more than their distribution does."""
    family = fit.family
    counts = isinstance(family, families.Poisson | families.NegativeBinomial)
    trials = fit.prior.trials
    several = trials is not None and np.median(trials) > 1
    if not (counts or (isinstance(family, families.Binomial) and several)):
        return
    e = evaluation_of(fit)
    effective = len(fit.beta) + float(e.w @ e.h)
    df = fit.n - effective
    statistic = float(np.nansum(row_residuals(fit, "pearson") ** 2))
    ratio = statistic / df if df > 1 else np.nan
    if ratio > _DISPERSED and stats.chi2.sf(statistic, df) < _RARE:
        remedy = "NegativeBinomial, or " if isinstance(family, families.Poisson) else ""
        yield Finding(
            "overdispersion",
            f"The response varies more than the {type(family).__name__} distribution lets it: "
            f"Pearson's statistic is {statistic:.1f} on {df:.1f} degrees of freedom, {ratio:.2f} "
            f"times as large. Standard errors are too small. Use {remedy}a random effect for each "
            "row, (1 | row).",
        )


def _zeros(fit: GeneralizedFit) -> Iterator[Finding]:
    """More zeros than expected."""
    if not isinstance(fit.family, families.Poisson | families.NegativeBinomial):
        return
    y, mu = fit.design.y, fit.fitted()
    _, p = cumulative(fit, np.zeros(len(y)), mu)
    seen, expected = int((y == 0).sum()), float(p.sum())
    sd = float(np.sqrt((p * (1.0 - p)).sum()))
    if seen > 1.2 * expected and seen > expected + 4.0 * max(sd, 1.0):
        yield Finding(
            "zeros",
            f"There are {seen} zeros, where the model expects {expected:.0f}. Look for rows that "
            "could only be zero, for a missing covariate, or use NegativeBinomial.",
        )


def _approximation(fit: GeneralizedFit) -> Iterator[Finding]:
    """Laplace's approximation, where quadrature tells how good it is."""
    terms = fit.problem.covariance.terms
    if len(terms) > 1 or terms[0].k > 1 or not fit.optimization.converged or fit.nagq == 0:
        return
    fixed = None if fit.extra_estimated or not len(fit.omega) else fit.omega
    nodes = max(_NODES, 2 * fit.nagq)
    try:
        exact = QuadratureCriterion(fit.rows_problem, nodes, fixed).at(point_of(fit)).value
    except FitError:
        return
    off = exact - fit.objective
    if abs(off) > _FAR_OFF:
        used = "Laplace's approximation" if fit.nagq == 1 else f"Quadrature by {fit.nagq} nodes"
        yield Finding(
            "approximation",
            f"{used} is {abs(off):.2g} {'below' if off > 0 else 'above'} -2 log-likelihood by "
            f"{nodes} nodes: levels have few rows, or differ much. Fit with nagq={nodes}.",
        )


def _singularity(fit: GeneralizedFit) -> Iterator[Finding]:
    """Random effects that do not vary."""
    for t, term in enumerate(fit.design.terms):
        if fit.singular_terms[t]:
            yield Finding("singular", singular_text(fit, t, term), term.name)


def _single_rows(fit: GeneralizedFit) -> Iterator[Finding]:
    """Levels with one row, unless a factor has one for each row on purpose."""
    rows = {t.group for t in fit.design.terms if len(t.levels) == len(fit.design.y)}
    yield from (finding for finding in single_rows(fit) if finding.where not in rows)


_LOOKS = (
    _convergence,
    _near_separation,
    _dispersion,
    _zeros,
    _approximation,
    _singularity,
    few_levels,
    _single_rows,
    scales,
)
