"""A theta that users give, read as numbers, or refused in words if no theta of the model."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mixedlm_ext.errors import FitError
from mixedlm_ext.structures.base import Structure
from mixedlm_ext.structures.covariance import Covariance

Array = NDArray[np.float64]

__all__ = ["read_theta"]


def read_theta(covariance: Covariance, theta: object) -> Array:
    """Return `theta` as a float vector of the right length, or say what is wrong with it."""
    vector = _as_numbers(theta)
    if vector is None:
        raise FitError(
            f"theta must hold numbers, not {type(theta).__name__}. Pass {covariance.n_theta} "
            "numbers."
        )
    if vector.shape != (covariance.n_theta,):
        raise FitError(
            f"theta has shape {vector.shape}; this model has {covariance.n_theta} covariance "
            f"parameters. Pass {covariance.n_theta} numbers, {_what_theta_is(covariance)}."
        )
    if not np.isfinite(vector).all():
        raise FitError("theta has values that are not finite. Pass finite numbers.")
    for term, part, _ in covariance.shaped:
        _check_domain(term.structure, vector, part)
    return vector


def _what_theta_is(covariance: Covariance) -> str:
    """Say what the numbers in theta are."""
    triangles = "the lower triangles of the terms' relative covariance factors, column by column"
    if not covariance.shaped:
        return triangles
    names = ", ".join(dict.fromkeys(shaped.term.structure.name for shaped in covariance.shaped))
    own = f"standard deviations relative to sigma, then correlations, for {names}"
    all_shaped = len(covariance.shaped) == len(covariance.terms)
    return own if all_shaped else f"{own}; {triangles}, for others"


def _check_domain(structure: Structure, theta: Array, part: slice) -> None:
    """Refuse standard deviations below zero and correlations out of their range."""
    low, high = structure.domain
    outside = np.flatnonzero((theta[part] < low) | (theta[part] > high))
    if outside.size:
        j = int(outside[0])
        raise FitError(
            f"theta[{part.start + j}] is {theta[part][j]:g}; in a term of structure "
            f"{structure.name!r} it lies between {low[j]:g} and {high[j]:g}. Pass a number in "
            "this range."
        )


def _as_numbers(values: object) -> Array | None:
    """Read a vector of numbers from an array or column of any library; None if it holds others."""
    try:
        listed = values.to_list() if hasattr(values, "to_list") else values
        found = np.ma.asarray(listed) if np.ma.isMaskedArray(listed) else np.asarray(listed)
        if found.dtype.kind in "cmM" or found.dtype.names:
            return None
        numbers = found.astype(np.float64)
        return np.atleast_1d(np.ma.filled(numbers, np.nan))
    except Exception:  # each library has its own for what it cannot convert
        return None
