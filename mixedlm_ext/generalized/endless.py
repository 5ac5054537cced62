"""Whether a likelihood has a maximum, asked where a search ended."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mixedlm_ext.criteria.laplace import LEAST_DISPERSION, LaplaceEvaluation
from mixedlm_ext.design import Design
from mixedlm_ext.design.messages import list_names
from mixedlm_ext.errors import FitError
from mixedlm_ext.families.conditional import Conditional
from mixedlm_ext.families.curves import is_even
from mixedlm_ext.identification.separation import (
    constant_terms,
    ends_of_range,
    separated_columns,
)

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

__all__ = ["Endless", "may_be_endless"]

_FAR = 8.0
"""Range of the fixed part of η beyond which it is asked whether the estimates are finite."""
_NEAR = 4e-4
"""A mean this near to its end, of which the same is asked: some links are there sooner."""
_WIDE = 2.0
"""A standard deviation of random effects, on the scale of the link, of which that is asked."""
_AT_END = 1.0
"""How near to the lower end of its range the logarithm of a dispersion is no estimate."""
_LARGE = 15.0
"""One beyond which the likelihood may only level off."""
_EARLY = 5.0
"""Times earlier it is asked after a search of many responses, which may end before it is far."""


class Endless:
    """Why there are no finite estimates, if there are none.

    Parameters
    ----------
    design : Design
    ends : ndarray (n,) or None
        Where rows are at an end of the range of their response (see `ends_of_range`).

    Attributes
    ----------
    columns : tuple of int
        The fixed effects that grow without end, once `why` was asked.
    """

    def __init__(self, design: Design, ends: Array | None) -> None:
        self._design, self._ends = design, ends
        self.columns: tuple[int, ...] = ()

    def why(self, e: LaplaceEvaluation) -> str:
        """Return a sentence, or "" if nothing speaks against the maximum."""
        if e.criterion.n_extra and self._nothing_left(e):
            return (
                "the means reproduce the response to working precision, so that nothing is left "
                "to the dispersion and the likelihood rises without end as it goes to zero. Drop a "
                "random or a fixed term, or look for rows that were computed from others"
            )
        link = e.criterion.problem.likelihood.family.link
        if is_even(link) and (e.modes.eta < 0.0).any():
            share = float((e.modes.eta < 0.0).mean())
            return (
                f"with the {type(link).__name__} link the linear predictor is negative in "
                f"{share:.1%} of the rows, where the mean rises again: the likelihood has many "
                "maxima, of which this may not be the largest. Use the log link"
            )
        if self._ends is None:
            return ""
        if self._is_far(e, self._ends):
            self.columns = separated_columns(self._design, self._ends)
            if self.columns:
                return self._separated()
        sd = max(float(np.linalg.norm(T, axis=1).max()) for T in e.templates)
        groups = constant_terms(self._design, self._ends) if sd > _WIDE else []
        if groups:
            return (
                f"every level of {list_names(groups)} has the same response in all its rows, so "
                "that the likelihood rises, or levels off, as the variance of its random effects "
                "grows: no finite estimate exists. Drop that term, or collect more rows."
            )
        if sd > _LARGE and _levels_off(e):
            return (
                "the likelihood only levels off as the random effects grow: their standard "
                f"deviation on the scale of the link is {sd:.3g} here and could be any larger "
                "number. Drop a random term, or collect more rows for each level."
            )
        return ""

    @staticmethod
    def _nothing_left(e: LaplaceEvaluation) -> bool:
        """Say whether a dispersion is at the lower end of its range."""
        least, _ = e.criterion.omega_range
        dispersion = e.criterion.problem.likelihood.extra == "dispersion"
        return dispersion and float(e.omega[0]) < least + _AT_END

    @staticmethod
    def _is_far(e: LaplaceEvaluation, ends: Array) -> bool:
        """Say whether the fixed part takes some rows next to the ends of their range."""
        problem = e.criterion.problem
        fixed = problem.Q @ e.modes.zeta
        if not problem.p or not len(fixed):
            return False
        return bool(_far_out(problem.likelihood, fixed, problem.offset, e.omega, ends))

    def _separated(self) -> str:
        """Say which columns separate the response."""
        names = [repr(self._design.x_names[j]) for j in self.columns]
        listed = ", ".join(names[:4]) + (" and others" if len(names) > 4 else "")
        verb = "separates" if len(names) == 1 else "separate"
        return (
            f"{listed} {verb} the response: along this direction of the fixed effects the "
            "likelihood rises without end (complete or quasi-separation, such as a cell without "
            "a success, without a failure or with counts of zero only), and no finite estimates "
            "exist. Merge levels or leave columns out; the numbers are where the search stopped"
        )


def may_be_endless(
    likelihood: Conditional, X: Array, fixed: Array, offset: Array, sd: Array, omega: Array
) -> Mask:
    """Say which of many responses have to be asked, one by one, whether they have a maximum.

    Parameters
    ----------
    likelihood : Conditional
        Of many responses.
    X : ndarray (n, p)
    fixed : ndarray (n, r)
        The fixed part of η without its offset.
    offset : ndarray (n,)
    sd : ndarray (r,)
        The largest standard deviation of random effects.
    omega : ndarray (0 or 1, r)
    """
    if likelihood.extra == "dispersion":
        least = likelihood.omega_centre + LEAST_DISPERSION + _EARLY * _AT_END
        return np.asarray(omega[0] < least)
    ends = ends_of_range(likelihood)
    if ends is None:
        return np.zeros(len(sd), dtype=bool)
    p = X.shape[1]
    scaled = X / np.maximum(np.abs(X).max(axis=0), 1e-300)
    pairs = (scaled[:, :, None] * scaled[:, None, :]).reshape(len(X), p * p)
    still = (pairs.T @ (ends == 0)).reshape(p, p, -1).transpose(2, 0, 1)  # rows that may not move
    values = np.linalg.eigvalsh(still)
    free = values.min(axis=1, initial=np.inf) <= 1e-10 * np.maximum(
        values.max(axis=1, initial=0.0), 1.0
    )
    far = _far_out(likelihood, fixed, offset[:, None], omega, ends, _EARLY)
    free &= far | (ends == 0).any(axis=0)
    two_sided = (ends > 0).any(axis=0) & (ends < 0).any(axis=0)
    return free | (two_sided & (sd > _WIDE)) | (sd > _LARGE)


def _far_out(
    likelihood: Conditional,
    fixed: Array,
    offset: Array,
    omega: Array,
    ends: Array,
    early: float = 1.0,
) -> Mask:
    """Say whether the fixed part of η, (n,) or (n, r), takes rows next to ends of their range.

    That is so where it spans a wide range, or where the mean of a row is next to the row's own end.
    """
    far = np.ptp(fixed, axis=0) + np.abs(fixed.mean(axis=0)) > _FAR / early
    mu = likelihood.given(omega)(fixed + offset).mu
    near = (ends != 0) & (np.abs(mu - (ends > 0)) < early * _NEAR)
    return np.asarray(far | near.any(axis=0))


def _levels_off(e: LaplaceEvaluation) -> bool:
    """Say whether effects three times as large are about as likely: all, or the largest columns."""
    m = len(e.theta_part)
    far = e.theta.copy()
    far[:m] = e.criterion.problem.covariance.scaled(e.theta_part, 3.0)
    p = len(e.criterion.split(far)[1])
    far[m : m + p] *= 3.0
    for point in (far, np.concatenate([_grown(e), e.theta[m:]])):
        try:
            if e.at_point(point).value < e.value + 0.5:
                return True
        except FitError:
            continue
    return False


def _grown(e: LaplaceEvaluation) -> Array:
    """Return θ with the standard deviations that are large three times as large."""
    covariance, theta = e.criterion.problem.covariance, e.theta_part.copy()
    large = [np.linalg.norm(T, axis=1) > _LARGE for T in e.templates]
    own = np.flatnonzero(covariance.rows >= 0)
    places = [j for j in own if large[covariance.blocks[j]][covariance.rows[j]]]
    theta[np.unique(covariance.owners[places])] *= 3.0
    return theta
