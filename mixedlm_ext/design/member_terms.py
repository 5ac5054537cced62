"""Random terms of a formula whose rows have several members: ``(1 | mm(g1, g2))``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from mixedlm_ext.design.formula_code import code_names, read_formula
from mixedlm_ext.design.known import KnownMatrix
from mixedlm_ext.design.matrices import FormulaMatrices
from mixedlm_ext.design.members import MemberRows, member_rows, membership
from mixedlm_ext.design.used import Columns
from mixedlm_ext.language.mixed_formula import MixedFormula, RandomTermSpec

__all__ = ["has_members", "members_of", "members_of_rows", "only_of_members"]


def has_members(spec: RandomTermSpec) -> bool:
    """Say whether a term is one of ``mm()``."""
    return spec.call is not None and spec.call.name == "mm"


def only_of_members(formula: MixedFormula) -> set[str]:
    """Return the columns that nothing but ``mm()`` uses: members of a row may be missing."""
    used: dict[bool, set[str]] = {True: set(), False: set()}
    for piece in read_formula(formula).pieces:
        member = piece.role == "group" and has_members(formula.random[piece.term])
        used[member] |= code_names(piece.code).values
    return used[True] - used[False]


def _values(
    spec: RandomTermSpec,
    i: int,
    matrices: FormulaMatrices,
    prepared: Mapping[str, Any],
    frame: Columns,
) -> tuple[list[Any], list[Any], list[str]]:
    """Return members, weights, and the names of the members."""
    pieces = [piece for piece in matrices.pieces("group") if piece.term == i]
    values = [matrices.evaluate(piece, prepared, frame) for piece in pieces]
    count = len(spec.group)
    return values[:count], values[count:], [piece.text for piece in pieces[:count]]


def members_of(
    spec: RandomTermSpec,
    i: int,
    matrices: FormulaMatrices,
    prepared: Mapping[str, Any],
    frame: Columns,
    known: KnownMatrix | None,
) -> tuple[npt.NDArray[np.intp], KnownMatrix]:
    """Return the pattern of each row of the fit, and what patterns of members have in common."""
    assert spec.call is not None
    factors, weights, names = _values(spec, i, matrices, prepared, frame)
    return membership(factors, weights, names, spec.group_name, spec.call.normalize, known)


def members_of_rows(
    spec: RandomTermSpec,
    i: int,
    levels: pd.Index,
    matrices: FormulaMatrices,
    prepared: Mapping[str, Any],
    frame: Columns,
) -> tuple[MemberRows, pd.Index]:
    """Return the members of new rows, and those that the fit has not seen."""
    assert spec.call is not None
    factors, weights, names = _values(spec, i, matrices, prepared, frame)
    return member_rows(factors, weights, names, levels, spec.group_name, spec.call.normalize)
