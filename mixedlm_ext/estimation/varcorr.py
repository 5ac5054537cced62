"""Variances and correlations of the random effects, as a table."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import linalg

from mixedlm_ext.estimation.fit import Fit
from mixedlm_ext.structures.positions import range_of_correlation
from mixedlm_ext.tables import Table

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
        One row for each variance, in the order of the formula, and one for the residual; columns
        ``group``, ``name``, ``variance``, ``std_dev`` and, where terms have correlated columns,
        ``corr_1``, ``corr_2``, ...: the correlation with the first, second, ... column of the same
        term. A correlation that is a parameter of a structure has a row of its own, ``ar1 rho``,
        with its value in ``corr_1``; a range, ``exp range``, has it in the column ``range``.
        Residuals whose variance differs by strata have a row for each; the power or rate of one
        that follows a covariate, whose ``std_dev`` is that at x = 1 or x = 0, has its value in
        the column ``value``.
    """
    records: list[tuple[str, str, float, Array]] = []
    ranges: dict[int, float] = {}
    for term, cov in zip(fit.design.terms, fit.random_cov):
        corr, kind = correlations(cov), term.kind
        for i, column in enumerate(term.variances):
            shown = corr[i, :i] if kind.correlated and kind.linear else np.zeros(0)
            records.append((term.name, column, float(cov[i, i]), shown))
        for name, pair in () if kind.linear else term.correlations:
            distance, shown = kind.pair_distance(pair), kind.told(corr, pair)[None]
            if distance is not None:
                ranges[len(records)] = float(range_of_correlation(shown[0], distance))
                shown = np.zeros(0)
            records.append((term.name, f"{kind.word} {name}", np.nan, shown))
    residuals, values = _residual_rows(fit) if fit.has_residual else ([], {})
    records += residuals
    n_corr = max(len(shown) for *_, shown in records)
    rows = [
        [group, name, variance, np.sqrt(variance), *shown, *[np.nan] * (n_corr - len(shown))]
        for group, name, variance, shown in records
    ]
    names = ["group", "name", "variance", "std_dev", *(f"corr_{i + 1}" for i in range(n_corr))]
    out = Table(rows, columns=names)
    if ranges:
        out["range"] = [ranges.get(i, np.nan) for i in range(len(out))]
    if values:
        out["value"] = [np.nan] * (len(rows) - len(values)) + list(values.values())
    return out


def _residual_rows(fit: Fit) -> tuple[list[tuple[str, str, float, Array]], dict[str, float]]:
    """Return the rows of the residuals, and the powers and rates of all of these if there are any.

    A row for each combination of strata, then the correlation, then powers and rates.
    """
    none = np.zeros(0)
    structure = fit.design.residual
    if structure is None or structure.values is None:
        return [(RESIDUAL, "", fit.sigma**2, none)], {}
    rows = [
        (RESIDUAL, name, (fit.sigma * ratio) ** 2, none)
        for name, ratio in structure.strata_ratios()
    ]
    values = dict.fromkeys((name for _, name, *_ in rows), np.nan)
    for parameter, value in zip(structure.parameters, structure.values):
        if parameter.kind == "cor":
            assert structure.kind is not None
            name = f"{structure.kind.word} {parameter.name}"
            rows.append((RESIDUAL, name, np.nan, np.array([value])))
            values[name] = np.nan
    follows = [p for p in structure.parameters if p.kind in ("power", "rate")]
    for parameter in follows:
        rows.append((RESIDUAL, parameter.name, np.nan, none))
        values[parameter.name] = structure.value_of(parameter)
    return rows, values if follows else {}


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
    return Table(cov, index=names, columns=names)
