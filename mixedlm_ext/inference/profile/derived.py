"""Quantities derived from the variances: intraclass correlations, heritability, R².

With M_t = X_t'X_t/n over the rows of a random term's columns and Σ_t its covariance matrix, a term
contributes to the variance of an observation, on average over the data,

    mean_i z_i'Σ_tz_i = tr(Σ_tM_t) = σ² θ'A_tθ

(the mean random-effects variance of Johnson 2014, Methods in Ecology and Evolution 5, 944-946, his
equation 11). Intervals are by the delta method on a scale without bounds, log or logit, from the
covariance of the estimates of (θ, log σ) and, independent of them, β; or by profile likelihood.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mixedlm_ext.errors import FitError
from mixedlm_ext.estimation.fit import Fit
from mixedlm_ext.inference.profile.coordinates import TotalHeld
from mixedlm_ext.inference.profile.points import maximum
from mixedlm_ext.inference.profile.residual_share import mean_residual_variance, residual_variance
from mixedlm_ext.inference.profile.shares import (
    Choice,
    Parts,
    by_profile,
    check_arguments,
    check_constant,
    check_linear,
    explained,
    interval_table,
    shares_of,
    total,
)

Array = NDArray[np.float64]

__all__ = ["heritability", "icc", "r2", "total_variance"]


def icc(
    fit: Fit, alpha: float = 0.05, method: str = "delta", stratum: str | None = None
) -> pd.DataFrame:
    """Intraclass correlations: each grouping factor's share of the variance.

    Parameters
    ----------
    alpha : float
        One minus the level of the intervals.
    method : {"delta", "profile"}
        Intervals by the delta method on the logit scale, or by profile likelihood (and then
        estimates by maximum likelihood).
    stratum : str, optional
        Where residuals have a variance in each stratum (``variance="sex"``): the stratum whose
        residual variance counts, by its name in `varcorr`; their mean over the data by default.
        Profiles know the first one only.

    Returns
    -------
    DataFrame
        A row for each grouping factor; columns ``estimate``, ``se``, ``ci_lower``,
        ``ci_upper``. There is no ``se`` by profile, nor an interval by the delta method for an
        estimate of zero.

    Raises
    ------
    FitError
        If an argument makes no sense, or there is no such stratum.

    Notes
    -----
    With σ_g² the variance that the terms of factor g contribute to an observation, on average
    over the data,

        ICC_g = σ_g² / (Σ_h σ_h² + σ²),   σ_g² = Σ_t mean_i z_i'Σ_tz_i = Σ_t tr(Σ_tX_t'X_t)/n,

    X_t the columns of the terms t of g with covariance matrix Σ_t, which for an intercept is
    its variance (Johnson 2014, Methods in Ecology and Evolution 5, 944-946). With weights σ²
    stands for its mean over the data, σ² mean(1/w), and with ``variance=`` for that of the
    variances of the residuals, σ² mean(δ²/w). Correlations of residuals, and variance of the fixed
    effects, do not count.

    Examples
    --------
    >>> from mixedlm_ext import MixedLM, datasets
    >>> data = datasets.dyestuff.load_pandas().data
    >>> result = MixedLM.from_formula("Yield ~ 1 + (1 | Batch)", data).fit()
    >>> result.icc().round(3)
           estimate     se  ci_lower  ci_upper
    Batch     0.418  0.216     0.112     0.804
    """
    check_arguments(alpha, method)
    groups = dict.fromkeys(term.group for term in fit.design.terms)
    chosen = {group: _of_group(group) for group in groups}
    return shares_of(Parts(fit, mean_residual_variance(fit, stratum)), chosen, alpha, method)


def _of_group(group: str) -> Choice:
    """Return what chooses the terms of one grouping factor."""
    return lambda term: term.group == group


def heritability(
    fit: Fit, alpha: float = 0.05, method: str = "delta", stratum: str | None = None
) -> pd.DataFrame:
    """Heritability: the share of the variance that effects of known relationships have.

    Parameters
    ----------
    alpha : float
        One minus the level of the intervals.
    method : {"delta", "profile"}
        Intervals by the delta method on the logit scale, or by profile likelihood (and then
        estimates by maximum likelihood).
    stratum : str, optional
        Where residuals have a variance in each stratum (``variance="sex"``): the stratum whose
        residual variance counts, by its name in `varcorr`. Profiles know the first one only.

    Returns
    -------
    DataFrame
        A row for each random term with a known covariance; columns ``estimate``, ``se``,
        ``ci_lower``, ``ci_upper``, as `icc` has them.

    Raises
    ------
    FitError
        If no term has a known covariance, an argument makes no sense, or the residual variance is
        no single number: strata of which none is named, or ``variance="power(x)"``.

    Notes
    -----
    Of an intercept,

        h² = σ_a² / (Σ_t σ_t² + σ²),

    in the base population, whose animals are neither related nor inbred: σ_a² multiplies the matrix
    as it was given, and the inbreeding of the animals does not count. `icc` is the share of a
    grouping factor in the data, where an animal's variance is (1 + F)σ_a², with all terms of the
    factor: of ``(1 | gr(animal, cov=A)) + (1 | animal)`` it is the repeatability.
    Correlations of residuals do not count: σ² is the variance of one of them.

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> from mixedlm_ext import MixedLM, pedigree
    >>> sires = np.repeat(["a", "b", "c", "d", "e", "f"], 10)
    >>> animals = pd.DataFrame({"id": np.arange(60), "sire": sires, "dam": ""}).astype(str)
    >>> rng = np.random.default_rng(4)
    >>> effect = rng.standard_normal(6).repeat(10)
    >>> data = animals.assign(y=effect + 2.0 * rng.standard_normal(60))
    >>> A = pedigree(animals, "id", "sire", "dam")
    >>> result = MixedLM.from_formula("y ~ 1 + (1 | gr(id, cov=A))", data).fit()
    >>> result.heritability().round(2)
        estimate    se  ci_lower  ci_upper
    id      0.58  0.52      0.02      0.99
    """
    check_arguments(alpha, method)
    known = [t.name for t in fit.design.terms if t.related is not None and not t.has_members]
    if not known:
        raise FitError(
            "no random term has levels of a known covariance, so that there is no heritability. "
            "Write (1 | gr(id, cov=A)) for the additive effects; shares of factors are icc()."
        )
    parts = Parts(fit, residual_variance(fit, stratum), base=True)
    return shares_of(parts, {name: _named(name) for name in known}, alpha, method)


def _named(name: str) -> Choice:
    """Return what chooses one term."""
    return lambda term: term.name == name


def total_variance(
    fit: Fit, alpha: float = 0.05, method: str = "delta", stratum: str | None = None
) -> pd.DataFrame:
    """Variance of an observation about the fixed effects, on average over the data.

    Parameters
    ----------
    alpha : float
        One minus the level of the interval.
    method : {"delta", "profile"}
        Interval by the delta method on the log scale, or by profile likelihood (and then the
        estimate by maximum likelihood).
    stratum : str, optional
        As for `icc`.

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
    check_arguments(alpha, method)
    parts = Parts(fit, mean_residual_variance(fit, stratum))
    if method == "delta":
        return interval_table([total(parts).interval(parts, alpha)], ["total"])
    if fit.fixed_sigma is not None:
        raise FitError("sigma is fixed, so the total variance has no profile. Use method='delta'.")
    check_linear(fit)
    check_constant(parts)
    top = maximum(fit)
    parts = parts.of(top)
    theta = top.theta[: len(parts.theta)]  # parameters of residuals are behind them
    estimate = top.estimates.sigma**2 * (parts.c + parts.average(theta, parts.N))
    held = TotalHeld(parts.A, parts.c)
    return by_profile(fit, top, "total", ["total"], [(estimate, held)], alpha)


def r2(fit: Fit, alpha: float = 0.05, stratum: str | None = None) -> pd.DataFrame:
    """Nakagawa's R²: the variance explained by fixed effects, and by all effects.

    Parameters
    ----------
    alpha : float
        One minus the level of the intervals.
    stratum : str, optional
        As for `icc`.

    Returns
    -------
    DataFrame
        Rows "marginal" and "conditional"; columns ``estimate``, ``se``, ``ci_lower``,
        ``ci_upper``. Intervals are by the delta method on the logit scale.

    Raises
    ------
    FitError
        If alpha makes no sense, or there is no such stratum.

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
    check_arguments(alpha, "delta")
    parts = Parts(fit, mean_residual_variance(fit, stratum))
    rows = [explained(parts, random).interval(parts, alpha) for random in (False, True)]
    return interval_table(rows, ["marginal", "conditional"])
