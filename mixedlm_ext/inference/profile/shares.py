"""Shares of the variance of an observation, as functions of the parameters, and their intervals.

See derived.py, which offers them to users.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import expit, logit
from scipy.stats import norm

from mixedlm_ext.caching import cached_property
from mixedlm_ext.criteria.level_blocks import level_variances
from mixedlm_ext.design import TermDesign
from mixedlm_ext.design.removed import require_rows
from mixedlm_ext.errors import FitError, check_choice
from mixedlm_ext.estimation.fit import Fit
from mixedlm_ext.inference.fixed.satterthwaite import Satterthwaite
from mixedlm_ext.inference.profile.coordinates import Coordinates, ShareHeld
from mixedlm_ext.inference.profile.path import trace
from mixedlm_ext.inference.profile.points import Maximum, maximum, quantity_held
from mixedlm_ext.inference.profile.profile import check_level, cutoff
from mixedlm_ext.inference.profile.profiling import better_maximum, profile_note, warn_of_better
from mixedlm_ext.structures.derivatives import curvature, gamma_derivatives
from mixedlm_ext.tables import Table

Array = NDArray[np.float64]
Choice = Callable[[TermDesign], bool]

__all__ = [
    "Parts",
    "by_profile",
    "check_arguments",
    "check_constant",
    "check_linear",
    "explained",
    "interval_table",
    "shares_of",
    "total",
]

METHODS = ("delta", "profile")

_AT_BOUNDARY = 23.0
"""A logit beyond this (a share below 1e-10) stands for zero or one."""


def shares_of(parts: Parts, chosen: dict[str, Choice], alpha: float, method: str) -> pd.DataFrame:
    """Return the shares of some terms in the variance of an observation, with intervals.

    Parameters
    ----------
    parts : Parts
    chosen : dict of str to callable
        For each row of the table, which terms count.
    alpha, method
        See `mixedlm_ext.inference.profile.derived.icc`.
    """
    fit = parts.fit
    if method == "delta":
        rows = [share(parts, parts.N_of(own)).interval(parts, alpha) for own in chosen.values()]
        return interval_table(rows, list(chosen))
    check_linear(fit)
    check_constant(parts)
    top = maximum(fit)
    parts = parts.of(top)
    theta = top.theta[: len(parts.theta)]  # parameters of residuals are behind them
    quantities: list[tuple[float, Coordinates]] = []
    for choice in chosen.values():
        A = parts.A_of(choice)
        own, every = (parts.average(theta, N) for N in (parts.N_of(choice), parts.N))
        held = ShareHeld(parts.A, np.any(A != 0.0, axis=1), parts.c)
        quantities.append((own / (parts.c + every), held))
    return by_profile(fit, top, "share", list(chosen), quantities, alpha)


class Parts:
    """What the quantities are made of: functions of ψ = (θ, z, log σ, β), θ standardized.

    z are the parameters of residuals, if these have a structure.

    Parameters
    ----------
    fit : Fit
    residual : (float, ndarray (K,))
        The residual variance of an observation over σ², and its derivatives in z.
    base : bool
        Whether levels of a known covariance K count with the variance of the term, as founders do,
        not with K_ll times it.
    """

    def __init__(self, fit: Fit, residual: tuple[float, Array], base: bool = False) -> None:
        require_rows(fit.design)
        self.fit, self.base = fit, base
        self.theta = fit.problem.covariance.standardize(fit.theta)
        self.c, self.c_slope = residual

    def of(self, top: Maximum) -> Parts:
        """Return the same for the columns in which a maximum was found."""
        if top.model is None:
            return self
        fit = replace(self.fit, problem=top.problem)
        return Parts(fit, (self.c, self.c_slope), self.base)

    @cached_property
    def N(self) -> list[Array]:
        """N of all terms."""
        return self.N_of(_every)

    @cached_property
    def A(self) -> Array:
        """A of all terms, (m, m)."""
        return self.A_of(_every)

    def A_of(self, chosen: Choice) -> Array:
        """Return A of some terms, whose structures are linear."""
        covariance = self.fit.problem.covariance
        C = curvature(covariance, self.theta, self.N_of(chosen))
        return 0.5 * covariance.tie(covariance.tie(C), axis=1)

    def N_of(self, chosen: Choice) -> list[Array]:
        """Return N_i of each block for some terms: the mean of z'Γz is Σ_i tr(N_iΓ_i)."""
        covariance = self.fit.problem.covariance
        N = [np.zeros((k, k)) for k in covariance.block_sizes]
        for term, place in zip(self.fit.design.terms, self.fit.problem.cp.layout.places):
            if chosen(term):
                X = place.columns(term.X)
                if term.related is not None and not (self.base and not term.has_members):
                    # the variance of a level is K_ll times that of the term
                    own = term.related.diagonal
                    if own is None and term.related.weights is not None:
                        own = term.related.variances_of_rows(term.related.weights)
                    elif own is None:
                        own = level_variances(self.fit.problem, place.block)
                    X = X * np.sqrt(own[term.codes])[:, None]
                N[place.block][place.own, place.own] = X.T @ X / len(X)
        return N

    def average(self, theta: Array, N: Sequence[Array]) -> float:
        """Σ_i tr(N_iΓ_i)."""
        T = self.fit.problem.covariance.templates(theta)
        return float(sum((n * (t @ t.T)).sum() for n, t in zip(N, T)))

    def slope(self, theta: Array, N: Sequence[Array]) -> Array:
        """Return the gradient of that in θ."""
        directions = gamma_derivatives(self.fit.problem.covariance, theta)
        return np.array([(N[i] * D).sum() for i, D in directions])

    @cached_property
    def fixed(self) -> tuple[float, Array]:
        """The variance of Xβ over the rows, and its gradient in β."""
        X, beta = self.fit.design.X, self.fit.beta
        centred = X - X.mean(axis=0)
        S = centred.T @ centred / (len(X) - 1)
        return float(beta @ S @ beta), 2.0 * S @ beta

    @cached_property
    def cov(self) -> Array:
        """Covariance matrix of the estimates of ψ; without log σ if σ is fixed."""
        A = Satterthwaite(self.fit).A
        m, p = len(A), len(self.fit.beta)
        out = np.zeros((m + p, m + p))
        out[:m, :m] = A
        out[m:, m:] = self.fit.sigma**2 * self.fit.unscaled_cov
        return out

    def gradient(
        self, theta: Array, z: Array, log_sigma: float, beta: Array | None = None
    ) -> Array:
        """Put the parts of a gradient in ψ together."""
        sigma = [] if self.fit.fixed_sigma is not None else [log_sigma]
        return np.concatenate(
            [theta, z, sigma, np.zeros(len(self.fit.beta)) if beta is None else beta]
        )


@dataclass(frozen=True, eq=False)
class Quantity:
    """A transformed quantity: its value, its gradient in ψ, and whether it is a log or a logit."""

    value: float
    gradient: Array
    share: bool

    def interval(self, parts: Parts, alpha: float) -> list[float]:
        """Return estimate, standard error and limits; nan where the estimate is at a boundary."""
        estimate = float(expit(self.value)) if self.share else float(np.exp(self.value))
        if self.share and abs(self.value) > _AT_BOUNDARY:
            return [round(estimate), np.nan, np.nan, np.nan]
        se = float(np.sqrt(self.gradient @ parts.cov @ self.gradient))
        ends = self.value + norm.ppf([0.5 * alpha, 1.0 - 0.5 * alpha]) * se
        limits = np.asarray(expit(ends) if self.share else np.exp(ends))
        rate = estimate * (1.0 - estimate) if self.share else estimate
        return [estimate, rate * se, *limits.tolist()]


def share(parts: Parts, N: list[Array]) -> Quantity:
    """logit of a factor's part of the variance of an observation."""
    theta = parts.theta
    others = [every - one for every, one in zip(parts.N, N)]
    own, rest = parts.average(theta, N), parts.c + parts.average(theta, others)
    with np.errstate(divide="ignore", invalid="ignore"):
        slope = parts.slope(theta, N) / own - parts.slope(theta, others) / rest
    value = float(logit(own / (own + rest)))
    return Quantity(value, parts.gradient(slope, -parts.c_slope / rest, 0.0), share=True)


def total(parts: Parts) -> Quantity:
    """log of the variance of an observation."""
    relative = parts.c + parts.average(parts.theta, parts.N)
    value = float(np.log(parts.fit.sigma**2 * relative))
    slope = parts.slope(parts.theta, parts.N) / relative
    return Quantity(value, parts.gradient(slope, parts.c_slope / relative, 2.0), share=False)


def explained(parts: Parts, random: bool) -> Quantity:
    """logit of (f + a)/(f + a + u): f of the fixed effects, a explained besides, u unexplained."""
    fixed, fixed_slope = parts.fixed
    scale = parts.fit.sigma**2
    q, q_slope = parts.average(parts.theta, parts.N), parts.slope(parts.theta, parts.N)
    explained = fixed + (scale * q if random else 0.0)
    unexplained = scale * (parts.c if random else parts.c + q)
    with np.errstate(divide="ignore", invalid="ignore"):
        theta = scale * q_slope / explained if random else -q_slope / (parts.c + q)
        log_sigma = 2.0 * scale * q / explained - 2.0 if random else -2.0
        z = -scale * parts.c_slope / unexplained
        gradient = parts.gradient(theta, z, log_sigma, fixed_slope / explained)
    value = float(logit(explained / (explained + unexplained)))
    return Quantity(value, gradient, share=True)


def by_profile(
    fit: Fit,
    top: Maximum,
    kind: str,
    names: list[str],
    quantities: Sequence[tuple[float, Coordinates]],
    alpha: float,
) -> pd.DataFrame:
    """Return maximum likelihood estimates, no standard errors, and the profiles' limits."""
    z = cutoff(alpha)
    rows, better = [], better_maximum(fit, top)
    for name, (estimate, coordinates) in zip(names, quantities):
        held = quantity_held(coordinates, top)
        path, best = trace(held, kind, estimate, top, lambda _: np.zeros(0), z, first_step=0.1)
        rows.append([estimate, np.nan, path.value_at(-z), path.value_at(z)])
        if best is not None:
            better["the profile of " + ("the ICC of " + name if kind == "share" else name)] = best
    warn_of_better(better, fit, top)
    return interval_table(rows, names, profile_note(fit))


def interval_table(rows: list[list[float]], index: list[str], note: str = "") -> pd.DataFrame:
    """Return the table, with a note in its attrs."""
    out = Table(rows, index=index, columns=["estimate", "se", "ci_lower", "ci_upper"])
    if note:
        out.attrs["note"] = note
    return out


def check_linear(fit: Fit) -> None:
    """Refuse a profile for structures of which the variance of an observation is no square form."""
    if fit.restrictions is not None:
        raise FitError(
            "this has no profile beside fixed and equal parameters. Use method='delta', which "
            "holds them."
        )
    if fit.problem.covariance.shaped:
        name = fit.problem.covariance.shaped[0].term.structure.name
        raise FitError(
            f"this has no profile in a model with a term of structure {name!r}. Use method='delta'."
        )


def check_constant(parts: Parts) -> None:
    """Refuse a profile where the residual variance over σ² is a parameter."""
    if parts.c_slope.any():
        raise FitError(
            "this has no profile where the residual variance is not that of the first stratum. "
            "Use method='delta'."
        )


def check_arguments(alpha: float, method: str) -> None:
    """Refuse arguments that make no sense."""
    check_level("alpha", alpha)
    check_choice("method", method, METHODS, FitError)


def _every(term: TermDesign) -> bool:
    """Choose every term."""
    return True
