"""Variance inflation of the fixed effects."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from mixedlm_ext.errors import FitError
from mixedlm_ext.inference.wald import term_columns
from mixedlm_ext.tables import Table

if TYPE_CHECKING:
    from mixedlm_ext.results import MixedLMResults

__all__ = ["variance_inflation"]


def variance_inflation(results: MixedLMResults) -> pd.DataFrame:
    """Return the table of `MixedLMResults.vif`.

    Notes
    -----
    Fox & Monette (1992), JASA 87: with R the correlation matrix of the estimates but the
    intercept's, GVIF = |R₁₁||R₂₂|/|R| for a term's own columns 1 and the others 2.
    """
    terms = term_columns(results)
    constant = getattr(results.model.data, "const_idx", None)
    terms = {name: own for name, own in terms.items() if own != [constant]}
    if not terms:
        raise FitError(
            "the model has no fixed effects besides the intercept, so nothing can inflate their "
            "variances. vif() is for models with covariates."
        )
    every = [j for own in terms.values() for j in own]
    cov = results.fit_record.unscaled_cov
    sd = np.sqrt(np.diag(cov))
    R = cov / np.outer(sd, sd)
    rows = []
    for own in terms.values():
        others = [j for j in every if j not in own]
        log_gvif = _logdet(R, own) + _logdet(R, others) - _logdet(R, every)
        rows.append([np.exp(log_gvif), len(own), np.exp(log_gvif / (2 * len(own)))])
    table = Table(rows, index=list(terms), columns=["gvif", "df", "gvif_scaled"])
    return table.astype({"df": int})


def _logdet(R: np.ndarray, own: list[int]) -> float:
    """Return log|R| of some rows and columns."""
    return float(np.linalg.slogdet(R[np.ix_(own, own)])[1])
