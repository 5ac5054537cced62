"""Pairs of rows of one group by their distance: what they say of the correlation of residuals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixedlm_ext.products.noise import noise_of

Array = NDArray[np.float64]
Index = NDArray[np.intp]

__all__ = ["Pairs", "mean_by_distance", "pairs_within", "residual_products"]

_MOST = 1_000_000
"""Pairs of rows that are looked at."""
_BINS = 15
"""Distances that are told apart; where there are more, they are put together."""


@dataclass(frozen=True, eq=False)
class Pairs:
    """Pairs of different rows, each once.

    Attributes
    ----------
    first, second : ndarray of intp (m,)
    distance : ndarray (m,)
    """

    first: Index
    second: Index
    distance: Array

    def take(self, which: Any) -> Pairs:
        """Return some of the pairs."""
        return Pairs(self.first[which], self.second[which], self.distance[which])


def pairs_within(codes: Index, positions: Array | None) -> Pairs:
    """Return the pairs of rows of one group, up to a distance if there are too many.

    Parameters
    ----------
    codes : ndarray of intp (n,)
        Groups.
    positions : ndarray (n,) or None
        None counts the rows of each group in their order.
    """
    order = np.lexsort((np.arange(len(codes)) if positions is None else positions, codes))
    code = codes[order]
    place = np.arange(len(codes), dtype=float) if positions is None else positions[order]
    parts: list[Pairs] = []
    total, reach = 0, np.inf
    for step in range(1, len(codes)):
        at = np.flatnonzero(code[step:] == code[:-step])
        if not len(at):
            break
        distance = np.abs(place[at + step] - place[at])
        if total + len(at) > _MOST and parts:
            reach = float(distance.min())  # pairs that are more steps apart are no nearer
            break
        parts.append(Pairs(order[at], order[at + step], distance))
        total += len(at)
    if not parts:
        none = np.zeros(0, np.intp)
        return Pairs(none, none, np.zeros(0))
    out = Pairs(
        np.concatenate([p.first for p in parts]),
        np.concatenate([p.second for p in parts]),
        np.concatenate([p.distance for p in parts]),
    )
    return out if np.isinf(reach) else out.take(out.distance < reach)


def residual_products(fit: Any, pairs: Pairs) -> tuple[Array, Array]:
    """Return, for each pair, an estimate of the correlation of its residuals and its weight, (m,).

    With u = y - Xβ - offset, E u_iu_j = K_ij z_i'Γz_j + σ²d_id_jC_ij, K_ij of the levels of both
    rows, so that

        (u_iu_j - K_ij z_i'Γz_j)/(σ²d_id_j)

    has the mean C_ij if the model is right; products of y - Xβ - Zb would be too small, as b has
    taken part of what the rows of a level have in common. Its standard deviation is about
    s_is_j/(σ²d_id_j) with s the standard deviations of u, so the weight is the square of the
    inverse: a group of small residuals beside large random effects tells little.
    """
    design, i, j = fit.design, pairs.first, pairs.second
    u = design.y - fit.fitted()
    shared, total = np.zeros(len(i)), fit.sigma**2 * noise_of(design).variances
    sd = np.sqrt(total)
    for term, b, Gamma in zip(design.terms, fit.b, fit.random_cov):
        u = u + term.times(b)
        own = np.einsum("nk,kl,nl->n", term.X, Gamma, term.X)
        known = term.related
        if known is None:
            met, share = np.flatnonzero(term.codes[i] == term.codes[j]), np.ones(1)
        else:  # relatives share, too
            levels = np.unique(term.codes)
            own = own * known.entries(levels, levels)[np.searchsorted(levels, term.codes)]
            met, share = np.arange(len(i)), known.entries(term.codes[i], term.codes[j])
        total = total + own
        left, right = term.X[i[met]], term.X[j[met]]
        shared[met] += share * np.einsum("mk,kl,ml->m", left, Gamma, right)
    residual = sd[i] * sd[j]
    return (u[i] * u[j] - shared) / residual, residual**2 / (total[i] * total[j])


def mean_by_distance(
    distance: Array, values: Array, weights: Array, fewest: int
) -> tuple[Array, Array]:
    """Return distances and the weighted mean value at each; many distances are put together.

    Bins have about as many pairs each; those with fewer than `fewest` pairs are left out.
    """
    distinct, which = np.unique(distance, return_inverse=True)
    whole = bool(np.all(distinct == np.rint(distinct)))
    if not whole and len(distinct) > _BINS:
        edges = np.unique(np.quantile(distance, np.linspace(0.0, 1.0, _BINS + 1)))
        which = np.clip(np.searchsorted(edges, distance, side="right") - 1, 0, len(edges) - 2)
    which = np.asarray(which, dtype=np.intp).ravel()
    count = np.bincount(which)
    kept = count >= fewest
    at = np.bincount(which, distance)[kept] / count[kept]
    return at, np.bincount(which, weights * values)[kept] / np.bincount(which, weights)[kept]
