"""Symmetric roots of T'D_lT + I at every level of a block, and how they change with T and D.

    S_l = T'D_lT + I = R_lR_l,     W_l = TR_l⁻¹,     W_lW_l' = N_l = T S_l⁻¹T'

The symmetric root goes along with a rotation of T: what is computed from W and summed over the
columns of a level depends on Γ = TT' alone.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mixedlm_ext.linalg import small

Array = NDArray[np.float64]

__all__ = ["LevelRoots"]


class LevelRoots:
    """The roots at one template.

    Parameters
    ----------
    T : ndarray (k, k)
    D : ndarray (k, k, levels)

    Attributes
    ----------
    W, N : ndarray (k, k, levels)
    logdet : float
        Σ_l log|S_l|.
    """

    def __init__(self, T: Array, D: Array) -> None:
        self.T, self.D = T, D
        k = len(T)
        S = small.congruence(T, D)
        S[np.arange(k), np.arange(k)] += 1.0
        if k == 1:
            values, self._U = S[0], np.ones_like(S)
        else:
            roots, vectors = np.linalg.eigh(S.transpose(2, 0, 1))
            values, self._U = roots.T, np.ascontiguousarray(vectors.transpose(1, 2, 0))
        if not (values > 0).all():
            raise np.linalg.LinAlgError("T'DT + I is not positive definite")
        self.logdet = float(np.log(values).sum())
        self._rho = np.sqrt(values)
        self._R_inverse = small.product(self._U / self._rho, self._U.transpose(1, 0, 2))
        self.W = small.product(T[:, :, None], self._R_inverse)
        self.N = small.product(self.W, self.W.transpose(1, 0, 2))

    def adjoint(self, M: Array) -> tuple[Array, Array]:
        """Return ∂/∂T (k, k) and ∂/∂D_l (k, k, levels) of 2Σ_l <W_l, M_l>, M (k, k, levels) fixed.

        With RdR + dRR = dS, <dR, Z> = <dS, X> where RX + XR = (Z + Z')/2.
        """
        MR = small.product(M, self._R_inverse)
        Z = small.product(self.W.transpose(1, 0, 2), MR)
        turned = small.product(small.product(self._U.transpose(1, 0, 2), Z), self._U)
        symmetric = 0.5 * (turned + turned.transpose(1, 0, 2))
        inner = symmetric / (self._rho[:, None] + self._rho[None, :])
        X = small.product(small.product(self._U, inner), self._U.transpose(1, 0, 2))
        TX = small.product(self.T[:, :, None], X)
        by_T = (2.0 * MR - 4.0 * small.product(self.D, TX)).sum(axis=2)
        return by_T, -2.0 * small.product(TX, self.T.T[:, :, None])
