"""Methods of `MixedLM` that statsmodels' functions ask for: variants of a model, distributions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mixedlm_ext import absent
from mixedlm_ext.absent import attribute_again
from mixedlm_ext.caching import cached_property
from mixedlm_ext.errors import FitError
from mixedlm_ext.model_copies import ModelFormula, OwnTerms, ResponseDistribution

if TYPE_CHECKING:
    from mixedlm_ext.model import MixedLM

Array = NDArray[np.float64]

__all__ = ["StatsmodelsMethods"]


class StatsmodelsMethods(absent.NotOfModels):
    """What `Mediation`, `MICE` and their kind use of a model."""

    if not TYPE_CHECKING:  # unknown names stay errors for type checkers

        def __getattr__(self, name: str) -> Any:
            return attribute_again(self, name, absent.MODEL)

    @property
    def k_fe(self) -> int:
        """Number of fixed effects."""
        return len(self._own.design.x_names)

    @property
    def k_re(self) -> int:
        """Columns of the random-effects terms that are no variance component of one variance."""
        return sum(len(t.columns) for t in self._own.design.terms if not t.kind.one_variance)

    def _get_init_kwds(self) -> dict[str, Any]:
        """Return what makes a variant of this model, from arrays or from a formula."""
        own = self._own
        terms = OwnTerms(own.random, own.design)
        out: dict[str, Any] = {"random": terms, "weights": own.weights, "offset": own.offset}
        if own.design.formula is not None:
            out["formula"] = ModelFormula(own.design)
        return out

    def _are_fixed_effects(self, values: Any) -> bool:
        """Say whether these are the ``params`` of a fit: a Series with the names of X."""
        return isinstance(values, pd.Series) and list(values.index) == list(self._own.exog_names)

    def get_distribution(self, params: Any, scale: float, exog: Any = None) -> ResponseDistribution:
        """Return the distribution of the response, as statsmodels' `Mediation` asks for it.

        Parameters
        ----------
        params : array_like (p,)
            Fixed effects.
        scale : float
            Residual variance.
        exog : array_like (n, p), optional
            Other values of the fixed columns for the rows of the model.

        Returns
        -------
        ResponseDistribution
            Its method ``rvs`` draws a response. The covariances of the random effects, relative to
            `scale`, are those of the model's own fit by REML.

        Raises
        ------
        FitError
            If the parameters or rows are not those of the model.
        """
        mean = self._own.predict(params, exog)
        if mean.shape != (self._own.nobs,):
            raise FitError(
                f"exog has {len(mean)} rows; the model has {self._own.nobs}. Pass a row for each."
            )
        if self._own.offset is not None:
            mean = mean + self._own.offset
        return ResponseDistribution(self._own.design, mean, self._own_templates, scale)

    @cached_property
    def _own_templates(self) -> list[Array]:
        """The templates of the fit by REML."""
        return list(self._own.fit().fit_record.templates)

    @property
    def _own(self) -> MixedLM:
        """The model this is mixed into."""
        return cast("MixedLM", self)
