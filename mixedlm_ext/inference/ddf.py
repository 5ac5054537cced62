"""Denominator degrees of freedom of t and F tests of the fixed effects.

A method answers two questions about a hypothesis Lβ = 0: the degrees of freedom of each row's t
test, and the scale and degrees of freedom of the joint F test. `normal` and `residual` are here;
`satterthwaite` and `kenward-roger` have a module each.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mixedlm_ext.covariance import Covariance
from mixedlm_ext.errors import FitError, check_choice
from mixedlm_ext.fit import Fit
from mixedlm_ext.inference.kenward_roger import KenwardRoger, check_linear
from mixedlm_ext.inference.satterthwaite import Satterthwaite

Array = NDArray[np.float64]

__all__ = ["METHODS", "DegreesOfFreedom", "check_method", "check_usable", "degrees_of_freedom"]

METHODS = ("satterthwaite", "kenward-roger", "residual", "normal")
_VARIANT = "kenward-roger-full"


class DegreesOfFreedom(Protocol):
    """One method, for one fit."""

    name: str
    """As `fit(ddf=...)` takes it."""

    def cov(self) -> Array:
        """Return the covariance matrix of the fixed effects, (p, p)."""

    def t(self, L: Array) -> Array:
        """Return the degrees of freedom of each row of L (r, p), shape (r,)."""

    def f(self, L: Array) -> tuple[float, float]:
        """Return scale and degrees of freedom of the joint F test of L (r, p), of rank r."""

    def note(self) -> str:
        """Return one sentence for the summary."""


class _Constant:
    """The same degrees of freedom for every hypothesis."""

    def __init__(self, fit: Fit, name: str, df: float, note: str) -> None:
        self.name, self._fit, self._df, self._note = name, fit, df, note

    def cov(self) -> Array:
        """Return σ²(X'V⁻¹X)⁻¹."""
        return self._fit.sigma**2 * self._fit.unscaled_cov

    def t(self, L: Array) -> Array:
        """Return the constant for each row."""
        return np.full(len(L), self._df)

    def f(self, L: Array) -> tuple[float, float]:
        """Return no scaling and the constant."""
        return 1.0, self._df

    def note(self) -> str:
        """Return the remark for the summary."""
        return self._note


def check_method(name: object) -> None:
    """Raise FitError unless `name` is a method."""
    more = f"{_VARIANT!r} is Kenward and Roger's method with variances estimated as zero counted."
    check_choice("ddf", name, METHODS, FitError, (_VARIANT,), more, quote=False)


def check_usable(covariance: Covariance, name: str) -> None:
    """Raise FitError before a fit if a method is not for covariances of this kind."""
    if name in ("kenward-roger", _VARIANT):
        check_linear(covariance)


def degrees_of_freedom(fit: Fit, name: str) -> DegreesOfFreedom:
    """Return the method called `name` for one fit.

    Parameters
    ----------
    fit : Fit
    name : {"satterthwaite", "kenward-roger", "kenward-roger-full", "residual", "normal"}

    Returns
    -------
    DegreesOfFreedom

    Raises
    ------
    FitError
        If there is no such method, or it cannot be used for this fit.
    """
    check_method(name)
    if name == "satterthwaite":
        return Satterthwaite(fit)
    if name in ("kenward-roger", _VARIANT):
        return KenwardRoger(fit, keep_zeros=name == _VARIANT)
    if name == "residual":
        df = fit.problem.cp.n - fit.problem.cp.p
        note = "Degrees of freedom: observations less fixed effects."
        return _Constant(fit, name, float(df), note)
    note = "P-values and intervals of the fixed effects use the normal approximation."
    return _Constant(fit, name, np.inf, note)
