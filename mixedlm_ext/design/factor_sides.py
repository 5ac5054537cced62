"""Sides of a formula of nothing but columns, numbers and factors, and their products.

How patsy codes such a side (which contrasts, which names) follows from its terms and from the
categories of the factors, not from the rows. It is asked once for each, and the columns are then
products of numbers and of rows of the contrasts, as patsy multiplies them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import patsy

from mixedlm_ext.design.formula_code import code_names
from mixedlm_ext.design.memory import SideMemory
from mixedlm_ext.errors import DesignError

__all__ = ["FactorSide", "check_names_of_levels", "factor_side"]

Floats = npt.NDArray[np.float64]
Kind = tuple[Any, ...] | None
"""Categories of a factor and their types, as 1, 1.0 and True are equal; None for numbers."""

_MOST = 200
"""Categories of a side beyond which it is not worth remembering."""


@dataclass(frozen=True)
class FactorSide:
    """A side of columns of the data.

    Attributes
    ----------
    coding : SideMemory
        What patsy makes of it.
    columns : tuple of str
        Names in the data of the factors of the coding.
    """

    coding: SideMemory
    columns: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the matrix's columns."""
        return self.coding.names

    @property
    def has_empty_terms(self) -> bool:
        """Whether a term adds no column, as its factor has one level."""
        return any(sum(p.columns for p in products) == 0 for _, products in self.coding.terms)

    def build(self, data: Mapping[str, Any], n: int) -> Floats:
        """Return the matrix (n, k)."""
        out = np.ones((n, len(self.names)), order="F")
        first = 0
        for _, products in self.coding.terms:
            for product in products:
                own = out[:, first : first + product.columns]
                first += product.columns
                for j, i in enumerate(product.factors):
                    coded = self._coded(data, i, product.contrasts)
                    if j == 0:
                        whole = coded
                    else:  # the columns of the first factor alternate fastest
                        whole = (coded[:, :, None] * whole[:, None, :]).reshape(n, -1)
                if product.factors:
                    own[:] = whole
        return out

    def _coded(self, data: Mapping[str, Any], i: int, contrasts: Mapping[int, Any]) -> Floats:
        """Return the columns of one factor, (n, c)."""
        values = data[self.columns[i]]
        if i not in contrasts:
            return np.asarray(values, dtype=np.float64)[:, None]
        matrix: Floats = contrasts[i][0]
        return matrix[values.codes]

    def memory(self) -> SideMemory:
        """Return what patsy would remember."""
        return self.coding


def factor_side(side: patsy.ModelDesc, data: Mapping[str, Any]) -> FactorSide | None:
    """Return a side that is nothing but columns of the data and their products; None for another.

    Parameters
    ----------
    side : patsy.ModelDesc
    data : mapping of str to array or Categorical
        The columns as patsy would get them, without missing values.
    """
    kinds: dict[str, Kind] = {}
    columns: dict[str, str] = {}
    total = 0
    for term in side.rhs_termlist:
        for factor in term.factors:
            names = code_names(factor.code)
            values = data.get(names.bare or "")
            # a factor that tables call by another name than its code is no plain EvalFactor
            if not (type(factor) is patsy.EvalFactor and names.plain and _is_plain(values)):
                return None
            columns[factor.code] = str(names.bare)
            kinds[factor.code] = _kind(values)
            total += len(kinds[factor.code] or ())
    if total > _MOST:
        return None
    terms = tuple(tuple(f.code for f in term.factors) for term in side.rhs_termlist)
    coding = _coding(terms, tuple(kinds.items()))
    if coding is None:
        return None
    return FactorSide(coding, tuple(columns[f.expression.code] for f in coding.factors))


def check_names_of_levels(values: Any, name: str, place: str) -> None:
    """Refuse a factor with levels that tables would call the same: a number, and its text.

    Raises
    ------
    DesignError
    """
    if not isinstance(values, pd.Categorical) or values.categories.dtype != object:
        return
    known: dict[str, Any] = {}
    for level in values.categories:
        other = known.setdefault(str(level), level)
        if other is not level and type(other) is not type(level):
            raise DesignError(
                f"column {name!r} in {place} has the level {other!r} and the level {level!r}, "
                f"whose coefficients would have one name. Give the values one type: "
                f"data[{name!r}].astype(str), or pd.to_numeric(data[{name!r}])."
            )


def _is_plain(values: Any) -> bool:
    """Tell a factor that has levels in every row, or an array of real numbers."""
    if isinstance(values, pd.Categorical):
        return (
            len(values) > 0 and len(values.categories) <= _MOST and bool((values.codes >= 0).all())
        )
    return isinstance(values, np.ndarray) and values.ndim == 1 and values.dtype.kind in "iuf"


def _kind(values: Any) -> Kind:
    """Return what the coding of a column depends on."""
    if not isinstance(values, pd.Categorical):
        return None
    categories = values.categories.tolist()
    return (*categories, *map(type, categories))


@lru_cache(maxsize=128)
def _coding(
    terms: tuple[tuple[str, ...], ...], kinds: tuple[tuple[str, Kind], ...]
) -> SideMemory | None:
    """Ask patsy how it codes the terms of a side; None if it does not."""
    categories = {c: None if k is None else list(k[: len(k) // 2]) for c, k in kinds}
    data = {
        str(code_names(code).bare): np.zeros(1) if own is None else pd.Categorical(own[:1], own)
        for code, own in categories.items()
    }
    described = [
        patsy.Term([patsy.EvalFactor(c, patsy.Origin(c, 0, len(c))) for c in codes])
        for codes in terms
    ]
    nothing = patsy.EvalEnvironment([{}])
    try:
        (info,) = patsy.design_matrix_builders([described], lambda: iter([data]), nothing)
    except patsy.PatsyError:
        return None
    return SideMemory.of(info)
