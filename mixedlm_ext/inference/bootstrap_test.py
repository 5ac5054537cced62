"""Likelihood-ratio test against its simulated distribution (Halekoh & Højsgaard 2014)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from numpy.random import SeedSequence
from numpy.typing import NDArray
from scipy import stats

from mixedlm_ext.display import page
from mixedlm_ext.errors import FitError
from mixedlm_ext.inference.bootstrap import fit_refitter
from mixedlm_ext.inference.compare import lr_test
from mixedlm_ext.inference.resampling import Resampler, resampler
from mixedlm_ext.many import Refitter
from mixedlm_ext.parallel import pieces, run
from mixedlm_ext.simulation.simulate import check_count, draw, spawn_seeds
from mixedlm_ext.tables import Table

Array = NDArray[np.float64]

__all__ = ["BootstrapTest", "bootstrap_test"]


_TIE = 1e-6
"""Likelihood ratios that differ by less are the same: searches end about 1e-8 above the optimum."""


@dataclass(frozen=True, eq=False, repr=False)
class BootstrapTest:
    """Outcome of a parametric bootstrap of the likelihood ratio.

    Attributes
    ----------
    statistic : float
        Likelihood-ratio statistic of the two ML fits.
    df : int
        Parameters by which the models differ.
    pvalue : float
        (1 + e)/(1 + n), e the number of replicates that reach the statistic.
    replicates : ndarray (n,)
        Statistics of responses simulated from the smaller model; nan where a refit failed.
    n_failed : int
        Those are left out of n.
    """

    statistic: float
    df: int
    pvalue: float
    replicates: Array = field(repr=False)
    n_failed: int = 0

    def __repr__(self) -> str:
        return f"{self._heading()}\n{self.summary_frame()}"

    def _repr_html_(self) -> str:
        return page(self._heading(), [self.summary_frame()])

    def _heading(self) -> str:
        done = len(self.replicates) - self.n_failed
        failed = f", {self.n_failed} failed" if self.n_failed else ""
        return f"Likelihood-ratio test, {done} bootstrap replicates{failed}"

    def summary_frame(self) -> pd.DataFrame:
        """Return the test beside two that need no simulation of the tail.

        Returns
        -------
        DataFrame
            Rows "LRT" (chi-squared), "Bartlett" (the statistic scaled to the mean that chi-squared
            has) and "bootstrap"; columns ``statistic``, ``df`` and ``pvalue``.
        """
        mean = float(np.nanmean(self.replicates))
        scaled = self.statistic * self.df / mean if mean > 0 else np.nan
        p = [float(stats.chi2.sf(t, self.df)) for t in (self.statistic, scaled)]
        rows = [
            [self.statistic, self.df, p[0]],
            [scaled, self.df, p[1]],
            [self.statistic, np.nan, self.pvalue],
        ]
        index = ["LRT", "Bartlett", "bootstrap"]
        return Table(rows, index=index, columns=["statistic", "df", "pvalue"])


def bootstrap_test(
    results: Any, other: Any, n: int, rng: Any, n_jobs: int, progress: bool
) -> BootstrapTest:
    """Test the smaller of two nested models (see `ResamplingMethods.compare_bootstrap`)."""
    n = check_count(n)
    small, large = sorted((_by_ml(r) for r in (results, other)), key=lambda r: r.df_modelwc)
    statistic, _, df = lr_test(large, small)
    if not df:
        raise FitError(
            "both models have the same number of parameters, so neither restricts the other. "
            "Pass a model with fewer, or more, terms."
        )
    refitters = (fit_refitter(small.fit_record), fit_refitter(large.fit_record))
    task = partial(_ratios, resampler(small.fit_record, "parametric"), refitters)
    chunks = pieces(n, min(r.chunk for r in refitters))
    work = [spawned[c] for spawned in [spawn_seeds(rng, n)] for c in chunks]
    T = np.concatenate(run(task, work, n_jobs, progress, [len(seeds) for seeds in work]))
    valid = T[np.isfinite(T)]
    if not len(valid):
        raise FitError(f"all {n} bootstrap refits failed. Check that both models fit the data.")
    reached = int((valid >= statistic - _TIE).sum())
    return BootstrapTest(statistic, df, (1 + reached) / (1 + len(valid)), T, n - len(valid))


def _by_ml(results: Any) -> Any:
    """Return the ML fit of a model."""
    if not hasattr(results, "fit_again"):
        raise FitError(
            f"{type(results).__name__} is not the result of a mixed model. Pass what "
            "MixedLM.fit() returns; ranova() compares with the model without random effects."
        )
    return results.fit_again(results.model, reml=False)


def _ratios(
    draws: Resampler, refitters: tuple[Refitter, Refitter], seeds: Sequence[SeedSequence]
) -> Array:
    """Return the likelihood-ratio statistics of simulated responses."""
    Y = draw(draws, seeds)
    small, large = (refitter.fit(Y) for refitter in refitters)
    T = np.maximum(small.objective - large.objective, 0.0)
    return np.where(small.converged & large.converged, T, np.nan)
