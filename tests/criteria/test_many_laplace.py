"""The criterion of many responses at once: that of each response, and its derivatives."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from numpy.typing import NDArray

from mixedlm_ext import MixedGLM
from mixedlm_ext.criteria.generalized import GeneralizedProblem
from mixedlm_ext.criteria.laplace import LaplaceCriterion
from mixedlm_ext.criteria.many_laplace import ManyLaplace
from mixedlm_ext.criteria.many_modes import fits_at_once
from mixedlm_ext.many.laplace import minima_of, start_points

Array = NDArray[np.float64]
F, L = sm.families, sm.families.links
FAMILIES: dict[str, Any] = {
    "logit": F.Binomial(),
    "probit": F.Binomial(L.Probit()),
    "poisson": F.Poisson(),
    "gamma log": F.Gamma(L.Log()),
    "negative binomial": F.NegativeBinomial(alpha=1.0),
}
TERMS = ("(1 | g)", "(x | g)", "(x || g)")
R = 4


def responses(family: Any, rows: pd.DataFrame) -> Array:
    rng = np.random.default_rng(4)
    shape = (len(rows), R)
    effect = 0.5 * rng.normal(size=(9, R))[rows["g"].to_numpy()]
    if isinstance(family, F.Binomial):
        return rng.binomial(1, 1.0 / (1.0 + np.exp(-effect))).astype(float)
    if isinstance(family, F.Gamma):
        return rng.gamma(2.0, np.exp(effect))
    return rng.poisson(np.exp(0.5 + effect) * rng.gamma(2.0, 0.5, shape)).astype(float)


def problem_and_responses(family: Any, term: str) -> tuple[GeneralizedProblem, Array]:
    rng = np.random.default_rng(3)
    rows = pd.DataFrame({"g": rng.integers(0, 9, 90), "x": rng.normal(size=90)})
    rows["w"] = rng.integers(1, 4, 90)
    Y = responses(family, rows)
    model = MixedGLM.from_formula(
        f"y ~ x + {term}", rows.assign(y=Y[:, 0]), family=family, freq_weights="w"
    )
    return model.assembled.problem(), Y


def points(many: ManyLaplace) -> Array:
    rng = np.random.default_rng(5)
    return 0.5 + 0.1 * rng.normal(size=(many.size, R))


@pytest.mark.parametrize("term", TERMS)
@pytest.mark.parametrize("name", FAMILIES)
def test_each_is_the_criterion_of_its_response(name: str, term: str) -> None:
    problem, Y = problem_and_responses(FAMILIES[name], term)
    many = ManyLaplace.of(problem, Y)
    assert fits_at_once(problem)
    at = points(many)
    e = many.at(at)
    theta, zeta, omega = many.split(at)
    for r in range(R):
        likelihood = problem.likelihood.with_response(np.ascontiguousarray(Y[:, r]))
        point = np.concatenate([theta[:, r], zeta[:, r], omega[:, r]])
        one = LaplaceCriterion(problem.with_likelihood(likelihood)).at(point)
        gradient = one.gradient.copy()
        if many.likelihood.extra == "size":
            gradient[-1] *= -2.0 / at[-1, r]  # ω = -2 log s
        assert e.value[r] == pytest.approx(one.value, rel=1e-12)
        np.testing.assert_allclose(e.gradient[:, r], gradient, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("term", TERMS[:2])
@pytest.mark.parametrize("name", FAMILIES)
def test_second_derivatives_and_moving_modes(name: str, term: str) -> None:
    problem, Y = problem_and_responses(FAMILIES[name], term)
    many = ManyLaplace.of(problem, Y)
    at, h = points(many), 1e-4
    e = many.with_hessian(many.at(at))
    for j in range(many.size):
        step = np.zeros((many.size, 1))
        step[j] = h
        up, down = many.at(at + step), many.at(at - step)
        slope = (up.gradient - down.gradient) / (2.0 * h)
        np.testing.assert_allclose(e.hessian[j], slope, atol=1e-5 * np.abs(slope).max())
        np.testing.assert_allclose(e.answer[:, :, j], (up.u - down.u) / (2.0 * h), atol=1e-6)


def test_the_modes_do_not_depend_on_where_they_are_sought_from() -> None:
    problem, Y = problem_and_responses(FAMILIES["negative binomial"], "(1 | g)")
    many = ManyLaplace.of(problem, Y)
    at = points(many)
    e = many.at(at)
    far = many.at(at, e.u + np.array([0.0, 30.0, -8.0, 2.0]))
    np.testing.assert_allclose(far.u, e.u, atol=1e-9)
    np.testing.assert_allclose(far.value, e.value, rtol=1e-13)


def test_a_size_without_end_is_a_point() -> None:
    """At s = 0 the negative binomial is the Poisson distribution, and s has no slope."""
    problem, Y = problem_and_responses(FAMILIES["negative binomial"], "(1 | g)")
    poisson, _ = problem_and_responses(FAMILIES["poisson"], "(1 | g)")
    many = ManyLaplace.of(problem, Y)
    at = points(many)
    at[-1] = 0.0
    e = many.with_hessian(many.at(at))
    np.testing.assert_allclose(e.value, ManyLaplace.of(poisson, Y).at(at[:-1]).value, rtol=1e-7)
    np.testing.assert_array_equal(e.gradient[-1], 0.0)
    near = at.copy()
    near[-1] = 0.01
    curved = (many.at(near).value - e.value) / (0.5 * 0.01**2)
    np.testing.assert_allclose(e.hessian[-1, -1], curved, rtol=1e-2)


def test_starts_are_near_the_minima() -> None:
    problem, Y = problem_and_responses(FAMILIES["negative binomial"], "(1 | g)")
    many = ManyLaplace.of(problem, Y)
    found = minima_of(many)
    assert found.converged.all()
    start = many.at(start_points(many))
    assert (start.value - found.at.value < 20.0).all()
    assert (found.at.value <= start.value).all()
