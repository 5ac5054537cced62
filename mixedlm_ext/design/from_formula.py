"""Formula and data -> `Design`."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from mixedlm_ext.design.at_hand import DataAtHand
from mixedlm_ext.design.checks import check_matrix, check_response, number_vector, offset_vector
from mixedlm_ext.design.components import settle_components
from mixedlm_ext.design.design import Design
from mixedlm_ext.design.fixed import keep_columns
from mixedlm_ext.design.formula_code import code_names
from mixedlm_ext.design.frame import Table, one_per_row, read_table
from mixedlm_ext.design.grouping import combine_codes, level_codes
from mixedlm_ext.design.known import KnownMatrix, places_of
from mixedlm_ext.design.known_terms import known_of_terms
from mixedlm_ext.design.matrices import FormulaMatrices
from mixedlm_ext.design.member_terms import has_members, members_of, only_of_members
from mixedlm_ext.design.messages import list_names, quoted
from mixedlm_ext.design.named_checks import Checks
from mixedlm_ext.design.other_columns import expand_dot
from mixedlm_ext.design.positions import place_columns
from mixedlm_ext.design.records import TermDesign
from mixedlm_ext.design.residual_rows import ResidualText, read_residual_text, residual_of
from mixedlm_ext.design.row_arguments import OFFSET, WEIGHTS
from mixedlm_ext.design.row_choice import RowChoice, choose_rows, subset_rows
from mixedlm_ext.design.scope import Scope, resolve_names
from mixedlm_ext.design.spec import Spec
from mixedlm_ext.design.term_checks import check_term, repeated_column
from mixedlm_ext.design.used import UsedColumns
from mixedlm_ext.errors import DesignError, DesignWarning, FormulaError, did_you_mean, warn_caller
from mixedlm_ext.language.mixed_formula import MixedFormula

__all__ = ["check_one_level", "design_from_formula", "unique_name", "warn_of_times"]

Floats = npt.NDArray[np.float64]


def design_from_formula(
    formula: MixedFormula,
    data: Any,
    *,
    env: Mapping[str, Any],
    weights: Any = None,
    offset: Any = None,
    missing: str = "drop",
    subset: Any = None,
    drop_cols: Collection[str] | None = None,
    allow_saturated: bool = False,
    checks: Checks | None = None,
    correlation: Any = None,
    variance: Any = None,
    cov: Mapping[str, Any] | None = None,
) -> Design:
    """Evaluate a formula in data.

    Parameters
    ----------
    formula : MixedFormula
    data : DataFrame, polars.DataFrame, mapping of str to array-like, or structured array
        n rows.
    env : mapping of str to object
        Variables of the caller's scope. What the formula uses of it, and the data do not have, is
        kept in the design. An array with one value a row is treated as a column.
    weights : str or array-like (n,), optional
        Precision weights (variance sigma**2 / w): a column's name or values for all rows of
        `data`. Rows with weight zero are left out, with a warning.
    offset : str or array-like (n,), optional
        Known part of the linear predictor, added to ``offset(...)`` in the formula.
    missing : {"drop", "exclude", "raise", "none"}
        What to do with rows that have a missing value in anything used. "raise" and "none" refuse
        them; "exclude" drops them and remembers where they were.
    subset : array-like, optional
        Boolean for each row, or labels of the index, as in ``data.loc[subset]``.
    drop_cols : collection of str, optional
        Columns of the fixed part to leave out.
    allow_saturated : bool
        Accept as many random effects as observations, which is right when sigma is known.
    checks : Checks, optional
        What to do with what the checks find.
    correlation, variance : str, optional
        The structure of the residuals.
    cov : mapping of str to matrix, optional
        Known covariances of levels (see `mixedlm_ext.design.known_terms.known_of_terms`).

    Returns
    -------
    Design

    Raises
    ------
    DesignError
        If the data do not support the model: see the messages.
    FormulaError
        If an expression of the formula cannot be evaluated, or two terms repeat a column.

    Warns
    -----
    DesignWarning
        If columns are not estimable or rows have zero weight.

    Examples
    --------
    >>> from mixedlm_ext.language.parser import parse_formula
    >>> data = {"y": [1.0, 2.0, 4.0, 4.0, 5.0, 9.0], "g": ["a", "a", "b", "b", "c", "c"]}
    >>> design = design_from_formula(parse_formula("y ~ 1 + (1 | g)"), data, env={})
    >>> design.terms[0].name, list(design.terms[0].levels), design.terms[0].codes
    ('g', ['a', 'b', 'c'], array([0, 0, 1, 1, 2, 2]))
    """
    checks = Checks() if checks is None else checks
    table = read_table(data)
    arguments = [name for name in (weights, offset) if isinstance(name, str)]
    text = read_residual_text(correlation, variance)
    formula = expand_dot(formula, table.names, [*arguments, *text.groups])
    used = _look_up(formula, table, env, weights, offset)
    if text:
        used = used.and_residuals(text, table, env)
    choice = choose_rows(
        used.response_first(formula),
        table.index,
        subset=subset_rows(table, subset),
        weights=used.weights.values,
        weights_name=used.weights.label,
        missing=missing,
    )
    frame = used.rows(choice)
    formula = settle_components(formula, frame, used.scope)
    matrices = FormulaMatrices(formula, frame, used.scope)
    prepared = matrices.training_data()
    total = _total_offset(matrices, prepared, frame, choice, used.offset)
    y = _response(matrices, prepared, frame, total)
    X, *lefts = matrices.build(prepared, len(frame), range(matrices.n_sides))
    check_matrix(X, matrices.names(0), "the fixed part", frame.index)
    known = known_of_terms(formula, cov, env)
    terms = _terms(matrices, prepared, frame, lefts, known)
    _check_terms(formula, terms, checks, allow_saturated)
    check_one_level(matrices.without_columns(0), checks)
    warn_of_times(matrices)
    fixed = keep_columns(X, matrices.names(0), choice.weights, drop_cols, checks)
    structure, residual = residual_of(text, frame.frame, used.scope) if text else (None, None)
    spec = Spec(
        endog_name=formula.shown(formula.response),
        **fixed.told(),
        terms=tuple(term.spec for term in terms),
        formula=formula,
        columns=frame.columns,
        scope=used.scope,
        weights=WEIGHTS.given_as(used.weights.column, weights),
        offset=OFFSET.given_as(used.offset.column, offset),
        checks=checks,
        made=matrices,
        residual=structure,
    )
    columns = [(term.X, term.codes) for term in terms]
    rows = choice.rows_of(y, fixed.X, columns, total, table.index, missing)
    return Design(spec, replace(rows, used=frame, at_hand=DataAtHand(table), residual=residual))


class _Argument(NamedTuple):
    """Weights or offset: what the argument is called, the column that it names, and its values."""

    name: str
    column: str | None = None
    values: pd.Series | None = None

    @property
    def label(self) -> str:
        """The argument in messages, with its column."""
        return self.name if self.column is None else f"{self.name} {self.column!r}"


@dataclass(frozen=True, eq=False)
class _Used:
    """What a model uses: columns by name, all rows of the data, and the scope of its formula."""

    columns: Mapping[str, pd.Series]
    scope: Scope
    weights: _Argument
    offset: _Argument

    def response_first(self, formula: MixedFormula) -> dict[str, pd.Series]:
        """Everything that may have missing values, by the names for messages."""
        response = code_names(formula.response).bare or ""
        every = {name: self.columns[name] for name in (response,) if name in self.columns}
        every.update(self.columns)
        for name in only_of_members(formula):  # which may be missing
            every.pop(name, None)
        for name, _, values in (self.weights, self.offset):
            if values is not None and not any(values is c for c in self.columns.values()):
                every[name if name not in every else f"{name}="] = values
        return every

    def and_residuals(self, text: ResidualText, table: Table, env: Mapping[str, Any]) -> _Used:
        """Return what a model with a residual structure uses."""
        names, scope = text.names(table.names, env)
        columns = {**self.columns, **{name: table.column(name) for name in names}}
        return replace(self, columns=columns, scope=Scope({**self.scope.values, **scope}))

    def rows(self, choice: RowChoice) -> UsedColumns:
        """Return the used rows of the columns."""
        columns = {name: choice.take(column) for name, column in self.columns.items()}
        return UsedColumns(columns, choice.index)


def _look_up(
    formula: MixedFormula, table: Table, env: Mapping[str, Any], weights: Any, offset: Any
) -> _Used:
    """Find what the formula and its arguments name, in the data or in the caller's scope."""
    names, beside, scope = resolve_names(formula, table.names, env, len(table), table.index.names)
    columns = {name: table.column(name) for name in names}
    for name, values in beside.items():
        columns[name] = one_per_row(values, name, len(table), table.index)
    given = (_argument(table, weights, "weights"), _argument(table, offset, "offset"))
    for argument in given:
        if argument.column is not None and argument.values is not None:
            columns[argument.column] = argument.values
    return _Used(columns, scope, *given)


def _argument(table: Table, given: Any, name: str) -> _Argument:
    """Read weights or offset: a column's name, or values."""
    if given is None:
        return _Argument(name)
    if not isinstance(given, str):
        return _Argument(name, None, one_per_row(given, name, len(table), table.index))
    if given not in table.names and not given.isidentifier():
        raise DesignError(
            f"{name} column {given!r} is not in the data.{did_you_mean(given, table.names)} "
            f"To pass the values of an expression, write {name}=data.eval({given!r})."
        )
    return _Argument(name, given, table.column(given, f"{name} column"))


def _total_offset(
    matrices: FormulaMatrices,
    prepared: Mapping[str, Any],
    frame: UsedColumns,
    choice: RowChoice,
    offset: _Argument,
) -> Floats | None:
    """Sum of the offset argument and the ``offset(...)`` terms."""
    parts = []
    if offset.values is not None:
        parts.append(offset_vector(choice.take(offset.values), offset.label, frame.index))
    for piece in matrices.pieces("offset"):
        value = matrices.evaluate(piece, prepared, frame)
        parts.append(offset_vector(value, piece.place, frame.index))
    return np.sum(parts, axis=0) if parts else None


def _response(
    matrices: FormulaMatrices,
    prepared: Mapping[str, Any],
    frame: UsedColumns,
    offset: Floats | None,
) -> Floats:
    """The checked response."""
    (piece,) = matrices.pieces("response")
    value = matrices.evaluate(piece, prepared, frame)
    y = number_vector(value, f"response {piece.text!r}", len(frame))
    check_response(y, piece.text, offset, frame.index)
    return y


def _terms(
    matrices: FormulaMatrices,
    prepared: Mapping[str, Any],
    frame: UsedColumns,
    lefts: Sequence[Floats],
    known: Sequence[KnownMatrix | None],
) -> tuple[TermDesign, ...]:
    """Columns and level codes of the random terms."""
    terms: list[TermDesign] = []
    grouped = _groupings(matrices, prepared, frame, known)
    random = matrices.formula.random
    for i, (spec, X, (codes, levels, own)) in enumerate(
        zip(random, lefts, grouped, strict=True), 1
    ):
        check_matrix(X, matrices.names(i), f"the random term {spec.text}", frame.index)
        for left in matrices.without_columns(i):
            raise DesignError(
                f"{left!r} in the random term {spec.text} has only one level in the data, "
                "so it has no column. Drop it."
            )
        name = unique_name(spec.name or spec.group_name, [term.name for term in terms])
        columns, positions = matrices.names(i), None
        if spec.needs_positions:
            X, columns, positions = place_columns(X, columns)
        group, structure, text = spec.group_name, spec.structure, spec.text
        terms.append(
            TermDesign(
                name,
                group,
                columns,
                levels,
                structure,
                text,
                X,
                codes,
                related=own,
                positions=positions,
            )
        )
    return tuple(terms)


def _groupings(
    matrices: FormulaMatrices,
    prepared: Mapping[str, Any],
    frame: UsedColumns,
    known: Sequence[KnownMatrix | None],
) -> list[tuple[npt.NDArray[np.intp], pd.Index, KnownMatrix | None]]:
    """Level codes and levels of each random term, and what joins them; each factor coded once."""
    factors: dict[str, tuple[npt.NDArray[np.intp], pd.Index]] = {}
    random = matrices.formula.random
    for piece in matrices.pieces("group"):
        if piece.code not in factors and not has_members(random[piece.term]):
            value = matrices.evaluate(piece, prepared, frame)
            factors[piece.code] = _factor(value, piece.text, frame.index)
    groups = {
        spec.group: combine_codes([factors[code] for code in spec.group], spec.group_name)
        for spec in random
        if not has_members(spec)
    }
    shared: dict[Any, tuple[npt.NDArray[np.intp], KnownMatrix]] = {}
    out: list[tuple[npt.NDArray[np.intp], pd.Index, KnownMatrix | None]] = []
    for i, (spec, own) in enumerate(zip(random, known, strict=True)):
        if has_members(spec):
            key = (spec.group, spec.call)
            if key not in shared:
                shared[key] = members_of(spec, i, matrices, prepared, frame, own)
            codes, own = shared[key]
            levels = own.labels
        else:
            codes, levels = groups[spec.group]
        if own is not None and not own.members:
            codes, levels = places_of(levels, own, spec.text)[codes], own.labels
        out.append((codes, levels, own))
    return out


def check_one_level(terms: Sequence[str], checks: Checks) -> None:
    """Say which terms of the fixed part add no column."""
    if terms:
        what = f"{list_names(terms)} in the fixed part has only one level in the data: left out."
        checks.report("rank", DesignError(what))


def warn_of_times(matrices: FormulaMatrices) -> None:
    """Say which dates and durations are taken as numbers."""
    for text, what in matrices.times():
        warn_caller(
            f"{text!r} {what}, with one slope. C({text}) gives each value a level of its own.",
            DesignWarning,
        )


def unique_name(name: str, taken: Collection[str]) -> str:
    """`name`, or the first of name.1, name.2, ... that is not taken."""
    names = [name, *(f"{name}.{i}" for i in range(1, len(taken) + 1))]
    return next(candidate for candidate in names if candidate not in taken)


def _factor(value: Any, text: str, index: pd.Index) -> tuple[npt.NDArray[np.intp], pd.Index]:
    """Codes of one grouping factor that has a level in every row."""
    codes, levels = level_codes(value, text)
    if len(codes) != len(index):
        raise DesignError(
            f"grouping factor {text!r} has {len(codes)} values; the data have {len(index)} rows."
        )
    if len(codes) and codes.min() < 0:
        row = index[int(np.flatnonzero(codes < 0)[0])]
        raise DesignError(f"grouping factor {text!r} is undefined (missing) at row {quoted(row)}.")
    return codes, levels


def _check_terms(
    formula: MixedFormula, terms: Sequence[TermDesign], checks: Checks, allow_saturated: bool
) -> None:
    """Check each term, then all of them together."""
    for term in terms:
        check_term(term, checks, allow_saturated=allow_saturated)
    repeated = repeated_column(terms)
    if repeated is not None:
        i, problem, advice = repeated
        error = FormulaError(problem, formula.text, formula.random[i].span, advice)
        checks.report("repeated", error)
