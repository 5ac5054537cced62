"""What the checks of a design ask of its rows, found out batch by batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from mixedlm_ext.batches.matrices import BatchRows
from mixedlm_ext.design.checks import not_finite
from mixedlm_ext.design.coefficients import same_column
from mixedlm_ext.design.facts import KnownTerm, in_one_level
from mixedlm_ext.design.records import TermDesign, TermSpec
from mixedlm_ext.linalg.blas import matmul

__all__ = ["ColumnFacts", "Ends", "NotFinite", "RowFacts", "SamePairs", "TermFacts", "VectorFacts"]

Floats = npt.NDArray[np.float64]
Codes = npt.NDArray[np.intp]
Truths = npt.NDArray[np.bool_]
TwoEnds = tuple[Floats, Floats]
"""The smallest and the largest values of columns."""

_FEW_COLUMNS = 8


class VectorFacts:
    """Smallest, largest and number of values."""

    def __init__(self) -> None:
        self.n, self.low, self.high, self.total = 0, np.inf, -np.inf, 0.0

    def see(self, values: Floats, ends: tuple[float, float] | None = None) -> None:
        """Add the values of a batch, whose smallest and largest may be known."""
        low, high = (values.min(), values.max()) if ends is None else ends
        self.n += len(values)
        self.low, self.high = min(self.low, float(low)), max(self.high, float(high))
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

    def see(self, X: Floats, ends: TwoEnds) -> None:
        """Add the rows of a batch, the smallest and largest values of whose columns are known."""
        self.n += len(X)
        low, high = ends
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


def _extremes(X: Floats) -> TwoEnds:
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

    def see_term(self, term: TermDesign, ends: TwoEnds) -> None:
        """Add the rows of a batch."""
        self.see(term.X, ends)
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

    def see(self, rows: BatchRows, ends: Ends) -> None:
        """Compare the rows of a batch."""
        parts = [rows.X, *(term.X for term in rows.terms)]
        for (i, j), near in self.near.items():
            equal = self.equal[i, j]
            for a, b in zip(*np.nonzero(equal)):
                equal[a, b] = _is_equal(parts[i], ends.parts[i], a, parts[j], ends.parts[j], b)
            for a, b in zip(*np.nonzero(near & ~equal)):  # what is equal is near
                near[a, b] = same_column(parts[i][:, a], parts[j][:, b])

    def absorb(self, other: SamePairs) -> None:
        """Add the comparison of other rows."""
        for key in self.near:
            self.near[key] &= other.near[key]
            self.equal[key] &= other.equal[key]


def _is_equal(A: Floats, ends: TwoEnds, a: int, B: Floats, others: TwoEnds, b: int) -> bool:
    """Say whether two columns are equal in every row; their ends tell it of constants."""
    (low, high), (low2, high2) = (e[a] for e in ends), (e[b] for e in others)
    if not low == low2 <= high == high2:
        return False
    return low == high or np.array_equal(A[:, a], B[:, b])


class NotFinite:
    """The first value of a vector that is not finite, and how many others there are."""

    def __init__(self) -> None:
        self._first: dict[str, tuple[float, object]] = {}
        self._count: dict[str, int] = {}

    def see(self, what: str, values: Floats, index: pd.Index) -> None:
        """Look at the values of a batch, of which some may not be finite."""
        finite = np.isfinite(values)
        if finite.all():
            return
        row = int(np.flatnonzero(~finite)[0])
        self._first.setdefault(what, (float(values[row]), index[row]))
        self._count[what] = self._count.get(what, 0) + int(np.count_nonzero(~finite))

    def check(self) -> None:
        """Raise for the first vector that has such values."""
        for what, (value, row) in self._first.items():
            raise not_finite(what, value, row, self._count[what] - 1)


@dataclass(frozen=True)
class Ends:
    """The smallest and largest values of a batch.

    Attributes
    ----------
    y : tuple of float
    parts : list of TwoEnds
        Of the columns of X, and of each term.
    """

    y: tuple[float, float]
    parts: list[TwoEnds]

    @classmethod
    def of(cls, rows: BatchRows) -> Ends:
        """Look at all numbers: those that are undefined are both smallest and largest."""
        parts = [rows.X, *(term.X for term in rows.terms)]
        return cls((float(rows.y.min()), float(rows.y.max())), [_extremes(X) for X in parts])

    @property
    def finite(self) -> bool:
        """Whether all numbers can be computed with."""
        return bool(
            np.isfinite(np.concatenate([self.y, *(e for own in self.parts for e in own)])).all()
        )


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

    def note_not_finite(self, rows: BatchRows) -> None:
        """Take note of the numbers of a batch that cannot be computed with."""
        index = rows.used.frame.index
        self.not_finite.see(f"response {self._response!r}", rows.y, index)
        places = ["the fixed part", *(f"the random term {spec.text}" for spec in self._specs)]
        names = [self._names, *(spec.columns for spec in self._specs)]
        parts = [rows.X, *(term.X for term in rows.terms)]
        for place, own, X in zip(places, names, parts, strict=True):
            for j, name in enumerate(own):
                self.not_finite.see(f"{name!r} in {place}", X[:, j], index)

    def see(
        self,
        rows: BatchRows,
        ends: Ends,
        y: Floats,
        coordinates: tuple[Floats, Sequence[Sequence[Floats | None]]] | None,
    ) -> None:
        """Add a batch.

        Parameters
        ----------
        rows : BatchRows
        ends : Ends
            Of the rows.
        y : ndarray (m,)
            Response less offset.
        coordinates : tuple of ndarray (m, p) and sequences of ndarray (m,), or None
            Those of X, and of the columns of each term; None if their inner products are those of
            the cross-products, as they are without weights.
        """
        self.y.see(rows.y, ends.y)
        self.residual.see(y, ends.y if rows.offset is None else None)
        if rows.offset is not None:
            self.offset.see(rows.offset)
        if rows.weights is not None:
            self.weights.see(rows.weights)
        of_X, *of_terms = ends.parts
        self.X.see(rows.X, of_X)
        self.X.ones += rows.X.sum(axis=0)
        if self._counted:
            self.X.nonzero += np.count_nonzero(rows.X, axis=0)
        for facts, term, own_ends in zip(self.terms, rows.terms, of_terms, strict=True):
            facts.see_term(term, own_ends)
        self.pairs.see(rows, ends)
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
