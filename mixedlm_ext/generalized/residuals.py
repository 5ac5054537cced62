"""Residuals of a generalized model at the conditional modes, as statsmodels' GLM defines them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import ndtri
from scipy.stats import norm
from statsmodels.genmod import families

from mixedlm_ext.errors import check_choice
from mixedlm_ext.estimation.fitted import Fitted
from mixedlm_ext.estimation.generalized import GeneralizedFit
from mixedlm_ext.families.choose import with_extra
from mixedlm_ext.families.curves import Curve
from mixedlm_ext.generalized.record import generalized

Array = NDArray[np.float64]

__all__ = ["KINDS", "cumulative", "pearson_statistic", "residuals", "row_residuals"]

KINDS = ("response", "pearson", "deviance", "working", "quantile")
"""What ``residuals(kind=...)`` takes."""


def residuals(fitted: Fitted, kind: str = "deviance", rng: Any = 0) -> pd.Series:
    """Residuals of a given kind, at the conditional modes of the random effects.

    Parameters
    ----------
    kind : str
        ==============  ====================================================================
        "response"      y - μ
        "pearson"       (y - μ)/√V(μ), times the root of the weights
        "deviance"      sign(y - μ) times the root of the row's part of the deviance
        "working"       (y - μ)g'(μ)
        "quantile"      randomized quantile residuals of Dunn & Smyth (1996, Journal of
                        Computational and Graphical Statistics 5, 236-244): normal, if the model
                        is right and groups have many rows, for counts and 0/1 data, too
        ==============  ====================================================================
    rng : None, int or numpy.random.Generator
        Of the "quantile" residuals of discrete responses; the same ones each time by default.

    Returns
    -------
    Series (n,)
        An array for a model made from arrays.

    Examples
    --------
    >>> import statsmodels.api as sm
    >>> from mixedlm_ext import MixedGLM, datasets
    >>> data = datasets.cbpp.load_pandas().data
    >>> formula = "incidence + healthy ~ period + (1 | herd)"
    >>> data["healthy"] = data["size"] - data["incidence"]
    >>> result = MixedGLM.from_formula(formula, data, family=sm.families.Binomial()).fit()
    >>> result.residuals("pearson").head(3).round(3).tolist()
    [-1.34, 1.075, 2.88]
    """
    check_choice("kind", kind, KINDS)
    fit = generalized(fitted)
    design = fitted.rows("residuals of its rows")
    return fitted.labelled(row_residuals(fit, kind, rng), design.index)


def row_residuals(fit: GeneralizedFit, kind: str, rng: Any = 0) -> Array:
    """Return one residual for each row."""
    y, eta = fit.design.y, fit.linear_predictor()
    curve = Curve(fit.family.link, eta)
    mu = curve.mu
    if kind == "response":
        return np.asarray(y - mu)
    if kind == "working":
        return np.asarray((y - mu) / curve.d1)
    if kind == "quantile":
        return _quantile(fit, y, mu, np.random.default_rng(rng))
    family = with_extra(fit.family, fit.omega)
    w = np.asarray(fit.prior.product("trials", "var", "freq"))
    if kind == "pearson":
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(np.sqrt(w) * (y - mu) / np.sqrt(_variance(family, mu)))
    with np.errstate(divide="ignore", invalid="ignore"):
        part = np.asarray(_deviance_parts(family, y, mu))
    return np.asarray(np.sign(y - mu) * np.sqrt(w * np.clip(part, 0.0, np.inf)))


def _variance(family: Any, mu: Array) -> Array:
    """Return V(μ); of one trial for a binomial."""
    return mu * (1.0 - mu) if isinstance(family, families.Binomial) else family.variance(mu)


def _deviance_parts(family: Any, y: Array, mu: Array) -> Array:
    """Return each row's part of the deviance, of one trial for a binomial."""
    return np.asarray(family.resid_dev(y, mu)) ** 2


def pearson_statistic(fit: GeneralizedFit) -> float:
    """Return the sum of Pearson's residuals squared."""
    return float(np.nansum(row_residuals(fit, "pearson") ** 2))


def _quantile(fit: GeneralizedFit, y: Array, mu: Array, rng: np.random.Generator) -> Array:
    """Return Φ⁻¹ of a uniform draw between P(Y < y) and P(Y <= y)."""
    below, at = cumulative(fit, y, mu)
    draw = below + rng.uniform(size=len(y)) * (at - below)
    return np.asarray(ndtri(np.clip(draw, 1e-15, 1.0 - 1e-15)))


def cumulative(fit: GeneralizedFit, y: Array, mu: Array) -> tuple[Array, Array]:
    """Return P(Y < y) and P(Y <= y) of each row; the same for continuous responses."""
    family = with_extra(fit.family, fit.omega)
    if isinstance(family, families.Binomial):
        trials = np.asarray(fit.prior.product("trials"))
        law = family.get_distribution(mu, n_trials=np.broadcast_to(trials, mu.shape))
        count = np.round(trials * y)
        return law.cdf(count - 1.0), law.cdf(count)
    if isinstance(family, families.Poisson | families.NegativeBinomial):
        law = family.get_distribution(mu)
        return law.cdf(y - 1.0), law.cdf(y)
    var = np.asarray(fit.prior.product("var"))
    if isinstance(family, families.Gaussian):
        at = np.asarray(norm.cdf(y, mu, np.sqrt(fit.dispersion / var)))
    else:
        at = family.get_distribution(mu, fit.dispersion, var_weights=var).cdf(y)
    return at, at
