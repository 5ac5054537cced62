"""The fit as plain frames, as R's broom.mixed makes them: tidy, glance, augment."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import norm

from mixedlm_ext.design import Design
from mixedlm_ext.design.formula_code import code_names
from mixedlm_ext.design.frame import read_table
from mixedlm_ext.errors import DesignError, check_choice, check_probability
from mixedlm_ext.estimation.fit import Fit
from mixedlm_ext.estimation.fitted import Fitted
from mixedlm_ext.estimation.varcorr import RESIDUAL, correlations
from mixedlm_ext.inference.choices import name_list
from mixedlm_ext.inference.fixed.coefficients import Coefficients
from mixedlm_ext.prediction.means import rows_of_fit
from mixedlm_ext.prediction.predict import predict
from mixedlm_ext.structures.positions import range_of_correlation
from mixedlm_ext.tables import Table

Array = NDArray[np.float64]

__all__ = ["augment", "augmented", "frame_to_augment", "glance", "tidy"]

EFFECTS = ("fixed", "ran_pars", "ran_vals")
_ADDED = ("fitted", "resid", "fixed")


def tidy(
    fitted: Fitted,
    effects: str | Sequence[str] = ("fixed", "ran_pars"),
    conf_int: bool = False,
    conf_level: float = 0.95,
) -> pd.DataFrame:
    """Return the estimates as a frame of one row each, as R's broom.mixed does.

    Parameters
    ----------
    effects : {"fixed", "ran_pars", "ran_vals"}, or several of them
        Fixed effects; standard deviations and correlations of the random effects; conditional
        modes of the random effects.
    conf_int : bool
        Add the columns ``ci_lower`` and ``ci_upper``; they are missing for "ran_pars".
    conf_level : float

    Returns
    -------
    DataFrame
        Columns ``effect``, ``group``, (``level`` of "ran_vals",) ``term``, ``estimate``,
        ``se``, ``statistic``, ``df``, ``pvalue``. Terms of "ran_pars" are named
        ``sd__Days``, ``cor__Intercept.Days``, ``sd__Observation``.

    Raises
    ------
    DesignError
        If there are no such effects.
    FitError
        If `conf_level` is no probability.

    Examples
    --------
    >>> from mixedlm_ext import MixedLM, datasets
    >>> data = datasets.sleepstudy.load_pandas().data
    >>> result = MixedLM.from_formula("Reaction ~ Days + (Days | Subject)", data).fit()
    >>> result.tidy()[["effect", "group", "term", "estimate"]].round(2)
         effect     group                 term  estimate
    0     fixed       NaN            Intercept    251.41
    1     fixed       NaN                 Days     10.47
    2  ran_pars   Subject        sd__Intercept     24.74
    3  ran_pars   Subject  cor__Intercept.Days      0.07
    4  ran_pars   Subject             sd__Days      5.92
    5  ran_pars  Residual      sd__Observation     25.59
    """
    wanted = name_list(effects, "effects", "['fixed', 'ran_pars']")
    for effect in wanted:
        check_choice("effects", effect, EFFECTS)
    check_probability("conf_level", conf_level, 0.95)
    rows: list[dict[str, Any]] = []
    for effect in EFFECTS:
        if effect in wanted:
            rows += _ROWS[effect](fitted, conf_level)
    columns = ["effect", "group", "term", "estimate", "se", "statistic", "df", "pvalue"]
    if "ran_vals" in wanted:
        columns.insert(2, "level")
    if conf_int:
        columns += ["ci_lower", "ci_upper"]
    return Table(rows, columns=columns)


def _fixed_rows(fitted: Fitted, conf_level: float) -> Iterable[dict[str, Any]]:
    """Return one row for each fixed effect."""
    found = Coefficients(fitted)
    limits = found.limits(1.0 - conf_level)
    names = fitted.design.x_names
    for i, name in enumerate(names):
        yield {
            "effect": "fixed",
            "term": name,
            "estimate": fitted.beta[i],
            "se": found.se[i],
            "statistic": found.t[i],
            "df": found.df[i],
            "pvalue": found.p[i],
            "ci_lower": limits[i, 0],
            "ci_upper": limits[i, 1],
        }


def _parameter_rows(fitted: Fitted, conf_level: float) -> Iterable[dict[str, Any]]:
    """Return one row for each standard deviation and correlation."""
    fit = fitted.fit
    for term, cov in zip(fit.design.terms, fit.random_cov):
        one = {"effect": "ran_pars", "group": term.name}
        corr, kind = correlations(cov), term.kind
        for i, name in enumerate(term.variances):
            yield {**one, "term": f"sd__{name}", "estimate": float(np.sqrt(cov[i, i]))}
            for j in range(i + 1, len(cov) if kind.linear and kind.correlated else 0):
                yield {**one, "term": f"cor__{name}.{term.columns[j]}", "estimate": corr[i, j]}
        for label, pair in () if kind.linear else term.correlations:
            distance, told = kind.pair_distance(pair), kind.told(corr, pair)
            if distance is None:
                yield {**one, "term": f"cor__{label}", "estimate": float(told)}
            else:
                found = float(range_of_correlation(told, distance))
                yield {**one, "term": label, "estimate": found}
    if fit.has_residual:
        yield from _residual_rows(fit)


def _residual_rows(fit: Fit) -> Iterable[dict[str, Any]]:
    """Return the rows of the residual standard deviation and of a residual structure."""
    one = {"effect": "ran_pars", "group": RESIDUAL}
    structure = fit.design.residual
    if structure is None or structure.values is None:
        yield {**one, "term": "sd__Observation", "estimate": fit.sigma}
        return
    for name, ratio in structure.strata_ratios():
        yield {**one, "term": f"sd__{name or 'Observation'}", "estimate": fit.sigma * ratio}
    for parameter, value in zip(structure.parameters, structure.values):
        if parameter.kind != "ratio":
            prefix = f"{parameter.kind}__" if parameter.kind == "cor" else ""
            yield {**one, "term": f"{prefix}{parameter.name}", "estimate": float(value)}


def _mode_rows(fitted: Fitted, conf_level: float) -> Iterable[dict[str, Any]]:
    """Return one row for each conditional mode, with normal intervals as broom.mixed has them."""
    fit = fitted.fit
    half = float(norm.ppf(0.5 + conf_level / 2.0))
    for term, b, cov in zip(fit.design.terms, fit.b, fit.conditional_cov):
        sd = np.sqrt(np.einsum("lkk->lk", cov))
        for level, values, errors in zip(term.levels, b, sd):
            for name, value, error in zip(term.columns, values, errors):
                yield {
                    "effect": "ran_vals",
                    "group": term.name,
                    "level": level,
                    "term": name,
                    "estimate": value,
                    "se": error,
                    "ci_lower": value - half * error,
                    "ci_upper": value + half * error,
                }


_ROWS = {"fixed": _fixed_rows, "ran_pars": _parameter_rows, "ran_vals": _mode_rows}


def glance(fitted: Fitted) -> pd.DataFrame:
    """Return a frame of one row that describes the fit, as R's broom.mixed does.

    Returns
    -------
    DataFrame (1, 7)
        Columns ``nobs``, ``sigma``, ``logLik``, ``AIC``, ``BIC``, ``REMLcrit`` (``deviance``
        after ML), and ``df_residual``: observations less all parameters, as in R.

    Examples
    --------
    >>> from mixedlm_ext import MixedLM, datasets
    >>> data = datasets.sleepstudy.load_pandas().data
    >>> result = MixedLM.from_formula("Reaction ~ Days + (Days | Subject)", data).fit()
    >>> result.glance().round(2)
       nobs  sigma  logLik      AIC      BIC  REMLcrit  df_residual
    0   180  25.59 -871.81  1755.63  1774.79   1743.63          174
    """
    row = {
        "nobs": fitted.n,
        "sigma": fitted.fit.sigma,
        "logLik": fitted.llf,
        "AIC": fitted.aic,
        "BIC": fitted.bic,
        "REMLcrit" if fitted.fit.reml else "deviance": fitted.fit.objective,
        "df_residual": fitted.n - fitted.n_parameters,
    }
    return Table([row])


def augment(fitted: Fitted, data: Any = None, offset: Any = None) -> pd.DataFrame:
    """Return the data with fitted values and residuals, as R's broom.mixed does.

    Parameters
    ----------
    data : DataFrame, polars.DataFrame or dict, optional
        Other data, or those of the fit with columns that the model does not use. By default the
        columns and rows that the fit used.
    offset : str or array_like, optional
        Of these data, as for `predict`.

    Returns
    -------
    DataFrame
        The data and columns ``fitted`` (conditional on the random effects), ``resid`` (if the
        data have the response) and ``fixed`` (random effects of zero).

    Raises
    ------
    DesignError
        If the data have one of these columns already.

    Examples
    --------
    >>> from mixedlm_ext import MixedLM, datasets
    >>> data = datasets.sleepstudy.load_pandas().data
    >>> result = MixedLM.from_formula("Reaction ~ Days + (Days | Subject)", data).fit()
    >>> result.augment()[["Reaction", "fitted", "resid", "fixed"]].head(2).round(2)
       Reaction  fitted  resid   fixed
    0    249.56  253.66  -4.10  251.41
    1    258.70  273.33 -14.63  261.87
    """
    fit = fitted.fit
    frame, y = frame_to_augment(fitted, data, offset)
    if data is None:
        rows = rows_of_fit(fit.design)
        values, fixed = fit.fitted(), rows.X @ fit.beta + rows.offset
    else:
        values = np.asarray(predict(fitted, data, offset=offset))
        fixed = np.asarray(predict(fitted, data, which="population", offset=offset))
    return augmented(frame, y, values, fixed)


def frame_to_augment(fitted: Fitted, data: Any, offset: Any) -> tuple[pd.DataFrame, Array | None]:
    """Return the frame that `augment` adds to, and the response if the data have it."""
    design = fitted.design
    y: Array | None
    if data is None:
        fitted.rows("a frame of its rows")
        if offset is not None:
            raise DesignError("offset= belongs to other data. Pass these as data=, too.")
        frame, y = _training_frame(design), design.y
    elif design.formula is None:
        raise DesignError(
            "augment takes data= for models made from a formula only. Without it, it gives the "
            "rows of the fit; predict(exog, random=...) predicts at others."
        )
    else:
        table = read_table(data)
        columns = {name: table.column(name).array for name in table.names}
        frame = pd.DataFrame(columns, index=table.index)
        y = _response_in(design, frame)
    taken = [name for name in _ADDED if name in frame]
    if taken:
        raise DesignError(
            f"the data have a column {taken[0]!r}, which augment would add. Rename it, as in "
            f"data.rename(columns={{{taken[0]!r}: ...}})."
        )
    return frame, y


def augmented(frame: pd.DataFrame, y: Array | None, values: Array, fixed: Array) -> pd.DataFrame:
    """Return the frame with what `augment` adds."""
    frame["fitted"] = values
    if y is not None:
        frame["resid"] = y - values
    frame["fixed"] = fixed
    return Table(frame)


def _training_frame(design: Design) -> pd.DataFrame:
    """Return the used columns of the data, or response and X of a model made from arrays."""
    if design.frame is not None:
        return design.frame.copy()
    frame = pd.DataFrame(design.X, index=design.index, columns=list(design.x_names))
    frame.insert(0, design.endog_name, design.y)
    return frame


def _response_in(design: Design, frame: pd.DataFrame) -> Array | None:
    """Return the response in other data; None if they do not have its columns."""
    assert design.frame is not None
    (piece,) = design.matrices.pieces("response")
    needed = code_names(piece.code).values & set(design.frame.columns)
    if not needed <= set(frame.columns):
        return None
    return design.new_data(frame, need_response=True, terms=(), offset=0).y
