"""Further passes over the rows of a fit: a small design of each batch, or one of all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from mixedlm_ext.batches.columns import stacked
from mixedlm_ext.batches.matrices import BatchMatrices, BatchRows
from mixedlm_ext.batches.reading import Reader, Tally
from mixedlm_ext.batches.residual_sums import rows_of_structure
from mixedlm_ext.design.design import Design
from mixedlm_ext.design.rows import Rows
from mixedlm_ext.design.spec import Spec
from mixedlm_ext.design.used import UsedColumns
from mixedlm_ext.residual.structure import ResidualRows

__all__ = ["SourcePasses"]


class SourcePasses:
    """What reads the rows of a fit again, batch by batch.

    Parameters
    ----------
    reader : Reader
    matrices : BatchMatrices
    spec : Spec
        Of the design of all rows.
    tally : Tally
        Of the first pass, which a later one must agree with.
    """

    def __init__(self, reader: Reader, matrices: BatchMatrices, spec: Spec, tally: Tally) -> None:
        self._reader, self._matrices, self._spec, self._tally = reader, matrices, spec, tally

    @property
    def words(self) -> str:
        """What the source is, for messages."""
        return self._reader.source.words

    @property
    def full_index(self) -> pd.Index | None:
        """Labels of all rows of the source, if values are to be aligned with them."""
        return pd.RangeIndex(self._tally.n_data) if self._reader.missing == "exclude" else None

    def designs(self) -> Iterator[Design]:
        """Yield a design with the rows of one batch after the other.

        Raises
        ------
        DataError
            If the source is not what it was.
        """
        tally = Tally()
        for used in self._reader.rows(tally):
            yield Design(self._spec, self._rows(self._matrices(used)))
        self._reader.check_same(tally, self._tally)

    def _rows(self, batch: BatchRows) -> Rows:
        """Return the rows of a batch as those of a design."""
        frame = batch.used.frame
        return Rows(
            y=batch.y,
            X=np.ascontiguousarray(batch.X[:, self._spec.column_map]),
            terms=tuple((term.X, term.codes) for term in batch.terms),
            weights=batch.weights,
            offset=batch.offset,
            index=frame.index,
            positions=np.asarray(frame.index, dtype=np.intp),
            n_data=self._tally.n_data,
            n_missing=self._tally.n_missing,
            n_zero_weight=self._tally.n_zero_weight,
            used=UsedColumns.of(frame),
            residual=self._residual_rows(frame),
        )

    def _residual_rows(self, frame: pd.DataFrame) -> ResidualRows | None:
        """Return what the rows of a batch have to do with the structure of the residuals."""
        structure = self._spec.residual
        if structure is None:
            return None
        return rows_of_structure(structure, frame, self._spec.scope)

    def gather(self) -> Design:
        """Return the design with all of its rows in memory."""
        parts = [design.rows for design in self.designs()]
        first = parts[0]
        frames = [part.frame for part in parts if part.frame is not None]

        def joined(name: str) -> Any:
            values = [getattr(part, name) for part in parts]
            return None if values[0] is None else np.concatenate(values)

        terms = tuple(
            (np.concatenate([p.terms[i][0] for p in parts]),
             np.concatenate([p.terms[i][1] for p in parts]))
            for i in range(len(first.terms))
        )  # fmt: skip
        rows = replace(
            first,
            y=joined("y"),
            X=joined("X"),
            terms=terms,
            weights=joined("weights"),
            offset=joined("offset"),
            index=pd.Index(joined("positions")),
            positions=joined("positions"),
            used=UsedColumns.of(stacked(frames)),
            residual=_joined_rows([part.residual for part in parts]),
            full_index=self.full_index,
        )
        return Design(self._spec, rows)


def _joined_rows(parts: Sequence[ResidualRows | None]) -> ResidualRows | None:
    """Return the rows of all batches."""
    own = [part for part in parts if part is not None]
    if not own:
        return None
    codes = [part.codes for part in own if part.codes is not None]
    positions = [part.positions for part in own if part.positions is not None]
    return ResidualRows(
        np.concatenate([part.x for part in own]),
        np.concatenate(codes) if codes else None,
        np.concatenate(positions) if positions else None,
    )
