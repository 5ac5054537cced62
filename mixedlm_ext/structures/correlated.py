"""Structures of standard deviations and correlations: Γ = DCD.

D holds the standard deviations, relative to σ: one for each column, or one for all. C = C(ρ) is a
correlation matrix, smooth in ρ up to the ends of its range and positive semidefinite there, so that
the boundary is an ordinary point. θ is the standard deviations, then ρ.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from copy import copy
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from mixedlm_ext.linalg.blas import cholesky, eigh
from mixedlm_ext.linalg.triangular import lower_root
from mixedlm_ext.structures.base import LEAST_SD, MOST_SD, Structure

Array = NDArray[np.float64]
Index = NDArray[np.intp]

__all__ = ["STRONG", "WEAK", "CorrelatedStructure", "mean_known"]

_INSIDE = 0.95
"""Share of the range of ρ that searches may start from."""
_AT_END = 1e-8
"""Distance from the end of its range, relative to the range, at which ρ counts as on it."""
_FEW = 6
"""Columns up to which each is tried alone where effects are weak."""
WEAK = 0.5
"""Standard deviations, in those of the noise, below which effects are weak."""
STRONG = 30.0
"""Standard deviations, in those of the noise, above which effects stand for the noise, too."""
_NEAR_END = 1e-2
"""How much nearer to the end than the standard deviations are to zero ρ must be to be put there."""


class CorrelatedStructure(Structure):
    """Standard deviations times correlations.

    Parameters
    ----------
    k : int
    name : str
    one_variance : bool
        One standard deviation for all columns, or one for each.
    """

    linear: ClassVar[bool] = False
    least_columns: ClassVar[int] = 2
    hom_by_default: ClassVar[bool]
    """Whether it has one variance unless ``hom=False`` is written."""
    n_rho: int = 1
    _of_pairs: Array | None = None
    """How far the columns of some pairs are apart, if Γ is asked for in these alone."""

    def __init__(self, k: int, name: str, one_variance: bool) -> None:
        super().__init__(k, name)
        self.one_variance = one_variance
        self.n_sd = 1 if one_variance else k
        self.whitening = "common" if one_variance else "columns"

    def of_size(self, k: int) -> Structure:
        """Return the same structure of another number of columns."""
        return type(self)(k, self.name, self.one_variance)

    def of_pairs(self, one: Index, two: Index) -> CorrelatedStructure:
        """Return the same structure with Γ and its derivatives of pairs of columns, of any shape.

        Of one variance for all columns.
        """
        assert self.one_variance
        out = copy(self)
        out._of_pairs = self._apart[one, two]
        return out

    @property
    def _apart(self) -> Array:
        """How far columns are apart, which decides on their correlation: in places, (k, k)."""
        if self._of_pairs is not None:
            return self._of_pairs
        at = np.arange(self.k, dtype=float)
        return np.abs(at[:, None] - at)

    # --- what a member gives ----------------------------------------------------------------------

    @property
    @abstractmethod
    def rho_range(self) -> tuple[Array, Array]:
        """Lower and upper ends of ρ, (n_rho,)."""

    @property
    def rho_start(self) -> Array:
        """ρ to start from: no correlation."""
        return np.zeros(self.n_rho)

    @property
    def rho_inside(self) -> tuple[Array, Array]:
        """The range of ρ that searches may start from."""
        low, high = self.rho_range
        return _INSIDE * low, _INSIDE * high

    @abstractmethod
    def correlation(self, rho: Array) -> Array:
        """Return C (k, k)."""

    @abstractmethod
    def correlation_derivatives(self, rho: Array) -> Array:
        """Return ∂C/∂ρ_j, (n_rho, k, k)."""

    @abstractmethod
    def correlation_curvature(self, rho: Array, F: Array) -> Array:
        """Return Σ_ab F_ab ∂²C_ab/∂ρ_j∂ρ_h, (n_rho, n_rho)."""

    @abstractmethod
    def rho_of(self, C: Array) -> Array:
        """Return the ρ of a correlation matrix, a rough one if it is not of the structure.

        Correlations that are not known are nan.
        """

    # --- the map ----------------------------------------------------------------------------------

    @property
    def n_theta(self) -> int:
        """Standard deviations and correlations."""
        return self.n_sd + self.n_rho

    @property
    def n_coordinates(self) -> int:
        """θ itself."""
        return self.n_theta

    def parts(self, theta: Array) -> tuple[Array, Array]:
        """Return the standard deviations of the k columns, and ρ."""
        sd = theta[: self.n_sd]
        return (np.full(self.k, sd[0]) if self.one_variance else sd), theta[self.n_sd :]

    def _products(self, theta: Array) -> Array:
        """Return d_ad_b."""
        sd, _ = self.parts(theta)
        return np.square(theta[0]) if self.one_variance else np.outer(sd, sd)

    def gamma(self, theta: Array) -> Array:
        """Return Γ = DCD."""
        return np.asarray(self._products(theta) * self.correlation(theta[self.n_sd :]))

    def template(self, theta: Array) -> Array:
        """Return D times the lower-triangular root of C."""
        sd, rho = self.parts(theta)
        return np.asarray(sd[:, None] * _root(self.correlation(rho)))

    def theta_of(self, template: Array) -> Array:
        """Return θ of Γ = TT'; columns without variance tell no correlation."""
        return self._theta_of_gamma(template @ template.T)

    def _theta_of_gamma(self, Gamma: Array) -> Array:
        variances = np.maximum(np.diag(Gamma), 0.0)
        sd = np.sqrt(variances)
        scale = np.where(sd > 0, sd, np.nan)
        rho = self.rho_of(Gamma / np.outer(scale, scale))
        if self.one_variance:
            sd = np.sqrt(variances.mean(keepdims=True))
        return np.concatenate([sd, np.clip(rho, *self.rho_range)])

    def nearest(self, Gamma: Array) -> Array:
        """Return θ with standard deviations and correlations in the range of good starts."""
        theta = self._theta_of_gamma(Gamma)
        sd, rho = theta[: self.n_sd], theta[self.n_sd :]
        return np.concatenate([np.clip(sd, LEAST_SD, MOST_SD), np.clip(rho, *self.rho_inside)])

    def gamma_derivatives(self, theta: Array) -> Array:
        """Return ∂Γ/∂d_a = e_aw_a' + w_ae_a', w_a = DC_a, and ∂Γ/∂ρ = D(∂C/∂ρ)D."""
        sd, rho = self.parts(theta)
        C = self.correlation(rho)
        by_rho = self._products(theta) * self.correlation_derivatives(rho)
        if self.one_variance:
            return np.concatenate([2.0 * sd[0] * C[None], by_rho])
        half = np.zeros((self.k, self.k, self.k))
        each = np.arange(self.k)
        half[each, each] = C * sd
        return np.concatenate([half + half.transpose(0, 2, 1), by_rho])

    def parameter_directions(self) -> Array:
        """Return ∂Γ/∂θ_j where nothing is equal to anything else."""
        sd = 1.0 + 0.5 * np.sin(1.0 + np.arange(self.n_sd))
        _, high = self.rho_range
        rho = high * (0.4 + 0.2 * np.cos(1.0 + np.arange(self.n_rho)))
        return self.gamma_derivatives(np.concatenate([sd, rho]))

    def curvature(self, theta: Array, G: Array) -> Array:
        """Return Σ_ac G_ac ∂²Γ_ac/∂θ_j∂θ_h."""
        sd, rho = self.parts(theta)
        C, dC = self.correlation(rho), self.correlation_derivatives(rho)
        n, own = self.n_sd, slice(self.n_sd, None)
        out = np.empty((self.n_theta, self.n_theta))
        if self.one_variance:
            out[0, 0] = 2.0 * (G * C).sum()
            across = 2.0 * sd[0] * np.tensordot(dC, G, G.ndim)[None]
        else:
            out[:n, :n] = 2.0 * G * C
            across = 2.0 * np.einsum("ab,jab,b->aj", G, dC, sd)
        out[:n, own], out[own, :n] = across, across.T
        out[own, own] = self.correlation_curvature(rho, G * self._products(theta))
        return out

    def standardizer(self, R: Array) -> Array:
        """Return J: the columns' scales for the standard deviations, 1 for correlations."""
        scales = R[:1, 0] if self.one_variance else np.diag(R)
        return np.diag(np.concatenate([scales, np.ones(self.n_rho)]))

    def place(self, columns: tuple[int, ...]) -> int | None:
        """Return where θ holds the deviation of a column, or the correlation ρ."""
        if len(columns) == 1:
            return 0 if self.one_variance else columns[0]
        return self.n_sd

    def contains(self, other: Structure) -> bool:
        """Say whether this one has all covariances of another."""
        fewer = other.one_variance or not self.one_variance
        return fewer and (not other.correlated or isinstance(other, type(self)))

    # --- the domain -------------------------------------------------------------------------------

    @property
    def domain(self) -> tuple[Array, Array]:
        """Standard deviations from zero, ρ in its range."""
        low, high = self.rho_range
        return (
            np.concatenate([np.zeros(self.n_sd), low]),
            np.concatenate([np.full(self.n_sd, np.inf), high]),
        )

    def start(self) -> Array:
        """Return unit variances, without correlation where that is no end of its range."""
        return np.concatenate([np.ones(self.n_sd), self.rho_start])

    def scaled(self, theta: Array, factor: float) -> Array:
        """Return θ with the standard deviations times a factor."""
        return np.concatenate([factor * theta[: self.n_sd], theta[self.n_sd :]])

    def is_singular(self, theta: Array, tol: float) -> bool:
        """Say whether a standard deviation is zero or a correlation at the end of its range."""
        sd, rho = theta[: self.n_sd], theta[self.n_sd :]
        low, high = self.rho_range
        margin = _AT_END * (high - low)
        at_end = bool(((rho <= low + margin) | (rho >= high - margin)).any())
        return at_end or bool(sd.min() <= tol * max(1.0, float(sd.max())))

    def at_zero(self, theta: Array, near: float) -> Array:
        """Put standard deviations next to zero, and ρ next to an end of its range, there."""
        sd, rho = theta[: self.n_sd], theta[self.n_sd :]
        low, high = self.rho_range
        margin = _NEAR_END * near * (high - low)
        sd = np.where(sd <= near * max(1.0, float(sd.max())), 0.0, sd)
        rho = np.where(rho <= low + margin, low, np.where(rho >= high - margin, high, rho))
        return np.concatenate([sd, rho])

    def further_starts(self, theta: Array) -> list[Array]:
        """Return other correlations, if effects are weak, or deviations or a correlation at an end.

        Where effects vary less than the noise, correlations of either sign may explain the little
        there is; with a deviation at zero, the sign of its correlation with others was decided by
        where it came from: two starts with equal variances. Effects that have taken over the noise
        may hide weak ones of either sign. A correlation at an end may have gone the wrong way: one
        start towards the other.
        """
        sd, rho = theta[: self.n_sd], theta[self.n_sd :]
        low, high = self.rho_range
        weak = sd.max() * np.sqrt(self.k) < WEAK  # each of k indicators has a share of the rows
        taken_over = sd.min() * np.sqrt(self.k) > STRONG
        if (sd <= 0).any() or weak or taken_over:
            size, share = (WEAK if self.one_variance else 1.0), 0.5
            if taken_over:
                size, share = WEAK / np.sqrt(self.k), 0.8
            start = np.full(self.n_sd, size)
            starts = [np.concatenate([start, share * end]) for end in (high, low)]
            return starts + self._one_by_one(rho) if weak and not self.one_variance else starts
        if self.one_variance:
            return []
        other = np.where(rho >= high, 0.5 * low, np.where(rho <= low, 0.5 * high, rho))
        return [np.concatenate([sd, other])] if (other != rho).any() else []

    def _one_by_one(self, rho: Array) -> list[Array]:
        """Return starts in which one column varies: few, as there are few columns."""
        if self.k > _FEW:
            return []
        sds = LEAST_SD + (1.0 - LEAST_SD) * np.eye(self.k)
        return [np.concatenate([sd, 0.0 * rho]) for sd in sds]

    # --- steps: along θ, standard deviations measured as in linear structures ---------------------

    def step_basis(self, theta: Array, metric: Array | None = None) -> Array:
        """Return the units of the changes, √(1 + d²) for a standard deviation."""
        sd = np.sqrt(1.0 + theta[: self.n_sd] ** 2)
        return np.diag(np.concatenate([sd, np.ones(self.n_rho)]))

    def step_gradient(self, theta: Array, by_template: Array, by_gamma: Array) -> Array:
        """Return <G, ∂Γ/∂θ_j>."""
        return np.einsum("jab,ab->j", self.gamma_derivatives(theta), by_gamma)

    def step_gradient_after(self, theta: Array, changes: Array, by_gamma: Array) -> Array:
        """Return <G, ∂Γ/∂θ_j> after the changes."""
        return np.einsum("jab,ab->j", self.gamma_derivatives(theta + changes), by_gamma)

    def step_chain(self, theta: Array) -> Array:
        """Return the identity: the changes are those of the coordinates."""
        return np.eye(self.n_theta)

    def step_curvature(self, theta: Array, G: Array) -> Array:
        """Return the curvature in θ."""
        return self.curvature(theta, G)

    def stepped(self, theta: Array, changes: Array) -> Array:
        """Return θ after the changes, inside the domain."""
        return np.clip(theta + changes, *self.domain)

    # --- words ------------------------------------------------------------------------------------

    def text(self, left: str, group: str) -> str:
        """Return "cs(left | group)", with ``hom=`` where it is not the default."""
        differs = self.one_variance != self.hom_by_default
        option = f", hom={self.one_variance}" if differs else ""
        return f"{self.word}({left} | {group}{option})"

    def correlations(self, columns: Sequence[str]) -> list[tuple[str, tuple[int, int]]]:
        """Name ρ, which the first two columns have."""
        return [("rho", (0, 1))]

    def told(self, correlations: Array, pair: tuple[int, int]) -> Array:
        """Return the correlation of a pair, by others that have the same where it has none."""
        own = super().told(correlations, pair)
        if not np.isnan(own).any():
            return own
        rows, columns = self._alike(pair)
        others = correlations[..., rows, columns]
        known = np.isfinite(others)
        with np.errstate(invalid="ignore"):
            mean = np.where(known, others, 0.0).sum(axis=-1) / known.sum(axis=-1)
        return np.where(np.isnan(own), mean, own)

    def _alike(self, pair: tuple[int, int]) -> tuple[Index, Index]:
        """Return the pairs of columns that have the same correlation: those as far apart."""
        rows, columns = np.nonzero(np.triu(self._apart == self._apart[pair], 1))
        return rows, columns


def mean_known(correlations: Array) -> Array:
    """Return the mean of the correlations that are known, (1,); 0 if none is."""
    known = correlations[~np.isnan(correlations)]
    return np.array([known.mean() if known.size else 0.0])


def _root(C: Array) -> Array:
    """Return the lower-triangular root of a positive semidefinite matrix."""
    try:
        return cholesky(C)
    except np.linalg.LinAlgError:
        values, vectors = eigh(C)
        return lower_root(vectors * np.sqrt(np.maximum(values, 0.0)))
