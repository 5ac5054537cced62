"""Names of the data's columns in a formula's text, where Python would read something else.

``min.temp`` is an attribute of a function to Python, ``yield`` a word of its language, and the
micro sign of a column ``µ`` becomes another letter in its identifiers. Where the text can only mean
the column, such a name is spelled ``Q('min.temp')`` for whatever evaluates the formula, and shown
as the user wrote it.
"""

from __future__ import annotations

import keyword
import unicodedata
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace

from mixedlm_ext.language.scan import CLOSER, Token

__all__ = ["EXPRESSION_KEYWORDS", "OTHERS", "Columns", "is_lone_dot", "shown", "spelled"]

OTHERS = "_all_other_columns_"
"""Stands for R's dot until the columns are known that no other part of the formula uses."""

# Keywords that can stand inside a Python expression; any other one must be a column's name.
EXPRESSION_KEYWORDS = frozenset(
    {"and", "or", "not", "in", "is", "if", "else", "for", "lambda", "None", "True", "False"}
)
_CONSTANTS = frozenset({"None", "True", "False"})
_PREFIXES = frozenset({"not", "lambda"})
# What Python may have after "not" and "lambda"; before these the word is not surely a column.
_AFTER_PREFIX = {"not": frozenset("+-"), "lambda": frozenset(":")}


def spelled(name: str) -> str:
    """Spell a column's name as a Python expression: ``x``, ``Q('odd name')``."""
    plain = name.isidentifier() and not keyword.iskeyword(name) and _normal(name) == name
    return name if plain else f"Q({name!r})"


def shown(text: str, bare: Iterable[str]) -> str:
    """Show the names in `bare` without ``Q()``, and R's dot as it was written."""
    for name in bare:
        text = text.replace(f"Q({name!r})", name)
    return text.replace(OTHERS, ".")


class Columns:
    """The column names that a formula may use.

    Parameters
    ----------
    names : collection, optional
        All names of the data; only text counts. None if the data are not known.
    """

    def __init__(self, names: Collection[object] | None = None) -> None:
        self.given = names is not None
        given = () if names is None else names
        self.names = frozenset(name for name in given if isinstance(name, str))
        self._dotted = frozenset(name for name in self.names if _is_dotted(name))
        self._by_normal: dict[str, list[str]] = {}
        for name in self.names:
            self._by_normal.setdefault(_normal(name), []).append(name)

    def finds(self, name: str) -> bool:
        """Tell whether a formula may name this column without ``Q()`` though Python could not."""
        return name in self._dotted or (
            name in self.names and name.isidentifier() and spelled(name) != name
        )

    def at(self, text: str, place: int) -> str | None:
        """Return the column like ``min.temp`` or ``2nd`` that the text names at `place`.

        A name that is called is none, nor is one that begins with another column: ``x.mean()``.
        """
        if not self._dotted:
            return None
        stop = place
        while stop < len(text) and _is_word(text[stop]):
            stop += 1
        chain = text[place:stop]
        called = text[stop : stop + 1] == "("
        whole = True
        while chain:
            method = whole and called
            longer = not whole and chain.partition(".")[0] in self.names
            if chain in self._dotted and not method and not longer:
                return chain
            chain, whole = chain.rpartition(".")[0], False
        return None

    def spell(self, tokens: Sequence[Token]) -> tuple[list[Token], frozenset[str]]:
        """Spell the columns among `tokens` as Python, and return the names that needed it."""
        out: list[Token] = []
        bare: set[str] = set()
        brackets: list[bool] = []  # whether each open bracket belongs to Python, not the formula
        for i, token in enumerate(tokens):
            before = out[-1] if out else None
            after = tokens[i + 1] if i + 1 < len(tokens) else None
            inside = any(brackets)
            if token.text in CLOSER:
                brackets.append(inside or token.text != "(" or _ends_operand(before))
            elif token.text in CLOSER.values():
                brackets.pop()
            name = self._column(token, before, after, inside)
            if name is not None:
                bare.add(name)
                token = replace(token, kind="column", text=f"Q({name!r})")
            elif self.given and not inside and is_lone_dot(before, token, after):
                token = replace(token, kind="name", text=OTHERS)
            out.append(token)
        return out, frozenset(bare)

    def _column(
        self, token: Token, before: Token | None, after: Token | None, inside: bool
    ) -> str | None:
        """Return the column that a token names, if Python would not read it as that."""
        if token.kind == "column":
            return token.text
        attribute = before is not None and before.text == "."
        argument = inside and after is not None and after.text == "="
        if token.kind != "name" or attribute or argument:
            return None
        if keyword.iskeyword(token.text):
            column = token.text in self.names and _can_only_be_a_column(
                token.text, before, after, inside
            )
            return token.text if column else None
        if token.text in self.names:
            return token.text if _normal(token.text) != token.text else None
        alike = self._by_normal.get(_normal(token.text), [])
        # Python itself finds a name that is in its normal form
        return alike[0] if len(alike) == 1 and _normal(alike[0]) != alike[0] else None


def _can_only_be_a_column(
    word: str, before: Token | None, after: Token | None, inside: bool
) -> bool:
    """Tell whether a Python keyword stands where the language has no place for it."""
    if word not in EXPRESSION_KEYWORDS:
        return True
    if _ends_operand(before) or _starts_operand(after):
        return False
    if word in _CONSTANTS:
        return not inside
    if word in _PREFIXES:
        return not (inside and after is not None and after.text in _AFTER_PREFIX[word])
    # the second word of "not in" follows an operator, as a column would
    return before is None or before.text not in ("not", "is")


def is_lone_dot(before: Token | None, token: Token, after: Token | None) -> bool:
    """Tell whether a token between two others is R's dot, an operand of its own."""
    neighbours = [t.text for t in (before, after) if t is not None]
    return (
        token.text == "."
        and "." not in neighbours
        and not _ends_operand(before)
        and not _starts_operand(after)
    )


def _ends_operand(token: Token | None) -> bool:
    """Tell whether an operand may end with this token, so that an operator has to follow."""
    if token is None:
        return False
    if token.kind == "name":
        return not keyword.iskeyword(token.text) or token.text in _CONSTANTS
    return token.kind in ("column", "number", "string") or token.text in CLOSER.values()


def _starts_operand(token: Token | None) -> bool:
    """Tell whether an operand must start with this token."""
    if token is None:
        return False
    if token.kind == "name":
        infix = EXPRESSION_KEYWORDS - _CONSTANTS - _PREFIXES
        return token.text not in infix
    return token.kind in ("column", "number", "string") or token.text in ("(", "[", "{")


def _is_word(character: str) -> bool:
    """Tell whether a character can be part of a name with dots."""
    return (
        character.isalnum() or character in "._" or unicodedata.category(character).startswith("M")
    )


def _is_dotted(name: str) -> bool:
    """Tell whether a name that is no identifier consists of letters, digits and dots alone."""
    if name.isidentifier() or not any(c.isalpha() or c == "_" for c in name):
        return False
    return all(map(_is_word, name)) and not _is_number(name)


def _is_number(text: str) -> bool:
    """Tell whether Python reads the text as a number: ``1e5``, ``2j``, ``0x1f``."""
    try:
        complex(text)
    except ValueError:
        return text[:2].lower() in ("0x", "0b", "0o")
    return True


def _normal(name: str) -> str:
    """Return the form that Python gives to an identifier."""
    return unicodedata.normalize("NFKC", name)
