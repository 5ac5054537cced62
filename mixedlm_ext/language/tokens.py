"""Tokens -> lexemes: the cut patsy makes, with the bar as one operator more."""

from __future__ import annotations

import ast
import keyword
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field

from mixedlm_ext.errors import FormulaError, did_you_mean
from mixedlm_ext.language.columns import EXPRESSION_KEYWORDS, Columns, is_lone_dot, shown
from mixedlm_ext.language.scan import CLOSER, EXAMPLE, Span, Token, check_brackets, scan
from mixedlm_ext.structures import KEYWORDS

__all__ = [
    "EXAMPLE",
    "STRUCTURED",
    "Lexeme",
    "Source",
    "Span",
    "Token",
    "call_arguments",
    "check_python",
    "spell_columns",
    "split_lexemes",
    "structured_arguments",
]

STRUCTURED = "structure()"
"""What `Lexeme.op` says of ``cs(x | g)``."""

_OPERATORS = frozenset({"~", "+", "-", "*", "/", ":", "**", "|", "||"})


@dataclass(frozen=True)
class Lexeme:
    """An operator or parenthesis of the formula, or one Python expression.

    `op` is "" for an expression, and `STRUCTURED` for a random term written as a call.
    """

    op: str
    tokens: tuple[Token, ...]

    @property
    def span(self) -> Span:
        """The place of the lexeme in the text."""
        return self.tokens[0].span[0], self.tokens[-1].span[1]


@dataclass(frozen=True)
class Source:
    """The user's text with its tokens."""

    text: str
    tokens: tuple[Token, ...]
    columns: Columns = field(default_factory=Columns)
    bare: frozenset[str] = frozenset()

    @classmethod
    def read(cls, text: str, columns: Columns | None = None) -> Source:
        """Cut `text` into tokens and check that its brackets match.

        Names of `columns` that Python would not read become ``Q('name')`` in the tokens; `bare`
        holds these names.
        """
        columns = columns or Columns()
        tokens = scan(text, columns.at)
        if not tokens:
            raise FormulaError("the formula is empty", hint=f"Write one such as {EXAMPLE!r}.")
        check_brackets(text, tokens)
        spelled, bare = columns.spell(tokens)
        return cls(text, tuple(spelled), columns, bare)

    @property
    def span(self) -> Span:
        """The written formula without the white space around it."""
        return self.tokens[0].span[0], self.tokens[-1].span[1]

    def within(self, span: Span) -> tuple[Token, ...]:
        """The tokens inside `span`."""
        first = bisect_left(self.tokens, span[0], key=lambda token: token.span[0])
        last = bisect_right(self.tokens, span[1], key=lambda token: token.span[1])
        return self.tokens[first:last]

    def plain(self, span: Span) -> str:
        """The text of `span` on one line, every run of white space one blank."""
        words: list[str] = []
        end = span[0]
        for token in self.within(span):
            words += [" "] if words and token.span[0] > end else []
            words.append(token.text)
            end = token.span[1]
        return "".join(words)

    def key(self, span: Span) -> tuple[str, ...]:
        """What two spellings of one expression share: the tokens without white space."""
        return tuple(t.text for t in self.within(span))

    def error(self, problem: str, span: Span, hint: str) -> FormulaError:
        """Build the error whose caret stands under `span`."""
        return FormulaError(shown(problem, self.bare), self.text, span, shown(hint, self.bare))


def spell_columns(text: str, columns: Columns) -> str:
    """Spell the columns in `text` that Python would not read, such as ``yield``, with ``Q()``."""
    if not text.strip():
        return text
    source = Source.read(text, columns)
    return source.plain(source.span)


def split_lexemes(source: Source, tokens: Sequence[Token] | None = None) -> list[Lexeme]:
    """Split the tokens, all of the source's by default, at the formula's operators as patsy does.

    A parenthesis that follows an operator groups terms; one that follows a name is a call. Within
    a call, square brackets or braces every operator belongs to Python, unless the call is a random
    term with a covariance structure.
    """
    lexemes: list[Lexeme] = []
    expression: list[Token] = []
    depth = 0
    for token in source.tokens if tokens is None else tokens:
        opens = token.text == "(" and not expression
        if depth == 0 and (opens or token.text in _OPERATORS or token.text == ")"):
            if expression:
                lexemes.append(_expression(source, expression))
                expression = []
            lexemes.append(Lexeme(token.text, (token,)))
        else:
            expression.append(token)
            depth += _depth_change(token)
    if expression:
        lexemes.append(_expression(source, expression))
    return lexemes


def call_arguments(tokens: Sequence[Token], name: str) -> list[tuple[Token, ...]] | None:
    """Return the arguments if `tokens` are exactly one call of `name`, else None."""
    if [t.text for t in tokens[:2]] != [name, "("] or tokens[-1].text != ")":
        return None
    arguments: list[list[Token]] = [[]]
    depth = 0
    for token in tokens[2:-1]:
        depth += _depth_change(token)
        if depth < 0:
            return None
        if depth == 0 and token.text == ",":
            arguments.append([])
        else:
            arguments[-1].append(token)
    return [tuple(a) for a in arguments] if any(arguments) else []


def structured_arguments(tokens: Sequence[Token]) -> list[tuple[Token, ...]] | None:
    """Return the arguments if `tokens` are a random term such as ``cs(x | g)``, else None."""
    if not tokens or tokens[0].text not in KEYWORDS:
        return None
    arguments = call_arguments(tokens, tokens[0].text)
    depth = 0
    for token in arguments[0] if arguments else ():
        if depth == 0 and token.text in ("|", "||"):
            return arguments
        depth += _depth_change(token)
    return None


def check_python(source: Source, tokens: Sequence[Token]) -> None:
    """Refuse what Python could not evaluate, before patsy meets it."""
    span = (tokens[0].span[0], tokens[-1].span[1])
    try:
        ast.parse(source.plain(span), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise _not_python(source, tokens, span) from None


def _depth_change(token: Token) -> int:
    return (token.text in CLOSER) - (token.text in CLOSER.values())


def _expression(source: Source, tokens: list[Token]) -> Lexeme:
    """Check one Python expression of the formula and wrap it up."""
    if structured_arguments(tokens) is not None:
        return Lexeme(STRUCTURED, tuple(tokens))
    if [t.text for t in tokens] == ["."]:
        problem = "'.', R's word for all other columns, is not available"
        raise source.error(problem, tokens[0].span, "Write the names of the columns.")
    depth = 0
    for i, token in enumerate(tokens):
        depth += _depth_change(token)
        if token.text == "^":
            _check_caret(source, tokens, i, depth)
        elif token.text == "," and depth == 0:
            hint = "Join terms with +, as in 'y ~ a + b'."
            raise source.error("a comma cannot separate terms", token.span, hint)
    check_python(source, tokens)
    return Lexeme("", tuple(tokens))


def _check_caret(source: Source, tokens: list[Token], i: int, depth: int) -> None:
    """Refuse R's power; within a call ``a ^ b`` is Python's exclusive or unless b is a number."""
    after = tokens[i + 1] if i + 1 < len(tokens) else None
    if depth and not (after and after.kind == "number"):
        return
    simple = i > 0 and tokens[i - 1].kind in ("name", "column") and after is not None
    power = f"{tokens[i - 1].text}**{after.text}" if simple and after else "(a + b)**2"
    if depth:
        hint = f"Write {'I(' + power + ')' if tokens[0].text == 'I' else power}."
    elif simple:
        hint = f"Write {power} for R's crossing of terms, I({power}) for the power of a number."
    else:
        hint = f"Write ** as in {power}, and I(x**2) for the square of a number."
    raise source.error("'^' is not a power in Python", tokens[i].span, hint)


def _not_python(source: Source, tokens: Sequence[Token], span: Span) -> FormulaError:
    """The error for an expression Python cannot read: most often an odd column name."""
    for token, after in zip(tokens, [*tokens[1:], None], strict=True):
        reserved = token.kind == "name" and keyword.iskeyword(token.text)
        if token.text == "as" and after is not None and after.text == ".":
            hint = "Write C(x) for as.factor(x), x.astype(float) for as.numeric(x)."
            return source.error("as.factor() and its kin are R's", token.span, hint)
        if reserved and (len(tokens) == 1 or token.text not in EXPRESSION_KEYWORDS):
            return _python_word(source, token)
    written = source.plain(span)
    equals = next((t for t in tokens if t.text == "="), None)
    if equals is not None and not any(t.text == "~" for t in source.tokens):
        hint = "Write ~ between the response and the predictors."
        return source.error("the formula has no '~'", equals.span, hint)
    around = zip((None, *tokens), tokens, (*tokens[1:], None), strict=False)
    if source.columns.given and any(is_lone_dot(*three) for three in around):
        hint = "A dot for all other columns stands alone: join it to other terms with +."
    elif all(t.kind in ("name", "number") for t in tokens):
        hint = f"If it is a column's name, write Q({written!r}); terms are joined by +."
    elif any(t.text == "||" for t in tokens):
        hint = "Put a + before the parenthesis of a random term, as in x + (x || group)."
    else:
        hint = "Put arithmetic into I(...), and a column with an odd name into Q('odd name')."
    return source.error(f"{written!r} is not a Python expression", span, hint)


def _python_word(source: Source, token: Token) -> FormulaError:
    """The error for a keyword that is no column, or may be Python's own."""
    name, columns = token.text, source.columns
    problem = f"{name!r} is a word of the Python language"
    hint = f"Write Q({name!r}) for the column."
    if columns.given and name not in columns.names:
        problem += " and no column of the data"
        hint = did_you_mean(name, columns.names).strip() or "Write the name of a column."
    return source.error(problem, token.span, hint)
