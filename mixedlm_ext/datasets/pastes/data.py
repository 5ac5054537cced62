"""Strength of a chemical paste by batch and cask."""

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

TITLE = """Strength of a chemical paste by batch and cask"""

SOURCE = """
Davies, O. L. and Goldsmith, P. L., editors (1972). Statistical Methods in Research and
Production, 4th edition. Oliver and Boyd, Edinburgh, section 6.5.

The file has the values and labels of `Pastes` in the R package lme4.
"""

DESCRSHORT = """Two assays of each of three casks from each of ten batches of a paste."""

DESCRLONG = """
A chemical paste is delivered in casks. Ten deliveries (batches) were chosen, three casks of
each delivery, and the content of each cask was assayed twice. The label of a cask says
nothing without its batch: casks are nested within batches, and the column sample makes that
nesting explicit.
"""

NOTE = """::

    Number of observations - 60 (2 assays of each of 30 casks)

    Number of variables - 4

    Variable name definitions::

        strength - strength of the paste
        batch    - delivery, a factor with levels A to J
        cask     - cask within the batch, a factor with levels a to c
        sample   - batch and cask together, a factor with 30 levels, A:a to J:c
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
        With ``data``, ``endog`` (the column strength), ``exog`` (the other columns), ``names``,
        ``endog_name`` and ``exog_name``.

    Examples
    --------
    >>> from mixedlm_ext import datasets
    >>> datasets.pastes.load_pandas().data.shape
    (60, 4)
    """
    return read_dataset(
        __file__, "pastes.csv", response="strength", factors=("batch", "cask", "sample")
    )
