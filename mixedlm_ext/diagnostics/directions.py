"""In which directions the random effects of a term do not vary, and how to say it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mixedlm_ext.fit import Fit

Array = NDArray[np.float64]

__all__ = ["combination", "constant_directions", "relative_spread"]

_FLAT = 1e-5
"""Singular value, relative to the largest (or to σ if that is larger), that counts as zero."""


def relative_spread(fit: Fit, t: int) -> Array:
    """Return the singular values of a term's standardized template, largest first.

    They are standard deviations of what the term adds to the response, relative to σ.
    """
    return np.asarray(np.linalg.svd(_standardized(fit, t), compute_uv=False), dtype=float)


def constant_directions(fit: Fit, t: int) -> Array:
    """Return combinations of a term's random effects without variance, (r, k).

    Parameters
    ----------
    fit : Fit
    t : int
        The term, in the order of the formula.

    Returns
    -------
    ndarray (r, k)
        Each row holds coefficients c of c'b in the user's units. They are reduced: each column but
        those left over leads one row and is in no other, as one would write it by hand.
    """
    T = _standardized(fit, t)
    vectors, values, _ = np.linalg.svd(T)
    flat = values <= _FLAT * max(1.0, float(values[0]))
    place = fit.problem.cp.layout.places[t]
    scale = place.lengths
    comparable = _reduced(vectors[:, flat].T @ place.whitening / scale)  # u'RT = 0, so that c = R'u
    leading = np.abs(comparable).argmax(axis=1)
    rows = comparable * scale
    return np.asarray(rows / rows[np.arange(len(rows)), leading][:, None])


def combination(coefficients: Array, columns: Sequence[str]) -> str:
    """Write c'b, such as "Intercept - 2.5 × Days"."""
    out = ""
    for c, name in zip(coefficients, columns):
        if c == 0:
            continue
        size = "" if abs(c) == 1 else f"{abs(c):.3g} × "
        sign = ("-" if c < 0 else "") if not out else (" - " if c < 0 else " + ")
        out += f"{sign}{size}{name}"
    return out


def _standardized(fit: Fit, t: int) -> Array:
    """Return T_std = RT of a term."""
    T: Array = fit.problem.cp.layout.places[t].whitening @ fit.templates[t]
    return T


def _reduced(rows: Array) -> Array:
    """Return the row echelon form of independent rows, by the largest pivots; dust is set to 0."""
    rows = rows.copy()
    for i in range(len(rows)):
        j = int(np.abs(rows[i:]).max(axis=0).argmax())
        pivot = i + int(np.abs(rows[i:, j]).argmax())
        rows[[i, pivot]] = rows[[pivot, i]]
        rows[i] /= rows[i, j]
        others = np.arange(len(rows)) != i
        rows[others] -= rows[others, j][:, None] * rows[i]
    return np.where(np.abs(rows) > 1e-3 * np.abs(rows).max(axis=1, keepdims=True), rows, 0.0)
