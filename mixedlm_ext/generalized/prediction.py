"""Predictions of a generalized model, on the scale of the mean or of the linear predictor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mixedlm_ext.criteria.level_blocks import level_variances
from mixedlm_ext.criteria.quadrature import hermite_rule
from mixedlm_ext.design import Design, NewData, RandomTerm
from mixedlm_ext.errors import DesignError, check_choice
from mixedlm_ext.estimation.fit import Fit
from mixedlm_ext.estimation.fitted import Fitted
from mixedlm_ext.families.curves import link_record, mean_of
from mixedlm_ext.generalized.reading import GeneralizedDesign
from mixedlm_ext.generalized.record import generalized
from mixedlm_ext.model_copies import fixed_part
from mixedlm_ext.prediction.means import (
    mark_not_estimable,
    predict_rows,
    rows_of_fit,
    rows_to_predict,
)
from mixedlm_ext.prediction.new_levels import warn_of_new_levels
from mixedlm_ext.prediction.predictor import Predictor
from mixedlm_ext.prediction.record import predictor_record
from mixedlm_ext.prediction.terms import Chosen, choose_terms

Array = NDArray[np.float64]

__all__ = [
    "WHICH",
    "at_params",
    "averaged_mean",
    "new_rows",
    "predict",
    "read_which",
    "to_predictor",
]

WHICH = ("mean", "linear", "average")
_NODES = 51


def predict(
    fitted: Fitted,
    exog: Any = None,
    which: str = "mean",
    conditional: bool = True,
    terms: str | Sequence[str] | None = None,
    new_levels: str = "population",
    offset: Any = None,
    random: Sequence[RandomTerm] | None = None,
) -> pd.Series:
    """Predict the response.

    Parameters
    ----------
    exog : DataFrame, polars.DataFrame, dict or array, optional
        New data; the data of the fit by default.
    which : {"mean", "linear", "average"}
        The mean; the linear predictor; or the mean over all groups there could be: the random
        effects are integrated out. That differs from the mean at random effects of zero, of a
        group in the middle, as a curved link does not commute with averaging.
    conditional : bool
        With the conditional modes of the random effects, or with random effects of zero.
    terms : str or sequence of str, optional
        The random effects to use, the others being zero; all by default.
    new_levels : {"population", "error", "nan"}
        What to do with levels of a grouping factor that the fit has not seen: predict with a
        random effect of zero, raise, or return a missing value.
    offset : str or array_like, optional
        Known part of the linear predictor of the new rows, besides the formula's offset().
    random : sequence of RandomTerm, optional
        The random terms at the new rows, for a model made from arrays.

    Returns
    -------
    Series
        With the index of the data; an array if the model and the new data are arrays. Of a
        binomial model, probabilities.

    Raises
    ------
    DesignError
        As `MixedLMResults.predict`.

    Examples
    --------
    >>> import statsmodels.api as sm
    >>> from mixedlm_ext import MixedGLM, datasets
    >>> data = datasets.cbpp.load_pandas().data
    >>> formula = "incidence / size ~ period + (1 | herd)"
    >>> family = sm.families.Binomial()
    >>> result = MixedGLM.from_formula(formula, data, family=family, weights="size").fit()
    >>> new = {"period": ["1", "1"], "herd": ["1", "new"]}
    >>> result.predict(new).round(4).tolist()
    [0.3082, 0.198]
    >>> result.predict(new, which="average", conditional=False).round(4).tolist()
    [0.2161, 0.2161]
    """
    fit = generalized(fitted)
    conditional = read_which(which, conditional)
    chosen = choose_terms(
        fitted.design, "conditional" if conditional and which != "average" else "population", terms
    )
    new = new_rows(fitted, exog, chosen if which != "average" else None, offset, random)
    eta = predict_rows(fit, new, chosen, new_levels)
    if new_levels == "population":
        warn_of_new_levels(fit.design, new, chosen)
    if which == "average":
        values = averaged_mean(fit, fit.family, new, eta)
    else:
        values = eta if which == "linear" else mean_of(fit.family, eta)
    return fitted.labelled(values, new.index, isinstance(getattr(exog, "index", None), pd.Index))


def at_params(data: GeneralizedDesign, params: Any, exog: Any = None, which: str = "mean") -> Array:
    """Predict at given fixed effects with random effects of zero, as statsmodels' models do.

    Parameters
    ----------
    params : array_like (p,)
        Fixed effects.
    exog : array_like (m, p), optional
        Columns of X at other rows, without an offset; those of the model, with its, by default.
    which : {"mean", "linear"}

    Returns
    -------
    ndarray (m,)

    Raises
    ------
    FitError
        If shapes are not those of the model.
    """
    check_choice("which", which, ("mean", "linear"))
    eta = fixed_part(data.design, params, exog)
    if exog is None and data.design.offset is not None:
        eta = eta + data.design.offset
    return eta if which == "linear" else mean_of(data.family, eta)


def to_predictor(fitted: Fitted, terms: str | Sequence[str] | None = None) -> Predictor:
    """Return a small object that predicts without the data of the fit.

    Parameters
    ----------
    terms : str or sequence of str, optional
        The random effects to keep, as for `predict`; all by default.

    Returns
    -------
    Predictor
        ``predict(exog)`` gives means, ``predict(exog, linear=True)`` linear predictors;
        ``save(path)``, ``Predictor.load(path)``.

    Raises
    ------
    DesignError
        If the model was made from arrays, or the formula uses something that a JSON file cannot
        hold.

    Examples
    --------
    >>> import statsmodels.api as sm
    >>> from mixedlm_ext import MixedGLM, datasets
    >>> data = datasets.cbpp.load_pandas().data
    >>> formula = "incidence / size ~ period + (1 | herd)"
    >>> family = sm.families.Binomial()
    >>> result = MixedGLM.from_formula(formula, data, family=family, weights="size").fit()
    >>> round(result.to_predictor().predict({"period": "1", "herd": "1"}), 4)
    0.3082
    """
    fit = generalized(fitted)
    chosen = choose_terms(fit.design, "conditional", terms)
    record = predictor_record(fit, chosen, link_record(fit.family.link))
    return Predictor(record, trusted=None)


def read_which(which: Any, conditional: Any, choices: Sequence[str] = WHICH) -> bool:
    """Check which prediction is asked for, and return whether it is conditional."""
    if which in ("conditional", "population"):
        raise DesignError(
            f"which={which!r} is of linear mixed models. Here which= is 'mean' or 'linear', and "
            f"conditional={which == 'conditional'} says whether random effects are in it."
        )
    check_choice("which", which, choices)
    if not isinstance(conditional, bool | np.bool_):
        raise DesignError(f"conditional={conditional!r} is not True or False.")
    return bool(conditional)


def new_rows(fitted: Fitted, exog: Any, chosen: Chosen | None, offset: Any, random: Any) -> NewData:
    """Return the matrices of the new rows, or of the rows of the fit; None wants all terms."""
    design: Design = fitted.design
    if isinstance(exog, pd.Series) and design.formula is not None:
        exog = exog.to_frame().T.infer_objects()
    if exog is None:
        if offset is not None or random is not None:
            raise DesignError("offset= and random= belong to new rows. Pass these as exog=, too.")
        return rows_of_fit(fitted.rows("predictions for it"))
    if chosen is None:
        chosen = choose_terms(design, "conditional", None)
    new = rows_to_predict(design, exog, chosen, offset, random)
    mark_not_estimable(new.estimable, new.index)
    return new


def random_variance(fit: Fit, new: NewData) -> Array:
    """Return z'Γz of each new row: the variance of its random part in the population."""
    out = np.zeros(len(new.X))
    for term, cov, place in zip(
        fit.design.terms, fit.random_cov, fit.problem.cp.layout.places, strict=True
    ):
        X, codes = new.terms[term.name]
        own = np.einsum("na,ab,nb->n", X, cov, X)
        out = out + own * _share(fit, term.name, place.block, codes, new)
    return out


def _share(fit: Fit, name: str, block: int, codes: NDArray[np.intp], new: NewData) -> Array | float:
    """Return what Γ is multiplied by: K_ll of a level, w'Kw of members; one of a level not seen."""
    if name in new.members:
        members = new.members[name]
        related = next(t.related for t in fit.design.terms if t.name == name)
        assert related is not None
        return related.variances_of_rows(members.W) + members.squares
    known = level_variances(fit.problem, block)
    return np.where(codes < 0, 1.0, known[np.maximum(codes, 0)])


def averaged_mean(fit: Fit, family: Any, new: NewData, eta: Array) -> Array:
    """Return the mean of μ(η + z'b) over b ~ N(0, Γ), by Gauss-Hermite quadrature."""
    sd = np.sqrt(random_variance(fit, new))
    x, log_weights = hermite_rule(_NODES)
    out = np.zeros(len(eta))
    for node, weight in zip(x, np.exp(log_weights)):
        out += weight * mean_of(family, eta + sd * node)
    return out
