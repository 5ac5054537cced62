"""Known covariances of the levels of a factor, by a root or by the inverse."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import sparse

from mixedlm_ext.design.keys import match_keys
from mixedlm_ext.design.messages import quoted
from mixedlm_ext.errors import DesignError
from mixedlm_ext.linalg.precision import SparsePrecision
from mixedlm_ext.linalg.semidefinite import Root

__all__ = ["KnownMatrix", "places_of"]

Floats = npt.NDArray[np.float64]

_ROUNDING = 1e-8
"""Relative difference of entries that is no more than rounding."""
_CELLS = 4_000_000
"""Numbers of K that are formed at once."""


@dataclass(frozen=True, eq=False)
class KnownMatrix:
    """The covariance K of the levels of a factor, up to the variance that is estimated.

    Made by `mixedlm_ext.pedigree`, and by models from the matrices that they are given. Where rows
    have several members, what stands for levels are the patterns of members that occur, with the
    effects Wb of those of the members, and K = WK_bW' is theirs.

    Attributes
    ----------
    labels : Index (l,)
        The levels, in the order of K; the members.
    root : ndarray or sparse array (patterns or l, r), or None
        C with K = CC', of the rank r of K; W, where the precision of the members is known.
    precision : SparsePrecision or None
        K⁻¹, or K_b⁻¹ of members, where there is no root but this.
    diagonal : ndarray or None
        K_ll; None where only a precision is known.
    weights : csr_array (patterns, l), or None
        W, where rows have several members.
    among : KnownMatrix or None
        K_b, where members are not independent.
    """

    labels: pd.Index
    root: Root | None = None
    precision: SparsePrecision | None = None
    diagonal: Floats | None = None
    weights: sparse.csr_array | None = None
    among: KnownMatrix | None = None

    @classmethod
    def of_members(
        cls, labels: pd.Index, weights: sparse.csr_array, among: KnownMatrix | None = None
    ) -> KnownMatrix:
        """Return the covariance of patterns of members from their weights (patterns, l)."""
        root = weights if among is None else among.root_of_rows(weights)
        precision = None if among is None else among.precision
        diagonal = None if precision is not None else _squares(root)
        return cls(labels, root, precision, diagonal, weights, among)

    def __len__(self) -> int:
        return len(self.labels) if self.root is None else int(self.root.shape[0])

    def __repr__(self) -> str:
        if self.members:
            return f"<KnownMatrix of {len(self):,} patterns of {len(self.labels):,} members>"
        what = "root" if self.precision is None else "precision"
        return f"<KnownMatrix of {len(self):,} levels, by its {what}>"

    @property
    def members(self) -> bool:
        """Whether rows have several members, by patterns."""
        return self.weights is not None

    @property
    def is_identity(self) -> bool:
        """Whether levels are independent and have one variance, as without a matrix."""
        if self.root is not None and self.precision is not None:
            return False
        matrix: Any = self.root if self.precision is None else self.precision.Q
        rows, columns = matrix.nonzero()
        if len(rows) != len(self) or len(np.unique(columns)) != len(self):
            return False
        values = np.abs(np.asarray(matrix[rows, columns]))
        return bool(np.ptp(values) <= _ROUNDING * values.max())

    @property
    def effects(self) -> int:
        """The rank of K: as many independent effects make up those of the levels."""
        return len(self) if self.root is None else int(self.root.shape[1])

    def root_of_rows(self, weights: sparse.csr_array) -> Root:
        """Return what takes the engine's effects to Wb, for weights W (m, l) of the levels."""
        if self.root is None:
            return weights
        product = weights @ self.root
        dense = isinstance(product, np.ndarray)
        return np.asarray(product) if dense else sparse.csr_array(product)

    def variances_of_rows(self, weights: sparse.csr_array) -> Floats:
        """Return the diagonal of WKW' for weights W (m, l) of the levels, or of the members."""
        if self.members:
            among = self.among
            return _squares(weights) if among is None else among.variances_of_rows(weights)
        if self.precision is None:
            return _squares(self.root_of_rows(weights))
        out = np.empty(weights.shape[0])
        step = max(1, _CELLS // len(self))
        for first in range(0, len(out), step):
            own = weights[first : first + step]
            KW = self.precision.solve(own.T.toarray())
            out[first : first + step] = np.asarray(own.multiply(KW.T).sum(axis=1)).ravel()
        return out

    def from_independent(self, Z: Floats) -> Floats:
        """Return effects (l, k) with the covariance K from independent ones, Z (effects, k)."""
        own = Z if self.precision is None else self.precision.root_times(Z)
        return own if self.root is None else np.asarray(self.root @ own)

    def between(self, codes: npt.NDArray[np.intp]) -> Floats:
        """Return K_lm of some levels, (..., m, m) for codes (..., m)."""
        if self.precision is None:
            rows = _dense_rows(self.root, codes.ravel()).reshape(*codes.shape, -1)
            return np.asarray(rows @ rows.swapaxes(-1, -2))
        own, places = np.unique(codes, return_inverse=True)
        K, places = self._rows_of_K(own)[:, own], places.reshape(codes.shape)
        return np.asarray(K[places[..., :, None], places[..., None, :]])

    def entries(self, one: npt.NDArray[np.intp], two: npt.NDArray[np.intp]) -> Floats:
        """Return K_lm of pairs of levels, (m,) for codes (m,) and (m,)."""
        pairs, which = np.unique(one * len(self) + two, return_inverse=True)
        first, second = np.divmod(pairs, len(self))
        out = np.empty(len(pairs))
        step = max(1, _CELLS // max(len(self), self.effects))
        for start in range(0, len(pairs), step):
            part = slice(start, start + step)
            own, place = np.unique(first[part], return_inverse=True)
            if self.precision is None:
                left, right = (_dense_rows(self.root, at[part]) for at in (first, second))
                out[part] = np.einsum("mr,mr->m", left, right)
            else:
                out[part] = self._rows_of_K(own)[place, second[part]]
        return out[np.ravel(which)]

    def _rows_of_K(self, levels: npt.NDArray[np.intp]) -> Floats:
        """Return some rows of K, (m, l), of a precision."""
        assert self.precision is not None
        if self.root is None:
            E = np.zeros((len(self), len(levels)))
            E[levels, np.arange(len(levels))] = 1.0
            return self.precision.solve(E).T
        return np.asarray(self.root @ self.precision.solve(_dense_rows(self.root, levels).T)).T

    @property
    def edges(self) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], int]:
        """Levels and what they have in common, by number, and how many of these there are.

        Levels that hang together by nothing are independent.
        """
        matrix: Any = self.root if self.precision is None else self.precision.Q
        if self.root is not None and self.precision is not None:
            W: Any = abs(self.root)
            matrix = W @ abs(self.precision.Q)
        rows, columns = (at.astype(np.intp) for at in matrix.nonzero())
        return rows, columns, int(matrix.shape[1])

    def times(self, V: Floats) -> Floats:
        """Return KV for V (l, c)."""
        own = V if self.root is None else self.root.T @ V
        known = own if self.precision is None else self.precision.solve(np.asarray(own))
        return np.asarray(known if self.root is None else self.root @ known)

    def renamed(self, name: str) -> KnownMatrix:
        """Return the matrix with another name of its labels."""
        return replace(self, labels=self.labels.rename(name))


def _squares(C: Any) -> Floats:
    """Return the diagonal of CC'."""
    squares = C * C if isinstance(C, np.ndarray) else C.multiply(C)
    return np.asarray(squares.sum(axis=1), dtype=float).ravel()


def _dense_rows(C: Any, rows: npt.NDArray[np.intp]) -> Floats:
    """Return some rows of a root, dense."""
    return np.asarray(C[rows] if isinstance(C, np.ndarray) else C[rows].toarray())


def places_of(levels: pd.Index, known: KnownMatrix, term: str) -> npt.NDArray[np.intp]:
    """Return where the levels of the data are among the labels (q,).

    Parameters
    ----------
    levels : Index (q,)
    known : KnownMatrix
    term : str
        The random term, for messages.

    Raises
    ------
    DesignError
        If some are not there, with their names.
    """
    places = match_keys(levels, known.labels, f"the grouping factor {levels.name!r}")
    lost = np.flatnonzero(places < 0)
    if len(lost):
        names = ", ".join(quoted(levels[int(i)]) for i in lost[:3])
        more = f" and {len(lost) - 3} more" if len(lost) > 3 else ""
        one = len(lost) == 1
        raise DesignError(
            f"{len(lost)} level{'' if one else 's'} of {levels.name!r} {'has' if one else 'have'} "
            f"no row in the matrix of {term}: {names}{more}. Add {'it' if one else 'them'} to the "
            f"matrix, or leave {'its' if one else 'their'} rows out of the data."
        )
    return places
