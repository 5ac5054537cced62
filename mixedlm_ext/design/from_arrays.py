"""Arrays -> `Design`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import sparse

from mixedlm_ext.design.checks import check_matrix, check_response, number_vector, offset_vector
from mixedlm_ext.design.design import Design
from mixedlm_ext.design.fixed import keep_columns
from mixedlm_ext.design.frame import one_per_row
from mixedlm_ext.design.from_formula import unique_name
from mixedlm_ext.design.grouping import combine_codes, level_codes
from mixedlm_ext.design.known import KnownMatrix, places_of
from mixedlm_ext.design.members import at_columns, patterns
from mixedlm_ext.design.named_checks import Checks
from mixedlm_ext.design.random_arrays import ArrayTerm, exog_columns, read_random_term
from mixedlm_ext.design.records import RandomTerm, TermDesign
from mixedlm_ext.design.row_arguments import OFFSET, WEIGHTS
from mixedlm_ext.design.row_choice import RowChoice, choose_rows
from mixedlm_ext.design.spec import Spec
from mixedlm_ext.design.term_checks import check_term, repeated_column
from mixedlm_ext.design.values import row_shape
from mixedlm_ext.errors import DesignError

__all__ = ["design_from_arrays"]

Floats = npt.NDArray[np.float64]


def design_from_arrays(
    endog: Any,
    exog: Any,
    random: Sequence[RandomTerm] | RandomTerm,
    *,
    weights: Any = None,
    offset: Any = None,
    missing: str = "none",
    allow_saturated: bool = False,
    checks: Checks | None = None,
) -> Design:
    """Lay out arrays as a design.

    Parameters
    ----------
    endog : array-like (n,)
    exog : array-like (n, p) or None
        Fixed columns; None for none. No intercept is added.
    random : sequence of RandomTerm
    weights, offset : array-like (n,), optional
        Precision weights; known part of the linear predictor.
    missing : {"none", "drop", "exclude", "raise"}
        "drop" leaves out rows with a missing value anywhere; "exclude" does, too, and remembers
        where they were; the others refuse them.
    allow_saturated : bool
        Accept as many random effects as observations, which is right when sigma is known.
    checks : Checks, optional
        What to do with what the checks find.

    Returns
    -------
    Design

    Raises
    ------
    DesignError
        If the arrays do not fit together or do not support the model.

    Warns
    -----
    DesignWarning
        If columns are not estimable or rows have zero weight.

    Examples
    --------
    >>> y, x, g = [1.0, 2.0, 4.0, 4.0, 5.0, 9.0], [[1, 0], [1, 1]] * 3, list("aabbcc")
    >>> design = design_from_arrays(y, x, [RandomTerm(g)])
    >>> design.x_names, design.terms[0].name, design.terms[0].columns
    (('const', 'x1'), 'group', ('Intercept',))
    """
    checks = Checks() if checks is None else checks
    y = _endog(endog)
    n = len(y)
    columns, names, _ = exog_columns(exog, n)
    given = [random] if isinstance(random, RandomTerm) else list(random)
    if not given:
        raise DesignError("there is no random term. Fit the model with statsmodels' OLS.")
    terms = [read_random_term(term, i, len(given)) for i, term in enumerate(given)]
    index = _common_index([endog, exog, weights, offset, *_pandas_parts(given)], n)
    weights = None if weights is None else one_per_row(weights, "weights", n)
    offset = None if offset is None else one_per_row(offset, "offset", n)
    name = "y" if y.name is None else str(y.name)
    every = {name: y, **_labelled(columns, names, terms, n)}
    every.update({k: v for k, v in (("weights", weights), ("offset", offset)) if v is not None})
    choice = choose_rows(
        every, index, subset=None, weights=weights, weights_name="weights", missing=missing
    )
    known = None if offset is None else offset_vector(choice.take(offset), "offset", choice.index)
    response = number_vector(choice.take(y), f"response {name!r}", len(choice.index))
    check_response(response, name, known, choice.index)
    X = _stack(columns, choice, n)
    check_matrix(X, names, "exog", choice.index)
    laid = _terms(terms, choice, n, checks, allow_saturated)
    fixed = keep_columns(X, names, choice.weights, checks=checks)
    spec = Spec(
        endog_name=name,
        **fixed.told(),
        terms=tuple(term.spec for term in laid),
        weights=WEIGHTS.given_as(None, weights),
        offset=OFFSET.given_as(None, offset),
        checks=checks,
    )
    by_term = [(term.X, term.codes) for term in laid]
    return Design(spec, choice.rows_of(response, fixed.X, by_term, known, index, missing))


def _endog(endog: Any) -> pd.Series:
    """The response as a Series; n is its length."""
    shape = row_shape(endog, "endog")
    if isinstance(endog, pd.DataFrame) and shape[1] == 1:
        endog, shape = endog.iloc[:, 0], shape[:1]
    elif len(shape) == 2 and shape[1] == 1:
        endog, shape = np.ravel(endog), shape[:1]
    if not shape:
        raise DesignError(f"endog is a {type(endog).__name__}; it needs one value a row.")
    if len(shape) != 1:
        raise DesignError(f"endog has shape {shape}; it needs one value a row.")
    return one_per_row(endog, "endog", shape[0])


def _pandas_parts(terms: Sequence[RandomTerm]) -> Iterator[Any]:
    """Everything in the random terms that may carry an index."""
    for term in terms:
        yield term.exog
        groups = term.groups if isinstance(term.groups, list | tuple) else [term.groups]
        yield from (part for part in groups if isinstance(part, pd.Series | pd.DataFrame))


def _common_index(parts: Sequence[Any], n: int) -> pd.Index:
    """The index of the pandas inputs, which must be one and the same."""
    common = None
    for part in parts:
        if not isinstance(part, pd.Series | pd.DataFrame) or len(part) != n:
            continue
        common = part.index if common is None else common
        if not part.index.equals(common):
            raise DesignError(
                "the arrays are pandas objects with different indexes. "
                "Pass .to_numpy() of each to go by position."
            )
    return pd.RangeIndex(n) if common is None else common


def _labelled(
    columns: Sequence[Floats], names: Sequence[str], terms: Sequence[ArrayTerm], n: int
) -> dict[str, pd.Series]:
    """Every array by its name for messages, all of one length."""
    labelled = {f"exog {name!r}": pd.Series(c) for name, c in zip(names, columns, strict=True)}
    for i, term in enumerate(terms):
        for name, factor in zip(term.factor_names, term.factors, strict=True):
            labelled[f"groups {name!r} (random[{i}])"] = factor
        for name, column in zip(term.columns, term.exog, strict=True):
            labelled[f"exog {name!r} (random[{i}])"] = pd.Series(column)
    for label, values in labelled.items():
        if len(values) != n:
            raise DesignError(f"{label} has {len(values)} values; endog has {n}.")
    return labelled


def _stack(columns: Sequence[Floats], choice: RowChoice, n: int) -> Floats:
    """The used rows of some columns as a matrix; a copy, whatever the user does to his array."""
    matrix = np.column_stack(columns) if columns else np.empty((n, 0))
    return matrix if choice.rows is None else matrix[choice.rows]


def _levels(
    term: ArrayTerm, choice: RowChoice
) -> tuple[npt.NDArray[np.intp], pd.Index, KnownMatrix | None]:
    """Return the codes of the used rows, the levels, and what these have in common."""
    if term.Z is not None and term.names is not None:
        rows = choice.take(term.factors[0]).to_numpy()
        Z, names, known = sparse.csr_array(term.Z[rows]), term.names, term.known
        if known is not None:
            place = places_of(names.rename(term.group), known, term.text)
            Z, names = at_columns(Z, place, len(known.labels)), known.labels
        codes, related = patterns(Z, names.rename(term.group), known)
        return codes, related.labels, related
    factors = [
        level_codes(choice.take(factor), name)
        for factor, name in zip(term.factors, term.factor_names, strict=True)
    ]
    codes, levels = combine_codes(factors, term.group)
    if term.known is not None:
        return places_of(levels, term.known, term.text)[codes], term.known.labels, term.known
    return codes, levels, None


def _terms(
    terms: Sequence[ArrayTerm], choice: RowChoice, n: int, checks: Checks, allow_saturated: bool
) -> tuple[TermDesign, ...]:
    """Columns and level codes of the random terms, checked."""
    laid: list[TermDesign] = []
    for term in terms:
        X = _stack(term.exog, choice, n)
        check_matrix(X, term.columns, f"the random term {term.text}", choice.index)
        codes, levels, related = _levels(term, choice)
        name = unique_name(term.group, [other.name for other in laid])
        laid.append(
            TermDesign(
                name,
                term.group,
                term.columns,
                levels,
                term.structure,
                term.text,
                X,
                codes,
                related=related,
                positions=term.positions,
            )
        )
        check_term(laid[-1], checks, allow_saturated=allow_saturated)
    repeated = repeated_column(laid)
    if repeated is not None:
        _, problem, advice = repeated
        checks.report("repeated", DesignError(f"{problem}. {advice}"))
    return tuple(laid)
