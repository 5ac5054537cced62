"""Estimates of many responses of a generalized model at once: starts, search, second derivatives.

Each search starts from moments. It takes Newton steps with second derivatives that are exact at the
start and then learn from the gradients (symmetric rank one); where they promise no more, exact ones
have the last word.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mixedlm_ext.criteria.laplace import MOST_OMEGA
from mixedlm_ext.criteria.many_laplace import ManyLaplace, ManyLaplaceEvaluations
from mixedlm_ext.many.newton import minimize_many, newton_steps

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

__all__ = ["ManyMinima", "minima_of"]

_GLM_STEPS = 4
"""Steps to the fit without random effects: a start."""
_GLM_HALVINGS = 6
_LEAST_SD, _MOST_SD = 0.15, 1.0
"""Standard deviations of the random effects to start from, on the scale of a link."""
_RADIUS = 1.0
"""How far the first steps may go."""
_ZERO = 1e-4
"""Standard deviations of random effects that may stand for zero."""
_NEAR = 1e-3
"""Diagonal entries of a template, relative to its largest, that are left to a search of its own."""
_POISSON = 1e-3
"""Root of alpha below which the size has no part in standard errors."""
_FLAT, _UNKNOWN = 1e-7, 1e-11
"""Eigenvalues of the information that count as none, as for a single fit."""
_BLURRED = 1e-6
"""Rounding error of a criterion above which its second derivatives ask for steps of their own."""
_ROUNDS = 4
"""Times that exact second derivatives may send a search on."""
_SURE = 1e-3
"""Share of the tolerance that learned second derivatives promise before they are checked."""


@dataclass(frozen=True, eq=False)
class ManyMinima:
    """Where the searches of r responses ended, in the user's units.

    Attributes
    ----------
    at : ManyLaplaceEvaluations
    theta : ndarray (m, r)
    beta, se : ndarray (p, r)
    omega : ndarray (0 or 1, r)
    fixed : ndarray (n, r)
        The fixed part of η without the offset.
    sd : ndarray (r,)
        The largest standard deviation of a random effect, on the scale of η.
    converged : ndarray of bool (r,)
        Whether the search ended at a minimum by which standard errors are known.
    """

    at: ManyLaplaceEvaluations
    theta: Array
    beta: Array
    se: Array
    omega: Array
    fixed: Array
    sd: Array
    converged: Mask


def minima_of(criteria: ManyLaplace, tol: float = 1e-8) -> ManyMinima:
    """Minimize the criteria of all responses, as far as that goes by the same steps for all.

    Parameters
    ----------
    criteria : ManyLaplace
    tol : float
        A search ends with the first Newton step that promises to lower its criterion by less.
    """
    best, converged = _searched(criteria, tol)
    at = _at_zero(criteria, _last_step(criteria, best))
    problem = criteria.problem
    theta, zeta, omega = criteria.split(at.theta)
    se = _standard_errors(criteria, at)
    T = np.zeros((criteria.rows.k, criteria.rows.k, criteria.n_responses))
    T[problem.covariance.rows, problem.covariance.columns] = theta
    known = np.isfinite(se).all(axis=0) & _off_the_boundary(criteria, theta)
    known &= criteria.rounding(at) <= _BLURRED
    return ManyMinima(
        at=at,
        theta=problem.covariance.unstandardize(_canonical(criteria, theta)),
        beta=problem.to_beta @ zeta,
        se=se,
        omega=omega,
        fixed=problem.Q @ zeta,
        sd=np.linalg.norm(T, axis=1).max(axis=0),
        converged=converged & known,
    )


def _searched(criteria: ManyLaplace, tol: float) -> tuple[ManyLaplaceEvaluations, Mask]:
    """Return the ends of the searches, with exact second derivatives, and which are minima."""
    best = criteria.with_hessian(criteria.at(start_points(criteria)))
    apart = _fixed(criteria)
    converged = np.zeros(criteria.n_responses, dtype=bool)
    active = np.flatnonzero(np.isfinite(best.value))
    for _ in range(_ROUNDS):
        if not len(active):
            break
        own = criteria.take(active)
        radius = np.full(len(active), _RADIUS)
        found, _ = minimize_many(own, best.take(active), _SURE * tol, radius, apart)
        found = own.with_hessian(found)
        best.put(active, found)
        done = newton_steps(found, apart).decrease <= tol + found.noise
        converged[active[done]] = True
        active = active[~done]
    return best, converged


def _fixed(criteria: ManyLaplace) -> Mask:
    """Say which parameters of a point are fixed effects."""
    m, p = criteria.problem.covariance.n_theta, criteria.problem.p
    place = np.arange(criteria.size)
    return (place >= m) & (place < m + p)


def _last_step(criteria: ManyLaplace, best: ManyLaplaceEvaluations) -> ManyLaplaceEvaluations:
    """Take one more step by the exact second derivatives, where it is no loss."""
    steps = newton_steps(best, _fixed(criteria))
    step = np.where(np.isfinite(steps.decrease), steps.vector, 0.0)
    moved = replace(criteria.after(best, step), hessian=best.hessian)
    return _better(best, moved)


def _at_zero(criteria: ManyLaplace, best: ManyLaplaceEvaluations) -> ManyLaplaceEvaluations:
    """Put a standard deviation next to zero exactly there, where that is no loss."""
    if criteria.problem.covariance.n_theta > 1:
        return best
    near = np.flatnonzero(np.abs(best.theta[0]) <= _ZERO)
    if not len(near):
        return best
    part = best.take(near)
    points = part.theta.copy()
    points[0] = 0.0
    moved = replace(criteria.take(near).at(points, 0.0 * part.u), hessian=part.hessian)
    best.put(near, _better(part, moved))
    return best


def _better(best: ManyLaplaceEvaluations, moved: ManyLaplaceEvaluations) -> ManyLaplaceEvaluations:
    """Return the second evaluations where they are no worse, the first elsewhere."""
    where = np.flatnonzero(moved.value <= best.value + best.noise)
    best.put(where, moved.take(where))
    return best


def _canonical(criteria: ManyLaplace, theta: Array) -> Array:
    """Flip signs of columns of templates so that diagonals are positive."""
    covariance = criteria.problem.covariance
    diagonal = covariance.rows == covariance.columns
    sign = np.ones((criteria.rows.k, theta.shape[1]))
    sign[covariance.columns[diagonal]] = np.where(theta[diagonal] < 0, -1.0, 1.0)
    return np.asarray(theta * sign[covariance.columns] + 0.0)


def _off_the_boundary(criteria: ManyLaplace, theta: Array) -> Mask:
    """Say where a covariance of several columns is not next to a singular one."""
    covariance = criteria.problem.covariance
    if covariance.n_theta <= 1:
        return np.ones(theta.shape[1], dtype=bool)
    diagonal = np.abs(theta[covariance.rows == covariance.columns])
    return np.asarray(diagonal.min(axis=0) > _NEAR * np.abs(theta).max(axis=0))


def _standard_errors(criteria: ManyLaplace, e: ManyLaplaceEvaluations) -> Array:
    """Return those of β from the second derivatives in all parameters, (p, r); nan if not known.

    Directions in which the criterion is flat in θ, and the size of what is next to a Poisson
    distribution, are held.
    """
    problem = criteria.problem
    m, p = problem.covariance.n_theta, problem.p
    H = 0.5 * e.hessian.transpose(2, 0, 1)
    good = np.asarray(np.isfinite(H).all(axis=(1, 2)))
    H = np.where(good[:, None, None], H, np.eye(H.shape[1]))
    if criteria.likelihood.extra == "size":
        poisson = np.abs(e.theta[-1]) < _POISSON
        H[poisson, -1, :] = H[poisson, :, -1] = 0.0
        H[poisson, -1, -1] = 1.0
    values, vectors = np.linalg.eigh(H[:, :m, :m])
    flat = values <= _FLAT * np.maximum(np.abs(values).max(axis=1, initial=0.0), 1e-300)[:, None]
    R = np.einsum("rab,rac->rbc", vectors, H[:, :m, m:])
    share = np.where(flat, 0.0, 1.0 / np.where(flat, 1.0, values))
    S = H[:, m:, m:] - np.einsum("rbc,rb,rbd->rcd", R, share, R)
    scale = 1.0 / np.sqrt(np.maximum(np.einsum("rcc->rc", S), 1e-300))
    own, axes = np.linalg.eigh(S * scale[:, :, None] * scale[:, None])
    good &= own.min(axis=1, initial=1.0) > _UNKNOWN
    half = np.einsum("ij,rj,rjk->rik", problem.to_beta, scale[:, :p], axes[:, :p])
    with np.errstate(all="ignore"):
        variance = np.einsum("rik,rk->ir", half**2, 1.0 / own)
    return np.where(good, np.sqrt(np.where(good, variance, 1.0)), np.nan)


def start_points(criteria: ManyLaplace) -> Array:
    """Return points by moments, (d, r): of the fit without random effects and its residuals."""
    with np.errstate(all="ignore"):
        zeta, omega = _without_random_effects(criteria)
        theta = _theta_by_moments(criteria, zeta, omega)
    extra = omega
    if criteria.likelihood.extra == "size":
        extra = np.exp(-0.5 * np.minimum(omega, MOST_OMEGA))
    return np.concatenate([theta, zeta, extra])


def _without_random_effects(criteria: ManyLaplace) -> tuple[Array, Array]:
    """Return ζ (p, r) and ω of fits without random effects."""
    problem, likelihood = criteria.problem, criteria.likelihood
    Q, offset = problem.Q, problem.offset[:, None]
    eta = likelihood.start_eta()
    omega = likelihood.start_omega(eta)
    zeta = Q.T @ (eta - offset) / max(len(Q), 1)
    for _ in range(_GLM_STEPS if problem.p else 0):
        at = likelihood.given(omega)(Q @ zeta + offset)
        step = _solved(_information(Q, np.maximum(at.expected, 0.0)), Q.T @ at.score)
        length = np.where(np.isfinite(step).all(axis=0), 1.0, 0.0)
        for _ in range(_GLM_HALVINGS):
            moved = zeta + np.where(length > 0.0, length * step, 0.0)
            worse = ~(likelihood.given(omega)(Q @ moved + offset).total >= at.total)
            if not worse.any():
                break
            length = np.where(worse, 0.25 * length, length)
        zeta = np.where(worse, zeta, moved)
        omega = likelihood.start_omega(Q @ zeta + offset)
    return zeta, omega.reshape(problem.n_extra, criteria.n_responses)


def _information(Q: Array, w: Array) -> Array:
    """Return Q'WQ for many weights, (p, p, r)."""
    p = Q.shape[1]
    pairs = (Q[:, :, None] * Q[:, None, :]).reshape(len(Q), p * p)
    return np.asarray(pairs.T @ w).reshape(p, p, -1)


def _solved(S: Array, b: Array) -> Array:
    """Return S⁻¹b for stacks (p, p, r) and (p, r); nan where there is no number."""
    p = len(S)
    S = S.transpose(2, 0, 1).copy()
    S[:, np.arange(p), np.arange(p)] += 1e-10 * np.trace(S, axis1=1, axis2=2)[:, None] + 1e-300
    bad = np.asarray(~np.isfinite(S).all(axis=(1, 2)))
    S[bad] = np.eye(p)
    out = np.asarray(np.linalg.solve(S, b.T[:, :, None])[:, :, 0].T, dtype=float)
    out[:, bad] = np.nan
    return out


def _theta_by_moments(criteria: ManyLaplace, zeta: Array, omega: Array) -> Array:
    """Return θ (m, r) with variances (Σ_l v² - Σ_l D)/Σ_l D², v = Z's and D = Z'WZ at b = 0."""
    problem, rows = criteria.problem, criteria.rows
    at = criteria.likelihood.given(omega)(problem.Q @ zeta + problem.offset[:, None])
    v, w = rows.project(at.score), at.expected
    D = rows.products(w)[np.arange(rows.k), np.arange(rows.k)]
    variance = ((v**2 - D).sum(axis=1)) / np.maximum((D**2).sum(axis=1), 1e-300)
    sd = np.sqrt(np.clip(np.nan_to_num(variance), _LEAST_SD**2, _MOST_SD**2))
    covariance = problem.covariance
    diagonal = covariance.rows == covariance.columns
    theta = np.zeros((covariance.n_theta, v.shape[2]))
    theta[diagonal] = sd[covariance.rows[diagonal]]
    return theta
