"""Constructed yields whose variance between batches is estimated as zero."""

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

TITLE = """Constructed yields whose variance between batches is estimated as zero"""

SOURCE = """
Box, G. E. P. and Tiao, G. C. (1973). Bayesian Inference in Statistical Analysis.
Addison-Wesley, Reading, section 5.1.2.

The file has the values and labels of `Dyestuff2` in the R package lme4.
"""

DESCRSHORT = """Constructed data, five values from each of six batches."""

DESCRLONG = """
Numbers made up by Box and Tiao in the layout of the dyestuff data of Davies and Goldsmith
(1972). The batches differ less than chance alone would make them, so that the
maximum-likelihood and REML estimates of the variance between batches are both zero: the
smallest example of a singular fit.
"""

NOTE = """::

    Number of observations - 30 (5 values of each of 6 batches)

    Number of variables - 2

    Variable name definitions::

        Batch - batch, a factor with levels A to F
        Yield - constructed yield, without a unit
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
    >>> datasets.dyestuff2.load_pandas().data.shape
    (30, 2)
    """
    return read_dataset(__file__, "dyestuff2.csv", response="Yield", factors=("Batch",))
