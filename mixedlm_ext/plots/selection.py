"""What a picture shows: the rows, terms, levels and columns that the user names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mixedlm_ext.design import Design, TermDesign
from mixedlm_ext.design.removed import require_rows
from mixedlm_ext.errors import RowsRemovedError, did_you_mean
from mixedlm_ext.estimation.fit import Fit
from mixedlm_ext.estimation.generalized import GeneralizedFit
from mixedlm_ext.families.curves import mean_of
from mixedlm_ext.generalized.residuals import row_residuals
from mixedlm_ext.plots.figure import PlotError
from mixedlm_ext.products.noise import noise_of

if TYPE_CHECKING:
    from typing import TypeAlias

    from mixedlm_ext.generalized.results import MixedGLMResults
    from mixedlm_ext.results import MixedLMResults

    Results: TypeAlias = MixedLMResults | MixedGLMResults

Array = NDArray[np.float64]
Index = NDArray[np.intp]

__all__ = [
    "check_alpha",
    "check_count",
    "column_values",
    "design_with_rows",
    "estimated",
    "evenly",
    "fit_with_rows",
    "grouping",
    "level_means",
    "level_names",
    "mean_at",
    "one_level_a_row",
    "refuse_generalized",
    "scaled_residuals",
    "terms_named",
]


def design_with_rows(result: Results) -> Design:
    """Return the design, or raise if its rows were removed or are too many to read."""
    return fit_with_rows(result).design


def fit_with_rows(result: Results) -> Any:
    """Return the record of the fit, or raise if its rows were removed or are too many to read."""
    fit = result.fit_record
    elsewhere = fit.design.rows.elsewhere
    design = None if elsewhere is None else elsewhere.gathered()
    if design is not None:
        return fit.with_design(design)
    try:
        require_rows(fit.design, "what this picture shows")
    except RowsRemovedError as error:
        raise PlotError(str(error)) from error
    return fit


def terms_named(result: Results, term: str | None) -> list[int]:
    """Return the position of the random-effects term called so; of all terms for None."""
    names = [t.name for t in result.fit_record.design.terms]
    if term is None:
        return list(range(len(names)))
    return [names.index(_known("random-effects term", term, names))]


def estimated(fit: Fit, i: int, j: int) -> bool:
    """Say whether column j of term i has a variance above the rounding errors of zero."""
    unit = np.linalg.norm(fit.problem.covariance.terms[i].whitening[:, j])
    return bool(np.sqrt(fit.random_cov[i][j, j]) * unit > 1e-6 * fit.sigma)


def grouping(design: Design, group: str | None) -> TermDesign:
    """Return the first term on a grouping factor; the first term of all for None."""
    if group is None:
        return one_level_a_row(
            next((t for t in design.terms if not t.has_members), design.terms[0])
        )
    groups = [t.group for t in design.terms]
    return one_level_a_row(design.terms[groups.index(_known("grouping factor", group, groups))])


def one_level_a_row(term: TermDesign) -> TermDesign:
    """Return the term, or raise if its rows belong to several levels."""
    if term.has_members:
        raise PlotError(
            f"rows belong to several levels of {term.group}, so that this picture has no place for "
            "them. Name another factor, or draw caterpillar()."
        )
    return term


def column_values(design: Design, name: str) -> pd.Series:
    """Return a variable of the data, or a column of X for a model made from arrays."""
    if design.frame is not None and name in design.frame.columns:
        return design.frame[name].reset_index(drop=True)
    known = list(design.x_names)
    if design.frame is not None:
        known = [str(c) for c in design.frame.columns] + known
    _known("variable of the model", name, known)
    return pd.Series(design.X[:, design.x_names.index(name)])


def level_names(term: TermDesign) -> list[str]:
    """Return the levels as text; those of an interaction joined by colons."""
    return [":".join(map(str, v)) if isinstance(v, tuple) else str(v) for v in term.levels]


def level_means(values: Array, codes: Index, levels: int) -> Array:
    """Return the mean of the values at each level, nan where it has no rows."""
    counts = np.bincount(codes, minlength=levels)
    sums = np.bincount(codes, weights=values, minlength=levels)
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)


def evenly(order: Index, most: int) -> Index:
    """Thin an order out to at most so many, its ends among them."""
    if len(order) <= most:
        return order
    return order[np.unique(np.linspace(0, len(order) - 1, most).round().astype(int))]


def scaled_residuals(result: Results) -> tuple[str, Array]:
    """Return residuals that are nearly standard normal if the model is right, and their name.

    √w (y - Xβ - Zb - offset)/σ, or randomized quantile residuals of a generalized model.
    """
    fit = fit_with_rows(result)
    if isinstance(fit, GeneralizedFit):
        return "quantile residual", row_residuals(fit, "quantile")
    residual = (fit.design.y - fit.fitted()) / fit.sigma
    return "scaled residual", noise_of(fit.design).root_times(residual)


def mean_at(fit: Fit, linear_predictor: Array) -> Array:
    """Return the mean of the response: the linear predictor itself, but in generalized models."""
    if isinstance(fit, GeneralizedFit):
        return mean_of(fit.family, linear_predictor)
    return linear_predictor


def refuse_generalized(result: Any, why: str, instead: str) -> None:
    """Raise where a picture is of linear mixed models only."""
    if isinstance(result.fit_record, GeneralizedFit):
        raise PlotError(f"{why}. {instead}")


def check_alpha(alpha: Any) -> None:
    """Raise unless `alpha` is between 0 and 1."""
    if not (isinstance(alpha, (int, float, np.number)) and 0 < alpha < 1):
        raise PlotError(f"alpha={alpha!r} is no level. Pass a number between 0 and 1, as 0.05.")


def check_count(argument: str, value: Any) -> None:
    """Raise unless `value` is a positive whole number."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
        raise PlotError(f"{argument}={value!r} is no number of groups. Pass 1, 2, ...")


def _known(kind: str, name: str, known: list[str]) -> str:
    """Return the name if it is known."""
    if name in known:
        return name
    distinct = list(dict.fromkeys(known))
    raise PlotError(
        f"there is no {kind} {name!r}.{did_you_mean(name, distinct)} "
        f"Use one of {', '.join(repr(k) for k in distinct)}."
    )
