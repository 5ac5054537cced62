"""Which names the Python code of a formula uses, and where their values come from."""

from __future__ import annotations

import ast
import builtins
import importlib
import pickle
import types
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
import patsy
import patsy.builtins

from mixedlm_ext.design.column import is_polars
from mixedlm_ext.design.messages import (
    blank_strings,
    list_names,
    locate,
    patsy_error,
    quoted,
    unknown_name,
)
from mixedlm_ext.errors import DesignError, FormulaError, did_you_mean
from mixedlm_ext.language.description import describe_side
from mixedlm_ext.language.mixed_formula import MixedFormula

__all__ = [
    "CodeNames",
    "FormulaCode",
    "Piece",
    "Scope",
    "code_names",
    "column_names",
    "is_built_in",
    "list_names",
    "needed_names",
    "patsy_error",
    "quoted",
    "read_formula",
    "resolve_names",
]

# lme4 users write log(y): visible when neither the data nor the caller's scope have the name.
FALLBACK_FUNCTIONS: dict[str, Any] = {
    name: getattr(np, name)
    for name in ("log", "log2", "log10", "log1p", "exp", "expm1", "sqrt", "abs")
}


@dataclass(frozen=True)
class CodeNames:
    """The names one Python expression uses.

    Attributes
    ----------
    values : frozenset of str
        Names read as values, the arguments of ``Q('...')`` among them. May be columns.
    called : frozenset of str
        Names that are only called, such as ``center`` in ``center(x)``. Never columns.
    bare : str or None
        The column when the expression is nothing but it: ``x``, ``Q('x')``, ``C(x, ...)``.
    plain : bool
        Whether it is ``x`` or ``Q('x')``, without ``C``.
    binds : bool
        Whether it has a lambda or a comprehension, which patsy refuses.
    dotted : dict of str to str
        For names with an attribute, both: ``{"f": "f.a"}``.
    contrasts : frozenset of str
        Names in the second argument of ``C``, such as ``Sum``.
    """

    values: frozenset[str]
    called: frozenset[str]
    bare: str | None
    plain: bool
    binds: bool
    dotted: Mapping[str, str]
    contrasts: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Piece:
    """One Python expression of a formula: its role, its code and its place in the text."""

    role: str  # "response", "fixed", "offset", "left" or "group"
    code: str
    text: str  # the code as the user wrote it, for messages
    place: str  # for messages: "the random term (Days | Subject)"
    span: tuple[int, int]
    term: int = -1  # which random term, from 0


@dataclass(frozen=True, eq=False)
class FormulaCode:
    """A formula after patsy has read its fixed part and its left sides."""

    fixed: patsy.ModelDesc
    lefts: tuple[patsy.ModelDesc, ...]
    pieces: tuple[Piece, ...]


def needed_names(formula: MixedFormula) -> set[str]:
    """Return every identifier that the code of a formula uses.

    Parameters
    ----------
    formula : MixedFormula
        A formula as `parse_formula` returns it.

    Returns
    -------
    set of str
        Columns, functions and modules alike; the string in ``Q('odd name')`` counts as a name.

    Raises
    ------
    FormulaError
        If a part of the formula is not Python.

    Examples
    --------
    >>> from mixedlm_ext.language.parser import parse_formula
    >>> sorted(needed_names(parse_formula("np.log(y) ~ x + (1 | Q('my group'))")))
    ['Q', 'my group', 'np', 'x', 'y']
    """
    names: set[str] = set()
    for piece in read_formula(formula).pieces:
        used = code_names(piece.code)
        names |= used.values | used.called
    return names


def column_names(formula: MixedFormula) -> set[str]:
    """Return the identifiers that may be columns: those read as values, not called."""
    pieces = read_formula(formula).pieces
    return {name for piece in pieces for name in code_names(piece.code).values}


@lru_cache(maxsize=512)
def code_names(code: str) -> CodeNames:
    """Names of one expression; raises SyntaxError if it is not one."""
    tree = ast.parse(code.strip(), mode="eval").body
    nodes = list(ast.walk(tree))
    functions = {id(node.func) for node in nodes if isinstance(node, ast.Call)}
    bound = {n.id for n in nodes if isinstance(n, ast.Name) and not isinstance(n.ctx, ast.Load)}
    bound |= {node.arg for node in nodes if isinstance(node, ast.arg)}
    names = [node for node in nodes if isinstance(node, ast.Name) and node.id not in bound]
    values = {node.id for node in names if id(node) not in functions}
    values |= {name for node in nodes if (name := _quoted(node)) is not None}
    called = {node.id for node in names if id(node) in functions} - values
    plain = _column(tree)
    bare = plain
    if bare is None and (arguments := _arguments(tree, "C")):
        bare = _column(arguments[0])
    binds = bool(bound) or any(isinstance(node, ast.Lambda) for node in nodes)
    dotted = {
        node.value.id: f"{node.value.id}.{node.attr}"
        for node in nodes
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
    }
    coding = [argument for node in nodes for argument in _arguments(node, "C")[1:]]
    contrasts = {n.id for code in coding for n in ast.walk(code) if isinstance(n, ast.Name)}
    return CodeNames(
        values=frozenset(values),
        called=frozenset(called),
        bare=bare,
        plain=plain is not None,
        binds=binds,
        dotted=dotted,
        contrasts=frozenset(contrasts),
    )


def _arguments(node: ast.AST, function: str) -> list[ast.expr]:
    """The arguments if `node` calls the bare name `function`."""
    called = isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    return node.args if called and node.func.id == function else []  # type: ignore[attr-defined]


def _quoted(node: ast.AST) -> str | None:
    """The text in ``Q('text')``."""
    first = next(iter(_arguments(node, "Q")), None)
    text = first.value if isinstance(first, ast.Constant) else None
    return text if isinstance(text, str) else None


def _column(node: ast.AST) -> str | None:
    """The name in ``x`` or ``Q('x')``."""
    return node.id if isinstance(node, ast.Name) else _quoted(node)


@lru_cache(maxsize=128)
def read_formula(formula: MixedFormula) -> FormulaCode:
    """Let patsy read the fixed part and the left sides; list every expression of the formula."""
    pieces: list[Piece] = []
    random = [term.span for term in formula.random]

    def add(role: str, code: str, place: str, span: tuple[int, int], term: int = -1) -> None:
        text = formula.shown(code)
        span = locate(formula.text, text, span, random if role == "fixed" else ())
        if code_names(code).binds:
            problem = f"{place} has a lambda or a comprehension"
            hint = "Define a function before and call it in the formula."
            raise FormulaError(problem, formula.text, span, hint)
        pieces.append(Piece(role, code, text, place, span, term))

    def add_side(
        role: str, side: str, place: str, span: tuple[int, int], term: int = -1
    ) -> patsy.ModelDesc:
        try:
            description = describe_side(side, formula.bare)
        except patsy.PatsyError as error:
            raise patsy_error(error, formula, place, span) from None
        factors = {factor: None for term in description.rhs_termlist for factor in term.factors}
        for factor in factors:
            add(role, factor.code, place, span, term)
            if factor.code == "Intercept" and patsy.INTERCEPT in description.rhs_termlist:
                raise _named_intercept(formula, pieces[-1])
        return description

    tilde = blank_strings(formula.text).find("~")
    add("response", formula.response, "the response", (0, tilde))
    fixed = add_side("fixed", formula.fixed, "the fixed part", (tilde, len(formula.text)))
    for code, span in zip(formula.offsets, formula.offset_spans, strict=True):
        add("offset", code, f"offset({formula.shown(code)})", span)
    lefts = []
    for i, term in enumerate(formula.random):
        place = f"the random term {term.text}"
        lefts.append(add_side("left", f"~ {term.expr}", place, term.expr_span, i))
        if not lefts[-1].rhs_termlist:
            raise FormulaError(
                f"{place} has no columns: what it adds it takes away",
                formula.text,
                term.expr_span,
                f"Write (1 | {term.group_name}) for an intercept, (0 + x | {term.group_name}) for "
                "a slope only.",
            )
        for code in term.group:
            add("group", code, place, term.group_span, i)
    return FormulaCode(fixed, tuple(lefts), tuple(pieces))


def _named_intercept(formula: MixedFormula, piece: Piece) -> FormulaError:
    """The error for a column of the name that patsy gives to the constant."""
    return FormulaError(
        f"'Intercept' in {piece.place} has the name of the constant",
        formula.text,
        piece.span,
        "If it is the constant, leave it out: a formula has one. If not, write Q('Intercept').",
    )


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
