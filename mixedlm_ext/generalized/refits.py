"""The same generalized model fitted again: to other responses, without groups."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mixedlm_ext.design.grouping import level_codes
from mixedlm_ext.design.messages import list_names, quoted
from mixedlm_ext.design.partition import levels_with_rows
from mixedlm_ext.design.records import TermDesign
from mixedlm_ext.design.row_values import check_new_response, values_of_rows
from mixedlm_ext.errors import DesignError, FitError, MixedLMError
from mixedlm_ext.estimation.fit_warnings import warn_of_generalized
from mixedlm_ext.estimation.fitted import Fitted
from mixedlm_ext.estimation.generalized import GeneralizedFit
from mixedlm_ext.generalized.fitting import AssembledGeneralized, estimate_generalized, tested
from mixedlm_ext.generalized.profile import glmm_parameters, natural_parameters
from mixedlm_ext.generalized.reading import GeneralizedDesign
from mixedlm_ext.generalized.record import generalized
from mixedlm_ext.generalized.responses import proportion_of_arrays
from mixedlm_ext.generalized.simulation import draw_response
from mixedlm_ext.inference.bootstrap.file import Replicates
from mixedlm_ext.inference.bootstrap.record import Bootstrap
from mixedlm_ext.inference.parameters import parameter_values
from mixedlm_ext.simulation.simulate import check_count, spawn_seeds
from mixedlm_ext.tables import Table

Array = NDArray[np.float64]

__all__ = ["assembled", "bootstrap", "fit_again", "influence", "refit"]


def assembled(fitted: Fitted) -> AssembledGeneralized:
    """Return what a fit was made of."""
    fit = generalized(fitted)
    return AssembledGeneralized(GeneralizedDesign(fit.design, fit.family, fit.prior), fitted.face)


def fit_again(fit: GeneralizedFit, model: AssembledGeneralized) -> GeneralizedFit:
    """Fit a model of the same parameters from these estimates; it never warns."""
    problem = model.problem(fit.observed)
    start = problem.covariance.standardize(fit.theta)
    return estimate_generalized(
        model,
        nagq=fit.nagq,
        start=(start, None if fit.nagq == 0 else problem.zeta(fit.beta)),
        omega=None if fit.extra_estimated or not len(fit.omega) else fit.omega,
        observed=fit.observed,
    )


def refit(fitted: Fitted, new_endog: Any) -> Fitted:
    """Fit the same model to another response, starting from these estimates.

    Parameters
    ----------
    new_endog : array_like (n,)
        A value for each row of the fit, proportions for a binomial model; or for all rows of the
        data. A binomial model's may have two columns, successes and failures of the same trials.

    Returns
    -------
    MixedGLMResults

    Raises
    ------
    DesignError
        If its length or its trials are others, or the family cannot have such values.

    Examples
    --------
    >>> import statsmodels.api as sm
    >>> from mixedlm_ext import MixedGLM, datasets
    >>> data = datasets.cbpp.load_pandas().data
    >>> formula = "incidence / size ~ period + (1 | herd)"
    >>> family = sm.families.Binomial()
    >>> result = MixedGLM.from_formula(formula, data, family=family, weights="size").fit()
    >>> again = result.refit(1 - data["incidence"] / data["size"])
    >>> bool(abs(again.params + result.params).max() < 1e-6)
    True
    """
    design = fitted.rows("a response in their place")
    y = check_new_response(design, _one_column(fitted, new_endog))
    found = fit_again(generalized(fitted), assembled(fitted).with_response(y))
    warn_of_generalized(found)
    return tested(found, fitted.face)


def _one_column(fitted: Fitted, endog: Any) -> Any:
    """Return a new response, proportions in the place of successes and failures."""
    fit = generalized(fitted)
    y, trials = proportion_of_arrays(endog, fit.family)
    if trials is None:
        return y
    labelled = hasattr(endog, "index")
    both = [column if labelled else column.to_numpy() for column in (y, trials)]
    new = values_of_rows(fit.design, both[1], "the new response").to_numpy()
    old = np.broadcast_to(np.asarray(fit.prior.product("trials")), len(new))
    differ = np.flatnonzero(np.abs(new - old) > 1e-8 * np.maximum(old, 1.0))
    if len(differ):
        first = differ[0]
        raise DesignError(
            f"row {quoted(fit.design.index[first])} has {new[first]:g} successes and failures, and "
            f"{old[first]:g} trials in the fit; a refit keeps the trials. For others, fit the "
            "model to other data: result.update(data=data)."
        )
    return both[0]


def bootstrap(fitted: Fitted, n: int = 1000, rng: Any = None, use_u: bool = False) -> Bootstrap:
    """Bootstrap the parameters: simulate responses, fit the model to each.

    Parameters
    ----------
    n : int
        Replicates.
    rng : None, int or numpy.random.Generator
    use_u : bool
        Keep the random effects at their conditional modes.

    Returns
    -------
    Bootstrap
        ``conf_int(alpha, kind)``, ``bias``, ``bse``, ``replicates``, ``failures``.

    Raises
    ------
    FitError
        If n is no number of replicates.

    Examples
    --------
    >>> import statsmodels.api as sm
    >>> from mixedlm_ext import MixedGLM, datasets
    >>> data = datasets.cbpp.load_pandas().data
    >>> formula = "incidence / size ~ period + (1 | herd)"
    >>> family = sm.families.Binomial()
    >>> result = MixedGLM.from_formula(formula, data, family=family, weights="size").fit()
    >>> result.bootstrap(20, rng=1)
    <Bootstrap: 20 parametric replicates, 0 failed>
    """
    check_count(n)
    fitted.rows("responses drawn for them")
    fit, model = generalized(fitted), assembled(fitted)
    model.problem(fit.observed)  # the layout is made once
    parameters = glmm_parameters(fit)
    values = np.full((n, len(parameters)), np.nan)
    failures: dict[int, str] = {}
    for r, seed in enumerate(spawn_seeds(rng, n)):
        try:
            y = draw_response(fit, np.random.default_rng(seed), use_u)
            again = fit_again(fit, model.with_response(y))
        except MixedLMError as error:
            failures[r] = str(error)
            continue
        if not again.optimization.converged:
            failures[r] = again.optimization.message
            if again.optimization.verdict == "no minimum":
                continue
        values[r] = parameter_values(parameters, natural_parameters(again))
    found = Replicates(
        kind="parametric",
        use_u=use_u,
        of_statistic=False,
        names=[p.name for p in parameters],
        estimates=np.asarray(parameter_values(parameters, natural_parameters(fit))),
        values=values,
        failures=failures,
    )
    return Bootstrap(None, None, found)


def influence(fitted: Fitted, groups: Any = None) -> pd.DataFrame:
    """Return what the fixed effects are without each level of a factor, by refits.

    Parameters
    ----------
    groups : str or array_like (n,), optional
        A grouping factor, a column of the data, or a value for each row; the factor with the
        fewest levels by default.

    Returns
    -------
    DataFrame
        A row for each level: the number of ``rows``, ``cooks_distance`` (the change of the fixed
        effects measured by their covariance, over their number), the estimates without it less
        those of the fit over their standard errors, ``dfbetas[name]``, and ``converged``.

    Raises
    ------
    FitError
        If there is no such factor.
    """
    design = fitted.rows("the fits without some of them")
    fit = generalized(fitted)
    codes, levels = _levels(fit, groups)
    precision = np.linalg.pinv(fit.unscaled_cov)
    se = np.sqrt(np.diag(fit.unscaled_cov))
    records = []
    for level in range(len(levels)):
        kept = codes != level
        own = GeneralizedDesign(_only(design, kept), fit.family, fit.prior.take(kept))
        try:
            again = fit_again(fit, AssembledGeneralized(own))
            change, converged = again.beta - fit.beta, again.optimization.converged
        except MixedLMError:
            change, converged = np.full(len(se), np.nan), False
        distance = float(change @ precision @ change) / max(len(se), 1)
        records.append([int((~kept).sum()), distance, *(change / se), converged])
    names = [f"dfbetas[{name}]" for name in fitted.x_names]
    return Table(records, index=levels, columns=["rows", "cooks_distance", *names, "converged"])


def _levels(fit: GeneralizedFit, groups: Any) -> tuple[NDArray[np.intp], pd.Index]:
    """Return codes and levels of the factor whose levels are left out."""
    terms = fit.design.terms
    if groups is None:
        own = [term for term in terms if not term.has_members] or list(terms)
        return _groups_of(min(own, key=lambda t: len(t.levels)))
    if isinstance(groups, str):
        for term in terms:
            if groups in (term.name, term.group):
                return _groups_of(term)
        frame = fit.design.frame
        if frame is None or groups not in frame:
            known = [term.group for term in terms]
            raise FitError(
                f"groups={quoted(groups)} is neither a grouping factor ({list_names(known)}) nor a "
                "column that the model uses. Pass the column itself."
            )
        return level_codes(frame[groups], groups)
    return level_codes(values_of_rows(fit.design, groups, "groups"), "groups")


def _groups_of(term: TermDesign) -> tuple[NDArray[np.intp], pd.Index]:
    """Return codes and levels of a random term, of those that have rows."""
    found = levels_with_rows(term)
    return found.codes, found.levels


def _only(design: Any, kept: NDArray[np.bool_]) -> Any:
    """Return some rows of a design; levels without rows are left out of it.

    Those that others are related to, and members, stay.
    """
    smaller = design.take(kept)
    specs, rows = [], []
    for spec, (X, codes) in zip(smaller.spec.terms, smaller.rows.terms):
        if spec.related is not None:
            specs.append(spec)
            rows.append((X, codes))
            continue
        present, again = np.unique(codes, return_inverse=True)
        specs.append(replace(spec, levels=spec.levels[present]))
        rows.append((X, again.astype(np.intp)))
    return type(design)(
        replace(smaller.spec, terms=tuple(specs)), replace(smaller.rows, terms=tuple(rows))
    )
