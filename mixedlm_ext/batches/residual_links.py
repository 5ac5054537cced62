"""Rows that correlations join across batches: what of a group waits for its next rows.

Of rows that follow one another in time that is the last row of the group; of rows that are all
alike it is the sum of the rows so far, by class of variance. A group whose rows have all come waits
for nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

from mixedlm_ext.batches.residual_levels import LearntResiduals
from mixedlm_ext.design.messages import quoted
from mixedlm_ext.design.residual_checks import same_position, twice_at
from mixedlm_ext.errors import DesignError
from mixedlm_ext.residual.counted import Counted, Links, NoCorrelation, Sizes

__all__ = ["Alike", "Alone", "Followers", "Key", "Matrix", "joined_rows"]

Floats = npt.NDArray[np.float64]
Codes = npt.NDArray[np.intp]
Matrix = Any
"""A sparse array of scipy."""
Key = tuple[str, int, int, int]
"""What a term belongs to: its kind, the number of the gap or size, the classes of both sides."""
Add = Callable[[Key, Matrix], None]

_MOST_WAITING = 60_000_000
"""Numbers that may wait for the next rows of their groups: about 700 MB."""


@dataclass(frozen=True, eq=False)
class _Waiting:
    """Rows of [Z X y] that wait, each with its group, class and position."""

    H: Matrix
    codes: Codes
    classes: Codes
    at: Floats

    def take(self, rows: npt.NDArray[Any]) -> _Waiting:
        return _Waiting(self.H[rows], self.codes[rows], self.classes[rows], self.at[rows])

    def and_then(self, other: _Waiting) -> _Waiting:
        return _Waiting(
            sparse.vstack([self.H, other.H], format="csr"),
            np.concatenate([self.codes, other.codes]),
            np.concatenate([self.classes, other.classes]),
            np.concatenate([self.at, other.at]),
        )


class Joined:
    """What waits, and which groups are complete.

    Parameters
    ----------
    learnt : LearntResiduals
    width : int
        Columns of [Z X y].
    """

    def __init__(self, learnt: LearntResiduals, width: int) -> None:
        self._learnt = learnt
        self._left = learnt.sizes.copy()
        none = np.zeros(0, np.intp)
        empty = sparse.csr_array((0, width))
        self._waiting = _Waiting(empty, none, none, np.zeros(0))

    def _with_waiting(self, new: _Waiting) -> tuple[_Waiting, int, _Waiting]:
        """Return new rows after those that waited for them, how many these are, and the others."""
        mine = np.isin(self._waiting.codes, new.codes)
        self._left -= np.bincount(new.codes, minlength=len(self._left))
        own = self._waiting.take(mine).and_then(new)
        return own, int(mine.sum()), self._waiting.take(~mine)

    def _keep(self, waiting: _Waiting) -> None:
        """Keep rows for the next batches, if these are not too many."""
        if waiting.H.nnz > _MOST_WAITING:
            own = self._learnt.text.correlation
            assert own is not None
            by = [*own.group, *([] if own.position is None else [own.position])]
            raise DesignError(
                f"{own.text}: too many groups have rows that are yet to come, so that what waits "
                f"for them is more than memory should hold. Sort the data by {', '.join(by)}."
            )
        self._waiting = waiting


class Alone:
    """Rows that no correlation joins."""

    def add(self, H: Matrix, codes: Any, classes: Codes, at: Any, add: Add) -> None:
        """Join nothing."""

    def counted(self, unit: float) -> tuple[Counted, dict[tuple[str, int], int]]:
        """Return that nothing was joined."""
        return NoCorrelation(), {}


class Followers(Joined):
    """Neighbours in time: the ends of each pair, and both with one another (see markov.py)."""

    def __init__(self, learnt: LearntResiduals, width: int) -> None:
        super().__init__(learnt, width)
        self._numbers: dict[float, int] = {}
        self._gaps: list[float] = []
        self._counts: list[int] = []
        self._low, self._high = np.inf, -np.inf

    @property
    def gaps(self) -> Floats:
        """The distinct distances of neighbours."""
        return np.array(self._gaps)

    def add(self, H: Matrix, codes: Codes, classes: Codes, at: Floats | None, add: Add) -> None:
        """Join the rows of a batch to one another and to those before them."""
        assert at is not None
        self._low, self._high = min(self._low, at.min()), max(self._high, at.max())
        own, before, others = self._with_waiting(_Waiting(H, codes, classes, at))
        order = np.lexsort((own.at, own.codes))
        linked = own.codes[order][1:] == own.codes[order][:-1]
        first, then = order[:-1][linked], order[1:][linked]
        gaps = own.at[then] - own.at[first]
        self._check(own, gaps, first, then, before)
        if len(gaps):
            self._join(own, self._number(gaps), first, then, add)
        last = order[np.append(~linked, True)]
        self._keep(others.and_then(own.take(last[self._left[own.codes[last]] > 0])))

    def _check(self, own: _Waiting, gaps: Floats, first: Codes, then: Codes, before: int) -> None:
        """Refuse two rows at one position, and rows that come after later ones."""
        text = self._learnt.text.correlation
        part = self._learnt.structure.correlation
        assert text is not None and part is not None
        twice = np.flatnonzero(gaps <= same_position(self._high - self._low))
        if len(twice):
            row = first[twice[0]]
            raise twice_at(text, part.levels[own.codes[row]], own.at[row])
        late = np.flatnonzero(then < before)
        if len(late):
            one, two = first[late[0]], then[late[0]]
            group = ":".join(text.group)
            raise DesignError(
                f"{text.text}: of {group} {quoted(part.levels[own.codes[one]])}, the row at "
                f"position {own.at[one]:g} is read after that at {own.at[two]:g}. Rows in batches "
                f"come in the order of {text.position!r} within each {group}: sort the data by "
                f"it, or pass a frame."
            )

    def _number(self, gaps: Floats) -> Codes:
        """Return the number of each distance, and count it."""
        size = 10.0 ** np.floor(np.log10(gaps))
        distinct, which, counts = np.unique(
            np.round(gaps / size, 9) * size,
            return_inverse=True,
            return_counts=True,
        )
        out = np.empty(len(distinct), np.intp)
        least = np.full(len(distinct), np.inf)
        np.minimum.at(least, which.ravel(), gaps)
        for i, (key, gap, count) in enumerate(zip(distinct.tolist(), least, counts)):
            if key not in self._numbers:
                self._numbers[key] = len(self._gaps)
                self._gaps.append(float(gap))
                self._counts.append(0)
            out[i] = self._numbers[key]
            self._gaps[out[i]] = min(self._gaps[out[i]], float(gap))
            self._counts[out[i]] += int(count)
        return out[which.ravel()]

    def _join(self, own: _Waiting, gap: Codes, first: Codes, then: Codes, add: Add) -> None:
        """Add both ends of the pairs, and both with one another, by gap and classes."""
        s, t = own.classes[first], own.classes[then]
        for (g, one, two), rows in _alike(gap, np.minimum(s, t), np.maximum(s, t)):
            half = own.H[first[rows]].T @ own.H[then[rows]]
            add(("links", g, one, two), half + half.T)
        both = np.concatenate([first, then])
        for (g, s_), rows in _alike(np.tile(gap, 2), own.classes[both]):
            ends = own.H[both[rows]]
            add(("ends", g, s_, s_), ends.T @ ends)

    def counted(self, unit: float) -> tuple[Counted, dict[tuple[str, int], int]]:
        """Return how often each distance occurs, and which coefficients are those of its terms.

        Parameters
        ----------
        unit : float
            Of the exponents.
        """
        exponents, which = np.unique(np.round(self.gaps / unit, 9), return_inverse=True)
        each = np.array(self._counts, dtype=float)
        counts = np.bincount(which.ravel(), each, len(exponents))
        found = {}
        for number, place in enumerate(which.ravel().tolist()):
            found["ends", number] = 1 + place
            found["links", number] = 1 + len(exponents) + place
        return Links(exponents, counts.astype(float, copy=False)), found


class Alike(Joined):
    """Rows that are all alike within a group: the sums of groups (see exchanged.py)."""

    def add(self, H: Matrix, codes: Codes, classes: Codes, at: Any, add: Add) -> None:
        """Add the rows of a batch to the sums of their groups."""
        new = _Waiting(H, codes, classes, np.zeros(len(codes)))
        own, _, others = self._with_waiting(new)
        sums = _summed(own)
        complete = self._left[sums.codes] == 0
        self._join(sums.take(complete), add)
        self._keep(others.and_then(sums.take(~complete)))

    def _join(self, sums: _Waiting, add: Add) -> None:
        """Add what complete groups are, by their sizes and classes."""
        sizes = self._learnt.sizes[sums.codes]
        for (size,), rows in _alike(sizes):
            own = sums.take(rows)
            of = {s: own.take(of_class) for (s,), of_class in _alike(own.classes)}
            for s, one in of.items():
                for t, two in of.items():
                    if s == t:
                        add(("sizes", size, s, s), one.H.T @ one.H)
                    elif s < t:
                        _, i, j = np.intersect1d(one.codes, two.codes, return_indices=True)
                        half = one.H[i].T @ two.H[j]
                        add(("sizes", size, s, t), half + half.T)

    def counted(self, unit: float) -> tuple[Counted, dict[tuple[str, int], int]]:
        """Return how many groups each size has, and which coefficient is that of its terms."""
        sizes, counts = np.unique(self._learnt.sizes, return_counts=True)
        found = {("sizes", int(m)): 1 + place for place, m in enumerate(sizes)}
        return Sizes(sizes.astype(float), counts.astype(float)), found


def joined_rows(learnt: LearntResiduals, width: int) -> Alone | Followers | Alike:
    """Return what joins the rows of a structure."""
    kind = learnt.structure.kind
    if kind is None:
        return Alone()
    return (Followers if kind.by_distance else Alike)(learnt, width)


def _summed(rows: _Waiting) -> _Waiting:
    """Return the sums of the rows of each group and class."""
    order = np.lexsort((rows.classes, rows.codes))
    codes, classes = rows.codes[order], rows.classes[order]
    starts = np.flatnonzero(
        np.append(True, (codes[1:] != codes[:-1]) | (classes[1:] != classes[:-1]))
    )
    pointer = np.append(starts, len(order))
    adding = sparse.csr_array(
        (np.ones(len(order)), order, pointer), shape=(len(starts), len(order))
    )
    return _Waiting(adding @ rows.H, codes[starts], classes[starts], np.zeros(len(starts)))


def _alike(*keys: Codes) -> list[tuple[tuple[int, ...], Codes]]:
    """Return the distinct combinations of some keys, and which rows have each."""
    order = np.lexsort(keys[::-1])
    whole = np.column_stack(keys)[order]
    if not len(whole):
        return []
    starts = np.flatnonzero(np.append(True, (whole[1:] != whole[:-1]).any(axis=1)))
    parts = np.split(order, starts[1:])
    return [(tuple(int(k) for k in whole[s]), rows) for s, rows in zip(starts, parts)]
