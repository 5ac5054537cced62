"""Assay of six samples of penicillin on 24 plates."""

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

TITLE = """Assay of six samples of penicillin on 24 plates"""

SOURCE = """
Davies, O. L. and Goldsmith, P. L., editors (1972). Statistical Methods in Research and
Production, 4th edition. Oliver and Boyd, Edinburgh, section 6.6.

The file has the values and labels of `Penicillin` in the R package lme4.
"""

DESCRSHORT = """Diameters of growth inhibition for 6 penicillin samples on 24 plates."""

DESCRLONG = """
Penicillin is assayed by how far it keeps Bacillus subtilis from growing around it on a
plate of agar. Each of six samples was applied to each of 24 plates, which makes plate and
sample completely crossed factors with one observation a cell.
"""

NOTE = """::

    Number of observations - 144 (6 samples on each of 24 plates)

    Number of variables - 3

    Variable name definitions::

        diameter - diameter of the zone without growth, in millimetres
        plate    - plate of the assay, a factor with levels a to x
        sample   - sample of penicillin, a factor with levels A to F
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
        With ``data``, ``endog`` (the column diameter), ``exog`` (the other columns), ``names``,
        ``endog_name`` and ``exog_name``.

    Examples
    --------
    >>> from mixedlm_ext import datasets
    >>> datasets.penicillin.load_pandas().data.shape
    (144, 3)
    """
    return read_dataset(
        __file__, "penicillin.csv", response="diameter", factors=("plate", "sample")
    )
