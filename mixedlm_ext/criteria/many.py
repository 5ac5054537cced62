"""The criterion of many responses at once, each at its own theta, for one grouping factor.

With one grouping factor V is block diagonal, and everything that the criterion and its derivatives
need is a sum over levels of quadratic forms in Z_l'WX and Z_l'Wy. Levels with the same Z_l'WZ_l
share all matrices that depend on theta, so the sums over each such class of levels are formed once:
balanced data have one class, whatever the number of levels. It is called D_c.

Arrays have the responses as their last axis: a, b count the columns of a level, i, j those of X, c
the classes, r the responses. Notation and formulas are those of gaussian.py:

    M_c = T'D_cT + I    N_c = TM_c⁻¹T'    F_c = I - D_cN_c    v_l = F_c(Z_l'Wy - Z_l'WXβ)
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from mixedlm_ext.caching import cached_property
from mixedlm_ext.criteria.pls import Problem
from mixedlm_ext.linalg import small
from mixedlm_ext.products.products import CrossProducts
from mixedlm_ext.products.responses import Reduced

Array = NDArray[np.float64]
Index = NDArray[np.intp]

__all__ = ["LevelClasses", "ManyCriteria", "ManyEvaluations"]


class LevelClasses:
    """Levels with equal Z_l'WZ_l put together.

    Parameters
    ----------
    cp : CrossProducts
        With a single block.

    Attributes
    ----------
    D : ndarray (k, k, classes)
    count : ndarray (classes,)
        Levels of each class.
    SXX : ndarray (k, p, k, p, classes)
        Sums over the levels of a class of the products of Z_l'WX with itself.
    """

    def __init__(self, cp: CrossProducts) -> None:
        (k, levels), (D,) = cp.shapes[0], cp.diagonal
        distinct, member = np.unique(D.reshape(k * k, levels).T, axis=0, return_inverse=True)
        self.D = np.ascontiguousarray(distinct.T).reshape(k, k, -1)
        self._member = member.ravel()
        self.count = np.bincount(self._member).astype(float)
        self._ZX = np.ascontiguousarray(cp.block(cp.ZX, 0).transpose(0, 2, 1))  # (k, p, levels)
        pairs = np.einsum("ail,bjl->laibj", self._ZX, self._ZX).reshape(levels, -1)
        p = self._ZX.shape[1]
        sums = (self._sums() @ pairs).T
        self.SXX = np.ascontiguousarray(sums).reshape(k, p, k, p, len(self.count))

    def _sums(self, values: Array | None = None) -> sparse.csr_array:
        """Return the matrix (classes, levels) that adds the levels of each class up."""
        levels = len(self._member)
        values = np.ones(levels) if values is None else values
        return sparse.csr_array(
            (values, (self._member, np.arange(levels))), shape=(len(self.count), levels)
        )

    def quadratic_sums(self, Zy: Array) -> tuple[Array, Array]:
        """Return the sums of (Z_l'WX)(Z_l'Wy)', (k, p, k, classes, r), and of (Z_l'Wy)(Z_l'Wy)'."""
        k, p, levels = self._ZX.shape
        y = Zy.reshape(k, levels, -1)
        shape = (len(self.count), y.shape[2])
        SXy, Syy = np.empty((k, p, k, *shape)), np.empty((k, k, *shape))
        plain = self._sums()
        for a in range(k):
            for b in range(a + 1):
                Syy[a, b] = Syy[b, a] = plain @ (y[a] * y[b])
            for i in range(p):
                scaled = self._sums(self._ZX[a, i])
                for b in range(k):
                    SXy[a, i, b] = scaled @ y[b]
        return SXy, Syy


@dataclass(frozen=True, eq=False)
class ManyEvaluations:
    """The criterion of r responses; nan where theta is too extreme to evaluate it.

    Attributes
    ----------
    theta, gradient : ndarray (m, r)
    value, scale : ndarray (r,)
    hessian : ndarray (m, m, r)
        The average-information model.
    beta : ndarray (p, r)
        Coefficients of the orthonormal basis, of the residual responses.
    cov : ndarray (p, p, r)
        (X'V⁻¹X)⁻¹ for that basis.
    """

    theta: Array
    value: Array
    gradient: Array
    hessian: Array
    scale: Array
    beta: Array
    cov: Array

    @property
    def noise(self) -> Array:
        """Rounding error of the values, (r,)."""
        return np.asarray(1e-13 * np.abs(self.value))

    def put(self, where: Index, other: ManyEvaluations) -> None:
        """Overwrite the responses at `where` by those of `other`."""
        for f in fields(self):
            getattr(self, f.name)[..., where] = getattr(other, f.name)

    def take(self, where: Index | NDArray[np.bool_]) -> ManyEvaluations:
        """Return the responses at `where`."""
        return ManyEvaluations(*(getattr(self, f.name)[..., where] for f in fields(self)))


@dataclass(frozen=True, eq=False)
class ManyCriteria:
    """The criterion of many responses on one problem.

    Parameters
    ----------
    problem : Problem
        With one block; its own response plays no part.
    classes : LevelClasses
        Of its cross-products.
    reml : bool
    sigma : float or None
        A known residual standard deviation.
    SXy, Syy, yy : ndarray
        Sums that depend on the responses (see `LevelClasses.quadratic_sums`), y'Wy.
    """

    problem: Problem
    classes: LevelClasses
    reml: bool
    sigma: float | None
    SXy: Array
    Syy: Array
    yy: Array

    @classmethod
    def of(
        cls,
        problem: Problem,
        classes: LevelClasses,
        reduced: Reduced,
        reml: bool,
        sigma: float | None,
    ) -> ManyCriteria:
        """Form the sums of some responses."""
        SXy, Syy = classes.quadratic_sums(reduced.Zy)
        return cls(problem, classes, reml, sigma, SXy, Syy, reduced.yy)

    def take(self, where: Index | NDArray[np.bool_]) -> ManyCriteria:
        """Return the criteria of the responses at `where`."""
        return replace(
            self, SXy=self.SXy[..., where], Syy=self.Syy[..., where], yy=self.yy[..., where]
        )

    def after(self, e: ManyEvaluations, step: Array) -> ManyEvaluations:
        """Evaluate after steps (m, r) from evaluations."""
        return self.at(e.theta + step)

    def at(self, theta: Array) -> ManyEvaluations:
        """Evaluate, with derivatives, at standardized theta (m, r)."""
        with np.errstate(all="ignore"):  # nan is the answer where theta is too extreme
            return _Evaluator(self, theta).evaluations()


class _Evaluator:
    """The steps of one evaluation."""

    def __init__(self, criteria: ManyCriteria, theta: Array) -> None:
        self.o, self.theta = criteria, theta
        covariance, classes = criteria.problem.covariance, criteria.classes
        self.rows, self.columns = covariance.rows, covariance.columns
        self.k, self.r = covariance.block_sizes[0], theta.shape[1]
        self.T = np.zeros((self.k, self.k, self.r))
        self.T[self.rows, self.columns] = theta
        self.T_all = self.T[:, :, None, :]  # the same for all classes
        self.D = classes.D[..., None]
        self._factor()
        self._solve()

    def _factor(self) -> None:
        """N, F and log|M|."""
        k, count = self.k, self.o.classes.count
        M = _mul(_mul(self.T_all.transpose(1, 0, 2, 3), self.D), self.T_all)
        M[np.arange(k), np.arange(k)] += 1.0
        shape = M.shape
        L = small.cholesky(M.reshape(k, k, -1))
        Tt = np.broadcast_to(self.T_all.transpose(1, 0, 2, 3), shape)
        G = small.solve_lower(L, Tt.reshape(k, k, -1))
        diagonal = L[np.arange(k), np.arange(k)].reshape(k, *shape[2:])
        self.logdet_L = 2.0 * count @ np.log(diagonal).sum(axis=0)
        self.N = small.product(G.transpose(1, 0, 2), G).reshape(shape)
        self.F = -_mul(self.D, self.N)
        self.F[np.arange(k), np.arange(k)] += 1.0

    def _solve(self) -> None:
        """X'V⁻¹X, β, r² and the scale."""
        o, SXX, cp = self.o, self.o.classes.SXX, self.o.problem.cp
        p = SXX.shape[1]
        XVX = cp.XX[:, :, None] - np.tensordot(SXX, self.N, axes=((0, 2, 4), (0, 1, 2)))
        XVy = -np.einsum("aibcr,abcr->ir", o.SXy, self.N)
        RX = small.cholesky(XVX)
        half = small.solve_lower(RX, np.eye(p))
        self.cov = np.einsum("kir,kjr->ijr", half, half)
        self.logdet_RX = 2.0 * np.log(RX[np.arange(p), np.arange(p)]).sum(axis=0)
        self.beta = np.einsum("ijr,jr->ir", self.cov, XVy)
        self.pwrss = o.yy - np.einsum("abcr,abcr->r", self.N, o.Syy)
        self.pwrss -= np.einsum("ir,ir->r", XVy, self.beta)
        self.df = cp.n - cp.p if o.reml else cp.n
        self.scale = self.pwrss / self.df if o.sigma is None else np.full(self.r, o.sigma**2)

    @cached_property
    def value(self) -> Array:
        """The criterion, as gaussian.py defines it."""
        o, cp = self.o, self.o.problem.cp
        log_determinants = self.logdet_L - cp.logdet_W
        if o.reml:
            log_determinants = log_determinants + self.logdet_RX + cp.layout.logdet_R
        rest = self.df * np.log(2.0 * np.pi * self.scale) + self.pwrss / self.scale
        return np.where(self.pwrss > 0, log_determinants + rest, np.nan)

    @cached_property
    def SXr(self) -> Array:
        """Sums of Z_l'WX and Z_l'W(y - Xβ) multiplied."""
        return self.o.SXy - np.tensordot(self.o.classes.SXX, self.beta, axes=(3, 0))

    @cached_property
    def Svv(self) -> Array:
        """Σ v_lv_l' of each class."""
        first = np.einsum("biacr,ir->abcr", self.o.SXy, self.beta)
        second = np.einsum("aibcr,ir->abcr", self.SXr, self.beta)
        return _mul(_mul(self.F, self.o.Syy - first - second), self.F.transpose(1, 0, 2, 3))

    @cached_property
    def FD(self) -> Array:
        """Z_l'V⁻¹Z_l."""
        return _mul(self.F, self.D)

    @cached_property
    def S(self) -> Array:
        """Σ_l v_lv_l'/σ²."""
        return np.asarray(self.Svv.sum(axis=2) / self.scale)

    @cached_property
    def K(self) -> Array:
        """Σ_l [Z'PZ]_ll for REML, Σ_l [Z'V⁻¹Z]_ll for ML."""
        out = np.einsum("abcr,c->abr", self.FD, self.o.classes.count)
        if self.o.reml and len(self.beta):
            XCX = np.tensordot(self.o.classes.SXX, self.cov, axes=((1, 3), (0, 1)))
            out -= _mul(_mul(self.F, XCX), self.F.transpose(1, 0, 2, 3)).sum(axis=2)
        return out

    def _free(self, A: Array) -> Array:
        """Return the entries of A (k, k, ...) that theta holds, (m, ...)."""
        return np.asarray(A[self.rows, self.columns])

    def _against_working(self, A: Array) -> Array:
        """Return tr(W_jA) for every parameter j = (a, b), W_j = e_aT_b' + T_be_a'."""
        return self._free(_mul(A + A.swapaxes(0, 1), self.T))

    def _information(self) -> Array:
        """E'(Z'V⁻¹Z)E: its column for (a, b) is Σ_c FD_c (e_aT_b' + T_be_a') Svv_c."""
        FDT, TS = _mul(self.FD, self.T_all), _mul(self.T_all.transpose(1, 0, 2, 3), self.Svv)
        out = np.empty((len(self.rows), len(self.rows), self.r))
        for j, (a, b) in enumerate(zip(self.rows, self.columns)):
            W = np.einsum("xcr,ycr->xyr", self.FD[:, a], TS[b])
            W += np.einsum("xcr,ycr->xyr", FDT[:, b], self.Svv[a])
            out[:, j] = self._against_working(W)
        return out

    def _hessian(self) -> Array:
        """The average-information Hessian, as in gaussian.py."""
        H = self._information()
        if len(self.beta):
            FXr = np.einsum("abcr,bixcr->aixcr", self.F, self.SXr)
            Y = np.einsum("aixcr,yxcr->iayr", FXr, self.F)
            EX = np.array([self._against_working(y) for y in Y])
            H -= np.einsum("ijr,imr,jnr->mnr", self.cov, EX, EX, optimize=True)
        H /= self.scale
        if self.o.sigma is None:
            s = self._against_working(self.S)
            H -= s[:, None] * s[None, :] / self.df
        same = self.columns[:, None] == self.columns[None, :]
        curvature = (self.K - self.S)[self.rows[:, None], self.rows[None, :]]
        return H + 2.0 * same[:, :, None] * curvature

    def evaluations(self) -> ManyEvaluations:
        """Collect the results."""
        return ManyEvaluations(
            theta=self.theta,
            value=self.value,
            gradient=self._free(2.0 * _mul(self.K - self.S, self.T)),
            hessian=self._hessian(),
            scale=self.scale,
            beta=self.beta,
            cov=self.cov,
        )


def _mul(A: Array, B: Array) -> Array:
    """Multiply stacks of matrices that lie in the first two axes."""
    return np.einsum("ij...,jk...->ik...", A, B)
