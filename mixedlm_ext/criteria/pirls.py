"""Penalized iteratively reweighted least squares: the modes of the random effects.

At fixed θ, and β either fixed or sought with them, the modes maximize Σℓ(η) - ½|u|². A step solves
the penalized least-squares problem of the working weights W and scores s at the current η,

    (Λ'Z'WZΛ + I) u⁺ = Λ'(Z's + Z'WZ b),      b = Λu,      N = ΛM⁻¹Λ'
    (Q'WQ - Q'WZNZ'WQ) δζ = Q's - Q'WZ(b̃ - b),   b̃ = N(Z's + Z'WZ b),   b⁺ = b̃ - NZ'WQ δζ

and is halved until the penalized log-likelihood rises. W is the observed information, so that the
steps are Newton's; where M is not positive definite with it, rows of negative weight have the
expected one. Where u has a known precision Q, that stands in the place of I, and u'Qu in that of
|u|².
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve

from mixedlm_ext.caching import cached_property
from mixedlm_ext.criteria.generalized import AnyFactor, GeneralizedProblem
from mixedlm_ext.errors import FitError
from mixedlm_ext.families.conditional import RowsAt

Array = NDArray[np.float64]

__all__ = ["Modes", "find_modes", "fixed_start", "solve_information"]

_DECREMENT = 1e-13
"""Twice the rise of the log-likelihood that a Newton step promises, below which it is the last."""
_SLOW_DECREMENT = 1e-22
"""The same where a step is not Newton's and leaves a share of what it promises."""
_BLUR = 10.0
"""Rounding errors by which what a step promises may be negative and M positive definite."""
_STEPS = 200
_HALVINGS = 40
_LEAST_WEIGHT = 1e-300
_WIDE_OFFSET = 30.0
"""Range of an offset that moves any mean from one end of its range to the other."""


@dataclass(frozen=True, eq=False)
class Modes:
    """The maximum of the penalized log-likelihood at one θ.

    Attributes
    ----------
    zeta : ndarray (p,)
    u, Qu, b : ndarray (q,)
        Spherical modes, times their precision, and b = Λu.
    eta : ndarray (n,)
    at : RowsAt
        The likelihood there.
    steps : int
    unit : float
        Of η.
    """

    zeta: Array
    u: Array
    Qu: Array
    b: Array
    eta: Array
    at: RowsAt
    steps: int
    unit: float = 1.0

    @cached_property
    def penalized(self) -> float:
        """-2Σℓ + u'Qu."""
        return float(-2.0 * self.at.loglike.sum() + self.u @ self.Qu)

    @cached_property
    def noise(self) -> float:
        """The order of its rounding error: scores, information times units of η, times η."""
        size = self.unit * (np.abs(self.at.expected) @ (self.unit + np.abs(self.eta)))
        return float(np.finfo(float).eps * (size + abs(self.penalized)))


def find_modes(
    problem: GeneralizedProblem,
    templates: Sequence[Array],
    zeta: Array,
    omega: Array,
    u: Array | None = None,
    joint: bool = False,
) -> Modes:
    """Find the modes of u, or of u and ζ together.

    Parameters
    ----------
    problem : GeneralizedProblem
    templates : sequence of ndarray
        Of θ.
    zeta : ndarray (p,)
        Where ζ is, or starts from.
    omega : ndarray (0,) or (1,)
    u : ndarray (q,), optional
        Where to start; zero by default.
    joint : bool
        Whether ζ is sought as well.

    Returns
    -------
    Modes

    Raises
    ------
    FitError
        If the likelihood has no value at the start, or the steps come to no end.
    """
    current = _start(problem, templates, zeta, omega, u)
    for step in range(1, _STEPS + 1):
        direction, decrement, newton = _direction(problem, templates, current, joint)
        least = _DECREMENT if newton else _SLOW_DECREMENT
        small = decrement <= max(least, _rounding(problem, current))
        moved = _moved(problem, omega, current, direction, step, small)
        if moved is None:  # no length of the step helps: what it promises is below rounding
            if decrement <= 1e-9 * (1.0 + abs(current.penalized)) + current.noise:
                return current
            break
        current = moved
        if small:
            return current
    raise FitError(
        "the conditional modes of the random effects were not found: the means are at an end of "
        f"their range, which the link lets them reach.{_of_offset(problem)} Use a link that keeps "
        "them inside, such as Log or Logit, or other start_params."
    )


def _of_offset(problem: GeneralizedProblem) -> str:
    """Say whether the offset may be to blame."""
    low, high = float(problem.offset.min()), float(problem.offset.max())
    if high - low < _WIDE_OFFSET * problem.unit:
        return ""
    return f" The offset runs from {low:g} to {high:g}: is it on the scale of the link?"


def _start(
    problem: GeneralizedProblem,
    templates: Sequence[Array],
    zeta: Array,
    omega: Array,
    u: Array | None,
) -> Modes:
    """Return the first point at which the likelihood has a value: u, half of it ..., zero."""
    fixed = problem.Q @ zeta + problem.offset
    for share in (1.0, 0.5, 0.0) if u is not None else (0.0,):
        own = np.zeros(problem.linear.cp.q) if u is None else share * u
        b = problem.spread(templates, own)
        eta = fixed + problem.rows.times(b)
        at = problem.likelihood.at(eta, omega)
        found = Modes(zeta, own, problem.precision_times(own), b, eta, at, 0, problem.unit)
        if np.isfinite(found.penalized):
            return found
    raise FitError(
        "the likelihood has no value at the fixed effects that are tried: their means are outside "
        "the range of the family."
    )


def _direction(
    problem: GeneralizedProblem, templates: Sequence[Array], now: Modes, joint: bool
) -> tuple[tuple[Array, Array, Array, Array], float, bool]:
    """Return the step in u, Qu, b and ζ, what it promises, and whether it is Newton's."""
    at = now.at
    if not np.isfinite(at.score).all():
        raise FitError("the scores of the likelihood are not finite here.")
    usable = (at.observed > 0.0) & np.isfinite(at.observed)
    if np.isfinite(at.observed).all():
        with suppress(np.linalg.LinAlgError):
            step, decrement = _step(problem, templates, now, at.observed, joint)
            # others may outweigh rows of negative weight; nan, where they do not
            if usable.all() or decrement >= -_BLUR * _rounding(problem, now):
                return step, decrement, True
    w = np.where(usable, at.observed, np.maximum(at.expected, _LEAST_WEIGHT))
    return *_step(problem, templates, now, w, joint), False


def _step(
    problem: GeneralizedProblem, templates: Sequence[Array], now: Modes, w: Array, joint: bool
) -> tuple[tuple[Array, Array, Array, Array], float]:
    """Return the step in u, Qu, b and ζ by given weights, and what it promises."""
    score = now.at.score
    factor = problem.factor(w, templates)
    Zs = problem.rows.sums(score)
    r = Zs + problem.rows.sums(w * problem.rows.times(now.b))
    new = factor.apply(r[:, None])[:, 0]
    dzeta = np.zeros(problem.p)
    if joint and problem.p:
        dzeta, new = _with_fixed(problem, factor, w, score, new, now.b)
    db = new - now.b
    deta = problem.rows.times(db) + problem.Q @ dzeta
    # M u⁺ = Λ'r(δζ) and Λ'Z'WZΛ u⁺ = Λ'Z'WZ b⁺
    dQu = problem.scaled_by(templates, Zs - problem.rows.sums(w * deta)) - now.Qu
    du = problem.covariance_times(dQu)
    decrement = float(score @ deta - now.Qu @ du)
    return (du, dQu, db, dzeta), decrement


def _rounding(problem: GeneralizedProblem, now: Modes) -> float:
    """Return the rounding error of what a step promises."""
    moving = np.abs(now.eta - problem.offset)
    return float(np.finfo(float).eps * (np.abs(now.at.score) @ moving + now.u @ now.Qu))


def _with_fixed(
    problem: GeneralizedProblem, factor: AnyFactor, w: Array, s: Array, new: Array, b: Array
) -> tuple[Array, Array]:
    """Return δζ, and b⁺ with it."""
    WQ = problem.Q * w[:, None]
    ZWQ = problem.rows.sums(WQ)
    NZWQ = factor.apply(ZWQ)
    S = problem.Q.T @ WQ - ZWQ.T @ NZWQ
    rhs = problem.Q.T @ s - ZWQ.T @ (new - b)
    dzeta = solve_information(S, rhs)
    return dzeta, new - NZWQ @ dzeta


def solve_information(S: Array, rhs: Array) -> Array:
    """Return S⁻¹ rhs for an information matrix; where there is none, nothing moves."""
    if not len(S):
        return np.zeros(0)
    if not (np.isfinite(S).all() and np.isfinite(rhs).all()):
        raise FitError("the information about the fixed effects is not finite here.")
    scale = 1.0 / np.sqrt(np.maximum(np.diag(S), _LEAST_WEIGHT))
    scaled = S * np.outer(scale, scale)
    try:
        return np.asarray(scale * cho_solve(cho_factor(scaled), scale * rhs))
    except np.linalg.LinAlgError:
        return np.asarray(scale * np.linalg.lstsq(scaled, scale * rhs, rcond=1e-10)[0])


def _moved(
    problem: GeneralizedProblem,
    omega: Array,
    now: Modes,
    direction: tuple[Array, Array, Array, Array],
    step: int,
    last: bool,
) -> Modes | None:
    """Return the modes after the longest step, halved as often as need be, that is no loss."""
    du, dQu, db, dzeta = direction
    before = now.penalized
    slack = (100.0 if last else 10.0) * now.noise
    length = 1.0
    for _ in range(_HALVINGS):
        b, zeta = now.b + length * db, now.zeta + length * dzeta
        eta = problem.Q @ zeta + problem.offset + problem.rows.times(b)
        at = problem.likelihood.at(eta, omega)
        u, Qu = now.u + length * du, now.Qu + length * dQu
        moved = Modes(zeta, u, Qu, b, eta, at, step, problem.unit)
        if moved.penalized <= before + slack:  # nan compares false
            return moved
        length *= 0.5
    return None


def fixed_start(problem: GeneralizedProblem) -> tuple[Array, Array, Array]:
    """Fit the model without random effects, as far as that goes.

    Returns
    -------
    zeta : ndarray (p,)
    omega : ndarray (0,) or (1,)
    w : ndarray (n,)
        Expected information there.
    """
    likelihood, Q = problem.likelihood, problem.Q
    eta = likelihood.start_eta()
    omega = likelihood.start_omega(eta)
    zeta = _fitted_to(problem, eta - problem.offset)
    at = likelihood.at(Q @ zeta + problem.offset, omega)
    if not np.isfinite(at.loglike.sum()):
        zeta, at = _inside(problem, omega)
    for _ in range(_START_STEPS):
        w = np.maximum(at.expected, _LEAST_WEIGHT)
        step = (
            solve_information(Q.T @ (Q * w[:, None]), Q.T @ at.score) if problem.p else np.zeros(0)
        )
        value, length, moved = float(at.loglike.sum()), 1.0, None
        while length > 1e-6:
            moved = likelihood.at(Q @ (zeta + length * step) + problem.offset, omega)
            if moved.loglike.sum() >= value:
                break
            length *= 0.5
        else:
            break
        gained = float(moved.loglike.sum()) - value
        zeta, at = zeta + length * step, moved
        if gained < 1e-6 * (1.0 + abs(value)):
            break
    eta = Q @ zeta + problem.offset
    omega = likelihood.start_omega(eta)
    return zeta, omega, likelihood.at(eta, omega).expected


_START_STEPS = 15
"""Steps of the fit without random effects: where classes are separated it has no end."""


def _fitted_to(problem: GeneralizedProblem, eta: Array) -> Array:
    """Return ζ of Qζ nearest to η; the columns are orthogonal, of mean square one."""
    return np.asarray(problem.Q.T @ eta / (max(problem.n, 1) * problem.unit**2))


def _inside(problem: GeneralizedProblem, omega: Array) -> tuple[Array, RowsAt]:
    """Return a constant mean inside the range of the family."""
    likelihood = problem.likelihood
    eta = np.full(problem.n, float(np.median(likelihood.start_eta())))
    zeta = _fitted_to(problem, eta - problem.offset)
    at = likelihood.at(problem.Q @ zeta + problem.offset, omega)
    if not np.isfinite(at.loglike.sum()):
        raise FitError(
            "no fixed effects were found to start from: with this link the means leave the range "
            "of the family. Pass start_params=, or use a link that keeps them inside, such as Log."
        )
    return zeta, at
