"""The Python code of a formula: its expressions, their places, and the names they use."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import patsy

from mixedlm_ext.design.messages import blank_strings, locate, patsy_error
from mixedlm_ext.errors import FormulaError
from mixedlm_ext.language.description import describe_side
from mixedlm_ext.language.mixed_formula import MixedFormula, RandomTermSpec

__all__ = [
    "CodeNames",
    "FormulaCode",
    "Piece",
    "code_names",
    "column_names",
    "needed_names",
    "read_formula",
]


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
    pieces = _Pieces(formula)
    tilde = blank_strings(formula.text).find("~")
    pieces.add("response", formula.response, "the response", (0, tilde))
    fixed = pieces.add_side("fixed", formula.fixed, "the fixed part", (tilde, len(formula.text)))
    for code, span in zip(formula.offsets, formula.offset_spans, strict=True):
        pieces.add("offset", code, f"offset({formula.shown(code)})", span)
    lefts = [pieces.add_random(i, term) for i, term in enumerate(formula.random)]
    return FormulaCode(fixed, tuple(lefts), tuple(pieces.found))


class _Pieces:
    """The expressions of a formula, added one after the other.

    Attributes
    ----------
    found : list of Piece
    """

    def __init__(self, formula: MixedFormula) -> None:
        self.found: list[Piece] = []
        self._formula = formula
        self._random_spans = [term.span for term in formula.random]

    def add(self, role: str, code: str, place: str, span: tuple[int, int], term: int = -1) -> None:
        """Add one expression, which stands somewhere in `span` of the user's text."""
        formula = self._formula
        text = formula.shown(code)
        span = locate(formula.text, text, span, self._random_spans if role == "fixed" else ())
        if code_names(code).binds:
            problem = f"{place} has a lambda or a comprehension"
            hint = "Define a function before and call it in the formula."
            raise FormulaError(problem, formula.text, span, hint)
        self.found.append(Piece(role, code, text, place, span, term))

    def add_side(
        self, role: str, side: str, place: str, span: tuple[int, int], term: int = -1
    ) -> patsy.ModelDesc:
        """Let patsy read a side, and add its expressions."""
        try:
            description = describe_side(side, self._formula.bare)
        except patsy.PatsyError as error:
            raise patsy_error(error, self._formula, place, span) from None
        factors = {factor: None for term in description.rhs_termlist for factor in term.factors}
        for factor in factors:
            self.add(role, factor.code, place, span, term)
            if factor.code == "Intercept" and patsy.INTERCEPT in description.rhs_termlist:
                raise _named_intercept(self._formula, self.found[-1])
        return description

    def add_random(self, i: int, term: RandomTermSpec) -> patsy.ModelDesc:
        """Add the expressions of the random term with number i; return its left side."""
        place = f"the random term {term.text}"
        left = self.add_side("left", f"~ {term.expr}", place, term.expr_span, i)
        if not left.rhs_termlist:
            raise FormulaError(
                f"{place} has no columns: what it adds it takes away",
                self._formula.text,
                term.expr_span,
                f"Write (1 | {term.group_name}) for an intercept, (0 + x | {term.group_name}) for "
                "a slope only.",
            )
        shares = () if term.call is None else term.call.shares
        for code in (*term.group, *shares):
            self.add("group", code, place, term.group_span, i)
        return left


def _named_intercept(formula: MixedFormula, piece: Piece) -> FormulaError:
    """The error for a column of the name that patsy gives to the constant."""
    return FormulaError(
        f"'Intercept' in {piece.place} has the name of the constant",
        formula.text,
        piece.span,
        "If it is the constant, leave it out: a formula has one. If not, write Q('Intercept').",
    )
