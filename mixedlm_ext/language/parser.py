"""Formula text -> `MixedFormula`: fixed part as a plain string, offsets, random terms; no data.

The random terms are taken out before any other engine sees the formula: patsy evaluates
``(Days | Subject)`` as Python's bitwise or, and with integer columns does so silently.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from mixedlm_ext.errors import FormulaError, did_you_mean
from mixedlm_ext.language.columns import OTHERS, Columns, shown
from mixedlm_ext.language.factors import Factor, expand_group
from mixedlm_ext.language.structured import structure_name
from mixedlm_ext.language.syntax import Node, parse_two_sides
from mixedlm_ext.language.tokens import (
    EXAMPLE,
    Source,
    Span,
    Token,
    call_arguments,
    check_python,
)
from mixedlm_ext.structures import KEYWORDS, structure_of

__all__ = [
    "MixedFormula",
    "RandomTermSpec",
    "check_is_text",
    "constant_terms",
    "has_columns",
    "parse_formula",
]


@dataclass(frozen=True)
class RandomTermSpec:
    """One random term as it is written, for one grouping factor.

    Parameters
    ----------
    expr : str
        Left side of the bar, patsy formula text on one line, such as ``"1 + Days"``.
    group : tuple of str
        The factors of the grouping interaction, each a Python expression: ``("a", "b")`` for a:b.
    structure : str
        Name of the covariance structure: ``"us"`` (unstructured) for ``|``, ``"diag"`` for ``||``,
        that of the call otherwise; ``"iid"`` for ``diag(hom=True)`` and for a variance component of
        statsmodels' ``vc_formula``, whose columns are independent with one variance.
    span : tuple of int
        Start and stop of the written term, parentheses included, in the user's text.
    expr_span, group_span : tuple of int
        The same for what is written left and right of the bar. Terms that come from one ``a/b``
        share the three spans.
    bare : frozenset of str
        Columns that the user names without the ``Q()`` that `expr` and `group` have.
    name : str
        What reports call the term, the name of a variance component; by default its group.
    """

    expr: str
    group: tuple[str, ...]
    structure: str
    span: Span
    expr_span: Span
    group_span: Span
    bare: frozenset[str] = frozenset()
    name: str = ""

    @property
    def is_component(self) -> bool:
        """Whether it is a variance component of statsmodels', which has a name of its own."""
        return bool(self.name)

    @property
    def written(self) -> str:
        """The term in formula language, ``"(1 + Days | Subject)"``; of a component its columns."""
        left = shown(self.expr, self.bare)
        if self.is_component:
            return f"({left} | {self.group_name})"
        return structure_of(self.structure, 2).text(left, self.group_name)

    @property
    def text(self) -> str:
        """The term in words: what is written, and what a formula cannot say of a component."""
        one = self.is_component and structure_of(self.structure, 2).one_variance
        return f"{self.written} with one variance" if one else self.written

    @property
    def group_name(self) -> str:
        """The grouping factor in formula language, ``"a:b"``."""
        return shown(":".join(self.group), self.bare)


@dataclass(frozen=True)
class MixedFormula:
    """What a formula says, before any data.

    Parameters
    ----------
    text : str
        The user's formula, unchanged.
    response : str
        What is written left of ``~``, on one line: ``"log(y)"``, ``"y - 1500"``.
    fixed : str
        Plain patsy formula without random terms and offsets. A response that is arithmetic
        stands in ``I(...)`` here, since patsy would read ``y - 1500`` as terms.
    offsets : tuple of str
        The expressions inside ``offset(...)``.
    offset_spans : tuple of tuple of int
        Start and stop of those expressions in the user's text.
    random : tuple of RandomTermSpec
        The random terms in the order of the formula, ``a/b`` and its kin expanded.
    dot : tuple of int or None
        Start and stop of R's dot, all other columns, in the user's text; `OTHERS` in `fixed`.
    bare : frozenset of str
        Columns that the user names without the ``Q()`` that the code has.
    """

    text: str
    response: str
    fixed: str
    offsets: tuple[str, ...]
    offset_spans: tuple[Span, ...]
    random: tuple[RandomTermSpec, ...]
    dot: Span | None = None
    bare: frozenset[str] = frozenset()

    def shown(self, code: str) -> str:
        """Return code of the formula as the user would write it: ``yield`` for ``Q('yield')``."""
        return shown(code, self.bare)


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
    source = Source.read(text, Columns(columns))
    left, right = parse_two_sides(source)
    response, endog = _response(source, left)
    parts = _Splitter(source)
    rest = parts.keep(right)
    if not parts.random and not allow_no_random:
        raise _no_random(source, endog, rest, right)
    return MixedFormula(
        text=text,
        response=response,
        fixed=f"{endog} ~ {rest or '1'}",
        offsets=tuple(source.plain(span) for span in parts.offset_spans),
        offset_spans=tuple(parts.offset_spans),
        random=tuple(parts.random),
        dot=next((token.span for token in source.tokens if token.text == OTHERS), None),
        bare=source.bare,
    )


def check_is_text(formula: object) -> None:
    """Refuse a formula that is no string, such as the data in its place."""
    if not isinstance(formula, str):
        raise TypeError(f"a formula is a string such as {EXAMPLE!r}, not {type(formula).__name__}")


def constant_terms(node: Node, sign: str = "+") -> list[str] | None:
    """Return the signed numbers a sum consists of, or None if it has any other term."""
    if node.kind == "atom" and len(node.tokens) == 1 and node.tokens[0].kind == "number":
        return [sign + node.tokens[0].text]
    if node.kind == "parens":
        return constant_terms(node.children[0], sign)
    if node.kind == "sign" and len(node.ops) == 1 and sign == "+":
        return constant_terms(node.children[0], node.ops[0].op)
    if node.kind != "sum" or sign == "-":
        return None
    found: list[str] = []
    for op, child in zip(("+", *(o.op for o in node.ops)), node.children, strict=True):
        terms = constant_terms(child, op)
        if terms is None:
            return None
        found += terms
    return found


def has_columns(node: Node) -> bool:
    """Tell whether a formula side has any column, the implicit intercept included."""
    intercept = True
    for term in constant_terms(node) or ():
        if term in ("+0", "-1"):
            intercept = False
        elif term in ("+1", "-0"):
            intercept = True
    return intercept


class _Splitter:
    """Walks the right side: keeps the fixed part, collects random terms and offsets."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.random: list[RandomTermSpec] = []
        self.offset_spans: list[Span] = []
        self._seen: set[tuple[tuple[str, ...], str, frozenset[Factor]]] = set()

    def keep(self, node: Node) -> str:
        """Return the text of `node` without random terms and offsets, maybe empty."""
        if node.kind == "sum":
            return self._keep_sum(node)
        special = _find_special(node)
        if special is None:
            return self.source.plain(node.span)
        if node.kind == "bar":
            raise _no_parentheses(self.source, node)
        if node.kind == "atom":
            self.offset_spans.append(_offset_span(self.source, node))
            return ""
        if node.kind == "parens":
            return self._keep_parens(node)
        if node.kind == "structured":
            name = structure_name(self.source, node)
            self._add_random(node.span, node.children[0], name)
            return ""
        minus = [op for op in node.ops if op.op == "-"]
        if node.kind == "sign" and not minus:
            return self.keep(node.children[0])
        raise self._misplaced(special, minus[0].op if minus else _operator_near(node, special))

    def _keep_sum(self, node: Node) -> str:
        kept = ""
        for op, child in zip(("+", *(o.op for o in node.ops)), node.children, strict=True):
            special = _find_special(child)
            if op == "-" and special is not None:
                raise self._misplaced(special, op)
            rest = self.keep(child)
            if kept and rest:
                kept += f" {op} {rest}"
            elif rest and op == "-":
                # patsy allows a leading minus for 0 and 1 only
                kept = f"-{rest}" if rest in ("0", "1") else f"1 - {rest}"
            else:
                kept = kept or rest
        return kept

    def _keep_parens(self, node: Node) -> str:
        inner = node.children[0]
        if inner.kind == "bar":
            structure = "diag" if inner.ops[0].op == "||" else "us"
            self._add_random(node.span, inner, structure)
            return ""
        rest = self.keep(inner)
        # The parentheses stay: x + (0 + z) keeps an intercept that x + 0 + z does not have.
        return f"({rest})" if rest else ""

    def _add_random(self, span: Span, bar: Node, structure: str) -> None:
        source = self.source
        left, right = bar.children
        written = source.plain(right.span)
        for side in (left, right):
            _check_side(source, side)
        if not has_columns(left):
            hint = f"Write (1 | {written}) for an intercept, (0 + x | {written}) for a slope only."
            problem = f"the random-effects term {source.plain(span)} has no columns"
            raise source.error(problem, left.span, hint)
        expr = source.plain(left.span)
        for group in expand_group(source, right):
            names = tuple(factor.text for factor in group)
            spec = RandomTermSpec(expr, names, structure, span, left.span, right.span, source.bare)
            key = (source.key(left.span), structure, frozenset(group))
            if key in self._seen:
                problem = f"the random-effects term {spec.text} is there twice"
                raise source.error(problem, span, "Remove one of the two.")
            self._seen.add(key)
            self.random.append(spec)

    def _misplaced(self, special: Node, op: str) -> FormulaError:
        what = "an offset" if special.kind == "atom" else "a random-effects term"
        shown = self.source.plain(special.span)
        verb = "be subtracted" if op == "-" else f"stand under '{op}'"
        hint = f"Join it to the other terms with +, as in x + {shown}."
        return self.source.error(f"{what} cannot {verb}", special.span, hint)


def _find_special(node: Node) -> Node | None:
    """Return the first random term (with its parentheses) or offset in `node`."""
    in_parens = node.kind == "parens" and node.children[0].kind == "bar"
    if in_parens or node.kind in ("bar", "structured"):
        return node
    if node.kind == "atom":
        return node if call_arguments(node.tokens, "offset") is not None else None
    return next((found for c in node.children if (found := _find_special(c))), None)


def _operator_near(node: Node, special: Node) -> str:
    """Return the operator of a product beside the child that holds `special`."""
    i = next(i for i, child in enumerate(node.children) if child.span[1] >= special.span[1])
    return node.ops[max(i - 1, 0)].op


def _check_side(source: Source, side: Node) -> None:
    """Refuse a random term, an offset or a dot within a random term."""
    _refuse_dot(source, side.span, "in a random term")
    special = _find_special(side)
    if special is None:
        return
    if special.kind == "atom":
        hint = "Write it outside, as in x + offset(z) + (1 | group)."
        raise source.error("an offset is no random effect", special.span, hint)
    inner = special.children[0]
    hint = "Write separate terms, as in (1 | a) + (1 | b)."
    raise source.error("a random term within a random term", inner.ops[0].span, hint)


def _offset_span(source: Source, node: Node) -> Span:
    """Return the place of the expression inside ``offset(...)``."""
    arguments = call_arguments(node.tokens, "offset") or []
    if len(arguments) != 1:
        hint = "Write offset(z), or offset(a + b) for a sum."
        raise source.error("offset() takes one expression", node.span, hint)
    check_python(source, arguments[0])
    return arguments[0][0].span[0], arguments[0][-1].span[1]


def _refuse_dot(source: Source, span: Span, place: str) -> None:
    """Refuse R's dot where it does not stand for fixed effects."""
    for token in source.within(span):
        if token.text == OTHERS:
            problem = f"'.', the word for all other columns, has no meaning {place}"
            raise source.error(problem, token.span, "Write the names of the columns.")


def _response(source: Source, left: Node) -> tuple[str, str]:
    """Return the response as written and as patsy needs it."""
    special = _find_special(left)
    if special is not None and special.kind != "atom":
        bar = special if special.kind == "bar" else special.children[0]
        hint = "Move the random term to the right side, as in 'y ~ x + (1 | group)'."
        raise source.error("a bar on the left of '~'", bar.ops[0].span, hint)
    _refuse_dot(source, left.span, "left of '~'")
    text = source.plain(left.span)
    check_python(source, source.within(left.span))
    return text, text if left.kind == "atom" else f"I({text})"


def _no_parentheses(source: Source, bar: Node) -> FormulaError:
    """The error for ``y ~ x | g``; guesses that the last summand belongs to the bar."""
    left, right = bar.children
    op = bar.ops[0].op
    expr, group = source.plain(left.span) or "1", source.plain(right.span) or "group"
    hint = f"Write ({expr} {op} {group})"
    if _find_special(left) or _find_special(right):
        hint = f"Write each random term in parentheses, as in (x {op} group)"
    elif left.kind == "sum":
        before = source.plain((left.span[0], left.ops[-1].span[1]))
        hint += f" or {before} ({source.plain(left.children[-1].span)} {op} {group})"
    problem = "a random-effects term needs parentheses"
    return source.error(problem, bar.ops[0].span, f"{hint}.")


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


def _bar_hint(before: Token, opening: Token) -> str:
    """What to write instead of brackets that may have been meant for a random term."""
    if before.kind == "op" and opening.text in ("[", "{"):
        return "A random term stands in round parentheses, as in (1 | group)."
    if before.kind not in ("name", "column") or opening.text != "(":
        return ""
    apart = before.span[1] < opening.span[0]
    if apart or before.kind == "column":  # "x (1 | g)" reads as a call of x
        return f"If a + is missing after {before.text!r}, write {before.text} + (1 | group)."
    near = did_you_mean(before.text, KEYWORDS)
    return (
        f"Structures are {', '.join(KEYWORDS)}, as in cs(0 + f | group); {before.text!r} is none "
        f"of them.{near}"
    )
