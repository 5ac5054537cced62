"""`Bootstrap`: replicates of a fit, their bias, standard errors and intervals."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mixedlm_ext.display import page
from mixedlm_ext.errors import FitError, check_choice, check_probability
from mixedlm_ext.estimation.fitted import Fitted
from mixedlm_ext.inference.bootstrap.file import (
    Destination,
    Replicates,
    read_replicates,
    write_replicates,
)
from mixedlm_ext.inference.bootstrap.intervals import INTERVALS, interval
from mixedlm_ext.inference.bootstrap.jackknife import jackknife_accelerations
from mixedlm_ext.inference.bootstrap.resampling import KINDS
from mixedlm_ext.inference.bootstrap.statistic import (
    Statistic,
    check_statistic,
    own_values,
    values_like,
)
from mixedlm_ext.tables import Table

Array = NDArray[np.float64]

__all__ = ["Bootstrap"]


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
        return values_like(self._found.names, fitted, self._statistic, where)


def _check_same(found: Replicates, fitted: Fitted, statistic: Statistic | None) -> None:
    """Raise unless replicates are of a fit and of a statistic."""
    check_statistic(statistic)
    if found.of_statistic != (statistic is not None):
        theirs = "a statistic of the fit" if found.of_statistic else "the parameters of the fit"
        way = "Pass the same statistic" if found.of_statistic else "Leave statistic out"
        raise FitError(f"the replicates are of {theirs}. {way}.")
    own = own_values(fitted, statistic)
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
