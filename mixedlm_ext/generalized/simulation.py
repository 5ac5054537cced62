"""Responses drawn from a generalized model."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from statsmodels.genmod import families

from mixedlm_ext.errors import FitError
from mixedlm_ext.estimation.fitted import Fitted
from mixedlm_ext.estimation.generalized import GeneralizedFit
from mixedlm_ext.families.choose import with_extra
from mixedlm_ext.families.curves import mean_of
from mixedlm_ext.generalized.record import generalized
from mixedlm_ext.simulation.simulate import check_count, spawn_seeds

Array = NDArray[np.float64]

__all__ = ["draw_means", "draw_response", "simulate"]


def simulate(
    fitted: Fitted, n: int = 1, rng: Any = None, conditional: bool = False
) -> pd.DataFrame:
    """Draw responses from the fitted model.

    Parameters
    ----------
    n : int
        Responses.
    rng : None, int or numpy.random.Generator
    conditional : bool
        Keep the random effects at their conditional modes; by default new ones are drawn.

    Returns
    -------
    DataFrame (rows, n)
        Columns 0 to n - 1. A binomial response is a proportion, as in the fit.

    Examples
    --------
    >>> import statsmodels.api as sm
    >>> from mixedlm_ext import MixedGLM, datasets
    >>> data = datasets.cbpp.load_pandas().data
    >>> formula = "incidence / size ~ period + (1 | herd)"
    >>> family = sm.families.Binomial()
    >>> result = MixedGLM.from_formula(formula, data, family=family, weights="size").fit()
    >>> result.simulate(2, rng=1).shape
    (56, 2)
    """
    check_count(n)
    design = fitted.rows("responses drawn for them")
    fit = generalized(fitted)
    values = np.column_stack(
        [draw_response(fit, np.random.default_rng(s), conditional) for s in spawn_seeds(rng, n)]
    )
    return pd.DataFrame(values, index=design.index)


def draw_response(
    fit: GeneralizedFit, rng: np.random.Generator, conditional: bool = False
) -> Array:
    """Return one response (n,)."""
    if conditional:
        return draw_means(fit, fit.fitted(), rng)
    design = fit.design
    eta = design.X @ fit.beta + (0.0 if design.offset is None else design.offset)
    for term, T in zip(design.terms, fit.templates):
        eta = eta + np.einsum("nk,nk->n", term.X, term.draw(rng, T)[term.codes])
    return draw_means(fit, mean_of(fit.family, eta), rng)


def draw_means(fit: GeneralizedFit, mu: Array, rng: np.random.Generator) -> Array:
    """Return a response for each mean, by the prior weights of the record."""
    family, prior = with_extra(fit.family, fit.omega), fit.prior
    if not np.isfinite(mu).all():
        raise FitError(
            "a mean of a drawn row is not finite: the random effects are too large for the link."
        )
    if isinstance(family, families.Binomial):
        trials = np.round(np.broadcast_to(np.asarray(prior.product("trials")), mu.shape))
        return np.asarray(rng.binomial(trials.astype(int), np.clip(mu, 0.0, 1.0)) / trials)
    if isinstance(family, families.Poisson):
        return rng.poisson(mu).astype(float)
    if isinstance(family, families.NegativeBinomial):
        size = 1.0 / family.alpha
        return rng.poisson(rng.gamma(size, mu / size)).astype(float)
    phi = fit.dispersion / np.asarray(prior.product("var"))
    if isinstance(family, families.Gaussian):
        return np.asarray(rng.normal(mu, np.sqrt(phi)))
    if isinstance(family, families.Gamma):
        return np.asarray(rng.gamma(1.0 / phi, mu * phi))
    return np.asarray(rng.wald(mu, 1.0 / np.broadcast_to(phi, mu.shape)))
