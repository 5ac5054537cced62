"""Residual structures against numbers of dense algebra, which nlme confirms where it can.

``tests/data/residual/README.rst`` says what they are.
"""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from places import DATA

from mixedlm_ext import MixedLM

FOLDER = DATA / "residual"
CASES = json.loads((FOLDER / "numbers.json").read_text())
_DIALYZER = "rate ~ (pressure + I(pressure**2) + I(pressure**3) + I(pressure**4)) * C(QB)"
SPELLINGS: dict[str, tuple[str, dict[str, str]]] = {
    "ovary_lme_pddiag": ("follicles ~ s + c + (s || Mare)", {}),
    "ovary_lme_ar1": ("follicles ~ s + c + (s || Mare)", {"correlation": "ar1(row | Mare)"}),
    "ovary_gls_ar1": ("follicles ~ s + c", {"correlation": "ar1(row | Mare)"}),
    "orthodont_gls_cs": ("distance ~ age * Sex", {"correlation": "cs(1 | Subject)"}),
    "orthodont_gls_ar1": ("distance ~ age * Sex", {"correlation": "ar1(occasion | Subject)"}),
    "orthodont_gls_hetar1": (
        "distance ~ age * Sex",
        {"correlation": "ar1(occasion | Subject)", "variance": "age"},
    ),
    "dialyzer_gls_varpower": (_DIALYZER, {"variance": "power(pressure)"}),
    "dialyzer_gls_varpower_ar1": (
        _DIALYZER,
        {"variance": "power(pressure)", "correlation": "ar1(row | Subject)"},
    ),
    "generated_gls_varident_only": ("y ~ x + time", {"variance": "arm"}),
    "dyestuff2_gls_cs_negative": ("Yield ~ 1", {"correlation": "cs(1 | Batch)"}),
    "ovary_lme_int_ar1": ("follicles ~ s + c + (1 | Mare)", {"correlation": "ar1(row | Mare)"}),
    "orthodont_lme_ar1": (
        "distance ~ age * Sex + (1 | Subject)",
        {"correlation": "ar1(occasion | Subject)"},
    ),
    "bodyweight_lme": ("weight ~ Time * C(Diet) + (Time | Rat)", {}),
    "bodyweight_lme_car1": (
        "weight ~ Time * C(Diet) + (Time | Rat)",
        {"correlation": "car1(Time | Rat)"},
    ),
    "oxboys_lme_car1": (
        "height ~ age + I(age**2) + (age | Subject)",
        {"correlation": "car1(age | Subject)"},
    ),
    "oxboys_lme_ar1": (
        "height ~ age + I(age**2) + (age | Subject)",
        {"correlation": "ar1(Occasion | Subject)"},
    ),
    "generated_ar1_time": ("y ~ x + time + (1 | id)", {"correlation": "ar1(time | id)"}),
    "generated_ar1_rows": ("y ~ x + time + (1 | id)", {"correlation": "ar1(row | id)"}),
    "generated_ar1_varcomb": (
        "y ~ x + time + (1 | id)",
        {"correlation": "ar1(time | id)", "variance": "arm * power(z)"},
    ),
    "generated_crossed_ar1": (
        "y ~ x + time + (1 | id) + (1 | item)",
        {"correlation": "ar1(time | id)", "variance": "arm * power(z)"},
    ),
    "orthodont_lme_varident": ("distance ~ age * Sex + (1 | Subject)", {"variance": "Sex"}),
    "orthodont_lme_slope_varident": (
        "distance ~ age * Sex + (I(age - 11) | Subject)",
        {"variance": "Sex"},
    ),
}
MORE_EVALUATIONS = {"oxboys_lme_ar1": 40}
"""At its optimum a variance is zero and the correlation next to one."""
RUN = [case for case in CASES if case["name"] in SPELLINGS]


@cache
def frame(name: str) -> pd.DataFrame:
    data = pd.read_csv(FOLDER / name)
    if name == "ovary.csv":
        angle = 2 * np.pi * data["Time"]
        data = data.assign(s=np.sin(angle), c=np.cos(angle), row=data.groupby("Mare").cumcount())
    if name == "orthodont.csv":
        data["Sex"] = pd.Categorical(data["Sex"], ["Male", "Female"])
        data["occasion"] = (data["age"] - 8) // 2
    if name == "generated.csv":
        data["row"] = data.groupby("id").cumcount()
    if name == "dialyzer.csv":
        data["row"] = data.groupby("Subject").cumcount()
    return data


@cache
def fit(name: str, data: str, reml: bool) -> Any:
    formula, arguments = SPELLINGS[name]
    return MixedLM.from_formula(formula, frame(data), **arguments).fit(reml=reml)


def of(case: dict[str, Any]) -> Any:
    return fit(case["name"], case["data"], case["reml"])


def by_kind(case: dict[str, Any]) -> dict[str, float]:
    """The parameters of the residuals by the names of the reference."""
    result = of(case)
    structure = result.fit_record.design.residual
    out = {"sigma": result.sigma}
    if structure is not None:
        for parameter, value in zip(structure.parameters, structure.values, strict=True):
            name = {"cor": "phi", "power": "power"}.get(parameter.kind)
            out[name or f"ratio_{parameter.name}"] = float(value)
    return out


cases = pytest.mark.parametrize("case", RUN, ids=lambda c: f"{c['name']}-{c['reml']}")


@pytest.mark.filterwarnings("ignore::mixedlm_ext.errors.SingularFitWarning")
@cases
def test_the_optimum(case: dict[str, Any]) -> None:
    result = of(case)
    assert result.converged
    assert abs(result.objective - case["objective"]) < 1e-6
    assert result.df_modelwc == case["npar"]
    assert result.optimization.evaluations <= MORE_EVALUATIONS.get(case["name"], 20)
    reference = case["parameters"]
    if "gls_hetar1" in case["name"]:
        first = reference.pop("sd8", reference.get("sigma"))
        reference["sigma"] = first
        reference |= {f"ratio_{t}": reference[f"sd{t}"] / first for t in (10, 12, 14)}
    for name, value in by_kind(case).items():
        wanted = reference["rho" if name == "phi" and "phi" not in reference else name]
        assert_allclose(value, wanted, rtol=3e-3 if "oxboys_lme_ar1" in case["name"] else 3e-4)
    found = np.sort(result.bse.to_numpy())
    assert_allclose(found, np.sort(list(case["se"].values())), rtol=2e-4)
    assert_allclose(
        np.sort(result.params.to_numpy()), np.sort(list(case["fixef"].values())), rtol=1e-3
    )


@cases
def test_residuals_of_every_kind(case: dict[str, Any]) -> None:
    """Pearson residuals are over the whole standard deviation there, as our scaled ones are."""
    if case["resid_normalized_rowwise_head"] is None or "oxboys_lme_ar1" in case["name"]:
        return
    result = of(case)
    for kind, name in [
        ("response", "resid_head"),
        ("scaled", "resid_pearson_head"),
        ("whitened", "resid_normalized_rowwise_head"),
    ]:
        found = result.residuals(kind).to_numpy()[:6]
        if kind == "whitened" and case["data"] == "generated.csv":
            continue  # rows are not in the order of time: another root of the same matrix
        assert_allclose(found, case[name], rtol=2e-3, atol=2e-4)
