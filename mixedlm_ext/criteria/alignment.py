"""The same model in columns along the singular vectors of its templates.

Where a template T = USV' has singular values in the thousands, derivatives in the entries of
Γ = TT' mix numbers as far apart as s⁴ and 1: what is small drowns in the rounding of what is large.
In the columns Z_lQ with Q = U max(S, 1) the same model has the template min(S, 1), as the rotation
V changes nothing, and its derivatives are of one order.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mixedlm_ext.caching import cached_property
from mixedlm_ext.criteria.pls import Problem
from mixedlm_ext.linalg.triangular import lower_root
from mixedlm_ext.products.transform import with_random_columns
from mixedlm_ext.structures.covariance import Covariance, TermCovariance

Array = NDArray[np.float64]

__all__ = ["AlignedProblem", "align"]

_LARGE = 300.0
"""Singular values from which on s⁴ times the rounding unit is no longer negligible."""


@dataclass(frozen=True, eq=False)
class AlignedProblem:
    """A model in other columns.

    Attributes
    ----------
    problem : Problem
    theta : ndarray (m,)
        The point where the columns are those of the singular vectors.
    bases : list of ndarray (k, k)
        Q of each term: its columns are those of the first model times this.
    """

    problem: Problem
    theta: Array
    bases: list[Array]

    def back(self, theta: Array) -> Array:
        """Return theta of the first model from that of this one."""
        covariance = self.problem.covariance
        out = theta.copy()
        for term, part, Q in zip(covariance.terms, covariance.slices, self.bases):
            if _is_turned(term):
                T = term.structure.template(theta[part])
                out[part] = term.structure.theta_of(lower_root(Q @ T))
        return out

    def chain_rule(self, theta: Array) -> Array:
        """Return ∂Γ here / ∂T at a theta of the first model, as `Covariance.chain_rule` has it."""
        covariance = self.problem.covariance
        inverses, templates = self._inverses, covariance.templates(theta)
        out = np.eye(covariance.n_coordinates)
        zero = [np.zeros_like(inverse) for inverse in inverses]
        for j in np.concatenate(covariance.of_block):
            i, a, b = covariance.blocks[j], covariance.rows[j], covariance.columns[j]
            half = np.outer(inverses[i][:, a], inverses[i] @ templates[i][:, b])  # Q⁻¹ ∂T T'Q⁻¹'
            change = half + half.T - np.diag(np.diag(half))
            out[j] = covariance.free_entries([*zero[:i], change, *zero[i + 1 :]])
        return out

    def gradient_back(self, matrices: list[Array]) -> list[Array]:
        """Return ∂d/∂Γ of the first model from that of this one."""
        return [Q.T @ G @ Q for Q, G in zip(self._inverses, matrices, strict=True)]

    @cached_property
    def _inverses(self) -> list[Array]:
        """Q⁻¹ of each block."""
        return [
            np.asarray(np.linalg.inv(Q)) for Q in _block_bases(self.problem.covariance, self.bases)
        ]


def align(problem: Problem, theta: Array) -> AlignedProblem | None:
    """Return the model in columns along the singular vectors of its templates at a theta.

    Returns None if no template of several columns with correlated effects is large.
    """
    if np.abs(theta).max(initial=0.0) < _LARGE / 2:
        return None
    covariance = problem.covariance
    bases, turned, large = [], theta.copy(), False
    for term, part in zip(covariance.terms, covariance.slices):
        Q = np.eye(term.k)
        if _is_turned(term):
            U, values, _ = np.linalg.svd(term.structure.template(theta[part]))
            Q = U * np.maximum(values, 1.0)
            turned[part] = term.structure.theta_of(np.diag(np.minimum(values, 1.0)))
            large = large or values[0] > _LARGE
        bases.append(Q)
    if not large:
        return None
    # Q is no basis that the layout of a term could hold, so that it has no places for the terms
    cp = with_random_columns(problem.cp, dict(enumerate(_block_bases(covariance, bases))), ())
    aligned = Problem(cp, covariance, problem.solver.load(cp.A))
    return AlignedProblem(aligned, turned, bases)


def _is_turned(term: TermCovariance) -> bool:
    """Say whether a term has several columns that any turned ones could stand for."""
    return term.k > 1 and term.structure.whitening == "triangular"


def _block_bases(covariance: Covariance, bases: list[Array]) -> list[Array]:
    """Put the terms' bases into those of the blocks."""
    out = [np.eye(k) for k in covariance.block_sizes]
    for term, Q in zip(covariance.terms, bases):
        out[term.block][term.own, term.own] = Q
    return out
