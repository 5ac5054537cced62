"""Quantities derived from the variances: intraclass correlations, total variance, R².

With M_t = X_t'X_t/n over the rows of a random term's columns and Σ_t its covariance matrix, a term
contributes to the variance of an observation, on average over the data,

    mean_i z_i'Σ_tz_i = tr(Σ_tM_t) = σ² θ'A_tθ

(the mean random-effects variance of Johnson 2014, Methods in Ecology and Evolution 5, 944-946, his
equation 11). Intervals are by the delta method on a scale without bounds, log or logit, from the
covariance of the estimates of (θ, log σ) and, independent of them, β; or by profile likelihood.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import expit, logit
from scipy.stats import norm

from mixedlm_ext.caching import cached_property
from mixedlm_ext.criteria.level_blocks import level_variances
from mixedlm_ext.design.removed import require_rows
from mixedlm_ext.errors import FitError, check_choice
from mixedlm_ext.estimation.fit import Fit
from mixedlm_ext.inference.fixed.satterthwaite import Satterthwaite
from mixedlm_ext.inference.profile.coordinates import Coordinates, ShareHeld, TotalHeld
from mixedlm_ext.inference.profile.path import trace
from mixedlm_ext.inference.profile.points import Maximum, QuantityHeld, maximum
from mixedlm_ext.inference.profile.profile import check_level, cutoff
from mixedlm_ext.inference.profile.profiling import better_maximum, profile_note, warn_of_better
from mixedlm_ext.inference.profile.restricted import TermReordered
from mixedlm_ext.products.noise import noise_of
from mixedlm_ext.structures.derivatives import curvature, gamma_derivatives
from mixedlm_ext.tables import Table

Array = NDArray[np.float64]

__all__ = ["icc", "r2", "total_variance"]

METHODS = ("delta", "profile")

_AT_BOUNDARY = 23.0
"""A logit beyond this (a share below 1e-10) stands for zero or one."""


def icc(fit: Fit, alpha: float = 0.05, method: str = "delta") -> pd.DataFrame:
    """Intraclass correlations: each grouping factor's share of the variance.

    Parameters
    ----------
    alpha : float
        One minus the level of the intervals.
    method : {"delta", "profile"}
        Intervals by the delta method on the logit scale, or by profile likelihood (and then
        estimates by maximum likelihood).

    Returns
    -------
    DataFrame
        A row for each grouping factor; columns ``estimate``, ``se``, ``ci_lower``,
        ``ci_upper``. There is no ``se`` by profile, nor an interval by the delta method for an
        estimate of zero.

    Raises
    ------
    FitError
        If an argument makes no sense.

    Notes
    -----
    With σ_g² the variance that the terms of factor g contribute to an observation, on average
    over the data,

        ICC_g = σ_g² / (Σ_h σ_h² + σ²),   σ_g² = Σ_t mean_i z_i'Σ_tz_i = Σ_t tr(Σ_tX_t'X_t)/n,

    X_t the columns of the terms t of g with covariance matrix Σ_t, which for an intercept is
    its variance (Johnson 2014, Methods in Ecology and Evolution 5, 944-946). With weights σ²
    stands for its mean over the data, σ² mean(1/w). Variance of the fixed effects does not
    count.

    Examples
    --------
    >>> from mixedlm_ext import MixedLM, datasets
    >>> data = datasets.dyestuff.load_pandas().data
    >>> result = MixedLM.from_formula("Yield ~ 1 + (1 | Batch)", data).fit()
    >>> result.icc().round(3)
           estimate     se  ci_lower  ci_upper
    Batch     0.418  0.216     0.112     0.804
    """
    _check(alpha, method)
    parts = _Parts(fit)
    groups = list(dict.fromkeys(term.group for term in fit.design.terms))
    if method == "delta":
        rows = [_share(parts, parts.N_of(group)).interval(parts, alpha) for group in groups]
        return _frame(rows, groups)
    _check_linear(fit)
    top = maximum(fit)
    quantities = []
    for group in groups:
        A = parts.A_of(group)
        own, all_terms = (parts.average(top.theta, N) for N in (parts.N_of(group), parts.N))
        share = own / (parts.c + all_terms)
        quantities.append((share, ShareHeld(parts.A, np.any(A != 0.0, axis=1), parts.c)))
    return _by_profile(fit, top, "share", groups, quantities, alpha)


def total_variance(fit: Fit, alpha: float = 0.05, method: str = "delta") -> pd.DataFrame:
    """Variance of an observation about the fixed effects, on average over the data.

    Parameters
    ----------
    alpha : float
        One minus the level of the interval.
    method : {"delta", "profile"}
        Interval by the delta method on the log scale, or by profile likelihood (and then the
        estimate by maximum likelihood).

    Returns
    -------
    DataFrame
        One row; columns ``estimate``, ``se``, ``ci_lower``, ``ci_upper``.

    Raises
    ------
    FitError
        If an argument makes no sense.

    Notes
    -----
    Σ_g σ_g² + σ², as explained for `icc`.

    Examples
    --------
    >>> from mixedlm_ext import MixedLM, datasets
    >>> data = datasets.dyestuff.load_pandas().data
    >>> result = MixedLM.from_formula("Yield ~ 1 + (1 | Batch)", data).fit()
    >>> result.total_variance().round(1)
           estimate      se  ci_lower  ci_upper
    total    4215.3  1534.0    2065.7    8601.9
    """
    _check(alpha, method)
    parts = _Parts(fit)
    if method == "delta":
        return _frame([_total(parts).interval(parts, alpha)], ["total"])
    if fit.fixed_sigma is not None:
        raise FitError("sigma is fixed, so the total variance has no profile. Use method='delta'.")
    _check_linear(fit)
    top = maximum(fit)
    estimate = top.estimates.sigma**2 * (parts.c + parts.average(top.theta, parts.N))
    held = TotalHeld(parts.A, parts.c)
    return _by_profile(fit, top, "total", ["total"], [(estimate, held)], alpha)


def r2(fit: Fit, alpha: float = 0.05) -> pd.DataFrame:
    """Nakagawa's R²: the variance explained by fixed effects, and by all effects.

    Parameters
    ----------
    alpha : float
        One minus the level of the intervals.

    Returns
    -------
    DataFrame
        Rows "marginal" and "conditional"; columns ``estimate``, ``se``, ``ci_lower``,
        ``ci_upper``. Intervals are by the delta method on the logit scale.

    Raises
    ------
    FitError
        If alpha makes no sense.

    Notes
    -----
    Shares of the variance of an observation:

        marginal     σ_f² / (σ_f² + σ_a² + σ²)
        conditional  (σ_f² + σ_a²) / (σ_f² + σ_a² + σ²)

    σ_f² is the sample variance of Xβ over the data, σ_a² = Σ_g σ_g² and σ² are as explained for
    `icc` (Nakagawa & Schielzeth 2013, Methods in Ecology and Evolution 4, 133-142; Johnson 2014
    for random slopes). An offset counts neither as explained nor as unexplained. Like theirs,
    σ_f² is not corrected for the error of β.

    Examples
    --------
    >>> from mixedlm_ext import MixedLM, datasets
    >>> data = datasets.sleepstudy.load_pandas().data
    >>> result = MixedLM.from_formula("Reaction ~ Days + (Days | Subject)", data).fit()
    >>> result.r2().round(3)
                 estimate     se  ci_lower  ci_upper
    marginal        0.279  0.077     0.154     0.450
    conditional     0.799  0.044     0.700     0.871
    """
    _check(alpha, "delta")
    parts = _Parts(fit)
    rows = [_explained(parts, random).interval(parts, alpha) for random in (False, True)]
    return _frame(rows, ["marginal", "conditional"])


class _Parts:
    """What the quantities are made of: functions of ψ = (θ, log σ, β), θ standardized."""

    def __init__(self, fit: Fit) -> None:
        require_rows(fit.design)
        self.fit = fit
        self.theta = fit.problem.covariance.standardize(fit.theta)
        # the mean residual variance of an observation over σ²
        self.c = float(noise_of(fit.design).variances.mean())

    @cached_property
    def N(self) -> list[Array]:
        """N of all terms."""
        return self.N_of(None)

    @cached_property
    def A(self) -> Array:
        """A of all terms, (m, m)."""
        return self.A_of(None)

    def A_of(self, group: str | None) -> Array:
        """Return A of the terms of one grouping factor, whose structures are linear."""
        covariance = self.fit.problem.covariance
        C = curvature(covariance, self.theta, self.N_of(group))
        return 0.5 * covariance.tie(covariance.tie(C), axis=1)

    def N_of(self, group: str | None) -> list[Array]:
        """Return N_i of each block for one factor: the mean of z'Γz is Σ_i tr(N_iΓ_i)."""
        covariance = self.fit.problem.covariance
        N = [np.zeros((k, k)) for k in covariance.block_sizes]
        for term, place in zip(self.fit.design.terms, self.fit.problem.cp.layout.places):
            if group in (None, term.group):
                X = place.columns(term.X)
                if (
                    term.related is not None
                ):  # the variance of a level is K_ll times that of the term
                    own = (
                        term.related.diagonal
                        if term.related.diagonal is not None
                        else level_variances(self.fit.problem, place.block)
                    )[term.codes]
                    X = X * np.sqrt(own)[:, None]
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

    def gradient(self, theta: Array, log_sigma: float, beta: Array | None = None) -> Array:
        """Put the parts of a gradient in ψ together."""
        sigma = [] if self.fit.fixed_sigma is not None else [log_sigma]
        return np.concatenate(
            [theta, sigma, np.zeros(len(self.fit.beta)) if beta is None else beta]
        )


@dataclass(frozen=True, eq=False)
class _Quantity:
    """A transformed quantity: its value, its gradient in ψ, and whether it is a log or a logit."""

    value: float
    gradient: Array
    share: bool

    def interval(self, parts: _Parts, alpha: float) -> list[float]:
        """Return estimate, standard error and limits; nan where the estimate is at a boundary."""
        estimate = float(expit(self.value)) if self.share else float(np.exp(self.value))
        if self.share and abs(self.value) > _AT_BOUNDARY:
            return [round(estimate), np.nan, np.nan, np.nan]
        se = float(np.sqrt(self.gradient @ parts.cov @ self.gradient))
        ends = self.value + norm.ppf([0.5 * alpha, 1.0 - 0.5 * alpha]) * se
        limits = np.asarray(expit(ends) if self.share else np.exp(ends))
        rate = estimate * (1.0 - estimate) if self.share else estimate
        return [estimate, rate * se, *limits.tolist()]


def _share(parts: _Parts, N: list[Array]) -> _Quantity:
    """logit of a factor's part of the variance of an observation."""
    theta = parts.theta
    others = [every - one for every, one in zip(parts.N, N)]
    own, rest = parts.average(theta, N), parts.c + parts.average(theta, others)
    with np.errstate(divide="ignore", invalid="ignore"):
        slope = parts.slope(theta, N) / own - parts.slope(theta, others) / rest
    value = float(logit(own / (own + rest)))
    return _Quantity(value, parts.gradient(slope, 0.0), share=True)


def _total(parts: _Parts) -> _Quantity:
    """log of the variance of an observation."""
    relative = parts.c + parts.average(parts.theta, parts.N)
    value = float(np.log(parts.fit.sigma**2 * relative))
    slope = parts.slope(parts.theta, parts.N) / relative
    return _Quantity(value, parts.gradient(slope, 2.0), share=False)


def _explained(parts: _Parts, random: bool) -> _Quantity:
    """logit of (f + a)/(f + a + u): f of the fixed effects, a explained besides, u unexplained."""
    fixed, fixed_slope = parts.fixed
    scale = parts.fit.sigma**2
    q, q_slope = parts.average(parts.theta, parts.N), parts.slope(parts.theta, parts.N)
    explained = fixed + (scale * q if random else 0.0)
    unexplained = scale * (parts.c if random else parts.c + q)
    with np.errstate(divide="ignore", invalid="ignore"):
        theta = scale * q_slope / explained if random else -q_slope / (parts.c + q)
        log_sigma = 2.0 * scale * q / explained - 2.0 if random else -2.0
        gradient = parts.gradient(theta, log_sigma, fixed_slope / explained)
    value = float(logit(explained / (explained + unexplained)))
    return _Quantity(value, gradient, share=True)


def _by_profile(
    fit: Fit,
    top: Maximum,
    kind: str,
    names: list[str],
    quantities: Sequence[tuple[float, Coordinates]],
    alpha: float,
) -> pd.DataFrame:
    """Return maximum likelihood estimates, no standard errors, and the profiles' limits."""
    unturned = TermReordered.of(top.problem, 0, ())
    z = cutoff(alpha)
    rows, better = [], better_maximum(fit, top)
    for name, (estimate, coordinates) in zip(names, quantities):
        held = QuantityHeld(unturned, coordinates, top.fixed_sigma)
        path, best = trace(held, kind, estimate, top, lambda _: np.zeros(0), z, first_step=0.1)
        rows.append([estimate, np.nan, path.value_at(-z), path.value_at(z)])
        if best is not None:
            better["the profile of " + ("the ICC of " + name if kind == "share" else name)] = best
    warn_of_better(better, fit, top)
    return _frame(rows, names, profile_note(fit))


def _frame(rows: list[list[float]], index: list[str], note: str = "") -> pd.DataFrame:
    """Return the table, with a note in its attrs."""
    out = Table(rows, index=index, columns=["estimate", "se", "ci_lower", "ci_upper"])
    if note:
        out.attrs["note"] = note
    return out


def _check_linear(fit: Fit) -> None:
    """Refuse a profile for structures of which the variance of an observation is no square form."""
    if fit.problem.covariance.shaped:
        name = fit.problem.covariance.shaped[0].term.structure.name
        raise FitError(
            f"this has no profile in a model with a term of structure {name!r}. Use method='delta'."
        )


def _check(alpha: float, method: str) -> None:
    """Refuse arguments that make no sense."""
    check_level("alpha", alpha)
    check_choice("method", method, METHODS, FitError)
