"""What every criterion keeps to that the search may minimize: its protocol, against differences.

A new criterion is one entry of `CRITERIA`: a function that returns it somewhere off its minimum.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import oracle
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from simulation import Example, balanced, quietly

from mixedlm_ext import MixedLM, datasets
from mixedlm_ext.criteria.base import Evaluation
from mixedlm_ext.criteria.gaussian import GaussianCriterion
from mixedlm_ext.criteria.levelwise import LevelwiseCriterion, by_levels
from mixedlm_ext.inference.parameters import model_parameters
from mixedlm_ext.inference.profile import points
from mixedlm_ext.inference.profile import search as profile_search
from mixedlm_ext.search.log import Log
from mixedlm_ext.search.newton import newton

Array = np.ndarray


def case(*structures: str) -> Example:
    """Crossed terms of an intercept and a slope, one of each structure."""
    rng = np.random.default_rng(3)
    n = 120
    X = np.column_stack([np.ones(n), rng.standard_normal((n, 2))])
    terms = []
    for structure, levels in zip(structures, (9, 6, 5)):
        codes = balanced(n, levels, rng)
        columns = np.column_stack([np.ones(n), 2.0 * rng.standard_normal(n) + 1.0])
        terms.append(oracle.Term(columns, codes, levels, structure))
    y = X.sum(axis=1) + 2.0 * rng.standard_normal(n) + rng.standard_normal(9)[terms[0].codes]
    w = rng.uniform(0.5, 2.0, n)
    return Example(y, X, tuple(terms), tuple("ghi"[: len(terms)]), w=w, offset=X[:, 1])


def gaussian(
    *structures: str, reml: bool = True, sigma: float | None = None
) -> Callable[[], Evaluation]:
    """The package's criterion of a simulated model, at the start of its search."""

    def make() -> Evaluation:
        problem = case(*structures).model().problem
        theta = 0.7 * problem.covariance.start()
        return GaussianCriterion(problem, reml, sigma).at(theta)

    return make


class Begun(Exception):
    """Carries the criterion with which a search begins."""


def profiled(name: str, formula: str, data: str, **arguments: Any) -> Callable[[], Evaluation]:
    """The criterion of a point of a profile, where its search starts."""

    def begin(current: Evaluation, *_: Any) -> None:
        raise Begun(current)

    def make() -> Evaluation:
        frame = getattr(datasets, data).load_pandas().data
        fit = quietly(MixedLM.from_formula(formula, frame), reml=False, **arguments).fit_record
        every = model_parameters(fit.design, fit.fixed_sigma is None)
        (parameter,) = [p for p in every if p.name == name]
        top = points.maximum(fit)
        held = points.held(parameter, top)
        scale = {"cor": 0.0, "sigma": np.log(top.estimates.sigma)}
        t = scale.get(parameter.kind, 20.0) + 0.2
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(profile_search, "newton", begin)
            with pytest.raises(Begun) as begun:
                held.refit(t, 1.1 * held.start(top))
        return begun.value.args[0]

    return make


def of_pairs(
    structure: str, reml: bool = True, sigma: float | None = None
) -> Callable[[], Evaluation]:
    """The criterion of levels that have few of many columns each."""

    def make() -> Evaluation:
        rng = np.random.default_rng(8)
        g, t = np.repeat(np.arange(15), 3), rng.choice(np.arange(30), 45)
        y = np.sin(t) + rng.standard_normal(15)[g] + 0.5 * rng.standard_normal(45)
        data = pd.DataFrame({"y": y, "x": rng.standard_normal(45), "g": g, "t": t})
        problem = MixedLM.from_formula(f"y ~ x + {structure}", data).problem
        criterion = by_levels(GaussianCriterion(problem, reml, sigma))
        assert isinstance(criterion, LevelwiseCriterion)
        start = problem.covariance.start()
        return criterion.at(np.append(0.7 * start[:-1], start[-1] + 0.1))

    return make


SLEEPSTUDY = ("Reaction ~ Days + (Days | Subject)", "sleepstudy")
STRUCTURED = ("Reaction ~ Days + cs(1 + Days | Subject)", "sleepstudy")
CRITERIA: dict[str, Callable[[], Evaluation]] = {
    "REML": gaussian("us"),
    "ML": gaussian("us", reml=False),
    "REML, crossed": gaussian("us", "diag"),
    "ML, crossed, σ known": gaussian("us", "iid", reml=False, sigma=1.5),
    "REML, ends": gaussian("cs", "us"),
    "ML, ends, σ known": gaussian("homcs", reml=False, sigma=1.5),
    "REML, pairs of columns": of_pairs("exp(0 + position(t) | g)"),
    "ML, pairs of columns, σ known": of_pairs("ar1(0 + C(t) | g)", reml=False, sigma=0.6),
    "profile of a coefficient": profiled("Days", *SLEEPSTUDY),
    "profile of a standard deviation": profiled("sd(Subject, Days)", *SLEEPSTUDY),
    "profile of a correlation": profiled("cor(Subject, Intercept, Days)", *SLEEPSTUDY),
    "profile of σ": profiled("sigma", *SLEEPSTUDY),
    "profile of a standard deviation, σ known": profiled(
        "sd(Subject, Days)", *SLEEPSTUDY, sigma=25.0
    ),
    "profile of a standard deviation, ends": profiled("sd(Subject, Days)", *STRUCTURED),
}


@pytest.fixture(scope="module", params=CRITERIA)
def make(request: pytest.FixtureRequest) -> Callable[[], Evaluation]:
    return CRITERIA[request.param]


@pytest.fixture
def criterion(make: Callable[[], Evaluation]) -> Evaluation:
    return make()


def size(criterion: Evaluation) -> int:
    return len(criterion.derivatives()[0])


def along(criterion: Evaluation, step: Array) -> float:
    return criterion.retract(step).value


def test_values(criterion: Evaluation) -> None:
    assert np.isfinite(criterion.value)
    assert 0 < criterion.noise < 1e-6 * abs(criterion.value)
    assert criterion.theta.ndim == 1
    assert isinstance(criterion.has_exact, bool)
    assert isinstance(criterion.exact_is_cheap, bool)
    assert criterion.has_exact or not criterion.exact_is_cheap


def test_a_step_of_nothing_stays(criterion: Evaluation) -> None:
    """The value is the same within the noise; a column of a template may turn its sign."""
    there = criterion.retract(np.zeros(size(criterion)))
    assert there is not criterion
    assert abs(there.value - criterion.value) <= criterion.noise
    assert_allclose(np.abs(there.theta), np.abs(criterion.theta), atol=1e-12)


def test_the_gradient(criterion: Evaluation) -> None:
    """Of what `retract` gives, along each of its directions."""
    g, _ = criterion.derivatives()
    h = 1e-4
    found = [
        (along(criterion, h * unit) - along(criterion, -h * unit)) / (2 * h)
        for unit in np.eye(len(g))
    ]
    assert np.abs(g).max() > 1e-2  # this is no minimum
    assert_allclose(g, found, atol=1e-6 * max(1.0, np.abs(g).max()))


def test_exact_second_derivatives(criterion: Evaluation) -> None:
    g, H = criterion.derivatives(exact=True)
    assert H.shape == (len(g), len(g))
    assert_allclose(H, H.T, atol=1e-9 * np.abs(H).max())
    if not criterion.has_exact:
        return
    h = 1e-3
    units = np.eye(len(g))
    middle = criterion.value
    for i, one in enumerate(units):
        for j, two in enumerate(units[: i + 1]):
            if i == j:
                found = (along(criterion, h * one) - 2 * middle + along(criterion, -h * one)) / h**2
            else:
                found = sum(
                    a * b * along(criterion, h * (a * one + b * two))
                    for a in (-1, 1)
                    for b in (-1, 1)
                ) / (4 * h**2)
            assert_allclose(H[i, j], found, atol=3e-5 * np.abs(H).max())
    assert (criterion.derivatives(exact=True)[0] == criterion.derivatives()[0]).all()


def test_the_model_of_the_second_derivatives(criterion: Evaluation) -> None:
    """Symmetric, and good enough that a short step along its descent gains what it promises."""
    g, H = criterion.derivatives()
    assert_allclose(H, H.T, atol=1e-9 * np.abs(H).max())
    step = -1e-3 * g / np.linalg.norm(g)
    if criterion.room is not None:
        step = np.clip(step, *criterion.room)
    assert along(criterion, step) < criterion.value
    assert_allclose(criterion.value - along(criterion, step), -g @ step, rtol=0.2)


def test_room(criterion: Evaluation) -> None:
    """A step to an end of a range can be taken, and there is no room beyond it."""
    if criterion.room is None:
        return
    low, high = criterion.room
    assert low.shape == high.shape == (size(criterion),)
    assert ((low < 0) & (high > 0)).all()
    bounded = [(i, end) for ends in (low, high) for i, end in enumerate(ends) if np.isfinite(end)]
    assert bounded
    for i, end in bounded:
        step = np.zeros(len(low))
        step[i] = end
        there, beyond = criterion.retract(step), criterion.retract(2.0 * step)
        assert there.room is not None
        assert_allclose(there.room[0 if end < 0 else 1][i], 0.0, atol=1e-12)
        assert_allclose(beyond.theta, there.theta, atol=1e-12)
        assert np.isfinite(there.value)


def test_points_are_their_own(criterion: Evaluation) -> None:
    """Steps leave the point they start from as it was."""
    value, theta = criterion.value, criterion.theta.copy()
    g = criterion.derivatives()[0].copy()
    there = criterion.retract(np.full(len(g), 0.01))
    there.derivatives()
    assert there.value != value
    assert criterion.value == value
    assert (criterion.theta == theta).all()
    assert (criterion.derivatives()[0] == g).all()


def test_release(make: Callable[[], Evaluation]) -> None:
    """What was computed stays, steps can be taken, and `again` has derivatives anew."""
    whole, criterion = make(), make()
    g, H = criterion.derivatives()
    criterion.release()
    criterion.release()
    assert criterion.value == whole.value
    assert criterion.noise == whole.noise
    assert (criterion.theta == whole.theta).all()
    assert all((one == two).all() for one, two in zip(criterion.derivatives(), (g, H)))
    step = np.full(len(g), 0.01)
    assert_allclose(along(criterion, step), along(whole, step), rtol=1e-13)
    again = criterion.again()
    assert again is not criterion
    assert abs(again.value - whole.value) <= whole.noise
    for exact in (False, True):
        for one, two in zip(again.derivatives(exact), whole.derivatives(exact)):
            assert_allclose(one, two, rtol=1e-9, atol=1e-9 * np.abs(two).max())


def test_the_search_minimizes_it(criterion: Evaluation) -> None:
    """Where it ends, no direction that has room leads down."""
    log = Log(100)
    best, step = newton(criterion, 1e-9, log)
    assert best.value < criterion.value
    assert step.decrease <= 1e-9 + best.noise
    here = best.again()
    m = size(here)
    room = here.room or (np.full(m, -np.inf), np.full(m, np.inf))
    for unit in np.eye(m):
        for h in (-1e-2, 1e-2):
            probe = np.clip(h * unit, *room)
            assert along(here, probe) >= here.value - 10 * here.noise
