"""`update`: a formula changed by another, as in R: "~ . - x", ". ~ . + (0 + x | g)"."""

from __future__ import annotations

import re
from collections.abc import Sequence

import patsy

from mixedlm_ext.errors import FormulaError
from mixedlm_ext.formula.parser import MixedFormula, RandomTermSpec, parse_formula
from mixedlm_ext.formula.syntax import Node, parse_one_side
from mixedlm_ext.formula.tokens import Source

__all__ = ["update_formula"]

_DOT = "_as_before_"
_LONE_DOT = re.compile(r"(?<![\w.)\]'\"])\.(?![\w.])")


def update_formula(old: MixedFormula, text: str) -> str:
    """Return the text of a changed formula.

    Parameters
    ----------
    old : MixedFormula
    text : str
        ``"response ~ terms"`` or ``"~ terms"``; a dot stands for what was there. Terms after it are
        added with + and taken away with -, fixed terms, random terms and offset(...) alike.

    Returns
    -------
    str

    Raises
    ------
    FormulaError
        If the text cannot be read, or a term to take away is not there.

    Examples
    --------
    >>> old = parse_formula("Reaction ~ Days + (Days | Subject)")
    >>> update_formula(old, "~ . - Days")
    'Reaction ~ 1 + (Days | Subject)'
    >>> update_formula(old, "log(Reaction) ~ . - (Days | Subject) + (1 | Subject)")
    'log(Reaction) ~ Days + (1 | Subject)'
    """
    if not isinstance(text, str) or "~" not in text:
        raise FormulaError(
            f"an update is a formula with ~, not {text!r}", hint="Write '~ . - x' or '. ~ . + x'."
        )
    left, right = text.split("~", 1)
    response = old.response if left.strip() in ("", ".") else left.strip()
    source = Source.read(_LONE_DOT.sub(_DOT, right))
    parts = _Parts(old, text)
    for op, node in _signed_terms(parse_one_side(source, "right")):
        parts.add(op, source.plain(node.span), node)
    return f"{response} ~ {parts.text()}"


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

    def __init__(self, old: MixedFormula, text: str) -> None:
        self._old, self._text = old, text
        self._fixed: list[str] = []
        self._random: list[RandomTermSpec] = []
        self._offsets: list[str] = []

    def add(self, op: str, term: str, node: Node) -> None:
        """Add or take away one term."""
        if term == _DOT and op == "+":
            self._fixed.insert(0, self._old.fixed.split("~", 1)[1].strip())
            self._random += self._old.random
            self._offsets += self._old.offsets
        elif node.kind == "parens" and node.children[0].kind == "bar":
            self._change_random(op, parse_formula(f"y ~ 1 + {term}").random, term)
        elif term.startswith("offset(") and term.endswith(")"):
            self._change_offset(op, term)
        elif _DOT in term:
            raise FormulaError(
                f"the dot stands within {op} {term.replace(_DOT, '.')}",
                hint="Write it as a term of its own, as in '~ . + x'.",
            )
        else:
            self._fixed.append(f"{op} {term}")

    def _change_random(self, op: str, terms: Sequence[RandomTermSpec], written: str) -> None:
        for term in terms:
            if op == "+":
                self._random.append(term)
                continue
            kept = [other for other in self._random if not _same(term, other)]
            if len(kept) == len(self._random):
                raise self._absent(written, [other.text for other in self._random])
            self._random = kept

    def _change_offset(self, op: str, written: str) -> None:
        inner = written.removeprefix("offset(")[:-1].strip()
        if op == "+":
            self._offsets.append(inner)
        elif inner in self._offsets:
            self._offsets.remove(inner)
        else:
            raise self._absent(written, [f"offset({o})" for o in self._offsets])

    def _absent(self, written: str, there: Sequence[str]) -> FormulaError:
        known = ", ".join(there) or "nothing of its kind"
        return FormulaError(
            f"{written} cannot be taken away: the formula has {known}",
            hint=f"The formula is {self._old.text}",
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
        for term in self._random:
            if term.structure == "iid":
                raise FormulaError(
                    f"the variance component {term.name!r}, {term.text}, cannot be written in a "
                    "formula",
                    hint="Make the changed model by MixedLM.from_formula(..., vc_formula=...).",
                )
        random = [term.text for term in self._random]
        return " + ".join([plain, *random, *(f"offset({o})" for o in self._offsets)])


def _same(one: RandomTermSpec, two: RandomTermSpec) -> bool:
    """Say whether two terms mean the same, however they are written."""
    return (
        one.structure == two.structure
        and sorted(map(_squeezed, one.group)) == sorted(map(_squeezed, two.group))
        and _columns(one.expr) == _columns(two.expr)
    )


def _columns(expr: str) -> set[patsy.Term]:
    return set(patsy.ModelDesc.from_formula(f"~ {expr}").rhs_termlist)


def _squeezed(text: str) -> str:
    return re.sub(r"\s+", "", text)
