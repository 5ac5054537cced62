"""Methods of `MixedLMResults` that look for what is wrong: residuals, influence, a check."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mixedlm_ext.diagnostics.check import Check, check_fit
from mixedlm_ext.diagnostics.influence import GroupInfluence, ObservationInfluence, influence
from mixedlm_ext.diagnostics.leverage import leverages
from mixedlm_ext.diagnostics.re_pca import PrincipalComponents, principal_components
from mixedlm_ext.diagnostics.residuals import KINDS, residuals, standardized_modes
from mixedlm_ext.diagnostics.vif import variance_inflation
from mixedlm_ext.errors import check_choice

if TYPE_CHECKING:
    from mixedlm_ext.results import MixedLMResults

Array = NDArray[np.float64]

__all__ = ["DiagnosticMethods"]


class DiagnosticMethods:
    """Residuals, leverage, influence, principal components, variance inflation, a check."""

    def residuals(self, kind: str = "response") -> Any:
        """Residuals of a given kind.

        Parameters
        ----------
        kind : str
            ==============  ====================================================================
            "response"      y less the conditional fitted values, as `resid`
            "pearson"       the same times the root of the weights
            "scaled"        "pearson" over σ
            "studentized"   "scaled" over (1 - h)^½, h the leverage: variance one in every row
            "marginal"      y - Xβ - offset: random effects are left in
            "normalized"    L⁻¹(y - Xβ - offset) with LL' the covariance matrix of y, by sets of
                            rows that share no random effect: independent with variance one when
                            the model is right. At most 4,000 rows a set.
            "random"        random-effects residuals: the conditional modes over their own standard
                            deviations (smaller than those of the random effects)
            ==============  ====================================================================

        Returns
        -------
        Series (n,)
            An array for a model made from arrays. For "random", a dict of term to DataFrame of
            levels by columns, missing where a variance is zero.

        Raises
        ------
        DesignError
            If `kind` is not known.
        FitError
            If "normalized" would factor too large a matrix, or the data were removed.

        Examples
        --------
        >>> from mixedlm_ext import MixedLM, datasets
        >>> data = datasets.sleepstudy.load_pandas().data
        >>> result = MixedLM.from_formula("Reaction ~ Days + (Days | Subject)", data).fit()
        >>> result.residuals("scaled").head(3).round(3).tolist()
        [-0.16, -0.571, -1.649]
        >>> result.residuals("random")["Subject"].loc["308"].round(2).to_dict()
        {'Intercept': 0.11, 'Days': 1.74}
        """
        results = cast("MixedLMResults", self)
        check_choice("kind", kind, KINDS)
        if kind == "random":
            return standardized_modes(results.fit_record)
        results._need_rows("residuals of its rows")
        return results._label(residuals(results.fit_record, kind), results.fit_record.design.index)

    def leverage(self) -> Any:
        """Leverages h_i = ∂ŷ_i/∂y_i of the conditional fitted values, theta held.

        Returns
        -------
        Series (n,)
            Their sum is the effective number of parameters. An array for a model made from arrays.

        Notes
        -----
        The diagonal of the hat matrix CC' + DD' (lme4's ``hatvalues``): c_i = L⁻¹Λ'z_i√w,
        d_i = R_X⁻ᵀ(x_i√w - R_ZX'c_i).

        Examples
        --------
        >>> from mixedlm_ext import MixedLM, datasets
        >>> data = datasets.sleepstudy.load_pandas().data
        >>> result = MixedLM.from_formula("Reaction ~ Days + (Days | Subject)", data).fit()
        >>> round(float(result.leverage().sum()), 1)
        29.0
        """
        results = cast("MixedLMResults", self)
        results._need_rows("the leverages of its rows")
        return results._label(leverages(results.fit_record), results.fit_record.design.index)

    def get_influence(self) -> ObservationInfluence:
        """Influence of single observations, with the names of statsmodels' influence classes.

        Returns
        -------
        ObservationInfluence
            ``hat_matrix_diag``, ``cooks_distance``, ``dfbetas``, ``resid_studentized``,
            ``summary_frame()``.

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
        results = cast("MixedLMResults", self)
        results._need_rows("the influence of its rows")
        return ObservationInfluence(results)

    def influence(
        self, groups: Any = None, refit: bool = False, n_jobs: int = 1, progress: bool = False
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
        results = cast("MixedLMResults", self)
        results._need_rows("the influence of its rows")
        return influence(results.fit_record, groups, bool(refit), n_jobs, progress)

    def re_pca(self) -> dict[str, PrincipalComponents]:
        """Principal components of the random effects of each term.

        Returns
        -------
        dict of str to PrincipalComponents
            ``std_dev`` (relative to σ, as lme4's ``rePCA``), ``proportion`` of the variance,
            ``loadings``. A standard deviation of zero says that the term has more columns than
            directions in which its levels differ.

        Examples
        --------
        >>> from mixedlm_ext import MixedLM, datasets
        >>> data = datasets.sleepstudy.load_pandas().data
        >>> result = MixedLM.from_formula("Reaction ~ Days + (Days | Subject)", data).fit()
        >>> result.re_pca()["Subject"].std_dev.round(4).tolist()
        [0.9669, 0.2309]
        """
        return principal_components(cast("MixedLMResults", self).fit_record)

    def vif(self) -> pd.DataFrame:
        """Variance inflation of the terms of the fixed part.

        Returns
        -------
        DataFrame
            A row for each term but the intercept: ``gvif`` (the variance inflation factor of a
            term with one column), ``df``, and ``gvif_scaled``, gvif^(1/(2 df)), by how much
            standard errors are larger.

        Raises
        ------
        FitError
            If the model has no term but the intercept.

        Notes
        -----
        Generalized factors (Fox & Monette 1992, JASA 87) from the covariance matrix of the fixed
        effects, as car's ``vif``.

        Examples
        --------
        >>> from mixedlm_ext import MixedLM, datasets
        >>> data = datasets.cake.load_pandas().data
        >>> model = MixedLM.from_formula("angle ~ recipe + temp + (1 | recipe:replicate)", data)
        >>> model.fit().vif().round(3)
                gvif  df  gvif_scaled
        recipe   1.0   2          1.0
        temp     1.0   1          1.0
        """
        return variance_inflation(cast("MixedLMResults", self))

    def check(self) -> Check:
        """Look for what is wrong with the fit, and say it in plain words.

        Returns
        -------
        Check
            Prints as text; ``findings`` lists what was found, none if nothing stands out.

        Notes
        -----
        Looked at: convergence; random effects without variance, or nearly, and the combination of
        columns concerned; grouping factors with few levels or with levels of one row; levels and
        rows far from all others; columns of very different size; skewness and tails of residuals
        and random effects; groups without which a coefficient changes by more than its standard
        error.

        Examples
        --------
        >>> from mixedlm_ext import MixedLM, datasets
        >>> data = datasets.penicillin.load_pandas().data
        >>> result = MixedLM.from_formula("diameter ~ 1 + (1 | plate) + (1 | sample)", data).fit()
        >>> result.check()
        Nothing stands out.
        """
        return check_fit(cast("MixedLMResults", self))
