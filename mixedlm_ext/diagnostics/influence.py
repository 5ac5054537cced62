"""Influence: what the estimates would be without a row, or without a group of rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from mixedlm_ext import absent
from mixedlm_ext.absent import attribute_again
from mixedlm_ext.caching import cached_property
from mixedlm_ext.diagnostics.deletion_at_theta import delete_at_theta
from mixedlm_ext.diagnostics.deletion_estimates import Deleted
from mixedlm_ext.diagnostics.deletion_refits import refit_without
from mixedlm_ext.diagnostics.row_groups import group_rows
from mixedlm_ext.display import page
from mixedlm_ext.errors import FitError
from mixedlm_ext.estimation.fit import Fit
from mixedlm_ext.estimation.fitted import Fitted
from mixedlm_ext.geometry.leverage import leverages
from mixedlm_ext.geometry.residuals import row_residuals
from mixedlm_ext.products.noise import noise_of
from mixedlm_ext.tables import Table

Array = NDArray[np.float64]

__all__ = [
    "GroupInfluence",
    "ObservationInfluence",
    "get_influence",
    "group_influence",
    "influence",
]


class ObservationInfluence:
    """Influence of single observations, in statsmodels' manner; theta is held at its estimate.

    Attributes
    ----------
    fitted : Fitted
    hat_matrix_diag : ndarray (n,)
        Leverages h_i = ∂ŷ_i/∂y_i of the conditional fitted values; their sum is the effective
        number of parameters.
    resid : ndarray (n,)
        Weighted (Pearson) residuals.
    resid_studentized : ndarray (n,)
        Residuals over σ(1 - h)^½.
    cooks_distance : tuple of two ndarrays (n,)
        r²h/(σ²p(1 - h)²), as lme4's, and p-values from F with p and n - p degrees of freedom, as
        statsmodels' (a scale to read the distance on, no test).
    dfbeta, dfbetas : ndarray (n, p)
        Fixed effects less those without the observation, and the same over σ without it times the
        root of the diagonal of (X'V⁻¹X)⁻¹.
    dffits_internal : ndarray (n,)
        Studentized residuals times (h/(1 - h))^½.

    Notes
    -----
    Leverage and Cook's distance are about the fitted values, random effects included; dfbetas are
    about the fixed effects. An observation that alone determines an estimate has nan.
    """

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            return attribute_again(self, name, absent.INFLUENCE)

    def __init__(self, fitted: Fitted) -> None:
        self._fitted, self._fit = fitted, fitted.fit

    def __repr__(self) -> str:
        return f"<ObservationInfluence: {self._fit.problem.cp.n} observations>"

    @cached_property
    def results(self) -> Any:
        """The result whose rows these are."""
        return self._fitted.result()

    @cached_property
    def hat_matrix_diag(self) -> Array:
        """Leverages."""
        return leverages(self._fit)

    @cached_property
    def resid(self) -> Array:
        """Pearson residuals."""
        return row_residuals(self._fit, "pearson")

    @property
    def resid_studentized_internal(self) -> Array:
        """`resid_studentized`, by another of statsmodels' names."""
        return self.resid_studentized

    @property
    def resid_studentized(self) -> Array:
        """Internally studentized residuals."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return self.resid / (self._fit.sigma * np.sqrt(self._left))

    @cached_property
    def cooks_distance(self) -> tuple[Array, Array]:
        """Cook's distance and its place in the F distribution."""
        p, n = self._fit.problem.cp.p, self._fit.problem.cp.n
        with np.errstate(divide="ignore", invalid="ignore"):
            scaled = self.resid**2 / self._fit.sigma**2 / p
            distance = scaled * self.hat_matrix_diag / self._left**2
        return distance, stats.f.sf(distance, p, n - p)

    @property
    def dffits_internal(self) -> Array:
        """Change of the own fitted value in standard deviations of the residual."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return self.resid_studentized * np.sqrt(self.hat_matrix_diag / self._left)

    @cached_property
    def dfbeta(self) -> Array:
        """Fixed effects less those without the observation."""
        return np.asarray(self._fit.beta - self._without.beta)

    @cached_property
    def dfbetas(self) -> Array:
        """Scaled `dfbeta`."""
        unscaled = np.sqrt(np.diag(self._fit.unscaled_cov))
        return np.asarray(self.dfbeta / (self._without.sigma[:, None] * unscaled))

    def summary_frame(self) -> pd.DataFrame:
        """All measures in one frame, with the names of statsmodels' influence classes.

        Returns
        -------
        DataFrame (n, p + 4)
            Columns ``dfb_`` and the name of each fixed effect, ``cooks_d``, ``standard_resid``,
            ``hat_diag``, ``dffits_internal``.
        """
        names = [f"dfb_{name}" for name in self._fit.design.x_names]
        out = Table(self.dfbetas, index=self._fit.design.index, columns=names)
        return out.assign(
            cooks_d=self.cooks_distance[0],
            standard_resid=self.resid_studentized,
            hat_diag=self.hat_matrix_diag,
            dffits_internal=self.dffits_internal,
        )

    @cached_property
    def _without(self) -> Deleted:
        return delete_at_theta(self._fit, np.arange(self._fit.problem.cp.n))

    @cached_property
    def _left(self) -> Array:
        """1 - h, nan where nothing is left."""
        left = 1.0 - self.hat_matrix_diag
        return np.where(left > 1e-10, left, np.nan)


@dataclass(frozen=True, eq=False)
class GroupInfluence:
    """The fits that leave out one group of rows each: a row of every frame is a group left out.

    Attributes
    ----------
    groups : str
        What the groups are.
    refit : bool
        Whether the covariance parameters were estimated anew, or held.
    n_rows : Series (G,)
        Rows of the group.
    params, bse : DataFrame (G, p)
        Fixed effects without the group and their standard errors; missing where they cannot be
        estimated without it.
    change : DataFrame (G, p)
        ``params`` less the fixed effects of the whole fit.
    dfbetas : DataFrame (G, p)
        The fixed effects of the whole fit less ``params``, over ``bse``: statsmodels' sign, lme4's
        scale.
    cooks_distance : Series (G,)
        Distance of the two sets of fixed effects, Δ'C⁻¹Δ/p · (G - p)/G with C the covariance matrix
        of the whole fit, as lme4 scales it. The factor (G - p)/G, which other programs do not have,
        is left out unless it is positive.
    theta : DataFrame (G, m)
        Covariance parameters without the group.
    sigma, objective : Series (G,)
        Residual standard deviation and criterion without the group.
    displacement : Series (G,)
        By how much the criterion of all rows rises when it is evaluated at the estimates without
        the group: the (restricted) likelihood displacement, influence on everything together.
    converged : Series of bool (G,)
    failures : Series
        Why there is no fit without a group, by group.
    """

    groups: str
    refit: bool
    n_rows: pd.Series
    params: pd.DataFrame
    bse: pd.DataFrame
    change: pd.DataFrame
    dfbetas: pd.DataFrame
    cooks_distance: pd.Series
    theta: pd.DataFrame
    sigma: pd.Series
    objective: pd.Series
    displacement: pd.Series
    converged: pd.Series
    failures: pd.Series

    def __repr__(self) -> str:
        how = "refitted" if self.refit else "covariance parameters held"
        return f"<GroupInfluence: {len(self.sigma)} groups of {self.groups}, {how}>"

    def _repr_html_(self) -> str:
        return page(repr(self).strip("<>"), [self.summary_frame()])

    def summary_frame(self) -> pd.DataFrame:
        """Cook's distance, displacement, rows, sigma and dfbetas in one frame, most influential
        first."""
        head = Table(
            {
                "cooks_d": self.cooks_distance,
                "displacement": self.displacement,
                "n_rows": self.n_rows,
                "sigma": self.sigma,
            }
        )
        out = head.join(self.dfbetas.add_prefix("dfb_"))
        order = np.argsort(-np.nan_to_num(out["cooks_d"].to_numpy(), nan=-1.0), kind="stable")
        return out.iloc[order]


def influence(
    fitted: Fitted, groups: Any = None, refit: bool = False, n_jobs: int = 1, progress: bool = False
) -> GroupInfluence:
    """Estimates without each group of rows.

    Parameters
    ----------
    groups : str or array_like, optional
        A grouping factor or another variable of the formula by name, or one label for each
        row. By default each row is left out.
    refit : bool
        Estimate the covariance parameters without each group, too: as many fits as groups,
        each from cross-products that the group was subtracted from, started at the whole fit.
        Otherwise the covariance parameters stay and the rest has a closed form.
    n_jobs : int
        Processes for the refits (joblib).
    progress : bool
        Show a bar (tqdm).

    Returns
    -------
    GroupInfluence
        Frames ``params``, ``change``, ``dfbetas``, ``theta``; series ``cooks_distance``,
        ``sigma``, ``displacement``; ``summary_frame()``.

    Raises
    ------
    DesignError
        If `groups` is neither a variable of the model nor one label for each row.

    Examples
    --------
    >>> from mixedlm_ext import MixedLM, datasets
    >>> data = datasets.sleepstudy.load_pandas().data
    >>> result = MixedLM.from_formula("Reaction ~ Days + (Days | Subject)", data).fit()
    >>> influence = result.influence("Subject", refit=True)
    >>> influence.cooks_distance.head(2).round(4).to_dict()
    {'308': 0.0821, '309': 0.132}
    >>> influence.change.loc["308"].round(3).to_dict()
    {'Intercept': 0.424, 'Days': -0.665}
    """
    fitted.rows("the influence of its rows")
    return group_influence(fitted.fit, groups, bool(refit), n_jobs, progress)


def group_influence(
    fit: Fit, groups: Any, refit: bool, n_jobs: int = 1, progress: bool = False
) -> GroupInfluence:
    """Leave out groups of rows one at a time (see `influence`)."""
    sets = group_rows(fit.design, groups)
    found = (
        refit_without(fit, sets.codes, range(len(sets.levels)), False, n_jobs, progress)
        if refit
        else delete_at_theta(fit, sets.codes)
    )
    index, names = sets.levels, list(fit.design.x_names)
    labels: Any = {"index": index, "columns": names}
    return GroupInfluence(
        groups=sets.name,
        refit=refit,
        n_rows=pd.Series(np.bincount(sets.codes), index=index, name="n_rows"),
        params=pd.DataFrame(found.beta, **labels),
        bse=pd.DataFrame(found.bse, **labels),
        change=pd.DataFrame(found.beta - fit.beta, **labels),
        dfbetas=pd.DataFrame((fit.beta - found.beta) / found.bse, **labels),
        cooks_distance=pd.Series(_cooks(fit, found.beta), index=index, name="cooks_distance"),
        theta=pd.DataFrame(found.theta, index, [f"theta[{j}]" for j in range(len(fit.theta))]),
        failures=pd.Series(
            {index[g]: why for g, why in sorted(found.failures.items())}, dtype=object
        ),
        **_series(found, index),
    )


def _series(found: Deleted, index: pd.Index) -> Mapping[str, Any]:
    """Label what has one number for each group."""
    names = ("sigma", "objective", "displacement", "converged")
    return {name: pd.Series(getattr(found, name), index=index, name=name) for name in names}


def _cooks(fit: Fit, beta: Array) -> Array:
    """Return lme4's Cook's distances of groups, (G,)."""
    cp, (G, p) = fit.problem.cp, beta.shape
    if p == 0:
        return np.full(G, np.nan)
    away = (beta - fit.beta) @ (fit.engine.pls.RX @ cp.R).T
    scale = (G - p) / G if p < G else 1.0
    return np.asarray(np.einsum("gp,gp->g", away, away) / (fit.sigma**2 * p) * scale)


def get_influence(fitted: Fitted) -> ObservationInfluence:
    """Influence of single observations, with the names of statsmodels' influence classes.

    Returns
    -------
    ObservationInfluence
        ``hat_matrix_diag``, ``cooks_distance``, ``dfbetas``, ``resid_studentized``,
        ``summary_frame()``.

    Raises
    ------
    FitError
        If residuals are correlated.

    Examples
    --------
    >>> from mixedlm_ext import MixedLM, datasets
    >>> data = datasets.dyestuff.load_pandas().data
    >>> result = MixedLM.from_formula("Yield ~ 1 + (1 | Batch)", data).fit()
    >>> result.get_influence().summary_frame()[["cooks_d", "hat_diag"]].head(2).round(4)
       cooks_d  hat_diag
    0   0.1177    0.1638
    1   0.4667    0.1638
    """
    design = fitted.rows("the influence of its rows")
    if noise_of(design).mixes:
        raise FitError(
            "the measures of single rows are for independent residuals; those of a row that is "
            "correlated with others depend on what of these is left. Use influence(groups=...) "
            "with the groups of the correlation, or influence() for rows."
        )
    return ObservationInfluence(fitted)
