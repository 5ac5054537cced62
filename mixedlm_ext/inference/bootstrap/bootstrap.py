"""Bootstrap of a fit: responses are drawn, the model is fitted to each, the numbers are kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.random import SeedSequence
from numpy.typing import NDArray
from statsmodels.tools.sm_exceptions import ConvergenceWarning

from mixedlm_ext.errors import FitError, MixedLMError, check_choice, warn_caller
from mixedlm_ext.estimation.fit import Fit
from mixedlm_ext.estimation.fitted import Fitted
from mixedlm_ext.inference.again import assembled, fit_again
from mixedlm_ext.inference.bootstrap.file import Replicates
from mixedlm_ext.inference.bootstrap.record import Bootstrap
from mixedlm_ext.inference.bootstrap.resampling import KINDS, Resampler, resampler
from mixedlm_ext.inference.bootstrap.statistic import (
    Statistic,
    check_statistic,
    own_values,
    values_like,
)
from mixedlm_ext.many import Refitter, all_values, start_of
from mixedlm_ext.parallel import pieces, run
from mixedlm_ext.products.responses import Reduction
from mixedlm_ext.simulation.simulate import check_count, draw, seed_text, spawn_seeds

Array = NDArray[np.float64]

__all__ = ["bootstrap", "fit_refitter"]

_CHUNK = 10
"""Replicates of a chunk when each makes a result of its own."""


def bootstrap(
    fitted: Fitted,
    n: int = 1000,
    kind: str = "parametric",
    statistic: Callable[[Any], Any] | None = None,
    rng: Any = None,
    n_jobs: int = 1,
    progress: bool = False,
    use_u: bool = False,
) -> Bootstrap:
    """Refit the model to bootstrap responses.

    Parameters
    ----------
    n : int
        Number of replicates.
    kind : {"parametric", "residual", "wild"}
        Responses drawn from the fitted model; put together from residuals and conditional
        modes drawn with replacement (rescaled to their estimated variances); or marginal
        residuals times one random number for each independent group, which needs no model of
        the variances.
    statistic : callable, optional
        Takes a result and returns a number, a vector, a Series or a dict. By default all
        parameters: standard deviations, correlations, sigma, fixed effects.
    rng : None, int or numpy.random.Generator
        Source of random numbers. With the same seed the replicates are the same, whatever
        n_jobs; those of the parametric bootstrap have the responses of
        ``simulate(n, rng, conditional=use_u)``.
    n_jobs : int
        Processes (joblib).
    progress : bool
        Show a bar (tqdm).
    use_u : bool
        Keep the random effects at their conditional modes and draw residuals only, for
        statements about the groups at hand, as ``use.u`` of lme4's ``bootMer``. Not for "wild".

    Returns
    -------
    Bootstrap
        ``replicates``, ``bse``, ``bias``, ``failures``, ``conf_int(alpha, kind)``,
        ``save(path)``.

    Raises
    ------
    FitError
        If n < 1, all refits fail, or the statistic raises (names the replicate and its seed).

    Warns
    -----
    ConvergenceWarning
        If some refits failed; they are left out and counted.

    Notes
    -----
    Residual bootstrap: Carpenter, Goldstein & Rasbash (2003), Applied Statistics 52, 431-443.
    Wild bootstrap: Modugno & Giannerini (2015), Communications in Statistics 44, 4812-4825.

    Examples
    --------
    >>> from mixedlm_ext import MixedLM, datasets
    >>> data = datasets.sleepstudy.load_pandas().data
    >>> result = MixedLM.from_formula("Reaction ~ Days + (Days | Subject)", data).fit()
    >>> boot = result.bootstrap(200, rng=1)
    >>> boot
    <Bootstrap: 200 parametric replicates, 0 failed>
    >>> list(boot.replicates)[:3]
    ['sd(Subject, Intercept)', 'sd(Subject, Days)', 'cor(Subject, Intercept, Days)']
    >>> bool(boot.conf_int().loc["Days"].between(5, 15).all())
    True
    """
    n = check_count(n)
    check_choice("kind", kind, KINDS, FitError)
    if not isinstance(use_u, bool | np.bool_):
        raise FitError(f"use_u={use_u!r} is neither True nor False.")
    fit = fitted.fit
    draws = resampler(fit, kind, bool(use_u))
    check_statistic(statistic)
    own = own_values(fitted, statistic)
    seeds = spawn_seeds(rng, n)
    if statistic is None:
        refitter = fit_refitter(fit)
        task: Any = partial(_parameters_of, refitter, draws)
        chunks = pieces(n, refitter.chunk)
    else:
        task = partial(_statistics_of, fitted, statistic, draws, own.names)
        chunks = pieces(n, _CHUNK)
    work = [(c.start, seeds[c]) for c in chunks]
    done = run(task, work, n_jobs, progress, [len(s) for _, s in work])
    values = np.concatenate([part.values for part in done])
    failures = {r: why for part in done for r, why in part.failures.items()}
    _report(failures, n)
    found = Replicates(
        kind=kind,
        use_u=bool(use_u),
        of_statistic=statistic is not None,
        names=own.names,
        estimates=own.numbers,
        values=values,
        failures=failures,
    )
    return Bootstrap(fitted, statistic, found)


def fit_refitter(fit: Fit) -> Refitter:
    """Return the refitter of a fit's model, started from its estimates."""
    start = start_of(fit.criterion(), fit)
    return Refitter(fit.design, fit.problem, fit.reml, fit.fixed_sigma, start, fit.restrictions)


@dataclass(frozen=True, eq=False)
class _Part:
    """Replicates of one chunk: values (r, s), and what failed by number of the replicate."""

    values: Array
    failures: dict[int, str]


def _parameters_of(
    refitter: Refitter, draws: Resampler, work: tuple[int, Sequence[SeedSequence]]
) -> _Part:
    """Refit one chunk and return the parameters."""
    first, seeds = work
    estimates = refitter.fit(draw(draws, seeds))
    values = all_values(refitter.problem.covariance, estimates, refitter.sigma is None)
    failures = {first + r: why for r, why in estimates.failures.items()}
    for r in np.flatnonzero(~estimates.converged):
        failures.setdefault(first + int(r), "the fit did not converge")
        values[r] = np.nan
    return _Part(values, failures)


def _statistics_of(
    fitted: Fitted,
    statistic: Statistic,
    draws: Resampler,
    names: list[Any],
    work: tuple[int, Sequence[SeedSequence]],
) -> _Part:
    """Refit one chunk, each replicate with a result of its own, and return the statistic."""
    first, seeds = work
    model = assembled(fitted)
    reduction = Reduction(model.design, model.problem.cp.layout)
    values = np.full((len(seeds), len(names)), np.nan)
    failures: dict[int, str] = {}
    for r, seed in enumerate(seeds):
        try:
            other = model.with_response(draws.draw(seed), reduction=reduction)
            refitted = fit_again(fitted, other)
        except MixedLMError as error:
            failures[first + r] = str(error)
            continue
        where = f"at replicate {first + r}, whose response comes from {seed_text(seed)}"
        found = values_like(names, refitted, statistic, where)
        if refitted.fit.optimization.converged:
            values[r] = found
        else:
            failures[first + r] = refitted.fit.optimization.message
    return _Part(values, failures)


def _report(failures: Mapping[int, str], n: int) -> None:
    """Raise if nothing is left, warn if something is lost."""
    if not failures:
        return
    replicate, why = next(iter(failures.items()))
    if len(failures) == n:
        raise FitError(f"all {n} bootstrap refits failed; the first because: {why}")
    warn_caller(
        f"{len(failures)} of {n} bootstrap refits failed and are left out (see .failures); "
        f"replicate {replicate}: {why}",
        ConvergenceWarning,
    )
