"""The search where it is hard: misleading Hessians, several minima, no minimum, far starts."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from places import DATA
from simulation import quietly
from statsmodels.tools.sm_exceptions import ConvergenceWarning

from mixedlm_ext import MixedLM, MixedLMResults, datasets
from mixedlm_ext.criteria.expected_information import traces_by_differences
from mixedlm_ext.criteria.gaussian import GaussianCriterion
from mixedlm_ext.errors import FitError
from mixedlm_ext.search.start import several_minima

REML = pytest.mark.parametrize("reml", [True, False], ids=["REML", "ML"])


def contradicting(seed: int) -> pd.DataFrame:
    """Intercepts far from zero, for models that have a mean of zero for them."""
    rng = np.random.default_rng(seed)
    k, t = np.repeat(np.arange(12), 8), np.tile(np.arange(8.0), 12)
    y = (100 + 3 * rng.standard_normal(12))[k] + (10 + rng.standard_normal(12))[k] * t
    return pd.DataFrame({"k": k, "t": t, "y": y + rng.standard_normal(96)})


def uncentred(seed: int, offset: float, slope: float, noise: float) -> pd.DataFrame:
    """Random slopes around a covariate's mean that the model measures from far away."""
    rng = np.random.default_rng(seed)
    g, u = np.tile(np.arange(12), 10), rng.standard_normal(120)
    y = slope * rng.standard_normal(12)[g] * u + noise * rng.standard_normal(120)
    return pd.DataFrame({"g": g, "x": u + offset, "y": y})


def best_of_many(model: MixedLM, reml: bool, starts: int = 8) -> float:
    """The criterion that quasi-Newton reaches from random scales of every term."""
    rng = np.random.default_rng(0)
    m = len(model.problem.covariance.start())
    diagonal = model.problem.covariance.start() > 0
    found = []
    for _ in range(starts):
        start = np.where(diagonal, 10 ** rng.uniform(-2, 4, m), 0.0)
        theta = model.problem.covariance.unstandardize(start)
        found.append(criterion(model, reml=reml, method="lbfgs", start_params=theta))
    return min(found)


def criterion(model: MixedLM, **options: object) -> float:
    """The criterion of a fit whose search may fail."""
    try:
        return model.fit(**options).objective
    except FitError:
        return np.inf


# ------------------------------------------------------------------------ misleading information


@REML
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 4))]
)
@pytest.mark.parametrize("formula", ["y ~ 0 + t + (t | k)", "y ~ 1 + (t | k)", "y ~ 0 + (t | k)"])
def test_a_mean_that_is_not_in_the_fixed_part(formula: str, seed: int, reml: bool) -> None:
    model = MixedLM.from_formula(formula, contradicting(seed))
    result = quietly(model, reml=reml)
    assert result.converged
    assert result.optimization.evaluations <= 60
    assert result.objective <= best_of_many(model, reml) + 1e-5


def test_sleepstudy_without_intercept() -> None:
    data = datasets.sleepstudy.load_pandas().data
    result = MixedLM.from_formula("Reaction ~ 0 + Days + (Days | Subject)", data).fit()
    assert result.converged
    assert result.optimization.evaluations <= 40
    assert_allclose(result.objective, 1828.3399753860, atol=1e-6)  # L-BFGS, several starts


@REML
@pytest.mark.parametrize("sigma", [None, 0.8])
@pytest.mark.parametrize(
    "formula",
    ["y ~ x + (x | g)", "y ~ x + (x + z || g)", "y ~ x + (x | g) + (0 + z | g) + (1 | h)"],
)
def test_exact_hessian(formula: str, sigma: float | None, reml: bool) -> None:
    """Against differences of the gradient, by each of the three ways to the traces."""
    rng = np.random.default_rng(1)
    n = 160
    data = pd.DataFrame({"g": rng.integers(0, 12, n), "h": rng.integers(0, 9, n)})
    data[["x", "z", "y"]] = rng.standard_normal((n, 3))
    data["w"] = rng.uniform(0.5, 2.0, n)
    problem = MixedLM.from_formula(formula, data, weights="w").problem
    criterion = GaussianCriterion(problem, reml, sigma)
    theta = rng.standard_normal(problem.covariance.n_theta)
    e = criterion.at(theta)
    steps = 1e-4 * np.eye(len(theta))
    ahead, behind = (
        np.array([criterion.at(theta + sign * step).gradient for step in steps]) for sign in (1, -1)
    )
    differences = (ahead - behind) / 2e-4
    assert_allclose(e.hessian, differences, atol=1e-6 * np.abs(differences).max())
    traces = traces_by_differences(
        problem.covariance,
        e.pls.factor.templates,
        lambda moved: criterion.at(moved).information,
    )
    assert_allclose(traces, e.traces, atol=1e-4 * np.abs(traces).max())


# ---------------------------------------------------------------------------- several minima


@REML
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("offset", "slope", "noise"), [(20, 10, 0.1), (10, 5, 1), (3, 1, 2)])
def test_the_best_of_several_minima(
    offset: float, slope: float, noise: float, seed: int, reml: bool
) -> None:
    model = MixedLM.from_formula("y ~ x + (x || g)", uncentred(seed, offset, slope, noise))
    assert several_minima(model.problem)
    result = quietly(model, reml=reml)
    assert result.objective <= best_of_many(model, reml) + 1e-5
    assert result.optimization.evaluations <= 60


@pytest.mark.parametrize(
    ("name", "formula"),
    [
        ("sleepstudy", "Reaction ~ Days + (Days | Subject)"),
        ("sleepstudy", "Reaction ~ Days + (Days || Subject)"),
        ("penicillin", "diameter ~ 1 + (1 | plate) + (1 | sample)"),
        ("pastes", "strength ~ 1 + (1 | batch/cask)"),
        ("machines", "score ~ Machine + (Machine | Worker)"),
    ],
)
def test_plain_models_are_searched_once(name: str, formula: str) -> None:
    data = getattr(datasets, name).load_pandas().data
    model = MixedLM.from_formula(formula, data)
    assert not several_minima(model.problem)
    assert quietly(model).optimization.evaluations <= 9


# ---------------------------------------------------------------------------- starts and ends


@pytest.mark.parametrize("size", [1e4, 1e8, 1e12])
def test_a_start_far_too_large(size: float) -> None:
    data = datasets.sleepstudy.load_pandas().data
    model = MixedLM.from_formula("Reaction ~ Days + (Days | Subject)", data)
    result = model.fit(start_params=[size, 0, size])
    assert result.converged
    assert_allclose(result.objective, model.fit().objective, atol=1e-7)


@pytest.mark.filterwarnings("ignore::mixedlm_ext.errors.SingularFitWarning")
@pytest.mark.parametrize("method", ["lbfgs", "bfgs"])
def test_other_searches_say_that_a_start_is_too_large(method: str) -> None:
    data = datasets.sleepstudy.load_pandas().data
    model = MixedLM.from_formula("Reaction ~ Days + (Days | Subject)", data)
    with pytest.warns(ConvergenceWarning, match=r"start is too large.* Leave out start_params"):
        assert not model.fit(start_params=[1e8, 0, 1e8], method=method).converged
    with pytest.warns(ConvergenceWarning, match="Try other start_params"):
        model.fit(start_params=[0, 0, 0], method=method)


def saturated(seed: int) -> MixedLM:
    """5 fixed and 4 random effects for 8 rows."""
    rng = np.random.default_rng(seed)
    data = pd.DataFrame(rng.standard_normal((8, 4)), columns=list("abcd"))
    data["g"] = np.repeat(range(4), 2)
    data["y"] = rng.standard_normal(8) + rng.standard_normal(4)[data["g"]]
    return MixedLM.from_formula("y ~ a + b + c + d + (1 | g)", data)


def test_a_criterion_that_only_levels_off() -> None:
    with pytest.warns(ConvergenceWarning, match="5 fixed and 4 random effects for 8 observations"):
        result = saturated(4).fit()
    assert not result.converged
    assert result.optimization.verdict == "no minimum"


def test_an_interior_minimum_of_a_bounded_criterion() -> None:
    assert saturated(2).fit().converged


@pytest.mark.parametrize("seed", [0, 2])
@pytest.mark.filterwarnings("ignore::mixedlm_ext.errors.SingularFitWarning")
def test_an_interior_minimum_of_an_unbounded_likelihood(seed: int) -> None:
    with pytest.warns(ConvergenceWarning, match="grows without end"):
        result = saturated(seed).fit(reml=False)
    assert result.optimization.verdict == "no minimum"


@pytest.mark.parametrize("seed", [1, 3, 4, 5])
def test_a_search_that_follows_an_unbounded_likelihood(seed: int) -> None:
    with pytest.raises(FitError, match="no residual variance is left to estimate"):
        saturated(seed).fit(reml=False)


def test_a_variance_of_zero_is_zero() -> None:
    data = datasets.dyestuff2.load_pandas().data
    result: MixedLMResults = quietly(MixedLM.from_formula("Yield ~ 1 + (1 | Batch)", data))
    assert result.theta[0] == 0.0
    assert result.varcorr()["variance"][0] == 0.0


# ---------------------------------------------------------------------------- digits


@pytest.mark.filterwarnings("ignore::mixedlm_ext.errors.SingularFitWarning")
@pytest.mark.parametrize("weights", [None, "w"])
@pytest.mark.parametrize("shift", [2.0**40, 1e9, -(2.0**41)])
@pytest.mark.parametrize(
    "formula", ["y ~ x + (1 | g)", "y ~ 0 + f + x + (x | g)", "y ~ f*x + (1 | g)"]
)
def test_a_response_far_from_zero(formula: str, shift: float, weights: str | None) -> None:
    rng = np.random.default_rng(0)
    g, x = np.repeat(range(20), 10), rng.standard_normal(200)
    y = 1.8 * x + rng.standard_normal(20)[g] + rng.standard_normal(200)
    y = np.round(y * 1024) / 1024  # exact beside the largest shift
    data = pd.DataFrame({"g": g, "x": x, "y": y, "f": np.tile(["a", "b"], 100)})
    data["w"] = rng.uniform(0.5, 2.0, 200)
    near = MixedLM.from_formula(formula, data, weights=weights).fit()
    far = MixedLM.from_formula(formula, data.assign(y=y + shift), weights=weights).fit()
    assert_allclose(far.params["x"], near.params["x"], rtol=1e-11)
    assert_allclose(near.refit(y + shift).params["x"], near.params["x"], rtol=1e-11)
    assert_allclose(far.bse["x"], near.bse["x"], rtol=1e-9)


@pytest.mark.filterwarnings("ignore")
def test_many_responses_find_the_best_minimum_too() -> None:
    data = uncentred(0, 20, 10, 0.1)
    model = MixedLM.from_formula("y ~ x + (x || g)", data)
    Y = np.column_stack([uncentred(seed, 20, 10, 0.1)["y"] for seed in range(3)])
    together = model.fit_many(Y)
    models = [MixedLM.from_formula("y ~ x + (x || g)", data.assign(y=y)) for y in Y.T]
    alone = [quietly(one).objective for one in models]
    assert_allclose(together.objective, alone, atol=1e-6)


@pytest.mark.filterwarnings("ignore")
def test_large_effects_that_moments_do_not_see() -> None:
    """Five groups, a covariate far from zero: other starts end at variances of zero, 40.57."""
    data = pd.read_csv(DATA / "search" / "scales.csv")
    model = MixedLM.from_formula("y ~ x + (x || g) + (1 | h)", data)
    result = quietly(model, reml=False)
    assert result.converged and result.optimization.evaluations <= 60
    assert_allclose(result.objective, best_of_many(model, reml=False, starts=20), atol=1e-5)
    assert result.objective < 21.1


def test_weights_far_apart_leave_several_minima() -> None:
    """Rows of small weight say that levels differ, where those of large weight know one level."""
    levels = [10, 6, 1, 8, 8, 11, 6, 0, 8, 1, 1, 0]
    data = pd.DataFrame(
        {
            "g": levels,
            "x": [0, 1, 1, 0, 1, 1, 1, 0, 1, 0, 0, 1],
            "y": [87.490914, 127.806192, 104.672133, -86.355021, -74.739620, -21.700816,
                  -35.877456, -85.574655, -63.621243, 171.042178, 76.861622, -52.903469],
            "w": [1e-6, 1e-5, 1e-5, 1e-6, 1e-2, 0.1, 1e-3, 1e5, 1e-6, 1.0, 1e-5, 1e4],
        }
    )  # fmt: skip
    model = MixedLM.from_formula("y ~ x + (1 | g)", data, weights="w")
    result = model.fit(reml=False)
    grid = [model.objective([t], reml=False) for t in [0.0, *np.logspace(-3, 3, 40)]]
    assert result.converged
    assert result.objective <= min(grid) + 1e-6
    assert min(grid) < grid[0] - 50


def test_uneven_numbers_of_rows_of_many_levels_are_no_reason_for_several_starts() -> None:
    """One level has most of the rows, as where a machine rates films beside a thousand people."""
    rng = np.random.default_rng(0)
    user = np.concatenate([np.zeros(101_000, int), rng.integers(1, 1000, 4000), [1000]])
    film = rng.integers(0, 300, len(user))
    data = pd.DataFrame({"user": user, "film": film, "y": rng.normal(size=len(user))})
    model = MixedLM.from_formula("y ~ 1 + (1 | user) + (1 | film)", data)
    assert not several_minima(model.problem)
