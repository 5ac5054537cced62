"""The printed summary of a generalized fit, in statsmodels' format."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from statsmodels.genmod import families
from statsmodels.genmod.families import links
from statsmodels.iolib.summary import Summary

from mixedlm_ext.estimation.fitted import Fitted
from mixedlm_ext.estimation.generalized import GeneralizedFit
from mixedlm_ext.generalized.record import generalized
from mixedlm_ext.report.summary import summary_notes, summary_page

__all__ = ["summary"]


def summary(
    fitted: Fitted,
    yname: str | None = None,
    xname: Sequence[str] | None = None,
    title: str | None = None,
    alpha: float = 0.05,
) -> Summary:
    """Summarize the fit.

    Parameters
    ----------
    yname : str, optional
        Another name for the response.
    xname : sequence of str, optional
        Other names for the fixed effects.
    title : str, optional
    alpha : float
        Level of the confidence intervals.

    Returns
    -------
    Summary
        ``tables[0]`` describes the model, ``tables[1]`` the fixed effects, ``tables[2]`` the
        random effects.
    """
    fit = generalized(fitted)
    heading = title or "Generalized Linear Mixed Model Regression Results"
    notes = [*summary_notes(fitted), *_notes(fit)]
    return summary_page(fitted, heading, _items(fitted, fit), notes, yname, xname, alpha)


def method_name(fit: GeneralizedFit) -> str:
    """Say how the random effects were integrated out."""
    if fit.nagq == 0:
        return "ML (fast)"
    return "ML (Laplace)" if fit.nagq == 1 else f"ML (AGQ, {fit.nagq} nodes)"


def _items(fitted: Fitted, fit: GeneralizedFit) -> tuple[list[Any], list[Any]]:
    """Return the name and value pairs of the left and right half of the first table."""
    left: list[Any] = [
        ("Dep. Variable:", None),
        ("Model:", [fitted.face.model]),
        ("Model Family:", [type(fit.family).__name__]),
        ("Link Function:", [type(fit.family.link).__name__]),
        ("Method:", [method_name(fit)]),
        ("Date:", None),
        ("Time:", None),
        ("Converged:", ["Yes" if fit.optimization.converged else "No"]),
    ]
    extra = (
        ("Alpha:", [f"{1.0 / fit.size:#8.5g}"])
        if fit.size is not None
        else ("Scale:", [f"{fit.dispersion:#8.5g}"])
    )
    right = [
        ("No. Observations:", [f"{fitted.n:d}"]),
        ("Df Residuals:", [f"{fitted.n - len(fitted.beta):d}"]),
        ("-2 Log-Likelihood:", [f"{fit.objective:#10.7g}"]),
        ("Log-Likelihood:", [f"{fitted.llf:#8.5g}"]),
        ("AIC:", [f"{fitted.aic:#8.5g}"]),
        ("BIC:", [f"{fitted.bic:#8.5g}"]),
        extra,
        ("No. Groups:", [", ".join(f"{count:d}" for count in fitted.n_groups.values())]),
    ]
    return left, right


def _notes(fit: GeneralizedFit) -> list[str]:
    """Return remarks that only generalized models have."""
    notes = _scale_notes(fit)
    if fit.nagq == 0:
        notes.append(
            "Fast fit (nagq=0): fixed effects maximize the penalized likelihood, and their "
            "standard errors take the random-effects covariance as known. Use nagq=1 for estimates "
            "to report."
        )
    if fit.at_poisson:
        notes.append("alpha is estimated as zero: the counts vary no more than Poisson counts.")
    elif fit.size is not None and fit.extra_estimated:
        notes.append(f"Variance of the response: mean + alpha mean^2; size 1/alpha {fit.size:.4g}.")
    return notes


_READ = {
    links.Logit: "Coefficients are log-odds: exp(coef) is an odds ratio.",
    links.Log: "Coefficients are logarithms: exp(coef) is a ratio of means.",
}


def _scale_notes(fit: GeneralizedFit) -> list[str]:
    """Say how coefficients and the scale are to be read."""
    notes = []
    if type(fit.family.link) in _READ:
        notes.append(_READ[type(fit.family.link)])
    if isinstance(fit.family, families.Gamma):
        notes.append("Variance of the response: scale mean^2.")
    elif isinstance(fit.family, families.InverseGaussian):
        notes.append("Variance of the response: scale mean^3.")
    return notes
