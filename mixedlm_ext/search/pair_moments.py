"""Where to start if levels have few columns each: the mean products of pairs of coefficients.

With b_l the least-squares coefficients of the columns that level l has, b_la b_lc is about σ²Γ_ac,
and b_la² that of one column with the noise of b_la more. Of one standard deviation d and
correlations C(ρ) the products of two columns, of all levels together, tell

    ρ: the largest (Σ b_la b_lc C_ac)²/Σ C_ac²,   σ²d² = Σ b_la b_lc C_ac/Σ C_ac²

without any row more than one for each column, and what they leave of the squares is σ².
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mixedlm_ext.criteria.pls import Problem
from mixedlm_ext.products.supports import LevelSquares, Support
from mixedlm_ext.structures.base import LEAST_SD, MOST_SD
from mixedlm_ext.structures.correlated import CorrelatedStructure

Array = NDArray[np.float64]

__all__ = ["pair_moments"]

_GRID = 9
"""Values of ρ that are tried."""
_LEAST_NOISE = 0.05
"""Share of the variance of the coefficients that the residual has at least."""


def pair_moments(problem: Problem, squares: LevelSquares) -> Array:
    """Return theta to start from; that of T = I if pairs do not tell it.

    Parameters
    ----------
    problem : Problem
        Of one block.
    squares : LevelSquares
        Its Z_l'WZ_l.
    """
    covariance, cp = problem.covariance, problem.cp
    structure = covariance.terms[0].structure
    one = len(covariance.terms) == 1 and isinstance(structure, CorrelatedStructure)
    if not (one and structure.one_variance):
        return covariance.start()
    assert isinstance(structure, CorrelatedStructure)
    support = squares.support
    inverses = np.linalg.pinv(squares.values.transpose(2, 0, 1), hermitian=True)
    b = np.einsum("lab,bl->al", inverses, support.take(cp.block(cp.Zy, 0)))
    noise = float(np.einsum("laa->", inverses)) / float(support.present.sum())
    return _of_pairs(structure, support, b, noise)


def _of_pairs(structure: CorrelatedStructure, support: Support, b: Array, noise: float) -> Array:
    """Return (d/σ, ρ) from the coefficients of every level, (m, levels), 0 where filled up.

    `noise` is the mean variance of coefficients without effects, in σ².
    """
    total = float((b * b).sum()) / float(support.present.sum())
    one, two = support.pairs
    met = support.present[:, None] & support.present[None] & (one != two)
    if structure.n_rho > 1 or not met.any() or not total > 0:
        return structure.start()
    own, products = structure.of_pairs(one[met], two[met]), (b[:, None] * b[None])[met]
    best, theta = 0.0, structure.start()
    for rho in np.linspace(*structure.rho_inside, _GRID):
        C = own.correlation(rho)
        inner, size = products @ C, C @ C
        if inner > 0 and inner**2 > best * size:
            best, variance = inner**2 / size, min(inner / size, (1.0 - _LEAST_NOISE) * total)
            sd = np.clip(np.sqrt(noise * variance / (total - variance)), LEAST_SD, MOST_SD)
            theta = np.concatenate([[sd], rho])
    return theta
