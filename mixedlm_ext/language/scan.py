"""Formula text -> tokens: the scanner, and the check that brackets match.

The scanner is a regular expression and not the standard library's `tokenize`: from Python 3.12 on
that one refuses unbalanced brackets and R's operators, in words that differ between versions,
where this package owes the user a caret under the place.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mixedlm_ext.errors import FormulaError

__all__ = ["CLOSER", "EXAMPLE", "Span", "Token", "check_brackets", "scan"]

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
CLOSER = {"(": ")", "[": "]", "{": "}"}
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


def scan(
    text: str, column_at: Callable[[str, int], str | None] = lambda text, place: None
) -> list[Token]:
    """Cut `text` into tokens; white space is dropped.

    Parameters
    ----------
    text : str
    column_at : callable
        Tells which column with a name that is no Python word stands at a place of the text. It
        becomes a token of the kind "column".
    """
    tokens: list[Token] = []
    place = 0
    while place < len(text):
        name = None if tokens and tokens[-1].text == "." else column_at(text, place)
        if name is not None:
            tokens.append(Token("column", name, (place, place + len(name))))
            place += len(name)
            continue
        match = _SCANNER.match(text, place)
        if match is None:
            raise _unreadable(text, place)
        start, stop = match.span()
        if match.lastgroup == "nested":
            raise FormulaError(
                "%in% is R's operator",
                text,
                (start, stop),
                "Write a:b for the combinations of a and b, or a/b for b nested in a.",
            )
        if match.lastgroup == "name":
            # accents that are characters of their own belong to a name, but not to \w
            while text[start : stop + 1].isidentifier() and stop < len(text):
                stop += 1
        if match.lastgroup != "space":
            tokens.append(Token(str(match.lastgroup), text[start:stop], (start, stop)))
        place = stop
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


def check_brackets(text: str, tokens: Sequence[Token]) -> None:
    """Refuse brackets that do not match, naming the one that has no partner."""
    still_open: list[Token] = []
    for token in tokens:
        if token.text in CLOSER:
            still_open.append(token)
        elif token.text in CLOSER.values():
            if not still_open:
                problem = f"'{token.text}' closes nothing"
                hint = f"Remove this '{token.text}' or open it further left."
                raise FormulaError(problem, text, token.span, hint)
            opener = still_open.pop().text
            if CLOSER[opener] != token.text:
                problem = f"'{token.text}' cannot close '{opener}'"
                hint = f"Write '{CLOSER[opener]}' before it, or balance the brackets otherwise."
                raise FormulaError(problem, text, token.span, hint)
        if len(still_open) > _MAX_DEPTH:
            problem = f"more than {_MAX_DEPTH} brackets within one another"
            raise FormulaError(problem, text, token.span, "Remove the brackets not needed.")
    if still_open:
        opener = still_open[-1].text
        problem = f"'{opener}' is never closed"
        hint = f"Write the '{CLOSER[opener]}' that belongs to it."
        raise FormulaError(problem, text, still_open[-1].span, hint)
