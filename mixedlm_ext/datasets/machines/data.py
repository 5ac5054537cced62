"""Productivity of six workers on three machines."""

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

COPYRIGHT = """The figures were published in the books named under SOURCE."""

TITLE = """Productivity of six workers on three machines"""

SOURCE = """
Milliken, G. A. and Johnson, D. E. (1992). Analysis of Messy Data, volume I: Designed
Experiments. Chapman and Hall, London.

Pinheiro, J. C. and Bates, D. M. (2000). Mixed-Effects Models in S and S-PLUS.
Springer, New York.

The file has the values and labels of `Machines` in the R package nlme.
"""

DESCRSHORT = """Productivity score of 6 workers, three times on each of 3 machines."""

DESCRLONG = """
An experiment to compare three brands of machine in an industrial process. Six workers were
chosen at random from the staff and each ran each machine three times. The score counts
quantity and quality together. Workers differ, and they differ in how much a machine suits
them.
"""

NOTE = """::

    Number of observations - 54 (6 workers, 3 times on each of 3 machines)

    Number of variables - 3

    Variable name definitions::

        Worker  - worker, a factor with levels 1 to 6
        Machine - brand of the machine, a factor with levels A, B and C
        score   - productivity score

    Worker is an ordered factor in nlme. Here it is unordered and in numerical order.
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
        With ``data``, ``endog`` (the column score), ``exog`` (the other columns), ``names``,
        ``endog_name`` and ``exog_name``.

    Examples
    --------
    >>> from mixedlm_ext import datasets
    >>> datasets.machines.load_pandas().data.shape
    (54, 3)
    """
    return read_dataset(__file__, "machines.csv", response="score", factors=("Worker", "Machine"))
