"""Entries of N = ΛM⁻¹Λ' where Z'WZ has entries: what the leverage of a row is made of.

The rows of a model see pairs of levels that meet in them, which are just the pattern of Z'WZ; the
rest of the inverse, which is dense, is not formed.
"""

from __future__ import annotations

import numpy as np

from mixedlm_ext.products.products import BlockMatrix, Coupling
from mixedlm_ext.solvers.direct import Factor
from mixedlm_ext.solvers.elimination import EliminationFactor
from mixedlm_ext.solvers.root import DenseFactor

__all__ = ["inverse_on_pattern"]


def inverse_on_pattern(factor: Factor) -> BlockMatrix:
    """Return N on the pattern of Z'WZ.

    Parameters
    ----------
    factor : Factor

    Returns
    -------
    BlockMatrix
        Blocks and pairs of levels of the pattern that was factored.
    """
    symbolic, stages = factor.symbolic, factor.stages
    diagonal = [np.zeros((k, k, levels)) for k, levels in symbolic.shapes]
    couplings = {
        (i, j): Coupling(
            rows, columns, np.empty((symbolic.shapes[i][0], symbolic.shapes[j][0], len(rows)))
        )
        for (i, j), (rows, columns) in symbolic.pairs.items()
    }
    out = BlockMatrix(symbolic.shapes, diagonal, couplings)
    if isinstance(stages, DenseFactor):
        symbolic.put(stages.inverse_at(symbolic.places), out)
        return out
    _put_first_stage(factor, stages, out)
    if stages.rest is not None:
        symbolic.put(stages.rest.inverse_at(symbolic.places), out)
    return out


def _put_first_stage(factor: Factor, stages: EliminationFactor, out: BlockMatrix) -> None:
    """Write the diagonal blocks of the first stage and its pairs with everything else."""
    part = stages.stage.part
    out.diagonal[part.block][:, :, part.levels] = stages.own_inverse
    if stages.rest is None:
        return
    coupled = stages.coupled_inverse
    for (one, two), places in factor.symbolic.first_coupling.items():
        values = out.couplings[one, two].values
        values = values if one == part.block else values.transpose(1, 0, 2)
        for b, where in enumerate(places):
            values[:, b] = coupled[:, where]
