"""Partitions of a Dask frame, each summarized by the worker that has it, and added as a tree.

First the workers look for the levels of factors in the matrices; then each partition becomes the
sums of its rows, as a site's do, and two at a time are pooled until one is left. Nothing that is as
long as the data comes to the client. A worker that is lost takes its partitions' sums with it, and
Dask computes these anew.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from mixedlm_ext.batches.build import reader_of, refuse_related, sum_source
from mixedlm_ext.batches.checking import checked
from mixedlm_ext.batches.learning import Learnt, first_sight, learn_rows, plain_groups
from mixedlm_ext.batches.levels import FactorLevels
from mixedlm_ext.batches.matrices import BatchMatrices, term_specs
from mixedlm_ext.batches.passes import SourcePasses
from mixedlm_ext.batches.reading import Reader, Tally, read_arguments
from mixedlm_ext.batches.without_rows import Given, design_without_rows
from mixedlm_ext.design.design import Design
from mixedlm_ext.design.named_checks import Checks
from mixedlm_ext.design.other_columns import expand_dot
from mixedlm_ext.design.scope import Scope
from mixedlm_ext.errors import DesignError
from mixedlm_ext.language import MixedFormula
from mixedlm_ext.sites.coding import coding_of, rebuilt, refuse_memories
from mixedlm_ext.sites.pool import added_tallies, pooled
from mixedlm_ext.sites.sums import SiteSums
from mixedlm_ext.sites.watched import compute
from mixedlm_ext.sources.dask import DaskFrame, Partition

__all__ = ["design_from_partitions"]

Sums = tuple[SiteSums | None, Tally]
"""Those of some partitions, None if none of their rows are used, and what was counted."""


@dataclass(frozen=True, eq=False)
class _Task:
    """What a worker needs to know besides a partition.

    Attributes
    ----------
    formula : MixedFormula
    scope : Scope
    names, columns : tuple of str
        As `Reader` has them.
    every : tuple of str
        All columns of the data.
    weights, offset, subset : object
    missing : str
    """

    formula: MixedFormula
    scope: Scope
    names: tuple[str, ...]
    columns: tuple[str, ...]
    every: tuple[Any, ...]
    weights: Any
    offset: Any
    subset: Any
    missing: str

    def reader(self, frame: pd.DataFrame, number: int) -> Reader:
        """Return what reads the rows of a partition."""
        return Reader(
            Partition(frame, number),
            self.names,
            self.columns,
            self.weights,
            self.offset,
            self.subset,
            self.missing,
        )

    @property
    def wanted(self) -> tuple[Any, ...]:
        """The columns to bring; a function that chooses rows may look at any."""
        return self.every if callable(self.subset) else self.columns


def design_from_partitions(
    formula: MixedFormula,
    source: DaskFrame,
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
    """Evaluate a formula in the partitions of a Dask frame, on its workers.

    Parameters are those of `mixedlm_ext.batches.design_from_source`; arrays beside the data are
    refused, and `progress` counts tasks: partitions, and additions of two sums.

    Returns
    -------
    Design

    Raises
    ------
    DataError
        If partitions hold different kinds of values.
    DesignError, FormulaError
        As for rows in memory.
    """
    checks = Checks() if checks is None else checks
    refuse_related(formula, None)
    given = _arguments(source, weights, offset, subset)
    formula = expand_dot(
        formula, source.names, [v for v in (weights, offset) if isinstance(v, str)]
    )
    reader, scope = reader_of(formula, source, env, given, missing)
    task = _Task(
        formula, scope, reader.names, reader.columns, source.names, missing=missing, **given
    )
    sums, tally = _computed(source, task, progress)
    reader.check(tally)
    assert sums is not None
    matrices, _, frame = rebuilt(sums.coding, scope.values)
    summed = replace(sums.summed, tally=tally)
    learnt = Learnt(matrices.formula, scope, matrices, sums.groups, frame, tally)
    specs = term_specs(learnt)
    fixed = checked(learnt, specs, summed, sums.roots, drop_cols, checks, allow_saturated)
    design = design_without_rows(
        Given(
            columns=reader.columns,
            weights=reader.weights,
            offset=reader.offset,
            checks=checks,
            words="the rows of this fit are in the partitions of a Dask data frame",
            way_out="To have them in memory, pass frame.compute() in the place of frame.",
        ),
        learnt, specs, summed, sums.roots, fixed,
    )  # fmt: skip
    passes = SourcePasses(reader, BatchMatrices(learnt, specs), design.spec, tally)
    return design.with_passes(passes)


def _arguments(source: DaskFrame, weights: Any, offset: Any, subset: Any) -> dict[str, Any]:
    """Return weights, offset and subset, none of which may be an array."""
    given = {"weights": weights, "offset": offset, "subset": subset}
    for name, values in given.items():
        if values is not None and not isinstance(values, str) and not callable(values):
            raise DesignError(
                f"{name}= is an array, and the rows are in the partitions of a Dask data frame. "
                f"Make it a column{', or pass a function' if name == 'subset' else ''}."
            )
    return read_arguments(source.names, given)


def _computed(source: DaskFrame, task: _Task, progress: bool) -> Sums:
    """Have the workers look for levels, sum their partitions and add the sums."""
    dask: Any = importlib.import_module("dask")
    parts = list(enumerate(source.partitions(task.wanted), start=1))
    look, total = dask.delayed(_levels_of, pure=False), dask.delayed(_sums_of, pure=False)
    looks = [look(part, i, task) for i, part in parts]
    known = _all_levels(compute(looks, looks, progress, "learn"))
    tree = _tree([total(part, i, task, known) for i, part in parts])
    sums: Sums = compute(tree[-1:], tree, progress, "sum")[0]
    return sums


def _tree(parts: Sequence[Any]) -> list[Any]:
    """Add two at a time until one is left; return all tasks, the last one last."""
    dask: Any = importlib.import_module("dask")
    both = dask.delayed(_added, pure=False)
    every = list(parts)
    while len(parts) > 1:
        pairs = [both(*parts[i : i + 2]) for i in range(0, len(parts) - 1, 2)]
        every += pairs
        parts = [*pairs, *(parts[-1:] if len(parts) % 2 else [])]
    return every


# --- on a worker ----------------------------------------------------------------------------------


def _levels_of(frame: pd.DataFrame, number: int, task: _Task) -> dict[str, Any]:
    """Return the levels of the factors of the matrices in the used rows of a partition."""
    seen, _ = first_sight(task.formula, plain_groups(task.formula))
    for used in task.reader(frame, number).rows(Tally()):
        seen.see(used.frame)
    return seen.values_of_factors()


def _all_levels(parts: Sequence[Mapping[str, Any]]) -> dict[str, pd.Index]:
    """Return the levels of all partitions in their order."""
    factors: dict[str, FactorLevels] = {}
    for part in parts:
        for name, values in part.items():
            if len(values):
                factors.setdefault(name, FactorLevels(name)).see(values)
    return {name: own.levels for name, own in factors.items()}


def _sums_of(frame: pd.DataFrame, number: int, task: _Task, known: Mapping[str, pd.Index]) -> Sums:
    """Return the sums of a partition."""
    reader, tally = task.reader(frame, number), Tally()
    if not any(len(used.frame) for used in reader.rows(tally)):
        return None, tally
    learnt = learn_rows(reader, task.formula, task.scope, known=known, some=True)
    refuse_memories(learnt.matrices)
    specs = term_specs(learnt)
    summed, roots = sum_source(reader, learnt, specs, BatchMatrices(learnt, specs), counted=True)
    coding = {**coding_of(learnt, specs, reader, task.every), "parsed": learnt.formula}
    return SiteSums(coding, learnt.groups, summed, roots), learnt.tally


def _added(one: Sums, two: Sums) -> Sums:
    """Add the sums of some partitions and of others."""
    tally = added_tallies([one[1], two[1]])
    sums = [own for own, _ in (one, two) if own is not None]
    if not sums:
        return None, tally
    return pooled(sums, ["some partitions", "others"][: len(sums)]), tally
