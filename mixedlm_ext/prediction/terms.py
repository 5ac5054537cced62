"""Which random effects a prediction uses: terms by name, or columns of terms by formula."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import patsy
from numpy.typing import NDArray

from mixedlm_ext.design import Design
from mixedlm_ext.design.messages import list_names
from mixedlm_ext.errors import DesignError, check_choice, did_you_mean
from mixedlm_ext.language.description import describe_side
from mixedlm_ext.language.mixed_formula import RandomTermSpec
from mixedlm_ext.language.parser import parse_formula

Chosen = dict[str, NDArray[np.bool_]]
"""For the name of each term that is used, which of its columns are."""

__all__ = ["WHICH", "Chosen", "choose_terms"]

WHICH = ("conditional", "population")


def choose_terms(design: Design, which: str, terms: str | Sequence[str] | None) -> Chosen:
    """Find the random effects that a prediction is to use.

    Parameters
    ----------
    design : Design
    which : {"conditional", "population"}
    terms : str or sequence of str, optional
        Names of terms ("Subject.1"), or formulas ("(1 | Subject)"); all terms by default. The
        columns of a formula are looked for in all terms of its grouping factor.

    Returns
    -------
    dict of str to ndarray of bool (k,)
        In the order of the formula.

    Raises
    ------
    DesignError
        If there is no such term, or `terms` is given with which="population".
    """
    check_choice("which", which, WHICH)
    if which == "population":
        if terms is not None and np.size(terms):
            raise DesignError(
                "terms= chooses random effects, and which='population' leaves all of them out. "
                "Drop one of the two."
            )
        return {}
    masks = {term.name: np.zeros(len(term.columns), dtype=bool) for term in design.terms}
    for text in _texts(terms, masks):
        for name, columns in _find(design, text):
            masks[name][columns] = True
    return {name: mask for name, mask in masks.items() if mask.any()}


def _texts(terms: str | Sequence[str] | None, names: Iterable[str]) -> list[str]:
    """Return the terms asked for as a list of strings."""
    if terms is None:
        return list(names)
    several = np.iterable(terms) and not isinstance(terms, str)
    wanted: list[Any] = list(terms) if several else [terms]
    for text in wanted:
        if not isinstance(text, str):
            raise DesignError(
                f"terms={terms!r} holds {text!r}. Name random terms, such as "
                f"{next(iter(names))!r}, or write them, such as '(1 | g)'."
            )
    return wanted


def _find(design: Design, text: str) -> Iterator[tuple[str, Any]]:
    """Return names of terms and positions of columns that one text asks for."""
    names = [term.name for term in design.terms]
    if text in names:
        yield text, slice(None)
    elif "|" in text:
        columns = None if design.frame is None else design.frame.columns
        parsed = parse_formula(f"y ~ {text.strip().removeprefix('~')}", columns=columns)
        if parsed.fixed != "y ~ 1" or parsed.offsets:
            raise DesignError(
                f"terms={text!r} has more than random terms. Write, for example, '(1 | g)'."
            )
        for spec in parsed.random:
            yield from _columns_of(design, spec)
    else:
        near = did_you_mean(text, names)
        raise DesignError(f"no random term {text!r} (there are {list_names(names)}).{near}")


def _columns_of(design: Design, spec: RandomTermSpec) -> Iterator[tuple[str, Any]]:
    """Return where the columns of one written term are."""
    wanted = _key(spec.group)
    same = [i for i in range(len(design.terms)) if _key(_factors(design, i)) == wanted]
    if not same:
        groups = list_names(dict.fromkeys(term.group for term in design.terms))
        raise DesignError(
            f"{spec.text}: the model has no random effects by {spec.group_name!r} "
            f"(they are by {groups})."
        )
    columns = {i: _columns_by_name(design, i) for i in same}
    for name in _left_side(spec):
        owners = [i for i in same if name in columns[i]]
        if not owners:
            known = list_names(dict.fromkeys(name for i in same for name in columns[i]))
            raise DesignError(
                f"{spec.text}: the model has no random {name!r} by {spec.group_name!r} "
                f"(it has {known})."
            )
        for i in owners:
            yield design.terms[i].name, columns[i][name]


def _factors(design: Design, i: int) -> Sequence[str]:
    """Return the factors whose combinations group term i."""
    if design.formula is None:
        return design.terms[i].group.split(":")
    return design.formula.random[i].group


def _key(factors: Sequence[str]) -> frozenset[str]:
    """Return what two spellings of one grouping have in common."""
    return frozenset("".join(factor.split()) for factor in factors)


def _left_side(spec: RandomTermSpec) -> list[str]:
    """Return the names of patsy's terms left of the bar."""
    try:
        description = describe_side(f"~ {spec.expr}", spec.bare)
    except patsy.PatsyError as error:
        raise DesignError(f"{spec.text} cannot be read: {error.message}.") from None
    return [term.name() for term in description.rhs_termlist]


def _columns_by_name(design: Design, i: int) -> dict[str, Any]:
    """Return the columns of term i by the names of patsy's terms, or of columns for arrays."""
    if design.formula is None:
        return {name: [j] for j, name in enumerate(design.terms[i].columns)}
    found = dict(design.matrices.infos[i + 1].term_name_slices)
    placed = design.terms[i].positions is not None  # its columns are the places, not coordinates
    return dict.fromkeys(found, slice(None)) if placed else found
