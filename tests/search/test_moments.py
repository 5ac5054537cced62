"""The start by moments: for balanced data it is the estimate itself."""

import numpy as np
import pandas as pd
import pytest

from mixedlm_ext import MixedLM, datasets
from mixedlm_ext.search.moments import moments
from mixedlm_ext.structures.base import LEAST_SD

BOTH, REML = (True, False), (True,)
BALANCED = {
    "dyestuff": ("Yield ~ 1 + (1 | Batch)", BOTH),
    "sleepstudy": ("Reaction ~ Days + (Days | Subject)", BOTH),
    "penicillin": ("diameter ~ 1 + (1 | plate) + (1 | sample)", REML),
    "pastes": ("strength ~ 1 + (1 | batch/cask)", BOTH),
    "machines": ("score ~ Machine + (Machine | Worker)", BOTH),
    "oats": ("yield ~ nitro + (1 | Block/Variety)", REML),
}


def load(name: str) -> pd.DataFrame:
    return getattr(datasets, name).load_pandas().data


def start_of(model: MixedLM, reml: bool, carrier: int = -1, relative: bool = True) -> np.ndarray:
    problem = model.problem
    last = range(len(problem.cp.shapes))[carrier]
    return problem.covariance.unstandardize(moments(problem, last, relative, reml))


@pytest.mark.parametrize(
    ("name", "reml"), [(name, reml) for name, (_, both) in BALANCED.items() for reml in both]
)
def test_moments_of_balanced_data_are_the_estimates(name: str, reml: bool) -> None:
    model = MixedLM.from_formula(BALANCED[name][0], load(name))
    result = model.fit(reml=reml)
    np.testing.assert_allclose(start_of(model, reml), result.theta, rtol=1e-6, atol=1e-9)
    assert result.optimization.evaluations == 1


def test_three_nested_factors() -> None:
    """School within district within state, all balanced: mean squares of each level."""
    rng = np.random.default_rng(8)
    frame = pd.DataFrame(
        [(a, b, c) for a in range(12) for b in range(4) for c in range(5) for _ in range(3)],
        columns=["a", "b", "c"],
    )
    size = {"a": 2.0, "b": 1.5, "c": 1.0}
    frame["y"] = rng.standard_normal(len(frame))
    for i, name in enumerate("abc"):
        groups = frame.groupby(list("abc")[: i + 1]).ngroup()
        frame["y"] += size[name] * rng.standard_normal(groups.max() + 1)[groups]
    model = MixedLM.from_formula("y ~ 1 + (1 | a/b/c)", frame)
    result = model.fit()
    np.testing.assert_allclose(start_of(model, True), result.theta, rtol=1e-6)


def test_a_negative_estimate_starts_next_to_zero() -> None:
    model = MixedLM.from_formula("Yield ~ 1 + (1 | Batch)", load("dyestuff2"))
    assert start_of(model, True) == pytest.approx(LEAST_SD / model.problem.covariance.jacobian[0])


def test_unbalanced_data_start_close() -> None:
    """Within a tenth of a standard error or so: the criterion is at most 0.1 above its minimum."""
    data = load("sleepstudy").drop(index=[3, 17, 44, 45, 46, 120])
    model = MixedLM.from_formula("Reaction ~ Days + (Days | Subject)", data)
    result = model.fit()
    assert 0 < model.objective(start_of(model, True)) - result.objective < 0.1


def test_redundant_columns_do_not_count_as_fixed() -> None:
    """Intercept and all ten days, as many random effects as rows: nothing tells sigma."""
    data = load("sleepstudy")
    formula = "Reaction ~ Days + (1 | Subject) + ar1(0 + C(Days) | Subject)"
    model = MixedLM.from_formula(formula, data)
    start = moments(model.problem, 0, True, True)
    np.testing.assert_array_equal(start, model.problem.covariance.start())


def test_random_columns_without_a_fixed_partner_keep_their_mean() -> None:
    """(Days | Subject) without Days: the mean slope is a slope that all subjects share."""
    data = load("sleepstudy")
    model = MixedLM.from_formula("Reaction ~ 1 + (Days | Subject)", data)
    around_it = MixedLM.from_formula("Reaction ~ Days + (Days | Subject)", data)
    assert abs(start_of(model, True)[-1]) > 1.5 * abs(start_of(around_it, True)[-1])
