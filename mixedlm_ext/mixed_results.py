"""What results of linear and of generalized mixed models share beside the fixed effects."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pandas as pd

from mixedlm_ext import absent
from mixedlm_ext.compat import cache_readonly
from mixedlm_ext.estimation import random_effects, varcorr
from mixedlm_ext.estimation.fitted import Fitted
from mixedlm_ext.inference.fixed.coefficients import Coefficients
from mixedlm_ext.labelled_effects import LabelledEffects
from mixedlm_ext.report import columns
from mixedlm_ext.search import Optimization

__all__ = ["MixedResults"]


class MixedResults(LabelledEffects):
    """Results of a model with random effects."""

    def __init__(self, model: Any, fitted: Fitted, *, scale: float, use_t: bool) -> None:
        self._fitted = replace(
            fitted,
            face=model.face,
            x_names=tuple(model.exog_names),
            constant=fitted.constant if model.data.const_idx is None else model.data.const_idx,
        )
        self._coefficients = Coefficients(self._fitted)
        p = len(fitted.fit.beta)
        super().__init__(model, fitted.fit.beta, scale=scale, use_t=use_t)
        self._cache: dict[str, Any] = {}
        self.nobs = fitted.n
        self.df_resid = self.nobs - p
        self.df_model = p - int(model.k_constant)
        self.cov_type = "nonrobust" if fitted.clustered is None else "cluster"
        if fitted.clustered is not None:
            self.cov_kwds = {"groups": fitted.clustered.groups, "kind": fitted.clustered.kind}

    def initialize(self, model: Any, params: Any, **kwargs: Any) -> None:
        """Attach the model; `params` are those of the fit."""
        self.model = model
        self.k_constant = model.k_constant

    def __dir__(self) -> list[str]:
        return [name for name in super().__dir__() if name not in absent.INHERITED]

    def _repr_html_(self) -> str:
        results: Any = self  # which have a summary each
        return str(results.summary().as_html())

    @property
    def default_model_infos(self) -> dict[str, Callable[[Any], str]]:
        """Rows of the random effects that statsmodels' ``summary_col`` puts below the coefficients.

        Where its ``info_dict`` is given, that takes their place.
        """
        return columns.model_infos(self.fitted)

    @property
    def optimization(self) -> Optimization:
        """The log of the search."""
        return self._fitted.fit.optimization

    @property
    def singular(self) -> bool:
        """Whether the estimated covariance of some random-effects term is singular."""
        return any(self._fitted.fit.singular_terms)

    @property
    def n_groups(self) -> dict[str, int]:
        """Number of levels of each grouping factor."""
        return self._fitted.n_groups

    @cache_readonly
    def random_effects(self) -> dict[str, pd.DataFrame]:
        """Conditional modes of the random effects: for each term a frame of levels by columns."""
        return random_effects.conditional_modes(self._fitted.fit)

    @cache_readonly
    def random_effects_sd(self) -> dict[str, pd.DataFrame]:
        """Conditional standard deviations of the random effects, the parameters as known."""
        return random_effects.conditional_sds(self._fitted.fit)

    @cache_readonly
    def random_effects_cov(self) -> dict[Any, Any]:
        """Conditional covariances of the random effects.

        For each term, by the names of `random_effects`, a dict of level to covariance frame. Where
        there is one term, its levels are found directly as well, as in statsmodels:
        ``random_effects_cov["308"]``.
        """
        return random_effects.conditional_covariances(self._fitted.fit)

    @cache_readonly
    def cov_re(self) -> pd.DataFrame:
        """Covariance matrix of the random effects of the only grouping factor."""
        return varcorr.covariance_of_only_factor(self._fitted.fit)
