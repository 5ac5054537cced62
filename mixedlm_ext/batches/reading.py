"""Which rows of a source are used, a batch at a time, and how many were left out and why."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from mixedlm_ext.batches.fingerprint import Fingerprint, fingerprint
from mixedlm_ext.design.checks import check_weights, number_vector
from mixedlm_ext.design.messages import quoted
from mixedlm_ext.design.row_choice import missing_rows, report_missing
from mixedlm_ext.errors import (
    DataError,
    DesignError,
    DesignWarning,
    check_choice,
    did_you_mean,
    warn_caller,
)
from mixedlm_ext.sources import Batch, Progress, Source

__all__ = ["Reader", "Tally", "UsedRows", "read_arguments", "sample_of"]

Floats = npt.NDArray[np.float64]
Truths = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class UsedRows:
    """The rows of a batch that the fit uses.

    Attributes
    ----------
    frame : DataFrame (m, ...)
        The columns of the formula; the index counts the rows of the source.
    weights : ndarray (m,) or None
    offset : Series (m,) or None
    batch : Batch
        All rows of the batch.
    positions : ndarray of intp (m,)
        The rows within the batch.
    """

    frame: pd.DataFrame
    weights: Floats | None
    offset: pd.Series | None
    batch: Batch
    positions: npt.NDArray[np.intp]


@dataclass
class Tally:
    """What one pass counts; two passes over the same rows count the same."""

    n_data: int = 0
    n_subset: int = 0
    n_missing: int = 0
    n_zero_weight: int = 0
    n_used: int = 0
    missing: dict[str, int] = field(default_factory=dict)
    print: Fingerprint = field(default_factory=Fingerprint)
    batches: list[tuple[str, int, Fingerprint]] = field(default_factory=list)

    def see(self, place: str, n: int, n_used: int, own: Fingerprint) -> None:
        """Count the rows of a batch."""
        self.batches.append((place, n, own))
        self.n_data += n
        self.n_used += n_used
        self.print.add(own)

    def difference(self, first: Tally) -> str:
        """Return what differs from the first pass over the same source, or ""."""
        found = self.print.difference(first.print)
        if self.n_data != first.n_data:
            found = f"{first.n_data} rows in the first pass and {self.n_data} in a later one"
        elif not found and self.n_used != first.n_used:
            found = f"{first.n_used} rows to use in the first pass and {self.n_used} in a later one"
        return found and found + self._first_change(first)

    def _first_change(self, first: Tally) -> str:
        """Name the first batch that is not what it was."""
        for (place, n, own), (_, n_first, own_first) in zip(self.batches, first.batches):
            if n != n_first or own != own_first:
                return f"; the first change is in {place}"
        return ""


@dataclass(frozen=True, eq=False)
class Reader:
    """How the rows of a source are read for one formula.

    Attributes
    ----------
    source : Source
    names : tuple of str
        The columns of the formula, and of weights and offset by name; the response first.
    columns : tuple of str
        The same, in the order of a design's frame.
    weights, offset : str, ndarray or None
        A column, or values for all rows of the source.
    subset : ndarray of bool, callable or None
        Values for all rows of the source, or what makes them of a frame.
    missing : str
    """

    source: Source
    names: tuple[str, ...]
    columns: tuple[str, ...]
    weights: Any = None
    offset: Any = None
    subset: Any = None
    missing: str = "drop"

    def __post_init__(self) -> None:
        check_choice("missing", self.missing, ("drop", "exclude", "raise", "none"))

    def rows(self, tally: Tally, progress: Progress | None = None) -> Iterator[UsedRows]:
        """Yield the used rows of each batch that has some; count them in `tally`."""
        for batch in self.source.batches(self._wanted(), progress):
            used = self._used(batch, tally)
            if len(used.frame):
                yield used
        self._check_lengths(tally.n_data)

    def frames(self) -> Iterator[pd.DataFrame]:
        """Yield the used rows, in a pass of their own."""
        return (used.frame for used in self.rows(Tally()))

    def _wanted(self) -> tuple[Any, ...]:
        """The columns to read; a function that chooses rows may look at any."""
        return tuple(self.source.names) if callable(self.subset) else self.columns

    def _used(self, batch: Batch, tally: Tally) -> UsedRows:
        """Leave out rows outside the subset, with missing values, or with zero weight."""
        frame, start = batch.frame, int(batch.frame.index[0])
        part = slice(start, start + len(frame))
        beside = {n: _part(v, part, frame.index) for n, v in self._arrays().items()}
        rows = self._in_subset(batch, part)
        every = {name: frame[name] for name in self.names} | beside
        lost, counts = missing_rows(every, rows)
        n_rows = len(lost)
        if lost.any():
            rows = np.flatnonzero(~lost) if rows is None else rows[~lost]
        weights = beside.get("weights", frame.get(self.weights) if _named(self.weights) else None)
        kept = None
        if weights is not None:
            chosen = weights if rows is None else weights.iloc[rows]
            kept = self._weights(chosen)
            zero = kept == 0.0
            if zero.any():
                rows = np.flatnonzero(~zero) if rows is None else rows[~zero]
                kept = kept[~zero]
                tally.n_zero_weight += int(np.count_nonzero(zero))
        offset = beside.get("offset", frame.get(self.offset) if _named(self.offset) else None)
        whole = frame if self._wanted() == self.columns else frame[list(self.columns)]
        used = whole if rows is None else whole.iloc[rows]
        ordered = bool(self._arrays()) or isinstance(self.subset, np.ndarray)
        own = fingerprint(frame, self.columns, ordered)
        tally.see(batch.place, len(frame), len(used), own)
        tally.n_subset += n_rows
        tally.n_missing += int(np.count_nonzero(lost))
        for name, count in counts.items():
            tally.missing[name] = tally.missing.get(name, 0) + count
        return UsedRows(
            used,
            kept,
            offset if offset is None or rows is None else offset.iloc[rows],
            batch,
            np.arange(len(frame)) if rows is None else rows,
        )

    def _weights(self, values: pd.Series) -> Floats:
        """Return precision weights, zeros among them."""
        what = f"weights {self.weights!r}" if _named(self.weights) else "weights"
        weights = number_vector(values, what, len(values))
        check_weights(weights, what, values.index, "; zero leaves a row out")
        return weights

    def _arrays(self) -> dict[str, Any]:
        """Weights and offset that are no columns of the source."""
        given = {"weights": self.weights, "offset": self.offset}
        return {n: v for n, v in given.items() if v is not None and not _named(v)}

    def _in_subset(self, batch: Batch, part: slice) -> npt.NDArray[np.intp] | None:
        """Return the rows of a batch that the subset takes; None for all."""
        if self.subset is None:
            return None
        if not callable(self.subset):
            return np.flatnonzero(self.subset[part])
        chosen = np.asarray(self.subset(batch.frame))
        if chosen.shape != (len(batch.frame),) or chosen.dtype.kind != "b":
            raise DesignError(
                f"the function subset= returned {quoted(chosen)} for {batch.place}; it needs True "
                f"or False for each of its {len(batch.frame)} rows."
            )
        return np.flatnonzero(chosen)

    def _check_lengths(self, n: int) -> None:
        """Refuse arrays beside the source that have another number of rows."""
        for name, values in {**self._arrays(), "subset": self.subset}.items():
            if values is not None and not callable(values) and len(values) != n:
                raise DesignError(f"{name} has {len(values)} values; the data have {n} rows.")

    # --- after the first pass ---------------------------------------------------------------------

    def check(self, tally: Tally) -> None:
        """Report what the first pass found of rows left out, as for data in memory.

        Raises
        ------
        DesignError
            If no row is left, or values are missing and that is not allowed.

        Warns
        -----
        DesignWarning
            If rows have zero weight.
        """
        if tally.n_data == 0:
            raise DesignError("the data have no rows.")
        if tally.n_subset == 0:
            raise DesignError("subset takes no rows.")
        n = tally.n_subset
        if tally.n_missing:
            counts = {
                name: tally.missing[name]
                for name in [*self.names, "weights", "offset"]
                if name in tally.missing
            }
            report_missing(counts, tally.n_missing, n, self.names[0], self.missing)
        if tally.n_zero_weight:
            left = n - tally.n_missing
            if tally.n_zero_weight == left:
                what = f"weights {self.weights!r}" if _named(self.weights) else "weights"
                raise DesignError(f"{what}: all values are zero, no row is left.")
            warn_caller(
                f"{tally.n_zero_weight} of {left} rows have zero weight and are left out of the "
                "fit.",
                DesignWarning,
            )

    def check_same(self, tally: Tally, first: Tally) -> None:
        """Refuse a source that changed since the first pass.

        Raises
        ------
        DataError
        """
        found = tally.difference(first)
        if found:
            raise DataError(
                f"the data changed while they were read: {found}. A source must yield the same "
                "rows each time; make a copy of files that are still written to."
            )


def sample_of(reader: Reader, frame: pd.DataFrame) -> UsedRows:
    """Return used rows that were kept, with their weights and offset."""
    at = frame.index.to_numpy(dtype=np.intp)
    weights, offset = reader.weights, reader.offset
    if weights is not None:
        weights = frame[weights].to_numpy(dtype=float) if _named(weights) else weights[at]
        weights = np.asarray(weights, dtype=float)
    if offset is not None:
        offset = frame[offset] if _named(offset) else pd.Series(offset[at], index=frame.index)
    return UsedRows(frame, weights, offset, Batch(frame, "the first pass"), np.arange(len(at)))


def read_arguments(names: Sequence[Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return weights, offset and subset for rows in batches, checked as far as they can be now.

    Parameters
    ----------
    names : sequence of str
        Columns of the source.
    given : mapping
        What the user passed, by the name of the argument.

    Raises
    ------
    DesignError
        If one is neither a column nor values for all rows.
    """
    out: dict[str, Any] = {}
    for what in ("weights", "offset"):
        values = given.get(what)
        if isinstance(values, str):
            if values not in names:
                raise DesignError(
                    f"{what} column {values!r} is not in the data.{did_you_mean(values, names)}"
                )
        elif values is not None:
            values = np.asarray(values)
            if values.ndim != 1:
                raise DesignError(f"{what} has shape {values.shape}; it needs a value a row.")
        out[what] = values
    subset = given.get("subset")
    if subset is not None and not callable(subset):
        subset = np.asarray(subset)
        if subset.ndim != 1 or subset.dtype.kind != "b":
            raise DesignError(
                "subset of rows in batches is a boolean for each row of the data, or a function "
                "that returns one for each row of a frame: lambda frame: frame['x'] > 0."
            )
    return {**out, "subset": subset}


def _named(values: Any) -> bool:
    """Whether weights or an offset are a column."""
    return isinstance(values, str)


def _part(values: Any, part: slice, index: pd.Index) -> pd.Series:
    """Return the values of a batch's rows; too few are refused when the pass ends."""
    own = values[part]
    out = np.full(len(index), np.nan) if len(own) < len(index) else own
    return pd.Series(out, index=index)
