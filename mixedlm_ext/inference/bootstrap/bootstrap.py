"""Bootstrap of a fit: replicates of its parameters, or of any statistic of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from numpy.random import SeedSequence
from numpy.typing import NDArray
from statsmodels.tools.sm_exceptions import ConvergenceWarning

from mixedlm_ext.display import page
from mixedlm_ext.errors import FitError, MixedLMError, check_choice, check_probability, warn_caller
from mixedlm_ext.estimation.estimates import Estimates
from mixedlm_ext.estimation.fit import Fit
from mixedlm_ext.estimation.fitted import Fitted
from mixedlm_ext.inference.again import assembled, fit_again
from mixedlm_ext.inference.bootstrap.file import (
    Destination,
    Replicates,
    read_replicates,
    write_replicates,
)
from mixedlm_ext.inference.bootstrap.intervals import INTERVALS, interval
from mixedlm_ext.inference.bootstrap.jackknife import jackknife_accelerations
from mixedlm_ext.inference.bootstrap.resampling import KINDS, Resampler, resampler
from mixedlm_ext.inference.bootstrap.statistic import Statistic, Values, check_statistic, evaluate
from mixedlm_ext.inference.parameters import model_parameters
from mixedlm_ext.many import Refitter, all_values, warm_start
from mixedlm_ext.parallel import pieces, run
from mixedlm_ext.products.responses import Reduction
from mixedlm_ext.simulation.simulate import check_count, draw, seed_text, spawn_seeds
from mixedlm_ext.tables import Table

Array = NDArray[np.float64]

__all__ = ["Bootstrap", "bootstrap", "fit_refitter"]

_CHUNK = 10
"""Replicates of a chunk when each makes a result of its own."""


class Bootstrap:
    """Bootstrap replicates of a fit.

    Attributes
    ----------
    kind : {"parametric", "residual", "wild"}
    use_u : bool
        Whether the random effects were kept at their conditional modes.
    n : int
        Replicates that were asked for.
    estimates : Series
        The parameters (or the statistic) of the fit itself.
    replicates : DataFrame (n, s)
        A row for each replicate; missing where the refit failed.
    failures : Series
        By replicate, why its refit failed or did not converge.
    bias, bse : Series
        Mean of the replicates less the estimate, and their standard deviation.
    """

    def __init__(
        self,
        fitted: Fitted | None,
        statistic: Statistic | None,
        found: Replicates,
    ) -> None:
        self._fitted, self._statistic, self._found = fitted, statistic, found
        names = pd.Index(found.names)
        self.kind, self.use_u, self.n = found.kind, found.use_u, len(found.values)
        self.estimates = pd.Series(found.estimates, index=names)
        self.replicates = pd.DataFrame(found.values, columns=names)
        self.failures = pd.Series(dict(found.failures), dtype=object, name="failure")

    def __repr__(self) -> str:
        kept = " given the random effects" if self.use_u else ""
        return f"<Bootstrap: {self.n} {self.kind} replicates{kept}, {len(self.failures)} failed>"

    def _repr_html_(self) -> str:
        columns = {"estimate": self.estimates, "bias": self.bias, "bse": self.bse}
        return page(repr(self).strip("<>"), [Table(columns)])

    @property
    def bias(self) -> pd.Series:
        """Mean of the replicates less the estimate."""
        return self.replicates.mean() - self.estimates

    @property
    def bse(self) -> pd.Series:
        """Standard deviation of the replicates."""
        return self.replicates.std()

    def cov(self) -> pd.DataFrame:
        """Return the covariance matrix of the replicates."""
        return self.replicates.cov()

    def to_frame(self) -> pd.DataFrame:
        """Return a copy of the replicates."""
        return self.replicates.copy()

    def conf_int(self, alpha: float = 0.05, kind: str = "percentile") -> pd.DataFrame:
        """Confidence intervals.

        Parameters
        ----------
        alpha : float
            One minus the level.
        kind : {"percentile", "basic", "normal", "bca", "shortest"}
            "bca" corrects bias and skewness; the latter by a jackknife over the levels of the
            outermost grouping factors, which takes a refit for each (for at most 200 sets of them).
            "shortest" holds the wanted share of the replicates in the least space, wherever they
            are densest: at one end for a variance near zero.

        Returns
        -------
        DataFrame (s, 2)
            Columns 0 and 1, the limits. A replicate without a value (the correlation with a
            variance of zero) is left out.

        Raises
        ------
        FitError
            If alpha is no probability, too few replicates are there, or "bca" has no groups to
            leave out: these were kept by `use_u`, or the fit was not given to `load`.

        Notes
        -----
        Davison & Hinkley (1997), Bootstrap Methods and their Application, sections 5.2 and 5.3;
        the p-th quantile of n replicates is the one with rank (n + 1)p. The shortest interval is
        that of Chen & Shao (1999, Journal of Computational and Graphical Statistics 8, 69-92),
        from one order statistic to the n(1 - alpha)-th after it.
        """
        check_choice("kind", kind, INTERVALS, FitError)
        check_probability("alpha", alpha)
        acceleration = np.zeros(len(self.estimates))
        if kind == "bca":
            acceleration = jackknife_accelerations(self._fit_for_bca(), self._evaluate)
        columns = self.replicates.to_numpy().T
        limits = [
            interval(kind, name, column, estimate, alpha, a)
            for (name, estimate), column, a in zip(self.estimates.items(), columns, acceleration)
        ]
        return Table(limits, index=self.estimates.index, columns=[0, 1])

    def summary_frame(self, alpha: float = 0.05, kind: str = "percentile") -> pd.DataFrame:
        """Estimates, bias, standard errors and intervals in one frame."""
        limits = self.conf_int(alpha, kind)
        return Table(
            {
                "estimate": self.estimates,
                "bias": self.bias,
                "se": self.bse,
                "ci_lower": limits[0],
                "ci_upper": limits[1],
            }
        )

    def save(self, path: Destination) -> None:
        """Write the replicates to a file that holds nothing to be run, and no row of the data.

        Parameters
        ----------
        path : str, path-like or binary file
            In NumPy's format npz, whatever its name.

        Raises
        ------
        FitError
            If a name that the statistic gave is neither text, a number nor a tuple of such.
        """
        write_replicates(path, self._found)

    @classmethod
    def load(
        cls,
        path: Destination,
        results: Any = None,
        statistic: Statistic | None = None,
    ) -> Bootstrap:
        """Read replicates from a file that `save` wrote; nothing in it is run.

        Parameters
        ----------
        path : str, path-like or binary file
        results : MixedLMResults, optional
            The fit, which only intervals of the kind "bca" need.
        statistic : callable, optional
            With the fit, the statistic that was given to `MixedLMResults.bootstrap`.

        Returns
        -------
        Bootstrap

        Raises
        ------
        FitError
            If the file holds no bootstrap, or one of another fit or statistic.

        Examples
        --------
        >>> import io
        >>> from mixedlm_ext import Bootstrap, MixedLM, datasets
        >>> data = datasets.dyestuff.load_pandas().data
        >>> result = MixedLM.from_formula("Yield ~ 1 + (1 | Batch)", data).fit()
        >>> file = io.BytesIO()
        >>> result.bootstrap(20, rng=1).save(file)
        >>> _ = file.seek(0)
        >>> Bootstrap.load(file)
        <Bootstrap: 20 parametric replicates, 0 failed>
        """
        found = read_replicates(path)
        check_choice("kind", found.kind, KINDS, FitError)
        fitted = None if results is None else _fitted_of(results)
        if fitted is not None:
            _check_same(found, fitted, statistic)
        return cls(fitted, statistic, found)

    def _fit_for_bca(self) -> Fitted:
        """Return the fit whose groups are left out, or say why there is none."""
        if self.use_u:
            raise FitError(
                "kind='bca' leaves out groups, whose random effects this bootstrap kept "
                "(use_u=True). Use another kind of interval, such as 'percentile'."
            )
        if self._fitted is None:
            raise FitError(
                "kind='bca' leaves out groups and fits again, but the fit was not given. Use "
                "Bootstrap.load(path, results), or another kind of interval."
            )
        return self._fitted

    def _evaluate(self, fitted: Fitted) -> Array:
        """Return the parameters or the statistic of another fit."""
        where = "without some of the groups, as intervals by 'bca' need it"
        return _values_like(self._found.names, fitted, self._statistic, where)


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
    own = _values(fitted, statistic)
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


def _check_same(found: Replicates, fitted: Fitted, statistic: Statistic | None) -> None:
    """Raise unless replicates are of a fit and of a statistic."""
    check_statistic(statistic)
    if found.of_statistic != (statistic is not None):
        theirs = "a statistic of the fit" if found.of_statistic else "the parameters of the fit"
        way = "Pass the same statistic" if found.of_statistic else "Leave statistic out"
        raise FitError(f"the replicates are of {theirs}. {way}.")
    own = _values(fitted, statistic)
    if own.names != found.names:
        raise FitError(f"the replicates are of {found.names}, not of {own.names} as the fit given.")
    if not np.allclose(own.numbers, found.estimates, rtol=1e-5, equal_nan=True):
        raise FitError(
            f"the replicates are of another fit, with the estimates {found.estimates.tolist()}; "
            f"those of the fit given are {own.numbers.tolist()}."
        )


def _fitted_of(results: Any) -> Fitted:
    """Return the record behind a result."""
    fitted = results if isinstance(results, Fitted) else getattr(results, "fitted", None)
    if not isinstance(fitted, Fitted):
        raise FitError(
            f"{type(results).__name__} is not the result of a mixed model. Pass what "
            "MixedLM.fit() returned."
        )
    return fitted


def fit_refitter(fit: Fit) -> Refitter:
    """Return the refitter of a fit's model, started from its estimates."""
    start = warm_start(fit.problem, fit.theta)
    return Refitter(fit.design, fit.problem, fit.reml, fit.fixed_sigma, start)


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
        found = _values_like(names, refitted, statistic, where)
        if refitted.fit.optimization.converged:
            values[r] = found
        else:
            failures[first + r] = refitted.fit.optimization.message
    return _Part(values, failures)


def _values(
    fitted: Fitted, statistic: Statistic | None, where: str = "for the fit itself"
) -> Values:
    """Return the parameters of a fit, or the statistic of it, by name."""
    if statistic is not None:
        return evaluate(statistic, fitted.result(), where)
    fit = fitted.fit
    free_sigma = fit.fixed_sigma is None
    names = [p.name for p in model_parameters(fit.design, free_sigma)]
    one = Estimates.of_fit(fit)
    return Values(names, all_values(fit.problem.covariance, one, free_sigma)[0])


def _values_like(
    names: list[Any], fitted: Fitted, statistic: Statistic | None, where: str
) -> Array:
    """Return the parameters or the statistic of another fit, which must have the same names."""
    found = _values(fitted, statistic, where)
    if found.names != names:
        raise FitError(
            f"the statistic returned {found.names} {where}, but {names} for the fit itself. It "
            "must always return the same values."
        )
    return found.numbers


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
