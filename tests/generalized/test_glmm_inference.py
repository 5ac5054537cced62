"""Tests, intervals, means and predictions of generalized fits, against what others compute."""

from __future__ import annotations

import pickle
import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from glmm_reference import fitted, model, negative_binomial, table
from numpy.testing import assert_allclose
from scipy import stats

from mixedlm_ext import DesignError, FitError, MixedGLM, MixedLM, RandomTerm, anova
from mixedlm_ext.errors import RowsRemovedError
from mixedlm_ext.estimation.generalized import evaluation_of

F, L = sm.families, sm.families.links
FORMULA = "incidence / size ~ period + (1 | herd)"


@pytest.fixture(scope="module")
def cbpp() -> Any:
    return fitted("cbpp", 1)


def fit(formula: str, data: pd.DataFrame, family: Any, **how: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return MixedGLM.from_formula(formula, data, family=family, **how).fit()


# ---------------------------------------------------------------------------- Wald, LRT, profiles


def test_wald_tests_are_by_the_normal_distribution(cbpp: Any) -> None:
    z = cbpp.params / cbpp.bse
    np.testing.assert_allclose(cbpp.tvalues, z)
    np.testing.assert_allclose(cbpp.pvalues, 2.0 * stats.norm.sf(abs(z)))
    half = 1.959964 * cbpp.bse
    np.testing.assert_allclose(cbpp.conf_int()[0], cbpp.params - half, rtol=1e-6)
    test = cbpp.t_test("period[T.2] = period[T.3]")
    d = np.array([0.0, 1.0, -1.0, 0.0])
    assert test.sd.item() == pytest.approx(np.sqrt(d @ cbpp.cov_params().to_numpy() @ d))
    assert test.distribution == "norm"
    wald = cbpp.wald_test("period[T.2] = 0, period[T.3] = 0, period[T.4] = 0", scalar=True)
    b = cbpp.params.iloc[1:].to_numpy()
    chisq = b @ np.linalg.solve(cbpp.cov_params().iloc[1:, 1:], b)
    assert wald.statistic == pytest.approx(chisq)
    assert cbpp.anova().loc["period", "chisq"] == pytest.approx(chisq)
    assert cbpp.anova().loc["period", "pvalue"] == pytest.approx(stats.chi2.sf(chisq, 3))


def test_drop1_and_compare_agree(cbpp: Any) -> None:
    small = fit("incidence / size ~ 1 + (1 | herd)", table("cbpp"), F.Binomial(), weights="size")
    lr = 2.0 * (cbpp.llf - small.llf)
    row = cbpp.drop1().loc["period"]
    assert row["chisq"] == pytest.approx(lr, abs=1e-6)
    assert row["AIC"] == pytest.approx(small.aic, abs=1e-6)
    assert cbpp.compare_lr_test(small) == pytest.approx((lr, stats.chi2.sf(lr, 3), 3), abs=1e-6)
    assert cbpp.compare(small)["chisq"].iloc[1] == pytest.approx(lr, abs=1e-6)
    assert anova(small, cbpp)["npar"].tolist() == [2, 5]
    wald = cbpp.drop1(test="Wald")
    assert wald.loc["period", "chisq"] == pytest.approx(cbpp.anova().loc["period", "chisq"])


def test_without_random_effects_it_is_statsmodels_glm(cbpp: Any) -> None:
    data = table("cbpp")
    y = np.column_stack([data["incidence"], data["size"] - data["incidence"]])
    X = pd.get_dummies(data["period"], drop_first=True, dtype=float)
    plain = sm.GLM(y, sm.add_constant(X.to_numpy()), F.Binomial()).fit()
    row = cbpp.ranova().loc["(1 | herd)"]
    assert row["logLik"] == pytest.approx(plain.llf, abs=1e-8)
    assert row["npar"] == 4
    half = cbpp.ranova(boundary="mixture").loc["(1 | herd)", "pvalue"]
    assert half == pytest.approx(0.5 * row["pvalue"])


def test_ranova_with_a_size_against_statsmodels() -> None:
    data = table("epil")
    result = fitted("epil_nbinom2", 1)
    design = result.model.exog
    plain = sm.NegativeBinomial(data["y"], design).fit(disp=0, maxiter=200)
    row = result.ranova().loc["(1 | subject)"]
    assert row["logLik"] == pytest.approx(plain.llf, abs=1e-5)


def test_a_slope_reduced() -> None:
    result, small = fitted("epil_slope", 1), None
    data = table("epil")
    small = fit("y ~ lbase * trt + lage + visit + (1 | subject)", data, F.Poisson())
    row = result.ranova().loc["visit in (visit | subject)"]
    assert row["logLik"] == pytest.approx(small.llf, abs=1e-6)
    assert row["df"] == 2.0


def test_what_cannot_be_compared() -> None:
    data = table("epil")
    poisson, counts = fitted("epil", 1), fitted("epil_nbinom2", 1)
    assert poisson.compare(counts)["df"].iloc[1] == 1.0
    other = fit("y ~ lbase * trt + lage + V4 + (1 | subject)", data, F.Poisson(L.Sqrt()))
    with pytest.raises(FitError, match="counts with the Log link by nagq=1 and counts"):
        poisson.compare(other)
    with pytest.raises(FitError, match="nagq=1 and counts with the Log link by nagq=9"):
        poisson.compare(fitted("epil", 9))
    linear = MixedLM.from_formula("y ~ trt + (1 | subject)", data).fit(reml=False)
    with pytest.raises(FitError, match="a linear mixed model"):
        poisson.compare(linear)


PROFILE = {  # R: confint(glmer(..., control=glmerControl("bobyqa")), method="profile")
    "sd(herd, Intercept)": (0.346073, 1.099975),
    "Intercept": (-1.901212, -0.947754),
    "period[T.2]": (-1.616783, -0.407763),
    "period[T.3]": (-1.801024, -0.511536),
    "period[T.4]": (-2.500750, -0.800755),
}


def test_profile_intervals_are_glmers(cbpp: Any) -> None:
    limits = cbpp.conf_int(method="profile")
    assert list(limits.index) == list(PROFILE)
    np.testing.assert_allclose(limits, list(PROFILE.values()), atol=1e-4)


def test_a_profile_holds_what_it_says(cbpp: Any) -> None:
    """At a limit, the model with the effect as an offset has 3.84 more."""
    data = table("cbpp").assign(late=lambda d: (d["period"] == "4").astype(float))
    low = float(cbpp.profile("period[T.4]").value("period[T.4]", -1.959964))
    held = fit(
        f"incidence / size ~ C(period == '2') + C(period == '3') + offset({low} * late) "
        "+ (1 | herd)", data, F.Binomial(), weights="size",
    )  # fmt: skip
    assert held.objective - cbpp.objective == pytest.approx(3.841459, abs=1e-3)


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("epil_slope", ["sd(subject, visit)", "cor(subject, Intercept, visit)"]),
        ("epil_nbinom2", ["sd(subject, Intercept)", "alpha"]),
        ("gamma_log", ["sigma"]),
        ("singular", ["sd(g, Intercept)"]),
    ],
)
def test_profiles_of_variances(name: str, parameters: list[str]) -> None:
    result = fitted(name, 1)
    profile = result.profile(parameters, alpha_max=0.05)
    limits = profile.conf_int()
    for parameter in parameters:
        estimate = profile.params[parameter]
        assert limits.loc[parameter, 0] <= estimate <= limits.loc[parameter, 1]
    points = profile.to_frame()
    assert (points["zeta"].abs() > 1.5).any()


def test_cols_beside_a_method_are_refused(cbpp: Any) -> None:
    with pytest.raises(FitError, match=r"write which=\[0\] with 'profile'"):
        cbpp.conf_int(method="profile", cols=[0])
    np.testing.assert_array_equal(cbpp.conf_int(cols=["period[T.2]"]), cbpp.conf_int().iloc[[1]])


# --------------------------------------------------------------------------------- robust, refits


@pytest.mark.parametrize("nagq", [1, 9])
def test_scores_of_clusters_add_up(nagq: int) -> None:
    """Each cluster's score is the gradient of the model of that cluster alone."""
    record = fitted("cbpp", nagq).fit_record
    e, codes = evaluation_of(record), record.design.terms[0].codes
    parts = e.cluster_gradients(codes, 15)
    np.testing.assert_allclose(parts.sum(axis=0), e.gradient, atol=1e-9)
    point = e.theta + 0.1
    moved = e.at_point(point)
    np.testing.assert_allclose(
        moved.cluster_gradients(codes, 15).sum(axis=0), moved.gradient, atol=1e-8
    )
    assert np.abs(moved.gradient).max() > 1.0


def test_scores_of_nested_clusters() -> None:
    rng = np.random.default_rng(4)
    frame = pd.DataFrame({"a": np.repeat(np.arange(8), 12), "b": np.tile(np.arange(3), 32)})
    frame["x"] = rng.normal(size=96)
    frame["y"] = rng.poisson(np.exp(0.3 * frame["x"] + 0.4 * rng.normal(size=8)[frame["a"]]))
    result = fit("y ~ x + (x | a) + (1 | a:b)", frame, negative_binomial())
    record = result.fit_record
    e = evaluation_of(record).at_point(evaluation_of(record).theta + 0.05)
    codes = record.design.terms[0].codes
    np.testing.assert_allclose(e.cluster_gradients(codes, 8).sum(axis=0), e.gradient, atol=1e-7)
    assert np.isfinite(result.robust_cov()).all(axis=None)


def test_the_sandwich_without_random_effects_is_statsmodels() -> None:
    """At θ = 0 scores and information of β are those of a GLM."""
    data = table("singular")
    result = fitted("singular", 1)
    plain = sm.GLM.from_formula("y ~ x", data, family=F.Binomial())
    groups = pd.factorize(data["g"])[0]
    options = {"groups": groups, "use_correction": False}
    wanted = plain.fit(cov_type="cluster", cov_kwds=options).cov_params()
    np.testing.assert_allclose(result.robust_cov("CR0"), wanted, rtol=1e-4)
    robust = result.get_robustcov_results(kind="CR0")
    np.testing.assert_allclose(robust.bse, np.sqrt(np.diag(wanted)), rtol=1e-4)
    assert "robust to dependence within g" in str(robust.summary())
    np.testing.assert_allclose(robust.get_robustcov_results("nonrobust").bse, result.bse)
    with pytest.raises(FitError, match="Fit with nagq=1"):
        fitted("singular", 0).robust_cov()
    with pytest.raises(FitError, match="crossed"):
        fitted("crossed_slope", 1).robust_cov()


def test_refit_and_simulate(cbpp: Any) -> None:
    drawn = cbpp.simulate(3, rng=4)
    assert (drawn.mul(table("cbpp")["size"], axis=0).round(8) % 1 == 0).all(axis=None)
    again = cbpp.refit(drawn[1])
    fresh = fit("y / size ~ period + (1 | herd)",
                table("cbpp").assign(y=drawn[1] * table("cbpp")["size"]), F.Binomial(),
                weights="size")  # fmt: skip
    assert again.llf == pytest.approx(fresh.llf, abs=1e-6)
    np.testing.assert_allclose(again.params, fresh.params, atol=1e-5)
    assert cbpp.simulate(3, rng=4).equals(drawn)
    with pytest.raises(DesignError):
        cbpp.refit(drawn[1] * 2.0)


@pytest.mark.parametrize(
    "name", ["cbpp", "epil", "epil_nbinom2", "gamma_log", "crossed_slope", "poisson_offset"]
)
def test_drawn_responses_have_the_moments_of_the_model(name: str) -> None:
    result = fitted(name, 1)
    drawn = result.simulate(400, rng=1, conditional=True).to_numpy()
    mean = drawn.mean(axis=1)
    mu = result.fittedvalues.to_numpy()
    error = drawn.std(axis=1) / 20.0 + 1e-9
    z = (mean - mu) / error
    assert abs(z.mean()) < 4.0 / np.sqrt(len(z))
    assert 0.8 < z.std() < 1.25
    family = result.family
    if name == "gamma_log":
        expected = result.scale * mu**2
    elif isinstance(family, F.Binomial):
        trials = table("cbpp")["size"].to_numpy() if name == "cbpp" else 1.0
        expected = mu * (1 - mu) / trials
    else:
        expected = family.variance(mu)
    assert np.mean(drawn.var(axis=1) / expected) == pytest.approx(1.0, abs=0.1)


def test_bootstrap_agrees_with_wald(cbpp: Any) -> None:
    found = cbpp.bootstrap(120, rng=8)
    assert len(found.failures) <= 3
    assert next(iter(found.estimates.index)) == "sd(herd, Intercept)"
    ratio = found.bse[cbpp.params.index] / cbpp.bse
    assert ((ratio > 0.75) & (ratio < 1.35)).all()
    assert (found.conf_int().loc["period[T.2]"] < 0).all()
    limits = cbpp.conf_int(alpha=0.1, method="bootstrap", n=20, rng=1)
    pd.testing.assert_frame_equal(limits, cbpp.bootstrap(20, rng=1).conf_int(0.1))


def test_refit_to_two_columns() -> None:
    """lme4 1.1-31's refit() takes them, too."""
    data = table("cbpp").assign(healthy=lambda d: d["size"] - d["incidence"])
    data.loc[4, "period"] = np.nan
    formula = "incidence + healthy ~ period + (1 | herd)"
    result = MixedGLM.from_formula(formula, data, family=F.Binomial()).fit()
    wanted = result.refit(1.0 - result.model.design.y)
    columns = data[["healthy", "incidence"]]
    used = columns.drop(index=4)
    for both in (columns, used, columns.to_numpy(), used.to_numpy(), columns.iloc[::-1]):
        assert_allclose(result.refit(both).params, wanted.params, atol=1e-8)
    with pytest.raises(DesignError, match=r"row 7 has 38 successes and failures, and 22 trials"):
        more = used.astype(float)
        more.loc[7, "healthy"] += 16.0
        result.refit(more)
    with pytest.raises(DesignError, match="no whole number"):
        result.refit(used / 3.0)
    poisson = MixedGLM.from_formula("incidence ~ period + (1 | herd)", data, F.Poisson()).fit()
    with pytest.raises(DesignError, match="has one column"):
        poisson.refit(used)


def test_influence_by_refits(cbpp: Any) -> None:
    found = cbpp.influence()
    data = table("cbpp")
    without = fit(FORMULA, data[data["herd"] != "1"], F.Binomial(), weights="size")
    change = (without.params - cbpp.params) / cbpp.bse
    np.testing.assert_allclose(
        found.loc["1"].filter(like="dfbetas").astype(float), change, atol=1e-4
    )
    assert found.loc["1", "rows"] == 4
    assert found["converged"].all()
    by_period = cbpp.influence(data["size"] > 15)
    assert len(by_period) == 2
    with pytest.raises(FitError, match="neither a grouping factor"):
        cbpp.influence("hurd")


# ----------------------------------------------------------------------------- means, predictions


def test_marginal_means_on_the_scale_of_the_response(cbpp: Any) -> None:
    means = cbpp.emmeans("period", type="response").summary_frame()
    grid = cbpp.predict({"period": list("1234"), "herd": ["x"] * 4}, conditional=False)
    np.testing.assert_allclose(means["mean"], grid)
    link = cbpp.emmeans("period").summary_frame()
    expit = 1.0 / (1.0 + np.exp(-link["mean_ci_lower"]))
    np.testing.assert_allclose(means["mean_ci_lower"], expit)
    slope = means["mean"] * (1.0 - means["mean"])
    np.testing.assert_allclose(means["mean_se"], slope * link["mean_se"])
    odds = cbpp.emmeans("period", type="response").contrasts()
    assert "odds_ratio" in odds
    assert odds["odds_ratio"].iloc[0] == pytest.approx(np.exp(-cbpp.params["period[T.2]"]))
    counts = fitted("epil", 1).emmeans("trt", type="response").contrasts()
    assert "ratio" in counts


def test_the_averaged_mean_is_an_integral(cbpp: Any) -> None:
    new = {"period": ["1", "4"], "herd": ["1", "new"]}
    found = cbpp.predict(new, which="average", conditional=False)
    eta = cbpp.predict(new, which="linear", conditional=False).to_numpy()
    draws = np.random.default_rng(0).normal(size=400_000) * cbpp.theta[0]
    wanted = [np.mean(1.0 / (1.0 + np.exp(-(e + draws)))) for e in eta]
    np.testing.assert_allclose(found, wanted, atol=1e-3)
    log = fitted("epil_slope", 1)
    rows = table("epil").head(3)
    eta = log.predict(rows, which="linear", conditional=False)
    Z = np.column_stack([np.ones(3), rows["visit"]])
    variance = np.einsum("na,ab,nb->n", Z, log.cov_re.to_numpy(), Z)
    average = log.predict(rows, which="average", conditional=False)
    np.testing.assert_allclose(average, np.exp(eta + variance / 2.0), rtol=1e-9)


def test_models_predict_from_params(cbpp: Any) -> None:
    """As statsmodels' GLM does; marginaleffects and others ask for it."""
    model = cbpp.model
    population = cbpp.predict(conditional=False).to_numpy()
    assert_allclose(model.predict(cbpp.params), population, rtol=1e-12)
    other = [0.5, 0.0, 1.0, -1.0]
    glm = sm.GLM(model.endog, model.exog, family=sm.families.Binomial())
    assert_allclose(model.predict(other, model.exog[:5]), glm.predict(other, model.exog[:5]))
    linear = model.predict(other, model.exog[:5], which="linear")
    assert_allclose(linear, model.exog[:5] @ other)
    herds = RandomTerm(np.repeat(np.arange(14), 4))
    shifted = MixedGLM(
        np.arange(56), model.exog, [herds], family=sm.families.Poisson(), offset=np.full(56, 2.0)
    )
    assert_allclose(shifted.predict(other, which="linear"), model.exog @ other + 2.0)
    with pytest.raises(FitError, match="the model has 4 fixed effects"):
        model.predict([1.0])
    for name in ("loglike", "score", "hessian", "information"):
        with pytest.raises(AttributeError, match=f"{name} is a function of params alone"):
            getattr(model, name)


def test_prediction_errors(cbpp: Any) -> None:
    data = table("cbpp")
    population = cbpp.get_prediction(data, conditional=False)
    X, cov = cbpp.model.exog, cbpp.cov_params().to_numpy()
    np.testing.assert_allclose(population.se_linpred, np.sqrt(np.einsum("ij,jk,ik->i", X, cov, X)))
    mu = population.predicted_mean
    np.testing.assert_allclose(population.se_mean, mu * (1 - mu) * population.se_linpred)
    frame = population.summary_frame()
    assert (
        (frame["mean_ci_lower"] < frame["mean"]) & (frame["mean"] < frame["mean_ci_upper"])
    ).all()
    linear = cbpp.get_prediction(data, which="linear", conditional=False).summary_frame()
    np.testing.assert_allclose(frame["mean_ci_upper"], 1 / (1 + np.exp(-linear["mean_ci_upper"])))
    new = cbpp.get_prediction({"period": ["1"], "herd": ["new"]}).se_linpred[0]
    assert new**2 == pytest.approx(population.se_linpred[0] ** 2 + cbpp.theta[0] ** 2)


def test_conditional_errors_against_dense_equations(cbpp: Any) -> None:
    """Henderson's equations of the working response, the covariance of β̂ from all parameters."""
    record = cbpp.fit_record
    e = evaluation_of(record)
    X = cbpp.model.exog
    Z = np.eye(15)[record.design.terms[0].codes]
    w, t = e.w, cbpp.theta[0]
    N = np.linalg.inv(Z.T @ (w[:, None] * Z) + np.eye(15) / t**2)
    a = X - Z @ N @ (Z.T @ (w[:, None] * X))
    cov = cbpp.cov_params().to_numpy()
    wanted = np.einsum("ij,jk,ik->i", Z, N, Z) + np.einsum("ij,jk,ik->i", a, cov, a)
    np.testing.assert_allclose(cbpp.get_prediction().se_linpred ** 2, wanted, rtol=1e-4)


def test_intervals_of_observations() -> None:
    result = fitted("epil", 1)
    low, high = result.get_prediction().conf_int(obs=True).T
    y = table("epil")["y"]
    assert 0.85 < np.mean((y >= low) & (y <= high)) <= 1.0
    with pytest.raises(DesignError, match="on the scale of the mean"):
        result.get_prediction(which="linear").conf_int(obs=True)


def test_what_predictions_refuse(cbpp: Any) -> None:
    with pytest.raises(DesignError, match="conditional=False says whether"):
        cbpp.predict(which="population")
    with pytest.raises(DesignError, match=r"which='men' is not known\. Did you mean 'mean'"):
        cbpp.predict(which="men")
    with pytest.raises(DesignError, match="has not seen the level"):
        cbpp.predict({"period": ["1"], "herd": ["99"]}, new_levels="error")
    with pytest.raises(DesignError, match="period"):
        cbpp.predict({"perid": ["1"], "herd": ["1"]})


# --------------------------------------------------------------------------- checks, frames, rest


def test_overdispersion_is_seen_and_mended() -> None:
    topics = [f.topic for f in fitted("epil", 1).check().findings]
    assert "overdispersion" in topics
    assert "overdispersion" not in [f.topic for f in fitted("epil_nbinom2", 1).check().findings]
    assert "overdispersion" not in [f.topic for f in fitted("grouseticks", 1).check().findings]


def test_no_false_alarm_of_overdispersion() -> None:
    rng = np.random.default_rng(12)
    alarms = 0
    for _ in range(20):
        g = np.repeat(np.arange(20), 8)
        frame = pd.DataFrame({"g": g, "x": rng.normal(size=160)})
        frame["y"] = rng.poisson(np.exp(0.5 + 0.3 * frame["x"] + 0.6 * rng.normal(size=20)[g]))
        found = fit("y ~ x + (1 | g)", frame, F.Poisson()).check()
        alarms += any(f.topic in ("overdispersion", "zeros") for f in found.findings)
    assert alarms <= 1


def test_a_poor_approximation_is_seen() -> None:
    assert "approximation" in [f.topic for f in fitted("toenail", 1).check().findings]
    assert "approximation" not in [f.topic for f in fitted("contraception", 9).check().findings]


def test_frames(cbpp: Any) -> None:
    assert cbpp.glance()["AIC"].iloc[0] == pytest.approx(cbpp.aic)
    assert fitted("epil_nbinom2", 1).glance()["alpha"].iloc[0] == pytest.approx(
        1 / 7.41798, rel=1e-4
    )
    frame = cbpp.augment()
    np.testing.assert_allclose(frame["fitted"], cbpp.fittedvalues)
    np.testing.assert_allclose(frame["resid"], cbpp.resid)
    again = cbpp.augment(table("cbpp"))
    np.testing.assert_allclose(again["fitted"], frame["fitted"])
    tidy = cbpp.tidy(conf_int=True)
    assert tidy["term"].tolist()[-1] == "sd__Intercept"
    assert "Residual" not in cbpp.varcorr()["group"].tolist()


def test_quantile_residuals_are_normal_if_the_model_is_right() -> None:
    rng = np.random.default_rng(3)
    g = np.repeat(np.arange(10), 60)
    frame = pd.DataFrame({"g": g, "x": rng.normal(size=600)})
    frame["y"] = rng.poisson(np.exp(0.5 * frame["x"] + 0.5 * rng.normal(size=10)[g]))
    result = fit("y ~ x + (1 | g)", frame, F.Poisson())
    assert stats.kstest(result.residuals("quantile"), "norm").pvalue > 0.05
    np.testing.assert_allclose(result.residuals("quantile"), result.residuals("quantile"))


def test_pickle_and_remove_data(cbpp: Any) -> None:
    again = pickle.loads(pickle.dumps(cbpp))
    new = {"period": ["1", "2"], "herd": ["1", "new"]}
    np.testing.assert_allclose(again.predict(new), cbpp.predict(new))
    np.testing.assert_allclose(again.residuals("deviance"), cbpp.residuals("deviance"))
    again.remove_data()
    np.testing.assert_allclose(again.predict(new), cbpp.predict(new))
    np.testing.assert_allclose(again.bse, cbpp.bse)
    assert again.random_effects_sd["herd"].equals(cbpp.random_effects_sd["herd"])
    assert "herd" in str(again.summary())
    for ask in (again.residuals, again.simulate, again.check, again.profile, again.drop1):
        with pytest.raises(RowsRemovedError):
            ask()
    light = pickle.loads(pickle.dumps(again))
    np.testing.assert_allclose(light.predict(new), cbpp.predict(new))


# --------------------------------------------------------------------------- conventions of a GLM


def test_a_binomial_response_three_ways() -> None:
    data = table("cbpp").assign(healthy=lambda d: d["size"] - d["incidence"])
    two = fit("incidence + healthy ~ period + (1 | herd)", data, F.Binomial())
    share = fit(FORMULA, data, F.Binomial(), weights="size")
    rows = fitted("cbpp_bernoulli_weights", 1)
    assert two.llf == pytest.approx(share.llf, abs=1e-9)
    np.testing.assert_allclose(two.params, share.params, atol=1e-7)
    np.testing.assert_allclose(rows.params, share.params, atol=1e-5)
    assert 2 * (share.llf - rows.llf) == pytest.approx(370.951, abs=1e-3)
    y = np.column_stack([data["incidence"], data["healthy"]])
    X = pd.get_dummies(data["period"], drop_first=True, dtype=float).assign(const=1.0)
    arrays = MixedGLM(y, X, [RandomTerm(data["herd"])], family=F.Binomial()).fit()
    assert arrays.llf == pytest.approx(share.llf, abs=1e-8)
    swapped = fit("healthy + incidence ~ period + (1 | herd)", data, F.Binomial())
    np.testing.assert_allclose(swapped.params, -two.params, atol=1e-5)


@pytest.mark.parametrize(
    ("link", "mirrored"), [(L.Probit(), L.Probit()), (L.CLogLog(), L.LogLog())]
)
def test_success_and_failure_change_places(link: Any, mirrored: Any) -> None:
    data = table("cbpp").assign(healthy=lambda d: d["size"] - d["incidence"])
    one = fit("incidence + healthy ~ period + (1 | herd)", data, F.Binomial(link))
    two = fit("healthy + incidence ~ period + (1 | herd)", data, F.Binomial(mirrored))
    assert one.llf == pytest.approx(two.llf, abs=1e-7)
    np.testing.assert_allclose(one.params, -two.params, atol=1e-5)


def test_frequency_weights_are_repeated_rows() -> None:
    data = table("cbpp_bernoulli")
    weighed = fit("y ~ period + (1 | herd)", data, F.Binomial(), freq_weights="w")
    long = data.loc[data.index.repeat(data["w"])]
    repeated = fit("y ~ period + (1 | herd)", long, F.Binomial())
    assert weighed.llf == pytest.approx(repeated.llf, abs=1e-8)
    assert weighed.bic == pytest.approx(repeated.bic, abs=1e-7)
    assert weighed.nobs == len(long)
    np.testing.assert_allclose(weighed.bse, repeated.bse, rtol=1e-5)
    gamma = table("gamma")
    twice = gamma.loc[gamma.index.repeat(gamma["w"])]
    one = fit("y ~ x + (1 | g)", gamma, F.Gamma(L.Log()), freq_weights="w")
    two = fit("y ~ x + (1 | g)", twice, F.Gamma(L.Log()))
    assert one.llf == pytest.approx(two.llf, abs=1e-7)
    assert one.scale == pytest.approx(two.scale, rel=1e-5)


def test_variance_weights_divide_the_dispersion() -> None:
    data = table("gamma")
    plain = fit("y ~ x + (1 | g)", data, F.Gamma(L.Log()))
    same = fit("y ~ x + (1 | g)", data.assign(v=4.0), F.Gamma(L.Log()), var_weights="v")
    assert same.llf == pytest.approx(plain.llf, abs=1e-7)
    assert same.scale == pytest.approx(4.0 * plain.scale, rel=1e-5)
    also = fit("y ~ x + (1 | g)", data.assign(v=4.0), F.Gamma(L.Log()), weights="v")
    assert also.llf == pytest.approx(same.llf, abs=1e-9)


def test_gaussian_with_the_identity_is_the_linear_model() -> None:
    data = table("gamma")
    linear = MixedLM.from_formula("y ~ x + (1 | g)", data).fit(reml=False)
    result = fit("y ~ x + (1 | g)", data, F.Gaussian())
    assert result.llf == pytest.approx(linear.llf, abs=1e-7)
    np.testing.assert_allclose(result.params, linear.params, atol=1e-5)
    assert np.sqrt(result.scale) == pytest.approx(linear.sigma, rel=1e-4)
    np.testing.assert_allclose(result.cov_re, linear.cov_re, atol=1e-4)
    assert result.df_modelwc == linear.df_modelwc


def test_offset_and_exposure() -> None:
    data = table("poisson_offset").assign(log_e=lambda d: np.log(d["exposure"]))
    result = fitted("poisson_offset", 1)
    for more in ({"offset": "log_e"}, {"offset": data["log_e"]}, {"exposure": data["exposure"]}):
        again = fit("count ~ x + (1 | g)", data, F.Poisson(), **more)
        assert again.llf == pytest.approx(result.llf, abs=1e-8)
    shifted = fit("count ~ x + offset(log(exposure) + 2) + (1 | g)", data, F.Poisson())
    assert shifted.params["Intercept"] == pytest.approx(result.params["Intercept"] - 2.0, abs=1e-6)
    with pytest.raises(DesignError, match="needs the log link"):
        MixedGLM.from_formula("count ~ x + (1 | g)", data, F.Poisson(L.Sqrt()), exposure="exposure")
    with pytest.raises(DesignError, match="exposure is 0 at row 0"):
        zero = data.assign(exposure=0.0)
        MixedGLM.from_formula("count ~ x + (1 | g)", zero, F.Poisson(), exposure="exposure")


def test_a_known_dispersion_is_no_parameter() -> None:
    result = fitted("epil_nbinom2", 1)
    alpha = result.family.alpha
    held = model("epil_nbinom2").fit(dispersion=alpha)
    assert held.llf == pytest.approx(result.llf, abs=1e-7)
    assert held.df_modelwc == result.df_modelwc - 1
    almost_poisson = model("epil_nbinom2").fit(dispersion=1e-7)
    assert almost_poisson.llf == pytest.approx(fitted("epil", 1).llf, abs=1e-3)
    with pytest.raises(FitError, match="Poisson has none"):
        model("epil").fit(dispersion=1.0)


def test_responses_that_are_true_or_false_or_text() -> None:
    data = table("crossed")
    plain = fit("y ~ x + (1 | s)", data, F.Binomial())
    data["yes"] = data["y"] == 1
    data["word"] = np.where(data["yes"], "right", "wrong")
    assert fit("yes ~ x + (1 | s)", data, F.Binomial()).llf == pytest.approx(plain.llf)
    assert fit("(word == 'right') ~ x + (1 | s)", data, F.Binomial()).llf == plain.llf
    with pytest.raises(DesignError, match=r"is text \('right', 'wrong'\)|Say which value"):
        MixedGLM.from_formula("word ~ x + (1 | s)", data, F.Binomial())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"formula": "y ~ x"}, "smf.glm"),
        ({"formula": "y ~ x + (1 | s)", "family": "binomial"}, "is no family of statsmodels"),
        ({"formula": "y ~ x + (1 | s)", "family": F.Gamma()}, "positive values only"),
        ({"formula": "cbind(y, x) ~ x + (1 | s)"}, "Write the two columns with a plus"),
        ({"formula": "y + x ~ x + (1 | s)"}, "'x' is negative at row"),
    ],
)
def test_what_a_model_refuses(arguments: dict[str, Any], message: str) -> None:
    arguments = {"data": table("crossed"), "family": F.Binomial(), **arguments}
    with pytest.raises((DesignError, FitError, ValueError)) as error:
        MixedGLM.from_formula(**arguments)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"nagq": -1}, "nagq=-1 is no number of nodes"),
        ({"nagq": 2.5}, "nagq=2.5 is no number of nodes"),
        ({"nagq": 9}, "quadrature is for one random term of one column"),
        ({"tol": 0}, "tol=0 is not positive"),
        ({"information": "fisher"}, "information='fisher' is not known"),
        ({"start_params": [1.0]}, "Pass 4 numbers"),
        ({"max_time": -1}, "max_time=-1 is not positive"),
    ],
)
def test_what_fit_refuses(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(FitError) as error:
        model("crossed_slope").fit(**arguments)
    assert message in str(error.value)
    with pytest.raises(TypeError, match="Did you mean 'nagq'"):
        model("crossed_slope").fit(nAGQ=1)


@pytest.mark.parametrize("structure", ["us", "diag", "cs", "ar1", "toep"])
def test_structures_of_random_terms(structure: str) -> None:
    """More parameters fit better, and equal models agree."""
    rng = np.random.default_rng(6)
    g, t = np.repeat(np.arange(40), 12), np.tile(np.repeat(np.arange(3), 4), 40)
    root = np.linalg.cholesky(0.5 * 0.6 ** np.abs(np.subtract.outer(range(3), range(3))))
    b = rng.normal(size=(40, 3)) @ root.T
    frame = pd.DataFrame({"g": g, "t": t})
    frame["y"] = rng.poisson(np.exp(0.8 + b[g, t]))
    result = fit(f"y ~ 1 + {structure}(0 + C(t) | g)", frame, F.Poisson())
    free = fit("y ~ 1 + (0 + C(t) | g)", frame, F.Poisson())
    assert result.converged
    assert result.llf <= free.llf + 1e-6
    if structure == "us":
        assert result.llf == pytest.approx(free.llf, abs=1e-8)
