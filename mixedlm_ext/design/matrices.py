"""The matrices a formula describes, and the memory that builds them again for other data."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import patsy

from mixedlm_ext.caching import cached_property
from mixedlm_ext.design.expression import Chunks, Expression
from mixedlm_ext.design.factor_sides import FactorSide, check_names_of_levels, factor_side
from mixedlm_ext.design.formula_code import Piece, code_names, read_formula
from mixedlm_ext.design.frame import ColumnType, evaluation_columns, evaluation_columns_like
from mixedlm_ext.design.memory import ExpressionMemory, SideMemory
from mixedlm_ext.design.messages import patsy_error
from mixedlm_ext.design.misfit import misfit_error
from mixedlm_ext.design.overflow import refuse_overflow
from mixedlm_ext.design.plain_sides import plain_side
from mixedlm_ext.design.positions import check_places
from mixedlm_ext.design.scope import Scope
from mixedlm_ext.design.times import TIMES, time_kind
from mixedlm_ext.design.used import Columns
from mixedlm_ext.errors import DesignError, FormulaError, MixedLMError
from mixedlm_ext.language.mixed_formula import MixedFormula
from mixedlm_ext.structures import structure_of

__all__ = ["FormulaMatrices", "MatricesMemory"]

Floats = npt.NDArray[np.float64]


# how patsy reports a category that is not among those of the fit, or of levels=
_UNSEEN = re.compile(
    r"observation with value (.*) does not match any .*\(expected: \[(.*)\]\)", re.S
)


_AS_NUMBERS = {
    "date": "Add a column of days, such as (data[NAME] - data[NAME].min()).dt.days.",
    "duration": "Add a column of numbers, such as data[NAME].dt.total_seconds().",
    "time of day": "Make it a number, such as the hours since midnight.",
}


# what numpy and patsy say of values that are no numbers
_ABOUT_TYPES = re.compile(r"ufunc|widen|dtype|no callable|unsupported operand")


class _RaiseUnlessNumber(patsy.NAAction):
    """Missing categories are an error; numbers are checked afterwards, with a better message."""

    def __init__(self) -> None:
        super().__init__("raise")

    def is_numerical_NA(self, arr: Any) -> npt.NDArray[np.bool_]:
        return np.zeros(len(arr), dtype=bool)


@dataclass(frozen=True)
class MatricesMemory:
    """What `FormulaMatrices` know of the data of the fit, in a form that pickles."""

    uses: dict[str, str]
    types: dict[str, ColumnType]
    times: dict[str, str]
    sides: tuple[SideMemory, ...]
    expressions: tuple[ExpressionMemory, ...]


class FormulaMatrices:
    """Fixed part, left sides, response, offsets and grouping factors of one formula.

    Parameters
    ----------
    formula : MixedFormula
    frame : DataFrame (n, ...)
        The used columns and rows of the fit, without missing values.
    scope : Scope
        What the formula uses from the caller's scope.
    batches : callable, optional
        Returns a new iterator over frames of all rows, where `frame` holds some of them only: every
        level of each factor, and columns of the types of all rows.

    Notes
    -----
    patsy reads the data once for the fixed part and all left sides together. Grouping factors,
    the response and the offsets never go through a design matrix.
    """

    def __init__(
        self,
        formula: MixedFormula,
        frame: Columns,
        scope: Scope,
        batches: Callable[[], Iterator[pd.DataFrame]] | None = None,
    ) -> None:
        self.formula = formula
        self.code = read_formula(formula)
        check_places(self.code, formula)
        self._uses = _column_uses(self.code.pieces, frame)
        columns = {name: frame[name] for name in self._uses}
        data, self._types = evaluation_columns(columns, self._uses, self._ordered())
        # for the matrices of the fit; released by training_data
        self._training: dict[str, Any] | None = data
        kinds = ((name, time_kind(column)) for name, column in columns.items())
        self._times = {name: kind for name, kind in kinds if kind is not None}
        self._refuse_types(data)
        env = scope.environment()
        sides = (self.code.fixed, *self.code.lefts)
        self._scope = scope
        self._plain = [plain_side(side, data) or factor_side(side, data) for side in sides]

        def whole() -> Iterator[Mapping[str, Any]]:
            return iter([data])

        chunks = whole if batches is None else self._chunks(batches)
        if not all(self._plain):
            with self._errors(rows=len(frame), evaluate=lambda c: Expression(c, whole, env)(data)):
                self.infos = patsy.design_matrix_builders(
                    [side.rhs_termlist for side in sides],
                    chunks if self._has_expressions() else whole,
                    env,
                    _RaiseUnlessNumber(),
                )
        self._expressions: dict[str, Expression] = {}
        known = set(frame.columns)
        for piece in self.code.pieces:
            names = code_names(piece.code)
            evaluated = piece.role in ("response", "offset", "group")
            if evaluated and not (names.plain and names.bare in known):
                with self._errors(piece):
                    self._expressions[piece.code] = Expression(piece.code, chunks, env)

    def _chunks(self, batches: Callable[[], Iterator[pd.DataFrame]]) -> Chunks:
        """Return what yields the prepared columns of all rows, a batch at a time."""
        return lambda: (
            evaluation_columns_like(batch, self._uses, self._types, self.keys)
            for batch in batches()
        )

    def _has_expressions(self) -> bool:
        """Whether a side has more than columns as they are and factors."""
        matrix = [piece for piece in self.code.pieces if piece.role in ("fixed", "left")]
        return any(code_names(piece.code).bare is None for piece in matrix)

    @cached_property
    def infos(self) -> list[patsy.DesignInfo]:
        """patsy's descriptions of all sides: made here if all are plain, with the data if not."""
        return [side.memory().info(self._scope) for side in self._plain if side is not None]

    @property
    def n_sides(self) -> int:
        """The fixed part and the left sides of all terms."""
        return len(self._plain)

    def _ordered(self) -> set[str]:
        """Columns whose categories are in an order that counts, with or without rows."""
        return {
            name
            for spec, left in zip(self.formula.random, self.code.lefts)
            if structure_of(spec.structure, 2).ordered
            for term in left.rhs_termlist
            for factor in term.factors
            for name in code_names(factor.code).values
        }

    def _refuse_types(self, data: Mapping[str, Any]) -> None:
        """Refuse a column that stands in the formula as it is and is neither number nor factor."""
        for piece in self.code.pieces:
            name = code_names(piece.code).bare or ""
            if piece.role not in ("fixed", "left") or name not in data:
                continue
            check_names_of_levels(data[name], name, piece.place)
            if getattr(data[name].dtype, "kind", "") == "c":
                raise DesignError(
                    f"column {name!r} in {piece.place} is complex. "
                    "Use its real part, imaginary part or modulus."
                )
            time = self._times.get(name) if code_names(piece.code).plain else None
            if time is None or (time in TIMES and self._types[name].kind == time):
                continue
            alone = "" if time not in TIMES else " here, and stands within an expression elsewhere"
            raise DesignError(
                f"column {name!r} in {piece.place} is a {time}{alone}. "
                f"{_AS_NUMBERS[time].replace('NAME', repr(name))}"
            )

    def times(self) -> list[tuple[str, str]]:
        """Expressions of the matrices that are taken as days, and why."""
        found = {}
        for piece in self.code.pieces:
            name = code_names(piece.code).bare
            kind = self._types[name].kind if name in self._types else ""
            if piece.role in ("fixed", "left") and kind in TIMES:
                found[piece.text] = TIMES[kind]
        return list(found.items())

    def training_data(self) -> dict[str, Any]:
        """Hand over the prepared columns of the fit; they are not kept after that."""
        data, self._training = self._training, None
        return data or {}

    def new_data(self, frame: Columns, pieces: Sequence[Piece]) -> dict[str, Any]:
        """Prepare columns of new data for `pieces` of the formula, as those of the fit were."""
        names = _column_uses(pieces, frame)
        wanted = {name: self._uses[name] for name in names}
        return evaluation_columns_like(frame, wanted, self._types, self.keys)

    @property
    def column_types(self) -> Mapping[str, ColumnType]:
        """What the columns were in the data of the fit, those that only group rows left out."""
        return self._types

    @property
    def keys(self) -> frozenset[str]:
        """The columns that only grouping factors use."""
        used: dict[bool, set[str]] = {True: set(), False: set()}
        for piece in self.code.pieces:
            used[piece.role == "group"] |= code_names(piece.code).values
        return frozenset(used[True] - used[False])

    def memory(self) -> MatricesMemory:
        """What is left when the data are gone; `from_memory` makes these matrices of it again."""
        return MatricesMemory(
            self._uses,
            self._types,
            self._times,
            tuple(
                SideMemory.of(self.infos[i]) if plain is None else plain.memory()
                for i, plain in enumerate(self._plain)
            ),
            tuple(ExpressionMemory.of(c, e.state) for c, e in self._expressions.items()),
        )

    @classmethod
    def from_memory(
        cls, formula: MixedFormula, memory: MatricesMemory, scope: Scope
    ) -> FormulaMatrices:
        """Return the matrices that left a memory."""
        made = cls.__new__(cls)
        made.formula, made.code = formula, read_formula(formula)
        made._uses, made._types, made._times = memory.uses, memory.types, memory.times
        made._training = None
        made._scope, made._plain = scope, [None] * len(memory.sides)
        made.infos = [side.info(scope) for side in memory.sides]
        made._expressions = {
            e.code: Expression.from_state(e.code, e.state(scope)) for e in memory.expressions
        }
        return made

    def build(self, data: Mapping[str, Any], n: int, sides: Sequence[int]) -> list[Floats]:
        """Matrices (n, k) of some sides: 0 is the fixed part, 1 the first left side, ..."""
        plain = {i: side for i in sides if (side := self._plain[i]) is not None}
        built = {i: side.build(data, n) for i, side in plain.items()}
        # patsy cannot tell the number of rows of a matrix without factors
        with_factors = [i for i in sides if i not in built and self.infos[i].factor_infos]
        if with_factors:
            infos = [self.infos[i] for i in with_factors]
            with self._errors(rows=n, evaluate=lambda code: self._value(code, infos, data)):
                matrices = patsy.build_design_matrices(infos, data, _RaiseUnlessNumber())
                if any(len(matrix) != n for matrix in matrices):
                    raise patsy.PatsyError("Number of rows mismatch")
                built.update(zip(with_factors, map(np.asarray, matrices), strict=True))
            self._refuse_overflow(infos, data)
        return [built[i] if i in built else np.ones((n, len(self.names(i)))) for i in sides]

    def _refuse_overflow(self, infos: Sequence[patsy.DesignInfo], data: Mapping[str, Any]) -> None:
        """Raise if an expression of some sides is beyond what whole numbers hold."""
        factors = {factor.code for info in infos for factor in info.factor_infos}
        for piece in self.code.pieces:
            if piece.role in ("fixed", "left") and piece.code in factors:
                value = partial(self._value, piece.code, infos)
                refuse_overflow(piece, data, value, self.formula.text)

    def names(self, side: int) -> tuple[str, ...]:
        """Column names of a side, as patsy gives them."""
        plain = self._plain[side]
        return tuple(self.infos[side].column_names) if plain is None else plain.names

    def value(self, piece: Piece, data: Mapping[str, Any], frame: Columns) -> Any:
        """Value of any expression, those of the matrices among them."""
        if piece.role in ("fixed", "left"):
            return self._value(piece.code, self.infos, data)
        return self.evaluate(piece, data, frame)

    def evaluate(self, piece: Piece, data: Mapping[str, Any], frame: Columns) -> Any:
        """Value of the response, an offset or a grouping factor: raw, whatever its type."""
        if piece.code in self._expressions:
            expression = self._expressions[piece.code]
            with self._errors(piece):
                found = expression(data)
            if piece.role != "group":
                refuse_overflow(piece, data, expression, self.formula.text)
            return found
        column = str(code_names(piece.code).bare)
        raw = piece.role == "group" or self._types[column].kind in TIMES
        return frame[column] if raw else data[column]

    def pieces(self, role: str) -> tuple[Piece, ...]:
        """The expressions of one role."""
        return tuple(piece for piece in self.code.pieces if piece.role == role)

    @contextmanager
    def _errors(
        self,
        piece: Piece | None = None,
        rows: int = 0,
        evaluate: Callable[[str], Any] | None = None,
    ) -> Iterator[None]:
        """Turn patsy's errors into ours; numpy stays silent, checks of the values come later.

        With `evaluate`, expressions that have not one value for each of `rows` are looked for.
        """
        try:
            with np.errstate(all="ignore"):
                yield
        except patsy.PatsyError as error:
            if evaluate is not None and "rows mismatch" in error.message:
                self._raise_misfit(evaluate, rows, error)
            piece = piece or self._piece_of(error)
            self._refuse_times_within(piece)
            self._refuse_others_within(piece, error)
            place, span = (piece.place, piece.span) if piece else ("the formula", (0, 0))
            unseen = _UNSEEN.search(error.message)
            if unseen and piece:
                raise DesignError(
                    f"{piece.text!r} in {place} has the level {unseen[1]}, "
                    f"which is not among {unseen[2]}."
                ) from error
            raise patsy_error(error, self.formula, place, span) from error
        except MixedLMError:
            raise
        except (TypeError, ValueError, IndexError) as error:  # complex or missing values in patsy
            if evaluate is not None:
                self._raise_misfit(evaluate, rows, error)
            raise DesignError(f"the matrices of the formula cannot be built: {error}.") from error

    def _refuse_times_within(self, piece: Piece | None) -> None:
        """Raise if an expression that fails has dates or durations in it."""
        names = code_names(piece.code).values if piece else ()
        for name in sorted(set(names) & set(self._times)):
            assert piece is not None
            raise FormulaError(
                f"{piece.text!r} in {piece.place} cannot be evaluated: column {name!r} is a "
                f"{self._times[name]}, no number",
                self.formula.text,
                piece.span,
                _AS_NUMBERS[self._times[name]].replace("NAME", repr(name)),
            )

    def _refuse_others_within(self, piece: Piece | None, error: patsy.PatsyError) -> None:
        """Raise if an expression fails, in numpy's own words, for a column that is no number."""
        if piece is None or not _ABOUT_TYPES.search(error.message):
            return
        for name in sorted(code_names(piece.code).values & set(self._types)):
            if self._types[name].kind != "number":
                raise FormulaError(
                    f"{piece.text!r} in {piece.place} cannot be evaluated: column {name!r} has the "
                    f"type {self._types[name].dtype}, it is no number",
                    self.formula.text,
                    piece.span,
                    f"If numbers are meant, convert it: data[{name!r}].astype(float).",
                ) from error

    def _raise_misfit(self, evaluate: Callable[[str], Any], rows: int, cause: Exception) -> None:
        """Raise if an expression of a side has not one value for each row."""
        misfit = misfit_error(self.formula, self.code.pieces, evaluate, rows)
        if misfit is not None:
            raise misfit from cause

    @staticmethod
    def _value(code: str, infos: Sequence[patsy.DesignInfo], data: Mapping[str, Any]) -> Any:
        """Value of an expression of these sides in other data."""
        factors = {f.code: (f, i.state) for info in infos for f, i in info.factor_infos.items()}
        factor, state = factors[code]
        return factor.eval(state, data)

    def without_columns(self, side: int) -> list[str]:
        """Terms of a side that add no column: their factor has one level."""
        plain = self._plain[side]
        if plain is not None and not (isinstance(plain, FactorSide) and plain.has_empty_terms):
            return []
        slices = self.infos[side].term_slices or {}
        return [term.name() for term, at in slices.items() if at.stop == at.start]

    def _piece_of(self, error: patsy.PatsyError) -> Piece | None:
        """The piece of the formula patsy complains about."""
        fragment = "".join(error.origin.relevant_code().split()) if error.origin else None
        codes = ("".join(piece.code.split()) for piece in self.code.pieces)
        return next(
            (p for p, code in zip(self.code.pieces, codes, strict=True) if code == fragment), None
        )


def _column_uses(pieces: Sequence[Piece], frame: Columns) -> dict[str, str]:
    """How the pieces use each column: as an "array", a "factor" in C(), or within expressions."""
    uses: dict[str, str] = {}
    columns = set(frame.columns)
    for piece in pieces:
        names = code_names(piece.code)
        if piece.role == "group" and names.plain:
            continue  # goes to the level codes as it is
        for name in sorted(names.values):
            if name in columns:
                use = "series" if name != names.bare else "array" if names.plain else "factor"
                uses[name] = use if uses.get(name, use) == use else "series"
    return uses
