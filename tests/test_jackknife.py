"""Accelerations of BCa intervals: against the jackknife done by hand, model by model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from simulation import Example, example, quietly

from mixedlm_ext import MixedLM, RandomTerm, datasets
from mixedlm_ext.errors import DesignError, FitError
from mixedlm_ext.estimation.fit import Fit
from mixedlm_ext.inference.bootstrap.jackknife import jackknife_accelerations
from mixedlm_ext.many.removal import Removal

Array = np.ndarray


def params(fitted: Any) -> Array:
    return np.asarray(fitted.params)


def beta(fit: Fit) -> Array:
    return fit.beta


def without(case: Example, keep: Array) -> Any:
    """The fit of a model made anew from some of the rows."""
    random = [
        RandomTerm(t.codes[keep], t.X[keep], name=name, structure=t.structure)
        for t, name in zip(case.terms, case.names, strict=True)
    ]
    w = None if case.w is None else case.w[keep]
    offset = None if case.offset is None else case.offset[keep]
    return quietly(MixedLM(case.y[keep], case.X[keep], random, weights=w, offset=offset))


def accelerations(result: Any, evaluate: Callable[[Any], Array]) -> Array:
    """What the package says of a result, for values of results."""
    return jackknife_accelerations(result.fitted, lambda fitted: evaluate(fitted.result()))


def acceleration(samples: list[Array]) -> Array:
    """Davison & Hinkley (1997), equation 5.22 for independent samples with the jackknife's l."""
    cubes = squares = 0.0
    for values in samples:
        n = len(values)
        influence = (n - 1) / n * (values.mean(axis=0) - values)
        cubes, squares = cubes + (influence**3).sum(axis=0), squares + (influence**2).sum(axis=0)
    return cubes / (6 * squares**1.5)


CASES = {
    "slopes": (example("nested", ["1x|g"], n=90, weights=True, offset=True, seed=2), [0]),
    "crossed": (
        example("crossed", ["1|g", "1|h"], n=80, weights=True, offset=True, seed=5),
        [0, 1],
    ),
    "nested": (example("nested", ["1|g", "1|h"], n=90, seed=8), [1]),
}


@pytest.mark.parametrize("name", CASES)
def test_accelerations_are_those_by_hand(name: str) -> None:
    """Crossed factors are two samples; of nested ones only the outer is."""
    case, outer = CASES[name]
    samples = [
        np.array(
            [params(without(case, case.terms[i].codes != g)) for g in range(case.terms[i].levels)]
        )
        for i in outer
    ]
    found = accelerations(quietly(case.model()), params)
    assert_allclose(found, acceleration(samples), rtol=1e-3)


def test_accelerations_of_the_sample_mean() -> None:
    """One intercept a group and balanced data: leaving out groups is the jackknife of a mean."""
    rng = np.random.default_rng(2)
    means = rng.exponential(size=25)
    y = np.repeat(means, 6) + np.tile([-1, 1, -1, 1, -1, 1], 25)
    frame = pd.DataFrame({"y": y, "g": np.repeat(np.arange(25), 6)})
    fitted = MixedLM.from_formula("y ~ 1 + (1 | g)", frame).fit()
    found = accelerations(fitted, params)
    deviation = means - means.mean()
    expected = (deviation**3).sum() / (6 * (deviation**2).sum() ** 1.5)
    assert_allclose(found, [expected], rtol=1e-6)


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    """Nine groups of six; only the first has other values of `first` than zero."""
    rng = np.random.default_rng(4)
    data = pd.DataFrame({"g": np.repeat(np.arange(9), 6), "x": rng.normal(size=54)})
    data["first"] = (data["g"] == 0) * (np.arange(54) % 2)
    return data.assign(y=data["x"] + rng.exponential(size=9)[data["g"]] + rng.normal(size=54))


@pytest.fixture(scope="module")
def fitted(frame: pd.DataFrame) -> Any:
    return quietly(MixedLM.from_formula("y ~ x + (1 | g)", frame))


def slopes(frame: pd.DataFrame, keeps: list[Array]) -> list[Array]:
    """One sample: the slope of x in each part of the rows."""
    fits = [quietly(MixedLM.from_formula("y ~ x + (1 | g)", frame[keep])) for keep in keeps]
    return [np.array([fit.params["x"] for fit in fits])]


def test_a_set_that_a_coefficient_needs_is_passed_over(frame: pd.DataFrame) -> None:
    formula = "y ~ x + first + (1 | g)"
    found = accelerations(quietly(MixedLM.from_formula(formula, frame)), params)
    fits = [quietly(MixedLM.from_formula(formula, frame[frame["g"] != g])) for g in range(1, 9)]
    assert_allclose(found, acceleration([np.array([params(fit) for fit in fits])]), rtol=1e-4)


def counted(calls: list[int], missing: int | None = None) -> Callable[[Any], Array]:
    """A statistic that counts its calls and has no value at one of them."""

    def evaluate(result: Any) -> Array:
        calls.append(result.nobs)
        return np.array([np.nan if len(calls) == missing else result.params["x"], 1.0])

    return evaluate


def test_large_factors_are_cut_into_sets(
    frame: pd.DataFrame, fitted: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nine levels in four sets, one of three levels."""
    monkeypatch.setattr("mixedlm_ext.inference.bootstrap.jackknife._MOST_SETS", 4)
    calls: list[int] = []
    found = accelerations(fitted, counted(calls))
    assert sorted(calls) == [36, 42, 42, 42]
    expected = acceleration(slopes(frame, [frame["g"] % 4 != i for i in range(4)]))
    assert_allclose(found[0], expected, rtol=1e-4)
    assert found[1] == 0.0  # nothing influences a constant


def test_a_set_without_a_value_is_left_out(frame: pd.DataFrame, fitted: Any) -> None:
    found = accelerations(fitted, counted([], missing=3))
    expected = acceleration(slopes(frame, [frame["g"] != g for g in range(9) if g != 2]))
    assert_allclose(found[0], expected, rtol=1e-4)


def test_a_statistic_without_any_value_has_no_acceleration(fitted: Any) -> None:
    assert accelerations(fitted, lambda r: np.array([np.nan])).tolist() == [0.0]


def test_bca_of_a_robust_fit() -> None:
    """Its clusters are of all rows; fits without some of them are not robust."""
    data = datasets.sleepstudy.load_pandas().data
    fitted = MixedLM.from_formula("Reaction ~ Days + (1 | Subject)", data).fit(cov_type="cluster")
    boot = fitted.bootstrap(40, rng=1, statistic=lambda r: r.params["Days"])
    low, high = boot.conf_int(kind="bca").loc["statistic"]
    assert 7 < low < 10.467 < high < 14


def test_rows_that_were_removed_cannot_leave(fitted: Any) -> None:
    fit = fitted.fit_record
    with pytest.raises(DesignError, match="were removed from this model"):
        Removal(fit.design.without_rows(), fit.problem)


def test_rows_that_the_fixed_effects_need_cannot_leave(frame: pd.DataFrame) -> None:
    fit = quietly(MixedLM.from_formula("y ~ x + first + (1 | g)", frame)).fit_record
    removal = Removal(fit.design, fit.problem)
    with pytest.raises(FitError, match="fixed effects cannot all be estimated"):
        removal.without(np.arange(6))
    assert removal.without(np.arange(6, 12)).cp.n == 48
