"""statsmodels' GLM, as the generalized model without random effects it is."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import optimize
from statsmodels.genmod.generalized_linear_model import GLM, GLMResults

from mixedlm_ext.errors import FitError
from mixedlm_ext.families.choose import check_family, extra_of, likelihood_of
from mixedlm_ext.families.conditional import Conditional
from mixedlm_ext.families.prior import PriorWeights
from mixedlm_ext.inference.compare.regression import LinearDesign, LinearModel, check_has_data
from mixedlm_ext.inference.compare.response import ResponseModel
from mixedlm_ext.inference.compare.submodel import Likelihood

Array = NDArray[np.float64]

__all__ = ["as_generalized_model"]


def as_generalized_model(results: Any) -> LinearModel | None:
    """Return the model behind statsmodels' results of GLM, None for anything else.

    Its likelihood is taken at its coefficients by the functions that a mixed model's is, with a
    dispersion of maximum likelihood, where statsmodels' `llf` has Pearson's.
    """
    model: Any = getattr(results, "model", None)
    if type(model) is not GLM or type(results) is not GLMResults:
        return None
    if hasattr(results, "k_constr"):
        raise FitError(
            "the coefficients of this GLM are restricted, by fit_constrained(). Compare one of "
            "GLM.fit(): a known coefficient times its column goes into offset= of both models."
        )
    check_has_data(model)
    check_family(model.family)
    X = np.asarray(model.exog, dtype=np.float64)
    offset = _offset(model)
    prior, omega = _prior(model), _known_extra(model.family)
    y = np.asarray(model.endog, dtype=np.float64)
    eta = X @ np.asarray(results.params, dtype=np.float64)
    eta = eta if offset is None else eta + offset
    free = bool(extra_of(model.family)) and omega is None
    llf = _log_likelihood(likelihood_of(model.family, y, prior), eta, omega, results.scale)
    rank = int(np.linalg.matrix_rank(X))
    return LinearModel(
        name=str(getattr(model, "formula", "GLM")),
        design=LinearDesign(y, X, None, _name_of(model), offset),
        likelihood=Likelihood(rank + int(free), llf),
        n=round(prior.count(len(y))),
        response=ResponseModel(model.family, prior, omega),
    )


def _name_of(model: Any) -> str:
    """Return the name of the response, which may have two columns."""
    names = model.endog_names
    return names if isinstance(names, str) else ", ".join(map(str, names))


def _offset(model: Any) -> Array | None:
    """Return the offset and the logarithm of the exposure, which statsmodels keeps as such."""
    parts = [getattr(model, name, None) for name in ("offset", "exposure")]
    given = [np.asarray(part, dtype=np.float64) for part in parts if part is not None]
    return sum(given[1:], given[0]) if given else None


def _prior(model: Any) -> PriorWeights:
    """Return what rows count for."""
    n = len(model.endog)
    kinds = (getattr(model, "n_trials", 1.0), model.var_weights, model.freq_weights)
    columns = [np.broadcast_to(np.asarray(w, dtype=np.float64), n) for w in kinds]
    return PriorWeights(*(None if (w == 1.0).all() else w for w in columns))


def _known_extra(family: Any) -> float | None:
    """Return the logarithm of the size of a negative binomial, which GLM does not estimate."""
    return -float(np.log(family.alpha)) if extra_of(family) == "size" else None


def _log_likelihood(rows: Conditional, eta: Array, omega: float | None, scale: float) -> float:
    """Return Σℓ at η and at a known ω, or at the best."""

    def at(value: float) -> float:
        return float(rows.at(eta, np.array([value])).loglike.sum())

    if omega is not None:
        return at(omega)
    if not rows.extra:
        return float(rows.at(eta, np.zeros(0)).loglike.sum())
    start = float(np.log(scale))
    found = optimize.minimize_scalar(lambda w: -at(w), bracket=(start - 0.1, start + 0.1))
    return -float(found.fun)
