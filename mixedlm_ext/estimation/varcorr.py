"""Variances and correlations of the random effects, as a table."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import linalg

from mixedlm_ext.estimation.fit import Fit

Array = NDArray[np.float64]

__all__ = ["correlations", "covariance_of_only_factor", "varcorr"]

RESIDUAL = "Residual"


def correlations(cov: Array) -> Array:
    """Return the correlation matrix of a covariance matrix; nan where a variance is zero."""
    sd = np.sqrt(np.diag(cov))
    with np.errstate(divide="ignore", invalid="ignore"):
        out = cov / np.outer(sd, sd)
    out[:, sd == 0] = np.nan
    out[sd == 0, :] = np.nan
    return np.asarray(np.clip(out, -1.0, 1.0))


def varcorr(fit: Fit) -> pd.DataFrame:
    """Variances, standard deviations and correlations of the random effects.

    Returns
    -------
    DataFrame
        A row for each random-effects column and one for the residual; columns ``group``,
        ``name``, ``variance``, ``std_dev``, and ``corr_1``, ``corr_2``, ...: correlations with
        the first, second, ... column of the term.
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


def covariance_of_only_factor(fit: Fit) -> pd.DataFrame:
    """Return the covariance matrix of all random effects of the only grouping factor.

    Raises
    ------
    AttributeError
        If there are several.
    """
    groups = list(dict.fromkeys(term.group for term in fit.design.terms))
    if len(groups) > 1:
        raise AttributeError(
            f"cov_re is defined for one grouping factor; this model has {', '.join(groups)}. "
            "Use varcorr()."
        )
    names = [c for term in fit.design.terms for c in term.columns]
    cov = linalg.block_diag(np.zeros((0, 0)), *fit.random_cov)
    return pd.DataFrame(cov, index=names, columns=names)
