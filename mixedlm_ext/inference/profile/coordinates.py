"""Coordinates in which a function of (θ, σ) is held at a value and the rest is free.

The engine's criterion is a function of ψ = (θ, log σ), or of ψ = θ with σ profiled. To minimize it
where some h(ψ) equals t, write ψ as a smooth function of free coordinates x. By the chain rule,
with J = ∂ψ/∂x and g, H the criterion's derivatives in ψ,

    gradient J'g,   Hessian J'HJ + Σ_k g_k ∂²ψ_k/∂x²,   and   ∂d/∂t = g'∂ψ/∂t  at the minimum.

All θ are standardized.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mixedlm_ext.structures.covariance import TermCovariance

Array = NDArray[np.float64]

__all__ = ["Coordinates", "CorrelationHeld", "Place", "SdHeld", "ShareHeld", "TotalHeld"]


@dataclass(frozen=True, eq=False)
class Place:
    """ψ at one x and t.

    Attributes
    ----------
    theta : ndarray (m,)
    log_sigma : float or None
        None if σ is no part of ψ.
    J : ndarray (len(ψ), len(x))
    velocity : ndarray (len(ψ),)
        ∂ψ/∂t.
    """

    theta: Array
    log_sigma: float | None
    J: Array
    velocity: Array


class Coordinates(Protocol):
    """One function of (θ, σ) that is held."""

    def start(self, theta: Array, sigma: float) -> Array:
        """Return x of an unrestricted (θ, σ)."""

    def place(self, x: Array, t: float) -> Place:
        """Return ψ and its first derivatives."""

    def bend(self, x: Array, t: float, g: Array) -> Array:
        """Return Σ_k g_k ∂²ψ_k/∂x²."""

    def of_theta(self, values: Array) -> Array:
        """Return what x takes over of values for each θ, such as the ends of its range."""


class ThetaHeld:
    """A θ that is a correlation or tells a range, held. x is the others.

    Parameters
    ----------
    entry : int
        Where θ holds it.
    unit : float, optional
        θ is range/(range + unit), t the logarithm of the range; a correlation sin t by default.
    """

    def __init__(self, entry: int, unit: float | None = None) -> None:
        self._entry, self._unit = entry, unit

    def _held(self, t: float) -> tuple[float, float]:
        """Return θ and its derivative."""
        if self._unit is None:
            return float(np.sin(t)), float(np.cos(t))
        u = 1.0 / (1.0 + self._unit * float(np.exp(-t)))
        return u, u * (1.0 - u)

    def start(self, theta: Array, sigma: float) -> Array:
        """Return x of an unrestricted θ."""
        return np.delete(theta, self._entry)

    def place(self, x: Array, t: float) -> Place:
        """Return ψ and its first derivatives."""
        J = np.delete(np.eye(len(x) + 1), self._entry, axis=1)
        velocity = np.zeros(len(x) + 1)
        value, velocity[self._entry] = self._held(t)
        return Place(np.insert(x, self._entry, value), None, J, velocity)

    def bend(self, x: Array, t: float, g: Array) -> Array:
        """Return zero: θ is linear in x."""
        return np.zeros((len(x), len(x)))

    def of_theta(self, values: Array) -> Array:
        """Leave the held one out."""
        return np.delete(values, self._entry)


class SdHeld:
    """A standard deviation σ|T₁₁| = t: the first row of a template has one entry, t/σ.

    x is θ without that entry, then log σ unless σ is fixed.

    Parameters
    ----------
    entry : int
        Where θ holds T₁₁.
    scale : float
        Standardized over raw T₁₁.
    m : int
        Length of θ.
    fixed_sigma : float or None
    """

    def __init__(self, entry: int, scale: float, m: int, fixed_sigma: float | None) -> None:
        self._entry, self._scale, self._m = entry, scale, m
        self._fixed_sigma = fixed_sigma

    def start(self, theta: Array, sigma: float) -> Array:
        """Return x of an unrestricted (θ, σ)."""
        x = np.delete(theta, self._entry)
        return x if self._fixed_sigma is not None else np.append(x, np.log(sigma))

    def place(self, x: Array, t: float) -> Place:
        """Return ψ and its first derivatives."""
        m, entry = self._m, self._entry
        known = self._fixed_sigma
        sigma = float(np.exp(x[-1])) if known is None else known
        held = self._scale * t / sigma
        theta = np.insert(x[: m - 1], entry, held)
        J = np.delete(np.eye(m + (known is None)), entry, axis=1)
        velocity = np.zeros(len(J))
        velocity[entry] = self._scale / sigma
        if known is not None:
            return Place(theta, None, J, velocity)
        J[entry, -1] = -held
        return Place(theta, float(x[-1]), J, velocity)

    def bend(self, x: Array, t: float, g: Array) -> Array:
        """Return g ∂²(t/σ)/∂(log σ)²."""
        out = np.zeros((len(x), len(x)))
        if self._fixed_sigma is None:
            out[-1, -1] = g[self._entry] * self._scale * t * np.exp(-x[-1])
        return out

    def of_theta(self, values: Array) -> Array:
        """Leave the held one out; log σ has no value."""
        return np.delete(values, self._entry)


class CorrelationHeld:
    """A correlation sin t of the first two columns of a term.

    The raw template starts with the rows (a, 0) and (r sin t, r cos t); a = u² and r = w² cannot
    become negative, which would flip the correlation's sign. x is θ with u and w in the places of
    T₁₁ and T₂₂, without the place of T₂₁.

    Parameters
    ----------
    term : TermCovariance
    first : int
        Where θ holds the term's T₁₁; T₂₁ is next.
    m : int
        Length of θ.
    """

    def __init__(self, term: TermCovariance, first: int, m: int) -> None:
        self._m = m
        self._places = [first, first + 1, first + term.k]  # of T₁₁, T₂₁, T₂₂
        self._R = term.whitening[:2, :2]

    def _split(self, t: float) -> tuple[Array, Array]:
        """Standardized (T₁₁, T₂₁, T₂₂) by (a, r), and its derivative in t."""
        R = self._R
        s, c = np.sin(t), np.cos(t)
        L = np.array([[R[0, 0], 0.0], [R[1, 0], R[1, 1] * s], [0.0, R[1, 1] * c]])
        return L, np.array([[0.0, 0.0], [0.0, R[1, 1] * c], [0.0, -R[1, 1] * s]])

    def start(self, theta: Array, sigma: float) -> Array:
        """Return x of an unrestricted θ."""
        T = np.linalg.solve(self._R, np.array([[theta[self._places[0]], 0.0],
                                               theta[self._places[1:]]]))  # fmt: skip
        x = theta.copy()
        x[self._places[0]] = np.sqrt(abs(T[0, 0]))
        x[self._places[2]] = np.sqrt(np.hypot(*T[1]))
        return np.delete(x, self._places[1])

    def _corner(self, x: Array) -> tuple[list[int], Array]:
        """Return where x holds u and w, and their values."""
        where = [self._places[0], self._places[2] - 1]
        return where, x[where]

    def place(self, x: Array, t: float) -> Place:
        """Return ψ and its first derivatives."""
        L, rate = self._split(t)
        where, root = self._corner(x)
        theta = np.insert(x, self._places[1], 0.0)
        theta[self._places] = L @ root**2
        J = np.delete(np.eye(self._m), self._places[1], axis=1)
        J[np.ix_(self._places, where)] = 2.0 * L * root
        velocity = np.zeros(self._m)
        velocity[self._places] = rate @ root**2
        return Place(theta, None, J, velocity)

    def bend(self, x: Array, t: float, g: Array) -> Array:
        """Return the curvature of u² and w²."""
        L, _ = self._split(t)
        where, _ = self._corner(x)
        out = np.zeros((len(x), len(x)))
        out[where, where] = 2.0 * L.T @ g[self._places]
        return out

    def of_theta(self, values: Array) -> Array:
        """Leave T₂₁ out."""
        return np.delete(values, self._places[1])


class TotalHeld:
    """A total variance σ²(c + θ'Aθ) = exp t. x is θ.

    Parameters
    ----------
    A : ndarray (m, m)
    c : float
    """

    def __init__(self, A: Array, c: float) -> None:
        self._A, self._c = A, c

    def start(self, theta: Array, sigma: float) -> Array:
        """Return x of an unrestricted θ."""
        return theta

    def place(self, x: Array, t: float) -> Place:
        """Return ψ and its first derivatives."""
        Ax = self._A @ x
        relative = self._c + float(x @ Ax)
        J = np.vstack([np.eye(len(x)), -Ax / relative])
        velocity = np.append(np.zeros(len(x)), 0.5)
        return Place(x, 0.5 * (t - np.log(relative)), J, velocity)

    def bend(self, x: Array, t: float, g: Array) -> Array:
        """Return the curvature of -log(c + x'Ax)/2."""
        Ax = self._A @ x
        relative = self._c + float(x @ Ax)
        return np.asarray(g[-1] * (2.0 * np.outer(Ax, Ax) / relative**2 - self._A / relative))

    def of_theta(self, values: Array) -> Array:
        """Return all."""
        return values


class ShareHeld:
    """A share q/(c + q + θ_o'Bθ_o) = sin²t of the variance, q = θ_g'Aθ_g of some of the parameters.

    θ_g = ρu/√(u'Au) with ρ = tan t √(c + θ_o'Bθ_o). x is θ with u in the places of θ_g; the
    length of u does not matter, and the criterion is flat along it.

    Parameters
    ----------
    A : ndarray (m, m)
        Of all parameters.
    own : ndarray of bool (m,)
        Which of them are θ_g. A has no entries between these and the others.
    c : float
    """

    def __init__(self, A: Array, own: NDArray[np.bool_], c: float) -> None:
        self._g, self._o = np.flatnonzero(own), np.flatnonzero(~own)
        self._A, self._B = A[np.ix_(own, own)], A[np.ix_(~own, ~own)]
        self._c = c

    def start(self, theta: Array, sigma: float) -> Array:
        """Return x of an unrestricted θ; from zero in no particular direction."""
        x = theta.copy()
        if not x[self._g].any():
            x[self._g] = np.sqrt(np.diag(self._A))
        x[self._g] /= np.sqrt(x[self._g] @ self._A @ x[self._g])
        return x

    def of_theta(self, values: Array) -> Array:
        """Return all."""
        return values

    def _parts(self, x: Array) -> tuple[Array, Array, float, float]:
        """u, θ_o, √(u'Au) and √(c + θ_o'Bθ_o)."""
        u, o = x[self._g], x[self._o]
        return u, o, float(np.sqrt(u @ self._A @ u)), float(np.sqrt(self._c + o @ self._B @ o))

    def place(self, x: Array, t: float) -> Place:
        """Return ψ and its first derivatives."""
        u, o, n, s = self._parts(x)
        tan = np.tan(t)
        theta = x.copy()
        theta[self._g] = tan * s * u / n
        J = np.eye(len(x))
        J[np.ix_(self._g, self._g)] = (
            tan * s * (np.eye(len(u)) / n - np.outer(u, self._A @ u) / n**3)
        )
        J[np.ix_(self._g, self._o)] = tan * np.outer(u / n, self._B @ o / s)
        velocity = np.zeros(len(x))
        velocity[self._g] = (1.0 + tan**2) * s * u / n
        return Place(theta, None, J, velocity)

    def bend(self, x: Array, t: float, g: Array) -> Array:
        """Return the curvature of tan t s(θ_o) (g'u)/n(u)."""
        u, o, n, s = self._parts(x)
        own = g[self._g]
        Au, Bo = self._A @ u, self._B @ o
        h = float(own @ u)
        first = own / n - h * Au / n**3
        cross = np.outer(own, Au)
        second = -(cross + cross.T + h * self._A) / n**3 + 3.0 * h * np.outer(Au, Au) / n**5
        out = np.zeros((len(x), len(x)))
        out[np.ix_(self._g, self._g)] = s * second
        out[np.ix_(self._g, self._o)] = np.outer(first, Bo / s)
        out[np.ix_(self._o, self._g)] = np.outer(Bo / s, first)
        out[np.ix_(self._o, self._o)] = h / n * (self._B / s - np.outer(Bo, Bo) / s**3)
        return np.asarray(np.tan(t) * out)
