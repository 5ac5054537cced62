"""Models with residual structures through the whole house, against dense algebra and other fits."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf
from numpy.testing import assert_allclose
from oracle_residual import Dense, dense_covariance
from scipy import stats

from mixedlm_ext import MixedLM
from mixedlm_ext.errors import DesignError, FitError, FormulaError

Array = np.ndarray
KINDS = {
    "ar1": {"correlation": "ar1(week | g)"},
    "cs": {"correlation": "cs(1 | h)"},
    "strata": {"variance": "sex"},
    "both": {"correlation": "ar1(week | g)", "variance": "sex"},
    "power": {"variance": "power(z)"},
}
FORMULA = "y ~ x + week + (1 | g) + (1 | item)"


def make() -> pd.DataFrame:
    rng = np.random.default_rng(11)
    g, week = np.repeat(np.arange(12), 7), np.tile(np.arange(7), 12)
    keep = rng.random(84) < 0.9
    data = pd.DataFrame({"g": g, "week": week})[keep]
    n = len(data)
    data["item"] = rng.integers(0, 5, n)
    data["h"] = data["g"] // 2 * 10 + data["item"]
    data["x"] = rng.normal(size=n)
    data["z"] = rng.choice([0.5, 1.0, 2.0, 3.0], n)
    data["sex"] = np.where(data["g"] % 2, "f", "m")
    e = np.zeros(n)
    for level in range(12):
        own = np.flatnonzero(data["g"] == level)
        t = data["week"].to_numpy()[own]
        C = 0.6 ** np.abs(t[:, None] - t)
        e[own] = np.linalg.cholesky(C) @ rng.normal(size=len(own))
    e *= np.where(data["sex"] == "m", 1.5, 0.8)
    b = rng.normal(size=12)[data["g"]] + 0.7 * rng.normal(size=5)[data["item"]]
    data["y"] = 2 + 0.5 * data["x"] + b + e
    return data.sample(frac=1, random_state=3).reset_index(drop=True)


DATA = make()

pytestmark = pytest.mark.filterwarnings("ignore::mixedlm_ext.errors.SingularFitWarning")


@pytest.fixture(scope="module")
def results() -> dict[str, Any]:
    return {name: MixedLM.from_formula(FORMULA, DATA, **kind).fit() for name, kind in KINDS.items()}


every = pytest.mark.parametrize("name", KINDS)


def dense_of(result: Any) -> tuple[Array, Array, Array, Array]:
    """R, V, P and W at the estimates, relative to σ²."""
    design = result.fit_record.design
    dense = Dense(design)
    values = design.residual.values
    R, V = dense_covariance(design, values), dense.V(result.theta, values)
    return R, V, dense.P(V), np.linalg.inv(R)


# --- estimates ------------------------------------------------------------------------------------


@every
def test_the_criterion_and_its_parameters(name: str, results: dict[str, Any]) -> None:
    result = results[name]
    design = result.fit_record.design
    values = design.residual.values
    assert result.converged
    assert_allclose(
        result.objective, Dense(design).criterion(result.theta, values, True, None), rtol=1e-9
    )
    point = np.concatenate([result.theta, values])
    assert_allclose(result.model.objective(point), result.objective, rtol=1e-10)
    assert_allclose(result.model.score(point), 0.0, atol=5e-3)
    H = result.model.hessian(point)
    assert np.linalg.eigvalsh(H)[0] > 0
    with pytest.raises(FitError, match=r"function of .* numbers: 2 of theta, then"):
        result.model.objective(result.theta)
    assert result.df_modelwc == 3 + 2 + len(values) + 1
    _, V, P, _ = dense_of(result)
    X = design.X
    assert_allclose(
        result.cov_params().to_numpy(),
        result.scale * np.linalg.inv(X.T @ np.linalg.solve(V, X)),
        rtol=1e-7,
    )
    assert_allclose(result.scale, design.y @ P @ design.y / (len(X) - 3), rtol=1e-8)


@every
def test_reports_name_the_parameters(name: str, results: dict[str, Any]) -> None:
    result = results[name]
    text, frame = str(result.summary()), result.varcorr()
    structure = result.fit_record.design.residual
    assert f"Residuals: {structure.text}." in text
    own = frame[frame["group"] == "Residual"].set_index("name")
    if name in ("strata", "both"):
        ratio = structure.values[-1]
        assert list(own.index[:2]) == ["f", "m"]
        assert own.loc["m", "std_dev"] == pytest.approx(result.sigma * ratio)
        assert result.tidy().set_index("term").loc["sd__m", "estimate"] == pytest.approx(
            result.sigma * ratio
        )
    if "correlation" in KINDS[name]:
        assert own.loc[f"{structure.kind.word} rho", "corr_1"] == structure.values[0]
    if name == "power":
        assert own.loc["power(z)", "value"] == structure.values[0]
        assert "value" in text
    for row in own.itertuples():
        assert str(row.Index) in text


@every
def test_satterthwaite_knows_that_they_were_estimated(name: str, results: dict[str, Any]) -> None:
    result = results[name]
    design, dense = result.fit_record.design, Dense(result.fit_record.design)
    structure = design.residual
    m = len(result.theta)
    center = np.concatenate([result.theta, structure.z_of(structure.values), [0.0]])

    def criterion(point: Array) -> float:
        values = structure.values_of(point[m:-1])
        return dense.criterion(point[:m], values, True, result.sigma * np.exp(point[-1]))

    def variance(point: Array, j: int) -> float:
        V = dense.V(point[:m], structure.values_of(point[m:-1]))
        C = np.linalg.inv(design.X.T @ np.linalg.solve(V, design.X))
        return float(C[j, j] * result.scale * np.exp(2 * point[-1]))

    h, d = 1e-4, len(center)
    steps = h * np.eye(d)
    H = np.empty((d, d))
    for i in range(d):
        for j in range(d):
            corners = [
                criterion(center + s * steps[i] + t * steps[j]) for s in (1, -1) for t in (1, -1)
            ]
            H[i, j] = (corners[0] - corners[1] - corners[2] + corners[3]) / (4 * h * h)
    for j in range(len(result.params)):
        g = np.array([(variance(center + s, j) - variance(center - s, j)) / (2 * h) for s in steps])
        df = 2 * variance(center, j) ** 2 / (g @ (2 * np.linalg.inv(H)) @ g)
        assert_allclose(result.t_test(np.eye(3)[[j]]).df_denom, df, rtol=2e-2)


def test_without_structure_the_numbers_are_those_of_the_plain_model() -> None:
    """A correlation of zero and a ratio of one."""
    plain = MixedLM.from_formula(FORMULA, DATA)
    theta = np.array([0.8, 0.5])
    for kind, neutral in [
        ("ar1", [0.0]),
        ("strata", [1.0]),
        ("power", [0.0]),
        ("both", [0.0, 1.0]),
    ]:
        model = MixedLM.from_formula(FORMULA, DATA, **KINDS[kind])
        found = model.objective(np.concatenate([theta, neutral]))
        assert_allclose(found, plain.objective(theta), rtol=1e-11)


def test_strata_with_the_variances_of_weights() -> None:
    """Ratios estimated once and given as weights: the same fit."""
    result = MixedLM.from_formula(FORMULA, DATA, variance="sex").fit()
    (ratio,) = result.fit_record.design.residual.values
    w = np.where(DATA["sex"] == "m", 1 / ratio**2, 1.0)
    same = MixedLM.from_formula(FORMULA, DATA, weights=w).fit()
    assert_allclose(same.objective, result.objective, atol=1e-6)
    assert_allclose(same.params, result.params, rtol=1e-4)
    assert_allclose(
        result.random_effects["g"].to_numpy(), same.random_effects["g"].to_numpy(), atol=1e-3
    )


def test_units_of_a_covariate_are_those_of_sigma() -> None:
    one = MixedLM.from_formula(FORMULA, DATA, variance="power(z)").fit()
    other = MixedLM.from_formula(
        FORMULA, DATA.assign(z=1000 * DATA["z"]), variance="power(z)"
    ).fit()
    (power,) = one.fit_record.design.residual.values
    assert_allclose(other.objective, one.objective, atol=1e-6)
    assert_allclose(other.sigma, one.sigma * 1000.0**-power, rtol=1e-3)


# --- rows -----------------------------------------------------------------------------------------


@every
def test_residuals_and_leverages(name: str, results: dict[str, Any]) -> None:
    result = results[name]
    R, V, P, W = dense_of(result)
    y, X = result.fit_record.design.y, result.fit_record.design.X
    e = R @ P @ y
    assert_allclose(result.resid, e, atol=1e-8)
    assert_allclose(result.residuals("pearson"), e / np.sqrt(np.diag(R)), atol=1e-8)
    white = result.residuals("whitened").to_numpy()
    assert_allclose(white @ white, e @ W @ e / result.scale, rtol=1e-9)
    normal = result.residuals("normalized").to_numpy()
    r = y - X @ result.params.to_numpy()
    assert_allclose(normal @ normal, r @ np.linalg.solve(V, r) / result.scale, rtol=1e-9)
    hat = np.eye(len(y)) - R @ P
    assert_allclose(result.leverage(), np.diag(hat), atol=1e-9)
    variances = np.diag(R @ P @ R) * result.scale
    assert_allclose(result.residuals("studentized"), e / np.sqrt(variances), rtol=1e-7)


@every
def test_predictions_and_their_errors(name: str, results: dict[str, Any]) -> None:
    """Rows of the fit and a new group, against Henderson's equations through V."""
    result = results[name]
    design = result.fit_record.design
    _, V, _, _ = dense_of(result)
    X, scale = design.X, result.scale
    new = DATA.iloc[:3].assign(g=[DATA["g"][0], DATA["g"][1], 99])
    found = result.get_prediction(new)
    C = np.linalg.inv(X.T @ np.linalg.solve(V, X))
    Vi = np.linalg.inv(V)
    for i in range(3):
        x, row = X[i], new.iloc[i]
        c, k = np.zeros(len(X)), 0.0
        for term, T in zip(design.terms, result.fit_record.templates, strict=True):
            level = row["g"] if term.group == "g" else row["item"]
            gamma = float((T @ T.T)[0, 0])
            c += gamma * (DATA[term.group] == level).to_numpy()
            k += gamma
        a = x - X.T @ Vi @ c
        error = scale * (k - c @ Vi @ c + a @ C @ a)
        assert_allclose(found.se_mean[i] ** 2, error, rtol=1e-7)
        sd = 1.0
        values = design.residual.values
        if name in ("strata", "both") and row["sex"] == "m":
            sd = values[-1]
        if name == "power":
            sd = row["z"] ** values[-1]
        assert_allclose(found.se_obs[i] ** 2 - error, scale * sd**2, rtol=1e-7)
    assert np.isfinite(found.df).all()


@pytest.mark.parametrize("name", ["ar1", "cs", "both"])
def test_the_next_observation(name: str, results: dict[str, Any]) -> None:
    result = results[name]
    design = result.fit_record.design
    _, _, P, _ = dense_of(result)
    values = design.residual.values
    new = DATA.iloc[:4].assign(week=[9, 8, 7, 7], g=[DATA["g"][0], 3, 4, 77])
    if name == "cs":
        new = new.assign(h=[DATA["h"][0], DATA["h"][5], 12345, DATA["h"][7]])
    found = result.predict(new, errors=True).to_numpy()
    plain = result.predict(new).to_numpy()
    Py = P @ design.y
    sd = np.ones(len(DATA))
    if name == "both":
        sd[(DATA["sex"] == "m").to_numpy()] = values[-1]
    for i in range(4):
        row = new.iloc[i]
        if name == "cs":
            c = values[0] * (DATA["h"] == row["h"]).to_numpy()
        else:
            same = (DATA["g"] == row["g"]).to_numpy()
            c = same * values[0] ** np.abs(DATA["week"] - row["week"]).to_numpy()
        own = values[-1] if name == "both" and row["sex"] == "m" else 1.0
        assert_allclose(found[i] - plain[i], own * (c * sd) @ Py, atol=1e-9)
    assert found[0] != plain[0]


def variances_of_the_next(
    result: Any, together: Any, theta: Array, values: Array
) -> tuple[Array, Array]:
    """Variances over σ² of y_new - ŷ and of what correlated residuals leave of it."""
    n, dense = len(result.fit_record.design.y), Dense(together)
    V, R = dense.V(theta, values), dense_covariance(together, values)
    X, new = together.X[:n], together.X[n:]
    C = np.linalg.inv(X.T @ np.linalg.solve(V[:n, :n], X))
    whole = np.diag(V[n:, n:] - V[n:, :n] @ np.linalg.solve(V[:n, :n], V[:n, n:]))
    a = new - V[n:, :n] @ np.linalg.solve(V[:n, :n], X)
    left = np.diag(R[n:, n:] - R[n:, :n] @ np.linalg.solve(R[:n, :n], R[:n, n:]))
    return whole + np.einsum("mp,pq,mq->m", a, C, a), left


@pytest.mark.parametrize("name", ["ar1", "car1", "cs", "both", "power", "weighted"])
def test_errors_of_the_next_observation(name: str) -> None:
    kind = {
        **KINDS,
        "car1": {"correlation": "car1(week | g)"},
        "power": {"correlation": "ar1(week | g)", "variance": "power(z)"},
        "weighted": {"correlation": "ar1(week | g)", "variance": "sex", "weights": "w"},
    }[name]
    data = DATA.assign(w=0.5 + DATA["z"])
    result = MixedLM.from_formula(FORMULA, data, **kind).fit()
    new = data.iloc[:5].assign(week=[9, 8, 7, 7, 12], g=[data["g"][0], 3, 4, 77, 3])
    new = new.assign(h=[data["h"][0], data["h"][5], 12345, data["h"][7], data["h"][0]])
    new["item"] = [0, 1, 2, 3, 99]
    found = result.get_prediction(new, errors=True)
    assert_allclose(found.predicted_mean, result.predict(new, errors=True), rtol=1e-12)
    fit = result.fit_record
    structure = fit.design.residual
    together = MixedLM.from_formula(FORMULA, pd.concat([data, new], ignore_index=True), **kind)
    both = together.design
    whole, left = variances_of_the_next(result, both, result.theta, structure.values)
    assert_allclose(found.se_obs**2, result.scale * whole, rtol=1e-7)
    assert_allclose(found.var_resid, result.scale * left, rtol=1e-7)
    assert_allclose(found.se_mean**2, result.scale * (whole - left), rtol=1e-6)
    standardized = fit.problem.covariance.standardize(result.theta)
    size, point = result.theta / standardized, np.concatenate([standardized, fit.z])
    slopes = []
    for k in range(len(point)):
        ends = []
        for h in (1e-5, -1e-5):
            moved = point.copy()
            moved[k] += h
            theta, z = size * moved[: len(size)], moved[len(size) :]
            ends.append(variances_of_the_next(result, both, theta, structure.values_of(z)))
        slopes.append((np.array(ends[0]) - np.array(ends[1])) / 2e-5)
    for df, value, own in (
        (found.df_obs, whole, [s[0] for s in slopes]),
        (found.df, whole - left, [s[0] - s[1] for s in slopes]),
    ):
        g = np.column_stack([*own, 2.0 * value])
        expected = 2.0 * value**2 / np.einsum("mj,jk,mk->m", g, result.ddf_method.A, g)
        assert_allclose(df, expected, rtol=2e-5)
    lower, upper = found.conf_int(obs=True).T
    assert_allclose(upper - lower, 2 * stats.t.ppf(0.975, found.df_obs) * found.se_obs)


def test_where_little_or_all_is_known_of_the_next_observation(
    results: dict[str, Any],
) -> None:
    result = results["ar1"]
    new = DATA.iloc[:3].assign(week=[9, 8, 7], g=[DATA["g"][0], 3, 77])
    adjusted = MixedLM.from_formula(FORMULA, DATA, **KINDS["ar1"]).fit(ddf="kenward-roger")
    found, plain = adjusted.get_prediction(new, errors=True), result.get_prediction(new)
    assert_allclose(found.df, adjusted.get_prediction(new, which="population").df)
    assert found.se_obs[0] < plain.se_obs[0]
    # nothing is known of the residuals of a new group
    assert_allclose(result.get_prediction(new, errors=True).se_obs[2], plain.se_obs[2])
    assert_allclose(result.get_prediction(new, errors=True).df_obs[2], plain.df_obs[2])
    there = result.get_prediction(DATA.head(3), errors=True)
    assert_allclose(there.predicted_mean, DATA["y"].head(3))
    assert_allclose(there.conf_int(obs=True).T, [DATA["y"].head(3)] * 2, atol=1e-9)
    missing = result.get_prediction(new.assign(week=[np.nan, 8, 7]), errors=True)
    assert np.isnan(missing.summary_frame().iloc[0]).all()
    part = result.get_prediction(new, errors=True, random_only=True)
    assert_allclose(part.predicted_mean, result.predict(new, errors=True, random_only=True))
    for which in ({"which": "population"}, {"terms": "g"}):
        with pytest.raises(DesignError, match="all random effects"):
            result.get_prediction(new, errors=True, **which)
    with pytest.raises(DesignError, match="independent: nothing is known"):
        results["strata"].get_prediction(new, errors=True)


def test_weights_of_the_next_observation() -> None:
    data = DATA.assign(w=0.5 + DATA["z"])
    result = MixedLM.from_formula(FORMULA, data, correlation="ar1(week | g)", weights="w").fit()
    new = data.iloc[:1].assign(week=9, w=4.0)
    known = result.predict(new, errors=True) - result.predict(new)
    light = new.drop(columns="w")
    assert_allclose(2.0 * known, result.predict(light, errors=True) - result.predict(light))
    found = result.get_prediction(light, errors=True, weights=4.0)
    assert_allclose(found.predicted_mean, result.predict(new, errors=True))
    with pytest.raises(DesignError, match="where their weights are zero"):
        result.get_prediction(new.assign(w=0.0), errors=True)


def test_what_errors_cannot_be(results: dict[str, Any]) -> None:
    with pytest.raises(DesignError, match="independent: nothing is known"):
        results["strata"].predict(DATA.head(2), errors=True)
    with pytest.raises(DesignError, match="new rows; those of the fit are resid"):
        results["ar1"].predict(errors=True)
    with pytest.raises(DesignError, match="no column 'week'"):
        results["cs"].predict(DATA.drop(columns="week"), errors=True)
    with pytest.raises(DesignError, match="neither True nor False"):
        results["ar1"].predict(DATA.head(2), errors="yes")
    with pytest.raises(DesignError, match="all random effects"):
        results["ar1"].predict(DATA.head(2), errors=True, which="population")


def test_a_stratum_that_the_fit_has_not_seen(results: dict[str, Any]) -> None:
    with pytest.raises(DesignError, match="'x' is no stratum of variance='sex'"):
        results["strata"].get_prediction(DATA.head(2).assign(sex="x"))
    found = results["strata"].get_prediction(DATA.head(2).drop(columns="sex"))
    assert np.isfinite(found.se_mean).all() and np.isnan(found.se_obs).all()


@pytest.mark.slow
def test_simulated_responses_have_the_covariance(results: dict[str, Any]) -> None:
    result = results["both"]
    _, V, _, _ = dense_of(result)
    draws = result.simulate(4000, rng=1).to_numpy()
    found = np.cov(draws)
    expected = result.scale * V
    spread = np.sqrt((expected**2 + np.outer(np.diag(expected), np.diag(expected))) / 4000)
    assert (np.abs(found - expected) < 5.5 * spread).all()
    new = DATA.head(30)
    some = np.cov(result.simulate(4000, rng=2, exog=new).to_numpy())
    assert (np.abs(some - expected[:30, :30]) < 5.5 * spread[:30, :30]).all()
    kept = result.simulate(2000, rng=3, conditional=True)
    assert_allclose(kept.mean(axis=1), result.fittedvalues, atol=0.3)


# --- other fits -----------------------------------------------------------------------------------


@every
def test_refits_estimate_everything_again(name: str, results: dict[str, Any]) -> None:
    result = results[name]
    y = 3.0 + 2.0 * DATA["y"]
    again = result.refit(y)
    assert_allclose(again.sigma, 2 * result.sigma, rtol=1e-3)
    values = result.fit_record.design.residual.values
    assert_allclose(again.fit_record.design.residual.values, values, rtol=2e-3, atol=1e-3)
    by_ml = MixedLM.from_formula(FORMULA, DATA, **KINDS[name]).fit(reml=False)
    assert_allclose(result.refit_ml().objective, by_ml.objective, atol=1e-6)
    many = result.model.fit_many(pd.DataFrame({"a": DATA["y"], "b": y}))
    assert many.converged.all()
    assert_allclose(many.objective["a"], result.objective, atol=1e-6)
    assert_allclose(many.components.iloc[0, -len(values) :], values, rtol=3e-3, atol=2e-3)
    assert_allclose(many.result("b").sigma, again.sigma, rtol=1e-3)


def test_a_bootstrap_has_replicates_of_them(results: dict[str, Any]) -> None:
    result = results["both"]
    for kind in ("parametric", "residual"):
        boot = result.bootstrap(3, rng=5, kind=kind)
        assert {"cor(Residual, rho)", "ratio(Residual, m)"} <= set(boot.replicates)
        assert boot.replicates["ratio(Residual, m)"].std() > 0
    y = result.simulate(1, rng=5)
    again = result.refit(y[0])
    one = result.bootstrap(1, rng=5).replicates.iloc[0]
    assert_allclose(
        one["cor(Residual, rho)"], again.fit_record.design.residual.values[0], rtol=1e-3
    )
    with pytest.raises(FitError, match="crossed"):
        result.bootstrap(2, kind="wild")


def test_comparisons(results: dict[str, Any]) -> None:
    small, large = results["ar1"], results["both"]
    table = large.compare(small)
    assert_allclose(table["chisq"].iloc[1], small.objective - large.objective, rtol=1e-8)
    assert table["df"].iloc[1] == 1
    plain = MixedLM.from_formula(FORMULA, DATA).fit()
    statistic, p, df = large.compare_lr_test(plain)
    assert df == 2
    assert p == pytest.approx(stats.chi2.sf(statistic, 2))
    with pytest.raises(FitError, match="is not nested in"):
        results["power"].compare_lr_test(small)
    with pytest.raises(FitError, match="is not nested in"):
        plain.compare_lr_test(small)


def test_terms_left_out(results: dict[str, Any]) -> None:
    result = results["both"]

    def objective(formula: str, reml: bool) -> float:
        fit = MixedLM.from_formula(formula, DATA, **KINDS["both"]).fit(reml=reml)
        return float(fit.objective)

    table = result.ranova()
    for term, rest in [("g", "item"), ("item", "g")]:
        without = objective(f"y ~ x + week + (1 | {rest})", True)
        row = table.loc[f"(1 | {term})"]
        assert_allclose(row["chisq"], without - result.objective, atol=1e-5)
        assert row["df"] == 1
    fixed = result.drop1(test="LRT")
    base = objective(FORMULA, False)
    without = objective("y ~ week + (1 | g) + (1 | item)", False)
    assert_allclose(fixed.loc["x", "chisq"], without - base, atol=1e-5)
    updated = result.update("~ . - x")
    assert_allclose(
        updated.objective, objective("y ~ week + (1 | g) + (1 | item)", True), atol=1e-6
    )
    other = result.update("~ .", variance="power(z)")
    assert other.fit_record.design.residual.text == "ar1(week | g), variance by power(z)"


def test_the_only_term_left_out() -> None:
    model = MixedLM.from_formula("y ~ x + (1 | g)", DATA, correlation="ar1(week | g)")
    result = model.fit()
    table = result.ranova()
    structure = result.fit_record.design.residual
    values = [model.objective([0.0, rho]) for rho in np.tanh(np.linspace(-0.5, 2.5, 301))]
    assert_allclose(-2 * table["logLik"].iloc[1], min(values), atol=2e-3)
    assert structure.values is not None


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ar1", "strata"])
def test_profiles_estimate_them_at_every_point(name: str, results: dict[str, Any]) -> None:
    """The limits, found by holding the parameter in the criterion itself."""
    result = results[name].refit_ml()
    label = "cor(Residual, rho)" if name == "ar1" else "ratio(Residual, m)"
    found = result.profile([label, "sigma", "x", "sd(g, Intercept)"])
    limits = found.conf_int()
    model, cut = result.model, stats.chi2.ppf(0.95, 1)
    from scipy.optimize import minimize

    for value in limits.loc[label]:
        best = minimize(
            lambda theta, v=value: model.objective([*np.abs(theta), v], reml=False),
            result.theta,
            method="Nelder-Mead",
            options={"xatol": 1e-6, "fatol": 1e-9},
        )
        assert_allclose(best.fun - result.objective, cut, atol=2e-3)
    for value in limits.loc["x"]:
        held = DATA.assign(o=value * DATA["x"])
        fit = MixedLM.from_formula(
            "y ~ week + (1 | g) + (1 | item)", held, offset="o", **KINDS[name]
        ).fit(reml=False)
        assert_allclose(fit.objective - result.objective, cut, atol=2e-3)
    for value in limits.loc["sigma"]:
        fit = model.fit(reml=False, sigma=value)
        assert_allclose(fit.objective - result.objective, cut, atol=2e-3)
    low, high = limits.loc["sd(g, Intercept)"]
    assert 0 <= low < result.varcorr()["std_dev"][0] < high


@pytest.mark.slow
def test_a_profile_of_a_correlation_of_effects() -> None:
    formula = "y ~ x + (week | g)"
    result = MixedLM.from_formula(formula, DATA, variance="sex").fit(reml=False)
    label = "cor(g, Intercept, week)"
    found = result.profile(["sd(g, week)", label])
    assert_allclose(found.params[label], result.varcorr()["corr_1"][1], atol=1e-3)
    low, high = found.conf_int().loc["sd(g, week)"]
    assert 0 <= low <= found.params["sd(g, week)"] < high


@pytest.mark.parametrize("name", ["ar1", "strata"])
def test_influence_of_groups(name: str, results: dict[str, Any]) -> None:
    result = results[name]
    refitted, held = (result.influence("g", refit=refit) for refit in (True, False))
    rest = DATA[DATA["g"] != 4]
    fit = MixedLM.from_formula(FORMULA, rest, **KINDS[name]).fit()
    assert_allclose(refitted.params.loc[4], fit.params, rtol=2e-3, atol=1e-4)
    assert_allclose(refitted.objective.loc[4], fit.objective, atol=1e-5)
    assert (refitted.displacement > -1e-6).all()
    design = result.fit_record.design
    values = design.residual.values
    dense = Dense(MixedLM.from_formula(FORMULA, rest, **KINDS[name]).design)
    V = dense.V(result.theta, values)
    beta = np.linalg.lstsq(
        np.linalg.solve(np.linalg.cholesky(V), dense.X),
        np.linalg.solve(np.linalg.cholesky(V), dense.y),
        rcond=None,
    )[0]
    assert_allclose(held.params.loc[4], beta, rtol=1e-6)


def test_influence_of_rows() -> None:
    data = DATA[DATA["g"] < 4].reset_index(drop=True)
    result = MixedLM.from_formula("y ~ x + (1 | item)", data, correlation="ar1(week | g)").fit()
    found = result.influence()
    keep = np.arange(len(data)) != 3
    dense = Dense(
        MixedLM.from_formula("y ~ x + (1 | item)", data[keep], correlation="ar1(week | g)").design
    )
    V = dense.V(result.theta, result.fit_record.design.residual.values)
    X = dense.X
    beta = np.linalg.solve(X.T @ np.linalg.solve(V, X), X.T @ np.linalg.solve(V, dense.y))
    assert_allclose(found.params.loc[3], beta, rtol=1e-6)


@pytest.mark.slow
def test_without_its_rows(results: dict[str, Any]) -> None:
    result = MixedLM.from_formula(FORMULA, DATA, **KINDS["both"]).fit()
    copied = pickle.loads(pickle.dumps(result))
    assert_allclose(copied.predict(DATA.head(3)), result.predict(DATA.head(3)))
    assert_allclose(copied.profile("sigma").conf_int(), result.profile("sigma").conf_int())
    before = str(result.summary()), result.t_test("x = 0").pvalue
    frame = result.get_prediction(DATA.head(2)).se_obs
    result.remove_data()
    assert len(pickle.dumps(result)) < len(pickle.dumps(copied))
    assert result.fit_record.problem.residual is None
    assert_allclose(result.t_test("x = 0").pvalue, before[1])
    assert_allclose(result.predict(DATA.head(3)), copied.predict(DATA.head(3)))
    assert str(result.summary()).splitlines()[10:] == before[0].splitlines()[10:]
    assert len(frame) == 2
    with pytest.raises(FitError, match="removed"):
        result.profile("sigma")
    with pytest.raises(FitError, match="removed"):
        result.predict(DATA.head(2), errors=True)
    small = copied.to_predictor()
    assert_allclose(small.predict(DATA.head(3)), copied.predict(DATA.head(3)))


@every
def test_other_searches_end_there_too(name: str, results: dict[str, Any]) -> None:
    result = results[name]
    values = result.fit_record.design.residual.values
    start = np.concatenate([result.theta * 1.2, values * 0.9])
    again = result.model.fit(start_params=start)
    assert_allclose(again.objective, result.objective, atol=1e-7)
    other = result.model.fit(method="lbfgs")
    assert_allclose(other.objective, result.objective, atol=1e-4)


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "call",
    [
        lambda r: r.get_influence(),
        lambda r: r.model.power("x = 0", [0, 0, 0], covariances=[1.0, 1.0]),
        lambda r: r.robust_cov(cluster="item"),
        lambda r: r.model.fit(solver="iterative"),
    ],
)
def test_what_is_not_supported_says_so(call: Any, results: dict[str, Any]) -> None:
    with pytest.raises(FitError, match=r"[Rr]esidual|splits levels"):
        call(results["both"])


def test_parameters_that_nobody_knows_yet() -> None:
    model = MixedLM.from_formula(FORMULA, DATA, variance="sex")
    with pytest.raises(FitError, match="not known before a fit"):
        model.simulate([1, 1, 1], covariances=[1.0, 1.0])


@pytest.mark.parametrize(
    ("change", "arguments", "message"),
    [
        ({}, {"correlation": "ar1(week | group)"}, "'group' in correlation=.* neither a column"),
        ({}, {"correlation": "ar1(x | g)"}, r"whole numbers.*Write car1\(x \| g\)"),
        ({"week": 1}, {"correlation": "ar1(week | g)"}, "two rows of g .* stand at the position 1"),
        ({"g2": range(len(DATA))}, {"correlation": "ar1(week | g2)"}, "has one row"),
        ({"week": 2 * DATA["week"]}, {"correlation": "ar1(week | g)"}, "multiples of 2 apart"),
        ({"week": DATA["week"].astype(str)}, {"correlation": "ar1(week | g)"}, "not numeric"),
        (
            {"week": DATA["week"].astype("category")},
            {"correlation": "ar1(week | g)"},
            "without an order",
        ),
        ({"z": 0.0}, {"variance": "power(z)"}, "'z' in variance=.* is 0"),
        ({"z": 2.0}, {"variance": "exp(z)"}, "is constant"),
        ({"sex": "f"}, {"variance": "sex"}, "has one stratum"),
        ({"sex": ["a", *["f"] * (len(DATA) - 1)]}, {"variance": "sex"}, "'a' .* has one row"),
        ({}, {"variance": "x"}, r"strata are levels of a factor. Write variance='power\(x\)'"),
        ({"s": DATA["sex"]}, {"variance": "sex * s"}, "says the same twice"),
        ({}, {"correlation": "ar1(week || g)"}, "one bar"),
    ],
)
def test_data_that_do_not_fit(change: Any, arguments: dict[str, str], message: str) -> None:
    with pytest.raises((DesignError, FormulaError), match=message):
        MixedLM.from_formula("y ~ x + (1 | item)", DATA.assign(**change), **arguments)


def test_an_intercept_and_equal_correlations_of_one_factor() -> None:
    with pytest.raises(DesignError, match=r"both say that rows of one g are alike"):
        MixedLM.from_formula("y ~ x + (1 | g)", DATA, correlation="cs(1 | g)").fit()


def test_missing_values_of_a_structure_drop_the_row() -> None:
    data = DATA.assign(week=DATA["week"].astype(float), z=DATA["z"])
    data.loc[3, "week"] = np.nan
    data.loc[5, "z"] = np.nan
    formula = "y ~ x + (1 | item)"
    arguments = {"correlation": "ar1(week | g)", "variance": "power(z)"}
    found = MixedLM.from_formula(formula, data, **arguments)
    assert found.design.n_missing == 2
    kept = MixedLM.from_formula(formula, DATA.drop(index=[3, 5]), **arguments)
    point = [0.5, 0.3, 0.2]
    assert_allclose(found.objective(point), kept.objective(point), rtol=1e-12)


def test_groups_of_one_row_and_ordered_categories() -> None:
    labels = [f"w{week}" for week in range(7)]
    weeks = pd.Categorical([labels[w] for w in DATA["week"]], labels, ordered=True)
    data = DATA.assign(occasion=weeks, alone=np.where(DATA["g"] == 3, 100 + DATA.index, DATA["g"]))
    formula, point = "y ~ x + (1 | item)", [0.5, 0.4]
    one = MixedLM.from_formula(formula, data, correlation="ar1(occasion | alone)")
    two = MixedLM.from_formula(formula, data, correlation="ar1(week | alone)")
    assert_allclose(one.objective(point), two.objective(point), rtol=1e-12)
    assert_allclose(one.fit().objective, two.fit().objective, atol=1e-8)


# --- models without random effects ----------------------------------------------------------------


def test_equal_correlations_are_a_random_intercept() -> None:
    """Where the correlation is positive."""
    data = DATA.assign(y=DATA["y"] + 2.0 * np.sin(DATA["g"]))
    one = MixedLM.from_formula("y ~ x + week", data, correlation="cs(1 | g)").fit()
    two = MixedLM.from_formula("y ~ x + week + (1 | g)", data).fit()
    assert_allclose(one.objective, two.objective, atol=1e-7)
    assert_allclose(one.params, two.params, rtol=1e-5)
    assert_allclose(one.bse, two.bse, rtol=1e-4)
    assert_allclose(one.t_test("x = 0").df_denom, two.t_test("x = 0").df_denom, rtol=1e-2)
    (rho,) = one.fit_record.design.residual.values
    variances = two.varcorr()["variance"]
    assert_allclose(rho, variances[0] / variances.sum(), rtol=1e-4)


def test_without_random_effects() -> None:
    model = MixedLM.from_formula("y ~ x + week", DATA, **KINDS["both"])
    result = model.fit()
    design = result.fit_record.design
    R = dense_covariance(design, design.residual.values)
    dense = Dense(design)
    assert_allclose(
        result.objective,
        dense.criterion(np.zeros(0), design.residual.values, True, None),
        rtol=1e-10,
    )
    assert "No random effects." in str(result.summary())
    assert result.theta.shape == (0,)
    assert result.random_effects == {}
    X = design.X
    H = X @ np.linalg.solve(X.T @ np.linalg.solve(R, X), np.linalg.solve(R, X).T)
    assert_allclose(result.leverage(), np.diag(H), atol=1e-9)
    found = result.get_prediction(DATA.head(3))
    C = result.cov_params().to_numpy()
    assert_allclose(found.se_mean**2, np.diag(X[:3] @ C @ X[:3].T), rtol=1e-8)
    boot = result.bootstrap(2, rng=1)
    assert list(boot.replicates)[:2] == ["sigma", "cor(Residual, rho)"]
    limits = result.profile("cor(Residual, rho)").conf_int().loc["cor(Residual, rho)"]
    assert limits[0] < design.residual.values[0] < limits[1]
    ols = smf.ols("y ~ x + week", DATA).fit()
    table = result.compare(ols)
    ml = model.fit(reml=False)
    assert_allclose(table["chisq"].iloc[1], -2 * ols.llf - ml.objective, atol=1e-5)
    assert table["df"].iloc[1] == 2
    assert np.isfinite(result.robust_cov().to_numpy()).all()
    assert pickle.loads(pickle.dumps(result)).objective == result.objective
    assert_allclose(result.refit(2 * DATA["y"]).sigma, 2 * result.sigma, rtol=1e-3)
    result.remove_data()
    assert len(result.predict(DATA.head(2))) == 2


def test_a_formula_without_random_terms_needs_a_structure() -> None:
    with pytest.raises(FormulaError, match="no random-effects term"):
        MixedLM.from_formula("y ~ x + week", DATA)
