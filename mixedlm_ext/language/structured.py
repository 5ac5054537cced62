"""Which covariance structure ``cs(x | g, hom=True)`` asks for."""

from __future__ import annotations

from collections.abc import Sequence

from mixedlm_ext.errors import did_you_mean
from mixedlm_ext.language.syntax import Node
from mixedlm_ext.language.tokens import Source, Token, structured_arguments
from mixedlm_ext.structures import KEYWORDS

__all__ = ["structure_name"]

_FLAGS = {"True": True, "TRUE": True, "False": False, "FALSE": False}


def structure_name(source: Source, node: Node) -> str:
    """Return the name of the structure of a node of kind "structured".

    Raises
    ------
    FormulaError
        If its bar is double, or an option makes no sense.
    """
    keyword = node.tokens[0].text
    bar = node.children[0].ops[0]
    if bar.op == "||":
        left, right = (source.plain(side.span) for side in node.children[0].children)
        hint = f"Write {keyword}({left} | {right}), or ({left} || {right}) for independent columns."
        raise source.error(f"'||' would undo the structure of {keyword}()", bar.span, hint)
    options = (structured_arguments(node.tokens) or [])[1:]
    if not options:
        return KEYWORDS[keyword][None]
    if len(options) > 1:
        hint = f"Write one, as in {keyword}(x | g, hom=True)."
        raise source.error(f"{keyword}() takes one option", node.span, hint)
    return KEYWORDS[keyword][_hom(source, node, options[0])]


def _hom(source: Source, node: Node, option: Sequence[Token]) -> bool:
    """Read ``hom=True`` or ``hom=False``."""
    keyword = node.tokens[0].text
    allowed = len(KEYWORDS[keyword]) > 1
    word, *rest = [token.text for token in option] or [""]
    span = (option[0].span[0], option[-1].span[1]) if option else node.span
    example = (
        f"Write hom=True for one variance or hom=False for one a column, as in {keyword}(x | g, "
        "hom=True)."
    )
    if not allowed:
        hint = f"Write {keyword}(x | g)."
        raise source.error(f"{keyword}() has no options", span, hint)
    if word != "hom" or rest[:1] != ["="]:
        near = did_you_mean(word, ["hom"]) if rest[:1] == ["="] else ""
        raise source.error(f"{keyword}() takes hom= only", span, example + near)
    if len(rest) != 2 or rest[1] not in _FLAGS:
        raise source.error("hom= is True or False", span, example)
    return _FLAGS[rest[1]]
