"""Conditional modes with what is known of their errors: breeding values and their reliabilities."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mixedlm_ext.criteria.level_blocks import level_blocks, level_variances
from mixedlm_ext.errors import FitError, did_you_mean
from mixedlm_ext.estimation.fit import Fit
from mixedlm_ext.linalg.triangular import solve_upper
from mixedlm_ext.tables import Table

Array = NDArray[np.float64]

__all__ = ["breeding_values"]


def breeding_values(fit: Fit, term: str | None = None) -> pd.DataFrame:
    """Predicted effects of the levels of a term, with standard errors and reliabilities.

    Parameters
    ----------
    term : str, optional
        Name of the random term, as in `varcorr`; the first with a known covariance, or the only
        one, by default.

    Returns
    -------
    DataFrame
        A row for each level, those without rows of data among them; for each level and column, if
        the term has several columns. ``estimate`` is the conditional mode (BLUP), ``se`` the root
        of its prediction error variance, ``reliability`` the squared correlation of the mode and
        the effect, nan where the variance is zero.

    Raises
    ------
    FitError
        If there is no such term.

    Notes
    -----
    The prediction error variance includes that of the fixed effects, which
    ``random_effects_sd`` takes as known: PEV = σ²[ΛM⁻¹Λ' + UU'], U = ΛL⁻ᵀR_ZX R_X⁻¹; variances are
    taken as known by both. The reliability of level l is 1 - PEV/(σ_a²K_ll) (Henderson 1975,
    Biometrics 31, 423-447), with K_ll = 1 + F of an animal.

    Examples
    --------
    >>> from mixedlm_ext import MixedLM, datasets
    >>> data = datasets.dyestuff.load_pandas().data
    >>> result = MixedLM.from_formula("Yield ~ 1 + (1 | Batch)", data).fit()
    >>> result.breeding_values().loc["A"].round(2).tolist()
    [-17.61, 24.77, 0.65]
    """
    t = _position(fit, term)
    own, place = fit.design.terms[t], fit.problem.cp.layout.places[t]
    pls, cp = fit.engine.pls, fit.problem.cp
    U = np.ascontiguousarray(solve_upper(pls.RX, pls.NZX.T, transpose=True).T)
    errors = place.covariance(level_blocks(cp, pls.factor, U)[place.block])
    pev = np.einsum("aal->la", errors)
    T = fit.templates[t]
    prior = level_variances(fit.problem, place.block)[:, None] * np.diag(T @ T.T)
    with np.errstate(divide="ignore", invalid="ignore"):
        # a squared correlation: below zero by rounding only
        reliability = np.where(prior > 0, np.maximum(1.0 - pev / prior, 0.0), np.nan)
    columns = {
        "estimate": fit.b[t].ravel(),
        "se": fit.sigma * np.sqrt(np.maximum(pev, 0.0)).ravel(),
        "reliability": reliability.ravel(),
    }
    return Table(columns, index=_index(own.levels, own.columns))


def _position(fit: Fit, term: str | None) -> int:
    """Return the number of the term that is asked for."""
    terms = fit.design.terms
    names = [t.name for t in terms]
    if term is None:
        related = [i for i, t in enumerate(terms) if t.related is not None]
        if len(terms) > 1 and not related:
            raise FitError(f"the model has several random terms. Pass one of {', '.join(names)}.")
        return related[0] if related else 0
    if term not in names:
        near = did_you_mean(str(term), names)
        raise FitError(f"there is no random term {term!r}.{near} Use one of {', '.join(names)}.")
    return names.index(term)


def _index(levels: pd.Index, columns: tuple[str, ...]) -> pd.Index:
    """Return the levels, or the pairs of level and column."""
    if len(columns) == 1:
        return levels
    parts = [levels.repeat(len(columns)), pd.Index(list(columns) * len(levels))]
    return pd.MultiIndex.from_arrays(parts, names=[levels.name, "column"])
