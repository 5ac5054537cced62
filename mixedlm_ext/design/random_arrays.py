"""Reading arrays: the columns of exog, and random terms given as `RandomTerm`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from mixedlm_ext.design.checks import number_vector
from mixedlm_ext.design.frame import one_per_row
from mixedlm_ext.design.records import RandomTerm
from mixedlm_ext.design.values import row_shape
from mixedlm_ext.errors import DesignError, did_you_mean

__all__ = ["ArrayTerm", "exog_columns", "read_random_term"]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class ArrayTerm:
    """A `RandomTerm` taken apart: factors of the group, columns with their names."""

    factors: tuple[pd.Series, ...]
    factor_names: tuple[str, ...]
    group: str
    exog: tuple[Floats, ...]
    columns: tuple[str, ...]
    structure: str

    @property
    def text(self) -> str:
        """The term in formula language."""
        bar = "||" if self.structure == "diag" else "|"
        left = " + ".join(self.columns).replace("Intercept", "1")
        written = f"({left if 'Intercept' in self.columns else f'0 + {left}'} {bar} {self.group})"
        return f"{written} with one variance" if self.structure == "iid" else written


def exog_columns(exog: Any, n: int = 0) -> tuple[list[Floats], list[str], pd.Index]:
    """Columns of a fixed or random exog as floats (nan for missing), their names and the index.

    `n` is the number of rows if `exog` is None, which has no columns.
    """
    if exog is None:
        return [], [], pd.RangeIndex(n)
    if type(exog).__module__.startswith("polars"):
        exog = pd.DataFrame({name: exog.get_column(name).to_list() for name in exog.columns})
    if isinstance(exog, pd.Series):
        exog = exog.to_frame("x1" if exog.name is None else exog.name)
    if not isinstance(exog, pd.DataFrame):
        dimensions = 0 if hasattr(exog, "toarray") else len(row_shape(exog, "exog"))
        if not dimensions:
            hint = " Pass exog.toarray()." if hasattr(exog, "toarray") else ""
            raise DesignError(f"exog is a {type(exog).__name__}; it needs rows and columns.{hint}")
        if dimensions > 2:
            raise DesignError(f"exog has {dimensions} dimensions; it needs rows and columns.")
        array = np.asarray(exog)
        array = array[:, None] if dimensions == 1 else array
        exog = pd.DataFrame(array)
        exog.columns = pd.Index(_default_names(array))
    columns = []
    for j, name in enumerate(exog.columns):
        column = exog.iloc[:, j]
        known = column.notna().to_numpy()
        values = np.full(len(column), np.nan)
        numbers = column[known]
        if numbers.dtype.kind == "b":
            numbers = numbers.astype(float)
        values[known] = number_vector(numbers, f"exog column {name!r}", len(numbers))
        columns.append(values)
    return columns, [str(name) for name in exog.columns], exog.index


def _default_names(array: Any) -> list[str]:
    """const and x1, x2, ..., as statsmodels names the columns of an array."""
    constant = [
        j for j in range(array.shape[1]) if len(array) and (array[:, j] == array[0, j]).all()
    ]
    names = [f"x{j + 1}" for j in range(array.shape[1] - bool(constant))]
    if constant:
        names.insert(constant[0], "const")
    return names


def read_random_term(term: Any, position: int, count: int) -> ArrayTerm:
    """Take a `RandomTerm` apart.

    Raises
    ------
    DesignError
        If it is not a RandomTerm, or its parts do not fit together.
    """
    if not isinstance(term, RandomTerm):
        raise DesignError(
            f"random holds {type(term).__name__} values; it needs RandomTerm objects, "
            "as in random=[RandomTerm(groups)]."
        )
    if term.structure not in ("us", "diag", "iid"):
        near = did_you_mean(str(term.structure), ("us", "diag", "iid"))
        raise DesignError(f"structure {term.structure!r} is not 'us' or 'diag' or 'iid'.{near}")
    factors = _factors(term.groups)
    n = len(factors[0])
    names = [None if factor.name is None else str(factor.name) for factor in factors]
    default = "group" if count == 1 else f"group{position + 1}"
    joined = ":".join(map(str, names)) if None not in names else default
    group = joined if term.name is None else str(term.name)
    named = [name or f"{group}[{i}]" for i, name in enumerate(names)]
    what = f"exog of random term {group!r}"
    columns, exog_names, _ = exog_columns(np.ones(n) if term.exog is None else term.exog)
    if any(len(column) != n for column in columns):
        raise DesignError(f"{what} has {len(columns[0])} rows; its groups have {n}.")
    if not columns:
        raise DesignError(f"{what} has no columns. Leave exog out for a random intercept.")
    if term.columns is not None:
        given = [term.columns] if isinstance(term.columns, str) else list(term.columns)
        exog_names = [str(name) for name in given]
        if len(exog_names) != len(columns):
            raise DesignError(
                f"{what} has {len(columns)} columns; columns= names {len(exog_names)}."
            )
    elif not isinstance(term.exog, pd.DataFrame | pd.Series):
        exog_names = ["Intercept" if (c == 1.0).all() else name for c, name in _pairs(columns)]
    return ArrayTerm(
        tuple(factors), tuple(named), group, tuple(columns), tuple(exog_names), term.structure
    )


def _pairs(columns: Sequence[Floats]) -> list[tuple[Floats, str]]:
    """Columns with the names x1, x2, ..., a column of ones not counted."""
    names = iter(f"x{j + 1}" for j in range(len(columns)))
    return [(c, "Intercept" if (c == 1.0).all() else next(names)) for c in columns]


def _factors(groups: Any) -> list[pd.Series]:
    """The factors of a group; several mean their interaction."""
    if isinstance(groups, pd.DataFrame):
        several = [groups.iloc[:, j] for j in range(groups.shape[1])]
    elif isinstance(groups, np.ndarray) and groups.ndim == 2:
        several = list(groups.T)
    elif isinstance(groups, list | tuple) and len(groups) and np.ndim(groups[0]) == 1:
        several = list(groups)
    else:
        several = [groups]
    if not several:
        raise DesignError("groups has no columns; it needs a value for each row.")
    shape = row_shape(several[0], "groups")
    if not shape:
        hint = f" Pass its values, as in data[{groups!r}]." if isinstance(groups, str) else ""
        what = "a single value" if pd.api.types.is_scalar(groups) else type(groups).__name__
        raise DesignError(f"groups is {what}; it needs a value for each row.{hint}")
    n = shape[0]
    return [one_per_row(factor, "groups", n) for factor in several]
