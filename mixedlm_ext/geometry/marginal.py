"""The covariance V of the response, by blocks of rows that share no random effect."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse import csgraph

from mixedlm_ext.design import Design
from mixedlm_ext.errors import FitError
from mixedlm_ext.estimation.fit import Fit
from mixedlm_ext.products.noise import noise_of

Array = NDArray[np.float64]
Index = NDArray[np.intp]

__all__ = ["LARGEST_BLOCK", "cholesky_blocks", "independent_sets", "rows_by_size"]

LARGEST_BLOCK = 4000
"""Rows of the largest block of V to factor: its square is 128 MB."""
_CELLS = 4_000_000
"""Numbers that a stack of blocks may hold."""


def independent_sets(design: Design) -> Index:
    """Return for each row the number of its set, (n,): rows of two sets are independent.

    They share no random effect, and their residuals are not correlated.

    The levels of the outermost factor when all others are nested in it; with crossed factors often
    one set of all rows.
    """
    n = len(design.y)
    rows = np.arange(n)
    starts = n + np.cumsum([0, *(term.n_codes for term in design.terms)])
    ends = [start + term.codes for start, term in zip(starts, design.terms)]
    size = int(starts[-1])
    one, two = [np.tile(rows, len(ends))], ends
    groups = noise_of(design).groups
    if groups is not None:
        one, two, size = [*one, rows], [*two, size + groups], size + int(groups.max()) + 1
    for start, term in zip(starts, design.terms):
        if term.related is not None:  # levels hang together by what they have in common
            levels, parts, count = term.related.edges
            one, two, size = [*one, start + levels], [*two, size + parts], size + count
    edges = (np.ones(sum(map(len, one))), (np.concatenate(one), np.concatenate(two)))
    graph = sparse.csr_array(edges, shape=(size, size))
    _, labels = csgraph.connected_components(graph, directed=False)
    _, codes = np.unique(labels[:n], return_inverse=True)
    return np.asarray(codes, dtype=np.intp)


def rows_by_size(codes: Index, largest: int) -> Iterator[tuple[Index, Index]]:
    """Stack the sets of rows that have equally many.

    Parameters
    ----------
    codes : ndarray (n,)
        The set of each row; all numbers from 0 on occur.
    largest : int
        Sets of a stack at most, times the square of their size.

    Yields
    ------
    sets : ndarray (g,)
    rows : ndarray (g, m)
        Of each set, in the order of the data.
    """
    order = np.argsort(codes, kind="stable")
    counts = np.bincount(codes)
    starts = np.cumsum(counts) - counts
    for m in np.unique(counts):
        same = np.flatnonzero(counts == m)
        step = max(1, largest // int(m) ** 2)
        for first in range(0, len(same), step):
            sets = same[first : first + step]
            yield sets, order[starts[sets][:, None] + np.arange(m)]


def cholesky_blocks(fit: Fit, codes: Index, what: str) -> Iterator[tuple[Index, Index, Array]]:
    """Factor V = I + √WZΛΛ'Z'√W, relative to σ², by independent sets of rows.

    Where W joins rows, V = W⁻¹ + ZΛΛ'Z'.

    Parameters
    ----------
    fit : Fit
    codes : ndarray (n,)
        The set of each row.
    what : str
        What needs it, for the message.

    Yields
    ------
    sets : ndarray (g,)
    rows : ndarray (g, m)
    L : ndarray (g, m, m)
        Lower triangular.

    Raises
    ------
    FitError
        If a set has more than `LARGEST_BLOCK` rows.
    """
    largest = int(np.bincount(codes).max())
    if largest > LARGEST_BLOCK:
        raise FitError(
            f"{what} need the Cholesky factor of the covariance of {largest} rows that hang "
            f"together through shared levels, more than the {LARGEST_BLOCK} that are factored. "
            "Use kind='scaled' or 'studentized', which need no such matrix."
        )
    return _factored(fit, codes)


def _factored(fit: Fit, codes: Index) -> Iterator[tuple[Index, Index, Array]]:
    """Do the work of `cholesky_blocks`."""
    design = fit.design
    noise = noise_of(design)
    half = [term.X @ T for term, T in zip(design.terms, fit.templates)]
    if not noise.mixes:
        half = [noise.root_times(F) for F in half]
    for sets, rows in rows_by_size(codes, _CELLS):
        own = noise.covariance(rows) if noise.mixes else np.eye(rows.shape[1])
        V = np.zeros((*rows.shape, rows.shape[1])) + own
        for term, F in zip(design.terms, half):
            level = term.codes[rows]
            shared: Array | NDArray[np.bool_]
            if term.related is None:
                shared = level[:, :, None] == level[:, None, :]
            else:
                shared = term.related.between(level)
            V += shared * (F[rows] @ F[rows].transpose(0, 2, 1))
        yield sets, rows, np.asarray(np.linalg.cholesky(V), dtype=float)
