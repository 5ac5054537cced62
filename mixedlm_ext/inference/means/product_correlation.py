"""The largest of t statistics whose correlations are b_i b_j, as comparisons with a control are.

T_i = [b_i z_0 + (1 - b_i²)^½ z_i]/s with independent normals, so that given z_0 and s nothing is
correlated (Dunnett & Sobel 1955, Biometrika 42):

    P(max |T_i| > t) = ∫ f_ν(s) ∫ φ(z) {1 - Π_i [1 - p_i(z, ts)]} dz ds,                    (1)

    p_i(z, c) = Φ([-c + b_i z]/(1 - b_i²)^½) + Φ([-c - b_i z]/(1 - b_i²)^½).                (2)

Both integrands are positive, analytic and decay fast (in z and in log s): the trapezoidal rule
converges geometrically, and no digits are lost in the tail.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import special

from mixedlm_ext.inference.means.studentized_range import scaled_tail

Array = NDArray[np.float64]

__all__ = ["ProductCorrelation", "product_loadings"]

_SAME = 1e-9
"""Correlations closer than this are equal."""
_LARGEST = 0.995
"""Loadings above this make (2) too steep for the rule."""
_STEP = 0.4
"""Between values of z, in units of the narrowest of the functions of z."""
_FARTHEST = 38.5
"""The normal density of larger z is zero."""
_ALMOST_SURE = 1.0 - 1e-16


def product_loadings(corr: Array) -> Array | None:
    """Return b (m,) if the correlations are b_i b_j, or None.

    Examples
    --------
    >>> product_loadings(np.array([[1.0, 0.5, 0.5], [0.5, 1.0, 0.5], [0.5, 0.5, 1.0]])) ** 2
    array([0.5, 0.5, 0.5])
    >>> product_loadings(np.array([[1.0, 0.5, -0.5], [0.5, 1.0, 0.5], [-0.5, 0.5, 1.0]]))
    """
    m = len(corr)
    off = corr - np.eye(m)
    if m == 1 or not np.any(np.abs(off) > _SAME):
        return np.zeros(m)
    # b_i² from the two statistics that are correlated most with it and with one another
    i, j = np.unravel_index(np.argmax(np.abs(off)), off.shape)
    if m == 2:
        square = abs(off[i, j])
    else:
        thirds = np.where(np.isin(np.arange(m), (i, j)), 0.0, np.abs(off[i] * off[j]))
        third = int(np.argmax(thirds))
        if thirds[third] <= _SAME:
            square = abs(off[i, j])
        else:
            square = off[i, j] * off[i, third] / off[j, third]
    if not 0.0 < square < 1.0:
        return None
    b = off[i] / np.sqrt(square)
    b[i] = np.sqrt(square)
    fitted = np.outer(b, b)
    np.fill_diagonal(fitted, 0.0)
    agree = np.abs(fitted - off).max() < _SAME and np.abs(b).max() < _LARGEST
    return np.asarray(b) if agree else None


class ProductCorrelation:
    """Statistics with the correlations b_i b_j.

    Parameters
    ----------
    b : ndarray (m,)
    """

    def __init__(self, b: Array) -> None:
        self.b, counts = np.unique(np.abs(b), return_counts=True)  # |T_i| forgets the sign
        self.counts = counts.astype(float)
        self.width = np.sqrt(1.0 - self.b**2)

    def tail(self, t: float, df: float) -> float:
        """Return the probability of (1)."""
        if np.isinf(df):
            return float(np.exp(self._log_tail(np.array([t])))[0])
        root2 = np.sqrt(2.0)
        return scaled_tail(lambda w: self._log_tail(w / root2), root2 * t, df)

    def _log_tail(self, c: Array) -> Array:
        """Return the logarithm of the inner integral of (1), at each c = ts."""
        step = _STEP * min(1.0, float((self.width / np.maximum(self.b, 1e-3)).min()))
        last = min(_FARTHEST, float(self.b.max() * c.max()) + 9.0)
        z = np.arange(0.0, last + step, step)
        log_none = np.zeros((len(c), len(z)))
        for b, width, count in zip(self.b, self.width, self.counts):
            inner, outer = (special.ndtr((s * b * z - c[:, None]) / width) for s in (1.0, -1.0))
            log_none += count * np.log1p(-np.minimum(inner + outer, _ALMOST_SURE))
        weights = np.exp(-(z**2) / 2.0) * (2.0 * step / np.sqrt(2.0 * np.pi))  # even in z
        weights[0] /= 2.0
        with np.errstate(divide="ignore"):
            return np.asarray(np.log(np.minimum(-np.expm1(log_none) @ weights, 1.0)))
