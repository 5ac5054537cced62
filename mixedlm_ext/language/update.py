"""`update`: a formula changed by another, as in R: "~ . - x", ". ~ . + (0 + x | g)"."""

from __future__ import annotations

import ast
import re
from collections.abc import Collection, Sequence
from dataclasses import replace

import patsy

from mixedlm_ext.errors import FormulaError
from mixedlm_ext.language.columns import Columns, shown
from mixedlm_ext.language.mixed_formula import MixedFormula, RandomTermSpec
from mixedlm_ext.language.parser import parse_formula
from mixedlm_ext.language.syntax import Node, parse_one_side
from mixedlm_ext.language.tokens import Source
from mixedlm_ext.structures import structure_of

__all__ = ["update_formula"]

# A letter nobody types; as long as the dot that it stands for, so that carets stay in place.
_DOT = "\ua4f8"
_LONE_DOT = re.compile(r"(?<![\w.)\]'\"])\.(?![\w.])")


def update_formula(
    old: MixedFormula, text: str, columns: Collection[object] | None = None
) -> MixedFormula:
    """Return a changed formula.

    Parameters
    ----------
    old : MixedFormula
    text : str
        ``"response ~ terms"`` or ``"~ terms"``; a dot stands for what was there, ``log(.)`` on the
        left for a function of it. Terms after it are added with + and taken away with -, fixed
        terms, random terms and offset(...) alike. An uncorrelated term ``(x || g)`` can be taken
        away in parts.
    columns : collection, optional
        Names of the data's columns, as for `parse_formula`.

    Returns
    -------
    MixedFormula
        Perhaps without random terms. Components of ``vc_formula`` come last; its text does not
        have them.

    Raises
    ------
    FormulaError
        If the text cannot be read, or a term to take away is not there.

    Examples
    --------
    >>> old = parse_formula("Reaction ~ Days + (Days | Subject)")
    >>> update_formula(old, "~ . - Days").text
    'Reaction ~ 1 + (Days | Subject)'
    >>> update_formula(old, "log(Reaction) ~ . - (Days | Subject) + (1 | Subject)").text
    'log(Reaction) ~ Days + (1 | Subject)'
    >>> uncorrelated = parse_formula("Reaction ~ Days + (Days || Subject)")
    >>> update_formula(uncorrelated, "log(.) ~ . - (0 + Days | Subject)").text
    'log(Reaction) ~ Days + (1 | Subject)'
    """
    if not isinstance(text, str) or "~" not in text:
        found = repr(text) if isinstance(text, str) else type(text).__name__
        raise FormulaError(
            f"an update is a formula with ~, not {found}", hint="Write '~ . - x' or '. ~ . + x'."
        )
    left, right = text.split("~", 1)
    response = _response(old, left.strip())
    try:
        source = Source.read(" " * (len(left) + 1) + _LONE_DOT.sub(_DOT, right), Columns(columns))
        side = parse_one_side(source, "right")
    except FormulaError as error:
        problem, hint = (part.replace(_DOT, ".") for part in (error.problem, error.hint))
        raise FormulaError(problem, text, error.span, hint) from None
    bare = old.bare | source.bare
    parts = _Parts(old, text, bare)
    for op, node in _signed_terms(side):
        parts.add(op, source.plain(node.span), node)
    written = shown(f"{response} ~ {parts.text()}", bare)
    new = parse_formula(written, allow_no_random=True, columns=[*bare, *(columns or ())])
    components = parts.components()
    return replace(
        new,
        text=" + ".join([new.text, *(c.written for c in components if _is_plain(c))]),
        random=(*new.random, *components),
        bare=new.bare | old.bare,
    )


def _response(old: MixedFormula, left: str) -> str:
    """Return the left side, the old response in place of a dot."""
    single = isinstance(ast.parse(old.response, mode="eval").body, ast.Name | ast.Call)

    def written(dot: re.Match[str]) -> str:
        within = left[: dot.start()].rstrip()[-1:], left[dot.end() :].lstrip()[:1]
        return old.response if single or within in (("", ""), ("(", ")")) else f"({old.response})"

    return _LONE_DOT.sub(written, left or ".")


def _signed_terms(node: Node) -> list[tuple[str, Node]]:
    """Return the terms of a sum with their signs."""
    if node.kind == "sum":
        first, *rest = node.children
        return _signed_terms(first) + [(op.op, child) for op, child in zip(node.ops, rest)]
    if node.kind == "sign" and len(node.ops) == 1:
        return [(node.ops[0].op, node.children[0])]
    return [("+", node)]


class _Parts:
    """The right side while terms come and go."""

    def __init__(self, old: MixedFormula, text: str, bare: Collection[str]) -> None:
        self._old, self._text, self._bare = old, text, bare
        self._fixed: list[str] = []
        self._random: list[RandomTermSpec] = []
        self._offsets: list[str] = []

    def add(self, op: str, term: str, node: Node) -> None:
        """Add or take away one term."""
        if term == _DOT and op == "+":
            self._fixed.insert(0, self._old.fixed.split("~", 1)[1].strip())
            self._random += self._old.random
            self._offsets += self._old.offsets
        elif node.kind == "structured" or (
            node.kind == "parens" and node.children[0].kind == "bar"
        ):
            self._change_random(op, parse_formula(f"y ~ 1 + {term}").random, term)
        elif term.startswith("offset(") and term.endswith(")"):
            self._change_offset(op, term)
        elif _DOT in term:
            raise FormulaError(
                f"the dot stands within {term.replace(_DOT, '.')}",
                hint="Write it as a term of its own, as in '~ . + x'.",
            )
        else:
            self._fixed.append(f"{op} {term}")

    def _change_random(self, op: str, terms: Sequence[RandomTermSpec], written: str) -> None:
        for term in terms:
            if op == "+":
                self._random.append(term)
                continue
            kept = _without(self._random, term)
            if kept is None:
                there = [other.text for other in self._random]
                raise self._absent(written, there, _way_out(self._random, term))
            self._random = kept

    def _change_offset(self, op: str, written: str) -> None:
        inner = written.removeprefix("offset(")[:-1].strip()
        if op == "+":
            self._offsets.append(inner)
        elif inner in self._offsets:
            self._offsets.remove(inner)
        else:
            raise self._absent(written, [f"offset({o})" for o in self._offsets])

    def _absent(self, written: str, there: Sequence[str], way: str = "") -> FormulaError:
        known = ", ".join(there) or "nothing of its kind"
        return FormulaError(
            f"{shown(written, self._bare)} cannot be taken away: the formula has {known}",
            hint=way or f"The formula is {self._old.text}",
        )

    def text(self) -> str:
        """Return the right side."""
        fixed = " ".join(self._fixed).removeprefix("+ ") or "1"
        try:
            plain = patsy.ModelDesc.from_formula(f"~ {fixed}").describe().removeprefix("~").strip()
        except patsy.PatsyError as error:
            raise FormulaError(
                f"the update {self._text!r} cannot be read: {str(error).splitlines()[0]}"
            ) from None
        random = [term.written for term in self._random if not term.is_component]
        return " + ".join([plain, *random, *(f"offset({o})" for o in self._offsets)])

    def components(self) -> tuple[RandomTermSpec, ...]:
        """Return the terms of ``vc_formula``: no formula can hold their name and one variance."""
        return tuple(term for term in self._random if term.is_component)


def _without(terms: Sequence[RandomTermSpec], taken: RandomTermSpec) -> list[RandomTermSpec] | None:
    """Return the random terms without one, or without parts of uncorrelated ones; None if absent.

    ``(x || g)`` is ``(1 | g) + (0 + x | g)``, and either spelling takes away from the other.
    """
    kept = [term for term in terms if not _same(term, taken)]
    parts = _columns(taken.expr)
    if len(kept) < len(terms):
        return kept
    if not _is_plain(taken) or (_is_correlated(taken) and len(parts) > 1):
        return None
    for part in parts:
        owner = next((t for t in kept if _same_group(t, taken) and _is_free(t, part)), None)
        if owner is None:
            return None
        place = kept.index(owner)
        rest = [other for other in _columns(owner.expr) if other != part]
        kept[place : place + 1] = [_of_columns(owner, rest)] if rest else []
    return kept


def _is_free(term: RandomTermSpec, part: patsy.Term) -> bool:
    """Say whether a term has these columns, uncorrelated with its others."""
    columns = _columns(term.expr)
    return _is_plain(term) and part in columns and (not _is_correlated(term) or len(columns) == 1)


def _is_plain(term: RandomTermSpec) -> bool:
    """Say whether each column of a term may go without changing what is said of the others."""
    kind = structure_of(term.structure, 2)
    return kind.linear and not kind.one_variance


def _is_correlated(term: RandomTermSpec) -> bool:
    return structure_of(term.structure, 2).correlated


def _of_columns(term: RandomTermSpec, parts: Sequence[patsy.Term]) -> RandomTermSpec:
    """Return an uncorrelated term with some of its columns."""
    if list(parts) == [patsy.INTERCEPT]:
        return replace(term, expr="1", structure="us")
    names = ["1" if part == patsy.INTERCEPT else part.name() for part in parts]
    return replace(term, expr=" + ".join(names if patsy.INTERCEPT in parts else ["0", *names]))


def _way_out(terms: Sequence[RandomTermSpec], taken: RandomTermSpec) -> str:
    """How to take away columns that are correlated with others."""
    parts = set(_columns(taken.expr))
    for term in terms:
        columns = _columns(term.expr)
        separable = term.is_component or _is_plain(term)
        if separable and _same_group(term, taken) and parts < set(columns):
            rest = _of_columns(term, [part for part in columns if part not in parts])
            if not _is_plain(term) and len(columns) - len(parts) > 1:
                return "Make the changed model by MixedLM.from_formula(..., vc_formula=...)."
            return f"Exchange the whole term: '~ . - {term.written} + {rest.written}'."
    return ""


def _same(one: RandomTermSpec, two: RandomTermSpec) -> bool:
    """Say whether two terms mean the same, however they are written.

    A component goes by its columns and group, its one variance being no part of a formula.
    """
    return (
        _same_structure(one, two)
        and _same_group(one, two)
        and set(_columns(one.expr)) == set(_columns(two.expr))
    )


def _same_structure(one: RandomTermSpec, two: RandomTermSpec) -> bool:
    if one.is_component or two.is_component:
        return all(_is_correlated(term) or not _is_plain(term) for term in (one, two))
    return one.structure == two.structure


def _same_group(one: RandomTermSpec, two: RandomTermSpec) -> bool:
    return sorted(map(_squeezed, one.group)) == sorted(map(_squeezed, two.group))


def _columns(expr: str) -> list[patsy.Term]:
    return list(patsy.ModelDesc.from_formula(f"~ {expr}").rhs_termlist)


def _squeezed(text: str) -> str:
    return re.sub(r"\s+", "", text)
