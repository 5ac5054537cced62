"""Grouping factors written as a call: ``gr(id, cov=A)`` and ``mm(g1, g2, weights=[w1, w2])``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mixedlm_ext.errors import FormulaError, did_you_mean
from mixedlm_ext.language.factors import Factor
from mixedlm_ext.language.syntax import Node
from mixedlm_ext.language.tokens import Source, Span, Token, call_arguments, check_python

__all__ = ["GroupCall", "group_call"]

_OPTIONS = {"gr": ("cov", "prec"), "mm": ("weights", "normalize", "cov", "prec")}
_EXAMPLES = {
    "gr": "Write gr(id, cov=A) for a known covariance A of the levels, gr(id, prec=P) for its "
    "inverse.",
    "mm": "Write mm(g1, g2) for members of equal weight, mm(g1, g2, weights=[w1, w2]) for weights "
    "that are columns, normalize=False to take them as they are, and cov=A, or prec=P, for a known "
    "covariance of the members.",
}
_FLAGS = {"True": True, "TRUE": True, "False": False, "FALSE": False}


@dataclass(frozen=True)
class GroupCall:
    """What a call says of the levels of its factors.

    Parameters
    ----------
    name : str
        ``"gr"`` or ``"mm"``.
    known : str
        Code of the known matrix, ``"A"``; empty if it is given beside the formula.
    inverse : bool
        Whether that is the precision.
    shares : tuple of str
        Code of the weight of each member; empty for equal weights.
    normalize : bool
        Whether the weights of a row are divided by their sum.
    """

    name: str
    known: str = ""
    inverse: bool = False
    shares: tuple[str, ...] = ()
    normalize: bool = True

    def written(self, factors: Sequence[str]) -> str:
        """Return the call in formula language."""
        parts = list(factors)
        if self.known:
            parts.append(f"{'prec' if self.inverse else 'cov'}={self.known}")
        if self.shares:
            parts.append(f"weights=[{', '.join(self.shares)}]")
        if not self.normalize:
            parts.append("normalize=False")
        return f"{self.name}({', '.join(parts)})"


def group_call(source: Source, node: Node) -> tuple[tuple[Factor, ...], GroupCall] | None:
    """Read the right side of a bar as a call; None if it is an ordinary grouping factor.

    Raises
    ------
    FormulaError
        If the call has arguments that it does not take.
    """
    name = node.tokens[0].text if node.kind == "atom" and node.tokens else ""
    arguments = call_arguments(node.tokens, name) if name in _OPTIONS else None
    if arguments is None:
        return None
    factors: list[Factor] = []
    options: dict[str, Sequence[Token]] = {}
    for argument in arguments:
        words = [token.text for token in argument]
        if len(words) > 2 and words[1] == "=":
            _check_option(source, name, argument, options)
            options[words[0]] = argument[2:]
        elif argument:
            check_python(source, argument)
            factors.append(Factor(tuple(words), source.plain(_span(argument))))
    if not factors or (name == "gr" and len(factors) > 1):
        found = "has no grouping factor" if not factors else "takes one grouping factor"
        raise source.error(f"{name}() {found}", node.span, _EXAMPLES[name])
    if name == "gr":
        return tuple(factors), _known(source, node, options)
    return tuple(factors), _members(source, node, options, len(factors))


def _span(tokens: Sequence[Token]) -> Span:
    return tokens[0].span[0], tokens[-1].span[1]


def _check_option(
    source: Source, name: str, argument: Sequence[Token], options: dict[str, Sequence[Token]]
) -> None:
    """Refuse an option that the call does not have, or has twice."""
    word = argument[0].text
    if word not in _OPTIONS[name]:
        near = did_you_mean(word, _OPTIONS[name])
        raise source.error(
            f"{name}() has no option {word!r}", _span(argument), _EXAMPLES[name] + near
        )
    if word in options:
        raise source.error(f"{word}= is there twice", _span(argument), "Remove one of the two.")
    check_python(source, argument[2:])


def _known(source: Source, node: Node, options: dict[str, Sequence[Token]]) -> GroupCall:
    """Read the options of ``gr()``."""
    code, inverse = _matrix(source, node, options)
    return GroupCall("gr", code, inverse)


def _matrix(source: Source, node: Node, options: dict[str, Sequence[Token]]) -> tuple[str, bool]:
    """Return the code in ``cov=`` or ``prec=``, empty if there is none, and whether it is prec."""
    if "cov" in options and "prec" in options:
        hint = "Keep the one that you know; each follows from the other."
        raise source.error("cov= and prec= are both given", node.span, hint)
    inverse = "prec" in options
    tokens = options.get("prec" if inverse else "cov")
    return ("" if tokens is None else source.plain(_span(tokens))), inverse


def _members(
    source: Source, node: Node, options: dict[str, Sequence[Token]], count: int
) -> GroupCall:
    """Read the options of ``mm()``."""
    normalize = True
    if "normalize" in options:
        tokens = options["normalize"]
        if len(tokens) != 1 or tokens[0].text not in _FLAGS:
            hint = "Write normalize=True or normalize=False."
            raise source.error("normalize= is True or False", _span(tokens), hint)
        normalize = _FLAGS[tokens[0].text]
    given = options.get("weights", ())
    ones = [token.text for token in given] in ([], ["1"])
    weights = () if ones else _weights(source, given)
    if weights and len(weights) != count:
        problem = f"mm() has {count} members and {len(weights)} weights"
        raise source.error(problem, node.span, "Give one weight for each member, in their order.")
    code, inverse = _matrix(source, node, options)
    return GroupCall("mm", code, inverse, weights, normalize)


def _weights(source: Source, tokens: Sequence[Token]) -> tuple[str, ...]:
    """Return the expressions in ``[w1, w2]`` or ``(w1, w2)``, or R's ``c(w1, w2)``."""
    if tokens[0].text in ("c", "cbind") and len(tokens) > 1:
        tokens = tokens[1:]
    closed = {"[": "]", "(": ")"}.get(tokens[0].text) == tokens[-1].text
    inner = _split(tokens[1:-1]) if closed else []
    if not inner or not all(inner):
        raise _no_weights(source, tokens)
    return tuple(source.plain(_span(part)) for part in inner)


def _split(tokens: Sequence[Token]) -> list[tuple[Token, ...]]:
    """Split at the commas that stand in no brackets."""
    parts: list[list[Token]] = [[]]
    depth = 0
    for token in tokens:
        depth += (token.text in "([{") - (token.text in ")]}")
        if depth == 0 and token.text == ",":
            parts.append([])
        else:
            parts[-1].append(token)
    return [tuple(part) for part in parts]


def _no_weights(source: Source, tokens: Sequence[Token]) -> FormulaError:
    hint = "Write a list of columns, as in mm(g1, g2, weights=[w1, w2])."
    return source.error("weights= is no list of one weight for each member", _span(tokens), hint)
