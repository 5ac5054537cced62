"""Where the names of a formula come from: the data, the caller's scope, functions it knows."""

from __future__ import annotations

import builtins
import importlib
import pickle
import types
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import patsy
import patsy.builtins

from mixedlm_ext.design.column import is_polars
from mixedlm_ext.design.formula_code import CodeNames, code_names, read_formula
from mixedlm_ext.design.messages import unknown_name
from mixedlm_ext.design.positions import position
from mixedlm_ext.errors import DesignError, FormulaError, did_you_mean
from mixedlm_ext.language.mixed_formula import MixedFormula

__all__ = ["FALLBACK_FUNCTIONS", "Scope", "is_built_in", "resolve_names"]

# lme4 users write log(y): visible when neither the data nor the caller's scope have the name.
FALLBACK_FUNCTIONS: dict[str, Any] = {
    name: getattr(np, name)
    for name in ("log", "log2", "log10", "log1p", "exp", "expm1", "sqrt", "abs")
}
FALLBACK_FUNCTIONS["position"] = position


@dataclass(frozen=True)
class Scope:
    """What the formula takes from the caller's scope: functions, modules, constants.

    Modules are pickled by their import name; a value that pickle refuses (a lambda) is left out
    of the pickle and named in the error when it is needed again.
    """

    values: dict[str, Any] = field(default_factory=dict)
    lost: tuple[str, ...] = ()

    def environment(self, names: Collection[str] | None = None) -> patsy.EvalEnvironment:
        """patsy's view of the scope, the fallback functions outermost; `names` are needed."""
        lost = [name for name in self.lost if names is None or name in names]
        if lost:
            raise DesignError(
                f"the formula uses {', '.join(map(repr, lost))}, which could not be pickled "
                "with the model, or went with its rows. Define it in a module (no lambda or local "
                "function), or as a column of the data, and refit."
            )
        return patsy.EvalEnvironment([self.values, FALLBACK_FUNCTIONS])

    def without_rows(self, n: int) -> Scope:
        """The scope without arrays that have n rows, as matrices beside the data have."""
        arrays = np.ndarray | pd.Series | pd.DataFrame | pd.Index
        rows = [k for k, v in self.values.items() if isinstance(v, arrays) and len(v.shape)]
        gone = {k for k in rows if len(self.values[k]) == n}
        kept = {k: v for k, v in self.values.items() if k not in gone}
        return Scope(kept, (*self.lost, *sorted(gone)))

    def __deepcopy__(self, memo: dict[int, Any]) -> Scope:
        return Scope(dict(self.values), self.lost)

    def __reduce__(self) -> tuple[Any, ...]:
        modules = {k: v.__name__ for k, v in self.values.items() if isinstance(v, types.ModuleType)}
        others = {k: v for k, v in self.values.items() if k not in modules}
        lost = tuple(name for name, value in others.items() if not _pickles(value))
        kept = {name: value for name, value in others.items() if name not in lost}
        return Scope.with_modules, (kept, modules, self.lost + lost)

    @classmethod
    def with_modules(
        cls, values: Mapping[str, Any], modules: Mapping[str, str], lost: tuple[str, ...]
    ) -> Scope:
        """Return the scope of some values and of modules by their import names."""
        return cls({**values, **{k: importlib.import_module(v) for k, v in modules.items()}}, lost)


def _pickles(value: Any) -> bool:
    """Whether pickle accepts `value`; it may fail in any way the class likes."""
    try:
        pickle.dumps(value)
    except Exception:
        return False
    return True


def resolve_names(
    formula: MixedFormula,
    columns: Collection[Any],
    env: Mapping[str, Any],
    n: int,
    index_names: Sequence[Any] = (),
) -> tuple[list[str], dict[str, Any], Scope]:
    """Find every name of the formula: in the data, else in the caller's scope.

    Returns the columns of the data in order of use, arrays of the caller's scope that run along
    the data (one value a row, so that they are dropped and subset with it), and the scope.
    """
    used: dict[str, None] = {}
    beside: dict[str, Any] = {}
    values: dict[str, Any] = {}
    for piece in read_formula(formula).pieces:
        names = code_names(piece.code)
        for name in sorted(names.values | names.called):
            if name in columns and name not in names.called:
                used[name] = None
            elif name in env and not _hides_function(name, names, env):
                target = beside if name in names.values and _runs_along(env[name], n) else values
                target[name] = env[name]
            elif not is_built_in(name) or _meant_as_column(name, names):
                chain = names.dotted.get(name, name)
                whole = is_built_in(name) or did_you_mean(chain, map(str, columns))
                written = chain if whole else name
                raise unknown_name(written, piece.role, piece.place, formula, columns, index_names)
    _refuse_hidden_functions(formula, columns)
    return list(used), beside, Scope(values)


def _hides_function(name: str, names: CodeNames, env: Mapping[str, Any]) -> bool:
    """Whether a variable of the caller, such as C = 3, has the name of a function that is meant."""
    meant = name in names.called or name in names.contrasts
    return meant and is_built_in(name) and not callable(env[name])


def _refuse_hidden_functions(formula: MixedFormula, columns: Collection[Any]) -> None:
    """Refuse ``C + C(f)`` with a column C: patsy would call the column."""
    pieces = [(piece, code_names(piece.code)) for piece in read_formula(formula).pieces]
    # a grouping factor that is nothing but a column is not evaluated by patsy
    used = [names.values for piece, names in pieces if not (piece.role == "group" and names.plain)]
    values = frozenset().union(*used).intersection(columns)
    for piece, names in pieces:
        hidden = sorted(names.called & values)
        if hidden:
            raise FormulaError(
                f"{hidden[0]!r} is a column of the data and a function in {piece.place}",
                formula.text,
                piece.span,
                f"Rename the column {hidden[0]!r}.",
            )


def _runs_along(value: Any, n: int) -> bool:
    """Whether a value of the caller's scope is an array with one entry a row of the data."""
    column = getattr(value, "ndim", None) == 1 or (is_polars(value) and hasattr(value, "to_list"))
    return column and hasattr(value, "dtype") and len(value) == n


def is_built_in(name: str) -> bool:
    """Whether a formula knows a name without the data and the caller's scope."""
    return name in FALLBACK_FUNCTIONS or name in patsy.builtins.__all__ or hasattr(builtins, name)


def _meant_as_column(name: str, names: CodeNames) -> bool:
    """Whether an expression uses a built-in function like a column: ``min``, ``min.temp``."""
    if name in names.called:
        return False
    attribute = names.dotted.get(name, "").partition(".")[2]
    return name == names.bare or bool(attribute and not hasattr(_built_in(name), attribute))


def _built_in(name: str) -> Any:
    """What a name is that neither the data nor the caller's scope have."""
    patsy_has = name in patsy.builtins.__all__
    return FALLBACK_FUNCTIONS.get(name) or getattr(patsy.builtins if patsy_has else builtins, name)
