"""The gradient of Laplace's approximation in Γ, one set of rows that share no effect at a time.

With Z_c and Λ_c the rows and columns of a set c, A_c = Z_c'WZ_c, and v and ã as in laplace.py,

    ∂d_c/∂Γ_i = Σ_l[Z_c'V⁻¹Z_c - vv' + ½(ãv' + vã')]_ll,
    Z_c'V⁻¹Z_c = A_c - A_cΛ_c(I + Λ_c'A_cΛ_c)⁻¹Λ_c'A_c,

l the levels of term i among the columns of the set.
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
    Z, offsets = problem.rows.Z, problem.linear.cp.offsets
    order = np.argsort(codes, kind="stable")
    stops = np.cumsum(np.bincount(codes, minlength=count))
    for rows in np.split(order, stops[:-1]):
        own = np.unique(Z[rows].indices).astype(np.intp)
        block = np.searchsorted(offsets, own, side="right") - 1
        part = Z[rows][:, own].toarray()
        A = part.T @ (w[rows, None] * part)
        Lambda = _template_rows(templates, block)
        M = np.eye(len(own)) + Lambda.T @ A @ Lambda
        V = A - A @ Lambda @ np.linalg.solve(M, Lambda.T @ A)
        s, a = v[own], shift[own]
        whole = V - np.outer(s, s) + 0.5 * (np.outer(a, s) + np.outer(s, a))
        yield [_traced(whole, np.flatnonzero(block == i), len(T)) for i, T in enumerate(templates)]


def _traced(whole: Array, mine: Index, k: int) -> Array:
    """Return the sum over levels of their (k, k) blocks.

    The columns of a term stand one after the other, the same levels in each.
    """
    square = whole[np.ix_(mine, mine)].reshape(k, len(mine) // k, k, len(mine) // k)
    return np.asarray(np.einsum("albl->ab", square))


def _template_rows(templates: Sequence[Array], block: Index) -> Array:
    """Return Λ of some columns of Z, all columns of each level among them."""
    out = np.zeros((len(block), len(block)))
    for i, T in enumerate(templates):
        mine = np.flatnonzero(block == i)
        out[np.ix_(mine, mine)] = np.kron(T, np.eye(len(mine) // len(T)))
    return out
