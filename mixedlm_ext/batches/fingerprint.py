"""What tells whether two passes over a source have read the same rows.

The bits of a row's values are mixed to one number h of 64 bits, and numbers are added up modulo
2⁶⁴. Sums neither depend on how rows are cut into batches nor on their order, and are exact: an
edited value, a row more or less, or values that are exchanged between rows give other sums but by
an accident of one in 2⁶⁴. Σ place·h, too, tells rows in another order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

__all__ = ["Fingerprint", "fingerprint"]

Bits = npt.NDArray[np.uint64]

_MODULUS = 1 << 64
_ODD = 0x9E3779B97F4A7C15
"""2⁶⁴ divided by the golden ratio: multiples of it are spread over all numbers."""
_PIECE = 1 << 15
"""Rows that are mixed at once: few enough for a processor's cache."""


@dataclass
class Fingerprint:
    """Sums over rows, modulo 2⁶⁴.

    Attributes
    ----------
    rows : int
        Σ h.
    places : int
        Σ place·h of the rows of the source; 0 where their order plays no part.
    columns : dict of str to int
        The sum of the bits of each column: where it is another one, the column has other values.
    """

    rows: int = 0
    places: int = 0
    columns: dict[str, int] = field(default_factory=dict)

    def add(self, other: Fingerprint) -> None:
        """Add the sums of other rows."""
        self.rows = (self.rows + other.rows) % _MODULUS
        self.places = (self.places + other.places) % _MODULUS
        for name, total in other.columns.items():
            self.columns[name] = (self.columns.get(name, 0) + total) % _MODULUS

    def difference(self, first: Fingerprint) -> str:
        """Say what differs from the first pass, or ""."""
        for name, total in self.columns.items():
            if total != first.columns.get(name, 0):
                return f"column {name!r} has other values in a later pass than in the first"
        if self.rows != first.rows:
            return "the values of some columns stand in other rows in a later pass"
        if self.places != first.places:
            return (
                "the rows come in another order in a later pass, and an array of weights, offset "
                "or subset goes by their order"
            )
        return ""


def fingerprint(frame: pd.DataFrame, names: Sequence[str], ordered: bool = False) -> Fingerprint:
    """Return the sums of the rows of a batch.

    Parameters
    ----------
    frame : DataFrame
        Its index are the places of the rows in the source.
    names : sequence of str
        The columns that count.
    ordered : bool
        Whether the order of the rows counts.

    Examples
    --------
    >>> frame = pd.DataFrame({"x": [1.0, 2.0], "g": ["a", "b"]})
    >>> edited, exchanged = frame.assign(x=[1.0, 2.5]), frame.assign(g=["b", "a"])
    >>> first = fingerprint(frame, ["x", "g"])
    >>> fingerprint(edited, ["x", "g"]).difference(first)
    "column 'x' has other values in a later pass than in the first"
    >>> fingerprint(exchanged, ["x", "g"]).difference(first)
    'the values of some columns stand in other rows in a later pass'
    >>> fingerprint(frame[::-1], ["x", "g"]) == first
    True
    """
    columns = [_values(frame[name]) for name in names]
    totals, rows, places = [0] * len(columns), 0, 0
    for start in range(0, len(frame), _PIECE):
        part = slice(start, min(start + _PIECE, len(frame)))
        h = np.zeros(part.stop - start, np.uint64)
        other = np.empty_like(h)
        for i, values in enumerate(columns):
            bits = _bits(values[part])
            totals[i] += int(np.add.reduce(bits))
            h += np.multiply(bits, np.uint64((i + 1) * _ODD % _MODULUS | 1), out=other)
        # mixed after the sum over columns, so that what stands in one row belongs together
        h ^= np.right_shift(h, np.uint64(32), out=other)
        h *= np.uint64(_ODD)
        h ^= np.right_shift(h, np.uint64(29), out=other)
        rows += int(np.add.reduce(h))
        if ordered:
            h *= frame.index[part].to_numpy(dtype=np.uint64)
            places += int(np.add.reduce(h))
    each = {name: total % _MODULUS for name, total in zip(names, totals)}
    return Fingerprint(rows % _MODULUS, places % _MODULUS, each)


def _values(column: pd.Series) -> npt.NDArray[Any]:
    """Return numbers of any type, or a hash of each other value: the same in any type."""
    dtype = column.dtype
    if isinstance(dtype, np.dtype):
        values = column.to_numpy()
        return values if dtype.kind in "iufb" else pd.util.hash_array(values)
    if isinstance(dtype, pd.CategoricalDtype):
        each = _bits(_values(pd.Series(dtype.categories)))
        return np.append(each, np.uint64(0))[column.cat.codes]  # -1, the last, is a missing one
    if pd.api.types.is_numeric_dtype(dtype):
        return column.to_numpy(dtype=np.float64, na_value=np.nan)
    return pd.util.hash_array(column.to_numpy(dtype=object))


def _bits(values: npt.NDArray[Any]) -> Bits:
    """Return 64 bits of each value: of numbers as they are in double precision."""
    if values.dtype == np.uint64:
        return values
    return np.ascontiguousarray(values, dtype=np.float64).view(np.uint64)
