"""Reading arrays: the columns of exog, and random terms given as `RandomTerm`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import sparse

from mixedlm_ext.design.checks import number_vector
from mixedlm_ext.design.column import is_polars, one_column
from mixedlm_ext.design.frame import one_per_row
from mixedlm_ext.design.known import KnownMatrix
from mixedlm_ext.design.members import at_columns, named_columns
from mixedlm_ext.design.positions import read_positions
from mixedlm_ext.design.read_known import known_matrix
from mixedlm_ext.design.records import RandomTerm
from mixedlm_ext.design.values import row_shape
from mixedlm_ext.errors import DesignError, check_choice
from mixedlm_ext.structures import STRUCTURES, Positions, structure_of

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
    positions: Positions | None
    known: KnownMatrix | None = None
    Z: sparse.csr_array | None = None
    names: pd.Index | None = None

    def columns_like(self, names: pd.Index) -> sparse.csr_array:
        """Return Z with the columns that a fit had, by their labels if a DataFrame has them."""
        assert self.Z is not None and self.names is not None
        q = self.Z.shape[1]
        place = names.get_indexer(self.names)
        numbered = q != len(names) and self.names.equals(pd.RangeIndex(q))  # nobody named them
        if (place >= 0).all() and not numbered:
            return at_columns(self.Z, place, len(names))
        if q != len(names):
            raise DesignError(
                f"Z of random term {self.group!r} has {q} columns; the fit had {len(names)}."
            )
        return self.Z

    @property
    def text(self) -> str:
        """The term in formula language."""
        left = " + ".join(self.columns).replace("Intercept", "1")
        left = left if "Intercept" in self.columns else f"0 + {left}"
        plain = self.known is None
        right = self.group if plain else f"gr({self.group})"
        return structure_of(self.structure, len(self.columns)).text(left, right)


def exog_columns(exog: Any, n: int = 0) -> tuple[list[Floats], list[str], pd.Index]:
    """Columns of a fixed or random exog as floats (nan for missing), their names and the index.

    `n` is the number of rows if `exog` is None, which has no columns.
    """
    if exog is None:
        return [], [], pd.RangeIndex(n)
    exog = _as_frame(exog)
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


def _as_frame(exog: Any) -> pd.DataFrame:
    """Read rows and columns from a frame, an array, or one column."""
    if is_polars(exog) and hasattr(exog, "get_column"):
        return pd.DataFrame({name: exog.get_column(name).to_list() for name in exog.columns})
    if type(exog).__module__.partition(".")[0] == "pyarrow" and hasattr(exog, "column_names"):
        exog = exog.to_pandas()
    if isinstance(exog, pd.DataFrame):
        return exog
    if hasattr(exog, "toarray"):
        kind = type(exog).__name__
        raise DesignError(f"exog is a {kind}; it needs rows and columns. Pass exog.toarray().")
    columns = is_polars(exog) or isinstance(exog, pd.Series | pd.Index)
    shape = () if columns else row_shape(exog, "exog")
    if not columns and not shape:
        raise DesignError(f"exog is a {type(exog).__name__}; it needs rows and columns.")
    if len(shape) > 2:
        raise DesignError(f"exog has {len(shape)} dimensions; it needs rows and columns.")
    if columns or len(shape) == 1:
        column = one_column(exog, "exog")
        if isinstance(exog, pd.Series):
            return column.to_frame("x1" if exog.name is None else exog.name)
        return column.to_frame(_default_names(np.asarray(column, dtype=object)[:, None])[0])
    array = np.asarray(exog)
    frame = pd.DataFrame(array)
    frame.columns = pd.Index(_default_names(array))
    return frame


def _default_names(array: Any) -> list[str]:
    """const and x1, x2, ..., as statsmodels names the columns of an array."""
    constant = [j for j in range(array.shape[1]) if len(array) and _all(array[:, j] == array[0, j])]
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
    check_choice("structure", term.structure, tuple(STRUCTURES))
    Z, labels = _read_Z(term, position)
    factors = [pd.Series(np.arange(Z.shape[0]))] if Z is not None else _factors(term.groups)
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
        given = _names(term.columns, what)
        exog_names = [str(name) for name in given]
        if len(exog_names) != len(columns):
            raise DesignError(
                f"{what} has {len(columns)} columns; columns= names {len(exog_names)}."
            )
    elif isinstance(term.exog, pd.DataFrame | pd.Series):
        exog_names = _with_intercept(columns, exog_names)
    else:
        exog_names = [name for _, name in _pairs(columns)]
    return ArrayTerm(
        tuple(factors),
        tuple(named),
        group,
        tuple(columns),
        tuple(exog_names),
        term.structure,
        read_positions(term.positions, len(columns), f"random term {group!r}", term.structure),
        _known(term, group, len(factors)),
        Z,
        labels,
    )


def _read_Z(term: RandomTerm, position: int) -> tuple[sparse.csr_array | None, pd.Index | None]:
    """Read the columns of Z that stand in place of groups, and their labels."""
    what = f"Z of random[{position}]"
    if term.Z is None:
        if term.groups is None:
            raise DesignError(
                f"random[{position}] has neither groups nor Z. Pass RandomTerm(groups)."
            )
        if term.names is not None:
            raise DesignError(f"names= of random[{position}] are those of the columns of Z=.")
        return None, None
    if term.groups is not None:
        raise DesignError(f"{what} stands in place of groups. Pass one of them.")
    if isinstance(term.Z, list | tuple) and len(term.Z) and np.ndim(term.Z[0]) == 2:
        raise DesignError(
            f"{what} is a list of matrices; it needs one. Coefficients with a matrix each are not "
            "correlated by this package: give each its own RandomTerm."
        )
    names: Any = term.names
    if names is None and isinstance(term.Z, pd.DataFrame):
        names = term.Z.columns
    given: Any = term.Z
    try:
        Z: Any = given if sparse.issparse(given) else np.asarray(given, dtype=float)
        Z = sparse.csr_array(Z, dtype=np.float64)
    except (TypeError, ValueError):
        raise DesignError(f"{what} is no matrix of numbers.") from None
    if Z.ndim != 2 or 0 in Z.shape:
        raise DesignError(f"{what} has the shape {Z.shape}; it needs rows and columns.")
    if not np.isfinite(Z.data).all():
        raise DesignError(f"{what} has values that are missing or infinite.")
    return Z, named_columns(range(Z.shape[1]) if names is None else names, Z.shape[1], what)


def _known(term: RandomTerm, group: str, count: int) -> KnownMatrix | None:
    """Return the covariance of the levels, if it is given."""
    if term.cov is None and term.prec is None:
        return None
    if term.cov is not None and term.prec is not None:
        raise DesignError(
            f"random term {group!r} has cov= and prec=. Keep the one that you know; each follows "
            "from the other."
        )
    if count > 1:
        raise DesignError(
            f"random term {group!r} has several factors and a known covariance of its levels. Pass "
            "one array of their combinations, by the names that the matrix has."
        )
    inverse = term.cov is None
    what = f"{'prec' if inverse else 'cov'}= of random term {group!r}"
    given = term.prec if inverse else term.cov
    return known_matrix(given, what, inverse=inverse).renamed(group)


def _names(columns: Any, what: str) -> list[Any]:
    """The names in ``columns=``, one or several."""
    if isinstance(columns, str):
        return [columns]
    if isinstance(columns, bytes) or not isinstance(columns, Sequence | np.ndarray | pd.Index):
        found = type(columns).__name__
        raise DesignError(f"columns= of {what} is a {found}. Pass a list of names.")
    return np.ravel(columns).tolist() if isinstance(columns, np.ndarray) else list(columns)


def _with_intercept(columns: Sequence[Floats], names: list[str]) -> list[str]:
    """Call the first column of ones the intercept: add_constant's "const", for one."""
    ones = [j for j, column in enumerate(columns) if _is_ones(column)]
    if not ones or "Intercept" in names:
        return names
    return [*names[: ones[0]], "Intercept", *names[ones[0] + 1 :]]


def _pairs(columns: Sequence[Floats]) -> list[tuple[Floats, str]]:
    """Columns with the names x1, x2, ..., a column of ones not counted."""
    names = iter(f"x{j + 1}" for j in range(len(columns)))
    return [(c, "Intercept" if _is_ones(c) else next(names)) for c in columns]


def _is_ones(column: Any) -> bool:
    """Say whether a column holds nothing but ones; missing values are none."""
    return _all(column == 1.0)


def _all(same: Any) -> bool:
    """Say whether all of several comparisons hold; those with missing values do not."""
    return not np.any(pd.isna(same)) and bool(np.all(same))


def _factors(groups: Any) -> list[pd.Series]:
    """The factors of a group; several mean their interaction."""
    if isinstance(groups, pd.DataFrame):
        several = [groups.iloc[:, j] for j in range(groups.shape[1])]
    elif isinstance(groups, np.ndarray) and groups.ndim == 2:
        several = list(np.asarray(groups).T)
    elif isinstance(groups, list | tuple) and len(groups) and _is_column(groups[0]):
        several = list(groups)
    else:
        several = [groups]
    if not several:
        raise DesignError("groups has no columns; it needs a value for each row.")
    if isinstance(groups, str):
        raise DesignError(
            f"groups is the text {groups!r}; it needs a value for each row. Pass its values, as in "
            f"data[{groups!r}]."
        )
    n = len(one_column(several[0], "groups"))
    return [one_per_row(factor, "groups", n) for factor in several]


def _is_column(value: Any) -> bool:
    """Whether an element of a list is a factor of its own, not the label of one row."""
    array = is_polars(value) or hasattr(value, "dtype") or isinstance(value, list | tuple)
    return array and (is_polars(value) or len(row_shape(value, "groups")) == 1)
