"""The gradient of Laplace's approximation in Γ, one set of rows that share no effect at a time.

With Z_c and Λ_c the rows and columns of a set c, A_c = Z_c'WZ_c, and v and ã as in laplace.py,

    ∂d_c/∂Γ_i = Σ_l[Z_c'V⁻¹Z_c - vv' + ½(ãv' + vã')]_ll,
    Z_c'V⁻¹Z_c = A_c - A_cΛ_c(I + Λ_c'A_cΛ_c)⁻¹Λ_c'A_c,

l the levels of term i among the columns of the set. Where these have a known covariance K = RR',
Λ_c = T ⊗ R, and Σ_l[·]_ll is Σ_lmK_lm[·]_ml.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from mixedlm_ext.criteria.generalized import GeneralizedProblem

Array = NDArray[np.float64]
Index = NDArray[np.intp]

__all__ = ["gamma_by_cluster"]


def gamma_by_cluster(
    problem: GeneralizedProblem,
    templates: Sequence[Array],
    w: Array,
    v: Array,
    shift: Array,
    codes: Index,
    count: int,
) -> Iterator[list[Array]]:
    """Yield ∂d/∂Γ_i of the levels of each set, by dense matrices of one set at a time.

    Parameters
    ----------
    problem : GeneralizedProblem
    templates : sequence of ndarray (k, k)
        T_i.
    w : ndarray (n,)
        Working weights.
    v, shift : ndarray (q,)
        v = Z's and ã.
    codes : ndarray (n,)
        The set of each row.
    count : int
    """
    offsets = problem.linear.cp.offsets
    order = np.argsort(codes, kind="stable")
    stops = np.cumsum(np.bincount(codes, minlength=count))
    for rows in np.split(order, stops[:-1]):
        Z = problem.rows.some(rows)
        own = _all_columns(np.unique(Z.indices).astype(np.intp), problem.linear.cp.shapes, offsets)
        block = np.searchsorted(offsets, own, side="right") - 1
        part = Z[:, own].toarray()
        A = part.T @ (w[rows, None] * part)
        K = [_covariance(problem, i, own[block == i] - offsets[i]) for i in range(len(templates))]
        Lambda = _template_rows(templates, block, K)
        M = np.eye(len(own)) + Lambda.T @ A @ Lambda
        V = A - A @ Lambda @ np.linalg.solve(M, Lambda.T @ A)
        s, a = v[own], shift[own]
        whole = V - np.outer(s, s) + 0.5 * (np.outer(a, s) + np.outer(s, a))
        yield [
            _traced(whole, np.flatnonzero(block == i), len(T), K[i])
            for i, T in enumerate(templates)
        ]


def _all_columns(found: Index, shapes: Sequence[tuple[int, int]], offsets: Index) -> Index:
    """Return all columns of the levels that some columns of Z are of."""
    out = [np.zeros(0, np.intp)]
    for (k, levels), start, stop in zip(shapes, offsets[:-1], offsets[1:]):
        own = found[(found >= start) & (found < stop)] - start
        present = np.unique(own % levels)
        out.append((start + np.arange(k)[:, None] * levels + present).ravel())
    return np.concatenate(out)


def _covariance(problem: GeneralizedProblem, i: int, columns: Index) -> Array | None:
    """Return K_lm of the levels that some columns of block i are of; None for independent ones."""
    prior = problem.linear.cp.layout.prior(i)
    if prior is None:
        return None
    levels = np.unique(columns % problem.linear.cp.shapes[i][1])
    unit = np.zeros((prior.n, len(levels)))
    unit[levels, np.arange(len(levels))] = 1.0
    K = prior.solve(unit)[levels]
    return np.asarray(0.5 * (K + K.T))


def _traced(whole: Array, mine: Index, k: int, K: Array | None) -> Array:
    """Return the sum over levels of their (k, k) blocks.

    The columns of a term stand one after the other, the same levels in each.
    """
    square = whole[np.ix_(mine, mine)].reshape(k, len(mine) // k, k, len(mine) // k)
    if K is None:
        return np.asarray(np.einsum("albl->ab", square))
    return np.asarray(np.einsum("albm,lm->ab", square, K))


def _template_rows(templates: Sequence[Array], block: Index, K: Sequence[Array | None]) -> Array:
    """Return Λ of some columns of Z, all columns of each level among them."""
    out = np.zeros((len(block), len(block)))
    for i, T in enumerate(templates):
        mine, own = np.flatnonzero(block == i), K[i]
        root = np.eye(len(mine) // len(T)) if own is None else np.linalg.cholesky(own)
        out[np.ix_(mine, mine)] = np.kron(T, root)
    return out
