"""Bootstrap of a fit: replicates of its parameters, or of any statistic of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.random import SeedSequence
from numpy.typing import NDArray
from statsmodels.tools.sm_exceptions import ConvergenceWarning

from mixedlm_ext.display import page
from mixedlm_ext.errors import FitError, MixedLMError, check_choice, warn_caller
from mixedlm_ext.fit import Fit
from mixedlm_ext.inference.bootstrap_file import (
    Destination,
    Replicates,
    read_replicates,
    write_replicates,
)
from mixedlm_ext.inference.bootstrap_intervals import INTERVALS, interval
from mixedlm_ext.inference.jackknife import jackknife_accelerations
from mixedlm_ext.inference.parameters import model_parameters
from mixedlm_ext.inference.resampling import KINDS, Resampler, resampler
from mixedlm_ext.inference.statistic import Statistic, Values, check_statistic, evaluate
from mixedlm_ext.many import Estimates, Refitter, all_values, warm_start
from mixedlm_ext.parallel import pieces, run
from mixedlm_ext.pls import problem_with
from mixedlm_ext.products.responses import Reduction
from mixedlm_ext.simulation.simulate import check_count, draw, seed_text, spawn_seeds
from mixedlm_ext.tables import Table

if TYPE_CHECKING:
    from mixedlm_ext.results import MixedLMResults

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
        results: MixedLMResults | None,
        statistic: Statistic | None,
        found: Replicates,
    ) -> None:
        self._results, self._statistic, self._found = results, statistic, found
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
        if not 0 < alpha < 1:
            raise FitError(f"alpha={alpha!r} is no probability. Pass a number such as 0.05.")
        acceleration = np.zeros(len(self.estimates))
        if kind == "bca":
            results = self._fit_for_bca()
            acceleration = jackknife_accelerations(
                results.fit_record, partial(self._evaluate, results)
            )
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
        results: MixedLMResults | None = None,
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
        if results is not None:
            _check_same(found, results, statistic)
        return cls(results, statistic, found)

    def _fit_for_bca(self) -> MixedLMResults:
        """Return the fit whose groups are left out, or say why there is none."""
        if self.use_u:
            raise FitError(
                "kind='bca' leaves out groups, whose random effects this bootstrap kept "
                "(use_u=True). Use another kind of interval, such as 'percentile'."
            )
        if self._results is None:
            raise FitError(
                "kind='bca' leaves out groups and fits again, but the fit was not given. Use "
                "Bootstrap.load(path, results), or another kind of interval."
            )
        return self._results

    def _evaluate(self, results: MixedLMResults, fit: Fit) -> Array:
        """Return the parameters or the statistic of a fit without some of the groups."""
        where = "without some of the groups, as intervals by 'bca' need it"
        if self._statistic is None:
            return _parameters(fit).numbers
        model = results.model.with_design(fit.design, fit.problem)
        other = results.results_like(model, fit, robust=False)
        return _values_like(self._found.names, other, self._statistic, where)


def bootstrap(
    results: MixedLMResults,
    n: int,
    kind: str,
    statistic: Statistic | None,
    rng: Any,
    n_jobs: int,
    progress: bool,
    use_u: bool = False,
) -> Bootstrap:
    """Refit a model to n bootstrap responses (see `ResamplingMethods.bootstrap`)."""
    n = check_count(n)
    check_choice("kind", kind, KINDS, FitError)
    if not isinstance(use_u, bool | np.bool_):
        raise FitError(f"use_u={use_u!r} is neither True nor False.")
    fit = results.fit_record
    draws = resampler(fit, kind, bool(use_u))
    check_statistic(statistic)
    own = _values(_labelled(results), statistic)
    seeds = spawn_seeds(rng, n)
    if statistic is None:
        refitter = fit_refitter(fit)
        task: Any = partial(_parameters_of, refitter, draws)
        chunks = pieces(n, refitter.chunk)
    else:
        task = partial(_statistics_of, results, statistic, draws, own.names)
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
    return Bootstrap(results, statistic, found)


def _check_same(found: Replicates, results: MixedLMResults, statistic: Statistic | None) -> None:
    """Raise unless replicates are of a fit and of a statistic."""
    check_statistic(statistic)
    if found.of_statistic != (statistic is not None):
        theirs = "a statistic of the fit" if found.of_statistic else "the parameters of the fit"
        way = "Pass the same statistic" if found.of_statistic else "Leave statistic out"
        raise FitError(f"the replicates are of {theirs}. {way}.")
    own = _values(_labelled(results), statistic)
    if own.names != found.names:
        raise FitError(f"the replicates are of {found.names}, not of {own.names} as the fit given.")
    if not np.allclose(own.numbers, found.estimates, rtol=1e-5, equal_nan=True):
        raise FitError(
            f"the replicates are of another fit, with the estimates {found.estimates.tolist()}; "
            f"those of the fit given are {own.numbers.tolist()}."
        )


def _labelled(results: MixedLMResults) -> Any:
    """Return the same results as a statistic sees those of the replicates, in their wrapper."""
    robust = results.cov_type == "cluster"
    return results.with_ddf(results.ddf_method if robust else results.ddf)  # type: ignore[arg-type]


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
    results: MixedLMResults,
    statistic: Statistic,
    draws: Resampler,
    names: list[Any],
    work: tuple[int, Sequence[SeedSequence]],
) -> _Part:
    """Refit one chunk, each replicate with a result of its own, and return the statistic."""
    first, seeds = work
    values = np.full((len(seeds), len(names)), np.nan)
    failures: dict[int, str] = {}
    model = results.model
    reduce = Reduction(model.design, model.problem.cp.layout)
    for r, seed in enumerate(seeds):
        try:
            y = draws.draw(seed)
            problem = problem_with(model.problem, reduce(y[:, None]))
            refitted = results.fit_again(model.with_design(replace(model.design, y=y), problem))
        except MixedLMError as error:
            failures[first + r] = str(error)
            continue
        where = f"at replicate {first + r}, whose response comes from {seed_text(seed)}"
        found = _values_like(names, refitted, statistic, where)
        if refitted.converged:
            values[r] = found
        else:
            failures[first + r] = refitted.optimization.message
    return _Part(values, failures)


def _values(results: Any, statistic: Statistic | None, where: str = "for the fit itself") -> Values:
    """Return the parameters of a fit, or the statistic of it, by name."""
    if statistic is not None:
        return evaluate(statistic, results, where)
    return _parameters(results.fit_record)


def _parameters(fit: Fit) -> Values:
    """Return the parameters of a fit by name."""
    free_sigma = fit.fixed_sigma is None
    names = [p.name for p in model_parameters(fit.design, free_sigma)]
    one = Estimates.of_fit(fit)
    return Values(names, all_values(fit.problem.covariance, one, free_sigma)[0])


def _values_like(names: list[Any], results: Any, statistic: Statistic | None, where: str) -> Array:
    """Return the parameters or the statistic of another fit, which must have the same names."""
    found = _values(results, statistic, where)
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
