"""Where to start: the moments of least-squares coefficients, from the cross-products alone.

With all b_l fitted as if they were fixed, σ² is the mean square of what they leave of y, and

    mean of b_lb_l' over levels l = σ²Γ_i + σ²(Z_l'WZ_l)⁻¹ + what other terms add to b_l

For balanced data these are the estimates by REML, as long as no variance is negative, and next to
those by ML.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mixedlm_ext.criteria.pls import Problem
from mixedlm_ext.linalg.blas import eigh, eigvalsh, inner, matmul
from mixedlm_ext.products.products import CrossProducts
from mixedlm_ext.search.pair_moments import pair_moments
from mixedlm_ext.structures.covariance import Covariance

Array = NDArray[np.float64]

__all__ = ["MISSING", "moments"]

MISSING = 1e-6
"""Share of a random column outside the fixed part from which on it has no fixed partner."""
_SWEEPS = 10
"""Sweeps over the blocks at most for least squares, which need not be exact."""
_NOTHING = 1e-10
"""Share of y'Wy below which least squares leave no residual."""


def moments(problem: Problem, carrier: int, relative: bool, reml: bool) -> Array:
    """Return theta from the moments of least-squares coefficients b_l of every level.

    Parameters
    ----------
    problem : Problem
    carrier : int
        The block that means go to which several blocks can explain.
    relative : bool
        A mean of the carrier's b_l that the fixed part can explain is left to it, the smallest mean
        remaining: relative to their covariance, or not.
    reml : bool
        Whether such means cost degrees of freedom.
    """
    cp = problem.cp
    blocks = range(len(cp.shapes))
    squares = cp.A.squares(0)
    if squares is not None and len(blocks) == 1:
        return pair_moments(problem, squares)
    inverses, ranks = zip(*(_pseudo_inverses(D) for D in cp.diagonal))
    # outer factors first: what is left within their levels is for those nested in them
    b, rss = _least_squares(cp, inverses, [carrier, *(i for i in blocks[::-1] if i != carrier)])
    outer = [_outer_blocks(cp, i) for i in blocks]
    fixed = [_within_fixed(cp, i) for i in blocks]
    df = cp.n - _rank(cp, ranks, outer, fixed)
    if df <= 0 and rss <= _NOTHING * cp.yy:
        return problem.covariance.start()  # the levels reproduce y: nothing tells σ
    scale = max(rss, 1e-14 * cp.yy) / max(df, 1)
    shares = [_shares(inverse, rank) for inverse, rank in zip(inverses, ranks)]
    noise = [np.einsum("l,lab->ab", w, inverse) for w, inverse in zip(shares, inverses)]
    metric = (scale, noise[carrier]) if relative else None
    taken = _take_out_means(cp, b, shares, carrier, fixed[carrier], metric)
    if len(blocks) > 1:
        left = cp.block(cp.Zy - cp.A.times(b), carrier)
        cp.block(b, carrier)[:] += np.einsum("lab,bl->al", inverses[carrier], left)
    own = [
        _without_taken(own, P, w) if reml and not others else own
        for own, P, w, others in zip(_mean_squares(cp, b, shares, scale), taken, shares, outer)
    ]
    return _roots(problem.covariance, _without_noise(cp, own, noise, inverses, shares, outer))


def _mean_squares(
    cp: CrossProducts, b: Array, shares: Sequence[Array], scale: float
) -> list[Array]:
    """Return the mean of b_lb_l'/σ² over the levels of each block, (k, k)."""
    blocks = (cp.block(b, i) for i in range(len(shares)))
    return [matmul(own * w, own.T) / scale for own, w in zip(blocks, shares)]


def _without_noise(
    cp: CrossProducts,
    mean_squares: Sequence[Array],
    noise: Sequence[Array],
    inverses: Sequence[Array],
    shares: Sequence[Array],
    outer: Sequence[list[int]],
) -> list[Array]:
    """Return Γ_i (k, k) of each block: its mean square less noise and what nested effects add."""
    Gammas: list[Array] = []
    for i, own in enumerate(mean_squares):  # the largest first, in which no other is nested
        if outer[i]:
            own = own * _inflation(cp.shapes[i][1], max(cp.shapes[j][1] for j in outer[i]))
        inner = [j for j in range(i) if i in outer[j]]
        added = [_added(cp, inverses[i], shares[i], j, i, Gammas[j]) for j in inner]
        Gammas.append(own - sum(added, start=noise[i]))
    return Gammas


def _least_squares(
    cp: CrossProducts, inverses: tuple[Array, ...], order: list[int]
) -> tuple[Array, float]:
    """Return coefficients (q,) of y on Z and the residual sum of squares, by Gauss-Seidel."""
    b = np.zeros(cp.q)
    Zr, rss = cp.Zy, cp.yy
    for _ in range(_SWEEPS):
        before = rss
        for i in order:
            change = np.einsum("lab,bl->al", inverses[i], cp.block(Zr, i))
            rss -= float((change * cp.block(Zr, i)).sum())
            cp.block(b, i)[:] += change
            if len(order) > 1:
                Zr = cp.Zy - cp.A.times(b)
        if len(order) == 1 or rss > 0.9 * before:
            break
    return b, rss


def _pseudo_inverses(D: Array) -> tuple[Array, NDArray[np.intp]]:
    """Return the pseudo-inverses (levels, k, k) of D (k, k, levels) and their ranks."""
    if len(D) == 1:
        d = D[0, 0]
        kept = d > 0
        inverse = np.where(kept, 1.0 / np.where(kept, d, 1.0), 0.0)
        return inverse[:, None, None], kept.astype(np.intp)
    values, vectors = np.linalg.eigh(D.transpose(2, 0, 1))
    kept = values > 1e-8 * np.maximum(values[:, -1:], 1e-300)
    inverse = np.where(kept, 1.0 / np.where(kept, values, 1.0), 0.0)
    return np.einsum("lac,lc,lbc->lab", vectors, inverse, vectors), kept.sum(axis=1)


def _outer_blocks(cp: CrossProducts, i: int) -> list[int]:
    """Return the blocks in whose levels those of block i are nested."""
    levels = cp.shapes[i][1]
    return [j for (own, j), c in cp.couplings.items() if own == i and len(c.rows) == levels]


def _within_fixed(cp: CrossProducts, i: int) -> Array:
    """Return orthonormal combinations (k, d) of a block's columns that are within the fixed part.

    The same at all levels.
    """
    total = cp.A.total(i)
    inside = cp.block(cp.ZX, i).sum(axis=1)
    values, vectors = eigh(total - inside @ inside.T)
    return vectors[:, values < MISSING * total.diagonal().max()]


def _rank(
    cp: CrossProducts,
    ranks: Sequence[NDArray[np.intp]],
    outer: Sequence[list[int]],
    fixed: Sequence[Array],
) -> int:
    """Return about the rank of [Z X]: columns less those that others are known to hold."""
    nested_in = {j: i for i, others in enumerate(outer) for j in others}
    repeated = sum(_seen(cp, i, W) for i, W in enumerate(fixed) if i not in nested_in)
    for j, i in nested_in.items():
        repeated += min(cp.shapes[i][0], cp.shapes[j][0]) * cp.shapes[j][1]
    return cp.p + sum(int(rank.sum()) for rank in ranks) - repeated


def _seen(cp: CrossProducts, i: int, W: Array) -> int:
    """Return how many of some combinations (k, d) of a block's columns are not zero in all rows."""
    if len(W) == 1:
        return W.shape[1]
    total = cp.A.total(i)
    return int((eigvalsh(W.T @ total @ W) > MISSING * total.diagonal().max()).sum())


def _shares(inverse: Array, rank: NDArray[np.intp]) -> Array:
    """Return the share of each level in means over levels, (levels,).

    Levels with few rows have a small one, as if the effects varied like the noise; those that do
    not determine all their coefficients have none, unless nearly all are such.
    """
    k = inverse.shape[1]
    trace = inverse[:, 0, 0] if k == 1 else np.einsum("laa->l", inverse)
    w = 1.0 / (1.0 + trace / k) ** 2
    determined = rank == k
    if np.count_nonzero(determined) > k:
        w = w * determined
    return np.asarray(w / w.sum())


def _take_out_means(
    cp: CrossProducts,
    b: Array,
    shares: Sequence[Array],
    carrier: int,
    fixed: Array,
    metric: tuple[float, Array] | None,
) -> list[Array]:
    """Subtract from b (q,) the means of every block, of the carrier what the fixed part explains.

    `metric` is σ² and the noise of the carrier's coefficients where their covariance decides what
    is the smallest mean remaining. Returns the projections (k, k) on what was subtracted.
    """
    taken = []
    for i, w in enumerate(shares):
        own = cp.block(b, i)
        means = matmul(own, w)
        P = np.eye(len(own))
        if i == carrier:
            spread = P
            if metric is not None and len(own) > fixed.shape[1] > 0:
                scale, noise = metric
                around = own - means[:, None]
                spread = matmul(around * w, around.T) / scale + noise
            P = _projection(fixed, spread)
        own -= (P @ means)[:, None]
        taken.append(P)
    return taken


def _projection(W: Array, metric: Array) -> Array:
    """Return the projection (k, k) on the span of W (k, d), orthogonal in the inverse of `metric`.

    That is W(W'M⁻¹W)⁻¹W'M⁻¹.
    """
    k, d = W.shape
    if d in (0, k):
        return np.eye(k) if d else np.zeros((k, k))
    weighed = np.linalg.pinv(metric, hermitian=True) @ W  # columns may be redundant
    return np.asarray(W @ np.linalg.pinv(W.T @ weighed, hermitian=True) @ weighed.T)


def _inflation(levels: int, outer: int) -> float:
    """Return by what a mean square of deviations within the levels of an outer factor is small."""
    return levels / max(levels - outer, 1)


def _without_taken(mean_square: Array, P: Array, shares: Array) -> Array:
    """Return C + (PC + CP' - PCP')s/(1-s): a mean over L levels that was subtracted takes s = 1/L.

    In general s is the sum of the squared shares.
    """
    PC, lost = P @ mean_square, inner(shares, shares)
    return mean_square + (PC + PC.T - PC @ P.T) * (lost / max(1.0 - lost, lost))


def _added(
    cp: CrossProducts, inverse: Array, shares: Array, inner: int, outer: int, Gamma: Array
) -> Array:
    """Return the mean over outer levels of Σ_m W_lmΓW_lm', what effects nested in them add to b_l.

    W_lm = (Z_l'WZ_l)⁻¹Z_l'WZ_m for the levels m of the inner block in level l.
    """
    c = cp.couplings[inner, outer]
    W = np.einsum("cab,dbc->cad", inverse[c.columns], c.values)
    values, vectors = eigh(Gamma)
    half = W @ (vectors * np.sqrt(np.maximum(values, 0.0)))  # of no negative variance
    return np.asarray(np.einsum("c,cad,cbd->ab", shares[c.columns], half, half))


def _roots(covariance: Covariance, Gammas: list[Array]) -> Array:
    """Return the theta of matrices that need not be covariances, term by term."""
    return np.concatenate(
        [t.structure.nearest(Gammas[t.block][t.own, t.own]) for t in covariance.terms]
    )
