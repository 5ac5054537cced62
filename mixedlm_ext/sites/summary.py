"""`Summary`: what a site hands on in the place of its rows."""

from __future__ import annotations

import os
from typing import Any

from mixedlm_ext.errors import DataError
from mixedlm_ext.sites.files import load, save
from mixedlm_ext.sites.pool import pooled, without
from mixedlm_ext.sites.sums import SiteSums

__all__ = ["Summary", "combine"]


class Summary(SiteSums):
    """Cross-products of the rows of a site, or of several.

    Made by `summarize`, read from a file by `Summary.load`, pooled by `combine` or ``+``; ``-``
    takes out a site that withdraws. `MixedLM.from_summary` makes a model of it.

    Examples
    --------
    >>> from mixedlm_ext import MixedLM, combine, datasets, summarize
    >>> data = datasets.penicillin.load_pandas().data
    >>> formula = "diameter ~ 1 + (1 | plate) + (1 | sample)"
    >>> one, two = summarize(formula, data[:60]), summarize(formula, data[60:])
    >>> combine(one, two)
    <Summary: diameter ~ 1 + (1 | plate) + (1 | sample), 144 rows, 24 levels of plate, 6 of sample>
    >>> pooled = MixedLM.from_summary(one + two).fit()
    >>> bool(abs(pooled.objective - MixedLM.from_formula(formula, data).fit().objective) < 1e-9)
    True
    """

    @classmethod
    def of(cls, sums: SiteSums) -> Summary:
        """Return the summary of some sums."""
        return cls(sums.coding, sums.groups, sums.summed, sums.roots)

    def __repr__(self) -> str:
        groups = {term.group: len(term.levels) for term in self.terms}
        levels = [f"{q} levels of {g}" for g, q in groups.items()]
        levels[1:] = [text.replace(" levels", "") for text in levels[1:]]
        return f"<Summary: {', '.join([self.formula, f'{self.n} rows', *levels])}>"

    @property
    def formula(self) -> str:
        """The formula."""
        return str(self.coding["formula"])

    @property
    def n(self) -> int:
        """Number of rows."""
        return self.summed.products.n

    def __add__(self, other: Summary) -> Summary:
        """Return the summary of the rows of both."""
        return combine(self, other) if isinstance(other, Summary) else NotImplemented

    def __sub__(self, other: Summary) -> Summary:
        """Return the summary without the rows of the other, which are among its own.

        Raises
        ------
        DataError
            If the other has levels or more rows than this one has.
        """
        if not isinstance(other, Summary):
            return NotImplemented
        return Summary.of(without(self, other))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the summary to a file that `Summary.load` and `combine` read.

        Parameters
        ----------
        path : str or path-like
            Of the file, in NumPy's npz format; it appears when it is complete.
        """
        save(self, path)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Summary:
        """Read a summary from a file that `save` wrote; nothing in it is executed.

        Raises
        ------
        DataError
            If the file holds no summary, is damaged, or is of another version.
        """
        return cls.of(load(path))


def combine(*summaries: Any) -> Summary:
    """Pool the summaries of sites.

    Parameters
    ----------
    *summaries : Summary or path
        Of the same formula, each by itself or all in one list; paths are those of files that
        `Summary.save` wrote.

    Returns
    -------
    Summary
        As if `summarize` had seen the rows of all sites.

    Raises
    ------
    DataError
        If there is none, or the sites wrote their rows in different ways.

    Examples
    --------
    >>> from mixedlm_ext import combine, datasets, summarize
    >>> data = datasets.dyestuff.load_pandas().data
    >>> sites = data.groupby("Batch", observed=True)
    >>> parts = [summarize("Yield ~ 1 + (1 | Batch)", part) for _, part in sites]
    >>> combine(*parts)
    <Summary: Yield ~ 1 + (1 | Batch), 30 rows, 6 levels of Batch>
    """
    if len(summaries) == 1 and isinstance(summaries[0], list | tuple):
        summaries = tuple(summaries[0])
    if not summaries:
        raise DataError("there is no summary to combine. Pass those of the sites, or their files.")
    read = [s if isinstance(s, Summary) else _read(s) for s in summaries]
    names = [_name(s, i) for i, s in enumerate(summaries, start=1)]
    return Summary.of(pooled(read, names))


def _read(given: Any) -> Summary:
    """Read a summary from a file, or say that there is none."""
    if isinstance(given, str | os.PathLike):
        return Summary.load(given)
    raise DataError(
        f"combine takes summaries or paths of their files, not a {type(given).__name__}. Pass each "
        "by itself, or all in one list: combine(summaries)."
    )


def _name(given: Any, i: int) -> str:
    """What a summary is called in messages."""
    return f"summary {i}" if isinstance(given, Summary) else repr(os.fspath(given))
