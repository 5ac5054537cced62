"""Sides of a formula that are nothing but numeric columns: their matrices are these columns.

patsy looks at the data of every other side, for categories and for what transforms remember. Here
there is nothing to find out, and its description is made when somebody asks for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import patsy

from mixedlm_ext.design.formula_code import code_names
from mixedlm_ext.design.memory import SideMemory

__all__ = ["PlainSide", "plain_side"]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class PlainSide:
    """The constant and numeric columns of a side.

    Attributes
    ----------
    constant : bool
        Whether a column of ones comes first.
    codes : tuple of str
        Of the others, as they stand in the formula.
    columns : tuple of str
        Their names in the data.
    """

    constant: bool
    codes: tuple[str, ...]
    columns: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the matrix's columns, those that patsy gives them."""
        return ("Intercept", *self.codes) if self.constant else self.codes

    def build(self, data: Mapping[str, Any], n: int) -> Floats:
        """Return the matrix (n, k)."""
        out = np.empty((n, len(self.names)), order="F")
        out[:, : int(self.constant)] = 1.0
        for j, column in enumerate(self.columns, start=int(self.constant)):
            out[:, j] = data[column]
        return out

    def memory(self) -> SideMemory:
        """Return what patsy would remember."""
        return SideMemory.of_numbers(self.names, self.codes)


def plain_side(side: patsy.ModelDesc, data: Mapping[str, Any]) -> PlainSide | None:
    """Return a side that is nothing but numeric columns of the data; None for another one.

    Parameters
    ----------
    side : patsy.ModelDesc
    data : mapping of str to array
        The columns as patsy would get them.
    """
    codes, columns = [], []
    constant = False
    for term in side.rhs_termlist:
        if not term.factors:
            constant = True
            continue
        factor = term.factors[0]
        names = code_names(factor.code)
        column = names.bare or ""
        # a factor that tables call by another name than its code is no plain EvalFactor
        simple = len(term.factors) == 1 and type(factor) is patsy.EvalFactor and names.plain
        if not (simple and _is_numeric(data.get(column))):
            return None
        codes.append(factor.code)
        columns.append(column)
    return PlainSide(constant, tuple(codes), tuple(columns))


def _is_numeric(values: Any) -> bool:
    """Tell whether values are an array of real numbers, which truth values are not for patsy."""
    return isinstance(values, np.ndarray) and values.ndim == 1 and values.dtype.kind in "iuf"
