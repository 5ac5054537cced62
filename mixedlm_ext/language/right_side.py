"""The right side of a formula: random terms and offsets are taken out, the fixed part is kept."""

from __future__ import annotations

from mixedlm_ext.errors import FormulaError
from mixedlm_ext.language.columns import OTHERS
from mixedlm_ext.language.factors import Factor, expand_group
from mixedlm_ext.language.group_call import GroupCall, group_call
from mixedlm_ext.language.mixed_formula import RandomTermSpec
from mixedlm_ext.language.structured import structure_name
from mixedlm_ext.language.syntax import Node
from mixedlm_ext.language.tokens import Source, Span, call_arguments, check_python

__all__ = ["RightSide", "find_special", "has_columns", "refuse_dot"]


class RightSide:
    """The walk over the right side: keeps the fixed part, collects random terms and offsets.

    Attributes
    ----------
    random : list of RandomTermSpec
    offset_spans : list of tuple of int
        Of the expressions inside ``offset(...)``.
    """

    def __init__(self, source: Source) -> None:
        self.source = source
        self.random: list[RandomTermSpec] = []
        self.offset_spans: list[Span] = []
        self._seen: set[tuple[tuple[str, ...], str, frozenset[Factor], GroupCall | None]] = set()

    def keep(self, node: Node) -> str:
        """Return the text of `node` without random terms and offsets, maybe empty."""
        if node.kind == "sum":
            return self._keep_sum(node)
        special = find_special(node)
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
            special = find_special(child)
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
        called = group_call(source, right)
        groups, call = ([called[0]], called[1]) if called else (expand_group(source, right), None)
        for group in groups:
            names = tuple(factor.text for factor in group)
            spec = RandomTermSpec(
                expr, names, structure, span, left.span, right.span, source.bare, call=call
            )
            key = (source.key(left.span), structure, frozenset(group), call)
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


def find_special(node: Node) -> Node | None:
    """Return the first random term (with its parentheses) or offset in `node`."""
    in_parens = node.kind == "parens" and node.children[0].kind == "bar"
    if in_parens or node.kind in ("bar", "structured"):
        return node
    if node.kind == "atom":
        return node if call_arguments(node.tokens, "offset") is not None else None
    return next((found for c in node.children if (found := find_special(c))), None)


def _operator_near(node: Node, special: Node) -> str:
    """Return the operator of a product beside the child that holds `special`."""
    i = next(i for i, child in enumerate(node.children) if child.span[1] >= special.span[1])
    return node.ops[max(i - 1, 0)].op


def _check_side(source: Source, side: Node) -> None:
    """Refuse a random term, an offset or a dot within a random term."""
    refuse_dot(source, side.span, "in a random term")
    special = find_special(side)
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


def refuse_dot(source: Source, span: Span, place: str) -> None:
    """Refuse R's dot where it does not stand for fixed effects."""
    for token in source.within(span):
        if token.text == OTHERS:
            problem = f"'.', the word for all other columns, has no meaning {place}"
            raise source.error(problem, token.span, "Write the names of the columns.")


def _no_parentheses(source: Source, bar: Node) -> FormulaError:
    """The error for ``y ~ x | g``; guesses that the last summand belongs to the bar."""
    left, right = bar.children
    op = bar.ops[0].op
    expr, group = source.plain(left.span) or "1", source.plain(right.span) or "group"
    hint = f"Write ({expr} {op} {group})"
    if find_special(left) or find_special(right):
        hint = f"Write each random term in parentheses, as in (x {op} group)"
    elif left.kind == "sum":
        before = source.plain((left.span[0], left.ops[-1].span[1]))
        hint += f" or {before} ({source.plain(left.children[-1].span)} {op} {group})"
    problem = "a random-effects term needs parentheses"
    return source.error(problem, bar.ops[0].span, f"{hint}.")


def has_columns(node: Node) -> bool:
    """Tell whether a formula side has any column, the implicit intercept included."""
    intercept = True
    for term in _constant_terms(node) or ():
        if term in ("+0", "-1"):
            intercept = False
        elif term in ("+1", "-0"):
            intercept = True
    return intercept


def _constant_terms(node: Node, sign: str = "+") -> list[str] | None:
    """Return the signed numbers a sum consists of, or None if it has any other term."""
    if node.kind == "atom" and len(node.tokens) == 1 and node.tokens[0].kind == "number":
        return [sign + node.tokens[0].text]
    if node.kind == "parens":
        return _constant_terms(node.children[0], sign)
    if node.kind == "sign" and len(node.ops) == 1 and sign == "+":
        return _constant_terms(node.children[0], node.ops[0].op)
    if node.kind != "sum" or sign == "-":
        return None
    found: list[str] = []
    for op, child in zip(("+", *(o.op for o in node.ops)), node.children, strict=True):
        terms = _constant_terms(child, op)
        if terms is None:
            return None
        found += terms
    return found
