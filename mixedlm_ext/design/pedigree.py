"""Additive relationships from a pedigree: A⁻¹ by Henderson's rules, inbreeding included.

    A = TDT',   T⁻¹ = I - P,   A⁻¹ = (I - P)'D⁻¹(I - P),   log|A| = Σ log d_i

P has 1/2 for each known parent of an animal, and d_i is the variance of its Mendelian sampling,
1/2 - (F_s + F_d)/4 with F = -1 for a parent that is not known (Henderson 1976, Biometrics 32,
69-83; Quaas 1976, Biometrics 32, 949-953). An animal's inbreeding is half the relationship of its
parents, F_i = A_sd/2, by products with A = TDT' of the ancestors (Colleau 2002, Genetics Selection
Evolution 34, 409-421).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import sparse
from scipy.sparse.linalg import splu

from mixedlm_ext.design.frame import read_table
from mixedlm_ext.design.grouping import level_codes
from mixedlm_ext.design.keys import convert_key, key_kinds
from mixedlm_ext.design.known import KnownMatrix
from mixedlm_ext.design.messages import quoted
from mixedlm_ext.errors import DesignError, DesignWarning, warn_caller
from mixedlm_ext.linalg.precision import FactoredPrecision

__all__ = ["pedigree"]

Floats = npt.NDArray[np.float64]
Codes = npt.NDArray[np.intp]

_UNKNOWN = frozenset(
    {
        "",
        ".",
        "*",
        "-",
        "?",
        "0",
        "0.0",
        "<na>",
        "n/a",
        "na",
        "nan",
        "nat",
        "none",
        "null",
        "unknown",
    }
)
"""Texts that stand for an unknown parent, unless an animal has this name; and the number 0."""
_NOTHING = 1e-10
"""Variance of Mendelian sampling that is none."""
_AT_ONCE = 4_000_000
"""Numbers of the products with A that are formed at once."""


def pedigree(frame: Any, id: str, sire: str, dam: str) -> KnownMatrix:
    """Return the additive relationships of animals, as the known covariance of a random term.

    Parameters
    ----------
    frame : DataFrame, polars.DataFrame or mapping
        One line an animal, in any order.
    id, sire, dam : str
        Names of the columns with the animal and its parents. A parent that is not known is missing,
        or 0, or a text that says so where no animal has this name: "0", "", ".", "*", "-", "?",
        "NA", "nan", "None", "null", "unknown". Parents without a line of their own are founders,
        unrelated and not inbred, and are added.

    Returns
    -------
    KnownMatrix
        Its diagonal is 1 + F, with F the coefficients of inbreeding.

    Raises
    ------
    DesignError
        If a column is missing, an animal has two lines, or is its own ancestor, or it is the copy
        of wholly inbred parents.

    Warns
    -----
    DesignWarning
        If a parent without a line of its own is both a sire and a dam, as a number that stands for
        all unknown parents would be.

    Notes
    -----
    The inverse of A is written down by Henderson's rules, and no other is formed: a pedigree of a
    hundred thousand animals is a sparse matrix of a few entries an animal. Animals without records
    belong into the pedigree: they tie others together, and their breeding values are predicted.

    Examples
    --------
    Two full sibs and their offspring, whose inbreeding is 1/4:

    >>> import pandas as pd
    >>> from mixedlm_ext import pedigree
    >>> animals = pd.DataFrame({
    ...     "animal": ["a", "b", "c", "d", "e"],
    ...     "father": [None, None, "a", "a", "c"],
    ...     "mother": [None, None, "b", "b", "d"],
    ... })
    >>> A = pedigree(animals, "animal", "father", "mother")
    >>> dict(zip(A.labels, (A.diagonal - 1.0).round(3).tolist()))
    {'a': 0.0, 'b': 0.0, 'c': 0.0, 'd': 0.0, 'e': 0.25}
    """
    table = read_table(frame)
    columns = [
        table.column(name, f"{what} column")
        for name, what in ((id, "id"), (sire, "sire"), (dam, "dam"))
    ]
    labels, parents = _animals(columns, id)
    generations = _oldest_first(labels, parents)
    F = _inbreeding(parents, generations)
    return _of_parents(labels, parents, generations, F)


def _of_parents(
    labels: pd.Index, parents: Codes, generations: Sequence[Codes], F: Floats
) -> KnownMatrix:
    """Return the matrix of animals whose parents and inbreeding are known."""
    D = _mendelian_of(parents, F)
    if D.min() < _NOTHING:
        copy = labels[int(np.argmin(D))]
        raise DesignError(
            f"animal {quoted(copy)} has wholly inbred parents and is their copy, so that the "
            "relationships have no inverse. Give copies one name, or pass the matrix as cov=."
        )
    prior = FactoredPrecision(_less_parents(parents), D, np.concatenate(generations))
    return KnownMatrix(labels, None, prior, 1.0 + F)


def _less_parents(parents: Codes) -> sparse.csr_array:
    """Return I - P (n, n)."""
    n = parents.shape[1]
    sides = [(np.flatnonzero(own >= 0), own[own >= 0]) for own in parents]
    rows = np.concatenate([np.arange(n), *(rows for rows, _ in sides)])
    columns = np.concatenate([np.arange(n), *(columns for _, columns in sides)])
    values = np.concatenate([np.ones(n), np.full(len(rows) - n, -0.5)])
    return sparse.csr_array((values, (rows, columns)), shape=(n, n))


# --- who is who -----------------------------------------------------------------------------------


def _animals(columns: Sequence[pd.Series], name: str) -> tuple[pd.Index, Codes]:
    """Return the animals, those added as parents last, and the codes of their parents (2, n)."""
    ids, *others = columns
    own, labels = level_codes(ids, name)
    if (own < 0).any():
        row = ids.index[int(np.flatnonzero(own < 0)[0])]
        raise DesignError(f"the pedigree has no animal at row {quoted(row)}: {name!r} is missing.")
    counts = np.bincount(own, minlength=len(labels))
    if (counts > 1).any():
        twice = labels[int(np.argmax(counts > 1))]
        raise DesignError(
            f"animal {quoted(twice)} has {int(counts.max())} lines in the pedigree; each has one. "
            "Drop the others, as by drop_duplicates()."
        )
    found = [_parents(column, labels) for column in others]
    added = _new_labels([values for _, values in found], labels)
    _warn_of_both(added, [values for _, values in found], [str(column.name) for column in others])
    every = labels.append(added) if len(added) else labels
    parents = np.full((2, len(every)), -1, dtype=np.intp)
    for side, (codes, values) in zip(parents, found):
        place = every.get_indexer(values) if len(values) else np.zeros(0, np.intp)
        side[own] = np.append(place, -1)[codes]
    return every.rename(name), parents


def _parents(column: pd.Series, labels: pd.Index) -> tuple[Codes, pd.Index]:
    """Return the code of each line's parent and what the codes stand for, as keys of animals."""
    codes, values = level_codes(column, str(column.name))
    unknown = [value for value in values if _is_unknown(value) and value not in labels]
    known = ~values.isin(unknown)
    codes = np.append(np.where(known, np.cumsum(known) - 1, -1), -1)[codes]
    values = values[known]
    kinds = key_kinds(labels)
    if len(values) and len(kinds) == 1 and values.dtype != labels.dtype:
        (kind,) = kinds
        converted = [convert_key(value, kind) for value in values.tolist()]
        lost = [value for value, key in zip(values, converted) if key is None]
        if lost:
            raise DesignError(
                f"{column.name!r} has {quoted(lost[0])}, which cannot be one of the animals in "
                f"{labels.name!r}, such as {quoted(labels[0])}. Convert the columns to one type."
            )
        values = pd.Index(converted, tupleize_cols=False)
        if labels.dtype.kind in "iu" and values.dtype.kind == "f":
            values = values.astype(labels.dtype)
    return codes, values


def _is_unknown(value: Any) -> bool:
    """Say whether a value stands for an unknown parent."""
    if isinstance(value, str):
        return value.strip().casefold() in _UNKNOWN
    return not isinstance(value, bool | np.bool_) and bool(value == 0)


def _warn_of_both(added: pd.Index, values: Sequence[pd.Index], names: Sequence[str]) -> None:
    """Warn of a parent that has no line, and is sire of some animals and dam of others."""
    both = added[added.isin(values[0]) & added.isin(values[1])]
    if len(both):
        warn_caller(
            f"{quoted(both[0])} has no line in the pedigree and stands as {names[0]} and as "
            f"{names[1]}: it is taken as one founder, whose offspring are relatives. If it stands "
            "for parents that are not known, leave these missing; otherwise give it a line.",
            DesignWarning,
        )


def _new_labels(values: Sequence[pd.Index], labels: pd.Index) -> pd.Index:
    """Return the parents that have no line of their own, each once."""
    known = [v for v in values if len(v)]  # empty ones would spoil the dtype
    every = known[0].append(known[1:]) if known else values[0]
    return every[~every.isin(labels)].unique()


def _oldest_first(labels: pd.Index, parents: Codes) -> list[Codes]:
    """Return the animals by generations: parents stand in those before.

    Raises
    ------
    DesignError
        If an animal is its own ancestor.
    """
    n = len(labels)
    children = _children(parents)
    waiting = (parents >= 0).sum(axis=0)
    generation = np.flatnonzero(waiting == 0)
    out, done = [], 0
    while len(generation):
        out.append(generation)
        done += len(generation)
        ready = children[generation]
        counts = np.bincount(ready.indices, ready.data, minlength=n).astype(np.intp)
        waiting = waiting - counts
        generation = np.flatnonzero((counts > 0) & (waiting == 0))
    if done < n:
        raise _cycle(labels, parents, np.flatnonzero(waiting > 0))
    return out


def _children(parents: Codes) -> sparse.csr_array:
    """Return how often each animal (row) is a parent of each other one."""
    n = parents.shape[1]
    sides = [(own[own >= 0], np.flatnonzero(own >= 0)) for own in parents]
    rows = np.concatenate([rows for rows, _ in sides])
    columns = np.concatenate([columns for _, columns in sides])
    return sparse.csr_array((np.ones(len(rows)), (rows, columns)), shape=(n, n))


def _cycle(labels: pd.Index, parents: Codes, left: Codes) -> DesignError:
    """Return the error that follows a line of ancestors back to its start."""
    among = np.zeros(len(labels), bool)
    among[left] = True
    at, seen = int(left[0]), []
    while at not in seen:
        seen.append(at)
        at = next(int(p) for p in parents[:, at] if p >= 0 and among[p])
    line = [*seen[seen.index(at) :], at]
    names = " <- ".join(quoted(labels[i]) for i in line[:6]) + (" ..." if len(line) > 6 else "")
    if len(line) == 2:
        return DesignError(f"animal {quoted(labels[at])} is its own parent in the pedigree.")
    return DesignError(
        f"the pedigree goes in a circle: animal {quoted(labels[at])} is its own ancestor ({names})."
    )


# --- inbreeding -----------------------------------------------------------------------------------


def _inbreeding(parents: Codes, generations: Sequence[Codes]) -> Floats:
    """Return F of every animal (n,)."""
    n = parents.shape[1]
    F = np.zeros(n)
    used = np.zeros(n + 1, bool)
    used[parents.ravel()] = True
    used = used[:n]
    if not (parents >= 0).all(axis=0).any():
        return F
    # only ancestors count: F of others follows from theirs
    number = np.full(n + 1, -1, dtype=np.intp)
    number[np.flatnonzero(used)] = np.arange(int(used.sum()))
    own = number[parents[:, used]]
    solver = splu(sparse.csc_array(_less_parents(own)))
    D = np.zeros(own.shape[1])
    for generation in generations:
        both = generation[(parents[:, generation] >= 0).all(axis=0)]
        if len(both):
            F[both] = 0.5 * _relationships(number[parents[:, both]], solver, D)
        among = generation[used[generation]]
        D[number[among]] = _mendelian_of(parents[:, among], F)
    return F


def _mendelian_of(parents: Codes, F: Floats) -> Floats:
    """Return d = 1/2 - (F_s + F_d)/4 of animals with these parents (2, m)."""
    known = np.append(F, -1.0)  # of a parent that is not known, whose code is -1
    return np.asarray(0.5 - 0.25 * known[parents].sum(axis=0))


def _relationships(pairs: Codes, solver: Any, D: Floats) -> Floats:
    """Return A_sd = (TDT')_sd of pairs of ancestors (2, m).

    D of those that are no ancestors of the pairs does not count, and may be zero still.
    """
    sides = [np.unique(side, return_inverse=True) for side in pairs]
    a = 0 if len(sides[0][0]) <= len(sides[1][0]) else 1
    (few, of_pair), others = sides[a], pairs[1 - a]
    out = np.empty(pairs.shape[1])
    step = max(1, _AT_ONCE // len(D))
    for first in range(0, len(few), step):
        own = few[first : first + step]
        E = np.zeros((len(D), len(own)))
        E[own, np.arange(len(own))] = 1.0
        columns = solver.solve(D[:, None] * solver.solve(E, "T"))
        mine = np.flatnonzero((of_pair >= first) & (of_pair < first + step))
        out[mine] = columns[others[mine], of_pair[mine] - first]
    return out
