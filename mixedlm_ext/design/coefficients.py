"""What the coefficients of a group are called: random columns that are fixed columns too are one.

Columns are compared by their values, since names are text: ``Days:z`` and ``z:Days`` are one
column, and two columns of arrays that are both called x1 need not be.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from mixedlm_ext.design.records import TermDesign

__all__ = ["coefficient_names"]

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
    known = [*zip(x_names, X.T)]
    out = []
    for term in terms:
        names = []
        for own, column in zip(term.columns, term.X.T):
            name = next((name for name, other in known if _same(column, other)), None)
            if name is None:
                name = _unique(own, term.name, {taken for taken, _ in known})
                known.append((name, column))
            names.append(name)
        out.append(tuple(names))
    return tuple(out)


def _same(one: Floats, two: Floats) -> bool:
    """Say whether two columns agree up to rounding."""
    near = abs(one[0] - two[0]) <= _SAME * abs(one[0])  # spares most comparisons of all rows
    return bool(near and np.allclose(one, two, rtol=_SAME, atol=0.0))


def _unique(name: str, term: str, taken: set[str]) -> str:
    """Return a name that is not taken."""
    names = [name, *(f"{name} ({term}{'' if i == 1 else f'.{i}'})" for i in range(1, 100))]
    return next(candidate for candidate in names if candidate not in taken)
