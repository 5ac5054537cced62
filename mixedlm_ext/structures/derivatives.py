"""Derivatives of the criterion carried from templates to theta, and of Γ = TT' in theta.

Of all terms together: each term's structure knows its own. They are taken in the *coordinates* of
the terms: entries of the template for linear structures, theta itself for others. A term whose
columns have one variance has the template θI: all its entries are tied to one theta, and
`Covariance.tie` adds up derivatives in those.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from mixedlm_ext.structures.covariance import Covariance
from mixedlm_ext.structures.linear import LinearStructure

Array = NDArray[np.float64]

__all__ = [
    "chain_rule",
    "coordinate_directions",
    "curvature",
    "gamma_derivatives",
    "parameter_directions",
    "theta_gradient",
]


def gamma_derivatives(covariance: Covariance, theta: Array) -> list[tuple[int, Array]]:
    """Return for each theta its block and ∂Γ (k, k) of one level of the block."""
    out = []
    for term, part in zip(covariance.terms, covariance.slices):
        for own in term.structure.gamma_derivatives(theta[part]):
            whole = np.zeros((covariance.block_sizes[term.block],) * 2)
            whole[term.own, term.own] = own
            out.append((term.block, whole))
    return out


def parameter_directions(covariance: Covariance) -> list[tuple[int, Array]]:
    """Return for each parameter of Γ its block and the change of Γ (k, k) along it."""
    out = []
    for term in covariance.terms:
        for own in term.structure.parameter_directions():
            whole = np.zeros((covariance.block_sizes[term.block],) * 2)
            whole[term.own, term.own] = own
            out.append((term.block, whole))
    return out


def theta_gradient(
    covariance: Covariance,
    theta: Array,
    matrices: Sequence[Array],
    by_gamma: Callable[[], Sequence[Array]],
) -> Array:
    """Return the gradient in theta.

    Parameters
    ----------
    covariance : Covariance
    theta : ndarray (m,)
    matrices : sequence of ndarray
        ∂d/∂T_i, in all entries of each block's template.
    by_gamma : callable
        Gives ∂d/∂Γ_i of each block; it is not called if all structures are linear.
    """
    out = covariance.free_entries(matrices)
    if covariance.shaped:
        G = by_gamma()
        for term, part, coordinates in covariance.shaped:
            D = term.structure.gamma_derivatives(theta[part])
            out[coordinates] = np.einsum("jab,ab->j", D, G[term.block][term.own, term.own])
    return covariance.tie(out)


def curvature(covariance: Covariance, theta: Array, matrices: Sequence[Array]) -> Array:
    """Return Σ G_ac ∂²Γ_ac in the coordinates.

    For entries of a template this is C_(ab),(cd) = 2 [G_i]_ac δ_bd inside each block i.
    """
    out = np.zeros((covariance.n_coordinates, covariance.n_coordinates))
    for matrix, index in zip(matrices, covariance.of_block):
        rows, columns = covariance.rows[index], covariance.columns[index]
        same_column = columns[:, None] == columns[None, :]
        out[np.ix_(index, index)] = 2.0 * same_column * matrix[np.ix_(rows, rows)]
    for term, part, own in covariance.shaped:
        G = matrices[term.block][term.own, term.own]
        out[own, own] = term.structure.curvature(theta[part], G)
    return out


def chain_rule(covariance: Covariance, theta: Array) -> Array:
    """Return ∂Γ/∂T in the coordinates, Γ's entries off the diagonal counted once."""
    out = np.eye(covariance.n_coordinates)
    for term, part, own in zip(covariance.terms, covariance.slices, covariance.coordinate_slices):
        if isinstance(term.structure, LinearStructure):
            out[own, own] = term.structure.chain(theta[part], *term.structure.entries)
    return out


def coordinate_directions(covariance: Covariance, theta: Array) -> list[tuple[int, Array]]:
    """Return for each coordinate its block and the change of Γ along it.

    That is e_ae_c' + e_ce_a' for entries (a, c) of Γ, and ∂Γ/∂θ for shaped terms.
    """
    out = []
    for i, a, c in zip(covariance.blocks, covariance.rows, covariance.columns):
        whole = np.zeros((covariance.block_sizes[i],) * 2)
        if a >= 0:
            whole[a, c] += 1.0
            whole[c, a] += 1.0
        out.append((int(i), whole))
    for term, part, own in covariance.shaped:
        for (_, whole), D in zip(out[own], term.structure.gamma_derivatives(theta[part])):
            whole[term.own, term.own] = D
    return out
