"""What a formula says, before any data: the records that the formula language is read into."""

from __future__ import annotations

from dataclasses import dataclass

from mixedlm_ext.language.columns import shown
from mixedlm_ext.language.group_call import GroupCall
from mixedlm_ext.language.tokens import Span
from mixedlm_ext.structures import structure_of

__all__ = ["MixedFormula", "RandomTermSpec"]


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
    call : GroupCall, optional
        What ``gr(id, cov=A)`` says of the factor `group`, or ``mm(g1, g2)`` of several.
    """

    expr: str
    group: tuple[str, ...]
    structure: str
    span: Span
    expr_span: Span
    group_span: Span
    bare: frozenset[str] = frozenset()
    name: str = ""
    call: GroupCall | None = None

    @property
    def is_component(self) -> bool:
        """Whether it is a variance component of statsmodels', which has a name of its own."""
        return bool(self.name)

    @property
    def needs_positions(self) -> bool:
        """Whether its columns are places, ``position(t)``."""
        return structure_of(self.structure, 2).placed

    @property
    def written(self) -> str:
        """The term in formula language, ``"(1 + Days | Subject)"``; of a component its columns."""
        left = shown(self.expr, self.bare)
        if self.is_component:
            return f"({left} | {self.group_name})"
        right = self.group_name
        if self.call is not None:
            right = shown(self.call.written(self.group), self.bare)
        return structure_of(self.structure, 2).text(left, right)

    @property
    def text(self) -> str:
        """The term in words: what is written, and what a formula cannot say of a component."""
        one = self.is_component and structure_of(self.structure, 2).one_variance
        return f"{self.written} with one variance" if one else self.written

    @property
    def group_name(self) -> str:
        """The grouping factor in formula language, ``"a:b"``; of several members ``"mm(a, b)"``."""
        if self.call is not None and self.call.name == "mm":
            return shown(f"mm({', '.join(self.group)})", self.bare)
        return shown(":".join(self.group), self.bare)


@dataclass(frozen=True)
class MixedFormula:
    """What a formula says, before any data.

    Parameters
    ----------
    text : str
        The user's formula, unchanged but for a response of two columns or of true and false.
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
    own_response : str or None
        The response as the user wrote it, where `text` has numbers made of it.
    """

    text: str
    response: str
    fixed: str
    offsets: tuple[str, ...]
    offset_spans: tuple[Span, ...]
    random: tuple[RandomTermSpec, ...]
    dot: Span | None = None
    bare: frozenset[str] = frozenset()
    own_response: str | None = None

    @property
    def written(self) -> str:
        """The formula with the response that the user wrote."""
        return self._with_own_response(self.text)

    @property
    def written_fixed(self) -> str:
        """The fixed part with the response that the user wrote."""
        return self._with_own_response(self.fixed)

    def _with_own_response(self, text: str) -> str:
        own = self.own_response
        return text if own is None else f"{own} ~{text.partition('~')[2]}"

    def shown(self, code: str) -> str:
        """Return code of the formula as the user would write it: ``yield`` for ``Q('yield')``."""
        return shown(code, self.bare)
