"""Formula text -> tokens -> lexemes: the cut patsy makes, with the bar as one operator more.

The scanner is a regular expression and not the standard library's `tokenize`: from Python 3.12 on
that one refuses unbalanced brackets and R's operators, in words that differ between versions,
where this package owes the user a caret under the place.
"""

from __future__ import annotations

import ast
import keyword
import re
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from mixedlm_ext.errors import FormulaError

__all__ = ["Lexeme", "Source", "Span", "Token", "call_arguments", "check_python", "split_lexemes"]

Span = tuple[int, int]

EXAMPLE = "y ~ x + (1 | group)"

_SCANNER = re.compile(
    r"""
    (?P<space>  \s+ )
  | (?P<string> (?i: [rbu] | f | br | rb | fr | rf )?
                (?: \'\'\' (?: [^\\] | \\. )*? \'\'\' | \"\"\" (?: [^\\] | \\. )*? \"\"\"
                  | \' (?: [^'\\\n] | \\. )* \'       | \" (?: [^"\\\n] | \\. )* \" ) )
  | (?P<name>   [^\W\d]\w* )
  | (?P<number> 0[xX][\da-fA-F_]+ | (?: \d[\d_]*\.?[\d_]* | \.\d[\d_]* ) (?: [eE][+-]?\d+ )?[jJ]? )
  | (?P<nested> %\s*in\s*% )
  | (?P<op>     \*\* | // | \|\| | != | [-+*/:~|()\[\]{}.,<>=%@&^] )
    """,
    re.VERBOSE | re.DOTALL,
)
_CLOSER = {"(": ")", "[": "]", "{": "}"}
_OPERATORS = frozenset({"~", "+", "-", "*", "/", ":", "**", "|", "||"})
# Keywords that can stand inside a Python expression; any other one must be a column's name.
_EXPRESSION_KEYWORDS = frozenset(
    {"and", "or", "not", "in", "is", "if", "else", "for", "lambda", "None", "True", "False"}
)
# Characters of books and web pages that look like those of a formula.
_LOOKALIKES = {
    **dict.fromkeys("∼˜～", "~"),
    **dict.fromkeys("¦∣│｜", "|"),
    **dict.fromkeys("−–—", "-"),
    **dict.fromkeys("“”„‘’", "'"),
    **dict.fromkeys("×∗", "*"),
}
# Deeper nesting is a slip; the bound keeps the recursive parser off Python's stack limit.
_MAX_DEPTH = 50


@dataclass(frozen=True)
class Token:
    """A Python token and its place in the text."""

    kind: str
    text: str
    span: Span


@dataclass(frozen=True)
class Lexeme:
    """An operator or parenthesis of the formula, or (``op == ""``) one Python expression."""

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

    @classmethod
    def read(cls, text: str) -> Source:
        """Cut `text` into tokens and check that its brackets match."""
        tokens = tuple(_scan(text))
        if not tokens:
            raise FormulaError("the formula is empty", hint=f"Write one such as {EXAMPLE!r}.")
        _check_brackets(text, tokens)
        return cls(text, tokens)

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
        return FormulaError(problem, self.text, span, hint)


def split_lexemes(source: Source) -> list[Lexeme]:
    """Split the tokens at the formula's operators, as patsy does.

    A parenthesis that follows an operator groups terms; one that follows a name is a call. Within
    a call, square brackets or braces every operator belongs to Python.
    """
    lexemes: list[Lexeme] = []
    expression: list[Token] = []
    depth = 0
    for token in source.tokens:
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


def check_python(source: Source, tokens: Sequence[Token]) -> None:
    """Refuse what Python could not evaluate, before patsy meets it."""
    span = (tokens[0].span[0], tokens[-1].span[1])
    try:
        ast.parse(source.plain(span), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise _not_python(source, tokens, span) from None


def _scan(text: str) -> list[Token]:
    """Cut `text` into tokens; white space is dropped."""
    tokens = []
    place = 0
    while place < len(text):
        match = _SCANNER.match(text, place)
        if match is None:
            raise _unreadable(text, place)
        span = match.span()
        if match.lastgroup == "nested":
            raise FormulaError(
                "%in% is R's operator",
                text,
                span,
                "Write a:b for the combinations of a and b, or a/b for b nested in a.",
            )
        if match.lastgroup != "space":
            tokens.append(Token(str(match.lastgroup), match.group(), span))
        place = span[1]
    return tokens


def _unreadable(text: str, place: int) -> FormulaError:
    """The error for a character that begins no token."""
    character = text[place]
    problem = f"{character!r} has no meaning in a formula"
    hint = f"A formula looks like {EXAMPLE!r}; a column with an odd name is written Q('odd name')."
    if character in "'\"":
        problem = "the text in quotes that starts here never ends"
        hint = "Close the quotes, as in Q('odd name')."
    elif character == "#":
        problem = "comments are not possible within a formula"
        hint = "Remove the text from the # on."
    elif character == "`":
        hint = "Write Q('odd name') where R has `odd name`."
    elif character == "$":
        hint = "Write the column's name alone: the formula is evaluated in the data."
    elif character in _LOOKALIKES:
        hint = f"It only looks like the {_LOOKALIKES[character]} of the keyboard. Type that."
    elif not character.isprintable():
        hint = "It cannot be seen; it came from where the formula was copied. Remove it."
    return FormulaError(problem, text, (place, place + 1), hint)


def _check_brackets(text: str, tokens: Sequence[Token]) -> None:
    """Refuse brackets that do not match, naming the one that has no partner."""
    still_open: list[Token] = []
    for token in tokens:
        if token.text in _CLOSER:
            still_open.append(token)
        elif token.text in _CLOSER.values():
            if not still_open:
                problem = f"'{token.text}' closes nothing"
                hint = f"Remove this '{token.text}' or open it further left."
                raise FormulaError(problem, text, token.span, hint)
            opener = still_open.pop().text
            if _CLOSER[opener] != token.text:
                problem = f"'{token.text}' cannot close '{opener}'"
                hint = f"Write '{_CLOSER[opener]}' before it, or balance the brackets otherwise."
                raise FormulaError(problem, text, token.span, hint)
        if len(still_open) > _MAX_DEPTH:
            problem = f"more than {_MAX_DEPTH} brackets within one another"
            raise FormulaError(problem, text, token.span, "Remove the brackets not needed.")
    if still_open:
        opener = still_open[-1].text
        problem = f"'{opener}' is never closed"
        hint = f"Write the '{_CLOSER[opener]}' that belongs to it."
        raise FormulaError(problem, text, still_open[-1].span, hint)


def _depth_change(token: Token) -> int:
    return (token.text in _CLOSER) - (token.text in _CLOSER.values())


def _expression(source: Source, tokens: list[Token]) -> Lexeme:
    """Check one Python expression of the formula and wrap it up."""
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
    simple = i > 0 and tokens[i - 1].kind == "name" and after is not None
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
        if reserved and (len(tokens) == 1 or token.text not in _EXPRESSION_KEYWORDS):
            problem = f"{token.text!r} is a word of the Python language"
            return source.error(problem, token.span, f"Write Q({token.text!r}) for the column.")
    shown = source.plain(span)
    equals = next((t for t in tokens if t.text == "="), None)
    if equals is not None and not any(t.text == "~" for t in source.tokens):
        hint = "Write ~ between the response and the predictors."
        return source.error("the formula has no '~'", equals.span, hint)
    if all(t.kind in ("name", "number") for t in tokens):
        hint = f"If it is a column's name, write Q({shown!r}); terms are joined by +."
    elif any(t.text == "||" for t in tokens):
        hint = "Put a + before the parenthesis of a random term, as in x + (x || group)."
    else:
        hint = "Put arithmetic into I(...), and a column with an odd name into Q('odd name')."
    return source.error(f"{shown!r} is not a Python expression", span, hint)
