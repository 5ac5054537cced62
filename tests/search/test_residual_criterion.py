"""The criterion of (θ, z) against the dense V, its derivatives against differences."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from oracle_residual import Dense, dense_covariance, relationships

from mixedlm_ext import MixedLM, pedigree
from mixedlm_ext.criteria.linear import criterion_of
from mixedlm_ext.criteria.residual import ResidualCriterion, ResidualEvaluation
from mixedlm_ext.products import residual_elements, residual_parts, residual_sums
from mixedlm_ext.products.residual_sums import ResidualSums

Array = np.ndarray


def make(seed: int = 2, n: int = 60) -> pd.DataFrame:
    """Shuffled rows of subjects, crossed with items, with gaps in time."""
    rng = np.random.default_rng(seed)
    g = rng.integers(0, 9, n)
    week = np.zeros(n)
    for level in range(9):
        own = np.flatnonzero(g == level)
        week[own] = np.sort(rng.permutation(14)[: len(own)])
    data = pd.DataFrame(
        {
            "g": g,
            "week": week,
            "time": week + rng.uniform(0, 0.3, n),
            "item": rng.integers(0, 5, n),
            "x": rng.normal(size=n),
            "z": rng.uniform(0.3, 3.0, n).round(1),
            "sex": rng.choice(["f", "m", "o"], n),
            "w": rng.uniform(0.5, 2.0, n),
            "o": rng.normal(size=n),
        }
    )
    b = rng.normal(size=9)[g] + rng.normal(size=5)[data["item"]]
    return data.assign(y=3 + data["x"] + b + rng.normal(size=n)).sample(frac=1, random_state=1)


DATA = make()
PARENTS: dict[int, tuple[int | None, int | None]] = {
    20: (None, None), 21: (None, None), 0: (20, 21), 1: (20, 21), 2: (0, 1), 3: (0, 1),
    4: (2, 3), 5: (20, None), 6: (4, 5), 7: (6, 5), 8: (None, None),
}  # fmt: skip
A = relationships(PARENTS)
LINES = pd.DataFrame([(a, *b) for a, b in PARENTS.items()], columns=["id", "sire", "dam"])
FAMILY = pedigree(LINES.astype("Int64"), "id", "sire", "dam")
SOME = A.to_numpy()[:, [0, 1, 2, 4, 6, 10]]
ANIMALS = {
    "A": A,
    "family": FAMILY,
    "S": pd.DataFrame(SOME @ SOME.T, A.index, A.index),
    "I": pd.DataFrame(np.eye(5), range(5), range(5)),
}
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "ar1, nested": ("y ~ x + (1 | g)", {"correlation": "ar1(week | g)"}),
    "ar1, crossed": ("y ~ x + (1 | g) + (1 | item)", {"correlation": "ar1(week | g)"}),
    "ar1, only crossed": ("y ~ x + (1 | item)", {"correlation": "ar1(week | g)"}),
    "car1, slopes": ("y ~ x + (x | g)", {"correlation": "car1(time | g)"}),
    "cs, crossed": ("y ~ x + (1 | item)", {"correlation": "cs(1 | g)"}),
    "strata": ("y ~ x + (1 | g) + (1 | item)", {"variance": "sex"}),
    "power": ("y ~ x + (1 | g)", {"variance": "power(z)"}),
    "exp": ("y ~ x + (x || g)", {"variance": "exp(z)"}),
    "all": (
        "y ~ x + (1 | g) + (1 | item)",
        {"correlation": "ar1(week | g)", "variance": "sex * power(z)"},
    ),
    "cs and all": (
        "y ~ x + (1 | item)",
        {"correlation": "cs(1 | g)", "variance": "sex * exp(z)"},
    ),
    "structured effects": (
        "y ~ x + cs(0 + sex | item)",
        {"correlation": "ar1(week | g)", "variance": "exp(z)"},
    ),
    "weights, offset": (
        "y ~ x + (1 | g) + (1 | item)",
        {"correlation": "ar1(week | g)", "variance": "sex", "weights": "w", "offset": "o"},
    ),
    "no fixed effects": ("y ~ 0 + (1 | item)", {"correlation": "ar1(week | g)"}),
    "pedigree": (
        "y ~ x + (1 | gr(g, cov=family)) + (1 | g)",
        {"correlation": "ar1(week | g)", "eval_env": ANIMALS},
    ),
    "pedigree, slopes, joined": (
        "y ~ x + (1 + x | gr(g, cov=family)) + (1 | item)",
        {"correlation": "cs(1 | item)", "variance": "sex", "eval_env": ANIMALS},
    ),
    "singular matrix": (
        "y ~ x + (1 + x | gr(g, cov=S)) + (1 | item)",
        {"correlation": "ar1(week | g)", "variance": "sex", "eval_env": ANIMALS},
    ),
    "two matrices, joined": (
        "y ~ x + (1 | gr(g, cov=A)) + (1 | gr(item, cov=I))",
        {"correlation": "cs(1 | item)", "variance": "power(z)", "eval_env": ANIMALS},
    ),
    "matrix, weights": (
        "y ~ x + (1 | gr(g, cov=A))",
        {"variance": "sex", "weights": "w", "offset": "o", "eval_env": ANIMALS},
    ),
    "members": (
        "y ~ x + (1 + x | mm(g, item)) + (1 | item)",
        {"correlation": "ar1(week | g)", "variance": "sex"},
    ),
}


def members() -> Array:
    """Each row has the mean of the effects of its g and its item."""
    W = np.zeros((len(DATA), 9))
    for column in ("g", "item"):
        W[np.arange(len(DATA)), DATA[column]] += 0.5
    return W @ W.T


def among(K: pd.DataFrame, column: str = "g") -> Array:
    return K.loc[DATA[column], DATA[column]].to_numpy()


BETWEEN = {
    "pedigree": [among(A), None],
    "pedigree, slopes, joined": [among(A), None],
    "singular matrix": [among(ANIMALS["S"]), None],
    "two matrices, joined": [among(A), None],
    "matrix, weights": [among(A)],
    "members": [members(), None],
}
models = pytest.mark.parametrize("name", MODELS)
criteria = pytest.mark.parametrize("reml", [True, False])


def criterion(name: str, reml: bool, sigma: float | None = None) -> ResidualCriterion:
    formula, arguments = MODELS[name]
    model = MixedLM.from_formula(formula, DATA, **arguments)
    made = criterion_of(model.problem, reml, sigma)
    assert isinstance(made, ResidualCriterion)
    return made


def design_of(name: str) -> Dense:
    formula, arguments = MODELS[name]
    design = MixedLM.from_formula(formula, DATA, **arguments).design
    return Dense(design, BETWEEN.get(name, ()))


def points(made: ResidualCriterion) -> list[Array]:
    """Random ones, one next to independence, and one with a variance of zero."""
    space = made.space
    m, K = space.covariance.n_theta, len(space.structure.parameters)
    low, high = space.domain
    out = []
    for seed in range(3):
        rng = np.random.default_rng(seed)
        theta = np.clip(rng.uniform(0.2, 1.5, m), low[:m], np.minimum(high[:m], 0.9))
        z = rng.uniform(0.1, 0.9, K) * rng.choice([-1.0, 1.0], K)
        out.append(space.join(theta, np.clip(z, low[m:] + 0.05, high[m:])))
    zero = out[0].copy()
    zero[0] = 0.0
    return [*out, space.join(out[1][:m], np.maximum(space.structure.neutral, low[m:])), zero]


@models
@criteria
@pytest.mark.parametrize("sigma", [None, 1.3])
def test_values_are_those_of_the_dense_model(name: str, reml: bool, sigma: float | None) -> None:
    made, dense = criterion(name, reml, sigma).in_user_scale(), design_of(name)
    space = made.space
    for point in points(made):
        theta, z = space.split(point)
        raw = space.covariance.unstandardize(theta)
        values = space.structure.values_of(z)
        assert_allclose(made.at(point).value, dense.criterion(raw, values, reml, sigma), rtol=1e-9)


@models
@criteria
@pytest.mark.parametrize("sigma", [None, 1.3])
def test_gradients_are_those_of_differences(name: str, reml: bool, sigma: float | None) -> None:
    made = criterion(name, reml, sigma)
    low, _ = made.space.domain
    for point in points(made):
        e = made.at(point)
        for j in range(len(point)):

            def at(change: float, point: Array = point, j: int = j) -> float:
                moved = point.copy()
                moved[j] += change
                return made.at(moved).value

            h = 1e-5
            if point[j] - h >= low[j]:
                assert_allclose(e.gradient[j], (at(h) - at(-h)) / (2 * h), rtol=1e-5, atol=2e-5)
            elif j < made.space.covariance.n_theta:  # powers of a correlation of zero are no lines
                slope = (4 * at(h) - at(2 * h) - 3 * at(0.0)) / (2 * h)
                assert_allclose(e.gradient[j], slope, rtol=1e-4, atol=1e-3)


@models
def test_both_scales_are_one_model(name: str) -> None:
    """σ relative to the mean of the standard deviations, or as users see it."""
    made = criterion(name, True)
    for point in points(made):
        theta, z = made.space.split(point)
        level = made.sums.level(z)
        scaled = made.space.covariance.scaled(theta, float(np.exp(level)))
        one, two = made.at(point), made.in_user_scale().at(made.space.join(scaled, z))
        assert_allclose(two.value, one.value, rtol=1e-11)
        assert_allclose(two.scale, one.scale * np.exp(-2 * level), rtol=1e-9)
        assert_allclose(made.inside(two.theta), point, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(
    "name",
    [
        "ar1, crossed",
        "all",
        "cs and all",
        "car1, slopes",
        "power",
        "singular matrix",
        "two matrices, joined",
        "members",
        "pedigree, slopes, joined",
    ],
)
def test_sums_and_rows_give_the_same(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    short = criterion(name, True)
    monkeypatch.setattr(residual_parts, "_AT_ONCE", 1)
    piecemeal = criterion(name, True)
    monkeypatch.setattr(residual_sums, "MOST_TERMS", 0)
    long = criterion(name, True)
    monkeypatch.setattr(residual_elements, "_MOST_ENTRIES", 0)
    longest = criterion(name, True)
    assert long.sums.describes.startswith("elements")
    assert longest.sums.describes.startswith("from the rows")
    for point in points(short):
        one = short.at(point)
        for other in (piecemeal, long, longest):
            two = other.at(point)
            assert_allclose(two.value, one.value, rtol=1e-11)
            assert_allclose(two.gradient, one.gradient, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("name", ["singular matrix", "members"])
def test_roots_are_taken_at_once_or_at_each_point(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the sums of independent effects would take more memory than those of levels."""
    short = criterion(name, True)
    terms = short.sums._terms
    assert terms is not None and terms.of_roots
    monkeypatch.setattr(residual_sums, "_MOST_NUMBERS", len(terms.which) * len(short.sums._levels))
    long = criterion(name, True)
    small = len(short.sums._roots.cells) <= len(short.sums._levels)
    assert long.sums._terms is not None and long.sums._terms.of_roots == small
    for point in points(short):
        one, two = short.at(point), long.at(point)
        assert_allclose(two.value, one.value, rtol=1e-11)
        assert_allclose(two.gradient, one.gradient, rtol=1e-7, atol=1e-7)


@models
@criteria
def test_the_average_information(name: str, reml: bool) -> None:
    """f'Pf for the working vectors f of z, against the dense V."""
    made, dense = criterion(name, reml).in_user_scale(), design_of(name)
    space = made.space
    point = points(made)[0]
    e = made.at(point)
    theta, z = space.split(point)
    raw, m = space.covariance.unstandardize(theta), space.covariance.n_theta
    expected = dense.average_information(raw, z, space.structure, reml)
    found = e.hessian_model[m:, m:]
    assert_allclose(found, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())


@models
def test_exact_second_derivatives_along_a_step(name: str) -> None:
    """The Hessian by differences of gradients, in the directions that a search takes."""
    made = criterion(name, True)
    e = made.at(points(made)[1])
    g, H = e.derivatives(exact=True)
    again: ResidualEvaluation = made.at(e.theta)
    assert_allclose(again.derivatives()[0], g, rtol=1e-12)
    if not made.problem.covariance.free:
        return  # the average information stands in for some second derivatives
    for j in range(len(g)):
        step = np.zeros(len(g))
        step[j] = 1e-3
        ends = [made.at(e.after(sign * step)).value for sign in (1.0, -1.0)]
        second = (ends[0] + ends[1] - 2.0 * e.value) / 1e-6
        assert_allclose(H[j, j], second, rtol=2e-2, atol=2e-2)


@models
def test_covariances_of_beta_move_as_they_should(name: str) -> None:
    made = criterion(name, True).in_user_scale()
    point = points(made)[0]
    m = made.space.covariance.n_theta
    e = made.at(point)

    def cov(at: Array) -> Array:
        found = made.at(at)
        root = found.problem.cp.layout.root(found.pls.RX)
        return root @ root.T

    for k, slope in enumerate(e.cov_derivatives):
        ends = [point.copy(), point.copy()]
        ends[0][m + k] -= 1e-5
        ends[1][m + k] += 1e-5
        assert_allclose(slope, (cov(ends[1]) - cov(ends[0])) / 2e-5, rtol=1e-5, atol=1e-8)


def test_the_dense_model_knows_its_residuals() -> None:
    """The oracle by itself: a correlation of neighbours and a stratum."""
    design = MixedLM.from_formula(
        "y ~ x + (1 | g)", DATA, correlation="ar1(week | g)", variance="sex"
    ).design
    R = dense_covariance(design, np.array([0.5, 2.0, 3.0]))
    one, two = np.flatnonzero((design.frame["g"] == 1).to_numpy())[:2]  # type: ignore[index]
    h = abs(design.frame["week"].iloc[one] - design.frame["week"].iloc[two])  # type: ignore[index]
    sd = {"f": 1.0, "m": 2.0, "o": 3.0}
    sexes = [sd[design.frame["sex"].iloc[i]] for i in (one, two)]  # type: ignore[index]
    assert R[one, two] == pytest.approx(0.5**h * sexes[0] * sexes[1])
    assert R[one, one] == pytest.approx(sexes[0] ** 2)


def test_rows_in_another_order_are_the_same_model() -> None:
    formula, arguments = MODELS["all"]
    values = []
    for data in (DATA, DATA.sample(frac=1, random_state=9)):
        made = criterion_of(MixedLM.from_formula(formula, data, **arguments).problem, True)
        values.append(made.at(np.array([0.7, 0.4, 0.3, -0.2, 0.4, 0.5])).value)
    assert_allclose(values[0], values[1], rtol=1e-12)


def test_a_problem_without_structure_has_the_plain_criterion() -> None:
    problem = MixedLM.from_formula("y ~ x + (1 | g)", DATA).problem
    assert problem.residual is None
    assert type(criterion_of(problem, True)).__name__ == "GaussianCriterion"
    assert replace(problem, residual=None).residual is None
    assert ResidualSums.__name__ == "ResidualSums"


@models
def test_a_step_tells_what_the_model_of_the_hessian_misses(name: str) -> None:
    """After a short step the Hessian explains how the gradient has changed along it."""
    made = criterion(name, True)
    e = made.at(points(made)[1])
    start, before = e.gradient, e.theta.copy()
    g, H = e.derivatives()
    unlearnt = made.at(before).derivatives()[1]
    assert_allclose(H, unlearnt, rtol=1e-12)
    step = -1e-3 * g / np.linalg.norm(g)
    new = e.retract(step)
    change = new.gradient - start
    moved = new.theta - before
    plain = made.at(new.theta)
    G, after = new.derivatives()
    assert_allclose(G, plain.derivatives()[0], rtol=1e-9, atol=1e-9)
    first = np.linalg.norm(change - plain.hessian_model @ moved)
    if first > np.linalg.norm(change):
        assert_allclose(after, plain.derivatives()[1], rtol=1e-9, atol=1e-9)
        return  # the model is too far off
    learnt = change - (plain.hessian_model + new._secant) @ moved
    assert np.linalg.norm(learnt) < 1e-6 * np.linalg.norm(change)
    if not len(made.problem.covariance.terms) or (after == plain.derivatives()[1]).all():
        return
    # along the directions of the search it is the same correction
    back = after - plain.derivatives()[1]
    reached = np.array([new.after(1e-5 * row) for row in np.eye(len(G))])
    J = (reached - new.theta) / 1e-5
    assert_allclose(back, J @ new._secant @ J.T, rtol=1e-3, atol=1e-3 * np.abs(back).max())
