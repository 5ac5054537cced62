"""`Design`: everything the data say about a model, frozen."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import patsy

from mixedlm_ext.design.at_hand import DataAtHand
from mixedlm_ext.design.coefficients import coefficient_names
from mixedlm_ext.design.matrices import FormulaMatrices, MatricesMemory
from mixedlm_ext.design.named_checks import Checks
from mixedlm_ext.design.names import Scope
from mixedlm_ext.design.new_data import array_new_data, formula_new_data
from mixedlm_ext.design.rank import NullSpace
from mixedlm_ext.design.records import NewData, RandomTerm, TermDesign
from mixedlm_ext.errors import DesignError
from mixedlm_ext.formula.parser import MixedFormula

__all__ = ["Design"]

Floats = npt.NDArray[np.float64]
Codes = npt.NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class Design:
    """Response, fixed and random columns, weights and offset of one model.

    Attributes
    ----------
    y : ndarray (n,)
        The response as evaluated; the offset is not subtracted.
    X : ndarray (n, p)
        The estimable fixed columns, `x_names`.
    endog_name : str
    x_names, dropped : tuple of str
        Names of the columns kept, and of those left out because they are not estimable.
    all_x_names : tuple of str
        Names of all columns, before any was left out.
    column_map : ndarray of intp (p,)
        Positions of the kept columns among all.
    null : NullSpace or None
        What makes combinations of all columns not estimable; None if X has full rank.
    terms : tuple of TermDesign
        In the order of the formula.
    weights, offset : ndarray (n,) or None
    index : Index (n,)
        Row labels.
    rows : ndarray of intp (n,)
        Positions of the used rows in the user's data.
    n_missing, n_zero_weight : int
        Rows left out.
    n_data : int
        Rows of the user's data, those outside a subset among them.
    formula : MixedFormula or None
        None if the design comes from arrays.
    frame : DataFrame or None
        The used columns and rows of the data.
    scope : Scope
        What the formula uses from the caller's scope.
    weights_name, offset_name : str or None
        Columns given as `weights` and `offset`.
    at_hand : DataAtHand or None
        Where the user's data are, while the user keeps them; not pickled.
    checks : Checks
        What to do with what the checks of the design find.
    full_index : Index or None
        Labels of all rows of the user's data, if values for the rows are to be aligned with them.
    array_offset : bool
        Whether `offset` was given as an array.

    Notes
    -----
    patsy's objects can be neither pickled nor copied; their memory of the data is, and they are put
    together again from it when needed.
    """

    y: Floats
    X: Floats
    endog_name: str
    x_names: tuple[str, ...]
    dropped: tuple[str, ...]
    all_x_names: tuple[str, ...]
    column_map: Codes
    null: NullSpace | None
    terms: tuple[TermDesign, ...]
    weights: Floats | None
    offset: Floats | None
    index: pd.Index
    rows: Codes
    n_missing: int
    n_zero_weight: int
    n_data: int
    formula: MixedFormula | None = None
    frame: pd.DataFrame | None = None
    scope: Scope = field(default_factory=Scope)
    weights_name: str | None = None
    offset_name: str | None = None
    at_hand: DataAtHand | None = field(default=None, repr=False)
    checks: Checks = field(default_factory=Checks)
    full_index: pd.Index | None = None
    array_offset: bool = False
    _coefficient_names: tuple[tuple[str, ...], ...] | None = field(default=None, repr=False)
    _matrices: FormulaMatrices | MatricesMemory | None = field(default=None, repr=False)

    @property
    def fixed_info(self) -> patsy.DesignInfo | None:
        """patsy's description of all columns of the fixed part; None for arrays."""
        return None if self.formula is None else self.matrices.infos[0]

    @property
    def matrices(self) -> FormulaMatrices:
        """What builds the matrices of the formula for other data."""
        if self.formula is None or self.frame is None:
            raise DesignError("the design comes from arrays and has no formula.")
        if not isinstance(self._matrices, FormulaMatrices):
            object.__setattr__(self, "_matrices", self._put_together())
        assert isinstance(self._matrices, FormulaMatrices)
        return self._matrices

    @property
    def coefficient_names(self) -> tuple[tuple[str, ...], ...]:
        """Names of each term's columns among the coefficients of a group."""
        if self._coefficient_names is None:
            names = coefficient_names(self.X, self.x_names, self.terms)
            object.__setattr__(self, "_coefficient_names", names)
        assert self._coefficient_names is not None
        return self._coefficient_names

    def _put_together(self) -> FormulaMatrices:
        """Make the matrices from their memory, or else from the data."""
        assert self.formula is not None
        assert self.frame is not None
        if self._matrices is not None:
            return FormulaMatrices.from_memory(self.formula, self._memory(), self.scope)
        built = FormulaMatrices(self.formula, self.frame, self.scope)
        built.training_data()
        return built

    def _memory(self) -> Any:
        """The memory of the matrices; None if they were not made yet."""
        made = self._matrices
        return made.memory() if isinstance(made, FormulaMatrices) else made

    def aligned(self, values: Floats) -> tuple[Floats, pd.Index]:
        """Return values for the rows (n,) and their labels: of all rows of the data if asked for.

        Values of rows that were left out are nan then.
        """
        if self.full_index is None or len(values) != len(self.rows):
            return values, self.index
        out = np.full(len(self.full_index), np.nan)
        out[self.rows] = values
        return out, self.full_index

    def without_rows(self) -> Design:
        """Forget everything with one entry a row; keep what `new_data` and `new_arrays` need.

        Returns
        -------
        Design
            With n = 0. Its `frame` has the columns of the data and no rows; levels of factors, and
            knots, means and the like of stateful transforms are remembered.
        """
        frame = self.frame
        if frame is not None:
            _ = self.matrices
            frame = pd.DataFrame({name: _empty(column) for name, column in frame.items()})
        return replace(
            self,
            y=np.empty(0),
            X=np.empty((0, self.X.shape[1])),
            terms=tuple(
                replace(t, X=np.empty((0, t.X.shape[1])), codes=np.empty(0, dtype=np.intp))
                for t in self.terms
            ),
            weights=None if self.weights is None else np.empty(0),
            offset=None if self.offset is None else np.empty(0),
            index=pd.RangeIndex(0),
            rows=np.empty(0, dtype=np.intp),
            full_index=None,
            frame=frame,
            at_hand=None,
            scope=self.scope.without_rows(len(self.y)),
            _coefficient_names=self.coefficient_names,
            _matrices=self._memory(),
        )

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_matrices": self._memory(), "at_hand": None}

    def estimable(self, rows: Any) -> npt.NDArray[np.bool_]:
        """Say for each row c (m, all columns) whether the data determine cβ.

        Examples
        --------
        >>> from mixedlm_ext import MixedLM
        >>> y, x, g = [1.0, 2.0, 4.0, 4.0, 5.0, 9.0], [0, 1] * 3, list("aabbcc")
        >>> model = MixedLM.from_formula("y ~ x + (1 | g)", {"y": y, "x": x, "g": g})
        >>> model.design.estimable([[1, 7]])
        array([ True])
        """
        if self.null is None:
            return np.ones(len(rows), dtype=bool)
        return self.null.estimable(rows)

    def new_data(
        self,
        data: Any,
        *,
        need_response: bool = False,
        terms: Iterable[str] | None = None,
        offset: Any = None,
    ) -> NewData:
        """Build the matrices of the formula for other data.

        Parameters
        ----------
        data : DataFrame, polars.DataFrame or mapping of str to array-like
            Only the columns that are needed have to be there.
        need_response : bool
            Evaluate the response, too.
        terms : iterable of str, optional
            Names of the random terms to build; all by default, () for none.
        offset : str or array-like (m,), optional
            Replaces the `offset` argument of the fit; ``offset(...)`` in the formula is added.
            If the fit named a column, that column is used by default; if it had an array, this
            one must be given.

        Returns
        -------
        NewData

        Raises
        ------
        DesignError
            If a column is missing or has another type, or a fixed factor has a level the fit has
            not seen.
        """
        return formula_new_data(self, data, need_response=need_response, terms=terms, offset=offset)

    def new_arrays(
        self,
        exog: Any,
        random: Sequence[RandomTerm] | Mapping[str, RandomTerm] | None = None,
        *,
        offset: Any = None,
    ) -> NewData:
        """Lay out arrays for other rows as those of the fit, for a design made of arrays.

        Parameters
        ----------
        exog : array-like (m, p_all) or DataFrame
            All columns of the fit, those left out as not estimable among them. The columns of a
            DataFrame are matched by name when the fit had a DataFrame.
        random : sequence of RandomTerm, or mapping of term name to RandomTerm, optional
            A sequence goes by position and must be complete; a mapping may leave terms out. None
            leaves out all.
        offset : array-like (m,), optional

        Returns
        -------
        NewData

        Raises
        ------
        DesignError
            If the numbers of columns or rows do not agree.
        """
        return array_new_data(self, exog, random, offset=offset)


def _empty(column: pd.Series) -> pd.Series:
    """A column of the same type without rows, and without their categories."""
    categorical = isinstance(column.dtype, pd.CategoricalDtype)
    return pd.Series([], dtype="category" if categorical else column.dtype)
