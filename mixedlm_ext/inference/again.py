"""The same model fitted again: to another response, by maximum likelihood, to other rows."""

from __future__ import annotations

from typing import Any

from mixedlm_ext.estimation.assembled import Assembled
from mixedlm_ext.estimation.fit_warnings import warn_of_fit
from mixedlm_ext.estimation.fitted import Fitted
from mixedlm_ext.inference.fixed.ddf import degrees_of_freedom
from mixedlm_ext.inference.fixed.robust import robust_against
from mixedlm_ext.many import fit_similar

__all__ = ["assembled", "fit_again", "refit", "refit_ml"]


def assembled(fitted: Fitted) -> Assembled:
    """Return what a fit was made of."""
    return Assembled(fitted.design, fitted.face, fitted.fit.problem)


def refit(fitted: Fitted, new_endog: Any) -> Fitted:
    """Fit the same model to another response; all that does not depend on it is used again.

    Parameters
    ----------
    new_endog : array_like (n,)
        As the model sees it (after any transformation in the formula), for the rows of the fit
        or for all rows of the data. The index of a Series must be that of the data.

    Returns
    -------
    MixedLMResults

    Raises
    ------
    DesignError
        If its length or index is another, or it is not numeric, finite and variable.

    Examples
    --------
    >>> from mixedlm_ext import MixedLM, datasets
    >>> data = datasets.dyestuff.load_pandas().data
    >>> result = MixedLM.from_formula("Yield ~ 1 + (1 | Batch)", data).fit()
    >>> round(result.refit(2 * data["Yield"] + 1).sigma / result.sigma, 6)
    2.0
    """
    model = assembled(fitted).with_response(new_endog, reduction=fitted.fit.reduction)
    again = fit_again(fitted, model)
    warn_of_fit(again.fit)
    return again


def refit_ml(fitted: Fitted) -> Fitted:
    """Fit the same model by maximum likelihood; its cross-products are used again.

    Returns
    -------
    MixedLMResults
        With Satterthwaite's degrees of freedom in place of Kenward and Roger's, which are of
        REML fits only.

    Examples
    --------
    >>> from mixedlm_ext import MixedLM, datasets
    >>> data = datasets.dyestuff.load_pandas().data
    >>> result = MixedLM.from_formula("Yield ~ 1 + (1 | Batch)", data).fit()
    >>> round(result.refit_ml().objective, 4)
    327.3271
    """
    again = fit_again(fitted, assembled(fitted), reml=False)
    warn_of_fit(again.fit)
    return again


def fit_again(
    fitted: Fitted, model: Assembled, reml: bool | None = None, robust: bool = True
) -> Fitted:
    """Fit a model of the same parameters; unlike `fit`, it never warns.

    Parameters
    ----------
    fitted : Fitted
    model : Assembled
        Of another response, or of other rows.
    reml : bool, optional
        The criterion; that of this fit by default.
    robust : bool
        Keep the robust covariance if this fit has one; its clusters are those of this fit's
        rows.

    Returns
    -------
    Fitted
        With the same method of tests, but Satterthwaite's where Kenward and Roger's cannot be.
    """
    fit = fitted.fit
    criterion = fit.reml if reml is None else reml
    again = fit_similar(fit, model.design, model.problem, criterion)
    if fitted.clustered is not None and robust:
        return robust_against(again, fitted.clustered, fitted.face)
    name = fitted.method.name
    if fitted.clustered is not None or (name.startswith("kenward-roger") and not criterion):
        name = "satterthwaite"
    return Fitted.by(again, degrees_of_freedom(again, name), fitted.face)
