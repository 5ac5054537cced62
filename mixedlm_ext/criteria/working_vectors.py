"""Working vectors [dΓ v]: what average information is a quadratic form of."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mixedlm_ext.products.products import CrossProducts
from mixedlm_ext.structures.covariance import Covariance

Array = NDArray[np.float64]

__all__ = ["working_vectors"]


def working_vectors(covariance: Covariance, cp: CrossProducts, theta: Array, v: Array) -> Array:
    """Return E (q, coordinates): column ac is (e_ae_c' + e_ce_a')v_l at each level of a block.

    Of a shaped term, a column is (∂Γ/∂θ_j)v_l. Where levels have a covariance K, v is Kv.
    """
    E = np.zeros((cp.q, covariance.n_coordinates))
    Kv = [cp.spread(i, cp.block(v, i)) for i in range(len(cp.shapes))]
    for j in (j for index in covariance.of_block for j in index.tolist()):
        i, a, c = covariance.blocks[j], covariance.rows[j], covariance.columns[j]
        own = Kv[i]
        column = cp.block(E[:, j], i)
        column[a] += own[c]
        column[c] += own[a]
    for term, part, coordinates in covariance.shaped:
        D = term.structure.gamma_derivatives(theta[part])
        own = Kv[term.block][term.own]
        for j, d in zip(range(coordinates.start, coordinates.stop), D):
            cp.block(E[:, j], term.block)[term.own] = d @ own
    return E
