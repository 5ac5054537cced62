"""Variances and correlations of the random effects, as a table."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mixedlm_ext.estimation.fit import Fit

Array = NDArray[np.float64]

__all__ = ["correlations", "varcorr_frame"]

RESIDUAL = "Residual"


def correlations(cov: Array) -> Array:
    """Return the correlation matrix of a covariance matrix; nan where a variance is zero."""
    sd = np.sqrt(np.diag(cov))
    with np.errstate(divide="ignore", invalid="ignore"):
        out = cov / np.outer(sd, sd)
    out[:, sd == 0] = np.nan
    out[sd == 0, :] = np.nan
    return np.asarray(np.clip(out, -1.0, 1.0))


def varcorr_frame(fit: Fit) -> pd.DataFrame:
    """Return the table of variance components.

    Parameters
    ----------
    fit : Fit

    Returns
    -------
    DataFrame
        One row for each variance, in the order of the formula, and one for the residual; columns
        ``group``, ``name``, ``variance``, ``std_dev`` and, where terms have correlated columns,
        ``corr_1``, ``corr_2``, ...: the correlation with the first, second, ... column of the same
        term.
    """
    widths = [len(t.columns) for t in fit.design.terms if t.structure == "us"]
    n_corr = max(widths, default=1) - 1
    rows = []
    for term, cov in zip(fit.design.terms, fit.random_cov):
        corr = correlations(cov)
        for i, column in enumerate(term.variances):
            shown = corr[i, :i] if term.structure == "us" else np.zeros(0)
            padded = np.full(n_corr, np.nan)
            padded[: len(shown)] = shown
            rows.append([term.name, column, cov[i, i], np.sqrt(cov[i, i]), *padded])
    rows.append([RESIDUAL, "", fit.sigma**2, fit.sigma, *np.full(n_corr, np.nan)])
    names = ["group", "name", "variance", "std_dev", *(f"corr_{i + 1}" for i in range(n_corr))]
    return pd.DataFrame(rows, columns=names)
