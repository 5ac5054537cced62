"""The fixed effects one by one: standard errors, tests of being zero, intervals."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from mixedlm_ext.caching import cached_property
from mixedlm_ext.estimation.fitted import Fitted

Array = NDArray[np.float64]

__all__ = ["Coefficients"]


@dataclass(frozen=True, eq=False)
class Coefficients:
    """Tests and intervals of the fixed effects of a fit; each is computed when first asked for."""

    fitted: Fitted

    @cached_property
    def cov(self) -> Array:
        """Covariance matrix, (p, p)."""
        return self.fitted.method.cov()

    @cached_property
    def se(self) -> Array:
        """Standard errors, (p,)."""
        with np.errstate(invalid="ignore"):
            return np.asarray(np.sqrt(np.diag(self.cov)))

    @property
    def t(self) -> Array:
        """Estimates over their standard errors, (p,)."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(self.fitted.beta / self.se)

    @cached_property
    def df(self) -> Array:
        """Degrees of freedom of each t test, infinite by the normal distribution, (p,)."""
        return self.fitted.method.t(np.eye(len(self.fitted.beta)))

    @property
    def p(self) -> Array:
        """Two-sided p-values of the tests that each is zero, (p,)."""
        size = np.abs(self.t)
        tail = stats.t.sf(size, self.df) if self.fitted.use_t else stats.norm.sf(size)
        return np.asarray(2.0 * tail)

    def limits(self, alpha: float) -> Array:
        """Return the limits of intervals of level 1 - alpha, (p, 2)."""
        upper = 1.0 - alpha / 2.0
        q = stats.t.ppf(upper, self.df) if self.fitted.use_t else stats.norm.ppf(upper)
        return np.column_stack([self.fitted.beta - q * self.se, self.fitted.beta + q * self.se])
