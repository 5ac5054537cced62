"""Skewness of estimates by leaving out groups: the acceleration of BCa intervals."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixedlm_ext.design.partition import levels_with_rows
from mixedlm_ext.errors import MixedLMError
from mixedlm_ext.estimation.assembled import Assembled
from mixedlm_ext.estimation.fitted import Fitted
from mixedlm_ext.inference.again import fit_again
from mixedlm_ext.inference.bootstrap.resampling import outer_terms
from mixedlm_ext.many.removal import Removal

Array = NDArray[np.float64]
Evaluate = Callable[[Fitted], Array]

__all__ = ["jackknife_accelerations"]

_MOST_SETS = 200
"""Sets of levels to leave out, at most, for each grouping factor."""


def jackknife_accelerations(fitted: Fitted, evaluate: Evaluate) -> Array:
    """Return Σ l³ / (6 (Σ l²)^{3/2}) for each value, l its influence values.

    Parameters
    ----------
    fitted : Fitted
    evaluate : callable
        Returns the values (s,) of another fit.

    Returns
    -------
    ndarray (s,)
        Zero for a value that nothing influences.

    Notes
    -----
    Davison & Hinkley (1997), equations 5.22 and 2.55 with the jackknife's l, summed over the
    outermost grouping factors as over independent samples. Large factors are cut into sets of
    levels. The products of the rows of a set are taken from those of all.
    """
    design = fitted.rows("the groups to leave out")
    removal = Removal(design, fitted.fit.problem)
    cubes: Any = 0.0
    squares: Any = 0.0
    for term in outer_terms(design):
        codes = levels_with_rows(term).codes
        values = np.array([evaluate(other) for other in _leave_out(fitted, removal, codes)])
        if len(values) < 2:
            continue
        influence = _influence(values)
        cubes += np.nansum(influence**3, axis=0)
        squares += np.nansum(influence**2, axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.where(squares > 0, cubes / (6.0 * squares**1.5), 0.0))


def _influence(values: Array) -> Array:
    """Return (n - 1)/n times the mean less each of n values (n, s); nan where there is none."""
    n = np.maximum(np.isfinite(values).sum(axis=0), 1)
    return np.asarray((np.nansum(values, axis=0) / n - values) * (n - 1) / n)


def _leave_out(fitted: Fitted, removal: Removal, codes: NDArray[np.intp]) -> Iterator[Fitted]:
    """Refit without each set of levels; a set that X cannot do without is passed over."""
    levels = int(codes.max()) + 1
    n_sets = min(levels, _MOST_SETS)
    member = (np.arange(levels) % n_sets)[codes]
    for one in range(n_sets):
        try:
            problem = removal.without(np.flatnonzero(member == one))
            if problem.cp.n > problem.cp.p:
                part = fitted.design.take(member != one)
                yield fit_again(fitted, Assembled(part, fitted.face, problem), robust=False)
        except MixedLMError:
            continue
