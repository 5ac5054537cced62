"""What statsmodels' functions hand from one model to the next, and how they draw responses.

statsmodels makes variants of a model by ``cls(endog, exog, **model._get_init_kwds())`` and, if it
has a formula, by ``cls.from_formula(data=changed, **model._get_init_kwds())``: `Mediation` does
both. The values of that dict know the design that they come from.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixedlm_ext.design import Design, RandomTerm
from mixedlm_ext.design.removed import require_rows
from mixedlm_ext.errors import DesignError, FitError
from mixedlm_ext.estimation.assembled import Assembled
from mixedlm_ext.products.noise import noise_of

Array = NDArray[np.float64]

__all__ = ["ModelFormula", "OwnTerms", "ResponseDistribution", "get_distribution", "predict"]


class ModelFormula(str):
    """The formula of a model; `design` is what it made of the data."""

    design: Design

    def __new__(cls, design: Design) -> ModelFormula:
        assert design.formula is not None
        out = super().__new__(cls, design.formula.text)
        out.design = design
        return out

    def __reduce__(self) -> tuple[Any, ...]:
        return ModelFormula, (self.design,)

    def design_of(self, data: Any) -> Design:
        """Return the design with y and X from changed data; columns and groups stay what they are.

        Parameters
        ----------
        data : DataFrame
            As the data of the model, row by row.
        """
        require_rows(self.design)
        new = self.design.new_data(data, need_response=True, terms=())
        if len(new.X) != len(self.design.y) or not new.complete.all():
            raise DesignError(
                f"the changed data have {int(new.complete.sum())} complete rows; the model has "
                f"{len(self.design.y)}. Change values only, and make a new model for other rows."
            )
        assert new.y is not None
        design = self.design
        return replace(design, rows=replace(design.rows, y=new.y, X=new.X))


class OwnTerms(list[RandomTerm]):
    """The random terms of a model; `design` is where they were."""

    def __init__(self, terms: Iterable[RandomTerm], design: Design) -> None:
        super().__init__(terms)
        self.design = design

    def check_rows(self, endog: Any, exog: Any) -> None:
        """Refuse rows that were drawn anew while the groups stayed where they were."""
        old = np.column_stack([self.design.y, self.design.X])
        try:
            new = np.column_stack([np.asarray(endog, dtype=float), np.asarray(exog, dtype=float)])
        except (TypeError, ValueError):
            return  # said better by the checks of the design
        if new.shape != old.shape or np.array_equal(new[:, 1:], old[:, 1:]):
            return
        known = {row.tobytes() for row in old}
        if all(row.tobytes() in known for row in np.ascontiguousarray(new)):
            raise DesignError(
                "endog and exog hold the rows of the model in another order or some of them "
                "several times, but the groups are in the old order. Rows of grouped data cannot "
                "be resampled one by one: use Mediation(...).fit(method='parametric'), or "
                "bootstrap() of the results."
            )


class ResponseDistribution:
    """The distribution of the response, frozen as statsmodels' ``get_distribution`` returns one.

    Parameters
    ----------
    design : Design
    mean : ndarray (n,)
        Xβ and the offset.
    templates : sequence of ndarray (k, k)
        Relative covariance factors of the random terms.
    scale : float
        Residual variance.
    """

    def __init__(self, design: Design, mean: Array, templates: list[Array], scale: float) -> None:
        self._design, self._mean, self._templates = design, mean, templates
        self._scale = float(scale)
        if not (np.isfinite(self._scale) and self._scale > 0):
            raise FitError(f"scale={scale!r} is no variance. Pass a positive number.")

    def rvs(self, n: int | None = None, rng: Any = None) -> Array:
        """Draw one response for every row of the model.

        Parameters
        ----------
        n : int, optional
            Not used: a response has as many values as the model has rows.
        rng : None, int, numpy.random.Generator or numpy.random.RandomState

        Returns
        -------
        ndarray (n,)
        """
        draw = rng if hasattr(rng, "standard_normal") else np.random.default_rng(rng)
        design = self._design
        y = draw.standard_normal(len(self._mean))
        y = noise_of(design).root_solve(y)
        for term, T in zip(design.terms, self._templates, strict=True):
            y = y + np.einsum("nk,nk->n", term.X, term.draw(draw, T)[term.codes])
        return np.asarray(self._mean + np.sqrt(self._scale) * y)


def predict(model: Assembled, params: Any, exog: Any = None) -> Array:
    """Return Xβ for given fixed effects, shape (m,); see `MixedLMResults.predict` for more."""
    return fixed_part(model.design, params, exog)


def fixed_part(design: Design, params: Any, exog: Any = None) -> Array:
    """Return Xβ for given fixed effects, at the rows of a design or at others, (m,)."""
    X = design.X if exog is None else np.asarray(exog)
    beta, p = np.asarray(params), len(design.x_names)
    if X.shape[-1:] != (p,) or X.dtype.kind not in "fiub":
        raise FitError(
            f"exog has shape {X.shape}; the model's predict takes numbers with a column for "
            f"each of the {p} fixed effects. For new data, use predict(data) of the results."
        )
    if beta.shape != (p,):
        raise FitError(
            f"params has shape {beta.shape}; the model has {p} fixed effects. Pass a number for "
            "each, or use predict of the results."
        )
    return np.asarray(X @ beta)


def get_distribution(
    model: Assembled, params: Any, scale: float, exog: Any = None
) -> ResponseDistribution:
    """Return the distribution of the response, as statsmodels' `Mediation` asks for it.

    Parameters
    ----------
    params : array_like (p,)
        Fixed effects.
    scale : float
        Residual variance.
    exog : array_like (n, p), optional
        Other values of the fixed columns for the rows of the model.

    Returns
    -------
    ResponseDistribution
        Its method ``rvs`` draws a response. The covariances of the random effects, relative to
        `scale`, are those of the model's own fit by REML.

    Raises
    ------
    FitError
        If the parameters or rows are not those of the model.
    """
    design = model.design
    mean = predict(model, params, exog)
    if mean.shape != design.y.shape:
        raise FitError(
            f"exog has {len(mean)} rows; the model has {len(design.y)}. Pass a row for each."
        )
    if design.offset is not None:
        mean = mean + design.offset
    return ResponseDistribution(design, mean, model.reml_fit.templates, scale)
