"""Cluster-robust covariance of the fixed effects, and its degrees of freedom.

With Σ = σ²V the model's covariance of y, block diagonal over clusters c, C = (X'Σ⁻¹X)⁻¹ and the
residuals e = y - Xβ (less the offset), the sandwich is

    C {Σ_c X_c'Σ_c⁻¹ A_c e_c e_c' A_c' Σ_c⁻¹X_c} C

    CR0  A_c = I
    CR1  A_c = I √(m / (m - 1)), m the number of clusters
    CR2  A_c = D_c' B_c^(-1/2) D_c, D_c'D_c = Σ_c, B_c = D_c(Σ_c - X_cCX_c')D_c': unbiased if the
         model is right (Pustejovsky & Tipton 2018, Journal of Business & Economic Statistics 36)
    CR3  A_c = (I - X_cCX_c'Σ_c⁻¹)⁻¹, close to the jackknife of clusters

Everything but CR2 needs only p × p matrices of each cluster; CR2 needs Σ_c of one cluster at a
time. σ² cancels except in C, and V takes the place of Σ below.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mixedlm_ext.caching import cached_property
from mixedlm_ext.criteria.assemble import response
from mixedlm_ext.design.messages import list_names, quoted
from mixedlm_ext.design.partition import Partition
from mixedlm_ext.design.records import effects_of_rows
from mixedlm_ext.design.removed import require_rows
from mixedlm_ext.errors import FitError, check_choice
from mixedlm_ext.estimation.fit import Fit
from mixedlm_ext.estimation.fitted import PLAIN, Clustered, Face, Fitted
from mixedlm_ext.inference.fixed.clusters import find_clusters
from mixedlm_ext.inference.fixed.satterthwaite import Satterthwaite
from mixedlm_ext.products.noise import noise_of
from mixedlm_ext.tables import Table

Array = NDArray[np.float64]
Index = NDArray[np.intp]

__all__ = [
    "KINDS",
    "ClusterRobust",
    "check_cov_type",
    "get_robustcov_results",
    "robust_against",
    "robust_cov",
]

KINDS = ("CR0", "CR1", "CR2", "CR3")
_MOST_ROWS = 4000
"""Rows of one cluster up to which its covariance matrix is reasonable."""
_ZERO = 1e-12
"""Eigenvalues of B_c this small, relative to the largest, count as zero."""
_NEEDED = "the residuals of the clusters"
_LOST = 1e-9
"""Shares of the information this small that the other clusters have count as none."""


class ClusterRobust:
    """A method of tests of the fixed effects that trusts only the independence of clusters.

    Parameters
    ----------
    fit : Fit
    clusters : Partition
    kind : {"CR0", "CR1", "CR2", "CR3"}

    Notes
    -----
    It answers what `inference.ddf.DegreesOfFreedom` asks. Tests by CR2 use the degrees of freedom
    of Satterthwaite (t) and of the approximate Hotelling test (F) under the model; the others use
    the number of clusters less one.
    """

    def __init__(self, fit: Fit, clusters: Partition, kind: str) -> None:
        check_choice("kind", kind, KINDS, FitError)
        largest = int(np.bincount(clusters.codes).max())
        if kind == "CR2" and largest > _MOST_ROWS:
            raise FitError(
                f"CR2 needs a dense matrix of each cluster, and one of {clusters.name!r} has "
                f"{largest} rows; at most {_MOST_ROWS} are reasonable. Use 'CR1' or 'CR3'."
            )
        if not len(fit.beta):
            raise FitError("the model has no fixed effects, so there is no covariance to estimate.")
        self.name = f"cluster-robust ({kind})"
        self.kind, self.groups, self.count = kind, clusters.name, clusters.count
        self._C = fit.unscaled_cov
        self._cov, self._adjusted, self._variances = self._compute(fit, clusters)

    def cov(self) -> Array:
        """Return the sandwich, (p, p)."""
        return self._cov

    def _compute(self, fit: Fit, clusters: Partition) -> tuple[Array, Array, Array]:
        """Return the sandwich; for CR2 also X_c'A_c'V_c⁻¹X_c and X_c'V_c⁻¹A_cV_cA_c'V_c⁻¹X_c.

        The rows are read here and not needed any more.
        """
        X, VX = fit.design.X, _solve(fit)
        e = response(fit.design) - X @ fit.beta
        codes, m = clusters.codes, clusters.count
        p = X.shape[1]
        empty = np.zeros((0, p, p))
        if self.kind == "CR2":
            scores, adjusted, variances = _bias_reduced(fit, clusters, VX, e)
        else:
            scores, adjusted, variances = _sums(codes, VX * e[:, None], m), empty, empty
        if self.kind == "CR3":
            # (I - X_cCX_c'V_c⁻¹)⁻¹ by Woodbury: the scores become s + S_c(C⁻¹ - S_c)⁻¹s
            S = np.stack([_sums(codes, X * column[:, None], m) for column in VX.T], axis=1)
            rest = np.linalg.inv(self._C) - S
            _check_estimable_without(rest, fit, clusters)
            scores = scores + np.einsum("cij,cjk,ck->ci", S, np.linalg.inv(rest), scores)
        half = self._C @ scores.T
        factor = m / (m - 1.0) if self.kind == "CR1" else 1.0
        return factor * half @ half.T, adjusted, variances

    def t(self, L: Array) -> Array:
        """Return the degrees of freedom of each row of L."""
        if self.kind != "CR2":
            return np.full(len(L), self.count - 1.0)
        return np.array([self.f(row[None, :])[1] for row in L])

    def f(self, L: Array) -> tuple[float, float]:
        """Return scale and degrees of freedom of the joint test.

        With η = r(r + 1)/Σ var(d_st), d the sandwich standardized by its expectation under the
        model, the Wald statistic over r times (η - r + 1)/η has η - r + 1 degrees of freedom
        (Pustejovsky & Tipton); for one row that is Satterthwaite's method. The expectation is
        LCL', unless a cluster alone determines a coefficient: its residuals say nothing of that.
        """
        if self.kind != "CR2":
            return 1.0, self.count - 1.0
        r = len(L)
        LC = L @ self._C
        values, vectors = np.linalg.eigh(LC @ self._expected_meat @ LC.T)
        if values.min() <= _ZERO * np.diag(LC @ L.T).max():  # nothing estimates this variance
            return np.nan, np.nan
        K = (vectors / np.sqrt(values)) @ vectors.T @ LC
        # cov of the scores of clusters c, d:  δ_cd a_c'V_ca_c - a_c'X_c C X_d'a_d
        XA = np.einsum("rp,cqp->crq", K, self._adjusted)
        G = -np.einsum("crp,pq,dsq->rscd", XA, self._C, XA)
        own = np.einsum("rp,cpq,sq->rsc", K, self._variances, K)
        c = np.arange(self.count)
        G[:, :, c, c] += own
        total = np.einsum("rrcd,sscd->", G, G) + np.einsum("rscd,srcd->", G, G)
        eta = r * (r + 1) / float(total)
        df = eta - r + 1.0
        return (df / eta, df) if df > 0 else (np.nan, np.nan)

    @cached_property
    def _expected_meat(self) -> Array:
        """Σ_c of the covariance matrices of the scores under the model, (p, p)."""
        own = self._variances.sum(axis=0)
        return np.asarray(
            own - np.einsum("cpi,pq,cqj->ij", self._adjusted, self._C, self._adjusted)
        )

    def with_fit(self, fit: Fit) -> ClusterRobust:
        """Return itself: the rows were read when it was made."""
        return self

    def note(self) -> str:
        """Return the remark for the summary."""
        return (
            f"Standard errors are robust to dependence within {self.groups} "
            f"({self.kind}, {self.count} clusters)."
        )


def check_cov_type(cov_type: object) -> None:
    """Raise FitError unless `cov_type` is one that a fit can have."""
    check_choice(
        "cov_type", cov_type, ("nonrobust", "cluster"), FitError,
        more="'cluster' takes cov_kwds={'groups': ..., 'kind': 'CR2'}.",
    )  # fmt: skip


def _bias_reduced(fit: Fit, clusters: Partition, VX: Array, e: Array) -> tuple[Array, Array, Array]:
    """Return X_c'V_c⁻¹A_ce_c of each cluster, and what the degrees of freedom by CR2 need."""
    scores, adjusted, variances = [], [], []
    for rows in clusters.rows():
        X, V = fit.design.X[rows], _cluster_covariance(fit, rows)
        D = np.linalg.cholesky(V).T
        B = D @ (V - X @ fit.unscaled_cov @ X.T) @ D.T
        AVX = D.T @ _inverse_root(B) @ (D @ VX[rows])  # A_c'V_c⁻¹X_c; A_c is symmetric
        scores.append(AVX.T @ e[rows])
        adjusted.append(X.T @ AVX)
        variances.append(AVX.T @ V @ AVX)
    return np.array(scores), np.array(adjusted), np.array(variances)


def _solve(fit: Fit) -> Array:
    """Return V⁻¹X = W(X - ZΛM⁻¹Λ'Z'WX), (n, p)."""
    design, problem, pls = fit.design, fit.problem, fit.engine.pls
    coefficients = pls.NZX @ problem.cp.R
    out = design.X.copy()
    for laid, place in zip(design.terms, problem.cp.layout.places):
        b = place.modes(problem.cp.block(coefficients, place.block))
        for a in range(place.k):
            out -= laid.X[:, a, None] * effects_of_rows(laid.codes, b[a])
    return noise_of(design).times(out)


def _cluster_covariance(fit: Fit, rows: Index) -> Array:
    """Return V of some rows."""
    design = fit.design
    V = noise_of(design).covariance(rows)
    for term, T in zip(design.terms, fit.templates):
        XT, codes = term.X[rows] @ T, term.codes[rows]
        if term.related is None:
            V += np.where(codes[:, None] == codes, XT @ XT.T, 0.0)
        else:
            V += term.related.between(codes) * (XT @ XT.T)
    return V


def _sums(codes: Index, values: Array, m: int) -> Array:
    """Return the sums of `values` (n, p) over the rows of each cluster."""
    return np.column_stack([np.bincount(codes, column, m) for column in values.T])


def _check_estimable_without(rest: Array, fit: Fit, clusters: Partition) -> None:
    """Refuse CR3 where a coefficient is known from one cluster alone.

    `rest` (m, p, p) is X'V⁻¹X without each cluster; seen in units in which all of it is I.
    """
    root = np.linalg.cholesky(fit.unscaled_cov)
    values, vectors = np.linalg.eigh(root.T @ rest @ root)
    lost = np.flatnonzero(values[:, 0] <= _LOST)
    if not len(lost):
        return
    first = lost[0]
    null = np.abs(root @ vectors[first][:, values[first] <= _LOST])
    # in units of the standard errors, so that the scale of the columns does not matter
    share = (null / np.sqrt(np.diag(fit.unscaled_cov))[:, None]).max(axis=1)
    names = [name for name, s in zip(fit.design.x_names, share) if s > 1e-6]
    raise FitError(
        f"CR3 leaves out one cluster at a time, and without {quoted(clusters.levels[first])} of "
        f"{clusters.name!r} {list_names(names)} cannot be estimated"
        f"{f' ({len(lost)} clusters are such)' if len(lost) > 1 else ''}. Use kind='CR2', or leave "
        "that cluster or coefficient out of the model."
    )


def _inverse_root(B: Array) -> Array:
    """Return the symmetric inverse square root, zero in directions where B is."""
    values, vectors = np.linalg.eigh(B)
    kept = values > _ZERO * values.max()
    return np.asarray((vectors[:, kept] / np.sqrt(values[kept])) @ vectors[:, kept].T)


def robust_cov(fitted: Fitted, kind: str = "CR2", cluster: Any = None) -> pd.DataFrame:
    """Estimate the covariance of the fixed effects robustly against a wrong random part.

    Parameters
    ----------
    kind : {"CR0", "CR1", "CR2", "CR3"}
        The plain sandwich; times m / (m - 1) for m clusters; unbiased if the model is right;
        close to the jackknife of clusters.
    cluster : str or array_like (n,), optional
        Clusters that are independent: a grouping factor, a column that the model uses, or a
        value for each row. By default the grouping factor in which all others are nested.

    Returns
    -------
    DataFrame (p, p)

    Raises
    ------
    FitError
        If `kind` is not known, or random effects are shared between clusters.

    See Also
    --------
    get_robustcov_results : tests and intervals that use it.

    References
    ----------
    Pustejovsky & Tipton (2018). Small-sample methods for cluster-robust variance estimation and
    hypothesis testing in fixed effects models. Journal of Business & Economic Statistics 36(4).

    Examples
    --------
    >>> from mixedlm_ext import MixedLM, datasets
    >>> data = datasets.sleepstudy.load_pandas().data
    >>> result = MixedLM.from_formula("Reaction ~ Days + (Days | Subject)", data).fit()
    >>> result.robust_cov("CR0").round(3)
               Intercept   Days
    Intercept     43.987 -1.370
    Days          -1.370  2.257
    """
    design = fitted.rows(_NEEDED)
    cov = ClusterRobust(fitted.fit, find_clusters(design, cluster), kind).cov()
    names = list(fitted.x_names)
    return Table(cov, index=names, columns=names)


def get_robustcov_results(
    fitted: Fitted, cov_type: str = "cluster", groups: Any = None, kind: str = "CR2"
) -> Fitted:
    """Return the same fit with tests and intervals by a cluster-robust covariance.

    Parameters
    ----------
    cov_type : {"cluster", "nonrobust"}
        "nonrobust" goes back to the model's covariance and Satterthwaite's method.
    groups : str or array_like (n,), optional
        The clusters, see `robust_cov`.
    kind : {"CR0", "CR1", "CR2", "CR3"}
        See `robust_cov`. Tests by CR2 have Satterthwaite's degrees of freedom, those of several
        coefficients the approximate Hotelling test of Pustejovsky and Tipton; the others have
        the number of clusters less one.

    Returns
    -------
    MixedLMResults
        Nothing is refitted, and this object is not changed.

    Raises
    ------
    FitError
        If an argument is not known, or random effects are shared between clusters.

    Examples
    --------
    >>> from mixedlm_ext import MixedLM, datasets
    >>> data = datasets.sleepstudy.load_pandas().data
    >>> result = MixedLM.from_formula("Reaction ~ Days + (Days | Subject)", data).fit()
    >>> robust = result.get_robustcov_results(kind="CR2")
    >>> robust.bse.round(3)
    Intercept    6.825
    Days         1.546
    dtype: float64
    """
    check_cov_type(cov_type)
    if cov_type == "nonrobust":
        return Fitted.by(fitted.fit, Satterthwaite(fitted.fit), fitted.face)
    return robust_against(fitted.fit, Clustered(groups, kind), fitted.face)


def robust_against(fit: Fit, clustered: Clustered, face: Face = PLAIN) -> Fitted:
    """Return a fit with tests robust to dependence within clusters."""
    require_rows(fit.design, _NEEDED)
    clusters = find_clusters(fit.design, clustered.groups)
    return Fitted.by(fit, ClusterRobust(fit, clusters, clustered.kind), face, clustered)
