"""Terms whose columns are places: ``exp(0 + position(t) | g)``.

What stands in ``position()`` are coordinates, one number or several a row. Each distinct place of
the data is a column of the term, 1 in the rows that are there; what the term remembers of them is
where they are, so that places the fit has not seen have distances from those it has.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from mixedlm_ext.design.formula_code import FormulaCode
from mixedlm_ext.errors import DesignError, FormulaError
from mixedlm_ext.language.mixed_formula import MixedFormula, RandomTermSpec
from mixedlm_ext.structures import KEYWORDS, Positions, structure_of

__all__ = ["at_places", "check_places", "place_columns", "position", "read_positions"]

Floats = npt.NDArray[np.float64]

FUNCTION = "position"
_SAME = 1e-9
"""Distance, relative to the extent of all places, below which two are one."""


def position(*coordinates: Any) -> Floats:
    """Put coordinates side by side, (n, d); formulas know it as ``position(x, y)``."""
    columns = [np.asarray(c) for c in coordinates]
    if not columns:
        raise TypeError("position() has no coordinates; numbers are needed, dtype float")
    for column in columns:
        if column.dtype.kind not in "biuf":
            raise TypeError(f"position() needs numbers, not values of dtype {column.dtype}")
    return np.column_stack([column.astype(float) for column in columns])


def check_places(code: FormulaCode, formula: MixedFormula) -> None:
    """Refuse positions in the fixed part, and terms that need them and have none, or have more.

    Parameters
    ----------
    code : FormulaCode
    formula : MixedFormula
    """
    for piece in code.pieces:
        if piece.role in ("fixed", "group") and _is_position(piece.code):
            raise FormulaError(
                f"{piece.text} stands in {piece.place}; position() belongs in exp()",
                formula.text,
                piece.span,
                "Write the coordinates themselves, or exp(0 + position(...) | g).",
            )
    for spec, left in zip(formula.random, code.lefts, strict=True):
        factors = [[factor.code for factor in term.factors] for term in left.rhs_termlist]
        has = any(_is_position(code) for codes in factors for code in codes)
        if not structure_of(spec.structure, 2).placed:
            if has:
                raise _misplaced(formula, spec)
        elif len(factors) != 1 or len(factors[0]) != 1 or not has:
            word = structure_of(spec.structure, 2).word
            raise FormulaError(
                f"{word}() needs the positions of its columns, and nothing else before the bar",
                formula.text,
                spec.expr_span,
                f"Write {word}(0 + position(t) | {spec.group_name}) with a number t, or "
                f"position(x, y) for places.",
            )


def _is_position(code: str) -> bool:
    return code.startswith(f"{FUNCTION}(")


def _misplaced(formula: MixedFormula, spec: RandomTermSpec) -> FormulaError:
    """The error for positions in a term that has no use for them."""
    words = [word for word, names in KEYWORDS.items() if structure_of(names[None], 2).placed]
    return FormulaError(
        f"position() stands in {spec.text}, whose structure knows no distances",
        formula.text,
        spec.expr_span,
        f"Write {words[0]}(0 + {FUNCTION}(...) | {spec.group_name}), or without position().",
    )


def place_columns(
    coordinates: Floats, names: Sequence[str]
) -> tuple[Floats, tuple[str, ...], Positions]:
    """Return a column for each distinct place.

    Parameters
    ----------
    coordinates : ndarray (n, d)
    names : sequence of str (d,)
        What patsy calls the coordinates, ``position(t)`` or ``position(x, y)[0]`` and so on.

    Returns
    -------
    ndarray (n, k)
        1 where the row is at the place, and 0.
    tuple of str (k,)
    Positions
        In ascending order.
    """
    keys = np.round(coordinates / (_SAME * _extent(coordinates)))
    _, first, codes = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    places = coordinates[first]
    call = names[0].removesuffix("[0]")
    columns = tuple(f"{call}[{', '.join(f'{c:.12g}' for c in place)}]" for place in places)
    return _indicators(codes.ravel(), len(places)), columns, Positions.of(places)


def at_places(coordinates: Floats, positions: Positions) -> tuple[Floats, Floats]:
    """Return columns for other rows, and the places that are none of the fit's.

    Returns
    -------
    ndarray (m, k + u)
    ndarray (u, d)
    """
    known = positions.coordinates
    if not len(coordinates):
        return np.empty((0, len(known))), np.empty((0, known.shape[1]))
    finite = np.isfinite(coordinates).all(axis=1)
    where = np.zeros(len(coordinates), dtype=np.intp)
    apart, where[finite] = cKDTree(known).query(coordinates[finite])
    fresh = np.flatnonzero(finite)[apart > _SAME * _extent(known)]
    new = np.empty((0, known.shape[1]))
    if len(fresh):
        new, codes = np.unique(coordinates[fresh], axis=0, return_inverse=True)
        where[fresh] = len(known) + codes.ravel()
    out = _indicators(where, len(known) + len(new))
    out[~finite] = np.nan
    return out, new


def _extent(coordinates: Floats) -> float:
    """Return how far places reach, for a measure of what is close."""
    return float(np.ptp(coordinates, axis=0).max(initial=0.0)) or 1.0


def _indicators(codes: npt.NDArray[np.intp], k: int) -> Floats:
    """Return a matrix (n, k) with a 1 in the column of each row's code."""
    out = np.zeros((len(codes), k))
    out[np.arange(len(codes)), codes] = 1.0
    return out


def read_positions(positions: Any, k: int, what: str, structure: str) -> Positions | None:
    """Read ``RandomTerm(positions=)``.

    Raises
    ------
    DesignError
        If they are no numbers, not one place for each of k columns, not all different, missing
        where the structure needs them, or given where it does not.
    """
    placed = structure_of(structure, 2).placed
    if positions is None:
        if placed:
            raise DesignError(
                f"{what} has structure {structure!r} and no positions. Pass positions=, a number "
                f"or a row of coordinates for each of its {k} columns."
            )
        return None
    if not placed:
        raise DesignError(
            f"{what} has positions, which structure {structure!r} does not use. Pass "
            "structure='exp', or no positions."
        )
    try:
        values = np.asarray(positions, dtype=float)
    except (TypeError, ValueError):
        raise DesignError(f"positions of {what} must be numbers.") from None
    values = values[:, None] if values.ndim == 1 else values
    if values.ndim != 2 or len(values) != k or not values.shape[1]:
        raise DesignError(
            f"positions of {what} have the shape {np.shape(positions)}; it has {k} columns. Pass "
            "one number, or one row of coordinates, for each."
        )
    if not np.isfinite(values).all():
        raise DesignError(f"positions of {what} have missing or infinite values.")
    if len(np.unique(values, axis=0)) < k:
        raise DesignError(f"two columns of {what} have the same position. Add them up to one.")
    return Positions.of(values)
