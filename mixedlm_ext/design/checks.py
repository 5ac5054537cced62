"""Whether numbers can be computed with: each refusal names the user's own thing and a way out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from mixedlm_ext.design.column import one_column
from mixedlm_ext.design.messages import is_number_text, quoted
from mixedlm_ext.design.values import plain_values
from mixedlm_ext.errors import DesignError

__all__ = [
    "check_fixed_size",
    "check_matrix",
    "check_response",
    "check_response_values",
    "check_size",
    "check_weights",
    "not_finite",
    "number_vector",
    "offset_vector",
    "weight_vector",
    "widest_factor",
]

_SMALLEST = 1e-290
_ROUNDING = 2.0 * float(np.finfo(float).eps)

Floats = npt.NDArray[np.float64]


def number_vector(values: Any, what: str, n: int) -> Floats:
    """Return `values` as n floats.

    Raises
    ------
    DesignError
        If they are not numbers (text, categories, booleans, dates, complex numbers), have several
        columns, or another length. `what` opens the message: ``"response 'y'"``.
    """
    if isinstance(values, np.ndarray) and values.dtype == np.float64 and values.shape == (n,):
        return np.ascontiguousarray(values)
    if hasattr(values, "contrast") and hasattr(values, "data"):  # patsy's C()
        values = pd.Categorical(values.data)
    values = plain_values(one_column(values, what))
    if len(values) != n:
        raise DesignError(f"{what} has {len(values)} values; the data have {n} rows.")
    if isinstance(values, pd.Categorical) or values.dtype.kind not in "biufc":
        raise DesignError(f"{what} is not numeric{_what_instead(values)}")
    if values.dtype.kind == "b":
        raise DesignError(
            f"{what} is boolean; a mixed model needs numbers. "
            "If 0 and 1 are meant, convert it with .astype(float)."
        )
    if values.dtype.kind == "c":
        raise DesignError(f"{what} is complex. Model its real part, imaginary part or modulus.")
    return np.ascontiguousarray(values, dtype=np.float64)


def _what_instead(values: Any) -> str:
    """What a column holds that is not numeric, and what to do about it."""
    items = pd.Series(values).tolist()
    if not items:
        return ". Use a column of numbers."
    odd = [value for value in items if not is_number_text(value)]
    if odd:
        others = " beside numbers" if len(odd) < len(items) else ""
        return f" (it holds {quoted(odd[0])}{others}). Use a column of numbers."
    return f" (it holds {quoted(items[0])}). Convert it with .astype(float)."


def check_response(y: Floats, name: str, offset: Floats | None, index: pd.Index) -> None:
    """Refuse a response that is infinite, undefined or constant up to rounding."""
    _check_finite(y, f"response {name!r}", index)
    residual = None if offset is None else y - offset
    check_response_values(y, name, residual, len(y))


def check_response_values(y: Floats, name: str, residual: Floats | None, n: int) -> None:
    """Refuse a response by its extremes.

    Parameters
    ----------
    y : ndarray
        The values, or the smallest and the largest of them.
    name : str
    residual : ndarray or None
        The same of the response less the offset, if there is one.
    n : int
        Number of rows.
    """
    what = f"response {name!r}"
    check_size(y, what)
    if n == 1:
        raise DesignError(f"{what} has one value only; a model needs several rows of data.")
    size = float(np.abs(y).max())
    if _is_constant(y, size):
        raise DesignError(f"{what} is constant ({y[0]:g}); there is nothing to explain.")
    if residual is not None and _is_constant(residual, size):
        raise DesignError(
            f"{what} minus the offset is constant ({residual[0]:g}); there is nothing to explain."
        )


def _is_constant(values: Floats, size: float) -> bool:
    """Whether values differ by no more than the rounding error of numbers as large as `size`."""
    with np.errstate(over="ignore"):
        return bool(np.ptp(values) <= _ROUNDING * size)


def check_size(values: Floats, what: str) -> None:
    """Refuse values whose products with others leave the range of floating point."""
    largest = float(np.abs(values).max(initial=0.0))
    if not _has_usual_size(largest):
        raise _unusual_size(largest, what)


def _has_usual_size(largest: float) -> bool:
    """Whether products of values up to this one stay in the range of floating point."""
    return largest == 0.0 or _SMALLEST < largest < 1.0 / _SMALLEST


def _unusual_size(largest: float, what: str) -> DesignError:
    """Return the error for values up to this one."""
    size = "small" if largest < 1.0 else "large"
    return DesignError(
        f"{what} has values too {size} to compute with: up to {largest:.3g}. Give it another unit."
    )


def check_matrix(X: Floats, names: Sequence[str], place: str, index: pd.Index) -> None:
    """Refuse infinite or undefined values in a matrix, naming the first such column and row."""
    if np.isfinite(X).all():
        for name, largest in zip(names, np.abs(X).max(axis=0, initial=0.0).tolist(), strict=True):
            if not _has_usual_size(largest):
                raise _unusual_size(largest, f"{name!r} in {place}")
        return
    j = int(np.flatnonzero(~np.isfinite(X).all(axis=0))[0])
    _check_finite(X[:, j], f"{names[j]!r} in {place}", index)


def _check_finite(values: Floats, what: str, index: pd.Index) -> None:
    finite = np.isfinite(values)
    if finite.all():
        return
    row = int(np.flatnonzero(~finite)[0])
    raise not_finite(what, values[row], index[row], int(np.count_nonzero(~finite)) - 1)


def not_finite(what: str, value: float, row: Any, others: int) -> DesignError:
    """Return the error for a value that is not finite at some row, and others that are not."""
    more = f" and {others} more" if others else ""
    return DesignError(
        f"{what} is not finite: {value} at row {quoted(row)}{more}. "
        "Correct these values or mark them as missing."
    )


def weight_vector(values: pd.Series, what: str, index: pd.Index) -> Floats:
    """Precision weights of the rows; zeros are allowed, but not all of them."""
    weights = number_vector(values, what, len(index))
    check_weights(weights, what, index, "; zero leaves a row out")
    if not weights.any():
        raise DesignError(f"{what}: all values are zero, no row is left.")
    return weights


def check_weights(weights: Floats, what: str, index: pd.Index, more: str = "") -> None:
    """Refuse infinite, undefined and negative weights; `more` says what zero means."""
    _check_finite(weights, what, index)
    negative = np.flatnonzero(weights < 0)
    if len(negative):
        row = negative[0]
        raise DesignError(
            f"{what} has a negative value: {weights[row]:g} at row {quoted(index[row])}. "
            f"Precision weights are positive{more}."
        )


def offset_vector(values: Any, name: str, index: pd.Index) -> Floats:
    """A known part of the linear predictor."""
    offset = number_vector(values, name, len(index))
    _check_finite(offset, name, index)
    return offset


def check_fixed_size(n: int, names: Sequence[str]) -> None:
    """Refuse as many fixed effects as observations."""
    if len(names) >= n:
        raise DesignError(
            f"the fixed part has {len(names)} estimable columns for {n} observations; "
            f"no information is left for the variances. {widest_factor(names)}Use fewer terms."
        )


def widest_factor(names: Sequence[str]) -> str:
    """Name the factor that makes most of the columns: it may be numbers stored as text."""
    factors = Counter(name.partition("[")[0] for name in names if "[" in name)
    if not factors:
        return ""
    factor, count = factors.most_common(1)[0]
    return (
        f"{count} of them belong to {factor!r}, one for each of its values; "
        "if these are numbers, convert them with .astype(float). "
    )
