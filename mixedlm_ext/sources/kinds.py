"""The kind of values that a column holds must be the same in all batches."""

from __future__ import annotations

import numpy as np
import pandas as pd

from mixedlm_ext.design.messages import quoted
from mixedlm_ext.errors import DataError

__all__ = ["Kinds", "kind_of"]

_OF_DTYPES = {
    "i": "numbers",
    "u": "numbers",
    "f": "numbers",
    "b": "truth values",
    "M": "dates",
    "m": "durations",
    "c": "complex numbers",
}
_OF_OBJECTS = {
    "string": "text",
    "empty": "",
    "boolean": "truth values",
    "integer": "numbers",
    "floating": "numbers",
    "mixed-integer-float": "numbers",
    "decimal": "numbers",
    "datetime": "dates",
    "datetime64": "dates",
    "date": "days of the calendar",
    "timedelta": "durations",
    "bytes": "bytes",
    "complex": "complex numbers",
}


def kind_of(column: pd.Series) -> str:
    """Name the kind of the values of a column; "" if all are missing.

    Examples
    --------
    >>> kind_of(pd.Series([1, 2])), kind_of(pd.Series(["a", None])), kind_of(pd.Series([None]))
    ('numbers', 'text', '')
    """
    dtype = column.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        return "categories"
    if isinstance(dtype, pd.StringDtype):
        return "text" if column.notna().any() else ""
    kind = _OF_DTYPES.get(getattr(dtype, "kind", "O"))
    if kind is None:
        inferred = pd.api.types.infer_dtype(column, skipna=True)
        return _OF_OBJECTS.get(inferred, "mixed values")
    if isinstance(dtype, np.dtype) and dtype.kind in "iub":
        return kind
    if isinstance(dtype, np.dtype) and dtype.kind == "f" and len(column):
        values = column.to_numpy()
        return kind if values[0] == values[0] or not np.isnan(values).all() else ""
    return kind if column.notna().any() else ""


class Kinds:
    """The kinds that the columns of the batches so far hold, and where that was seen first."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[str, str]] = {}

    def check(self, frame: pd.DataFrame, place: str) -> None:
        """Compare a batch with those before it.

        Raises
        ------
        DataError
            If a column holds values of another kind.
        """
        for name in frame.columns:
            found = kind_of(frame[name])
            if not found:
                continue
            before, first = self._known.setdefault(name, (found, place))
            if before != found:
                example = quoted(frame[name].dropna().iloc[0])
                raise DataError(
                    f"column {name!r} holds {found} in {place}, such as {example}; in {first} it "
                    f"holds {before}. Give the column one type in all of them, or pass a function "
                    "that reads it in one type, such as lambda: pd.read_csv(path, "
                    f"dtype={{{name!r}: str}}, chunksize=100_000)."
                )
