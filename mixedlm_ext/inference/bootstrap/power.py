"""Power of a test by simulation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.random import SeedSequence
from numpy.typing import NDArray
from statsmodels.stats.proportion import proportion_confint
from statsmodels.tools.sm_exceptions import ValueWarning

from mixedlm_ext.criteria.gaussian import GaussianCriterion
from mixedlm_ext.criteria.pls import Problem, problem_with
from mixedlm_ext.design import Design
from mixedlm_ext.design.rank import independent_columns
from mixedlm_ext.display import page
from mixedlm_ext.errors import FitError, MixedLMError, check_probability, warn_caller
from mixedlm_ext.estimation.assembled import Assembled
from mixedlm_ext.estimation.estimate import estimate
from mixedlm_ext.estimation.fit import Fit
from mixedlm_ext.estimation.fitted import Fitted
from mixedlm_ext.inference.fixed.ddf import check_method, degrees_of_freedom
from mixedlm_ext.inference.fixed.wald import f_contrast, read_hypothesis
from mixedlm_ext.parallel import pieces, run
from mixedlm_ext.products.responses import Reduction
from mixedlm_ext.simulation.simulate import (
    Simulator,
    check_count,
    design_simulator,
    spawn_seeds,
    stated,
)
from mixedlm_ext.tables import Table

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

    def _repr_html_(self) -> str:
        return page("Power", [self.to_frame()])

    def to_frame(self) -> pd.DataFrame:
        """Return all but the p-values as a frame of one row."""
        names = ["power", "ci_lower", "ci_upper", "n", "n_rejected", "n_failed", "alpha"]
        return Table([{name: getattr(self, name) for name in names}])


def power(
    model: Assembled,
    hypothesis: Any,
    beta: Any,
    theta: Any = None,
    covariances: Any = None,
    sigma: float = 1.0,
    n: int = 1000,
    alpha: float = 0.05,
    reml: bool = True,
    ddf: str = "satterthwaite",
    rng: Any = None,
    n_jobs: int = 1,
    progress: bool = False,
) -> Power:
    """Estimate the power of a test by simulation.

    Parameters
    ----------
    hypothesis : str, array_like or tuple
        As `MixedLMResults.t_test` takes it, such as ``"x = 0"``; several are tested together.
    beta, theta, covariances, sigma
        The truth, as for `simulate`.
    n : int
        Number of simulated responses.
    alpha : float
        Level of the test.
    reml, ddf
        How each is fitted and tested, as for `fit`.
    rng : None, int or numpy.random.Generator
    n_jobs : int
        Processes (joblib); the result does not depend on it.
    progress : bool
        Show a bar (tqdm).

    Returns
    -------
    Power
        Its ``power``, ``ci_lower``, ``ci_upper`` (binomial), ``n_failed``, ``pvalues``.

    Raises
    ------
    FitError
        If the hypothesis names no fixed effect, or an argument is impossible.

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> from mixedlm_ext import MixedLM
    >>> plan = pd.DataFrame({"g": np.repeat(range(10), 5), "x": np.tile(range(5), 10)})
    >>> plan["y"] = plan["x"]  # a placeholder
    >>> model = MixedLM.from_formula("y ~ x + (1 | g)", plan)
    >>> found = model.power("x = 0", [0, 0.5], covariances=[1.0], n=50, rng=1)
    >>> found.n_rejected, round(found.ci_lower, 3)
    (50, 0.929)
    """
    check_method(ddf)
    if model.design.residual is not None:
        raise FitError(
            f"power is simulated for independent residuals; those of this model have "
            f"{model.design.residual.text}. Fit pilot data, simulate() from the result and fit "
            "each draw."
        )
    parameters = stated(model, beta, theta, covariances, sigma)
    n = check_count(n)
    check_probability("alpha", alpha)
    constraints = _independent(*read_hypothesis(model.design, model.design.x_names, hypothesis))
    seeds = spawn_seeds(rng, n)
    study = _Study(
        design=model.design,
        problem=model.problem,
        simulator=design_simulator(model.design, parameters),
        reduce=Reduction(model.design, model.problem.cp.layout),
        constraints=constraints,
        reml=reml,
        ddf=ddf,
    )
    work = [seeds[c] for c in pieces(n, _CHUNK)]
    done = run(study.outcomes, work, n_jobs, progress, [len(part) for part in work])
    outcomes = [outcome for part in done for outcome in part]
    p = np.array([outcome.pvalue for outcome in outcomes])
    failed = int(np.isnan(p).sum())
    if failed == n:
        raise FitError(f"all {n} simulated fits failed; the first because: {outcomes[0].failure}")
    rejected = int((p < alpha).sum())
    low, high = proportion_confint(rejected, n, method="beta")
    return Power(rejected / n, float(low), float(high), n, rejected, failed, alpha, p)


@dataclass(frozen=True)
class _Outcome:
    """The p-value of one simulated fit, or nan and what went wrong."""

    pvalue: float
    failure: str = ""


@dataclass(frozen=True, eq=False)
class _Study:
    """What one process needs to simulate, fit and test.

    `constraints` are L (r, p), of full rank, and q (r,) of the hypothesis Lβ = q.
    """

    design: Design
    problem: Problem
    simulator: Simulator
    reduce: Reduction
    constraints: tuple[Array, Array]
    reml: bool
    ddf: str

    def outcomes(self, seeds: Sequence[SeedSequence]) -> list[_Outcome]:
        """Return the outcome of one response for each seed."""
        return [self._outcome(self.simulator.draw(seed)) for seed in seeds]

    def _outcome(self, y: Array) -> _Outcome:
        """Fit and test one response (n,)."""
        problem = problem_with(self.problem, self.reduce(y[:, None]))
        try:
            fit = estimate(self.design.with_response(y), GaussianCriterion(problem, self.reml))
            if not fit.optimization.converged:
                return _Outcome(np.nan, fit.optimization.message)
            return _Outcome(self._pvalue(fit))
        except MixedLMError as error:
            return _Outcome(np.nan, str(error))

    def _pvalue(self, fit: Fit) -> float:
        """Test one fit."""
        fitted = Fitted.by(fit, degrees_of_freedom(fit, self.ddf))
        return float(f_contrast(fitted, self.constraints, None, scalar=True).pvalue)


def _independent(L: Array, q: Array) -> tuple[Array, Array]:
    """Return the rows of a hypothesis Lβ = q that do not follow from others, with a warning."""
    kept = independent_columns(L.T)
    if not len(kept):
        raise FitError("the hypothesis has only zeros; give some fixed effect a coefficient.")
    combinations = np.linalg.lstsq(L[kept].T, L.T, rcond=None)[0]
    if not np.allclose(q[kept] @ combinations, q):
        raise FitError("the hypothesis contradicts itself; no coefficients satisfy all of it.")
    if len(kept) < len(L):
        warn_caller(
            f"the hypothesis has {len(L)} rows but rank {len(kept)}; {len(kept)} are tested",
            ValueWarning,
        )
    return L[kept], q[kept]
