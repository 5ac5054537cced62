"""The second pass: cross-products and what checks ask, of one batch after the other.

The layout is learnt from a sample of the rows, in which columns may be dependent. When all rows are
summed the products move to the layout that all rows find (`products.batches.settled`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from mixedlm_ext.batches.facts import Ends, RowFacts
from mixedlm_ext.batches.learning import Learnt
from mixedlm_ext.batches.matrices import BatchMatrices, BatchRows
from mixedlm_ext.batches.reading import Reader, Tally
from mixedlm_ext.batches.residual_sums import RunningResiduals
from mixedlm_ext.design.records import TermDesign, TermSpec
from mixedlm_ext.products.batches import Counts, RunningSum
from mixedlm_ext.products.layout import Layout
from mixedlm_ext.products.noise import EqualVariances, Noise, Precisions
from mixedlm_ext.products.products import CrossProducts
from mixedlm_ext.products.rows import learn
from mixedlm_ext.sources import Progress

__all__ = [
    "Summed",
    "blocks_of_groups",
    "layout_of",
    "noise_of_batch",
    "response_of",
    "sum_rows",
    "triangles",
    "unlike_rows",
]

Floats = npt.NDArray[np.float64]

_UNLIKE = 256
"""Rows of each part that join the sample where it was not like the others."""


@dataclass(frozen=True, eq=False)
class Summed:
    """What the second pass leaves.

    Attributes
    ----------
    products : CrossProducts
        Of all columns of the fixed part, in the layout of the sample.
    facts : RowFacts
    tally : Tally
    counts : Counts or None
        Rows of each level and pair of levels, if they were counted.
    residual : RunningResiduals or None
        The terms of the sum that a structure of the residuals makes.
    """

    products: CrossProducts
    facts: RowFacts
    tally: Tally
    counts: Counts | None = None
    residual: RunningResiduals | None = None


def sum_rows(
    reader: Reader,
    matrices: BatchMatrices,
    layout: Layout,
    facts: RowFacts,
    progress: Progress | None = None,
    counted: bool = False,
    residual: RunningResiduals | None = None,
) -> Summed:
    """Read all rows of a source and sum what the fit needs of them.

    Raises
    ------
    DesignError
        If a value is infinite or undefined.
    """
    total, tally = RunningSum(layout, counted), Tally()
    for used in reader.rows(tally, progress):
        rows = matrices(used)
        ends = Ends.of(rows)
        if not ends.finite:
            facts.note_not_finite(rows)
            continue
        y = response_of(rows)
        noise = noise_of_batch(rows)
        Q, columns = total.add(y, rows.X, rows.terms, noise)
        own = [columns[place.block][place.own] for place in layout.places]
        facts.see(rows, ends, y, None if noise.equal else (Q, own))
        if residual is not None:
            residual.add(rows, y, noise)
    facts.not_finite.check()
    products = total.products()
    if not facts.weights.n:
        _without_weights(products, facts)
    return Summed(products, facts, tally, total.counts(), residual)


def _without_weights(cp: CrossProducts, facts: RowFacts) -> None:
    """Take the inner products of the columns from the cross-products, where they are the same."""
    facts.X.gram = cp.XX
    for place, term in zip(cp.layout.places, facts.terms):
        term.gram = cp.diagonal[place.block][place.own, place.own].sum(axis=-1)


def response_of(rows: BatchRows) -> Floats:
    """Return the response less the offset."""
    return rows.y if rows.offset is None else rows.y - rows.offset


def noise_of_batch(rows: BatchRows) -> Noise:
    """Return the noise of the rows of a batch."""
    return EqualVariances(len(rows.y)) if rows.weights is None else Precisions(rows.weights)


def layout_of(learnt: Learnt, specs: Sequence[TermSpec], rows: BatchRows) -> Layout:
    """Find a layout from the rows of the sample."""
    finite = np.isfinite(rows.y) & np.isfinite(rows.X).all(axis=1)
    for term in rows.terms:
        finite &= np.isfinite(term.X).all(axis=1)
    y = response_of(rows)
    if rows.offset is not None:
        finite &= np.isfinite(rows.offset)
    terms = [
        TermDesign(**vars(spec), X=term.X[finite], codes=term.codes[finite])
        for spec, term in zip(specs, rows.terms, strict=True)
    ]
    noise = noise_of_batch(rows).take(np.flatnonzero(finite))
    return learn(y[finite], rows.X[finite], terms, blocks_of(learnt, specs), noise)


def blocks_of(learnt: Learnt, specs: Sequence[TermSpec]) -> list[list[int]]:
    """Collect the terms of one grouping, the largest block first."""
    return blocks_of_groups([spec.group for spec in learnt.formula.random], specs)


def blocks_of_groups(keys: Sequence[tuple[str, ...]], specs: Sequence[TermSpec]) -> list[list[int]]:
    """Collect the terms whose groupings have the same key, the largest block first."""
    groups: dict[tuple[str, ...], list[int]] = {}
    for i, key in enumerate(keys):
        groups.setdefault(key, []).append(i)

    def size(own: list[int]) -> int:
        return len(specs[own[0]].levels) * sum(len(specs[i].columns) for i in own)

    return sorted(groups.values(), key=lambda own: -size(own))


def triangles(reader: Reader, matrices: BatchMatrices, parts: Sequence[int]) -> list[Floats]:
    """Read all rows for the triangles R of some parts: 0 is X, 1 the columns of the first term, ...

    A triangle of triangles below one another is one of all rows, with all digits of a
    decomposition (TSQR; Demmel, Grigori, Hoemmen & Langou 2012).
    """
    found: dict[int, Floats] = {}
    for used in reader.rows(Tally()):
        rows = matrices(used)
        every = [rows.X, *(term.X for term in rows.terms)]
        for part in parts:
            whole = np.vstack([found[part], every[part]]) if part in found else every[part]
            found[part] = _triangle(whole)
    return [found[part] for part in parts]


def unlike_rows(reader: Reader, matrices: BatchMatrices, layout: Layout) -> pd.DataFrame:
    """Read all rows for those that lie farthest from the others in a layout.

    They are what the rows that found the layout did not have: a rare category, a large value.
    """
    parts = range(len(layout.places) + 1)
    frames = {part: pd.DataFrame() for part in parts}
    sizes = {part: np.zeros(0) for part in parts}
    for used in reader.rows(Tally()):
        rows = matrices(used)
        for part in parts:
            own = _coordinates(layout, rows, part)
            size = np.concatenate([sizes[part], np.einsum("np,np->n", own, own)])
            frame = pd.concat([frames[part], used.frame]) if len(frames[part]) else used.frame
            kept = np.argsort(-size, kind="stable")[:_UNLIKE]
            sizes[part], frames[part] = size[kept], frame.iloc[kept]
    return pd.concat(list(frames.values()))


def _coordinates(layout: Layout, rows: BatchRows, part: int) -> Floats:
    """Return the coordinates of X, part 0, or of the columns of a term."""
    if part == 0:
        return layout.basis.coordinates(rows.X)
    return layout.places[part - 1].columns(rows.terms[part - 1].X)


def _triangle(X: Floats) -> Floats:
    """Return R of a matrix whose columns may be of any scale."""
    largest = np.abs(X).max(axis=0, initial=0.0)
    scale = np.where(largest > 0, largest, 1.0)
    return np.asarray(np.linalg.qr(X / scale, mode="r") * scale)
