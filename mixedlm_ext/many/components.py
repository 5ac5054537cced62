"""Standard deviations and correlations of the random effects of many fits."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mixedlm_ext.estimation.estimates import Estimates
from mixedlm_ext.structures.covariance import Covariance
from mixedlm_ext.structures.positions import range_of_correlation

Array = NDArray[np.float64]

__all__ = ["all_values", "component_values"]


def all_values(covariance: Covariance, e: Estimates, sigma: bool) -> Array:
    """Return all parameters of r fits.

    Those of `component_values`, sigma if asked for, those of the residuals, beta.
    """
    ends = [e.sigma[:, None]] if sigma else []
    ends += [e.residual, e.beta]
    return np.column_stack([component_values(covariance, e), *ends])


def component_values(covariance: Covariance, e: Estimates) -> Array:
    """Return, term by term, standard deviations and then correlations or ranges of r fits.

    Parameters
    ----------
    covariance : Covariance
    e : Estimates

    Returns
    -------
    ndarray (r, c)
        A correlation with a column of variance zero is nan; uncorrelated columns have none.
    """
    r = len(e.sigma)
    out = [np.empty((r, 0))]
    for term, part in zip(covariance.terms, covariance.slices):
        T = np.array([term.structure.template(theta) for theta in e.theta[:, part]])
        T = T.reshape(r, term.k, term.k)
        cov = T @ T.transpose(0, 2, 1) * (e.sigma**2)[:, None, None]
        sd = np.sqrt(np.einsum("rkk->rk", cov))
        out.append(sd[:, :1] if term.structure.one_variance else sd)
        pairs = [pair for _, pair in term.structure.correlations([""] * term.k)]
        if pairs:
            both = sd[:, :, None] * sd[:, None, :]
            with np.errstate(divide="ignore", invalid="ignore"):
                every = np.where(both > 0, np.clip(cov / both, -1.0, 1.0), np.nan)
            correlation = np.column_stack([term.structure.told(every, pair) for pair in pairs])
            distance = term.structure.pair_distance(pairs[0])
            if distance is not None:
                correlation = range_of_correlation(correlation, distance)
            out.append(correlation)
    return np.column_stack(out)
