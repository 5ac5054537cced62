"""Directions of the variance parameters that change nothing in the distribution of the data.

With K'X = 0 the data inform on the variances through K'y ~ N(0, K'VK) alone, and

    K'VK = φ_0 K'W⁻¹K + Σ_i φ_i K'G_iK,      G_i = Z E_i Z'

is linear in φ: a variance or covariance each, and the residual variance φ_0. (Of a structure that
is not linear, E_i are the derivatives of Γ at a point like any other.) A direction d of φ is seen
unless Σ_i d_i K'G_iK + d_0 K'W⁻¹K = 0, at whatever φ. In cross-products, with C = Z'PZ at
Λ = 0 (the part of Z'WZ that the fixed effects leave), this is

    Σ_i d_i C E_i C + d_0 C = 0   and   Σ_i d_i tr(E_iC) + d_0 (n - p) = 0

Matrices are dependent if their products with enough random vectors are: a q-vector for each
parameter, and nothing of size q × q. One vector settles almost every model.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mixedlm_ext.criteria.pls import Problem
from mixedlm_ext.linalg.blas import eigh, matmul, singular_values, triangle
from mixedlm_ext.products.products import CrossProducts
from mixedlm_ext.products.supports import LevelSquares
from mixedlm_ext.structures.derivatives import parameter_directions

Array = NDArray[np.float64]

__all__ = ["Image", "inside_fixed"]

_UNSEEN, _MOST_UNSEEN = 1e-12, 1e-5
"""Singular value of scaled columns below which a direction is not seen: rounding is near 1e-15
for well-conditioned columns of a term, and grows with their condition up to some limit."""
_CLEARLY_SEEN = 1e-4
"""Singular value above which further random vectors are not worth their time."""
_LEAST = 1e-2
"""Size of a column, relative to the largest, up to which columns are scaled to one size."""
_TINY = float(np.finfo(float).tiny)
_INSIDE = 1e-10
"""Share of a column's sum of squares below which the fixed part leaves nothing of it."""


def inside_fixed(problem: Problem, t: int) -> Array:
    """Find the combinations of a term's columns that the fixed part holds at every level.

    Of columns with one variance it matters only whether it holds all: if not, none is returned.

    Parameters
    ----------
    problem : Problem
    t : int
        Position of the term.

    Returns
    -------
    ndarray (k, d)
        A basis of w with Z_l w inside X for every level l, in the user's columns scaled to
        one length.
    """
    cp, own, place = problem.cp, problem.covariance.terms[t], problem.cp.layout.places[t]
    F = cp.block(cp.ZX, place.block)[place.own]
    total = cp.A.total(place.block)[place.own, place.own]
    F = F.reshape(len(F), -1)
    left = total - matmul(F, F.T)
    scale = 1.0 / np.sqrt(np.maximum(total.diagonal(), _TINY))
    if own.structure.whitening != "triangular" and not own.structure.one_variance:
        inside = np.flatnonzero(np.diag(left) * scale**2 < _INSIDE)
        return np.asarray(np.eye(own.k)[:, inside])
    if own.structure.one_variance and (np.diag(left) * scale**2).max() >= _INSIDE:
        return np.zeros((own.k, 0))
    values, vectors = eigh(scale[:, None] * left * scale)
    if values[0] >= _INSIDE:
        return np.zeros((own.k, 0))
    W = np.linalg.solve(place.whitening, scale[:, None] * vectors[:, values < _INSIDE])
    return np.asarray(place.lengths[:, None] * W)


class Image:
    """What each variance parameter does to the covariance of the data, seen through random vectors.

    Parameters
    ----------
    problem : Problem
    residual : bool
        Whether the residual variance is a parameter, the last; known otherwise.
    fixed : bool
        Whether the fixed effects are unknown: only contrasts free of them are seen.
    """

    def __init__(self, problem: Problem, residual: bool, fixed: bool = True) -> None:
        self._problem, self._residual, self._fixed = problem, residual, fixed
        self._rng = np.random.default_rng(0)
        self._share = _shares(problem.cp)
        self._changes = _changes_of(problem)
        self.m = self._changes.count + residual
        vector = self._vector()
        self._scale, self._size = self._sizes(vector)
        self._triangle = triangle(self._columns(vector))

    def null_space(self, part: slice = slice(None)) -> Array:
        """Return a basis of the directions that are not seen.

        Parameters
        ----------
        part : slice
            The parameters that may change; all by default.

        Returns
        -------
        ndarray (m', d)
            m' the number of parameters in `part`.
        """
        columns, values = self._columns_of(part)
        if 0 < columns.shape[1] == len(values) and values[-1] > _MOST_UNSEEN:
            return np.zeros((columns.shape[1], 0))
        _, values, vectors = np.linalg.svd(columns)
        seen = np.zeros(len(vectors), dtype=np.bool_)
        seen[: len(values)] = values > _MOST_UNSEEN
        if not seen.all():
            limit = min(_UNSEEN * self._condition(part), _MOST_UNSEEN)
            seen[: len(values)] = values > limit
        return np.asarray(vectors[~seen].T / self._scale[part, None])

    def _columns_of(self, part: slice) -> tuple[Array, Array]:
        """Return the scaled columns of some parameters, their rows reduced to a triangle.

        Their singular values as well.

        Vectors are added until the columns are clearly independent, or one for each parameter was
        used: a matrix that is not zero is not zero at a random vector.
        """
        chosen = self._triangle[:, part]
        values = singular_values(chosen)
        for _ in range(self.m):
            if len(values) == chosen.shape[1] and values[-1] > _CLEARLY_SEEN:
                break
            columns = self._columns(self._vector())
            self._triangle = triangle(np.vstack([self._triangle, columns]))
            chosen = self._triangle[:, part]
            values = singular_values(chosen)
        return chosen, values

    def _condition(self, part: slice) -> float:
        """Return the largest condition of a term's columns, at unit length, of the terms there."""
        covariance = self._problem.covariance
        places = self._problem.cp.layout.places
        start, stop, _ = part.indices(self.m)
        whitenings = [
            place.whitening / place.lengths
            for place, own in zip(places, covariance.slices, strict=True)
            if own.start < stop and start < own.stop
        ]
        return float(max(np.linalg.cond(R) for R in whitenings))

    def _sizes(self, vector: Array) -> tuple[Array, float]:
        """Return the sizes of S E_iSr, and of Sr: what there is before X takes its part."""
        cp = self._problem.cp
        Sr = cp.A.times(vector)
        whole = np.column_stack([cp.A.times(self._patterns(Sr)), Sr]) * self._share[:, None]
        sizes = np.maximum(np.linalg.norm(whole, axis=0), _TINY)
        # what is nothing but rounding must not be scaled up to look like something
        return np.maximum(sizes, _LEAST * sizes.max())[: self.m], float(sizes[-1])

    def _vector(self) -> Array:
        return self._share * self._rng.standard_normal(self._problem.cp.q)

    def _columns(self, vector: Array) -> Array:
        """Return C E_iCr for each parameter, Cr for the residual, the traces as a last row."""
        cp = self._problem.cp
        Cr = self._project(vector)
        columns = self._project(self._patterns(Cr))
        if self._residual:
            columns = np.column_stack([columns, Cr])
        columns *= self._share[:, None]
        if self._residual:
            df = cp.n - cp.p if self._fixed else cp.n
            traces = np.append(self._traces(), df) * (self._size / df)
            columns = np.vstack([columns, traces])
        return np.asarray(columns / self._scale)

    def _project(self, M: Array) -> Array:
        """Return CM: Z'WZM, less the part of the fixed effects."""
        cp = self._problem.cp
        out = cp.A.times(M)
        return out - matmul(cp.ZX, matmul(cp.ZX.T, M)) if self._fixed and cp.p else out

    def _patterns(self, vector: Array) -> Array:
        """Return (E_i ⊗ K)v for each parameter of Γ, (q, m)."""
        return self._changes.times(vector)

    def _traces(self) -> Array:
        """Return tr((E_i ⊗ K)C) for each parameter of Γ."""
        return self._changes.traces(self._fixed)


class _Changes:
    """E_i of each parameter of Γ: what it does to the covariance of the effects of a level."""

    def __init__(self, problem: Problem) -> None:
        self._problem = problem
        self._E = parameter_directions(problem.covariance)
        self._moved = [np.flatnonzero(E.any(axis=1)) for _, E in self._E]
        self.count = len(self._E)

    def times(self, vector: Array) -> Array:
        """Return (E_i ⊗ K)v, (q, m)."""
        cp = self._problem.cp
        out = np.zeros((cp.q, self.count))
        for j, ((i, E), rows) in enumerate(zip(self._E, self._moved)):
            cp.block(out[:, j], i)[rows] = cp.spread(i, matmul(E[rows], cp.block(vector, i)))
        return out

    def traces(self, fixed: bool) -> Array:
        """Return tr((E_i ⊗ K)C), (m,); of all of Z'WZ unless there are fixed effects."""
        cp = self._problem.cp
        sums = self._problem.information_at_zero
        if fixed:
            for i, total in enumerate(sums):
                F = cp.block(cp.ZX, i)
                KF = cp.spread(i, F)
                sums[i] = total - matmul(F.reshape(len(F), -1), KF.reshape(len(F), -1).T)
        return np.array([(E * sums[i]).sum() for i, E in self._E])


class _ChangesOfPairs:
    """The same of the columns that levels have: vectors are zero elsewhere, and nothing is read."""

    def __init__(self, cp: CrossProducts, squares: LevelSquares, E: Array) -> None:
        self._cp, self._squares, self._E = cp, squares, E
        self.count = len(E)

    def times(self, vector: Array) -> Array:
        """Return E_iv of every level, (q, m)."""
        support = self._squares.support
        own = np.einsum("jabl,bl->alj", self._E, support.take(self._cp.block(vector, 0)))
        return support.put(own).reshape(-1, self.count)

    def traces(self, fixed: bool) -> Array:
        """Return tr(E_iC), (m,)."""
        left = self._squares.values
        if fixed:
            F = self._squares.support.take(self._cp.block(self._cp.ZX, 0))
            left = left - np.einsum("alp,blp->abl", F, F)
        return np.tensordot(self._E, left, 3)


def _changes_of(problem: Problem) -> _Changes | _ChangesOfPairs:
    """Return what the parameters of Γ change, in the form that is cheapest."""
    if problem.pairs is None or problem.cp.layout.priors:
        return _Changes(problem)
    squares, structure = problem.pairs
    return _ChangesOfPairs(problem.cp, squares, structure.parameter_directions())


def _shares(cp: CrossProducts) -> Array:
    """Return one over the size of each level (q,): large levels would hide what small ones show."""
    sizes = [np.tile(cp.A.sizes(i), k) for i, (k, _) in enumerate(cp.shapes)]
    whole = np.concatenate([np.zeros(0), *sizes])
    return 1.0 / np.where(whole > 0, whole, 1.0)
