"""The matrices of a design for other rows: prediction and simulation."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import sparse

from mixedlm_ext.design.checks import number_vector
from mixedlm_ext.design.formula_code import Piece, code_names
from mixedlm_ext.design.frame import Table, read_table
from mixedlm_ext.design.grouping import match_levels, unseen_levels
from mixedlm_ext.design.matrices import FormulaMatrices
from mixedlm_ext.design.member_terms import has_members, members_of_rows, only_of_members
from mixedlm_ext.design.members import MemberRows
from mixedlm_ext.design.messages import list_names
from mixedlm_ext.design.positions import at_places
from mixedlm_ext.design.random_arrays import ArrayTerm, exog_columns, read_random_term
from mixedlm_ext.design.records import NewData, RandomTerm, TermSpec
from mixedlm_ext.design.row_arguments import known_values
from mixedlm_ext.design.row_choice import missing_rows
from mixedlm_ext.design.spec import Spec
from mixedlm_ext.errors import DesignError, did_you_mean

__all__ = ["array_new_data", "formula_new_data"]

Floats = npt.NDArray[np.float64]
Codes = npt.NDArray[np.intp]


def formula_new_data(
    spec: Spec, data: Any, *, need_response: bool, terms: Iterable[str] | None, offset: Any
) -> NewData:
    """Implementation of `Design.new_data`."""
    matrices, table = spec.matrices, read_table(data)
    asked = _asked_terms(spec, terms)
    given = spec.offset.of_new_rows(offset, len(table), table.index, table)
    roles = {"fixed", "offset"} | ({"response"} if need_response else set())
    pieces = [p for p in matrices.code.pieces if p.role in roles or p.term in asked]
    rows = _complete_rows(spec, table, pieces, given)
    sides = [0, *(i + 1 for i in asked)]
    built = matrices.build(rows.prepared, rows.m, sides) if rows.m else _empty(matrices, sides)
    X = rows.spread(built[0])
    total = rows.spread(_total_offset(matrices, rows, given))
    y = rows.spread(_response(matrices, rows)) if need_response else None
    random = _random_columns(spec, rows, dict(zip(asked, built[1:], strict=True)))
    return _new_data(spec, X, random, total, table.index, rows.complete, y)


@dataclass(frozen=True, eq=False)
class _Rows:
    """Rows of new data that miss nothing, among all.

    Attributes
    ----------
    frame : DataFrame (m, any)
        The columns that the formula uses.
    complete : ndarray of bool
        Which of all rows these are.
    prepared : mapping
        What `FormulaMatrices.new_data` makes of the frame.
    """

    frame: pd.DataFrame
    complete: npt.NDArray[np.bool_]
    prepared: Mapping[str, Any]

    @property
    def m(self) -> int:
        """How many they are."""
        return len(self.frame)

    def spread(self, values: Floats) -> Floats:
        """Return values of these rows among all rows, nan elsewhere."""
        if self.m == len(self.complete):
            return values
        out = np.full((len(self.complete), *values.shape[1:]), np.nan)
        out[self.complete] = values
        return out

    def spread_codes(self, codes: Codes) -> Codes:
        """Return level codes of these rows among all rows, -1 elsewhere."""
        out = np.full(len(self.complete), -1, dtype=np.intp)
        out[self.complete] = codes
        return out


@dataclass(frozen=True, eq=False)
class _Random:
    """What new rows have of the random terms, by their names: see `NewData`."""

    terms: dict[str, tuple[Floats, Codes]] = field(default_factory=dict)
    unseen: dict[str, pd.Index] = field(default_factory=dict)
    places: dict[str, Floats] = field(default_factory=dict)
    members: dict[str, MemberRows] = field(default_factory=dict)


def _complete_rows(
    spec: Spec, table: Table, pieces: Sequence[Piece], offset: pd.Series | None
) -> _Rows:
    """Find the rows that miss nothing that some pieces of the formula, and an offset, need."""
    assert spec.formula is not None
    columns = _needed_columns(spec, table, pieces)
    free = only_of_members(spec.formula)  # members of a row may be missing
    counted = {name: column for name, column in columns.items() if name not in free}
    if offset is not None:
        counted["offset="] = offset
    lost, _ = missing_rows(counted)
    complete = ~lost if len(lost) else np.ones(len(table), dtype=bool)
    full = pd.DataFrame({k: v.array for k, v in columns.items()}, index=table.index, copy=False)
    frame = full if complete.all() else full[complete]
    return _Rows(frame, complete, spec.matrices.new_data(frame, pieces) if len(frame) else {})


def _total_offset(matrices: FormulaMatrices, rows: _Rows, given: pd.Series | None) -> Floats:
    """Return the offset of complete rows: what is given, and the terms of the formula."""
    m = rows.m
    total = np.zeros(m) if given is None else number_vector(given[rows.complete], "offset", m)
    for piece in matrices.pieces("offset") if m else ():
        values = matrices.evaluate(piece, rows.prepared, rows.frame)
        total = total + number_vector(values, piece.place, m)
    return total


def _response(matrices: FormulaMatrices, rows: _Rows) -> Floats:
    """Return the response of complete rows."""
    (piece,) = matrices.pieces("response")
    value = matrices.evaluate(piece, rows.prepared, rows.frame) if rows.m else np.empty(0)
    return number_vector(value, f"response {piece.text!r}", rows.m)


def _random_columns(spec: Spec, rows: _Rows, columns: Mapping[int, Floats]) -> _Random:
    """Lay out random terms, whose columns in complete rows are known, by their positions."""
    assert spec.formula is not None
    out = _Random()
    for i, Z in columns.items():
        fitted, term = spec.terms[i], spec.formula.random[i]
        name = fitted.name
        if fitted.positions is not None:
            Z, fresh = at_places(Z, fitted.positions)
            if len(fresh):
                out.places[name] = fresh
        if has_members(term):
            read = members_of_rows(term, i, fitted.levels, spec.matrices, rows.prepared, rows.frame)
            found, out.unseen[name] = read
            out.members[name] = found.among(rows.complete)
            codes = np.where(found.unseen, -1, 0)
        else:
            codes, out.unseen[name] = _codes(spec, i, rows.prepared, rows.frame)
        out.terms[name] = (rows.spread(Z), rows.spread_codes(codes))
    return out


def _asked_terms(spec: Spec, terms: Iterable[str] | None) -> list[int]:
    """Positions of the random terms asked for."""
    names = [term.name for term in spec.terms]
    if terms is None:
        return list(range(len(names)))
    wanted = [terms] if isinstance(terms, str) else list(terms)
    for name in wanted:
        if name not in names:
            near = did_you_mean(name, names)
            raise DesignError(f"no random term {name!r} (there are {list_names(names)}).{near}")
    return [i for i, name in enumerate(names) if name in wanted]


def _needed_columns(spec: Spec, table: Table, pieces: Sequence[Piece]) -> dict[str, pd.Series]:
    """The columns that some pieces of the formula use."""
    known = set(spec.columns)
    needed: dict[str, str] = {}
    for piece in pieces:
        for name in sorted(code_names(piece.code).values & known):
            needed.setdefault(name, piece.place)
    for name, place in needed.items():
        if name not in table.names:
            raise DesignError(
                f"the new data have no column {name!r}, which {place} needs."
                f"{did_you_mean(name, table.names)}"
            )
    return {name: table.column(name) for name in needed}


def _empty(matrices: FormulaMatrices, sides: Sequence[int]) -> list[Floats]:
    """Matrices without rows; stateful transforms refuse such data."""
    return [np.empty((0, len(matrices.names(side)))) for side in sides]


def _codes(
    spec: Spec, i: int, prepared: Mapping[str, Any], frame: pd.DataFrame
) -> tuple[Codes, pd.Index]:
    """Level codes of one random term in complete rows, -1 where unseen, and the unseen levels."""
    if not len(frame):
        return np.empty(0, dtype=np.intp), spec.terms[i].levels[:0]
    pieces = [p for p in spec.matrices.pieces("group") if p.term == i]
    values = [spec.matrices.evaluate(piece, prepared, frame) for piece in pieces]
    codes = match_levels(values, spec.terms[i].levels)
    return codes, unseen_levels(values, codes)


def _new_data(
    spec: Spec,
    X: Floats,
    random: _Random,
    offset: Floats,
    index: pd.Index,
    complete: npt.NDArray[np.bool_],
    y: Floats | None,
) -> NewData:
    """Mark rows with infinite or undefined values as incomplete; put nan into all their values.

    `X` has all columns of the formula or of exog, those of the fit are kept.
    """
    estimable = spec.estimable(X)
    X = X[:, spec.column_map]
    parts = [X, offset, *(Z for Z, _ in random.terms.values()), *([] if y is None else [y])]
    for part in parts:
        finite = np.isfinite(part)
        complete = complete & (finite.all(axis=1) if part.ndim == 2 else finite)
    if not complete.all():
        X = np.where(complete[:, None], X, np.nan)
    return NewData(
        X,
        random.terms,
        offset,
        index,
        complete,
        estimable,
        y,
        random.unseen,
        random.members,
        random.places,
    )


def array_new_data(
    spec: Spec,
    exog: Any,
    random: Sequence[RandomTerm] | Mapping[str, RandomTerm] | None,
    *,
    offset: Any,
) -> NewData:
    """Implementation of `Design.new_arrays`."""
    if spec.formula is not None:
        raise DesignError("the design comes from a formula: pass data to new_data.")
    given = _matched_terms(spec, random)
    read = {i: read_random_term(term, i, len(given)) for i, term in given.items()}
    n_terms = next((len(term.factors[0]) for term in read.values()), 0)
    X, index, labels = _exog_like(spec, exog, n_terms)
    m = len(index)
    known = spec.offset.of_new_rows(offset, m, labels)
    total = np.zeros(m) if known is None else known_values(known, "offset")
    complete = np.ones(m, dtype=bool)
    laid = _Random()
    for i, term in read.items():
        fitted = spec.terms[i]
        _check_like_fit(term, fitted, m)
        columns = np.column_stack(term.exog)
        if term.Z is not None:
            W = term.columns_like(fitted.levels)
            laid.members[fitted.name] = MemberRows(W, sparse.csr_array((m, 0)))
            laid.terms[fitted.name] = (columns, np.zeros(m, dtype=np.intp))
            continue
        lost, _ = missing_rows({str(j): factor for j, factor in enumerate(term.factors)})
        complete &= ~lost
        codes = match_levels(term.factors, fitted.levels)
        laid.unseen[fitted.name] = unseen_levels(term.factors, codes)
        laid.terms[fitted.name] = (columns, codes)
    return _new_data(spec, X, laid, total, index, complete, None)


def _check_like_fit(term: ArrayTerm, fitted: TermSpec, m: int) -> None:
    """Refuse a random term of m new rows that is laid out in another way than that of the fit."""
    if fitted.has_members != (term.Z is not None):
        word = "Z" if fitted.has_members else "groups"
        raise DesignError(f"the fit had {word}= in the random term {fitted.name!r}. Pass it.")
    if len(term.factors[0]) != m:
        raise DesignError(f"groups of {fitted.name!r} have {len(term.factors[0])} values, not {m}.")
    if len(term.factors) != fitted.levels.nlevels:
        raise DesignError(
            f"groups of {fitted.name!r} are given by {len(term.factors)} factors; the fit had "
            f"{fitted.levels.nlevels}."
        )
    if len(term.columns) != len(fitted.columns):
        raise DesignError(
            f"random term {fitted.name!r} has {len(term.columns)} columns; "
            f"the fit had {len(fitted.columns)}."
        )


def _exog_like(spec: Spec, exog: Any, n_terms: int) -> tuple[Floats, pd.Index, pd.Index | None]:
    """Lay out columns as those of the fit; with their labels, and those that users gave."""
    p = len(spec.all_x_names)
    if p > 1 and not hasattr(exog, "columns") and np.shape(exog) == (p,):
        exog = np.asarray(exog)[None, :]  # one row
    columns, names, index = exog_columns(exog, n_terms)
    X = np.column_stack([*columns, np.empty((len(index), 0))])
    if isinstance(exog, pd.DataFrame) and _by_name(spec.all_x_names, names):
        X = X[:, [names.index(name) for name in spec.all_x_names]]
    if X.shape[1] != len(spec.all_x_names):
        raise DesignError(
            f"exog has {X.shape[1]} columns; the fit had {len(spec.all_x_names)} "
            f"({list_names(spec.all_x_names)})."
        )
    labels = index if isinstance(exog, pd.DataFrame | pd.Series) else None
    return X, index, labels


def _by_name(fitted: Sequence[str], names: Sequence[str]) -> bool:
    """Whether the columns of a DataFrame are matched to those of the fit by their names.

    They go by position if the fit had an array, whose columns were named const, x1, x2, ...
    """
    absent = [name for name in fitted if name not in names]
    if not absent:
        return True
    if all(re.fullmatch(r"const|x\d+", name) for name in fitted):
        return False
    raise DesignError(
        f"exog has no column {absent[0]!r} (it has {list_names(names)}), which the fit had."
        f"{did_you_mean(absent[0], names)}"
    )


def _matched_terms(
    spec: Spec, random: Sequence[RandomTerm] | Mapping[str, RandomTerm] | None
) -> dict[int, RandomTerm]:
    """The random terms given, by the position of the term of the fit."""
    if random is None:
        return {}
    if isinstance(random, Mapping):
        return {_asked_terms(spec, [name])[0]: term for name, term in random.items()}
    if not (isinstance(random, RandomTerm) or np.iterable(random)):
        raise DesignError(f"random={random!r} is no list of RandomTerm objects.")
    terms = [random] if isinstance(random, RandomTerm) else list(random)
    if len(terms) != len(spec.terms):
        raise DesignError(
            f"random has {len(terms)} terms; the fit had {len(spec.terms)} "
            f"({list_names(term.name for term in spec.terms)})."
        )
    return dict(enumerate(terms))
