"""A design whose rows are elsewhere: what was learnt of them, with their cross-products."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from mixedlm_ext.batches.facts import RowFacts, SamePairs
from mixedlm_ext.batches.learning import Learnt
from mixedlm_ext.batches.summing import Summed
from mixedlm_ext.design.coefficients import names_of_coefficients
from mixedlm_ext.design.design import Design
from mixedlm_ext.design.elsewhere import Elsewhere
from mixedlm_ext.design.facts import KnownTerm
from mixedlm_ext.design.fixed import FixedPart
from mixedlm_ext.design.named_checks import Checks
from mixedlm_ext.design.records import TermSpec
from mixedlm_ext.design.row_arguments import OFFSET, WEIGHTS
from mixedlm_ext.design.rows import Rows
from mixedlm_ext.design.spec import Spec
from mixedlm_ext.design.used import UsedColumns
from mixedlm_ext.products.moves import kept_columns, settled
from mixedlm_ext.products.products import CrossProducts

__all__ = ["Given", "design_without_rows"]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Given:
    """What a user gave besides the formula, and where the rows are.

    Attributes
    ----------
    columns : tuple of str
        Of the data, as the formula, weights and offset use them.
    weights, offset : str, ndarray or None
    checks : Checks
    words, way_out : str
        As `Elsewhere` has them.
    """

    columns: tuple[str, ...]
    weights: Any
    offset: Any
    checks: Checks
    words: str
    way_out: str


def design_without_rows(
    given: Given,
    learnt: Learnt,
    specs: Sequence[TermSpec],
    summed: Summed,
    roots: Sequence[Floats],
    fixed: FixedPart,
) -> Design:
    """Put the design together.

    Parameters
    ----------
    given : Given
    learnt : Learnt
    specs : sequence of TermSpec
    summed : Summed
        In any layout.
    roots : sequence of ndarray
        Triangles of all columns of X, and of each term's.
    fixed : FixedPart

    Returns
    -------
    Design
    """
    formula, facts = learnt.formula, summed.facts
    cp = settled(
        kept_columns(summed.products, fixed.column_map),
        [spec.kind.whitening for spec in specs],
    )
    structure, sums = None, None
    if summed.residual is not None:
        weights = summed.products.logdet_W
        structure, sums = summed.residual.finished(cp, fixed.column_map, weights)
    spec = Spec(
        endog_name=formula.shown(formula.response),
        **fixed.told(),
        terms=tuple(specs),
        formula=formula,
        columns=given.columns,
        scope=learnt.scope,
        weights=WEIGHTS.given_as(*_given(given.weights)),
        offset=OFFSET.given_as(*_given(given.offset)),
        checks=given.checks,
        coefficient_names=_coefficient_names(facts.pairs, fixed, specs),
        made=learnt.matrices,
        residual=structure,
    )
    known = [own.known(root) for own, root in zip(facts.terms, roots[1:])]
    rows = _no_rows(learnt, fixed, specs, facts)
    elsewhere = _elsewhere(given, fixed, facts, roots[0], known, cp)
    if summed.residual is not None:
        elsewhere = replace(elsewhere, residual=sums, alike=summed.residual.alike_terms())
    return Design(spec, replace(rows, elsewhere=elsewhere))


def _given(values: Any) -> tuple[str | None, Any]:
    """Return name and values of weights or an offset."""
    return (values, values) if isinstance(values, str) else (None, values)


def _coefficient_names(
    pairs: SamePairs, fixed: FixedPart, specs: Sequence[TermSpec]
) -> tuple[tuple[str, ...], ...]:
    """Name the columns of the random terms among the coefficients of a group."""

    def same(one: tuple[int, int], two: tuple[int, int]) -> bool:
        (i, a), (j, b) = one, two
        column = int(fixed.column_map[b]) if j == 0 else b
        return i != j and bool(pairs.near[i, j][a, column])

    return names_of_coefficients(fixed.names, specs, same)


def _no_rows(learnt: Learnt, fixed: FixedPart, specs: Sequence[TermSpec], facts: RowFacts) -> Rows:
    """Return rows that are not here: shapes and types of columns, and counts."""
    none, tally = np.zeros(0), learnt.tally
    whole = Rows(
        y=none,
        X=np.zeros((0, len(fixed.names))),
        terms=tuple((np.zeros((0, len(s.columns))), np.zeros(0, np.intp)) for s in specs),
        weights=none if facts.weights.n else None,
        offset=none if facts.offset.n else None,
        index=pd.RangeIndex(0),
        positions=np.zeros(0, np.intp),
        n_data=tally.n_data,
        n_missing=tally.n_missing,
        n_zero_weight=tally.n_zero_weight,
        used=UsedColumns.of(learnt.sample.iloc[:0]),
    )
    return whole.none()


def _elsewhere(
    given: Given,
    fixed: FixedPart,
    facts: RowFacts,
    root: Floats,
    known: Sequence[KnownTerm],
    cp: CrossProducts,
) -> Elsewhere:
    """Return what takes the place of the rows."""
    kept = fixed.column_map
    low, high = facts.X.low[kept], facts.X.high[kept]
    constant = np.flatnonzero((low == high) & (low != 0))
    own = np.asarray(np.linalg.qr(root[:, kept], mode="r")) if len(kept) else np.zeros((0, 0))
    n = facts.y.n
    return Elsewhere(
        n=n,
        words=given.words,
        way_out=given.way_out,
        terms=tuple(known),
        root=own,
        constant=int(constant[0]) if len(constant) else None,
        has_constant=bool(len(constant)) or _implies_constant(own, facts.X.ones[kept], n),
        largest=max(facts.y.peak, facts.offset.peak if facts.offset.n else 0.0),
        peak=facts.residual.peak,
        weight=facts.weights.total if facts.weights.n else float(n),
        products=cp,
    )


def _implies_constant(root: Floats, sums: Floats, n: int) -> bool:
    """Whether a combination of the columns is one in every row: 1'X(X'X)⁻¹X'1 = n."""
    if not len(sums):
        return False
    part = np.linalg.lstsq(root.T, sums, rcond=None)[0]
    return bool(abs(part @ part - n) < 1e-8 * n)
