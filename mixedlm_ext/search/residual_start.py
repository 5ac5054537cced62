"""Where searches start that move the parameters of the residuals, too.

θ starts as if residuals were independent. A correlation of neighbours and random effects explain
much the same, so that there may be a minimum with more of the one and another with more of the
other: several correlations are tried, and where they are strong with smaller random effects.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mixedlm_ext.criteria.gaussian import GaussianCriterion
from mixedlm_ext.criteria.linear import AnyCriterion, AnyEvaluation
from mixedlm_ext.criteria.pls import degenerate
from mixedlm_ext.criteria.space import JointSpace
from mixedlm_ext.search.log import Log
from mixedlm_ext.search.start import start_values
from mixedlm_ext.structures.base import LEAST_SD

Array = NDArray[np.float64]

__all__ = ["residual_starts"]

_STRONG = 0.7
"""Correlations from which on smaller random effects are tried."""
_LESS = 0.3
"""How much smaller they are."""
_APART = 0.3
"""How far in z another start must be from where the first search begins."""


def residual_starts(
    criterion: AnyCriterion, log: Log, several: bool
) -> tuple[AnyEvaluation, list[Array]]:
    """Return where to start, evaluated, and other points in order.

    Parameters
    ----------
    criterion : AnyCriterion
        Of a model whose residuals have a structure, restricted or not.
    log : Log
    several : bool
        Whether there may be several minima were the residuals independent.
    """
    space = criterion.space
    assert isinstance(space, JointSpace)
    structure = space.structure
    first: Array = np.zeros(0)
    others: list[Array] = []
    if space.covariance.n_theta:
        plain = GaussianCriterion(criterion.problem, criterion.reml, criterion.sigma)
        start, others = start_values(plain, log, several)
        first = start.theta
    candidates = []
    kind = structure.kind
    for r in (0.0,) if kind is None else kind.starts:
        z = structure.neutral
        theta = first
        if kind is not None:
            z[0] = kind.z_of(max(r, kind.rho_range[0] * 0.5))
        if abs(r) > _STRONG:
            theta = space.covariance.scaled(theta, _LESS)
        candidates.append(space.join(np.where(theta == 0, LEAST_SD, theta), z))
    best: AnyEvaluation | None = None
    values = []
    for point in candidates:
        e = log.evaluate(criterion, point)
        values.append(np.inf if e is None else e.value)
        if e is not None and (best is None or e.value < best.value):
            best = e
    if best is None:
        raise degenerate()
    _, z = space.split(best.theta)
    return best, [space.join(theta, z) for theta in others]
