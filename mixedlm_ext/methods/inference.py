"""Methods of `MixedLMResults` for inference about the fixed effects beyond single coefficients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from mixedlm_ext.inference.all_fit import all_fit_table
from mixedlm_ext.inference.clusters import find_clusters
from mixedlm_ext.inference.marginal_means import MarginalMeans, marginal_means
from mixedlm_ext.inference.robust import ClusterRobust, check_cov_type
from mixedlm_ext.methods.anova import AnovaMethods

if TYPE_CHECKING:
    from mixedlm_ext.results import MixedLMResultsWrapper

__all__ = ["InferenceMethods"]


class InferenceMethods(AnovaMethods):
    """Tests of terms, comparisons of models, marginal means, robust covariances."""

    def emmeans(
        self,
        specs: str | Sequence[str],
        by: str | Sequence[str] | None = None,
        at: Mapping[str, Any] | None = None,
    ) -> MarginalMeans:
        """Estimate marginal means: of the levels of some factors, averaged over the others.

        Parameters
        ----------
        specs : str or sequence of str
            Variables of the fixed part, for each combination of which a mean is wanted.
        by : str or sequence of str, optional
            More of them; contrasts are made within their levels.
        at : mapping of str to value or values, optional
            Values of covariates in place of their mean over the rows, or a choice of levels.

        Returns
        -------
        MarginalMeans
            With methods ``summary_frame(alpha)`` and ``contrasts(kind, reference, adjust)``.

        Raises
        ------
        FitError
            If a variable or level does not exist, a mean is not estimable, or the model has no
            formula.

        Notes
        -----
        Other factors' levels have equal weights, whatever their frequencies; random effects are
        zero; tests are by the method of the fit. An offset counts with its mean, one of the formula
        with its value in the cell.

        Examples
        --------
        >>> from mixedlm_ext import MixedLM, datasets
        >>> data = datasets.cake.load_pandas().data
        >>> formula = "angle ~ recipe * temperature + (1 | recipe:replicate)"
        >>> result = MixedLM.from_formula(formula, data).fit()
        >>> means = result.emmeans("recipe")
        >>> means.summary_frame().round(2)
                 mean  mean_se    df  mean_ci_lower  mean_ci_upper
        recipe
        A       33.12     1.74  42.0          29.62          36.63
        B       31.64     1.74  42.0          28.14          35.15
        C       31.60     1.74  42.0          28.09          35.11
        >>> means.contrasts("pairwise", adjust="tukey")[["estimate", "pvalue"]].round(3)
               estimate  pvalue
        A - B     1.478    0.82
        A - C     1.522    0.81
        B - C     0.044    1.00
        """
        return marginal_means(self._own, specs, by, at)

    def robust_cov(self, kind: str = "CR2", cluster: Any = None) -> pd.DataFrame:
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
        names = list(self._own.model.exog_names)
        cov = self._clustered(kind, cluster).cov()
        return pd.DataFrame(cov, index=names, columns=names)

    def get_robustcov_results(
        self, cov_type: str = "cluster", groups: Any = None, kind: str = "CR2"
    ) -> MixedLMResultsWrapper:
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
            return self._own.with_ddf("satterthwaite")
        out = self._own.with_ddf(self._clustered(kind, groups))
        out._results.cov_kwds = {"groups": groups, "kind": kind}
        return out

    def _clustered(self, kind: str, cluster: Any) -> ClusterRobust:
        """Compute the robust covariance and what its tests need."""
        self._own._need_rows("the residuals of the clusters")
        fit = self._own.fit_record
        return ClusterRobust(fit, find_clusters(fit.design, cluster), kind)

    def all_fit(
        self, methods: str | Sequence[str] | None = None, maxiter: int | None = None
    ) -> pd.DataFrame:
        """Fit the model again by the other optimizers, from the same start.

        Parameters
        ----------
        methods : sequence of str, optional
            Names that ``fit(method=...)`` takes; all by default.
        maxiter : int, optional
            Evaluations of the criterion at most, for each.

        Returns
        -------
        DataFrame
            A row for each method; columns ``objective``, ``evaluations``, ``converged``,
            ``verdict``, ``sigma``, the fixed effects, and ``theta[0]``, ``theta[1]``, ... An
            optimizer that fails has missing values and its error as verdict.

        Raises
        ------
        FitError
            If there is no such method.

        Examples
        --------
        >>> from mixedlm_ext import MixedLM, datasets
        >>> data = datasets.dyestuff.load_pandas().data
        >>> result = MixedLM.from_formula("Yield ~ 1 + (1 | Batch)", data).fit()
        >>> result.all_fit()["objective"].round(4).unique().tolist()
        [319.6543]
        """
        return all_fit_table(self._own, methods, maxiter)
