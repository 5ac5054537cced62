"""The residual variance of one observation, where residuals have a structure: one number."""

from __future__ import annotations

from itertools import product

import numpy as np
from numpy.typing import NDArray

from mixedlm_ext.errors import FitError, did_you_mean
from mixedlm_ext.estimation.fit import Fit
from mixedlm_ext.products.noise import noise_of_weights
from mixedlm_ext.residual.structure import ResidualStructure

Array = NDArray[np.float64]

__all__ = ["residual_variance"]


def residual_variance(fit: Fit, stratum: str | None) -> tuple[float, Array] | None:
    """Return the variance of a residual over σ², and its derivatives in z; None without structure.

    Parameters
    ----------
    fit : Fit
    stratum : str or None
        The stratum of ``variance=``, by its name in varcorr().

    Raises
    ------
    FitError
        If there is no such stratum, or the variances are no strata.
    """
    structure = fit.design.residual
    parts = () if structure is None else structure.variances
    if stratum is not None and not parts:
        raise FitError(
            f"stratum={stratum!r} names a stratum of variance=, which this model has not. Leave "
            "it out."
        )
    if structure is None:
        return None
    for part in parts:
        if part.levels is None:
            raise FitError(
                f"the residual variance of this model goes with {part.text}: there is no one share "
                "of it. Take variances from varcorr(), and intervals from bootstrap(statistic=...)."
            )
    slopes = np.zeros(len(structure.parameters))
    size = float(noise_of_weights(fit.design).variances.mean())
    if not parts:
        return size, slopes
    eta, slopes[structure.n_rho :] = _log_sd(structure, stratum)
    variance = size * float(np.exp(2.0 * eta))
    return variance, 2.0 * variance * slopes


def _log_sd(structure: ResidualStructure, stratum: str | None) -> tuple[float, Array]:
    """Return the log standard deviation of a stratum over σ, and its slopes in z of the variances.

    Strata of several factors are combined, in the order of their names in varcorr().
    """
    text = " * ".join(part.text for part in structure.variances)
    found = {}
    for combined in product(*(range(len(part.strata)) for part in structure.variances)):
        names, columns = [], []
        for part, k in zip(structure.variances, combined):
            names.append(part.strata[k])
            columns.append(np.eye(len(part.strata))[k, 1:])
        found[":".join(names)] = np.concatenate(columns)
    if stratum is None:
        raise FitError(
            f"residuals have a variance in each stratum of {text}, and the share is another in "
            f"each. Name one: stratum={next(iter(found))!r} (there are {', '.join(found)})."
        )
    if str(stratum) not in found:
        raise FitError(
            f"{stratum!r} is no stratum of variance={text!r}.{did_you_mean(str(stratum), found)} "
            f"There are {', '.join(found)}."
        )
    x = found[str(stratum)]
    assert structure.values is not None
    eta = structure.eta_of(structure.z_of(structure.values))
    return float(x @ eta), x * structure.slopes_of_eta
