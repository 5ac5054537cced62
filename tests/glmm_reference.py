"""Generalized fits of lme4, glmmTMB and an engine of its own, and our fit of the same models."""

from __future__ import annotations

import json
import re
import warnings
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import statsmodels.api as sm
from places import DATA

from mixedlm_ext import MixedGLM, MixedGLMResults

FOLDER = DATA / "glmm"
CASES: list[dict[str, Any]] = json.loads((FOLDER / "numbers.json").read_text())["cases"]
F, L = sm.families, sm.families.links


def table(name: str) -> pd.DataFrame:
    """Return a data set, factors as text."""
    path = next(p for p in (FOLDER / f"{name}.csv", FOLDER / f"{name}.csv.gz") if p.exists())
    data = pd.read_csv(path)
    for column in ("herd", "period", "obs", "YEAR", "BROOD", "INDEX", "LOCATION", "district"):
        if column in data and name != "epil":
            data[column] = data[column].astype(str)
    if name == "epil":
        data["visit"] = (data["period"] - 2.5) / 5
    return data


def negative_binomial(link: Any = None) -> Any:
    """Return the family whose alpha is estimated."""
    return F.NegativeBinomial(link=link, alpha=1.0)


CBPP = "incidence / size ~ period + (1 | herd)"
CONTRACEPTION = "use01 ~ age + I(age ** 2) + urban + livch + "
MODELS: dict[str, tuple[str, str, Any, dict[str, Any]]] = {
    "cbpp": (CBPP, "cbpp", F.Binomial(), {"weights": "size"}),
    "cbpp_probit": (CBPP, "cbpp", F.Binomial(L.Probit()), {"weights": "size"}),
    "cbpp_cloglog": (CBPP, "cbpp", F.Binomial(L.CLogLog()), {"weights": "size"}),
    "cbpp_cauchit": (CBPP, "cbpp", F.Binomial(L.Cauchy()), {"weights": "size"}),
    "cbpp_obs": (f"{CBPP} + (1 | obs)", "cbpp", F.Binomial(), {"weights": "size"}),
    "cbpp_bernoulli_weights": (
        "y ~ period + (1 | herd)", "cbpp_bernoulli", F.Binomial(), {"weights": "w"},
    ),
    "contraception": (f"{CONTRACEPTION}(1 | district)", "contraception", F.Binomial(), {}),
    "contraception_probit": (
        f"{CONTRACEPTION}(1 | district)", "contraception", F.Binomial(L.Probit()), {},
    ),
    "contraception_cloglog": (
        f"{CONTRACEPTION}(1 | district)", "contraception", F.Binomial(L.CLogLog()), {},
    ),
    "contraception_slope": (
        f"{CONTRACEPTION}(urban | district)", "contraception", F.Binomial(), {},
    ),
    "contraception_cells": (
        f"{CONTRACEPTION}(1 | urban:district)", "contraception", F.Binomial(), {},
    ),
    "verbagg": (
        "r01 ~ Anger + Gender + btype + situ + (1 | id) + (1 | item)", "verbagg", F.Binomial(), {},
    ),
    "grouseticks": (
        "TICKS ~ YEAR + cHEIGHT + (1 | BROOD) + (1 | INDEX) + (1 | LOCATION)", "grouseticks",
        F.Poisson(), {},
    ),
    "grouseticks_brood": ("TICKS ~ YEAR + cHEIGHT + (1 | BROOD)", "grouseticks", F.Poisson(), {}),
    "toenail": ("severe ~ treatment * time + (1 | patientID)", "toenail", F.Binomial(), {}),
    "bacteria": ("y01 ~ trt + late + (1 | ID)", "bacteria", F.Binomial(), {}),
    "epil": ("y ~ lbase * trt + lage + V4 + (1 | subject)", "epil", F.Poisson(), {}),
    "epil_slope": (
        "y ~ lbase * trt + lage + visit + (visit | subject)", "epil", F.Poisson(), {},
    ),
    "poisson_offset": (
        "count ~ x + (1 | g)", "poisson_offset", F.Poisson(), {"exposure": "exposure"},
    ),
    "crossed_slope": ("y ~ x + (x | s) + (1 | i)", "crossed", F.Binomial(), {}),
    "crossed_diag": ("y ~ x + (x || s) + (1 | i)", "crossed", F.Binomial(), {}),
    "singular": ("y ~ x + (1 | g)", "singular", F.Binomial(), {}),
    "gamma_log": ("y ~ x + (1 | g)", "gamma", F.Gamma(L.Log()), {}),
    "gamma_inverse": ("y ~ x + (1 | g)", "gamma", F.Gamma(), {}),
    "epil_nbinom2": (
        "y ~ lbase * trt + lage + V4 + (1 | subject)", "epil", negative_binomial(), {},
    ),
}  # fmt: skip


def model(name: str) -> MixedGLM:
    """Return our model of a case."""
    formula, data, family, more = MODELS[name]
    return MixedGLM.from_formula(formula, table(data), family=family, **more)


@cache
def fitted(name: str, nagq: int, information: str | None = None) -> MixedGLMResults:
    """Return our fit of a case."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return model(name).fit(nagq=nagq, information=information)


def r_name(name: str) -> str:
    """Return a coefficient by R's name."""
    if name == "Intercept":
        return "(Intercept)"
    return re.sub(r"\[(?:T\.)?([^\]]*)\]", r"\1", name).replace(" ** ", "^")


def in_order(result: MixedGLMResults, values: pd.Series, wanted: dict[str, float]) -> np.ndarray:
    """Return our values in the order of R's coefficients."""
    ours = {frozenset(r_name(name).split(":")): v for name, v in values.items()}
    return np.array([ours[frozenset(name.split(":"))] for name in wanted])
