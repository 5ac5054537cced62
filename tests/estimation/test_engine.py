"""The engine against the dense oracle, at optima and elsewhere.

How the factor is built is tested in test_elimination.py.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import oracle
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from simulation import Example, example, thetas
from statsmodels.tools.sm_exceptions import ConvergenceWarning

from mixedlm_ext import MixedLM
from mixedlm_ext.criteria.gaussian import GaussianCriterion
from mixedlm_ext.errors import SingularFitWarning
from mixedlm_ext.linalg import small
from mixedlm_ext.linalg.orthogonal import orthonormal_basis, whiten

EXAMPLES: dict[str, Example] = {
    "one factor": example("partial", ["1|g"]),
    "one factor, us": example("partial", ["1z|g"], weights=True),
    "one factor, diag": example("partial", ["1xz||g"], offset=True),
    "three columns": example("partial", ["1xz|h"], seed=3),
    "nested": example("nested", ["1|h", "1|g"], weights=True, offset=True),
    "nested three deep": example("nested", ["1|i", "1x|h", "1|g"]),
    "crossed": example("crossed", ["1|g", "1|h"]),
    "crossed, slopes": example("crossed", ["1x|h", "xz||g"], weights=True),
    "partially crossed": example("partial", ["1x|g", "1z|h"], offset=True),
    "three factors": example("partial", ["1|i", "1x|h", "1|g"], weights=True),
    "nested and crossed": example("mixed", ["1|h", "1x|i", "1|g"]),
    "two terms on one factor": example("partial", ["1|g", "x|g"]),
    "merged, apart": example("partial", ["1x|h", "1|g", "zu||h"], weights=True, seed=5),
    "rank-deficient X": example("crossed", ["1x|h", "1|g"], X="1dxz"),
    "rank-deficient X, weights": example("partial", ["1z|g"], X="1xdz", weights=True, offset=True),
    "no fixed effects": example("partial", ["1x|g", "1|h"], X=""),
    "no fixed effects, weights": example("nested", ["1|h", "1|g"], X="", weights=True),
}
NAMES = list(EXAMPLES)
SIGMAS = [pytest.param(None, id="sigma profiled"), pytest.param(0.7, id="sigma fixed")]
REML = [pytest.param(True, id="REML"), pytest.param(False, id="ML")]
KINDS = list(thetas(EXAMPLES["one factor"]))

each_criterion = pytest.mark.parametrize("reml", REML)
each_sigma = pytest.mark.parametrize("sigma", SIGMAS)
each_example = pytest.mark.parametrize("name", NAMES)
each_theta = pytest.mark.parametrize("kind", KINDS)


def assert_relative(actual: Any, expected: Any, tolerance: float, floor: float = 0.0) -> None:
    """Agreement to `tolerance` times the largest entry (or `floor`)."""
    scale = max(float(np.max(np.abs(expected), initial=0.0)), floor)
    assert_allclose(actual, expected, rtol=0, atol=tolerance * scale)


# ---------------------------------------------------------------- the criterion


@each_sigma
@each_criterion
@each_theta
@each_example
def test_criterion_and_derivatives(name: str, kind: str, reml: bool, sigma: float | None) -> None:
    this, model = EXAMPLES[name], EXAMPLES[name].model()
    at = {"theta": thetas(this)[kind], "reml": reml, "sigma": sigma}
    assert_allclose(model.objective(**at), oracle.objective(**this.dense, **at), rtol=1e-9)
    # The two halves of the gradient, each as large as n, cancel: the floor is theirs.
    assert_relative(model.score(**at), oracle.gradient(**this.dense, **at), 1e-6, floor=1e-2)
    assert_relative(model.hessian(**at), oracle.hessian(**this.dense, **at), 1e-5)
    problem = model.problem
    J = problem.covariance.jacobian
    point = GaussianCriterion(problem, reml, sigma).at(problem.covariance.standardize(at["theta"]))
    expected = average_information(this, **at)
    assert_relative(J.T @ point.hessian_model @ J, expected, 1e-8)


def average_information(
    this: Example, theta: np.ndarray, reml: bool, sigma: float | None
) -> np.ndarray:
    """y'P V_i P V_j P y / s2 - ss'/df + tr(A V_ij) - y'P V_ij P y / s2, A = P or V^-1."""
    gls = oracle._gls(**this.dense, theta=theta)
    df, s2 = oracle._degrees(gls, reml), oracle._scale(gls, reml, sigma)
    working = np.array([V_i @ gls.Py for V_i in oracle.covariance_first(this.terms, theta)])
    out = working @ gls.P @ working.T / s2
    if sigma is None:
        out -= np.outer(working @ gls.Py, working @ gls.Py) / s2**2 / df
    A = gls.P if reml else gls.V_inv
    for i in range(len(theta)):
        for j in range(len(theta)):
            V_ij = oracle.covariance_second(this.terms, i, j)
            out[i, j] += np.sum(A * V_ij) - gls.Py @ V_ij @ gls.Py / s2
    return out


# ---------------------------------------------------------------- estimates


def results_at(this: Example, theta: np.ndarray, reml: bool, sigma: float | None) -> Any:
    """Results as if the search had ended at theta."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.simplefilter("ignore", SingularFitWarning)
        return this.model().fit(reml=reml, start_params=theta, maxiter=1, sigma=sigma)


@each_sigma
@each_criterion
@each_theta
@each_example
def test_estimates(name: str, kind: str, reml: bool, sigma: float | None) -> None:
    this = EXAMPLES[name]
    theta = thetas(this)[kind]
    result = results_at(this, theta, reml, sigma)
    expected = oracle.estimates(**this.dense, theta=theta, reml=reml, sigma=sigma)
    assert_allclose(np.abs(result.theta), np.abs(theta), rtol=1e-12, atol=1e-12)
    assert_allclose(result.scale, expected.sigma2, rtol=1e-9)
    if len(expected.kept):
        assert_relative(result.params, expected.beta, 1e-8)
        assert_relative(result.cov_params(), expected.cov_beta, 1e-8)
    assert_relative(result.fittedvalues, expected.fitted, 1e-9)
    assert_relative(result.resid, this.y - expected.fitted, 1e-8)
    assert_allclose(result.fit_record.pwrss, expected.pwrss, rtol=1e-8)
    assert_allclose(result.fit_record.logdet_L, expected.logdet_M, rtol=1e-9, atol=1e-11)
    modes, sds = result.random_effects, result.random_effects_sd
    covariances = result.random_effects_cov
    for i, term in enumerate(result.model.random_terms):
        b, C = expected.b[i], expected.b_cov[i]
        assert_relative(modes[term.name], b, 1e-8, floor=1e-3)
        assert_relative(sds[term.name], np.sqrt(np.einsum("lkk->lk", C)), 1e-7, floor=1e-3)
        of_term = covariances if len(this.terms) == 1 else covariances[term.name]
        assert_relative([of_term[level] for level in term.levels], C, 1e-8, floor=1e-3)


@each_criterion
@each_example
def test_modes_are_template_times_spherical(name: str, reml: bool) -> None:
    fit = results_at(EXAMPLES[name], thetas(EXAMPLES[name])["random"], reml, None).fit_record
    for T, b, u in zip(fit.templates, fit.b, fit.u, strict=True):
        assert_relative(u @ T.T, b, 1e-10)


@each_example
def test_Z(name: str) -> None:
    assert_allclose(EXAMPLES[name].model().Z.toarray(), oracle.Z(EXAMPLES[name].terms))


def test_theta_follows_the_formula() -> None:
    """Whatever the order of the blocks; and formula and arrays are the same model."""
    this = example("partial", ["1x|h", "1|g"], weights=True)
    data = pd.DataFrame({"y": this.y, "x": this.X[:, 1], "w": this.w})
    data = data.assign(h=this.terms[0].codes, g=this.terms[1].codes)
    theta = thetas(this)["random"]
    value = this.model().objective(theta)
    one = MixedLM.from_formula("y ~ x + (x | h) + (1 | g)", data, weights="w")
    two = MixedLM.from_formula("y ~ x + (1 | g) + (x | h)", data, weights="w")
    assert_allclose(one.objective(theta), value, rtol=1e-13)
    assert_allclose(two.objective(theta[[3, 0, 1, 2]]), value, rtol=1e-13)
    assert_allclose(two.score(theta[[3, 0, 1, 2]]), one.score(theta)[[3, 0, 1, 2]], rtol=1e-9)
    order = [3, 0, 1, 2]
    assert_allclose(two.hessian(theta[order]), one.hessian(theta)[np.ix_(order, order)], rtol=1e-6)


def test_signs_of_template_columns_do_not_matter() -> None:
    this = EXAMPLES["partially crossed"]
    theta = thetas(this)["random"]
    flipped = theta * [-1, -1, 1, 1, 1, -1]
    assert_allclose(this.model().objective(flipped), this.model().objective(theta), rtol=1e-13)


# ---------------------------------------------------------------- random designs


@st.composite
def designs(draw: st.DrawFn) -> tuple[Example, np.ndarray]:
    """A small model of any kind, and a theta, some of whose entries are zero."""
    left = st.sampled_from(["1", "x", "1x", "xz", "1xz"])
    bar = st.sampled_from(["|", "||"])
    groups = draw(st.lists(st.sampled_from("ghi"), min_size=1, max_size=3, unique=True))
    this = example(
        draw(st.sampled_from(["nested", "crossed", "partial", "mixed"])),
        [f"{draw(left)}{draw(bar)}{group}" for group in groups],
        X=draw(st.sampled_from(["", "1", "1x", "xzu", "1dxz"])),
        weights=draw(st.booleans()),
        offset=draw(st.booleans()),
        seed=draw(st.integers(0, 999)),
    )
    entry = st.one_of(st.just(0.0), st.floats(-3, 3), st.sampled_from([1e-9, 1e-4, 50.0]))
    theta = draw(st.lists(entry, min_size=this.n_theta, max_size=this.n_theta))
    return this, np.array(theta)


@settings(deadline=None, max_examples=60)
@given(designs(), st.booleans(), st.sampled_from([None, 0.3]))
def test_random_designs(
    design: tuple[Example, np.ndarray], reml: bool, sigma: float | None
) -> None:
    this, theta = design
    model, arguments = this.model(), {"theta": theta, "reml": reml, "sigma": sigma}
    assert_allclose(
        model.objective(**arguments), oracle.objective(**this.dense, **arguments), rtol=1e-9
    )
    expected = oracle.gradient(**this.dense, **arguments)
    assert_relative(model.score(**arguments), expected, 1e-6, floor=1e-2)


# ---------------------------------------------------------------- small matrices and bases


def stack(rng: np.random.Generator, rows: int, columns: int, levels: int = 6) -> np.ndarray:
    return rng.standard_normal((rows, columns, levels))


def by_level(A: np.ndarray) -> list[np.ndarray]:
    return list(np.moveaxis(A, 2, 0))


@pytest.mark.parametrize("k", [1, 2, 3, 5])
def test_small_matrices(k: int) -> None:
    rng = np.random.default_rng(k)
    A, B, T = stack(rng, k, k), stack(rng, k, 3), np.tril(rng.standard_normal((k, k)))
    S = small.product(A, np.swapaxes(A, 0, 1))
    S[np.arange(k), np.arange(k)] += 0.5
    for got, a, b in zip(by_level(small.product(A, B)), by_level(A), by_level(B), strict=True):
        assert_allclose(got, a @ b)
    for got, s in zip(by_level(small.congruence(T, S)), by_level(S), strict=True):
        assert_allclose(got, T.T @ s @ T)
    L = small.cholesky(S)
    for got, s in zip(by_level(L), by_level(S), strict=True):
        assert_allclose(got, np.linalg.cholesky(s), atol=1e-14)
    for got, low, b in zip(
        by_level(small.solve_lower(L, B)), by_level(L), by_level(B), strict=True
    ):
        assert_allclose(got, np.linalg.solve(low, b))
    for got, low in zip(by_level(small.solve_lower(L, T.T)), by_level(L), strict=True):
        assert_allclose(got, np.linalg.solve(low, T.T), atol=1e-14)


def vandermonde(n: int, p: int) -> np.ndarray:
    """Powers of a calendar year: condition numbers of 10^10 and more after scaling."""
    return np.vander(np.linspace(2000.0, 2010.0, n), p, increasing=True)


@pytest.mark.parametrize(
    "X",
    [
        pytest.param(np.random.default_rng(1).standard_normal((50, 4)), id="ordinary"),
        pytest.param(np.random.default_rng(1).standard_normal((50, 1)) * 1e8, id="one column"),
        pytest.param(
            np.random.default_rng(1).standard_normal((50, 4)) * [1e-9, 1.0, 1e9, 1e3], id="scales"
        ),
        pytest.param(vandermonde(50, 2), id="condition 1e3"),
        pytest.param(vandermonde(50, 3), id="condition 1e6"),
        pytest.param(vandermonde(50, 4), id="condition 1e9"),
    ],
)
def test_orthonormal_basis(X: np.ndarray) -> None:
    before = X.copy()
    Q, R = orthonormal_basis(X)
    assert_allclose(Q.T @ Q, np.eye(X.shape[1]), atol=1e-14)
    assert_allclose((Q @ R - X) / np.abs(X).max(axis=0), 0, atol=1e-14)
    assert_allclose(R, np.triu(R))
    assert_allclose(X, before, rtol=0)


def test_orthonormal_basis_of_nothing() -> None:
    Q, R = orthonormal_basis(np.zeros((5, 0)))
    assert Q.shape == (5, 0)
    assert R.shape == (0, 0)


@pytest.mark.parametrize("shift", [0.0, 1e3, 1e8])
@pytest.mark.parametrize("scales", [[1, 1, 1, 1], [1e-6, 1, 1e6, 3]], ids=["ordinary", "scales"])
@pytest.mark.parametrize("k", [1, 2, 4])
def test_whiten(k: int, scales: list[float], shift: float) -> None:
    X = (np.random.default_rng(k).standard_normal((40, k)) + shift * (np.arange(k) == 1)) * scales[
        :k
    ]
    W, R = whiten(X, "triangular")
    assert_allclose(R, np.tril(R))
    assert (np.diag(R) > 0).all()
    assert_allclose(W @ R, X, rtol=1e-12, atol=1e-12 * np.abs(X).max())
    assert_allclose(W.T @ W, np.eye(k), atol=1e-12)


def test_whiten_diagonal() -> None:
    X = np.array([[3.0, 0.0], [4.0, 0.0]])
    W, R = whiten(X, "columns")
    assert_allclose(R, np.diag([5.0, 1.0]))
    assert_allclose(W, X / [5.0, 1.0])
