"""What Kenward and Roger's method is made of: Φ, P_i, Q_ij, W, and what the bend of Σ adds.

Either of all parameters that were estimated, variances and covariances where Σ is linear in them,
or, where some are held or equal, of (θ, z, log σ) along the directions N that equations leave:

    W = N [N'(tr(PG_iPG_j)/2)N]⁻¹ N'

Along these the parameters have second derivatives themselves, -A⁺(N'∂²hN) for equations h with
A = ∂h, and with them Σ has those of G'A⁺ beside its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import null_space

from mixedlm_ext.caching import cached_property
from mixedlm_ext.criteria.restricted import RestrictedCriterion
from mixedlm_ext.estimation.fit import Fit
from mixedlm_ext.inference.fixed.changes import Changes
from mixedlm_ext.inference.fixed.directions import bent, directions, pattern
from mixedlm_ext.products.noise import structured_noise
from mixedlm_ext.products.residual_matrices import ResidualMatrices
from mixedlm_ext.structures.derivatives import gamma_derivatives
from mixedlm_ext.structures.parameter_point import Jet

Array = NDArray[np.float64]

__all__ = ["Terms", "estimated_terms", "free_terms"]

_DEPENDENT = 1e-9
"""Eigenvalues this small of an information matrix with a unit diagonal count as zero."""
_STEP = 1e-5
"""Step of the differences of ∂Γ/∂θ."""


@dataclass(frozen=True, eq=False)
class Terms:
    """Φ (p, p), P_i (d, p, p), Q_ij (d, d, p, p), W (d, d), and what the bend of Σ adds (p, p)."""

    Phi: Array
    P: Array
    Q: Array
    W: Array
    bend: Array


class _Rows:
    """The residual parameters of a fit that are not at an end of their range: changes of rows."""

    def __init__(self, fit: Fit) -> None:
        self.own: list[int] = []
        self.matrices: ResidualMatrices | None = None
        design, structure = fit.design, fit.design.residual
        self._scale = fit.sigma**2
        if structure is None or fit.z is None:
            return
        self.matrices = ResidualMatrices(structured_noise(design, fit.z))
        low, high = structure.z_range
        self.own = [int(k) for k in np.flatnonzero((low < fit.z) & (fit.z < high))]

    @property
    def precision(self) -> Any:
        """R⁻¹."""
        return None if self.matrices is None else self.matrices.precision

    @property
    def changes(self) -> list[Any]:
        """σ²∂R of each parameter."""
        if self.matrices is None:
            return []
        return [self.matrices.combined(self._scale * self.matrices.first[k]) for k in self.own]

    def bent(self, W: Array, first: Array) -> Any:
        """Return σ²Σ_kl W_kl ∂²R/∂k∂l + σ²Σ_k first_k ∂R/∂k; None without parameters."""
        if self.matrices is None or not self.own:
            return None
        values = np.zeros_like(self.matrices.values)
        for a, k in enumerate(self.own):
            values += first[a] * self.matrices.first[k]
            for b, m in enumerate(self.own):
                values += W[a, b] * self.matrices.second(k, m)
        return self.matrices.combined(self._scale * values)


def estimated_terms(fit: Fit, keep_zeros: bool) -> Terms:
    """Return the terms of a fit all of whose parameters were estimated.

    Everything with the last parameter, σ², comes from Σ = Σ_i φ_iG_i + σ²R, so that R itself is not
    needed: φ is the parameter itself where Σ is linear in it, half of a standard deviation, in
    which Γ is homogeneous of degree two, and 0 of a correlation and of parameters of residuals.
    """
    parameters, rows = list(directions(fit, keep_zeros)), _Rows(fit)
    changes = Changes(fit, [p.E for p in parameters], rows.changes, rows.precision)
    phi = np.array([*(p.phi for p in parameters), *[0.0] * len(rows.own)])
    scale, XVX, P = changes.scale, changes.XVX, list(changes.P)
    P.append((-XVX - _sum(phi, P, XVX)) / scale)
    Q = [list(row) for row in changes.Q]
    for i, row in enumerate(Q):
        row.append((-P[i] - _sum(phi, row, XVX)) / scale)
    across = [row[-1].T for row in Q]
    Q.append([*across, (-P[-1] - _sum(phi, across, XVX)) / scale])
    n, p = fit.problem.cp.n, fit.problem.cp.p
    mixed = (changes.single - changes.double @ phi) / scale
    last_single = (n - p - phi @ changes.single) / scale
    corner = np.array([[(last_single - phi @ mixed) / scale]])
    W = 2.0 * _generalized_inverse(
        np.block([[changes.double, mixed[:, None]], [mixed[None, :], corner]])
    )
    bend = np.zeros_like(XVX)
    if fit.problem.covariance.shaped or rows.own:
        e = len(parameters)
        Omega = rows.bent(W[e:-1, e:-1], 2.0 * W[e:-1, -1] / scale)
        square, trace, traces = changes.beside(bent(fit, parameters, W), Omega)
        last = (trace - phi @ traces) / scale
        bias = -0.25 * W @ np.append(traces, last)
        bend = np.einsum("l,lpq->pq", bias, np.array(P)) - 0.5 * square
    return Terms(changes.Phi, np.array(P), np.array(Q), W, bend)


def free_terms(fit: Fit) -> Terms:
    """Return the terms of a fit with parameters that are held or equal, or with a known σ.

    Parameters are θ, r and η of the residuals, and log σ, for which ∂Σ = 2Σ.
    """
    free, rows = _Free(fit), _Rows(fit)
    changes = Changes(fit, free.patterns, rows.changes, rows.precision)
    P, Q, single, information = _with_scale(changes, fit, free.with_sigma)
    N = free.directions([*range(len(fit.theta)), *(len(fit.theta) + k for k in rows.own)])
    W = 2.0 * N @ _generalized_inverse(N.T @ information @ N) @ N.T
    along, m = free.curvature(W, rows.own), len(fit.theta)
    e, sigma = m + len(rows.own), W[:, -1] if free.with_sigma else np.zeros(len(W))
    moved = along[:e] + 4.0 * sigma[:e]  # ∂²Σ/∂ψ∂log σ = 2∂Σ/∂ψ, twice
    E = free.bent(W[:m, :m]) + sum((c * own for c, own in zip(moved, free.patterns)), free.nothing)
    square, trace, traces = changes.beside(E, rows.bent(W[m:e, m:e], moved[m:]))
    grown = 4.0 * sigma[-1] + 2.0 * along[-1] if free.with_sigma else 0.0  # of Σ itself
    square = square + grown * changes.XVX
    traces = traces + grown * single
    if free.with_sigma:
        traces = np.append(traces, 2.0 * (trace + grown * (fit.problem.cp.n - fit.problem.cp.p)))
    bend = np.einsum("l,lpq->pq", -0.25 * W @ traces, P) - 0.5 * square
    return Terms(changes.Phi, P, Q, W, bend)


def _with_scale(changes: Changes, fit: Fit, with_sigma: bool) -> tuple[Array, Array, Array, Array]:
    """Return P_i, Q_ij, tr(PG_i) and tr(PG_iPG_j), with those of log σ if it is a parameter."""
    XVX, cp = changes.XVX, fit.problem.cp
    P, single, double = list(changes.P), changes.single, changes.double
    Q = [list(row) for row in changes.Q]
    if with_sigma:
        for own, row in zip(P, Q):
            row.append(-2.0 * own)
        Q.append([*(-2.0 * own for own in P), 4.0 * XVX])
        P.append(-2.0 * XVX)
        corner = np.array([[4.0 * (cp.n - cp.p)]])
        double = np.block([[double, 2.0 * single[:, None]], [2.0 * single[None, :], corner]])
    size, p = len(P), cp.p
    return np.reshape(P, (size, p, p)), np.reshape(Q, (size, size, p, p)), single, double


class _Free:
    """Where (θ, r, η, log σ) may move from the estimate, and what Γ does then."""

    def __init__(self, fit: Fit) -> None:
        self._fit, covariance = fit, fit.problem.covariance
        self._theta = covariance.standardize(fit.theta)
        self.with_sigma = fit.fixed_sigma is None
        self.nothing = np.zeros((fit.problem.cp.q,) * 2)
        self._jets: list[Jet] = []
        if fit.restrictions is not None:
            criterion = RestrictedCriterion(
                fit.problem, fit.reml, fit.fixed_sigma, fit.restrictions, True, True
            )
            point = self._theta if fit.z is None else np.concatenate([self._theta, fit.z])
            whole = np.append(point, np.log(fit.sigma)) if self.with_sigma else point
            self._jets = criterion.jets(whole)

    @cached_property
    def patterns(self) -> list[Array]:
        """σ²∂Γ of each θ as a pattern of Z."""
        return self._patterns(self._theta)

    def _patterns(self, theta: Array) -> list[Array]:
        """Return σ²∂Γ at some θ."""
        fit = self._fit
        found = gamma_derivatives(fit.problem.covariance, theta)
        return [fit.sigma**2 * pattern(fit.problem.cp, block, D) for block, D in found]

    def bent(self, W: Array) -> Array:
        """Return σ²Σ_jk W_jk ∂²Γ as a pattern of Z."""
        out = self.nothing
        for k, row in enumerate(W):
            step = np.zeros_like(self._theta)
            step[k] = _STEP * max(abs(float(self._theta[k])), 1e-2)
            ahead, behind = (self._patterns(self._theta + sign * step) for sign in (1.0, -1.0))
            for w, a, b in zip(row, ahead, behind):
                if w:
                    out = out + w / (2.0 * step[k]) * (a - b)
        return 0.5 * (out + out.T)

    def _coordinates(self, own: list[int]) -> list[int]:
        """Return which of (θ, z, log σ) are among the parameters."""
        return [*own, -1] if self.with_sigma else own

    def _slopes(self, own: list[int]) -> Array:
        """Return ∂(θ, z, log σ) in those of (θ, r, η, log σ) that are among the parameters."""
        fit, structure = self._fit, self._fit.design.residual
        out = np.ones(len(self._theta) + (0 if fit.z is None else len(fit.z)) + 1)
        if structure is not None and fit.z is not None:
            slopes = structure.slopes_of_all.copy()
            slopes[: structure.n_rho] = structure.r_of(fit.z)[1]
            out[len(self._theta) : -1] = 1.0 / slopes
        return out[self._coordinates(own)]

    def _equations(self, own: list[int]) -> Array:
        """Return ∂h of the parameters."""
        at, slopes = self._coordinates(own), self._slopes(own)
        rows = [jet.gradient[at] * slopes for jet in self._jets]
        return np.reshape(rows, (len(self._jets), len(at)))

    def directions(self, own: list[int]) -> Array:
        """Return N of the parameters, with those of θ at an end of their range held."""
        low, high = self._fit.problem.covariance.domain
        inside = np.ones(len(self._coordinates(own)), dtype=bool)
        inside[: len(self._theta)] = (low < self._theta) & (self._theta < high)
        A = self._equations(own)[:, inside]
        out = np.zeros((len(inside), 0))
        if inside.any():
            free = null_space(A) if len(A) else np.eye(int(inside.sum()))
            out = np.zeros((len(inside), free.shape[1]))
            out[inside] = free
        return out

    def curvature(self, W: Array, rows: list[int]) -> Array:
        """Return -A⁺ tr(W∂²h), what the parameters bend by along the directions.

        That of r is left out: r moves freely or not at all, and what moves freely cancels.
        """
        m = len(self._theta)
        own = [*range(m), *(m + k for k in rows)]
        at, slopes = self._coordinates(own), self._slopes(own)
        second = [jet.hessian[np.ix_(at, at)] * np.outer(slopes, slopes) for jet in self._jets]
        bent = np.array([float((W * own).sum()) for own in second])
        A = self._equations(own)
        return -np.linalg.pinv(A) @ bent if len(A) else np.zeros(len(at))


def _sum(phi: Array, parts: Sequence[Array], like: Array) -> Array:
    """Return Σ φ_iA_i."""
    return np.asarray(sum((f * part for f, part in zip(phi, parts)), np.zeros_like(like)))


def _generalized_inverse(information: Array) -> Array:
    """Return a generalized inverse, made in units in which the diagonal is 1."""
    if not len(information):
        return information
    diagonal = np.diag(information)
    unit = 1.0 / np.sqrt(np.where(diagonal > 0, diagonal, 1.0))
    values, vectors = np.linalg.eigh(unit[:, None] * information * unit)
    kept = values > _DEPENDENT * max(values.max(), 1e-300)
    root = unit[:, None] * vectors[:, kept] / np.sqrt(values[kept])
    return np.asarray(root @ root.T)
