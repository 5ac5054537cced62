"""Adaptive Gauss-Hermite quadrature of the likelihood, for one random term of one column.

With one scalar factor the likelihood is a product over levels of integrals over one variable. With
the mode ũ_l and σ_l = M_ll^(-½), nodes x_j and weights ω_j of the Gauss-Hermite rule for the
standard normal density,

    log L_l = log σ_l + log Σ_j ω_j exp(ℓ_l(u_lj) - ½u_lj² + ½x_j²),    u_lj = ũ_l + σ_lx_j

(Liu & Pierce 1994, Biometrika 81; Pinheiro & Bates 1995). One node gives Laplace's approximation.
The gradient is exact: with p_lj the shares of the nodes and s_lj = ∂/∂u of the exponent,

    ∂log L_l = Σ_j p_lj ∂ℓ_l(u_lj) + A_l ∂ũ_l + B_l ∂σ_l
    A_l = Σ_j p_lj s_lj,     B_l = 1/σ_l + Σ_j p_lj x_j s_lj

where ∂ũ_l and ∂σ_l follow from the equation of the modes.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp, roots_hermitenorm

from mixedlm_ext.caching import cached_property
from mixedlm_ext.criteria.generalized import GeneralizedProblem
from mixedlm_ext.criteria.laplace import LaplaceCriterion, LaplaceEvaluation
from mixedlm_ext.errors import FitError

Array = NDArray[np.float64]
Index = NDArray[np.intp]

__all__ = ["QuadratureCriterion", "QuadratureEvaluation", "hermite_rule"]

_SMALL = 1e-6
"""θ below which ∂d/∂Γ is not taken as a quotient."""


@cache
def hermite_rule(nodes: int) -> tuple[Array, Array]:
    """Return nodes, and logarithms of the weights for the standard normal density."""
    x, w = roots_hermitenorm(nodes)
    with np.errstate(divide="ignore"):  # outermost weights of many nodes underflow
        return x, np.log(w / w.sum())


class QuadratureCriterion(LaplaceCriterion):
    """-2 log-likelihood by quadrature.

    Parameters
    ----------
    problem : GeneralizedProblem
    nodes : int
    fixed_omega : ndarray (1,), optional

    Raises
    ------
    FitError
        Unless the model has one random term of one column.
    """

    def __init__(
        self, problem: GeneralizedProblem, nodes: int, fixed_omega: Array | None = None
    ) -> None:
        super().__init__(problem, False, fixed_omega)
        terms = problem.covariance.terms
        if len(terms) > 1 or terms[0].k > 1:
            found = f"{len(terms)} terms" if len(terms) > 1 else f"a term of {terms[0].k} columns"
            raise FitError(
                f"nagq={nodes}: quadrature is for one random term of one column, such as (1 | g); "
                f"this model has {found}. Use nagq=1, Laplace's approximation."
            )
        if problem.linear.cp.is_tied(0) or problem.linear.cp.layout.root_of(0) is not None:
            raise FitError(
                f"nagq={nodes}: quadrature is for levels that have nothing to do with one another; "
                "here they share rows, or a known covariance. Use nagq=1, Laplace's approximation."
            )
        self.nodes = nodes

    def at(
        self, point: Array, u: Array | None = None, zeta: Array | None = None
    ) -> QuadratureEvaluation:
        """Evaluate at a point (see `LaplaceCriterion.at`)."""
        return QuadratureEvaluation(self, np.asarray(point, dtype=float), u, zeta)


class QuadratureEvaluation(LaplaceEvaluation):
    """The criterion at one point."""

    criterion: QuadratureCriterion

    def _value(self) -> float:
        """-2Σ log L_l."""
        return float(-2.0 * self._likelihoods.sum())

    @property
    def _codes(self) -> Index:
        """The level of each row."""
        return self.criterion.problem.rows.blocks[0].codes

    @cached_property
    def _z(self) -> Array:
        """The column of the random term, (n,)."""
        column = self.criterion.problem.rows.blocks[0].columns[0]
        return np.ones(self.criterion.problem.n) if column is None else column

    def _sums(self, values: Array) -> Array:
        """Return the sums over the rows of each level."""
        return np.bincount(self._codes, values, len(self.modes.u)).astype(float, copy=False)

    @property
    def _t(self) -> float:
        """θ."""
        return float(self.templates[0][0, 0])

    @cached_property
    def _sd(self) -> Array:
        """σ_l = M_ll^(-½)."""
        M = 1.0 + self._t**2 * self._sums(self.w * self._z**2)
        if not (M > 0).all():
            raise FitError("the information about the random effects is not positive.")
        return np.asarray(1.0 / np.sqrt(M))

    def _eta(self, u: Array) -> Array:
        """Return η with random effects u of the levels."""
        return np.asarray(self.modes.eta + self._t * self._z * (u - self.modes.u)[self._codes])

    @cached_property
    def _exponents(self) -> Array:
        """log ω_j + ℓ_l(u_lj) - ½u_lj² + ½x_j² of each node and level, (nodes, levels)."""
        x, log_weights = hermite_rule(self.criterion.nodes)
        likelihood = self.criterion.problem.likelihood
        out = np.empty((len(x), len(self.modes.u)))
        for j, (node, log_weight) in enumerate(zip(x, log_weights)):
            u = self.modes.u + self._sd * node
            ll = self._sums(likelihood.at(self._eta(u), self.omega).loglike)
            out[j] = log_weight + ll - 0.5 * u**2 + 0.5 * node**2
        return np.where(np.isnan(out), -np.inf, out)

    @cached_property
    def _likelihoods(self) -> Array:
        """log L_l."""
        return np.asarray(np.log(self._sd) + logsumexp(self._exponents, axis=0))

    # --- the gradient -----------------------------------------------------------------------------

    @cached_property
    def _node_sums(self) -> tuple[Array, Array, Array, Array, Array]:
        """Sums over nodes: Σp s (n,), Σp s z u (levels), A and B (levels), and Σp ∂ℓ/∂ω."""
        x, _ = hermite_rule(self.criterion.nodes)
        likelihood, extra = self.criterion.problem.likelihood, self.criterion.n_extra
        shares = np.exp(self._exponents - logsumexp(self._exponents, axis=0))
        scores = np.zeros(self.criterion.problem.n)
        by_theta, A = np.zeros(len(self.modes.u)), np.zeros(len(self.modes.u))
        B, omega = 1.0 / self._sd, np.zeros(len(self.modes.u))
        for node, share in zip(x, shares):
            u = self.modes.u + self._sd * node
            at = likelihood.at(self._eta(u), self.omega)
            s = np.where(share[self._codes] > 0, share[self._codes] * at.score, 0.0)
            own = self._sums(s * self._z)
            scores += s
            by_theta += own * u
            slope = self._t * own - share * u
            A += slope
            B = B + node * slope
            if extra:
                with np.errstate(invalid="ignore"):
                    omega += np.where(share > 0, share * self._sums(at.extra_score), 0.0)
        return scores, by_theta, A, B, omega

    @cached_property
    def _row_pull(self) -> tuple[Array, Array]:
        """∂(Σ log L)/∂η̃_i by way of the modes' weights, and A_l with what that adds.

        σ_l = M_l^(-½), M_l = 1 + θ²Σz²w(η̃): ∂σ_l = -½σ_l³∂M_l.
        """
        _, _, A, B, _ = self._node_sums
        pull = -0.5 * B * self._sd**3
        slope = self.modes.at.slope(self.criterion.problem.observed)
        rows = pull[self._codes] * self._t**2 * self._z**2 * slope
        return rows, A + self._t * self._sums(rows * self._z)

    @cached_property
    def _answered(self) -> tuple[Array, Array, Array]:
        """a_l = H_l⁻¹(A_l + ...) of the modes' equation, observed information, θ z a by rows."""
        observed, _ = self._observed_factor
        H = 1.0 + self._t**2 * self._sums(observed * self._z**2)
        a = self._row_pull[1] / H
        return a, observed, self._t * self._z * a[self._codes]

    def cluster_gradients(self, codes: Index, count: int) -> Array:
        """Return the gradient of each of `count` sets of levels, by the codes of the rows.

        Parameters
        ----------
        codes : ndarray (n,)
        count : int

        Returns
        -------
        ndarray (count, θ, ζ and ω)
        """
        problem, at, t = self.criterion.problem, self.modes.at, self._t
        scores, by_theta, _, B, omega = self._node_sums
        rows, _ = self._row_pull
        a, observed, moved = self._answered
        s, w, z, u = at.score, self.w, self._z, self.modes.u
        set_of_level = np.zeros(len(u), np.intp)
        set_of_level[self._codes] = codes
        # at fixed ũ: through the nodes, and through σ_l by θ² and by η̃
        pull = -0.5 * B * self._sd**3
        direct = by_theta + pull * 2.0 * t * self._sums(w * z**2) + self._sums(rows * z) * u
        # the modes: H_l ∂ũ_l = ∂θ(Σzs) - θΣz w_o(z u ∂θ + x'∂ζ) + θΣz ∂s/∂ω ∂ω
        modes = a * (self._sums(z * s) - t * u * self._sums(z**2 * observed))
        by_row = scores + rows - observed * moved
        out = [np.bincount(set_of_level, direct + modes, count)]
        out += [np.bincount(codes, by_row * column, count) for column in problem.Q.T]
        if self.criterion.n_extra:
            weights = at.weights_extra(problem.observed)
            through = omega + pull * t**2 * self._sums(z**2 * weights)
            own = np.bincount(set_of_level, through, count)
            out.append(own + np.bincount(codes, moved * at.score_extra, count))
        return np.asarray(-2.0 * np.column_stack(out))

    @cached_property
    def gradient(self) -> Array:
        """The gradient in the point."""
        return self.cluster_gradients(np.zeros(self.criterion.problem.n, np.intp), 1)[0]

    @cached_property
    def _fixed_gradient(self) -> Array:
        """∂d/∂ζ."""
        return self.gradient[1 : 1 + self.criterion.problem.p]

    @cached_property
    def _extra_gradient(self) -> Array:
        """∂d/∂ω."""
        return self.gradient[1 + self.criterion.problem.p :]

    @cached_property
    def gamma_gradient(self) -> list[Array]:
        """∂d/∂Γ = ∂d/∂θ over 2θ; at zero that of Laplace's approximation, to which it tends."""
        if abs(self._t) < _SMALL:
            return super().gamma_gradient
        return [np.array([[self.gradient[0] / (2.0 * self._t)]])]
