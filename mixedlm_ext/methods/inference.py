"""Methods of `MixedLMResults` for inference about the fixed effects beyond single coefficients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from mixedlm_ext.arguments import refuse_unknown
from mixedlm_ext.inference.all_fit import all_fit_table
from mixedlm_ext.inference.clusters import find_clusters
from mixedlm_ext.inference.marginal_means import MarginalMeans, marginal_means
from mixedlm_ext.inference.robust import ClusterRobust, check_cov_type
from mixedlm_ext.inference.trends import marginal_trends
from mixedlm_ext.methods.anova import AnovaMethods
from mixedlm_ext.tables import Table

if TYPE_CHECKING:
    from mixedlm_ext.results import MixedLMResultsWrapper

__all__ = ["InferenceMethods"]

_MEANS_ARGUMENTS = ("specs", "by", "at", "weights", "type", "bias_adjust")
_LATER: dict[str, dict[str, str]] = {
    "contrasts": {
        "adjust": "adjust", "kind": "kind", "method": "kind", "reference": "reference",
        "ref": "reference", "interaction": "interaction",
    },
    "summary_frame": {"alpha": "alpha", "level": "alpha"},
}  # fmt: skip
"""Arguments that come after the means, by R's names too."""
_TRENDS_ARGUMENTS = ("specs", "var", "by", "at", "weights")


def _refuse_later(function: str, given: Mapping[str, Any]) -> None:
    """Refuse arguments of the methods of what is returned."""
    for name in given:
        for method, names in _LATER.items():
            if name in names:
                raise TypeError(
                    f"{function}() takes no {name!r}; that belongs to what it returns: "
                    f"result.{function}(...).{method}({names[name]}=...)."
                )


class InferenceMethods(AnovaMethods):
    """Tests of terms, comparisons of models, marginal means, robust covariances."""

    def emmeans(
        self,
        specs: str | Sequence[str],
        by: str | Sequence[str] | None = None,
        at: Mapping[str, Any] | None = None,
        weights: Any = "equal",
        type: str = "link",
        bias_adjust: bool | float = False,
        **unknown: Any,
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
        weights : {"equal", "proportional", "outer", "cells", "flat"} or array_like
            Of the cells that are averaged over: the same for all; how often the combination of the
            averaged factors occurs; the product of how often their levels do; how often the cell
            itself does; the same for all cells that occur. Or numbers, one for each combination of
            the averaged factors. Rows count alike, whatever their prior weights, as in R.
        type : {"link", "response"}
            Whether to undo the transformation of the response in the formula, as in
            ``log(y) ~ ...``. Differences of logarithms become ratios.
        bias_adjust : bool or float
            Whether to correct means on the scale of the response for the bias of transforming back,
            by half the second derivative times the variance of the response about its mean: that of
            the model, random effects included, or the square of the standard deviation given.

        Returns
        -------
        MarginalMeans
            With methods ``summary_frame(alpha)`` and ``contrasts(kind, reference, adjust)``.

        Raises
        ------
        FitError
            If a variable or level does not exist, the way back from the response is not known, or
            the model has no formula.

        See Also
        --------
        emtrends : slopes of a covariate by the levels of factors.

        Notes
        -----
        Random effects are zero; tests are by the method of the fit. An offset counts with its mean,
        one of the formula with its value in the cell.

        A factor each of whose levels occurs with one level of another factor is nested in it, as
        ``site`` is in ``status/site``: its cells that do not occur are not averaged over, and its
        means are given together with what it is nested in. Means that depend on other combinations
        without data are nan, and the rest is answered. So does R's emmeans; unlike there, numeric
        variables with two values count with their mean unless they are named or have a factor
        nested in them.

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
        _refuse_later("emmeans", unknown)
        refuse_unknown("emmeans", unknown, _MEANS_ARGUMENTS)
        return marginal_means(self._own, specs, by, at, weights, type, bias_adjust)

    def emtrends(
        self,
        specs: str | Sequence[str] | None,
        var: str,
        by: str | Sequence[str] | None = None,
        at: Mapping[str, Any] | None = None,
        weights: Any = "equal",
        **unknown: Any,
    ) -> MarginalMeans:
        """Estimate slopes of a covariate by the levels of some factors, averaged over the others.

        Parameters
        ----------
        specs : str or sequence of str, or None
            Variables for each combination of which a slope is wanted; None for one over all.
        var : str
            The covariate. Where it enters by ``I(x ** 2)`` or ``bs(x, 4)`` the slope is that of the
            curve at the mean of x, or at the values of ``at={"x": [...]}`` with x in `specs`.
        by, at, weights
            As for `emmeans`.

        Returns
        -------
        MarginalMeans
            With columns ``trend``, ``trend_se`` and so on; ``contrasts`` compares the slopes.

        Raises
        ------
        FitError
            If a variable or level does not exist, or `var` is no number.

        Notes
        -----
        Derivatives are difference quotients over a thousandth of the range of x, exact for
        polynomials up to the third degree. They are of the response as it stands in the formula.

        Examples
        --------
        >>> from mixedlm_ext import MixedLM, datasets
        >>> data = datasets.cake.load_pandas().data
        >>> formula = "angle ~ recipe * temp + (1 | recipe:replicate)"
        >>> result = MixedLM.from_formula(formula, data).fit()
        >>> trends = result.emtrends("recipe", var="temp")
        >>> trends.summary_frame().round(3)
                trend  trend_se     df  trend_ci_lower  trend_ci_upper
        recipe
        A       0.154     0.028  222.0           0.098           0.209
        B       0.165     0.028  222.0           0.109           0.220
        C       0.156     0.028  222.0           0.100           0.211
        >>> trends.contrasts()["pvalue"].round(2).tolist()
        [0.96, 1.0, 0.97]
        """
        _refuse_later("emtrends", unknown)
        refuse_unknown("emtrends", unknown, _TRENDS_ARGUMENTS)
        return marginal_trends(self._own, specs, var, by, at, weights)

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
        return Table(cov, index=names, columns=names)

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
