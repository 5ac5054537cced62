"""The criterion on the set of parameters that fulfil equations (see structures/restrictions.py).

Points are z = (θ, log σ), θ standardized, or θ alone where σ is known, or profiled because no
equation has it; where residuals have a structure its parameters follow θ. With A = ∂h/∂z of the
equations h(z) = 0, steps are along a basis N of the null space of A, back to the set by Newton's
method on h; with multipliers μ, g = A'μ at the minimum, gradient and Hessian along N are those of
the Lagrangian,

    N'g   and   N'(H - Σ_i μ_i ∂²h_i)N,

and ∂d/∂target_i = μ_i. Where θ and log σ both count, the criterion is that of a known σ:

    ∂d/∂log σ = 2(df - r²/σ²),   ∂²d/∂(log σ)² = 4r²/σ²,   ∂²d/∂θ∂log σ = -2/σ² ∂r²/∂θ.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from mixedlm_ext.caching import cached_property
from mixedlm_ext.criteria.gaussian import GaussianCriterion, GaussianEvaluation
from mixedlm_ext.criteria.pls import PenalizedLeastSquares, Problem
from mixedlm_ext.criteria.residual import ResidualCriterion
from mixedlm_ext.criteria.space import JointSpace
from mixedlm_ext.errors import FitError
from mixedlm_ext.structures.covariance import Covariance
from mixedlm_ext.structures.parameter_point import Jet, ParameterPoint
from mixedlm_ext.structures.restrictions import Restrictions

Array = NDArray[np.float64]
Index = NDArray[np.intp]

__all__ = [
    "RestrictedCriterion",
    "RestrictedEvaluation",
]

_ON = 1e-12
"""What the equations may be off by."""
_ROUNDING = 1e-15
"""What is zero but for rounding."""
_TOUCH = 1e-9
"""What they may be off by where the parameters given are said to fulfil them."""
_MOST = 100
"""Newton steps back to the set."""
_HALVINGS = 30
"""Halvings of such a step."""
_FLAT = 1e-9
"""Singular values of ∂h/∂z, relative to the largest, that are zero."""


class RestrictedCriterion:
    """The criterion of one model whose parameters fulfil equations.

    Parameters
    ----------
    problem : Problem
    reml : bool
    sigma : float or None
        A known residual standard deviation.
    restrictions : Restrictions
    explicit : bool
        log σ counts as a parameter although it could be profiled.
    in_user_scale : bool
        Whether σ is the user's at all parameters of a residual structure, as a known one is.
    """

    def __init__(
        self,
        problem: Problem,
        reml: bool,
        sigma: float | None,
        restrictions: Restrictions,
        explicit: bool = False,
        in_user_scale: bool = False,
    ) -> None:
        self.problem, self.reml, self.sigma = problem, reml, sigma
        self.restrictions = restrictions
        self.with_sigma = sigma is None and (explicit or restrictions.holds_sigma)
        self._sums = problem.residual
        if self._sums is not None and (in_user_scale or sigma is not None):
            self._sums = self._sums.in_user_scale()
        self._plain = self._unrestricted(sigma)
        self.df = self._plain.df

    def _unrestricted(self, sigma: float | None) -> GaussianCriterion:
        """Return the criterion without equations."""
        if self._sums is None:
            return GaussianCriterion(self.problem, self.reml, sigma)
        return ResidualCriterion(self.problem, self._sums, self.reml, sigma)

    @property
    def space(self) -> Covariance | JointSpace:
        """Where its points are."""
        return self._plain.space

    def inside(self, theta: Array) -> Array:
        """Return the point of a standardized theta of the user's scale."""
        return self._plain.inside(theta)

    def at(self, theta: Array) -> RestrictedEvaluation:
        """Evaluate at a point of the set near a standardized θ.

        Raises
        ------
        FitError
            If none is near, or there is no criterion.
        """
        return self.at_point(self.near(theta))

    def at_point(self, z: Array) -> RestrictedEvaluation:
        """Evaluate at the point of the set that is nearest to z."""
        z = self.back(z)
        m, criterion = self.space.n_theta, self._plain
        if self.with_sigma:
            if not -300.0 < z[-1] < 300.0:
                raise FitError("sigma is beyond all numbers.")
            criterion = self._unrestricted(float(np.exp(z[-1])))
        return RestrictedEvaluation(self, z, criterion.at(z[:m]))

    def hessian(self, theta: Array) -> Array:
        """Return the Hessian along the directions of `RestrictedEvaluation.basis`."""
        return self.at(theta).derivatives(exact=True)[1]

    def near(self, theta: Array) -> Array:
        """Return z to go from, with the σ that the equations imply if θ fulfils them."""
        if not self.with_sigma:
            known = 0.0 if self.sigma is None else float(np.log(self.sigma))
            return self._seeded(theta, known)
        implied = self._implied(theta)
        if implied is not None:
            return self.back(np.append(theta, implied), hold_sigma=True)
        log_sigma = 0.5 * float(np.log(self._plain.at(theta).scale))
        z = np.append(self._seeded(theta, log_sigma), log_sigma)
        try:
            return self.back(z, hold_sigma=True)
        except FitError:
            return self.back(z)

    def _seeded(self, theta: Array, log_sigma: float) -> Array:
        """Return θ, or one to go from if it is not on the set."""
        point = self._at(theta, log_sigma)
        jets = self.restrictions.at(point)
        off = np.abs([j.value for j in jets]).max(initial=0.0)
        if off < _TOUCH:
            return theta
        return np.concatenate([self.restrictions.seed(point), theta[point.m :]])

    def _implied(self, theta: Array) -> float | None:
        """Return log σ if the equations have one at this θ."""
        jets = self.restrictions.at(self._at(theta, 0.0))
        h, slope = np.array([j.value for j in jets]), np.array([j.gradient[-1] for j in jets])
        if not np.isfinite(h).all() or not slope.any():
            return None
        log_sigma = -float(h @ slope) / float(slope @ slope)
        return log_sigma if np.abs(h + slope * log_sigma).max() < _TOUCH else None

    def jets(self, z: Array) -> list[Jet]:
        """Return the equations at z; derivatives in z."""
        if self.with_sigma:
            return self.restrictions.at(self._at(z[:-1], float(z[-1])))
        log_sigma = 0.0 if self.sigma is None else float(np.log(self.sigma))
        return [jet.without_last() for jet in self.restrictions.at(self._at(z, log_sigma))]

    def _at(self, theta: Array, log_sigma: float) -> ParameterPoint:
        """Return the parameters at a point of the space."""
        m = self.problem.covariance.n_theta
        own = theta[:m], log_sigma
        if self._sums is None:
            return ParameterPoint(self.problem.covariance, *own)
        slopes = self._sums.structure.slopes_of_all, self._sums.level_slopes
        return ParameterPoint(self.problem.covariance, *own, theta[m:], *slopes)

    def count(self, e: RestrictedEvaluation) -> int:
        """Return the number of parameters that the equations take away."""
        return self.restrictions.count(self._at(e.theta, 0.5 * float(np.log(e.scale))))

    def back(self, z: Array, hold_sigma: bool = False) -> Array:
        """Return the point of the set that Newton's method on h, damped, finds from z.

        Raises
        ------
        FitError
            If it finds none.
        """
        movable = len(z) - int(hold_sigma and self.with_sigma)
        h, A = self._left(z)
        for _ in range(_MOST):
            size = float(np.abs(h).max(initial=0.0))
            if size <= _ON:
                return np.where(np.abs(z) > _ROUNDING, z, 0.0)
            if not np.isfinite(size) or not np.isfinite(A).all():
                break
            move = np.linalg.lstsq(A[:, :movable], h, rcond=_FLAT)[0]
            found = self._damped(z, np.append(move, np.zeros(len(z) - movable)), size)
            if found is None:
                break
            z, h, A = found
        if np.isfinite(h).all() and np.abs(h).max(initial=0.0) <= 1e3 * _ON:
            return z  # as near as rounding lets it
        raise FitError("no parameters near these fulfil what fix= and equal= ask for.")

    def _left(self, z: Array) -> tuple[Array, Array]:
        """Return h and A at z."""
        jets = self.jets(z)
        h = np.array([j.value for j in jets])
        return h, np.array([j.gradient for j in jets]).reshape(len(h), len(z))

    def _damped(self, z: Array, move: Array, size: float) -> tuple[Array, Array, Array] | None:
        """Return the first point along a Newton step, halved again and again, with smaller h."""
        for _ in range(_HALVINGS):
            trial = np.clip(z - move, *self.ends)
            h, A = self._left(trial)
            if np.isfinite(h).all() and float(np.abs(h).max()) < size:
                return trial, h, A
            move = 0.5 * move
        return None

    @cached_property
    def ends(self) -> tuple[Array, Array]:
        """Lower and upper ends of z."""
        low, high = self.space.domain
        if not self.with_sigma:
            return low, high
        return np.append(low, -np.inf), np.append(high, np.inf)


class RestrictedEvaluation:
    """The criterion at one point of the set.

    Attributes
    ----------
    theta : ndarray (m,)
        Standardized, and the parameters of a residual structure.
    point : ndarray
        z above.
    inner : GaussianEvaluation
        The criterion without equations, of this σ if that is a parameter.
    """

    has_exact = True
    apart = None

    def __init__(self, criterion: RestrictedCriterion, z: Array, inner: GaussianEvaluation) -> None:
        self._criterion, self.point, self.inner = criterion, z, inner
        self.theta, self.value, self.noise = inner.theta, inner.value, inner.noise
        self.scale = inner.scale
        self._second: dict[bool, Array] = {}

    @property
    def pls(self) -> PenalizedLeastSquares:
        """The solution of penalized least squares."""
        return self.inner.pls

    @property
    def v(self) -> Array:
        """Z'Py."""
        return self.inner.v

    @property
    def most_noise(self) -> float:
        """As that of the criterion without equations."""
        return self.inner.most_noise

    @property
    def exact_is_cheap(self) -> bool:
        """As that of the criterion without equations."""
        return self.inner.exact_is_cheap

    @cached_property
    def _jets(self) -> list[Jet]:
        return self._criterion.jets(self.point)

    @cached_property
    def _A(self) -> Array:
        """∂h/∂z."""
        return np.array([j.gradient for j in self._jets]).reshape(len(self._jets), len(self.point))

    @cached_property
    def gradient(self) -> Array:
        """∂d/∂z."""
        g = self.inner.gradient
        if not self._criterion.with_sigma:
            return g
        return np.append(g, 2.0 * (self._criterion.df - self.pls.pwrss / self.scale))

    @cached_property
    def multipliers(self) -> Array:
        """μ, what the criterion changes by with each target."""
        return np.asarray(np.linalg.lstsq(self._A.T, self.gradient, rcond=_FLAT)[0])

    @cached_property
    def basis(self) -> Array:
        """N: directions that the equations leave; one for each θ that is in none."""
        n = len(self.point)
        touched = (self._A != 0.0).any(axis=0)
        unit, theta = np.ones(n), self.pls.theta
        unit[: len(theta)] = np.sqrt(1.0 + theta**2)
        parts = [np.diag(unit)[:, ~touched]]
        low, high = self._criterion.ends
        at_end = (self.point <= low) | (self.point >= high)
        for rows, columns in _components(self._A):
            own = _directions_left(self._A[np.ix_(rows, columns)], at_end[columns])
            whole = np.zeros((n, own.shape[1]))
            whole[columns] = own
            parts.append(whole)
        return np.hstack(parts)

    def second(self, exact: bool) -> Array:
        """Return the second derivatives of the Lagrangian in z."""
        if exact not in self._second:
            H = self.inner.hessian if exact else self.inner.hessian_model
            if self._criterion.with_sigma:
                across = -2.0 / self.scale * self.inner.pwrss_gradient[:, None]
                corner = np.array([[4.0 * self.pls.pwrss / self.scale]])
                H = np.block([[H, across], [across.T, corner]])
            bent = sum(mu * j.hessian for mu, j in zip(self.multipliers, self._jets))
            self._second[exact] = H - bent
        return self._second[exact]

    def derivatives(self, exact: bool = False) -> tuple[Array, Array]:
        """Return gradient and Hessian along the basis."""
        N = self.basis
        return N.T @ self.gradient, N.T @ self.second(exact) @ N

    @property
    def room(self) -> tuple[Array, Array] | None:
        """How far a step may go along each direction; None if there are no ends."""
        if self._criterion.space.ends is None:
            return None
        low, high = self._criterion.ends
        N = self.basis
        with np.errstate(divide="ignore", invalid="ignore"):
            a, b = (low - self.point)[:, None] / N, (high - self.point)[:, None] / N
        down, up = np.minimum(a, b), np.maximum(a, b)
        down[N == 0.0], up[N == 0.0] = -np.inf, np.inf
        return np.minimum(down.max(axis=0), 0.0), np.maximum(up.min(axis=0), 0.0)

    def _after(self, step: Array) -> Array:
        """Return z after a step along the basis."""
        return self._criterion.back(np.clip(self.point + self.basis @ step, *self._criterion.ends))

    def after(self, step: Array) -> Array:
        """Return theta after a step along the basis."""
        return self._after(step)[: len(self.theta)]

    def retract(self, step: Array) -> RestrictedEvaluation:
        """Evaluate after a step along the basis."""
        return self._criterion.at_point(self._after(step))

    def again(self) -> RestrictedEvaluation:
        """Evaluate here once more, where the factor was released."""
        return self._criterion.at_point(self.point)

    def release(self) -> None:
        """Free the factor; what is computed stays."""
        _ = self.gradient
        self.inner.release()


def _directions_left(A: Array, at_end: NDArray[np.bool_]) -> Array:
    """Return an orthonormal basis of Ax = 0, as many as can be without what is at an end.

    Else a step away from the end and one along it would share their directions, and have no room.
    """
    _, values, Vt = np.linalg.svd(A)
    out = Vt[int((values > _FLAT * max(values[0], 1e-300)).sum()) :].T
    if at_end.any() and out.shape[1]:
        out = out @ np.linalg.svd(out[at_end])[2].T
    return np.where(np.abs(out) > _ROUNDING, out, 0.0)


def _components(A: Array) -> list[tuple[Index, Index]]:
    """Return equations and parameters that hang together, as rows and columns of A."""
    rows, columns = np.nonzero(A)
    c, n = A.shape
    graph = csr_array((np.ones(len(rows)), (rows, c + columns)), shape=(c + n, c + n))
    _, labels = connected_components(graph, directed=False)
    return [
        (np.flatnonzero(labels[:c] == label), np.flatnonzero(labels[c:] == label))
        for label in np.unique(labels[c + np.unique(columns)])
    ]
