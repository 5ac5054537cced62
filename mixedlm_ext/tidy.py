"""The fit as plain frames, as R's broom.mixed makes them: tidy, glance, augment."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import norm

from mixedlm_ext.design import Design
from mixedlm_ext.design.frame import read_table
from mixedlm_ext.design.names import code_names
from mixedlm_ext.errors import DesignError, FitError, check_choice
from mixedlm_ext.fit import Fit
from mixedlm_ext.inference.choices import name_list
from mixedlm_ext.prediction.means import rows_of_fit
from mixedlm_ext.tables import Table
from mixedlm_ext.varcorr import RESIDUAL, correlations

if TYPE_CHECKING:
    from mixedlm_ext.results import MixedLMResults

Array = NDArray[np.float64]

__all__ = ["augment_frame", "glance_frame", "tidy_frame"]

EFFECTS = ("fixed", "ran_pars", "ran_vals")
_ADDED = ("fitted", "resid", "fixed")


def tidy_frame(
    results: MixedLMResults, effects: str | Sequence[str], conf_int: bool, conf_level: float
) -> pd.DataFrame:
    """Return the frame of `MixedLMResults.tidy`."""
    wanted = name_list(effects, "effects", "['fixed', 'ran_pars']")
    for effect in wanted:
        check_choice("effects", effect, EFFECTS)
    if not 0 < conf_level < 1:
        raise FitError(f"conf_level={conf_level!r} is no probability. Pass a number such as 0.95.")
    rows: list[dict[str, Any]] = []
    for effect in EFFECTS:
        if effect in wanted:
            rows += _ROWS[effect](results, conf_level)
    columns = ["effect", "group", "term", "estimate", "se", "statistic", "df", "pvalue"]
    if "ran_vals" in wanted:
        columns.insert(2, "level")
    if conf_int:
        columns += ["ci_lower", "ci_upper"]
    return Table(rows, columns=columns)


def _fixed_rows(results: MixedLMResults, conf_level: float) -> Iterable[dict[str, Any]]:
    """Return one row for each fixed effect."""
    limits = np.asarray(results.conf_int(alpha=1.0 - conf_level))
    names = results.fit_record.design.x_names
    for i, name in enumerate(names):
        yield {
            "effect": "fixed",
            "term": name,
            "estimate": results.params[i],
            "se": results.bse[i],
            "statistic": results.tvalues[i],
            "df": results.df_resid_inference[i],
            "pvalue": results.pvalues[i],
            "ci_lower": limits[i, 0],
            "ci_upper": limits[i, 1],
        }


def _parameter_rows(results: MixedLMResults, conf_level: float) -> Iterable[dict[str, Any]]:
    """Return one row for each standard deviation and correlation."""
    fit = results.fit_record
    for term, cov in zip(fit.design.terms, fit.random_cov):
        one = {"effect": "ran_pars", "group": term.name}
        corr, kind = correlations(cov), term.kind
        for i, name in enumerate(term.variances):
            yield {**one, "term": f"sd__{name}", "estimate": float(np.sqrt(cov[i, i]))}
            for j in range(i + 1, len(cov) if kind.linear and kind.correlated else 0):
                yield {**one, "term": f"cor__{name}.{term.columns[j]}", "estimate": corr[i, j]}
        for label, pair in () if kind.linear else term.correlations:
            yield {**one, "term": f"cor__{label}", "estimate": corr[pair]}
    yield {
        "effect": "ran_pars", "group": RESIDUAL, "term": "sd__Observation", "estimate": fit.sigma,
    }  # fmt: skip


def _mode_rows(results: MixedLMResults, conf_level: float) -> Iterable[dict[str, Any]]:
    """Return one row for each conditional mode, with normal intervals as broom.mixed has them."""
    fit = results.fit_record
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


def glance_frame(results: MixedLMResults) -> pd.DataFrame:
    """Return the frame of `MixedLMResults.glance`."""
    row = {
        "nobs": results.nobs,
        "sigma": results.sigma,
        "logLik": results.llf,
        "AIC": results.aic,
        "BIC": results.bic,
        "REMLcrit" if results.reml else "deviance": results.objective,
        "df_residual": results.nobs - results.df_modelwc,
    }
    return Table([row])


def augment_frame(results: MixedLMResults, data: Any, offset: Any) -> pd.DataFrame:
    """Return the frame of `MixedLMResults.augment`."""
    fit = results.fit_record
    y: Array | None
    if data is None:
        results._need_rows("a frame of its rows")
        if offset is not None:
            raise DesignError("offset= belongs to other data. Pass these as data=, too.")
        frame, new, y = _training_frame(fit), None, fit.design.y
    elif fit.design.formula is None:
        raise DesignError(
            "augment takes data= for models made from a formula only. Without it, it gives the "
            "rows of the fit; predict(exog, random=...) predicts at others."
        )
    else:
        table = read_table(data)
        columns = {name: table.column(name).array for name in table.names}
        frame, new = pd.DataFrame(columns, index=table.index), data
        y = _response(fit.design, frame)
    taken = [name for name in _ADDED if name in frame]
    if taken:
        raise DesignError(
            f"the data have a column {taken[0]!r}, which augment would add. Rename it, as in "
            f"data.rename(columns={{{taken[0]!r}: ...}})."
        )
    if new is None:
        rows = rows_of_fit(fit.design)
        fitted, fixed = fit.fitted(), rows.X @ fit.beta + rows.offset
    else:
        fitted = np.asarray(results.predict(new, offset=offset))
        fixed = np.asarray(results.predict(new, which="population", offset=offset))
    frame["fitted"] = fitted
    if y is not None:
        frame["resid"] = y - fitted
    frame["fixed"] = fixed
    return Table(frame)


def _training_frame(fit: Fit) -> pd.DataFrame:
    """Return the used columns of the data, or response and X of a model made from arrays."""
    design = fit.design
    if design.frame is not None:
        return design.frame.copy()
    frame = pd.DataFrame(design.X, index=design.index, columns=list(design.x_names))
    frame.insert(0, design.endog_name, design.y)
    return frame


def _response(design: Design, frame: pd.DataFrame) -> Array | None:
    """Return the response in other data; None if they do not have its columns."""
    assert design.frame is not None
    (piece,) = design.matrices.pieces("response")
    needed = code_names(piece.code).values & set(design.frame.columns)
    if not needed <= set(frame.columns):
        return None
    return design.new_data(frame, need_response=True, terms=(), offset=0).y
