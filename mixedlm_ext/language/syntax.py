"""Lexemes -> tree, with patsy's precedence: ``|`` < ``+ -`` < ``* /`` < ``:`` < ``**``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from mixedlm_ext.errors import FormulaError
from mixedlm_ext.language.tokens import (
    EXAMPLE,
    STRUCTURED,
    Lexeme,
    Source,
    Span,
    Token,
    split_lexemes,
    structured_arguments,
)

__all__ = ["Node", "parse_one_side", "parse_two_sides"]

_LEVELS = (("+", "-"), ("*", "/"), (":",), ("**",))
_BARS = ("|", "||")


@dataclass(frozen=True)
class Node:
    """A piece of the formula.

    `kind` is "atom" (a Python expression, with its tokens), "sum", "product" (all the tighter
    operators), "sign", "parens", "bar", "structured" (a bar in a call, with its tokens), or "empty"
    where something is missing. `ops` holds the operators between (for a sign: before) the children,
    left to right.
    """

    kind: Literal["atom", "sum", "product", "sign", "parens", "bar", "structured", "empty"]
    span: Span
    children: tuple[Node, ...] = ()
    ops: tuple[Lexeme, ...] = ()
    tokens: tuple[Token, ...] = ()


def parse_two_sides(source: Source) -> tuple[Node, Node]:
    """Parse ``left ~ right``; the right side may hold random terms."""
    lexemes = split_lexemes(source)
    at = _place_of_tilde(source, lexemes)
    start, stop = lexemes[at].span
    written = source.plain((stop, source.span[1]))
    if at == 0:
        hint = f"Write the response before it, such as y ~ {written or 'x + (1 | group)'}."
        raise source.error("nothing stands left of '~'", (start, stop), hint)
    if at == len(lexemes) - 1:
        hint = f"Write {source.plain(source.span)} 1 + (1 | group), for example."
        raise source.error("nothing stands right of '~'", (start, stop), hint)
    left = _Parser(source, lexemes[:at]).parse()
    return left, _Parser(source, lexemes[at + 1 :]).parse()


def parse_one_side(source: Source, name: str) -> Node:
    """Parse a formula without a response, ``~ right`` or ``right``; `name` is for the errors."""
    lexemes = split_lexemes(source)
    if lexemes[0].op == "~":
        lexemes = lexemes[1:]
    for lexeme in lexemes:
        if lexeme.op == "~":
            hint = f"Write the right side only, as in {name}='0 + x'."
            raise source.error(f"{name} has no response", lexeme.span, hint)
    if not lexemes:
        raise source.error(f"{name} is empty", source.span, f"Write {name}='1', for example.")
    return _Parser(source, lexemes).parse()


def _place_of_tilde(source: Source, lexemes: Sequence[Lexeme]) -> int:
    """Return the index of the one ``~`` that parts the formula."""
    places = [i for i, lexeme in enumerate(lexemes) if lexeme.op == "~"]
    if not places:
        hint = f"Write the response, a ~ and the predictors, such as {EXAMPLE!r}."
        raise source.error("the formula has no '~'", source.span, hint)
    if len(places) > 1:
        hint = "Keep the one that parts the response from the predictors."
        raise source.error("the formula has two '~'", lexemes[places[1]].span, hint)
    before = [lexeme.op for lexeme in lexemes[: places[0]]]
    if before.count("(") > before.count(")"):
        hint = f"Take it out of the parentheses, as in {EXAMPLE!r}."
        raise source.error("'~' stands within parentheses", lexemes[places[0]].span, hint)
    return places[0]


class _Parser:
    """Recursive descent over the lexemes of one side."""

    def __init__(self, source: Source, lexemes: Sequence[Lexeme]) -> None:
        self.source = source
        self.lexemes = lexemes
        self.place = 0

    def parse(self) -> Node:
        """Parse the whole side."""
        return self._bar()

    def _peek(self) -> Lexeme | None:
        return self.lexemes[self.place] if self.place < len(self.lexemes) else None

    def _at(self, *ops: str) -> bool:
        lexeme = self._peek()
        return lexeme is not None and lexeme.op in ops

    def _take(self) -> Lexeme:
        lexeme = self.lexemes[self.place]
        self.place += 1
        return lexeme

    def _bar(self) -> Node:
        left = self._chain(0)
        if not self._at(*_BARS):
            return left
        bar = self._take()
        right = self._chain(0)
        if self._at(*_BARS):
            raise self._second_bar(left, bar, right)
        return Node("bar", (left.span[0], right.span[1]), (left, right), (bar,))

    def _second_bar(self, left: Node, bar: Lexeme, right: Node) -> FormulaError:
        plain = self.source.plain
        second = self._take()
        if right.kind == "empty":
            hint = "Write || without a blank between the bars, as in (x || group)."
        else:
            third = self._chain(0)
            e, g = plain(left.span) or "1", plain(right.span)
            h = plain(third.span) or "h"
            hint = f"Write ({e} | {g}) + ({e} | {h}), or ({e} | {g}:{h}) for their combinations."
        return self.source.error("a random term has one bar only", second.span, hint)

    def _chain(self, level: int) -> Node:
        """Parse operands joined by the operators of `level`, left to right."""
        if level == len(_LEVELS):
            return self._operand()
        children = [self._chain(level + 1)]
        ops = []
        while self._at(*_LEVELS[level]):
            ops.append(self._take())
            children.append(self._chain(level + 1))
        if not ops:
            return children[0]
        for i, child in enumerate(children):
            if child.kind == "empty":
                raise self._missing(ops[max(i - 1, 0)], "left" if i == 0 else "right")
        span = (children[0].span[0], children[-1].span[1])
        return Node("product" if level else "sum", span, tuple(children), tuple(ops))

    def _operand(self) -> Node:
        """Parse a signed atom or parenthesis; a missing one is an empty node."""
        signs = []
        while self._at("+", "-"):
            signs.append(self._take())
        node = self._unsigned()
        if not signs:
            return node
        if node.kind == "empty":
            raise self._missing(signs[-1], "right")
        return Node("sign", (signs[0].span[0], node.span[1]), (node,), tuple(signs))

    def _unsigned(self) -> Node:
        if self._at(""):
            lexeme = self._take()
            node = Node("atom", lexeme.span, tokens=lexeme.tokens)
        elif self._at("("):
            node = self._parens()
        elif self._at(STRUCTURED):
            node = self._structured()
        else:
            end = self.lexemes[self.place - 1].span[1] if self.place else 0
            return Node("empty", (end, end))
        if self._at("", "(", STRUCTURED):
            hint = "Join terms with +, as in x + (1 | group)."
            raise self.source.error("an operator is missing before this", self._take().span, hint)
        return node

    def _parens(self) -> Node:
        opening = self._take()
        inner = self._bar()
        # Brackets are known to match and every operator was consumed, so this is the ")".
        span = (opening.span[0], self._take().span[1])
        if inner.kind == "empty":
            raise self.source.error("these parentheses are empty", span, "Remove them.")
        if inner.kind == "bar":
            self._check_sides(inner, span)
        return Node("parens", span, (inner,))

    def _structured(self) -> Node:
        """Parse the bar inside a call such as ``cs(x | g)``."""
        lexeme = self._take()
        arguments = structured_arguments(lexeme.tokens) or []
        inner = _Parser(self.source, split_lexemes(self.source, arguments[0])).parse()
        self._check_sides(inner, lexeme.span)
        return Node("structured", lexeme.span, (inner,), tokens=lexeme.tokens)

    def _check_sides(self, bar: Node, span: Span) -> None:
        left, right = bar.children
        op = bar.ops[0].op
        if right.kind == "empty":
            columns = self.source.plain(left.span) or "1"
            hint = f"Write ({columns} {op} group)."
            raise self.source.error("the random-effects term has no grouping factor", span, hint)
        if left.kind == "empty":
            group = self.source.plain(right.span)
            hint = f"Write (1 {op} {group}) for one intercept per level of {group}."
            raise self.source.error("the random-effects term has no left side", span, hint)

    def _missing(self, op: Lexeme, side: str) -> FormulaError:
        hint = f"Remove the '{op.op}' or write what belongs on its {side}."
        return self.source.error(f"'{op.op}' has nothing on its {side}", op.span, hint)
