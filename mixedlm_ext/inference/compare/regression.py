"""statsmodels' linear regression, as the model without random effects it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from statsmodels.regression.linear_model import OLS, WLS, RegressionResults

from mixedlm_ext.errors import FitError
from mixedlm_ext.inference.compare.response import LINEAR, ResponseModel
from mixedlm_ext.inference.compare.submodel import Likelihood

Array = NDArray[np.float64]

__all__ = ["LinearDesign", "LinearModel", "as_linear_model", "check_has_data"]


@dataclass(frozen=True, eq=False)
class LinearDesign:
    """What nesting asks of a design, where there are no random terms."""

    y: Array
    X: Array
    weights: Array | None
    endog_name: str
    offset: Array | None = None
    terms: tuple[()] = ()
    residual: None = None
    residual_rows: None = None


@dataclass(frozen=True, eq=False)
class LinearModel:
    """A fit by OLS, WLS or GLM beside mixed models.

    Attributes
    ----------
    name : str
    design : LinearDesign
    likelihood : Likelihood
        By maximum likelihood, sigma among the parameters.
    n : int
    response : ResponseModel
        What the likelihood is of.
    """

    name: str
    design: LinearDesign
    likelihood: Likelihood
    n: int
    response: ResponseModel = LINEAR


def check_has_data(model: Any) -> None:
    """Raise FitError if the results of a statsmodels model have given up their data."""
    if model.endog is None or model.exog is None:
        raise FitError(
            f"the results of {type(model).__name__} have no data any more, after remove_data(). "
            "Fit the model again to compare it."
        )


def as_linear_model(results: Any) -> LinearModel | None:
    """Return the model behind statsmodels' results of OLS or WLS, None for anything else."""
    model: Any = getattr(results, "model", None)
    if type(model) not in (OLS, WLS) or not isinstance(results, RegressionResults):
        return None
    check_has_data(model)
    weights = np.broadcast_to(np.asarray(model.weights, dtype=np.float64), len(model.endog))
    design = LinearDesign(
        y=np.asarray(model.endog, dtype=np.float64),
        X=np.asarray(model.exog, dtype=np.float64),
        weights=None if (weights == 1.0).all() else weights,
        endog_name=str(model.endog_names),
    )
    rank = int(np.linalg.matrix_rank(model.wexog))
    name = str(getattr(model, "formula", type(model).__name__))
    return LinearModel(name, design, Likelihood(rank + 1, float(results.llf)), len(design.y))
