"""What makes a design of what users write: either spelling of a model, the caller's variables."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from mixedlm_ext.batches import design_from_source
from mixedlm_ext.batches.build import refuse_related
from mixedlm_ext.batches.elementwise import refuse_positions
from mixedlm_ext.design import Design, RandomTerm, design_from_formula
from mixedlm_ext.design.column import one_column
from mixedlm_ext.design.frame import read_table
from mixedlm_ext.design.messages import list_names
from mixedlm_ext.design.named_checks import read_checks
from mixedlm_ext.design.statsmodels_arrays import is_groups, terms_of_groups
from mixedlm_ext.errors import DesignError, FitError, outside_frame, shown
from mixedlm_ext.keywords import refuse_unknown
from mixedlm_ext.language import MixedFormula, parse_formula, translate_statsmodels
from mixedlm_ext.language.parser import check_is_text
from mixedlm_ext.sites.partitions import design_from_partitions
from mixedlm_ext.sources import Source, is_source, open_source
from mixedlm_ext.sources.dask import DaskFrame

__all__ = [
    "ARRAY_ARGUMENTS",
    "FORMULA_ARGUMENTS",
    "UNUSED_BY_ARRAYS",
    "UNUSED_BY_FORMULAS",
    "caller_scope",
    "random_terms",
    "read_formula",
    "scope_of_caller",
    "translate_groups",
]

FORMULA_ARGUMENTS = (
    "formula", "data", "subset", "drop_cols", "weights", "offset", "missing", "groups",
    "re_formula", "vc_formula", "hasconst", "eval_env", "check", "cov", "progress",
    "correlation", "variance",
)  # fmt: skip
ARRAY_ARGUMENTS = (
    "endog", "exog", "random", "weights", "offset", "missing", "hasconst", "groups", "exog_re",
    "exog_vc", "check",
)  # fmt: skip
UNUSED_BY_FORMULAS = ("use_sparse", "use_sqrt")
UNUSED_BY_ARRAYS = ("formula", "use_sqrt")
"""What statsmodels passes that changes no estimate: accepted and not used."""


def random_terms(
    random: Any, more: Sequence[Any], groups: Any, exog_re: Any, exog_vc: Any
) -> list[RandomTerm]:
    """Return the random terms of the array constructor, given in either spelling.

    `more` holds positional arguments after `random`: statsmodels' exog_re and exog_vc.
    """
    if groups is None and is_groups(random):
        random, groups = None, random
        if len(more) > 2 or (len(more) > (exog_re is None) + (exog_vc is None)):
            raise TypeError("MixedLM() takes endog, exog, groups, exog_re and exog_vc by position.")
        exog_re, exog_vc = [*more, *(exog_re, exog_vc)[len(more) :]]
    elif more:
        raise TypeError("MixedLM() takes weights and all that follows by keyword: weights=...")
    if groups is not None:
        if random is not None:
            raise DesignError("random= and groups= are both given. Pass one of them.")
        return terms_of_groups(groups, exog_re, exog_vc)
    if exog_re is not None or exog_vc is not None:
        raise DesignError("exog_re and exog_vc need groups=, a value for each row.")
    if random is None:
        raise DesignError(
            "random is missing: a mixed model needs random-effects terms. Pass "
            "random=[RandomTerm(groups)] or groups=, or write a formula with MixedLM.from_formula."
        )
    terms = [random] if isinstance(random, RandomTerm) else random
    try:
        return list(terms)
    except TypeError:
        raise DesignError(
            f"random is {type(random).__name__}; it needs RandomTerm objects. "
            "Pass random=[RandomTerm(groups)]."
        ) from None


def caller_scope(depth: int) -> dict[str, Any]:
    """Return the variables that the caller of the function that calls this one sees."""
    try:
        frame = sys._getframe(2 + max(depth, 0))
    except ValueError:
        raise FitError(f"eval_env={depth} goes up beyond the first caller. Pass 0.") from None
    return {} if depth < 0 else {**frame.f_globals, **frame.f_locals}


def scope_of_caller() -> dict[str, Any]:
    """Return the variables seen at the line outside the package from which it was called."""
    _, frame = outside_frame()
    return {**frame.f_globals, **frame.f_locals}


def read_formula(
    formula: Any,
    data: Any,
    subset: Any = None,
    drop_cols: Sequence[str] | None = None,
    *,
    weights: Any = None,
    offset: Any = None,
    missing: str = "drop",
    groups: Any = None,
    re_formula: str | None = None,
    vc_formula: Mapping[str, str] | None = None,
    eval_env: Mapping[str, Any],
    check: Mapping[str, str] | None = None,
    correlation: str | None = None,
    variance: str | None = None,
    cov: Mapping[str, Any] | None = None,
    progress: bool = False,
    saturated: bool | None = None,
    **kwargs: Any,
) -> Design:
    """Create a model from a formula and data.

    Parameters
    ----------
    formula : str
        A patsy formula with parenthesised random-effects terms: ``"y ~ x + (x | g)"``.
    data : DataFrame, polars.DataFrame, dict, or a source of batches
        Rows in memory; or a path, list of paths or pattern of Parquet, Arrow or CSV files, a
        Dataset or RecordBatchReader of pyarrow, a LazyFrame of polars, or a function that returns
        an iterator of frames. These are read twice, a batch at a time; see the notes.
    subset : array_like, optional
        Rows to use: booleans, or labels of the index. Of rows in batches: booleans, or a function
        that returns those of a frame.
    drop_cols : sequence of str, optional
        Columns of the fixed part to leave out.
    weights, offset : str or array_like, optional
        A column of the data, or an array of the data's length (see `MixedLM`).
    missing : {"drop", "exclude", "raise", "none"}
        Leave out rows with a missing value in anything that the model uses, or refuse them.
        "exclude" leaves them out, too, and aligns what the results have for each row
        (``fittedvalues``, ``resid``, ``residuals()``, ``predict()``, ``get_prediction()``) with
        all rows of `data`, missing where a row was not used: R's ``na.exclude``.
    groups, re_formula, vc_formula : optional
        statsmodels' spelling of the random effects, instead of terms in the formula.
    hasconst : bool, optional
    eval_env : int or mapping
        How many frames further up to look for variables that are not in the data; or the
        variables themselves.
    check : mapping of str to {"error", "warn", "ignore"}, optional
        What to do with what single checks find, ``{"levels": "warn"}``; see the notes.
    correlation : str, optional
        How the residuals of a group are correlated: ``"ar1(week | subject)"`` by whole numbers,
        ``"car1(time | subject)"`` by any, ``"cs(1 | subject)"`` equally.
    variance : str, optional
        What the standard deviation of the residuals follows: ``"sex"`` (one in each level),
        ``"power(x)"``, ``"exp(x)"``, or a product, ``"sex * power(x)"``.
    cov : mapping of str to DataFrame, tuple (matrix, labels) or pedigree, optional
        Known covariances of the levels of grouping factors, by the name of the factor or by the
        name that ``gr(id, cov=name)``, or ``mm(g1, g2, cov=name)``, has for it.
    progress : bool
        Show a bar of the rows (tqdm) while batches are read.

    Returns
    -------
    MixedLM

    Raises
    ------
    FormulaError
        If the formula cannot be read.
    DesignError
        If the data do not support the model.

    Notes
    -----
    ========================  ==================================================================
    ``(1 | g)``               an intercept for each level of g
    ``(x | g)``               intercept and slope of x, correlated
    ``(0 + x | g)``           slope only
    ``(x || g)``              intercept and slope, uncorrelated; for a factor all its columns are
                              uncorrelated, unlike lme4's expansion of ``||``
    ``(1 | a/b)``             ``(1 | a) + (1 | a:b)``
    ``(1 | a:b)``             the combinations of a and b that occur
    ``(1 | gr(id, cov=A))``   effects of id with the covariance A times a variance; A is a variable
                              of the caller, or in `cov`; ``prec=`` for the inverse of A
    ``offset(z)``             a known term of the linear predictor
    ``y ~ . + (1 | g)``       all other columns that no random term uses
    ========================  ==================================================================

    The checks that `check` takes by name:

    ==============  =======  ==============================================================
    check           default  what it finds
    ==============  =======  ==============================================================
    ``levels``      error    a grouping factor of one level; as many levels, or random
                             effects of one term, as observations (none of it but one
                             level if there are weights and ``fit(sigma=...)``)
    ``slopes``      error    a random slope that is constant in the data
    ``repeated``    error    a column in two random terms of the same groups
    ``identified``  error    variances and covariances that the data cannot show, as they
                             lie within the fixed part, or columns never meet in one level
    ``redundant``   ignore   variances of several terms of which only the sum is seen
    ``reproduced``  error    a response that the fixed part, or the fixed and random parts
                             together, reproduce exactly
    ``rank``        warn     columns of the fixed part left out, being combinations of others
    ==============  =======  ==============================================================

    Whatever is let through by "warn" or "ignore" is estimated as it stands: numbers for
    parameters that the data do not show are arbitrary, and tests that rest on them wrong.

    A model of rows in batches holds their cross-products, not the rows. Its fit is that of the rows
    in memory; ``fittedvalues``, ``resid``, ``residuals()`` and ``predict()`` read the source again.
    What needs all rows at once reads them into memory for the call, if they are not too many. A
    formula with ``center``, ``standardize`` or ``bs`` takes a third pass. A structure of residuals
    is kept as sums, too, as long as few variances and few times between neighbours differ; rows of
    ``ar1`` and ``car1`` come in the order of time within each group.

    Examples
    --------
    >>> from mixedlm_ext import MixedLM, datasets
    >>> data = datasets.penicillin.load_pandas().data
    >>> model = MixedLM.from_formula("diameter ~ 1 + (1 | plate) + (1 | sample)", data)
    >>> round(model.fit().sigma, 4)
    0.5499
    """
    refuse_unknown("from_formula", kwargs, FORMULA_ARGUMENTS, ignored=UNUSED_BY_FORMULAS)
    if groups is None and (re_formula is not None or vc_formula is not None):
        raise DesignError(
            "re_formula and vc_formula need groups=. Write the random effects into the "
            "formula, (x | g), or name the grouping column with groups='g'."
        )
    with_components = groups is None and isinstance(formula, MixedFormula)  # of `update`
    if not with_components:
        check_is_text(formula)
    rows = open_source(data) if is_source(data) else read_table(data)
    structured = correlation is not None or variance is not None
    scope = eval_env
    if with_components:
        parsed = formula
    elif groups is None:
        parsed = parse_formula(formula, allow_no_random=structured, columns=rows.names)
    elif isinstance(rows, Source):
        parsed = _translate_named(formula, groups, re_formula, vc_formula, rows.names)
    else:
        parsed, scope = translate_groups(formula, data, groups, re_formula, vc_formula, scope)
    build = partial(design_from_formula, cov=cov, correlation=correlation, variance=variance)
    if isinstance(rows, Source):
        _refuse_in_batches(parsed, cov)
    if isinstance(rows, DaskFrame) and not structured:
        build = partial(design_from_partitions, progress=progress)
    elif isinstance(rows, Source):  # groups of rows may go on in the next partition
        build = partial(
            design_from_source, progress=progress, correlation=correlation, variance=variance
        )
    return build(
        parsed,
        rows,
        env=scope,
        weights=weights,
        offset=offset,
        missing=missing,
        subset=subset,
        drop_cols=drop_cols,
        allow_saturated=weights is not None if saturated is None else saturated,
        checks=read_checks(check),
    )


def translate_groups(
    formula: str,
    data: Any,
    groups: Any,
    re_formula: str | None,
    vc_formula: Mapping[str, str] | None,
    scope: Mapping[str, Any],
) -> tuple[MixedFormula, Mapping[str, Any]]:
    """Translate statsmodels' spelling; grouping values that are no column join the scope."""
    groups = _one_factor(groups, data)
    if not isinstance(groups, str):
        values = groups if hasattr(groups, "dtype") else np.asarray(groups, dtype=object)
        name = _groups_name(groups, data)
        scope, groups = {**scope, name: values}, name

    columns = read_table(data).names
    return translate_statsmodels(formula, groups, re_formula, vc_formula, columns), scope


def _refuse_in_batches(parsed: MixedFormula, cov: Any) -> None:
    """Refuse what needs the rows of a level together, or a matrix of the levels."""
    refuse_related(parsed, cov)
    refuse_positions(parsed)


def _translate_named(
    formula: str, groups: Any, re_formula: str | None, vc_formula: Any, columns: Sequence[Any]
) -> MixedFormula:
    """Translate statsmodels' spelling for rows in batches, whose groups are a column."""
    if not isinstance(groups, str):
        raise DesignError(
            f"groups={shown(groups)} is no column of the data, which are read in batches. Pass the "
            f"name of a column ({list_names(columns)})."
        )
    return translate_statsmodels(formula, groups, re_formula, vc_formula, columns)


def _one_factor(groups: Any, data: Any) -> Any:
    """Return the one grouping factor that statsmodels' argument is; refuse several."""
    named = isinstance(groups, list | tuple) and all(isinstance(g, str) for g in groups)
    columns = data if hasattr(data, "__contains__") else ()
    if named and all(g in columns for g in groups):
        names = list(groups)
    elif isinstance(groups, pd.DataFrame):
        names = list(groups.columns)
    elif isinstance(groups, np.ndarray) and groups.ndim == 2:
        named, names = False, ["a", "b"][: groups.shape[1]]
    else:
        return groups
    if len(names) == 1:
        return groups[0] if named else one_column(groups, "groups")
    if len(names) > 1 and np.size(groups) > 1:
        a, b, *_ = names
        raise DesignError(
            f"groups= is one factor, not {len(names)} columns. Write random terms into the "
            f"formula: (1 | {a}) + (1 | {b}) for crossed factors, (1 | {a}/{b}) for {b} within "
            f"{a}, (1 | {a}:{b}) for their combinations."
        )
    return groups


def _groups_name(groups: Any, data: Any) -> str:
    """Return the name of the column that the values are, or one that no column has."""
    columns = data if hasattr(data, "__contains__") else ()
    name = getattr(groups, "name", None)
    if isinstance(name, str) and (name not in columns or pd.Series(data[name]).equals(groups)):
        return name
    return next(n for n in ("groups", "groups_", "groups__") if n not in columns)
