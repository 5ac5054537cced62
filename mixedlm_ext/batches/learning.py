"""The first pass: levels, categories, counts, and a sample of rows.

A formula that has more than columns and factors in it takes another pass for what its functions
remember (means, knots), and so does a grouping factor that is no column.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from mixedlm_ext.batches.columns import ColumnsSeen
from mixedlm_ext.batches.elementwise import refuse_functions_of_all_rows
from mixedlm_ext.batches.levels import FactorLevels, GroupCoder, GroupLevels
from mixedlm_ext.batches.reading import Reader, Tally
from mixedlm_ext.batches.residual_levels import LearntResiduals, ResidualSight
from mixedlm_ext.design.components import settle_components
from mixedlm_ext.design.formula_code import Piece, code_names, read_formula
from mixedlm_ext.design.matrices import FormulaMatrices
from mixedlm_ext.design.messages import quoted
from mixedlm_ext.design.residual_rows import ResidualText
from mixedlm_ext.design.scope import Scope
from mixedlm_ext.errors import DesignError
from mixedlm_ext.language import MixedFormula
from mixedlm_ext.sources import Progress

__all__ = ["Learnt", "first_sight", "group_values", "learn_rows", "plain_groups"]

Codes = npt.NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class Learnt:
    """What the first pass leaves: all that the second needs besides the rows.

    Attributes
    ----------
    formula : MixedFormula
        Its variance components settled.
    scope : Scope
    matrices : FormulaMatrices
    groups : dict of tuple of str to GroupCoder
        By the expressions of the grouping factors of a term.
    sample : DataFrame
        Some of the used rows.
    tally : Tally
    residual : LearntResiduals or None
        If the residuals have a structure.
    """

    formula: MixedFormula
    scope: Scope
    matrices: FormulaMatrices
    groups: dict[tuple[str, ...], GroupCoder]
    sample: pd.DataFrame
    tally: Tally
    residual: LearntResiduals | None = None


def learn_rows(
    reader: Reader,
    formula: MixedFormula,
    scope: Scope,
    progress: Progress | None = None,
    whole: Collection[str] = (),
    known: Mapping[str, pd.Index] | None = None,
    some: bool = False,
    text: ResidualText | None = None,
) -> Learnt:
    """Read all rows of a source for what must be known of them before they are summed.

    Parameters
    ----------
    reader : Reader
    formula : MixedFormula
    scope : Scope
    progress : callable, optional
    whole : collection of str
        Columns of categories that count also without rows.
    known : mapping of str to Index, optional
        Levels of columns in all rows, of which the reader's are some.
    some : bool
        Whether what was left out of the rows is reported elsewhere, as these are some of them.
    text : ResidualText, optional
        The structure of the residuals.

    Raises
    ------
    DesignError
        If no row is left, or the formula cannot be evaluated.
    """
    plain = plain_groups(formula)
    seen, groups = first_sight(formula, plain, whole, known)
    tally = Tally()
    sight = ResidualSight(text, scope) if text else None
    for used in reader.rows(tally, progress):
        numbers = seen.see(used.frame)
        if sight is not None:
            sight.see(used.frame)
        for key, group in groups.items():
            group.see([numbers[plain[code]] for code in key])
    if not some:
        reader.check(tally)
    stand_in = seen.stand_in()
    settled = settle_components(formula, stand_in, scope)
    matrices = FormulaMatrices(settled, stand_in, scope, reader.frames)
    matrices.training_data()
    sample = seen.sample()
    refuse_functions_of_all_rows(matrices, sample)
    coders = {key: group.coder() for key, group in groups.items()}
    absent = dict.fromkeys(term.group for term in settled.random if term.group not in coders)
    if absent:
        coders |= _learn_groups(reader, matrices, list(absent))
    residual = None if sight is None else sight.learnt(sample)
    return Learnt(settled, scope, matrices, coders, sample, tally, residual)


def plain_groups(formula: MixedFormula) -> dict[str, str]:
    """Return the column of each grouping factor that is nothing but one, by its expression."""
    pieces = [piece for piece in read_formula(formula).pieces if piece.role == "group"]
    names = {piece.code: code_names(piece.code) for piece in pieces}
    return {code: str(own.bare) for code, own in names.items() if own.plain}


def first_sight(
    formula: MixedFormula,
    plain: Mapping[str, str],
    whole: Collection[str] = (),
    known: Mapping[str, pd.Index] | None = None,
) -> tuple[ColumnsSeen, dict[tuple[str, ...], GroupLevels]]:
    """Return what looks at the columns, and at the groupings that are made of columns."""
    columns = [(piece.role, code_names(piece.code)) for piece in read_formula(formula).pieces]
    coded = {str(own.bare) for _, own in columns if own.bare and not own.plain}  # C(x)
    others = [own for role, own in columns if role != "group" or not own.plain]
    elsewhere = {name for own in others for name in own.values}
    factors = {name: FactorLevels(name) for name in {*plain.values(), *coded}}
    seen = ColumnsSeen(factors, {n for n in plain.values() if n not in elsewhere}, whole, known)
    groups = {
        term.group: GroupLevels([factors[plain[code]] for code in term.group], term.group_name)
        for term in formula.random
        if all(code in plain for code in term.group)
    }
    return seen, groups


def _learn_groups(
    reader: Reader, matrices: FormulaMatrices, keys: list[tuple[str, ...]]
) -> dict[tuple[str, ...], GroupCoder]:
    """Read the rows again for the levels of grouping factors that are expressions."""
    terms = {term.group: term for term in matrices.formula.random}
    pieces = {piece.code: piece for piece in matrices.pieces("group")}
    factors = {code: FactorLevels(pieces[code].text) for key in keys for code in key}
    groups = {
        key: GroupLevels([factors[code] for code in key], terms[key].group_name) for key in keys
    }
    for frame in reader.frames():
        data = matrices.new_data(frame, list(pieces.values()))
        numbers = {
            code: factors[code].see(group_values(matrices, pieces[code], data, frame))
            for code in factors
        }
        for key, group in groups.items():
            group.see([numbers[code] for code in key])
    return {key: group.coder() for key, group in groups.items()}


def group_values(
    matrices: FormulaMatrices, piece: Piece, data: Mapping[str, Any], frame: pd.DataFrame
) -> Any:
    """Return the values of one grouping factor, a level in every row."""
    values = matrices.evaluate(piece, data, frame)
    plain = values.data if hasattr(values, "contrast") else values
    if len(plain) != len(frame):
        raise DesignError(
            f"grouping factor {piece.text!r} has {len(plain)} values for {len(frame)} rows."
        )
    if isinstance(plain, pd.Series) and _whole_numbers(plain):
        return values
    missing = np.asarray(pd.isna(plain))
    if missing.any():
        row = frame.index[int(np.flatnonzero(missing)[0])]
        raise DesignError(
            f"grouping factor {piece.text!r} is undefined (missing) at row {quoted(row)}."
        )
    return values


def _whole_numbers(values: pd.Series) -> bool:
    """Whether values are numpy's whole numbers, of which none can be missing."""
    return isinstance(values.dtype, np.dtype) and values.dtype.kind in "iub"
