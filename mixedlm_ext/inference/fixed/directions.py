"""The derivatives of Σ = σ²V in the parameters of the random effects, as patterns of Z."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mixedlm_ext.estimation.fit import Fit
from mixedlm_ext.inference.fixed.boundary import zero_columns
from mixedlm_ext.products.products import CrossProducts

Array = NDArray[np.float64]

__all__ = ["Direction", "bent", "directions", "pattern"]

_STEP = 1e-5
"""Step of the differences of first derivatives, relative to the parameter."""
_NOTHING = 1e-12
"""Size of a derivative of Γ, relative to Γ, that is none."""


@dataclass(frozen=True, eq=False)
class Direction:
    """One parameter.

    Attributes
    ----------
    E : ndarray (q, q)
        ∂Σ = Z E Z', Z standardized.
    phi : float
        So that the sum of φE over all parameters of a term is its part of Σ.
    term : int
    own : int
        Which of the term's parameters it is.
    """

    E: Array
    phi: float
    term: int
    own: int


def directions(fit: Fit, keep_zeros: bool) -> Iterator[Direction]:
    """Yield the parameters that count.

    Those of linear structures are variances and covariances. Others are standard deviations, in
    the units of the response, and correlations or what stands for them.

    Parameters
    ----------
    fit : Fit
    keep_zeros : bool
        Whether variances estimated as zero count.

    Notes
    -----
    A correlation at an end of its range counts where each column has a variance of its own, as in a
    singular us, which for two columns is the same model. Where all have one variance it goes with
    variances of zero: cs(0 + f | g, hom=True) at a correlation of one is (1 | g) + (1 | g:f)
    without variance of g:f.
    """
    zero = zero_columns(fit)
    for i, term in enumerate(fit.problem.covariance.terms):
        left_out = zero[i] & (not keep_zeros)
        if term.structure.linear:
            found = _linear(fit, i, left_out)
        else:
            ends = keep_zeros or not term.structure.one_variance
            found = _shaped(fit, i, left_out, ends)
        for own, D, phi in found:
            yield Direction(_pattern(fit, i, D), phi, i, own)


def _linear(fit: Fit, i: int, left_out: NDArray[np.bool_]) -> Iterator[tuple[int, Array, float]]:
    """Yield number, ∂Γ and φ of variances and covariances."""
    Gamma = fit.templates[i] @ fit.templates[i].T
    structure = fit.problem.covariance.terms[i].structure
    for own, D in enumerate(structure.parameter_directions()):
        a, b = (int(at[0]) for at in np.nonzero(D))
        if not (left_out[a] or left_out[b]):
            yield own, D, fit.sigma**2 * float(Gamma[a, b])


def _shaped(
    fit: Fit, i: int, left_out: NDArray[np.bool_], ends: bool
) -> Iterator[tuple[int, Array, float]]:
    """Yield the same of standard deviations and correlations; `ends`: those at their ends, too."""
    structure, theta = fit.problem.covariance.terms[i].structure, _absolute(fit, i)
    low, high = structure.domain
    inside = ((theta > low) & (theta < high)) | ends
    deviations = np.isinf(high)  # correlations have two ends
    size = fit.sigma**2 * float(np.trace(fit.templates[i] @ fit.templates[i].T))
    for own, D in enumerate(structure.gamma_derivatives(theta)):
        zero = left_out.all() if structure.one_variance else left_out[min(own, len(left_out) - 1)]
        counts = not zero if deviations[own] else inside[own] and not left_out.all()
        if counts and np.abs(D).max() > _NOTHING * size:
            yield own, D, 0.5 * float(theta[own]) if deviations[own] else 0.0


def _absolute(fit: Fit, i: int) -> Array:
    """Return the parameters of a term with standard deviations in the units of the response."""
    covariance = fit.problem.covariance
    own = fit.theta[covariance.slices[i]]
    return covariance.terms[i].structure.scaled(own, fit.sigma)


def _pattern(fit: Fit, i: int, D: Array) -> Array:
    """Return E of a change D of the covariance of a term's effects."""
    cp, term = fit.problem.cp, fit.problem.covariance.terms[i]
    within = np.zeros((cp.shapes[term.block][0],) * 2)
    within[term.own, term.own] = term.whitening @ D @ term.whitening.T
    return pattern(cp, term.block, within)


def pattern(cp: CrossProducts, i: int, D: Array) -> Array:
    """Return E of a change D (k, k) of the covariance of the standardized effects of a block."""
    block = slice(cp.offsets[i], cp.offsets[i + 1])
    out = np.zeros((cp.q, cp.q))
    out[block, block] = np.kron(D, _covariance(cp, i, cp.shapes[i][1]))
    return out


def _covariance(cp: CrossProducts, i: int, levels: int) -> Array:
    """Return K of the levels of a block, I where they are independent."""
    prior = cp.layout.prior(i)
    return np.eye(levels) if prior is None else prior.solve(np.eye(levels))


def bent(fit: Fit, parameters: Sequence[Direction], W: Array) -> Array:
    """Return Σ_jk W_jk ∂²Σ/∂ψ_j∂ψ_k as a pattern of Z; W counts all parameters and the residual."""
    out = np.zeros((fit.problem.cp.q,) * 2)
    for i, term in enumerate(fit.problem.covariance.terms):
        if term.structure.linear:
            continue
        place = [n for n, p in enumerate(parameters) if p.term == i]
        own = [parameters[n].own for n in place]
        theta = _absolute(fit, i)
        S = np.zeros((term.k, term.k))
        for n, j in zip(place, own):
            step = np.zeros_like(theta)
            step[j] = _STEP * max(abs(float(theta[j])), 1e-3)
            ahead, behind = (term.structure.gamma_derivatives(theta + s * step) for s in (1, -1))
            second = (ahead - behind)[own] / (2.0 * step[j])
            S += np.tensordot(W[n, place], second, axes=1)
        out += _pattern(fit, i, 0.5 * (S + S.T))
    return out
