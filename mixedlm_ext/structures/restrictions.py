"""Parameters that are fixed at a value, or equal to one another: equations in (θ, η, log σ).

Users think of standard deviations, correlations and ranges, the engine of θ. Where a quantity is a
θ, as in a diagonal structure or one of standard deviations and correlations, the equation is
linear, θ = Cψ + c. A standard deviation in the units of the response is σ times what θ says of it,
so that fixing one ties θ to σ: log σ is then a parameter beside θ. Standard deviations and
correlations of an unstructured term are functions of Γ = TT', whose derivatives its structure
knows. Parameters of the residuals, η, move alone: fixing one is linear, too.

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
from mixedlm_ext.structures.parameter_point import Jet, ParameterPoint

Array = NDArray[np.float64]

__all__ = [
    "Correlation",
    "Equation",
    "LogRange",
    "LogSd",
    "LogSigma",
    "LogTheta",
    "OfResiduals",
    "Quantity",
    "Restrictions",
    "ThetaItself",
]

_LEAST = 1e-12
"""For variances of zero, by which nothing can be divided."""
_APART = 1e-2
"""Least eigenvalue of a correlation matrix to start from."""


class Quantity(Protocol):
    """A function of (θ, η, log σ)."""

    def at(self, point: ParameterPoint) -> Jet:
        """Return its value and derivatives in the parameters as users have them."""


@dataclass(frozen=True)
class ThetaItself:
    """One of the θ: a correlation or a standard deviation relative to σ."""

    index: int

    def at(self, point: ParameterPoint) -> Jet:
        """Return θ_j."""
        out = point.zero
        out.gradient[self.index] = 1.0
        return replace(out, value=float(point.theta[self.index]))


@dataclass(frozen=True)
class LogTheta:
    """The logarithm of a standard deviation that is one of the θ, times σ or not."""

    index: int
    absolute: bool

    def at(self, point: ParameterPoint) -> Jet:
        """Return log|θ_j| + log σ."""
        out, own = point.zero, float(point.theta[self.index])
        out.gradient[self.index] = np.divide(1.0, own)
        out.hessian[self.index, self.index] = -np.divide(1.0, own * own)
        out.gradient[-1] = float(self.absolute)
        return replace(out, value=float(np.log(abs(own))) + self.absolute * point.user_log_sigma)


@dataclass(frozen=True)
class LogSd:
    """The logarithm of the standard deviation of a column of a term, times σ or not."""

    term: int
    column: int
    absolute: bool

    def at(self, point: ParameterPoint) -> Jet:
        """Return ½ log Γ_aa + log σ."""
        entries = _Entries(point, self.term, [(self.column, self.column)])
        (y,) = entries.values
        out = entries.function(
            0.5 * float(np.log(y)), np.array([0.5 / y]), np.array([[-0.5 / y**2]])
        )
        out.gradient[-1] = float(self.absolute)
        return replace(out, value=out.value + self.absolute * point.user_log_sigma)


@dataclass(frozen=True)
class Correlation:
    """The correlation of two columns of a term."""

    term: int
    columns: tuple[int, int]

    def at(self, point: ParameterPoint) -> Jet:
        """Return Γ_ab/√(Γ_aaΓ_bb)."""
        a, b = self.columns
        entries = _Entries(point, self.term, [(a, b), (a, a), (b, b)])
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

    def at(self, point: ParameterPoint) -> Jet:
        """Return log(unit u/(1 - u))."""
        out, u = point.zero, float(point.theta[self.index])
        rate = np.divide(1.0, u * (1.0 - u))
        out.gradient[self.index] = rate
        out.hessian[self.index, self.index] = (2.0 * u - 1.0) * rate * rate
        return replace(out, value=float(np.log(self.unit) + np.log(u) - np.log1p(-u)))


@dataclass(frozen=True)
class LogSigma:
    """The logarithm of the residual standard deviation."""

    def at(self, point: ParameterPoint) -> Jet:
        """Return log σ."""
        out = point.zero
        out.gradient[-1] = 1.0
        return replace(out, value=point.user_log_sigma)


@dataclass(frozen=True)
class OfResiduals:
    """One of the η of the residuals, plus log σ or not.

    η is the log of a ratio of standard deviations, a power or a rate, or where a correlation of
    residuals is in a search; a log ratio plus log σ is the log of a stratum's standard deviation.
    """

    index: int
    absolute: bool = False

    def at(self, point: ParameterPoint) -> Jet:
        """Return η_k + log σ."""
        out = point.zero
        out.gradient[point.m + self.index] = 1.0
        out.gradient[-1] = float(self.absolute)
        return replace(
            out, value=float(point.eta[self.index]) + self.absolute * point.user_log_sigma
        )


class _Entries:
    """Entries of a term's Γ with their derivatives, and functions of them."""

    def __init__(self, point: ParameterPoint, term: int, entries: list[tuple[int, int]]) -> None:
        structure = point.covariance.terms[term].structure
        self._size, self._part = point.size, point.covariance.slices[term]
        own = point.theta[self._part]
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
        out = Jet.zero(self._size)
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

    def at(self, point: ParameterPoint) -> Jet:
        """Return what the left side is more than the target."""
        out = point.zero
        for factor, quantity in self.parts:
            out = out.plus(quantity.at(point), factor)
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

    def at(self, point: ParameterPoint) -> list[Jet]:
        """Return the equations' left sides less their targets; derivatives in the point's own."""
        with np.errstate(all="ignore"):  # what is undefined at this θ is nan
            return [point.carry(equation.at(point)) for equation in self.equations]

    def seed(self, point: ParameterPoint) -> Array:
        """Return a standardized θ like another, with what is asked of whole covariance matrices.

        Newton's method finds its way from there, as it may not from correlations of other signs.
        """
        covariance, log_sigma = point.covariance, point.log_sigma
        theta = covariance.unstandardize(point.standardized)
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

    def count(self, point: ParameterPoint) -> int:
        """Return the number of parameters that the equations take away."""
        gradients = np.array([j.gradient for j in self.at(point)])
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
