"""The hypotheses of analysis-of-variance tables: types I, II and III, and marginal.

A hypothesis about a term is a matrix L (r, p): Lβ = 0. The types are those of SAS and lmerTest
(Kuznetsova, Brockhoff & Christensen 2017, Journal of Statistical Software 82(13); SAS/STAT User's
Guide, The Four Types of Estimable Functions). They depend on X, not on y or the variances.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixedlm_ext.design import Design
from mixedlm_ext.design.rank import independent_columns
from mixedlm_ext.inference.fixed.fixed_terms import FixedTerm
from mixedlm_ext.inference.fixed.indicators import indicator_columns

Array = NDArray[np.float64]

__all__ = [
    "complement",
    "echelon",
    "full_rank_rows",
    "is_only_effect",
    "marginal",
    "type1",
    "type2",
    "type3",
]

_ZERO = 1e-8
"""Entries of an estimable function this small are rounding errors of zero."""


def marginal(root: Array, terms: Sequence[FixedTerm]) -> list[Array]:
    """Return for each term that its own coefficients are zero, whatever their coding.

    Where a column was left out because it repeats others, coefficients mean less than they say: a
    term is tested by what it adds to the columns of all others.

    Parameters and result are those of `type1`.
    """
    return [_given(root, [t for t in terms if t is not term], term) for term in terms]


def type1(root: Array, terms: Sequence[FixedTerm]) -> list[Array]:
    """Return the sequential hypotheses: each term given those before it.

    Parameters
    ----------
    root : ndarray (p, p)
        Upper triangular, X'X = root'root.
    terms : sequence of FixedTerm
        All terms, in their order.

    Returns
    -------
    list of ndarray (r, p)
    """
    return [_sequential(root, terms[:i], term, terms[i + 1 :]) for i, term in enumerate(terms)]


def type2(root: Array, terms: Sequence[FixedTerm]) -> list[Array]:
    """Return for each term the hypothesis given all terms that do not contain it.

    Parameters and result are those of `type1`.
    """
    out = []
    for term in terms:
        containing = [other for other in terms if term.is_contained_in(other)]
        before = [other for other in terms if other is not term and other not in containing]
        if containing:
            out.append(_sequential(root, before, term, containing))
        else:
            out.append(_given(root, before, term))
    return out


def is_only_effect(terms: Sequence[FixedTerm]) -> bool:
    """Say whether there is but one term besides the intercept: then all types are the first."""
    return sum(bool(term.factors) for term in terms) == 1


def _sequential(
    root: Array, before: Sequence[FixedTerm], own: FixedTerm, after: Sequence[FixedTerm]
) -> Array:
    """Return the rows of the triangular factor of X, columns reordered, that belong to `own`.

    XB = QR, B the leftmost independent columns of all terms in this order: what the formula would
    have kept. The projections of Xβ on the columns of Q that `own` adds are its rows of R B⁻¹β.
    They are scaled as in Doolittle's factorization: degrees of freedom of joint tests depend on it
    a little.
    """
    spans = [np.zeros((len(root), 0)), *(term.span for term in [*before, own, *after])]
    columns = np.column_stack(spans)
    first = sum(span.shape[1] for span in spans[: len(before) + 1])
    kept = independent_columns(root @ columns)
    mine = (kept >= first) & (kept < first + own.span.shape[1])
    B = columns[:, kept]
    R = np.linalg.qr(root @ B, mode="r")
    return np.asarray(np.linalg.solve(B.T, (R / np.diag(R)[:, None])[mine].T).T)


def _given(root: Array, others: Sequence[FixedTerm], own: FixedTerm) -> Array:
    """Return that `own` adds nothing to the other terms: their coefficients are all there are."""
    spans = np.column_stack([np.zeros((len(root), 0)), *(term.span for term in others)])
    kept = spans[:, independent_columns(root @ spans)]
    return complement(root, kept)


def complement(root: Array, C: Array) -> Array:
    """Return L with Lβ = 0 exactly for β = Cγ; rows of the identity where C selects columns.

    Parameters
    ----------
    root : ndarray (p, p)
        Upper triangular, root'root a cross-product of X.
    C : ndarray (p, r)
        Of rank r.

    Returns
    -------
    ndarray (p - r, p)
        In reduced echelon form.
    """
    if (C.max(axis=0, initial=0.0) == 1).all() and (np.count_nonzero(C, axis=0) == 1).all():
        return np.eye(len(C))[~C.any(axis=1)]
    Q, _ = np.linalg.qr(root @ C, mode="complete")
    return echelon(Q[:, C.shape[1] :].T @ root, np.linalg.norm(root, axis=0))


def echelon(L: Array, lengths: Array) -> Array:
    """Return the reduced row echelon form of L (r, p): it depends on the hypothesis Lβ = 0 alone.

    Parameters
    ----------
    L : ndarray (r, p)
    lengths : ndarray (p,)
        Of the columns of X, to tell small coefficients from rounding errors.

    Examples
    --------
    >>> echelon(np.array([[0.0, 1.0, 1.0], [0.0, 1.0, -1.0]]), np.ones(3))
    array([[0., 1., 0.],
           [0., 0., 1.]])
    """
    if not len(L):
        return L
    scaled = L / lengths
    scaled = scaled / np.abs(scaled).max(axis=1, initial=1e-300, keepdims=True)
    scaled[np.abs(scaled) < _ZERO] = 0.0
    rows = full_rank_rows(scaled)
    pivots = independent_columns(rows)
    out = np.linalg.solve(rows[:, pivots], rows)
    out[:, pivots] = np.eye(len(rows))
    return np.asarray(out * lengths / lengths[pivots][:, None] + 0.0)  # no -0.0


def type3(design: Design, terms: Sequence[FixedTerm]) -> list[Array]:
    """Return SAS's type III hypotheses, which do not depend on the coding of the factors.

    Parameters
    ----------
    design : Design
        From a formula; its rows are needed.
    terms : sequence of FixedTerm
        All terms, in their order.

    Returns
    -------
    list of ndarray (r, p)

    Notes
    -----
    The rows of the general form of the estimable functions are the columns of every term written
    with one indicator for each level, expressed in linearly independent ones. Going from the
    highest interactions down, the functions of a term are made orthogonal to those of the terms
    that contain it (the algorithm of lmerTest's anova). They say nothing about any other term:
    where columns of two terms coincide, neither has functions of them.
    """
    columns, owner = indicator_columns(design, terms)
    # the triangular factor says as much about combinations of columns as all rows do
    R = np.asarray(np.linalg.qr(np.column_stack([columns, design.X]), mode="r"))
    full, X = R[:, : len(owner)], R[:, len(owner) :]
    kept = independent_columns(full)
    basis = full[:, kept]
    # all columns by independent ones
    functions = _clean(np.linalg.lstsq(basis, full, rcond=None)[0].T)
    out = {i: np.zeros((len(owner), 0)) for i in range(len(terms))}
    for i in sorted(range(len(terms)), key=lambda i: -len(terms[i].factors)):
        above = [j for j, other in enumerate(terms) if terms[i].is_contained_in(other)]
        out[i] = functions[:, owner[kept] == i]
        strange = ~np.isin(owner, [i, *above])
        if design.dropped and out[i][strange].any():
            out[i] = _silent_about(strange, functions[:, np.isin(owner[kept], [i, *above])])
        A = np.column_stack([np.zeros((len(owner), 0)), *(out[j] for j in above)])
        out[i] = _clean(out[i] - A @ np.linalg.lstsq(A, out[i], rcond=None)[0])
    to_basis = np.linalg.lstsq(basis, X, rcond=None)[0]
    return [_clean(out[i][kept].T @ to_basis) for i in range(len(terms))]


def _silent_about(rows: NDArray[np.bool_], functions: Array) -> Array:
    """Return the combinations of functions (all columns, r) that are zero in some rows."""
    _, sizes, V = np.linalg.svd(functions[rows])
    rank = int((sizes > _ZERO * sizes.max(initial=0.0)).sum())
    return _clean(functions @ V[rank:].T)


def _clean(M: NDArray[np.floating[Any]]) -> Array:
    """Set rounding errors to zero."""
    return np.asarray(np.where(np.abs(M) < _ZERO * np.abs(M).max(initial=1.0), 0.0, M))


def full_rank_rows(L: Array) -> Array:
    """Return the rows of a hypothesis that are not combinations of the rows before them."""
    return L[independent_columns(L.T)] if len(L) else L
