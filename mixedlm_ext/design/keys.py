"""Keys of new rows among the levels of the fit: their types are reconciled exactly, or refused.

A grouping key is a name. 309, 309.0 and "309" name one level in two spreadsheets, and pandas reads
either type from the same file; a key that is looked up as it is would count as a level never seen,
and the prediction would be that of the population without a word. So keys of another type are
converted to the type of the fit where each value survives the way there and back ("309" is 309,
"007" is not 7), and are refused otherwise.
"""

from __future__ import annotations

import datetime
import numbers
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from mixedlm_ext.caching import cached_property
from mixedlm_ext.design.messages import quoted
from mixedlm_ext.errors import DesignError

__all__ = ["convert_key", "key_kinds", "match_keys"]

Codes = npt.NDArray[np.intp]


class Key(NamedTuple):
    """A value in a form in which equal keys are equal, and those of two kinds never are."""

    kind: str
    value: Any


_KINDS: tuple[tuple[type | tuple[type, ...], str], ...] = (
    ((bool, np.bool_), "truth values"),
    (numbers.Number, "numbers"),
    (str, "text"),
    (bytes, "bytes"),
    ((datetime.timedelta, np.timedelta64), "durations"),
    ((datetime.date, np.datetime64), "dates"),
    (pd.Period, "periods"),
    (pd.Interval, "intervals"),
)


def match_keys(found: pd.Index, levels: pd.Index, what: str) -> Codes:
    """Return the place of each new key among the levels of the fit.

    Parameters
    ----------
    found : Index
        Distinct keys of the new rows, none missing.
    levels : Index
        Levels of the fit.
    what : str
        For messages: ``"the grouping factor 'Subject'"``.

    Returns
    -------
    ndarray of intp
        -1 for a key that the fit has not seen.

    Raises
    ------
    DesignError
        If keys are of another type and cannot be converted to that of the fit.

    Examples
    --------
    >>> match_keys(pd.Index(["309", "999"]), pd.Index([308, 309]), "Subject")
    array([ 1, -1])
    """
    if not len(found) or not len(levels):
        return np.full(len(found), -1, dtype=np.intp)
    if _comparable(found, levels):
        return levels.get_indexer(found).astype(np.intp)
    known = _Levels(levels)
    return np.array([known.place(key, found, what) for key in _keys(found)], dtype=np.intp)


def convert_key(value: Any, kind: str) -> Any:
    """Return a key as the kind of the fit, or None where it would not survive the way back.

    Examples
    --------
    >>> convert_key("309", "numbers"), convert_key("007", "numbers"), convert_key(309.0, "text")
    (309, None, '309')
    """
    key = _key(value)
    if key.kind == kind:
        return value
    return next(iter(_conversions(key, kind)), None)


def key_kinds(values: Any) -> set[str]:
    """Return the kinds of the values of an index or array: "numbers", "text", "dates", ..."""
    index = pd.Index(values)
    if index.dtype != object:
        return {_key(index[0]).kind} if len(index) else set()
    return {_kind(kind) for kind in {type(value) for value in index.tolist()}}


def _comparable(found: pd.Index, levels: pd.Index) -> bool:
    """Whether pandas compares the two exactly: one type, and no True beside a 1."""
    a, b = found.dtype, levels.dtype
    if isinstance(b, pd.IntervalDtype):  # which pandas compares by what they contain
        return False
    if a == b and b.kind != "O":
        return True
    if isinstance(a, np.dtype) and isinstance(b, np.dtype) and {a.kind, b.kind} <= set("iuf"):
        return _exact_as_floats(found) and _exact_as_floats(levels)
    if a.kind == b.kind == "M" and hasattr(a, "tz") == hasattr(b, "tz"):
        return True
    kinds = key_kinds(found) | key_kinds(levels)
    return len(kinds) == 1 and kinds <= {"text"}


def _exact_as_floats(numbers: pd.Index) -> bool:
    """Whether pandas, which compares numbers of two types as 64-bit floats, is exact."""
    if numbers.dtype.kind == "f":
        return numbers.dtype == np.float64
    return bool(numbers.min() >= -(2**53) and numbers.max() <= 2**53)


def _kind(kind: type) -> str:
    """The kind of the values of a type; dates with a time zone are told apart by `_key`."""
    return next((name for types, name in _KINDS if issubclass(kind, types)), kind.__name__)


def _key(value: Any) -> Key:
    """Return the value as a `Key`."""
    kind = _kind(type(value))
    if kind == "dates":
        stamp = pd.Timestamp(value)
        return Key(kind if stamp.tz is None else "dates with a time zone", stamp)
    if kind == "durations":
        return Key(kind, pd.Timedelta(value))
    if isinstance(value, np.floating) and value.dtype.itemsize < 8:
        return Key(kind, float(str(value)))  # 0.1 in single precision is 0.1
    return Key(kind, value.item() if isinstance(value, np.generic) else value)


def _keys(index: pd.Index) -> Iterator[Key]:
    """Return the values of an index as keys."""
    single = index.dtype in (np.float32, np.float16)
    return (_key(value) for value in (index.to_numpy() if single else index.tolist()))


class _Levels:
    """The levels of the fit, ready to be looked up by keys of any type."""

    def __init__(self, levels: pd.Index) -> None:
        self._levels = levels
        self._places = {key: i for i, key in enumerate(_keys(levels))}
        self._kinds = dict.fromkeys(key.kind for key in self._places)
        self._allied: dict[str, bool] = {}

    def place(self, key: Key, found: pd.Index, what: str) -> int:
        """Return the place of one key, -1 if the fit has not seen it."""
        if key.kind in self._kinds:
            return self._places.get(key, -1)
        forms = [Key(kind, form) for kind in self._kinds for form in self._forms(key, kind)]
        places = {self._places[form] for form in forms if form in self._places}
        if len(places) == 1:
            return places.pop()
        if places or not forms or not self._has_form_of(key):
            raise self._refusal(key, found, what)
        return -1

    def _forms(self, key: Key, kind: str) -> Iterator[Any]:
        """Return the key as values of a kind of the fit."""
        if kind in ("periods", "intervals") and key.kind == "text":
            yield from self._by_text.get(key.value, ())
        if kind == "numbers" and key.kind == "truth values" and not self._binary:
            return
        yield from (_key(form).value for form in _conversions(key, kind))

    @cached_property
    def _by_text(self) -> dict[str, list[Any]]:
        """The periods and intervals of the fit by their text."""
        texts: dict[str, list[Any]] = {}
        for key in self._places:
            if key.kind in ("periods", "intervals"):
                texts.setdefault(str(key.value), []).append(key.value)
        return texts

    @cached_property
    def _binary(self) -> bool:
        """Whether the numbers of the fit are 0 and 1."""
        return all(key.value in (0, 1) for key in self._places if key.kind == "numbers")

    def _has_form_of(self, key: Key) -> bool:
        """Whether keys of this kind could be levels of the fit: some level reads as one.

        Not if a level means the same in another spelling, as "007" does 7.
        """
        if key.kind not in self._allied:
            self._allied[key.kind] = any(
                True for level in self._places for _ in _conversions(level, key.kind)
            )
        return self._allied[key.kind] and not self._spelt_otherwise(key)

    def _spelt_otherwise(self, key: Key) -> bool:
        """Whether the fit has the number of `key` as text of another form."""
        with suppress(OverflowError, TypeError):
            return key.kind == "numbers" and float(key.value) in self._loose
        return False

    @cached_property
    def _loose(self) -> set[float]:
        """The numbers that texts of the fit stand for, whatever their form."""
        out = set()
        for key in self._places:
            if key.kind == "text":
                with suppress(ValueError):
                    out.add(float(key.value))
        return out

    def _refusal(self, key: Key, found: pd.Index, what: str) -> DesignError:
        """The error for a key of another type."""
        level = self._levels[0]
        fitted = " and ".join(self._kinds)
        return DesignError(
            f"{what} holds {key.kind} ({_type_name(found, key.value)}) in the new data, such as "
            f"{quoted(key.value)}; in the fit it held {fitted} ({_type_name(self._levels, level)}),"
            f" such as {quoted(level)}, and the one cannot be read as the other. Convert the column"
            " to the type of the fit."
        )


def _type_name(index: pd.Index, value: Any) -> str:
    """What the type of a key is called: the dtype of its column, or the class of the value."""
    return type(value).__name__ if index.dtype == object else str(index.dtype)


def _conversions(key: Key, kind: str) -> Iterator[Any]:
    """Return the values of another kind that `key` stands for and that lead back to it."""
    convert = _CONVERSIONS.get((key.kind, kind))
    if convert is not None:
        with suppress(ValueError, OverflowError, TypeError):
            yield from convert(key.value)


def _text_to_number(text: str) -> Iterator[Any]:
    for read in (int, float):
        with suppress(ValueError):
            if str(number := read(text)) == text:
                yield number
                return


def _number_to_text(number: Any) -> Iterator[str]:
    if isinstance(number, complex):
        return
    if number == int(number):
        yield str(int(number))
    if abs(number) < 2**53 or number != int(number):
        yield str(float(number))


def _text_to_truth(text: str) -> Iterator[bool]:
    if text in ("True", "False"):
        yield text == "True"


def _number_to_truth(number: Any) -> Iterator[bool]:
    if number in (0, 1):
        yield bool(number)


def _date_texts(date: pd.Timestamp) -> Iterator[str]:
    yield str(date)
    yield date.isoformat()
    if date == date.normalize() and date.tz is None:
        yield date.date().isoformat()


def _text_to_date(text: str) -> Iterator[pd.Timestamp]:
    if text[:4].isdigit() and text in _date_texts(date := pd.Timestamp(text)):
        yield date


def _text_to_duration(text: str) -> Iterator[pd.Timedelta]:
    if str(duration := pd.Timedelta(text)) == text:
        yield duration


def _text_to_period(text: str) -> Iterator[pd.Period]:
    if str(period := pd.Period(text)) == text:
        yield period


def _as_text(value: Any) -> Iterator[str]:
    yield str(value)


_CONVERSIONS: dict[tuple[str, str], Callable[[Any], Iterator[Any]]] = {
    ("text", "numbers"): _text_to_number,
    ("numbers", "text"): _number_to_text,
    ("text", "truth values"): _text_to_truth,
    ("truth values", "text"): _as_text,
    ("numbers", "truth values"): _number_to_truth,
    ("truth values", "numbers"): lambda value: iter([int(value)]),
    ("text", "dates"): lambda text: (d for d in _text_to_date(text) if d.tz is None),
    ("text", "dates with a time zone"): lambda text: (d for d in _text_to_date(text) if d.tz),
    ("dates", "text"): _date_texts,
    ("dates with a time zone", "text"): _date_texts,
    ("text", "durations"): _text_to_duration,
    ("durations", "text"): _as_text,
    ("text", "periods"): _text_to_period,
    ("periods", "text"): _as_text,
    ("intervals", "text"): _as_text,
    ("text", "bytes"): lambda text: iter([text.encode()]),
    ("bytes", "text"): lambda value: iter([value.decode()]),
}
