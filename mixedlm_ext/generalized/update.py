"""The generalized model of a changed formula or of other data."""

from __future__ import annotations

from typing import Any

from mixedlm_ext.arguments import scope_of_caller
from mixedlm_ext.design.frame import read_table
from mixedlm_ext.design.known_terms import EarlierMatrices
from mixedlm_ext.errors import DesignError
from mixedlm_ext.estimation.fitted import Fitted
from mixedlm_ext.generalized.fitting import GLM_FIT_ARGUMENTS, AssembledGeneralized, fit
from mixedlm_ext.generalized.reading import (
    GLM_FORMULA_ARGUMENTS,
    GeneralizedDesign,
    read_generalized,
)
from mixedlm_ext.generalized.record import generalized
from mixedlm_ext.generalized.responses import has_two_columns
from mixedlm_ext.inference.update import known_columns, same_columns, same_rows, with_new_columns
from mixedlm_ext.keywords import refuse_unknown
from mixedlm_ext.language.update import update_formula

__all__ = ["update"]


def update(fitted: Fitted, /, formula: str = "~ .", data: Any = None, **kwargs: Any) -> Fitted:
    """Fit a changed model.

    Parameters
    ----------
    formula : str
        ``"~ . - x"``, ``"~ . - (x | g) + (1 | g)"``: a dot stands for what was there.
    data : DataFrame, polars.DataFrame or dict, optional
        Other data. By default the rows and the columns that this model uses, and others of the
        data while they are there.
    **kwargs
        Arguments of `MixedGLM.from_formula` (family, weights, offset, subset, ...) to change, and
        of `MixedGLM.fit` (nagq, ...). Others stay; with new data weights must be columns of it.

    Returns
    -------
    MixedGLMResults
        By the same approximation, if `nagq` is not given.

    Raises
    ------
    FormulaError
        If the formula cannot be read.
    DesignError
        If the model was made from arrays, or the data do not support the new one.

    Examples
    --------
    >>> import statsmodels.api as sm
    >>> from mixedlm_ext import MixedGLM, datasets
    >>> data = datasets.cbpp.load_pandas().data
    >>> formula = "incidence / size ~ period + (1 | herd)"
    >>> family = sm.families.Binomial()
    >>> result = MixedGLM.from_formula(formula, data, family=family, weights="size").fit()
    >>> round(result.update("~ . - period").llf, 4)
    -104.8313
    """
    known = (*GLM_FORMULA_ARGUMENTS, *GLM_FIT_ARGUMENTS)
    refuse_unknown("update", {name: None for name in kwargs if name not in known}, known)
    of_fit = {name: kwargs.pop(name) for name in list(kwargs) if name in GLM_FIT_ARGUMENTS}
    record, design = generalized(fitted), fitted.design
    if design.formula is None:
        raise DesignError(
            "the model was made from arrays and has no formula to change. Make another MixedGLM."
        )
    scope = kwargs.pop("eval_env", {**scope_of_caller(), **design.scope.values})
    names = known_columns(design) if data is None else read_table(data).names
    parsed = update_formula(design.formula, formula, names)
    arguments = {"family": record.family, "check": design.checks.given}
    arguments |= _same_weights(fitted, data, kwargs)
    arguments["cov"] = EarlierMatrices.of(design.formula, design.terms)
    arguments |= kwargs
    text = parsed.text
    if parsed.response == design.formula.response:  # as the user wrote it: two columns, say
        text = f"{design.endog_name} ~{text.partition('~')[2]}"
    if data is None:
        data = with_new_columns(design, parsed, arguments, scope)
        new = read_generalized(text, data, eval_env=scope, **arguments)
        rows = new.design.rows.within(design.rows)
        new = GeneralizedDesign(type(design)(new.design.spec, rows), new.family, new.prior)
    else:
        new = read_generalized(text, data, eval_env=scope, **arguments)
    return fit(AssembledGeneralized(new, fitted.face), **{"nagq": record.nagq, **of_fit})


def _same_weights(fitted: Fitted, data: Any, changed: dict[str, Any]) -> dict[str, Any]:
    """Return weights and offset of the rows of a fit, or the columns that hold those of others."""
    fit, design = generalized(fitted), fitted.design
    two = has_two_columns(design.endog_name, fit.family)
    if data is None:
        prior = fit.prior
        out = {"freq_weights": prior.freq, "var_weights": prior.var, **same_rows(design)}
        out["weights"] = None if two else prior.trials
        return out
    given = {"weights", "freq_weights", "var_weights"} & set(changed)
    kinds = [kind for kind in ("trials", "var", "freq") if getattr(fit.prior, kind) is not None]
    kinds = [kind for kind in kinds if not (two and kind == "trials")]
    columns = same_columns(design, changed)
    if kinds and not given and columns["weights"] is None:
        raise DesignError("the weights of the model were arrays. Pass weights= of the new data.")
    name = {"trials": "weights", "var": "var_weights", "freq": "freq_weights"}
    own = {name[kind]: columns["weights"] for kind in kinds if not given}
    return {**own, "offset": columns["offset"]}
