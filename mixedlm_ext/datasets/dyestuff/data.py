"""Yield of dyestuff from six batches of an intermediate product."""

from __future__ import annotations

from mixedlm_ext.datasets._load import Dataset, read_dataset

__all__ = [
    "COPYRIGHT",
    "DESCRLONG",
    "DESCRSHORT",
    "NOTE",
    "SOURCE",
    "TITLE",
    "load",
    "load_pandas",
]

__docformat__ = "restructuredtext"

COPYRIGHT = """The figures were published in the book named under SOURCE."""

TITLE = """Yield of dyestuff from six batches of an intermediate product"""

SOURCE = """
Davies, O. L. and Goldsmith, P. L., editors (1972). Statistical Methods in Research and
Production, 4th edition. Oliver and Boyd, Edinburgh, section 6.4.

The file has the values and labels of `Dyestuff` in the R package lme4.
"""

DESCRSHORT = """Yield of dyestuff in five preparations from each of six batches."""

DESCRLONG = """
An experiment on where the variation of a dye's yield comes from. Six batches of an
intermediate product were sampled, and from each of them five preparations of the dyestuff
were made in the laboratory. A large part of the variance lies between batches.
"""

NOTE = """::

    Number of observations - 30 (5 preparations of each of 6 batches)

    Number of variables - 2

    Variable name definitions::

        Batch - batch of the intermediate product, a factor with levels A to F
        Yield - yield of dyestuff of standard colour, in grams
"""


def load() -> Dataset:
    """Load the data; the same as `load_pandas`.

    Returns
    -------
    Dataset
        See `load_pandas`.
    """
    return load_pandas()


def load_pandas() -> Dataset:
    """Load the data as pandas objects.

    Returns
    -------
    Dataset
        With ``data``, ``endog`` (the column Yield), ``exog`` (the other columns), ``names``,
        ``endog_name`` and ``exog_name``.

    Examples
    --------
    >>> from mixedlm_ext import datasets
    >>> datasets.dyestuff.load_pandas().data.shape
    (30, 2)
    """
    return read_dataset(__file__, "dyestuff.csv", response="Yield", factors=("Batch",))
