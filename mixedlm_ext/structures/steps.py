"""The directions of a Newton step, put together from those of the terms' structures.

A linear structure moves whole templates (see structures/linear.py); one that holds standard
deviations and correlations moves these, each within its range. Room for a step is what the ranges
leave.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, repeat

import numpy as np
from numpy.typing import NDArray

from mixedlm_ext.caching import cached_property
from mixedlm_ext.linalg.blas import matmul
from mixedlm_ext.structures.covariance import Covariance

Array = NDArray[np.float64]

__all__ = ["TemplateSteps"]

_SLIGHT = 1e-6
"""A step whose effect on θ tells the slope."""


class TemplateSteps:
    """The directions of a step from one theta.

    Parameters
    ----------
    covariance : Covariance
    theta : ndarray (m,)
        Standardized.
    metrics : list of ndarray (k, k), optional
        Q'Q of each term if the templates are those of columns ZQ (see criteria/alignment.py): what
        does not rotate is that of the first columns, T'Q'QΔT symmetric.
    """

    def __init__(
        self, covariance: Covariance, theta: Array, metrics: Sequence[Array] | None = None
    ) -> None:
        self._covariance = covariance
        self._terms = [
            (term, theta[part], coordinates)
            for term, part, coordinates in zip(
                covariance.terms, covariance.slices, covariance.coordinate_slices
            )
        ]
        self._bases = [
            term.structure.step_basis(own, metric)
            for (term, own, _), metric in zip(self._terms, metrics or repeat(None))
        ]
        self._changes = _consecutive([len(basis) for basis in self._bases])

    @property
    def size(self) -> int:
        """Number of directions."""
        return self._basis.shape[1]

    @property
    def _total(self) -> int:
        """Changes of all terms."""
        return self._changes[-1].stop if self._changes else 0

    @cached_property
    def _basis(self) -> Array:
        """The bases of the terms' changes as one block-diagonal matrix."""
        out = np.zeros((self._total, sum(b.shape[1] for b in self._bases)))
        column = 0
        for part, basis in zip(self._changes, self._bases):
            out[part, column : column + basis.shape[1]] = basis
            column += basis.shape[1]
        return out

    def gradient(self, by_template: Sequence[Array], by_gamma: Sequence[Array]) -> Array:
        """Return the gradient along the basis from ∂d/∂T_i and ∂d/∂Γ_i of each block."""
        raw = [
            term.structure.step_gradient(
                theta,
                by_template[term.block][term.own, term.own],
                by_gamma[term.block][term.own, term.own],
            )
            for term, theta, _ in self._terms
        ]
        return np.asarray(self._basis.T @ np.concatenate([np.zeros(0), *raw]))

    def gradient_after(self, step: Array, by_gamma: Sequence[Array]) -> Array:
        """Return the gradient along the basis after a step along it, from ∂d/∂Γ_i there."""
        full = self._basis @ step
        raw = [
            term.structure.step_gradient_after(
                theta, full[part], by_gamma[term.block][term.own, term.own]
            )
            for (term, theta, _), part in zip(self._terms, self._changes)
        ]
        return np.asarray(self._basis.T @ np.concatenate([np.zeros(0), *raw]))

    def carry(self, derivatives: Array) -> Array:
        """Return derivatives (coordinates, c) in the coordinates of Γ along the basis, (d, c)."""
        return matmul(self._chain, derivatives)

    @cached_property
    def _chain(self) -> Array:
        """∂Γ along the basis, (d, coordinates)."""
        chain = np.zeros((self._total, self._covariance.n_coordinates))
        for own, (term, theta, coordinates) in zip(self._changes, self._terms):
            chain[own, coordinates] = term.structure.step_chain(theta)
        return matmul(self._basis.T, chain)

    def hessian(self, information: Array, G: Sequence[Array]) -> Array:
        """Return the Hessian along the basis.

        Parameters
        ----------
        information : ndarray (coordinates, coordinates)
            The second derivatives in the coordinates of Γ.
        G : sequence of ndarray
            ∂d/∂Γ_i of each block, for the curvature of Γ.
        """
        return self.curvature(G) + self.carry_both(information)

    def carry_both(self, information: Array) -> Array:
        """Return second derivatives in the coordinates of Γ along the basis, (d, d)."""
        return matmul(matmul(self._chain, information), self._chain.T)

    def curvature(self, G: Sequence[Array]) -> Array:
        """Return what ∂d/∂Γ_i of each block and the curvature of Γ add to the Hessian."""
        C = np.zeros((self._total, self._total))
        for own, (term, theta, _) in zip(self._changes, self._terms):
            C[own, own] = term.structure.step_curvature(theta, G[term.block][term.own, term.own])
        return matmul(matmul(self._basis.T, C), self._basis)

    @property
    def count(self) -> int:
        """Number of directions."""
        return int(self._basis.shape[1])

    @property
    def room(self) -> tuple[Array, Array] | None:
        """How far a step may go down and up each direction; None if there are no ends."""
        if not self._covariance.shaped:
            return None
        low = np.full(self._basis.shape[1], -np.inf)
        high = -low
        column = 0
        for (term, theta, _), basis in zip(self._terms, self._bases):
            if not term.structure.linear:  # its basis is diagonal
                place = slice(column, column + basis.shape[1])
                ends, unit = term.structure.domain, np.diag(basis)
                low[place], high[place] = ((end - theta) / unit for end in ends)
            column += basis.shape[1]
        return low, high

    @property
    def slopes(self) -> Array:
        """∂θ along the basis, (d, m), by differences; into the domain where it ends."""
        out = np.zeros((self.count, self._covariance.n_theta))
        room = self.room
        start = self.apply(np.zeros(self.count))
        for j in range(self.count):
            step = np.zeros(self.count)
            step[j] = -_SLIGHT if room is not None and room[1][j] <= 0 else _SLIGHT
            out[j] = (self.apply(step) - start) / step[j]
        return out

    def apply(self, step: Array) -> Array:
        """Return theta after a step along the basis."""
        full = self._basis @ step
        parts = [
            term.structure.stepped(theta, full[part])
            for (term, theta, _), part in zip(self._terms, self._changes)
        ]
        return np.concatenate([np.zeros(0), *parts])


def _consecutive(lengths: Sequence[int]) -> list[slice]:
    """Return slices of these lengths, one after the other."""
    stops = accumulate(lengths)
    return [slice(stop - n, stop) for n, stop in zip(lengths, stops)]
