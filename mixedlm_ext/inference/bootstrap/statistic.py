"""What is bootstrapped: the parameters of a fit, or a user's statistic, as named numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from numbers import Real
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mixedlm_ext.errors import FitError
from mixedlm_ext.estimation.estimates import Estimates
from mixedlm_ext.estimation.fitted import Fitted
from mixedlm_ext.inference.parameters import model_parameters
from mixedlm_ext.many import all_values

Array = NDArray[np.float64]
Statistic = Callable[[Any], Any]

__all__ = ["Statistic", "Values", "check_statistic", "evaluate", "own_values", "values_like"]

_RETURN = "Return a number, a vector, a Series or a dict of numbers."


@dataclass(frozen=True, eq=False)
class Values:
    """Numbers (s,) and their names."""

    names: list[Any]
    numbers: Array


def check_statistic(statistic: object) -> None:
    """Raise FitError unless `statistic` is None or can be called."""
    if statistic is not None and not callable(statistic):
        raise FitError(
            f"statistic={_short(statistic)} is no function. Pass one that takes a result, such as "
            "lambda result: result.params; or leave it out for all parameters."
        )


def evaluate(statistic: Statistic, results: Any, where: str) -> Values:
    """Call a statistic and read what it returned.

    Parameters
    ----------
    statistic : callable
    results : MixedLMResults
    where : str
        What it is taken of, for messages, such as "at replicate 3".

    Raises
    ------
    FitError
        If it raises, or returns anything but real numbers with distinct names.
    """
    try:
        value = statistic(results)
    except Exception as error:
        raise FitError(f"the statistic raised {type(error).__name__}: {error} {where}.") from error
    try:
        return _read(value, statistic)
    except _NoNumbers as problem:
        raise FitError(f"the statistic returned {problem} {where}. {_RETURN}") from None


def own_values(
    fitted: Fitted, statistic: Statistic | None, where: str = "for the fit itself"
) -> Values:
    """Return the parameters of a fit, or the statistic of it, by name."""
    if statistic is not None:
        return evaluate(statistic, fitted.result(), where)
    fit = fitted.fit
    free_sigma = fit.fixed_sigma is None
    names = [p.name for p in model_parameters(fit.design, free_sigma)]
    one = Estimates.of_fit(fit)
    return Values(names, all_values(fit.problem.covariance, one, free_sigma)[0])


def values_like(names: list[Any], fitted: Fitted, statistic: Statistic | None, where: str) -> Array:
    """Return the parameters or the statistic of another fit, which must have the same names."""
    found = own_values(fitted, statistic, where)
    if found.names != names:
        raise FitError(
            f"the statistic returned {found.names} {where}, but {names} for the fit itself. It "
            "must always return the same values."
        )
    return found.numbers


class _NoNumbers(Exception):
    """What a statistic returned instead of numbers, to go after "returned"."""


def _read(value: Any, statistic: Statistic) -> Values:
    """Name the numbers that a statistic returned."""
    if isinstance(value, Mapping):
        entries = [_number(entry, f" for {_short(name)}") for name, entry in value.items()]
        return Values(list(value), _some(np.array(entries)))
    name = getattr(statistic, "__name__", "statistic")
    name = "statistic" if name == "<lambda>" else name
    if not isinstance(value, list | tuple) and not (hasattr(value, "__array__") and np.ndim(value)):
        return Values([name], np.array([_number(value)]))
    numbers = _some(_vector(value))
    if not isinstance(value, pd.Series):
        return Values([f"{name}[{i}]" for i in range(len(numbers))], numbers)
    if not value.index.is_unique:
        twice = value.index[value.index.duplicated()][0]
        raise _NoNumbers(f"several values by the name {_short(twice)}")
    return Values(list(value.index), numbers)


def _vector(value: Any) -> Array:
    """Return a list, an array or what can be made one as numbers; masked ones are missing."""
    if not isinstance(value, list | tuple):
        if np.ndim(value) > 1:
            raise _NoNumbers(f"an array of shape {np.shape(value)}")
        array = value if isinstance(value, np.ma.MaskedArray) else np.asarray(value)
        if array.dtype.kind in "biuf":
            return np.asarray(np.ma.filled(array.astype(float), np.nan))
        if array.dtype.kind != "O":
            raise _NoNumbers(f"an array of {array.dtype}")
    entries: Iterable[Any] = value
    return np.array([_number(entry, f" as entry {i}") for i, entry in enumerate(entries)])


def _number(value: Any, place: str = "") -> float:
    """Return a real number as a float, and what stands for a missing one as nan."""
    if isinstance(value, np.ndarray) and value.ndim == 0:
        value = value[()]
    if value is pd.NA or value is np.ma.masked:
        return float("nan")
    if value is None:
        raise _NoNumbers(f"None{place or ' (does it lack a return?)'}")
    if isinstance(value, Real | Decimal | np.bool_):
        try:
            return float(value)
        except OverflowError:
            raise _NoNumbers(f"{_short(value)}{place}, which is too large") from None
    raise _NoNumbers(f"{_short(value)} ({type(value).__name__}){place}")


def _some(numbers: Array) -> Array:
    """Return the numbers unless there are none."""
    if not len(numbers):
        raise _NoNumbers("nothing, an empty vector")
    return numbers


def _short(value: object) -> str:
    """Return the start of what Python calls a value."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
