"""The fixed matrices whose sum is C⁻¹: ½(L' c R + R' c L).

L and R pick rows, or add rows up, and c holds one of the coefficients for each of their rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

Array = NDArray[np.float64]
Index = NDArray[np.intp]

__all__ = ["Piece", "identity", "picking"]


@dataclass(frozen=True, eq=False)
class Piece:
    """½(L' c R + R' c L).

    Parameters
    ----------
    L, R : csr_array (m, n)
        `R` is `L` itself where they are the same.
    which : ndarray of intp (m,)
        Which of the coefficients each row has.
    """

    L: sparse.csr_array
    R: sparse.csr_array
    which: Index

    def times(self, c: Array, H: Array) -> Array:
        """Return the piece times H, with the coefficients c."""
        own = c[self.which]
        own = own if H.ndim == 1 else own[:, None]
        if self.R is self.L:
            return np.asarray(self.L.T @ (own * (self.L @ H)))
        half = self.L.T @ (own * (self.R @ H)) + self.R.T @ (own * (self.L @ H))
        return np.asarray(0.5 * half)


def picking(rows: Index, n: int) -> sparse.csr_array:
    """Return the matrix that picks rows of n."""
    m = len(rows)
    return sparse.csr_array((np.ones(m), rows, np.arange(m + 1)), shape=(m, n))


def identity(n: int) -> Piece:
    """Return I, with the first coefficient."""
    L = picking(np.arange(n), n)
    return Piece(L, L, np.zeros(n, np.intp))
