"""Bootstrap responses of a fit: from its distribution, its residuals, or its groups' signs."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.random import SeedSequence
from numpy.typing import NDArray

from mixedlm_ext.design import Design, TermDesign
from mixedlm_ext.design.partition import is_finer
from mixedlm_ext.design.removed import require_rows
from mixedlm_ext.errors import FitError
from mixedlm_ext.estimation.fit import Fit
from mixedlm_ext.geometry.residuals import marginal
from mixedlm_ext.linalg.orthogonal import orthonormal_basis
from mixedlm_ext.products.noise import noise_of
from mixedlm_ext.simulation.new_rows import fit_simulator
from mixedlm_ext.simulation.simulate import fit_parameters

Array = NDArray[np.float64]
Index = NDArray[np.intp]

__all__ = ["KINDS", "Resampler", "outer_terms", "resampler"]

KINDS = ("parametric", "residual", "wild")


class Resampler(Protocol):
    """Draws bootstrap responses."""

    def draw(self, seed: SeedSequence) -> Array:
        """Return one response (n,)."""


def resampler(fit: Fit, kind: str, use_u: bool = False) -> Resampler:
    """Return what draws the responses of one kind of bootstrap.

    Parameters
    ----------
    fit : Fit
    kind : {"parametric", "residual", "wild"}
    use_u : bool
        Keep the conditional modes of the random effects; only the residuals are drawn.

    Raises
    ------
    FitError
        If a wild bootstrap is to keep the conditional modes, or its groups are crossed; if levels
        have a known covariance and effects are not drawn from it.
    """
    require_rows(fit.design)
    if kind == "parametric":
        return fit_simulator(fit, fit_parameters(fit), conditional=use_u)
    related = [t.group for t in fit.design.terms if t.related is not None]
    if related and not (kind == "residual" and use_u):
        raise FitError(
            f"levels of {related[0]!r} have a known covariance: effects that are drawn with "
            "replacement, or groups whose signs are, would not have it. Use kind='parametric'."
        )
    if kind == "residual":
        return _Residuals(fit, use_u)
    if use_u:
        raise FitError(
            "a wild bootstrap multiplies whole groups and cannot keep their random effects "
            "(use_u=True). Use kind='parametric' or kind='residual'."
        )
    return _Wild(fit)


class _Residuals:
    """Residuals and conditional modes drawn with replacement (Carpenter, Goldstein & Rasbash 2003).

    Modes are shrunken and residuals absorb some of it, so both are first centred and rescaled to
    have the estimated covariances exactly. The modes of a level stay together. When the modes are
    kept they are kept as they are, and only residuals are drawn.
    """

    def __init__(self, fit: Fit, use_u: bool) -> None:
        design = fit.design
        self._noise = noise_of(design)
        fitted = fit.fitted()
        e = self._noise.root_times(design.y - fitted)
        e = e - e.mean()
        self._e = e * (fit.sigma / np.sqrt(np.mean(e * e)))
        self._mean = fitted if use_u else design.y - marginal(fit)
        self._terms = () if use_u else design.terms
        self._b = [_reflated(b, cov) for b, cov in zip(fit.b, fit.random_cov)]

    def draw(self, seed: SeedSequence) -> Array:
        """Return one response (n,)."""
        rng = np.random.default_rng(seed)
        n = len(self._mean)
        y = self._mean + self._noise.root_solve(self._e[rng.integers(n, size=n)])
        for term, b in zip(self._terms, self._b):
            drawn = b[rng.integers(len(b), size=len(b))]
            y += np.einsum("nk,nk->n", term.X, drawn[term.codes])
        return np.asarray(y)


class _Wild:
    """Marginal residuals of each independent group times a random number (Modugno & Giannerini
    2015).

    The number has mean zero and second and third moment one (Mammen 1993); residuals are divided by
    the root of 1 - h, h the leverages of least squares (HC2). The covariance of the response within
    groups need not be that of the model.
    """

    _LOW, _HIGH = (1.0 - np.sqrt(5.0)) / 2.0, (1.0 + np.sqrt(5.0)) / 2.0
    _P_LOW = (np.sqrt(5.0) + 1.0) / (2.0 * np.sqrt(5.0))

    def __init__(self, fit: Fit) -> None:
        design = fit.design
        (group,) = _independent_groups(design)
        joined = noise_of(design).groups
        if joined is not None and not is_finer(joined, group.codes):
            raise FitError(
                "a wild bootstrap needs independent groups, but residuals of different "
                f"{group.group} are correlated. Use kind='parametric' or kind='residual'."
            )
        Q, _ = orthonormal_basis(noise_of(design).root_times(design.X))
        leverage = np.einsum("np,np->n", Q, Q)
        residual = marginal(fit)
        self._mean = design.y - residual
        self._residual = residual / np.sqrt(np.maximum(1.0 - leverage, 1e-8))
        self._codes, self._levels = group.codes, len(group.levels)

    def draw(self, seed: SeedSequence) -> Array:
        """Return one response (n,)."""
        low = np.random.default_rng(seed).random(self._levels) < self._P_LOW
        return np.asarray(
            self._mean + np.where(low, self._LOW, self._HIGH)[self._codes] * self._residual
        )


def outer_terms(design: Design) -> list[TermDesign]:
    """Return one random term for each grouping factor that is nested in no other."""
    distinct: list[TermDesign] = []
    for term in sorted(design.terms, key=lambda t: len(t.levels)):
        if not any(is_finer(term.codes, outer.codes) for outer in distinct):
            distinct.append(term)
    return distinct


def _independent_groups(design: Design) -> list[TermDesign]:
    """Return the one grouping factor that all others are nested in."""
    outer = outer_terms(design)
    if len(outer) > 1:
        names = " and ".join(term.group for term in outer)
        raise FitError(
            f"a wild bootstrap needs independent groups, but {names} are crossed. "
            "Use kind='parametric' or kind='residual'."
        )
    return outer


def _reflated(b: Array, cov: Array) -> Array:
    """Return modes (levels, k) moved and stretched to have mean zero and covariance `cov`."""
    b = b - b.mean(axis=0)
    values, vectors = np.linalg.eigh(b.T @ b / len(b))
    present = values > 1e-10 * max(float(values[-1]), 1e-300)
    shrink = vectors[:, present] / np.sqrt(values[present]) @ vectors[:, present].T
    values, vectors = np.linalg.eigh(cov)
    stretch = vectors * np.sqrt(np.maximum(values, 0.0)) @ vectors.T
    return np.asarray(b @ shrink @ stretch)
