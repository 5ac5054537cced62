"""Reaction times over ten days of restricted sleep."""

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

COPYRIGHT = """The averages per day were published with the R package lme4; see SOURCE."""

TITLE = """Reaction times over ten days of restricted sleep"""

SOURCE = """
Belenky, G., Wesensten, N. J., Thorne, D. R., Thomas, M. L., Sing, H. C., Redmond, D. P.,
Russo, M. B. and Balkin, T. J. (2003). Patterns of performance degradation and restoration
during sleep restriction and subsequent recovery: a sleep dose-response study. Journal of
Sleep Research 12, 1-12.

The file has the values and labels of `sleepstudy` in the R package lme4.
"""

DESCRSHORT = """Average reaction time of 18 subjects on each of 10 days of restricted sleep."""

DESCRLONG = """
The group of the study that was allowed three hours in bed a night. Each subject took a
series of reaction-time tests a day; the response is the average of the day. Days 0 and 1
were adaptation and training and day 2 the baseline, after which the restriction began. The
reaction times lengthen with the days, at a rate that differs much between subjects.
"""

NOTE = """::

    Number of observations - 180 (18 subjects on 10 days)

    Number of variables - 3

    Variable name definitions::

        Reaction - average reaction time, in milliseconds
        Days     - day of the study, 0 to 9
        Subject  - number of the subject, a factor with 18 levels, 308 to 372
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
        With ``data``, ``endog`` (the column Reaction), ``exog`` (the other columns), ``names``,
        ``endog_name`` and ``exog_name``.

    Examples
    --------
    >>> from mixedlm_ext import datasets
    >>> datasets.sleepstudy.load_pandas().data.shape
    (180, 3)
    """
    return read_dataset(__file__, "sleepstudy.csv", response="Reaction", factors=("Subject",))
