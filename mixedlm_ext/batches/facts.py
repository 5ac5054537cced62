"""What the checks of a design ask of its rows, found out batch by batch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from mixedlm_ext.batches.matrices import BatchRows
from mixedlm_ext.design.checks import not_finite
from mixedlm_ext.design.coefficients import same_column
from mixedlm_ext.design.facts import KnownTerm, equal_columns, in_one_level
from mixedlm_ext.design.records import TermDesign, TermSpec
from mixedlm_ext.linalg.blas import matmul

__all__ = ["ColumnFacts", "NotFinite", "RowFacts", "SamePairs", "TermFacts", "VectorFacts"]

Floats = npt.NDArray[np.float64]
Codes = npt.NDArray[np.intp]
Truths = npt.NDArray[np.bool_]


_FEW_COLUMNS = 8


class VectorFacts:
    """Smallest, largest and number of values."""

    def __init__(self) -> None:
        self.n, self.low, self.high, self.total = 0, np.inf, -np.inf, 0.0

    def see(self, values: Floats) -> None:
        """Add the values of a batch."""
        self.n += len(values)
        self.low = min(self.low, float(values.min()))
        self.high = max(self.high, float(values.max()))
        self.total += float(values.sum())

    def absorb(self, other: VectorFacts, sign: int = 1) -> None:
        """Add the values of other rows, or take them away: extremes stay then."""
        self.n += sign * other.n
        self.total += sign * other.total
        if sign > 0:
            self.low, self.high = min(self.low, other.low), max(self.high, other.high)

    @property
    def peak(self) -> float:
        """The largest size."""
        return max(abs(self.low), abs(self.high))

    def extremes(self) -> Floats:
        """Return the smallest and the largest value, which stand for all in checks."""
        return np.array([self.low, self.high])


class ColumnFacts:
    """Extremes of the columns of a matrix, and their products with ones and with one another.

    Parameters
    ----------
    k : int
    """

    def __init__(self, k: int) -> None:
        self.n = 0
        self.low, self.high = np.full(k, np.inf), np.full(k, -np.inf)
        self.ones, self.gram = np.zeros(k), np.zeros((k, k))
        self.nonzero = np.zeros(k, np.intp)

    def see(self, X: Floats) -> None:
        """Add the rows of a batch."""
        self.n += len(X)
        low, high = _extremes(X)
        self.low, self.high = np.minimum(self.low, low), np.maximum(self.high, high)

    def absorb(self, other: ColumnFacts, sign: int = 1) -> None:
        """Add other rows, or take them away; inner products are those of a layout, and stay."""
        self.n += sign * other.n
        self.ones += sign * other.ones
        self.nonzero += sign * other.nonzero
        if sign > 0:
            self.low = np.minimum(self.low, other.low)
            self.high = np.maximum(self.high, other.high)

    def see_coordinates(self, columns: Sequence[Floats]) -> None:
        """Add the coordinates of the rows of a batch, one column after the other."""
        if len(columns):
            stacked = np.array(columns)
            self.gram += matmul(stacked, stacked.T)


def _extremes(X: Floats) -> tuple[Floats, Floats]:
    """Return the smallest and largest values of columns; numpy is slow along few."""
    if X.shape[1] > _FEW_COLUMNS:
        return X.min(axis=0), X.max(axis=0)
    each = [(column.min(), column.max()) for column in X.T]
    low, high = np.array(each, dtype=float).reshape(-1, 2).T
    return low, high


class TermFacts(ColumnFacts):
    """The same of a random term, and what depends on levels.

    Parameters
    ----------
    spec : TermSpec
    """

    def __init__(self, spec: TermSpec) -> None:
        k = len(spec.columns)
        super().__init__(k)
        self._ordered = spec.kind.ordered
        self.indicators = True
        self.one_level = np.ones(k, dtype=bool)
        self.level = np.full(k, -1, dtype=np.intp)

    def see_term(self, term: TermDesign) -> None:
        """Add the rows of a batch."""
        self.see(term.X)
        if self._ordered and self.indicators:
            self.indicators = term.facts.indicators
        for j in np.flatnonzero(self.one_level):
            self._see_level(int(j), term)

    def _see_level(self, j: int, term: TermDesign) -> None:
        """Compare the level in which a column is not zero with that of the batches before."""
        column = term.X[:, j]
        rows = np.flatnonzero(column)
        if not len(rows):
            return
        level = term.codes[rows[0]]
        known = self.level[j] in (-1, level)
        self.one_level[j] = known and in_one_level(column[:, None], term.codes)[0]
        self.level[j] = level

    def absorb_term(self, other: TermFacts, codes: Codes, sign: int = 1) -> None:
        """Add other rows, whose levels have other `codes` here, or take them away."""
        self.absorb(other, sign)
        if sign < 0:
            return
        self.indicators &= other.indicators
        theirs = np.where(other.level >= 0, codes[np.maximum(other.level, 0)], -1)
        same = (self.level < 0) | (theirs < 0) | (self.level == theirs)
        self.one_level &= other.one_level & same
        self.level = np.where(theirs >= 0, theirs, self.level)

    def known(self, root: Floats) -> KnownTerm:
        """Return the facts, with a triangle that has the inner products of the columns."""
        one_level = self.one_level & (self.level >= 0)
        return KnownTerm(self.n, self.low, self.high, root, self.indicators, one_level)


class SamePairs:
    """Which columns of the random terms are columns of X, or of other terms, in all rows."""

    def __init__(self, p: int, specs: Sequence[TermSpec]) -> None:
        widths = [p, *(len(spec.columns) for spec in specs)]
        self.near = {
            (i, j): np.ones((widths[i], widths[j]), dtype=bool)
            for i in range(1, len(widths))
            for j in range(i)
        }
        self.equal = {key: value.copy() for key, value in self.near.items()}

    def see(self, rows: BatchRows) -> None:
        """Compare the rows of a batch."""
        parts = [rows.X, *(term.X for term in rows.terms)]
        for (i, j), near in self.near.items():
            for a, b in zip(*np.nonzero(near)):
                near[a, b] = same_column(parts[i][:, a], parts[j][:, b])
            equal = self.equal[i, j]
            if equal.any():
                equal &= equal_columns(parts[i], parts[j])

    def absorb(self, other: SamePairs) -> None:
        """Add the comparison of other rows."""
        for key in self.near:
            self.near[key] &= other.near[key]
            self.equal[key] &= other.equal[key]


class NotFinite:
    """The first value of a vector that is not finite, and how many others there are."""

    def __init__(self) -> None:
        self._first: dict[str, tuple[float, object]] = {}
        self._count: dict[str, int] = {}

    def see(self, what: str, values: Floats, index: pd.Index) -> bool:
        """Look at the values of a batch; say whether all are finite."""
        if np.isfinite(values.sum()):
            return True
        finite = np.isfinite(values)
        if finite.all():
            return True
        row = int(np.flatnonzero(~finite)[0])
        self._first.setdefault(what, (float(values[row]), index[row]))
        self._count[what] = self._count.get(what, 0) + int(np.count_nonzero(~finite))
        return False

    def check(self) -> None:
        """Raise for the first vector that has such values."""
        for what, (value, row) in self._first.items():
            raise not_finite(what, value, row, self._count[what] - 1)


class RowFacts:
    """All of this, of the response, the fixed part and each random term.

    Parameters
    ----------
    names : sequence of str
        Columns of the fixed part.
    specs : sequence of TermSpec
    response : str
        The text of the response.
    counted : bool
        Count the rows in which each column of the fixed part is not zero, too.
    """

    def __init__(
        self,
        names: Sequence[str],
        specs: Sequence[TermSpec],
        response: str,
        counted: bool = False,
    ) -> None:
        self._counted = counted
        self.y, self.residual, self.offset = VectorFacts(), VectorFacts(), VectorFacts()
        self.weights = VectorFacts()
        self.X = ColumnFacts(len(names))
        self.terms = [TermFacts(spec) for spec in specs]
        self.pairs = SamePairs(len(names), specs)
        self.not_finite = NotFinite()
        self._names, self._specs, self._response = names, specs, response

    def are_finite(self, rows: BatchRows) -> bool:
        """Say whether all numbers of a batch can be computed with."""
        index = rows.used.frame.index
        fine = self.not_finite.see(f"response {self._response!r}", rows.y, index)
        places = ["the fixed part", *(f"the random term {spec.text}" for spec in self._specs)]
        names = [self._names, *(spec.columns for spec in self._specs)]
        parts = [rows.X, *(term.X for term in rows.terms)]
        for place, own, X in zip(places, names, parts, strict=True):
            if np.isfinite(X.sum()) or np.isfinite(X).all():
                continue
            fine = False
            for j, name in enumerate(own):
                self.not_finite.see(f"{name!r} in {place}", X[:, j], index)
        return fine

    def see(
        self,
        rows: BatchRows,
        y: Floats,
        coordinates: tuple[Floats, Sequence[Sequence[Floats | None]]] | None,
    ) -> None:
        """Add a batch.

        Parameters
        ----------
        rows : BatchRows
        y : ndarray (m,)
            Response less offset.
        coordinates : tuple of ndarray (m, p) and sequences of ndarray (m,), or None
            Those of X, and of the columns of each term; None if their inner products are those of
            the cross-products, as they are without weights.
        """
        self.y.see(rows.y)
        self.residual.see(y)
        if rows.offset is not None:
            self.offset.see(rows.offset)
        if rows.weights is not None:
            self.weights.see(rows.weights)
        self.X.see(rows.X)
        self.X.ones += np.ones(len(y)) @ rows.X
        if self._counted:
            self.X.nonzero += np.count_nonzero(rows.X, axis=0)
        for facts, term in zip(self.terms, rows.terms, strict=True):
            facts.see_term(term)
        self.pairs.see(rows)
        if coordinates is not None:
            Q, columns = coordinates
            self.X.see_coordinates(list(Q.T))
            for facts, own in zip(self.terms, columns, strict=True):
                facts.see_coordinates([np.ones(len(y)) if c is None else c for c in own])

    def absorb(self, other: RowFacts, codes: Sequence[Codes], sign: int = 1) -> None:
        """Add the facts of other rows, or take rows away.

        Parameters
        ----------
        other : RowFacts
            Of the same columns.
        codes : sequence of ndarray
            Of each term, where its levels there are among those here.
        sign : {1, -1}
        """
        for name in ("y", "residual", "offset", "weights"):
            getattr(self, name).absorb(getattr(other, name), sign)
        self.X.absorb(other.X, sign)
        for own, theirs, places in zip(self.terms, other.terms, codes, strict=True):
            own.absorb_term(theirs, places, sign)
        if sign > 0:
            self.pairs.absorb(other.pairs)
