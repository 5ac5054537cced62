"""Conditional modes of the random effects and their covariances, as frames of levels by columns."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from mixedlm_ext.fit import Fit
from mixedlm_ext.tables import Table

__all__ = [
    "TermCovariances",
    "conditional_covariances",
    "conditional_modes",
    "conditional_sds",
    "group_coefficients",
]


def conditional_modes(fit: Fit) -> dict[str, pd.DataFrame]:
    """Return b of each term."""
    return {
        term.name: Table(b, index=term.levels, columns=list(term.columns))
        for term, b in zip(fit.design.terms, fit.b)
    }


def conditional_sds(fit: Fit) -> dict[str, pd.DataFrame]:
    """Return the standard deviations of b given y, beta and theta as known, of each term."""
    out: dict[str, pd.DataFrame] = {}
    for term, cov in zip(fit.design.terms, fit.conditional_cov):
        sd = np.sqrt(np.einsum("lkk->lk", cov))
        out[term.name] = Table(sd, index=term.levels, columns=list(term.columns))
    return out


class TermCovariances(dict[Any, Any]):
    """Term name -> level -> covariance; levels of an only term are found directly, too."""

    def __missing__(self, level: Any) -> pd.DataFrame:
        if len(self) == 1:
            return next(iter(self.values()))[level]
        raise KeyError(level)


def conditional_covariances(fit: Fit) -> TermCovariances:
    """Return for each term a dict of level to the covariance of its random effects given y."""
    out = TermCovariances()
    for term, cov in zip(fit.design.terms, fit.conditional_cov):
        names = pd.Index(term.columns)  # made once: it costs more than all the rest of a frame
        frames = (pd.DataFrame(c, index=names, columns=names, copy=False) for c in cov)
        out[term.name] = dict(zip(term.levels, frames))
    return out


def group_coefficients(fit: Fit) -> dict[str, pd.DataFrame]:
    """Return for each grouping factor its levels' coefficients, fixed plus random."""
    design = fit.design
    values: dict[str, dict[str, Any]] = {}
    levels: dict[str, pd.Index] = {}
    for term, names, b in zip(design.terms, design.coefficient_names, fit.b):
        places = {group: _places(own, term.levels) for group, own in levels.items()}
        group, at = next(
            ((group, at) for group, at in places.items() if at is not None), (None, slice(None))
        )
        if group is None:
            group = term.name if term.group in levels else term.group
            levels[group] = term.levels
            values[group] = dict(zip(design.x_names, np.tile(fit.beta[:, None], len(b))))
        own = values[group]
        for name, effects in zip(names, b[at].T):
            own[name] = own.get(name, 0.0) + effects
    return {group: Table(own, index=levels[group]) for group, own in values.items()}


def _places(wanted: pd.Index, levels: pd.Index) -> Any:
    """Return where `wanted` are among `levels`; None unless both are levels of one grouping.

    The factors of an interaction may be in another order, b:a for a:b.
    """
    if len(wanted) != len(levels) or set(wanted.names) != set(levels.names):
        return None
    if wanted.names == levels.names:
        return slice(None) if wanted.equals(levels) else None
    assert isinstance(levels, pd.MultiIndex)  # a single factor has no other order
    at = levels.reorder_levels(list(wanted.names)).get_indexer(wanted)
    return at if (at >= 0).all() else None
