"""Python values as JSON holds them, and back: levels of factors, and what a formula's code uses."""

from __future__ import annotations

import datetime
import importlib
import types
from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from mixedlm_ext.errors import DesignError

__all__ = ["decode", "encode", "encode_all"]


def encode(value: Any, what: str) -> Any:
    """Return `value` in terms of JSON: plain values as they are, others as a tagged object.

    Parameters
    ----------
    value : object
        A number, text, truth value or date; an array or list of such; a module; a function or class
        that can be imported; an object of such a class whose attributes are of these kinds.
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
    if isinstance(value, np.generic):
        value = value.item() if not isinstance(value, np.longdouble) else float(value)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, datetime.datetime | datetime.date):
        return {"date": [_date_kind(value), value.isoformat()]}
    if isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
        dtype = value.dtype.str if value.dtype.itemsize <= 8 else "<f8"
        return {"array": value.astype(dtype).ravel().tolist(), "dtype": dtype, "shape": value.shape}
    if isinstance(value, list | tuple):
        kind = "list" if isinstance(value, list) else "tuple"
        return {kind: encode_all(value, what)}
    if isinstance(value, types.ModuleType):
        return {"module": value.__name__}
    path = _import_path(value)
    if path is not None:
        return {"import": path}
    path = _import_path(type(value))
    if path is not None and type(value).__module__ != "builtins" and hasattr(value, "__dict__"):
        names = list(vars(value))
        return {"object": path, "state": dict(zip(names, encode_all(vars(value).values(), what)))}
    raise DesignError(
        f"{what} cannot be saved: it is a {type(value).__name__} that cannot be imported from a "
        "module. Define functions in a module of their own (no lambda, nothing typed at the "
        "prompt) and constants as numbers or arrays; or pickle the results, result.save(path)."
    )


def encode_all(values: Iterable[Any], what: str) -> list[Any]:
    """Return each of several values in terms of JSON."""
    return [encode(value, what) for value in values]


def decode(value: Any) -> Any:
    """Return what `encode` was given."""
    if not isinstance(value, dict):
        return value
    if "date" in value:
        kind, text = value["date"]
        return _DATES[kind](text)
    if "array" in value:
        return np.array(value["array"], dtype=value["dtype"]).reshape(value["shape"])
    if "list" in value:
        return [decode(item) for item in value["list"]]
    if "tuple" in value:
        return tuple(decode(item) for item in value["tuple"])
    if "module" in value:
        return importlib.import_module(value["module"])
    if "import" in value:
        return _imported(*value["import"])
    kind = _imported(*value["object"])
    made = kind.__new__(kind)
    made.__dict__.update({name: decode(item) for name, item in value["state"].items()})
    return made


_DATES: dict[str, Any] = {
    "Timestamp": pd.Timestamp,
    "datetime": datetime.datetime.fromisoformat,
    "date": datetime.date.fromisoformat,
}


def _date_kind(value: datetime.date) -> str:
    if isinstance(value, pd.Timestamp):
        return "Timestamp"
    return "datetime" if isinstance(value, datetime.datetime) else "date"


def _import_path(value: Any) -> list[str] | None:
    """Return module and name by which a function or class is found again, or None."""
    module = getattr(value, "__module__", None)
    if module is None and isinstance(value, np.ufunc):
        module = "numpy"
    name = getattr(value, "__qualname__", None) or getattr(value, "__name__", None)
    if not isinstance(module, str) or not isinstance(name, str) or module == "__main__":
        return None
    try:
        found = _imported(module, name)
    except (ImportError, AttributeError):
        return None
    return [module, name] if found is value else None


def _imported(module: str, name: str) -> Any:
    found: Any = importlib.import_module(module)
    for part in name.split("."):
        found = getattr(found, part)
    return found
