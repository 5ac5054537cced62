"""`Design`: everything the data say about a model, frozen."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import patsy

from mixedlm_ext.caching import cached_property
from mixedlm_ext.design.coefficients import coefficient_names
from mixedlm_ext.design.elsewhere import Passes
from mixedlm_ext.design.matrices import FormulaMatrices
from mixedlm_ext.design.named_checks import Checks
from mixedlm_ext.design.new_data import array_new_data, formula_new_data
from mixedlm_ext.design.rank import NullSpace
from mixedlm_ext.design.records import NewData, RandomTerm, TermDesign
from mixedlm_ext.design.rows import Rows
from mixedlm_ext.design.scope import Scope
from mixedlm_ext.design.spec import Spec
from mixedlm_ext.language.mixed_formula import MixedFormula
from mixedlm_ext.residual.structure import ResidualRows, ResidualStructure

__all__ = ["Design"]

Floats = npt.NDArray[np.float64]
Codes = npt.NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class Design:
    """A model's `Spec` with `Rows`: other rows, fewer or none are one replacement.

    Attributes
    ----------
    spec : Spec
    rows : Rows

    Notes
    -----
    Attributes of both can be read off the design.
    """

    spec: Spec
    rows: Rows

    def __repr__(self) -> str:
        return f"<Design: {self.text}, {self.n:,} rows>"

    @property
    def text(self) -> str:
        """The model in formula language; of arrays, by the names of their columns."""
        if self.formula is not None:
            return self.formula.written
        fixed = " + ".join(self.x_names) or "0"
        return f"{self.endog_name} ~ {' + '.join([fixed, *(term.text for term in self.terms)])}"

    # --- of the rows -----------------------------------------------------------------------------

    @property
    def y(self) -> Floats:
        """The response (n,)."""
        return self.rows.y

    @property
    def X(self) -> Floats:
        """The estimable columns of the fixed part (n, p)."""
        return self.rows.X

    @property
    def weights(self) -> Floats | None:
        """Precision weights (n,), if there are any."""
        return self.rows.weights

    @property
    def offset(self) -> Floats | None:
        """The known part of the linear predictor (n,), if there is one."""
        return self.rows.offset

    @property
    def index(self) -> pd.Index:
        """Labels of the rows."""
        return self.rows.index

    @property
    def n(self) -> int:
        """The number of rows, also of those that are not in memory."""
        elsewhere = self.rows.elsewhere
        return len(self.rows) if elsewhere is None else elsewhere.n

    @property
    def n_data(self) -> int:
        """Rows of the user's data."""
        return self.rows.n_data

    @property
    def n_missing(self) -> int:
        """Rows left out for missing values."""
        return self.rows.n_missing

    @property
    def n_zero_weight(self) -> int:
        """Rows left out for a weight of zero."""
        return self.rows.n_zero_weight

    @property
    def frame(self) -> pd.DataFrame | None:
        """The columns of the data that the formula uses, for these rows."""
        return self.rows.frame

    @property
    def full_index(self) -> pd.Index | None:
        """Labels of all rows of the data, if values are aligned with them."""
        return self.rows.full_index

    # --- of the specification --------------------------------------------------------------------

    @property
    def endog_name(self) -> str:
        """Name of the response."""
        return self.spec.endog_name

    @property
    def x_names(self) -> tuple[str, ...]:
        """Names of the estimable columns."""
        return self.spec.x_names

    @property
    def dropped(self) -> tuple[str, ...]:
        """Names of the columns that are not estimable."""
        return self.spec.dropped

    @property
    def all_x_names(self) -> tuple[str, ...]:
        """Names of all columns of the fixed part."""
        return self.spec.all_x_names

    @property
    def column_map(self) -> Codes:
        """Which of all columns the estimable ones are (p,)."""
        return self.spec.column_map

    @property
    def null(self) -> NullSpace | None:
        """What the data do not determine; None if X has full rank."""
        return self.spec.null

    @property
    def formula(self) -> MixedFormula | None:
        """The formula; None for a model from arrays."""
        return self.spec.formula

    @property
    def residual(self) -> ResidualStructure | None:
        """The structure of the residuals; None if they are independent."""
        return self.spec.residual

    @property
    def residual_rows(self) -> ResidualRows | None:
        """What the rows have to do with it; they must not be elsewhere."""
        elsewhere = self.rows.elsewhere
        if elsewhere is not None and self.residual is not None:
            raise elsewhere.gone("what the structure of their residuals depends on")
        return self.rows.residual

    @property
    def scope(self) -> Scope:
        """What the formula uses from the caller's scope."""
        return self.spec.scope

    @property
    def checks(self) -> Checks:
        """What to do with what the checks find."""
        return self.spec.checks

    @property
    def matrices(self) -> FormulaMatrices:
        """The matrices of the formula, or what remembers them."""
        return self.spec.matrices

    @property
    def fixed_info(self) -> patsy.DesignInfo | None:
        """patsy's description of all columns of the fixed part; None for arrays."""
        return None if self.formula is None else self.matrices.infos[0]

    # --- of both -------------------------------------------------------------------------------

    @cached_property
    def terms(self) -> tuple[TermDesign, ...]:
        """The random terms in the data, in the order of the formula."""
        elsewhere = self.rows.elsewhere
        known = [None] * len(self.spec.terms) if elsewhere is None else elsewhere.terms
        return tuple(
            TermDesign(**vars(term), X=X, codes=codes, known=facts)
            for term, (X, codes), facts in zip(self.spec.terms, self.rows.terms, known, strict=True)
        )

    @cached_property
    def coefficient_names(self) -> tuple[tuple[str, ...], ...]:
        """Names of each term's columns among the coefficients of a group."""
        known = self.spec.coefficient_names
        return coefficient_names(self.X, self.x_names, self.terms) if known is None else known

    def take(self, mask: npt.NDArray[np.bool_] | Codes) -> Design:
        """Return the design with some of its rows; levels that lose all of theirs stay."""
        return replace(self, rows=self.rows.take(mask))

    def with_response(self, y: Floats, name: str | None = None) -> Design:
        """Return the design with another response (n,), of another name if there is one."""
        spec = self.spec if name is None else replace(self.spec, endog_name=name)
        return Design(spec, replace(self.rows, y=y))

    def with_residual(self, values: Floats) -> Design:
        """Return the design with the parameters of its residual structure in a fit."""
        assert self.spec.residual is not None
        residual = self.spec.residual.with_values(values)
        return replace(self, spec=replace(self.spec, residual=residual))

    def with_passes(self, passes: Passes) -> Design:
        """Return the design with what reads its rows again, which are elsewhere."""
        assert self.rows.elsewhere is not None
        elsewhere = replace(self.rows.elsewhere, passes=passes)
        return replace(self, rows=replace(self.rows, elsewhere=elsewhere))

    def without_rows(self) -> Design:
        """Forget everything with one entry a row; keep what `new_data` and `new_arrays` need.

        Returns
        -------
        Design
            With n = 0. Its `frame` has the columns of the data and no rows; levels of factors, and
            knots, means and the like of stateful transforms are remembered.
        """
        spec = replace(self.spec, coefficient_names=self.coefficient_names)
        return Design(spec.without_rows(len(self.rows)), self.rows.none())

    def aligned(self, values: Floats) -> tuple[Floats, pd.Index]:
        """Return values for the rows (n,) and their labels (see `Rows.aligned`)."""
        return self.rows.aligned(values)

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
        return self.spec.estimable(rows)

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
        return formula_new_data(
            self.spec, data, need_response=need_response, terms=terms, offset=offset
        )

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
        return array_new_data(self.spec, exog, random, offset=offset)
