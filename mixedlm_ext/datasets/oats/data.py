"""Yield of three varieties of oats under four doses of nitrogen."""

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

COPYRIGHT = """The figures were published in the paper and the books named under SOURCE."""

TITLE = """Yield of three varieties of oats under four doses of nitrogen"""

SOURCE = """
Yates, F. (1935). Complex experiments. Supplement to the Journal of the Royal Statistical
Society 2, 181-247.

Venables, W. N. and Ripley, B. D. (2002). Modern Applied Statistics with S, 4th edition.
Springer, New York.

Pinheiro, J. C. and Bates, D. M. (2000). Mixed-Effects Models in S and S-PLUS.
Springer, New York.

The file has the values and labels of `Oats` in the R package nlme.
"""

DESCRSHORT = """Split-plot experiment on oats: 6 blocks, 3 varieties, 4 doses of nitrogen."""

DESCRLONG = """
Each of six blocks was divided into three plots, one for each variety of oats, and each plot
into four subplots, which were given four doses of nitrogen fertilizer.
"""

NOTE = """::

    Number of observations - 72 (4 doses on 3 varieties in 6 blocks)

    Number of variables - 4

    Variable name definitions::

        Block   - block, a factor with levels I to VI
        Variety - variety of oats, a factor: Golden Rain, Marvellous, Victory
        nitro   - dose of nitrogen, in hundredweight an acre: 0, 0.2, 0.4, 0.6
        yield   - yield of the subplot of 1/80 acre, in quarter pounds

    yield is a keyword of Python: a formula has to write Q('yield').
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
        With ``data``, ``endog`` (the column yield), ``exog`` (the other columns), ``names``,
        ``endog_name`` and ``exog_name``.

    Examples
    --------
    >>> from mixedlm_ext import datasets
    >>> datasets.oats.load_pandas().data.shape
    (72, 4)
    """
    return read_dataset(__file__, "oats.csv", response="yield", factors=("Block", "Variety"))
