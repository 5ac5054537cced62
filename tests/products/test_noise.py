"""What every `Noise` promises, against the dense W; and that nothing else reads weights."""

import ast
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from scipy import sparse

import mixedlm_ext
from mixedlm_ext import MixedLM
from mixedlm_ext.criteria import assemble as assembly
from mixedlm_ext.criteria.gaussian import GaussianCriterion
from mixedlm_ext.products.noise import EqualVariances, Noise, Precisions
from mixedlm_ext.products.structured_noise import StructuredNoise
from mixedlm_ext.residual.kinds import KINDS
from mixedlm_ext.residual.structure import (
    CorrelationPart,
    ResidualRows,
    ResidualStructure,
    VariancePart,
)

N = 7
W = np.random.default_rng(4).uniform(0.2, 5.0, N)
LEVELS = pd.Index([0, 1, 2, 3])

GROUPS = np.array([2, 0, 0, 3, 2, 2, 0])
TIMES = np.array([4.0, 1.0, 2.0, 1.0, 1.0, 2.0, 5.0])


def structured(word: str | None, weights: np.ndarray | None) -> tuple[Noise, np.ndarray]:
    """A residual structure with rows of unequal variances, and its W."""
    part = None if word is None else CorrelationPart(KINDS[word](1.0, 3), "", ("g",), "t", LEVELS)
    variance = VariancePart("exp", "exp(x)", ("x",), None, (0.5,))
    structure = ResidualStructure(part, (variance,))
    x = np.random.default_rng(5).normal(size=N)
    values = np.array([0.4, 0.7][word is None :])
    noise = StructuredNoise(
        structure, ResidualRows(x[:, None], GROUPS, TIMES), structure.z_of(values), weights
    )
    lag = np.abs(TIMES[:, None] - TIMES)
    C = np.eye(N)
    if word is not None:
        same = GROUPS[:, None] == GROUPS
        C = np.where(same, 0.4 if word == "cs" else 0.4**lag, 0.0)
        np.fill_diagonal(C, 1.0)
    sd = np.exp(0.7 * x) / (1.0 if weights is None else np.sqrt(weights))
    return noise, np.linalg.inv(C * np.outer(sd, sd))


# Each beside its W.
NOISES: dict[str, tuple[Noise, np.ndarray]] = {
    "exp": structured(None, None),
    "ar1, exp": structured("ar1", None),
    "car1, exp, weights": structured("car1", W),
    "cs, exp": structured("cs", None),
    "cs, exp, weights": structured("cs", W),
    "equal": (EqualVariances(N), np.eye(N)),
    "precisions": (Precisions(W), np.diag(W)),
    "precisions of one": (Precisions(np.ones(N)), np.eye(N)),
}


@pytest.fixture(params=NOISES)
def case(request: pytest.FixtureRequest) -> tuple[Noise, np.ndarray]:
    return NOISES[request.param]


@pytest.mark.parametrize("shape", [(N,), (N, 3), (N, 0), (N, N)])
def test_what_multiplies_rows(case: tuple[Noise, np.ndarray], shape: tuple[int, ...]) -> None:
    noise, dense = case
    H = np.random.default_rng(1).standard_normal(shape)
    before = H.copy()
    assert_allclose(noise.times(H), dense @ H, atol=1e-12)
    assert_allclose(noise.solve(H), np.linalg.inv(dense) @ H, atol=1e-12)
    root = noise.root_times(np.eye(N))
    assert_allclose(root.T @ root, dense, atol=1e-12)
    assert_allclose(noise.root_times(H), root @ H, atol=1e-12)
    assert_allclose(root @ noise.root_solve(H), H, atol=1e-12)
    if H.ndim == 2:
        assert_allclose(noise.root_of_sparse(sparse.csr_array(H)).toarray(), root @ H, atol=1e-12)
    assert (before == H).all()


def test_ones_and_determinants(case: tuple[Noise, np.ndarray]) -> None:
    noise, dense = case
    ones = np.ones(N) if noise.ones is None else noise.ones
    assert_allclose(ones, noise.root_times(np.ones(N)), rtol=1e-14)
    assert_allclose(noise.logdet, np.linalg.slogdet(dense)[1], atol=1e-13)
    assert_allclose(noise.variances, np.diag(np.linalg.inv(dense)), rtol=1e-12)
    codes = GROUPS
    joined = np.argwhere(np.abs(dense) > 1e-12)
    assert noise.mixes == bool((joined[:, 0] != joined[:, 1]).any()) == (noise.groups is not None)
    expected = [np.linalg.slogdet(dense[np.ix_(own, own)])[1] for own in codes == np.c_[:5]]
    assert_allclose(noise.logdets(codes, 5), expected, atol=1e-13)


@pytest.mark.parametrize("rows", [slice(None), slice(2, 20, 2), np.array([5, 1]), np.arange(0)])
def test_some_rows(case: tuple[Noise, np.ndarray], rows: slice | np.ndarray) -> None:
    noise, dense = case
    at = np.arange(N)[rows]
    part = np.linalg.inv(dense)[np.ix_(at, at)]  # the others are as if they had never been
    taken = noise.take(rows)
    assert_allclose(taken.times(part), np.eye(len(part)), atol=1e-12)
    assert taken.variances.shape == (len(part),)
    assert taken.equal == noise.equal
    assert_allclose(noise.covariance(at), part, atol=1e-13)


def test_only_ones_that_nobody_gave_are_known_to_be_equal() -> None:
    assert EqualVariances(N).equal
    assert not Precisions(np.ones(N)).equal


class Correlated:
    """Any W, dense: what a residual structure would offer to the products of all rows."""

    equal = False

    def __init__(self, W: np.ndarray) -> None:
        self.W, self.root = W, np.linalg.cholesky(W).T

    @property
    def ones(self) -> np.ndarray:
        return self.root.sum(axis=1)

    @property
    def logdet(self) -> float:
        return float(np.linalg.slogdet(self.W)[1])

    def root_times(self, H: np.ndarray) -> np.ndarray:
        return self.root @ H

    def root_solve(self, E: np.ndarray) -> np.ndarray:
        return np.linalg.solve(self.root, E)


@pytest.mark.parametrize("formula", ["y ~ x + (1 | g)", "y ~ x + (x | g)", "y ~ x + (1 + z || g)"])
@pytest.mark.parametrize("reml", [True, False])
def test_residuals_correlated_within_levels(
    formula: str, reml: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Serial correlation of unequal variances in each level of g, against the dense V."""
    rng = np.random.default_rng(8)
    g = np.repeat(np.arange(6), [3, 4, 5, 3, 6, 4])
    n, order = len(g), rng.permutation(len(g))
    data = pd.DataFrame({"g": g, "x": rng.normal(size=n), "z": rng.normal(size=n)})
    data = data.assign(y=1e3 + rng.normal(size=n) + rng.normal(size=6)[g]).iloc[order]
    lag = np.abs(np.subtract.outer(order, order))
    same = np.equal.outer(g[order], g[order])
    sd = rng.uniform(0.5, 2.0, n)
    R = np.where(same, 0.6**lag, 0.0) * np.outer(sd, sd)
    model = MixedLM.from_formula(formula, data)
    noise = Correlated(np.linalg.inv(R))
    monkeypatch.setattr(assembly, "noise_of_weights", lambda design: noise)
    problem = assembly.assemble(model.design)
    theta = rng.uniform(0.3, 1.2, problem.covariance.n_theta)
    V = R.copy()
    for term, T in zip(model.design.terms, problem.covariance.term_templates(theta), strict=True):
        V += same * (term.X @ T @ T.T @ term.X.T)
    y, X = model.design.y, model.design.X
    XVX = X.T @ np.linalg.solve(V, X)
    beta = np.linalg.solve(XVX, X.T @ np.linalg.solve(V, y))
    r = y - X @ beta
    df = n - X.shape[1] if reml else n
    expected = np.linalg.slogdet(V)[1] + (np.linalg.slogdet(XVX)[1] if reml else 0.0)
    expected += df * (1.0 + np.log(2.0 * np.pi * (r @ np.linalg.solve(V, r)) / df))
    found = GaussianCriterion(problem, reml).at(problem.covariance.standardize(theta))
    assert_allclose(found.value, expected, rtol=1e-11)
    assert_allclose(problem.cp.layout.coefficients(found.pls.beta), beta, rtol=1e-10)


# Where rows or the way they were given change hands as the user's arguments, a quadrature, and the
# weights of members.
NO_NOISE = {
    "inference/compare/regression.py",
    "inference/means/multivariate_t.py",
    "inference/profile/shares.py",
    "inference/update.py",
    "prediction/member_term.py",
    "prediction/residual_rows.py",
    "products/noise.py",
    "simulation/new_rows.py",
}


def test_weights_are_read_by_noise_only() -> None:
    package = Path(mixedlm_ext.__file__).parent
    face = {"batches", "design", "shell", "sites"}
    readers = set()
    for path in package.rglob("*.py"):
        place = path.relative_to(package)
        if place.parts[0] in face or str(place) == "model.py":
            continue
        nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
        # working weights of a family are computed, by a method of that name
        called = {id(node.func) for node in nodes if isinstance(node, ast.Call)}
        for node in nodes:
            read = isinstance(node, ast.Attribute) and node.attr == "weights"
            if read and id(node) not in called:
                readers.add(place.as_posix())
    assert readers == NO_NOISE
