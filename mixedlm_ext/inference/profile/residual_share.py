"""The residual variance of an observation: of a stratum, or on average over the data."""

from __future__ import annotations

from itertools import product

import numpy as np
from numpy.typing import NDArray

from mixedlm_ext.design.removed import require_rows
from mixedlm_ext.errors import FitError, did_you_mean
from mixedlm_ext.estimation.fit import Fit
from mixedlm_ext.products.noise import noise_of, noise_of_weights
from mixedlm_ext.residual.structure import ResidualStructure

Array = NDArray[np.float64]

__all__ = ["mean_residual_variance", "residual_variance"]


def mean_residual_variance(fit: Fit, stratum: str | None = None) -> tuple[float, Array]:
    """Return the mean variance of the residuals over σ², and its derivatives in z.

    Parameters
    ----------
    fit : Fit
    stratum : str, optional
        That of one stratum of ``variance=``, by its name in varcorr(), in place of the mean.

    Raises
    ------
    FitError
        If there is no such stratum, or the variances are no strata.
    """
    if stratum is not None:
        return residual_variance(fit, stratum)
    require_rows(fit.design)
    structure = fit.design.residual
    variances = noise_of(fit.design).variances
    slopes = np.zeros(0 if structure is None else len(structure.parameters))
    if structure is not None and structure.variances:
        rows = fit.design.residual_rows
        assert rows is not None
        slopes[structure.n_rho :] = 2.0 * structure.slopes_of_eta * (variances @ rows.x) / fit.n
    return float(variances.mean()), slopes


def residual_variance(fit: Fit, stratum: str | None) -> tuple[float, Array]:
    """Return the one variance that residuals have, over σ², and its derivatives in z.

    Parameters
    ----------
    fit : Fit
    stratum : str or None
        The stratum of ``variance=``, by its name in varcorr().

    Raises
    ------
    FitError
        If there is no such stratum, the variances are no strata, or there are several and none is
        named.
    """
    structure = fit.design.residual
    parts = () if structure is None else structure.variances
    if stratum is not None and not parts:
        raise FitError(
            f"stratum={stratum!r} names a stratum of variance=, which this model has not. Leave "
            "it out."
        )
    for part in parts:
        if part.levels is None:
            raise FitError(
                f"the residual variance of this model goes with {part.text}: there is no one share "
                "of it. Take variances from varcorr(), icc() for the mean over the data, and "
                "intervals from bootstrap(statistic=...)."
            )
    require_rows(fit.design)
    slopes = np.zeros(0 if structure is None else len(structure.parameters))
    size = float(noise_of_weights(fit.design).variances.mean())
    if structure is None or not parts:
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
