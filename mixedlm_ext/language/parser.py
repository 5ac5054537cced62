"""Formula text -> `MixedFormula`: fixed part as a plain string, offsets, random terms; no data.

The random terms are taken out before any other engine sees the formula: patsy evaluates
``(Days | Subject)`` as Python's bitwise or, and with integer columns does so silently.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import lru_cache

from mixedlm_ext.errors import FormulaError, did_you_mean
from mixedlm_ext.language.columns import OTHERS, Columns
from mixedlm_ext.language.mixed_formula import MixedFormula
from mixedlm_ext.language.right_side import RightSide, find_special, refuse_dot
from mixedlm_ext.language.syntax import Node, parse_two_sides
from mixedlm_ext.language.tokens import EXAMPLE, Source, Token, check_python
from mixedlm_ext.structures import KEYWORDS

__all__ = ["check_is_text", "parse_formula"]


def parse_formula(
    text: str, *, allow_no_random: bool = False, columns: Collection[object] | None = None
) -> MixedFormula:
    """Read a mixed-model formula.

    Parameters
    ----------
    text : str
        A patsy formula plus random terms ``(left | right)``, ``(left || right)``, or with a
        covariance structure ``cs(left | right, hom=True)``, and ``offset(...)`` terms joined by
        ``+``.
    allow_no_random : bool
        Accept a formula without random terms.
    columns : collection, optional
        Names of the data's columns: those that Python would not read, such as ``min.temp`` and
        ``yield``, are found where nothing else can be meant, and a dot stands for all others.

    Returns
    -------
    MixedFormula

    Raises
    ------
    FormulaError
        If the formula cannot be read; the message points at the place.
    TypeError
        If `text` is not a string.

    Examples
    --------
    >>> formula = parse_formula("Reaction ~ Days + (Days | Subject)")
    >>> formula.fixed
    'Reaction ~ Days'
    >>> [term.text for term in formula.random]
    ['(Days | Subject)']
    >>> [term.text for term in parse_formula("y ~ 1 + (1 | batch/cask)").random]
    ['(1 | batch)', '(1 | batch:cask)']
    >>> parse_formula("yield ~ min.temp + (1 | plot)", columns=["yield", "min.temp"]).fixed
    "Q('yield') ~ Q('min.temp')"
    """
    check_is_text(text)
    # only names that are text count, and a model is often fitted again
    names = None if columns is None else tuple(c for c in columns if isinstance(c, str))
    return _parsed(text, allow_no_random, names)


@lru_cache(maxsize=128)
def _parsed(text: str, allow_no_random: bool, columns: tuple[str, ...] | None) -> MixedFormula:
    """Read a formula whose arguments are checked."""
    source = Source.read(text, Columns(columns))
    left, right = parse_two_sides(source)
    response, endog = _response(source, left)
    found = RightSide(source)
    rest = found.keep(right)
    if not found.random and not allow_no_random:
        raise _no_random(source, endog, rest, right)
    return MixedFormula(
        text=text,
        response=response,
        fixed=f"{endog} ~ {rest or '1'}",
        offsets=tuple(source.plain(span) for span in found.offset_spans),
        offset_spans=tuple(found.offset_spans),
        random=tuple(found.random),
        dot=next((token.span for token in source.tokens if token.text == OTHERS), None),
        bare=source.bare,
    )


def check_is_text(formula: object) -> None:
    """Refuse a formula that is no string, such as the data in its place."""
    if not isinstance(formula, str):
        raise TypeError(f"a formula is a string such as {EXAMPLE!r}, not {type(formula).__name__}")


def _response(source: Source, left: Node) -> tuple[str, str]:
    """Return the response as written and as patsy needs it."""
    special = find_special(left)
    if special is not None and special.kind != "atom":
        bar = special if special.kind == "bar" else special.children[0]
        hint = "Move the random term to the right side, as in 'y ~ x + (1 | group)'."
        raise source.error("a bar on the left of '~'", bar.ops[0].span, hint)
    refuse_dot(source, left.span, "left of '~'")
    text = source.plain(left.span)
    check_python(source, source.within(left.span))
    return text, text if left.kind == "atom" else f"I({text})"


def _no_random(source: Source, endog: str, rest: str, right: Node) -> FormulaError:
    """The error for a formula without random terms."""
    problem = "the formula has no random-effects term"
    if any(token.text in ("|", "||") for token in source.tokens):
        for before, opening in zip(source.tokens, source.tokens[1:], strict=False):
            hint = _bar_hint(before, opening)
            if hint:
                return source.error(problem, opening.span, hint)
    hint = (
        "Add one such as (1 | group), or fit the model with statsmodels' OLS: "
        f"smf.ols({f'{endog} ~ {rest or 1}'!r}, data)."
    )
    return source.error(problem, right.span, hint)


_ELSEWHERE = {
    "homdiag": "diag(0 + f | group, hom=True)",
    "homcs": "cs(0 + f | group, hom=True)",
    "hetar1": "ar1(0 + f | group, hom=False)",
    "homtoep": "toep(0 + f | group, hom=True)",
    "ou": "exp(0 + position(t) | group)",
}
"""What structures with a name of their own in glmmTMB are called here."""


def _bar_hint(before: Token, opening: Token) -> str:
    """What to write instead of brackets that may have been meant for a random term."""
    if before.kind == "op" and opening.text in ("[", "{"):
        return "A random term stands in round parentheses, as in (1 | group)."
    if before.kind not in ("name", "column") or opening.text != "(":
        return ""
    apart = before.span[1] < opening.span[0]
    if apart or before.kind == "column":  # "x (1 | g)" reads as a call of x
        return f"If a + is missing after {before.text!r}, write {before.text} + (1 | group)."
    if before.text in KEYWORDS:
        return f"The bar stands between the parentheses of {before.text}(0 + f | group) alone."
    if before.text in _ELSEWHERE:
        return f"Write {_ELSEWHERE[before.text]} for glmmTMB's {before.text}()."
    near = did_you_mean(before.text, KEYWORDS)
    return (
        f"Structures are {', '.join(KEYWORDS)}, as in cs(0 + f | group); {before.text!r} is none "
        f"of them.{near}"
    )
