"""The hypotheses of analysis-of-variance tables: types I, II and III, and marginal.

A hypothesis about a term is a matrix L (r, p): Lβ = 0. The types are those of SAS and lmerTest
(Kuznetsova, Brockhoff & Christensen 2017, Journal of Statistical Software 82(13); SAS/STAT User's
Guide, The Four Types of Estimable Functions). They depend on X, not on y or the variances.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import numpy as np
import patsy
from numpy.typing import NDArray

from mixedlm_ext.design import Design
from mixedlm_ext.design.rank import independent_columns
from mixedlm_ext.inference.fixed_terms import FixedTerm

Array = NDArray[np.float64]

__all__ = ["full_rank_rows", "marginal", "type1", "type2", "type3"]

_ZERO = 1e-8
"""Entries of an estimable function this small are rounding errors of zero."""


def marginal(design: Design, terms: Sequence[FixedTerm]) -> list[Array]:
    """Return for each term that its own coefficients are zero, whatever their coding."""
    identity = np.eye(design.X.shape[1])
    return [identity[list(term.columns)] for term in terms]


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
    identity = np.eye(root.shape[1])
    for term in terms:
        containing = [other for other in terms if term.is_contained_in(other)]
        if not containing:
            out.append(identity[list(term.columns)])
            continue
        before = [other for other in terms if other is not term and other not in containing]
        out.append(_sequential(root, before, term, containing))
    return out


def _sequential(
    root: Array, before: Sequence[FixedTerm], own: FixedTerm, after: Sequence[FixedTerm]
) -> Array:
    """Return the rows of the triangular factor of X, columns reordered, that belong to `own`.

    X = QR; the projections of Xβ on the columns of Q that `own` adds are its rows of Rβ. They are
    scaled as in Doolittle's factorization: degrees of freedom of joint tests depend on it a little.
    """
    order = [c for term in [*before, own, *after] for c in term.columns]
    start = sum(len(term.columns) for term in before)
    R = np.linalg.qr(root[:, order], mode="r")
    L = np.zeros((len(own.columns), root.shape[1]))
    L[:, order] = (R / np.diag(R)[:, None])[start : start + len(own.columns)]
    return L


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
    that contain it (the algorithm of lmerTest's anova).
    """
    columns, owner = _indicator_columns(design, terms)
    # the triangular factor says as much about combinations of columns as all rows do
    R = np.asarray(np.linalg.qr(np.column_stack([columns, design.X]), mode="r"))
    full, X = R[:, : len(owner)], R[:, len(owner) :]
    kept = independent_columns(full)
    basis = full[:, kept]
    functions = _clean(np.linalg.lstsq(basis, full)[0].T)  # (all columns, independent columns)
    own = [np.flatnonzero(owner[kept] == i) for i in range(len(terms))]
    for i in sorted(range(len(terms)), key=lambda i: -len(terms[i].factors)):
        containing = [own[j] for j, other in enumerate(terms) if terms[i].is_contained_in(other)]
        if containing:
            A = functions[:, np.concatenate(containing)]
            rest = functions[:, own[i]]
            functions[:, own[i]] = _clean(rest - A @ np.linalg.lstsq(A, rest)[0])
    to_basis = np.linalg.lstsq(basis, X)[0]
    return [_clean(functions[kept][:, place].T @ to_basis) for place in own]


def _clean(M: NDArray[np.floating[Any]]) -> Array:
    """Set rounding errors to zero."""
    return np.asarray(np.where(np.abs(M) < _ZERO * np.abs(M).max(initial=1.0), 0.0, M))


def _indicator_columns(
    design: Design, terms: Sequence[FixedTerm]
) -> tuple[Array, NDArray[np.intp]]:
    """Return all columns of every term, one a combination of levels, and the term of each.

    Reference levels come last within a term, so that the independent columns are those of
    treatment coding.
    """
    matrices = design.matrices
    assert design.frame is not None
    data = matrices.new_data(design.frame, matrices.pieces("fixed"))
    blocks, owner = [], []
    by_name = {term.name(): term for term in matrices.infos[0].terms}
    for i, term in enumerate(terms):
        info = _indicator_info(matrices.infos[0], by_name[term.name])
        block = np.ones((len(design.y), 1))
        if term.factors:
            block = np.asarray(patsy.build_design_matrices([info], data)[0])
        blocks.append(block)
        owner.append(np.full(block.shape[1], i))
    return np.column_stack(blocks), np.concatenate(owner)


def _indicator_info(info: patsy.DesignInfo, term: patsy.Term) -> patsy.DesignInfo:
    """Return patsy's description of one term, every factor coded by an indicator a level."""
    factors = {factor: info.factor_infos[factor] for factor in term.factors}
    codings = {}
    width = 1
    for factor, about in factors.items():
        if about.type == "categorical":
            levels = len(about.categories)
            indicators = np.roll(np.eye(levels), -1, axis=1)
            codings[factor] = patsy.ContrastMatrix(indicators, [str(j) for j in range(levels)])
            width *= levels
        else:
            width *= about.num_columns
    subterm = patsy.design_info.SubtermInfo(term.factors, codings, width)
    names = [str(j) for j in range(width)]
    return patsy.DesignInfo(names, factors, OrderedDict({term: [subterm]}))


def full_rank_rows(L: Array) -> Array:
    """Return the rows of a hypothesis that are not combinations of the rows before them."""
    return L[independent_columns(L.T)] if len(L) else L
