"""Predictions and their errors at new rows or at those of the fit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from os import PathLike
from typing import Any, Protocol, overload

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mixedlm_ext.design import NewData, RandomTerm
from mixedlm_ext.errors import DesignError, FitError, did_you_mean
from mixedlm_ext.estimation.fit import Fit
from mixedlm_ext.estimation.fitted import Fitted
from mixedlm_ext.inference.fixed.satterthwaite import Satterthwaite
from mixedlm_ext.prediction.batches import (
    batches_of,
    is_partitioned,
    over_partitions,
    write_predictions,
)
from mixedlm_ext.prediction.known_residuals import known_residuals
from mixedlm_ext.prediction.means import (
    check_random_only,
    mark_not_estimable,
    predict_rows,
    rows_of_fit,
    rows_to_predict,
)
from mixedlm_ext.prediction.new_levels import warn_of_new_levels
from mixedlm_ext.prediction.places import with_chosen_places, with_places
from mixedlm_ext.prediction.predictor import Predictor
from mixedlm_ext.prediction.record import predictor_record
from mixedlm_ext.prediction.residual_rows import check_errors, weights_of_rows
from mixedlm_ext.prediction.results import PredictionResults, prediction_results
from mixedlm_ext.prediction.terms import Chosen, choose_terms
from mixedlm_ext.simulation.simulate import fit_parameters
from mixedlm_ext.sources import is_source, open_source

Array = NDArray[np.float64]

__all__ = ["Predict", "get_prediction", "predict", "to_predictor"]


class Predict(Protocol):
    """``predict`` of results, for type checkers: what it returns depends on where rows are."""

    @overload
    def __call__(
        self,
        exog: pd.DataFrame | Mapping[str, Any] | None = ...,
        which: str = ...,
        terms: str | Sequence[str] | None = ...,
        new_levels: str = ...,
        offset: Any = ...,
        random: Sequence[RandomTerm] | None = ...,
        random_only: bool = ...,
        newparams: Mapping[str, Any] | None = ...,
        errors: bool = ...,
    ) -> pd.Series: ...
    @overload
    def __call__(
        self,
        exog: Any,
        which: str = ...,
        terms: str | Sequence[str] | None = ...,
        new_levels: str = ...,
        offset: Any = ...,
        random: Sequence[RandomTerm] | None = ...,
        random_only: bool = ...,
        newparams: Mapping[str, Any] | None = ...,
        errors: bool = ...,
        *,
        out: str | PathLike[str],
    ) -> None: ...
    @overload
    def __call__(
        self,
        exog: Any,
        which: str = ...,
        terms: str | Sequence[str] | None = ...,
        new_levels: str = ...,
        offset: Any = ...,
        random: Sequence[RandomTerm] | None = ...,
        random_only: bool = ...,
        newparams: Mapping[str, Any] | None = ...,
        errors: bool = ...,
    ) -> Any: ...


def predict(
    fitted: Fitted,
    exog: Any = None,
    which: str = "conditional",
    terms: str | Sequence[str] | None = None,
    new_levels: str = "population",
    offset: Any = None,
    random: Sequence[RandomTerm] | None = None,
    random_only: bool = False,
    newparams: Mapping[str, Any] | None = None,
    errors: bool = False,
    out: Any = None,
) -> Any:
    """Predict the response.

    Parameters
    ----------
    exog : DataFrame, polars.DataFrame, dict or array, optional
        New data: the variables of the formula, or for a model made from arrays the columns of
        X. The data of the fit by default. Or rows in batches, as `MixedLM.from_formula` takes
        them.
    which : {"conditional", "population"}
        With the conditional modes of the random effects, or with random effects of zero.
    terms : str or sequence of str, optional
        The random effects to use, the others being zero: terms by name (``"Subject.1"``, as in
        `random_effects`), or columns of terms by formula (``"(1 | Subject)"``: of
        ``(Days | Subject)`` the intercepts). All by default.
    new_levels : {"population", "error", "nan"}
        What to do with levels of a grouping factor that the fit has not seen: predict with a
        random effect of zero, raise, or return a missing value.
    offset : str or array_like, optional
        Known part of the linear predictor of the new rows, besides the formula's offset(). By
        default the column that the fit named; to be given if the fit had an array.
    random : sequence of RandomTerm, optional
        The random terms at the new rows, for a model made from arrays.
    random_only : bool
        Only the random effects' part, without fixed effects and offset (lme4's
        ``random.only``).
    newparams : mapping, optional
        Other parameters than the estimates: "beta", "theta" or both. Conditional modes are then
        b = Λû with the new Λ and the spherical random effects û of the fit, as in lme4.
    errors : bool
        Where residuals are correlated, add the best prediction of each new row's residual from
        those of its group in the fit: the prediction of the next observation of a known group.
    out : str or path-like, optional
        A Parquet file to write the predictions of rows in batches to, as column ``prediction``.
        It appears when it is complete.

    Returns
    -------
    Series
        Of rows in batches an iterator over the Series of each batch, of a Dask frame a Dask
        series, or nothing with `out`.
        With the index of the data; missing where a needed value is missing or, with a warning,
        where the fixed part is not estimable. An array if the model and the new data are
        arrays.

    Raises
    ------
    DesignError
        If a column or a random term is missing; a level is unseen and ``new_levels="error"``;
        keys of a grouping factor have a type that cannot be read as that of the fit; or there
        is only one row and that is not estimable.

    Warns
    -----
    DesignWarning
        If none of several levels of a grouping factor was in the fit.

    Notes
    -----
    Keys of another type than in the fit are converted where each value survives the way there
    and back: 309.0 and "309" are 309, "2020-01-01" is that date; "007" is not 7.

    Examples
    --------
    >>> from mixedlm_ext import MixedLM, datasets
    >>> data = datasets.sleepstudy.load_pandas().data
    >>> result = MixedLM.from_formula("Reaction ~ Days + (Days | Subject)", data).fit()
    >>> new = {"Days": [0, 5], "Subject": ["308", "nobody"]}
    >>> result.predict(new).round(3).tolist()
    [253.664, 303.742]
    >>> result.predict(new, which="population").round(3).tolist()
    [251.405, 303.742]
    >>> result.predict(new, terms="(1 | Subject)").round(3).tolist()
    [253.664, 303.742]
    """
    chosen = choose_terms(fitted.design, which, terms)
    check_random_only(random_only, chosen)
    exog = _as_data(fitted, exog)
    with_errors = check_errors(fitted.fit, errors, exog, chosen, newparams)
    if with_errors and (is_source(exog) or is_partitioned(exog)):
        raise DesignError("errors=True needs the new rows in memory. Pass a frame as exog=.")

    if out is None and is_partitioned(exog):
        given = {"which": which, "terms": terms, "new_levels": new_levels, "offset": offset}
        given |= {"random_only": random_only, "newparams": newparams}
        light = fitted.with_design(fitted.design.without_rows())
        return over_partitions(exog, partial(_of_partition, light, given))
    asked = _Asked(fitted, chosen, new_levels, offset, random, random_only, newparams)
    if is_source(exog):
        return _of_batches(asked, exog, out)
    if out is not None:
        raise DesignError("out= belongs to rows in batches, such as a path, as exog=.")
    if exog is None and fitted.design.rows.elsewhere is not None:
        return _of_rows_elsewhere(asked)
    new = asked.matrices(exog)
    predicted = asked.mean(new)
    if with_errors:
        weights = weights_of_rows(fitted.fit, new, exog, None)
        known = known_residuals(fitted.fit, exog, new.complete, weights)
        predicted = predicted + known.mean
    if new_levels == "population":
        warn_of_new_levels(fitted.design, new, chosen)
    return fitted.labelled(predicted, new.index, isinstance(getattr(exog, "index", None), pd.Index))


@dataclass(frozen=True, eq=False)
class _Asked:
    """What a prediction is asked for, the rows apart: see `predict`."""

    fitted: Fitted
    chosen: Chosen
    new_levels: str
    offset: Any
    random: Any
    random_only: bool
    newparams: Mapping[str, Any] | None

    def matrices(self, data: Any) -> NewData:
        """Return the matrices of rows."""
        return _rows(self.fitted, data, self.chosen, self.offset, self.random, self.random_only)

    def mean(self, new: NewData) -> Array:
        """Return the predictions of rows."""
        fit, used = _at_places(self.fitted.fit, new, self.chosen, self.newparams)
        return predict_rows(fit, new, used, self.new_levels, self.random_only)


def _of_batches(asked: _Asked, exog: Any, out: Any) -> Iterator[pd.Series] | None:
    """Predict for rows in batches, into a file if there is one."""
    batches = batches_of(open_source(exog), asked.fitted.design)
    parts = (pd.Series(asked.mean(asked.matrices(b.frame)), index=b.frame.index) for b in batches)
    if out is None:
        return parts
    write_predictions(parts, out)
    return None


def _of_rows_elsewhere(asked: _Asked) -> Any:
    """Predict for the rows of the fit where these are read again."""
    fit, _ = _at_places(asked.fitted.fit, None, asked.chosen, asked.newparams)

    def of_batch(own: Fit) -> Array:
        rows = rows_of_fit(own.design)
        part = replace(fit, design=own.design)
        return predict_rows(part, rows, asked.chosen, asked.new_levels, asked.random_only)

    return asked.fitted.by_rows("predictions for it", of_batch)


def _at_places(
    fit: Fit, new: NewData | None, chosen: Chosen, newparams: Mapping[str, Any] | None
) -> tuple[Fit, Chosen]:
    """Return the fit with columns for places that no row has, and with other parameters."""
    if new is not None and new.places:
        fit, chosen = with_places(fit, new), with_chosen_places(chosen, new)
    return (fit if newparams is None else _with(fit, newparams)), chosen


def _of_partition(fitted: Fitted, asked: Mapping[str, Any], frame: pd.DataFrame) -> pd.Series:
    """Predict for one partition of a Dask frame."""
    values = predict(fitted, frame, **asked)
    return pd.Series(values, index=frame.index, dtype=float)


def get_prediction(
    fitted: Fitted,
    exog: Any = None,
    which: str = "conditional",
    terms: str | Sequence[str] | None = None,
    new_levels: str = "population",
    offset: Any = None,
    random: Sequence[RandomTerm] | None = None,
    weights: Any = None,
    random_only: bool = False,
    errors: bool = False,
) -> PredictionResults:
    """Predict with standard errors, confidence intervals and intervals for new observations.

    Parameters
    ----------
    exog, which, terms, new_levels, offset, random
        As for `predict`. For a level that the fit has not seen, the variance of its random
        effect is part of the standard error.
    weights : str or array_like, optional
        Precision weights of the new rows, for the residual variance of new observations. By
        default the column that the fit named, if the new data have it, and one otherwise; to
        be given if the fit had an array.
    random_only : bool
        As for `predict`.
    errors : bool
        Where residuals are correlated, predict each new row's residual from those of its group in
        the fit, as `predict` does. Standard errors then are those of the mean given the residuals
        of the group, and a new observation has the variance that is left to it.

    Returns
    -------
    PredictionResults
        ``summary_frame(alpha)``, ``conf_int(obs, alpha)``, ``predicted_mean``, ``se_mean``,
        ``se_obs``, ``df``.

    Raises
    ------
    DesignError
        As `predict`; if a weight is negative, or weights are missing.

    Notes
    -----
    The variance of x'β̂ + z'b̂ - (x'β + z'b) from the joint covariance of β̂ - β and b̂ - b
    (Henderson 1975, Biometrics 31, 423-447), the covariance parameters as known; random effects
    that are not asked for do not enter. The covariance of β̂ is that of the method of the
    degrees of freedom (`cov_params`). Degrees of freedom:

    ===================  =======================================================================
    ``"satterthwaite"``  2f²/Var(f) for the error variance f (with the residual variance, for a
                         new observation), from its gradient in the covariance parameters; with
                         several grouping factors, those of x'β where rows times random effects
                         exceed 10⁹
    ``"kenward-roger"``  those of x'β, also for conditional predictions
    ``"residual"``       observations less fixed effects
    ``"normal"``         infinite
    ===================  =======================================================================

    Examples
    --------
    >>> from mixedlm_ext import MixedLM, datasets
    >>> data = datasets.sleepstudy.load_pandas().data
    >>> result = MixedLM.from_formula("Reaction ~ Days + (Days | Subject)", data).fit()
    >>> new = {"Days": [0, 0], "Subject": ["308", "nobody"]}
    >>> result.get_prediction(new).summary_frame().iloc[:, :2].round(4)
           mean  mean_se
    0  253.6637  12.2548
    1  251.4051  25.6645
    >>> result.get_prediction(new, which="population").se_mean.round(4).tolist()
    [6.8246, 6.8246]
    """
    chosen = choose_terms(fitted.design, which, terms)
    check_random_only(random_only, chosen)
    exog = _as_data(fitted, exog)
    with_errors = check_errors(fitted.fit, errors, exog, chosen)
    new = _rows(fitted, exog, chosen, offset, random, random_only)
    rates = isinstance(fitted.method, Satterthwaite)
    placed = replace(fitted, fit=with_places(fitted.fit, new, rates)) if new.places else fitted
    chosen = with_chosen_places(chosen, new)
    out = prediction_results(
        placed, new, chosen, new_levels, exog, weights, random_only, with_errors
    )
    if new_levels == "population":
        warn_of_new_levels(fitted.design, new, chosen)
    return out if exog is not None else out.aligned(fitted.design)


def to_predictor(fit: Fit, terms: str | Sequence[str] | None = None) -> Predictor:
    """Return a small object that predicts without the data of the fit.

    Parameters
    ----------
    terms : str or sequence of str, optional
        The random effects to keep, as for `predict`; all by default.

    Returns
    -------
    Predictor
        ``predict(exog)``, ``save(path)``, ``Predictor.load(path)``.

    Raises
    ------
    DesignError
        If the model was made from arrays, or the formula uses something that a JSON file
        cannot hold (a function that cannot be imported, for one).

    Examples
    --------
    >>> from mixedlm_ext import MixedLM, datasets
    >>> data = datasets.sleepstudy.load_pandas().data
    >>> result = MixedLM.from_formula("Reaction ~ Days + (Days | Subject)", data).fit()
    >>> predictor = result.to_predictor()
    >>> round(predictor.predict({"Days": 5, "Subject": "309"}), 3)
    220.244
    """
    chosen = choose_terms(fit.design, "conditional", terms)
    return Predictor(predictor_record(fit, chosen), trusted=None)


def _as_data(fitted: Fitted, exog: Any) -> Any:
    """Return new data for a formula as a frame where they are one row of a frame."""
    if isinstance(exog, pd.Series) and fitted.design.formula is not None:
        return exog.to_frame().T.infer_objects()
    return exog


def _rows(
    fitted: Fitted, exog: Any, chosen: Chosen, offset: Any, random: Any, random_only: bool
) -> NewData:
    """Return the matrices of the new rows, or of the rows of the fit."""
    design = fitted.design
    if exog is not None:
        if random_only and offset is None and design.spec.offset.as_array:
            offset = 0.0
        new = rows_to_predict(design, exog, chosen, offset, random)
        if not random_only:
            mark_not_estimable(new.estimable, new.index)
        return new
    if offset is not None or random is not None:
        raise DesignError("offset= and random= belong to new rows. Pass these as exog=, too.")
    return rows_of_fit(fitted.rows("predictions for it"))


def _with(fit: Fit, newparams: Mapping[str, Any]) -> Fit:
    """Return the fit with other fixed effects, or with the modes of another theta."""
    known = ("beta", "theta")
    if not isinstance(newparams, Mapping):
        raise FitError(
            f"newparams is a {type(newparams).__name__}; it needs names, as in "
            "newparams={'beta': [...], 'theta': [...]}."
        )
    for name in newparams:
        if name not in known:
            raise FitError(
                f"newparams has {name!r}.{did_you_mean(str(name), known)} Predictions depend on "
                "'beta' and 'theta'."
            )
    given = fit_parameters(fit, {**newparams, "sigma": 1.0})
    b = tuple(u @ root.T for u, root in zip(fit.u, given.roots))
    return replace(fit, beta=given.beta, b=b if "theta" in newparams else fit.b)
