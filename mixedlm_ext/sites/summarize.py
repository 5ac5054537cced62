"""From the rows of a site to its summary."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from mixedlm_ext.batches.build import reader_of, refuse_related, sum_source
from mixedlm_ext.batches.learning import Learnt, learn_rows
from mixedlm_ext.batches.matrices import BatchMatrices, term_specs
from mixedlm_ext.batches.progress import bar_of_rows
from mixedlm_ext.batches.reading import read_arguments
from mixedlm_ext.batches.summing import Summed
from mixedlm_ext.design.messages import quoted
from mixedlm_ext.design.other_columns import expand_dot
from mixedlm_ext.design.records import TermSpec
from mixedlm_ext.errors import DataError, DesignError, did_you_mean, outside_frame, shown
from mixedlm_ext.language import parse_formula
from mixedlm_ext.sites.coding import coding_of, refuse_memories
from mixedlm_ext.sites.summary import Summary
from mixedlm_ext.sources import Source, is_source, open_source

__all__ = ["summarize"]


def summarize(
    formula: str,
    data: Any,
    subset: Any = None,
    *,
    weights: Any = None,
    offset: Any = None,
    missing: str = "drop",
    levels: Mapping[str, Sequence[Any]] | None = None,
    min_count: int | None = None,
    eval_env: Mapping[str, Any] | None = None,
    progress: bool = False,
) -> Summary:
    """Summarize the rows of a site by the cross-products that a fit needs of them.

    Parameters
    ----------
    formula : str
        As `MixedLM.from_formula` takes it, the same at all sites.
    data : DataFrame, or whatever `MixedLM.from_formula` takes
    subset, weights, offset, missing : optional
        As `MixedLM.from_formula` takes them for rows in batches.
    levels : mapping of str to sequence, optional
        All categories of factors of the fixed part or left of a bar, in their order, where a site
        may not have rows of each. Levels of grouping factors need not be known.
    min_count : int, optional
        Refuse to summarize if a level, a pair of levels of two grouping factors, or a column that
        is not zero, has fewer rows.
    eval_env : mapping, optional
        Variables of the formula that are no columns; those of the caller by default.
    progress : bool
        Show a bar of the rows.

    Returns
    -------
    Summary

    Raises
    ------
    DataError
        If fewer rows than `min_count` stand behind a number.
    DesignError, FormulaError
        If the formula cannot be evaluated.

    Notes
    -----
    The documentation says what a summary discloses: of each level its number of rows and its sums,
    from which a level of one row can be read off.

    Examples
    --------
    >>> from mixedlm_ext import datasets, summarize
    >>> data = datasets.sleepstudy.load_pandas().data
    >>> summarize("Reaction ~ Days + (Days | Subject)", data[:90])
    <Summary: Reaction ~ Days + (Days | Subject), 90 rows, 9 levels of Subject>
    >>> summarize("Reaction ~ Days + (Days | Subject)", data[:95], min_count=10)
    Traceback (most recent call last):
    mixedlm_ext.errors.DataError: the level '337' of 'Subject' has 5 rows, fewer than ...
    """
    source = open_source(data) if is_source(data) else open_source(lambda: iter([data]))
    levels = dict(levels or {})
    for name in levels:
        if name not in source.names:
            near = did_you_mean(name, source.names)
            raise DesignError(f"levels has {name!r}, which is no column of the data.{near}")
    if levels:
        source = _Recoded(source, levels)
    env = _caller() if eval_env is None else eval_env
    given = read_arguments(source.names, {"weights": weights, "offset": offset, "subset": subset})
    parsed = parse_formula(formula, columns=source.names)
    parsed = expand_dot(parsed, source.names, [v for v in (weights, offset) if isinstance(v, str)])
    refuse_related(parsed, None)
    reader, scope = reader_of(parsed, source, env, given, missing)
    with bar_of_rows(progress, source, "learn") as bar:
        learnt = learn_rows(reader, parsed, scope, bar, whole=levels)
    refuse_memories(learnt.matrices)
    specs = term_specs(learnt)
    matrices = BatchMatrices(learnt, specs)
    summed, roots = sum_source(reader, learnt, specs, matrices, progress, counted=True)
    if min_count is not None:
        _check_counts(learnt, specs, summed, min_count)
    coding = coding_of(learnt, specs, reader, source.names)
    return Summary(coding, learnt.groups, summed, roots)


def _caller() -> dict[str, Any]:
    """Return the variables of the first frame outside the package."""
    _, frame = outside_frame()
    return {**frame.f_globals, **frame.f_locals}


class _Recoded(Source):
    """A source with categories for some of its columns."""

    def __init__(self, source: Source, levels: Mapping[str, Sequence[Any]]) -> None:
        self._source, self._levels = source, levels
        self.names, self.rows, self.words = source.names, source.rows, source.words

    def read(self, columns: Sequence[str]) -> Iterator[tuple[str, pd.DataFrame]]:
        """Yield the batches."""
        for place, frame in self._source.read(columns):
            recoded = {
                name: _categories(frame[name], self._levels[name], place)
                for name in columns
                if name in self._levels
            }
            yield place, frame.assign(**recoded)


def _categories(column: pd.Series, levels: Sequence[Any], place: str) -> pd.Categorical:
    """Return a column with given categories."""
    plain = column.astype(object)
    known = plain.isin(list(levels)) | plain.isna()
    if not known.all():
        raise DataError(
            f"{place} has {quoted(plain[~known].iloc[0])} in column {column.name!r}, which is not "
            f"among its levels= ({', '.join(map(quoted, levels))})."
        )
    return pd.Categorical(plain, categories=list(levels))


def _check_counts(
    learnt: Learnt, specs: Sequence[TermSpec], summed: Summed, min_count: Any
) -> None:
    """Refuse numbers that too few rows stand behind."""
    if isinstance(min_count, bool) or not isinstance(min_count, int | np.integer) or min_count < 1:
        raise DesignError(f"min_count={shown(min_count)} is no number of rows. Pass 5, say.")
    assert summed.counts is not None
    found = ""
    places = summed.products.layout.places
    for spec, place in zip(specs, places, strict=True):
        counts = summed.counts.levels[place.block]
        few = np.flatnonzero(counts < min_count)
        if len(few):
            found = found or _few(f"the level {quoted(spec.levels[few[0]])} of {spec.group!r}",
                                  int(counts[few[0]]), len(few))  # fmt: skip
    blocks = {place.block: spec for spec, place in zip(specs, places)}
    for (i, j), counts in summed.counts.pairs.items():
        few = np.flatnonzero(counts < min_count)
        if len(few):
            c = summed.products.couplings[i, j]
            one, two = blocks[i].levels[c.rows[few[0]]], blocks[j].levels[c.columns[few[0]]]
            groups = f"of {blocks[i].group!r} and {blocks[j].group!r}"
            pair = f"the pair {quoted(one)}, {quoted(two)} {groups}"
            found = found or _few(pair, int(counts[few[0]]), len(few))
    for name, count in zip(learnt.matrices.names(0), summed.facts.X.nonzero):
        if 0 < count < min_count:
            found = found or _few(f"the column {name!r}", int(count), 1)
    if found:
        raise DataError(
            f"{found}, fewer than min_count={min_count}: a summary would come close to disclosing "
            "them. Leave these rows out by subset=, or put levels together."
        )


def _few(what: str, count: int, others: int) -> str:
    """Say how many rows there are."""
    more = f" (and {others - 1} more like it)" if others > 1 else ""
    return f"{what}{more} has {count} row{'s' if count > 1 else ''}"
