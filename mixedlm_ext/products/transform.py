"""Cross-products in other columns, from those that are there: no row is touched again.

With X = QR, a model with the columns XC has RC = PS: QP is the basis of XC, and what QP leaves of
the projection of y on Q goes back to the residual.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from mixedlm_ext.linalg.blas import matmul
from mixedlm_ext.linalg.orthogonal import whiten
from mixedlm_ext.linalg.triangular import solve_upper
from mixedlm_ext.products.basis import Basis
from mixedlm_ext.products.layout import Place
from mixedlm_ext.products.products import CrossProducts

Array = NDArray[np.float64]

__all__ = [
    "orthonormal",
    "place_of_columns",
    "with_fixed_columns",
    "with_random_columns",
]


def orthonormal(cp: CrossProducts) -> CrossProducts:
    """Return the products in a basis in which XX = I, of the residual on X: Xy = 0.

    Raises
    ------
    LinAlgError
        If the columns of X are dependent in the rows of these products.
    """
    U = np.asarray(np.linalg.cholesky(cp.XX).T, dtype=float)  # XX = U'U
    gamma = solve_upper(U, solve_upper(U, cp.Xy, transpose=True))
    layout = cp.layout
    return replace(
        cp,
        layout=replace(layout, basis=layout.basis.times(U), beta0=layout.coefficients(gamma)),
        ZX=solve_upper(U, cp.ZX.T, transpose=True).T,
        Zy=cp.Zy - matmul(cp.ZX, gamma),
        XX=np.eye(cp.p),
        Xy=np.zeros(cp.p),
        yy=float(cp.yy - gamma @ cp.Xy),
    )


def with_fixed_columns(cp: CrossProducts, C: Array) -> CrossProducts:
    """Return the products with XC in place of X, for C (p, r); XX = I."""
    P, S = np.linalg.qr(cp.R @ C)
    projection = cp.R @ cp.layout.beta0
    d = projection - P @ (P.T @ projection)
    return replace(
        cp,
        layout=cp.layout.with_fixed(S, solve_upper(S, P.T @ projection)),
        ZX=cp.ZX @ P,
        Zy=cp.Zy + cp.ZX @ d,
        XX=np.eye(C.shape[1]),
        Xy=np.zeros(C.shape[1]),
        yy=cp.yy + float(d @ d),
    )


def place_of_columns(place: Place, C: Array, how: str, first: int) -> tuple[Place, Array]:
    """Return the place of a term of the columns XC, C (k, r), and M with (XC)_std = X_std M."""
    RC = place.whitening @ C
    _, whitening = whiten(RC, how)
    new = replace(place, first=first, basis=Basis(whitening))
    return new, np.asarray(np.linalg.solve(whitening.T, RC.T).T, dtype=float)


def with_random_columns(
    cp: CrossProducts, maps: Mapping[int, Array | None], places: Sequence[Place]
) -> CrossProducts:
    """Return the products of some blocks, in the order of `maps`, with Z_iM_i in place of Z_i.

    Parameters
    ----------
    cp : CrossProducts
    maps : mapping of int to ndarray (k, r) or None
        M_i of each block that stays, applied at every level; None leaves its columns as they are.
    places : sequence of Place
        Where the terms are then.

    Returns
    -------
    CrossProducts
    """
    A = cp.A.congruent(maps)
    Zr = np.column_stack([cp.ZX, cp.Zy])
    parts = [cp.block(Zr, i) for i in maps]
    turned = [
        part if M is None else np.tensordot(M, part, axes=(0, 0))
        for part, M in zip(parts, maps.values())
    ]
    stacked = np.concatenate([Zr[:0], *(part.reshape(-1, Zr.shape[1]) for part in turned)])
    layout = cp.layout
    layout = replace(
        layout,
        shapes=A.shapes,
        places=tuple(places),
        roots=layout.roots and tuple(layout.roots[i] for i in maps),
        priors=layout.priors and tuple(layout.priors[i] for i in maps),
    )
    return replace(cp, layout=layout, A=A, ZX=stacked[:, :-1], Zy=stacked[:, -1])
