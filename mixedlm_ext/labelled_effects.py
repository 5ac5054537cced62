"""The fixed effects of results by statsmodels' names, with the labels of the data."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mixedlm_ext.bases import LikelihoodModelResults, ResultMixin
from mixedlm_ext.caching import cached_property
from mixedlm_ext.estimation.fitted import Fitted
from mixedlm_ext.inference.fixed.coefficients import Coefficients

Array = NDArray[np.float64]

__all__ = ["LabelledEffects"]


class LabelledEffects(LikelihoodModelResults, ResultMixin):
    """What statsmodels' results say of the coefficients, as pandas' objects.

    They are plain arrays for a model made from arrays.
    """

    model: Any
    _fitted: Fitted
    _coefficients: Coefficients

    def __init__(self, model: Any, params: Array, *, scale: float, use_t: bool) -> None:
        super().__init__(model, params, scale=scale, use_t=use_t)
        self._scale_of_fit = scale
        del self.normalized_cov_params  # statsmodels' None: it is made when it is asked for

    @cached_property
    def normalized_cov_params(self) -> pd.DataFrame:
        """Covariance matrix of the fixed effects, divided by `scale`."""
        cov = self._coefficients.cov / self._scale_of_fit
        return self.model.data.wrap_output(cov, "cov")

    @property
    def fitted(self) -> Fitted:
        """The record of the fit and its tests: all that the functions behind the methods read."""
        names = tuple(self.model.exog_names)
        if names != self._fitted.x_names or self.use_t != self._fitted.use_t:  # a user's choice
            self._fitted = replace(self._fitted, x_names=names, use_t=self.use_t)
        return self._fitted

    @property
    def _tests(self) -> Coefficients:
        """The tests of the fixed effects."""
        if self._coefficients.fitted is not self.fitted:
            self._coefficients = Coefficients(self.fitted)
        return self._coefficients

    def _named(self, values: Array) -> pd.Series:
        """Attach the names of the fixed effects, unless only arrays were given."""
        return self.model.data.wrap_output(values, "columns")

    @property
    def params(self) -> pd.Series:
        """The fixed effects."""
        return self._named(self._fitted.fit.beta)

    @property
    def bse(self) -> pd.Series:
        """Standard errors of the fixed effects."""
        return self._named(self._tests.se)

    @property
    def tvalues(self) -> pd.Series:
        """Fixed effects divided by their standard errors."""
        return self._named(self._tests.t)

    @property
    def pvalues(self) -> pd.Series:
        """Two-sided p-values of the t or z tests that each fixed effect is zero."""
        return self._named(self._tests.p)

    @property
    def fe_params(self) -> pd.Series:
        """The fixed effects, as statsmodels' MixedLM names them."""
        return self.params

    @property
    def bse_fe(self) -> pd.Series:
        """Standard errors of the fixed effects."""
        return self.bse

    @property
    def df_resid_inference(self) -> Array:
        """Degrees of freedom of the t test of each fixed effect; infinite for "normal"."""
        return self._tests.df

    def cov_params(
        self,
        r_matrix: Any = None,
        column: Any = None,
        scale: float | None = None,
        cov_p: Any = None,
        other: Any = None,
    ) -> Any:
        """Return the covariance matrix of the fixed effects, or of combinations of them.

        Parameters are those of statsmodels' results.
        """
        if cov_p is None:
            cov_p = self._tests.cov * (1.0 if scale is None else scale / self.scale)
        values = super().cov_params(r_matrix, column, scale, cov_p, other)
        if r_matrix is None and column is None:
            return self.model.data.wrap_output(np.asarray(values), "cov")
        return values

    @property
    def k_fe(self) -> int:
        """Number of fixed effects."""
        return len(self._fitted.fit.beta)
