"""Variances estimated as zero: which they are, however the random part is written."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mixedlm_ext.estimation.fit import Fit
from mixedlm_ext.structures.covariance import TermCovariance

Array = NDArray[np.float64]

__all__ = ["zero_columns", "zero_variances"]

_ZERO = 1e-10
"""Variances this small of columns of mean square 1, relative to the residual's, count as zero."""
_OUTSIDE = 1e-8
"""Shares of a column's length this small count as inside the span of other columns."""


def zero_columns(fit: Fit) -> list[NDArray[np.bool_]]:
    """Return for each random term which of the user's columns have no variance.

    Notes
    -----
    In (1 | g) + (0 + f | g) the intercept is the sum of f's columns, and its variance is one of f's
    columns, too: a column counts as zero only if no term whose columns are combinations of those
    of its own term gives it a variance.
    """
    problem = fit.problem
    zero = []
    for term in problem.covariance.terms:
        T = fit.engine.pls.factor.templates[term.block]
        own = term.own
        total = T[own] @ T[own].T
        terms = [other for other in problem.covariance.terms if other.block == term.block]
        if len(terms) > 1:
            gram = problem.cp.A.total(term.block)
            total = total + _of_others(T @ T.T, gram, term, terms)
        inverse = np.linalg.inv(term.whitening)
        sizes = (term.whitening**2).sum(axis=0)  # mean squares of the columns
        zero.append(np.diag(inverse @ total @ inverse.T) * sizes <= _ZERO)
    return zero


def _of_others(
    Gamma: Array, gram: Array, term: TermCovariance, terms: list[TermCovariance]
) -> Array:
    """Return the covariance that other terms give the columns of one: ΣCΓ_sC' with X_sN = XC.

    N are the combinations of another term's columns within the span of this one's, and Γ_s is what
    of their covariance is free of the combinations beyond: that much could stand in either term.
    """
    own = term.own
    out = np.zeros((term.k, term.k))
    for other in terms:
        if other is term:
            continue
        theirs = other.own
        C = np.linalg.lstsq(gram[own, own], gram[own, theirs], rcond=None)[0]
        rest, V = np.linalg.eigh(gram[theirs, theirs] - gram[theirs, own] @ C)
        shared = rest <= _OUTSIDE * np.diag(gram[theirs, theirs]).max()
        V = np.hstack([V[:, shared], V[:, ~shared]])
        m = int(shared.sum())
        free = _free_of_the_last(V.T @ Gamma[theirs, theirs] @ V, m)
        out += C @ V[:, :m] @ free @ V[:, :m].T @ C.T
    return out


def _free_of_the_last(Gamma: Array, m: int) -> Array:
    """Return the covariance of the first m effects, given the others."""
    across = Gamma[:m, m:]
    return np.asarray(
        Gamma[:m, :m] - across @ np.linalg.pinv(Gamma[m:, m:], hermitian=True) @ across.T
    )


def zero_variances(fit: Fit) -> list[str]:
    """Return the names of the random columns without variance, "Batch" or "Subject: Days".

    A term all of whose columns are zero goes by its group.
    """
    zero = zero_columns(fit)
    names = []
    for laid, own in zip(fit.design.terms, zero):
        if own.all():
            names.append(laid.name)
        else:
            names += [f"{laid.name}: {c}" for c, gone in zip(laid.columns, own) if gone]
    return names
