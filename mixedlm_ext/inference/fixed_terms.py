"""The terms of the fixed part: their columns, and which term contains which."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import patsy
from numpy.typing import NDArray

from mixedlm_ext.design import Design

Array = NDArray[np.float64]

__all__ = ["FixedTerm", "constant_coefficients", "droppable", "fixed_terms", "without_term"]

INTERCEPT = ("Intercept", "const")


@dataclass(frozen=True)
class FixedTerm:
    """One term of the fixed part.

    Attributes
    ----------
    name : str
    columns : tuple of int
        Positions of its estimable coefficients; empty if none is estimable.
    factors : frozenset of str
        The expressions it is the product of; empty for the intercept.
    numeric : frozenset of str
        Those that are numbers, the others being categorical.
    """

    name: str
    columns: tuple[int, ...]
    factors: frozenset[str]
    numeric: frozenset[str]

    def is_contained_in(self, other: FixedTerm) -> bool:
        """Say whether a hypothesis about this effect has to allow for the other one.

        As in SAS: the other has all factors of this one, more categorical ones, and the same
        numeric ones.
        """
        return self.factors < other.factors and self.numeric == other.numeric


def fixed_terms(design: Design) -> list[FixedTerm]:
    """Return the terms of the fixed part, by their degree and then in the order of the formula.

    Parameters
    ----------
    design : Design

    Returns
    -------
    list of FixedTerm
        The intercept first, if there is one. Without a formula each column is a term.
    """
    if design.formula is None:
        return [_column_term(i, name) for i, name in enumerate(design.x_names)]
    info = design.matrices.infos[0]
    place = {int(column): i for i, column in enumerate(design.column_map)}
    terms = sorted(design.matrices.code.fixed.rhs_termlist, key=lambda term: len(term.factors))
    return [_formula_term(info, term, place) for term in terms]


def _column_term(i: int, name: str) -> FixedTerm:
    """Return the term of one column of an array."""
    factors = frozenset() if name in INTERCEPT else frozenset([name])
    return FixedTerm(name, (i,), factors, factors)


def _formula_term(info: patsy.DesignInfo, term: patsy.Term, place: dict[int, int]) -> FixedTerm:
    """Return one of patsy's terms with the columns of it that were kept."""
    own = info.term_slices[term]
    return FixedTerm(
        name=term.name(),
        columns=tuple(place[j] for j in range(own.start, own.stop) if j in place),
        factors=frozenset(factor.code for factor in term.factors),
        numeric=frozenset(
            factor.code for factor in term.factors if info.factor_infos[factor].type == "numerical"
        ),
    )


def droppable(terms: list[FixedTerm]) -> list[FixedTerm]:
    """Return the terms that can be left out alone: those that are no part of an interaction."""
    return [
        term
        for term in terms
        if term.factors
        and term.columns
        and not any(term.factors < other.factors for other in terms)
    ]


def without_term(design: Design, terms: list[FixedTerm], left_out: FixedTerm) -> Array:
    """Return C (p, r): the columns XC are those of the model without one term.

    Without an intercept a factor may code the constant for the factors after it, which keep it
    when that factor is left out.
    """
    others = [term for term in terms if term is not left_out]
    kept = np.eye(design.X.shape[1])[:, sorted(c for term in others for c in term.columns)]
    has_intercept = any(not term.factors and term.columns for term in others)
    if has_intercept or not any(term.factors and not term.numeric for term in others):
        return kept
    constant = constant_coefficients(design.X)
    if constant is None or not constant[list(left_out.columns)].any():
        return kept
    return np.column_stack([constant, kept])


def constant_coefficients(X: Array) -> Array | None:
    """Return c with Xc = 1 in every row, or None if the columns of X do not imply a constant."""
    ones = np.ones(len(X))
    c: Array = np.linalg.lstsq(X, ones)[0].astype(float)
    c = np.where(np.abs(c) < 1e-10 * np.abs(c).max(initial=0.0), 0.0, c)
    return c if np.abs(X @ c - ones).max(initial=0.0) < 1e-8 else None
