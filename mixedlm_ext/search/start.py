"""Where the searches for theta start, and whether one search is enough.

The criterion of most models has one minimum, and a search finds it from anywhere. It can have
several where the data leave open what explains them: the mean of a random column that is not in the
fixed part may go to this term or to that one, and large effects of nearly dependent columns do the
same as a large residual. Which of them a search ends in is decided by its start.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mixedlm_ext.criteria.linear import AnyCriterion, AnyEvaluation
from mixedlm_ext.criteria.pls import Problem, degenerate
from mixedlm_ext.linalg.blas import matmul
from mixedlm_ext.products.products import CrossProducts
from mixedlm_ext.search.log import Log
from mixedlm_ext.search.moments import MISSING, moments
from mixedlm_ext.search.rough import rough_minimum
from mixedlm_ext.structures.base import LEAST_SD, MOST_SD
from mixedlm_ext.structures.covariance import Covariance

Array = NDArray[np.float64]

__all__ = ["is_dear", "several_minima", "start_values"]

_SCALES = (30.0, 1000.0)
"""Standard deviations in those of the noise that are tried beside moments, columns whitened."""
_ALIKE = 0.6
"""Mean squared canonical correlation from which on two factors are nearly one."""
_UNEVEN = 1e5
"""Information about levels, that of one in that of another, from which on a few decide alone."""
_FEW = 10
"""Residual degrees of freedom below which chance alone may leave several minima."""
_DEPENDENT = 0.8
"""Share of a column that the others of its block explain from which on they are confounded."""


def start_values(
    criterion: AnyCriterion, log: Log, several: bool
) -> tuple[AnyEvaluation, list[Array]]:
    """Return where to start: the most promising point, evaluated, and the others in order.

    Parameters
    ----------
    criterion : AnyCriterion
    log : Log
        Counts the evaluations.
    several : bool
        Whether there may be several minima.

    Returns
    -------
    GaussianEvaluation
    list of ndarray (m,)
        Standardized theta.

    Notes
    -----
    Where one minimum is expected the start is that of the moments of least-squares coefficients of
    every level, all blocks taken one after the other; T = I if there is no criterion. Where an
    evaluation takes long, the iterative solver goes on from there first.

    Where there may be several minima, each block is once the one that means go to which several
    could explain, and these moments are taken with what the fixed part explains left out of the
    coefficients in two ways. Beside them stand corners: variances of confounded columns next to
    zero, and those with one of these columns alone. Effects of one block with 30 and 1,000 times
    the noise's standard deviation are tried, too, and followed if nothing is more promising.
    """
    if not several:
        return _start_for_one_minimum(criterion, log), []
    best: AnyEvaluation | None = None
    values: list[float] = []
    candidates = _candidates(criterion)
    covariance = criterion.problem.covariance
    # correlations that are parameters of a structure have starts of their own
    probes = [] if covariance.shaped else _probes(covariance)
    for theta in [*candidates, *probes]:
        if values and log.spent():
            break
        e = log.evaluate(criterion, theta)
        values.append(np.inf if e is None else e.value)
        if e is not None and (best is None or e.value < best.value):
            best = e
    if best is None:
        raise degenerate()
    order = np.argsort(values, kind="stable")[1:]
    others = [i for i in order if i < len(candidates) and values[i] < np.inf]
    return best, [candidates[i] for i in others]


def _start_for_one_minimum(criterion: AnyCriterion, log: Log) -> AnyEvaluation:
    """Evaluate at the moments; at T = I if there are none, or no criterion there."""
    problem = criterion.problem
    if _levels_apart(problem.cp):
        theta = moments(problem, len(problem.cp.shapes) - 1, True, criterion.reml)
        theta = rough_minimum(criterion, theta, log)
    else:
        theta = _tied_start(problem)
    e = log.evaluate(criterion, theta)
    if e is None:
        e = log.evaluate(criterion, problem.covariance.start())
    if e is None:
        raise degenerate()
    return e


def _tied_start(problem: Problem) -> Array:
    """Return theta from two moments of the residuals of X, if one variance is all there is.

    With P the projection off X, r = Py, V = I + θ²ZZ' and C = Z'PZ,

        E r'r = σ²[n - p + θ² tr C],   E |Z'r|² = σ²[tr C + θ² tr C²]
    """
    cp, start = problem.cp, problem.covariance.start()
    if cp.shapes[0][0] > 1 or len(cp.shapes) > 1 or cp.layout.priors:
        return start
    AX, XX = cp.A.times(cp.ZX), matmul(cp.ZX.T, cp.ZX)
    trace = float(cp.A.diagonal[0].sum() - np.trace(XX))
    square = cp.A.square - 2.0 * float((AX * cp.ZX).sum()) + float((XX * XX).sum())
    n, rr, vv = cp.n - cp.p, cp.yy, float(cp.Zy @ cp.Zy)
    # vv [n + θ² tr C] = rr [tr C + θ² tr C²]
    above, below = vv * n - rr * trace, rr * square - vv * trace
    if not (above > 0 and below > 0):
        return start
    return np.clip(np.sqrt([above / below]), LEAST_SD, MOST_SD)


def _probes(covariance: Covariance) -> list[Array]:
    """Return theta with the effects of one block, after the other, on several scales."""
    out = []
    for block in range(len(covariance.block_sizes)):
        for scale in _SCALES:
            theta = covariance.start()
            for term, part in zip(covariance.terms, covariance.slices):
                if term.block == block:
                    theta[part] *= scale
            out.append(theta)
    return out


def _candidates(criterion: AnyCriterion) -> list[Array]:
    """Return the points to choose from where there may be several minima, each once."""
    problem = criterion.problem
    blocks = range(len(problem.cp.shapes))
    apart = _levels_apart(problem.cp)
    # beside pairs of effects that are seen, T = I is far off where columns have few rows
    elsewhere = apart and (is_dear(problem) or problem.cp.A.squares(0) is not None)
    out = [] if elsewhere else [problem.covariance.start()]
    if apart:
        ways = [(i, how) for i in blocks for how in (True, False)]
        out += [moments(problem, i, how, criterion.reml) for i, how in ways]
    out += _corners(problem)
    if _may_be_decided_by_few(problem):
        scaled = problem.covariance.scaled
        out += [scaled(problem.covariance.start(), by) for by in (LEAST_SD, *_SCALES)]
    kept: list[Array] = []
    for theta in out:
        if not any(np.allclose(theta, other, rtol=0.1) for other in kept):
            kept.append(theta)
    return kept


def _levels_apart(cp: CrossProducts) -> bool:
    """Say whether coefficients of every level can be found from its own rows."""
    return not any(cp.is_tied(i) for i in range(len(cp.shapes)))


def is_dear(problem: Problem) -> bool:
    """Say whether crossed or nested effects are so many that an evaluation is worth sparing."""
    return len(problem.cp.shapes) > 1 and problem.cp.q >= problem.costs.dear


def _corners(problem: Problem) -> list[Array]:
    """Return theta with variances next to zero but, in each, that of at most one column.

    Only of the columns that are nearly dependent and uncorrelated by the model; the others start
    as variable as the noise.
    """
    covariance, cp = problem.covariance, problem.cp
    theta = covariance.start()
    dependent = [_dependent(problem, i) for i in range(len(cp.shapes))]
    confounded = [
        j
        for j, (i, a, c) in enumerate(zip(covariance.blocks, covariance.rows, covariance.columns))
        if a == c and dependent[i][a]
    ]
    if not confounded:
        return []
    theta[covariance.owners[confounded]] = LEAST_SD
    out = [theta]
    for j in confounded:
        i, a = covariance.blocks[j], covariance.rows[j]
        d, z = cp.diagonal[i][a, a], cp.block(cp.Zy, i)[a]
        d, z = d[d > 0], z[d > 0]
        scale = max(cp.yy - float((z * z / d).sum()), 1e-14 * cp.yy) / max(cp.n - cp.p - len(d), 1)
        alone = theta.copy()
        variance = ((z / d) ** 2).mean() / scale - (1.0 / d).mean()
        alone[covariance.owners[j]] = np.sqrt(np.clip(variance, LEAST_SD**2, MOST_SD**2))
        out.append(alone)
    return out


def several_minima(problem: Problem) -> bool:
    """Say whether the criterion may well have more than one minimum.

    It may where a random column has no fixed partner; where columns of one block are nearly
    dependent although their covariance is zero by the model; and where two factors are nearly one.
    It may, too, where a few levels tell all there is about a variance as long as it is small, and
    others about a larger one: their weights or numbers of rows are far apart.
    """
    cp = problem.cp
    if _may_be_decided_by_few(problem):
        return True
    for i in range(len(cp.shapes)):
        inside = (cp.block(cp.ZX, i).sum(axis=1) ** 2).sum(axis=1)
        apart = not cp.is_tied(i) and (inside < (1.0 - MISSING) * cp.A.squared_lengths(i)).any()
        if apart or _dependent(problem, i).any():
            return True
    return any(_nearly_one(cp, i, j) for i, j in cp.couplings if i != j)


def _may_be_decided_by_few(problem: Problem) -> bool:
    """Say whether few rows, or levels of far more information than others, decide on θ.

    Thousands of crossed levels are no few, however uneven their numbers of rows are.
    """
    cp = problem.cp
    if is_dear(problem):
        return False
    if cp.n - cp.p < _FEW and cp.n > cp.p + cp.q:  # else the likelihood may have no end
        return True
    for i in range(len(cp.shapes)):
        sizes = cp.A.sizes(i)
        least = sizes.min(initial=np.inf, where=sizes > 0)
        if sizes.max(initial=0.0) > _UNEVEN * least:
            return True
    return False


def _dependent(problem: Problem, i: int) -> NDArray[np.bool_]:
    """Say of each of a block's columns (k,) whether the others nearly reproduce it.

    The columns of one term with correlated effects are whitened and never do; those that have one
    variance or a structure's correlation do not count, since no variance moves alone.
    """
    own = [term for term in problem.covariance.terms if term.block == i]
    if len(own) == 1 and own[0].structure.whitening == "triangular":
        return np.zeros(own[0].k, dtype=np.bool_)
    alone = [not term.structure.one_variance and term.structure.linear for term in own]
    if not any(alone):
        return np.zeros(problem.cp.shapes[i][0], dtype=np.bool_)
    total = problem.cp.A.total(i)
    for term, counts in zip(own, alone):
        if not counts:
            total[term.own] = total[:, term.own] = 0.0
            total[term.own, term.own] = np.eye(term.k)
    norms = np.sqrt(np.maximum(np.diag(total), 1e-300))
    correlation = total / np.outer(norms, norms) + 1e-12 * np.eye(len(total))
    return np.asarray(1.0 - 1.0 / np.diag(np.linalg.inv(correlation)) > _DEPENDENT)


def _nearly_one(cp: CrossProducts, i: int, j: int) -> bool:
    """Say whether the first columns of two blocks nearly pair their levels off.

    Σ_lm c_lm²/(d_l d_m), the sum of the squared canonical correlations, is the number of levels for
    two names of one factor.
    """
    c, most = cp.couplings[i, j], max(cp.shapes[i][1], cp.shapes[j][1])
    d1, d2 = cp.diagonal[i][0, 0][c.rows], cp.diagonal[j][0, 0][c.columns]
    squared = c.values[0, 0] ** 2 / np.maximum(d1 * d2, 1e-300)
    return float(squared.sum()) - 1.0 > _ALIKE * (most - 1)
