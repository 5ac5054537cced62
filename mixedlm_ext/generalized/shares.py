"""Shares of the variance of a generalized model on the scale of its link: R² and ICCs.

Random effects of variance σ_a², on average over the data, and fixed effects of variance σ_f² add to
the linear predictor. What a response adds to them there is its distribution-specific variance σ_d²
(Nakagawa, Johnson & Schielzeth 2017, Journal of the Royal Society Interface 14, 20170213):

    binomial     logit π²/3, probit 1, complementary log-log π²/6    of the latent variable
    log link     lognormal log(1 + c), delta c, trigamma ψ'(1/c)     c the squared coefficient
                                                                     of variation of the response
    c            Poisson 1/λ,  negative binomial 1/λ + alpha,  gamma φ
    root link    a quarter of λc                                     counts: Poisson 1/4
    Gaussian     φ, identity link
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import polygamma
from statsmodels.genmod import families
from statsmodels.genmod.families import links

from mixedlm_ext.design import TermDesign
from mixedlm_ext.errors import FitError, check_choice
from mixedlm_ext.estimation.fitted import Fitted
from mixedlm_ext.estimation.generalized import GeneralizedFit
from mixedlm_ext.generalized.record import generalized
from mixedlm_ext.inference.profile.shares import Choice, Parts
from mixedlm_ext.tables import Table

Array = NDArray[np.float64]

__all__ = ["icc", "r2"]

_METHODS = ("lognormal", "delta", "trigamma")
_LATENT = {
    links.Logit: np.pi**2 / 3.0,
    links.Probit: 1.0,
    links.CLogLog: np.pi**2 / 6.0,
    links.LogLog: np.pi**2 / 6.0,
}


def r2(fitted: Fitted, method: str = "lognormal") -> pd.DataFrame:
    """Nakagawa's R²: the variance explained by fixed effects, and by all effects.

    Parameters
    ----------
    method : {"lognormal", "delta", "trigamma"}
        What the variance of the response on the scale of the log link is; other links have one.

    Returns
    -------
    DataFrame
        Rows "marginal" and "conditional"; column ``estimate``.

    Raises
    ------
    FitError
        If the family and link have no such variance.

    Notes
    -----
    Shares of the variance on the scale of the link:

        marginal     σ_f² / (σ_f² + σ_a² + σ_e² + σ_d²)
        conditional  (σ_f² + σ_a²) / (σ_f² + σ_a² + σ_e² + σ_d²)

    σ_f² is the sample variance of Xβ over the data; σ_a² that of random effects, on average over
    the data; σ_e² that of an effect with a level for each row, which is overdispersion; σ_d² is
    distribution-specific (Nakagawa, Johnson & Schielzeth 2017, Journal of the Royal Society
    Interface 14, 20170213): π²/3 with the logit, 1 with the probit, π²/6 with the complementary
    log-log link; with the log link and c = 1/λ of a Poisson, 1/λ + alpha of a negative binomial or
    the dispersion of a gamma model, log(1 + c) ("lognormal"), c ("delta") or ψ'(1/c) ("trigamma");
    with the square root of counts, λc / 4.
    λ is the mean count that the model expects over all groups, on average over the rows. R's
    performance and MuMIn take it from a model without fixed effects.

    Examples
    --------
    >>> import statsmodels.api as sm
    >>> from mixedlm_ext import MixedGLM, datasets
    >>> data = datasets.cbpp.load_pandas().data
    >>> formula = "incidence / size ~ period + (1 | herd)"
    >>> family = sm.families.Binomial()
    >>> result = MixedGLM.from_formula(formula, data, family=family, weights="size").fit()
    >>> result.r2().round(3)
                 estimate
    marginal        0.085
    conditional     0.187
    """
    fixed, effects, rest = _parts(fitted, method)
    random = sum(effects.values())
    total = fixed + random + rest
    return Table(
        {"estimate": [fixed / total, (fixed + random) / total]}, index=["marginal", "conditional"]
    )


def icc(fitted: Fitted, method: str = "lognormal") -> pd.DataFrame:
    """Intraclass correlations on the scale of the link: each factor's share of the variance.

    Parameters
    ----------
    method : {"lognormal", "delta", "trigamma"}
        As for `r2`.

    Returns
    -------
    DataFrame
        A row for each grouping factor; column ``estimate``. A factor with a level for each row is
        overdispersion and has no row.

    Raises
    ------
    FitError
        If the family and link have no distribution-specific variance.

    Notes
    -----
    σ_g² over Σ_h σ_h² + σ_e² + σ_d², as explained for `r2`; variance of the fixed effects does not
    count.

    Examples
    --------
    >>> import statsmodels.api as sm
    >>> from mixedlm_ext import MixedGLM, datasets
    >>> data = datasets.cbpp.load_pandas().data
    >>> formula = "incidence / size ~ period + (1 | herd)"
    >>> family = sm.families.Binomial()
    >>> result = MixedGLM.from_formula(formula, data, family=family, weights="size").fit()
    >>> result.icc().round(3)
          estimate
    herd     0.111
    """
    _, effects, rest = _parts(fitted, method)
    total = sum(effects.values()) + rest
    return Table({"estimate": [v / total for v in effects.values()]}, index=list(effects))


def _parts(fitted: Fitted, method: str) -> tuple[float, dict[str, float], float]:
    """Return σ_f², the variance of each factor, and σ_e² + σ_d²."""
    check_choice("method", method, _METHODS, FitError)
    fit = generalized(fitted)
    design = fitted.rows("the variance of their means")
    parts = Parts(fit, (0.0, np.zeros(0)))  # residuals come from the family
    groups = dict.fromkeys(t.group for t in design.terms if not _of_each_row(t))
    effects = {g: parts.average(parts.theta, parts.N_of(_of_group(g))) for g in groups}
    rows = parts.average(parts.theta, parts.N_of(_of_each_row))
    fixed = float(np.var(design.X @ fit.beta, ddof=1))
    return fixed, effects, rows + _of_response(fit, sum(effects.values()) + rows, method)


def _of_each_row(term: TermDesign) -> bool:
    """Say whether a term has a level for each row."""
    return len(term.levels) == len(term.codes)


def _of_group(group: str) -> Choice:
    """Return what chooses the terms of one grouping factor."""
    return lambda term: term.group == group


def _of_response(fit: GeneralizedFit, random: float, method: str) -> float:
    """Return σ_d²."""
    family, link = fit.family, type(fit.family.link)
    if isinstance(family, families.Binomial) and link in _LATENT:
        return float(_LATENT[link])
    if isinstance(family, families.Gaussian) and link is links.Identity:
        return fit.dispersion
    counts = isinstance(family, families.Poisson | families.NegativeBinomial)
    if link is links.Log and (counts or isinstance(family, families.Gamma)):
        return _of_log_link(_squared_variation(fit, random), method)
    if link is links.Sqrt and counts:
        return 0.25 * (
            1.0 + (0.0 if fit.size is None else _mean_of_squares(fit, random) / fit.size)
        )
    raise FitError(
        f"the {type(family).__name__} family with the {link.__name__} link has no "
        "distribution-specific variance on the scale of its link, so that there is neither R² nor "
        "an intraclass correlation. Take variances from varcorr()."
    )


def _mean_of_squares(fit: GeneralizedFit, random: float) -> float:
    """Return the mean count over all groups, with the root link."""
    offset = 0.0 if fit.design.offset is None else fit.design.offset
    return float(np.mean((fit.design.X @ fit.beta + offset) ** 2)) + random


def _squared_variation(fit: GeneralizedFit, random: float) -> float:
    """Return c, at the mean response over all groups."""
    if isinstance(fit.family, families.Gamma):
        return fit.dispersion
    offset = 0.0 if fit.design.offset is None else fit.design.offset
    mean = float(np.mean(np.exp(fit.design.X @ fit.beta + offset + 0.5 * random)))
    return 1.0 / mean + (0.0 if fit.size is None else 1.0 / fit.size)


def _of_log_link(c: float, method: str) -> float:
    if method == "delta":
        return c
    return float(np.log1p(c) if method == "lognormal" else polygamma(1, 1.0 / c))
