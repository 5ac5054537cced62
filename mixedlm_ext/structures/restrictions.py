"""Parameters that are fixed at a value, or equal to one another: equations in (θ, log σ).

Users think of standard deviations, correlations and ranges, the engine of θ. Where a quantity is a
θ, as in a diagonal structure or one of standard deviations and correlations, the equation is
linear, θ = Cψ + c. A standard deviation in the units of the response is σ times what θ says of it,
so that fixing one ties θ to σ: log σ is then a parameter beside θ. Standard deviations and
correlations of an unstructured term are functions of Γ = TT', whose derivatives its structure
knows.

Quantities are of the user's columns: θ here is not standardized.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mixedlm_ext.caching import cached_property
from mixedlm_ext.linalg.triangular import lower_root
from mixedlm_ext.structures.covariance import Covariance

Array = NDArray[np.float64]

__all__ = [
    "Correlation",
    "Equation",
    "Jet",
    "LogRange",
    "LogSd",
    "LogSigma",
    "LogTheta",
    "Quantity",
    "Restrictions",
    "ThetaItself",
]

_LEAST = 1e-12
"""For variances of zero, by which nothing can be divided."""
_APART = 1e-2
"""Least eigenvalue of a correlation matrix to start from."""


@dataclass(frozen=True, eq=False)
class Jet:
    """A number with its derivatives in (θ, log σ), (m + 1,) and (m + 1, m + 1)."""

    value: float
    gradient: Array
    hessian: Array

    @classmethod
    def constant(cls, m: int) -> Jet:
        """Return zero."""
        return cls(0.0, np.zeros(m + 1), np.zeros((m + 1, m + 1)))

    def plus(self, other: Jet, factor: float) -> Jet:
        """Return the sum with a multiple of another."""
        return Jet(
            self.value + factor * other.value,
            self.gradient + factor * other.gradient,
            self.hessian + factor * other.hessian,
        )


class Quantity(Protocol):
    """A function of (θ, log σ)."""

    def at(self, covariance: Covariance, theta: Array, log_sigma: float) -> Jet:
        """Return its value and derivatives at a θ in the user's units."""


@dataclass(frozen=True)
class ThetaItself:
    """One of the θ: a correlation or a standard deviation relative to σ."""

    index: int

    def at(self, covariance: Covariance, theta: Array, log_sigma: float) -> Jet:
        """Return θ_j."""
        out = Jet.constant(len(theta))
        out.gradient[self.index] = 1.0
        return replace(out, value=float(theta[self.index]))


@dataclass(frozen=True)
class LogTheta:
    """The logarithm of a standard deviation that is one of the θ, times σ or not."""

    index: int
    absolute: bool

    def at(self, covariance: Covariance, theta: Array, log_sigma: float) -> Jet:
        """Return log|θ_j| + log σ."""
        out, own = Jet.constant(len(theta)), float(theta[self.index])
        out.gradient[self.index] = np.divide(1.0, own)
        out.hessian[self.index, self.index] = -np.divide(1.0, own * own)
        out.gradient[-1] = float(self.absolute)
        return replace(out, value=float(np.log(abs(own))) + self.absolute * log_sigma)


@dataclass(frozen=True)
class LogSd:
    """The logarithm of the standard deviation of a column of a term, times σ or not."""

    term: int
    column: int
    absolute: bool

    def at(self, covariance: Covariance, theta: Array, log_sigma: float) -> Jet:
        """Return ½ log Γ_aa + log σ."""
        entries = _Entries(covariance, self.term, theta, [(self.column, self.column)])
        (y,) = entries.values
        out = entries.function(
            0.5 * float(np.log(y)), np.array([0.5 / y]), np.array([[-0.5 / y**2]])
        )
        out.gradient[-1] = float(self.absolute)
        return replace(out, value=out.value + self.absolute * log_sigma)


@dataclass(frozen=True)
class Correlation:
    """The correlation of two columns of a term."""

    term: int
    columns: tuple[int, int]

    def at(self, covariance: Covariance, theta: Array, log_sigma: float) -> Jet:
        """Return Γ_ab/√(Γ_aaΓ_bb)."""
        a, b = self.columns
        entries = _Entries(covariance, self.term, theta, [(a, b), (a, a), (b, b)])
        x, y, w = entries.values
        r = 1.0 / np.sqrt(y * w)
        first = np.array([r, -0.5 * x * r / y, -0.5 * x * r / w])
        xy, xw, yw = -0.5 * r / y, -0.5 * r / w, 0.25 * x * r / (y * w)
        second = np.array(
            [[0.0, xy, xw], [xy, 0.75 * x * r / y**2, yw], [xw, yw, 0.75 * x * r / w**2]]
        )
        return entries.function(float(x * r), first, second)


@dataclass(frozen=True)
class LogRange:
    """The logarithm of a range, of which θ holds u = range/(range + unit)."""

    index: int
    unit: float

    def at(self, covariance: Covariance, theta: Array, log_sigma: float) -> Jet:
        """Return log(unit u/(1 - u))."""
        out, u = Jet.constant(len(theta)), float(theta[self.index])
        rate = np.divide(1.0, u * (1.0 - u))
        out.gradient[self.index] = rate
        out.hessian[self.index, self.index] = (2.0 * u - 1.0) * rate * rate
        return replace(out, value=float(np.log(self.unit) + np.log(u) - np.log1p(-u)))


@dataclass(frozen=True)
class LogSigma:
    """The logarithm of the residual standard deviation."""

    def at(self, covariance: Covariance, theta: Array, log_sigma: float) -> Jet:
        """Return log σ."""
        out = Jet.constant(len(theta))
        out.gradient[-1] = 1.0
        return replace(out, value=log_sigma)


class _Entries:
    """Entries of a term's Γ with their derivatives, and functions of them."""

    def __init__(
        self, covariance: Covariance, term: int, theta: Array, entries: list[tuple[int, int]]
    ) -> None:
        structure, self._part = covariance.terms[term].structure, covariance.slices[term]
        self._m, own = len(theta), theta[self._part]
        T, D = structure.template(own), structure.gamma_derivatives(own)
        self.values = [np.float64(T[a] @ T[b]) for a, b in entries]
        self._slopes = np.array([D[:, a, b] for a, b in entries])
        self._curvatures = []
        for a, b in entries:
            G = np.zeros(T.shape)
            G[a, b] += 0.5
            G[b, a] += 0.5
            self._curvatures.append(structure.curvature(own, G))

    def function(self, value: float, first: Array, second: Array) -> Jet:
        """Return the jet of a function with these derivatives in the entries."""
        out = Jet.constant(self._m)
        out.gradient[self._part] = first @ self._slopes
        curved = sum(f * C for f, C in zip(first, self._curvatures))
        out.hessian[self._part, self._part] = self._slopes.T @ second @ self._slopes + curved
        return replace(out, value=value)


@dataclass(frozen=True)
class Equation:
    """Σ factor × quantity = target.

    Attributes
    ----------
    parts : tuple of (float, Quantity)
    target : float
    text : str
        In the user's words.
    """

    parts: tuple[tuple[float, Quantity], ...]
    target: float
    text: str

    @property
    def holds_sigma(self) -> bool:
        """Whether log σ is in it."""
        return any(
            getattr(quantity, "absolute", isinstance(quantity, LogSigma))
            for _, quantity in self.parts
        )

    def at(self, covariance: Covariance, theta: Array, log_sigma: float) -> Jet:
        """Return what the left side is more than the target."""
        out = Jet.constant(len(theta))
        for factor, quantity in self.parts:
            out = out.plus(quantity.at(covariance, theta, log_sigma), factor)
        return replace(out, value=out.value - self.target)


@dataclass(frozen=True, eq=False)
class Restrictions:
    """The equations that the parameters of a model fulfil, and how the user put them.

    Attributes
    ----------
    equations : tuple of Equation
    fix : dict of str to float
        As given to ``fit(fix=)``.
    equal : tuple of tuple of str
        As given to ``fit(equal=)``.
    fixed : frozenset of str
        Names of the parameters whose value is given, as profiles have them.
    """

    equations: tuple[Equation, ...]
    fix: dict[str, float]
    equal: tuple[tuple[str, ...], ...]
    fixed: frozenset[str] = frozenset()

    @cached_property
    def holds_sigma(self) -> bool:
        """Whether log σ is in one of the equations."""
        return any(equation.holds_sigma for equation in self.equations)

    @property
    def words(self) -> list[str]:
        """The equations in the user's words, each once."""
        return list(dict.fromkeys(equation.text for equation in self.equations))

    def with_equations(self, more: Sequence[Equation]) -> Restrictions:
        """Return the same and more equations, at the end."""
        return Restrictions((*self.equations, *more), self.fix, self.equal, self.fixed)

    def contains(self, other: Restrictions | None) -> bool:
        """Say whether all equations of another are among these."""
        return other is None or set(other.equations) <= set(self.equations)

    def at(self, covariance: Covariance, theta_std: Array, log_sigma: float) -> list[Jet]:
        """Return the equations' left sides less their targets; derivatives in standardized θ."""
        inverse = np.linalg.inv(covariance.jacobian)
        theta = inverse @ theta_std
        m = len(theta)
        C = np.zeros((m + 1, m + 1))
        C[:m, :m], C[m, m] = inverse, 1.0
        with np.errstate(all="ignore"):  # what is undefined at this θ is nan
            jets = [equation.at(covariance, theta, log_sigma) for equation in self.equations]
            return [Jet(j.value, C.T @ j.gradient, C.T @ j.hessian @ C) for j in jets]

    def seed(self, covariance: Covariance, theta_std: Array, log_sigma: float) -> Array:
        """Return a standardized θ like another, with what is asked of whole covariance matrices.

        Newton's method finds its way from there, as it may not from correlations of other signs.
        """
        theta = covariance.unstandardize(theta_std)
        matrices: dict[int, Array] = {}

        def matrix(term: int) -> Array:
            if term not in matrices:
                T = covariance.terms[term].structure.template(theta[covariance.slices[term]])
                matrices[term] = T @ T.T
            return matrices[term]

        for equation in self.equations:
            parts = [quantity for _, quantity in equation.parts]
            sds = [q for q in parts if isinstance(q, LogSd)]
            pairs = [q for q in parts if isinstance(q, Correlation)]
            if len(sds) == len(parts):
                own = [np.sqrt(matrix(q.term)[q.column, q.column]) for q in sds]
                wanted = float(np.mean(own))
                if len(sds) == 1:
                    wanted = float(np.exp(equation.target - sds[0].absolute * log_sigma))
                for q, sd in zip(sds, own):
                    _scale(matrix(q.term), q.column, wanted / max(sd, _LEAST))
            elif len(pairs) == len(parts):
                own = [_correlation(matrix(q.term), *q.columns) for q in pairs]
                wanted = equation.target if len(pairs) == 1 else float(np.mean(own))
                for pair in pairs:
                    _correlate(matrix(pair.term), *pair.columns, wanted)
        for term, found in matrices.items():
            root = lower_root(_root(found))
            theta[covariance.slices[term]] = covariance.terms[term].structure.theta_of(root)
        return covariance.standardize(theta)

    def count(self, covariance: Covariance, theta_std: Array, log_sigma: float) -> int:
        """Return the number of parameters that the equations take away."""
        gradients = np.array([j.gradient for j in self.at(covariance, theta_std, log_sigma)])
        return int(np.linalg.matrix_rank(gradients)) if gradients.size else 0


def _scale(Gamma: Array, a: int, factor: float) -> None:
    """Multiply the standard deviation of a column."""
    Gamma[a] *= factor
    Gamma[:, a] *= factor


def _correlation(Gamma: Array, a: int, b: int) -> float:
    """Return the correlation of two columns."""
    return float(Gamma[a, b] / max(np.sqrt(Gamma[a, a] * Gamma[b, b]), _LEAST))


def _correlate(Gamma: Array, a: int, b: int, r: float) -> None:
    """Give two columns a correlation."""
    Gamma[a, b] = Gamma[b, a] = r * np.sqrt(Gamma[a, a] * Gamma[b, b])


def _root(Gamma: Array) -> Array:
    """Return a square root of a symmetric matrix without its negative eigenvalues."""
    scale = np.sqrt(np.maximum(np.diag(Gamma), _LEAST))
    values, vectors = np.linalg.eigh(Gamma / np.outer(scale, scale))
    return np.asarray(scale[:, None] * vectors * np.sqrt(np.maximum(values, _APART)))
