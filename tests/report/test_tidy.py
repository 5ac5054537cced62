"""Frames of a fit, against R's broom.mixed 0.2.9."""

from __future__ import annotations

import importlib
import re
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from numpy.testing import assert_allclose

from mixedlm_ext import MixedLM, RandomTerm, datasets
from mixedlm_ext.errors import DesignError, FitError

SLEEPSTUDY = "Reaction ~ Days + (Days | Subject)"


@lru_cache
def load() -> pd.DataFrame:
    return datasets.sleepstudy.load_pandas().data


@lru_cache
def fit(formula: str = SLEEPSTUDY, **arguments: Any) -> Any:
    """A fit that is shared: tests must not change it."""
    return MixedLM.from_formula(formula, load()).fit(**arguments)


def refused(message: str, kind: type[Exception] = DesignError) -> Any:
    return pytest.raises(kind, match=re.escape(message))


def test_tidy() -> None:
    """broom.mixed::tidy(lmer(...)), names without R's parentheses."""
    frame = fit().with_ddf("normal").tidy(conf_int=True)
    assert list(frame) == [
        "effect", "group", "term", "estimate", "se", "statistic", "df", "pvalue",
        "ci_lower", "ci_upper",
    ]  # fmt: skip
    assert frame["effect"].tolist() == ["fixed"] * 2 + ["ran_pars"] * 4
    assert frame["group"].tolist()[2:] == ["Subject"] * 3 + ["Residual"]
    assert frame["term"].tolist() == [
        "Intercept", "Days", "sd__Intercept", "cor__Intercept.Days", "sd__Days", "sd__Observation",
    ]  # fmt: skip
    expected = [251.40510485, 10.46728596, 24.74065799, 0.06555124, 5.92213766, 25.59179572]
    assert_allclose(frame["estimate"], expected, rtol=2e-4)
    assert_allclose(frame["se"][:2], [6.824597, 1.545790], rtol=1e-5)
    assert_allclose(frame["statistic"][:2], [36.838090, 6.771481], rtol=1e-5)
    assert_allclose(frame["ci_lower"][:2], [238.029141, 7.437594], rtol=1e-6)
    assert_allclose(frame["ci_upper"][:2], [264.78107, 13.49698], rtol=1e-6)
    assert frame.iloc[2:, 4:].isna().all(axis=None)


def test_tidy_follows_the_degrees_of_freedom() -> None:
    r = fit()
    frame = r.tidy("fixed", conf_int=True, conf_level=0.9)
    assert_allclose(frame["df"], r.df_resid_inference)
    assert_allclose(frame["pvalue"], r.pvalues)
    assert_allclose(frame[["ci_lower", "ci_upper"]], r.conf_int(0.1))
    assert "ci_lower" not in r.tidy()


def test_tidy_of_the_modes() -> None:
    r = fit()
    frame = r.tidy(["ran_vals"], conf_int=True)
    assert len(frame) == 36
    modes = frame.pivot(index="level", columns="term", values="estimate")
    assert_allclose(modes[["Intercept", "Days"]], r.random_effects["Subject"])
    sds = frame.pivot(index="level", columns="term", values="se")
    assert_allclose(sds[["Intercept", "Days"]], r.random_effects_sd["Subject"])
    assert_allclose(frame["ci_upper"] - frame["estimate"], 1.959964 * frame["se"])


def test_tidy_of_uncorrelated_columns() -> None:
    frame = fit("Reaction ~ 0 + (Days || Subject)").tidy()
    assert frame["term"].tolist() == ["sd__Intercept", "sd__Days", "sd__Observation"]


def test_glance() -> None:
    frame = fit().glance()
    expected = {
        "nobs": 180,
        "sigma": 25.5918,
        "logLik": -871.8141,
        "AIC": 1755.628,
        "BIC": 1774.786,
        "REMLcrit": 1743.628,
        "df_residual": 174,
    }
    assert list(frame) == list(expected)
    assert_allclose(frame.to_numpy().ravel(), list(expected.values()), rtol=1e-6)
    assert frame["nobs"].dtype.kind == "i"
    assert_allclose(fit(reml=False).glance()["deviance"], 1751.93934446)
    assert fit(sigma=25.0).glance()["df_residual"].item() == 175


def test_augment() -> None:
    frame = fit().augment()
    assert list(frame) == [*load()[["Reaction", "Days", "Subject"]], "fitted", "resid", "fixed"]
    assert_allclose(frame["fitted"][:3], [253.6637, 273.3299, 292.9962], rtol=1e-6)
    assert_allclose(frame["resid"][:3], [-4.103656, -14.625218, -42.195579], rtol=1e-5)
    assert_allclose(frame["fixed"][:3], [251.4051, 261.8724, 272.3397], rtol=1e-6)
    assert "fitted" not in load()
    assert "fitted" not in fit().model.design.frame


def test_augment_of_other_data() -> None:
    data = load().assign(extra="text").set_index(np.arange(180)[::-1])
    data.loc[[3, 5], "Reaction"] = np.nan
    data.loc[7, "Days"] = np.nan
    frame = fit().augment(data)
    assert frame.index.equals(data.index)
    assert (frame["extra"] == "text").all()
    assert frame.index[frame["resid"].isna()].tolist() == [7, 5, 3]
    assert frame.index[frame["fitted"].isna()].tolist() == [7]
    known = frame.dropna()
    assert_allclose(known["resid"], known["Reaction"] - known["fitted"])
    assert list(fit().augment({"Days": [1], "Subject": ["308"]})) == [
        "Days", "Subject", "fitted", "fixed",
    ]  # fmt: skip
    assert_allclose(fit().augment(pl.from_pandas(load()))["resid"], fit().resid)


def test_augment_of_a_transformed_response() -> None:
    r = fit("np.log(Reaction) ~ Days + (1 | Subject)")
    assert_allclose(r.augment()["resid"], r.resid)
    assert_allclose(r.augment(load())["resid"], r.resid)


def test_augment_of_arrays() -> None:
    X = np.column_stack([np.ones(180), load()["Days"]])
    r = MixedLM(load()["Reaction"].to_numpy(), X, [RandomTerm(load()["Subject"].to_numpy())]).fit()
    frame = r.augment()
    assert_allclose(frame["fitted"] + frame["resid"], load()["Reaction"])
    with refused("augment takes data= for models made from a formula only."):
        r.augment(load())


def test_bad_arguments() -> None:
    with refused("effects='random' is not known. Use one of 'fixed', 'ran_pars'"):
        fit().tidy("random")
    with refused("conf_level=95 is no probability.", FitError):
        fit().tidy(conf_int=True, conf_level=95)
    with refused("the data have a column 'fitted', which augment would add."):
        fit().augment(load().assign(fitted=0))
    r = MixedLM.from_formula(SLEEPSTUDY, load()).fit()
    r.remove_data()
    with refused("the data of the fit were removed", FitError):
        r.augment()
    assert_allclose(r.augment(load())["fitted"], fit().fittedvalues)


def test_marginaleffects() -> None:
    """Its statsmodels adapter reads our results (0.6 needs polars 1)."""
    marginaleffects = pytest.importorskip("marginaleffects")
    if int(pl.__version__.split(".")[0]) > 1:
        pytest.skip("marginaleffects 0.6 fails with polars 2")
    adapter = importlib.import_module("marginaleffects.statsmodels").ModelStatsmodels
    slopes = marginaleffects.avg_slopes(adapter(fit()), variables="Days")
    assert_allclose(slopes["estimate"].to_numpy(), fit().params["Days"], rtol=1e-5)
    assert_allclose(slopes["se"].to_numpy(), fit().bse["Days"], rtol=1e-3)
    means = marginaleffects.avg_predictions(adapter(fit()), by="Days")
    expected = fit().get_prediction({"Days": np.arange(10)}, which="population")
    assert_allclose(means["estimate"].to_numpy(), expected.predicted_mean, rtol=1e-5)
    assert_allclose(means["se"].to_numpy(), expected.se_mean, rtol=1e-3)
