"""Bootstrap replicates in a file: arrays and a few words of JSON, nothing that could be run.

The layout is NumPy's npz: ``replicates`` (n, s) and ``estimates`` (s,) as they are, and in
``header``, as UTF-8, a JSON object of the names, the kind of bootstrap and the failures.
"""

from __future__ import annotations

import io
import json
import os
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from mixedlm_ext.errors import FitError

Array = NDArray[np.float64]

__all__ = ["Destination", "Replicates", "read_replicates", "write_replicates"]

Destination = str | os.PathLike[str] | BinaryIO

_MARK, _LAYOUT = "mixedlm_ext bootstrap", 1


@dataclass(frozen=True, eq=False)
class Replicates:
    """What a file holds of a bootstrap.

    Attributes
    ----------
    kind : str
    use_u : bool
    of_statistic : bool
        Whether they are of a user's statistic rather than of the parameters.
    names : list of label
    estimates : ndarray (s,)
    values : ndarray (n, s)
    failures : mapping of int to str
    """

    kind: str
    use_u: bool
    of_statistic: bool
    names: list[Any]
    estimates: Array
    values: Array
    failures: Mapping[int, str]


def write_replicates(path: Destination, replicates: Replicates) -> None:
    """Write a file, or nothing if some name cannot be written.

    Raises
    ------
    FitError
        If a name is neither text, a number nor a tuple of such.
    """
    header = {
        "format": _MARK,
        "layout": _LAYOUT,
        "kind": replicates.kind,
        "use_u": replicates.use_u,
        "of_statistic": replicates.of_statistic,
        "names": [_encode(name) for name in replicates.names],
        "failures": {str(r): why for r, why in replicates.failures.items()},
    }
    content = io.BytesIO()
    np.savez_compressed(
        content,
        header=np.frombuffer(json.dumps(header).encode(), dtype=np.uint8),
        estimates=replicates.estimates.astype("<f8"),
        replicates=replicates.values.astype("<f8"),
    )
    if isinstance(path, str | os.PathLike):
        Path(path).write_bytes(content.getvalue())
    else:
        path.write(content.getvalue())


def read_replicates(path: Destination) -> Replicates:
    """Read a file that `write_replicates` wrote.

    Raises
    ------
    FitError
        If it holds anything else.
    """
    what = repr(os.fspath(path)) if isinstance(path, str | os.PathLike) else "the file"
    content = Path(path).read_bytes() if isinstance(path, str | os.PathLike) else path.read()
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            header = json.loads(arrays["header"].tobytes())
            estimates, values = arrays["estimates"], arrays["replicates"]
        marked = header["format"] == _MARK
    except (ValueError, KeyError, TypeError, AttributeError, OSError, EOFError, IndexError,
            zipfile.BadZipFile):  # fmt: skip
        marked = False
    if not marked:
        raise FitError(f"{what} holds no bootstrap. Write one with boot.save(path).")
    if header.get("layout") != _LAYOUT:
        raise FitError(
            f"{what} has the layout {header.get('layout')!r} of bootstraps; this version of "
            f"mixedlm_ext reads layout {_LAYOUT}. Bootstrap again, or update mixedlm_ext."
        )
    try:
        return _checked(header, estimates, values)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise FitError(f"{what} is damaged: its parts do not fit together.") from None


def _checked(header: dict[str, Any], estimates: Array, values: Array) -> Replicates:
    """Return what was read, or raise ValueError if it cannot have been written so."""
    names = [_decode(name) for name in header["names"]]
    failures = {int(r): why for r, why in header["failures"].items()}
    right = (
        isinstance(header["kind"], str)
        and isinstance(header["use_u"], bool)
        and isinstance(header["of_statistic"], bool)
        and estimates.dtype == values.dtype == np.dtype("<f8")
        and estimates.shape == (len(names),)
        and values.ndim == 2
        and len(values) > 0
        and values.shape[1] == len(names)
        and all(0 <= r < len(values) and isinstance(why, str) for r, why in failures.items())
    )
    if not right:
        raise ValueError
    return Replicates(
        kind=header["kind"],
        use_u=header["use_u"],
        of_statistic=header["of_statistic"],
        names=names,
        estimates=estimates.astype(float),
        values=values.astype(float),
        failures=failures,
    )


def _encode(name: Any) -> Any:
    """Return a name in terms of JSON; a tuple as a list."""
    if isinstance(name, tuple):
        return [_encode(part) for part in name]
    if isinstance(name, np.bool_ | np.integer | np.floating):
        name = name.item()
    if name is None or isinstance(name, str | bool | int | float):
        return name
    raise FitError(
        f"the name {name!r} of a value is a {type(name).__name__}, which the file cannot hold. "
        "Return a dict from the statistic, with text as names."
    )


def _decode(name: Any) -> Any:
    """Return what `_encode` was given."""
    if isinstance(name, list):
        return tuple(_decode(part) for part in name)
    if isinstance(name, dict):
        raise ValueError
    return name
