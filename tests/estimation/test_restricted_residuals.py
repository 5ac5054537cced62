"""fix= and equal= of models whose residuals have a structure, against searches of dense algebra."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from oracle_residual import Dense
from scipy.optimize import minimize
from scipy.stats import chi2

from mixedlm_ext import MixedLM, anova
from mixedlm_ext.criteria.restricted import RestrictedCriterion
from mixedlm_ext.errors import FitError
from mixedlm_ext.inference.restrictions import read_restrictions

Array = np.ndarray
pytestmark = pytest.mark.filterwarnings("ignore::mixedlm_ext.errors.SingularFitWarning")
BOTH = {"correlation": "ar1(week | g)", "variance": "sex"}
POWER = {"correlation": "ar1(week | g)", "variance": "power(z)"}
PLAIN = "y ~ x + (1 | g) + (1 | item)"


@cache
def frame() -> pd.DataFrame:
    """Visits of 14 subjects, shuffled; z is far from one, so that σ depends on the power much."""
    rng = np.random.default_rng(4)
    g, week = np.repeat(np.arange(14), 6), np.tile(np.arange(6), 14)
    data = pd.DataFrame({"g": g, "week": week})[rng.random(84) < 0.92]
    n = len(data)
    data["item"], data["x"] = rng.integers(0, 6, n), rng.normal(size=n)
    data["z"] = rng.uniform(20.0, 90.0, n).round()
    data["sex"] = np.where(data["g"] % 2, "f", "m")
    e = np.zeros(n)
    for level in range(14):
        own = np.flatnonzero(data["g"] == level)
        t = data["week"].to_numpy()[own]
        C = 0.5 ** np.abs(t[:, None] - t)
        e[own] = np.linalg.cholesky(C) @ rng.normal(size=len(own))
    e *= np.where(data["sex"] == "m", 1.5, 0.9) * (data["z"] / 50) ** 0.4
    b, s = rng.normal(size=14), 0.4 * rng.normal(size=14)
    data["y"] = 2 + b[data["g"]] + (0.5 + s[data["g"]]) * data["x"] + e
    data["y"] += 0.8 * rng.normal(size=6)[data["item"]]
    return data.sample(frac=1, random_state=3).reset_index(drop=True)


def model(formula: str = PLAIN, **structure: Any) -> MixedLM:
    return MixedLM.from_formula(formula, frame(), **structure)


def without_x(formula: str) -> str:
    return formula.replace("x + ", "1 + ", 1)


# each case: formula, structure, fix, equal, and (theta, values, sigma or None) of free numbers that
# any search may move, from their start
Case = tuple[str, dict, dict | None, list | None, Callable[[Array], Any], list[float]]
CASES: dict[str, Case] = {
    "rho": (PLAIN, BOTH, {"Residual.rho": 0.2}, None,
            lambda u: (u[:2], [0.2, np.exp(u[2])], None), [1, 1, 0]),
    "no correlation": (PLAIN, BOTH, {"cor(Residual, rho)": 0}, None,
                       lambda u: (u[:2], [0.0, np.exp(u[2])], None), [1, 1, 0]),
    "ratio": (PLAIN, BOTH, {"ratio(Residual, m)": 1.2}, None,
              lambda u: (u[:2], [np.tanh(u[2]), 1.2], None), [1, 1, 0.3]),
    "power": (PLAIN, POWER, {"power(z)": 0.5}, None,
              lambda u: (u[:2], [np.tanh(u[2]), 0.5], None), [1, 1, 0.3]),
    "power and rho": (PLAIN, POWER, {"power(z)": 1.0, "Residual.rho": 0.6}, None,
                      lambda u: (u[:2], [0.6, 1.0], None), [1, 1]),
    "sd of a stratum": (
        PLAIN, BOTH, {"Residual.m": 1.7}, None,
        lambda u: (u[:2], [np.tanh(u[2]), 1.7 / np.exp(u[3])], np.exp(u[3])), [1, 1, 0.3, 0]),
    "sd of an effect": (
        PLAIN, POWER, {"g.Intercept": 1.5}, None,
        lambda u: ([1.5 / np.exp(u[3]), u[0]], [np.tanh(u[1]), u[2]], np.exp(u[3])),
        [5, 0.3, 0.4, -2]),
    "everything of the residuals": (
        PLAIN, BOTH, {"sigma": 1.0, "Residual.rho": 0.4, "ratio(Residual, m)": 1.5}, None,
        lambda u: (u, [0.4, 1.5], 1.0), [1, 1]),
    "stratum beside sigma": (
        PLAIN, BOTH, {"sigma": 0.9, "sd(Residual, m)": 1.8}, None,
        lambda u: (u[:2], [np.tanh(u[2]), 2.0], 0.9), [1, 1, 0.3]),
    "equal effects": (PLAIN, POWER, None, [("g.Intercept", "item.Intercept")],
                      lambda u: ([u[0], u[0]], [np.tanh(u[1]), u[2]], None), [5, 0.3, 0.4]),
    "effect like sigma": (PLAIN, POWER, None, [("g.Intercept", "sigma")],
                          lambda u: ([1.0, u[0]], [np.tanh(u[1]), u[2]], None), [1, 0.3, 0.1]),
    "effect like a stratum": (
        PLAIN, BOTH, None, [("g.Intercept", "Residual.m")],
        lambda u: ([np.exp(u[2]), u[0]], [np.tanh(u[1]), np.exp(u[2])], None), [1, 0.3, 0]),
    "equal strata": (PLAIN, BOTH, None, [("sigma", "Residual.m")],
                     lambda u: (u[:2], [np.tanh(u[2]), 1.0], None), [1, 1, 0.3]),
    "correlated effects": (
        "y ~ x + (x | g)", POWER, {"cor(g, Intercept, x)": 0.0, "Residual.rho": 0.3}, None,
        lambda u: ([u[0], 0.0, u[1]], [0.3, u[2]], None), [5, 2, 0.3]),
    "structured effects": (
        "y ~ x + cs(0 + sex | item, hom=True)", {"variance": "power(z)"},
        {"power(z)": 0.3, "item.rho": 0.5}, None, lambda u: ([u[0], 0.5], [0.3], None), [1]),
    "cs": (PLAIN.replace("(1 | g) + ", ""), {"correlation": "cs(1 | g)"}, {"Residual.rho": 0.3},
           None, lambda u: (u, [0.3], None), [1]),
    "exp": (PLAIN, {"variance": "exp(z)"}, {"exp(z)": 0.01}, None,
            lambda u: (u, [0.01], None), [1, 1]),
}  # fmt: skip
cases = pytest.mark.parametrize("case", CASES)
criteria = pytest.mark.parametrize("reml", [True, False], ids=["REML", "ML"])


@cache
def fitted(case: str, reml: bool = True) -> Any:
    formula, structure, fix, equal, *_ = CASES[case]
    return model(formula, **structure).fit(reml=reml, fix=fix, equal=equal)


@criteria
@cases
def test_against_a_dense_search(case: str, reml: bool) -> None:
    formula, structure, _, _, map_, start = CASES[case]
    result = fitted(case, reml)
    dense = Dense(model(formula, **structure).design)

    def at(u: Array) -> float:
        theta, values, sigma = map_(u)
        with np.errstate(all="ignore"):
            found = dense.criterion(np.asarray(theta, float), np.asarray(values), reml, sigma)
        return found if np.isfinite(found) else 1e10

    best = minimize(at, start, method="BFGS")
    assert result.converged
    assert_allclose(result.objective, best.fun, atol=2e-6)
    theta, values, sigma = map_(best.x)
    found = result.fit_record.design.residual.values
    assert_allclose(found, values, atol=2e-3 * max(1.0, np.abs(values).max()))
    assert_allclose(result.theta**2, np.asarray(theta) ** 2, rtol=2e-2, atol=2e-3)
    own = dense.criterion(result.theta, found, reml, result.sigma)
    assert_allclose(own, result.objective, rtol=1e-9)
    if sigma is not None:
        assert_allclose(result.sigma, sigma, rtol=2e-3)


@cases
def test_what_is_fixed_is_exactly_that(case: str) -> None:
    _, _, fix, equal, _, start = CASES[case]
    result = fitted(case)
    free = len(start) - (1 if "sd of" in case else 0)
    known = int(fix is not None and "sigma" in fix)
    assert result.df_modelwc == len(result.params) + free + 1 - known
    table = result.varcorr()
    own = table[table["group"] == "Residual"].set_index("name")
    for name, value in (fix or {}).items():
        if name == "Residual.rho":
            assert_allclose(own["corr_1"].dropna(), value, rtol=1e-9)
        if name in ("Residual.m", "sd(Residual, m)"):
            assert_allclose(own.loc["m", "std_dev"], value, rtol=1e-9)
        if name in own.index:
            assert_allclose(own.loc[name, "value"], value, rtol=1e-9)
        if name == "g.Intercept":
            assert_allclose(table["std_dev"].iloc[0], value, rtol=1e-9)
    if equal and "sigma" in equal[0]:
        other = table["std_dev"].iloc[0] if "g.Intercept" in equal[0] else own.loc["m", "std_dev"]
        assert_allclose(other, result.sigma, rtol=1e-9)
    assert "Not estimated: " in str(result.summary())


# ------------------------------------------------------------------------------------ derivatives


@criteria
@pytest.mark.parametrize("explicit", [False, True])
@cases
def test_gradient_and_hessian(case: str, reml: bool, explicit: bool) -> None:
    """Along the steps of the search, at points of the set that are no optimum."""
    formula, structure, fix, equal, *_ = CASES[case]
    made = model(formula, **structure)
    restrictions, sigma = read_restrictions(made.design, made.problem.covariance, fix, equal, None)
    assert restrictions is not None
    criterion = RestrictedCriterion(made.problem, reml, sigma, restrictions, explicit)
    space = criterion.space
    low, high = space.domain
    start = space.start() * 0.8 + 0.1
    e = criterion.at(np.clip(start, low + 0.05, np.minimum(high, 3.0) - 0.05))
    g, H = e.derivatives(exact=True)
    assert np.abs(g).max() > 0.1 and len(g) == e.basis.shape[1]
    h = 1e-4
    steps = h * np.eye(len(g))
    slope = [(e.retract(s).value - e.retract(-s).value) / (2 * h) for s in steps]
    assert_allclose(g, slope, atol=2e-5 * np.abs(g).max())
    signs = [(1, 1), (1, -1), (-1, 1), (-1, -1)]
    bent = np.array([
        [sum(a * b * e.retract(a * s + b * t).value for a, b in signs) / (4 * h * h)
         for t in steps] for s in steps
    ])  # fmt: skip
    # a step returns to the set along its normal: so that second derivatives are those of the set
    assert_allclose(H, bent, atol=1e-3 * np.abs(H).max())
    for jet in criterion.jets(e.retract(0.1 * np.ones(len(g))).point):
        assert abs(jet.value) < 1e-10


@pytest.mark.parametrize(
    "case", ["sd of an effect", "effect like sigma", "effect like a stratum", "structured effects"]
)
def test_equations_in_the_scale_of_the_criterion(case: str) -> None:
    """Both derivatives of the left sides in (θ, z, log σ), where σ is relative to the rows."""
    formula, structure, fix, equal, *_ = CASES[case]
    made = model(formula, **structure)
    restrictions, _ = read_restrictions(made.design, made.problem.covariance, fix, equal, None)
    assert restrictions is not None
    criterion = RestrictedCriterion(made.problem, True, None, restrictions, explicit=True)
    rng = np.random.default_rng(0)
    point = np.append(criterion.space.start() * 0.7, 0.2) + rng.uniform(0, 0.2, 1)
    h = 1e-5
    for i, jet in enumerate(criterion.jets(point)):
        for j in range(len(point)):
            ends = [point.copy(), point.copy()]
            ends[0][j] -= h
            ends[1][j] += h
            below, above = (criterion.jets(end)[i] for end in ends)
            assert_allclose(
                jet.gradient[j], (above.value - below.value) / (2 * h), rtol=1e-6, atol=1e-8
            )
            assert_allclose(
                jet.hessian[j], (above.gradient - below.gradient) / (2 * h), rtol=1e-5, atol=1e-7
            )


# ---------------------------------------------------------------------------- through the house


def test_likelihood_ratio() -> None:
    free = model(**BOTH).fit(reml=False)
    fixed = fitted("rho", False)
    statistic, p, df = free.compare_lr_test(fixed)
    assert df == 1
    assert_allclose(p, chi2.sf(statistic, 1))
    profile = free.profile("cor(Residual, rho)")
    assert_allclose(profile.zeta("cor(Residual, rho)", 0.2) ** 2, statistic, rtol=1e-3)
    plain = model(variance="sex").fit(reml=False)
    assert_allclose(fitted("no correlation", False).objective, plain.objective, atol=1e-6)
    more = model(**BOTH).fit(
        reml=False, fix={"Residual.rho": 0.2, "ratio(Residual, m)": 1.0}
    )  # fmt: skip
    assert fixed.compare_lr_test(more)[2] == 1
    table = anova(more, fixed, free)
    assert table["npar"].tolist() == [5, 6, 7]
    with pytest.raises(FitError, match="not nested"):
        fixed.compare_lr_test(fitted("ratio", False))


@pytest.mark.parametrize("case", ["rho", "power", "sd of a stratum", "effect like sigma"])
def test_satterthwaite(case: str) -> None:
    """By differences of dense algebra in what is free."""
    formula, structure, _, _, map_, _ = CASES[case]
    result = fitted(case)
    dense = Dense(model(formula, **structure).design)
    values, theta = result.fit_record.design.residual.values, result.theta
    if case == "rho":
        own = [*theta, np.log(values[-1])]
    elif case == "effect like sigma":
        own = [theta[1], np.arctanh(values[0]), values[1]]
    else:
        own = [*theta, np.arctanh(values[0])]
        own += [np.log(result.sigma)] if case == "sd of a stratum" else []
    with_sigma = map_(np.array(own))[2] is not None
    center = np.array(own if with_sigma else [*own, np.log(result.sigma)])

    def parts(u: Array) -> tuple[Array, Array, float]:
        theta, values, sigma = map_(u if with_sigma else u[:-1])
        return (
            np.asarray(theta, float),
            np.asarray(values),
            np.exp(u[-1]) if sigma is None else sigma,
        )

    def deviance(u: Array) -> float:
        return dense.criterion(*parts(u)[:2], True, parts(u)[2])

    def variance(u: Array) -> float:
        theta, values, sigma = parts(u)
        V = dense.V(theta, values) * sigma**2
        return float(np.linalg.inv(dense.X.T @ np.linalg.solve(V, dense.X))[1, 1])

    steps = np.diag(1e-3 * np.maximum(1.0, np.abs(center)))
    h = np.diag(steps)
    signs = [(1, 1), (1, -1), (-1, 1), (-1, -1)]
    H = np.array([
        [sum(s * t * deviance(center + s * a + t * b) for s, t in signs) / (4 * k * m)
         for b, m in zip(steps, h)] for a, k in zip(steps, h)
    ])  # fmt: skip
    g = np.array(
        [(variance(center + a) - variance(center - a)) / (2 * k) for a, k in zip(steps, h)]
    )
    df = 2 * variance(center) ** 2 / (g @ np.linalg.solve(H / 2, g))
    assert_allclose(result.df_resid_inference[1], df, rtol=5e-3)
    assert_allclose(result.bse.iloc[1] ** 2, variance(center), rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("case", ["rho", "power", "sd of a stratum"])
def test_profile(case: str) -> None:
    """Limits are where a fit with one parameter more that is held lies 3.84 above."""
    formula, structure, fix, *_ = CASES[case]
    result = fitted(case, False)
    made = model(formula, **structure)
    which = {"rho": ["ratio(Residual, m)", "sigma", "x", "sd(g, Intercept)"],
             "power": ["cor(Residual, rho)", "sd(item, Intercept)"],
             "sd of a stratum": ["cor(Residual, rho)", "x"]}[case]  # fmt: skip
    limits = result.profile(which).conf_int()
    assert fix is not None
    for name in which:
        for end in limits.loc[name]:
            if end <= 0 and name.startswith("sd"):
                continue
            if name == "x":
                held = frame().assign(y=frame()["y"] - end * frame()["x"])
                other = MixedLM.from_formula(without_x(formula), held, **structure)
                there = other.fit(reml=False, fix=fix)
            else:
                there = made.fit(reml=False, fix={**fix, name: end})
            assert_allclose(there.objective - result.objective, 3.841459, rtol=2e-3)
    given = next(iter(fix))
    if case == "power":
        with pytest.raises(FitError, match="is fixed, so it has no profile"):
            result.profile(given)


@pytest.mark.parametrize("case", ["rho", "power", "sd of a stratum"])
def test_refits(case: str) -> None:
    formula, structure, fix, *_ = CASES[case]
    result, made = fitted(case), model(formula, **structure)
    y = frame()["y"] * 1.1 + 7
    direct = MixedLM.from_formula(formula, frame().assign(y=y), **structure).fit(fix=fix)
    assert_allclose(result.refit(y).objective, direct.objective, atol=1e-6)
    many = made.fit_many(pd.DataFrame({"a": y}), fix=fix)
    assert_allclose(many.objective["a"], direct.objective, atol=1e-6)
    copy = pickle.loads(pickle.dumps(result))
    assert_allclose(copy.refit(y).objective, direct.objective, atol=1e-6)
    assert copy.df_modelwc == result.df_modelwc
    assert_allclose(result.refit_ml().objective, fitted(case, False).objective, atol=1e-6)
    boot = result.bootstrap(3, rng=1).replicates
    name = {"rho": "cor(Residual, rho)", "power": "power(z)"}.get(case)
    if name is None:
        assert_allclose(boot["sigma"] * boot["ratio(Residual, m)"], 1.7)
    else:
        assert fix is not None
        assert_allclose(boot[name], next(iter(fix.values())))
    updated = result.update("~ . - x")
    other = MixedLM.from_formula(without_x(formula), frame(), **structure)
    assert_allclose(updated.objective, other.fit(fix=fix).objective, atol=1e-6)
    dropped = fitted(case, False).drop1(test="LRT")
    assert_allclose(
        -2 * dropped.loc["x", "logLik"], other.fit(reml=False, fix=fix).objective, atol=1e-6
    )
    assert np.isfinite(result.get_prediction(frame().head(3)).df).all()
    assert_allclose(result.to_predictor().predict(frame().head(3)), result.fittedvalues[:3])


@pytest.mark.slow
def test_influence() -> None:
    formula, structure, fix, *_ = CASES["rho"]
    influence = fitted("rho").influence("g", refit=True)
    rest = MixedLM.from_formula(formula, frame()[frame()["g"] != 3], **structure).fit(fix=fix)
    assert_allclose(influence.params.loc[3], rest.params, rtol=1e-4)
    assert_allclose(influence.objective.loc[3], rest.objective, atol=1e-5)


@pytest.mark.parametrize(
    ("structure", "options", "message"),
    [
        (BOTH, {"fix": {"Residual.rho": 1.0}}, "correlation of residuals and cannot be 1"),
        (BOTH, {"fix": {"Residual.rho": 0.99999999}}, "Pass a number between -1 and 1"),
        (BOTH, {"fix": {"ratio(Residual, m)": 0.0}}, "a ratio and cannot be 0"),
        (BOTH, {"fix": {"Residual.m": -1.0}}, "standard deviation and cannot be -1"),
        (POWER, {"fix": {"power(z)": np.inf}}, "a power and cannot be inf"),
        (BOTH, {"fix": {"Residual.f": 1.0}}, "no parameter of the random effects or residuals"),
        (POWER, {"fix": {"Residual.rh": 0.3}}, "Did you mean 'Residual.rho'"),
        (BOTH, {"equal": [("Residual.rho", "Residual.m")]}, "they cannot be equal"),
        (POWER, {"equal": [("power(z)", "sigma")]}, "they cannot be equal"),
        (BOTH, {"fix": {"Residual.rho": 0.3}, "method": "bobyqa"}, "knows no fixed"),
    ],
)
def test_misuse(structure: dict, options: dict, message: str) -> None:
    with pytest.raises(FitError, match=r"(?s)" + message):
        model(**structure).fit(**options)
