"""Rows that are not in memory: what was learnt of them, and how they are reached again."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from mixedlm_ext.design.facts import FactsOfTerm
from mixedlm_ext.errors import RowsRemovedError

__all__ = ["MOST_CELLS", "Elsewhere", "Passes"]

Floats = npt.NDArray[np.float64]

MOST_CELLS = 2e7
"""Numbers that are read into memory for a call that needs all rows at once: 160 MB."""


class Passes(Protocol):
    """What reads the rows again, from the first to the last."""

    def gather(self) -> Any:
        """Return the design with its rows in memory."""


@dataclass(frozen=True, eq=False)
class Elsewhere:
    """What takes the place of rows that were read in batches, or stayed where they are.

    Attributes
    ----------
    n : int
        Rows of the fit.
    words : str
        Where they are, as in "the rows of this fit are in 3 files".
    way_out : str
        What to do where they are needed in memory, a sentence.
    terms : tuple of FactsOfTerm
        Of the random terms.
    root : ndarray (p, p)
        R with R'R = X'X, unweighted.
    constant : int or None
        The first column of X that is constant.
    has_constant : bool
        Whether the columns of X imply one.
    largest : float
        The largest number that the response less the offset is computed from.
    peak : float
        The largest size of the response less the offset.
    weight : float
        Sum of the weights.
    products : CrossProducts
        Of all rows; typed as anything, since designs do not know them.
    residual : ShortSums or None
        The same of all rows where the residuals have a structure, whatever its parameters.
    alike : tuple of (ndarray or None)
        Of each term whose levels are groups of residuals that are all alike, the combination of its
        columns that is one in every row.
    passes : Passes or None
        What reads the rows again; None if nobody here can.
    """

    n: int
    words: str
    way_out: str
    terms: tuple[FactsOfTerm, ...]
    root: Floats
    constant: int | None
    has_constant: bool
    largest: float
    peak: float
    weight: float
    products: Any
    residual: Any = None
    alike: tuple[Floats | None, ...] = ()
    passes: Any = None

    def gone(self, what: str = "") -> RowsRemovedError:
        """Return what says where the rows are, and `what` with them."""
        return RowsRemovedError(
            f"{self.words}, not in memory{f', and with them {what}' if what else ''}. "
            f"{self.way_out}"
        )

    def gathered(self, cells: float = MOST_CELLS) -> Any:
        """Return the design with its rows in memory, None if they are more than some cells.

        Parameters
        ----------
        cells : float
            Rows times columns, at most; by default as many as are read for a call that needs all
            rows at once.
        """
        columns = 2 + len(self.root) + sum(1 + len(term.low) for term in self.terms)
        if self.passes is None or self.n * columns > cells:
            return None
        return self.passes.gather()

    def __getstate__(self) -> dict[str, Any]:
        return vars(replace(self, passes=None))
