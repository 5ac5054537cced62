"""statsmodels' spelling of a mixed model (groups, re_formula, vc_formula) -> `MixedFormula`."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

from mixedlm_ext.errors import FormulaError
from mixedlm_ext.language.columns import Columns, spelled
from mixedlm_ext.language.mixed_formula import MixedFormula, RandomTermSpec
from mixedlm_ext.language.parser import parse_formula
from mixedlm_ext.language.right_side import has_columns
from mixedlm_ext.language.syntax import Node, parse_one_side
from mixedlm_ext.language.tokens import Source, call_arguments, spell_columns

__all__ = ["translate_statsmodels"]


def translate_statsmodels(
    formula: str,
    groups: str,
    re_formula: str | None = None,
    vc_formula: Mapping[str, str] | None = None,
    columns: Collection[object] | None = None,
) -> MixedFormula:
    """Express the arguments of statsmodels' ``MixedLM.from_formula`` in random terms.

    Parameters
    ----------
    formula : str
        The fixed part, ``"y ~ x"``.
    groups : str
        The column that holds the groups.
    re_formula : str, optional
        The columns that vary by group with correlated effects; ``"1"`` if neither this nor
        `vc_formula` is given.
    vc_formula : mapping of str to str, optional
        Variance components, name -> formula. As in statsmodels they are taken in the
        alphabetical order of their names, after the term of `re_formula`.
    columns : collection, optional
        Names of the data's columns, as for `parse_formula`.

    Returns
    -------
    MixedFormula
        Its random terms have the spans (0, 0), since they stand nowhere in `formula`. Components
        have the structure "iid" and their name; whether their columns are indicators of a factor is
        seen in the data.

    Raises
    ------
    FormulaError
        If a formula cannot be read or has random terms itself.
    TypeError
        If an argument is not of the type above.

    Examples
    --------
    >>> model = translate_statsmodels("y ~ x", "school", "~ x", {"class": "0 + C(room)"})
    >>> [term.text for term in model.random]
    ['(x | school)', '(0 + C(room) | school) with one variance']
    """
    _check_types(groups, re_formula, vc_formula)
    parsed = parse_formula(formula, allow_no_random=True, columns=columns)
    if parsed.random:
        raise FormulaError(
            "the formula has random terms and groups= is given too",
            formula,
            parsed.random[0].span,
            f"Use one spelling: leave out groups={groups!r}, or take the term out of the formula.",
        )
    group = spelled(groups)
    known = Columns(columns)
    re_formula = None if re_formula is None else spell_columns(re_formula, known)
    vc_formula = {name: spell_columns(text, known) for name, text in (vc_formula or {}).items()}
    random = []
    if re_formula is not None or not vc_formula:
        random += _correlated("1" if re_formula is None else re_formula, group, bool(vc_formula))
    for name, text in sorted((vc_formula or {}).items()):
        random.append(_component(name, text, group))
    bare = parsed.bare | _bare_names(random, known)
    return replace(parsed, random=tuple(replace(term, bare=bare) for term in random), bare=bare)


def _bare_names(random: list[RandomTermSpec], known: Columns) -> frozenset[str]:
    """Return the columns of the terms that need no ``Q()`` in a formula of these data."""
    code = " ".join(part for term in random for part in (term.expr, *term.group))
    return frozenset(n for n in known.names if known.finds(n) and spelled(n) in code)


def _check_types(groups: str, re_formula: str | None, vc_formula: Mapping[str, str] | None) -> None:
    if not isinstance(groups, str):
        raise TypeError(f"groups is the name of a column, not {type(groups).__name__}")
    if re_formula is not None and not isinstance(re_formula, str):
        raise TypeError(f"re_formula is a string such as '~ x', not {type(re_formula).__name__}")
    if vc_formula is not None and not (
        isinstance(vc_formula, Mapping)
        and all(isinstance(s, str) for item in vc_formula.items() for s in item)
    ):
        raise TypeError("vc_formula is a dict of strings such as {'room': '0 + C(room)'}")


def _term(expr: str, *group: str) -> RandomTermSpec:
    return RandomTermSpec(expr, group, "us", (0, 0), (0, 0), (0, 0))


def _read(text: str, name: str) -> tuple[Source, Node]:
    """Parse a one-sided formula that must hold neither random terms nor offsets."""
    if not text.strip():
        raise FormulaError(f"{name} is empty", hint=f"Write {name}='1', for example.")
    source = Source.read(text)
    node = parse_one_side(source, name)
    _check_plain(source, node, name)
    return source, node


def _check_plain(source: Source, node: Node, name: str) -> None:
    if node.kind == "bar":
        hint = "Write the columns only, as in '~ x'; groups= names the grouping factor."
        raise source.error(f"{name} holds a bar", node.ops[0].span, hint)
    if node.kind == "atom" and call_arguments(node.tokens, "offset") is not None:
        hint = "Write it in the main formula."
        raise source.error(f"{name} holds an offset", node.span, hint)
    for child in node.children:
        _check_plain(source, child, name)


def _correlated(text: str, group: str, has_components: bool) -> list[RandomTermSpec]:
    """The term of re_formula; "0" is allowed beside variance components and adds nothing."""
    source, node = _read(text, "re_formula")
    if has_columns(node):
        return [_term(source.plain(node.span), group)]
    if has_components:
        return []
    raise source.error("re_formula has no columns", node.span, "Write re_formula='1' or '~ x'.")


def _component(name: str, text: str, group: str) -> RandomTermSpec:
    """Read one variance component: independent effects of all its columns with one variance."""
    source, node = _read(text, f"vc_formula[{name!r}]")
    if not has_columns(node):
        problem = f"vc_formula[{name!r}] has no columns"
        raise source.error(problem, node.span, "Write '1' or '0 + C(factor)'.")
    return replace(_term(source.plain(node.span), group), structure="iid", name=name)
