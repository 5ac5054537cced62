"""What the coefficients of a group are called: random columns that are fixed columns too are one.

Columns are compared by their values, since names are text: ``Days:z`` and ``z:Days`` are one
column, and two columns of arrays that are both called x1 need not be.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from mixedlm_ext.design.records import TermDesign, TermSpec

__all__ = ["coefficient_names", "names_of_coefficients", "same_column"]

Floats = npt.NDArray[np.float64]

_SAME = 1e-12
"""Relative difference of two columns that are products of the same factors in another order."""


def coefficient_names(
    X: Floats, x_names: Sequence[str], terms: Sequence[TermDesign]
) -> tuple[tuple[str, ...], ...]:
    """Name the columns of the random terms for tables of coefficients.

    Parameters
    ----------
    X : ndarray (n, p)
    x_names : sequence of str
    terms : sequence of TermDesign

    Returns
    -------
    tuple of tuple of str
        For each term and column the name of the fixed effect that has the same column, or else of
        the first random column that has it, or else its own name, made unique.
    """
    parts = [X, *(term.X for term in terms)]

    def same(one: tuple[int, int], two: tuple[int, int]) -> bool:
        return same_column(parts[one[0]][:, one[1]], parts[two[0]][:, two[1]])

    return names_of_coefficients(x_names, terms, same)


def names_of_coefficients(
    x_names: Sequence[str],
    terms: Sequence[TermSpec],
    same: Callable[[tuple[int, int], tuple[int, int]], bool],
) -> tuple[tuple[str, ...], ...]:
    """Name the columns of the random terms, given which columns are the same.

    Parameters
    ----------
    x_names : sequence of str
    terms : sequence of TermSpec
    same : callable
        Of two columns, each the number of its part (0 for X, 1 for the first term, ...) and its
        place there; the second is of an earlier part, or a column before in the same.

    Returns
    -------
    tuple of tuple of str
    """
    known = [(name, (0, j)) for j, name in enumerate(x_names)]
    out = []
    for i, term in enumerate(terms, start=1):
        names = []
        for a, own in enumerate(term.columns):
            name = next((name for name, other in known if same((i, a), other)), None)
            if name is None:
                name = _unique(own, term.name, {taken for taken, _ in known})
                known.append((name, (i, a)))
            names.append(name)
        out.append(tuple(names))
    return tuple(out)


def same_column(one: Floats, two: Floats) -> bool:
    """Say whether two columns agree up to rounding."""
    near = abs(one[0] - two[0]) <= _SAME * abs(one[0])  # spares most comparisons of all rows
    if near and np.array_equal(one, two):
        return True
    return bool(near and np.allclose(one, two, rtol=_SAME, atol=0.0))


def _unique(name: str, term: str, taken: set[str]) -> str:
    """Return a name that is not taken."""
    names = [name, *(f"{name} ({term}{'' if i == 1 else f'.{i}'})" for i in range(1, 100))]
    return next(candidate for candidate in names if candidate not in taken)
