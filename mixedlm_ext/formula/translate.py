"""statsmodels' spelling of a mixed model (groups, re_formula, vc_formula) -> `MixedFormula`."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace

from mixedlm_ext.errors import FormulaError
from mixedlm_ext.formula.columns import Columns, spelled
from mixedlm_ext.formula.parser import (
    MixedFormula,
    RandomTermSpec,
    constant_terms,
    has_columns,
    parse_formula,
)
from mixedlm_ext.formula.syntax import Node, parse_one_side
from mixedlm_ext.formula.tokens import Source, Token, call_arguments, spell_columns

__all__ = ["translate_statsmodels"]


def translate_statsmodels(
    formula: str,
    groups: str,
    re_formula: str | None = None,
    vc_formula: Mapping[str, str] | None = None,
    is_categorical: Callable[[str], bool] = lambda expr: False,
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
    is_categorical : callable, optional
        Tells of an expression other than ``C(...)`` whether it is a factor in the data.
    columns : collection, optional
        Names of the data's columns, as for `parse_formula`.

    Returns
    -------
    MixedFormula
        Its random terms have the spans (0, 0), since they stand nowhere in `formula`.

    Raises
    ------
    FormulaError
        If a formula cannot be read, has random terms itself, or has a component that is no sum
        of independent effects with one variance.
    TypeError
        If an argument is not of the type above.

    Examples
    --------
    >>> model = translate_statsmodels("y ~ x", "school", "~ x", {"class": "0 + C(room)"})
    >>> [term.text for term in model.random]
    ['(x | school)', '(1 | school:C(room))']
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
        random.append(_component(name, text, group, is_categorical))
    _check_distinct(random)
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


def _check_distinct(random: list[RandomTermSpec]) -> None:
    for i, term in enumerate(random):
        if term in random[:i]:
            raise FormulaError(
                f"the random-effects term {term.text} comes out twice",
                hint="Remove one of the components or change re_formula.",
            )


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


def _component(
    name: str, text: str, group: str, is_categorical: Callable[[str], bool]
) -> RandomTermSpec:
    """Translate one variance component: independent effects with one variance."""
    source, node = _read(text, f"vc_formula[{name!r}]")
    constants, terms = _summands(node)
    if not terms:
        if not has_columns(node):
            problem = f"vc_formula[{name!r}] has no columns"
            raise source.error(problem, node.span, "Write '1' or '0 + C(factor)'.")
        return _term("1", group)
    if len(terms) > 1 or not constants or constants[-1] not in ("+0", "-1"):
        raise _several(source, node, name, terms, group)
    factors: list[str] = []
    numbers: list[str] = []
    for atom in _interaction(source, terms[0], name):
        _check_contrast(source, atom, name)
        shown = source.plain(atom.span)
        categorical = call_arguments(atom.tokens, "C") is not None or is_categorical(shown)
        (factors if categorical else numbers).append(shown)
    expr = f"0 + {':'.join(numbers)}" if numbers else "1"
    return _term(expr, group, *factors)


def _summands(node: Node) -> tuple[list[str], list[Node]]:
    """Split a side into its signed constants and its other terms."""
    constants: list[str] = []
    terms: list[Node] = []
    ops = ("+", *(o.op for o in node.ops)) if node.kind == "sum" else ("+",)
    for op, child in zip(ops, node.children if node.kind == "sum" else (node,), strict=True):
        numbers = constant_terms(child, op)
        if numbers is None:
            terms.append(child)
        else:
            constants += numbers
    return constants, terms


def _several(source: Source, node: Node, name: str, terms: list[Node], group: str) -> FormulaError:
    """The error for a component of several terms, an implicit intercept counted as one."""
    shown = [source.plain(term.span) for term in terms]
    apart = [_in_bars(source, term, group) for term in terms]
    if len(terms) == 1:
        problem = f"vc_formula[{name!r}] has an intercept besides {shown[0]}"
        hint = f"Write '0 + {shown[0]}' for {apart[0]} alone, or use the formula language, "
        hint += f"(1 | {group}) + {apart[0]}."
    else:
        problem = f"vc_formula[{name!r}] has several terms with one variance"
        hint = f"Give each its own variance in the formula language, {' + '.join(apart)}."
    return source.error(problem, node.span, hint)


def _in_bars(source: Source, term: Node, group: str) -> str:
    shown = source.plain(term.span)
    categorical = call_arguments(term.tokens, "C") is not None if term.tokens else False
    return f"(1 | {group}:{shown})" if categorical else f"(0 + {shown} | {group})"


def _interaction(source: Source, node: Node, name: str) -> tuple[Node, ...]:
    """Return the expressions joined by ``:`` in one term."""
    atoms = node.children if node.kind == "product" else (node,)
    plain = all(atom.kind == "atom" for atom in atoms) and all(o.op == ":" for o in node.ops)
    if not plain:
        hint = "Write one column, factor or a:b for each component, or (... | ...) terms instead."
        problem = f"vc_formula[{name!r}] cannot be read as one variance component"
        raise source.error(problem, node.span, hint)
    return atoms


def _check_contrast(source: Source, atom: Node, name: str) -> None:
    """Refuse codings other than one indicator a level: their effects are no level effects."""
    arguments = call_arguments(atom.tokens, "C") or []
    contrast: tuple[Token, ...] = next(
        (a for a in arguments[1:] if a and a[0].text != "levels"), ()
    )
    if contrast and not any(token.text == "Treatment" for token in contrast):
        factor = source.plain((arguments[0][0].span[0], arguments[0][-1].span[1]))
        hint = f"Write '0 + C({factor})'."
        problem = f"vc_formula[{name!r}] has contrasts, where each level needs its own effect"
        raise source.error(problem, atom.span, hint)
