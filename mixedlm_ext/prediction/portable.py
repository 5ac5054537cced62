"""Python values as JSON holds them, and back: levels of factors, and what a formula's code uses.

Plain values and keys come back equal and of the same type, or are refused. Functions, modules and
objects are written down by the names they are imported by; `references` lists these names, so that
a file can be judged before anything of it is imported.
"""

from __future__ import annotations

import datetime
import decimal
import fractions
import importlib
import re
import types
import uuid
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any

import numpy as np
import pandas as pd

from mixedlm_ext.errors import DesignError
from mixedlm_ext.prediction.allowed import CLASSES, FUNCTIONS, MODULES

__all__ = ["decode", "encode", "encode_all", "encode_key", "encode_keys", "references"]


def encode(value: Any, what: str) -> Any:
    """Return `value` in terms of JSON: plain values as they are, others as a tagged object.

    Parameters
    ----------
    value : object
        A number, text, truth value, date or another key; an array, list or dict of such; a module;
        a function or class that can be imported; an object of such a class whose attributes are of
        these kinds.
    what : str
        What it is to the user, for the error.

    Raises
    ------
    DesignError
        If it is of no such kind.

    Examples
    --------
    >>> encode(np.float64(0.5), "x"), encode(np, "np"), encode(np.log, "log")
    (0.5, {'module': 'numpy'}, {'import': ['numpy', 'log']})
    >>> decode(encode(np.array([1.0, 2.0]), "knots"))
    array([1., 2.])
    """
    try:
        return encode_key(value, what)
    except DesignError:
        pass
    if isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
        dtype = value.dtype.str if value.dtype.itemsize <= 8 else "<f8"
        return {"array": value.astype(dtype).ravel().tolist(), "dtype": dtype, "shape": value.shape}
    if isinstance(value, list | tuple):
        kind = "list" if isinstance(value, list) else "tuple"
        return {kind: encode_all(value, what)}
    if type(value) is dict:
        return {"dict": [encode_all(pair, what) for pair in value.items()]}
    if isinstance(value, types.ModuleType):
        return {"module": value.__name__}
    path = _import_path(value)
    if path is not None:
        return {"import": path}
    path = _import_path(type(value))
    if path is not None and type(value).__module__ != "builtins" and _is_its_dict(value):
        names = list(vars(value))
        return {"object": path, "state": dict(zip(names, encode_all(vars(value).values(), what)))}
    raise _unsavable(value, what)


def encode_all(values: Iterable[Any], what: str) -> list[Any]:
    """Return each of several values in terms of JSON."""
    return [encode(value, what) for value in values]


def encode_key(value: Any, what: str) -> Any:
    """Return a key, a value that names a level, in terms of JSON.

    Raises
    ------
    DesignError
        If it would not come back equal.

    Examples
    --------
    >>> encode_key(pd.Period("2020-03"), "month")
    {'period': [602, 'M']}
    """
    if value is None or type(value) in (bool, int, float) or _is_text(value):
        return value
    if isinstance(value, np.generic) and value.dtype.kind in "biufcUS":
        plain = value.item()
        if isinstance(plain, np.generic):  # extended precision
            plain = float(value)
        return encode_key(plain, what)
    for kind, (write, read) in _KEYS.items():
        try:
            written = write(value)
            back = None if written is None else read(written)
        except Exception:  # a time zone, a frequency that cannot be made again
            continue
        if back is None:
            continue
        if type(back) is type(value) and back == value and str(back) == str(value):
            return {kind: written}
    if isinstance(value, tuple) and type(value) is tuple:
        return {"tuple": encode_keys(value, what)}
    if isinstance(value, bool | int | float | str) and type(value) is not str:
        return encode_key(_plain(value), what)
    raise _unsavable(value, what)


def encode_keys(values: Iterable[Any], what: str) -> list[Any]:
    """Return each of several keys in terms of JSON."""
    return [encode_key(value, what) for value in values]


def decode(value: Any, trusted: Collection[str] = ()) -> Any:
    """Return what `encode` was given.

    Parameters
    ----------
    value : object
        As `encode` returned it, or from anywhere.
    trusted : collection of str
        Names that may be imported besides those that `allowed` lists.

    Raises
    ------
    DesignError
        If the value names something else to import.
    """
    if not isinstance(value, dict):
        return value
    for kind, (_, read) in _KEYS.items():
        if kind in value:
            return read(value[kind])
    if "array" in value:
        if np.dtype(value["dtype"]).kind not in "biuf":
            raise DesignError(f"an array of {value['dtype']!r} is no array of numbers.")
        return np.array(value["array"], dtype=value["dtype"]).reshape(value["shape"])
    if "list" in value:
        return [decode(item, trusted) for item in value["list"]]
    if "tuple" in value:
        return tuple(decode(item, trusted) for item in value["tuple"])
    if "dict" in value:
        return {decode(k, trusted): decode(v, trusted) for k, v in value["dict"]}
    foreign = [name for name in references(value) if not _is_trusted(name, value, trusted)]
    if foreign:
        raise DesignError(f"{foreign[0]!r} would be imported; pass it in trusted=.")
    if "module" in value:
        return importlib.import_module(value["module"])
    if "import" in value:
        return _imported(*value["import"])
    kind = _imported(*value["object"])
    made = kind.__new__(kind)
    made.__dict__.update({name: decode(item, trusted) for name, item in value["state"].items()})
    return made


def references(value: Any) -> Iterator[str]:
    """Yield the names that `decode` would import, other than those that are always allowed.

    Examples
    --------
    >>> list(references({"list": [{"import": ["numpy", "log"]}, {"import": ["os", "system"]}]}))
    ['os.system']
    """
    if not isinstance(value, dict):
        return
    for kind in ("list", "tuple"):
        for item in value.get(kind, ()):
            yield from references(item)
    for pair in value.get("dict", ()):
        for item in pair:
            yield from references(item)
    if "module" in value and value["module"] not in MODULES:
        yield str(value["module"])
    for kind, known in (("import", FUNCTIONS), ("object", CLASSES)):
        if kind in value and (name := ".".join(map(str, value[kind]))) not in known:
            yield name
    for item in dict(value.get("state", ())).values():
        yield from references(item)


def _is_trusted(name: str, value: Any, trusted: Collection[str]) -> bool:
    """Whether a name is trusted; a module also if something in it is."""
    inside = "module" in value and any(other.startswith(f"{name}.") for other in trusted)
    return name in trusted or inside


def _unsavable(value: Any, what: str) -> DesignError:
    return DesignError(
        f"{what} cannot be saved: it is a {type(value).__name__} that cannot be imported from a "
        "module. Define functions in a module of their own (no lambda, nothing typed at the "
        "prompt) and constants as numbers or arrays; or pickle the results, result.save(path)."
    )


def _is_text(value: Any) -> bool:
    """Whether a value is text that JSON can hold: no halves of characters."""
    if type(value) is not str:
        return False
    try:
        return value.isascii() or bool(value.encode())
    except UnicodeEncodeError:
        return False


def _plain(value: Any) -> Any:
    """Return a number or text of a derived class as Python's own."""
    return next(kind(value) for kind in (bool, int, float, str) if isinstance(value, kind))


class _Empty:
    """An object that is nothing but its attributes."""


def _is_its_dict(value: Any) -> bool:
    """Whether the attributes in ``__dict__`` are all that an object consists of."""
    kind = type(value)
    slots = [name for base in kind.__mro__ for name in vars(base).get("__slots__", ())]
    own = set(slots) <= {"__dict__", "__weakref__"}
    return own and hasattr(value, "__dict__") and kind.__basicsize__ <= _Empty.__basicsize__


# --- keys: how each kind is written (None for another kind), and read ------------------------


def _write_moment(value: Any) -> list[Any] | None:
    """A date and time as text: of the zone named, or without one."""
    if type(value) is datetime.date:
        return ["date", value.isoformat()]
    if isinstance(value, pd.Timestamp):
        kind = "Timestamp"
    elif type(value) is datetime.datetime:
        kind = "datetime"
    else:
        return None
    if value.tzinfo is None:
        return [kind, value.isoformat()]
    utc = pd.Timestamp(value).tz_convert("UTC").tz_localize(None)
    return [kind, utc.isoformat(), _zone(value.tzinfo)]


def _zone(zone: Any) -> str | float:
    """The name of a time zone, or a fixed offset in seconds."""
    name = getattr(zone, "key", None) or getattr(zone, "zone", None)
    return zone.utcoffset(None).total_seconds() if name is None else str(name)


def _read_moment(written: list[Any]) -> Any:
    kind, text, *zone = written
    if kind == "date":
        return datetime.date.fromisoformat(text)
    stamp = pd.Timestamp(text)
    if zone:
        stamp = stamp.tz_localize("UTC").tz_convert(_read_zone(zone[0]))
    return stamp if kind == "Timestamp" else stamp.to_pydatetime()


def _read_zone(written: str | float) -> Any:
    if not isinstance(written, str):
        return datetime.timezone(datetime.timedelta(seconds=written))
    if not re.fullmatch(r"[A-Za-z]\w*(/[\w+-]+)*", written) or written.startswith("dateutil"):
        raise DesignError(f"{written!r} is no name of a time zone.")
    return written


def _write_duration(value: Any) -> list[Any] | None:
    if isinstance(value, pd.Timedelta):
        return ["Timedelta", *_write_numpy_time(value.to_timedelta64())]
    if type(value) is datetime.timedelta:
        return ["timedelta", value.days, value.seconds, value.microseconds]
    return None


def _read_duration(written: list[Any]) -> Any:
    kind, *numbers = written
    if kind == "timedelta":
        return datetime.timedelta(*numbers)
    return pd.Timedelta(_read_numpy_time(numbers))


def _write_numpy_time(value: np.datetime64 | np.timedelta64) -> list[Any]:
    unit, step = np.datetime_data(value.dtype)
    return [type(value).__name__, int(value.astype(np.int64)), unit, step]


def _read_numpy_time(written: list[Any]) -> Any:
    kind, count, unit, step = written
    make = np.datetime64 if kind == "datetime64" else np.timedelta64
    return make(count, (unit, step))


def _write_interval(value: Any) -> list[Any] | None:
    if not isinstance(value, pd.Interval):
        return None
    return [*encode_keys((value.left, value.right), "the end of an interval"), value.closed]


def _write_as(kind: type, write: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda value: write(value) if type(value) is kind else None


_KEYS: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    "date": (_write_moment, _read_moment),
    "duration": (_write_duration, _read_duration),
    "numpy time": (
        lambda v: _write_numpy_time(v) if isinstance(v, np.datetime64 | np.timedelta64) else None,
        _read_numpy_time,
    ),
    "period": (
        _write_as(pd.Period, lambda v: [int(v.ordinal), v.freqstr]),
        lambda w: pd.Period(ordinal=w[0], freq=w[1]),
    ),
    "interval": (_write_interval, lambda w: pd.Interval(decode(w[0]), decode(w[1]), w[2])),
    "time": (_write_as(datetime.time, lambda v: v.isoformat()), datetime.time.fromisoformat),
    "decimal": (_write_as(decimal.Decimal, str), decimal.Decimal),
    "fraction": (
        _write_as(fractions.Fraction, lambda v: [v.numerator, v.denominator]),
        lambda w: fractions.Fraction(*w),
    ),
    "complex": (_write_as(complex, lambda v: [v.real, v.imag]), lambda w: complex(*w)),
    "uuid": (_write_as(uuid.UUID, str), uuid.UUID),
    "bytes": (_write_as(bytes, lambda v: v.hex()), bytes.fromhex),
}


# --- names by which things are imported ------------------------------------------------------


def _import_path(value: Any) -> list[str] | None:
    """Return module and name by which a function or class is found again, or None."""
    module = getattr(value, "__module__", None)
    if module is None and isinstance(value, np.ufunc):
        module = "numpy"
    name = getattr(value, "__qualname__", None) or getattr(value, "__name__", None)
    if not isinstance(module, str) or not isinstance(name, str) or module == "__main__":
        return None
    for place in (module.partition(".")[0], module):  # pandas.cut, not where pandas defines it
        try:
            if _imported(place, name) is value:
                return [place, name]
        except (ImportError, AttributeError):
            continue
    return None


def _imported(module: str, name: str) -> Any:
    found: Any = importlib.import_module(module)
    for part in name.split("."):
        found = getattr(found, part)
    return found
