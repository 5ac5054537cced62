"""What every covariance structure keeps to, and the engine on it against dense algebra."""

from __future__ import annotations

import numpy as np
import oracle
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from simulation import Example, balanced

from mixedlm_ext import MixedLM
from mixedlm_ext.criteria.gaussian import GaussianCriterion
from mixedlm_ext.search.trust_region import QuadraticModel
from mixedlm_ext.structures import KEYWORDS, STRUCTURES, Structure, structure_of

Array = np.ndarray

EVERY = [
    pytest.param(structure_of(name, k), id=f"{name}-{k}")
    for name in STRUCTURES
    for k in (1, 2, 3, 5)
    if k >= structure_of(name, 2).least_columns
]
structures = pytest.mark.parametrize("structure", EVERY)


def points(structure: Structure, rng: np.random.Generator) -> list[Array]:
    """Points inside the domain and at its ends."""
    low, high = structure.domain
    ends = np.isfinite(low) & np.isfinite(high)
    out = []
    for where in ("inside", "inside", "low", "high", "zero"):
        theta = rng.uniform(0.2, 2.0, structure.n_theta)
        share = rng.uniform(0.1, 0.9, len(low))
        theta[ends] = low[ends] + (high - low)[ends] * share[ends]
        if where == "low":
            theta[ends] = low[ends]
        elif where == "high":
            theta[ends] = high[ends]
        elif where == "zero":
            theta[0] = 0.0
        out.append(theta)
    return out


def gamma(structure: Structure, theta: Array) -> Array:
    T = structure.template(theta)
    return T @ T.T


def differences(function, x: Array, domain: tuple[Array, Array]) -> Array:
    """First derivatives, second order, one-sided at the ends of the domain."""
    h, out = 1e-5, []
    for j, unit in enumerate(np.eye(len(x))):
        if x[j] + h > domain[1][j]:
            h_j = -h
        elif x[j] - h < domain[0][j]:
            h_j = h
        else:
            out.append((function(x + h * unit) - function(x - h * unit)) / (2 * h))
            continue
        steps = [function(x + i * h_j * unit) for i in range(3)]
        out.append((-3 * steps[0] + 4 * steps[1] - steps[2]) / (2 * h_j))
    return np.array(out)


# ------------------------------------------------------------------------------------- the contract


@structures
def test_derivatives_of_gamma(structure: Structure) -> None:
    for theta in points(structure, np.random.default_rng(1)):
        found = differences(lambda x: gamma(structure, x), theta, structure.domain)
        assert_allclose(structure.gamma_derivatives(theta), found, atol=1e-7)


@structures
def test_curvature(structure: Structure) -> None:
    rng = np.random.default_rng(2)
    G = rng.standard_normal((structure.k, structure.k))
    G = G + G.T
    for theta in points(structure, rng):
        found = differences(
            lambda x: np.einsum("jab,ab->j", structure.gamma_derivatives(x), G),
            theta,
            structure.domain,
        )
        C = structure.curvature(theta, G)
        if structure.n_coordinates > structure.n_theta:  # all tied to one
            C = C.sum(keepdims=True)
        assert_allclose(C, found, atol=1e-6)


@structures
def test_templates_are_lower_triangular_roots(structure: Structure) -> None:
    for theta in points(structure, np.random.default_rng(3)):
        T = structure.template(theta)
        assert T.shape == (structure.k, structure.k)
        assert_allclose(T, np.tril(T))
        back = structure.theta_of(T)
        assert_allclose(gamma(structure, back), T @ T.T, atol=1e-7)
        assert_allclose(gamma(structure, structure.nearest(T @ T.T + 0.1)), T @ T.T, atol=10.0)


@structures
def test_whitening_keeps_the_structure(structure: Structure) -> None:
    """Γ(Jθ) = RΓ(θ)R' for every R that the structure allows."""
    rng = np.random.default_rng(4)
    R = np.tril(rng.standard_normal((structure.k, structure.k))) + 3 * np.eye(structure.k)
    if structure.whitening == "columns":
        R = np.diag(np.diag(R))
    elif structure.whitening == "common":
        R = R[0, 0] * np.eye(structure.k)
    for theta in points(structure, rng):
        found = gamma(structure, structure.standardizer(R) @ theta)
        assert_allclose(found, R @ gamma(structure, theta) @ R.T, atol=1e-10)


@structures
def test_start_scale_and_words(structure: Structure) -> None:
    k = structure.k
    first = gamma(structure, structure.start())
    assert_allclose(np.diag(first), np.ones(k))
    if structure.range_unit is None:
        assert_allclose(first, np.eye(k))
    theta = points(structure, np.random.default_rng(5))[0]
    assert_allclose(gamma(structure, structure.scaled(theta, 3.0)), 9 * gamma(structure, theta))
    columns = [f"c{j}" for j in range(k)]
    names = structure.variances(columns)
    assert len(names) == (1 if structure.one_variance else k)
    assert len(names) + len(structure.correlations(columns)) == structure.n_theta
    assert structure.of_size(4).name == structure.name
    assert structure.of_size(4).k == 4
    assert structure.contains(structure)
    low, high = structure.domain
    assert low.shape == high.shape == (structure.n_theta,)
    assert ((structure.start() > low) & (structure.start() < high)).all()
    theta[0] = 0.0
    for other in structure.further_starts(theta):
        assert ((other > low) & (other < high)).all()


@structures
def test_boundary(structure: Structure) -> None:
    inside, _, *ends = points(structure, np.random.default_rng(6))
    assert not structure.is_singular(inside, 1e-5)
    assert_allclose(structure.at_zero(inside, 1e-4), inside)
    bounded = np.isfinite(structure.domain[1]).any()
    for theta in ends:
        values = np.linalg.eigvalsh(gamma(structure, theta))
        assert values.min() > -1e-12
        if theta[0] == 0 or bounded:
            assert structure.is_singular(theta, 1e-5)
            if structure.range_unit is None or theta[-1] > 0:  # at range zero all are independent
                assert values.min() < 1e-12
    near = inside.copy()
    near[0] = 1e-6
    zero = np.linalg.eigvalsh(gamma(structure, structure.at_zero(near, 1e-4)))
    assert abs(zero.min()) < 1e-15


@structures
def test_steps(structure: Structure) -> None:
    """The gradient along the directions of a step, and where a step goes."""
    rng = np.random.default_rng(7)
    G = rng.standard_normal((structure.k, structure.k))
    G = G + G.T
    for theta in points(structure, rng)[:2]:
        B = structure.step_basis(theta)
        slope = B.T @ structure.step_gradient(theta, 2 * G @ structure.template(theta), G)

        def value(step: Array, theta: Array = theta, B: Array = B) -> float:
            return float((G * gamma(structure, structure.stepped(theta, B @ step))).sum())

        free = np.full(B.shape[1], np.inf)
        assert_allclose(differences(value, np.zeros(B.shape[1]), (-free, free)), slope, atol=1e-6)
        # what the changes do to the coordinates is what the coordinates do to Γ
        curved = B.T @ structure.step_curvature(theta, G) @ B
        assert_allclose(curved, curved.T, atol=1e-12)
        low, high = structure.domain
        far = structure.stepped(theta, B @ np.full(B.shape[1], -1e3))
        assert ((far >= low) & (far <= high)).all()


@pytest.mark.parametrize("name", ["cs", "hetar1"])
def test_searches_that_ended_at_an_end_look_the_other_way(name: str) -> None:
    structure = structure_of(name, 3)
    low, high = (end[-1] for end in structure.domain)
    sd = np.array([1.0, 2.0, 3.0])
    for end, other in ((high, 0.5 * low), (low, 0.5 * high)):
        (start,) = structure.further_starts(np.append(sd, end))
        assert_allclose(start, np.append(sd, other))
    starts = structure.further_starts(np.append([0.0, 1.0, 1.0], 0.3))
    assert [start[-1] for start in starts] == [0.5 * high, 0.5 * low]
    assert structure.further_starts(np.append(sd, 0.3)) == []


def test_toeplitz_searches_leave_an_end_before_the_last_lag_both_ways() -> None:
    structure = structure_of("homtoep", 4)
    one, two = structure.further_starts(np.array([2.0, 0.3, -1.0, 0.1]))
    assert_allclose(one, [2.0, 0.3, -0.9, 0.5])
    assert_allclose(two, [2.0, 0.3, -0.9, -0.5])
    assert structure.further_starts(np.array([2.0, 0.3, 0.2, -1.0])) == []
    own = structure_of("toep", 3)
    starts = own.further_starts(np.array([0.0, 1.0, 1.0, 1.0, 0.0]))
    assert_allclose(starts, [[1, 1, 1, 0.5, 0.5], [1, 1, 1, -0.5, -0.5]])


def test_a_lag_that_no_columns_show_has_no_partial_autocorrelation() -> None:
    structure = structure_of("toep", 4)
    theta = np.array([0.0, 1.0, 2.0, 1.5, 0.7, 0.3, 0.9])
    back = structure.theta_of(structure.template(theta))
    assert_allclose(back, [0.0, 1.0, 2.0, 1.5, 0.7, 0.3, 0.0], atol=1e-12)


def test_toeplitz_covers_what_depends_on_the_lag_alone() -> None:
    k = 4
    toep, hom = structure_of("toep", k), structure_of("homtoep", k)
    for name in ("ar1", "hetar1", "cs", "homcs", "iid", "diag", "homtoep"):
        other = structure_of(name, k)
        assert toep.contains(other)
        assert hom.contains(other) is other.one_variance
        assert other.contains(toep) is False
        theta = points(other, np.random.default_rng(1))[0]
        T = other.template(theta)
        nearest = hom if other.one_variance else toep
        assert_allclose(gamma(nearest, nearest.theta_of(T)), T @ T.T, atol=1e-12)
    assert not toep.contains(structure_of("us", k))


def test_the_table() -> None:
    assert {name for words in KEYWORDS.values() for name in words.values()} == set(STRUCTURES)


# ---------------------------------------------------------------------------- a step with ends


@pytest.mark.parametrize("seed", range(30))
@pytest.mark.parametrize("radius", [0.3, 1.0, np.inf])
def test_a_bounded_step_is_no_worse_than_a_grid(seed: int, radius: float) -> None:
    rng = np.random.default_rng(seed)
    A = rng.standard_normal((2, 2))
    H, g = A @ A.T + 0.1 * np.eye(2), rng.standard_normal(2)
    low, high = -rng.uniform(0, 1, 2), rng.uniform(0, 1, 2)
    low[0] = 0.0 if seed % 3 == 0 else low[0]
    step = QuadraticModel(g, H, (low, high)).step(radius)
    assert ((step.vector >= low) & (step.vector <= high)).all()
    assert step.length <= radius * (1 + 1e-6)
    promised = -(g @ step.vector + 0.5 * step.vector @ H @ step.vector)
    assert_allclose(step.decrease, promised, atol=1e-12)
    grid = np.stack(np.meshgrid(*(np.linspace(a, b, 60) for a, b in zip(low, high))), -1)
    grid = grid.reshape(-1, 2)
    grid = grid[np.linalg.norm(grid, axis=1) <= radius]
    best = -(grid @ g + 0.5 * np.einsum("ni,ij,nj->n", grid, H, grid)).min()
    assert step.decrease >= 0.92 * best - 1e-12


def test_negative_curvature_towards_an_end_turns_round() -> None:
    step = QuadraticModel(np.zeros(1), -np.eye(1), (np.zeros(1), np.full(1, np.inf))).step(1.0)
    assert_allclose(step.vector, [1.0])
    assert step.curvature < 0


# ------------------------------------------------------------------------------ the engine


def example(names: tuple[str, ...], seed: int, crossed: bool = True) -> Example:
    """One term of each structure, of three indicator columns or an intercept and a slope."""
    rng = np.random.default_rng(seed)
    n = 140
    columns = {
        "f": np.eye(3)[rng.integers(0, 3, n)],
        "x": np.column_stack([np.ones(n), 3 * rng.standard_normal(n) + 1]),
    }
    terms = []
    for i, name in enumerate(names):
        codes = balanced(n, 7 - i if crossed else 7, rng) if i == 0 or crossed else terms[0].codes
        X = columns["f" if i % 2 == 0 else "x"]
        places = rng.standard_normal((X.shape[1], 2)) if name.endswith("exp") else None
        terms.append(oracle.Term(X, codes, int(codes.max()) + 1, name, places))
    X = np.column_stack([np.ones(n), rng.standard_normal((n, 2))])
    y = 3 * rng.standard_normal(n) + X.sum(axis=1)
    groups = tuple("ghi"[i if crossed else 0] for i in range(len(names)))
    return Example(y, X, tuple(terms), groups, w=rng.uniform(0.5, 2, n), offset=X[:, 1])


def random_theta(model: MixedLM, rng: np.random.Generator, ends: bool) -> Array:
    """A theta of the model's structures, some of it at the ends of its range."""
    parts = []
    for term in model.design.terms:
        inside, _, low, high, zero = points(term.kind, rng)
        parts.append([inside, low, high, zero][rng.integers(1, 4) if ends else 0])
    return np.concatenate(parts)


MODELS = [
    (("cs",), True),
    (("homcs",), True),
    (("ar1",), True),
    (("hetar1",), True),
    (("ar1", "us"), True),
    (("cs", "diag", "homcs"), True),
    (("ar1", "cs"), False),
    (("us", "homcs"), False),
    (("hetar1", "iid"), True),
    (("toep",), True),
    (("homtoep", "us"), True),
    (("toep", "cs"), False),
    (("exp",), True),
    (("hetexp", "us"), True),
    (("exp", "cs"), False),
]


@pytest.mark.parametrize("sigma", [None, 1.3])
@pytest.mark.parametrize("reml", [True, False], ids=["REML", "ML"])
@pytest.mark.parametrize(("names", "crossed"), MODELS)
def test_criterion_and_derivatives(
    names: tuple[str, ...], crossed: bool, reml: bool, sigma: float | None
) -> None:
    """Value against dense V, derivatives against its differences, inside and at boundaries."""
    case = example(names, seed=1, crossed=crossed)
    model = case.model()
    covariance = model.problem.covariance
    criterion = GaussianCriterion(model.problem, reml, sigma)
    J = covariance.jacobian
    rng = np.random.default_rng(2)
    for ends in (False, True):
        theta = random_theta(model, rng, ends)

        def dense(x: Array) -> float:
            return oracle.objective(**case.dense, theta=x, reml=reml, sigma=sigma)

        e = criterion.at(covariance.standardize(theta))
        assert_allclose(e.value, dense(theta), rtol=1e-10)
        scale = np.abs(J.T @ e.gradient).max()
        slope = differences(dense, theta, covariance.domain)
        assert_allclose(J.T @ e.gradient, slope, atol=2e-6 * max(1.0, scale))

        def gradient(x: Array) -> Array:
            return J.T @ criterion.at(covariance.standardize(x)).gradient

        H = J.T @ e.hessian @ J
        found = differences(gradient, theta, covariance.domain)
        assert_allclose(H, found, atol=2e-6 * max(1.0, np.abs(H).max()))
        assert_allclose(J.T @ criterion._differences(e.theta) @ J, H, rtol=1e-4, atol=1e-2 * scale)


@pytest.mark.parametrize(("names", "crossed"), MODELS)
def test_estimates(names: tuple[str, ...], crossed: bool) -> None:
    """Modes and their covariances at one theta, from a fit that stays there."""
    case = example(names, seed=3, crossed=crossed)
    model = case.model()
    theta = random_theta(model, np.random.default_rng(4), ends=False)
    e = GaussianCriterion(model.problem, True).at(model.problem.covariance.standardize(theta))
    found = oracle.estimates(**case.dense, theta=theta)
    assert_allclose(e.scale, found.sigma2, rtol=1e-9)
    cp = model.problem.cp
    for term, b in zip(model.problem.covariance.terms, found.b):
        own = cp.block(e.pls.b, term.block)[term.own]
        assert_allclose(np.linalg.solve(term.whitening, own).T, b, atol=1e-8)


def test_data_frames_share_the_structure() -> None:
    data = pd.DataFrame({"g": [1, 1, 2, 2, 3, 3], "f": list("ab" * 3), "y": [1.0, 2, 4, 3, 7, 9]})
    model = MixedLM.from_formula("y ~ 1 + cs(0 + f | g)", data)
    assert model.design.terms[0].kind is structure_of("cs", 2)
