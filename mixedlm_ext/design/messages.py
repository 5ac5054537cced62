"""What errors are made of: values as one would type them, places in the formula, ways out."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from typing import Any

import numpy as np
import patsy

from mixedlm_ext.errors import DesignError, FormulaError, did_you_mean
from mixedlm_ext.language.mixed_formula import MixedFormula

__all__ = ["blank_strings", "list_names", "locate", "patsy_error", "quoted", "unknown_name"]

Span = tuple[int, int]

_STRING_LITERAL = re.compile(r"'[^'\n]*'|\"[^\"\n]*\"")
# what patsy says where it takes arithmetic for its own algebra of terms
_ALGEBRA = ("numbers besides", "Unary minus", "intercept term cannot", "positive integer")
# R's functions and words, and what to write for them
_R_WORDS = {
    "factor": "C(x)",
    "ordered": "C(x)",
    "relevel": "C(x, Treatment('reference'))",
    "poly": "x + I(x**2), or bs(x, df=4)",
    "ns": "cr(x, df=3, constraints='center') for ns(x, 3)",
    "s": "bs(x, df=4)",
    "ifelse": "np.where(x > 0, 1, 0)",
    "cbind": "one model for each response",
    "diag": "diag(x | group)",
    "us": "us(x | group)",
    "NULL": "the formula without it",
    "TRUE": "True",
    "FALSE": "False",
}


def list_names(names: Iterable[Any], most: int = 12) -> str:
    """The first few of `names`, quoted, for messages."""
    items = list(names)
    return ", ".join(map(quoted, items[:most])) + (", ..." if len(items) > most else "")


def quoted(value: Any) -> str:
    """A label, level or name as the user would type it: 308 rather than np.int64(308).

    Other objects, which nobody types, by their type.
    """
    if isinstance(value, type) or (callable(value) and hasattr(value, "__name__")):
        return f"the {'type' if isinstance(value, type) else 'function'} {value.__name__}"
    text = repr(value.item() if isinstance(value, np.generic) else value)
    return f"a {type(value).__name__}" if len(text) > 200 or " object at 0x" in text else text


def is_number_text(value: Any) -> bool:
    """Whether a value is a number, or a text that can be converted into one."""
    try:
        return isinstance(value, str | int | float) and float(value) is not None
    except (ValueError, OverflowError):
        return False


def odd_one(values: Iterable[Any]) -> Any:
    """The first value that is no number, or the first of all."""
    items = list(values)
    return next((value for value in items if not is_number_text(value)), items[0])


def blank_strings(text: str) -> str:
    """The text with spaces in place of its string literals; positions stay."""
    return _STRING_LITERAL.sub(lambda found: " " * len(found.group()), text)


def locate(text: str, fragment: str, span: Span, outside: Sequence[Span] = ()) -> Span:
    """Where `fragment` stands within `span` of `text` up to white space; `span` if nowhere.

    Places in `outside` (the random terms, for the fixed part) do not count.
    """
    tokens = re.findall(r"\w+|[^\w\s]", fragment)
    if not tokens:
        return span
    before = r"(?<!\w)" if re.match(r"\w", tokens[0]) else ""
    after = r"(?!\w)" if re.match(r"\w", tokens[-1]) else ""
    pattern = re.compile(before + r"\s*".join(re.escape(token) for token in tokens) + after)
    for found in pattern.finditer(text, *span):
        if not any(start <= found.start() < stop for start, stop in outside):
            return found.span()
    return span


def patsy_error(
    error: patsy.PatsyError, formula: MixedFormula, place: str, span: Span
) -> FormulaError:
    """Say what patsy says, with the caret in the user's own text."""
    fragment = formula.shown(error.origin.relevant_code() if error.origin is not None else "")
    lines = formula.shown(error.message).removeprefix("Error evaluating factor: ").splitlines()
    message = lines[0].rstrip(".") if lines else "error"
    what = f"cannot evaluate {fragment!r} in {place}" if fragment else f"cannot read {place}"
    outside = [term.span for term in formula.random] if place == "the fixed part" else []
    hint = ""
    if any(words in message for words in _ALGEBRA):
        hint = "Put arithmetic into I(...), as in I(x / 10) or I(-x)."
    elif "no data named" in message:
        hint = "Q() takes the name of a column in quotes."
    return FormulaError(
        f"{what}: {message}", formula.text, locate(formula.text, fragment, span, outside), hint
    )


def unknown_name(
    name: str,
    role: str,
    place: str,
    formula: MixedFormula,
    columns: Collection[Any],
    index_names: Sequence[Any] = (),
) -> Exception:
    """The error for a name that is nowhere, with the nearest column or another way out."""
    odd = _odd_name_error(formula, columns)
    if odd is not None:
        return odd
    if name in columns:
        return FormulaError(
            f"{name!r} is a column and cannot be called like a function",
            formula.text,
            locate(formula.text, name, (0, len(formula.text))),
            f"If a + is missing before the parenthesis, write {name} + (...).",
        )
    have = _way_out(name, columns, index_names)
    if role == "group" and name not in _R_WORDS:
        return DesignError(f"grouping factor {name!r} of {place} is not in the data.{have}")
    return DesignError(
        f"{name!r} in {place} is neither a column of the data nor a variable in scope.{have}"
    )


def _way_out(name: str, columns: Collection[Any], index_names: Sequence[Any]) -> str:
    """What the user may have meant by a name that is nowhere."""
    if name in index_names:
        return f" {name!r} is in the index: pass data.reset_index()."
    if any(isinstance(column, tuple) and name in column for column in columns):
        flat = "data.columns = ['_'.join(names) for names in data.columns]"
        return f" The columns have several levels; flatten them, as in {flat}."
    if any(not isinstance(column, str) and str(column) == name for column in columns):
        return " The columns have names that are no text; pass data.rename(columns=str)."
    if name in _R_WORDS:
        return f" Where R has {name}, write {_R_WORDS[name]}."
    near = did_you_mean(name, (str(column) for column in columns))
    return near or f" The data have the columns {list_names(columns)}."


def _odd_name_error(formula: MixedFormula, columns: Iterable[Any]) -> FormulaError | None:
    """The error that says ``Q('odd.name')``, if the text names such a column without it."""
    text = blank_strings(formula.text)
    known = [name for name in columns if isinstance(name, str) and name not in formula.bare]
    odd = [name for name in known if not name.isidentifier()]
    for name in sorted(odd, key=len, reverse=True):
        # a name that is called is no column without Q(), nor with it
        pattern = rf"(?<!\w){re.escape(name)}(?!\w|\s*\()"
        found = re.search(pattern, text) if name.strip() else None
        if found:
            return FormulaError(
                f"the column name {name!r} is not a Python name",
                formula.text,
                found.span(),
                f"Write Q({name!r}) in its place.",
            )
    return None
