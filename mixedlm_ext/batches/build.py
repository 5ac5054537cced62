"""A design of rows that are read in batches, with the cross-products of all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from mixedlm_ext.batches.checking import checked
from mixedlm_ext.batches.facts import RowFacts
from mixedlm_ext.batches.learning import Learnt, learn_rows
from mixedlm_ext.batches.matrices import BatchMatrices, term_specs
from mixedlm_ext.batches.passes import SourcePasses
from mixedlm_ext.batches.progress import bar_of_rows
from mixedlm_ext.batches.reading import Reader, read_arguments, sample_of
from mixedlm_ext.batches.residual_sums import RunningResiduals
from mixedlm_ext.batches.summing import Summed, layout_of, sum_rows, triangles, unlike_rows
from mixedlm_ext.batches.without_rows import Given, design_without_rows
from mixedlm_ext.design.design import Design
from mixedlm_ext.design.formula_code import code_names
from mixedlm_ext.design.named_checks import Checks
from mixedlm_ext.design.other_columns import expand_dot
from mixedlm_ext.design.rank import independent_columns
from mixedlm_ext.design.records import TermSpec
from mixedlm_ext.design.residual_rows import ResidualText, read_residual_text
from mixedlm_ext.design.scope import Scope, resolve_names
from mixedlm_ext.errors import DesignError
from mixedlm_ext.language import MixedFormula
from mixedlm_ext.sources import Source

__all__ = ["design_from_source", "reader_of", "refuse_related", "sum_source"]

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
    correlation: Any = None,
    variance: Any = None,
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
    correlation, variance : str, optional
        The structure of the residuals.

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
    text = read_residual_text(correlation, variance)
    named = [v for v in (weights, offset) if isinstance(v, str)]
    formula = expand_dot(formula, source.names, [*named, *text.groups])
    reader, scope = reader_of(formula, source, env, arguments, missing, text)
    with bar_of_rows(progress, source, "learn") as bar:
        learnt = learn_rows(reader, formula, scope, bar, text=text)
    specs = term_specs(learnt)
    matrices = BatchMatrices(learnt, specs)
    summed, roots = sum_source(reader, learnt, specs, matrices, progress)
    fixed = checked(learnt, specs, summed, roots, drop_cols, checks, allow_saturated)
    given = Given(
        columns=reader.columns,
        weights=reader.weights,
        offset=reader.offset,
        checks=checks,
        words=f"the rows of this fit are read in batches from {source.words}",
        way_out="To have them in memory, pass a frame in place of its source.",
    )
    design = design_without_rows(given, learnt, specs, summed, roots, fixed)
    passes = SourcePasses(reader, matrices, design.spec, learnt.tally)
    return design.with_passes(passes)


def refuse_related(formula: MixedFormula, cov: Mapping[str, Any] | None) -> None:
    """Refuse what rows in batches do not know yet: gr(), mm() and cov=."""
    called = next((spec.call.name for spec in formula.random if spec.call is not None), None)
    if called is not None or cov:
        what = "cov=" if called is None else f"{called}()"
        raise DesignError(
            f"{what} is for data in memory, and these are read in batches. Pass a DataFrame."
        )


def reader_of(
    formula: MixedFormula,
    source: Source,
    env: Mapping[str, Any],
    arguments: Mapping[str, Any],
    missing: str,
    text: ResidualText | None = None,
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
    if text:
        more, found = text.names(source.names, env)
        columns, scope = [*columns, *more], Scope({**scope.values, **found})
    columns = list(dict.fromkeys(columns))
    response = code_names(formula.response).bare
    first = [name for name in (response,) if name in columns]
    every = tuple(dict.fromkeys([*first, *columns]))
    return Reader(source, every, tuple(columns), missing=missing, **arguments), scope


# --- what the rows say of the columns -------------------------------------------------------------


def sum_source(
    reader: Reader,
    learnt: Learnt,
    specs: Sequence[TermSpec],
    matrices: BatchMatrices,
    progress: bool = False,
    counted: bool = False,
) -> tuple[Summed, list[Floats]]:
    """Sum the rows in the layout of a sample, and return triangles of the columns.

    Where the columns of all rows are far from independent in that layout, as those of a category
    that the sample has not, rows that are unlike it join the sample.
    """
    names, sample = learnt.matrices.names(0), learnt.sample
    (response,) = learnt.matrices.pieces("response")
    for again in range(_SAMPLES, -1, -1):
        layout = layout_of(learnt, specs, matrices(sample_of(reader, sample)))
        facts = RowFacts(names, specs, response.text, counted)
        with bar_of_rows(progress, reader.source, "sum") as bar:
            seen = learnt.residual
            own = None if seen is None else RunningResiduals(seen, layout)
            summed = sum_rows(reader, matrices, layout, facts, bar, counted, own)
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
