"""The points of a criterion of θ and of the parameters z of a residual structure together."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixedlm_ext.caching import cached_property
from mixedlm_ext.errors import FitError
from mixedlm_ext.residual.structure import ResidualStructure
from mixedlm_ext.structures.covariance import Covariance
from mixedlm_ext.structures.given_theta import read_theta

Array = NDArray[np.float64]

__all__ = ["JointSpace", "read_point"]


class JointSpace:
    """What a search asks of points (θ, z), as `Covariance` answers it for θ alone.

    Parameters
    ----------
    covariance : Covariance
    structure : ResidualStructure
    """

    def __init__(self, covariance: Covariance, structure: ResidualStructure) -> None:
        self.covariance, self.structure = covariance, structure

    def split(self, point: Array) -> tuple[Array, Array]:
        """Return θ and z."""
        m = self.covariance.n_theta
        return point[:m], point[m:]

    def join(self, theta: Array, z: Array) -> Array:
        """Return the point of θ and z."""
        return np.concatenate([theta, z])

    @property
    def n_theta(self) -> int:
        """Numbers that a point has."""
        return self.covariance.n_theta + len(self.structure.parameters)

    @cached_property
    def domain(self) -> tuple[Array, Array]:
        """Lower and upper ends."""
        one, two = self.covariance.domain, self.structure.z_range
        return np.concatenate([one[0], two[0]]), np.concatenate([one[1], two[1]])

    @property
    def ends(self) -> tuple[Array, Array] | None:
        """The domain, if a point is not free to take any value."""
        return self.domain

    def start(self) -> Array:
        """Return T = I and independent residuals of one variance."""
        return self.join(self.covariance.start(), self.structure.neutral)

    def scaled(self, point: Array, factor: float) -> Array:
        """Return the point of random effects that are all `factor` times as large."""
        theta, z = self.split(point)
        return self.join(self.covariance.scaled(theta, factor), z)

    def at_zero(self, point: Array, near: float) -> Array:
        """Return the point with what is next to the boundary exactly on it."""
        theta, z = self.split(point)
        low, high = self.structure.z_range
        z = np.where(z - low <= near, low, np.where(high - z <= near, high, z))
        return self.join(self.covariance.at_zero(theta, near), z)

    def canonical(self, point: Array) -> Array:
        """Flip signs of template columns so that every diagonal entry is non-negative."""
        theta, z = self.split(point)
        return self.join(self.covariance.canonical(theta), z)

    def further_starts(self, point: Array) -> list[Array]:
        """Return points to start from after a search that ended here."""
        theta, z = self.split(point)
        return [self.join(other, z) for other in self.covariance.further_starts(theta)]

    def reflections(self, point: Array) -> list[Array]:
        """Return points with correlations of other signs."""
        theta, z = self.split(point)
        return [self.join(other, z) for other in self.covariance.reflections(theta)]

    def unstandardize(self, point: Array) -> Array:
        """Return θ in the user's units, and the parameters of the residuals."""
        theta, z = self.split(point)
        return self.join(self.covariance.unstandardize(theta), self.structure.values_of(z))

    def jacobian_at(self, point: Array) -> Array:
        """Return the derivatives of a point in θ of the user's units and in the parameters."""
        _, z = self.split(point)
        with np.errstate(divide="ignore"):
            rates = 1.0 / self.structure.slopes(z)
        m = self.covariance.n_theta
        out = np.diag(np.concatenate([np.zeros(m), rates]))
        out[:m, :m] = self.covariance.jacobian
        return out

    def standardize(self, point: Array) -> Array:
        """Return the point of θ in the user's units and parameters of the residuals."""
        theta, values = self.split(point)
        return self.join(self.covariance.standardize(theta), self.structure.z_of(values))

    def term_templates(self, point: Array) -> list[Array]:
        """Return the template of each term."""
        return self.covariance.term_templates(self.split(point)[0])


def read_point(covariance: Covariance, structure: ResidualStructure, given: Any) -> Array:
    """Return (θ, z) of theta followed by the parameters of the residuals, or say what is wrong.

    Raises
    ------
    FitError
    """
    names = [p.name for p in structure.parameters]
    m, K = covariance.n_theta, len(names)
    try:
        point = np.asarray(given, dtype=float)
    except (TypeError, ValueError):
        point = np.zeros(0)
    if point.shape != (m + K,) or not np.isfinite(point).all():
        raise FitError(
            f"the criterion of this model is a function of {m + K} numbers: {m} of theta, then "
            f"{', '.join(names)} of the residuals. Pass these, in this order."
        )
    for parameter, value in zip(structure.parameters, point[m:]):
        if not parameter.low < value < parameter.high and value != 0.0:
            raise FitError(
                f"{parameter.name} = {value:g} of the residuals is out of its range, from "
                f"{parameter.low:g} to {parameter.high:g}. Pass a number between."
            )
    theta = covariance.standardize(read_theta(covariance, point[:m]))
    return JointSpace(covariance, structure).join(theta, structure.z_of(point[m:]))
