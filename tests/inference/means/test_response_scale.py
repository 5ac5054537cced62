"""Means on the scale of the response, and slopes of covariates."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from lme4_reference import fit, unbalanced
from numpy.testing import assert_allclose
from scipy import special

from mixedlm_ext import MixedLM
from mixedlm_ext.errors import DesignWarning, FitError

RIGHT = "recipe + temp + (1 | recipe:replicate)"


def data() -> pd.DataFrame:
    return unbalanced("cake").assign(p=lambda d: d["angle"] / 100)


# ---------------------------------------------------------------- back from the response's scale


# emmeans 1.8, type = "response": means, standard errors, lower limits; ratios, their errors, limits
BACK = {
    "np.log(angle)": (
        [32.3028099, 30.5673029, 30.5631837],
        [1.62098415, 1.52384143, 1.51937695],
        [29.1931931, 27.6410513, 27.6441756],
        [1.05677658, 1.05691901, 1.00013478],
        [0.0747513743, 0.0746568011, 0.0704123343],
        [0.889942524, 0.890245768, 0.842827990],
    ),
    "sqrt(angle)": (
        [32.6787675, 31.0499356, 31.0930927],
        [1.68245461, 1.63018721, 1.62718375],
        [29.3729947, 27.8464541, 27.8942895],
        None,
        None,
        None,
    ),
    "np.log10(angle + 1)": (
        [32.3244914, 30.5962630, 30.5955290],
        [1.62310639, 1.52890602, 1.52462432],
        [29.2062305, 27.6560155, 27.6621983],
        [1.05469724, 1.05472174, 1.00002323],
        [0.0724131469, 0.0723141154, 0.0683386882],
        [0.892684404, 0.892882439, 0.846976141],
    ),
    "np.log(p / (1 - p))": (
        [0.327042748, 0.310565768, 0.310923572],
        [0.0172393056, 0.0166711352, 0.0166392898],
        [0.293260747, 0.277951884, 0.278357936],
        [1.07883817, 1.07703742, 0.99833084],
        [0.119152651, 0.118802307, 0.109788294],
        [0.824968296, 0.823832115, 0.764160823],
    ),
}


@pytest.mark.parametrize("response", BACK)
def test_type_response(response: str) -> None:
    mean, se, lower, ratio, ratio_se, ratio_lower = BACK[response]
    means = fit(f"{response} ~ {RIGHT}", data()).emmeans("recipe", type="response")
    frame = means.summary_frame()
    assert_allclose(frame["mean"], mean, rtol=1e-6)
    assert_allclose(frame["mean_se"], se, rtol=1e-6)
    assert_allclose(frame["mean_ci_lower"], lower, rtol=1e-6)
    pairs = means.contrasts()
    plain = fit(f"{response} ~ {RIGHT}", data()).emmeans("recipe").contrasts()
    assert_allclose(pairs["pvalue"], plain["pvalue"])
    assert_allclose(pairs["t"], plain["t"])
    if ratio is None:
        assert_allclose(pairs, plain)
        assert "contrasts and tests are on the scale of sqrt(angle)" in pairs.attrs["note"]
    else:
        name = "odds_ratio" if "p /" in response else "ratio"
        assert list(pairs.index) == ["A / B", "A / C", "B / C"]
        assert_allclose(pairs[name], ratio, rtol=1e-6)
        assert_allclose(pairs["se"], ratio_se, rtol=1e-6)
        assert_allclose(pairs["ci_lower"], ratio_lower, rtol=1e-6)
        assert (pairs["ci_upper"] > pairs[name]).all()
    assert "Transformed back from" in repr(means)


@pytest.mark.parametrize(
    ("response", "back"),
    [
        ("log(angle)", np.exp),
        ("np.log2(angle)", np.exp2),
        ("np.log1p(angle)", np.expm1),
        ("2 * np.log(angle / 3) - 1", lambda e: 3 * np.exp((e + 1) / 2)),
        ("-np.log(angle)", lambda e: np.exp(-e)),
        ("5 - np.log(angle)", lambda e: np.exp(5 - e)),
        ("np.cbrt(angle)", lambda e: e**3),
        ("angle ** 0.25", lambda e: e**4),
        ("1 / angle", lambda e: 1 / e),
        ("100 / (angle + 2)", lambda e: 100 / e - 2),
        ("np.reciprocal(angle)", lambda e: 1 / e),
        ("special.logit(p)", special.expit),
        ("special.ndtri(p)", special.ndtr),
        ("np.arcsin(np.sqrt(p))", lambda e: np.sin(e) ** 2),
        ("np.log(Q('angle'))", np.exp),
        ("np.arctanh(p)", np.tanh),
        ("np.arcsinh(angle)", np.sinh),
        ("np.exp(p)", np.log),
        ("np.square(angle)", np.sqrt),
        ("np.power(angle, 0.25)", lambda e: e**4),
        ("np.power(angle, -1) + 2", lambda e: 1 / (e - 2)),
        ("np.log(angle / (100 - angle))", lambda e: 100 * special.expit(e)),
        ("np.log((angle - 5) / (95 - (angle - 5)))", lambda e: 5 + 95 * special.expit(e)),
        ("angle", lambda e: e),
        ("angle / 10 - 3", lambda e: 10 * (e + 3)),
    ],
)
def test_the_way_back(response: str, back: Any) -> None:
    result = MixedLM.from_formula(f"{response} ~ {RIGHT}", data().astype({"angle": float})).fit()
    link = result.emmeans("recipe").summary_frame()
    frame = result.emmeans("recipe", type="response").summary_frame()
    assert_allclose(frame["mean"], back(link["mean"]))
    ends = back(link[["mean_ci_lower", "mean_ci_upper"]].to_numpy())
    assert_allclose(frame["mean_ci_lower"], ends.min(axis=1))
    assert_allclose(frame["mean_ci_upper"], ends.max(axis=1))
    h = 1e-5 * link["mean"].abs()
    slope = (back(link["mean"] + h) - back(link["mean"] - h)) / (2 * h)
    assert_allclose(frame["mean_se"], slope.abs() * link["mean_se"], rtol=1e-6)


def test_contrasts_of_logarithms_that_are_no_differences() -> None:
    result = fit(f"np.log(angle) ~ {RIGHT}", data())
    means = result.emmeans("recipe", type="response")
    frame = means.contrasts([[0.5, 0.5, 0], [1, -1, 0]])
    logs = result.emmeans("recipe").summary_frame()["mean"]
    assert_allclose(frame["estimate"], [(logs["A"] + logs["B"]) / 2, logs["A"] - logs["B"]])
    mixed = means.contrasts([1, -0.5, -0.5])
    assert_allclose(mixed["ratio"], np.exp(logs["A"] - (logs["B"] + logs["C"]) / 2))
    doubled = fit(f"2 * np.log10(angle) ~ {RIGHT}", data()).emmeans("recipe", type="response")
    assert_allclose(doubled.contrasts(), means.contrasts(), rtol=1e-5)
    odds = fit(f"np.log(p / (1 - p)) ~ {RIGHT}", data()).emmeans("recipe", type="response")
    scaled = fit(f"3 * np.log(p / (1 - p)) ~ {RIGHT}", data()).emmeans("recipe", type="response")
    assert_allclose(scaled.contrasts(), odds.contrasts(), rtol=1e-5)


def test_the_inverse_of_the_exponential() -> None:
    frame = fit(f"np.exp(p) ~ {RIGHT}", data()).emmeans("recipe", type="response").summary_frame()
    # emmeans 1.8
    assert_allclose(frame["mean"], [0.333501739, 0.319234149, 0.320328811], rtol=1e-7)
    assert_allclose(frame["mean_se"], [0.0182722604, 0.0184330346, 0.0183701608], rtol=1e-6)
    assert_allclose(frame["mean_ci_lower"], [0.295943036, 0.281314620, 0.282530408], rtol=1e-6)


def test_bias_adjustment() -> None:
    result = fit(f"np.log(angle) ~ {RIGHT}", data())
    frame = result.emmeans("recipe", type="response", bias_adjust=0.25).summary_frame()
    # emmeans 1.8, bias.adj = TRUE, sigma = 0.25
    assert_allclose(frame["mean"], [33.3122727, 31.5225312, 31.5182833], rtol=1e-6)
    assert_allclose(frame["mean_se"], [1.67163990, 1.57146148, 1.56685748], rtol=1e-6)
    assert_allclose(frame["mean_ci_upper"], [36.8606479, 34.8597002, 34.8463668], rtol=1e-6)
    total = np.sqrt(result.varcorr()["variance"].sum())
    assert_allclose(
        result.emmeans("recipe", type="response", bias_adjust=True).summary_frame(),
        result.emmeans("recipe", type="response", bias_adjust=total).summary_frame(),
    )
    # the variance is that of the response as the formula has it
    doubled = fit(f"2 * np.log(angle) ~ {RIGHT}", data())
    assert_allclose(
        doubled.emmeans("recipe", type="response", bias_adjust=0.5).summary_frame(),
        frame,
        rtol=1e-6,
    )
    frame = data().assign(w=4.0)
    weighted = MixedLM.from_formula(f"np.log(angle) ~ {RIGHT}", frame, weights="w").fit()
    assert_allclose(
        weighted.emmeans("recipe", type="response", bias_adjust=True).summary_frame(),
        result.emmeans("recipe", type="response", bias_adjust=True).summary_frame(),
        rtol=1e-5,
    )
    for response, second in (
        ("sqrt(angle)", 2.0), ("1 / angle", None), ("np.cbrt(angle)", None),
        ("np.arctanh(p)", None), ("np.arcsinh(angle)", None), ("np.exp(p)", None),
    ):  # fmt: skip
        result = fit(f"{response} ~ {RIGHT}", data())
        link = result.emmeans("recipe").summary_frame()["mean"]
        plain, adjusted = (
            result.emmeans("recipe", type="response", bias_adjust=b).summary_frame()["mean"]
            for b in (False, 0.01)
        )
        bend = (
            second
            or {
                "1 / angle": 2 / link**3,
                "np.cbrt(angle)": 6 * link,
                "np.arctanh(p)": -2 * np.tanh(link) * (1 - np.tanh(link) ** 2),
                "np.arcsinh(angle)": np.sinh(link),
                "np.exp(p)": -1 / link**2,
            }[response]
        )
        assert_allclose(adjusted - plain, 0.5 * 0.01**2 * bend, rtol=1e-6)
    with pytest.raises(FitError, match="bias_adjust= belongs to type='response'"):
        result.emmeans("recipe", bias_adjust=True)
    with pytest.raises(FitError, match="bias_adjust='x' is no standard deviation"):
        result.emmeans("recipe", type="response", bias_adjust="x")


@pytest.mark.parametrize("response", ["np.sin(angle)", "angle * temp", "log(angle)"])
def test_an_unknown_way_back(response: str) -> None:

    def log(x: Any) -> Any:  # not what its name says
        return np.log(x) ** 2

    assert log(1.0) == 0.0
    result = MixedLM.from_formula(f"{response} ~ {RIGHT}", data()).fit()
    with pytest.raises(FitError, match="does not know the way back from"):
        result.emmeans("recipe", type="response")
    with pytest.raises(FitError, match="Did you mean 'response'"):
        result.emmeans("recipe", type="respons")


# ---------------------------------------------------------------- trends


def test_trends_against_emmeans() -> None:
    result = fit("angle ~ recipe * temp + (1 | recipe:replicate)", data())
    trends = result.emtrends("recipe", "temp")
    frame = trends.summary_frame()
    # emmeans 1.8, emtrends
    assert_allclose(frame["trend"], [0.132854774, 0.164901675, 0.154741409], rtol=1e-6)
    assert_allclose(frame["trend_se"], [0.0307570666, 0.0288888391, 0.0274542794], rtol=1e-6)
    assert_allclose(frame["df"], [206.459300, 202.441277, 201.860668], rtol=1e-5)
    assert_allclose(frame["trend_ci_lower"], [0.0722165794, 0.1079400634, 0.1006074566], rtol=1e-5)
    pairs = trends.contrasts()
    assert_allclose(pairs["pvalue"], [0.728243708, 0.856272588, 0.964811957], rtol=1e-5)
    assert_allclose(pairs["ci_lower"], [-0.1316690492, -0.1192219125, -0.0839380947], rtol=1e-5)
    rival = result.with_ddf("kenward-roger").emtrends("recipe", "temp").summary_frame()
    assert_allclose(rival["trend_se"], [0.0307763525, 0.0288914299, 0.0274544938], rtol=1e-6)
    assert_allclose(rival["df"], [206.646967, 202.645004, 202.066652], rtol=1e-5)
    overall = result.emtrends(None, "temp").summary_frame()
    assert_allclose(overall.loc["overall", "trend"], frame["trend"].mean())
    assert "Slopes of temp." in repr(trends)


def test_slopes_of_curves() -> None:
    """The derivative by hand, at the ends of the data too."""
    result = fit("angle ~ recipe + temp + I(temp**2) + I(temp**3 / 1000) + (1 | replicate)", data())
    b = result.params
    x = np.array([175.0, 190.0, 225.0])
    frame = result.emtrends("temp", "temp", at={"temp": x}).summary_frame()
    by_hand = b["temp"] + 2 * x * b["I(temp ** 2)"] + 3 * x**2 / 1000 * b["I(temp ** 3 / 1000)"]
    assert_allclose(frame["trend"], by_hand, rtol=1e-4, atol=1e-7)
    spline = fit("angle ~ recipe * bs(temp, 4) + (1 | replicate)", data())
    frame = spline.emtrends("recipe", "temp", by="temp", at={"temp": x}).summary_frame()
    assert frame["trend"].notna().all()
    h = 1e-4
    for value, (one, two) in ((175.0, (0, h)), (190.0, (-h, h)), (225.0, (-h, 0))):
        new = {"recipe": ["B", "B"], "temp": [value + one, value + two]}
        rise = np.diff(spline.predict(new, which="population"))[0]
        assert_allclose(frame.loc[(value, "B"), "trend"], rise / (two - one), rtol=1e-3)
    wave = fit("angle ~ recipe * np.log(temp) + (1 | replicate)", data())
    frame = wave.emtrends("recipe", "temp", at={"temp": 200}).summary_frame()
    assert_allclose(frame.loc["A", "trend"], wave.params["np.log(temp)"] / 200, rtol=1e-9)


def test_slopes_of_offsets_and_aliases() -> None:
    result = fit("angle ~ recipe + offset(temp / 10) + (1 | replicate)", data())
    assert_allclose(result.emtrends("recipe", "temp").summary_frame()["trend"], 0.1)
    plain = fit("angle ~ recipe * temp + (1 | replicate)", data())
    doubled = fit("angle ~ recipe * temp + I(3 * temp) + (1 | replicate)", data())
    assert_allclose(
        doubled.emtrends("recipe", "temp").summary_frame(),
        plain.emtrends("recipe", "temp").summary_frame(),
        rtol=1e-7,
    )
    # at two temperatures there are no curves
    two = data()[lambda d: d["temp"].isin([175, 225])]
    curve = fit("angle ~ recipe + temp + I(temp**2) + (1 | replicate)", two)
    with pytest.warns(DesignWarning, match="trends of 'A', 'B', 'C' are not estimable"):
        assert curve.emtrends("recipe", "temp").summary_frame().isna().all(axis=None)


@pytest.mark.parametrize(
    ("var", "message"),
    [
        ("recipe", "var='recipe' is a factor; slopes are of a numeric one: 'temp'"),
        ("tmp", "var='tmp' is no variable of the fixed part.*Did you mean 'temp'"),
        (None, "var=None is no variable"),
        (["temp"], "is no variable"),
    ],
)
def test_bad_covariates(var: Any, message: str) -> None:
    result = fit("angle ~ recipe * temp + (1 | replicate)", data())
    with pytest.raises(FitError, match=message):
        result.emtrends("recipe", var)
