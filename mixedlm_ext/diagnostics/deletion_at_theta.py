"""Estimates without a set of rows, theta as it is: closed forms, no row is fitted again.

In the basis in which X'V⁻¹X = I and for r = y - Xβ, a set I of rows takes from [X r]'V⁻¹[X r]

    A_I = K'(V⁻¹_II)⁻¹K,   K = (V⁻¹[X r])_I = [D_I e_I],   V⁻¹_II = I - C_IC_I'

(inverse of a partitioned matrix), and log|V| changes by log|V⁻¹_II|. If I shares no random effect
with other rows, A_I = [X r]_I'K is a sum over its rows.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from mixedlm_ext.design.partition import is_finer, rows_of_groups
from mixedlm_ext.diagnostics.deletion_estimates import Deleted, displacement
from mixedlm_ext.diagnostics.deletion_refits import refit_without
from mixedlm_ext.estimation.fit import Fit
from mixedlm_ext.geometry.leverage import RowGeometry
from mixedlm_ext.geometry.marginal import LARGEST_BLOCK, cholesky_blocks
from mixedlm_ext.linalg import small
from mixedlm_ext.many.removal import LEFT, NO_ROWS, NOT_ESTIMABLE
from mixedlm_ext.products.noise import noise_of

Array = NDArray[np.float64]
Index = NDArray[np.intp]

__all__ = ["delete_at_theta"]

_MOST_ROWS = 1000
"""Rows of a set above which A - A_I is factored rather than V⁻¹_II."""


@dataclass
class _Taken:
    """What each set takes away."""

    A: Array  # (G, p + 1, p + 1)
    logdet_V: Array  # (G,), log|V⁻¹_II|
    elsewhere: list[int] = field(default_factory=list)  # sets too large for these formulas


def delete_at_theta(fit: Fit, codes: Index) -> Deleted:
    """Return the estimates without each set of rows, for theta as estimated.

    Parameters
    ----------
    fit : Fit
    codes : ndarray (n,)
        The set of each row, 0 to G - 1.

    Returns
    -------
    Deleted
    """
    counts = np.bincount(codes)
    if noise_of(fit.design).mixes:
        return refit_without(fit, codes, range(len(counts)), fixed_theta=True)
    geometry = RowGeometry(fit)
    if _independent(fit, codes) and (fit.problem.cp.by_levels or counts.max() <= LARGEST_BLOCK):
        taken = _independent_sets(fit, geometry, codes)
    elif len(counts) == len(codes):
        taken = _single_rows(geometry, codes)
    else:
        taken = _any_sets(geometry, codes, counts)
    out = _estimates(fit, taken, codes)
    if taken.elsewhere:
        out.put(taken.elsewhere, refit_without(fit, codes, taken.elsewhere, fixed_theta=True))
    return out


def _independent(fit: Fit, codes: Index) -> bool:
    """Say whether no level of a random term has rows in two sets."""
    known = any(term.related is not None for term in fit.design.terms)
    return not known and all(is_finer(term.codes, codes) for term in fit.design.terms)


def _independent_sets(fit: Fit, rows: RowGeometry, codes: Index) -> _Taken:
    """Sum [X r]'V⁻¹[X r] over the rows of each set."""
    left, right = np.column_stack([rows.Q, rows.r]), np.column_stack([rows.D, rows.e])
    G, width = int(codes.max()) + 1, left.shape[1]
    A = np.empty((G, width, width))
    for a in range(width):
        for b in range(a + 1):
            A[:, a, b] = A[:, b, a] = np.bincount(codes, left[:, a] * right[:, b], G)
    return _Taken(A, -_logdet_V(fit, codes, G))


def _logdet_V(fit: Fit, codes: Index, G: int) -> Array:
    """Return log|V_II| of independent sets, (G,)."""
    cp = fit.problem.cp
    out = np.zeros(G)
    if not cp.by_levels:
        for sets, _, L in cholesky_blocks(fit, codes, "closed forms"):
            out[sets] = 2.0 * np.log(np.einsum("gmm->gm", L)).sum(axis=1)
        return out
    term, k = fit.design.terms[0], cp.shapes[0][0]
    M = small.congruence(fit.engine.pls.factor.templates[0], cp.diagonal[0])
    M[np.arange(k), np.arange(k)] += 1.0
    L = small.cholesky(M)
    home = np.zeros(len(term.levels), dtype=np.intp)
    home[term.codes] = codes
    logdet_M = 2.0 * np.log(L[np.arange(k), np.arange(k)]).sum(axis=0)
    return np.bincount(home, logdet_M, G).astype(float)


def _single_rows(rows: RowGeometry, codes: Index) -> _Taken:
    """A_I of one row each."""
    left = np.maximum(1.0 - rows.random_part, 0.0)
    K = np.column_stack([rows.D, rows.e])
    with np.errstate(divide="ignore", invalid="ignore"):
        A = K[:, :, None] * K[:, None, :] / left[:, None, None]
        logdet = np.log(left)
    order = np.argsort(codes)
    return _Taken(A[order], logdet[order])


def _any_sets(rows: RowGeometry, codes: Index, counts: Index) -> _Taken:
    """A_I of sets that share random effects with other rows, one after the other."""
    K = np.column_stack([rows.D, rows.e])
    A, logdet = np.full((len(counts), K.shape[1], K.shape[1]), np.nan), np.full(len(counts), np.nan)
    elsewhere = []
    for g, own in enumerate(rows_of_groups(codes, len(counts))):
        L = _root(rows, own) if len(own) <= _MOST_ROWS else None
        if L is None:
            elsewhere.append(g)
            continue
        half = np.linalg.solve(L, K[own])
        A[g] = half.T @ half
        logdet[g] = 2.0 * np.log(np.diag(L)).sum()
    return _Taken(A, logdet, elsewhere)


def _root(rows: RowGeometry, own: Index) -> Array | None:
    """Return the Cholesky factor of V⁻¹_II; None if I - CC' lost its digits."""
    try:
        return np.asarray(np.linalg.cholesky(rows.inverse_V(own)), dtype=float)
    except np.linalg.LinAlgError:
        return None


def _estimates(fit: Fit, taken: _Taken, codes: Index) -> Deleted:
    """Solve for the fixed effects and the residual variance without each set."""
    p, pls = fit.problem.cp.p, fit.engine.pls
    counts = np.bincount(codes)
    out = Deleted.missing(len(counts), p, len(fit.theta))
    S = np.eye(p) - taken.A[:, :p, :p]  # X'V⁻¹X without the set
    df = fit.problem.cp.n - counts - (p if fit.reml else 0)
    good = _solvable(S, df, taken, out.failures)
    S, A = S[good], taken.A[good]
    delta = np.linalg.solve(S, -A[:, :p, p:])[:, :, 0]
    pwrss = pls.pwrss - A[:, p, p] - np.einsum("gp,gpq,gq->g", delta, S, delta)
    sigma = fit.held_sigma
    scale = pwrss / df[good] if sigma is None else np.full(len(S), sigma**2)
    inverse = _back(fit)
    cov = inverse @ np.linalg.inv(S) @ inverse.T
    out.theta[good] = fit.theta
    out.beta[good] = fit.beta + delta @ inverse.T
    out.bse[good] = np.sqrt(scale[:, None] * np.einsum("gpp->gp", cov))
    out.sigma[good] = np.sqrt(scale)
    out.objective[good] = df[good] * np.log(2.0 * np.pi * scale) + pwrss / scale
    out.objective[good] += _log_determinants(fit, taken, codes)[good]
    if fit.reml:
        out.objective[good] += np.linalg.slogdet(S)[1]
    lack = np.einsum("gp,gp->g", delta, delta)
    out.displacement[good] = displacement(fit, fit.engine, out.sigma[good], lack)
    out.converged[good] = True
    return out


def _solvable(S: Array, df: Index, taken: _Taken, failures: dict[int, str]) -> NDArray[np.bool_]:
    """Say which sets can be left out, and write down why others cannot."""
    known = np.isfinite(taken.A).all(axis=(1, 2))
    enough = df >= 1
    estimable = np.zeros(len(S), dtype=bool)
    estimable[known] = (np.linalg.eigvalsh(S[known]) > LEFT).all(axis=1)
    elsewhere = set(taken.elsewhere)
    for g in np.flatnonzero(~(estimable & enough)):
        if int(g) not in elsewhere:
            failures[int(g)] = NOT_ESTIMABLE if enough[g] else NO_ROWS
    return np.asarray(estimable & enough)


def _back(fit: Fit) -> Array:
    """Return R⁻¹R_X⁻¹, from the basis to the user's coefficients."""
    return fit.problem.cp.layout.root(fit.engine.pls.RX)


def _log_determinants(fit: Fit, taken: _Taken, codes: Index) -> Array:
    """Return what is left of the criterion's determinants but log|S|, (G,)."""
    out = fit.logdet_L - fit.problem.cp.logdet_W + taken.logdet_V
    out = out + noise_of(fit.design).logdets(codes, len(out))
    return np.asarray(out + (fit.logdet_RX if fit.reml else 0.0))
