"""Contagious bovine pleuropneumonia in herds of zebu cattle."""

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

TITLE = """Contagious bovine pleuropneumonia in herds of zebu cattle"""

SOURCE = """
Lesnoff, M., Laval, G., Bonnet, P., Abdicho, S., Workalemahu, A., Kifle, D., Peyraud, A.,
Lancelot, R. and Thiaucourt, F. (2004). Within-herd spread of contagious bovine pleuropneumonia
in Ethiopian highlands. Preventive Veterinary Medicine 64, 27-40.

The file has the values and labels of `cbpp` in the R package lme4.
"""

DESCRSHORT = """New cases of a lung disease in 15 herds during four periods, 56 rows."""

DESCRLONG = """
Herds of zebu cattle in the Ethiopian highlands were followed by blood samples of all animals
during the course of an outbreak. A case is an animal whose serum became positive in a period.
"""

NOTE = """::

    Number of observations - 56 (15 herds, up to 4 periods each)

    Number of variables - 4

    Variable name definitions::

        herd      - herd, a factor with levels 1 to 15
        incidence - number of new cases in the herd during the period
        size      - number of animals in the herd at the start of the period
        period    - period, a factor with levels 1 to 4
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
        With ``data``, ``endog`` (the column incidence), ``exog`` (the other columns), ``names``,
        ``endog_name`` and ``exog_name``.

    Examples
    --------
    >>> from mixedlm_ext import datasets
    >>> datasets.cbpp.load_pandas().data.shape
    (56, 4)
    """
    return read_dataset(__file__, "cbpp.csv", response="incidence", factors=("herd", "period"))
