"""Breaking angle of chocolate cakes by recipe and baking temperature."""

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

TITLE = """Breaking angle of chocolate cakes by recipe and baking temperature"""

SOURCE = """
Cook, F. E. (1938). Chocolate cake, I. Optimum baking temperature. Master's thesis, Iowa
State College.

Cochran, W. G. and Cox, G. M. (1957). Experimental Designs, 2nd edition. Wiley, New York,
section 7.1.

The file has the values and labels of `cake` in the R package lme4.
"""

DESCRSHORT = """Breaking angle of 270 cakes: 3 recipes, 15 replicates, 6 temperatures."""

DESCRLONG = """
A split-plot experiment. For each replicate a batch of batter was mixed by each of three
recipes and divided into six cakes, which were baked at six temperatures. A cake was judged
by the angle to which it could be bent before it broke. The replicates were made one
after the other, so that a difference between them may be one of practice.
"""

NOTE = """::

    Number of observations - 270 (15 replicates of 3 recipes at 6 temperatures)

    Number of variables - 5

    Variable name definitions::

        replicate   - replicate, a factor with levels 1 to 15
        recipe      - recipe of the batter, a factor with levels A, B and C
        temperature - oven temperature, a factor with levels 175, 185, ..., 225
        angle       - angle at which the cake broke, in degrees
        temp        - oven temperature in degrees Fahrenheit, as a number

    temperature is an ordered factor in lme4. Here it is unordered, so that patsy gives it
    treatment contrasts.
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
        With ``data``, ``endog`` (the column angle), ``exog`` (the other columns), ``names``,
        ``endog_name`` and ``exog_name``.

    Examples
    --------
    >>> from mixedlm_ext import datasets
    >>> datasets.cake.load_pandas().data.shape
    (270, 5)
    """
    return read_dataset(
        __file__, "cake.csv", response="angle", factors=("replicate", "recipe", "temperature")
    )
