"""Many responses (genes, species, items) on the design of one generalized model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats
from statsmodels.tools.sm_exceptions import ConvergenceWarning

from mixedlm_ext.design.messages import list_names
from mixedlm_ext.display import page
from mixedlm_ext.errors import FitError, MixedLMError, warn_caller
from mixedlm_ext.families.choose import extra_of
from mixedlm_ext.fit_many import place_of, responses_of
from mixedlm_ext.generalized.fitting import (
    AssembledGeneralized,
    check_nodes,
    estimate_generalized,
    tested,
)
from mixedlm_ext.parallel import pieces, run

Array = NDArray[np.float64]

__all__ = ["ManyGeneralizedFits", "fit_many"]

_CHUNK = 64
"""Responses of one piece of work."""


@dataclass(frozen=True)
class _One:
    """What is kept of one fit."""

    beta: Array
    se: Array
    theta: Array
    extra: float
    objective: float
    converged: bool
    failure: str


class ManyGeneralizedFits:
    """Fits of many responses on one design; every frame has a row for each response.

    Attributes
    ----------
    params, bse, tvalues, pvalues : DataFrame (r, p)
        Fixed effects, their standard errors and tests of being zero.
    theta : DataFrame (r, m)
        Covariance parameters.
    scale : Series (r,)
        The dispersion; alpha of a negative binomial; ones for other families.
    llf : Series (r,)
    converged : Series of bool (r,)
    failures : Series
        Why, for the responses without an estimate to rely on.
    """

    def __init__(
        self,
        model: AssembledGeneralized,
        nagq: int,
        Y: Array,
        names: pd.Index,
        fits: Sequence[_One],
    ) -> None:
        self._model, self._nagq, self._Y = model, nagq, Y
        columns = list(model.data.design.x_names)
        self.params = pd.DataFrame([f.beta for f in fits], index=names, columns=columns)
        self.bse = pd.DataFrame([f.se for f in fits], index=names, columns=columns)
        self.theta = pd.DataFrame([f.theta for f in fits], index=names)
        label = "alpha" if extra_of(model.data.family) == "size" else "scale"
        self.scale = pd.Series([f.extra for f in fits], index=names, name=label)
        self.llf = pd.Series([-0.5 * f.objective for f in fits], index=names, name="llf")
        self.converged = pd.Series([f.converged for f in fits], index=names, name="converged")
        failures = {name: f.failure for name, f in zip(names, fits) if f.failure}
        self.failures = pd.Series(failures, dtype=object, name="failure")

    def __len__(self) -> int:
        return len(self.llf)

    def __repr__(self) -> str:
        lost = int((~self.converged).sum())
        return f"<ManyGeneralizedFits: {len(self)} responses, {lost} not converged>"

    def _repr_html_(self) -> str:
        return page(repr(self)[1:-1], [self.params], ["The fixed effects of each response."])

    @property
    def tvalues(self) -> pd.DataFrame:
        """Fixed effects divided by their standard errors."""
        return self.params / self.bse

    @property
    def pvalues(self) -> pd.DataFrame:
        """Two-sided p-values by the normal distribution; not adjusted for the responses."""
        values = 2.0 * stats.norm.sf(self.tvalues.abs().to_numpy(dtype=float))
        return pd.DataFrame(values, index=self.params.index, columns=self.params.columns)

    def result(self, name: Any) -> Any:
        """Return the whole result of one response.

        Parameters
        ----------
        name : label
            The response's.

        Returns
        -------
        MixedGLMResults
        """
        place = place_of(name, self.params.index)
        model = self._model.with_response(self._Y[:, place], str(name))
        return tested(estimate_generalized(model, self._nagq), model.face).result()


def fit_many(
    model: AssembledGeneralized, Y: Any, nagq: int = 1, n_jobs: int = 1, progress: bool = False
) -> ManyGeneralizedFits:
    """Fit many responses on the design of this model.

    Parameters
    ----------
    Y : DataFrame or array_like (nobs, r)
        A column for each response; a row for each row of the fit, or for each row of the data.
        Proportions for a binomial model.
    nagq : int
        As for `fit`.
    n_jobs : int
        Processes (joblib); the result does not depend on it.
    progress : bool
        Show a bar (tqdm).

    Returns
    -------
    ManyGeneralizedFits
        Frames ``params``, ``bse``, ``pvalues``, ``theta``, ``scale``, ``llf``, ``converged`` with a
        row for each response; ``result(name)`` is the whole result of one.

    Raises
    ------
    DesignError
        If Y has other rows, or missing values.

    Warns
    -----
    ConvergenceWarning
        If some responses have no estimate to rely on: all zero, for one.

    Notes
    -----
    The layout of the design and the pattern of the factor are made once. Each response has its own
    search, from its own start: the estimates are those of single fits.

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> import statsmodels.api as sm
    >>> from mixedlm_ext import MixedGLM
    >>> rng = np.random.default_rng(1)
    >>> cells = pd.DataFrame({"donor": np.repeat(np.arange(8), 20), "treated": np.tile([0, 1], 80)})
    >>> genes = pd.DataFrame(rng.poisson(3, (160, 3)), columns=["a", "b", "c"])
    >>> family = sm.families.Poisson()
    >>> model = MixedGLM.from_formula("a ~ treated + (1 | donor)", cells.join(genes), family)
    >>> model.fit_many(genes).params.shape
    (3, 2)
    """
    check_nodes(nagq)
    values, names = responses_of(model.data.design, Y)
    model.problem()  # the layout is made once
    chunks = pieces(values.shape[1], _CHUNK)
    task = _Task(model, int(nagq))
    done = run(
        task, [values[:, c] for c in chunks], n_jobs, progress, [c.stop - c.start for c in chunks]
    )
    fits = [one for part in done for one in part]
    lost = [name for name, one in zip(names, fits) if not one.converged]
    if lost:
        warn_caller(
            f"{len(lost)} of {len(names)} responses have no estimate to rely on: "
            f"{list_names(lost)}. See .converged and .failures.",
            ConvergenceWarning,
        )
    return ManyGeneralizedFits(model, int(nagq), values, names, fits)


@dataclass(frozen=True)
class _Task:
    """Fits a piece of the responses; it goes to other processes."""

    model: AssembledGeneralized
    nagq: int

    def __call__(self, Y: Array) -> list[_One]:
        """Return a record for each column of Y."""
        return [self._one(y) for y in Y.T]

    def _one(self, y: Array) -> _One:
        design, kind = self.model.data.design, extra_of(self.model.data.family)
        nothing = np.full(len(design.x_names), np.nan)
        theta = np.full(self.model.problem().covariance.n_theta, np.nan)
        try:
            if (y == y[0]).all():
                raise FitError(f"the response is constant ({y[0]:g}); there is nothing to explain.")
            fit = estimate_generalized(self.model.with_response(np.ascontiguousarray(y)), self.nagq)
        except MixedLMError as error:
            return _One(nothing, nothing, theta, np.nan, np.nan, False, str(error))
        extra = fit.dispersion if kind != "size" else float(np.exp(-fit.omega[0]))
        log = fit.optimization
        failure = "" if log.converged else log.message
        se = np.sqrt(np.diag(fit.unscaled_cov))
        return _One(fit.beta, se, fit.theta, extra, fit.objective, log.converged, failure)
