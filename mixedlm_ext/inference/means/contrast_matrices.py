"""Coefficients of contrasts among means: by name, or as the user gives them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from itertools import combinations
from math import comb, gcd, lcm, prod
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mixedlm_ext.design.messages import list_names
from mixedlm_ext.errors import FitError, check_choice, did_you_mean

Array = NDArray[np.float64]

__all__ = [
    "DEFAULT_ADJUSTMENTS",
    "KINDS",
    "Contrasts",
    "given_contrasts",
    "named_contrasts",
    "read_kind",
]


class Contrasts(NamedTuple):
    """Names of contrasts, and their coefficients (r, k), a row each."""

    names: list[str]
    C: Array


KINDS = (
    "pairwise", "revpairwise", "reference", "consecutive", "poly", "eff", "del.eff", "identity",
)  # fmt: skip
_ALIASES = {
    "trt.vs.ctrl": "reference", "dunnett": "reference", "tukey": "pairwise",
    "consec": "consecutive", "deviation": "eff",
}  # fmt: skip
DEFAULT_ADJUSTMENTS = {
    "pairwise": "tukey", "revpairwise": "tukey", "reference": "mvt", "consecutive": "mvt",
    "eff": "fdr_bh", "del.eff": "fdr_bh",
}  # fmt: skip
"""How families of contrasts are adjusted unless said otherwise, as by R's emmeans; others not."""
_MOST_DEGREES = 6


def read_kind(kind: Any) -> str:
    """Return the name of a kind of contrasts, R's names among those that are understood.

    Raises
    ------
    FitError
        If there is no such kind.
    """
    more = "Or give coefficients: {'name': [1, -1, ...]}."
    check_choice("kind", kind, KINDS, FitError, aliases=_ALIASES, more=more)
    return _ALIASES.get(kind, kind)


def named_contrasts(kind: str, labels: Sequence[str], base: int, minus: str) -> Contrasts:
    """Return the contrasts of a kind.

    Parameters
    ----------
    kind : str
        One of `KINDS`.
    labels : sequence of str
        Of the k means.
    base : int
        Position of the reference.
    minus : str
        What stands between the names of two means: " - ", or " / " for ratios.

    Examples
    --------
    >>> named_contrasts("consecutive", ["a", "b", "c"], 0, " - ")
    Contrasts(names=['b - a', 'c - b'], C=array([[-1.,  1.,  0.],
           [ 0., -1.,  1.]]))
    """
    k, eye = len(labels), np.eye(len(labels))
    if kind in _PAIRS:
        pairs = _PAIRS[kind](k, base)
        names = [f"{labels[i]}{minus}{labels[j]}" for i, j in pairs]
        return Contrasts(names, np.array([eye[i] - eye[j] for i, j in pairs]).reshape(-1, k))
    if kind == "poly":
        rows = [_orthogonal_polynomial(d, k) for d in range(1, min(_MOST_DEGREES, k - 1) + 1)]
        named = ["linear", "quadratic", "cubic", "quartic", "degree 5", "degree 6"]
        return Contrasts(named[: len(rows)], np.array(rows, dtype=float).reshape(-1, k))
    if kind == "identity":
        return Contrasts(list(labels), eye)
    others = eye - 1.0 / k if kind == "eff" else (eye * k - 1.0) / (k - 1)
    return Contrasts([f"{label} effect" for label in labels], others)


_PAIRS: dict[str, Callable[[int, int], list[tuple[int, int]]]] = {
    "pairwise": lambda k, base: list(combinations(range(k), 2)),
    "revpairwise": lambda k, base: [(j, i) for j in range(k) for i in range(j)],
    "reference": lambda k, base: [(i, base) for i in range(k) if i != base],
    "consecutive": lambda k, base: [(i + 1, i) for i in range(k - 1)],
}
"""Positions of minuend and subtrahend."""


def _orthogonal_polynomial(degree: int, k: int) -> list[int]:
    """Return Chebyshev's discrete polynomial at 0, ..., k - 1 as the smallest whole numbers."""
    values = []
    for x in range(k):
        terms = [
            (-1) ** (degree - j)
            * Fraction(comb(degree, j) * comb(degree + j, j))
            * Fraction(prod(range(x - j + 1, x + 1)), prod(range(k - j, k)))
            for j in range(degree + 1)
        ]
        values.append(sum(terms, Fraction(0)))
    whole = [int(value * lcm(*(v.denominator for v in values))) for value in values]
    return [value // gcd(*whole) for value in whole]


def given_contrasts(kind: Any, levels: Sequence[Any], labels: Sequence[str]) -> Contrasts:
    """Return contrasts that the user gives by their coefficients.

    Parameters
    ----------
    kind : mapping, Series, DataFrame or array_like
        Names with the coefficients of each; a row for each contrast, its columns the means; or the
        coefficients of one. A mapping or Series of coefficients goes by the levels of the means.
    levels : sequence
        Of the k means: values, or tuples of them.
    labels : sequence of str
        The same as text.

    Raises
    ------
    FitError
        If the coefficients do not fit the means, or are no finite numbers.
    """
    if isinstance(kind, pd.DataFrame):
        names = None if isinstance(kind.index, pd.RangeIndex) else list(map(str, kind.index))
        given: list[Any] = [row for _, row in kind.iterrows()]
        if isinstance(kind.columns, pd.RangeIndex):
            given = [row.to_numpy() for row in given]
    elif isinstance(kind, Mapping):
        written = next((one for one in kind.values() if isinstance(one, str)), None)
        if written is not None:
            raise FitError(
                f"a contrast is the text {written!r}. Give coefficients, as in "
                "{'name': {'level 1': 1, 'level 2': -1}}."
            )
        names, given = list(map(str, kind)), list(kind.values())
        if given and all(np.ndim(one) == 0 and not isinstance(one, Mapping) for one in given):
            names, given = None, [kind]  # coefficients by level: one contrast
    else:
        names, given = None, _rows(kind)
    if not given:
        raise FitError("there are no contrasts. Give one or several lists of coefficients.")
    C = np.array([_coefficients(one, levels, labels) for one in given])
    return Contrasts(names or [_written(row, labels) for row in C], C)


def _rows(kind: Any) -> list[Any]:
    """Return the contrasts of an array, a Series or a list."""
    if isinstance(kind, pd.Series):
        return [kind]
    try:
        shape = np.shape(kind)
    except ValueError:
        shape = (len(kind), 0)  # lists of different lengths: each is checked by itself
    if len(shape) == 1 and not any(np.ndim(one) for one in kind):
        return [kind]
    if len(shape) == 2:
        return list(kind)
    raise FitError(
        f"kind={kind!r} is no matrix of contrasts. Give a row of coefficients for each contrast."
    )


def _coefficients(given: Any, levels: Sequence[Any], labels: Sequence[str]) -> Array:
    """Return the coefficients of one contrast in the order of the means."""
    if isinstance(given, pd.Series) and not isinstance(given.index, pd.RangeIndex):
        given = given.to_dict()
    if isinstance(given, Mapping):
        place: dict[Any, int] = {label: i for i, label in enumerate(labels)}
        place |= {level: i for i, level in enumerate(levels)}
        row = np.zeros(len(labels))
        for level, value in given.items():
            if level not in place:
                near = did_you_mean(str(level), labels)
                raise FitError(
                    f"a contrast names the level {level!r}; there are {list_names(levels)}.{near}"
                )
            row[place[level]] = _number(value)
        return row
    if np.ndim(given) != 1:
        raise FitError(f"a contrast is {given!r}. Give a list of {len(labels)} coefficients.")
    values = list(given)
    if len(values) != len(labels):
        raise FitError(
            f"a contrast has {len(values)} coefficients, and there are {len(labels)} means: "
            f"{list_names(levels)}. Give one for each; a matrix has a row for each contrast."
        )
    return np.array([_number(value) for value in values])


def _number(value: Any) -> float:
    """Return one coefficient."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = np.nan
    if not np.isfinite(number):
        raise FitError(f"a contrast has the coefficient {value!r}. Give finite numbers.")
    return number


def _written(row: Array, labels: Sequence[str]) -> str:
    """Write a contrast as a sum: "A - 0.5 B - 0.5 C"."""
    out = ""
    for value, label in zip(row, labels):
        if value:
            size = "" if abs(value) == 1.0 else f"{abs(value):.6g} "
            sign = (" - " if value < 0 else " + ") if out else ("-" if value < 0 else "")
            out += f"{sign}{size}{label}"
    return out or "0"
