"""statsmodels' base classes of models and results, with types for what is inherited from them.

statsmodels has none. Without these, a type checker takes any attribute for granted (mypy), or
believes the signatures of the methods that models and results here replace (pyright).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from statsmodels.stats.contrast import ContrastResults

    class LikelihoodModel:
        """What models inherit, as long as it is not replaced."""

        data: Any
        endog: NDArray[np.float64]
        exog: NDArray[np.float64]
        endog_names: str
        exog_names: list[str]
        formula: str
        formula_full: str
        k_constant: int
        k_vars: int
        nobs: int
        weights: NDArray[np.float64] | None
        offset: NDArray[np.float64] | None
        _data_attr: list[str]

        def __init__(self, endog: Any, exog: Any = None, **kwargs: Any) -> None: ...
        def initialize(self) -> None: ...

    class LikelihoodModelResults:
        """What results inherit, as long as it is not replaced."""

        aic: float
        bic: float
        cov_kwds: dict[str, Any]
        cov_type: str
        df_model: int
        df_resid: int
        k_constant: int
        nobs: int
        scale: float
        use_t: bool

        def __init__(self, model: Any, params: Any, **kwargs: Any) -> None: ...
        def cov_params(
            self,
            r_matrix: Any = None,
            column: Any = None,
            scale: float | None = None,
            cov_p: Any = None,
            other: Any = None,
        ) -> Any: ...
        def f_test(
            self, r_matrix: Any, cov_p: Any = None, invcov: Any = None
        ) -> ContrastResults: ...
        def load(self, fname: Any) -> Any: ...
        def remove_data(self) -> None: ...
        def save(self, fname: Any, remove_data: bool = False) -> None: ...
        def t_test_pairwise(
            self,
            term_name: str,
            method: str = "hs",
            alpha: float = 0.05,
            factor_labels: Any = None,
        ) -> Any: ...

    class ResultMixin:
        """Nothing that results here use."""

else:
    from statsmodels.base.model import LikelihoodModel, LikelihoodModelResults, ResultMixin

__all__ = ["LikelihoodModel", "LikelihoodModelResults", "ResultMixin"]
