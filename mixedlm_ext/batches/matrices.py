"""The matrices of a batch: response, columns and level codes, as the first pass knows them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mixedlm_ext.batches.learning import Learnt, group_values
from mixedlm_ext.batches.reading import UsedRows
from mixedlm_ext.design.checks import number_vector, offset_vector
from mixedlm_ext.design.from_formula import unique_name
from mixedlm_ext.design.messages import quoted
from mixedlm_ext.design.records import TermDesign, TermSpec
from mixedlm_ext.errors import DataError, DesignError

__all__ = ["BatchMatrices", "BatchRows", "term_specs"]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class BatchRows:
    """The rows of a batch as a design has rows.

    Attributes
    ----------
    y : ndarray (m,)
    X : ndarray (m, p)
        All columns of the fixed part.
    terms : list of TermDesign
    weights, offset : ndarray (m,) or None
    used : UsedRows
    """

    y: Floats
    X: Floats
    terms: list[TermDesign]
    weights: Floats | None
    offset: Floats | None
    used: UsedRows


def term_specs(learnt: Learnt) -> list[TermSpec]:
    """Return the random terms, without rows."""
    specs: list[TermSpec] = []
    for i, spec in enumerate(learnt.formula.random, start=1):
        for left in learnt.matrices.without_columns(i):
            raise DesignError(
                f"{left!r} in the random term {spec.text} has only one level in the data, "
                "so it has no column. Drop it."
            )
        name = unique_name(spec.name or spec.group_name, [term.name for term in specs])
        levels = learnt.groups[spec.group].levels
        columns = learnt.matrices.names(i)
        specs.append(TermSpec(name, spec.group_name, columns, levels, spec.structure, spec.text))
    return specs


class BatchMatrices:
    """What builds the rows of one batch after the other.

    Parameters
    ----------
    learnt : Learnt
    specs : sequence of TermSpec
    """

    def __init__(self, learnt: Learnt, specs: Sequence[TermSpec]) -> None:
        self._learnt, self._specs = learnt, specs
        self._matrices = learnt.matrices
        self._pieces = learnt.matrices.code.pieces
        (self._response,) = learnt.matrices.pieces("response")
        self._groups = {piece.code: piece for piece in learnt.matrices.pieces("group")}

    def __call__(self, used: UsedRows) -> BatchRows:
        """Build the matrices of the used rows of a batch.

        Raises
        ------
        DataError
            If a level occurs that the first pass has not seen.
        DesignError
        """
        try:
            return self._rows(used)
        except DesignError as error:
            if "in the new data" in str(error):
                raise DataError(
                    f"{used.batch.place} holds what was not there when the data were read first. "
                    f"{error}"
                ) from error
            raise

    def _rows(self, used: UsedRows) -> BatchRows:
        frame, m = used.frame, len(used.frame)
        data = self._matrices.new_data(frame, self._pieces)
        value = self._matrices.evaluate(self._response, data, frame)
        y = number_vector(value, f"response {self._response.text!r}", m)
        X, *lefts = self._matrices.build(data, m, range(self._matrices.n_sides))
        terms = []
        codes: dict[tuple[str, ...], Any] = {}
        for spec, own, Z in zip(self._learnt.formula.random, self._specs, lefts, strict=True):
            if spec.group not in codes:
                codes[spec.group] = self._codes(spec.group, data, used)
            terms.append(TermDesign(**vars(own), X=Z, codes=codes[spec.group]))
        return BatchRows(y, X, terms, used.weights, self._offset(data, used), used)

    def _codes(self, group: tuple[str, ...], data: Any, used: UsedRows) -> npt.NDArray[np.intp]:
        """Return the level codes of one grouping."""
        values = [
            group_values(self._matrices, self._groups[code], data, used.frame) for code in group
        ]
        codes = self._learnt.groups[group](values)
        if len(codes) and codes.min() < 0:
            row = int(np.flatnonzero(codes < 0)[0])
            label = [np.asarray(v.data if hasattr(v, "contrast") else v)[row] for v in values]
            raise DataError(
                f"{used.batch.place} has the level {quoted(label[0] if len(label) == 1 else label)}"
                f" of {':'.join(self._groups[c].text for c in group)}, which was not there when "
                "the data were read first. A source must yield the same rows each time."
            )
        return codes

    def _offset(self, data: Any, used: UsedRows) -> Floats | None:
        """Return the sum of the offset argument and the ``offset(...)`` terms."""
        frame, parts = used.frame, []
        if used.offset is not None:
            name = used.offset.name
            what = "offset" if name is None else f"offset {name!r}"
            parts.append(offset_vector(used.offset, what, frame.index))
        for piece in self._matrices.pieces("offset"):
            value = self._matrices.evaluate(piece, data, frame)
            parts.append(offset_vector(value, piece.place, frame.index))
        return np.sum(parts, axis=0) if parts else None
