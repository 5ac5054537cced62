"""What remains of M after the largest block, scaled by its own diagonal blocks:

    Λ_r'BΛ_r + I = R C R',      C = I + W'(B - D)W,      W_l = T R_l⁻¹,      R_lR_l = T'D_lT + I

C has ones on its diagonal and zeros beside them within a level. It is what conjugate gradients and
Lanczos' iteration see. The derivatives of y'Cy, Y fixed, are those of W, of B and of D:

    d(Y'CY) = 2 tr(Y'dW'(B - D)X) + tr(X'dBX) - tr(X'dDX),      X = WY
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mixedlm_ext.errors import FitError
from mixedlm_ext.linalg import small
from mixedlm_ext.linalg.krylov import Logarithms, NotConverged, conjugate_gradients, logarithms
from mixedlm_ext.solvers.complement import Complement, blockwise, weakened
from mixedlm_ext.solvers.level_roots import LevelRoots

Array = NDArray[np.float64]

__all__ = ["ScaledComplement"]

_REGULAR = 3e-5
"""Smallest singular value of a template, relative, by which traces are divided."""
_ACCURACY = 1e-12
"""Residuals of solves, relative to their right sides."""


class _Block(NamedTuple):
    """A block, its roots, and its rows of Y, X = WY and (B - D)X, each (k, levels, c)."""

    number: int
    root: LevelRoots
    Y: Array
    X: Array
    BX: Array


class ScaledComplement:
    """C at one theta.

    Parameters
    ----------
    complement : Complement
    templates : sequence of ndarray (k, k)
        Of the blocks that are not eliminated.

    Attributes
    ----------
    logdet : float
        log|M| but for log|C|.
    """

    def __init__(self, complement: Complement, templates: Sequence[Array]) -> None:
        self._complement = complement
        self._roots = [LevelRoots(T, D) for T, D in zip(templates, complement.D)]
        self.logdet = complement.logdet + sum(root.logdet for root in self._roots)

    def regular(self) -> ScaledComplement:
        """Return C next to this one at templates that can be divided by."""
        templates = [_regular(root.T) for root in self._roots]
        if all(T is root.T for T, root in zip(templates, self._roots)):
            return self
        return ScaledComplement(self._complement, templates)

    def times(self, X: Array) -> Array:
        """Return CX for X (rest, c)."""
        return X + self._scaled_back(self._complement.off_diagonal(self._scaled(X)))

    def _scaled(self, X: Array) -> Array:
        """Return WX."""
        return blockwise([root.W for root in self._roots], X)

    def _scaled_back(self, X: Array) -> Array:
        """Return W'X."""
        return blockwise([root.W.transpose(1, 0, 2) for root in self._roots], X)

    def apply(self, H: Array) -> Array:
        """Return NH for H (q, c): WC⁻¹W' between elimination and completion."""
        right = self._scaled_back(self._complement.reduced(H))
        try:
            solved = conjugate_gradients(self.times, right, _ACCURACY) if right.size else right
        except NotConverged:
            raise _unable() from None
        return self._complement.completed(H, self._scaled(solved))

    def logarithms(self, Z: Array) -> Logarithms:
        """Return z'(log(C) - C + I)z of some columns; the trace of C - I is zero."""
        try:
            return logarithms(self.times, Z)
        except NotConverged:
            raise _unable() from None

    # --- derivatives in Γ_i -----------------------------------------------------------------------

    def information(self) -> list[Array]:
        """Return the derivatives of `logdet`, (k, k) for every block."""
        out = [self._complement.own_information()]
        out[0] = out[0] + self._complement.by_diagonal([root.N for root in self._roots])
        for root in self._roots:
            F = weakened(root.D, root.N, root.T)
            out.append(small.product(F, root.D).sum(axis=2))
        return out

    def derivatives(self, n: int, logs: Logarithms) -> list[Array]:
        """Return those of the logarithms of n samples, (n, k, k) for every block.

        Templates are regular.
        """
        Y, signs = logs.directions(), logs.signs.ravel()
        Y = Y.reshape(len(Y), -1)
        X = self._scaled(Y)
        BX = self._complement.off_diagonal(X)
        first = signs[:, None, None] * self._complement.by_product(X)
        out = [first.reshape(n, -1, *first.shape[1:]).sum(axis=1)]
        out += [np.empty((n, *root.T.shape)) for root in self._roots]
        for s, own in enumerate(np.split(np.arange(len(signs)), n)):
            P = []
            for block in self._by_block(Y[:, own], X[:, own], BX[:, own]):
                by_T, by_D = block.root.adjoint(_products(block.BX, block.Y, signs[own]))
                P.append(by_D - _products(block.X, block.X, signs[own]))
                out[block.number][s] = _divided(0.5 * by_T, block.root.T)
            out[0][s] += self._complement.by_diagonal(P)
        return out

    def _by_block(self, Y: Array, X: Array, BX: Array) -> Iterator[_Block]:
        """Cut the rows of some arrays into blocks."""
        start = 0
        for i, root in enumerate(self._roots, 1):
            k, _, levels = root.D.shape
            own = slice(start, start + k * levels)
            start = own.stop
            yield _Block(i, root, *(M[own].reshape(k, levels, M.shape[1]) for M in (Y, X, BX)))


def _products(one: Array, two: Array, signs: Array) -> Array:
    """Return Σ_c ±a_c b_c' of every level, (k, k, levels)."""
    return np.einsum("alc,blc->abl", one, two * signs, optimize=True)


def _regular(T: Array) -> Array:
    """Return T, or the template next to it that can be divided by."""
    U, values, V = np.linalg.svd(T)
    least = _REGULAR * max(1.0, values[0])
    return T if values[-1] >= least else np.asarray((U * np.maximum(values, least)) @ V)


def _divided(KT: Array, T: Array) -> Array:
    """Return the symmetric K that fits KT best."""
    U, values, V = np.linalg.svd(T)
    turned = U.T @ KT @ V.T * values
    squares = values**2
    return np.asarray(U @ ((turned + turned.T) / (squares[:, None] + squares)) @ U.T)


def _unable() -> FitError:
    """Return the error for a matrix of too large a condition number."""
    return FitError(
        "the iterative solver did not converge: the levels of some factors can hardly be told "
        "apart. Fit with solver='exact'."
    )
