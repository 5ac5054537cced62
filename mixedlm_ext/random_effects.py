"""Conditional modes of the random effects and their covariances, as frames of levels by columns."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from mixedlm_ext.fit import Fit

__all__ = [
    "conditional_covariances",
    "conditional_modes",
    "conditional_sds",
    "group_coefficients",
]


def conditional_modes(fit: Fit) -> dict[str, pd.DataFrame]:
    """Return b of each term."""
    return {
        term.name: pd.DataFrame(b, index=term.levels, columns=list(term.columns))
        for term, b in zip(fit.design.terms, fit.b)
    }


def conditional_sds(fit: Fit) -> dict[str, pd.DataFrame]:
    """Return the standard deviations of b given y, beta and theta as known, of each term."""
    out = {}
    for term, cov in zip(fit.design.terms, fit.conditional_cov):
        sd = np.sqrt(np.einsum("lkk->lk", cov))
        out[term.name] = pd.DataFrame(sd, index=term.levels, columns=list(term.columns))
    return out


def conditional_covariances(fit: Fit) -> dict[str, dict[Any, pd.DataFrame]]:
    """Return for each term a dict of level to the covariance of its random effects given y."""
    out = {}
    for term, cov in zip(fit.design.terms, fit.conditional_cov):
        names = list(term.columns)
        out[term.name] = {
            level: pd.DataFrame(c, index=names, columns=names) for level, c in zip(term.levels, cov)
        }
    return out


def group_coefficients(fit: Fit) -> dict[str, pd.DataFrame]:
    """Return for each grouping factor its levels' coefficients, fixed plus random."""
    out: dict[str, pd.DataFrame] = {}
    fixed = dict(zip(fit.design.x_names, fit.beta))
    for term, b in zip(fit.design.terms, fit.b):
        if term.group not in out:
            out[term.group] = pd.DataFrame(fixed, index=term.levels)
        frame = out[term.group]
        for name, values in zip(term.columns, b.T):
            frame[name] = frame[name] + values if name in frame else values
    return out
