"""What the factor says of the effects of single levels, whatever these are made of."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mixedlm_ext.criteria.pls import Problem
from mixedlm_ext.linalg.semidefinite import Root
from mixedlm_ext.products.products import CrossProducts
from mixedlm_ext.solvers.base import FactorProtocol
from mixedlm_ext.solvers.prior import PriorSolver

Array = NDArray[np.float64]

__all__ = ["level_blocks", "level_rows", "level_variances"]

_CELLS = 4_000_000
"""Numbers in the right-hand sides that are solved for at once."""


def level_blocks(cp: CrossProducts, factor: FactorProtocol, U: Array | None = None) -> list[Array]:
    """Return the covariances of the effects of each level, (k, k, levels) for every block.

    Parameters
    ----------
    cp : CrossProducts
    factor : FactorProtocol
    U : ndarray (q, c), optional
        For the diagonal blocks of ΛM⁻¹Λ' + UU'.

    Returns
    -------
    list of ndarray
        The diagonal blocks of ΛM⁻¹Λ'; of C ΛM⁻¹Λ' C' where levels have a root C.
    """
    out = factor.diagonal_blocks()
    for i, N in enumerate(out):
        C = _reported_root(cp, i)
        if C is not None:
            out[i] = _of_root(cp, factor, i)
        if U is not None:
            u = cp.block(U, i)
            own = u if C is None else np.stack([np.asarray(C @ part) for part in u])
            out[i] = (N if C is None else out[i]) + np.einsum("alp,blp->abl", own, own)
    return out


def _reported_root(cp: CrossProducts, i: int) -> Root | None:
    """Return the root of block i if effects Cb are reported, not b."""
    return next((place.shown for place in cp.layout.places if place.block == i), None)


def _of_root(cp: CrossProducts, factor: FactorProtocol, i: int) -> Array:
    """Return the diagonal blocks of C ΛM⁻¹Λ' C'."""
    C = _reported_root(cp, i)
    assert C is not None
    k, levels = cp.shapes[i][0], int(C.shape[0])
    out = np.empty((k, k, levels))
    step = max(1, _CELLS // (k * cp.q))
    for start in range(0, levels, step):
        at = np.arange(start, min(start + step, levels))
        H = level_rows(cp, i, at)
        N = cp.block(factor.apply(H.reshape(cp.q, -1)), i).reshape(k, -1, k, len(at))
        rows = C[at] if isinstance(C, np.ndarray) else C[at].toarray()
        out[:, :, at] = np.einsum("arbl,lr->abl", N, rows)
    return out


def level_variances(problem: Problem, i: int) -> Array:
    """Return K_ll of the levels of block i, (levels,); ones where they are independent."""
    layout = problem.cp.layout
    C = _reported_root(problem.cp, i)
    if C is not None:
        squares = C * C if isinstance(C, np.ndarray) else C.multiply(C)
        return np.asarray(squares.sum(axis=1), dtype=float).ravel()
    if layout.prior(i) is None:
        return np.ones(problem.cp.shapes[i][1])
    assert isinstance(problem.solver, PriorSolver)
    return problem.solver.level_variances[i]


def level_rows(cp: CrossProducts, i: int, levels: NDArray[np.intp]) -> Array:
    """Return what takes b to the effects of some levels of block i, dense (q, k, levels)."""
    k = cp.shapes[i][0]
    C = _reported_root(cp, i)
    out = np.zeros((cp.q, k, len(levels)))
    for a in range(k):
        own = cp.block(out[:, a], i)[a]
        if C is None:
            own[levels, np.arange(len(levels))] = 1.0
        else:
            own[:] = (C[levels] if isinstance(C, np.ndarray) else C[levels].toarray()).T
    return out
