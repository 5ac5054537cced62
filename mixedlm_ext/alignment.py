"""The same model in columns along the singular vectors of its templates.

Where a template T = USV' has singular values in the thousands, derivatives in the entries of
Γ = TT' mix numbers as far apart as s⁴ and 1: what is small drowns in the rounding of what is large.
In the columns Z_lQ with Q = U max(S, 1) the same model has the template min(S, 1), as the rotation
V changes nothing, and its derivatives are of one order.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mixedlm_ext.caching import cached_property
from mixedlm_ext.covariance import Covariance
from mixedlm_ext.linalg.crossproducts import Coupling, CrossProducts
from mixedlm_ext.linalg.factor import Pattern
from mixedlm_ext.linalg.triangular import lower_root
from mixedlm_ext.pls import Problem

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
        out = []
        for term, Q, T in zip(covariance.terms, self.bases, covariance.term_templates(theta)):
            out.append(term.theta_of(lower_root(Q @ T)))
        return np.concatenate(out)

    def chain_rule(self, theta: Array) -> Array:
        """Return ∂Γ here / ∂T at a theta of the first model, entries as in `chain_rule`."""
        covariance = self.problem.covariance
        inverses = self._inverses
        out = np.empty((covariance.n_entries, covariance.n_entries))
        zero = [np.zeros_like(inverse) for inverse in inverses]
        for j, (i, a, b) in enumerate(
            zip(covariance.blocks, covariance.rows, covariance.columns, strict=True)
        ):
            T = covariance.templates(theta)[i]
            half = np.outer(inverses[i][:, a], inverses[i] @ T[:, b])  # Q⁻¹ ∂T T'Q⁻¹'
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
    bases, templates, large = [], [], False
    for term, T in zip(covariance.terms, covariance.term_templates(theta)):
        Q = np.eye(term.k)
        if term.structure == "us" and term.k > 1:
            U, values, _ = np.linalg.svd(T)
            Q, T = U * np.maximum(values, 1.0), np.diag(np.minimum(values, 1.0))
            large = large or values[0] > _LARGE
        bases.append(Q)
        templates.append(term.theta_of(T))
    if not large:
        return None
    cp = _in_columns(problem.cp, _block_bases(covariance, bases))
    return AlignedProblem(Problem(cp, covariance, Pattern(cp)), np.concatenate(templates), bases)


def _block_bases(covariance: Covariance, bases: list[Array]) -> list[Array]:
    """Put the terms' bases into those of the blocks."""
    out = [np.eye(k) for k in covariance.block_sizes]
    for term, Q in zip(covariance.terms, bases):
        own = slice(term.first, term.first + term.k)
        out[term.block][own, own] = Q
    return out


def _in_columns(cp: CrossProducts, bases: list[Array]) -> CrossProducts:
    """Return the cross-products of the columns Z_lQ."""
    ZX, Zy = np.empty_like(cp.ZX), np.empty_like(cp.Zy)
    for i, Q in enumerate(bases):
        for old, new in ((cp.ZX, ZX), (cp.Zy, Zy)):
            cp.block(new, i)[:] = np.tensordot(Q.T, cp.block(old, i), axes=1)
    return replace(
        cp,
        diagonal=[
            np.einsum("ac,abl,bd->cdl", Q, D, Q, optimize=True) for Q, D in zip(bases, cp.diagonal)
        ],
        couplings={
            (i, j): Coupling(
                c.rows,
                c.columns,
                np.einsum("ac,abl,bd->cdl", bases[i], c.values, bases[j], optimize=True),
            )
            for (i, j), c in cp.couplings.items()
        },
        ZX=ZX,
        Zy=Zy,
    )
