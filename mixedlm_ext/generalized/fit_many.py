"""Many responses (genes, species, items) on the design of one generalized model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats
from statsmodels.tools.sm_exceptions import ConvergenceWarning

from mixedlm_ext.criteria.many_laplace import ManyLaplace
from mixedlm_ext.criteria.many_modes import fits_at_once
from mixedlm_ext.design.messages import list_names
from mixedlm_ext.display import page
from mixedlm_ext.errors import MixedLMError, warn_caller
from mixedlm_ext.estimation.estimates import Estimates
from mixedlm_ext.families.choose import extra_of, wrong_values
from mixedlm_ext.fit_many import place_of, responses_of
from mixedlm_ext.generalized.endless import may_be_endless
from mixedlm_ext.generalized.fitting import (
    AssembledGeneralized,
    check_nodes,
    estimate_generalized,
    tested,
)
from mixedlm_ext.many.laplace import minima_of
from mixedlm_ext.parallel import pieces, run

Array = NDArray[np.float64]
Index = NDArray[np.intp]

__all__ = ["ManyGeneralizedFits", "fit_many"]

_CELLS = 65_536
"""Numbers that an array of one chunk may hold: about what stays in the cache."""
_AT_ONCE = 512
"""Responses of a chunk at most."""


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
        e: Estimates,
    ) -> None:
        self._model, self._nagq, self._Y = model, nagq, Y
        columns = list(model.data.design.x_names)
        self.params = pd.DataFrame(e.beta, index=names, columns=columns)
        self.bse = pd.DataFrame(e.bse, index=names, columns=columns)
        self.theta = pd.DataFrame(e.theta, index=names)
        label = "alpha" if extra_of(model.data.family) == "size" else "scale"
        self.scale = pd.Series(e.sigma, index=names, name=label)
        self.llf = pd.Series(-0.5 * e.objective, index=names, name="llf")
        self.converged = pd.Series(e.converged, index=names, name="converged")
        failures = {names[r]: why for r, why in sorted(e.failures.items())}
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
    With one grouping factor all responses are fitted at once, each with its own steps; one that is
    not at a clear maximum then has a search of its own, as all have with several factors or with
    quadrature. The estimates are those of single fits.

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
    size = int(np.clip(_CELLS // max(len(values), 1), 16, _AT_ONCE))
    work = [values[:, c] for c in pieces(values.shape[1], size)]
    task = _Task(model, int(nagq))
    done = run(task, work, n_jobs, progress, [part.shape[1] for part in work])
    estimates = Estimates.join(done)
    lost = names[~estimates.converged].tolist()
    if lost:
        warn_caller(
            f"{len(lost)} of {len(names)} responses have no estimate to rely on: "
            f"{list_names(lost)}. See .converged and .failures.",
            ConvergenceWarning,
        )
    return ManyGeneralizedFits(model, int(nagq), values, names, estimates)


@dataclass(frozen=True)
class _Task:
    """Fits a piece of the responses; it goes to other processes."""

    model: AssembledGeneralized
    nagq: int

    def __call__(self, Y: Array) -> Estimates:
        """Return the estimates for the columns of Y; `sigma` is the dispersion, or alpha."""
        problem = self.model.problem()
        out = Estimates.missing(Y.shape[1], problem.p, problem.covariance.n_theta)
        constant = (Y[:1] == Y).all(axis=0)
        for r in np.flatnonzero(constant):
            out.failures[int(r)] = (
                f"the response is constant ({Y[0, r]:g}); there is nothing to explain."
            )
        left = np.flatnonzero(~constant & self._possible(Y))
        if self.nagq == 1 and fits_at_once(problem) and len(left):
            self._at_once(Y[:, left], left, out)
        for r in np.flatnonzero(~constant & ~out.converged):
            self._one(np.ascontiguousarray(Y[:, r]), int(r), out)
        return out

    def _possible(self, Y: Array) -> NDArray[np.bool_]:
        """Say which responses the family can have; the others are told why one by one."""
        data = self.model.data
        wrong, _ = wrong_values(data.family, Y, data.prior.by_row())
        return np.asarray(~wrong.any(axis=0))

    def _at_once(self, Y: Array, at: Index, out: Estimates) -> None:
        """Fit responses together and write down those that are beyond doubt."""
        problem = self.model.problem()
        criteria = ManyLaplace.of(problem, Y)
        found = minima_of(criteria)
        X = self.model.data.design.X
        doubtful = may_be_endless(
            criteria.likelihood, X, found.fixed, problem.offset, found.sd, found.omega
        )
        sure = found.converged & ~doubtful
        r = at[sure]
        out.theta[r], out.beta[r] = found.theta.T[sure], found.beta.T[sure]
        out.bse[r], out.objective[r] = found.se.T[sure], found.at.value[sure]
        out.sigma[r] = _extra(extra_of(self.model.data.family), found.omega[:, sure])
        out.converged[r] = True

    def _one(self, y: Array, r: int, out: Estimates) -> None:
        """Fit one response by its own search, as `MixedGLM.fit` does."""
        try:
            fit = estimate_generalized(self.model.with_response(y), self.nagq)
        except MixedLMError as error:
            out.failures[r] = str(error)
            return
        log = fit.optimization
        out.theta[r], out.beta[r] = fit.theta, fit.beta
        out.bse[r] = np.sqrt(np.diag(fit.unscaled_cov))
        out.sigma[r] = _extra(extra_of(self.model.data.family), fit.omega)
        out.objective[r], out.converged[r] = fit.objective, log.converged
        if not log.converged:
            out.failures[r] = log.message


def _extra(kind: str, omega: Array) -> Any:
    """Return alpha or the dispersion from ω (1, ...), one where there is neither."""
    return 1.0 if not kind else np.exp(-omega[0] if kind == "size" else omega[0])
