"""The matrices a formula describes, and the memory that builds them again for other data."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import patsy

from mixedlm_ext.design.frame import evaluation_columns, evaluation_columns_like
from mixedlm_ext.design.grouping import level_codes
from mixedlm_ext.design.misfit import misfit_error
from mixedlm_ext.design.names import Piece, Scope, code_names, patsy_error, read_formula
from mixedlm_ext.errors import DesignError, MixedLMError
from mixedlm_ext.formula.parser import MixedFormula

__all__ = ["FormulaMatrices"]

Floats = npt.NDArray[np.float64]


# how patsy reports a category that is not among those of the fit, or of levels=
_UNSEEN = re.compile(
    r"observation with value (.*) does not match any .*\(expected: \[(.*)\]\)", re.S
)


class _RaiseUnlessNumber(patsy.NAAction):
    """Missing categories are an error; numbers are checked afterwards, with a better message."""

    def __init__(self) -> None:
        super().__init__("raise")

    def is_numerical_NA(self, arr: Any) -> npt.NDArray[np.bool_]:
        return np.zeros(len(arr), dtype=bool)


class _Expression:
    """One Python expression; stateful transforms in it remember the data of the fit."""

    def __init__(self, code: str, data: Mapping[str, Any], env: patsy.EvalEnvironment) -> None:
        self.factor = patsy.EvalFactor(code)
        # so that an error knows which expression it is about
        self.factor.origin = patsy.Origin(code, 0, len(code))
        self.state: dict[str, Any] = {}
        for step in range(self.factor.memorize_passes_needed(self.state, env)):
            self.factor.memorize_chunk(self.state, step, data)
            self.factor.memorize_finish(self.state, step)

    def __call__(self, data: Mapping[str, Any]) -> Any:
        return self.factor.eval(self.state, data)


class FormulaMatrices:
    """Fixed part, left sides, response, offsets and grouping factors of one formula.

    Parameters
    ----------
    formula : MixedFormula
    frame : DataFrame (n, ...)
        The used columns and rows of the fit, without missing values.
    scope : Scope
        What the formula uses from the caller's scope.

    Notes
    -----
    patsy reads the data once for the fixed part and all left sides together. Grouping factors,
    the response and the offsets never go through a design matrix.
    """

    def __init__(self, formula: MixedFormula, frame: pd.DataFrame, scope: Scope) -> None:
        self.formula = formula
        self.code = read_formula(formula)
        self._uses = _column_uses(self.code.pieces, frame)
        data, self._types = evaluation_columns(frame, self._uses)
        # for the matrices of the fit; released by training_data
        self._training: dict[str, Any] | None = data
        self._refuse_types(data)
        env = scope.environment()
        sides = [side.rhs_termlist for side in (self.code.fixed, *self.code.lefts)]
        with self._errors(rows=len(frame), evaluate=lambda c: _Expression(c, data, env)(data)):
            self.infos: list[patsy.DesignInfo] = patsy.design_matrix_builders(
                sides, lambda: iter([data]), env, _RaiseUnlessNumber()
            )
        self._expressions: dict[str, _Expression] = {}
        for piece in self.code.pieces:
            names = code_names(piece.code)
            evaluated = piece.role in ("response", "offset", "group")
            if evaluated and not (names.plain and names.bare in frame.columns):
                with self._errors(piece):
                    self._expressions[piece.code] = _Expression(piece.code, data, env)

    def _refuse_types(self, data: Mapping[str, Any]) -> None:
        """Refuse a column of complex numbers or durations that stands in the formula as it is."""
        for piece in self.code.pieces:
            name = code_names(piece.code).bare or ""
            kind = getattr(getattr(data.get(name), "dtype", None), "kind", "")
            if piece.role in ("fixed", "left") and kind == "c":
                raise DesignError(
                    f"column {name!r} in {piece.place} is complex. "
                    "Use its real part, imaginary part or modulus."
                )
            if piece.role in ("fixed", "left") and kind == "m" and code_names(piece.code).plain:
                raise DesignError(
                    f"column {name!r} in {piece.place} holds durations. "
                    f"Make them numbers, as in {piece.code}.dt.total_seconds()."
                )

    def training_data(self) -> dict[str, Any]:
        """Hand over the prepared columns of the fit; they are not kept after that."""
        data, self._training = self._training, None
        return data or {}

    def new_data(self, frame: pd.DataFrame, pieces: Sequence[Piece]) -> dict[str, Any]:
        """Prepare columns of new data for `pieces` of the formula, as those of the fit were."""
        names = _column_uses(pieces, frame)
        wanted = {name: self._uses[name] for name in names}
        return evaluation_columns_like(frame, wanted, self._types)

    def memorable_rows(self, frame: pd.DataFrame) -> npt.NDArray[np.intp]:
        """Rows of the fit that are enough to rebuild this memory.

        All of them with a stateful transform; otherwise one for each category of each factor.
        """
        factors = {f.factor: f for info in self.infos for f in info.factor_infos.values()}
        stateful = [f.state["transforms"] for f in factors.values()]
        stateful += [expression.state["transforms"] for expression in self._expressions.values()]
        if any(stateful):
            return np.arange(len(frame), dtype=np.intp)
        data, types = evaluation_columns(frame, self._uses)
        with self._errors():
            categorical = [
                factor.eval(info.state, data)
                for factor, info in factors.items()
                if info.type == "categorical"
            ]
        categorical += [data[name] for name, kind in types.items() if kind.kind == "category"]
        rows = [np.unique(level_codes(values)[0], return_index=True)[1] for values in categorical]
        # two at least, so that no column looks like a single value
        return np.unique(np.concatenate([np.arange(min(2, len(frame))), *rows])).astype(np.intp)

    def build(self, data: Mapping[str, Any], n: int, sides: Sequence[int]) -> list[Floats]:
        """Matrices (n, k) of some sides: 0 is the fixed part, 1 the first left side, ..."""
        # patsy cannot tell the number of rows of a matrix without factors
        with_factors = [i for i in sides if self.infos[i].factor_infos]
        built: dict[int, Floats] = {}
        if with_factors:
            infos = [self.infos[i] for i in with_factors]
            with self._errors(rows=n, evaluate=lambda code: self._value(code, infos, data)):
                matrices = patsy.build_design_matrices(infos, data, _RaiseUnlessNumber())
                built = dict(zip(with_factors, map(np.asarray, matrices), strict=True))
                if any(len(matrix) != n for matrix in built.values()):
                    raise patsy.PatsyError("Number of rows mismatch")
        return [built[i] if i in built else np.ones((n, len(self.names(i)))) for i in sides]

    def names(self, side: int) -> tuple[str, ...]:
        """Column names of a side, as patsy gives them."""
        return tuple(self.infos[side].column_names)

    def evaluate(self, piece: Piece, data: Mapping[str, Any], frame: pd.DataFrame) -> Any:
        """Value of the response, an offset or a grouping factor: raw, whatever its type."""
        if piece.code in self._expressions:
            with self._errors(piece):
                return self._expressions[piece.code](data)
        column = code_names(piece.code).bare
        return frame[column] if piece.role == "group" else data[str(column)]

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
            place, span = (piece.place, piece.span) if piece else ("the formula", (0, 0))
            unseen = _UNSEEN.search(error.message)
            if unseen and piece:
                raise DesignError(
                    f"{piece.code!r} in {place} has the level {unseen[1]}, "
                    f"which is not among {unseen[2]}."
                ) from error
            raise patsy_error(error, self.formula, place, span) from error
        except MixedLMError:
            raise
        except (TypeError, ValueError, IndexError) as error:  # complex or missing values in patsy
            if evaluate is not None:
                self._raise_misfit(evaluate, rows, error)
            raise DesignError(f"the matrices of the formula cannot be built: {error}.") from error

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
        slices = self.infos[side].term_slices or {}
        return [term.name() for term, at in slices.items() if at.stop == at.start]

    def _piece_of(self, error: patsy.PatsyError) -> Piece | None:
        """The piece of the formula patsy complains about."""
        fragment = "".join(error.origin.relevant_code().split()) if error.origin else None
        codes = ("".join(piece.code.split()) for piece in self.code.pieces)
        return next(
            (p for p, code in zip(self.code.pieces, codes, strict=True) if code == fragment), None
        )


def _column_uses(pieces: Sequence[Piece], frame: pd.DataFrame) -> dict[str, str]:
    """How the pieces use each column: as an "array", a "factor" in C(), or within expressions."""
    uses: dict[str, str] = {}
    for piece in pieces:
        names = code_names(piece.code)
        if piece.role == "group" and names.plain:
            continue  # goes to the level codes as it is
        for name in sorted(names.values):
            if name in frame.columns:
                use = "series" if name != names.bare else "array" if names.plain else "factor"
                uses[name] = use if uses.get(name, use) == use else "series"
    return uses
