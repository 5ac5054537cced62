"""Cluster-robust covariance of the fixed effects of a generalized model.

With g_c the score of cluster c in all parameters (θ, ζ, ω), from the exact gradient, and H the
information of all, the sandwich is H⁻¹(Σ_c g_cg_c')H⁻¹ (White 1982, Econometrica 50, 1-25): it is
right for the parameter that the model is nearest to, whatever the distribution within clusters.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mixedlm_ext.design.partition import Partition
from mixedlm_ext.errors import FitError, check_choice
from mixedlm_ext.estimation.fit import Fit
from mixedlm_ext.estimation.fitted import Clustered, Fitted
from mixedlm_ext.estimation.generalized import GeneralizedFit, evaluation_of, point_of
from mixedlm_ext.generalized.record import generalized
from mixedlm_ext.inference.fixed.clusters import find_clusters
from mixedlm_ext.inference.fixed.ddf import degrees_of_freedom
from mixedlm_ext.tables import Table

Array = NDArray[np.float64]

__all__ = ["KINDS", "GeneralizedSandwich", "get_robustcov_results", "robust_cov"]

KINDS = ("CR0", "CR1")
_STEP = 1e-4
"""Of the differences of the gradient that give the information."""


class GeneralizedSandwich:
    """Tests of the fixed effects that trust only the independence of clusters.

    Parameters
    ----------
    fit : GeneralizedFit
    clusters : Partition
    kind : {"CR0", "CR1"}
    """

    def __init__(self, fit: GeneralizedFit, clusters: Partition, kind: str) -> None:
        check_choice("kind", kind, KINDS, FitError)
        if fit.nagq == 0:
            raise FitError(
                "robust standard errors need the scores of the likelihood, which the fast fit does "
                "not maximize. Fit with nagq=1."
            )
        self.name = f"cluster-robust ({kind})"
        self.kind, self.groups, self.count = kind, clusters.name, clusters.count
        self._cov = _sandwich(fit, clusters, kind)

    def cov(self) -> Array:
        """Return the sandwich, (p, p)."""
        return self._cov

    def t(self, L: Array) -> Array:
        """Return infinite degrees of freedom: tests are by the normal distribution."""
        return np.full(len(L), np.inf)

    def f(self, L: Array) -> tuple[float, float]:
        """Return no scaling and infinite degrees of freedom."""
        return 1.0, np.inf

    def note(self) -> str:
        """Return the remark for the summary."""
        return (
            f"Standard errors are robust to dependence within {self.groups} "
            f"({self.kind}, {self.count} clusters)."
        )

    def with_fit(self, fit: Fit) -> GeneralizedSandwich:
        """Return itself: the rows were read when it was made."""
        return self


def _sandwich(fit: GeneralizedFit, clusters: Partition, kind: str) -> Array:
    """Return the block of the fixed effects of H⁻¹(Σgg')H⁻¹."""
    e = evaluation_of(fit)
    point = point_of(fit)
    scores = -0.5 * e.cluster_gradients(clusters.codes, clusters.count)
    d = len(point)
    H = np.empty((d, d))
    for j in range(d):
        step = _STEP * np.eye(d)[j]
        H[j] = (e.at_point(point + step).gradient - e.at_point(point - step).gradient) / _STEP
    half = np.linalg.pinv(0.125 * (H + H.T), hermitian=True) @ scores.T
    m = len(e.theta_part)
    own = fit.rows_problem.to_beta @ half[m : m + len(fit.beta)]
    factor = clusters.count / (clusters.count - 1.0) if kind == "CR1" else 1.0
    return np.asarray(factor * own @ own.T)


def robust_cov(fitted: Fitted, kind: str = "CR1", cluster: Any = None) -> pd.DataFrame:
    """Estimate the covariance of the fixed effects robustly against a wrong model within clusters.

    Parameters
    ----------
    kind : {"CR0", "CR1"}
        The plain sandwich; times m / (m - 1) for m clusters.
    cluster : str or array_like (n,), optional
        Clusters that are independent: a grouping factor, a column that the model uses, or a value
        for each row. By default the grouping factor in which all others are nested.

    Returns
    -------
    DataFrame (p, p)

    Raises
    ------
    FitError
        If `kind` is not known, or random effects are shared between clusters.

    Examples
    --------
    >>> import statsmodels.api as sm
    >>> from mixedlm_ext import MixedGLM, datasets
    >>> data = datasets.cbpp.load_pandas().data
    >>> formula = "incidence / size ~ period + (1 | herd)"
    >>> family = sm.families.Binomial()
    >>> result = MixedGLM.from_formula(formula, data, family=family, weights="size").fit()
    >>> result.robust_cov().shape
    (4, 4)
    """
    design = fitted.rows("the scores of the clusters")
    found = GeneralizedSandwich(generalized(fitted), find_clusters(design, cluster), kind)
    names = list(fitted.x_names)
    return Table(found.cov(), index=names, columns=names)


def get_robustcov_results(
    fitted: Fitted, cov_type: str = "cluster", groups: Any = None, kind: str = "CR1"
) -> Fitted:
    """Return the same fit with tests and intervals by a cluster-robust covariance.

    Parameters
    ----------
    cov_type : {"cluster", "nonrobust"}
        "nonrobust" goes back to the model's covariance.
    groups : str or array_like (n,), optional
        The clusters, see `robust_cov`.
    kind : {"CR0", "CR1"}
        See `robust_cov`.

    Returns
    -------
    MixedGLMResults
        Nothing is refitted, and this object is not changed.

    Raises
    ------
    FitError
        If an argument is not known, or random effects are shared between clusters.
    """
    check_choice("cov_type", cov_type, ("cluster", "nonrobust"), FitError)
    fit = generalized(fitted)
    if cov_type == "nonrobust":
        return Fitted.by(fit, degrees_of_freedom(fit, "normal"), fitted.face)
    design = fitted.rows("the scores of the clusters")
    method = GeneralizedSandwich(fit, find_clusters(design, groups), kind)
    return Fitted(
        fit, method, fitted.face, Clustered(groups, kind), design.x_names, None, use_t=False
    )
