"""Rows that belong to several levels of one factor, each with a weight: ``mm(g1, g2)``.

Row i has the effect Σ_j w_ij b_m(i,j). Rows with the same members and weights have one *pattern*; a
random term codes its rows by patterns, and the effects of patterns are those of members times a
sparse root.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import sparse

from mixedlm_ext.design.grouping import level_codes, match_levels
from mixedlm_ext.design.known import KnownMatrix, places_of
from mixedlm_ext.design.messages import quoted
from mixedlm_ext.errors import DesignError, DesignWarning, warn_caller

__all__ = ["MemberRows", "at_columns", "member_rows", "membership", "named_columns", "patterns"]

Floats = npt.NDArray[np.float64]
Codes = npt.NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class MemberRows:
    """The members of new rows.

    Attributes
    ----------
    W : sparse array (m, levels)
        Weights of the members of the fit.
    beyond : sparse array (m, others)
        Weights of members that the fit has not seen.
    """

    W: sparse.csr_array
    beyond: sparse.csr_array

    def take(self, rows: Any) -> MemberRows:
        """Return some of the rows."""
        return MemberRows(self.W[rows], self.beyond[rows])

    def among(self, complete: npt.NDArray[np.bool_]) -> MemberRows:
        """Return these rows among all, which have no members elsewhere."""
        if complete.all():
            return self
        place = np.maximum(np.cumsum(complete) - 1, 0)
        keep = sparse.diags_array(complete.astype(float))
        empty = not complete.any()
        W, beyond = (
            sparse.csr_array((len(complete), part.shape[1])) if empty else keep @ part[place]
            for part in (self.W, self.beyond)
        )
        return MemberRows(sparse.csr_array(W), sparse.csr_array(beyond))

    @property
    def unseen(self) -> npt.NDArray[np.bool_]:
        """Which rows have members that the fit has not seen, (m,)."""
        return np.asarray(np.diff(self.beyond.indptr) > 0)

    @property
    def squares(self) -> Floats:
        """Σ w² over the members that the fit has not seen, (m,)."""
        return np.asarray(self.beyond.multiply(self.beyond).sum(axis=1), dtype=float).ravel()


def membership(
    factors: Sequence[Any],
    weights: Sequence[Any],
    names: Sequence[str],
    text: str,
    normalize: bool,
    known: KnownMatrix | None = None,
) -> tuple[Codes, KnownMatrix]:
    """Return the pattern of each row (n,), and what makes effects of patterns from members.

    Parameters
    ----------
    factors : sequence of array_like (n,)
        The members of each row, maybe missing.
    weights : sequence of array_like (n,)
        Their weights; empty for ones.
    names : sequence of str
        Of the factors.
    text : str
        The call, which names the levels.
    normalize : bool
        Divide the weights of a row by their sum.
    known : KnownMatrix, optional
        The covariance of the members; they are independent by default.

    Raises
    ------
    DesignError
        If a weight is negative, or missing though its member is there, or has no member, or a
        member is not in its matrix.

    Warns
    -----
    DesignWarning
        If rows have no member.
    """
    columns = [pd.Series(_plain(values)).reset_index(drop=True) for values in factors]
    n = len(columns[0])
    every, levels = level_codes(pd.concat(columns, ignore_index=True), text)
    codes = every.reshape(len(columns), n).T
    W = _weights(codes >= 0, weights, names, text, normalize)
    _warn_of_rows_without(W, text)
    if known is not None:
        place = np.append(places_of(levels, known, text), -1)
        codes, levels = place[codes], known.labels
    return patterns(_spread(codes, W, len(levels)), levels, known)


def member_rows(
    factors: Sequence[Any],
    weights: Sequence[Any],
    names: Sequence[str],
    levels: pd.Index,
    text: str,
    normalize: bool,
) -> tuple[MemberRows, pd.Index]:
    """Return the members of new rows, and the levels that the fit has not seen."""
    columns = [pd.Series(_plain(values)).reset_index(drop=True) for values in factors]
    found = np.column_stack(
        [match_levels([column], levels.rename(str(levels.name))) for column in columns]
    )
    m = len(found)
    new = [column.where(own < 0) for column, own in zip(columns, found.T)]
    others, unseen = level_codes(pd.concat(new, ignore_index=True), text)
    beyond = others.reshape(len(columns), m).T
    W = _weights((found >= 0) | (beyond >= 0), weights, names, text, normalize)
    known = _spread(found, W, len(levels))
    return MemberRows(known, _spread(beyond, W, len(unseen))), unseen


def patterns(
    W: sparse.csr_array, levels: pd.Index, known: KnownMatrix | None = None
) -> tuple[Codes, KnownMatrix]:
    """Return the pattern of each row of W (n, levels), and the covariance of the patterns."""
    W.sum_duplicates()
    W.eliminate_zeros()
    W.sort_indices()
    counts = np.diff(W.indptr)
    width = int(counts.max(initial=0))
    table = np.full((W.shape[0], 2 * width), -1.0)
    rows = np.repeat(np.arange(W.shape[0]), counts)
    at = np.arange(len(W.data)) - np.repeat(W.indptr[:-1], counts)
    table[rows, at], table[rows, width + at] = W.indices, W.data
    _, first, codes = np.unique(table, axis=0, return_index=True, return_inverse=True)
    own = KnownMatrix.of_members(levels, sparse.csr_array(W[first]), known)
    return codes.ravel().astype(np.intp), own


def at_columns(Z: sparse.csr_array, place: Codes, width: int) -> sparse.csr_array:
    """Return the columns of Z at other places among so many."""
    cells = sparse.coo_array(Z)
    where = (cells.row, place[cells.col])
    return sparse.csr_array((cells.data, where), shape=(Z.shape[0], width))


def _plain(values: Any) -> Any:
    """Take patsy's ``C(g)`` apart."""
    return values.data if hasattr(values, "contrast") and hasattr(values, "data") else values


def _spread(codes: Codes, W: Floats, levels: int) -> sparse.csr_array:
    """Return weights (n, levels) from those of members; a member that is there twice has both."""
    rows, columns = np.nonzero((codes >= 0) & (W != 0))
    cells = (W[rows, columns], (rows, codes[rows, columns]))
    return sparse.csr_array(cells, shape=(len(codes), levels))


def _weights(
    there: npt.NDArray[np.bool_],
    weights: Sequence[Any],
    names: Sequence[str],
    text: str,
    normalize: bool,
) -> Floats:
    """Return the weight of each member (n, members), zero where there is none."""
    W = there.astype(float)
    for j, given in enumerate(weights):
        W[:, j] = _column(given, there[:, j], names[j], text)
    if normalize and (W < 0).any():
        i, j = np.argwhere(W < 0)[0]
        raise DesignError(
            f"a weight of {names[j]!r} in {text} is negative ({W[i, j]:g}), and weights are "
            "divided by their sum. Write normalize=False to take them as they are."
        )
    sums = W.sum(axis=1)
    return W / np.where(sums > 0, sums, 1.0)[:, None] if normalize else W


def _column(given: Any, there: npt.NDArray[np.bool_], name: str, text: str) -> Floats:
    """Return the weights of one member; a number is that of all rows."""
    if isinstance(given, int | float | np.number) and not isinstance(given, bool):
        given = np.where(there, float(given), 0.0)
    try:
        values = pd.to_numeric(pd.Series(np.asarray(given)), errors="raise").to_numpy(float)
    except (TypeError, ValueError):
        raise DesignError(f"the weights of {name!r} in {text} are no numbers.") from None
    if len(values) != len(there):
        raise DesignError(
            f"the weights of {name!r} in {text} have {len(values)} values for {len(there)} rows."
        )
    lost = there & ~np.isfinite(values)
    if lost.any():
        raise DesignError(
            f"the weight of {name!r} in {text} is missing or infinite in row "
            f"{int(np.argmax(lost)) + 1} of those used, whose member is there."
        )
    alone = ~there & np.isfinite(values) & (values != 0)
    if alone.any():
        i = int(np.argmax(alone))
        raise DesignError(
            f"the weight {values[i]:g} of {name!r} in {text} has no member in row {i + 1} of those "
            "used. Set it to zero, or name the member."
        )
    return np.where(there, values, 0.0)


def _warn_of_rows_without(W: Floats, text: str) -> None:
    """Warn of rows to which no member contributes."""
    empty = int((~(W != 0).any(axis=1)).sum())
    if empty:
        warn_caller(
            f"{empty} row{'s have' if empty > 1 else ' has'} no member in {text}: its random "
            "effects contribute nothing there.",
            DesignWarning,
        )


def named_columns(columns: Sequence[Any], q: int, what: str) -> pd.Index:
    """Return the labels of the columns of a user's Z."""
    labels = pd.Index(list(columns), tupleize_cols=False)
    if len(labels) != q:
        raise DesignError(f"{what} has {q} columns; names= has {len(labels)}.")
    if labels.has_duplicates:
        twice = labels[labels.duplicated()][0]
        raise DesignError(f"names= of {what} has {quoted(twice)} twice; each column has its own.")
    return labels
