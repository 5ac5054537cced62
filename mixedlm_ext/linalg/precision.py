"""A sparse positive definite matrix Q = K⁻¹, by what its Cholesky factor gives of K."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.linalg import splu, spsolve_triangular

from mixedlm_ext.caching import cached_property

Array = NDArray[np.float64]

__all__ = ["FactoredPrecision", "SparsePrecision"]


class SparsePrecision:
    """Q = K⁻¹ (n, n), sparse; K itself is never formed.

    Parameters
    ----------
    Q : sparse array (n, n)
        Symmetric.

    Raises
    ------
    LinAlgError
        If Q is not positive definite.

    Examples
    --------
    >>> Q = SparsePrecision(sparse.csc_array([[2.0, -1.0], [-1.0, 1.0]]))
    >>> Q.solve(np.array([1.0, 0.0])).round(12).tolist(), round(Q.logdet, 12) + 0.0
    ([1.0, 1.0], 0.0)
    """

    def __init__(self, Q: sparse.csc_array) -> None:
        self.Q = sparse.csc_array(Q)
        _ = self.logdet

    def __getstate__(self) -> dict[str, Any]:
        return {"Q": self.Q}

    @property
    def n(self) -> int:
        """Rows of K."""
        return int(self.Q.shape[0])

    @cached_property
    def _factor(self) -> Any:
        """SuperLU's factor, which takes the pivots on the diagonal: P'LDL'P."""
        options = {"SymmetricMode": True}
        try:
            factor = splu(self.Q, "MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options=options)
        except RuntimeError:
            raise np.linalg.LinAlgError("not positive definite") from None
        if not np.array_equal(factor.perm_r, factor.perm_c):
            raise np.linalg.LinAlgError("not positive definite")
        return factor

    @cached_property
    def pivots(self) -> Array:
        """D, (n,): the determinant is their product."""
        D = np.asarray(self._factor.U.diagonal())
        if not (D.max(initial=0.0) * self.n * np.finfo(float).eps < D).all():
            raise np.linalg.LinAlgError("not positive definite")
        return D

    @cached_property
    def logdet(self) -> float:
        """log|Q| = -log|K|."""
        return float(np.log(self.pivots).sum())

    def solve(self, V: Array) -> Array:
        """Return KV for V (n,) or (n, c)."""
        return np.ascontiguousarray(self._factor.solve(np.ascontiguousarray(V, dtype=float)))

    def root_times(self, Z: Array) -> Array:
        """Return RZ for Z (n, c), K = RR': effects with the covariance K from independent ones."""
        scaled = Z / np.sqrt(self.pivots)[:, None]
        upper = sparse.csr_array(self._factor.L.T)
        Y = spsolve_triangular(upper, scaled, lower=False, unit_diagonal=True)
        return np.asarray(Y)[self._factor.perm_r]


class FactoredPrecision(SparsePrecision):
    """Q = W'D⁻¹W of a known sparse W, which is unit triangular but for the order of its rows.

    Parameters
    ----------
    W : sparse array (n, n)
    D : ndarray (n,)
        Positive.
    order : ndarray (n,)
        Rows and columns of W in which it is lower triangular.

    Examples
    --------
    >>> W = sparse.csr_array([[1.0, 0.0], [-0.5, 1.0]])
    >>> Q = FactoredPrecision(W, np.array([1.0, 0.75]), np.array([0, 1]))
    >>> Q.solve(np.eye(2)).tolist()
    [[1.0, 0.5], [0.5, 1.0]]
    """

    def __init__(self, W: sparse.csr_array, D: Array, order: NDArray[np.intp]) -> None:
        self._W, self._D, self._order = W, D, order
        super().__init__(sparse.csc_array(W.T @ sparse.diags_array(1.0 / D) @ W))

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_W": self._W, "_D": self._D, "_order": self._order}

    @cached_property
    def _factor(self) -> Any:
        """SuperLU's factor of W in order, which is W."""
        return splu(sparse.csc_array(self._W[self._order][:, self._order]), "NATURAL")

    @property
    def pivots(self) -> Array:
        """Of Q, (n,): one over D."""
        return 1.0 / self._D

    def solve(self, V: Array) -> Array:
        """Return KV = W⁻¹DW⁻ᵀV for V (n,) or (n, c)."""
        D = self._D if V.ndim == 1 else self._D[:, None]
        return self._W_solve(D * self._W_solve(V, "T"))

    def root_times(self, Z: Array) -> Array:
        """Return W⁻¹D^½Z for Z (n, c)."""
        return self._W_solve(np.sqrt(self._D)[:, None] * Z)

    def _W_solve(self, V: Array, how: str = "N") -> Array:
        """Return W⁻¹V, or W⁻ᵀV."""
        out = np.empty(V.shape)
        out[self._order] = self._factor.solve(np.ascontiguousarray(V[self._order]), how)
        return out
