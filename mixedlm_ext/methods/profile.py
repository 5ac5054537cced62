"""Methods of `MixedLMResults`: profile likelihood, and quantities derived from the variances."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pandas as pd

from mixedlm_ext.errors import FitError, check_choice, did_you_mean
from mixedlm_ext.inference.derived import (
    intraclass_correlations,
    r_squared,
    total_variance,
)
from mixedlm_ext.inference.profile import Profile, check_level
from mixedlm_ext.inference.profiling import profile_fit

if TYPE_CHECKING:
    from mixedlm_ext.results import MixedLMResults

__all__ = ["ProfileMethods"]


class ProfileMethods:
    """Profile likelihood of parameters; intraclass correlations, total variance and R²."""

    def profile(
        self,
        which: str | Sequence[str] | None = None,
        alpha_max: float = 0.01,
        scale: str = "sd",
    ) -> Profile:
        """Profile the likelihood of parameters.

        Parameters
        ----------
        which : str or sequence of str, optional
            Names of parameters, such as "sd(Subject, Days)", "cor(Subject, Intercept, Days)",
            "sigma", or a fixed effect; "theta" for all standard deviations and correlations and
            sigma, "beta" for all fixed effects. Everything by default.
        alpha_max : float
            The profile reaches far enough for intervals of level 1 - alpha_max.
        scale : {"sd", "variance"}
            Standard deviations, or variances: "var(Subject, Days)", "var(Residual)". Limits of the
            one are the squares of those of the other.

        Returns
        -------
        Profile
            ``conf_int(alpha)``, ``zeta(name, value)``, ``value(name, zeta)``, ``density(name,
            value)``, ``to_frame()``.

        Raises
        ------
        FitError
            If there is no such parameter.

        Warns
        -----
        ConvergenceWarning
            If a better fit than this was met; ``profile.better_start`` is where.

        Notes
        -----
        At each point everything else is estimated again by maximum likelihood, also when the model
        was fitted by REML (the profile's ``note`` says so).

        Examples
        --------
        >>> from mixedlm_ext import MixedLM, datasets
        >>> data = datasets.dyestuff.load_pandas().data
        >>> result = MixedLM.from_formula("Yield ~ 1 + (1 | Batch)", data).fit(reml=False)
        >>> profile = result.profile()
        >>> profile.conf_int().round(2)
                                    0        1
        sd(Batch, Intercept)    12.20    84.06
        sigma                   38.23    67.66
        Intercept             1486.45  1568.55
        >>> round(float(profile.zeta("sigma", 60.0)), 3)
        1.251
        """
        return profile_fit(self._own.fit_record, which, alpha_max, scale)

    def conf_int(
        self, alpha: float = 0.05, method: Any = None, cols: Any = None, **options: Any
    ) -> Any:
        """Confidence intervals.

        Parameters
        ----------
        alpha : float
            One minus the confidence level.
        method : {None, "profile", "bootstrap"}
            None: of the fixed effects, from their standard errors and degrees of freedom.
            "profile": of all parameters, from the profile likelihood. "bootstrap": of all
            parameters, from simulated responses.
        cols : sequence of int or str, optional
            Positions or names of the fixed effects wanted, all by default; also taken in the place
            of `method`, as in statsmodels. Limits are an array then.
        **options
            For "profile" what `profile` takes, for "bootstrap" what `bootstrap` takes.

        Returns
        -------
        DataFrame
            Columns 0 and 1, the limits.

        Raises
        ------
        FitError
            If there is no such method.

        Examples
        --------
        >>> from mixedlm_ext import MixedLM, datasets
        >>> data = datasets.sleepstudy.load_pandas().data
        >>> result = MixedLM.from_formula("Reaction ~ Days + (Days | Subject)", data).fit()
        >>> result.conf_int().round(2)
                        0       1
        Intercept  237.01  265.80
        Days         7.21   13.73
        >>> result.conf_int(method="profile", which="theta").round(2)
                                           0      1
        sd(Subject, Intercept)         14.38  37.72
        sd(Subject, Days)               3.80   8.75
        cor(Subject, Intercept, Days)  -0.48   0.69
        sigma                          22.90  28.86
        """
        own = self._own
        check_level("alpha", alpha)
        if method is not None and not isinstance(method, str):
            method, cols = None, method
        if method is None:
            if options:
                raise FitError(f"{', '.join(options)} needs method='profile' or 'bootstrap'.")
            limits = np.asarray(super().conf_int(alpha)).reshape(-1, 2)  # type: ignore[misc]
            return limits if cols is None else limits[_positions(cols, list(own.model.exog_names))]
        if cols is not None:
            raise FitError(f"cols chooses fixed effects; write which={cols!r} with {method!r}.")
        if method == "profile":
            return own.profile(alpha_max=alpha, **options).conf_int(alpha)
        if method == "bootstrap":
            return own.bootstrap(**options).conf_int(alpha)
        check_choice(
            "method", method, ("profile", "bootstrap"), FitError,
            more="None gives intervals of the fixed effects by their standard errors.",
        )  # fmt: skip

    def icc(self, alpha: float = 0.05, method: str = "delta") -> pd.DataFrame:
        """Intraclass correlations: each grouping factor's share of the variance.

        Parameters
        ----------
        alpha : float
            One minus the level of the intervals.
        method : {"delta", "profile"}
            Intervals by the delta method on the logit scale, or by profile likelihood (and then
            estimates by maximum likelihood).

        Returns
        -------
        DataFrame
            A row for each grouping factor; columns ``estimate``, ``se``, ``ci_lower``,
            ``ci_upper``. There is no ``se`` by profile, nor an interval by the delta method for an
            estimate of zero.

        Raises
        ------
        FitError
            If an argument makes no sense.

        Notes
        -----
        With σ_g² the variance that the terms of factor g contribute to an observation, on average
        over the data,

            ICC_g = σ_g² / (Σ_h σ_h² + σ²),   σ_g² = Σ_t mean_i z_i'Σ_tz_i = Σ_t tr(Σ_tX_t'X_t)/n,

        X_t the columns of the terms t of g with covariance matrix Σ_t, which for an intercept is
        its variance (Johnson 2014, Methods in Ecology and Evolution 5, 944-946). With weights σ²
        stands for its mean over the data, σ² mean(1/w). Variance of the fixed effects does not
        count.

        Examples
        --------
        >>> from mixedlm_ext import MixedLM, datasets
        >>> data = datasets.dyestuff.load_pandas().data
        >>> result = MixedLM.from_formula("Yield ~ 1 + (1 | Batch)", data).fit()
        >>> result.icc().round(3)
               estimate     se  ci_lower  ci_upper
        Batch     0.418  0.216     0.112     0.804
        """
        return intraclass_correlations(self._own.fit_record, alpha, method)

    def total_variance(self, alpha: float = 0.05, method: str = "delta") -> pd.DataFrame:
        """Variance of an observation about the fixed effects, on average over the data.

        Parameters
        ----------
        alpha : float
            One minus the level of the interval.
        method : {"delta", "profile"}
            Interval by the delta method on the log scale, or by profile likelihood (and then the
            estimate by maximum likelihood).

        Returns
        -------
        DataFrame
            One row; columns ``estimate``, ``se``, ``ci_lower``, ``ci_upper``.

        Raises
        ------
        FitError
            If an argument makes no sense.

        Notes
        -----
        Σ_g σ_g² + σ², as explained for `icc`.

        Examples
        --------
        >>> from mixedlm_ext import MixedLM, datasets
        >>> data = datasets.dyestuff.load_pandas().data
        >>> result = MixedLM.from_formula("Yield ~ 1 + (1 | Batch)", data).fit()
        >>> result.total_variance().round(1)
               estimate      se  ci_lower  ci_upper
        total    4215.3  1534.0    2065.7    8601.9
        """
        return total_variance(self._own.fit_record, alpha, method)

    def r2(self, alpha: float = 0.05) -> pd.DataFrame:
        """Nakagawa's R²: the variance explained by fixed effects, and by all effects.

        Parameters
        ----------
        alpha : float
            One minus the level of the intervals.

        Returns
        -------
        DataFrame
            Rows "marginal" and "conditional"; columns ``estimate``, ``se``, ``ci_lower``,
            ``ci_upper``. Intervals are by the delta method on the logit scale.

        Raises
        ------
        FitError
            If alpha makes no sense.

        Notes
        -----
        Shares of the variance of an observation:

            marginal     σ_f² / (σ_f² + σ_a² + σ²)
            conditional  (σ_f² + σ_a²) / (σ_f² + σ_a² + σ²)

        σ_f² is the sample variance of Xβ over the data, σ_a² = Σ_g σ_g² and σ² are as explained for
        `icc` (Nakagawa & Schielzeth 2013, Methods in Ecology and Evolution 4, 133-142; Johnson 2014
        for random slopes). An offset counts neither as explained nor as unexplained. Like theirs,
        σ_f² is not corrected for the error of β.

        Examples
        --------
        >>> from mixedlm_ext import MixedLM, datasets
        >>> data = datasets.sleepstudy.load_pandas().data
        >>> result = MixedLM.from_formula("Reaction ~ Days + (Days | Subject)", data).fit()
        >>> result.r2().round(3)
                     estimate     se  ci_lower  ci_upper
        marginal        0.279  0.077     0.154     0.450
        conditional     0.799  0.044     0.700     0.871
        """
        return r_squared(self._own.fit_record, alpha)

    @property
    def _own(self) -> MixedLMResults:
        """The results this is mixed into."""
        return cast("MixedLMResults", self)


def _positions(cols: Any, names: list[str]) -> list[int]:
    """Return the positions of fixed effects given by position or name."""
    out = []
    single = isinstance(cols, str | int | np.integer) or not np.iterable(cols)
    for column in [cols] if single else list(cols):
        at = names.index(column) if isinstance(column, str) and column in names else column
        number = isinstance(at, int | np.integer) and not isinstance(at, bool)
        if not number or not -len(names) <= at < len(names):
            near = did_you_mean(str(column), names)
            raise FitError(
                f"cols has {column!r}, which is no fixed effect.{near} They are "
                f"{', '.join(names)}, by position 0 to {len(names) - 1}."
            )
        out.append(int(at))
    return out
