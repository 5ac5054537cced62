"""Read ``correlation="ar1(week | subject)"`` and ``variance="sex * power(x)"``."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass

from mixedlm_ext.errors import FormulaError, did_you_mean, shown
from mixedlm_ext.residual.kinds import KINDS

__all__ = ["CorrelationText", "VarianceText", "parse_correlation", "parse_variance"]

_CALL = re.compile(r"\s*(\w+)\s*\((.*)\)\s*", re.DOTALL)
_ELSEWHERE = {
    "corar1": "ar1",
    "corcar1": "car1",
    "corexp": "car1",
    "ou": "car1",
    "corcompsymm": "cs",
    "exchangeable": "cs",
    "varpower": "power",
    "varexp": "exp",
}
"""What nlme and others call them."""
_RANDOM = ("us", "un", "toep", "diag", "corsymm", "unstructured")
"""Structures that random effects have and residuals do not."""
_EXAMPLE = "Write correlation='ar1(week | subject)', 'car1(time | subject)' or 'cs(1 | subject)'."
_VARIANCE = (
    "Write variance='sex' for a standard deviation in each level, 'power(x)', 'exp(x)', or a "
    "product, 'sex * power(x)'."
)


@dataclass(frozen=True)
class CorrelationText:
    """A correlation as it was written.

    Attributes
    ----------
    word : str
    position : str or None
        Python code; None for "1".
    group : tuple of str
        Python code of the factors whose combinations are the groups.
    text : str
        Normalized.
    """

    word: str
    position: str | None
    group: tuple[str, ...]
    text: str


@dataclass(frozen=True)
class VarianceText:
    """One factor of a variance as it was written.

    Attributes
    ----------
    word : {"strata", "power", "exp"}
    codes : tuple of str
        Python code of the covariate, or of the factors.
    text : str
        Normalized.
    """

    word: str
    codes: tuple[str, ...]
    text: str


def parse_correlation(text: object) -> CorrelationText:
    """Read a correlation.

    Examples
    --------
    >>> parse_correlation("ar1(week|subject)").text
    'ar1(week | subject)'
    """
    found = _CALL.fullmatch(_as_text(text, "correlation", _EXAMPLE))
    whole = str(text)
    if found is None:
        raise _error("correlation= is no call of a structure", whole, _EXAMPLE)
    word, inside = found[1], found[2]
    _check_word(word, whole)
    parts = _split(inside, "|")
    if len(parts) == 1 and word == "cs":
        parts = ["1", *parts]
    if len(parts) != 2 or not all(part.strip() for part in parts):
        raise _error(
            f"{word}() needs a position and a group with one bar between them",
            whole,
            f"Write {word}({'1' if word == 'cs' else 'week'} | subject).",
        )
    left, right = (part.strip() for part in parts)
    group = tuple(part.strip() for part in _split(right, ":"))
    for code in (left, *group):
        _check_code(code, whole)
    if any(_split(code, "/")[1:] for code in group):
        raise _error(
            "correlation= takes one grouping of the rows",
            whole,
            f"Write {word}({left} | {right.replace('/', ':')}) for the combinations.",
        )
    if word == "cs" and left != "1":
        raise _error(
            "cs() knows no positions: all rows of a group are alike",
            whole,
            f"Write cs(1 | {right}); ar1({left} | {right}) lets correlations fall with distance.",
        )
    if word != "cs" and left in ("0", "1"):
        raise _error(
            f"{word}() needs the positions of the rows",
            whole,
            f"Write {word}(week | {right}) with the column that has the order in time.",
        )
    position = None if word == "cs" else left
    return CorrelationText(word, position, group, f"{word}({left} | {':'.join(group)})")


def parse_variance(text: object) -> tuple[VarianceText, ...]:
    """Read a variance, a product of factors.

    Examples
    --------
    >>> [part.word for part in parse_variance("sex * power(x)")]
    ['strata', 'power']
    """
    whole = _as_text(text, "variance", _VARIANCE)
    out = []
    for part in (own.strip() for own in _split(whole, "*")):
        if len(_split(part, "+")) > 1:
            product = " * ".join(own.strip() for own in _split(part, "+"))
            raise _error(
                "parts of a variance multiply one another", whole, f"Write variance={product!r}."
            )
        found = _CALL.fullmatch(part)
        word = found[1].lower() if found else ""
        if found and (word in ("power", "exp") or word in _ELSEWHERE):
            word = _ELSEWHERE.get(word, word)
            if word not in ("power", "exp"):
                raise _error(f"{found[1]}() is a correlation", whole, _EXAMPLE)
            out.append(_covariate(word, found[2].strip(), whole))
            continue
        codes = tuple(code.strip() for code in _split(part, ":"))
        for code in codes:
            _check_code(code, whole)
        out.append(VarianceText("strata", codes, ":".join(codes)))
    texts = [part.text for part in out]
    if len(set(texts)) < len(texts):
        raise _error("variance= names a factor twice", whole, "Write it once.")
    return tuple(out)


def _covariate(word: str, code: str, whole: str) -> VarianceText:
    """Read what is inside ``power()`` or ``exp()``."""
    if not code or code.replace(" ", "") in ("fitted(.)", "fitted()", ".", "~fitted(.)"):
        raise _error(
            f"{word}() needs a covariate: variances that follow the fitted values have no "
            "likelihood of their own",
            whole,
            f"Write {word}(x) with a column of the data, such as the fitted values of a first fit.",
        )
    if len(_split(code, "|")) > 1:
        covariate, strata = (own.strip() for own in _split(code, "|")[:2])
        raise _error(
            f"{word}() has one exponent for all rows",
            whole,
            f"Write variance='{strata} * {word}({covariate})' for a standard deviation in each "
            f"level of {strata}.",
        )
    _check_code(code, whole)
    return VarianceText(word, (code,), f"{word}({code})")


def _as_text(text: object, name: str, example: str) -> str:
    """Return the text, or say that it is none."""
    if not isinstance(text, str):
        raise _error(f"{name}={shown(text)} is no text", "", example)
    if not text.strip():
        raise _error(f"{name}= is empty", text, example)
    return text


def _error(problem: str, whole: str, hint: str) -> FormulaError:
    """Return the error about a text."""
    return FormulaError(problem, whole, (0, len(whole)), hint)


def _check_word(word: str, whole: str) -> None:
    """Refuse words that are no correlation of residuals."""
    if word in KINDS:
        return
    if word.lower() in _RANDOM:
        hint = (
            f"Residuals have {', '.join(KINDS)}. Write {word}(0 + C(week) | subject) into the "
            "formula for random effects of that structure."
        )
    else:
        known = _ELSEWHERE.get(word.lower())
        near = f" Did you mean {known}?" if known else did_you_mean(word, KINDS)
        hint = f"Residuals have {', '.join(KINDS)}.{near}"
    raise _error(f"residuals have no correlation {word}()", whole, hint)


def _check_code(code: str, whole: str) -> None:
    """Refuse what is no Python expression."""
    try:
        ast.parse(code, mode="eval")
    except SyntaxError:
        raise _error(
            f"{code!r} is neither a column nor an expression",
            whole,
            "Write a column's name, Q('odd name'), or an expression of columns.",
        ) from None


def _split(text: str, at: str) -> list[str]:
    """Split at a sign outside parentheses, brackets and quotes; ``**`` is no ``*``."""
    parts, depth, quote, start, i = [], 0, "", 0, 0
    while i < len(text):
        c = text[i]
        if quote:
            quote = "" if c == quote else quote
        elif c in "'\"":
            quote = c
        elif c in "([{":
            depth += 1
        elif c in ")]}":
            depth -= 1
        elif text[i : i + 2] == "**" and at == "*":
            i += 1
        elif c == at and depth == 0:
            parts.append(text[start:i])
            start = i + 1
        i += 1
    return [*parts, text[start:]]
