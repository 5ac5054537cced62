"""Methods of `MixedLMResults` that test terms and compare models."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

import pandas as pd

from mixedlm_ext.errors import FitError
from mixedlm_ext.inference.anova import anova_table
from mixedlm_ext.inference.compare import compare_table, lr_test
from mixedlm_ext.inference.drop1 import drop1_table
from mixedlm_ext.inference.ranova import ranova_table
from mixedlm_ext.inference.step import StepResults, backward_elimination

if TYPE_CHECKING:
    from mixedlm_ext.results import MixedLMResults

__all__ = ["AnovaMethods"]


class _NoSumOfSquares(FitError, AttributeError):
    """An attribute that is not there, for a reason."""


class AnovaMethods:
    """Analysis of variance, single term deletions, comparison of models."""

    @property
    def _own(self) -> MixedLMResults:
        """The results this is mixed into."""
        return cast("MixedLMResults", self)

    @property
    def ssr(self) -> float:
        """Not there: a mixed model is not tested by sums of squares of residuals.

        statsmodels' ``anova_lm`` asks for it.
        """
        raise _NoSumOfSquares(
            "a mixed model has no 'ssr', a residual sum of squares to test by as statsmodels' "
            "anova_lm() does. Use the result's own anova(type=1, 2, 3), or compare(other) for "
            "several models."
        )

    def anova(self, type: int | str = 3) -> pd.DataFrame:
        """Test every term of the fixed part by F.

        Parameters
        ----------
        type : {1, 2, 3, "marginal"}
            1 tests each term given those before it, 2 given all terms that do not contain it, 3 the
            main effects averaged over what they interact with, whatever the coding of the factors
            (SAS's types, as lmerTest has them). "marginal" tests that the term's own coefficients
            are zero, which depends on the coding where there are interactions.

        Returns
        -------
        DataFrame
            A row for each term; columns ``sum_sq``, ``mean_sq``, ``num_df``, ``den_df``, ``F``,
            ``pvalue``. A term without an estimable coefficient has ``num_df`` 0.

        Raises
        ------
        FitError
            If there is no such type.

        Notes
        -----
        Degrees of freedom are by the method of the fit: Fai and Cornelius for Satterthwaite, scaled
        F for Kenward-Roger; see `with_ddf`. The mean square is F σ² (before that scaling), so that
        it compares with the residual variance.

        Terms stand in the order of their degree and then of the formula. Where R codes a factor of
        an interaction by all its levels (``a + a:b``), lmerTest does not see that it contains
        ``a``; here it does, and type 3 of ``a + a:b`` is that of ``a * b``.

        Examples
        --------
        >>> from mixedlm_ext import MixedLM, datasets
        >>> data = datasets.machines.load_pandas().data
        >>> result = MixedLM.from_formula("score ~ Machine + (Machine | Worker)", data).fit()
        >>> result.anova().round(4)
                      sum_sq  mean_sq  num_df  den_df        F  pvalue
        Machine  75.8266  37.9133       2     5.0  41.0038  0.0008
        """
        return anova_table(self._own, type)

    def ranova(self, reduce_terms: bool = True, boundary: str = "chi2") -> pd.DataFrame:
        """Test each random term by leaving it out or reducing it.

        Parameters
        ----------
        reduce_terms : bool
            Leave out one effect of a term with several, ``(x | g)`` becoming ``(1 | g)``; otherwise
            the whole term.
        boundary : {"chi2", "mixture"}
            Distribution of the statistic. A variance of zero is on the boundary, and chi-squared is
            conservative; "mixture" is the 50:50 mixture of chi-squared with one degree of freedom
            less and with all, where one variance (and its covariances) is tested.

        Returns
        -------
        DataFrame
            Columns ``npar``, ``logLik``, ``AIC``, ``chisq``, ``df``, ``pvalue``; the row
            ``<none>`` is this fit. REML fits are compared by REML.

        Raises
        ------
        FitError
            If `boundary` is not known.

        Notes
        -----
        A term ``(0 + f | g)`` of a factor is reduced to ``(1 | g)``, as in lmerTest. A covariate
        alone, ``(0 + x | g)``, is left out; lmerTest puts ``(1 | g)`` in its place, which is not
        nested in it.

        The refits read no rows: they use the cross-products of this fit.

        References
        ----------
        Stram & Lee (1994). Variance components testing in the longitudinal mixed effects model.
        Biometrics 50, 1171-1177.

        Examples
        --------
        >>> from mixedlm_ext import MixedLM, datasets
        >>> data = datasets.sleepstudy.load_pandas().data
        >>> result = MixedLM.from_formula("Reaction ~ Days + (Days | Subject)", data).fit()
        >>> result.ranova()[["npar", "chisq", "df"]].round(3)
                                  npar   chisq   df
        <none>                       6     NaN  NaN
        Days in (Days | Subject)     4  42.837  2.0
        """
        return ranova_table(self._own, reduce_terms, boundary)

    def drop1(self, scope: str | Sequence[str] | None = None, test: str = "F") -> pd.DataFrame:
        """Test each term of the fixed part that can be left out alone.

        Parameters
        ----------
        scope : str or sequence of str, optional
            Terms to leave out; by default all that are no part of an interaction.
        test : {"F", "LRT"}
            F test by the method of the fit, or likelihood ratio of ML fits.

        Returns
        -------
        DataFrame
            The columns of `anova`, or those of `ranova`.

        Raises
        ------
        FitError
            If a term of `scope` does not exist or is part of an interaction.

        Examples
        --------
        >>> from mixedlm_ext import MixedLM, datasets
        >>> data = datasets.cake.load_pandas().data
        >>> formula = "angle ~ recipe + temp + (1 | recipe:replicate)"
        >>> result = MixedLM.from_formula(formula, data).fit()
        >>> result.drop1(test="LRT")[["npar", "chisq", "df"]].round(3)
                npar   chisq   df
        <none>     6     NaN  NaN
        recipe     4   0.530  2.0
        temp       5  79.531  1.0
        """
        return drop1_table(self._own, scope, test)

    def step(
        self,
        alpha_random: float = 0.1,
        alpha_fixed: float = 0.05,
        reduce_random: bool = True,
        reduce_fixed: bool = True,
        keep: str | Sequence[str] | None = None,
    ) -> StepResults:
        """Eliminate terms backwards: first of the random part, then of the fixed one.

        Parameters
        ----------
        alpha_random, alpha_fixed : float
            Terms whose tests have larger p-values are left out.
        reduce_random, reduce_fixed : bool
            Whether to eliminate terms of each part, or only to test them.
        keep : str or sequence of str, optional
            Rows of `ranova` and `drop1` that stay whatever their p-values.

        Returns
        -------
        StepResults
            ``model`` is the fit that is left, ``random`` and ``fixed`` are the tables of tests; it
            prints as both tables and the formula.

        Raises
        ------
        FitError
            If the model was made from arrays, or an argument makes no sense.

        Notes
        -----
        As lmerTest's ``step``: the term of `ranova` with the largest p-value is left out or
        reduced as long as that is above `alpha_random`, then the term of `drop1` (F tests, by the
        method of the fit) as long as that is above `alpha_fixed`, and the model is fitted anew each
        time. The last random term stays, since a mixed model has one; ``note`` says so.

        P-values and intervals of a model found in this way take no account of the search; they are
        too small and too narrow.

        References
        ----------
        Kuznetsova, Brockhoff & Christensen (2017). lmerTest package: tests in linear mixed effects
        models. Journal of Statistical Software 82(13).

        Examples
        --------
        >>> from mixedlm_ext import MixedLM, datasets
        >>> data = datasets.sleepstudy.load_pandas().data
        >>> formula = "Reaction ~ Days + I(Days**2) + (Days | Subject)"
        >>> found = MixedLM.from_formula(formula, data).fit().step()
        >>> found.formula
        'Reaction ~ Days + (Days | Subject)'
        >>> found.fixed[["Eliminated", "F"]].round(3)
                      Eliminated       F
        I(Days ** 2)           1   1.656
        Days                   0  45.853
        """
        own = self._own
        return backward_elimination(
            own, alpha_random, alpha_fixed, reduce_random, reduce_fixed, keep
        )

    def compare(self, *others: Any) -> pd.DataFrame:
        """Compare this model with others by likelihood ratios and information criteria.

        Parameters
        ----------
        *others : MixedLMResults, or statsmodels' results of OLS or WLS
            Fits of the same rows and response. Linear regression is the model without random
            effects; the p-value against it is conservative, since variances are tested.

        Returns
        -------
        DataFrame
            A row for each model, fewest parameters first; columns ``npar``, ``AIC``, ``BIC``,
            ``logLik``, ``deviance`` and, against the row before, ``chisq``, ``df``,
            ``pvalue``. ``attrs["note"]`` says what had to be done: REML fits with different
            fixed effects are refitted by ML, and models that are not nested in the next are not
            tested.

        Raises
        ------
        FitError
            If the models are of different rows or responses.

        See Also
        --------
        mixedlm_ext.anova : the same as a function.

        Examples
        --------
        >>> from mixedlm_ext import MixedLM, datasets
        >>> data = datasets.sleepstudy.load_pandas().data
        >>> large = MixedLM.from_formula("Reaction ~ Days + (Days | Subject)", data).fit()
        >>> small = MixedLM.from_formula("Reaction ~ 1 + (Days | Subject)", data).fit()
        >>> table = large.compare(small)
        >>> table["chisq"].round(3).tolist()
        [nan, 23.537]
        >>> table.attrs["note"]
        'REML fits were refitted by ML, since their fixed effects differ.'
        """
        return compare_table([self._own, *others])

    def compare_lr_test(self, restricted: Any) -> tuple[float, float, int]:
        """Test a restricted model against this one by their likelihood ratio.

        Parameters
        ----------
        restricted : MixedLMResults
            A fit of the same rows and response, nested in this one. REML fits are refitted by ML
            where their fixed effects differ.

        Returns
        -------
        lr_stat : float
        p_value : float
            By chi-squared; conservative if variances are tested.
        df_diff : int
            Parameters restricted.

        Raises
        ------
        FitError
            If the models are of different rows or responses, or not nested.

        Examples
        --------
        >>> from mixedlm_ext import MixedLM, datasets
        >>> data = datasets.sleepstudy.load_pandas().data
        >>> large = MixedLM.from_formula("Reaction ~ Days + (Days | Subject)", data).fit()
        >>> small = MixedLM.from_formula("Reaction ~ Days + (1 | Subject)", data).fit()
        >>> lr_stat, p_value, df_diff = large.compare_lr_test(small)
        >>> round(lr_stat, 3), df_diff
        (42.837, 2)
        """
        return lr_test(self._own, restricted)
