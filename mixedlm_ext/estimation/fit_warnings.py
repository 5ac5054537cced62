"""What the face warns of once a model is fitted."""

from __future__ import annotations

from statsmodels.tools.sm_exceptions import ConvergenceWarning

from mixedlm_ext.errors import SingularFitWarning, warn_caller
from mixedlm_ext.estimation.fit import Fit
from mixedlm_ext.estimation.generalized import GeneralizedFit

__all__ = ["warn_of_fit", "warn_of_generalized"]


def warn_of_fit(fit: Fit) -> None:
    """Warn of a search that failed and of a singular estimate, naming the terms."""
    if not fit.optimization.converged:
        message = f"The fit did not converge: {fit.optimization.message}"
        warn_caller(message, ConvergenceWarning)
    names = [t.text for t, flag in zip(fit.design.terms, fit.singular_terms) if flag]
    if names:
        warn_caller(
            f"The estimated covariance of {', '.join(names)} is singular: a variance is zero or a "
            "correlation is one. The estimates are right; consider a simpler term.",
            SingularFitWarning,
        )


def warn_of_generalized(fit: GeneralizedFit) -> None:
    """Warn of a search that failed or of estimates at a boundary; of one thing if there is none."""
    if fit.optimization.verdict == "no minimum":
        message = f"There is no estimate to rely on: {fit.optimization.message}."
        warn_caller(message.replace("..", "."), ConvergenceWarning)
        return
    warn_of_fit(fit)
    if fit.at_poisson:
        warn_caller(
            "alpha of the negative binomial is estimated as zero: given the random effects, the "
            "counts vary no more than Poisson counts. The estimates are right; the Poisson family "
            "has one parameter less.",
            SingularFitWarning,
        )
