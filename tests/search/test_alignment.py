"""Large templates: derivatives in columns along their singular vectors keep their digits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

from mixedlm_ext import MixedLM
from mixedlm_ext.criteria import alignment as module
from mixedlm_ext.criteria.alignment import align
from mixedlm_ext.criteria.gaussian import GaussianCriterion

FORMULAS = {
    "one block": ("y ~ x + (x | g)", [400.0, -900.0, 30.0]),
    "singular": ("y ~ x + (x | g)", [400.0, -900.0, 0.0]),
    "crossed": ("y ~ x + (x | g) + (1 | h)", [400.0, 900.0, 0.5, 2.0]),
    "merged": ("y ~ x + z + (x | g) + (0 + z | g)", [350.0, 500.0, 20.0, 3.0]),
    "three columns": ("y ~ x + z + (x + z | g)", [500.0, -800.0, 40.0, 3.0, 20.0, 0.7]),
    "uncorrelated": ("y ~ x + z + (x | g) + (z || h)", [500.0, 7.0, 4.0, 2.0, 0.3]),
}


@pytest.fixture(scope="module")
def data() -> pd.DataFrame:
    rng = np.random.default_rng(3)
    n = 120
    d = pd.DataFrame({"g": rng.integers(0, 12, n), "h": rng.integers(0, 7, n)})
    d["x"], d["z"] = rng.normal(size=(2, n))
    b, c = rng.normal(size=(2, 12)) * [[60.0], [90.0]]
    return d.assign(y=1 + b[d["g"]] + c[d["g"]] * d["x"] + 0.1 * rng.normal(size=n))


@pytest.fixture(params=list(FORMULAS), scope="module")
def case(request: Any, data: pd.DataFrame) -> tuple[GaussianCriterion, np.ndarray]:
    formula, theta = FORMULAS[request.param]
    return GaussianCriterion(MixedLM.from_formula(formula, data).problem, reml=True), np.array(
        theta
    )


def test_it_is_the_same_model(case: tuple[GaussianCriterion, np.ndarray]) -> None:
    criterion, theta = case
    aligned = align(criterion.problem, theta)
    assert aligned is not None
    again = GaussianCriterion(aligned.problem, reml=True).at(aligned.theta)
    assert_allclose(again.value, criterion.at(theta).value, rtol=1e-8)
    covariance = criterion.problem.covariance
    back = covariance.canonical(aligned.back(aligned.theta))
    assert_allclose(back, covariance.canonical(theta), rtol=1e-9, atol=1e-5)


def test_steps_against_differences(case: tuple[GaussianCriterion, np.ndarray]) -> None:
    """Gradient and Hessian along the directions of a step, which ends where it should."""
    criterion, theta = case
    e = criterion.at(theta)
    gradient, hessian = e.derivatives(exact=True)
    h = 1e-3
    for direction in np.eye(len(gradient)):
        ahead, behind = (criterion.at(e.after(s * h * direction)).value for s in (1.0, -1.0))
        assert_allclose((ahead - behind) / (2 * h), direction @ gradient, rtol=1e-4, atol=1e-3)
        second = (ahead + behind - 2 * e.value) / h**2
        assert_allclose(second, direction @ hessian @ direction, rtol=5e-3, atol=5e-2)


def test_theta_against_the_way_without(
    case: tuple[GaussianCriterion, np.ndarray], monkeypatch: Any
) -> None:
    """Where both have digits to spare, the Hessians in theta agree."""
    criterion, theta = case
    small = theta / 100.0
    plain = criterion.at(small)
    expected = [plain.hessian, plain.hessian_model, plain.derivatives(exact=True)[0]]
    monkeypatch.setattr(module, "_LARGE", 1.5)
    e = criterion.at(small)
    assert align(criterion.problem, small) is not None
    assert_allclose(e.hessian, expected[0], rtol=1e-7, atol=1e-7 * np.abs(expected[0]).max())
    assert_allclose(e.hessian_model, expected[1], rtol=1e-7, atol=1e-7 * np.abs(expected[1]).max())


def test_digits_of_the_second_derivatives(data: pd.DataFrame) -> None:
    """Along every direction of a step they are of the order of the number of levels."""
    criterion = GaussianCriterion(MixedLM.from_formula("y ~ x + (x | g)", data).problem, reml=True)
    for size in (1e3, 1e4):
        theta = size * np.array([0.5, -1.0, 1e-2 / size])
        e = criterion.at(theta)
        exact, h = e.derivatives(exact=True)[1], 0.02
        for direction in np.eye(len(exact)):
            ahead, behind = (criterion.at(e.after(s * h * direction)).value for s in (1.0, -1.0))
            second = (ahead + behind - 2 * e.value) / h**2
            assert_allclose(second, direction @ exact @ direction, rtol=0.01, atol=0.1)


def test_no_large_template_no_alignment(data: pd.DataFrame) -> None:
    problem = MixedLM.from_formula("y ~ x + (x | g)", data).problem
    assert align(problem, np.array([200.0, 10.0, 5.0])) is None
    alone = MixedLM.from_formula("y ~ x + (x || g)", data).problem
    assert align(alone, np.array([2e4, 3e3])) is None
