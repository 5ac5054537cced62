"""A model of second derivatives: those of the linear mixed model for the working response.

With V⁻¹ = W - WZNZ'W, v = Z's and working vectors E = [dΓ v] (working_vectors.py), average
information of Γ is E'(Z'PZ)E; with ζ beside Γ,

    H = | 2E'Z'V⁻¹ZE - E'Z'PZE   2E'Z'V⁻¹Q |
        |                        2Q'V⁻¹Q   |

whose Schur complement is the average information.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mixedlm_ext.criteria.generalized import AnyFactor, GeneralizedProblem
from mixedlm_ext.criteria.working_vectors import working_vectors
from mixedlm_ext.structures.steps import TemplateSteps

Array = NDArray[np.float64]

__all__ = ["WorkingInformation"]


class WorkingInformation:
    """The products of working vectors and fixed columns at one point.

    Parameters
    ----------
    problem : GeneralizedProblem
    factor : AnyFactor
        Of M with the weights w.
    w : ndarray (n,)
    v : ndarray (q,)
        Z's.
    """

    def __init__(self, problem: GeneralizedProblem, factor: AnyFactor, w: Array, v: Array) -> None:
        self._problem, self._factor, self._w, self._v = problem, factor, w, v

    def hessian(self, theta: Array, steps: TemplateSteps, G: Sequence[Array], fast: bool) -> Array:
        """Return H along the directions of a step in θ, and ζ unless the criterion is fast."""
        problem, rows, w = self._problem, self._problem.rows, self._w
        E = working_vectors(problem.covariance, problem.linear.cp, theta, self._v)
        columns = np.column_stack([rows.times(E), problem.Q])
        WC = columns * w[:, None]
        ZWC = rows.sums(WC)
        V = columns.T @ WC - self._factor.quadratic(ZWC)
        c = E.shape[1]
        EE, EQ, QQ = V[:c, :c], V[:c, c:], V[c:, c:]
        average = EE - EQ @ np.linalg.lstsq(QQ, EQ.T, rcond=None)[0] if len(QQ) else EE
        if fast:
            return steps.hessian(average, G)
        by_theta = steps.hessian(2.0 * EE - average, G)
        cross = 2.0 * steps.carry(EQ)
        return np.block([[by_theta, cross], [cross.T, 2.0 * QQ]])
