"""``fit(fix=, equal=)``: parameters at given values, or equal, in the user's units.

The dense oracle knows nothing of equations: it minimizes over the parameters that are left,
standard deviations and correlations in the user's units, by Nelder and Mead's method.
"""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Callable

import numpy as np
import oracle
import pandas as pd
import pytest
import statsmodels.formula.api as smf
from numpy.testing import assert_allclose
from scipy.linalg import solve_triangular
from scipy.optimize import minimize
from scipy.stats import chi2
from simulation import quietly

from mixedlm_ext import MixedLM, MixedLMResults, anova, datasets
from mixedlm_ext.criteria.restricted import RestrictedCriterion
from mixedlm_ext.errors import FitError
from mixedlm_ext.inference.restrictions import read_restrictions

Array = np.ndarray

SLEEP = "Reaction ~ Days + (Days | Subject)"


@pytest.fixture(scope="module")
def sleep() -> pd.DataFrame:
    return datasets.sleepstudy.load_pandas().data


@pytest.fixture(scope="module")
def model(sleep: pd.DataFrame) -> MixedLM:
    return MixedLM.from_formula(SLEEP, sleep)


def by_covariances(model: MixedLM, covariances: list[Array], sigma: float, reml: bool) -> float:
    """The criterion at covariance matrices, from dense V."""
    design = model.design
    X, y, n = design.X, design.y, len(design.y)
    V = sigma**2 * np.eye(n)
    for term, cov in zip(design.terms, covariances, strict=True):
        same = term.codes[:, None] == term.codes
        V += same * (term.X @ cov @ term.X.T)
    L = np.linalg.cholesky(V)
    half = solve_triangular(L, np.column_stack([X, y]), lower=True)
    R = np.linalg.qr(half, mode="r")
    p = X.shape[1]
    df = n - p if reml else n
    out = 2 * np.log(np.diag(L)).sum() + R[p, p] ** 2 + df * np.log(2 * np.pi)
    return float(out + (2 * np.log(np.abs(np.diag(R)[:p])).sum() if reml else 0.0))


def dense_minimum(
    model: MixedLM, make: Callable[[Array], tuple[list[Array], float]], start: Array, reml: bool
) -> float:
    """Minimize over what `make` turns into covariances and sigma."""

    def value(x: Array) -> float:
        try:
            return by_covariances(model, *make(x), reml)
        except np.linalg.LinAlgError:
            return np.inf

    best = np.asarray(start, dtype=float)
    for _ in range(3):
        found = minimize(
            value, best, method="Nelder-Mead",
            options={"xatol": 1e-9, "fatol": 1e-11, "maxiter": 2500, "maxfev": 2500},
        )  # fmt: skip
        best = found.x
    return float(found.fun)


def matrix(sd: list[float], *correlations: float) -> Array:
    """A covariance matrix; correlations by rows of the upper triangle."""
    C = np.eye(len(sd))
    C[np.triu_indices(len(sd), 1)] = correlations
    C = C + np.triu(C, 1).T
    return np.outer(sd, sd) * C


CASES: dict[str, tuple[dict | None, list | None, Callable, list[float], int]] = {
    "sd": (
        {"Subject.Intercept": 35.0}, None,
        lambda x: ([matrix([35.0, x[0]], np.tanh(x[1]))], np.exp(x[2])), [6, 0, 3.2], 1,
    ),
    "both sds": (
        {"sd(Subject, Intercept)": 35.0, "Subject.Days": 3.0}, None,
        lambda x: ([matrix([35.0, 3.0], np.tanh(x[0]))], np.exp(x[1])), [0, 3.2], 2,
    ),
    "correlation": (
        {"Subject.Days.Intercept": 0.5}, None,
        lambda x: ([matrix([x[0], x[1]], 0.5)], np.exp(x[2])), [20, 5, 3.2], 1,
    ),
    "sd and correlation": (
        {"Subject.Days": 9.0, "cor(Subject, Intercept, Days)": -0.4}, None,
        lambda x: ([matrix([x[0], 9.0], -0.4)], np.exp(x[1])), [20, 3.2], 2,
    ),
    "sd and sigma": (
        {"Subject.Days": 9.0, "sigma": 20.0}, None,
        lambda x: ([matrix([x[0], 9.0], np.tanh(x[1]))], 20.0), [20, 0], 2,
    ),
    "everything": (
        {"Subject.Intercept": 20.0, "Subject.Days": 9.0, "Subject.Intercept.Days": 0.1,
         "Residual": 20.0}, None,
        None, [], 4,
    ),
    "equal sds": (
        None, [("Subject.Intercept", "Subject.Days")],
        lambda x: ([matrix([x[0], x[0]], np.tanh(x[1]))], np.exp(x[2])), [9, 0, 3.2], 1,
    ),
    "equal to sigma": (
        None, [("Subject.Intercept", "sigma")],
        lambda x: ([matrix([np.exp(x[2]), x[0]], np.tanh(x[1]))], np.exp(x[2])), [6, 0, 3.2], 1,
    ),
    "slope equal to sigma and a correlation": (
        {"Subject.Intercept.Days": 0.2}, [("Residual", "Subject.Days")],
        lambda x: ([matrix([x[0], np.exp(x[1])], 0.2)], np.exp(x[1])), [25, 3], 2,
    ),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("reml", [True, False], ids=["REML", "ML"])
@pytest.mark.parametrize("case", CASES)
def test_against_a_dense_search(model: MixedLM, case: str, reml: bool) -> None:
    fix, equal, make, start, fewer = CASES[case]
    result = model.fit(reml=reml, fix=fix, equal=equal)
    assert result.converged
    assert result.df_modelwc == 6 - fewer
    own = by_covariances(model, result.fit_record.random_cov, result.sigma, reml)
    assert_allclose(own, result.objective, rtol=1e-11)
    frame = result.varcorr()
    found = dict(zip(["Subject.Intercept", "Subject.Days", "sigma"], frame["std_dev"]))
    found["Subject.Intercept.Days"] = frame["corr_1"][1]
    names = {"sd(Subject, Intercept)": "Subject.Intercept", "Residual": "sigma",
             "Subject.Days.Intercept": "Subject.Intercept.Days",
             "cor(Subject, Intercept, Days)": "Subject.Intercept.Days"}  # fmt: skip
    for name, value in (fix or {}).items():
        assert_allclose(found[names.get(name, name)], value, rtol=1e-9, atol=1e-10)
    for one, two in equal or []:
        assert_allclose(found[names.get(one, one)], found[names.get(two, two)], rtol=1e-9)
    if make is not None:
        assert_allclose(result.objective, dense_minimum(model, make, start, reml), atol=1e-6)
    assert result.optimization.evaluations <= 25


def test_no_correlation_is_two_bars(model: MixedLM, sleep: pd.DataFrame) -> None:
    bars = MixedLM.from_formula("Reaction ~ Days + (Days || Subject)", sleep).fit()
    none = model.fit(fix={"Subject.Intercept.Days": 0.0})
    assert_allclose(none.objective, bars.objective, atol=1e-8)
    assert_allclose(none.bse, bars.bse, rtol=1e-6)
    assert_allclose(none.df_resid_inference, bars.df_resid_inference, rtol=1e-5)
    assert none.aic == pytest.approx(bars.aic)
    one = none.profile().conf_int()
    two = bars.refit_ml().profile().conf_int()
    assert_allclose(one.loc[two.index], two, rtol=1e-3)
    assert list(one.index) == list(two.index)


def test_equal_variances_are_compound_symmetry(model: MixedLM, sleep: pd.DataFrame) -> None:
    same = model.fit(equal=[("Subject.Intercept", "Subject.Days")])
    cs = MixedLM.from_formula("Reaction ~ Days + cs(Days | Subject, hom=True)", sleep).fit()
    assert_allclose(same.objective, cs.objective, atol=1e-8)
    assert_allclose(same.df_resid_inference, cs.df_resid_inference, rtol=1e-4)
    assert same.aic == pytest.approx(cs.aic)


def test_sigma_is_the_argument(model: MixedLM) -> None:
    one, two = model.fit(fix={"sigma": 20.0}), model.fit(sigma=20.0)
    assert_allclose(one.objective, two.objective)
    assert one.df_modelwc == two.df_modelwc == 5
    assert_allclose(one.df_resid_inference, two.df_resid_inference)
    with pytest.raises(FitError, match=r"sigma is 21 by sigma= and 20 by fix="):
        model.fit(sigma=21.0, fix={"sigma": 20.0})


def test_a_known_intercept_beside_statsmodels(sleep: pd.DataFrame) -> None:
    """At statsmodels' optimum, with the standard deviation that it finds there."""
    theirs = smf.mixedlm("Reaction ~ Days", sleep, groups="Subject").fit(reml=False)
    sd = float(np.sqrt(theirs.cov_re.iloc[0, 0]))
    model = MixedLM.from_formula("Reaction ~ Days + (1 | Subject)", sleep)
    ours = model.fit(reml=False, fix={"Subject.Intercept": sd})
    assert_allclose(ours.llf, theirs.llf, atol=1e-6)
    assert_allclose(ours.params, theirs.fe_params, rtol=1e-6)
    assert ours.df_modelwc == 3


# ---------------------------------------------------------------------- structures, several terms


def crossed() -> pd.DataFrame:
    rng = np.random.default_rng(4)
    n = 180
    data = pd.DataFrame({"g": rng.integers(0, 12, n), "h": rng.integers(0, 9, n)})
    data["f"] = pd.Categorical(rng.choice(list("abc"), n))
    data["x"], data["z"] = rng.standard_normal((2, n))
    b = rng.standard_normal((12, 3)) @ np.linalg.cholesky(
        matrix([1.0, 0.7, 0.5], 0.5, 0.2, -0.3)
    ).T  # fmt: skip
    c, d = 0.8 * rng.standard_normal(9), rng.standard_normal((12, 3))
    d = d @ np.linalg.cholesky(matrix([1.0, 1.2, 0.8], 0.4, 0.2, 0.5)).T
    data["y"] = (
        b[data["g"], 0] + b[data["g"], 1] * data["x"] + b[data["g"], 2] * data["z"]
        + c[data["h"]] + d[data["g"], data["f"].cat.codes] + rng.standard_normal(n)
    )  # fmt: skip
    return data


def lags(x: float) -> tuple[float, float, float]:
    """Correlations of three columns with 0.1 at the second lag: r² <= (1 + 0.1)/2."""
    r = float(np.sqrt(0.55) * np.tanh(x))
    return r, 0.1, r


STRUCTURED: dict[str, tuple[str, dict | None, list | None, Callable, list[float]]] = {
    "two intercepts": (
        "(1 | g) + (1 | h)", None, [("g.Intercept", "h.Intercept")],
        lambda x: ([matrix([x[0]]), matrix([x[0]])], np.exp(x[1])), [1, 0],
    ),
    "two intercepts, one known": (
        "(1 | g) + (1 | h)", {"h.Intercept": 0.5}, None,
        lambda x: ([matrix([x[0]]), matrix([0.5])], np.exp(x[1])), [1, 0],
    ),
    "cs": (
        "cs(0 + f | g)", {"g.rho": 0.3, "g.f[b]": 1.5}, [("g.f[a]", "g.f[c]")],
        lambda x: ([matrix([x[0], 1.5, x[0]], 0.3, 0.3, 0.3)], np.exp(x[1])), [1, 0],
    ),
    "ar1 beside an intercept": (
        "ar1(0 + f | g) + (1 | h)", {"cor(g, rho)": 0.6}, [("h.Intercept", "g.f[a], f[b], f[c]")],
        lambda x: ([matrix([x[0]] * 3, 0.6, 0.36, 0.6), matrix([x[0]])], np.exp(x[1])), [1, 0],
    ),
    "toeplitz, second lag": (
        "toep(0 + f | g, hom=True)", {"g.rho_2": 0.1}, None,
        lambda x: ([matrix([x[0]] * 3, *lags(x[1]))], np.exp(x[2])), [1, 0.3, 0],
    ),
    "diag": (
        "(x || g)", {"g.x": 0.9}, None,
        lambda x: ([np.diag([x[0] ** 2, 0.81])], np.exp(x[1])), [1, 0],
    ),
    "one variance": (
        "diag(0 + f | g, hom=True)", {"g.sd": 0.7}, None,
        lambda x: ([0.49 * np.eye(3)], np.exp(x[0])), [0],
    ),
    "three columns, sds": (
        "(x + z | g)", {"g.x": 0.6}, [("g.Intercept", "g.z")],
        lambda x: ([matrix([x[0], 0.6, x[0]], *np.tanh(x[1:4]))], np.exp(x[4])),
        [1, 0.2, 0.1, -0.1, 0],
    ),
    "three columns, correlations": (
        "(x + z | g)", {"g.x.z": 0.4}, [("g.Intercept.x", "g.Intercept.z")],
        lambda x: ([matrix(x[:3], np.tanh(x[3]), np.tanh(x[3]), 0.4)], np.exp(x[4])),
        [1, 0.6, 0.5, 0.1, 0],
    ),
    "three columns, two of them uncorrelated": (
        "(x + z | g)", {"g.z.x": 0.0, "g.z.Intercept": 0.0}, None,
        lambda x: ([matrix(x[:3], np.tanh(x[3]), 0.0, 0.0)], np.exp(x[4])),
        [1, 0.6, 0.5, 0.1, 0],
    ),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("reml", [True, False], ids=["REML", "ML"])
@pytest.mark.parametrize("case", STRUCTURED)
def test_structures_against_a_dense_search(case: str, reml: bool) -> None:
    random, fix, equal, make, start = STRUCTURED[case]
    model = MixedLM.from_formula("y ~ x + z + " + random, crossed())
    result = quietly(model, reml=reml, fix=fix, equal=equal)
    assert result.converged
    fewer = len(fix or {}) + len(equal or [])
    assert result.df_modelwc == quietly(model, reml=reml).df_modelwc - fewer
    own = by_covariances(model, result.fit_record.random_cov, result.sigma, reml)
    assert_allclose(own, result.objective, rtol=1e-11)
    best = dense_minimum(model, make, start, reml)
    assert_allclose(result.objective, best, atol=1e-6)


def test_three_columns_without_correlation_are_two_terms() -> None:
    apart = quietly(MixedLM.from_formula("y ~ x + z + (x | g) + (0 + z | g)", crossed()))
    model = MixedLM.from_formula("y ~ x + z + (x + z | g)", crossed())
    together = quietly(model, fix={"g.z.x": 0.0, "g.z.Intercept": 0.0})
    assert_allclose(together.objective, apart.objective, atol=1e-7)


def test_range() -> None:
    rng = np.random.default_rng(6)
    data = pd.DataFrame({"g": np.repeat(np.arange(20), 6), "t": np.tile([0, 1, 3, 4, 8, 9], 20)})
    D = np.abs(np.subtract.outer([0, 1, 3, 4, 8, 9], [0, 1, 3, 4, 8, 9]))
    effects = rng.standard_normal((20, 6)) @ np.linalg.cholesky(np.exp(-D / 3)).T
    data["y"] = effects.ravel() + 0.4 * rng.standard_normal(120)
    model = MixedLM.from_formula("y ~ 1 + exp(0 + position(t) | g)", data)
    result = model.fit(reml=False, fix={"g.range": 5.0})
    assert result.varcorr()["range"][1] == pytest.approx(5.0)
    best = dense_minimum(
        model, lambda x: ([x[0] ** 2 * np.exp(-D / 5.0)], np.exp(x[1])), [1, -1], False
    )
    assert_allclose(result.objective, best, atol=1e-6)
    two = MixedLM.from_formula(
        "y ~ 1 + exp(0 + position(t) | g) + exp(0 + position(t) | h)", data.assign(h=data["g"] % 7)
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the two leave no residual
        same = two.fit(equal=[("g.range", "h.range")])
    assert_allclose(*same.varcorr()["range"].dropna(), rtol=1e-8)


# ------------------------------------------------------------------------------------ derivatives


@pytest.mark.parametrize("reml", [True, False], ids=["REML", "ML"])
@pytest.mark.parametrize(
    ("random", "fix", "equal"),
    [
        ("(x + z | g)", {"g.x": 0.6, "g.Intercept.z": 0.3}, None),
        ("(x + z | g)", {"g.x.z": 0.3}, [("g.Intercept", "g.z")]),
        ("cs(0 + f | g) + (x | h)", {"g.f[b]": 0.5}, [("g.f[a]", "h.x")]),
        ("toep(0 + f | g)", {"g.rho_2": 0.2, "g.f[b]": 0.5}, None),
        ("diag(0 + f | g, hom=True) + (1 | h)", None, [("h.Intercept", "sigma")]),
    ],
)
def test_gradient_and_hessian(
    random: str, fix: dict | None, equal: list | None, reml: bool
) -> None:
    """Along the steps of the search, at points of the set that are no optimum."""
    model = MixedLM.from_formula("y ~ x + z + " + random, crossed())
    restrictions, _ = read_restrictions(model.design, model.problem.covariance, fix, equal, None)
    criterion = RestrictedCriterion(model.problem, reml, None, restrictions)
    rng = np.random.default_rng(1)
    start = model.problem.covariance.start()
    e = criterion.at(start * rng.uniform(0.6, 1.2, len(start)) + 0.1)
    g, H = e.derivatives(exact=True)
    assert np.abs(g).max() > 0.1
    assert len(g) == e.basis.shape[1]
    h = 1e-4
    steps = h * np.eye(len(g))
    slope = [(e.retract(s).value - e.retract(-s).value) / (2 * h) for s in steps]
    assert_allclose(g, slope, atol=1e-5 * np.abs(g).max())
    bent = np.array(
        [
            [
                sum(
                    a * b * e.retract(a * s + b * t).value for a in (1, -1) for b in (1, -1)
                ) / (4 * h * h)
                for t in steps
            ]
            for s in steps
        ]
    )  # fmt: skip
    # a step returns to the set along its normal: so that second derivatives are those of the set
    assert_allclose(H, bent, atol=2e-4 * np.abs(H).max())
    for jet in criterion.jets(e.retract(0.1 * np.ones(len(g))).point):
        assert abs(jet.value) < 1e-10


# ---------------------------------------------------------------------------- through the house


@pytest.fixture(scope="module")
def fixed(model: MixedLM) -> MixedLMResults:
    return model.fit(reml=False, fix={"Subject.Intercept": 35.0})


def test_likelihood_ratio(model: MixedLM, fixed: MixedLMResults) -> None:
    free = model.fit(reml=False)
    statistic, p, df = free.compare_lr_test(fixed)
    assert df == 1
    assert_allclose(statistic, fixed.objective - free.objective)
    assert_allclose(p, chi2.sf(statistic, 1))
    table = anova(fixed, free)
    assert table["npar"].tolist() == [5, 6]
    assert_allclose(table["pvalue"].iloc[1], p)
    profile = free.profile("sd(Subject, Intercept)")
    assert_allclose(profile.zeta("sd(Subject, Intercept)", 35.0) ** 2, statistic, rtol=1e-3)
    more = model.fit(reml=False, fix={"Subject.Intercept": 35.0, "Subject.Days": 5.0})
    assert fixed.compare_lr_test(more)[2] == 1
    other = model.fit(reml=False, fix={"Subject.Days": 5.0})
    with pytest.raises(FitError, match="not nested"):
        fixed.compare_lr_test(other)
    reml = model.fit(fix={"Subject.Intercept": 35.0})
    again = MixedLM.from_formula("Reaction ~ 1 + (Days | Subject)", model.data.frame)
    table = anova(again.fit(fix={"Subject.Intercept": 35.0}), reml)
    assert_allclose(table["deviance"].iloc[1], fixed.objective)


def test_satterthwaite(model: MixedLM) -> None:
    """By differences of dense algebra in what is free: (slope's sd, correlation, log sigma)."""
    result = model.fit(fix={"Subject.Intercept": 35.0})
    frame = result.varcorr()
    x = np.array([frame["std_dev"][1], np.arctanh(frame["corr_1"][1]), np.log(result.sigma)])
    design = model.design
    term = oracle.Term(design.terms[0].X, design.terms[0].codes, 18)

    def covariance(x: Array) -> Array:
        return matrix([35.0, x[0]], np.tanh(x[1]))

    def variance(x: Array) -> float:
        Z = oracle.term_Z(term)
        V = np.exp(2 * x[2]) * np.eye(180) + Z @ np.kron(np.eye(18), covariance(x)) @ Z.T
        return float(np.linalg.inv(design.X.T @ np.linalg.solve(V, design.X))[1, 1])

    def deviance(x: Array) -> float:
        return by_covariances(model, [covariance(x)], float(np.exp(x[2])), True)

    h = 1e-3 * np.array([5.0, 1.0, 1.0])
    eye = np.diag(h)
    g = np.array([(variance(x + e) - variance(x - e)) / (2 * k) for e, k in zip(eye, h)])
    H = np.array(
        [
            [
                sum(s * t * deviance(x + s * a + t * b) for s in (1, -1) for t in (1, -1))
                / (4 * h[i] * h[j])
                for j, b in enumerate(eye)
            ]
            for i, a in enumerate(eye)
        ]
    )
    df = 2 * variance(x) ** 2 / (g @ np.linalg.solve(H / 2, g))
    assert_allclose(result.df_resid_inference[1], df, rtol=1e-3)


def test_profile(model: MixedLM, fixed: MixedLMResults) -> None:
    limits = fixed.profile().conf_int()
    assert "sd(Subject, Intercept)" not in limits.index
    low, high = limits.loc["sd(Subject, Days)"]
    for end in (low, high):
        there = model.fit(reml=False, fix={"Subject.Intercept": 35.0, "Subject.Days": end})
        assert_allclose(there.objective - fixed.objective, 3.841459, rtol=1e-3)
    for end in limits.loc["cor(Subject, Intercept, Days)"]:
        both = {"Subject.Intercept": 35.0, "Subject.Intercept.Days": end}
        there = model.fit(reml=False, fix=both)
        assert_allclose(there.objective - fixed.objective, 3.841459, rtol=1e-3)
    for end in limits.loc["sigma"]:
        there = model.fit(reml=False, fix={"Subject.Intercept": 35.0, "sigma": end})
        assert_allclose(there.objective - fixed.objective, 3.841459, rtol=1e-3)
    end = limits.loc["Days", 1]
    data = model.data.frame
    shifted = data.assign(Reaction=data["Reaction"] - end * data["Days"])
    held = MixedLM.from_formula("Reaction ~ 1 + (Days | Subject)", shifted)
    there = held.fit(reml=False, fix={"Subject.Intercept": 35.0})
    assert_allclose(there.objective - fixed.objective, 3.841459, rtol=1e-3)
    with pytest.raises(FitError, match="is fixed, so it has no profile"):
        fixed.profile("sd(Subject, Intercept)")
    equal = model.fit(reml=False, equal=[("Subject.Intercept", "Subject.Days")])
    table = equal.profile("theta").conf_int()
    assert_allclose(*table.iloc[:2].to_numpy(), rtol=1e-3)


def test_refits(model: MixedLM, fixed: MixedLMResults, sleep: pd.DataFrame) -> None:
    y = sleep["Reaction"] * 1.3 + 7
    again = fixed.refit(y)
    assert again.varcorr()["std_dev"][0] == pytest.approx(35.0)
    direct = MixedLM.from_formula(SLEEP, sleep.assign(Reaction=y))
    direct = direct.fit(reml=False, fix={"Subject.Intercept": 35.0})
    assert_allclose(again.objective, direct.objective, atol=1e-7)
    many = model.fit_many(pd.DataFrame({"a": y}), reml=False, fix={"Subject.Intercept": 35.0})
    assert_allclose(many.objective["a"], direct.objective, atol=1e-7)
    assert_allclose(many.components.loc["a", "sd(Subject, Intercept)"], 35.0)
    assert_allclose(many.result("a").objective, direct.objective, atol=1e-7)
    copy = pickle.loads(pickle.dumps(fixed))
    assert_allclose(copy.refit(y).objective, direct.objective, atol=1e-7)
    assert copy.df_modelwc == 5
    boot = fixed.bootstrap(5, rng=1)
    assert_allclose(boot.to_frame()["sd(Subject, Intercept)"], 35.0)
    updated = fixed.update("~ . - Days")
    assert updated.varcorr()["std_dev"][0] == pytest.approx(35.0)
    ml = model.fit(fix={"Subject.Intercept": 35.0}).refit_ml()
    assert_allclose(ml.objective, fixed.objective, atol=1e-7)
    dropped = fixed.drop1(test="LRT")
    assert_allclose(-2 * dropped.loc["Days", "logLik"], updated.objective, atol=1e-6)


def test_influence(fixed: MixedLMResults, sleep: pd.DataFrame) -> None:
    influence = fixed.influence("Subject", refit=True)
    without = sleep[sleep["Subject"].astype(str) != "308"]
    direct = MixedLM.from_formula(SLEEP, without).fit(reml=False, fix={"Subject.Intercept": 35.0})
    assert_allclose(influence.params.loc["308"], direct.params, rtol=1e-5)


def test_predictions(fixed: MixedLMResults, sleep: pd.DataFrame) -> None:
    cov, sigma2 = fixed.fit_record.random_cov[0], fixed.scale
    Z = oracle.term_Z(oracle.Term(*[fixed.model.design.terms[0].X,
                                    fixed.model.design.terms[0].codes, 18]))  # fmt: skip
    V = Z @ np.kron(np.eye(18), cov) @ Z.T + sigma2 * np.eye(180)
    X, y = fixed.model.design.X, fixed.model.design.y
    W = np.linalg.inv(V)
    cov_beta = np.linalg.inv(X.T @ W @ X)
    beta = cov_beta @ X.T @ W @ y
    assert_allclose(fixed.params, beta, rtol=1e-8)
    assert_allclose(fixed.bse, np.sqrt(np.diag(cov_beta)), rtol=1e-8)
    b = np.kron(np.eye(18), cov) @ Z.T @ W @ (y - X @ beta)
    assert_allclose(fixed.predict(), X @ beta + Z @ b, rtol=1e-8)
    assert np.isfinite(fixed.get_prediction().df).all()


def test_what_users_see(model: MixedLM, fixed: MixedLMResults) -> None:
    assert "Not estimated: sd(Subject, Intercept) = 35." in fixed.summary().as_text()
    equal = model.fit(equal=[["Subject.Intercept", "sigma"]])
    assert "sd(Subject, Intercept) = sigma" in equal.summary().as_text()
    assert fixed.check() is not None
    zero = quietly(model, fix={"Subject.Intercept": 0.0})
    assert zero.varcorr()["variance"][0] == 0.0
    assert zero.df_modelwc == 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fix": {"Subject.Intrcept": 1.0}}, "no parameter.*Did you mean 'Subject.Intercept'"),
        ({"fix": {"Subject.Intercept": -1.0}}, "standard deviation and cannot be -1"),
        ({"fix": {"Subject.Intercept": "a"}}, "Pass a number"),
        ({"fix": {"Subject.Intercept": np.nan}}, "Pass a number"),
        ({"fix": {"Subject.Intercept.Days": 1.5}}, "correlation and cannot be 1.5"),
        ({"fix": {"sigma": 0.0}}, "sigma cannot be 0"),
        ({"fix": [("Subject.Intercept", 1.0)]}, "no mapping"),
        ({"fix": {"Subject.Days": 1.0, "sd(Subject, Days)": 2.0}}, "twice, under two names"),
        ({"equal": "Subject.Days"}, "no list of sets"),
        ({"equal": [("Subject.Days",)]}, "equal to itself"),
        ({"equal": [("Subject.Days", "Subject.Intercept.Days")]}, "they cannot be equal"),
        ({"equal": [3]}, "no set of names"),
        ({"fix": {"Subject.Days": 1.0}, "method": "bobyqa"}, "knows no fixed"),
        ({"fix": {"Subject.Days": 1.0}, "ddf": "kenward-roger-full"}, "not told apart"),
        ({"fix": {"Days": 1.0}}, "no parameter of the random effects"),
    ],
)
def test_misuse(model: MixedLM, options: dict, message: str) -> None:
    with pytest.raises(FitError, match=r"(?s)" + message):
        model.fit(**options)


def test_impossible_correlations() -> None:
    model = MixedLM.from_formula("y ~ x + z + (x + z | g)", crossed())
    with pytest.raises(FitError, match="no random effects have"):
        model.fit(fix={"g.Intercept.x": 0.9, "g.Intercept.z": 0.9, "g.x.z": -0.9})


def test_not_for_ranova_nor_other_methods(fixed: MixedLMResults) -> None:
    with pytest.raises(FitError, match="compare them by anova"):
        fixed.ranova()
    for name in ("icc", "total_variance"):
        with pytest.raises(FitError, match="no profile beside fixed"):
            getattr(fixed, name)(method="profile")
        assert np.isfinite(getattr(fixed, name)().to_numpy()).all()
    with pytest.raises(FitError, match="Kenward-Roger"):
        fixed.with_ddf("kenward-roger")
