"""A design of rows that are read in batches, with the cross-products of all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from mixedlm_ext.batches.facts import RowFacts, SamePairs
from mixedlm_ext.batches.learning import Learnt, learn_rows
from mixedlm_ext.batches.matrices import BatchMatrices, term_specs
from mixedlm_ext.batches.passes import SourcePasses
from mixedlm_ext.batches.progress import bar_of_rows
from mixedlm_ext.batches.reading import Reader, read_arguments, sample_of
from mixedlm_ext.batches.summing import Summed, layout_of, sum_rows, triangles, unlike_rows
from mixedlm_ext.design.checks import (
    check_response_values,
    check_size,
    check_term,
    repeated_column,
)
from mixedlm_ext.design.coefficients import names_of_coefficients
from mixedlm_ext.design.design import Design
from mixedlm_ext.design.elsewhere import Elsewhere
from mixedlm_ext.design.facts import KnownPair, KnownTerm
from mixedlm_ext.design.fixed import FixedPart, keep_columns
from mixedlm_ext.design.formula_code import code_names
from mixedlm_ext.design.from_formula import check_one_level, warn_of_times
from mixedlm_ext.design.named_checks import Checks
from mixedlm_ext.design.other_columns import expand_dot
from mixedlm_ext.design.rank import independent_columns
from mixedlm_ext.design.records import TermDesign, TermSpec
from mixedlm_ext.design.row_arguments import OFFSET, WEIGHTS
from mixedlm_ext.design.rows import Rows
from mixedlm_ext.design.scope import Scope, resolve_names
from mixedlm_ext.design.spec import Spec
from mixedlm_ext.errors import DesignError, FormulaError
from mixedlm_ext.language import MixedFormula
from mixedlm_ext.products.batches import kept_columns, settled
from mixedlm_ext.products.products import CrossProducts
from mixedlm_ext.sources import Source

__all__ = ["design_from_source"]

Floats = npt.NDArray[np.float64]

_CLEAR = 1e-7
"""Smallest eigenvalue of a correlation matrix from which columns are independent for certain."""
_SKEWED = 1e-3
"""The same below which sums lose digits in a layout."""
_SAMPLES = 3
"""How often rows that are unlike the sample may join it: each time takes two passes more."""


def design_from_source(
    formula: MixedFormula,
    source: Source,
    *,
    env: Mapping[str, Any],
    weights: Any = None,
    offset: Any = None,
    missing: str = "drop",
    subset: Any = None,
    drop_cols: Any = None,
    allow_saturated: bool = False,
    checks: Checks | None = None,
    progress: bool = False,
) -> Design:
    """Evaluate a formula in rows that are read in batches, twice.

    Parameters are those of `mixedlm_ext.design.design_from_formula`, whose design has the rows
    themselves; this one has their cross-products (``rows.elsewhere``).

    Parameters
    ----------
    formula : MixedFormula
    source : Source
    env : mapping of str to object
    weights, offset : str or array_like, optional
        A column, or an array with a value for each row of the source.
    missing : {"drop", "exclude", "raise", "none"}
    subset : array_like of bool or callable, optional
        A truth value for each row of the source, or a function that returns those of a frame.
    drop_cols : sequence of str, optional
    allow_saturated : bool
    checks : Checks, optional
    progress : bool
        Show a bar of rows (tqdm).

    Returns
    -------
    Design

    Raises
    ------
    DataError
        If the source cannot be read, or changes while it is.
    DesignError, FormulaError
        As for rows in memory.
    """
    checks = Checks() if checks is None else checks
    arguments = read_arguments(
        source.names, {"weights": weights, "offset": offset, "subset": subset}
    )
    formula = expand_dot(
        formula, source.names, [v for v in (weights, offset) if isinstance(v, str)]
    )
    reader, scope = reader_of(formula, source, env, arguments, missing)
    with bar_of_rows(progress, source, "learn") as bar:
        learnt = learn_rows(reader, formula, scope, bar)
    specs = term_specs(learnt)
    matrices = BatchMatrices(learnt, specs)
    summed, roots = _summed(reader, learnt, specs, matrices, progress)
    fixed = _checked(learnt, specs, summed, roots, drop_cols, checks, allow_saturated)
    return _design(reader, learnt, specs, summed, roots, fixed, checks)


def reader_of(
    formula: MixedFormula,
    source: Source,
    env: Mapping[str, Any],
    arguments: Mapping[str, Any],
    missing: str,
) -> tuple[Reader, Scope]:
    """Return what reads the columns that a formula and its arguments use, and its scope."""
    n = -1 if source.rows is None else source.rows
    names, beside, scope = resolve_names(formula, source.names, env, n)
    if beside:
        name = next(iter(beside))
        raise DesignError(
            f"{name!r} is an array beside the data, which are read in batches. Make it a column "
            "of the data."
        )
    columns = [*names, *(v for v in (arguments["weights"], arguments["offset"])
                         if isinstance(v, str))]  # fmt: skip
    columns = list(dict.fromkeys(columns))
    response = code_names(formula.response).bare
    first = [name for name in (response,) if name in columns]
    every = tuple(dict.fromkeys([*first, *columns]))
    return Reader(source, every, tuple(columns), missing=missing, **arguments), scope


# --- what the rows say of the columns -------------------------------------------------------------


def _summed(
    reader: Reader,
    learnt: Learnt,
    specs: Sequence[TermSpec],
    matrices: BatchMatrices,
    progress: bool,
) -> tuple[Summed, list[Floats]]:
    """Sum the rows in the layout of a sample, and return triangles of the columns.

    Where the columns of all rows are far from independent in that layout, as those of a category
    that the sample has not, rows that are unlike it join the sample.
    """
    names, sample = learnt.matrices.names(0), learnt.sample
    (response,) = learnt.matrices.pieces("response")
    for again in range(_SAMPLES, -1, -1):
        layout = layout_of(learnt, specs, matrices(sample_of(reader, sample)))
        facts = RowFacts(names, specs, response.text)
        with bar_of_rows(progress, reader.source, "sum") as bar:
            summed = sum_rows(reader, matrices, layout, facts, bar)
        reader.check_same(summed.tally, learnt.tally)
        roots = _roots(reader, matrices, summed)
        if not again or not _is_skewed(summed, roots):
            break
        sample = pd.concat([sample, unlike_rows(reader, matrices, layout)])
        sample = sample[~sample.index.duplicated()].sort_index()
    return summed, roots


def _is_skewed(summed: Summed, roots: Sequence[Floats]) -> bool:
    """Whether independent columns of X or of a term are nearly dependent in the layout."""
    layout, facts = summed.products.layout, summed.facts
    bases = [layout.basis, *(place.basis for place in layout.places)]
    for part, basis, root in zip([facts.X, *facts.terms], bases, roots, strict=True):
        P = np.linalg.qr(basis.R[:, independent_columns(root)])[0]
        if P.shape[1] and _least(P.T @ part.gram @ P) < _SKEWED:
            return True
    return False


def _least(gram: Floats) -> float:
    """Return the smallest eigenvalue of inner products, of columns scaled to one length."""
    lengths = np.sqrt(np.maximum(np.diag(gram), np.finfo(float).tiny))
    return float(np.linalg.eigvalsh(gram / np.outer(lengths, lengths))[0])


def _roots(reader: Reader, matrices: BatchMatrices, summed: Summed) -> list[Floats]:
    """Return a triangle R with R'R = X'X of the fixed part, and of the columns of each term.

    Where inner products leave a doubt whether columns are independent, the rows are read again.
    """
    layout, facts = summed.products.layout, summed.facts
    bases = [layout.basis, *(place.basis for place in layout.places)]
    roots: list[Any] = []
    for part, basis in zip([facts.X, *facts.terms], bases, strict=True):
        roots.append(_root(part.gram, basis.R))
    doubtful = [i for i, root in enumerate(roots) if root is None]
    for i, root in zip(doubtful, triangles(reader, matrices, doubtful) if doubtful else ()):
        roots[i] = root
    return roots


def _root(gram: Floats, R: Floats) -> Floats | None:
    """Return the triangle of the user's columns; None if they may be dependent."""
    squares = np.diag(gram)
    if not len(squares):
        return np.zeros((0, 0))
    if not (squares > 0).all():
        return None
    if _least(gram) < _CLEAR:
        return None
    return np.asarray(np.linalg.qr(np.linalg.cholesky(gram).T @ R, mode="r"))


def _checked(
    learnt: Learnt,
    specs: Sequence[TermSpec],
    summed: Summed,
    roots: Sequence[Floats],
    drop_cols: Any,
    checks: Checks,
    allow_saturated: bool,
) -> FixedPart:
    """Check what `design_from_formula` checks, in its order; return the fixed part."""
    facts = summed.facts
    response = learnt.matrices.pieces("response")[0].text
    residual = facts.residual.extremes() if facts.offset.n else None
    check_response_values(facts.y.extremes(), response, residual, facts.y.n)
    names = learnt.matrices.names(0)
    for name, *extremes in zip(names, facts.X.low, facts.X.high):
        check_size(np.array(extremes), f"{name!r} in the fixed part")
    for spec, part in zip(specs, facts.terms, strict=True):
        for name, *extremes in zip(spec.columns, part.low, part.high):
            check_size(np.array(extremes), f"{name!r} in the random term {spec.text}")
    terms = known_terms(specs, [f.known(root) for f, root in zip(facts.terms, roots[1:])])
    for term in terms:
        check_term(term, checks, allow_saturated=allow_saturated)
    repeated = repeated_column(terms, _known_pairs(summed, specs))
    if repeated is not None:
        i, problem, advice = repeated
        formula = learnt.formula
        error = FormulaError(problem, formula.text, formula.random[i].span, advice)
        checks.report("repeated", error)
    check_one_level(learnt.matrices.without_columns(0), checks)
    warn_of_times(learnt.matrices)
    return keep_columns(roots[0], names, None, drop_cols, checks, facts.y.n)


def known_terms(specs: Sequence[TermSpec], known: Sequence[KnownTerm]) -> list[TermDesign]:
    """Return the terms without rows, with what is known of them."""
    return [
        TermDesign(
            **vars(spec),
            X=np.zeros((0, len(spec.columns))),
            codes=np.zeros(0, np.intp),
            known=facts,
        )
        for spec, facts in zip(specs, known, strict=True)
    ]


def _known_pairs(summed: Summed, specs: Sequence[TermSpec]) -> dict[tuple[int, int], KnownPair]:
    """Return the facts of each two terms, the later one first."""
    cp, equal = summed.products, summed.facts.pairs.equal
    return {
        (i, j): KnownPair(_same_groups(cp, i, j), equal[i + 1, j + 1])
        for i in range(len(specs))
        for j in range(i)
    }


def _same_groups(cp: CrossProducts, i: int, j: int) -> bool:
    """Whether two terms divide the rows in the same way: each level meets one of the other."""
    one, two = sorted((cp.layout.places[i].block, cp.layout.places[j].block))
    if one == two:
        return True
    q, r = cp.shapes[one][1], cp.shapes[two][1]
    return q == r == len(cp.couplings[one, two].rows)


# --- the design -----------------------------------------------------------------------------------


def _design(
    reader: Reader,
    learnt: Learnt,
    specs: Sequence[TermSpec],
    summed: Summed,
    roots: Sequence[Floats],
    fixed: FixedPart,
    checks: Checks,
) -> Design:
    """Put the design together, without rows."""
    formula, facts = learnt.formula, summed.facts
    weights, offset = reader.weights, reader.offset
    spec = Spec(
        endog_name=formula.shown(formula.response),
        **fixed.told(),
        terms=tuple(specs),
        formula=formula,
        columns=reader.columns,
        scope=learnt.scope,
        weights=WEIGHTS.given_as(*_given(weights)),
        offset=OFFSET.given_as(*_given(offset)),
        checks=checks,
        coefficient_names=_coefficient_names(facts.pairs, fixed, specs),
        made=learnt.matrices,
    )
    known = [own.known(root) for own, root in zip(facts.terms, roots[1:])]
    rows = _no_rows(learnt, fixed, specs, facts)
    passes = SourcePasses(reader, BatchMatrices(learnt, specs), spec, learnt.tally)
    cp = settled(
        kept_columns(summed.products, fixed.column_map),
        [spec.kind.whitening for spec in specs],
    )
    elsewhere = _elsewhere(fixed, facts, roots[0], known, cp, passes)
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
        frame=learnt.sample.iloc[:0],
    )
    return whole.none()


def _elsewhere(
    fixed: FixedPart,
    facts: RowFacts,
    root: Floats,
    known: Sequence[KnownTerm],
    cp: CrossProducts,
    passes: SourcePasses,
) -> Elsewhere:
    """Return what takes the place of the rows."""
    kept = fixed.column_map
    low, high = facts.X.low[kept], facts.X.high[kept]
    constant = np.flatnonzero((low == high) & (low != 0))
    own = np.asarray(np.linalg.qr(root[:, kept], mode="r")) if len(kept) else np.zeros((0, 0))
    n = facts.y.n
    return Elsewhere(
        n=n,
        words=f"the rows of this fit are read in batches from {passes.words}",
        way_out="To have them in memory, pass a frame in place of its source.",
        terms=tuple(known),
        root=own,
        constant=int(constant[0]) if len(constant) else None,
        has_constant=bool(len(constant)) or _implies_constant(own, facts.X.ones[kept], n),
        largest=max(facts.y.peak, facts.offset.peak if facts.offset.n else 0.0),
        peak=facts.residual.peak,
        weight=facts.weights.total if facts.weights.n else float(n),
        products=cp,
        passes=passes,
    )


def _implies_constant(root: Floats, sums: Floats, n: int) -> bool:
    """Whether a combination of the columns is one in every row: 1'X(X'X)⁻¹X'1 = n."""
    if not len(sums):
        return False
    part = np.linalg.lstsq(root.T, sums, rcond=None)[0]
    return bool(abs(part @ part - n) < 1e-8 * n)
