"""The right side of the bar: an expression in ``: / * +`` -> the grouping factors it stands for."""

from __future__ import annotations

from dataclasses import dataclass, field

from mixedlm_ext.errors import FormulaError
from mixedlm_ext.language.syntax import Node
from mixedlm_ext.language.tokens import Source, call_arguments

__all__ = ["Factor", "Group", "expand_group"]


@dataclass(frozen=True)
class Factor:
    """A Python expression; two spellings that differ in white space only are equal."""

    key: tuple[str, ...]
    text: str = field(compare=False)


Group = tuple[Factor, ...]


def expand_group(source: Source, node: Node) -> list[Group]:
    """Return the interactions `node` stands for, by patsy's algebra, without repetition."""
    if node.kind == "atom":
        return [(_factor(source, node),)]
    if node.kind == "parens":
        return expand_group(source, node.children[0])
    groups: list[Group] = []
    for i, child in enumerate(node.children):
        op = node.ops[max(i - 1, 0)]
        if node.kind == "sign" or op.op not in ("+", ":", "/", "*"):
            hint = "Use a:b for combinations, a/b for b nested in a, a + b for two separate terms."
            if op.op == "-" and node.kind == "sum":
                hint += f" A column of this name is Q({source.plain(node.span)!r})."
            raise source.error(f"'{op.op}' has no meaning in a grouping factor", op.span, hint)
        right = expand_group(source, child)
        groups = _distinct(_combine(groups, op.op, right) if i else right)
    return groups


def _combine(left: list[Group], op: str, right: list[Group]) -> list[Group]:
    if op == "+":
        return left + right
    if op == "/":
        # In (a + b)/c, c is nested in the combinations of a and b.
        return left + _cross([tuple(f for group in left for f in group)], right)
    return (left + right if op == "*" else []) + _cross(left, right)


def _cross(left: list[Group], right: list[Group]) -> list[Group]:
    return [tuple(dict.fromkeys(a + b)) for a in left for b in right]


def _distinct(groups: list[Group]) -> list[Group]:
    """Drop repetitions; a:b and b:a are the same combinations."""
    seen: dict[frozenset[Factor], Group] = {}
    for group in groups:
        seen.setdefault(frozenset(group), group)
    return list(seen.values())


def _factor(source: Source, node: Node) -> Factor:
    kinds = {token.kind for token in node.tokens}
    if kinds == {"number"}:
        raise _constant(source, node, "a number")
    if kinds == {"string"}:
        raise _constant(source, node, "a text in quotes")
    for name in ("gr", "mm"):
        if call_arguments(node.tokens, name) is not None:
            hint = f"Write a term of its own, (1 | {source.plain(node.span)})."
            problem = f"{name}() stands alone on the right of the bar"
            raise source.error(problem, node.span, hint)
    return Factor(source.key(node.span), source.plain(node.span))


def _constant(source: Source, node: Node, what: str) -> FormulaError:
    hint = "Write the column that tells the groups apart, as in (1 | group) or (1 | Q('odd name'))."
    return source.error(f"{what} cannot be a grouping factor", node.span, hint)
