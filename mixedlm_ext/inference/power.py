"""Power of a test by simulation."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pandas as pd
from numpy.random import SeedSequence
from numpy.typing import NDArray
from statsmodels.stats.proportion import proportion_confint
from statsmodels.tools.sm_exceptions import ConvergenceWarning

from mixedlm_ext.errors import FitError, MixedLMError, SingularFitWarning
from mixedlm_ext.inference.wald import hypothesis
from mixedlm_ext.parallel import pieces, run
from mixedlm_ext.simulation.simulate import (
    Parameters,
    Simulator,
    check_count,
    design_simulator,
    spawn_seeds,
)

Array = NDArray[np.float64]

__all__ = ["Power", "power"]

_CHUNK = 10
"""Simulated fits of a piece of work."""


@dataclass(frozen=True, eq=False)
class Power:
    """How often simulated fits reject a hypothesis.

    Attributes
    ----------
    power : float
        Share of the fits that reject it.
    ci_lower, ci_upper : float
        Exact binomial (Clopper-Pearson) 95 % interval of the power.
    n, n_rejected, n_failed : int
        Simulated fits, those that reject, those that failed; these count as not rejecting.
    alpha : float
    pvalues : ndarray (n,)
        nan where the fit failed.
    """

    power: float
    ci_lower: float
    ci_upper: float
    n: int
    n_rejected: int
    n_failed: int
    alpha: float
    pvalues: Array = field(repr=False)

    def to_frame(self) -> pd.DataFrame:
        """Return all but the p-values as a frame of one row."""
        names = ["power", "ci_lower", "ci_upper", "n", "n_rejected", "n_failed", "alpha"]
        return pd.DataFrame([{name: getattr(self, name) for name in names}])


def power(
    model: Any,
    tested: Any,
    parameters: Parameters,
    n: int,
    alpha: float,
    reml: bool,
    ddf: str,
    rng: Any,
    n_jobs: int,
    progress: bool,
) -> Power:
    """Simulate, fit and test n times (see `MixedLM.power`)."""
    n = check_count(n)
    if not 0 < alpha < 1:
        raise FitError(f"alpha={alpha!r} is no probability. Pass a number such as 0.05.")
    tested = hypothesis(cast(Any, SimpleNamespace(model=model)), tested)
    seeds = spawn_seeds(rng, n)
    simulator = design_simulator(model.design, parameters)
    task = partial(_pvalues, model, simulator, tested, reml, ddf)
    work = [seeds[c] for c in pieces(n, _CHUNK)]
    p = np.concatenate(run(task, work, n_jobs, progress, [len(part) for part in work]))
    failed = int(np.isnan(p).sum())
    if failed == n:
        raise FitError(
            f"all {n} simulated fits failed. Simulate one response and fit it to see why."
        )
    rejected = int((p < alpha).sum())
    low, high = proportion_confint(rejected, n, method="beta")
    return Power(rejected / n, float(low), float(high), n, rejected, failed, alpha, p)


def _pvalues(
    model: Any,
    simulator: Simulator,
    tested: Any,
    reml: bool,
    ddf: str,
    seeds: Sequence[SeedSequence],
) -> Array:
    """Return the p-values of one piece of work."""
    return np.array([_pvalue(model, simulator, tested, reml, ddf, seed) for seed in seeds])


def _pvalue(
    model: Any, simulator: Simulator, tested: Any, reml: bool, ddf: str, seed: SeedSequence
) -> float:
    """Simulate, fit and test once; nan if there is no fit."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SingularFitWarning)
        warnings.simplefilter("ignore", ConvergenceWarning)
        try:
            result = model.with_response(simulator.draw(seed)).fit(reml=reml, ddf=ddf)
        except MixedLMError:
            return np.nan
        test = result.wald_test(tested, scalar=True)
    return float(test.pvalue) if result.converged else np.nan
