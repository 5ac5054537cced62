"""The first pass, of a residual structure: its groups and strata, and how many rows each has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from mixedlm_ext.batches.elementwise import refuse_of_all_rows
from mixedlm_ext.batches.levels import FactorLevels, GroupLevels
from mixedlm_ext.design.formula_code import code_names
from mixedlm_ext.design.messages import quoted
from mixedlm_ext.design.residual_checks import check_sizes, check_strata
from mixedlm_ext.design.residual_rows import ResidualText, evaluated, refuse_numbers
from mixedlm_ext.design.scope import Scope
from mixedlm_ext.errors import DesignError
from mixedlm_ext.linalg.keys import distinct_rows
from mixedlm_ext.residual.kinds import KINDS
from mixedlm_ext.residual.structure import CorrelationPart, ResidualStructure, VariancePart

__all__ = ["LearntResiduals", "ResidualSight"]

Codes = npt.NDArray[np.intp]

_AT_ONCE = 1 << 16
"""Counts that are kept apart before they are added up."""


@dataclass(frozen=True, eq=False)
class LearntResiduals:
    """What the second pass knows of a residual structure.

    Attributes
    ----------
    text : ResidualText
    structure : ResidualStructure
        In units of one: those of the rows are known when all of them were summed.
    sizes : ndarray of intp (groups,)
        Rows of each group of correlated ones.
    scope : Scope
    """

    text: ResidualText
    structure: ResidualStructure
    sizes: Codes
    scope: Scope


class ResidualSight:
    """What looks at the groups and strata of a residual structure, batch by batch.

    Parameters
    ----------
    text : ResidualText
    scope : Scope
    """

    def __init__(self, text: ResidualText, scope: Scope) -> None:
        self._text, self._scope = text, scope
        self._groups, self._strata = None, []
        if text.correlation is not None:
            own = text.correlation
            self._groups = _CountedLevels(own.group, ":".join(own.group), own.text)
        for part in text.variances:
            if part.word == "strata":
                self._strata.append(_CountedLevels(part.codes, part.text, f"{part.text!r}"))

    def see(self, frame: pd.DataFrame) -> None:
        """Take note of the rows of a batch."""
        for part in self._text.variances:
            if part.word == "strata":
                refuse_numbers(part, frame, self._scope)
        for own in [*([] if self._groups is None else [self._groups]), *self._strata]:
            own.see(frame, self._scope)

    def learnt(self, sample: pd.DataFrame) -> LearntResiduals:
        """Return what was seen.

        Parameters
        ----------
        sample : DataFrame
            Some of the rows.

        Raises
        ------
        DesignError
            If no group has two rows, or a stratum is alone or has one row.
        """
        places = {c: p for c, p in self._text.codes.items() if code_names(c).bare is None}
        refuse_of_all_rows(places, lambda code, rows: evaluated(code, rows, self._scope), sample)
        correlation, sizes = None, np.zeros(0, np.intp)
        if self._groups is not None:
            own = self._text.correlation
            assert own is not None
            levels, sizes = self._groups.found()
            check_sizes(own, int(sizes.max()))
            kind = KINDS[own.word](1.0, int(sizes.max()))
            correlation = CorrelationPart(kind, own.text, own.group, own.position, levels)
        strata = iter(self._strata)
        variances = []
        for part in self._text.variances:
            if part.word != "strata":
                variances.append(VariancePart(part.word, part.text, part.codes, None, (1.0,)))
                continue
            levels, counts = next(strata).found()
            check_strata(part, levels, counts)
            scales = (1.0,) * (len(levels) - 1)
            variances.append(VariancePart("strata", part.text, part.codes, levels, scales))
        structure = ResidualStructure(correlation, tuple(variances))
        return LearntResiduals(self._text, structure, sizes, self._scope)


class _CountedLevels:
    """The combinations of levels of some factors, and how many rows have each.

    Parameters
    ----------
    codes : sequence of str
        Python code of the factors.
    name : str
    text : str
        What they are part of, for messages.
    """

    def __init__(self, codes: Sequence[str], name: str, text: str) -> None:
        self._codes, self._name, self._text = tuple(codes), name, text
        self._factors = [FactorLevels(code) for code in codes]
        self._groups = GroupLevels(self._factors, name)
        self._seen: list[tuple[Codes, Codes]] = []
        self._apart = 0

    def see(self, frame: pd.DataFrame, scope: Scope) -> None:
        """Count the rows of a batch."""
        numbers = []
        for code, factor in zip(self._codes, self._factors, strict=True):
            values = evaluated(code, frame, scope)
            self._check_present(values, frame)
            numbers.append(factor.see(values))
        self._groups.see(numbers)
        keys, counts = _counted(np.column_stack(numbers), np.ones(len(frame), np.intp))
        self._seen.append((keys, counts))
        self._apart += len(keys)
        if self._apart > max(_AT_ONCE, 2 * len(self._seen[0][0])):
            self._add_up()

    def _check_present(self, values: Any, frame: pd.DataFrame) -> None:
        """Refuse missing levels, which an expression may have."""
        missing = np.flatnonzero(np.asarray(pd.isna(values)))
        if len(missing):
            raise DesignError(
                f"{self._name!r} in {self._text} is missing at row "
                f"{quoted(frame.index[int(missing[0])])}."
            )

    def _add_up(self) -> None:
        """Put the counts of all batches into one table."""
        keys, counts = (np.concatenate(part) for part in zip(*self._seen))
        self._seen, self._apart = [_counted(keys, counts)], 0

    def found(self) -> tuple[pd.Index, Codes]:
        """Return the levels in their order and their rows; nothing is seen after that."""
        self._add_up()
        keys, counts = self._seen[0]
        coder = self._groups.coder()
        values = [
            factor.levels.take(factor.places(keys[:, i])) for i, factor in enumerate(self._factors)
        ]
        out = np.zeros(len(coder.levels), np.intp)
        out[coder(values)] = counts
        return coder.levels, out


def _counted(keys: Codes, counts: Codes) -> tuple[Codes, Codes]:
    """Return the distinct rows of keys, and the sums of their counts."""
    found, which = distinct_rows(keys)
    sums = np.bincount(which, counts, len(found))
    return found, np.rint(sums).astype(np.intp)
