"""One side of a formula as patsy reads it, its expressions named as the user wrote them."""

from __future__ import annotations

from collections.abc import Iterable

import patsy

from mixedlm_ext.language.columns import shown

__all__ = ["describe_side"]


class _NamedFactor(patsy.EvalFactor):
    """An expression whose name in tables is not its code: ``yield`` for ``Q('yield')``."""

    def __init__(self, factor: patsy.EvalFactor, name: str) -> None:
        super().__init__(factor.code, factor.origin)
        self._name = name

    def name(self) -> str:
        return self._name


def describe_side(text: str, bare: Iterable[str] = ()) -> patsy.ModelDesc:
    """Let patsy read a formula, or one side of it as ``~ side``.

    Parameters
    ----------
    text : str
        Plain patsy formula.
    bare : iterable of str
        Columns that the user names without the ``Q()`` that the text has.

    Returns
    -------
    patsy.ModelDesc

    Raises
    ------
    patsy.PatsyError
        If patsy cannot read it.

    Examples
    --------
    >>> side = describe_side("~ Q('min.temp'):x", ["min.temp"])
    >>> [term.name() for term in side.rhs_termlist]
    ['Intercept', 'min.temp:x']
    """
    description = patsy.ModelDesc.from_formula(text)
    names = list(bare)
    if not names:
        return description
    sides = (description.lhs_termlist, description.rhs_termlist)
    return patsy.ModelDesc(*([_named(term, names) for term in side] for side in sides))


def _named(term: patsy.Term, bare: Iterable[str]) -> patsy.Term:
    """Return an equal term that has the user's names."""
    return patsy.Term([_NamedFactor(f, shown(f.code, bare)) for f in term.factors])
