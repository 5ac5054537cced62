"""Profile likelihood: lme4's intervals, invariances, the object and bad input."""

from __future__ import annotations

import pickle
import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from lme4_reference import CASES, Case, case_id, r_column, r_group
from numpy.testing import assert_allclose
from scipy.integrate import trapezoid
from statsmodels.tools.sm_exceptions import ConvergenceWarning

from mixedlm_ext import MixedLM, datasets
from mixedlm_ext.errors import FitError, SingularFitWarning
from mixedlm_ext.inference.profile import points as profile_points
from mixedlm_ext.inference.profile.path import ProfilePath
from mixedlm_ext.inference.profile.scales import SCALES

PROFILED = [c for c in CASES if c.get("profile_ci")]
SLEEPSTUDY = datasets.sleepstudy.load_pandas().data
PENICILLIN = datasets.penicillin.load_pandas().data
MACHINES = datasets.machines.load_pandas().data


def fit(formula: str, data: pd.DataFrame, **kwargs: Any) -> Any:
    """Fit, singular or not."""
    weights = data.get("w")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SingularFitWarning)
        return MixedLM.from_formula(formula, data, weights=weights).fit(**kwargs)


# ---------------------------------------------------------------- lme4


def r_names(case: Case) -> dict[str, str]:
    """lme4's names of the variance parameters by ours, from which columns they belong to."""
    out = {"sigma": "sigma"}
    for term in case.model.random_terms:
        group = r_group(term.group, case.reference)
        columns = [r_column(c) for c in term.columns]
        for i, (ours, lme4s) in enumerate(zip(term.columns, columns)):
            out[f"sd({term.name}, {ours})"] = f"sd_{lme4s}|{group}"
            for j in range(i + 1, len(columns)):
                name = f"cor({term.name}, {ours}, {term.columns[j]})"
                out[name] = f"cor_{columns[j]}.{lme4s}|{group}"
    return out


def is_wrong_in_lme4(reference: dict[str, Any], name: str) -> bool:
    """lme4 1.1-31 forgets the weights when it profiles a fixed effect, and fails for the sigma of
    dyestuff2, whose variance is estimated as zero."""
    if reference["weights"]:
        return not name.startswith(("sd_", "cor_", "sigma"))
    return reference["data"] == "dyestuff2.csv" and name == "sigma"


@pytest.mark.parametrize("reference", PROFILED, ids=case_id)
def test_lme4s_intervals(reference: dict[str, Any]) -> None:
    case = Case(reference)
    ours = case.result.profile().conf_int()
    names = r_names(case)
    ours.index = [names.get(n, r_column(n)) for n in ours.index]
    lme4s = reference["profile_ci"]
    assert sorted(ours.index) == sorted(lme4s["names"])
    # The tests below say that our limits are right to 1e-5; lme4's spline is off by more where a
    # variance becomes zero on the way, or its points are far apart.
    coarse = {"dyestuff2.csv": 5e-4, "pastes.csv": 2e-4}
    for name, lower, upper in zip(lme4s["names"], lme4s["lower"], lme4s["upper"]):
        if not is_wrong_in_lme4(reference, name):
            tolerance = coarse.get(reference["data"], 1e-4) * (upper - lower)
            assert_allclose(ours.loc[name], [lower, upper], atol=tolerance, rtol=0, err_msg=name)


def test_published_intervals() -> None:
    ci = fit("Reaction ~ Days + (Days | Subject)", SLEEPSTUDY, reml=False).profile().conf_int()
    published = {
        "sd(Subject, Intercept)": (14.38139, 37.71600),
        "cor(Subject, Intercept, Days)": (-0.48150, 0.68499),
        "sd(Subject, Days)": (3.80116, 8.75338),
        "sigma": (22.89827, 28.85800),
        "Intercept": (237.68070, 265.12951),
        "Days": (7.35865, 13.57592),
    }
    for name, limits in published.items():
        assert_allclose(ci.loc[name], limits, rtol=1e-5, atol=5e-5)
    formula = "diameter ~ 1 + (1 | plate) + (1 | sample)"
    ci = fit(formula, PENICILLIN, reml=False).profile().conf_int()
    published = {
        "sd(plate, Intercept)": (0.633566, 1.182104),
        "sd(sample, Intercept)": (1.095782, 3.556319),
        "sigma": (np.exp(-0.721865), np.exp(-0.462903)),
        "Intercept": (21.266627, 24.677818),
    }
    for name, limits in published.items():
        assert_allclose(ci.loc[name], limits, rtol=1e-4)


# ---------------------------------------------------------------- invariances


def test_reml_fit_is_profiled_by_ml() -> None:
    formula = "Reaction ~ Days + (Days | Subject)"
    reml, ml = (fit(formula, SLEEPSTUDY, reml=r).profile() for r in (True, False))
    assert_allclose(reml.params, ml.params, rtol=1e-4)
    assert_allclose(reml.conf_int(), ml.conf_int(), rtol=1e-4)
    assert "ML" in reml.note and "REML" not in ml.note


def test_units_of_response_and_covariate() -> None:
    formula = "Reaction ~ Days + (Days | Subject)"
    plain = fit(formula, SLEEPSTUDY).profile().conf_int()
    data = SLEEPSTUDY.assign(Reaction=SLEEPSTUDY["Reaction"] / 1000, Days=SLEEPSTUDY["Days"] * 24)
    scaled = fit(formula, data).profile().conf_int()
    unit = [1e-3, 1e-3 / 24, 1, 1e-3, 1e-3, 1e-3 / 24]
    assert_allclose(scaled, plain * np.array(unit)[:, None], rtol=2e-5, atol=1e-7)


def test_order_of_columns() -> None:
    formulas = ["score ~ Machine + (0 + Machine | Worker)"]
    other = MACHINES.assign(Machine=pd.Categorical(MACHINES["Machine"], ["C", "A", "B"]))
    one = fit(formulas[0], MACHINES, reml=False).profile("theta").conf_int()
    two = fit(formulas[0], other, reml=False).profile("theta").conf_int()
    for name in one.index:
        place = name
        if name not in two.index:
            head, i, j = name.removesuffix(")").split(", ")
            place = f"{head}, {j}, {i})"
        assert_allclose(two.loc[place], one.loc[name], rtol=1e-4, err_msg=name)


def test_terms_in_another_order() -> None:
    one = fit("diameter ~ 1 + (1 | plate) + (1 | sample)", PENICILLIN).profile().conf_int()
    two = fit("diameter ~ 1 + (1 | sample) + (1 | plate)", PENICILLIN).profile().conf_int()
    assert_allclose(two.loc[one.index], one, rtol=1e-5)


def test_variance_scale() -> None:
    result = fit("Reaction ~ Days + (Days | Subject)", SLEEPSTUDY)
    sd, variance = result.profile(), result.profile(scale="variance")
    assert variance.names[:4] == [
        "var(Subject, Intercept)",
        "var(Subject, Days)",
        "cor(Subject, Intercept, Days)",
        "var(Residual)",
    ]
    power = np.array([2, 2, 1, 2, 1, 1])[:, None]
    signs = np.sign(sd.conf_int()) ** (power % 2)
    assert_allclose(variance.conf_int(), signs * np.abs(sd.conf_int()) ** power, rtol=1e-10)
    assert_allclose(variance.params, sd.params.to_numpy() ** power[:, 0], rtol=1e-10)
    assert_allclose(variance.zeta("var(Residual)", 900.0), sd.zeta("sigma", 30.0), rtol=1e-10)


# ---------------------------------------------------------------- the object


def test_which() -> None:
    result = fit("Reaction ~ Days + (Days | Subject)", SLEEPSTUDY)
    assert result.profile("beta").names == ["Intercept", "Days"]
    assert result.profile("theta").names[-1] == "sigma"
    some = result.profile(["Days", "sd(Subject, Days)"])
    assert some.names == ["sd(Subject, Days)", "Days"]
    whole = result.profile()
    assert_allclose(some.conf_int(), whole.conf_int().loc[some.names], rtol=1e-12)
    assert_allclose(result.conf_int(method="profile"), whole.conf_int(), rtol=1e-4)


def test_conf_int_by_bootstrap() -> None:
    result = fit("Reaction ~ Days + (1 | Subject)", SLEEPSTUDY)
    ci = result.conf_int(method="bootstrap", n=50, rng=1)
    assert list(ci.index) == list(result.profile().params.index)


def test_conf_int_without_method_is_statsmodels() -> None:
    result = fit("Reaction ~ Days + (Days | Subject)", SLEEPSTUDY)
    assert list(result.conf_int().index) == ["Intercept", "Days"]
    half = (result.conf_int()[1] - result.conf_int()[0]) / 2
    assert_allclose((half / result.bse), 2.1098155778, rtol=1e-4)
    assert isinstance(result.conf_int(cols=[0]), np.ndarray)


def test_zeta_and_value_are_inverse() -> None:
    profile = fit("Reaction ~ Days + (Days | Subject)", SLEEPSTUDY).profile()
    z = np.linspace(-2.5, 2.5, 21)
    for name in profile.names:
        assert_allclose(profile.zeta(name, profile.value(name, z)), z, atol=1e-9)
        values = profile.value(name, z)
        assert (np.diff(values) > 0).all()
        assert profile.density(name, values).min() > 0
    assert np.isnan(profile.zeta("sigma", 1e6))
    assert np.isnan(profile.zeta("sigma", -1.0))
    assert isinstance(profile.zeta("sigma", 25.0), float)


@pytest.mark.parametrize("kind", SCALES)
def test_the_ends_of_a_profile_are_not_beyond_it(kind: str) -> None:
    """Whatever the way to the working coordinate and back rounds to."""
    some = fit("Reaction ~ Days + (1 | Subject)", SLEEPSTUDY).profile(["sigma"])
    for t in np.sort(np.random.default_rng(1).uniform(0.01, 1.55, (100, 2)), axis=1):
        path = ProfilePath(kind, t, t - t[0], np.ones(2), 0, np.zeros((2, 1)))
        profile = replace(some, paths={"x": path})
        value = path.values
        assert_allclose(profile.zeta("x", value), path.zeta, atol=1e-12)
        assert np.isfinite(profile.density("x", value)).all()
        away = 1e-9 * np.ptp(value) * np.array([-1.0, 1.0])
        assert np.isnan(profile.zeta("x", np.sort(value) + away)).all()


def test_density_integrates_to_the_level() -> None:
    profile = fit("Reaction ~ Days + (Days | Subject)", SLEEPSTUDY).profile("theta")
    for name in profile.names:
        lower, upper = profile.conf_int(0.05).loc[name]
        grid = np.linspace(lower, upper, 2001)
        assert_allclose(trapezoid(profile.density(name, grid), grid), 0.95, atol=1e-4)


def test_pickles() -> None:
    profile = fit("Reaction ~ Days + (Days | Subject)", SLEEPSTUDY).profile()
    again = pickle.loads(pickle.dumps(profile))
    pd.testing.assert_frame_equal(again.conf_int(), profile.conf_int())
    pd.testing.assert_frame_equal(again.to_frame(), profile.to_frame())
    assert "sigma" in repr(again)


def test_result_is_not_changed() -> None:
    result = fit("Reaction ~ Days + (Days | Subject)", SLEEPSTUDY)
    before = pickle.dumps(result.fit_record.theta), result.objective
    result.profile()
    assert (pickle.dumps(result.fit_record.theta), result.objective) == before


def test_variance_estimated_as_zero() -> None:
    result = fit("Yield ~ 1 + (1 | Batch)", datasets.dyestuff2.load_pandas().data)
    profile = result.profile()
    lower, upper = profile.conf_int().loc["sd(Batch, Intercept)"]
    assert lower == 0 and upper > 0
    assert profile.zeta("sd(Batch, Intercept)", 0.0) == 0
    assert not profile.to_frame()["zeta"].isna().any()
    assert not profile.conf_int().isna().any(axis=None)


def test_interval_that_reaches_zero() -> None:
    result = fit("strength ~ 1 + (1 | batch/cask)", datasets.pastes.load_pandas().data)
    profile = result.profile("sd(batch, Intercept)")
    assert profile.conf_int().iloc[0, 0] == 0
    assert -1 < profile.zeta("sd(batch, Intercept)", 0.0) < 0


def test_undefined_correlation() -> None:
    """With a variance of zero every correlation is as likely as any other."""
    rng = np.random.default_rng(8)
    g = np.repeat(np.arange(12), 10)
    x = np.tile(np.arange(10) - 4.5, 12)
    noise = rng.normal(size=120)
    noise -= np.polyval(np.polyfit(x, noise, 1), x)
    for level in range(12):  # slopes alike: their variance is estimated as zero
        own = g == level
        noise[own] -= x[own] * (x[own] @ noise[own]) / (x[own] @ x[own])
    data = pd.DataFrame({"y": noise + rng.normal(size=12)[g], "x": x, "g": g.astype(str)})
    result = fit("y ~ x + (x | g)", data, reml=False)
    ci = result.profile("theta").conf_int()
    assert_allclose(ci.loc["cor(g, Intercept, x)"], [-1, 1])
    assert ci.loc["sd(g, x)"][0] == 0
    assert not ci.isna().any(axis=None)


def test_no_fixed_effects() -> None:
    profile = fit("Reaction ~ 0 + (1 | Subject)", SLEEPSTUDY).profile()
    assert profile.names == ["sd(Subject, Intercept)", "sigma"]


def test_fixed_effect_called_sigma() -> None:
    data = SLEEPSTUDY.rename(columns={"Days": "sigma"})
    profile = fit("Reaction ~ sigma + (1 | Subject)", data).profile(["sigma", "beta(sigma)"])
    plain = fit("Reaction ~ Days + (1 | Subject)", SLEEPSTUDY).profile(["sigma", "Days"])
    assert_allclose(profile.conf_int(), plain.conf_int())


def test_better_optimum_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    result = fit("Reaction ~ Days + (Days | Subject)", SLEEPSTUDY)
    monkeypatch.setattr(profile_points, "minimize", _only_first(profile_points.minimize))
    with pytest.warns(ConvergenceWarning, match=r"profile of sd\(Subject, Days\).*start_params"):
        profile = result.profile("sd(Subject, Days)")
    model = result.model
    assert model.objective(profile.better_start, reml=False) < profile.objective
    monkeypatch.undo()
    assert_allclose(
        model.fit(reml=False, start_params=profile.better_start).objective,
        model.fit(reml=False).objective,
    )


def _only_first(search: Any) -> Any:
    """Spoil the first search, that for the maximum."""
    calls: list[int] = []

    def spoiled(at: Any, start: np.ndarray, *ends: Any) -> Any:
        calls.append(1)
        return at(0.5 * start) if len(calls) == 1 else search(at, start, *ends)

    return spoiled


def test_unfinished_fit_is_reported() -> None:
    unbalanced = SLEEPSTUDY.iloc[7:]
    with pytest.warns(ConvergenceWarning, match="did not converge"):
        result = fit("Reaction ~ Days + (Days | Subject)", unbalanced, reml=False, maxiter=2)
    with pytest.warns(ConvergenceWarning, match="search for the maximum.*lower by"):
        profile = result.profile("sigma")
    whole = fit("Reaction ~ Days + (Days | Subject)", unbalanced, reml=False)
    assert_allclose(profile.objective, whole.objective, rtol=1e-9)
    assert_allclose(profile.conf_int(), whole.profile("sigma").conf_int(), rtol=1e-6)


def test_another_branch_of_minima_is_followed() -> None:
    """A standard deviation of zero goes with every correlation, so that the deviance there is the
    most that any correlation can have; a search that stays in its own valley goes beyond."""
    rng = np.random.default_rng(5)
    g, x = rng.integers(0, 5, 60), rng.normal(3, 1, 60)
    b = rng.normal(size=(5, 2)) * [0.3, 3.0]
    y = b[g, 0] + b[g, 1] * x + 0.5 * rng.normal(size=60)
    data = pd.DataFrame({"g": g.astype(str), "x": x, "y": y})
    result = fit("y ~ x + (x | g)", data, reml=False)
    profile = result.profile(["sd(g, Intercept)", "sd(g, x)", "cor(g, Intercept, x)"])
    most = min(abs(profile.zeta(f"sd(g, {c})", 0.0)) for c in ("Intercept", "x"))
    zeta = profile.to_frame().query("parameter == 'cor(g, Intercept, x)'")["zeta"]
    assert zeta.abs().max() <= most + 1e-4
    assert (zeta.diff().dropna() > -1e-5).all()


# ---------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"which": "sd(Subject, Day)"},
            r"no parameter 'sd\(Subject, Day\)'.*'sd\(Subject, Days\)'",
        ),
        ({"which": ["Days", "slope"]}, "no parameter 'slope'"),
        ({"which": [3]}, "no parameter 3"),
        ({"alpha_max": 0.0}, "alpha_max=0.0 is no significance level"),
        ({"alpha_max": "a"}, "alpha_max='a' is no significance level"),
        ({"scale": "var"}, "scale='var' is not known.*'sd', 'variance'|scale='var' is not known"),
    ],
)
def test_bad_arguments(arguments: dict[str, Any], message: str) -> None:
    result = fit("Reaction ~ Days + (Days | Subject)", SLEEPSTUDY)
    with pytest.raises(FitError, match=message):
        result.profile(**arguments)


def test_bad_questions() -> None:
    result = fit("Reaction ~ Days + (1 | Subject)", SLEEPSTUDY)
    profile = result.profile("Days", alpha_max=0.05)
    with pytest.raises(FitError, match=r"alpha_max=0\.01"):
        profile.conf_int(0.01)
    with pytest.raises(FitError, match=r"'sigma' was not profiled.*holds Days"):
        profile.zeta("sigma", 1.0)
    with pytest.raises(FitError, match=r"method='profil' is not known. Did you mean 'profile'\?"):
        result.conf_int(method="profil")
    with pytest.raises(FitError, match="which needs method='profile'"):
        result.conf_int(which="theta")
    with pytest.raises(FitError, match="alpha=2 is no significance level"):
        profile.conf_int(2)
