"""Directions of the variance parameters in the user's columns, and their names in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mixedlm_ext.design import TermDesign
from mixedlm_ext.structures import LinearStructure, Structure
from mixedlm_ext.structures.covariance import Covariance, TermCovariance

Array = NDArray[np.float64]

__all__ = [
    "Parameter",
    "first_few",
    "in_user_columns",
    "in_words",
    "involved",
    "listed",
    "parameters",
]

_NOTHING = 1e-6
"""Part of a parameter in a space of directions below which it is none of them."""
_SHOWN = 4


@dataclass(frozen=True)
class Parameter:
    """A parameter of Γ: columns a and c of term t; the residual variance if t is None.

    `kind` is "variance", "covariance" or "correlation"; `whole` says that all columns have it.
    """

    t: int | None
    a: int = 0
    c: int = 0
    kind: str = "variance"
    whole: bool = False

    @property
    def is_covariance(self) -> bool:
        """Whether it belongs to two columns."""
        return self.kind == "covariance"

    def columns(self, term: TermDesign) -> str:
        """Name its columns: ``'Days'``, or ``'Intercept' and 'Days'`` for a covariance."""
        if self.whole:
            return term.variances[0]
        return " and ".join(repr(term.columns[j]) for j in sorted({self.a, self.c}))


def parameters(covariance: Covariance, residual: bool) -> list[Parameter]:
    """List the variance parameters in the order of theta, the residual variance last."""
    listed = [p for t, term in enumerate(covariance.terms) for p in _parameters(t, term.structure)]
    return [*listed, Parameter(None)] if residual else listed


def _parameters(t: int, structure: Structure) -> list[Parameter]:
    """List the parameters of one term."""
    if isinstance(structure, LinearStructure) and not structure.one_variance:
        return [
            Parameter(t, int(a), int(c), "variance" if a == c else "covariance")
            for a, c in zip(*structure.entries, strict=True)
        ]
    variances = [Parameter(t, j, j) for j in range(structure.k)]
    if structure.one_variance:
        variances = [Parameter(t, whole=True)]
    others = structure.n_theta - len(variances)
    return variances + [Parameter(t, 0, 1, "correlation", whole=True)] * others


def in_user_columns(covariance: Covariance, directions: Array) -> Array:
    """Carry directions from the standardized columns to the user's.

    Parameters
    ----------
    covariance : Covariance
    directions : ndarray (m, d) or (m + 1, d)
        A basis; with the residual variance as the last row, or without.

    Returns
    -------
    ndarray of the same shape
        An orthonormal basis, the user's columns scaled to a mean square of one.
    """
    out = directions.copy()
    for term, part in zip(covariance.terms, covariance.slices, strict=True):
        out[part] = _of_term(term, directions[part])
    return np.asarray(np.linalg.qr(out)[0])


def _of_term(term: TermCovariance, directions: Array) -> Array:
    """Return the entries of R⁻¹DR⁻ᵀ for D with R'R = X'WX/n, scaled by the columns' lengths.

    Where there is a number for each column at most, it changes the size of parameters only.
    """
    structure = term.structure
    if not isinstance(structure, LinearStructure) or structure.whitening != "triangular":
        return directions
    rows, columns = structure.entries
    lengths = np.linalg.norm(term.whitening, axis=0)
    back = lengths[:, None] * np.linalg.inv(term.whitening)
    out = np.empty_like(directions)
    for j, direction in enumerate(directions.T):
        D = np.zeros((term.k, term.k))
        D[rows, columns] = D[columns, rows] = direction
        out[:, j] = (back @ D @ back.T)[rows, columns]
    return out


def involved(directions: Array) -> NDArray[np.intp]:
    """Return which parameters an orthonormal basis of directions changes."""
    return np.flatnonzero(np.linalg.norm(directions, axis=1) > _NOTHING)


def in_words(entries: Sequence[Parameter], terms: Sequence[TermDesign]) -> str:
    """Name parameters: ``the variance of 'x' and the covariance of 'Intercept' and 'x'``.

    The names of several terms' parameters tell the term.
    """
    several = len({entry.t for entry in entries}) > 1
    phrases = []
    for t, term in enumerate(terms):
        of_term = [entry for entry in entries if entry.t == t]
        if any(e.kind == "correlation" for e in of_term):
            phrases.append(f"the correlation {'in' if several else 'of'} {term.text}")
        for kind in ("variance", "covariance"):
            names = list(dict.fromkeys(e.columns(term) for e in of_term if e.kind == kind))
            if names:
                plural = "s" if len(names) > 1 else ""
                place = f" in {term.text}" if several else ""
                phrases.append(f"the {kind}{plural} of {first_few(names)}{place}")
    if any(entry.t is None for entry in entries):
        phrases.append("the residual variance")
    return listed(phrases)


def first_few(names: Sequence[str]) -> str:
    """Join the first few names; commas alone where a name holds an "and" itself."""
    if len(names) > _SHOWN or " and " in names[0]:
        more = f", and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        return ", ".join(names[:_SHOWN]) + more
    return listed(names)


def listed(names: Sequence[str]) -> str:
    """Join names to a list as one says it."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
