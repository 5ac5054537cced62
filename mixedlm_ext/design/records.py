"""The pieces a design is made of: a random term as given, as laid out, and for other rows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import sparse

from mixedlm_ext.caching import cached_property
from mixedlm_ext.design.facts import FactsOfTerm, RowsOfTerm
from mixedlm_ext.design.known import KnownMatrix
from mixedlm_ext.design.members import MemberRows
from mixedlm_ext.linalg.precision import SparsePrecision
from mixedlm_ext.linalg.semidefinite import Root
from mixedlm_ext.structures import Positions, Structure, structure_of

__all__ = [
    "NewData",
    "RandomTerm",
    "TermDesign",
    "TermSpec",
    "effects_of_rows",
    "sparse_random_columns",
]

Floats = npt.NDArray[np.float64]
Codes = npt.NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class RandomTerm:
    """A random-effects term given by arrays.

    Parameters
    ----------
    groups : array-like (n,), or a sequence or DataFrame of several
        Values of the grouping factor. Several arrays (a tuple of them, the columns of a DataFrame
        or of a 2-d array) mean their interaction.
    exog : array-like (n,) or (n, k), optional
        Columns with random coefficients. None is a random intercept.
    name : str, optional
        Name of the grouping factor. The name of a Series (``"a:b"`` for several) by default.
    columns : sequence of str, optional
        Names of the columns of `exog`. Those of a Series or DataFrame by default; a column of
        ones is "Intercept".
    structure : str
        Covariance of the coefficients of one level: "us", unstructured; "diag", diagonal; "iid",
        one variance for all of them; "cs", compound symmetry (equal correlations) with a variance
        each, and "homcs" with one; "ar1", first order autoregression of the columns in their order
        with one variance, and "hetar1" with one each; "toep", Toeplitz, a correlation for each
        distance of the columns in their order, and "homtoep" with one variance; "exp", correlations
        that fall exponentially with the distance of the columns' `positions`, and "hetexp" with a
        variance each.
    positions : array-like (k,) or (k, d), optional
        Where the columns of `exog` lie, in time or in space, for structures "exp" and "hetexp".
    cov, prec : DataFrame, tuple (matrix, labels) or KnownMatrix, optional
        The covariance of the levels, up to the variances that are estimated, or its inverse. Levels
        are found by their labels, columns of Z by their `names`; those without rows are predicted.
    Z : array-like, sparse array or DataFrame (n, q), optional
        In place of `groups`: how much of each of q effects, of one variance for each column of
        `exog`, a row has. Weights of members, or the columns of a spline.
    names : sequence (q,), optional
        Labels of the columns of Z. Those of a DataFrame, or 0, 1, ..., by default.

    Examples
    --------
    >>> term = RandomTerm(["a", "a", "b", "b"], [0.0, 1.0, 0.0, 1.0], name="g", columns=["x"])
    >>> term.structure
    'us'
    """

    groups: Any = None
    exog: Any = None
    name: str | None = None
    columns: Sequence[str] | None = None
    structure: str = "us"
    positions: Any = None
    cov: Any = None
    prec: Any = None
    Z: Any = None
    names: Any = None

    def __repr__(self) -> str:
        names = ["..."] if self.columns is None else map(str, self.columns)
        columns = "1" if self.exog is None else ", ".join(names)
        name = self.name or getattr(self.groups, "name", None) or "..."
        return f"<RandomTerm: {self.structure}({columns} | {name})>"


@dataclass(frozen=True, eq=False)
class TermSpec:
    """One random term without its rows.

    Attributes
    ----------
    name : str
        Unique name for reports: "Subject", "Subject.1" for a second term on the same factor.
    group : str
        Name of the grouping factor: "Subject", "a:b".
    columns : tuple of str
        Names of the k columns.
    levels : Index (q,)
        Levels that occur, in the order of the categories or sorted; a MultiIndex of tuples for an
        interaction.
    structure : str
        As `RandomTerm` has it.
    text : str
        The term in formula language.
    positions : Positions or None
        Where the columns lie, if the structure needs to know.
    related : KnownMatrix or None
        The covariance of the levels, whose labels are `levels` then; None where levels are
        independent.
    """

    name: str
    group: str
    columns: tuple[str, ...]
    levels: pd.Index
    structure: str
    text: str
    positions: Positions | None = field(default=None, kw_only=True)
    related: KnownMatrix | None = field(default=None, kw_only=True)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.text}, {len(self.levels):,} levels>"

    @property
    def root(self) -> Root | None:
        """C (levels, r) of levels with the covariance K = CC', if it is known by that."""
        return None if self.related is None else self.related.root

    @property
    def root_of_levels(self) -> Root | None:
        """What takes the engine's effects to those of levels, or of members; None if they are."""
        if not self.has_members:
            return self.root
        among = None if self.related is None else self.related.among
        return None if among is None else among.root

    @property
    def precision(self) -> SparsePrecision | None:
        """K⁻¹ of the levels, if their covariance is known by that."""
        return None if self.related is None else self.related.precision

    @property
    def has_members(self) -> bool:
        """Whether rows belong to several levels, by patterns that `codes` number."""
        return self.related is not None and self.related.members

    @property
    def n_codes(self) -> int:
        """How many levels, or patterns of members, rows are told apart by."""
        return len(self.levels) if self.related is None else len(self.related)

    def of_codes(self, b: Floats) -> Floats:
        """Return the effects that `codes` number from those of levels, b (levels, k)."""
        if not self.has_members:
            return b
        assert self.related is not None and self.related.weights is not None
        return np.asarray(self.related.weights @ b)

    def draw(self, rng: Any, T: Floats) -> Floats:
        """Return effects (codes, k), of covariance TT' where levels are independent."""
        independent = rng.standard_normal((self.effects, len(T)))
        known = independent if self.related is None else self.related.from_independent(independent)
        return np.asarray(known @ T.T)

    @property
    def effects(self) -> int:
        """Independent effects for each column: as many as levels, or the rank of K."""
        return len(self.levels) if self.related is None else self.related.effects

    @property
    def kind(self) -> Structure:
        """The structure itself, of as many columns."""
        return structure_of(self.structure, len(self.columns), self.positions)

    @property
    def variances(self) -> tuple[str, ...]:
        """Names of the variances: those of the columns, or all columns if they have one."""
        return self.kind.variances(self.columns)

    @property
    def correlations(self) -> list[tuple[str, tuple[int, int]]]:
        """Names of the correlations that are parameters, each with a pair of columns that has it.

        Of two columns, "Intercept, Days"; of a structure, "rho", or "range" where a range stands
        for them.
        """
        return self.kind.correlations(self.columns)


@dataclass(frozen=True, eq=False, repr=False)
class TermDesign(TermSpec):
    """One random term in the data.

    Attributes
    ----------
    X : ndarray (n, k)
    codes : ndarray of intp (n,)
        Level of each row, 0..q-1.
    known : FactsOfTerm or None
        What is known of rows that are not here.
    """

    X: Floats
    codes: Codes
    known: FactsOfTerm | None = None

    @cached_property
    def facts(self) -> FactsOfTerm:
        """What the checks ask of the rows."""
        return RowsOfTerm(self.X, self.codes) if self.known is None else self.known

    def times(self, b: Floats) -> Floats:
        """Return Zb for effects b (levels, k), (n,)."""
        return np.asarray(np.einsum("nk,nk->n", self.X, self.of_codes(b)[self.codes]))

    @property
    def member_rows(self) -> MemberRows:
        """The members of each row."""
        assert self.related is not None and self.related.weights is not None
        W = sparse.csr_array(self.related.weights[self.codes])
        return MemberRows(W, sparse.csr_array((len(self.codes), 0)))

    def sums(self, h: Floats) -> Floats:
        """Return the sums of X'h over the rows of each code for h (n,), (codes, k)."""
        weighted = self.X * h[:, None]
        return np.column_stack([np.bincount(self.codes, x, self.n_codes) for x in weighted.T])

    @property
    def spec(self) -> TermSpec:
        """The term without its rows."""
        own = {f.name: getattr(self, f.name) for f in fields(TermSpec)}
        return TermSpec(**own)


def effects_of_rows(codes: Codes, b: Floats) -> Floats:
    """Return the effects of each row, (n, k), from those of levels, b (levels, k)."""
    return np.asarray(b[codes])


@dataclass(frozen=True, eq=False)
class NewData:
    """The matrices of a design for other rows.

    Attributes
    ----------
    X : ndarray (m, p)
        The columns kept in the fit; nan in incomplete rows.
    terms : dict of str to (ndarray (m, k), ndarray of intp (m,))
        Columns and level codes of each random term asked for, by its name. The code is -1 for a
        level the fit has not seen and for a missing group.
    offset : ndarray (m,)
        Zeros if there is none.
    index : Index (m,)
    complete : ndarray of bool (m,)
        False where a needed value is missing, infinite or undefined.
    estimable : ndarray of bool (m,)
        False in rows whose Xβ the data of the fit do not determine.
    y : ndarray (m,) or None
        The response, if asked for.
    unseen : dict of str to Index
        The levels of each random term that the fit has not seen, by the term's name.
    places : dict of str to ndarray (u, d)
        Positions that the fit has not seen, of each random term that has such; they are u columns
        more of the term.
    members : dict of str to MemberRows
        The members of each row of a term whose rows have several; its codes say -1 where some are
        not seen.
    """

    X: Floats
    terms: dict[str, tuple[Floats, Codes]]
    offset: Floats
    index: pd.Index
    complete: npt.NDArray[np.bool_]
    estimable: npt.NDArray[np.bool_]
    y: Floats | None = None
    unseen: dict[str, pd.Index] = field(default_factory=dict)
    members: dict[str, MemberRows] = field(default_factory=dict)
    places: dict[str, Floats] = field(default_factory=dict)

    def take(self, mask: npt.NDArray[np.bool_]) -> NewData:
        """Return some of the rows; `unseen` stays what it is."""
        return replace(
            self,
            X=self.X[mask],
            terms={name: (X[mask], codes[mask]) for name, (X, codes) in self.terms.items()},
            offset=self.offset[mask],
            index=self.index[mask],
            complete=self.complete[mask],
            estimable=self.estimable[mask],
            y=None if self.y is None else self.y[mask],
            members={name: rows.take(mask) for name, rows in self.members.items()},
        )


def sparse_random_columns(terms: Iterable[TermDesign]) -> sparse.csr_array:
    """Return Z, sparse (n, q): term by term, level by level, column by column."""
    parts: list[Any] = []
    for term in terms:
        n, k = term.X.shape
        if term.has_members:
            W = term.member_rows.W.tocoo()
            rows, own = np.tile(W.row, k), np.concatenate([W.col * k + a for a in range(k)])
            values = np.concatenate([W.data * x[W.row] for x in term.X.T])
            parts.append(sparse.csr_array((values, (rows, own)), shape=(n, k * len(term.levels))))
            continue
        columns = term.codes[:, None] * k + np.arange(k)
        indptr = np.arange(n + 1) * k
        shape = (n, k * len(term.levels))
        parts.append(sparse.csr_array((term.X.ravel(), columns.ravel(), indptr), shape=shape))
    return sparse.csr_array(sparse.hstack(parts, format="csr"))
