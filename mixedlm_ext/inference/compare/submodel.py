"""Models with fewer columns, from the cross-products of the model that has all: no row is read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mixedlm_ext.covariance import Covariance, TermCovariance
from mixedlm_ext.estimation.fit import Fit
from mixedlm_ext.linalg.crossproducts import Coupling, CrossProducts
from mixedlm_ext.linalg.factor import Pattern
from mixedlm_ext.linalg.orthogonal import whiten
from mixedlm_ext.linalg.triangular import solve_upper
from mixedlm_ext.objective import Objective
from mixedlm_ext.pls import Problem
from mixedlm_ext.search import optimize

Array = NDArray[np.float64]

__all__ = ["Likelihood", "maximum", "reduce_fixed", "reduce_random"]


@dataclass(frozen=True)
class Likelihood:
    """How well a model fits.

    Attributes
    ----------
    npar : int
        Fixed effects, covariance parameters, and sigma unless it was given.
    llf : float
        Maximum of the (restricted) log-likelihood.
    converged : bool
    """

    npar: int
    llf: float
    converged: bool = True

    @classmethod
    def of_fit(cls, fit: Fit) -> Likelihood:
        """Return that of a fit as it is."""
        npar = _count(fit.problem, len(fit.theta), fit.fixed_sigma)
        return cls(npar, -0.5 * fit.objective, fit.optimization.converged)

    @property
    def aic(self) -> float:
        """Akaike's criterion."""
        return -2.0 * self.llf + 2.0 * self.npar


def maximum(problem: Problem, reml: bool, sigma: float | None, random: bool = True) -> Likelihood:
    """Maximize the likelihood of a problem.

    Parameters
    ----------
    problem : Problem
    reml : bool
    sigma : float, optional
        A known residual standard deviation.
    random : bool
        Without random effects the likelihood is that of theta = 0.

    Returns
    -------
    Likelihood
    """
    objective = Objective(problem, reml, sigma)
    if not random:
        value = objective.at(np.zeros(problem.covariance.n_theta)).value
        return Likelihood(_count(problem, 0, sigma), -0.5 * value)
    best, log = optimize(objective)
    npar = _count(problem, problem.covariance.n_theta, sigma)
    return Likelihood(npar, -0.5 * best.value, log.converged)


def _count(problem: Problem, n_theta: int, sigma: float | None) -> int:
    """Return the number of parameters."""
    return problem.cp.p + n_theta + int(sigma is None)


def reduce_fixed(problem: Problem, C: Array) -> Problem:
    """Return the problem with XC in place of X, for C (p, r).

    With X = QR and RC = PS, QP is the basis of XC; what QP leaves of the projection of y on Q goes
    back to the residual.
    """
    cp = problem.cp
    P, S = np.linalg.qr(cp.R @ C)
    projection = cp.R @ cp.beta_ols
    d = projection - P @ (P.T @ projection)
    reduced = replace(
        cp,
        p=C.shape[1],
        ZX=cp.ZX @ P,
        Zy=cp.Zy + cp.ZX @ d,
        yy=cp.yy + float(d @ d),
        R=S,
        beta_ols=solve_upper(S, P.T @ projection),
    )
    return Problem(reduced, problem.covariance, Pattern(reduced))


def reduce_random(problem: Problem, C: Sequence[Array]) -> Problem | None:
    """Return the problem with X_iC_i in place of the columns X_i of each random term.

    Parameters
    ----------
    problem : Problem
    C : sequence of ndarray (k, r)
        In the user's units, r = 0 to leave the term out.

    Returns
    -------
    Problem or None
        None if no random term is left.
    """
    maps = [np.zeros((k, 0)) for k in problem.covariance.block_sizes]
    terms = []
    for term, own in zip(problem.covariance.terms, C):
        if own.shape[1]:
            reduced, M = _reduce_term(term, own, maps[term.block].shape[1])
            rows = np.zeros((len(maps[term.block]), M.shape[1]))
            rows[term.first : term.first + term.k] = M
            maps[term.block] = np.column_stack([maps[term.block], rows])
            terms.append(reduced)
    kept = [i for i, M in enumerate(maps) if M.shape[1]]
    if not kept:
        return None
    terms = [replace(term, block=kept.index(term.block)) for term in terms]
    cp = _map_blocks(problem.cp, kept, [maps[i] for i in kept])
    return Problem(cp, Covariance(terms, [k for k, _ in cp.shapes]), Pattern(cp))


def _reduce_term(term: TermCovariance, C: Array, first: int) -> tuple[TermCovariance, Array]:
    """Return a term of the columns XC, and M with (XC)_std = X_std M."""
    RC = term.whitening @ C
    _, whitening = whiten(RC, term.structure)
    reduced = replace(term, k=C.shape[1], first=first, whitening=whitening)
    return reduced, np.asarray(np.linalg.solve(whitening.T, RC.T).T, dtype=float)


def _map_blocks(cp: CrossProducts, kept: list[int], maps: list[Array]) -> CrossProducts:
    """Return the cross-products of the kept blocks, block i with Z_iM_i in place of Z_i."""
    place = {block: new for new, block in enumerate(kept)}
    M = dict(zip(kept, maps))
    couplings = {
        (place[i], place[j]): Coupling(
            c.rows, c.columns, np.einsum("ar,abp,bs->rsp", M[i], c.values, M[j])
        )
        for (i, j), c in cp.couplings.items()
        if i in place and j in place
    }
    Zr = np.column_stack([cp.ZX, cp.Zy])
    Zr = np.concatenate(
        [np.einsum("ar,alc->rlc", M[i], cp.block(Zr, i)).reshape(-1, Zr.shape[1]) for i in kept]
    )
    return replace(
        cp,
        shapes=tuple((M[i].shape[1], cp.shapes[i][1]) for i in kept),
        diagonal=[np.einsum("ar,abl,bs->rsl", M[i], cp.diagonal[i], M[i]) for i in kept],
        couplings=couplings,
        ZX=Zr[:, :-1],
        Zy=Zr[:, -1],
    )
