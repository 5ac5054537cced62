"""Residuals of every kind."""

from __future__ import annotations

from typing import Any, Literal, Protocol, overload

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mixedlm_ext.criteria.level_blocks import level_blocks, level_variances
from mixedlm_ext.errors import check_choice
from mixedlm_ext.estimation.fit import Fit
from mixedlm_ext.estimation.fitted import Fitted
from mixedlm_ext.geometry.leverage import residual_shares
from mixedlm_ext.geometry.marginal import cholesky_blocks, independent_sets
from mixedlm_ext.linalg.triangular import solve_upper
from mixedlm_ext.products.noise import noise_of

Array = NDArray[np.float64]

__all__ = ["KINDS", "Residuals", "marginal", "residuals", "row_residuals", "standardized_modes"]

KINDS = (
    "response", "pearson", "scaled", "studentized", "whitened", "marginal", "normalized", "random",
)  # fmt: skip
"""What ``residuals(kind=...)`` takes."""

_OF_ONE_ROW = ("response", "pearson", "scaled", "marginal")

_FREE = 1e-10
"""Share of the variance below which nothing is left to divide by."""


class Residuals(Protocol):
    """``residuals`` of results, for type checkers: of rows, or of random effects."""

    @overload
    def __call__(self, kind: Literal["random"]) -> dict[str, pd.DataFrame]: ...
    @overload
    def __call__(
        self,
        kind: Literal[
            "response", "pearson", "scaled", "studentized", "whitened", "marginal", "normalized"
        ] = ...,
    ) -> pd.Series: ...
    @overload
    def __call__(self, kind: str) -> Any: ...


def residuals(fitted: Fitted, kind: str = "response") -> Any:
    """Residuals of a given kind.

    Parameters
    ----------
    kind : str
        ==============  ====================================================================
        "response"      y less the conditional fitted values, as `resid`
        "pearson"       the same over their standard deviations relative to σ: times the root of
                        the weights
        "scaled"        "pearson" over σ
        "studentized"   "scaled" over (1 - h)^½, h the leverage: variance one in every row
        "whitened"      "scaled" less what those before them in their group tell of them, where
                        residuals are correlated: uncorrelated with variance one if the random
                        effects were known (nlme's "normalized")
        "marginal"      y - Xβ - offset: random effects are left in
        "normalized"    L⁻¹(y - Xβ - offset) with LL' the covariance matrix of y, by sets of
                        rows that share no random effect: independent with variance one when
                        the model is right. At most 4,000 rows a set.
        "random"        random-effects residuals: the conditional modes over their own standard
                        deviations (smaller than those of the random effects)
        ==============  ====================================================================

    Returns
    -------
    Series (n,)
        An array for a model made from arrays. For "random", a dict of term to DataFrame of
        levels by columns, missing where a variance is zero.

    Raises
    ------
    DesignError
        If `kind` is not known.
    FitError
        If "normalized" would factor too large a matrix, or the data were removed.

    Examples
    --------
    >>> from mixedlm_ext import MixedLM, datasets
    >>> data = datasets.sleepstudy.load_pandas().data
    >>> result = MixedLM.from_formula("Reaction ~ Days + (Days | Subject)", data).fit()
    >>> result.residuals("scaled").head(3).round(3).tolist()
    [-0.16, -0.571, -1.649]
    >>> result.residuals("random")["Subject"].loc["308"].round(2).to_dict()
    {'Intercept': 0.11, 'Days': 1.74}
    """
    check_choice("kind", kind, KINDS)
    if kind == "random":
        return standardized_modes(fitted.fit)
    if kind in _OF_ONE_ROW:
        return fitted.by_rows("residuals of its rows", lambda fit: row_residuals(fit, kind))
    design = fitted.rows(f"{kind} residuals, which depend on all of them")
    return fitted.labelled(row_residuals(fitted.fit, kind), design.index)


def row_residuals(fit: Fit, kind: str) -> Array:
    """Return one residual for each row.

    Parameters
    ----------
    fit : Fit
    kind : str
        One of `KINDS` except "random".

    Returns
    -------
    ndarray (n,)

    Raises
    ------
    FitError
        For "normalized", if too many rows hang together.
    """
    if kind == "marginal":
        return marginal(fit)
    if kind == "normalized":
        return _normalized(fit)
    out = fit.design.y - fit.fitted()
    noise = noise_of(fit.design)
    if kind == "whitened":
        return np.asarray(noise.root_times(out) / fit.sigma)
    if kind != "response":
        out = out / np.sqrt(noise.variances) if noise.mixes else noise.root_times(out)
    if kind in ("scaled", "studentized"):
        out = out / fit.sigma
    if kind == "studentized":
        left = residual_shares(fit)
        out = np.where(left > _FREE, out / np.sqrt(np.maximum(left, _FREE)), np.nan)
    return np.asarray(out)


def marginal(fit: Fit) -> Array:
    """Return y - Xβ - offset, (n,)."""
    known = 0.0 if fit.design.offset is None else fit.design.offset
    return np.asarray(fit.design.y - fit.design.X @ fit.beta - known)


def _normalized(fit: Fit) -> Array:
    """Return L⁻¹(y - Xβ - offset)/σ with V = LL', (n,)."""
    noise, r = noise_of(fit.design), marginal(fit)
    r = r if noise.mixes else noise.root_times(r)
    out = np.empty_like(r)
    codes = independent_sets(fit.design)
    for _, rows, L in cholesky_blocks(fit, codes, "normalized residuals"):
        out[rows] = np.linalg.solve(L, r[rows][:, :, None])[:, :, 0]
    return out / fit.sigma


def standardized_modes(fit: Fit) -> dict[str, pd.DataFrame]:
    """Return the conditional modes over their standard deviations, by term.

    Parameters
    ----------
    fit : Fit

    Returns
    -------
    dict of str to DataFrame (levels, k)
        nan where the variance is zero.

    Notes
    -----
    The modes are linear in y: Var(b) = σ²(ΛΛ' - ΛM⁻¹Λ' - UU'), U = ΛL⁻ᵀR_ZX R_X⁻¹, which is the
    prior variance less the mean squared error of prediction (Laird & Ware 1982, Biometrics 38).
    """
    pls, cp = fit.engine.pls, fit.problem.cp
    U = np.ascontiguousarray(solve_upper(pls.RX, pls.NZX.T, transpose=True).T)
    errors = level_blocks(cp, pls.factor, U)
    out = {}
    for term, place, T, b in zip(fit.design.terms, cp.layout.places, fit.templates, fit.b):
        error_variance = np.einsum("aal->la", place.covariance(errors[place.block]))
        prior = level_variances(fit.problem, place.block)[:, None] * np.diag(T @ T.T)
        left = prior - error_variance
        known = left > _FREE * prior
        sd = np.sqrt(np.where(known, left, np.nan))
        out[term.name] = pd.DataFrame(
            b / (fit.sigma * sd), index=term.levels, columns=list(term.columns)
        )
    return out
