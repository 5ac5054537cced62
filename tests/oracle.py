"""Linear mixed models from the dense covariance matrix, to test the package against.

The model is ``y ~ N(X beta + o, sigma^2 V)`` with ``V = W^-1 + Z Lambda Lambda' Z'``, W = diag(w).
Everything is computed with n by n matrices: slow and obvious, for n up to about 300.
Nothing here imports the package.

Sources
-------
.. [BBMW] Bates, Maechler, Bolker & Walker (2015). Fitting linear mixed-effects models using lme4.
.. [SCM] Searle, Casella & McCulloch (1992). Variance components, chapters 6 and 7 and appendix M.
.. [GB] Giesbrecht & Burns (1985). Two-stage analysis based on a mixed model. Biometrics 41.

Arguments common to the functions
---------------------------------
y : (n,) response.
X : (n, columns) fixed-effects model matrix, of any rank.
terms : random-effects terms in the order of the formula.
theta : covariance parameters of all terms, one after the other.
w : (n,) positive weights, None for ones.
offset : (n,) known part of the mean, None for zero.
reml : REML criterion if true, minus twice the log-likelihood otherwise.
sigma : fixed residual scale, None to profile it out.
contrast : (p,) coefficients l of l'beta, over the kept columns of X.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from scipy.optimize import minimize


@dataclass(frozen=True)
class Term:
    """One random-effects term ``(X | codes)``.

    Attributes
    ----------
    X : (n, k) columns of the left side of the bar.
    codes : (n,) integer level codes 0..levels-1.
    levels : number of levels.
    structure : "us", the lower triangle of T stacked by columns; "diag", the diagonal of T; or one
        of `STRUCTURES`, with standard deviations and then correlations as parameters. Functions
        with derivatives are for "us" and "diag".
    K : (levels, levels) covariance of the levels, of any rank; None for I.
    positions : (k, d) places of the columns for "exp" and "hetexp", whose last parameter is
        range / (range + median distance of two places).
    """

    X: np.ndarray
    codes: np.ndarray
    levels: int
    structure: str = "us"
    positions: np.ndarray | None = None
    K: np.ndarray | None = None


@dataclass(frozen=True)
class Estimates:
    """What the model says at one theta.

    Attributes
    ----------
    beta, kept, cov_beta : (p,) coefficients of the kept columns of X, (p,) their indices, and the
        (p, p) covariance ``sigma^2 (X'V^-1 X)^-1``.
    sigma2 : fixed ``sigma^2`` or the profiled ``r^2 / n`` (ML), ``r^2 / (n - p)`` (REML).
    b : per term (levels, k) conditional modes.
    b_cov : per term (levels, k, k) covariance of b given y, with beta and theta known.
    joint_cov_b : per term (levels, k, k) covariance of b_hat - b, with beta estimated.
    joint_cov : (p + q, p + q) covariance of (beta_hat - beta, b_hat - b), b in the order of Z.
    fitted : (n,) ``X beta + Z b + o``.
    leverage, hat_trace : (n,) diagonal of d fitted / d y, and its sum.
    logdet_V, logdet_M : ``log|V|`` and ``log|Lambda'Z'WZ Lambda + I|``.
    pwrss : ``r^2 = (y - o)'P(y - o)``, the penalized weighted residual sum of squares.
    """

    beta: np.ndarray
    kept: np.ndarray
    cov_beta: np.ndarray
    sigma2: float
    b: list[np.ndarray]
    b_cov: list[np.ndarray]
    joint_cov_b: list[np.ndarray]
    joint_cov: np.ndarray
    fitted: np.ndarray
    leverage: np.ndarray
    hat_trace: float
    logdet_V: float
    logdet_M: float
    pwrss: float


# ---------------------------------------------------------------- the random-effects terms


def free_entries(term: Term) -> list[tuple[int, int]]:
    """Return the (row, column) of T that each parameter of the term fills."""
    k = term.X.shape[1]
    if term.structure == "diag":
        return [(j, j) for j in range(k)]
    if term.structure == "us":
        return [(i, j) for j in range(k) for i in range(j, k)]
    raise ValueError(f"unknown structure {term.structure!r}")


def template(term: Term, theta_i: np.ndarray) -> np.ndarray:
    """Return the (k, k) template T of a term at its own parameters.

    Lower triangular for "us" and "diag"; of a structure any square root, which is all that counts.
    """
    k = term.X.shape[1]
    if term.structure in STRUCTURES:
        values, vectors = np.linalg.eigh(gamma(term.structure, k, theta_i, term.positions))
        return vectors * np.sqrt(np.maximum(values, 0))
    T = np.zeros((k, k))
    for entry, value in zip(free_entries(term), theta_i, strict=True):
        T[entry] = value
    return T


STRUCTURES = {
    "iid": (True, 0),
    "cs": (False, 1),
    "homcs": (True, 1),
    "ar1": (True, 1),
    "hetar1": (False, 1),
    "toep": (False, None),
    "homtoep": (True, None),
    "exp": (True, 1),
    "hetexp": (False, 1),
}
"""Whether all columns have one standard deviation, and the number of correlations (None: k - 1)."""


def gamma(
    structure: str, k: int, theta_i: np.ndarray, positions: np.ndarray | None = None
) -> np.ndarray:
    """Return the (k, k) covariance of a structure relative to sigma^2, entry by entry."""
    one, _ = STRUCTURES[structure]
    if structure.endswith("exp"):
        places = np.arange(k)[:, None] if positions is None else positions
        unit = np.median([np.hypot.reduce(a - b) for a, b in combinations(places, 2)])
    out = np.empty((k, k))
    for a in range(k):
        for b in range(k):
            rho = theta_i[1 if one else k :]
            if a == b:
                r = 1.0
            elif structure == "iid":
                r = 0.0
            elif structure.endswith("cs"):
                r = rho[0]
            elif structure.endswith("toep"):
                r = correlations_by_lag(rho)[abs(a - b)]
            elif structure.endswith("exp"):
                distance = np.hypot.reduce(places[a] - places[b])
                r = np.exp(-distance / (unit * rho[0] / (1 - rho[0]))) if 0 < rho[0] < 1 else rho[0]
            else:
                r = rho[0] ** abs(a - b)
            out[a, b] = r * theta_i[0 if one else a] * theta_i[0 if one else b]
    return out


def correlations_by_lag(partial: np.ndarray) -> list[float]:
    """Return the correlations that have given partial autocorrelations, by linear regressions.

    The columns between two others explain some of both; what is left has the partial correlation.
    """
    r = [1.0]
    for h, pi in enumerate(partial, start=1):
        between = [[r[abs(a - b)] for a in range(1, h)] for b in range(1, h)]
        R = np.array(between).reshape(h - 1, h - 1)
        first, last = np.array(r[1:h]), np.array(r[1:h])[::-1]
        explained = np.linalg.pinv(R, rcond=1e-12, hermitian=True) @ last
        left = max(1.0 - last @ explained, 0.0)
        r.append(float(first @ explained + pi * left))
    return r


def n_parameters(term: Term) -> int:
    """Return how many parameters a term has."""
    if term.structure in STRUCTURES:
        one, correlations = STRUCTURES[term.structure]
        k = term.X.shape[1]
        return (1 if one else k) + (k - 1 if correlations is None else correlations)
    return len(free_entries(term))


def split(terms: Sequence[Term], theta: np.ndarray) -> list[np.ndarray]:
    """Return the parameters of each term."""
    sizes = [n_parameters(term) for term in terms]
    if sum(sizes) != len(theta):
        raise ValueError(f"theta has {len(theta)} entries, the terms need {sum(sizes)}")
    return np.split(np.asarray(theta, dtype=float), np.cumsum(sizes)[:-1])


def term_Z(term: Term) -> np.ndarray:
    """Return the dense (n, levels * k) columns of one term: level by level, then by column."""
    n, k = term.X.shape
    columns = np.zeros((n, term.levels, k))
    columns[np.arange(n), term.codes] = term.X
    return columns.reshape(n, term.levels * k)


def Z(terms: Sequence[Term]) -> np.ndarray:
    """Return the dense (n, q) random-effects model matrix, term by term."""
    return np.hstack([term_Z(term) for term in terms])


def Lambda(terms: Sequence[Term], theta: np.ndarray) -> np.ndarray:
    """Return the dense (q, q) block diagonal relative factor: T repeated for each level."""
    widths = [term.levels * term.X.shape[1] for term in terms]
    ends = np.cumsum(widths)
    out = np.zeros((ends[-1], ends[-1]))
    for term, theta_i, width, end in zip(terms, split(terms, theta), widths, ends, strict=True):
        block = slice(end - width, end)
        out[block, block] = np.kron(levels_root(term), template(term, theta_i))
    return out


def levels_root(term: Term) -> np.ndarray:
    """Return C (levels, levels) with CC' = K."""
    if term.K is None:
        return np.eye(term.levels)
    values, vectors = np.linalg.eigh(term.K)
    return vectors * np.sqrt(np.maximum(values, 0))


def covariance(terms: Sequence[Term], theta: np.ndarray, w: np.ndarray | None) -> np.ndarray:
    """Return the (n, n) covariance of y relative to sigma^2, V = W^-1 + Z Lambda Lambda' Z'."""
    n = len(terms[0].codes)
    ZL = Z(terms) @ Lambda(terms, theta)
    return np.diag(1 / _weights(w, n)) + ZL @ ZL.T


def covariance_first(terms: Sequence[Term], theta: np.ndarray) -> list[np.ndarray]:
    """Return dV/dtheta_i = Z (I x (E_i T' + T E_i')) Z' for every parameter, E_i = dT/dtheta_i."""
    out = []
    for term, theta_i in zip(terms, split(terms, theta), strict=True):
        T = template(term, theta_i)
        for E in _directions(term):
            out.append(_spread(term, E @ T.T + T @ E.T))
    return out


def covariance_second(terms: Sequence[Term], i: int, j: int) -> np.ndarray:
    """Return d2V/dtheta_i dtheta_j = Z (I x (E_i E_j' + E_j E_i')) Z', zero across terms."""
    owners = [(t, E) for t, term in enumerate(terms) for E in _directions(term)]
    (term_i, E_i), (term_j, E_j) = owners[i], owners[j]
    if term_i != term_j:
        n = len(terms[0].codes)
        return np.zeros((n, n))
    return _spread(terms[term_i], E_i @ E_j.T + E_j @ E_i.T)


def _directions(term: Term) -> list[np.ndarray]:
    """Return dT/dtheta_i for each parameter of the term."""
    return [template(term, unit) for unit in np.eye(len(free_entries(term)))]


def _spread(term: Term, D: np.ndarray) -> np.ndarray:
    """Return Z (I x D) Z' of one term, the (n, n) covariance when each level has covariance D."""
    Z_t = term_Z(term)
    return Z_t @ np.kron(np.eye(term.levels) if term.K is None else term.K, D) @ Z_t.T


def _weights(w: np.ndarray | None, n: int) -> np.ndarray:
    return np.ones(n) if w is None else np.asarray(w, dtype=float)


# ---------------------------------------------------------------- generalized least squares


def independent_columns(X: np.ndarray, tolerance: float = 1e-9) -> np.ndarray:
    """Return the indices of the leftmost linearly independent columns of X."""
    kept: list[int] = []
    for j in range(X.shape[1]):
        Q = np.linalg.qr(X[:, kept])[0]
        residual = X[:, j] - Q @ (Q.T @ X[:, j])
        if np.linalg.norm(residual) > tolerance * np.linalg.norm(X[:, j]):
            kept.append(j)
    return np.array(kept, dtype=int)


@dataclass(frozen=True)
class _GLS:
    """Generalized least squares of y - o on the kept columns of X at one theta."""

    X: np.ndarray
    kept: np.ndarray
    V_inv: np.ndarray
    P: np.ndarray  # V^-1 - V^-1 X (X'V^-1 X)^-1 X'V^-1  (SCM, appendix M)
    Py: np.ndarray
    beta: np.ndarray
    XVX_inv: np.ndarray
    logdet_V: float
    logdet_XVX: float
    pwrss: float


def _gls(
    y: np.ndarray,
    X: np.ndarray,
    terms: Sequence[Term],
    theta: np.ndarray,
    w: np.ndarray | None,
    offset: np.ndarray | None,
) -> _GLS:
    """Whiten by V = L L', then ordinary least squares by QR: L^-1 X = Q R."""
    n = len(y)
    z = np.asarray(y, dtype=float) - (0.0 if offset is None else offset)
    kept = independent_columns(X)
    X = X[:, kept]
    L = np.linalg.cholesky(covariance(terms, theta, w))
    L_inv = np.linalg.solve(L, np.eye(n))
    Q, R = np.linalg.qr(L_inv @ X)
    white_y = L_inv @ z
    white_residual = white_y - Q @ (Q.T @ white_y)
    R_inv = np.linalg.inv(R)
    return _GLS(
        X=X,
        kept=kept,
        V_inv=L_inv.T @ L_inv,
        P=L_inv.T @ (np.eye(n) - Q @ Q.T) @ L_inv,
        Py=L_inv.T @ white_residual,
        beta=R_inv @ (Q.T @ white_y),
        XVX_inv=R_inv @ R_inv.T,
        logdet_V=2 * float(np.log(np.diag(L)).sum()),
        logdet_XVX=2 * float(np.log(np.abs(np.diag(R))).sum()),
        pwrss=float(white_residual @ white_residual),
    )


def _degrees(gls: _GLS, reml: bool) -> int:
    """Return the divisor of r^2: n (ML) or n - p (REML)."""
    n, p = gls.X.shape
    return n - p if reml else n


def _scale(gls: _GLS, reml: bool, sigma: float | None) -> float:
    """Return sigma^2, fixed or profiled."""
    return gls.pwrss / _degrees(gls, reml) if sigma is None else sigma**2


# ---------------------------------------------------------------- the criterion and derivatives


def objective(
    y: np.ndarray,
    X: np.ndarray,
    terms: Sequence[Term],
    theta: np.ndarray,
    w: np.ndarray | None = None,
    offset: np.ndarray | None = None,
    reml: bool = True,
    sigma: float | None = None,
) -> float:
    """Return minus twice the log-likelihood maximized over beta, or the REML criterion.

    ``log|V| [+ log|X'V^-1 X|] + df log(2 pi sigma^2) + r^2 / sigma^2`` (SCM, chapter 6). With
    sigma^2 = r^2 / df it is the profiled deviance or REML criterion of BBMW, section 3.
    """
    gls = _gls(y, X, terms, theta, w, offset)
    sigma2 = _scale(gls, reml, sigma)
    logdet = gls.logdet_V + (gls.logdet_XVX if reml else 0.0)
    return logdet + _degrees(gls, reml) * float(np.log(2 * np.pi * sigma2)) + gls.pwrss / sigma2


def _first_order(
    gls: _GLS, terms: Sequence[Term], theta: np.ndarray, reml: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Return d logdet = tr(A V_i) and -d r^2 = y'P V_i P y; A is P (REML) or V^-1 (SCM, 6)."""
    A = gls.P if reml else gls.V_inv
    first = covariance_first(terms, theta)
    trace = np.array([np.sum(A * V_i) for V_i in first])
    quadratic = np.array([gls.Py @ V_i @ gls.Py for V_i in first])
    return trace, quadratic


def _second_order(
    gls: _GLS, terms: Sequence[Term], theta: np.ndarray, reml: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Return the derivatives of both results of _first_order, by dA = -A V_j A.

    ``tr(A V_ij) - tr(A V_j A V_i)`` and ``y'P V_ij P y - 2 y'P V_i P V_j P y``.
    """
    A = gls.P if reml else gls.V_inv
    first = covariance_first(terms, theta)
    m = len(first)
    AV = [A @ V_i for V_i in first]
    trace, quadratic = np.zeros((m, m)), np.zeros((m, m))
    for i in range(m):
        for j in range(m):
            V_ij = covariance_second(terms, i, j)
            trace[i, j] = np.sum(A * V_ij) - np.sum(AV[j] * AV[i].T)
            quadratic[i, j] = gls.Py @ V_ij @ gls.Py
            quadratic[i, j] -= 2 * gls.Py @ first[i] @ gls.P @ first[j] @ gls.Py
    return trace, quadratic


def gradient(
    y: np.ndarray,
    X: np.ndarray,
    terms: Sequence[Term],
    theta: np.ndarray,
    w: np.ndarray | None = None,
    offset: np.ndarray | None = None,
    reml: bool = True,
    sigma: float | None = None,
) -> np.ndarray:
    """Return the exact (m,) gradient of the objective, tr(A V_i) - y'P V_i P y / sigma^2.

    Profiled or fixed sigma differ only in sigma^2, since d objective / d sigma = 0 when profiled.
    """
    gls = _gls(y, X, terms, theta, w, offset)
    trace, quadratic = _first_order(gls, terms, theta, reml)
    return trace - quadratic / _scale(gls, reml, sigma)


def hessian(
    y: np.ndarray,
    X: np.ndarray,
    terms: Sequence[Term],
    theta: np.ndarray,
    w: np.ndarray | None = None,
    offset: np.ndarray | None = None,
    reml: bool = True,
    sigma: float | None = None,
) -> np.ndarray:
    """Return the exact (m, m) Hessian in theta of the objective.

    At fixed sigma it is the derivative of the gradient term by term. Profiling adds the change of
    1 / sigma^2 = df / r^2, which is (df / r^4) y'P V_j P y.
    """
    gls = _gls(y, X, terms, theta, w, offset)
    trace, quadratic = _second_order(gls, terms, theta, reml)
    sigma2 = _scale(gls, reml, sigma)
    out = trace - quadratic / sigma2
    if sigma is None:
        slope = _first_order(gls, terms, theta, reml)[1] / sigma2
        out -= np.outer(slope, slope) / _degrees(gls, reml)
    return out


# ---------------------------------------------------------------- estimates and predictions


def estimates(
    y: np.ndarray,
    X: np.ndarray,
    terms: Sequence[Term],
    theta: np.ndarray,
    w: np.ndarray | None = None,
    offset: np.ndarray | None = None,
    reml: bool = True,
    sigma: float | None = None,
) -> Estimates:
    """Return fixed effects, conditional modes, their covariances and fit statistics at theta."""
    gls = _gls(y, X, terms, theta, w, offset)
    n, p = gls.X.shape
    sigma2 = _scale(gls, reml, sigma)
    dense_Z, L = Z(terms), Lambda(terms, theta)
    gamma = L @ L.T
    b = gamma @ dense_Z.T @ gls.Py  # best linear unbiased predictor (SCM, chapter 7)
    # d fitted / d y = X (X'V^-1 X)^-1 X'V^-1 + Z Gamma Z'P
    hat = gls.X @ gls.XVX_inv @ gls.X.T @ gls.V_inv + dense_Z @ gamma @ dense_Z.T @ gls.P
    # Henderson's equations in (beta, u), b = Lambda u (SCM, chapter 7)
    W = np.diag(_weights(w, n))
    columns = np.hstack([gls.X, dense_Z @ L])
    penalty = np.diag(np.r_[np.zeros(p), np.ones(L.shape[0])])
    henderson = columns.T @ W @ columns + penalty
    to_b = np.eye(len(henderson))
    to_b[p:, p:] = L
    M = henderson[p:, p:]
    joint_cov = sigma2 * to_b @ np.linalg.inv(henderson) @ to_b.T
    return Estimates(
        beta=gls.beta,
        kept=gls.kept,
        cov_beta=sigma2 * gls.XVX_inv,
        sigma2=sigma2,
        b=_by_level(terms, b),
        b_cov=_diagonal_blocks(terms, sigma2 * L @ np.linalg.inv(M) @ L.T),
        joint_cov_b=_diagonal_blocks(terms, joint_cov[p:, p:]),
        joint_cov=joint_cov,
        fitted=gls.X @ gls.beta + dense_Z @ b + (0.0 if offset is None else offset),
        leverage=np.diag(hat).copy(),
        hat_trace=float(np.trace(hat)),
        logdet_V=gls.logdet_V,
        logdet_M=float(np.linalg.slogdet(M)[1]),
        pwrss=gls.pwrss,
    )


def _by_level(terms: Sequence[Term], b: np.ndarray) -> list[np.ndarray]:
    """Cut a (q,) vector in the order of Z into one (levels, k) array a term."""
    ends = np.cumsum([term.levels * term.X.shape[1] for term in terms])
    return [
        part.reshape(term.levels, -1)
        for term, part in zip(terms, np.split(b, ends[:-1]), strict=True)
    ]


def _diagonal_blocks(terms: Sequence[Term], C: np.ndarray) -> list[np.ndarray]:
    """Cut the (k, k) diagonal block of every level out of a (q, q) matrix in the order of Z."""
    indices = _by_level(terms, np.arange(len(C)))
    return [np.array([C[np.ix_(i, i)] for i in term_indices]) for term_indices in indices]


# ---------------------------------------------------------------- the optimum


def minimise(
    y: np.ndarray,
    X: np.ndarray,
    terms: Sequence[Term],
    w: np.ndarray | None = None,
    offset: np.ndarray | None = None,
    reml: bool = True,
    start: np.ndarray | None = None,
    sigma: float | None = None,
) -> tuple[np.ndarray, float]:
    """Return theta, diagonals non-negative, and the objective at the best optimum found.

    BFGS from several starts (from `start` alone if given), in theta times the root mean square of
    the columns it multiplies, then Newton steps with the exact Hessian.
    """
    unit = np.concatenate(
        [1 / np.sqrt(np.mean(t.X**2, axis=0))[[row for row, _ in free_entries(t)]] for t in terms]
    )

    def value(scaled: np.ndarray) -> float:
        return objective(y, X, terms, scaled * unit, w, offset, reml, sigma)

    def slope(scaled: np.ndarray) -> np.ndarray:
        return unit * gradient(y, X, terms, scaled * unit, w, offset, reml, sigma)

    def curvature(scaled: np.ndarray) -> np.ndarray:
        full = hessian(y, X, terms, scaled * unit, w, offset, reml, sigma)
        return unit[:, None] * full * unit

    starts = _starts(terms) if start is None else [np.asarray(start, dtype=float) / unit]
    ends = [minimize(value, s, jac=slope, method="BFGS", options={"gtol": 1e-7}).x for s in starts]
    best = min(ends, key=value)
    for _ in range(5):
        step = _newton_step(slope(best), curvature(best))
        if value(best + step) > value(best) + 1e-10 * abs(value(best)):
            break
        best = best + step
    theta = _nonnegative_diagonals(terms, best * unit)
    return theta, objective(y, X, terms, theta, w, offset, reml, sigma)


def _starts(terms: Sequence[Term]) -> list[np.ndarray]:
    """Return a small, a middling and a large multiple of the identity, and a random template."""
    identity = np.concatenate([[float(r == c) for r, c in free_entries(t)] for t in terms])
    noise = np.random.default_rng(1).standard_normal(len(identity))
    return [0.2 * identity, identity, 4 * identity, identity + 0.5 * noise]


def _newton_step(slope: np.ndarray, curvature: np.ndarray) -> np.ndarray:
    """Return the Newton step, leaving out flat directions; zero where curvature is negative.

    A zero diagonal of T can make a direction flat: T T' stays the same along a curve.
    """
    values, vectors = np.linalg.eigh(curvature)
    flat = np.abs(values) <= 1e-7 * np.abs(values).max()
    if np.any(values[~flat] < 0):
        return np.zeros_like(slope)
    U = vectors[:, ~flat]
    return -U @ ((U.T @ slope) / values[~flat])


def _nonnegative_diagonals(terms: Sequence[Term], theta: np.ndarray) -> np.ndarray:
    """Flip the sign of each column of T whose diagonal is negative; T T' stays the same."""
    parts: list[float] = []
    for term, theta_i in zip(terms, split(terms, theta), strict=True):
        T = template(term, theta_i)
        T = T * np.where(np.diag(T) < 0, -1.0, 1.0)
        parts.extend(T[entry] for entry in free_entries(term))
    return np.array(parts) + 0.0  # no negative zeros


# ---------------------------------------------------------------- degrees of freedom


def information_in_theta_sigma(
    y: np.ndarray,
    X: np.ndarray,
    terms: Sequence[Term],
    theta: np.ndarray,
    w: np.ndarray | None = None,
    offset: np.ndarray | None = None,
    reml: bool = True,
    sigma: float | None = None,
) -> np.ndarray:
    """Return the exact (m + 1, m + 1) Hessian of the objective in (theta, sigma), none profiled.

    It is evaluated at `sigma`, or at the profiled one. From df log(sigma^2) + r^2 / sigma^2:
    d2 / dsigma2 = -2 df / sigma^2 + 6 r^2 / sigma^4 and
    d2 / dtheta_i dsigma = 2 y'P V_i P y / sigma^3.
    """
    gls = _gls(y, X, terms, theta, w, offset)
    sigma2 = _scale(gls, reml, sigma)
    _, quadratic = _first_order(gls, terms, theta, reml)
    trace2, quadratic2 = _second_order(gls, terms, theta, reml)
    cross = 2 * quadratic[:, None] / sigma2**1.5
    corner = np.array([[-2 * _degrees(gls, reml) / sigma2 + 6 * gls.pwrss / sigma2**2]])
    return np.block([[trace2 - quadratic2 / sigma2, cross], [cross.T, corner]])


def variance_gradient(
    contrast: np.ndarray,
    y: np.ndarray,
    X: np.ndarray,
    terms: Sequence[Term],
    theta: np.ndarray,
    w: np.ndarray | None = None,
    offset: np.ndarray | None = None,
    reml: bool = True,
    sigma: float | None = None,
) -> np.ndarray:
    """Return the (m + 1,) gradient in (theta, sigma) of l'Cl, C = sigma^2 (X'V^-1 X)^-1.

    dC/dtheta_i = sigma^2 (X'V^-1 X)^-1 X'V^-1 V_i V^-1 X (X'V^-1 X)^-1 and dC/dsigma = 2 C / sigma.
    """
    gls = _gls(y, X, terms, theta, w, offset)
    sigma2 = _scale(gls, reml, sigma)
    a = gls.V_inv @ gls.X @ gls.XVX_inv @ contrast
    in_theta = [sigma2 * (a @ V_i @ a) for V_i in covariance_first(terms, theta)]
    return np.array([*in_theta, 2 * np.sqrt(sigma2) * (contrast @ gls.XVX_inv @ contrast)])


def satterthwaite_df(
    contrast: np.ndarray,
    y: np.ndarray,
    X: np.ndarray,
    terms: Sequence[Term],
    theta: np.ndarray,
    w: np.ndarray | None = None,
    offset: np.ndarray | None = None,
    reml: bool = True,
    sigma: float | None = None,
) -> float:
    """Return the degrees of freedom of l'beta, 2 (l'Cl)^2 / Var(l'Cl) (GB).

    Var(l'Cl) = g'Ag, with g the gradient of l'Cl in (theta, sigma) and A the asymptotic covariance
    of (theta, sigma), twice the inverse of the Hessian of -2 log L.
    """
    C = estimates(y, X, terms, theta, w, offset, reml, sigma).cov_beta
    g = variance_gradient(contrast, y, X, terms, theta, w, offset, reml, sigma)
    A = 2 * np.linalg.inv(information_in_theta_sigma(y, X, terms, theta, w, offset, reml, sigma))
    return float(2 * (contrast @ C @ contrast) ** 2 / (g @ A @ g))
