"""`Spec`: what a design knows beside its rows, and what reading other rows takes."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from mixedlm_ext.caching import cached_property
from mixedlm_ext.design.matrices import FormulaMatrices, MatricesMemory
from mixedlm_ext.design.named_checks import Checks
from mixedlm_ext.design.rank import NullSpace
from mixedlm_ext.design.records import TermSpec
from mixedlm_ext.design.row_arguments import OFFSET, WEIGHTS, RowArgument
from mixedlm_ext.design.scope import Scope
from mixedlm_ext.errors import DesignError
from mixedlm_ext.language.mixed_formula import MixedFormula
from mixedlm_ext.residual.structure import ResidualStructure

__all__ = ["Spec"]


@dataclass(frozen=True, eq=False)
class Spec:
    """Names, levels, structures, and what the formula remembers of the data of the fit.

    Predictions and saved models need this and no rows.

    Attributes
    ----------
    endog_name : str
    x_names, dropped : tuple of str
        Names of the columns kept, and of those left out because they are not estimable.
    all_x_names : tuple of str
        Names of all columns, before any was left out.
    column_map : ndarray of intp (p,)
        Positions of the kept columns among all.
    null : NullSpace or None
        What makes combinations of all columns not estimable; None if X has full rank.
    terms : tuple of TermSpec
        In the order of the formula.
    formula : MixedFormula or None
        None if the design comes from arrays.
    columns : tuple
        Names of the data's columns that a formula, weights and offset use.
    scope : Scope
        What the formula uses from the caller's scope.
    weights, offset : RowArgument
        How these were given.
    checks : Checks
        What to do with what the checks of the design find.
    coefficient_names : tuple of tuple of str, or None
        Names of each term's columns among the coefficients of a group, where the rows they are
        found from are gone.
    made : FormulaMatrices or None
        What builds the matrices of the formula; not pickled, its memory is.
    memory : MatricesMemory or None
        What to make it from again.
    residual : ResidualStructure or None
        The structure of the residuals; None if they are independent.

    Notes
    -----
    patsy's objects can be neither pickled nor copied; their memory of the data is, and they are put
    together again from it when needed.
    """

    endog_name: str
    x_names: tuple[str, ...]
    dropped: tuple[str, ...]
    all_x_names: tuple[str, ...]
    column_map: npt.NDArray[np.intp]
    null: NullSpace | None
    terms: tuple[TermSpec, ...]
    formula: MixedFormula | None = None
    columns: tuple[Any, ...] = ()
    scope: Scope = field(default_factory=Scope)
    weights: RowArgument = WEIGHTS
    offset: RowArgument = OFFSET
    checks: Checks = field(default_factory=Checks)
    coefficient_names: tuple[tuple[str, ...], ...] | None = None
    made: FormulaMatrices | None = field(default=None, repr=False)
    memory: MatricesMemory | None = field(default=None, repr=False)
    residual: ResidualStructure | None = None

    @cached_property
    def matrices(self) -> FormulaMatrices:
        """What builds the matrices of the formula for other data."""
        if self.made is not None:
            return self.made
        if self.formula is None or self.memory is None:
            raise DesignError("the design comes from arrays and has no formula.")
        return FormulaMatrices.from_memory(self.formula, self.memory, self.scope)

    def without_rows(self, n: int) -> Spec:
        """Forget what has n entries, one a row: patsy's view of the data, arrays of the scope."""
        return replace(self, scope=self.scope.without_rows(n), **self._remembered())

    def _remembered(self) -> dict[str, Any]:
        """The matrices as their memory."""
        return {"made": None, "memory": self.memory if self.made is None else self.made.memory()}

    def __getstate__(self) -> dict[str, Any]:
        state = {**vars(self), **self._remembered()}
        state.pop("matrices", None)
        return state

    def estimable(self, rows: Any) -> npt.NDArray[np.bool_]:
        """Say for each row c (m, all columns) whether the data determine cβ."""
        if self.null is None:
            return np.ones(len(rows), dtype=bool)
        return self.null.estimable(rows)
