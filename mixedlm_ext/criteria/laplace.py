"""Laplace's approximation of -2 log-likelihood as a function of (θ, ζ, ω), with its gradient.

At the modes ũ of the random effects given the other parameters (see pirls.py),

    d(θ, ζ, ω) = -2Σℓ_i(η_i) + |ũ|² + log|M|,     M = Λ'Z'WZΛ + I,  η = Qζ + ZΛũ + offset

with W the expected or the observed information at the modes: they differ unless the link is
canonical. The modes move with the parameters. With h the diagonal of ZNZ', N = ΛM⁻¹Λ', w' = ∂w/∂η,
v = Z's, and W_o the observed information,

    q = w'h - W_oZN_oZ'(w'h),    N_o = Λ(Λ'Z'W_oZΛ + I)⁻¹Λ',    ã = Z'q
    ∂d/∂ζ = Q'(q - 2s)
    ∂d/∂Γ_i = K_i - Σ_l v_lv_l' + ½Σ_l(ã_lv_l' + v_lã_l'),      K_i = Σ_l[Z'V⁻¹Z]_ll
    ∂d/∂ω = -2Σ∂ℓ/∂ω + h'∂w/∂ω + (ZN_oZ'(w'h))'∂s/∂ω

Without q these are the equations of a linear mixed model for the working response. In the *fast*
criterion ζ maximizes the penalized log-likelihood together with u, so that d is a function of θ
and ω alone (lme4's nAGQ = 0), and N_o is replaced by the inverse for both: Z̄ = [Z Q].
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from mixedlm_ext.caching import cached_property
from mixedlm_ext.criteria.differences import hessian_by_differences
from mixedlm_ext.criteria.generalized import AnyFactor, GeneralizedProblem
from mixedlm_ext.criteria.laplace_clusters import gamma_by_cluster
from mixedlm_ext.criteria.pirls import find_modes, fixed_start, solve_information
from mixedlm_ext.criteria.working_information import WorkingInformation
from mixedlm_ext.errors import FitError
from mixedlm_ext.linalg.blas import matmul
from mixedlm_ext.structures.derivatives import theta_gradient
from mixedlm_ext.structures.steps import TemplateSteps

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

__all__ = ["LEAST_DISPERSION", "MOST_OMEGA", "LaplaceCriterion", "LaplaceEvaluation"]

MOST_OMEGA = 18.0
"""End of the range of ω, up and down: there a negative binomial is a Poisson distribution."""
LEAST_DISPERSION = -28.0
"""The same, down, of the logarithm of a dispersion relative to that around a constant mean."""

_STEP = 1e-4
"""Of the differences of the gradient that give second derivatives."""
_LONG = 1e-2
"""The longest such step, where rounding of the gradient asks for more."""
_SHARE = 1e-5
"""Share of a second derivative that may be rounding."""
_SHORT = 3e-4
"""A step, in standard errors, over which second derivatives do not change."""


class LaplaceCriterion:
    """Laplace's approximation for one model.

    Parameters
    ----------
    problem : GeneralizedProblem
    fast : bool
        Whether ζ is found with the modes.
    fixed_omega : ndarray (1,), optional
        A known ω, which is then no parameter.
    rough : bool
        Whether another search follows, so that no minimum need be proved by second derivatives.
    """

    def __init__(
        self,
        problem: GeneralizedProblem,
        fast: bool = False,
        fixed_omega: Array | None = None,
        rough: bool = False,
    ) -> None:
        self.problem, self.fast, self.fixed_omega = problem, fast, fixed_omega
        self.rough = rough

    @property
    def n_extra(self) -> int:
        """Estimated parameters beside θ and ζ."""
        return 0 if self.fixed_omega is not None else self.problem.n_extra

    @property
    def omega_range(self) -> tuple[float, float]:
        """The least ω, at which nothing is left to the dispersion, and the largest."""
        likelihood = self.problem.likelihood
        centre = float(likelihood.omega_centre)
        least = LEAST_DISPERSION if likelihood.extra == "dispersion" else -MOST_OMEGA
        return centre + least, centre + MOST_OMEGA

    @cached_property
    def start_zeta(self) -> Array:
        """Where ζ starts if nothing better is known: the fit without random effects."""
        return fixed_start(self.problem)[0]

    def split(self, point: Array) -> tuple[Array, Array, Array]:
        """Return θ, ζ (empty for the fast criterion) and ω of a point."""
        m = self.problem.covariance.n_theta
        p = 0 if self.fast else self.problem.p
        omega = point[m + p :] if self.fixed_omega is None else self.fixed_omega
        return point[:m], point[m : m + p], omega

    def at(
        self, point: Array, u: Array | None = None, zeta: Array | None = None
    ) -> LaplaceEvaluation:
        """Evaluate at a point.

        Parameters
        ----------
        point : ndarray
            θ (standardized), ζ unless the criterion is the fast one, and ω if it is estimated.
        u, zeta : ndarray, optional
            Where the search of the modes starts.
        """
        return LaplaceEvaluation(self, np.asarray(point, dtype=float), u, zeta)


class LaplaceEvaluation:
    """The criterion at one point; derivatives are computed when asked for.

    Attributes
    ----------
    theta : ndarray
        The point: θ, ζ and ω.
    value, noise : float
    modes : Modes
    factor : AnyFactor
        Of M.
    """

    has_exact = True
    nearby: Array | None = None
    """Second derivatives at a point from which a short step led here, if they are known."""

    def __init__(
        self, criterion: LaplaceCriterion, point: Array, u: Array | None, zeta: Array | None
    ) -> None:
        self.criterion, self.theta = criterion, point
        problem = criterion.problem
        self.theta_part, own, self.omega = criterion.split(point)
        self.templates = problem.covariance.templates(self.theta_part)
        start = own if not criterion.fast else (criterion.start_zeta if zeta is None else zeta)
        try:
            self.modes = find_modes(
                problem, self.templates, start, self.omega, u, joint=criterion.fast
            )
            self.w = self._checked(self.modes.at.weights(problem.observed))
            self.factor = problem.factor(self.w, self.templates)
        except np.linalg.LinAlgError:
            raise FitError("the information about the random effects is not positive.") from None
        self.value = self._value()
        if not np.isfinite(self.value):
            link = type(problem.likelihood.family.link).__name__
            raise FitError(
                "the likelihood has no value at the parameters that are tried: with the "
                f"{link} link means come to an end of the range of the family. Use a link that "
                "keeps them inside, such as Log or Logit, or other start_params."
            )
        self.noise = 1e-13 * (abs(self.value) + problem.n) + 4.0 * self.modes.noise

    @staticmethod
    def _checked(w: Array) -> Array:
        if not np.isfinite(w).all():
            raise FitError("working weights are not finite here.")
        return w

    def _value(self) -> float:
        """-2Σℓ + |ũ|² + log|M|."""
        return self.modes.penalized + self.factor.logdet

    @property
    def exact_is_cheap(self) -> bool:
        """Whether a minimum is to be proved by exact second derivatives."""
        return not self.criterion.rough

    # --- the pieces of the gradient ---------------------------------------------------------------

    @property
    def _problem(self) -> GeneralizedProblem:
        return self.criterion.problem

    @cached_property
    def h(self) -> Array:
        """The diagonal of ZNZ', (n,)."""
        return self._problem.rows.diagonal(self.factor.inverse())

    @cached_property
    def v(self) -> Array:
        """v = Z's, (q,)."""
        return self._problem.rows.sums(self.modes.at.score)

    @cached_property
    def _observed_factor(self) -> tuple[Array, AnyFactor]:
        """W_o and the factor of Λ'Z'W_oZΛ + I."""
        problem = self._problem
        if problem.observed or problem.likelihood.canonical:
            return self.w, self.factor
        w = self._checked(self.modes.at.observed)
        return w, problem.factor(w, self.templates)

    def _implicit(self, r: Array) -> Array:
        """Return ZN_oZ'r for r (n,); with [Z Q] in the place of Z for the fast criterion.

        That is how η at the modes answers to a change r of the scores.
        """
        problem, (w, factor) = self._problem, self._observed_factor
        rows = problem.rows
        b = factor.apply(rows.sums(r)[:, None])[:, 0]
        if not self.criterion.fast or not problem.p:
            return rows.times(b)
        WQ = problem.Q * w[:, None]
        ZWQ = rows.sums(WQ)
        NZWQ = factor.apply(ZWQ)
        S = problem.Q.T @ WQ - ZWQ.T @ NZWQ
        zeta = solve_information(S, problem.Q.T @ r - ZWQ.T @ b)
        return rows.times(b - NZWQ @ zeta) + problem.Q @ zeta

    @cached_property
    def _pull(self) -> Array:
        """∂log|M|/∂η = w'h, (n,)."""
        return np.asarray(self.modes.at.slope(self._problem.observed) * self.h)

    @cached_property
    def _answer(self) -> Array:
        """ZN_oZ'(w'h), (n,)."""
        return self._implicit(self._pull)

    @cached_property
    def q(self) -> Array:
        """q = w'h - W_oZN_oZ'(w'h), (n,)."""
        w, _ = self._observed_factor
        return np.asarray(self._pull - w * self._answer)

    @cached_property
    def gamma_gradient(self) -> list[Array]:
        """∂d/∂Γ_i = K_i - Σvv' + ½Σ(ãv' + vã')."""
        problem = self._problem
        K, _ = self.factor.traces()
        shift = problem.rows.sums(self.q)
        out = []
        for i, k in enumerate(K):
            cp = problem.linear.cp
            v, a = cp.block(self.v, i), cp.block(shift, i)
            Kv = cp.spread(i, v)
            av = matmul(a, Kv.T)
            out.append(k - matmul(v, Kv.T) + 0.5 * (av + av.T))
        return out

    @cached_property
    def _fixed_gradient(self) -> Array:
        """∂d/∂ζ = Q'(q - 2s); nothing for the fast criterion."""
        if self.criterion.fast:
            return np.zeros(0)
        return np.asarray(self._problem.Q.T @ (self.q - 2.0 * self.modes.at.score))

    @cached_property
    def _extra_gradient(self) -> Array:
        """∂d/∂ω."""
        if not self.criterion.n_extra:
            return np.zeros(0)
        at, observed = self.modes.at, self._problem.observed
        direct = -2.0 * at.extra_score.sum() + self.h @ at.weights_extra(observed)
        return np.array([float(direct + self._answer @ at.score_extra)])

    def _template_gradient(self, templates: Sequence[Array]) -> list[Array]:
        """∂d/∂T_i = 2G_iT_i."""
        return [2.0 * G @ T for G, T in zip(self.gamma_gradient, templates)]

    @cached_property
    def gradient(self) -> Array:
        """The gradient in the point."""
        own = theta_gradient(
            self._problem.covariance,
            self.theta_part,
            self._template_gradient(self.templates),
            lambda: self.gamma_gradient,
        )
        return np.concatenate([own, self._fixed_gradient, self._extra_gradient])

    def cluster_gradients(self, codes: NDArray[np.intp], count: int) -> Array:
        """Return the gradient of each of `count` sets of rows that share no random effect.

        Parameters
        ----------
        codes : ndarray (n,)
            The set of each row.
        count : int

        Returns
        -------
        ndarray (count, θ, ζ and ω)
        """
        problem, at = self._problem, self.modes.at
        out = np.zeros((count, len(self.theta)))
        m = len(self.theta_part)
        shift = problem.rows.sums(self.q)
        parts = gamma_by_cluster(problem, self.templates, self.w, self.v, shift, codes, count)
        for c, G in enumerate(parts):
            by_template = [2.0 * g @ T for g, T in zip(G, self.templates)]
            known: Callable[[], Sequence[Array]] = partial(list, G)
            out[c, :m] = theta_gradient(problem.covariance, self.theta_part, by_template, known)
        by_row = self.q - 2.0 * at.score
        for j, column in enumerate(problem.Q.T if not self.criterion.fast else ()):
            out[:, m + j] = np.bincount(codes, by_row * column, count)
        if self.criterion.n_extra:
            weights = at.weights_extra(problem.observed)
            extra = -2.0 * at.extra_score + self.h * weights + self._answer * at.score_extra
            out[:, -1] = np.bincount(codes, extra, count)
        return out

    # --- steps ------------------------------------------------------------------------------------

    @cached_property
    def _steps(self) -> TemplateSteps:
        return TemplateSteps(self._problem.covariance, self.theta_part)

    @cached_property
    def step_gradient(self) -> Array:
        """The gradient along the directions of a step."""
        by_theta = self._steps.gradient(
            self._template_gradient(self.templates), self.gamma_gradient
        )
        return np.concatenate([by_theta, self._fixed_gradient, self._extra_gradient])

    def derivatives(self, exact: bool = False) -> tuple[Array, Array]:
        """Return gradient and Hessian along the directions of a step.

        Parameters
        ----------
        exact : bool
            Second derivatives by differences of the gradient, or the model of a linear mixed model
            for the working response.
        """
        return self.step_gradient, self.exact_hessian if exact else self._hessian_model

    @cached_property
    def _hessian_model(self) -> Array:
        """Average information of the working linear model, and the curvature in ω."""
        information = WorkingInformation(self._problem, self.factor, self.w, self.v)
        H = information.hessian(
            self.theta_part, self._steps, self.gamma_gradient, fast=self.criterion.fast
        )
        e = self.criterion.n_extra
        out = np.zeros((len(H) + e, len(H) + e))
        out[: len(H), : len(H)] = H
        if e:
            out[-1, -1] = self._extra_curvature()
        return out

    def _extra_curvature(self) -> float:
        """-2Σ∂²ℓ/∂ω² at fixed η, at least a little."""
        likelihood, eta = self._problem.likelihood, self.modes.eta
        up, down = (likelihood.at(eta, self.omega + c).extra_score.sum() for c in (_STEP, -_STEP))
        return float(max(-(up - down) / _STEP, 1e-2))

    @cached_property
    def exact_hessian(self) -> Array:
        """Second derivatives along the directions of a step, by differences of the gradient."""
        endless = np.full(len(self.step_gradient), np.inf)
        low, high = (-endless, endless) if self.room is None else self.room
        return hessian_by_differences(self._gradient_after, self._difference_steps, low, high)

    @cached_property
    def _difference_steps(self) -> Array:
        """Steps over which the gradient changes by far more than its rounding error.

        Scores are known to the rounding of η times the information of their rows: next to nothing,
        unless the rows say far more than the random effects leave open, as counts of 1e8 do. A
        tenth of a standard error is the most, since second derivatives change, too.
        """
        curvature = np.maximum(np.diag(self._hessian_model), 1e-300)
        long = np.minimum(0.1 * np.sqrt(2.0 / curvature), _LONG)
        wanted = np.minimum(self.modes.noise / (_SHARE * curvature), long)
        return np.maximum(wanted, _STEP)

    def _gradient_after(self, step: Array) -> Array:
        """Return the gradient along this point's directions, after a step along them."""
        if not step.any():
            return self.step_gradient
        moved = self.retract(step)
        by_theta = self._steps.gradient_after(step[: self._steps.size], moved.gamma_gradient)
        return np.concatenate([by_theta, moved._fixed_gradient, moved._extra_gradient])

    @property
    def room(self) -> tuple[Array, Array] | None:
        """How far a step may go down and up each of its directions; None if there are no ends."""
        room = self._steps.room
        if room is None and not self.criterion.n_extra:
            return None
        d, p = self._steps.size, len(self.theta) - len(self.theta_part) - self.criterion.n_extra
        low, high = (np.full(d, -np.inf), np.full(d, np.inf)) if room is None else room
        endless = np.full(p, np.inf)
        own = self.omega if self.criterion.n_extra else np.zeros(0)
        least, most = self.criterion.omega_range
        return (
            np.concatenate([low, -endless, least - own]),
            np.concatenate([high, endless, most - own]),
        )

    @property
    def apart(self) -> Mask | None:
        """The directions of the fixed effects, known the better the less dispersion there is."""
        d, p = self._steps.size, 0 if self.criterion.fast else self._problem.p
        place = np.arange(d + p + self.criterion.n_extra)
        return (place >= d) & (place < d + p) if p else None

    def after(self, step: Array) -> Array:
        """Return the point after a step."""
        d = self._steps.size
        m = len(self.theta_part)
        return np.concatenate([self._steps.apply(step[:d]), self.theta[m:] + step[d:]])

    def retract(self, step: Array) -> LaplaceEvaluation:
        """Evaluate after a step along those directions."""
        moved = self.at_point(self.after(step))
        known = vars(self).get("exact_hessian")
        if known is not None and np.sqrt(max(float(step @ known @ step), 0.0)) < _SHORT:
            moved.nearby = known
        return moved

    def again(self) -> LaplaceEvaluation:
        """Evaluate here once more."""
        return self.at_point(self.theta)

    def at_point(self, point: Array) -> LaplaceEvaluation:
        """Evaluate near by, the modes started from those here."""
        return self.criterion.at(point, self.modes.u, self.modes.zeta)

    def release(self) -> None:
        """Keep everything: second derivatives start from here."""

    # --- the fixed effects with θ and ω as known --------------------------------------------------

    @cached_property
    def fixed_information(self) -> Array:
        """Q'V⁻¹Q = Q'WQ - Q'WZNZ'WQ with the weights at the modes, (p, p)."""
        problem = self._problem
        WQ = problem.Q * self.w[:, None]
        ZWQ = problem.rows.sums(WQ)
        return np.asarray(problem.Q.T @ WQ - self.factor.quadratic(ZWQ))
