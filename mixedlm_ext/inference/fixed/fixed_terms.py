"""The terms of the fixed part: their columns, and which term contains which."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import patsy
from numpy.typing import NDArray

from mixedlm_ext.design import Design
from mixedlm_ext.design.rank import independent_columns

Array = NDArray[np.float64]

__all__ = [
    "FixedTerm",
    "constant_coefficients",
    "droppable",
    "fixed_terms",
    "is_coded_alone",
    "without_term",
]

INTERCEPT = ("Intercept", "const")
_TOLERANCE = 1e-8


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
    span : ndarray (p, k)
        All its columns as combinations of the estimable ones: a column that was left out repeats
        those before it, perhaps of other terms, and still belongs to this term.
    """

    name: str
    columns: tuple[int, ...]
    factors: frozenset[str]
    numeric: frozenset[str]
    span: Array = field(compare=False, repr=False)

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
    spans = _column_spans(design)
    if design.formula is None:
        return [_column_term(design, j, spans[j]) for j in sorted(spans)]
    info = design.matrices.infos[0]
    terms = sorted(design.matrices.code.fixed.rhs_termlist, key=lambda term: len(term.factors))
    return [_formula_term(design, info, term, spans) for term in terms]


def _column_spans(design: Design) -> dict[int, Array]:
    """Return for each column, unless the user left it out, what it is of the estimable ones."""
    identity = np.eye(len(design.x_names))
    spans = {int(column): identity[i] for i, column in enumerate(design.column_map)}
    if design.null is not None:
        lost = np.array([design.all_x_names.index(name) for name in design.dropped])
        spans.update(zip(lost.tolist(), design.null.combinations(design.column_map, lost).T))
    return spans


def _column_term(design: Design, j: int, span: Array) -> FixedTerm:
    """Return the term of one column of an array."""
    name = design.all_x_names[j]
    factors = frozenset() if name in INTERCEPT else frozenset([name])
    columns = tuple(int(i) for i in np.flatnonzero(design.column_map == j))
    return FixedTerm(name, columns, factors, factors, span[:, None])


def _formula_term(
    design: Design, info: patsy.DesignInfo, term: patsy.Term, spans: dict[int, Array]
) -> FixedTerm:
    """Return one of patsy's terms with the columns of it that were kept, and its span."""
    slices = info.term_slices[term]
    own = [j for j in range(slices.start, slices.stop) if j in spans]
    place = {int(column): i for i, column in enumerate(design.column_map)}
    empty = np.zeros((len(design.x_names), 0))
    return FixedTerm(
        name=term.name(),
        columns=tuple(place[j] for j in own if j in place),
        factors=frozenset(factor.code for factor in term.factors),
        numeric=frozenset(
            factor.code for factor in term.factors if info.factor_infos[factor].type == "numerical"
        ),
        span=np.column_stack([empty, *(spans[j] for j in own)]),
    )


def droppable(terms: list[FixedTerm]) -> list[FixedTerm]:
    """Return the terms that can be left out alone: those that are no part of an interaction."""
    return [
        term
        for term in terms
        if term.factors
        and term.span.shape[1]
        and not any(term.factors < other.factors for other in terms)
    ]


def is_coded_alone(terms: list[FixedTerm], left_out: FixedTerm) -> bool:
    """Say whether the other terms have the same columns in a formula without this one.

    A categorical factor is coded in full where what two terms share is no term itself: without an
    intercept the first factor codes the constant for the factors after it, and in a:b + b:c the
    first interaction codes b for the second.
    """
    others = [term for term in terms if term is not left_out]
    written = {term.factors for term in others}
    if left_out.factors == left_out.numeric:
        return True
    rivals = [t for t in others if t.numeric == left_out.numeric and t.factors != t.numeric]
    return all(left_out.factors & rival.factors in written for rival in rivals)


def without_term(
    design: Design, root: Array, terms: list[FixedTerm], left_out: FixedTerm
) -> Array | None:
    """Return C (p, r): the columns XC are those of the model without one term.

    Parameters
    ----------
    design : Design
        Its rows are needed unless the term is coded alone.
    root : ndarray (p, p)
        Upper triangular, root'root a cross-product of X.
    terms : list of FixedTerm
    left_out : FixedTerm

    Returns
    -------
    ndarray or None
        None if the formula without the term gives columns that are no combinations of X, as with
        contrasts that do not span the factor's levels.
    """
    if is_coded_alone(terms, left_out):
        others = [term.span for term in terms if term is not left_out]
        columns = np.column_stack([np.zeros((len(root), 0)), *others])
    else:
        rebuilt = _rebuilt_without(design, left_out)
        if rebuilt is None:
            return None
        columns = rebuilt
    return columns[:, independent_columns(root @ columns)]


def _rebuilt_without(design: Design, left_out: FixedTerm) -> Array | None:
    """Return the columns of the formula without one term as combinations of X, (p, k)."""
    matrices = design.matrices
    assert design.frame is not None
    code = matrices.code.fixed.rhs_termlist
    terms = [term for term in code if term.name() != left_out.name]
    X = np.zeros((len(design.X), 0))
    names: list[str] = []
    if terms:
        data = matrices.new_data(design.frame, matrices.pieces("fixed"))
        env = design.scope.environment()
        (info,) = patsy.design_matrix_builders([terms], lambda: iter([data]), env)
        X = np.asarray(patsy.build_design_matrices([info], data)[0])
        names = info.column_names
        X = np.broadcast_to(X, (len(design.X), X.shape[1]))  # patsy gives a constant alone one row
    unwanted = set(design.all_x_names) - {*design.x_names, *design.dropped}
    X = X[:, [name not in unwanted for name in names]]
    C = np.linalg.lstsq(design.X, X, rcond=None)[0]
    C = np.where(np.abs(C) < _TOLERANCE * np.abs(C).max(initial=0.0), 0.0, C)
    away = np.abs(design.X @ C - X).max(axis=0, initial=0.0)
    spanned = away <= _TOLERANCE * np.abs(X).max(axis=0, initial=0.0)
    return np.asarray(C, dtype=float) if spanned.all() else None


def constant_coefficients(X: Array) -> Array | None:
    """Return c with Xc = 1 in every row, or None if the columns of X do not imply a constant."""
    ones = np.ones(len(X))
    c: Array = np.linalg.lstsq(X, ones, rcond=None)[0].astype(float)
    c = np.where(np.abs(c) < 1e-10 * np.abs(c).max(initial=0.0), 0.0, c)
    return c if np.abs(X @ c - ones).max(initial=0.0) < 1e-8 else None
