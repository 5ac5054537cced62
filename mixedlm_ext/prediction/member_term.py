"""A random term of a predictor whose rows belong to several levels: ``(1 | mm(g1, g2))``."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixedlm_ext.design.members import member_rows
from mixedlm_ext.prediction.evaluation import (
    PreparedRows,
    Side,
    decode_all,
    level_index,
    report_unseen,
)

Array = NDArray[np.float64]

__all__ = ["MemberTerm"]


class MemberTerm:
    """One random term: the columns, how members and their weights are read, and their modes."""

    def __init__(self, record: dict[str, Any]) -> None:
        own = record["members"]
        count = len(own["names"])
        self.name, self.text, self.names = record["name"], own["text"], own["names"]
        self.factors, self.weights = record["groups"][:count], record["groups"][count:]
        self.normalize = bool(own["normalize"])
        self.side = Side(record["side"])
        (levels,) = record["levels"]
        self.index = level_index([decode_all(levels)], [self.text])
        self.b = np.array(record["b"]).reshape(len(levels), -1)

    def contribution(self, rows: PreparedRows, new_levels: str) -> Array:
        """Return the part of Zb that the term contributes."""
        factors, weights = (
            [rows.evaluate(code) for code in codes] for codes in (self.factors, self.weights)
        )
        found, beyond = member_rows(
            factors, weights, self.names, self.index, self.text, self.normalize
        )
        unseen = found.unseen
        if unseen.any():
            report_unseen(self.name, beyond, bool(found.W.nnz), self.index, new_levels)
        out = np.einsum("nk,nk->n", rows.matrix(self.side), np.asarray(found.W @ self.b))
        return np.where(unseen, np.nan, out) if new_levels == "nan" else out
