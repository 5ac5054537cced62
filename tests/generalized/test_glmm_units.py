"""The units of the response and of columns are the user's: estimates follow them exactly."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm

from mixedlm_ext import MixedGLM, MixedLM

F, L = sm.families, sm.families.links
N = 120


def data() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"g": np.repeat(np.arange(12), 10), "x": rng.normal(size=N)})
    effects = 0.7 * rng.normal(size=12)[frame["g"]]
    frame["z"] = 1.0 + 0.5 * frame["x"] + effects + 0.3 * rng.normal(size=N)
    frame["positive"] = np.exp(0.3 * frame["z"])
    return frame


# family, response, and the powers of the unit that η and φ go with
CASES = {
    "gaussian": (F.Gaussian(), "z", 1.0, 2.0),
    "gaussian log": (F.Gaussian(L.Log()), "positive", 0.0, 2.0),
    "gaussian inverse": (F.Gaussian(L.InversePower()), "positive", -1.0, 2.0),
    "gamma identity": (F.Gamma(L.Identity()), "positive", 1.0, 0.0),
    "gamma inverse": (F.Gamma(), "positive", -1.0, 0.0),
    "gamma log": (F.Gamma(L.Log()), "positive", 0.0, 0.0),
    "inverse gaussian log": (F.InverseGaussian(L.Log()), "positive", 0.0, -1.0),
    "inverse gaussian": (F.InverseGaussian(), "positive", -2.0, -1.0),
}


def fitted(family: Any, response: str, unit: float) -> Any:
    frame = data()
    frame["y"] = frame[response] * unit
    return MixedGLM.from_formula("y ~ x + (1 | g)", frame, family=family).fit()


@pytest.mark.parametrize("unit", [1e-6, 1e-3, 700.0, 1e6])
@pytest.mark.parametrize("name", CASES)
def test_units_of_the_response(name: str, unit: float) -> None:
    family, response, power, of_scale = CASES[name]
    one, other = fitted(family, response, 1.0), fitted(family, response, unit)
    assert one.converged
    assert other.converged
    assert other.llf + N * np.log(unit) == pytest.approx(one.llf, abs=1e-6)
    k = unit**power
    assert other.params["x"] / k == pytest.approx(one.params["x"], rel=1e-4)
    np.testing.assert_allclose(other.theta / k, one.theta, rtol=1e-3)
    np.testing.assert_allclose(other.bse / k, one.bse, rtol=1e-3)
    assert other.scale / unit**of_scale == pytest.approx(one.scale, rel=1e-4)
    sd = other.random_effects_sd["g"] / k
    np.testing.assert_allclose(sd, one.random_effects_sd["g"], rtol=1e-3)
    errors = [r.get_prediction().summary_frame()["mean_se"] for r in (one, other)]
    np.testing.assert_allclose(errors[1] / unit, errors[0], rtol=1e-3)


@pytest.mark.parametrize("unit", [1e-6, 1.0, 1e6])
def test_gaussian_with_the_identity_is_the_linear_model_in_any_unit(unit: float) -> None:
    frame = data()
    frame["y"] = frame["z"] * unit
    linear = MixedLM.from_formula("y ~ x + (1 | g)", frame).fit(reml=False)
    ours = MixedGLM.from_formula("y ~ x + (1 | g)", frame, family=F.Gaussian()).fit()
    assert ours.llf == pytest.approx(linear.llf, abs=1e-7)
    assert ours.scale == pytest.approx(linear.scale, rel=1e-6)
    np.testing.assert_allclose(ours.params, linear.params, rtol=1e-6)


def test_what_follows_a_fit_in_other_units() -> None:
    """Refits, profiles and draws go by the unit of the fit."""
    big = fitted(F.Gamma(L.Identity()), "positive", 1000.0)
    one = fitted(F.Gamma(L.Identity()), "positive", 1.0)
    again = big.refit(data()["positive"] * 1000.0)
    assert again.llf == pytest.approx(big.llf, abs=1e-6)
    response = data()["positive"]
    both = big.model.fit_many(pd.DataFrame({"one": response, "big": 1000.0 * response}))
    assert both.llf["one"] == pytest.approx(one.llf, abs=1e-6)
    assert both.llf["big"] == pytest.approx(big.llf, abs=1e-6)
    np.testing.assert_allclose(both.bse.loc["one"], one.bse, rtol=1e-3)
    wide, narrow = (r.conf_int(method="profile") for r in (big, one))
    np.testing.assert_allclose(
        np.asarray(wide.loc[["Intercept", "x"]], float) / 1000.0,
        np.asarray(narrow.loc[["Intercept", "x"]], float),
        rtol=1e-3,
    )


@pytest.mark.parametrize("shift", [2000.0, 1.7e9])
def test_origins_of_a_column(shift: float) -> None:
    """Years and seconds since 1970: the slope keeps its standard error."""
    frame = data()
    frame["y"] = np.random.default_rng(1).poisson(frame["positive"])
    frame["t"] = frame["x"] * (1.0 if shift == 2000.0 else 1e3) + shift
    scale = 1.0 if shift == 2000.0 else 1e3
    one = MixedGLM.from_formula("y ~ x + (1 | g)", frame, family=F.Poisson()).fit()
    other = MixedGLM.from_formula("y ~ t + (1 | g)", frame, family=F.Poisson()).fit()
    assert other.llf == pytest.approx(one.llf, abs=1e-6)
    assert other.params["t"] * scale == pytest.approx(one.params["x"], rel=1e-5)
    assert other.bse["t"] * scale == pytest.approx(one.bse["x"], rel=1e-4)


@pytest.mark.parametrize("name", ["gaussian", "gamma log", "inverse gaussian log"])
def test_a_response_that_is_reproduced_is_said(name: str) -> None:
    family, frame = CASES[name][0], data()
    effects = np.random.default_rng(4).normal(size=12)[frame["g"]]
    eta = 1.0 + 0.5 * frame["x"] + effects
    frame["y"] = eta if name == "gaussian" else np.exp(eta)
    with pytest.warns(UserWarning, match="reproduce the response to working precision"):
        result = MixedGLM.from_formula("y ~ x + (1 | g)", frame, family=family).fit()
    assert not result.converged


@pytest.mark.parametrize("weight", [1e-9, 1.0, 1e9])
def test_units_of_precision_weights(weight: float) -> None:
    frame = data()
    frame["w"] = weight
    result = MixedGLM.from_formula(
        "positive ~ x + (1 | g)", frame, family=F.Gamma(L.Log()), var_weights="w"
    ).fit()
    plain = MixedGLM.from_formula("positive ~ x + (1 | g)", frame, family=F.Gamma(L.Log())).fit()
    assert result.llf == pytest.approx(plain.llf, abs=1e-6)
    assert result.scale == pytest.approx(plain.scale * weight, rel=1e-5)
