"""Lecture evaluations by students at ETH Zurich."""

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

COPYRIGHT = """
Anonymised by ETH Zurich and distributed with the R package lme4 (GPL, version 2 or later).
"""

TITLE = """Lecture evaluations by students at ETH Zurich"""

SOURCE = """
Evaluations of lectures at ETH Zurich, published in anonymous form as `InstEval` in the R
package lme4.

Bates, D., Maechler, M., Bolker, B. and Walker, S. (2015). Fitting linear mixed-effects
models using lme4. Journal of Statistical Software 67(1), 1-48.
"""

DESCRSHORT = """73421 ratings of 1128 lecturers by 2972 students."""

DESCRLONG = """
Students of ETH Zurich rated the lectures they had attended. Students and lecturers are
partially crossed, and both factors have many levels, which makes these data a usual
benchmark of programs for mixed models.
"""

NOTE = """::

    Number of observations - 73421 ratings

    Number of variables - 5

    Variable name definitions::

        y       - rating, a whole number from 1 (poor) to 5 (very good)
        service - 1 for a lecture held for another department than the lecturer's
                  own, else 0, a factor
        s       - student, a factor with 2972 levels
        d       - lecturer, a factor with 1128 levels
        dept    - department of the lecture, coded at random, a factor with 14 levels

    The columns studage and lectage of lme4's InstEval are left out.
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
        With ``data``, ``endog`` (the column y), ``exog`` (the other columns), ``names``,
        ``endog_name`` and ``exog_name``.

    Examples
    --------
    >>> from mixedlm_ext import datasets
    >>> datasets.insteval.load_pandas().data.shape
    (73421, 5)
    """
    return read_dataset(
        __file__, "insteval.csv.gz", response="y", factors=("service", "s", "d", "dept")
    )
